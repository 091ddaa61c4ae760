"""Streams, both ways: server-sent events without an end marker, or one JSON array.

https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from llm_router.domain.errors import RouterError, UpstreamKind
from llm_router.wire import chat, events
from llm_router.wire.again import MARK, Spot
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.gemini_generate.chunks import ChunkReader
from llm_router.wire.dialects.gemini_generate.errors import error_value
from llm_router.wire.dialects.gemini_generate.grounding import grounding_of
from llm_router.wire.dialects.gemini_generate.logprobs import encode_logprobs
from llm_router.wire.dialects.gemini_generate.members import NAME, compact, object_of
from llm_router.wire.dialects.gemini_generate.parts import PartWriter
from llm_router.wire.dialects.gemini_generate.reply import (
    add_opaque,
    finish_members,
    lose_source,
    usage_metadata,
)
from llm_router.wire.events import Event
from llm_router.wire.framing.jsonarray import ElementTooLarge, JSONArrayReader, NotAnArray
from llm_router.wire.framing.sse import EVENT_BYTES_MAX, EventTooLarge, SSEReader
from llm_router.wire.halves import HalfCharacters
from llm_router.wire.loss import Loss

HEARTBEAT = b"\r\n"
"""A blank line: google-genai reads any line that is neither blank nor data as the start of JSON, so
that an SSE comment would break it."""


class _Reader(Protocol):
    def feed(self, data: bytes) -> list[bytes]: ...
    def close(self) -> list[bytes]: ...


class _SSE:
    def __init__(self) -> None:
        self._reader = SSEReader()

    @property
    def whole(self) -> bool:
        return self._reader.whole

    def feed(self, data: bytes) -> list[bytes]:
        return [frame.data for frame in self._reader.feed(data) if frame.data.strip()]

    def close(self) -> list[bytes]:
        return [frame.data for frame in self._reader.close() if frame.data.strip()]


class _Array:
    def __init__(self) -> None:
        self._reader = JSONArrayReader()

    def feed(self, data: bytes) -> list[bytes]:
        return self._reader.feed(data)

    def close(self) -> list[bytes]:
        if not self._reader.closed:
            raise Cut
        return []


class _Object:
    """A provider that answers a streaming call with one plain object (errors mostly)."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self._data += data
        if len(self._data) > EVENT_BYTES_MAX:
            raise EventTooLarge(f"the reply exceeds {EVENT_BYTES_MAX} bytes")
        return []

    def close(self) -> list[bytes]:
        return [bytes(self._data)]


class Cut(ValueError):
    """The framing itself shows that the stream is not whole."""


class Messages:
    """Bytes in, messages out, whatever their framing: the first byte tells which it is."""

    def __init__(self) -> None:
        self._reader: _Reader | None = None
        self._head = b""

    def feed(self, data: bytes) -> list[bytes]:
        """
        Raises:
            NotAnArray, EventTooLarge, ElementTooLarge: the stream cannot be read any more.
        """
        if self._reader is None:
            self._head += data
            if len(self._head) < 3 and b"\xef\xbb\xbf".startswith(self._head):
                return []
            self._head = self._head.removeprefix(b"\xef\xbb\xbf").lstrip()
            first = self._head[:1]
            if not first:
                return []
            self._reader = _Array() if first == b"[" else _Object() if first == b"{" else _SSE()
            data, self._head = self._head, b""
        return self._reader.feed(data)

    @property
    def whole(self) -> bool:
        """Whether what was fed last was whole server-sent events."""
        return isinstance(self._reader, _SSE) and self._reader.whole

    def close(self) -> list[bytes]:
        """
        Raises:
            Cut: the array was not closed.
        """
        return self._reader.close() if self._reader is not None else []


BROKEN = (NotAnArray, EventTooLarge, ElementTooLarge)


class Decoder:
    """Upstream bytes to events."""

    def __init__(self) -> None:
        self._messages = Messages()
        self._halves = HalfCharacters()
        self._reader = ChunkReader()

    def feed(self, data: bytes) -> list[Event]:
        if self._reader.failed:
            return []
        try:
            messages = self._messages.feed(data)
        except BROKEN as error:
            return [self._reader.fail(f"The provider's stream cannot be read: {error}.")]
        return [event for message in messages for event in self._reader.take(self._halves.join(message))]

    def alike(self, event: bytes) -> Spot | None:
        return self._reader.alike(event) if self._messages.whole else None

    def took(self, piece: events.PartDelta, text: str) -> None:
        self._reader.took(piece, text)

    def close(self) -> list[Event]:
        if self._reader.failed:
            return []
        try:
            messages = self._messages.close()
        except Cut:
            return [self._reader.fail("The provider's stream ended in mid-array.", UpstreamKind.TRUNCATED)]
        if any(object_of(message) is None for message in messages):
            return [self._reader.fail("The provider's stream ended in mid-message.", UpstreamKind.TRUNCATED)]
        out = [event for message in messages for event in self._reader.take(message)]
        return out + self._reader.end()


class Writer:
    """Messages as frames: SSE with CRLF, as Google sends it, or elements of one JSON array."""

    def __init__(self, *, json_array: bool) -> None:
        self._array = json_array
        self._begun = False

    def frame(self, message: bytes) -> bytes:
        if not self._array:
            if b"\n" in message or b"\r" in message:  # an indented element of an array
                message = compact(message).encode()
            return b"data: " + message + b"\r\n\r\n"
        begun, self._begun = self._begun, True
        return (b",\r\n" if begun else b"[") + message

    def end(self) -> bytes:
        if not self._array:
            return b""
        return b"]" if self._begun else b"[]"


class _Written:
    """A part that the encoder has under way."""

    def __init__(self, opened: events.PartOpened) -> None:
        self.opened = opened
        self.text: list[str] = []
        self.citations: list[chat.Citation] = []


class Encoder:
    """Events to client bytes: a message for each delta, the finishes and the bill in the last one."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._frames = Writer(json_array=context.json_array)
        self._parts = PartWriter(foreign=True)
        self.losses: list[Loss] = self._parts.losses
        self._started = events.Started()
        self._open: dict[tuple[int, int], _Written] = {}
        self._cited: dict[int, list[tuple[int, chat.Text]]] = {}
        self._logprobs: dict[int, list[Any]] = {}
        self._opaque: dict[str, events.OpaqueSeen] = {}
        self._finished: dict[int, events.Finished] = {}
        self._usage: events.UsageSeen | None = None

    def encode(self, event: Event) -> bytes:
        match event:
            case events.PartDelta():
                return self._delta(event)
            case events.PartOpened():
                self._open[event.choice, event.part] = _Written(event)
                if event.form == "refusal":
                    self._parts.lose("refusal", "Gemini has no refusal part; it is sent as text")
            case events.PartClosed():
                return self._close(event)
            case events.LogProbs():
                self._logprobs.setdefault(event.choice, []).extend(msgspec.json.decode(event.content))
            case events.Started():
                self._started = event
            case events.Finished():
                self._finished[event.choice] = event
            case events.UsageSeen():
                self._usage = event
            case events.OpaqueSeen() if (
                event.dialect != NAME
            ):  # told now, since the record is written at the end
                self._parts.lose(event.name, f"only {event.dialect} has this member")
            case events.OpaqueSeen():
                self._opaque[event.name] = event
            case _:
                pass
        return b""

    def again(self, piece: events.PartDelta) -> bytes:
        written = self._open.get((piece.choice, piece.part))
        form = None if written is None else written.opened.form
        if form == "thinking":
            return self._part(piece.choice, {"text": MARK, "thought": True})
        return self._part(piece.choice, {"text": MARK}) if form in ("text", "refusal") else b""

    def told(self, piece: events.PartDelta, text: str) -> None:
        written = self._open[piece.choice, piece.part]
        if written.opened.form != "thinking":
            written.text.append(text)

    def finish(self, bill: Bill) -> bytes:
        out = b"".join(
            self._close(events.PartClosed(choice=choice, part=part)) for choice, part in list(self._open)
        )
        candidates = [self._last(index) for index in sorted(self._finished)]
        body: dict[str, Any] = {"candidates": candidates}
        add_opaque(body, self._opaque.values())
        if bill.usage is None and self._usage is not None:
            bill = msgspec.structs.replace(bill, usage=self._usage.usage)
        body["usageMetadata"] = usage_metadata(bill)
        return out + self._message(body) + self._frames.end()

    def fail(self, error: RouterError, request_id: str) -> bytes:
        return self._frames.frame(msgspec.json.encode(error_value(error, request_id))) + self._frames.end()

    def _last(self, index: int) -> dict[str, Any]:
        done = self._finished[index]
        candidate: dict[str, Any] = {
            "content": {"parts": [{"text": ""}], "role": "model"},  # as Google ends: clients read parts[0]
            **finish_members(done.reason, done.native, done.message),
            "index": index,
        }
        grounding = grounding_of(self._cited.get(index, []))
        if grounding is not None:
            candidate["groundingMetadata"] = grounding
        if index in self._logprobs:
            content = chat.Raw(msgspec.json.encode(self._logprobs[index]))
            candidate["logprobsResult"] = encode_logprobs(content)
        return candidate

    def _delta(self, event: events.PartDelta) -> bytes:
        written = self._open.get((event.choice, event.part))
        if written is None:
            return b""
        if event.citation is not None:
            written.citations.append(event.citation)
            lose_source(event.citation, self._parts)
        if not event.text:
            return b""
        form = written.opened.form
        if form != "thinking":
            written.text.append(event.text)
        if form == "thinking":
            return self._part(event.choice, {"text": event.text, "thought": True})
        return self._part(event.choice, {"text": event.text}) if form in ("text", "refusal") else b""

    def _close(self, event: events.PartClosed) -> bytes:
        """What of a part can be said only when it is whole: calls, media, signatures, citations."""
        written = self._open.pop((event.choice, event.part), None)
        if written is None:
            return b""
        o, text = written.opened, "".join(written.text)
        signature = event.signature if event.signature is not None else o.signature
        part: chat.Part
        match o.form:
            case "text":
                if written.citations:
                    said = chat.Text(text=text, citations=tuple(written.citations))
                    self._cited.setdefault(event.choice, []).append((event.part, said))
                part = chat.Text(text="", signature=signature, origin=o.dialect)
            case "thinking":
                part = chat.Thinking(
                    text="", signature=signature, redacted=o.redacted, id=o.id or None, origin=o.dialect
                )
            case "tool_call":
                part = chat.ToolCall(
                    id=o.id,
                    name=o.name,
                    arguments=text,
                    custom=o.custom,
                    signature=signature,
                    origin=o.dialect,
                )
            case "media":
                part = chat.Media(
                    form="image", data=o.data, media_type=o.media_type, signature=signature, origin=o.dialect
                )
            case "opaque":
                part = chat.Opaque(dialect=o.dialect or "", name=o.name, raw=o.raw or chat.Raw(b"null"))
            case _:
                return b""
        piece = self._parts.write(part)
        return b"" if piece is None else self._part(event.choice, piece)

    def _part(self, choice: int, part: object) -> bytes:
        content = {"parts": [part], "role": "model"}
        return self._message({"candidates": [{"content": content, "index": choice}]})

    def _message(self, body: dict[str, Any]) -> bytes:
        body["modelVersion"] = self._started.model or self._context.model
        body["responseId"] = self._started.id or self._context.reply_id
        return self._frames.frame(msgspec.json.encode(body))
