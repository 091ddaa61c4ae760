"""A stream of this API to events.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html. Most models
start their text blocks without a ``contentBlockStart``; every event has a meaningless member ``p``.
``messageStop`` tells the reason to stop, ``metadata`` behind it the usage: with both the stream is
whole, and also if it closes cleanly between them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from llm_router.domain.errors import UpstreamError
from llm_router.wire import events
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.bedrock_converse.blocks import citation, is_client_call
from llm_router.wire.dialects.bedrock_converse.errors import stream_error
from llm_router.wire.dialects.bedrock_converse.facts import JSON_TOOL, NAME, failure_of, finish_of
from llm_router.wire.dialects.bedrock_converse.reply import guardrail_reason, opaque, stop_sequence
from llm_router.wire.dialects.bedrock_converse.usage import decode_usage
from llm_router.wire.failures import malformed, truncated
from llm_router.wire.framing.aws import EventStreamReader, Message
from llm_router.wire.mintedids import MintedIds
from llm_router.wire.verbatim import dump, members, value

Events = list[events.Event]
Body = dict[str, Any]


class _Block:
    """An open content block. Redacted reasoning, images and opaque ones are told when they close."""

    __slots__ = ("form", "kind", "part", "pieces", "said", "signature", "start")

    def __init__(self, part: int, form: str, kind: str = "", start: Body | None = None) -> None:
        self.part = part
        self.form = form
        self.kind = kind  # its member, if it began with one; ``start`` is the member's value
        self.start = start or {}
        self.said = False  # whether any text went out
        self.signature: str | None = None
        self.pieces: list[Any] = []


class Decoder:
    """A :class:`~llm_router.wire.dialect.StreamDecoder`. Never raises."""

    def __init__(self) -> None:
        self._reader = EventStreamReader()
        self._blocks: dict[int, _Block] = {}
        self._ids = MintedIds()
        self._parts = 0
        self._calls = False
        self._started = False
        self._stopped = False
        self._metered = False
        self._native: str | None = None
        self._sequence: str | None = None
        self._reason: str | None = None
        self._done = False

    def feed(self, data: bytes) -> Events:
        """Events completed by these bytes."""
        if self._done:
            return []
        out: Events = []
        for message in self._reader.feed(data):
            out += self._message(message)
        if self._reader.error is not None and not self._done:
            out += self._fail(malformed(f"a damaged stream: {self._reader.error}"))
        return out

    def close(self) -> Events:
        """The upstream closed cleanly: the last events."""
        if self._done:
            return []
        if self._stopped:
            return self._end()
        return self._fail(truncated())

    def _message(self, message: Message) -> Events:
        if self._done:
            return []
        if message.text(":message-type") in ("exception", "error"):
            return self._fail(stream_error(message))
        handler = _HANDLERS.get(message.text(":event-type"))
        if handler is None:
            return []
        self._ids.seed(message.payload)
        body = value(message.payload)
        if not isinstance(body, dict):
            return self._fail(malformed("an event that is no JSON object"))
        out = handler(self, body, message.payload)
        if not self._started:
            self._started = True
            out.insert(0, events.Started())
        return out

    def _fail(self, error: UpstreamError) -> Events:
        self._done = True
        return [events.Failed(error=error)]

    def _message_start(self, body: Body, data: bytes) -> Events:
        return []

    def _block_start(self, body: Body, data: bytes) -> Events:
        start = body.get("start")
        kind = next(iter(start), "") if isinstance(start, dict) else ""
        if not isinstance(start, dict) or not isinstance(start[kind] if kind else None, dict):
            return []
        index, inner = _index(body), start[kind]
        out = self._close(index)  # one that was left open under the same index
        if (
            kind != "toolUse"
            or not isinstance(inner.get("name"), str)
            or not inner["name"]
            or not is_client_call(inner.get("type"))
        ):
            self._open(index, "media" if kind == "image" else "opaque", kind, inner)
            return out
        if inner["name"] == JSON_TOOL:
            block = self._open(index, "text", kind)
            return [*out, events.PartOpened(part=block.part, form="text")]
        block = self._open(index, "tool_call", kind)
        self._calls = True
        id_ = self._ids.take(inner.get("toolUseId"))
        opened = events.PartOpened(part=block.part, form="tool_call", id=id_, name=inner["name"])
        return [*out, opened]

    def _open(self, index: int, form: str, kind: str = "", start: Body | None = None) -> _Block:
        block = self._blocks[index] = _Block(self._parts, form, kind, start)
        self._parts += 1
        return block

    def _block_delta(self, body: Body, data: bytes) -> Events:
        delta = body.get("delta")
        out: Events = []
        for kind, more in delta.items() if isinstance(delta, dict) else ():
            handler = _DELTAS.get(kind)
            if handler is not None:
                out += handler(self, _index(body), more, data)
        return out

    def _text(self, index: int, more: object, data: bytes) -> Events:
        return self._shown(index, "text", more)

    def _shown(self, index: int, form: str, more: object) -> Events:
        """Text of a text or reasoning block, which may begin without any notice."""
        if not isinstance(more, str):
            return []
        out, block = self._announced(index, form)
        if more:
            out.append(events.PartDelta(part=block.part, text=more))
        return out

    def _announced(self, index: int, form: str) -> tuple[Events, _Block]:
        """The open block of that form, and the events that open it if there is none."""
        block = self._blocks.get(index)
        if block is not None and block.form == form:
            return [], block
        out = self._close(index)
        block = self._open(index, form)
        if form == "text":
            out.append(events.PartOpened(part=block.part, form="text"))
        elif form == "thinking":
            out.append(events.PartOpened(part=block.part, form="thinking", dialect=NAME))
        return out, block

    def _tool_use(self, index: int, more: object, data: bytes) -> Events:
        block = self._blocks.get(index)
        piece = more.get("input") if isinstance(more, dict) else None
        if block is None or not isinstance(piece, str) or not piece:
            return []
        if block.form not in ("tool_call", "text"):
            block.pieces.append(piece)
            return []
        block.said = True
        return [events.PartDelta(part=block.part, text=piece)]

    def _reasoning(self, index: int, more: object, data: bytes) -> Events:
        if not isinstance(more, dict):
            return []
        redacted, signature = more.get("redactedContent"), more.get("signature")
        out: Events = []
        if isinstance(redacted, str):
            out, block = self._announced(index, "redacted")
            block.pieces.append(redacted)
        if isinstance(more.get("text"), str):
            out += self._shown(index, "thinking", more["text"])
        if isinstance(signature, str) and signature:
            opened, block = self._announced(index, "thinking")
            out += opened
            block.signature = (block.signature or "") + signature
        return out

    def _citation(self, index: int, more: object, data: bytes) -> Events:
        raw = (members((members(data) or {}).get("delta")) or {}).get("citation")
        if raw is None or not isinstance(more, dict):
            return []
        out, block = self._announced(index, "text")
        return [*out, events.PartDelta(part=block.part, citation=citation(raw))]

    def _collected(self, index: int, more: object, data: bytes) -> Events:
        """A piece of a tool's result or of an image."""
        block = self._blocks.get(index)
        if block is not None and block.form in ("opaque", "media"):
            block.pieces += more if isinstance(more, list) else [more]
        return []

    def _block_stop(self, body: Body, data: bytes) -> Events:
        return self._close(_index(body))

    def _close(self, index: int) -> Events:
        block = self._blocks.pop(index, None)
        if block is None:
            return []
        closed = events.PartClosed(part=block.part, signature=block.signature)
        match block.form:
            case "redacted":
                redacted = _joined(block.pieces)
                return [
                    events.PartOpened(part=block.part, form="thinking", redacted=redacted, dialect=NAME),
                    closed,
                ]
            case "media" if (data := _image_data(block.pieces)) is not None:
                type_ = f"image/{block.start.get('format') or 'png'}"
                return [
                    events.PartOpened(
                        part=block.part, form="media", media_type=type_, data=data, dialect=NAME
                    ),
                    closed,
                ]
            case "media" | "opaque":
                raw = dump({block.kind: _whole(block)})
                return [
                    events.PartOpened(part=block.part, form="opaque", dialect=NAME, name=block.kind, raw=raw),
                    closed,
                ]
            case "tool_call" | "text" if block.kind and not block.said:
                return [events.PartDelta(part=block.part, text="{}"), closed]
        return [closed]

    def _message_stop(self, body: Body, data: bytes) -> Events:
        native = body.get("stopReason")
        self._stopped = True
        self._native = native if isinstance(native, str) else None
        self._sequence = stop_sequence(body.get("additionalModelResponseFields"))
        out: Events = list(opaque(members(data) or {}))
        return out + self._end() if self._metered else out

    def _metadata(self, body: Body, data: bytes) -> Events:
        out: Events = list(opaque(members(data) or {}))
        self._reason = guardrail_reason(body.get("trace"))
        if body.get("usage") is not None:
            out.append(events.UsageSeen(usage=decode_usage(body["usage"], body.get("serviceTier"))))
        self._metered = True
        return out + self._end() if self._stopped else out

    def _end(self) -> Events:
        out: Events = []
        for index in list(self._blocks):
            out += self._close(index)
        failure = failure_of(self._native)
        if failure is not None:
            return out + self._fail(failure)
        self._done = True
        finished = events.Finished(
            reason=finish_of(self._native, calls=self._calls),
            native=self._native,
            stop_sequence=self._sequence,
            message=self._reason,
        )
        return [*out, finished, events.Ended()]


_HANDLERS: dict[str, Callable[[Decoder, Body, bytes], Events]] = {
    "messageStart": Decoder._message_start,
    "contentBlockStart": Decoder._block_start,
    "contentBlockDelta": Decoder._block_delta,
    "contentBlockStop": Decoder._block_stop,
    "messageStop": Decoder._message_stop,
    "metadata": Decoder._metadata,
}
_DELTAS: dict[str, Callable[[Decoder, int, object, bytes], Events]] = {
    "text": Decoder._text,
    "toolUse": Decoder._tool_use,
    "reasoningContent": Decoder._reasoning,
    "citation": Decoder._citation,
    "toolResult": Decoder._collected,
    "image": Decoder._collected,
}


def _index(body: Body) -> int:
    index = body.get("contentBlockIndex")
    return index if isinstance(index, int) else -1


def _joined(pieces: list[str]) -> str:
    """Base64 of what the pieces, each base64 of its own, hold together."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)


def _image_data(pieces: list[Any]) -> str | None:
    sources = [piece.get("source") for piece in pieces if isinstance(piece, dict)]
    texts = [source.get("bytes") for source in sources if isinstance(source, dict)]
    known = [text for text in texts if isinstance(text, str)]
    return _joined(known) if known else None


def _whole(block: _Block) -> Body:
    """The block as a whole reply has it."""
    if block.kind == "toolUse":
        text = "".join(piece for piece in block.pieces if isinstance(piece, str)) or "{}"
        found = members(text.encode("utf-8", "replace")) is not None
        return {**block.start, "input": Raw(text.encode()) if found else {"_raw": text}}
    return {**block.start, "content": block.pieces} if block.pieces else block.start
