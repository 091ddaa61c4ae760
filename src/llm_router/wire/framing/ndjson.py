"""One JSON text a line, read from bytes cut anywhere. https://github.com/ndjson/ndjson-spec

LF and CRLF end a line; empty lines and a byte order mark are skipped. Whether a line is JSON shows
when it is decoded. A line that only lacks its end is given by ``close``.
"""

from __future__ import annotations

from llm_router.wire.bounds import overgrown

LINE_BYTES_MAX = 32 * 1024 * 1024
"""Cap of one line. Lines are small except those that carry a generated image as base64."""

_MARK = b"\xef\xbb\xbf"


class LineTooLarge(ValueError):
    """A line grew past the cap: the stream cannot be trusted any more."""


class NDJSONReader:
    """Bytes in, lines out."""

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._max = line_bytes_max
        self._buffer = bytearray()
        self._first = True

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes, return the lines they complete.

        Raises:
            LineTooLarge: one line exceeds the cap.
        """
        start = len(self._buffer)
        self._buffer += data
        if self._buffer.find(b"\n", start) < 0:
            self._check(len(self._buffer))
            return []
        end = self._buffer.rfind(b"\n")
        lines = bytes(self._buffer[:end]).split(b"\n")
        del self._buffer[: end + 1]
        self._check(max(len(self._buffer), *map(len, lines)))
        return self._clean(lines)

    def close(self) -> list[bytes]:
        """The stream ended: the line that lacks its end, if there is one."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return self._clean([rest])

    def _clean(self, lines: list[bytes]) -> list[bytes]:
        if self._first:
            self._first = False
            lines[0] = lines[0].removeprefix(_MARK)
        return self._checked([line for line in map(bytes.strip, lines) if line])

    def _check(self, size: int) -> None:
        if size > self._max:
            raise LineTooLarge(f"a line of the stream exceeds {self._max} bytes")

    def _checked(self, lines: list[bytes]) -> list[bytes]:
        for line in lines:
            if (why := overgrown(line)) is not None:
                raise LineTooLarge(f"a line of the stream holds {why}")
        return lines
