"""The same dialect on both sides: the provider's bytes, with the bill written into the last usage.

Messages are observed by the same machine that decodes them, but go out as they came. Held back are
what comes before the first content, and everything from the message with which the last candidate
finishes: the bill belongs into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from llm_router.domain.errors import RouterError, UpstreamError, UpstreamKind
from llm_router.wire import events
from llm_router.wire.again import Again
from llm_router.wire.dialect import Bill, Observed, ReplyContext, StreamEncoder
from llm_router.wire.dialects.gemini_generate.chunks import ChunkReader
from llm_router.wire.dialects.gemini_generate.enums import name_enums
from llm_router.wire.dialects.gemini_generate.errors import error_value
from llm_router.wire.dialects.gemini_generate.finish import FAILURES
from llm_router.wire.dialects.gemini_generate.members import object_of
from llm_router.wire.dialects.gemini_generate.reply import billing_members
from llm_router.wire.dialects.gemini_generate.stream import BROKEN, Cut, Messages, Writer
from llm_router.wire.dialects.gemini_generate.usage import encode_usage
from llm_router.wire.framing.sse import EVENT_BYTES_MAX, EventTooLarge, SSEReader
from llm_router.wire.relay import PREAMBLE_BYTES_MAX, caught_up

_BLANK_LINES = (b"\n\n", b"\n\r", b"\r\r")
"""How the end of a line and an empty line behind it can look; a further LF belongs to a CR."""


class Frame(NamedTuple):
    """A message and the bytes it came in; ``raw`` is None where it came in another framing."""

    message: bytes
    raw: bytes | None


def annotate(message: bytes, bill: Bill) -> bytes:
    """The message with the bill in its usageMetadata; all else keeps its bytes."""
    members = object_of(message) or {}
    meta: dict[str, Any] = dict(object_of(members.get("usageMetadata")) or {})
    if not meta and bill.usage is not None:
        meta = encode_usage(bill.usage)
    body: dict[str, Any] = {**members, "usageMetadata": meta | billing_members(bill)}
    return msgspec.json.encode(body)


class Watcher:
    """Notes what passes by."""

    def __init__(self, *, whole: bool = False) -> None:
        self.reader = ChunkReader(native=True, whole=whole)
        self.observed = Observed()
        self._thinking: set[tuple[int, int]] = set()

    def take(self, message: bytes) -> None:
        for event in self.reader.take(message):
            self._note(event)

    def end(self) -> None:
        for event in self.reader.end():
            self._note(event)

    def fail(self, message: str, kind: UpstreamKind) -> None:
        self._note(self.reader.fail(message, kind))

    def _note(self, event: events.Event) -> None:
        seen = self.observed
        match event:
            case events.PartDelta():
                seen.content_started = seen.content_started or bool(event.text)
                if (event.choice, event.part) in self._thinking:
                    seen.reasoning_chars += len(event.text)
                else:
                    seen.output_chars += len(event.text)
            case events.PartOpened():
                if event.form == "thinking":
                    self._thinking.add((event.choice, event.part))
                elif event.form != "text":
                    seen.content_started = True
                    seen.output_chars += len(event.name)
            case events.UsageSeen():
                seen.usage = event.usage
                if event.usage is None and "usage_invalid" not in seen.flags:
                    seen.flags.append("usage_invalid")
            case events.Finished():
                if seen.finish is None or event.choice == 0:
                    seen.finish = "error" if event.native in FAILURES else event.reason.value
                    seen.native_finish = event.native
            case events.Started():
                seen.upstream_id = seen.reply_id = event.id or None
                seen.upstream_model = event.model or None
            case events.Failed():
                seen.error = event.error
            case events.Ended():
                seen.ended = True
            case _:
                pass


class PassedReply:
    """A whole reply that passes."""

    def __init__(self, body: bytes, context: ReplyContext) -> None:
        self._body = name_enums(body)
        watcher = Watcher(whole=True)
        watcher.take(body)
        watcher.end()
        self.observed = watcher.observed
        if self.observed.reply_id is None:
            self.observed.reply_id = context.reply_id

    def finish(self, bill: Bill) -> bytes:
        return annotate(self._body, bill)


class _Frames:
    """Server-sent events as the bytes they came in; other framings by their messages alone."""

    def __init__(self) -> None:
        self._other: Messages | None = None
        self._buffer = bytearray()
        self._sse = False
        self._searched = 0

    def feed(self, data: bytes) -> list[Frame]:
        if self._other is not None:
            return [Frame(message, None) for message in self._other.feed(data)]
        self._buffer += data
        if not self._sse:
            first = bytes(self._buffer).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
            if not first:  # nothing yet but blank lines, which say nothing
                if len(self._buffer) > 3:
                    self._buffer.clear()
                return []
            if first in (b"[", b"{"):
                self._other, data = Messages(), bytes(self._buffer)
                self._buffer.clear()
                return self.feed(data)
            self._sse = True
        frames = self._cut()
        if len(self._buffer) > EVENT_BYTES_MAX:
            raise EventTooLarge(f"a stream event exceeds {EVENT_BYTES_MAX} bytes")
        return frames

    def close(self) -> list[Frame]:
        if self._other is not None:
            return [Frame(message, None) for message in self._other.close()]
        rest = bytes(self._buffer)
        self._buffer.clear()
        if not rest.endswith((b"\n\n", b"\r\r", b"\n\r\n")):
            rest = rest.rstrip(b"\r\n") + b"\r\n\r\n"
        return _frames_of(rest)

    def _cut(self) -> list[Frame]:
        """Take whole events off the buffer. A last CR waits: an LF may follow it."""
        frames: list[Frame] = []
        end = len(self._buffer) - (1 if self._buffer.endswith(b"\r") else 0)
        start, at = 0, self._searched
        while (stop := self._event_end(at, end)) is not None:
            frames += _frames_of(bytes(self._buffer[start:stop]))
            start = at = stop
        del self._buffer[:start]
        self._searched = max(0, len(self._buffer) - 4)  # a blank line cut in two is four bytes at most
        return frames

    def _event_end(self, at: int, end: int) -> int | None:
        """Where the first event from ``at`` ends, behind its blank line."""
        found = [place for mark in _BLANK_LINES if (place := self._buffer.find(mark, at, end)) >= 0]
        if not found:
            return None
        stop = min(found) + 2
        return stop + 1 if self._buffer[stop - 1 : stop + 1] == b"\r\n" else stop


def _frames_of(raw: bytes) -> list[Frame]:
    """The frame of one event's bytes; none for blank lines and comments."""
    line = raw.rstrip(b"\r\n")
    if line.startswith(b"data:") and b"\n" not in line and b"\r" not in line:  # as Google writes it
        message = line[6:] if line[5:6] == b" " else line[5:]
        return [Frame(message, raw)] if message.strip() else []
    reader = SSEReader()
    found = [frame.data for frame in (*reader.feed(raw), *reader.close()) if frame.data.strip()]
    return [Frame(message, raw if len(found) == 1 else None) for message in found]


class PassRelay:
    """A stream that passes."""

    def __init__(self, context: ReplyContext) -> None:
        self._watcher = Watcher()
        self.again: Again | None = None
        self.observed = self._watcher.observed
        self._frames = _Frames()
        self._writer = Writer(json_array=context.json_array)
        self._verbatim = not context.json_array
        self._preamble = bytearray()
        self._last: list[Frame] = []

    def feed(self, data: bytes) -> bytes:
        if self.observed.error is not None:
            return b""
        try:
            frames = self._frames.feed(data)
        except BROKEN as error:
            self._watcher.fail(f"The provider's stream cannot be read: {error}.", UpstreamKind.MALFORMED)
            return b""
        return self._take(frames)

    def close(self) -> bytes:
        if self.observed.error is not None:
            return b""
        cut = "The provider's stream ended before the answer was complete."
        try:
            frames = self._frames.close()
        except Cut:
            frames = []
            self._watcher.fail(cut, UpstreamKind.TRUNCATED)
        if any(object_of(frame.message) is None for frame in frames):
            self._watcher.fail(cut, UpstreamKind.TRUNCATED)
        out = self._take(frames)
        self._watcher.end()
        return out

    def finish(self, bill: Bill) -> bytes:
        out = bytes(self._preamble)
        self._preamble.clear()
        bearer = max(
            (n for n, frame in enumerate(self._last) if b'"usageMetadata"' in frame.message),
            default=len(self._last) - 1,
        )
        for number, frame in enumerate(self._last):
            out += self._write(_billed(frame, bill) if number == bearer else frame)
        self._last.clear()
        return out + self._writer.end()

    def fail(self, error: RouterError, request_id: str) -> bytes:
        held = bytes(self._preamble)
        self._preamble.clear()
        message = msgspec.json.encode(error_value(error, request_id))
        return held + self._writer.frame(message) + self._writer.end()

    def handover(self, encoder: StreamEncoder, told: Sequence[events.Event]) -> StreamEncoder:
        return caught_up(encoder, told)

    def _take(self, frames: list[Frame]) -> bytes:
        out = b""
        for frame in map(_named, frames):
            if self.observed.error is not None:
                break
            self._watcher.take(frame.message)
            if self.observed.error is not None:
                break
            if self._watcher.reader.finished:
                self._last.append(frame)
            else:
                for held in self._last:  # a further candidate began behind the finish of the others
                    out += self._write(held)
                self._last.clear()
                out += self._write(frame)
        if self.observed.content_started:
            out = bytes(self._preamble) + out
            self._preamble.clear()
            return out
        self._preamble += out
        if len(self._preamble) > PREAMBLE_BYTES_MAX and self.observed.error is None:
            self.observed.error = UpstreamError(
                "The provider sent no content, only preamble.", kind=UpstreamKind.MALFORMED
            )
        return b""

    def _write(self, frame: Frame) -> bytes:
        if self._verbatim and frame.raw is not None:
            return frame.raw
        return self._writer.frame(frame.message)


def _named(frame: Frame) -> Frame:
    message = name_enums(frame.message)
    return frame if message is frame.message else Frame(message, None)


def _billed(frame: Frame, bill: Bill) -> Frame:
    message = annotate(frame.message, bill)
    if frame.raw is None or frame.raw.count(frame.message) != 1:
        return Frame(message, None)
    return Frame(message, frame.raw.replace(frame.message, message))
