"""The long body of a request, as it comes.

Pieces that are kept and joined at the end are copied once more, and for that moment the body is there twice. Here
every piece goes to its place at once, in the very bytes that the request will have as its body.
"""

from __future__ import annotations

import io

LEAST_BYTES = 64 * 1024
"""Shorter bodies come in few pieces, and are joined."""

_ROOM_MOST = 4
"""Room is made for so many times what has come: a length that is said makes no memory."""


class LongBody:
    """A body of known size.

    Attributes:
        missing: so many bytes have not come.
        head: the request's head, if the parser has not read it; parsed: how many bytes of the body it has read, if
            it has.
    """

    __slots__ = ("_buffer", "_room", "_size", "head", "missing", "parsed")

    def __init__(self, size: int, first: bytes, *, head: bytes = b"", parsed: int = 0) -> None:
        self._buffer = io.BytesIO()
        self._size = self.missing = size
        self._room = 0
        self.head = head
        self.parsed = parsed
        self.take(first)

    def take(self, data: bytes) -> bytes:
        """Take in what has come; what of it follows the body is given back."""
        missing = self.missing
        excess = b""
        if len(data) > missing:
            data, excess = data[:missing], data[missing:]
        came = self._size - missing + len(data)
        if came > self._room:
            self._make_room(came)
        self._buffer.write(data)
        self.missing = missing - len(data)
        return excess

    def so_far(self) -> bytes:
        """What has come; all of it, without a copy, once nothing is missing."""
        if self.missing:
            return self._buffer.getvalue()[: self._size - self.missing]
        return self._buffer.getvalue()

    def _make_room(self, came: int) -> None:
        buffer = self._buffer
        at, self._room = buffer.tell(), min(self._size, _ROOM_MOST * came)
        buffer.seek(self._room - 1)
        buffer.write(b"\0")
        buffer.seek(at)
