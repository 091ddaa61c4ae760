"""What a client has been told of an answer: kept as bytes while the stream runs, read when it broke.

A stream that ends well costs no second reading: its bytes are only kept, and packed where an answer is long, since
events repeat themselves.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

import msgspec

from llm_router.wire import events
from llm_router.wire.dialect import StreamDecoder
from llm_router.wire.lenient import load_object
from llm_router.wire.toolsback import ToolsBack

KEPT_BYTES = 32 * 1024
"""So many bytes are kept as they came before they are packed."""

PACKED_BYTES_MAX = 512 * 1024
"""Streams that come to more, packed, are not gone on with, and nothing of them is kept any more."""

TOLD_CHARS_MAX = 1024 * 1024
"""Longer answers are not gone on with: no model takes them back."""


class Part:
    """A part that the client has been told of, as far as it came."""

    __slots__ = ("closed", "opened", "pieces")

    def __init__(self, opened: events.PartOpened) -> None:
        self.opened = opened
        self.pieces: list[str] = []
        self.closed = False

    @property
    def text(self) -> str:
        """Its text, or the arguments of a call."""
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""

    @property
    def whole(self) -> bool:
        """Whether a call is complete: it was closed, or its arguments are an object."""
        return self.closed or (not self.opened.custom and load_object(self.text.encode()) is not None)


class Told:
    """The parts of one choice, in their order. ``odd``: it holds what cannot be asked for again."""

    def __init__(self) -> None:
        self.parts: dict[int, Part] = {}
        self.started = events.Started()
        self.finished = False
        self.odd = False
        self.chars = 0

    def add(self, event: events.Event) -> None:
        """Note an event that was told. Never raises."""
        match event:
            case events.PartDelta():
                part = self.parts.get(event.part)
                if event.choice or part is None:
                    self.odd = True
                elif event.text:
                    part.pieces.append(event.text)
                    self.chars += len(event.text)
            case events.PartOpened():
                self.odd |= event.choice > 0 or event.form in ("media", "opaque", "refusal")
                self.parts[event.part] = Part(event)
            case events.PartClosed() if event.part in self.parts:
                self.parts[event.part].closed = True
            case events.LogProbs():
                self.odd = True
            case events.Finished():
                self.finished = True
            case events.Started():
                self.started = event
            case _:
                pass

    @property
    def text(self) -> str:
        """All visible text."""
        return "".join(part.text for part in self.parts.values() if part.opened.form == "text")

    @property
    def calls(self) -> list[Part]:
        return [part for part in self.parts.values() if part.opened.form == "tool_call"]

    @property
    def last(self) -> Part | None:
        """The part that was told last."""
        return self.parts[next(reversed(self.parts))] if self.parts else None

    @property
    def next_part(self) -> int:
        """The first number that no part has."""
        return max(self.parts, default=-1) + 1


class Transcript:
    """Keeps the bytes of a stream, so that what was told can be said if it breaks.

    Attributes:
        lost: there were too many of them.
    """

    __slots__ = ("_kept", "_new", "_packed", "_packed_size", "_size", "lost")

    def __init__(self, decoder: Callable[[], StreamDecoder]) -> None:
        self._new = decoder
        self._kept: list[bytes] = []
        self._size = 0
        self._packed: list[bytes] = []
        self._packed_size = 0
        self.lost = False

    def hear(self, data: bytes) -> None:
        """Keep what was fed to the relay."""
        if self.lost:
            return
        self._kept.append(data)
        self._size += len(data)
        if self._size > KEPT_BYTES:
            self._pack()

    def told(self, back: ToolsBack) -> tuple[Told, list[events.Event]]:
        """What the client was told, and the events that tell it. Called once, when the stream broke, unless
        it was lost."""
        decoder, heard = self._new(), list[events.Event]()
        for block in self._packed:
            heard += joined(decoder.feed(zlib.decompress(block)))
        heard += joined(decoder.feed(b"".join(self._kept)))
        heard += joined(decoder.close())
        told, shown = Told(), []
        for event in heard:
            if isinstance(event, events.Failed | events.Ended | events.UsageSeen):
                continue
            for known in back.take(event):
                told.add(known)
                shown.append(known)
        return told, shown

    def _pack(self) -> None:
        block = zlib.compress(b"".join(self._kept), 1)
        self._kept, self._size = [], 0
        self._packed.append(block)
        self._packed_size += len(block)
        if self._packed_size > PACKED_BYTES_MAX:
            self._packed, self.lost = [], True


def joined(batch: Iterable[events.Event]) -> list[events.Event]:
    """The same events, with neighbouring pieces of one part made one."""
    out: list[events.Event] = []
    pieces: list[str] = []
    for event in batch:
        last = out[-1] if out else None
        if not (isinstance(event, events.PartDelta) and event.citation is None):
            _put(out, pieces)
            out.append(event)
        elif isinstance(last, events.PartDelta) and pieces and _same(last, event):
            pieces.append(event.text)
        else:
            _put(out, pieces)
            out.append(event)
            pieces = [event.text]
    _put(out, pieces)
    return out


def _same(one: events.PartDelta, other: events.PartDelta) -> bool:
    return (one.choice, one.part) == (other.choice, other.part)


def _put(out: list[events.Event], pieces: list[str]) -> None:
    if len(pieces) > 1:
        last = out[-1]
        assert isinstance(last, events.PartDelta)
        out[-1] = msgspec.structs.replace(last, text="".join(pieces))
    pieces.clear()
