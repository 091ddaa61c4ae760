"""What the tests of Cohere's dialect share: replies as it writes them, and what it accepts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import behind_kit as kit
from hypothesis import strategies as st

from llm_router.wire import chat
from llm_router.wire.dialects.cohere_chat import DIALECT

CORPUS = Path(__file__).parent.parent / "corpus" / "cohere_chat"
NAMES = sorted(path.stem for path in (CORPUS / "replies").glob("*.json"))
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 60).decode()
ANSWER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
names = st.from_regex(r"[a-z][a-z_]{0,10}", fullmatch=True)
counts = st.integers(0, 10**6)


@st.composite
def replies(draw: st.DrawFn) -> dict[str, Any]:
    """A whole reply as Cohere writes it."""
    message: dict[str, Any] = {"role": "assistant"}
    content: list[dict[str, Any]] = []
    if draw(st.booleans()):
        content.append({"type": "thinking", "thinking": draw(texts)})
    if draw(st.booleans()):
        content.append({"type": "text", "text": draw(texts)})
    calls = [
        {
            "id": f"{name}_{number}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": json.dumps(draw(st.dictionaries(names, texts, max_size=2))),
            },
        }
        for number, name in enumerate(draw(st.lists(names, max_size=3)))
    ]
    if calls:
        message["tool_calls"] = calls
        if draw(st.booleans()):
            message["tool_plan"] = draw(texts)
    if not content and not calls:
        content.append({"type": "text", "text": "."})
    if content:
        message["content"] = content
    if content and content[-1]["type"] == "text":
        message["citations"] = [
            {
                "start": 0, "end": 1, "text": "x", "type": "TEXT_CONTENT", "content_index": len(content) - 1,
                "sources": [{"type": "document", "id": name, "document": {"title": name}}],
            }
            for name in draw(st.lists(names, max_size=2))
        ]  # fmt: skip
    finish = "TOOL_CALL" if calls else draw(st.sampled_from(["COMPLETE", "MAX_TOKENS", "STOP_SEQUENCE"]))
    usage = {"billed_units": {"input_tokens": draw(counts), "output_tokens": draw(counts)},
             "tokens": {"input_tokens": draw(counts), "output_tokens": draw(counts)},
             "cached_tokens": draw(counts)}  # fmt: skip
    return {"id": "r-1", "message": message, "finish_reason": finish, "usage": usage}


def halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def bodies(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """The events by which Cohere streams the reply."""
    message = reply["message"]
    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    out: list[dict[str, Any]] = [{"type": "message-start", "id": reply["id"], "delta": {"message": empty}}]

    def add(kind: str, index: int | None, **members: Any) -> None:
        place = {} if index is None else {"index": index}
        out.append({"type": kind, **place, "delta": {"message": members}})

    for piece in halves(message.get("tool_plan", "")):
        add("tool-plan-delta", None, tool_plan=piece)
    for index, block in enumerate(message.get("content", [])):
        kind = block["type"]
        add("content-start", index, content={"type": kind, kind: ""})
        for piece in halves(block[kind]):
            add("content-delta", index, content={kind: piece})
        for cited in message.get("citations", []):
            if cited["content_index"] == index:
                add("citation-start", 0, citations=cited)
                out.append({"type": "citation-end", "index": 0})
        out.append({"type": "content-end", "index": index})
    for index, call in enumerate(message.get("tool_calls", [])):
        function = {**call["function"], "arguments": ""}
        add("tool-call-start", index, tool_calls={**call, "function": function})
        for piece in halves(call["function"]["arguments"]):
            add("tool-call-delta", index, tool_calls={"function": {"arguments": piece}})
        out.append({"type": "tool-call-end", "index": index})
    end = {"finish_reason": reply["finish_reason"], "usage": reply["usage"]}
    return [*out, {"type": "message-end", "delta": end}]


def frame(body: Any, end: str = "\n") -> bytes:
    kind = body.get("type") if isinstance(body, dict) else None
    named = f"event: {kind}{end}" if kind else ""
    return f"{named}data: {json.dumps(body, ensure_ascii=False)}{end}{end}".encode()


def streamed(reply: dict[str, Any], done: bytes = b"data: [DONE]\n\n") -> bytes:
    return b"".join(map(frame, bodies(reply))) + done


def stream_of(name: str) -> bytes:
    return (CORPUS / "streams" / f"{name}.sse").read_bytes()


def reply_of(name: str) -> bytes:
    return (CORPUS / "replies" / f"{name}.json").read_bytes()


def sent(asked: chat.ChatRequest, **changes: Any) -> tuple[dict[str, Any], set[str]]:
    body, lost = kit.encoded(DIALECT, asked, **changes)
    accepted(body)
    return body, lost


def accepted(body: dict[str, Any]) -> None:
    """Assert that the provider's own types take the body. Does nothing where they are not installed."""
    try:
        import cohere.types as types
        from pydantic import TypeAdapter
    except ImportError:
        return
    by_role = {
        "system": types.SystemChatMessageV2,
        "user": types.UserChatMessageV2,
        "assistant": types.AssistantChatMessageV2,
        "tool": types.ToolChatMessageV2,
    }
    for message in body["messages"]:
        read = by_role[message["role"]].model_validate(message)
        again = json.loads(read.model_dump_json(exclude_none=True, exclude_unset=True))
        assert again == message
        assert message.get("content") or message.get("tool_calls")
    for tool in body.get("tools", ()):
        TypeAdapter(types.ToolV2).validate_python(tool)
    for name, kind in (("thinking", types.Thinking), ("response_format", types.JsonObjectResponseFormatV2)):
        if name in body:
            assert not kind.model_validate(body[name]).model_extra
