#!/usr/bin/env python3
"""Write docs/losses.md: what each provider dialect cannot express of an OpenAI chat request.

    python tools/loss_table.py           print it
    python tools/loss_table.py --write   write docs/losses.md

Nothing is claimed by hand: each row is a small request that is translated, and the losses that the
translation declares.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm_router.domain.errors import ClientError
from llm_router.domain.model import Capabilities
from llm_router.wire.completions import FRONT as COMPLETIONS
from llm_router.wire.dialect import Behind, Dialect, Target
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.loss import Loss
from llm_router.wire.operations import SPOKEN

PAGE = Path(__file__).parent.parent / "docs" / "losses.md"
FRONT = "openai_chat"
BEHIND = {
    "openai_responses": ("openai", "gpt-5.2"),
    "anthropic_messages": ("anthropic", "claude-sonnet-4-5"),
    "gemini_generate": ("google", "gemini-2.5-flash"),
    "bedrock_converse": ("bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "cohere_chat": ("cohere", "command-a-plus-05-2026"),
    "ollama_chat": ("ollama", "qwen3.6"),
}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": "b"}'}}
ASKED: dict[str, Any] = {"role": "user", "content": "Hi"}


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look:"}, *parts]}]}


PROBES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("`temperature` up to 1", {"temperature": 0.5}),
    ("`temperature` above 1", {"temperature": 1.5}),
    ("`top_p`", {"top_p": 0.9}),
    ("`temperature` with `top_p`", {"temperature": 0.5, "top_p": 0.9}),
    ("`max_tokens`, `max_completion_tokens`", {"max_tokens": 100}),
    ("`stop`, up to 4", {"stop": ["a", "b", "c", "d"]}),
    ("`frequency_penalty`", {"frequency_penalty": 0.5}),
    ("`presence_penalty`", {"presence_penalty": 0.5}),
    ("`seed`", {"seed": 7}),
    ("`n` above 1", {"n": 2}),
    ("`logprobs`, `top_logprobs`", {"logprobs": True, "top_logprobs": 2}),
    ("`logit_bias`", {"logit_bias": {"50256": -100}}),
    ("`user`", {"user": "u-1"}),
    ("`metadata`", {"metadata": {"a": "b"}}),
    ("`store`", {"store": True}),
    ("`service_tier`", {"service_tier": "flex"}),
    ("`verbosity`", {"verbosity": "low"}),
    ("`prediction`", {"prediction": {"type": "content", "content": "x"}}),
    ("`web_search_options`", {"web_search_options": {}}),
    ("`prompt_cache_key`", {"prompt_cache_key": "k"}),
    ("`reasoning_effort`", {"reasoning_effort": "low", "max_tokens": 4000}),
    ("`response_format` json_object", {"response_format": {"type": "json_object"}}),
    (
        "`response_format` json_schema",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "strict": True, "schema": FUNCTION["parameters"]},
            }
        },
    ),
    ("`tools`", {"tools": [TOOL]}),
    ("`tools` with `strict`", {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]}),
    ("custom tools", {"tools": [{"type": "custom", "custom": {"name": "c", "description": "free text"}}]}),
    ("`tool_choice` required", {"tools": [TOOL], "tool_choice": "required"}),
    ("`tool_choice` by name", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
    ("`tool_choice` none", {"tools": [TOOL], "tool_choice": "none"}),
    ("`parallel_tool_calls: false`", {"tools": [TOOL], "parallel_tool_calls": False}),
    ("`functions` (legacy)", {"functions": [FUNCTION]}),
    ("`system`, `developer` messages", {"messages": [{"role": "developer", "content": "Be brief."}, ASKED]}),
    ("a `system` message between turns", {"messages": [ASKED, {"role": "system", "content": "Now shout."}, ASKED]}),
    ("`name` of a message", {"messages": [{"role": "user", "name": "ann", "content": "Hi"}]}),
    (
        "tool results",
        {
            "tools": [TOOL],
            "messages": [
                ASKED,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "done"},
            ],
        },
    ),
    ("image by data URL", said({"type": "image_url", "image_url": {"url": PIXEL}})),
    ("image `detail`", said({"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}})),
    (
        "PDF by data URL",
        said({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"}}),
    ),
    ("`file_id` of another provider", said({"type": "file", "file": {"file_id": "file-1"}})),
    ("audio", said({"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"}})),
    ("audio output", {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    (
        "`cache_control` on a part",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}]},
    ),
    (
        "reasoning of another dialect in earlier turns",
        {
            "messages": [
                ASKED,
                {
                    "role": "assistant",
                    "content": "Hello",
                    "reasoning_details": [
                        {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "elsewhere", "index": 0}
                    ],
                },
                ASKED,
            ]
        },
    ),
    ("a message member that no API knows", {"a_new_member": 1}),
)  # fmt: skip


EMBEDDED: dict[str, tuple[str, str]] = {
    "openai_embeddings": ("openai", "text-embedding-3-small"),
    "gemini_embeddings": ("google", "gemini-embedding-001"),
    "cohere_embed": ("cohere", "embed-v4.0"),
    "bedrock_embed": ("bedrock", "amazon.titan-embed-text-v2:0"),
    "vertex_predict": ("vertex", "text-embedding-005"),
    "ollama_embed": ("ollama", "nomic-embed-text"),
}
EMBEDDING_PROBES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("texts", "openai_embeddings", {"input": ["a", "b"]}),
    ("tokens", "openai_embeddings", {"input": [[1, 2], [3]]}),
    ("101 texts", "openai_embeddings", {"input": ["a"] * 101}),
    ("`dimensions`", "openai_embeddings", {"dimensions": 256}),
    ("`encoding_format` base64", "openai_embeddings", {"encoding_format": "base64"}),
    ("`user`", "openai_embeddings", {"user": "u-1"}),
    ("`input_type` query", "openai_embeddings", {"input_type": "query"}),
    ("`taskType` RETRIEVAL_QUERY", "gemini_embed_one", {"taskType": "RETRIEVAL_QUERY"}),
    ("`taskType` SEMANTIC_SIMILARITY", "gemini_embed_one", {"taskType": "SEMANTIC_SIMILARITY"}),
    ("`title`", "gemini_embed_one", {"taskType": "RETRIEVAL_DOCUMENT", "title": "T"}),
    ("`outputDimensionality`", "gemini_embed_one", {"outputDimensionality": 256}),
)
COMPLETION_PROBES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("`prompt` of several texts", {"prompt": ["a", "b"]}),
    ("`prompt` of tokens", {"prompt": [1, 2]}),
    ("`suffix`", {"suffix": "end"}),
    ("`best_of` above `n`", {"best_of": 3}),
    ("`echo`", {"echo": True}),
    ("`echo` with `logprobs`", {"echo": True, "logprobs": 1}),
)


def embedding_losses(behind: str, front: str, members: dict[str, Any]) -> str:
    """The same of an embedding. A client and a provider of one format are a pair too."""
    provider, model = EMBEDDED[behind]
    target = Target(provider=provider, model=model, dialect=behind)
    asks = (
        {"content": {"parts": [{"text": "a"}]}}
        if front == "gemini_embed_one"
        else {"model": "m", "input": "a"}
    )
    spoken, format_ = SPOKEN[front], SPOKEN[behind]
    assert isinstance(spoken, Dialect)
    assert isinstance(format_, Behind)
    try:
        inspected = spoken.inspect(json.dumps({**asks, **members}).encode(), "m", None)
        if spoken.name == behind:
            _, lost = spoken.edit_request(inspected, target, {})
        else:
            _, lost = format_.encode_request(spoken.decode_request(inspected), target)
    except ClientError as error:
        return f"refused: {error.message}"
    return _told(lost)


def completion_losses(members: dict[str, Any]) -> str:
    """What is lost of a legacy completion before any provider is asked."""
    try:
        inspected = COMPLETIONS.inspect(
            json.dumps({"model": "m", "prompt": "a", **members}).encode(), None, None
        )
    except ClientError as error:
        return f"refused: {error.message}"
    return _told(inspected.losses)


def _told(lost: Iterable[Loss]) -> str:
    return "; ".join(dict.fromkeys(f"lost `{loss.field}`: {loss.why}" for loss in lost)) or "kept"


def other_tables() -> list[str]:
    """The tables of the operations and fronts beside chat."""
    lines = [
        "## Embeddings",
        "",
        f"| of an embedding | {' | '.join(f'`{name}`' for name in EMBEDDED)} |",
        f"|---|{'---|' * len(EMBEDDED)}",
    ]
    for name, front, members in EMBEDDING_PROBES:
        cells = [embedding_losses(behind, front, members).replace("|", "\\|") for behind in EMBEDDED]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Legacy completions",
        "",
        "A completion becomes a chat request, and loses what such a one does (see the first table). Before that:",
        "",
        "| of a completion | |",
        "|---|---|",
        *(f"| {name} | {completion_losses(members)} |" for name, members in COMPLETION_PROBES),
        "",
        "Of the answer, reasoning and anything else that is not text is lost.",
        "",
    ]
    return lines


def losses(behind: str, members: dict[str, Any]) -> str:
    """What the translation declares of that request: "kept", the lost fields with why, or refused."""
    provider, model = BEHIND[behind]
    body = {"model": "m", "messages": [ASKED], **members}
    front = DIALECTS[FRONT]
    target = Target(
        provider=provider,
        model=model,
        dialect=behind,
        capabilities=Capabilities(
            input_modalities=("text", "image", "audio", "video", "file"),
            tools=True,
            parallel_tools=True,
            json_object=True,
            json_schema=True,
            reasoning=True,
        ),
        output_tokens_max=8192,
    )
    try:
        inspected = front.inspect(json.dumps(body).encode(), None, None)
        _, lost = DIALECTS[behind].encode_request(front.decode_request(inspected), target)
    except ClientError as error:
        return f"refused: {error.message}"
    if not lost:
        return "kept"
    return "; ".join(dict.fromkeys(f"lost `{loss.field}`: {loss.why}" for loss in lost))


def page() -> str:
    """The whole page."""
    names = list(BEHIND)
    lines = [
        "# What a translation cannot express",
        "",
        "Where client and provider speak the same dialect, the client's own bytes go upstream and nothing is lost but what a",
        "provider's declared quirk drops. Between dialects, what the other side has no word for is a *declared loss*: its",
        "field stands in the header `x-llm-router-losses` and in the record of the exchange. With the header",
        "`x-llm-router-strict: true`, or a key made with `--strict`, such a request is refused with 400 `lossy_translation`.",
        "",
        "This page is generated (`python tools/loss_table.py --write`) by translating one small request a row; a test",
        "keeps it true. The target is a model that can do everything; a model that lacks something may lose more.",
        "",
        f"| of a chat completion | {' | '.join(f'`{n}`' for n in names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for name, members in PROBES:
        cells = [losses(behind, members).replace("|", "\\|") for behind in names]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "On the way back, what only the provider's dialect has a word for (server-side tool blocks and their results, compaction,",
        "executed code) is never shown as a call of the client's tools. It is a loss too, named in the record of the exchange;",
        "in a stream it comes too late for the header.",
        "",
    ]
    lines += other_tables()
    return "\n".join(lines)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page())
    else:
        print(page())
