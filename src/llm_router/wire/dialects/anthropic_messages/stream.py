"""A stream of this API to events.

https://docs.anthropic.com/en/docs/build-with-claude/streaming. Read as hosts really send it: pings
anywhere, blocks that are never closed, ``data: [DONE]`` behind the end, unknown events and block
kinds, one broken line. The stream is whole when ``message_stop`` came, or, if it closed cleanly
without, when ``message_delta`` told the reason to stop: that comes only after all content.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire import events
from llm_router.wire.again import MARK, Spot, spot_in
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.anthropic_messages.blocks import call_state, citation
from llm_router.wire.dialects.anthropic_messages.errors import stream_error
from llm_router.wire.dialects.anthropic_messages.facts import JSON_TOOL, NAME, finish_of, stop_message
from llm_router.wire.dialects.anthropic_messages.reply import KNOWN
from llm_router.wire.dialects.anthropic_messages.usage import UsageReader
from llm_router.wire.framing.sse import EventTooLarge, Frame, SSEReader
from llm_router.wire.halves import HalfCharacters
from llm_router.wire.verbatim import dump, members, value

BROKEN_MAX = 1
"""How many frames that are not even the beginning of JSON are skipped before the stream is given up."""

Events = list[events.Event]
_DELTA_TEXT = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_DELTA_FORM = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "tool_call"}


class _Block:
    """An open content block. ``raw`` is set for a block that is told whole when it closes."""

    __slots__ = ("form", "json", "part", "pieces", "raw", "said", "signature", "start")

    def __init__(self, part: int, form: str) -> None:
        self.part = part
        self.form = form
        self.said = False  # whether any text went out
        self.json = False  # whether its text is the input of a tool
        self.signature: str | None = None
        self.start: dict[str, Any] = {}
        self.raw: dict[str, Raw] = {}
        self.pieces: list[str] = []  # of the input of a tool that the provider runs


class Decoder:
    """A :class:`~llm_router.wire.dialect.StreamDecoder`. Never raises."""

    def __init__(self) -> None:
        self._reader = SSEReader()
        self._halves = HalfCharacters()
        self._blocks: dict[int, _Block] = {}
        self._parts = 0
        self.broken = 0
        self.closing = False
        self._calls = False
        self._started = False
        self._stopped = False
        self._native: str | None = None
        self._sequence: str | None = None
        self._details: str | None = None
        self._model = ""
        self._usage = UsageReader()
        self.done = False

    def feed(self, data: bytes) -> Events:
        """Events completed by these bytes."""
        if self.done:
            return []
        try:
            frames = self._reader.feed(data)
        except EventTooLarge as error:
            return self._fail(str(error), UpstreamKind.MALFORMED)
        return self._frames(frames)

    def alike(self, event: bytes) -> Spot | None:
        found = self.marked(event) if self._reader.whole else None
        return None if found is None else found[0]

    def marked(self, event: bytes) -> tuple[Spot, bytes] | None:
        """Where the text stands in an event that gave one piece of text, and its JSON with MARK as the text: see
        :mod:`llm_router.wire.again`."""
        found = spot_in(event, b"(?:text|thinking|partial_json)")
        if found is None or self.done:
            return None
        spot, data, body = found
        delta, index = body.get("delta"), body.get("index")
        kind = delta.get("type") if isinstance(delta, dict) else None
        block = self._blocks.get(index) if isinstance(index, int) else None
        if (
            body.keys() != {"type", "index", "delta"}
            or body["type"] != "content_block_delta"
            or block is None
        ):
            return None
        if (
            not isinstance(kind, str)
            or kind not in _DELTA_TEXT
            or delta != {"type": kind, _DELTA_TEXT[kind]: MARK}
        ):
            return None
        form = "tool_call" if block.json else block.form
        return (spot, data) if block.said and form == _DELTA_FORM[kind] else None

    def took(self, piece: events.PartDelta, text: str) -> None:
        """Nothing of it is noted."""

    def close(self) -> Events:
        """The upstream closed cleanly: the last events."""
        if self.done:
            return []
        broken, self.closing = self.broken, True
        out = self._frames(self._reader.close())
        self.broken = broken  # half an event at the end is a cut, not an event that is no JSON
        if self.done:
            return out
        if self._stopped:
            return out + self._end()
        why = "The provider's stream ended before the answer was complete."
        return out + self._fail(why, UpstreamKind.TRUNCATED)

    def frame(self, frame: Frame) -> Events:
        """The events of one frame."""
        if self.done or not (data := self._halves.join(frame.data.strip())):
            return []
        if data == b"[DONE]":
            return self._end() if self._stopped else []
        body = value(data)
        if body is None and data != b"null":
            self.broken += 1
            lost = data.startswith(b"{")  # an event, and what it held is lost; else it was none
            if self.closing or (not lost and self.broken <= BROKEN_MAX):
                return []
            return self._fail("The provider's stream holds events that are no JSON.", UpstreamKind.MALFORMED)
        if not isinstance(body, dict):
            return []
        kind = body.get("type")
        if not isinstance(kind, str):
            kind = frame.event.decode("utf-8", "replace")
        handler = _HANDLERS.get(kind)
        if handler is not None:
            return self._begun(handler(self, body, data))
        if kind == "error" or isinstance(body.get("error"), dict | str):
            self.done = True
            return [events.Failed(error=stream_error(body))]
        return []

    def _frames(self, frames: list[Frame]) -> Events:
        out: Events = []
        for frame in frames:
            out += self.frame(frame)
        return out

    def _fail(self, message: str, kind: UpstreamKind) -> Events:
        self.done = True
        return [events.Failed(error=UpstreamError(message, kind=kind))]

    def _begun(self, out: Events) -> Events:
        """See to it that Started comes first, and once."""
        if out and not self._started:
            self._started = True
            if not isinstance(out[0], events.Started):
                out.insert(0, events.Started())
        return out

    def _message_start(self, body: dict[str, Any], data: bytes) -> Events:
        message = body.get("message")
        if not isinstance(message, dict) or self._started:
            return []
        id_, model = message.get("id"), message.get("model")
        self._model = model if isinstance(model, str) else ""
        out: Events = [events.Started(id=id_ if isinstance(id_, str) else "", model=self._model)]
        return out + _opaque(message) + self._usage_seen(message.get("usage"))

    def _usage_seen(self, usage: object) -> Events:
        seen = self._usage.event(self._model) if self._usage.add(usage) else None
        return [] if seen is None else [seen]

    def _block_start(self, body: dict[str, Any], data: bytes) -> Events:
        index, start = body.get("index"), body.get("content_block")
        if not isinstance(start, dict):
            return []
        number = index if isinstance(index, int) else self._parts
        out = self._close_block(number)  # one that was left open under the same index
        block = _Block(self._parts, _form(start))
        self._parts += 1
        self._blocks[number] = block
        block.start = start
        return out + self._open(block, data)

    def _open(self, block: _Block, data: bytes) -> Events:
        start = block.start
        match block.form:
            case "text" if start.get("type") == "tool_use":
                block.json = True
                return [events.PartOpened(part=block.part, form="text")]
            case "text":
                out: Events = [events.PartOpened(part=block.part, form="text")]
                return out + self._say(block, start.get("text"))
            case "thinking":
                redacted = start.get("data") if start["type"] == "redacted_thinking" else None
                signature = start.get("signature")
                block.signature = signature if isinstance(signature, str) and signature else None
                opened = events.PartOpened(part=block.part, form="thinking", redacted=redacted, dialect=NAME)
                return [opened, *self._say(block, start.get("thinking"))]
            case "tool_call":
                self._calls = block.json = True
                state = call_state(_raw_block(data))
                return [
                    events.PartOpened(
                        part=block.part,
                        form="tool_call",
                        id=start["id"] if isinstance(start.get("id"), str) else "",
                        name=start["name"],
                        signature=state,
                        dialect=None if state is None else NAME,
                    )
                ]
        block.raw = _raw_block(data)
        return []

    def _say(self, block: _Block, text: object) -> Events:
        if not isinstance(text, str) or not text:
            return []
        block.said = True
        return [events.PartDelta(part=block.part, text=text)]

    def _block_delta(self, body: dict[str, Any], data: bytes) -> Events:
        index, delta = body.get("index"), body.get("delta")
        if not isinstance(delta, dict):
            return []
        kind = delta.get("type")
        kind = kind if isinstance(kind, str) else ""
        block = self._blocks.get(index) if isinstance(index, int) else None
        if block is None:
            return self._unannounced(kind, delta, index)
        if block.form == "opaque":
            _grow(block, kind, delta, data)
            return []
        if kind == "signature_delta":
            signature = delta.get("signature")
            block.signature = signature if isinstance(signature, str) and signature else block.signature
            return []
        if kind == "citations_delta":
            return _cited(block, data)
        form = "tool_call" if block.json else block.form
        return self._say(block, delta.get(_DELTA_TEXT[kind])) if _DELTA_FORM.get(kind) == form else []

    def _unannounced(self, kind: str, delta: dict[str, Any], index: object) -> Events:
        """Text or reasoning of a block that never started: some hosts leave the start out."""
        if kind not in ("text_delta", "thinking_delta"):
            return []
        start = {"type": _DELTA_FORM[kind]}
        body = {"index": index, "content_block": start}
        out = self._block_start(body, b"")
        return out + self._say(next(reversed(self._blocks.values())), delta.get(_DELTA_TEXT[kind]))

    def _block_stop(self, body: dict[str, Any], data: bytes) -> Events:
        index = body.get("index")
        return self._close_block(index) if isinstance(index, int) else []

    def _close_block(self, index: int) -> Events:
        block = self._blocks.pop(index, None)
        if block is None:
            return []
        if block.form == "opaque":
            raw, kind = dump(_whole(block)), block.start.get("type")
            name = kind if isinstance(kind, str) and kind else "unknown"
            opened = events.PartOpened(part=block.part, form="opaque", dialect=NAME, name=name, raw=raw)
            return [opened, events.PartClosed(part=block.part)]
        out: Events = []
        if block.json and not block.said:
            given = block.start.get("input")
            out = self._say(block, bytes(dump(given)).decode() if isinstance(given, dict) else "{}")
        return [*out, events.PartClosed(part=block.part, signature=block.signature)]

    def _message_delta(self, body: dict[str, Any], data: bytes) -> Events:
        delta = body.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        reason, sequence = delta.get("stop_reason"), delta.get("stop_sequence")
        if isinstance(reason, str) and reason:
            self._stopped, self._native = True, reason
            self._sequence = sequence if isinstance(sequence, str) else None
            self._details = stop_message(delta.get("stop_details"))
        rest = {name: body[name] for name in body if name not in ("type", "delta", "usage")}
        return _opaque({**delta, **rest}) + self._usage_seen(body.get("usage"))

    def _message_stop(self, body: dict[str, Any], data: bytes) -> Events:
        return self._end()

    def _end(self) -> Events:
        out: Events = []
        for index in list(self._blocks):
            out += self._close_block(index)
        self.done = True
        finished = events.Finished(
            reason=finish_of(self._native, calls=self._calls),
            native=self._native,
            stop_sequence=self._sequence,
            message=self._details,
        )
        return [*out, finished, events.Ended(flags=("malformed_chunk",) if self.broken else ())]


_HANDLERS: dict[str, Callable[[Decoder, dict[str, Any], bytes], Events]] = {
    "message_start": Decoder._message_start,
    "content_block_start": Decoder._block_start,
    "content_block_delta": Decoder._block_delta,
    "content_block_stop": Decoder._block_stop,
    "message_delta": Decoder._message_delta,
    "message_stop": Decoder._message_stop,
    "ping": lambda decoder, body, data: [],
}


def _form(start: dict[str, Any]) -> str:
    """What a block becomes. A malformed block of a known kind is opaque, as in a whole reply."""
    match start.get("type"):
        case "text" if isinstance(start.get("text", ""), str):
            return "text"
        case "thinking" if isinstance(start.get("thinking", ""), str):
            return "thinking"
        case "redacted_thinking" if isinstance(start.get("data"), str):
            return "thinking"
        case "tool_use" if isinstance(start.get("name"), str):
            return "text" if start["name"] == JSON_TOOL else "tool_call"
    return "opaque"


def _raw_block(data: bytes) -> dict[str, Raw]:
    return members((members(data) or {}).get("content_block")) or {}


def _cited(block: _Block, data: bytes) -> Events:
    raw = (members((members(data) or {}).get("delta")) or {}).get("citation")
    if block.form != "text" or raw is None:
        return []
    return [events.PartDelta(part=block.part, citation=citation(raw))]


def _grow(block: _Block, kind: str, delta: dict[str, Any], data: bytes) -> None:
    """Add a delta to a block that only this dialect knows.

    Input comes in pieces of JSON. Other members replace what was there, as the official client
    does it, except texts of unknown deltas, which are continued.
    """
    if kind == "input_json_delta":
        piece = delta.get("partial_json")
        if isinstance(piece, str):
            block.pieces.append(piece)
        return
    for name, raw in (members((members(data) or {}).get("delta")) or {}).items():
        if name == "type":
            continue
        before, more = block.start.get(name), delta[name]
        if kind != "compaction_delta" and isinstance(before, str) and isinstance(more, str):
            block.start[name] = before + more
            block.raw[name] = dump(before + more)
        else:
            block.start[name], block.raw[name] = more, raw


def _whole(block: _Block) -> dict[str, Raw]:
    text = "".join(block.pieces)
    if not text:
        return block.raw
    found = members(text.encode()) is not None
    return {**block.raw, "input": Raw(text.encode()) if found else dump({"_raw": text})}


def _opaque(holder: dict[str, Any]) -> Events:
    """Members of the message that only this dialect knows."""
    return [
        events.OpaqueSeen(dialect=NAME, name=name, raw=dump(found))
        for name, found in holder.items()
        if name not in KNOWN and found not in (None, [], {})
    ]
