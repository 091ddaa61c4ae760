"""The same-dialect path: the client's bytes to the provider, the provider's bytes to the client.

Requests: only the named members change. Replies: every event's data is passed byte for byte, in the
standard framing; only the last ``message_delta`` (the usage of a whole reply) is written anew, with
the bill in it. Comments, ``[DONE]`` and lines that are no JSON are left out, since the official
client reads none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from llm_router.domain.errors import RouterError, UnsupportedContent, UpstreamError, UpstreamKind
from llm_router.wire import events, media
from llm_router.wire.again import TRIES_MAX, Again
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill, Fetched, Inspected, Observed, ReplyContext, StreamEncoder, Target
from llm_router.wire.dialects.anthropic_messages.errors import encode_error
from llm_router.wire.dialects.anthropic_messages.inspect import Tree
from llm_router.wire.dialects.anthropic_messages.reply import decode_reply, open_message, reply_id
from llm_router.wire.dialects.anthropic_messages.seal import strip_seals
from llm_router.wire.dialects.anthropic_messages.stream import Decoder
from llm_router.wire.dialects.anthropic_messages.usage import annotate
from llm_router.wire.dialects.anthropic_messages.writer import frame
from llm_router.wire.fold import unfold
from llm_router.wire.framing.sse import EventTooLarge, Frame, SSEReader
from llm_router.wire.loss import Loss
from llm_router.wire.quirks import apply_quirks
from llm_router.wire.relay import PREAMBLE_BYTES_MAX, caught_up
from llm_router.wire.routed import strip
from llm_router.wire.verbatim import dump, items, members, string


def edit_request(
    inspected: Inspected, target: Target, fetched: Mapping[str, Fetched]
) -> tuple[bytes, tuple[Loss, ...]]:
    """The client's own bytes with the model, the provider's quirks and fetched media written in.

    Raises:
        UnsupportedContent: a fetched document is no text, although its type says so.
    """
    tree = inspected.tree
    assert isinstance(tree, Tree)
    body: dict[str, object] = {**tree.raw, "model": target.model}
    strip(body, router=target.provider if "routing" in target.knows else None)
    losses: list[Loss] = []
    if "messages" in tree.raw:
        body["messages"], lost = strip_seals(tree.raw["messages"])
        if lost:
            losses.append(Loss(field="messages[].reasoning", why="it is another provider's"))
    if fetched and "messages" in body:
        body["messages"] = _inline(dump(body["messages"]), fetched)
    losses += apply_quirks(body, target.quirks, *target.names)
    return msgspec.json.encode(body), tuple(losses)


def _inline(raw: Raw, fetched: Mapping[str, Fetched]) -> object:
    """Messages (or content blocks) with the fetched URLs replaced by their bytes; the rest is verbatim."""
    entries = items(raw)
    return raw if entries is None else [_inline_entry(entry, fetched) for entry in entries]


def _inline_entry(raw: Raw, fetched: Mapping[str, Fetched]) -> object:
    entry = members(raw)
    if entry is None:
        return raw
    if "source" in entry:
        source = members(entry["source"]) or {}
        found = fetched.get(string(source.get("url")) or "")
        return raw if found is None else {**entry, **_source(found)}
    if "content" in entry:
        return {**entry, "content": _inline(entry["content"], fetched)}
    return raw


def _source(found: Fetched) -> dict[str, object]:
    """A block's type and source for fetched bytes: plain text has a form of its own."""
    kind = "image" if media.media_form(found.media_type) == "image" else "document"
    source = {"type": "base64", "media_type": found.media_type, "data": found.data}
    if found.media_type.startswith("text/"):
        try:
            text = media.decode_text(found.data)
        except ValueError as error:
            raise UnsupportedContent(
                f"A document that was fetched cannot be read: {error}.", param="messages"
            ) from None
        source = {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": kind, "source": source}


class Passed:
    """A whole reply of this API on its way to a client of this API."""

    def __init__(self, message: dict[str, Raw], observed: Observed) -> None:
        self._message = message
        self.observed = observed

    def finish(self, bill: Bill) -> bytes:
        """The reply with the bill in its usage; every other member as it came."""
        usage = members(self._message.get("usage"))
        return msgspec.json.encode({**self._message, "usage": annotate(usage, bill)})


def pass_reply(body: bytes, context: ReplyContext) -> Passed:
    """A whole reply, observed, with absent members that clients rely on filled in.

    Raises:
        UpstreamError: MALFORMED, or the error that the reply reports.
    """
    message = open_message(body)
    reply = decode_reply(body)
    defaults = {"id": reply_id("", context), "type": "message", "role": "assistant", "model": context.model}
    for name, text in defaults.items():
        if not string(message.get(name)):
            message[name] = dump(text)
    watcher = Watcher()
    choice = reply.choices[0]
    for event in unfold(reply):
        watcher.see(event)
    if string(message.get("stop_reason")) is None:
        message["stop_reason"] = dump("tool_use" if choice.finish is events.Finish.TOOL_CALLS else "end_turn")
    watcher.observed.reply_id = string(message["id"])
    watcher.observed.content_started = True
    return Passed(message, watcher.observed)


class Watcher:
    """What the engine learns of a stream, from its events."""

    def __init__(self) -> None:
        self.observed = Observed()
        self._thinking: set[int] = set()

    def see(self, event: events.Event) -> None:
        seen = self.observed
        match event:
            case events.PartDelta():
                self._text(event)
            case events.PartOpened():
                if event.form == "thinking":
                    self._thinking.add(event.part)
                if event.form not in ("text", "thinking") or event.redacted is not None:
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
                seen.flags.extend(event.flags)

    def _text(self, event: events.PartDelta) -> None:
        if not event.text:
            return
        self.observed.content_started = True
        if event.part in self._thinking:
            self.observed.reasoning_chars += len(event.text)
        else:
            self.observed.output_chars += len(event.text)


class PassRelay:
    """A stream of this API on its way to a client of this API."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._reader = SSEReader()
        self._decoder = Decoder()
        self._watcher = Watcher()
        self.observed = self._watcher.observed
        self._held = bytearray()  # before the first content
        self._tail: list[tuple[bytes, bytes]] = []  # from the first message_delta on
        self._stop = b'{"type":"message_stop"}'
        self.again: Again | None = None
        self._tries = 0

    def feed(self, data: bytes) -> bytes:
        """Client bytes; none before the first content, nor from ``message_delta`` on."""
        again = self.again
        return (b"" if again is None else again.tell(data)) or self._thorough(data)

    def _thorough(self, data: bytes) -> bytes:
        if self.again is not None:
            self._tries = 0 if self.again.used else self._tries
            self.again = None
        if self._over:
            return b""
        try:
            frames = self._reader.feed(data)
        except EventTooLarge as error:
            self.observed.error = UpstreamError(str(error), kind=UpstreamKind.MALFORMED)
            return b""
        seen = self.observed
        said, thought = seen.output_chars, seen.reasoning_chars
        out = self._take(frames)
        if out and len(frames) == 1 and self._tries < TRIES_MAX and self._reader.whole and not self._over:
            self._tries += 1
            found, kind = self._decoder.marked(data), _kind(frames[0])
            reasons = seen.reasoning_chars != thought
            more = reasons or seen.output_chars != said
            if more and found is not None and kind is not None and not self._tail:
                told = _frame(kind, found[1])
                self.again = Again.of(found[0], told, seen, verbatim=True, reasons=reasons)
        return out

    def close(self) -> bytes:
        """The upstream closed cleanly. Afterwards ``observed.ended`` or ``observed.error`` is set."""
        if self._over:
            return b""
        out = self._take(self._last_frames())
        if not self._over:
            for event in self._decoder.close():
                self._watcher.see(event)
            if self.observed.ended:
                self.observed.flags.append("no_message_stop")
        return out

    def finish(self, bill: Bill) -> bytes:
        """What was held, the last ``message_delta`` with the bill in it, and ``message_stop``."""
        out = bytes(self._held)
        self._held.clear()
        last = max(
            (number for number, (kind, _) in enumerate(self._tail) if kind == b"message_delta"), default=None
        )
        for number, (kind, data) in enumerate(self._tail):
            out += _frame(kind, _billed(data, bill) if number == last else data)
        if last is None:
            out += self._minted_delta(bill)
        return out + _frame(b"message_stop", self._stop)

    def fail(self, error: RouterError, request_id: str) -> bytes:
        """An error in mid-stream, which ends it."""
        return _frame(b"error", encode_error(error, request_id))

    def handover(self, encoder: StreamEncoder, told: Sequence[events.Event]) -> StreamEncoder:
        return caught_up(encoder, told)

    def _last_frames(self) -> list[Frame]:
        self._decoder.closing = True
        return self._reader.close()

    @property
    def _over(self) -> bool:
        return self.observed.ended or self.observed.error is not None

    def _take(self, frames: list[Frame]) -> bytes:
        out = bytearray()
        for frame_ in frames:
            out += self._pass(frame_)
            if self._over:
                break
        if self.observed.error is not None:
            return bytes(out) if self.observed.content_started else b""
        if self.observed.content_started:
            out[:0] = self._held
            self._held.clear()
            return bytes(out)
        self._held += out
        if len(self._held) > PREAMBLE_BYTES_MAX:
            self.observed.error = UpstreamError(
                "The provider sent no content, only preamble.", kind=UpstreamKind.MALFORMED
            )
        return b""

    def _pass(self, frame_: Frame) -> bytes:
        broken = self._decoder.broken
        for event in self._decoder.frame(frame_):
            self._watcher.see(event)
        data = frame_.data
        if self._decoder.broken != broken or not data.strip() or data.strip() == b"[DONE]":
            return b""
        kind = _kind(frame_)
        if kind is None or self.observed.error is not None:
            return b""
        if kind == b"message_stop":
            self._stop = data
        elif kind == b"message_delta" or self._tail:
            self._tail.append((kind, data))
        elif kind == b"message_start":
            return _frame(kind, self._named(data))
        else:
            return _frame(kind, data)
        return b""

    def _named(self, data: bytes) -> bytes:
        """``message_start`` with the members that clients rely on; unchanged if they are there."""
        body = members(data) or {}
        message = members(body.get("message")) or {}
        defaults = {"id": reply_id("", self._context), "model": self._context.model}
        missing = {name: dump(text) for name, text in defaults.items() if not string(message.get(name))}
        self.observed.reply_id = string(message.get("id")) or defaults["id"]
        if not missing:
            return data
        return msgspec.json.encode({**body, "message": {**message, **missing}})

    def _minted_delta(self, bill: Bill) -> bytes:
        reason = "tool_use" if self.observed.finish == events.Finish.TOOL_CALLS else "end_turn"
        delta = {"stop_reason": reason, "stop_sequence": None}
        return frame(
            "message_delta", {"type": "message_delta", "delta": delta, "usage": annotate(None, bill)}
        )


def _kind(frame_: Frame) -> bytes | None:
    """The event's name; from the data where the framing has none. None if there is none at all."""
    if frame_.event not in (b"", b"data", b"message"):
        return frame_.event
    kind = string((members(frame_.data) or {}).get("type"))
    return kind.encode() if kind else None


def _frame(kind: bytes, data: bytes) -> bytes:
    lines = b"\n".join(b"data: " + line for line in data.split(b"\n"))
    return b"event: %b\n%b\n\n" % (kind, lines)


def _billed(data: bytes, bill: Bill) -> bytes:
    body = members(data) or {}
    return msgspec.json.encode({**body, "usage": annotate(members(body.get("usage")), bill)})
