"""The same dialect on both sides: events pass as they came, what a client would choke on is mended.

What is mended stands in mend.py. The last event waits for its bill. Comments, ``[DONE]`` and lines that
are no JSON are left out, since the official clients read none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm_router.domain.errors import RouterError
from llm_router.wire import events
from llm_router.wire.again import Again
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill, Observed, ReplyContext, StreamEncoder
from llm_router.wire.dialects.openai_responses.content import complete_notes
from llm_router.wire.dialects.openai_responses.encoder import ResponsesStreamEncoder
from llm_router.wire.dialects.openai_responses.errors import failed_members, malformed
from llm_router.wire.dialects.openai_responses.mend import EventMender
from llm_router.wire.dialects.openai_responses.reply import open_response, reply_of
from llm_router.wire.dialects.openai_responses.response import absent_members, head_of, told_beside
from llm_router.wire.dialects.openai_responses.stream import LAST, ResponsesStreamDecoder
from llm_router.wire.dialects.openai_responses.usage import DETAILS, passed_usage, read_usage
from llm_router.wire.dialects.openai_responses.words import seed_of, text_of
from llm_router.wire.dialects.openai_responses.writer import frame
from llm_router.wire.fold import unfold
from llm_router.wire.framing.sse import EventTooLarge, Frame, SSEReader
from llm_router.wire.lenient import load_object
from llm_router.wire.relay import PREAMBLE_BYTES_MAX, caught_up
from llm_router.wire.verbatim import dump, encode, members
from llm_router.wire.verbatim import value as value_of


class Watcher:
    """What the engine learns of an answer, from its events."""

    def __init__(self) -> None:
        self.observed = Observed()
        self._thinking: set[int] = set()

    def see(self, event: events.Event) -> None:
        seen = self.observed
        match event:
            case events.PartDelta():
                if event.text:
                    seen.content_started = True
                    if event.part in self._thinking:
                        seen.reasoning_chars += len(event.text)
                    else:
                        seen.output_chars += len(event.text)
            case events.PartOpened():
                if event.form == "thinking":
                    self._thinking.add(event.part)
                elif event.form not in ("text", "refusal"):
                    seen.content_started = True
                    seen.output_chars += len(event.name)
            case events.UsageSeen():
                seen.usage = event.usage
                if event.usage is None and "usage_invalid" not in seen.flags:
                    seen.flags.append("usage_invalid")
            case events.Finished():
                seen.finish, seen.native_finish = event.reason.value, event.native
            case events.Started():
                seen.upstream_id, seen.upstream_model = event.id or None, event.model or None
            case events.Failed():
                seen.error = event.error
            case events.Ended():
                seen.ended = True


class PassRelay:
    """A stream in this dialect, relayed in this dialect. See :class:`wire.dialect.Relay`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._reader = SSEReader()
        self._decoder = ResponsesStreamDecoder()
        self._watcher = Watcher()
        self.again: Again | None = None
        self.observed = self._watcher.observed
        self._held = bytearray()  # before the first content
        self._mender = EventMender(context)
        self._last: dict[str, Raw] = {}
        self._response: dict[str, Raw] = {}
        self._done = 0  # items that are told as done

    def feed(self, data: bytes) -> bytes:
        if self._over:
            return b""
        try:
            frames = self._reader.feed(data)
        except EventTooLarge:
            self.observed.error = malformed("a stream event that is larger than any answer")
            return b""
        return self._take(frames)

    def close(self) -> bytes:
        if self._over:
            return b""
        out = self._take(self._reader.close())
        if not self._over:
            for event in self._decoder.close():
                self._watcher.see(event)
        return out

    def finish(self, bill: Bill) -> bytes:
        """What was held, and the last event with the bill in it."""
        held = bytes(self._held)
        self._held.clear()
        response = {**self._response, "usage": _billed(self._response, bill)}
        kind = text_of(value_of(self._last.get("type")))
        return held + frame(kind, {**self._last, "response": response})

    def fail(self, error: RouterError, request_id: str) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        head = self._mender.head or head_of(events.Started(), self._context)
        response = {
            "output": [],
            "usage": None,
            **head,
            "status": "failed",
            "error": failed_members(error, request_id),
        }
        body = {"type": "response.failed", "sequence_number": self._mender.sequence, "response": response}
        return held + frame("response.failed", body)

    def handover(self, encoder: StreamEncoder, told: Sequence[events.Event]) -> StreamEncoder:
        assert isinstance(encoder, ResponsesStreamEncoder)
        caught_up(encoder.named(self._mender.ids), told)
        encoder.resume(self._mender.sequence, self._done)
        return encoder

    @property
    def _over(self) -> bool:
        return self.observed.ended or self.observed.error is not None

    def _take(self, frames: list[Frame]) -> bytes:
        out = bytearray()
        for frame_ in frames:
            out += self._pass(frame_)
            if self._over:
                break
        seen = self.observed
        if seen.content_started:
            out[:0] = self._held
            self._held.clear()
            return bytes(out)
        self._held += out
        if len(self._held) > PREAMBLE_BYTES_MAX and seen.error is None:
            seen.error = malformed("no content, only preamble")
        return b""

    def _pass(self, frame_: Frame) -> bytes:
        data = frame_.data.strip()
        if not data or data == b"[DONE]":
            return b""
        body = load_object(data)
        if body is None:
            told = self._decoder.frame(frame_)
        else:
            told = self._decoder.event(body, frame_.event.decode("utf-8", "replace"))
        for event in told:
            self._watcher.see(event)
        if body is None or self.observed.error is not None:
            return b""
        kind = text_of(body.get("type")) or frame_.event.decode("utf-8", "replace")
        changes = self._mender.changes(kind, body)
        if kind == "response.output_item.done":
            self._done += 1
        self.observed.reply_id = self._mender.reply_id
        if kind in LAST:
            self._last = {**(members(data) or {}), **{name: dump(value) for name, value in changes.items()}}
            self._last["type"] = dump(kind)
            self._response = members(self._last.get("response")) or {}
            return b""
        name = kind.encode()
        if not changes:
            return b"event: %b\n%b\n\n" % (name, _lines(data))
        return frame(kind, {**(members(data) or {}), **changes})


def _lines(data: bytes) -> bytes:
    return b"\n".join(b"data: " + line for line in data.split(b"\n"))


def _billed(response: dict[str, Raw], bill: Bill) -> dict[str, Any]:
    """The usage for the client. Verbatim members stay verbatim."""
    plain = load_object(encode(response)) or {}
    usage: dict[str, Any] = dict(members(response.get("usage")) or {})
    for name in DETAILS:
        if name in usage:
            usage[name] = members(usage[name])
    return passed_usage(usage or None, read_usage(plain), bill)


class PassedResponse:
    """A whole reply in this dialect, awaiting its bill."""

    def __init__(self, response: dict[str, Raw], observed: Observed) -> None:
        self._response = response
        self.observed = observed

    def finish(self, bill: Bill) -> bytes:
        return encode({**self._response, "usage": _billed(self._response, bill)})


def pass_reply(body: bytes, context: ReplyContext) -> PassedResponse:
    """A whole reply, observed, with absent members that clients rely on filled in.

    Raises:
        UpstreamError: it is an error in place of a reply, or failed, or is no reply at all.
    """
    plain = open_response(body)
    reply = reply_of(plain)
    response = members(body) or {}
    if complete_notes(plain):
        response["output"] = dump(plain["output"])
    head = head_of(events.Started(id=reply.id, model=reply.model, created_s=reply.created_s), context)
    told = told_beside(plain, seed_of(head["id"]))
    if told:
        response["output"] = dump([*told, *plain["output"]])
    for name, raw in context.state.items():
        response[name] = raw
    for name in ("id", "model", "object", "created_at"):
        if value_of(response.get(name)) != head[name]:
            response[name] = dump(head[name])
    response.update({name: dump(value) for name, value in absent_members(plain, context).items()})
    watcher = Watcher()
    for event in unfold(reply):
        watcher.see(event)
    watcher.observed.content_started = True
    watcher.observed.reply_id = head["id"]
    watcher.observed.flags = list(reply.flags)
    return PassedResponse(response, watcher.observed)
