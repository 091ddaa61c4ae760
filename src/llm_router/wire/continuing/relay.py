"""The relay of a continuation: what another model goes on with, told as the rest of one answer.

Reasoning is not told again. Parts get the numbers that follow those of the answer so far; text goes on in the part
that is open; calls that were made already are not made twice, and one that broke off is completed from the call that the
model makes again. An answer in JSON must stay valid JSON, or the exchange fails: no end is invented.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llm_router.domain.errors import RouterError, UpstreamError, UpstreamKind
from llm_router.wire import events
from llm_router.wire.again import Again
from llm_router.wire.continuing.asking import Asked, same_call
from llm_router.wire.continuing.overlap import Diverged, Overlap
from llm_router.wire.continuing.partial import JsonText, completion
from llm_router.wire.continuing.told import Part, Told
from llm_router.wire.dialect import Bill, Observed, StreamDecoder, StreamEncoder
from llm_router.wire.toolsback import ToolsBack

HELD_CHARS_MAX = 1024 * 1024
"""Arguments of one call that are held to be compared or completed."""


class _Call:
    """A call that is held until it is whole."""

    __slots__ = ("opened", "pieces", "size")

    def __init__(self, opened: events.PartOpened) -> None:
        self.opened = opened
        self.pieces: list[str] = []
        self.size = 0


class ContinuedRelay:
    """See :class:`wire.dialect.Relay`. ``observed`` is of this continuation alone.

    Attributes:
        decoder: of the provider's stream; asked: how it was asked.
    """

    def __init__(self, told: Told, encoder: StreamEncoder, reply_id: str | None) -> None:
        self.again: Again | None = None
        self.observed = Observed(losses=encoder.losses, reply_id=reply_id)
        self.decoder: StreamDecoder | None = None
        self.asked: Asked | None = None
        self._told = told
        self._encoder = encoder
        self._back = ToolsBack({})
        self._numbers: dict[int, int | None] = {}  # of its parts, as the client knows them; None: not told
        self._forms: dict[int, str] = {}
        self._calls: dict[int, _Call] = {}
        self._spare: str | None = None  # completes the broken call, by a call that was made before too
        self._made: list[Part] = []  # the calls that were whole when the stream broke
        self._overlap: Overlap | None = None
        self._json: JsonText | None = None
        self._text: int | None = None  # its part whose text goes on with the answer's

    def begin(self, asked: Asked) -> None:
        """Go on as it was asked."""
        self.asked = asked
        self._made = [call for call in self._told.calls if call.whole]
        if asked.json:
            self._json = JsonText()
            self._json.feed(asked.before)
        if asked.way in ("prefill", "prompt"):
            self._overlap = Overlap(
                asked.before,
                prompted=asked.way == "prompt",
                trimmed=asked.prefill is not None and asked.prefill.trims,
                json=self._json,
                anew=asked.anew,
            )

    def read(self, decoder: StreamDecoder, back: ToolsBack) -> None:
        """The provider answers, in a stream of this form; ``back`` puts calls in the client's terms."""
        self.decoder, self._back = decoder, back

    def feed(self, data: bytes) -> bytes:
        assert self.decoder is not None
        return self._take(self.decoder.feed(data))

    def close(self) -> bytes:
        assert self.decoder is not None
        out = self._take(self.decoder.close())
        if not (self.observed.ended or self.observed.error):
            self._fail("The provider's stream ended before the answer was complete.", UpstreamKind.TRUNCATED)
        return out

    def finish(self, bill: Bill) -> bytes:
        return self._encoder.finish(bill)

    def fail(self, error: RouterError, request_id: str) -> bytes:
        return self._encoder.fail(error, request_id)

    def handover(self, encoder: StreamEncoder, told: Sequence[events.Event]) -> StreamEncoder:
        return self._encoder

    # -- events ------------------------------------------------------------------------------------

    def _take(self, batch: list[events.Event]) -> bytes:
        out = bytearray()
        for event in batch:
            for known in self._back.take(event):
                if self.observed.error is not None or self.observed.ended:
                    return bytes(out)
                out += self._event(known)
        return bytes(out)

    def _event(self, event: events.Event) -> bytes:
        seen = self.observed
        match event:
            case events.PartDelta():
                return b"" if event.choice else self._delta(event)
            case events.PartOpened():
                return b"" if event.choice else self._opened(event)
            case events.PartClosed():
                return b"" if event.choice else self._closed(event)
            case events.UsageSeen():
                seen.usage = event.usage
                if event.usage is None:
                    seen.flags.append("usage_invalid")
            case events.Finished() if not event.choice:
                return self._finished(event)
            case events.Started():
                seen.upstream_id, seen.upstream_model = event.id or None, event.model or None
            case events.Failed():
                seen.error = event.error
            case events.Ended():
                seen.ended = True
                seen.flags.extend(event.flags)
            case _:
                pass
        return b""

    def _opened(self, event: events.PartOpened) -> bytes:
        assert self.asked is not None
        self._forms[event.part] = event.form
        self._numbers[event.part] = None
        if event.form == "text" and self._text is None and self.asked.way != "call":
            self._text = event.part
        if event.form == "tool_call":
            if self.asked.way == "call" or self._told.calls:
                self._calls[event.part] = _Call(event)
                return b""
            return self._flush_text() + self._open(event)
        if event.form in ("media", "opaque", "refusal") or (
            event.form == "text" and self._text != event.part
        ):
            return self._flush_text() + self._open(event) if self.asked.way != "call" else b""
        return b""

    def _open(self, event: events.PartOpened) -> bytes:
        """Tell of a part of its own, after those before it were closed."""
        out = self._close_open()
        number = self._numbers[event.part] = self._told.next_part
        return out + self._tell(msgspec.structs.replace(event, part=number))

    def _close_open(self, before: int | None = None) -> bytes:
        """Close what is open, or what stands before a part."""
        out = b""
        for number, part in self._told.parts.items():
            if number == before:
                break
            if not part.closed:
                out += self._tell(events.PartClosed(part=number))
        return out

    def _delta(self, event: events.PartDelta) -> bytes:
        form = self._forms.get(event.part)
        if form == "thinking":
            self.observed.reasoning_chars += len(event.text)
            return b""
        held = self._calls.get(event.part)
        if held is not None:
            held.pieces.append(event.text)
            held.size += len(event.text)
            if held.size > HELD_CHARS_MAX:
                self._fail("A tool call that was made again is too long.", UpstreamKind.MALFORMED)
            return b""
        if event.part == self._text:
            return self._go_on(event)
        number = self._numbers.get(event.part)
        if number is None:
            return b""
        self._count(event.text)
        return self._tell(msgspec.structs.replace(event, part=number))

    def _closed(self, event: events.PartClosed) -> bytes:
        if event.part in self._calls:
            return self._held_call(event.part)
        if event.part == self._text:
            return b""  # its last words may be held; the end of the answer closes it
        number = self._numbers.get(event.part)
        if number is None or self._told.parts[number].closed:
            return b""
        return self._tell(msgspec.structs.replace(event, part=number))

    def _finished(self, event: events.Finished) -> bytes:
        out = b"".join(self._held_call(part) for part in list(self._calls))
        out += self._flush_text()
        if self.observed.error is not None:
            return out
        if self._lacks_call and self._spare is not None:
            out += self._complete(self._spare)
        if self._lacks_call:
            self._fail("The tool call that broke off was not made again.", UpstreamKind.TRUNCATED)
            return out
        if self._json is not None and event.reason is events.Finish.STOP:
            self._json.close()
            if not self._json.whole:
                self._fail(
                    "The answer broke off, and its continuation is no valid JSON.", UpstreamKind.MALFORMED
                )
                return out
        reason = event.reason
        if self._told.calls and reason is events.Finish.STOP:
            reason = events.Finish.TOOL_CALLS
        out += self._close_open()
        self.observed.finish, self.observed.native_finish = reason.value, event.native
        return out + self._tell(msgspec.structs.replace(event, reason=reason))

    # -- text --------------------------------------------------------------------------------------

    def _go_on(self, event: events.PartDelta) -> bytes:
        """Text that goes on with the answer's."""
        text = event.text
        if self._told.calls:  # nothing is said behind calls but that they are done
            return b""
        if self._overlap is not None:
            try:
                text = self._overlap.feed(text)
            except Diverged:
                self._diverged()
                return b""
        citation = event.citation
        if citation is not None:
            shift = len(self.asked.before) if self.asked is not None else 0
            citation = msgspec.structs.replace(
                citation, start=_moved(citation.start, shift), end=_moved(citation.end, shift), raw=None
            )
        return self._say(text, msgspec.structs.replace(event, text=text, citation=citation))

    def _say(self, text: str, event: events.PartDelta) -> bytes:
        if self._json is not None:
            text = text[: self._json.feed(text)]
            if self._json.broken:
                self._fail(
                    "The answer broke off, and its continuation is no valid JSON.", UpstreamKind.MALFORMED
                )
                return b""
        if not text and event.citation is None:
            return b""
        self._count(text)
        out, number = self._text_part()
        return out + self._tell(msgspec.structs.replace(event, part=number, text=text))

    def _text_part(self) -> tuple[bytes, int]:
        """The part in which text goes on: the last one of the answer, if it is text and open."""
        last = self._told.last
        if last is not None and last.opened.form == "text" and not last.closed:
            return b"", next(reversed(self._told.parts))
        out, number = self._close_open(), self._told.next_part
        return out + self._tell(events.PartOpened(part=number, form="text")), number

    def _flush_text(self) -> bytes:
        """What is held of the text, when something else follows it."""
        if self._overlap is None or self._told.calls:
            return b""
        try:
            text = self._overlap.close()
        except Diverged:
            self._diverged()
            return b""
        return self._say(text, events.PartDelta(part=self._text)) if text and self._text is not None else b""

    # -- calls -------------------------------------------------------------------------------------

    @property
    def _broken(self) -> int:
        assert self.asked is not None
        assert self.asked.call is not None
        return self.asked.call

    @property
    def _lacks_call(self) -> bool:
        """Whether the call that broke off is still to be made again."""
        asked = self.asked
        return asked is not None and asked.way == "call" and not self._told.parts[self._broken].closed

    def _held_call(self, part: int) -> bytes:
        """A call that is whole now: the one that broke off, one that was made before, or a further one."""
        held = self._calls.pop(part)
        assert self.asked is not None
        text = "".join(held.pieces)
        out = b""
        if self._lacks_call:
            broken = self._told.parts[self._broken]
            if held.opened.name != broken.opened.name:
                return b""
            rest = completion(broken.text, text or "{}")
            if self._was_made(held.opened.name, text):
                self._spare = rest if self._spare is None else self._spare
                return b""
            if rest is not None:
                return self._complete(rest)
            if self._spare is None:
                self._diverged()
                return b""
            out = self._complete(self._spare)
        if self._was_made(held.opened.name, text):  # once more, or twice in one answer
            self._diverged()
            return b""
        out += self._open(held.opened)
        number = self._told.next_part - 1
        self._count(held.opened.name + text)
        if text:
            out += self._tell(events.PartDelta(part=number, text=text))
        return out + self._tell(events.PartClosed(part=number))

    def _complete(self, rest: str) -> bytes:
        """The call that broke off is whole with this."""
        self._count(rest)
        out = self._close_open(before=self._broken)
        out += self._tell(events.PartDelta(part=self._broken, text=rest)) if rest else b""
        return out + self._tell(events.PartClosed(part=self._broken))

    def _was_made(self, name: str, arguments: str) -> bool:
        """Whether it is a call made before the break, once more. Each of those is looked for once: an answer
        may make the same call twice."""
        for at, call in enumerate(self._made):
            if same_call(call, name, arguments):
                del self._made[at]
                return True
        return False

    # -- both --------------------------------------------------------------------------------------

    def _tell(self, event: events.Event) -> bytes:
        self.observed.content_started = True
        self._told.add(event)
        return self._encoder.encode(event)

    def _count(self, text: str) -> None:
        self.observed.output_chars += len(text)

    def _diverged(self) -> None:
        self._fail(
            "The answer broke off, and where the model that was asked to go on began cannot be told.",
            UpstreamKind.MALFORMED,
        )

    def _fail(self, message: str, kind: UpstreamKind) -> None:
        self.observed.error = UpstreamError(message, kind=kind)


def _moved(place: int | None, shift: int) -> int | None:
    return None if place is None else place + shift
