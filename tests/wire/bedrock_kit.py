"""What the tests of the Bedrock dialect share: the corpus, framing, and a naive reading of both forms."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm_router.domain.model import Capabilities
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.bedrock_converse import DIALECT
from llm_router.wire.framing.aws import encode_message

CORPUS = Path(__file__).parent.parent / "corpus" / "bedrock_converse"
STREAMS: dict[str, dict[str, Any]] = {
    case["name"]: case for case in json.loads((CORPUS / "streams.json").read_bytes())
}
CLAUDE = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"


def event(name: str, body: object) -> bytes:
    """One event as Bedrock frames it."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return encode_message(headers, json.dumps(body, ensure_ascii=False).encode())


def exception(name: str, body: object) -> bytes:
    """One exception as Bedrock frames it."""
    return encode_message(
        {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"},
        json.dumps(body).encode(),
    )


def framed(bodies: Iterable[dict[str, Any]]) -> list[bytes]:
    """Events, each an object of one member that names it, as messages."""
    return [event(name, body) for entry in bodies for name, body in entry.items()]


def stream_bytes(name: str) -> bytes:
    return b"".join(framed(STREAMS[name]["events"]))


def decode(chunks: Iterable[bytes]) -> list[events.Event]:
    decoder = DIALECT.stream_decoder()
    out: list[events.Event] = []
    for chunk in chunks:
        out += decoder.feed(chunk)
    return out + decoder.close()


def target(model: str = CLAUDE, **changes: Any) -> Target:
    able = changes.pop("capabilities", Capabilities(reasoning=True, json_schema=True, tools=True))
    return Target(provider="bedrock", model=model, dialect=DIALECT.name, capabilities=able, **changes)


def assembled(bodies: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The whole reply that a stream tells, read naively: dictionaries, no states."""
    body: dict[str, Any] = {"output": {"message": {"role": "assistant", "content": []}}}
    blocks: dict[int, dict[str, Any]] = {}
    for entry in bodies:
        ((name, data),) = entry.items()
        index = data.get("contentBlockIndex") if isinstance(data, dict) else None
        if name == "contentBlockStart":
            blocks[index] = json.loads(json.dumps(data["start"]))
        elif name == "contentBlockDelta":
            _grow(blocks.setdefault(index, {}), data["delta"])
        elif name == "messageStop":
            body["stopReason"] = data["stopReason"]
            if "additionalModelResponseFields" in data:
                body["additionalModelResponseFields"] = data["additionalModelResponseFields"]
        elif name == "metadata":
            body.update(
                {key: data[key] for key in ("usage", "metrics", "trace", "serviceTier") if key in data}
            )
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"].get("input") or "{}")
        if "citations" in block:
            text = block.pop("text", "")
            cited = {"content": [{"text": text}], "citations": block.pop("citations")}
            block["citationsContent"] = cited
        if block:
            body["output"]["message"]["content"].append(block)
    return body


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    import base64

    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    if "toolUse" in delta:
        block["toolUse"]["input"] = block["toolUse"].get("input", "") + delta["toolUse"]["input"]
    if "toolResult" in delta:
        block["toolResult"].setdefault("content", []).extend(delta["toolResult"])
    if "citation" in delta:
        block.setdefault("citations", []).append(delta["citation"])
    if "reasoningContent" in delta:
        holder, more = block.setdefault("reasoningContent", {}), delta["reasoningContent"]
        if "redactedContent" in more:
            known = base64.b64decode(holder.get("redactedContent", ""))
            joined = known + base64.b64decode(more["redactedContent"])
            holder["redactedContent"] = base64.b64encode(joined).decode()
        for member in ("text", "signature"):
            if member in more:
                shown = holder.setdefault("reasoningText", {})
                shown[member] = shown.get(member, "") + more[member]


def told(reply: events.Reply) -> dict[str, Any]:
    """What a reply says, for comparison with the corpus."""
    (choice,) = reply.choices
    usage = reply.usage or Usage()
    thinking = [part for part in choice.parts if isinstance(part, chat.Thinking)]
    return {
        "text": "".join(part.text for part in choice.parts if isinstance(part, chat.Text)),
        "thinking": [[part.text, part.signature] for part in thinking if part.redacted is None],
        "redacted": [part.redacted for part in thinking if part.redacted is not None],
        "calls": [
            [part.id, part.name, json.loads(part.arguments)]
            for part in choice.parts
            if isinstance(part, chat.ToolCall)
        ],
        "others": [part.name for part in choice.parts if isinstance(part, chat.Opaque)],
        "finish": choice.finish.value,
        "usage": [
            usage.input_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.cache_write_1h_tokens,
            usage.output_tokens,
        ],
    }


def plain(reply: events.Reply) -> Any:
    """A reply with its verbatim JSON parsed, so that spelling does not count."""

    def clear(value: Any) -> Any:
        if isinstance(value, chat.Raw):
            return json.loads(bytes(value))
        if isinstance(value, tuple | list):
            return [clear(item) for item in value]
        if hasattr(value, "__struct_fields__"):
            fields = {name: clear(getattr(value, name)) for name in value.__struct_fields__}
            if isinstance(value, chat.ToolCall):
                fields["arguments"] = json.loads(value.arguments)
            return [type(value).__name__, fields]
        return value

    return clear(reply)
