"""What the tests of the Gemini dialect share: own cases, framings, cuts and a plain view of replies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_router.domain.model import Capabilities
from llm_router.domain.usage import Usage
from llm_router.wire import chat
from llm_router.wire.dialect import Bill, ReplyContext, StreamDecoder, Target
from llm_router.wire.dialects.gemini_generate import DIALECT
from llm_router.wire.events import Choice, Event, Failed
from llm_router.wire.fold import Folder

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus" / "gemini_generate"
RECORDINGS = ROOT.parent / "shared" / "recordings"
CONTEXT = ReplyContext(reply_id="own-1", model="gemini-public", created_s=1)
BILL = Bill(usage=None, cost_pusd=1_500_000_000, credits_remaining_pusd=2 * 10**12)
TARGET = Target(
    provider="google",
    model="gemini-3-flash-preview",
    dialect="gemini_generate",
    capabilities=Capabilities(reasoning=True),
    takes_urls=("image", "file", "audio", "video"),
)


def cases() -> list[Any]:
    return [
        pytest.param(json.loads(p.read_text()), id=p.stem)
        for p in sorted((CORPUS / "streams").glob("*.json"))
    ]


def sse(messages: Iterable[object], newline: str = "\r\n") -> bytes:
    return "".join(f"data: {json.dumps(m, ensure_ascii=False)}{newline * 2}" for m in messages).encode()


def array(messages: Iterable[object]) -> bytes:
    return b"[" + b"\n,\r\n".join(json.dumps(m, indent=2).encode() for m in messages) + b"\n]\n"


FRAMINGS = {
    "crlf": sse,
    "lf": lambda messages: sse(messages, "\n"),
    "cr": lambda messages: sse(messages, "\r"),
    "array": array,
}


def decode(data: bytes, cuts: Iterable[int] = (), decoder: StreamDecoder | None = None) -> list[Event]:
    """The events of a stream that arrives cut at the given places."""
    decoder = decoder or DIALECT.stream_decoder()
    out: list[Event] = []
    start = 0
    for cut in [*sorted({c for c in cuts if 0 < c < len(data)}), len(data)]:
        out += decoder.feed(data[start:cut])
        start = cut
    return out + decoder.close()


def folded(events: Iterable[Event]) -> Folder:
    folder = Folder()
    for event in events:
        folder.add(event)
    return folder


def plain(stream: Iterable[Event]) -> list[object]:
    """Events that compare: exceptions do not."""
    return [(e.error.kind, e.error.message, e.error.status) if isinstance(e, Failed) else e for e in stream]


def view_part(part: chat.Part) -> list[Any]:
    signature = getattr(part, "signature", None)
    tail = [] if signature is None else [signature]
    match part:
        case chat.Text():
            return ["text", part.text, *tail]
        case chat.Thinking():
            return ["thinking", part.text, *tail]
        case chat.ToolCall():
            return ["tool_call", part.name, json.loads(part.arguments), *tail]
        case chat.Media():
            return ["media", part.media_type, part.data, *tail]
        case chat.Opaque():
            return ["opaque", part.name]
    raise AssertionError(part)


def view(choice: Choice) -> list[Any]:
    return [view_part(part) for part in choice.parts]


def usage_of(expected: dict[str, Any] | None) -> Usage | None:
    return None if expected is None else msgspec.convert(expected, Usage)


def joined(choice: Choice) -> tuple[str, str, list[Any]]:
    """Text, thoughts and calls: what no framing may change."""
    text = "".join(p.text for p in choice.parts if isinstance(p, chat.Text))
    thoughts = "".join(p.text for p in choice.parts if isinstance(p, chat.Thinking))
    calls = [(p.name, json.loads(p.arguments)) for p in choice.parts if isinstance(p, chat.ToolCall)]
    return text, thoughts, calls


def merged(parts: Iterable[chat.Part]) -> list[chat.Part]:
    """Neighbouring unsigned pieces of one kind as one, as a stream shows them."""
    out: list[chat.Part] = []
    for part in parts:
        last = out[-1] if out else None
        if isinstance(part, chat.Text | chat.Thinking) and type(part) is type(last):
            assert isinstance(last, chat.Text | chat.Thinking)
            if last.signature is None and (last.text or part.text):
                out[-1] = msgspec.structs.replace(part, text=last.text + part.text)
                continue
        out.append(part)
    return out


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
