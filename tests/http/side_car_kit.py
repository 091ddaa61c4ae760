"""Conversations of two turns: what each provider says and wants to see again, what each client sends back.

An origin answers with opaque state, a tool call among it. A client reads the answer as its SDK
does, and sends the call's result with what of the answer its SDK keeps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway_kit import Gateway
from scripted_upstream import Script, ScriptedUpstream, answers, head, http, sse

from llm_router.edge.handlers import ROUTES

QUESTION = "What is the weather in Rome\n and in Oslo?"
SAID = "Let me look  at that.\n\nOne moment."
CITY, OTHER = '{"city":"Rome"}', '{"city":"Oslo"}'
SIGNATURE = 'ErUB+/sig==.Zm9v\u00e9\n "quoted"/'
REDACTED = "EmwKAhgBEgy3va3p/zix+Lafs"
ENCRYPTED = "gAAAAABo-enc_+/=="
FIRST, SECOND = "c2lnIG9mIFJvbWU=", "c2lnIG9mIHRleHQ="


@dataclass(frozen=True)
class Origin:
    """A provider that gives state. ``state(body)`` reads it out of the request that it gets next."""

    id: str
    dialect: str
    model: str
    whole: dict[str, Any]
    stream: list[bytes]
    wanted: Any
    state: Callable[[Any], Any]

    def script(self, streamed: bool) -> Script:
        if streamed and self.stream:
            type_ = "application/x-ndjson" if self.dialect == "ollama_chat" else "text/event-stream"
            return answers(head(200, type_=type_), *self.stream)
        return answers(http(200, json.dumps(self.whole).encode()))


# -- Claude ----------------------------------------------------------------------------------------

CLAUDE_BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Two cities, so two calls.", "signature": SIGNATURE},
    {"type": "redacted_thinking", "data": REDACTED},
    {"type": "text", "text": SAID},
    {"type": "tool_use", "id": "toolu_01RomeRomeRome", "name": "weather", "input": {"city": "Rome"}},
    {"type": "tool_use", "id": "toolu_01OsloOsloOslo", "name": "weather", "input": {"city": "Oslo"}},
]


def _claude_message() -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": CLAUDE_BLOCKS,
        "stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 9},
    }  # fmt: skip


def _claude_stream() -> list[bytes]:
    def named(body: dict[str, Any]) -> bytes:
        return sse(body, body["type"])

    out = [
        named({"type": "message_start", "message": {**_claude_message(), "content": [], "stop_reason": None}})
    ]
    for number, block in enumerate(CLAUDE_BLOCKS):
        start, deltas = _claude_pieces(block)
        out.append(named({"type": "content_block_start", "index": number, "content_block": start}))
        out += [named({"type": "content_block_delta", "index": number, "delta": delta}) for delta in deltas]
        out.append(named({"type": "content_block_stop", "index": number}))
    last = {"stop_reason": "tool_use", "stop_sequence": None}
    out.append(named({"type": "message_delta", "delta": last, "usage": {"output_tokens": 9}}))
    return [*out, named({"type": "message_stop"})]


def _claude_pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match block["type"]:
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}, [
                {"type": "thinking_delta", "thinking": block["thinking"][:7]},
                {"type": "thinking_delta", "thinking": block["thinking"][7:]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case "text":
            halves = (block["text"][:9], block["text"][9:])
            return {"type": "text", "text": ""}, [{"type": "text_delta", "text": half} for half in halves]
        case "tool_use":
            given = json.dumps(block["input"])
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": given}]
    return block, []


def _claude_state(body: Any) -> Any:
    (turn,) = [m for m in body["messages"] if m["role"] == "assistant"]
    return [{k: v for k, v in b.items() if k != "id"} for b in turn["content"]]


CLAUDE = Origin(
    "claude1", "anthropic_messages", "claude-x", _claude_message(), _claude_stream(),
    [{k: v for k, v in b.items() if k != "id"} for b in CLAUDE_BLOCKS], _claude_state,
)  # fmt: skip

# -- GPT by Responses ------------------------------------------------------------------------------

GPT_ITEMS: list[dict[str, Any]] = [
    {"type": "reasoning", "id": "rs_68a1", "summary": [{"type": "summary_text", "text": "Two calls."}],
     "encrypted_content": ENCRYPTED},
    {"type": "function_call", "id": "fc_1", "call_id": "call_RomeRome123x", "name": "weather",
     "arguments": CITY, "status": "completed"},
    {"type": "reasoning", "id": "rs_68a2", "summary": [], "encrypted_content": ENCRYPTED + "2"},
    {"type": "function_call", "id": "fc_2", "call_id": "call_OsloOslo456y", "name": "weather",
     "arguments": OTHER, "status": "completed"},
]  # fmt: skip


def _gpt_response() -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18}
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-x",
        "output": GPT_ITEMS, "usage": usage, "error": None, "incomplete_details": None,
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "instructions": None, "metadata": {},
    }  # fmt: skip


def _gpt_stream() -> list[bytes]:
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**_gpt_response(), "output": [], "status": "in_progress"}}
    ]
    for number, item in enumerate(GPT_ITEMS):
        opened = {**item, "status": "in_progress"}
        if item["type"] == "function_call":
            opened["arguments"] = ""
        else:
            opened.pop("encrypted_content")
            opened["summary"] = []
        events.append({"type": "response.output_item.added", "output_index": number, "item": opened})
        for place, piece in enumerate(item.get("summary", ())):
            at = {"item_id": item["id"], "output_index": number, "summary_index": place}
            empty = {"type": "summary_text", "text": ""}
            events += [
                {"type": "response.reasoning_summary_part.added", **at, "part": empty},
                {"type": "response.reasoning_summary_text.delta", **at, "delta": piece["text"]},
                {"type": "response.reasoning_summary_text.done", **at, "text": piece["text"]},
                {"type": "response.reasoning_summary_part.done", **at, "part": piece},
            ]
        if item["type"] == "function_call":
            at = {"item_id": item["id"], "output_index": number}
            events += [
                {"type": "response.function_call_arguments.delta", **at, "delta": item["arguments"]},
                {"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"]},
            ]
        events.append({"type": "response.output_item.done", "output_index": number, "item": item})
    events.append({"type": "response.completed", "response": _gpt_response()})
    return [sse({**event, "sequence_number": n}, event["type"]) for n, event in enumerate(events)]


def _gpt_state(body: Any) -> Any:
    return [_gpt_item(item) for item in body["input"] if item.get("type") in ("reasoning", "function_call")]


def _gpt_item(item: dict[str, Any]) -> dict[str, Any]:
    if item["type"] == "function_call":
        return json.loads(item["arguments"])
    return {name: item.get(name) for name in ("type", "id", "summary", "encrypted_content")}


GPT = Origin(
    "gpt1", "openai_responses", "gpt-x", _gpt_response(), _gpt_stream(),
    [_gpt_item(item) for item in GPT_ITEMS], _gpt_state,
)  # fmt: skip

# -- Gemini ----------------------------------------------------------------------------------------

GEMINI_PARTS: list[dict[str, Any]] = [
    {"text": "Two calls then.", "thought": True},
    {"text": SAID, "thoughtSignature": SECOND},
    {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": FIRST},
    {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}},
]


def _gemini_body(parts: list[dict[str, Any]], last: bool = True) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
    body = {"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "resp-7f3a"}
    if last:
        candidate["finishReason"] = "STOP"
        body["usageMetadata"] = {"promptTokenCount": 9, "candidatesTokenCount": 9, "totalTokenCount": 18}
    return body


def _gemini_state(body: Any) -> Any:
    (turn,) = [c for c in body["contents"] if c["role"] == "model"]
    return [
        (p.get("text", p.get("functionCall", {}).get("args")), p.get("thoughtSignature"))
        for p in turn["parts"]
        if not p.get("thought")
    ]


GEMINI = Origin(
    "gemini1", "gemini_generate", "gemini-x", _gemini_body(GEMINI_PARTS),
    [sse(_gemini_body([part], part is GEMINI_PARTS[-1])) for part in GEMINI_PARTS],
    [(SAID, SECOND), ({"city": "Rome"}, FIRST), ({"city": "Oslo"}, None)], _gemini_state,
)  # fmt: skip

# -- OpenRouter and DeepSeek -----------------------------------------------------------------------

DETAILS: list[dict[str, Any]] = [
    {"type": "reasoning.summary", "summary": "Two calls.", "format": "openai-responses-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": ENCRYPTED, "id": "rs_1", "format": "openai-responses-v1",
     "index": 0},
    {"type": "reasoning.text", "text": "Hm.", "signature": SIGNATURE, "format": None, "index": 1},
]  # fmt: skip
CHAT_CALLS: list[dict[str, Any]] = [
    {"id": "functions.weather:0", "type": "function", "function": {"name": "weather", "arguments": CITY}},
    {"id": "functions.weather:1", "type": "function", "function": {"name": "weather", "arguments": OTHER}},
]
COUNTED = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}


def _chat_body(**state: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": SAID, **state, "tool_calls": CHAT_CALLS}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    return {
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "x", "choices": [choice],
        "usage": COUNTED,
    }  # fmt: skip


def _chat_stream(*deltas: dict[str, Any]) -> list[bytes]:
    calls = [{"index": n, **call} for n, call in enumerate(CHAT_CALLS)]
    rest = [call for call in calls if not any("tool_calls" in d and call["index"] == 0 for d in deltas)]
    said = ({"role": "assistant", "content": ""}, *deltas, {"content": SAID}, {"tool_calls": rest})
    common = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "x"}
    out = [sse({**common, "choices": [{"index": 0, "delta": d, "finish_reason": None}]}) for d in said]
    out.append(sse({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}))
    return [*out, sse({**common, "choices": [], "usage": COUNTED}), b"data: [DONE]\n\n"]


def _chat_state(name: str) -> Callable[[Any], Any]:
    def state(body: Any) -> Any:
        (turn,) = [m for m in body["messages"] if m["role"] == "assistant"]
        return turn.get(name)

    return state


def _pieces(detail: dict[str, Any]) -> list[dict[str, Any]]:
    """A reasoning detail as a stream brings it: text in pieces, the signature behind."""
    name = next((name for name in ("text", "summary") if name in detail), None)
    if name is None:
        return [detail]
    rest = {k: v for k, v in detail.items() if k not in (name, "signature")}
    out = [{**rest, name: detail[name][:2]}, {**rest, name: detail[name][2:]}]
    return [*out, {**rest, "signature": detail["signature"]}] if "signature" in detail else out


ROUTER = Origin(
    "router1", "openai_chat", "openai/gpt-x", _chat_body(reasoning="Two calls.", reasoning_details=DETAILS),
    _chat_stream(*({"reasoning_details": [piece]} for detail in DETAILS for piece in _pieces(detail))),
    DETAILS, _chat_state("reasoning_details"),
)  # fmt: skip

DEEPSEEK = Origin(
    "deep1", "openai_chat", "deepseek-x", _chat_body(reasoning_content="Two  calls.\n"),
    _chat_stream({"reasoning_content": "Two  "}, {"reasoning_content": "calls.\n"}),
    "Two  calls.\n", _chat_state("reasoning_content"),
)  # fmt: skip

SIGNED_CALLS = [{**CHAT_CALLS[0], "extra_content": {"google": {"thought_signature": FIRST}}}, CHAT_CALLS[1]]


def _signed_calls(body: Any) -> Any:
    (turn,) = [m for m in body["messages"] if m["role"] == "assistant"]
    return [call.get("extra_content") for call in turn["tool_calls"]]


def _signed_body() -> dict[str, Any]:
    body = _chat_body()
    body["choices"][0]["message"]["tool_calls"] = SIGNED_CALLS
    return body


GOOGLE = Origin(
    "compat1", "openai_chat", "gemini-x", _signed_body(),
    _chat_stream({"tool_calls": [{"index": 0, **SIGNED_CALLS[0]}]}),
    [SIGNED_CALLS[0]["extra_content"], None], _signed_calls,
)  # fmt: skip

# -- Ollama, Cohere and Bedrock --------------------------------------------------------------------


def _ollama_body() -> dict[str, Any]:
    calls = [{"function": {"name": "weather", "arguments": json.loads(given)}} for given in (CITY, OTHER)]
    message = {"role": "assistant", "content": SAID, "thinking": "Two  calls.", "tool_calls": calls}
    counted = {"prompt_eval_count": 9, "eval_count": 9}
    return {"model": "x", "message": message, "done": True, "done_reason": "stop", **counted}


OLLAMA = Origin(
    "ollama1", "ollama_chat", "qwen-x", _ollama_body(), [json.dumps(_ollama_body()).encode() + b"\n"],
    "Two  calls.", _chat_state("thinking"),
)  # fmt: skip

COHERE_BODY = {
    "id": "c1", "finish_reason": "TOOL_CALL",
    "message": {"role": "assistant", "tool_plan": "I will look  twice.", "tool_calls": [
        {**CHAT_CALLS[0], "id": "weather_k3j4h5g6f7d8"}, {**CHAT_CALLS[1], "id": "weather_z9x8c7v6b5n4"}]},
    "usage": {"tokens": {"input_tokens": 9, "output_tokens": 9}},
}  # fmt: skip
COHERE = Origin(
    "cohere1", "cohere_chat", "command-x", COHERE_BODY, [], "I will look  twice.", _chat_state("tool_plan")
)

BEDROCK_BLOCKS: list[dict[str, Any]] = [
    {"reasoningContent": {"reasoningText": {"text": "Two calls.", "signature": SIGNATURE}}},
    {"reasoningContent": {"redactedContent": REDACTED}},
    {"text": SAID},
    {"toolUse": {"toolUseId": "tooluse_RomeRome1", "name": "weather", "input": {"city": "Rome"}}},
]


def _bedrock_state(body: Any) -> Any:
    (turn,) = [m for m in body["messages"] if m["role"] == "assistant"]
    return [b for b in turn["content"] if "toolUse" not in b]


BEDROCK = Origin(
    "bedrock1", "bedrock_converse", "anthropic.claude-x",
    {"output": {"message": {"role": "assistant", "content": BEDROCK_BLOCKS}}, "stopReason": "tool_use",
     "usage": {"inputTokens": 9, "outputTokens": 9, "totalTokens": 18}}, [],
    BEDROCK_BLOCKS[:3], _bedrock_state,
)  # fmt: skip

ORIGINS = (CLAUDE, GPT, GEMINI, ROUTER, DEEPSEEK, GOOGLE, OLLAMA, COHERE, BEDROCK)


def config_of(upstream: ScriptedUpstream, *more: str) -> str:
    """A gateway with a model for each origin, which is called as the origin is."""
    lines = [*more, "[credits]", "starting = 1000", "[server]", "heartbeat_s = 0"]
    for origin in ORIGINS:
        lines += [f"[providers.{origin.id}]", f'dialect = "{origin.dialect}"', 'auth = "none"']
        lines += ["key_required = false", f'base_url = "http://127.0.0.1:{upstream.port}/{origin.id}"']
        lines += [f"[models.{origin.id}]", "price = { input_per_mtok = 1, output_per_mtok = 2 }"]
        lines += ["capabilities = { tools = true, parallel_tools = true, reasoning = true }"]
        lines += [f"[[models.{origin.id}.deployments]]", f'provider = "{origin.id}"']
        lines += [f'upstream_model = "{origin.model}"']
    return "\n".join(lines)


# -- clients ---------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def _events(data: bytes) -> list[Any]:
    found = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ") and b"[DONE]" not in line]
    return [json.loads(line) for line in found]


class ChatClient:
    """The openai package, langchain: role, content and tool_calls come back."""

    dialect = "openai_chat"

    def path(self, model: str, streamed: bool) -> str:
        return "/v1/chat/completions"

    def opening(self) -> list[Any]:
        return [{"role": "user", "content": QUESTION}]

    def body(self, model: str, history: list[Any], streamed: bool) -> dict[str, Any]:
        function = {"name": "weather", "parameters": SCHEMA}
        tools = [{"type": "function", "function": function}]
        return {"model": model, "messages": history, "tools": tools, "stream": streamed}

    def turn(self, data: bytes, streamed: bool) -> list[Any]:
        if not streamed:
            message = json.loads(data)["choices"][0]["message"]
            text, calls = message["content"], message.get("tool_calls") or []
        else:
            text, calls = "", []
            for event in _events(data):
                for choice in event["choices"]:
                    text += choice["delta"].get("content") or ""
                    for call in choice["delta"].get("tool_calls") or ():
                        if call["index"] == len(calls):
                            calls.append({**call, "function": {**call["function"], "arguments": ""}})
                        calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
        kept = [{name: call[name] for name in ("id", "type", "function")} for call in calls]
        return [{"role": "assistant", "content": text.strip() if text else None, "tool_calls": kept}]

    def results(self, turn: list[Any]) -> list[Any]:
        calls = turn[0]["tool_calls"]
        return [{"role": "tool", "tool_call_id": call["id"], "content": "21 degrees"} for call in calls]


class MessagesClient:
    """The anthropic package: the whole content comes back. Lossy: text and calls alone, as some write it."""

    dialect = "anthropic_messages"

    def __init__(self, lossy: bool = False) -> None:
        self._lossy = lossy

    def path(self, model: str, streamed: bool) -> str:
        return "/v1/messages"

    def opening(self) -> list[Any]:
        return [{"role": "user", "content": QUESTION}]

    def body(self, model: str, history: list[Any], streamed: bool) -> dict[str, Any]:
        return {
            "model": model, "max_tokens": 4000, "messages": history, "stream": streamed,
            "tools": [{"name": "weather", "input_schema": SCHEMA}],
        }  # fmt: skip

    def turn(self, data: bytes, streamed: bool) -> list[Any]:
        blocks = self._streamed(data) if streamed else json.loads(data)["content"]
        if self._lossy:
            blocks = [block for block in blocks if block["type"] in ("text", "tool_use")]
        return [{"role": "assistant", "content": blocks}]

    def _streamed(self, data: bytes) -> list[Any]:
        blocks: list[Any] = []
        given = ""
        for event in _events(data):
            match event["type"]:
                case "content_block_start":
                    blocks.append(event["content_block"])
                    given = ""
                case "content_block_delta":
                    delta = event["delta"]
                    for name in ("text", "thinking", "signature"):
                        if name in delta:
                            blocks[-1][name] = blocks[-1].get(name, "") + delta[name]
                    given += delta.get("partial_json", "")
                case "content_block_stop" if blocks[-1]["type"] == "tool_use":
                    blocks[-1]["input"] = json.loads(given or "{}")
        return blocks

    def results(self, turn: list[Any]) -> list[Any]:
        calls = [block for block in turn[0]["content"] if block["type"] == "tool_use"]
        return [
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": call["id"], "content": "21 degrees"}
                    for call in calls
                ],
            }
        ]


class GeminiClient:
    """google-genai: the parts come back with their thoughtSignature. Lossy: without, and without thoughts."""

    dialect = "gemini_generate"

    def __init__(self, lossy: bool = False) -> None:
        self._lossy = lossy

    def path(self, model: str, streamed: bool) -> str:
        action = "streamGenerateContent?alt=sse" if streamed else "generateContent"
        return f"/v1beta/models/{model}:{action}"

    def opening(self) -> list[Any]:
        return [{"role": "user", "parts": [{"text": QUESTION}]}]

    def body(self, model: str, history: list[Any], streamed: bool) -> dict[str, Any]:
        function = {"name": "weather", "parameters": SCHEMA}
        return {"contents": history, "tools": [{"functionDeclarations": [function]}]}

    def turn(self, data: bytes, streamed: bool) -> list[Any]:
        bodies = _events(data) if streamed else [json.loads(data)]
        parts = [
            part
            for body in bodies
            for candidate in body.get("candidates", ())
            for part in candidate.get("content", {}).get("parts", ())
        ]
        if self._lossy:
            shown = [part for part in parts if not part.get("thought") and part.get("text") != ""]
            parts = [{k: v for k, v in part.items() if k != "thoughtSignature"} for part in shown]
        return [{"role": "model", "parts": parts}]

    def results(self, turn: list[Any]) -> list[Any]:
        calls = [part["functionCall"] for part in turn[0]["parts"] if "functionCall" in part]
        answers_ = [
            {"functionResponse": {**({"id": c["id"]} if "id" in c else {}), "name": c["name"],
                                  "response": {"result": "21 degrees"}}}
            for c in calls
        ]  # fmt: skip
        return [{"role": "user", "parts": answers_}]


class ResponsesClient:
    """The openai package by items: all of the output comes back. Lossy: without the reasoning."""

    dialect = "openai_responses"

    def __init__(self, lossy: bool = False) -> None:
        self._lossy = lossy

    def path(self, model: str, streamed: bool) -> str:
        return "/v1/responses"

    def opening(self) -> list[Any]:
        return [{"role": "user", "content": QUESTION}]

    def body(self, model: str, history: list[Any], streamed: bool) -> dict[str, Any]:
        tools = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
        more = {"store": False, "include": ["reasoning.encrypted_content"]}
        return {"model": model, "input": history, "tools": tools, "stream": streamed, **more}

    def turn(self, data: bytes, streamed: bool) -> list[Any]:
        response = _events(data)[-1]["response"] if streamed else json.loads(data)
        items: list[Any] = response["output"]
        if self._lossy:
            items = [item for item in items if item["type"] != "reasoning"]
        return items

    def results(self, turn: list[Any]) -> list[Any]:
        calls = [item for item in turn if item["type"] == "function_call"]
        return [
            {"type": "function_call_output", "call_id": call["call_id"], "output": "21 degrees"}
            for call in calls
        ]


FRONTS = {route.dialect for route in ROUTES.routes if route.operation == "chat"}
ALL: dict[str, Any] = {
    "chat": ChatClient(),
    "messages": MessagesClient(),
    "messages lossy": MessagesClient(lossy=True),
    "gemini": GeminiClient(),
    "gemini lossy": GeminiClient(lossy=True),
    "responses": ResponsesClient(),
    "responses lossy": ResponsesClient(lossy=True),
}


CLIENTS = {name: client for name, client in ALL.items() if client.dialect in FRONTS}


def say(
    gateway: Gateway,
    client: Any,
    model: str,
    history: list[Any],
    streamed: bool = False,
    *,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    """One request; the HTTP answer."""
    body = json.dumps(client.body(model, history, streamed)).encode()
    answer = gateway.send("POST", client.path(model, streamed), body, headers, key)
    assert answer.status == 200, answer.body
    return answer


def first_turn(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    client: Any,
    origin: Origin,
    streamed: bool = False,
    **more: Any,
) -> list[Any]:
    """Ask, and return the history with which the client would go on."""
    upstream.play(origin.id, origin.script(streamed))
    history = client.opening()
    answer = say(gateway, client, origin.id, history, streamed, **more)
    turn = client.turn(answer.body, streamed)
    return [*history, *turn, *client.results(turn)]


def next_request(
    gateway: Gateway, upstream: ScriptedUpstream, client: Any, origin: Origin, history: list[Any], **more: Any
) -> Any:
    """Go on; the request that the origin gets."""
    upstream.play(origin.id, origin.script(False))
    before = len(upstream.requests)
    say(gateway, client, origin.id, history, **more)
    (seen,) = upstream.requests[before:]
    return seen.json
