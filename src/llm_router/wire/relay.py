"""The relay between two dialects: decoder, observation, encoder.

A relay gives no byte until the first content event, so that a stream that dies before content can
still be answered by another deployment, or by an HTTP status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llm_router.domain.errors import RouterError, UpstreamError, UpstreamKind
from llm_router.wire import events
from llm_router.wire.again import TRIES_MAX, Again, Course, RepeatingDecoder, RepeatingEncoder
from llm_router.wire.dialect import Bill, Observed, StreamDecoder, StreamEncoder
from llm_router.wire.toolsback import ToolsBack

PREAMBLE_BYTES_MAX = 1024 * 1024
"""How much may be held back before content. Preambles are a few hundred bytes."""


def caught_up(encoder: StreamEncoder, told: Iterable[events.Event]) -> StreamEncoder:
    """The encoder as if it had told these events."""
    for event in told:
        encoder.encode(event)
    return encoder


class BridgeRelay:
    """Upstream bytes of one dialect to client bytes of another."""

    def __init__(self, decoder: StreamDecoder, encoder: StreamEncoder, back: ToolsBack | None = None) -> None:
        """``back`` puts calls in the client's terms, where the provider was told others."""
        self._back = back if back is not None else ToolsBack({})
        self._decoder = decoder
        self._encoder = encoder
        self._held = bytearray()
        self._thinking: set[tuple[int, int]] = set()
        self.again: Again | None = None
        self._course: Course | None = None
        self._texts: list[str] = []  # of what was told so, which decoder and encoder have not heard yet
        self._tries = 0
        self.observed = Observed(losses=encoder.losses)

    def feed(self, data: bytes) -> bytes:
        again = self.again
        return (b"" if again is None else again.tell(data)) or self._thorough(data)

    def _thorough(self, data: bytes) -> bytes:
        self._catch_up()
        if self.again is not None:
            self._tries = 0 if self.again.used else self._tries
            self.again = None
        batch = self._decoder.feed(data)
        out = self._take(batch)
        if out and len(batch) == 1 and self._tries < TRIES_MAX:
            self._learn(data, batch[0])
        return out

    def _learn(self, data: bytes, event: events.Event) -> None:
        """See whether such events can be told again without being read."""
        decoder, encoder = self._decoder, self._encoder
        self._tries += 1
        if not isinstance(event, events.PartDelta) or not event.text or event.citation is not None:
            return
        if not isinstance(decoder, RepeatingDecoder) or not isinstance(encoder, RepeatingEncoder):
            self._tries = TRIES_MAX
            return
        spot = decoder.alike(data)
        if spot is not None:
            reasons = (event.choice, event.part) in self._thinking
            told = encoder.again(event)
            self.again = Again.of(spot, told, self.observed, reasons=reasons, texts=self._texts)
            self._course = Course(decoder, encoder, event)

    def _catch_up(self) -> None:
        """Let decoder and encoder know what was told without them."""
        course = self._course
        if course is not None and self._texts:
            text = "".join(self._texts)
            self._texts.clear()
            course.decoder.took(course.piece, text)
            course.encoder.told(course.piece, text)

    def close(self) -> bytes:
        self._catch_up()
        out = self._take(self._decoder.close())
        if self.observed.ended or self.observed.error:
            return out
        self.observed.error = UpstreamError(
            "The provider's stream ended before the answer was complete.", kind=UpstreamKind.TRUNCATED
        )
        return out

    def finish(self, bill: Bill) -> bytes:
        self._catch_up()
        held = bytes(self._held)
        self._held.clear()
        return held + self._encoder.finish(bill)

    def fail(self, error: RouterError, request_id: str) -> bytes:
        self._catch_up()
        held = bytes(self._held)
        self._held.clear()
        return held + self._encoder.fail(error, request_id)

    def handover(self, encoder: StreamEncoder, told: Sequence[events.Event]) -> StreamEncoder:
        self._catch_up()
        return self._encoder

    def _take(self, batch: list[events.Event]) -> bytes:
        out = bytearray()
        for event in batch:
            if self.observed.error is not None or self.observed.ended:
                break
            self._observe(event)
            if not isinstance(event, events.Failed | events.Ended):
                for told in self._back.take(event):
                    out += self._encoder.encode(told)
        if self.observed.content_started or self.observed.ended:
            if self._held:
                out[:0] = self._held
                self._held.clear()
            return bytes(out)
        self._held += out
        if len(self._held) > PREAMBLE_BYTES_MAX:
            self.observed.error = UpstreamError(
                "The provider sent no content, only preamble.", kind=UpstreamKind.MALFORMED
            )
        return b""

    def _observe(self, event: events.Event) -> None:
        seen = self.observed
        match event:
            case events.PartDelta():
                if event.text:
                    seen.content_started = True
                    if (event.choice, event.part) in self._thinking:
                        seen.reasoning_chars += len(event.text)
                    else:
                        seen.output_chars += len(event.text)
            case events.PartOpened():
                if event.form == "thinking":
                    self._thinking.add((event.choice, event.part))
                if event.form not in ("text", "thinking"):
                    seen.content_started = True
                    seen.output_chars += len(event.name)
            case events.UsageSeen():
                seen.usage = event.usage
                if event.usage is None:
                    seen.flags.append("usage_invalid")
            case events.Finished():
                if seen.finish is None or event.choice == 0:
                    seen.finish, seen.native_finish = event.reason.value, event.native
            case events.Started():
                seen.upstream_id, seen.upstream_model = event.id or None, event.model or None
            case events.Failed():
                seen.error = event.error
            case events.Ended():
                seen.ended = True
                seen.flags.extend(event.flags)
