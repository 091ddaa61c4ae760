"""Events of a stream that are, byte for byte, the one before but for their text.

Nearly all that ever comes of an answer is such events. What one of them means was found out the thorough way; the
next, whose bytes around a JSON string are the same, means the same with that string in its place, whatever the
string: so it is told without being parsed. Whoever makes an :class:`Again` knows that such an event changes nothing
else. All that is not exactly so goes the thorough way, after which an :class:`Again` has to be made anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from llm_router.wire.events import PartDelta

if TYPE_CHECKING:
    from llm_router.wire.dialect import Observed

EVENTS_BYTES_MAX = 64 * 1024
"""What comes in larger pieces is read the thorough way, which bounds it."""

TEXTS_MAX = 64
"""So many texts are noted before who wants them has to be told."""

TRIES_MAX = 8
"""So many in vain, and a stream is taken for one whose events all differ."""

MARK = "llm-router: any text"
"""Stands for the text where it is tried what an event with another one is."""

_MARKED = b'"' + MARK.encode() + b'"'
_STRING = rb'" ?: ?"((?:[^"\\]|\\.)*+)"'

_encode = msgspec.json.Encoder().encode
_text_of = msgspec.json.Decoder(str).decode
_tree_of = msgspec.json.Decoder(dict[str, Any]).decode


class Spot(NamedTuple):
    """Where the text of an event stands: all bytes before it and after it, the quotation marks included. ``tail``: what
    follows a padding, which stands behind ``after``; None where there is none."""

    before: bytes
    after: bytes
    tail: bytes | None


def spot_in(event: bytes, name: bytes, paddings: bytes = b"") -> tuple[Spot, bytes, dict[str, Any]] | None:
    """Where the only text of that name stands in an event, and the event's JSON with MARK in its place: as bytes, and
    read. None if it cannot be told.

    Args:
        event: its bytes with their framing, which hold one JSON object.
        paddings: a pattern of members that only blur the length of an event. One may be behind the text; in the JSON
            it is empty then.
    """
    at, end = event.find(b"{"), event.rfind(b"}") + 1
    data, behind = event[at:end], event[end:]
    found = list(re.finditer(rb'"' + name + _STRING, data))
    if len(found) != 1 or MARK.encode() in data:
        return None
    begin, end = found[0].span(1)
    before, after, tail = data[:begin], data[end:], b""
    blurs = list(re.finditer(rb'"(?:' + paddings + rb")" + _STRING, after)) if paddings else []
    if len(blurs) > 1:
        return None
    if blurs:
        first, last = blurs[0].span(1)
        after, tail = after[:first], after[last:]
    marked = before + MARK.encode() + after + tail
    try:
        _text_of(data[begin - 1 : end + 1])  # else it was mended, and others need not be
        tree = _tree_of(marked)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if blurs:
        return Spot(event[:at] + before, after, tail + behind), marked, tree
    return Spot(event[:at] + before, after + behind, None), marked, tree


@runtime_checkable
class RepeatingDecoder(Protocol):
    """A decoder of streams that knows such events."""

    def alike(self, event: bytes) -> Spot | None:
        """Where the text stands in bytes that were fed just now and gave one piece of text and nothing else. An event
        with another text there would give that piece with it, and change nothing but what :meth:`took` does. None
        where that is not known."""
        ...

    def took(self, piece: PartDelta, text: str) -> None:
        """Such events came, after that piece; their texts."""
        ...


@runtime_checkable
class RepeatingEncoder(Protocol):
    """An encoder of streams that knows what it would tell of them."""

    def again(self, piece: PartDelta) -> bytes:
        """What a further piece of the same part would be told as, with MARK as its text, after one that was told. b""
        where that is not known, or changes more than :meth:`told` does."""
        ...

    def told(self, piece: PartDelta, text: str) -> None:
        """Such pieces were told, after that one; their texts."""
        ...


class Course(NamedTuple):
    """What a bridge tells again: pieces like this one, between these two."""

    decoder: RepeatingDecoder
    encoder: RepeatingEncoder
    piece: PartDelta


class Again(msgspec.Struct):
    """Tells events that are like one that was read, and counts them.

    Attributes:
        used: whether it told any.
    """

    _before: bytes
    _after: bytes
    _tail: bytes | None
    _told_before: bytes
    _told_after: bytes
    _verbatim: bool
    _same: bool  # what goes out is what came
    _seen: Observed
    _reasons: bool
    _texts: list[str] | None
    used: bool = False

    @classmethod
    def of(
        cls,
        spot: Spot,
        told: bytes,
        seen: Observed,
        *,
        verbatim: bool = False,
        reasons: bool = False,
        texts: list[str] | None = None,
    ) -> Again | None:
        """
        Args:
            told: what goes out for an event whose text is MARK.
            seen: where characters are counted, of reasoning where these are that.
            verbatim: a text goes out as it was written, not written anew.
            texts: what is told is noted there, until somebody clears it: so many at most.
        """
        before, mark, after = told.partition(_MARKED)
        if not mark or _MARKED in after:
            return None
        same = verbatim and spot == (before + b'"', b'"' + after, None)
        return cls(*spot, before, after, verbatim, same, seen, reasons, texts)

    def tell(self, data: bytes) -> bytes:
        """What goes out for these bytes, if they are nothing but whole events of this kind, each with some text. b"" for
        anything else: then nothing was noted, and they have to be read."""
        before, after, tail, noted = self._before, self._after, self._tail, self._texts
        if len(data) > EVENTS_BYTES_MAX or (noted is not None and len(noted) >= TEXTS_MAX):
            return b""
        told, texts, chars, at = b"", [], 0, 0
        while data.startswith(before, at):
            begin = at + len(before)
            end = data.find(after, begin)
            if end < 0:
                return b""
            at = end + len(after)
            if tail is not None:
                stop = data.find(tail, at)
                if stop < at or not (stop == at or data[at:stop].isalnum()):
                    return b""
                at = stop + len(tail)
            quoted = data[begin - 1 : end + 1]
            try:
                text = _text_of(quoted)
            except (msgspec.MsgspecError, ValueError):
                return b""
            if not text:
                return b""
            chars += len(text)
            if noted is not None:
                texts.append(text)
            if not self._same:
                if not self._verbatim and b"\\" in quoted:
                    quoted = _encode(text)
                told += self._told_before + quoted + self._told_after
            if at == len(data):
                self.used = True
                if noted is not None:
                    noted += texts
                if self._reasons:
                    self._seen.reasoning_chars += chars
                else:
                    self._seen.output_chars += chars
                return data if self._same else told
        return b""
