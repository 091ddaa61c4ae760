"""What the tests of the Anthropic dialect share: the corpus, feeding, and comparing by meaning."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from llm_router.domain.model import Capabilities
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, ReplyContext, Target
from llm_router.wire.dialects.anthropic_messages import DIALECT
from llm_router.wire.fold import fold

CORPUS = Path(__file__).parent.parent / "corpus" / "anthropic_messages"
REPLIES = sorted(path.stem for path in (CORPUS / "replies").glob("*.json"))
REQUESTS = sorted(path.stem for path in (CORPUS / "requests").glob("*.json"))
CONTEXT = ReplyContext(reply_id="msg_minted", model="claude-public", created_s=1, prompt_tokens_estimate=33)
BILL = Bill(
    usage=Usage(input_tokens=21, output_tokens=12),
    cost_pusd=34_500_000,
    credits_remaining_pusd=9 * 10**12 + 1,
)


def reply_bytes(name: str) -> bytes:
    return (CORPUS / "replies" / f"{name}.json").read_bytes()


def stream_bytes(name: str) -> bytes:
    return (CORPUS / "streams" / f"{name}.sse").read_bytes()


def request_bytes(name: str) -> bytes:
    return (CORPUS / "requests" / f"{name}.json").read_bytes()


def target(model: str = "claude-test", **changes: Any) -> Target:
    able = changes.pop("capabilities", Capabilities(reasoning=True, json_schema=True, tools=True))
    return Target(provider="anthropic", model=model, dialect=DIALECT.name, capabilities=able, **changes)


def decode(chunks: Iterable[bytes]) -> list[events.Event]:
    decoder = DIALECT.stream_decoder()
    out: list[events.Event] = []
    for chunk in chunks:
        out += decoder.feed(chunk)
    return out + decoder.close()


def decode_stream(data: bytes) -> events.Reply:
    return fold(decode([data]))


def sse(*bodies: object) -> bytes:
    """A stream of these event bodies, in the API's framing."""
    out = b""
    for body in bodies:
        kind = body.get("type", "") if isinstance(body, dict) else ""
        out += b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(body))
    return out


def frames(data: bytes) -> list[tuple[str, Any]]:
    """(event, data) of a stream, read naively."""
    out = []
    for block in data.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in lines:
            out.append((lines.get("event", ""), json.loads(lines["data"])))
    return out


def plain_part(part: chat.Part) -> dict[str, Any]:
    """A part with its JSON texts parsed, so that spelling does not count."""
    found: dict[str, Any] = {"kind": type(part).__name__}
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if isinstance(value, msgspec.Raw):
            value = json.loads(bytes(value))
        elif name == "arguments":
            value = json.loads(value)
        elif name == "citations":
            value = [
                (c.url, c.title, c.cited_text, json.loads(bytes(c.raw)) if c.raw else None) for c in value
            ]
        found[name] = value
    return found


def plain(reply: events.Reply) -> dict[str, Any]:
    """A reply by meaning."""
    return {
        "id": reply.id,
        "model": reply.model,
        "usage": reply.usage,
        "flags": reply.flags,
        "opaque": [(o.name, json.loads(bytes(o.raw))) for o in reply.opaque],
        "choices": [
            (
                c.index,
                c.finish,
                c.native_finish,
                c.stop_sequence,
                c.finish_message,
                [plain_part(p) for p in c.parts],
            )
            for c in reply.choices
        ],
    }


def grammar(data: bytes) -> None:
    """Assert the strict event grammar of a whole stream."""
    state, index, open_ = "start", 0, False
    pings = 0
    for event, body in frames(data):
        assert body["type"] == event
        if event == "ping":
            pings += 1
        elif event == "message_start":
            assert state == "start"
            state = "content"
            message = body["message"]
            assert message["type"] == "message"
            assert message["role"] == "assistant"
            assert message["content"] == []
            assert isinstance(message["usage"]["input_tokens"], int)
        elif event == "content_block_start":
            assert state == "content"
            assert not open_
            assert body["index"] == index
            open_ = True
        elif event == "content_block_delta":
            assert open_
            assert body["index"] == index
        elif event == "content_block_stop":
            assert open_
            assert body["index"] == index
            open_, index = False, index + 1
        elif event == "message_delta":
            assert state == "content"
            assert not open_
            state = "delta"
            assert isinstance(body["delta"]["stop_reason"], str)
        else:
            assert event == "message_stop"
            assert state == "delta"
            state = "stop"
    assert state == "stop"
    assert pings <= 1
