"""Server-sent events, read the way the standard says, from bytes cut anywhere.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
LF, CRLF and CR end lines, also mixed; a byte order mark, comments, ``id:`` and ``retry:`` are
skipped; several ``data:`` lines are joined by a newline; one blank behind the colon is not data;
what is no UTF-8 is decoded to U+FFFD.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from llm_router.wire.bounds import overgrown

EVENT_BYTES_MAX = 32 * 1024 * 1024
"""Cap of one event. Events are small except those that carry a generated image as base64."""


BARREN_LINES_MAX = 100_000
"""How many lines may follow each other without completing an event: a comment a second, for a day."""

PIECE_BYTES = 1024 * 1024
"""Larger data is decoded in pieces of it."""

_BLANKS = re.compile(rb"\n{3,}")


class Frame(NamedTuple):
    """One event: its ``event:`` name (b"" if none) and its data."""

    event: bytes
    data: bytes


class EventTooLarge(ValueError):
    """An event grew past a cap: the stream cannot be trusted any more."""


class SSEReader:
    """Bytes in, frames out. ``comments`` counts comment lines, which carry no data."""

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._max = event_bytes_max
        self._buffer = bytearray()
        self._skip_lf = False
        self._first = True
        self._event = b""
        self._data: list[bytes] = []
        self._size = 0
        self._barren = 0
        self._fresh = True
        self.comments = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes, return the events they complete.

        Raises:
            EventTooLarge: one event exceeds the cap, or none comes of very many lines.
        """
        self._fresh = self.at_rest
        if self._fresh and data[-2:] == b"\n\n" and b"\r" not in data:
            # Nearly all that ever comes: whole events of one data line each.
            lines = data[:-2].split(b"\n\n")
            if len(data) <= self._max and all(_is_plain(line) for line in lines):
                self._barren = 0
                if data.isascii():
                    return [Frame(b"", line[6:]) for line in lines]
                return [Frame(b"", utf8(line[6:])) for line in lines]
        if self._skip_lf and data:
            self._skip_lf = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\r" in data:
            self._skip_lf = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n\n\n" in data:
            data = _BLANKS.sub(b"\n\n", data)  # blank lines after the first one mean nothing
        start = len(self._buffer)
        self._buffer += data
        if self._first:
            if len(self._buffer) < 3 and b"\xef\xbb\xbf".startswith(self._buffer):
                return []
            self._first = False
            if self._buffer.startswith(b"\xef\xbb\xbf"):
                del self._buffer[:3]
            start = 0
        if self._buffer.find(b"\n", start) < 0:
            self._check(len(self._buffer))
            return []
        end = self._buffer.rfind(b"\n") + 1
        lines = bytes(self._buffer[: end - 1]).split(b"\n")
        del self._buffer[:end]
        frames: list[Frame] = []
        for line in lines:
            self._line(line, frames)
        self._check(len(self._buffer))
        self._barren = 0 if frames else self._barren + len(lines)
        if self._barren > BARREN_LINES_MAX:
            raise EventTooLarge(f"a stream holds more than {BARREN_LINES_MAX} lines without an event")
        return frames

    @property
    def whole(self) -> bool:
        """Whether what was fed last was whole events, of which nothing had come before."""
        return self._fresh and self.at_rest

    @property
    def at_rest(self) -> bool:
        """Whether the last event is complete and nothing is pending."""
        return not (self._first or self._buffer or self._data or self._event or self._skip_lf)

    def close(self) -> list[Frame]:
        """The stream ended: the event that lacks only its closing blank line, if there is one.

        The standard discards it; providers are known to end without the last blank line. Whether
        its data is whole shows when it is parsed.
        """
        frames: list[Frame] = []
        if self._buffer:
            self._line(bytes(self._buffer), frames)
            self._buffer.clear()
        self._line(b"", frames)
        return frames

    def _line(self, line: bytes, frames: list[Frame]) -> None:
        if not line:
            if self._data:
                data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                if (why := overgrown(data)) is not None:
                    raise EventTooLarge(f"a stream event holds {why}")
                frames.append(Frame(self._event, data))
                self._data, self._size = [], 0
            self._event = b""
            return
        name, colon, value = line.partition(b":")
        if not name and colon:
            self.comments += 1
            return
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            value = utf8(value, self._max)
            self._data.append(value)
            self._size += len(value)
            self._check(0)
        elif name == b"event":
            self._event = value

    def _check(self, pending: int) -> None:
        if self._size + pending > self._max:
            raise EventTooLarge(f"a stream event exceeds {self._max} bytes")


def utf8(data: bytes, bytes_max: int | None = None) -> bytes:
    """The bytes, with U+FFFD for what is no UTF-8.

    Raises:
        EventTooLarge: they come to more than ``bytes_max`` by that.
    """
    if data.isascii():
        return data
    if len(data) > PIECE_BYTES:
        return _mended(data, bytes_max)
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data


def _mended(data: bytes, bytes_max: int | None) -> bytes:
    """The same piece by piece, since the text of all of it would take up to four times its room."""
    strict = codecs.getincrementaldecoder("utf-8")()
    pieces = range(0, len(data), PIECE_BYTES)
    try:
        for at in pieces:
            strict.decode(data[at : at + PIECE_BYTES], at + PIECE_BYTES >= len(data))
        return data
    except UnicodeDecodeError:
        pass
    out, lenient = bytearray(), codecs.getincrementaldecoder("utf-8")("replace")
    for at in pieces:
        out += lenient.decode(data[at : at + PIECE_BYTES], at + PIECE_BYTES >= len(data)).encode()
        if bytes_max is not None and len(out) > bytes_max:
            raise EventTooLarge(f"what is no UTF-8 in it makes it larger than {bytes_max} bytes")
    return bytes(out)


def _is_plain(line: bytes) -> bool:
    return line[:6] == b"data: " and b"\n" not in line
