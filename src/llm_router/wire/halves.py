"""Characters that a provider cuts in two: half of a surrogate pair ends one delta, the other begins the next.

Each half alone is JSON that cannot be read as text, and would become U+FFFD.
"""

from __future__ import annotations

from llm_router.domain import late

_HIGH = late.compile(rb'(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2})(?=")')
"""A first half at the end of a string; an even number of backslashes before it is text."""

_LOW = late.compile(rb'(?<!\\)"(?=\\u[dD][c-fC-F][0-9a-fA-F]{2})')
"""The start of a string that begins with a second half."""


class HalfCharacters:
    """Moves the first half of a character into the event that holds its second half."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = b""

    def join(self, data: bytes) -> bytes:
        """The JSON of one event of a stream; the same bytes where no character is cut."""
        if b"\\u" not in data:
            return data
        if self._half:
            joined, count = _LOW.subn(lambda _: b'"' + self._half, data)
            if count:
                data, self._half = joined, b""
        found = _HIGH.search(data)
        if found is None:
            return data
        self._half = found[2]
        return _HIGH.sub(lambda match: match[1], data)
