"""One top-level JSON array, read element by element from bytes cut anywhere.

Google's streaming endpoints answer so when the client does not ask for server-sent events:
``[{...}\\n,\\r\\n{...}\\n]`` (https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent).
Elements are cut out, not parsed: whether each is valid JSON shows when it is decoded.
"""

from __future__ import annotations

import re

from llm_router.wire.bounds import overgrown

ELEMENT_BYTES_MAX = 32 * 1024 * 1024
"""Cap of one element. Elements are small except those that carry a generated image as base64."""

_BLANK = b" \t\r\n"
_OUTSIDE = re.compile(rb'["{}\[\],]')
_INSIDE = re.compile(rb'["\\]')


class NotAnArray(ValueError):
    """The bytes are not one JSON array."""


class ElementTooLarge(ValueError):
    """An element grew past the cap: the stream cannot be trusted any more."""


class JSONArrayReader:
    """Bytes in, elements out. ``closed`` turns True with the array's closing bracket."""

    def __init__(self, element_bytes_max: int = ELEMENT_BYTES_MAX) -> None:
        self._max = element_bytes_max
        self._buffer = bytearray()
        self._at = 0  # the next byte to look at; one behind the end after a cut escape
        self._depth = 0
        self._quoted = False
        self.closed = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes, return the elements they complete.

        Raises:
            NotAnArray: something else than white space before or behind the array.
            ElementTooLarge: one element exceeds the cap.
        """
        self._buffer += data
        if not self._depth and not self._open():
            return []
        elements: list[bytes] = []
        start = 0
        while True:
            if self._quoted:
                match = _INSIDE.search(self._buffer, self._at)
                if match is None:
                    self._at = max(self._at, len(self._buffer))
                    break
                if match[0] == b"\\":
                    self._at = match.end() + 1
                    continue
                self._quoted, self._at = False, match.end()
                continue
            match = _OUTSIDE.search(self._buffer, self._at)
            if match is None:
                self._at = len(self._buffer)
                break
            self._at = match.end()
            start = self._mark(match, start, elements)
            if self.closed:
                start = self._at
                self._rest(start)
                break
        del self._buffer[:start]
        self._at -= start
        if len(self._buffer) > self._max:
            raise ElementTooLarge(f"an element of the array exceeds {self._max} bytes")
        return elements

    def _open(self) -> bool:
        """Skip to the opening bracket."""
        if self.closed:
            self._rest(0)
            return False
        if self._buffer.startswith(b"\xef\xbb\xbf"):
            del self._buffer[:3]
        elif b"\xef\xbb\xbf".startswith(self._buffer):
            return False
        head = self._buffer.lstrip(_BLANK)
        if not head:
            self._buffer.clear()
            return False
        if head[:1] != b"[":
            raise NotAnArray("the stream is not a JSON array")
        self._buffer = head[1:]
        self._at, self._depth = 0, 1
        return True

    def _mark(self, match: re.Match[bytes], start: int, elements: list[bytes]) -> int:
        """Note one structural byte; return where the element under way begins."""
        mark = match[0]
        if mark == b'"':
            self._quoted = True
        elif mark in b"{[":
            self._depth += 1
        elif mark == b",":
            if self._depth == 1:
                self._add(elements, start, match.start())
                return match.end()
        elif self._depth > 1:
            self._depth -= 1
            if self._depth == 1:
                self._add(elements, start, match.end())
                return match.end()
        else:
            self._add(elements, start, match.start())
            self._depth, self.closed = 0, True
        return start

    def _add(self, elements: list[bytes], start: int, end: int) -> None:
        element = bytes(self._buffer[start:end]).strip(_BLANK)
        if (why := overgrown(element)) is not None:
            raise ElementTooLarge(f"an element of the array holds {why}")
        if element:
            elements.append(element)

    def _rest(self, start: int) -> None:
        if self._buffer[start:].strip(_BLANK):
            raise NotAnArray("something follows the JSON array")
        self._buffer.clear()
        self._at = 0
