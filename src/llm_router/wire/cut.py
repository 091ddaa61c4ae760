"""Pictures cut out of a request's JSON: what is left is read and written without them, and they go on as they came.

A picture in a body is one text of JSON that goes on for long without a quote. Each such run is looked at once: if it
holds nothing but plain characters, another plain text can stand in its place without changing what JSON the rest is.
For within a text one plain run is as good as another, and outside of texts the mark is no JSON at all.
"""

from __future__ import annotations

import msgspec

from llm_router.wire.verbatim import NOT_JSON

LEAST_BYTES = 96 * 1024
"""Of a body that is looked at; shorter ones are read as fast."""

_RUN = 32 * 1024
_STEP = _RUN // 2
_KEPT = 64
"""Of a run's beginning, which says what it is."""

MARK = "~cut~of~here~"
"""Stands for the rest of a run."""

_MARK = MARK.encode()
_check = msgspec.json.Decoder(msgspec.Raw).decode

Pieces = tuple[bytes | memoryview, ...]
"""A body that is sent piece by piece."""


class Cut(msgspec.Struct, frozen=True):
    """A body without its long runs, and these."""

    short: bytes
    runs: tuple[memoryview, ...]

    def whole(self, short: bytes) -> Pieces | None:
        """What was written for the shortened body, with the runs in their places; None if these are not known."""
        parts = short.split(_MARK)
        if len(parts) != len(self.runs) + 1:
            return None
        pieces: list[bytes | memoryview] = [parts[0]]
        for run, part in zip(self.runs, parts[1:], strict=True):
            pieces += (run, part)
        return tuple(pieces)


def cut(body: bytes) -> Cut | None:
    """A body without its long runs; None if it has none, or marks of its own."""
    spans = _runs(body)
    if not spans:
        return None
    whole, at = memoryview(body), 0
    rest: list[bytes] = []
    for begin, end in spans:
        rest.append(body[at:begin])
        at = end
    rest.append(body[at:])
    made = _MARK.join(rest)
    if made.split(_MARK) != rest:  # there are others, or one begins in what stands before ours
        return None
    return Cut(made, tuple(whole[begin:end] for begin, end in spans))


def _runs(body: bytes) -> list[tuple[int, int]]:
    """Where the rest of each long run begins and ends. A run has a quote at either end, and none in it: every
    place that is looked at is in one."""
    found: list[tuple[int, int]] = []
    ascii_, view, least, at = None, memoryview(body), 0, _STEP
    while at < len(body):
        end = body.find(b'"', at)
        if end < 0:
            break
        begin = body.rfind(b'"', least, at) + 1
        if end - begin >= _RUN and begin > 0 and body.find(b"\\", begin, end) < 0:
            ascii_ = body.isascii() if ascii_ is None else ascii_
            if (ascii_ or bytes(view[begin:end]).isascii()) and _is_text(view[begin - 1 : end + 1]):
                found.append((begin + _KEPT, end))
        least = end
        at = end + _STEP
    return found


def _is_text(quoted: memoryview) -> bool:
    """Whether it is a text of JSON: with no control characters in it."""
    try:
        _check(quoted)
    except NOT_JSON:
        return False
    return True
