"""Members of the wrong type or out of range: each is refused with 400, and the error says which it was."""

from __future__ import annotations

from typing import Any

from llm_router.conformance.api import APIS
from llm_router.conformance.case import Case, Check, Suite
from llm_router.conformance.checks.basics import refused

Row = tuple[str, str, Any]
"""Name of the check, the member (a path with dots), and the value that must not pass."""

_CHAT: tuple[Row, ...] = (
    ("messages-missing", "messages", None),
    ("messages-string", "messages", "hello"),
    ("messages-empty", "messages", []),
    ("message-string", "messages", ["hello"]),
    ("role-missing", "messages", [{"content": "hello"}]),
    ("role-unknown", "messages", [{"role": "wizard", "content": "hello"}]),
    ("content-number", "messages", [{"role": "user", "content": 5}]),
    ("content-missing", "messages", [{"role": "user"}]),
    ("part-string", "messages", [{"role": "user", "content": ["hello"]}]),
    ("part-no-type", "messages", [{"role": "user", "content": [{"text": "hello"}]}]),
    ("part-text-number", "messages", [{"role": "user", "content": [{"type": "text", "text": 5}]}]),
    ("image-no-url", "messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
    ("tool-no-id", "messages", [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]),
    ("temperature-string", "temperature", "hot"),
    ("temperature-high", "temperature", 2.5),
    ("temperature-low", "temperature", -0.5),
    ("top-p-high", "top_p", 1.5),
    ("top-p-string", "top_p", "all"),
    ("max-tokens-string", "max_tokens", "many"),
    ("max-tokens-negative", "max_tokens", -1),
    ("max-tokens-fraction", "max_tokens", 1.5),
    ("frequency-penalty-high", "frequency_penalty", 3),
    ("presence-penalty-low", "presence_penalty", -3),
    ("n-zero", "n", 0),
    ("n-string", "n", "two"),
    ("stop-number", "stop", 5),
    ("stop-objects", "stop", [{}]),
    ("stream-string", "stream", "yes"),
    ("stream-options-string", "stream_options", "usage"),
    ("tools-object", "tools", {}),
    ("tool-no-name", "tools", [{"type": "function", "function": {"parameters": {"type": "object"}}}]),
    ("tool-choice-unknown", "tool_choice", "perhaps"),
    ("response-format-string", "response_format", "json"),
    ("response-format-schema", "response_format", {"type": "json_schema"}),
    ("seed-string", "seed", "tomato"),
    ("logit-bias-list", "logit_bias", [1]),
    ("top-logprobs-high", "top_logprobs", 99),
    ("user-number", "user", 5),
)

_MESSAGES: tuple[Row, ...] = (
    ("messages-missing", "messages", None),
    ("messages-empty", "messages", []),
    ("messages-string", "messages", "hello"),
    ("role-unknown", "messages", [{"role": "wizard", "content": "hello"}]),
    ("content-number", "messages", [{"role": "user", "content": 5}]),
    ("block-no-type", "messages", [{"role": "user", "content": [{"text": "hello"}]}]),
    ("block-text-number", "messages", [{"role": "user", "content": [{"type": "text", "text": 5}]}]),
    ("image-no-source", "messages", [{"role": "user", "content": [{"type": "image"}]}]),
    (
        "result-no-id",
        "messages",
        [{"role": "user", "content": [{"type": "tool_result", "content": "sunny"}]}],
    ),
    ("max-tokens-missing", "max_tokens", None),
    ("max-tokens-string", "max_tokens", "many"),
    ("max-tokens-negative", "max_tokens", -1),
    ("temperature-high", "temperature", 1.5),
    ("temperature-string", "temperature", "hot"),
    ("top-p-high", "top_p", 1.5),
    ("top-k-string", "top_k", "all"),
    ("stop-string", "stop_sequences", "END"),
    ("stream-string", "stream", "yes"),
    ("system-number", "system", 5),
    ("tools-object", "tools", {}),
    ("tool-no-name", "tools", [{"input_schema": {"type": "object"}}]),
    ("tool-choice-string", "tool_choice", "auto"),
    ("tool-choice-unknown", "tool_choice", {"type": "perhaps"}),
    ("metadata-string", "metadata", "me"),
)

_RESPONSES: tuple[Row, ...] = (
    ("input-number", "input", 5),
    ("input-item-string", "input", ["hello"]),
    ("role-unknown", "input", [{"role": "wizard", "content": "hello"}]),
    ("content-number", "input", [{"role": "user", "content": 5}]),
    ("part-no-type", "input", [{"role": "user", "content": [{"text": "hello"}]}]),
    ("output-no-call-id", "input", [{"type": "function_call_output", "output": "sunny"}]),
    ("instructions-number", "instructions", 5),
    ("temperature-high", "temperature", 2.5),
    ("temperature-string", "temperature", "hot"),
    ("top-p-high", "top_p", 1.5),
    ("max-output-string", "max_output_tokens", "many"),
    ("max-output-negative", "max_output_tokens", -1),
    ("stream-string", "stream", "yes"),
    ("store-string", "store", "yes"),
    ("tools-object", "tools", {}),
    ("tool-no-name", "tools", [{"type": "function", "parameters": {"type": "object"}}]),
    ("tool-choice-unknown", "tool_choice", "perhaps"),
    ("text-string", "text", "json"),
    ("reasoning-string", "reasoning", "high"),
    ("metadata-string", "metadata", "me"),
)

_GEMINI: tuple[Row, ...] = (
    ("contents-missing", "contents", None),
    ("contents-empty", "contents", []),
    ("contents-number", "contents", 5),
    ("content-string", "contents", ["hello"]),
    ("role-unknown", "contents", [{"role": "wizard", "parts": [{"text": "hello"}]}]),
    ("parts-string", "contents", [{"role": "user", "parts": "hello"}]),
    ("part-text-number", "contents", [{"role": "user", "parts": [{"text": 5}]}]),
    ("inline-string", "contents", [{"role": "user", "parts": [{"inlineData": "x"}]}]),
    ("config-string", "generationConfig", "small"),
    ("temperature-high", "generationConfig.temperature", 2.5),
    ("temperature-string", "generationConfig.temperature", "hot"),
    ("top-p-high", "generationConfig.topP", 1.5),
    ("max-output-string", "generationConfig.maxOutputTokens", "many"),
    ("stop-number", "generationConfig.stopSequences", 5),
    ("candidates-string", "generationConfig.candidateCount", "two"),
    ("tools-string", "tools", "search"),
    ("tool-no-name", "tools", [{"functionDeclarations": [{"description": "x"}]}]),
    ("tool-config-string", "toolConfig", "auto"),
)

_EMBEDDINGS: tuple[Row, ...] = (
    ("input-missing", "input", None),
    ("input-number", "input", 5),
    ("input-empty", "input", []),
    ("input-objects", "input", [{"text": "hello"}]),
    ("input-mixed", "input", ["hello", 5]),
    ("format-unknown", "encoding_format", "roman"),
    ("format-number", "encoding_format", 5),
    ("dimensions-string", "dimensions", "many"),
    ("dimensions-zero", "dimensions", 0),
    ("user-number", "user", 5),
)


def _checks() -> tuple[Check, ...]:
    found: list[Check] = []
    for name, rows in (
        ("chat", _CHAT), ("messages", _MESSAGES), ("responses", _RESPONSES), ("gemini", _GEMINI),
        ("embeddings", _EMBEDDINGS),
    ):  # fmt: skip
        api = APIS[name]
        suite = Suite(name, "parameters", api.source)
        for label, member, value in rows:

            def run(case: Case, name: str = name, member: str = member, value: Any = value) -> None:
                reply = case.ask(name, _spoilt(case.target.plain(name), member, value))
                refused(case, APIS[name], reply, (400, 422) if name == "gemini" else (400,))

            text = f"{member} {_what(value)} is refused"
            suite.add(label, text, "It would be ignored, or fail at the provider without a word.", run)
        for label, member, value in rows:
            if label in ("temperature-string", "dimensions-string"):

                def said(case: Case, name: str = name, member: str = member, value: Any = value) -> None:
                    reply = case.ask(name, _spoilt(case.target.plain(name), member, value))
                    leaf = member.rpartition(".")[2]
                    case.expect(leaf in reply.text, f"an error that names {leaf}", reply.text, reply)

                suite.add("named", "the error names the wrong member", "Users see only the message.", said)
        found += suite.checks
    return tuple(found)


def _what(value: Any) -> str:
    import json

    text = json.dumps(value)
    return "left out" if value is None else f"= {text if len(text) < 50 else text[:47] + '...'}"


def _spoilt(body: dict[str, Any], member: str, value: Any) -> dict[str, Any]:
    """The body with that member in place, or without it where the value is None."""
    head, _, leaf = member.partition(".")
    if leaf:
        inner = {**body.get(head, {}), leaf: value}
        return {**body, head: inner}
    spoilt = {**body, head: value}
    if head == "max_tokens":
        spoilt.pop("max_completion_tokens", None)
    if head == "top_logprobs":
        spoilt["logprobs"] = True
    if head == "stream_options":
        spoilt["stream"] = True
    if value is None:
        del spoilt[head]
    return spoilt


CHECKS = _checks()
