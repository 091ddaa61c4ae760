"""Bytes from the provider to the client: a stream event by event, or a whole reply at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from llm_router.domain.errors import RouterError, UpstreamError, UpstreamKind
from llm_router.engine import continuing
from llm_router.engine.intake import TURN_BYTES, Intake, redact_body, unframed
from llm_router.engine.tracks import Delivery, Track, reply_headers, tools_back
from llm_router.ports import Clock, UpstreamReply
from llm_router.wire import chat, events
from llm_router.wire.bounds import overgrown
from llm_router.wire.dialect import Behind, Bill, Dialect, Observed, PassedReply, Relay, ReplyContext, Spoken
from llm_router.wire.embeddings.canonical import EmbedReply, check_count
from llm_router.wire.failures import malformed
from llm_router.wire.fold import fold, unfold
from llm_router.wire.framing.sse import EventTooLarge, utf8
from llm_router.wire.loss import Loss
from llm_router.wire.plain import PlainReply
from llm_router.wire.relay import BridgeRelay

SNIFF_BYTES_MAX = 64
"""How many leading blanks are skipped to see whether a body is JSON or an event stream."""

HEARD_BYTES_MAX = 8 * 1024 * 1024
"""Larger replies are not remembered."""

BOM = b"\xef\xbb\xbf"

REST_S = 0.05
REST_BYTES_MAX = 64 * 1024
"""How long, and for how much, what follows the end marker is waited for."""


class StreamDelivery:
    """A stream under way to the client."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    @property
    def observed(self) -> Observed:
        return self._relay.observed

    def finish(self, bill: Bill) -> bytes:
        return self._relay.finish(bill)

    def fail(self, error: RouterError, request_id: str) -> bytes:
        return self._relay.fail(error, request_id)

    def losses(self) -> Sequence[Loss]:
        return self._relay.observed.losses


class PassedDelivery:
    """A whole reply in the client's own dialect."""

    def __init__(self, passed: PassedReply, front: Spoken) -> None:
        self._passed = passed
        self._front = front
        self.observed = passed.observed

    def finish(self, bill: Bill) -> bytes:
        return self._passed.finish(bill)

    def fail(self, error: RouterError, request_id: str) -> bytes:
        return self._front.encode_error(error, request_id)

    def losses(self) -> Sequence[Loss]:
        return self.observed.losses


class BridgedDelivery:
    """A whole reply that came in another dialect."""

    def __init__(self, reply: events.Reply | EmbedReply, track: Track) -> None:
        if isinstance(reply, events.Reply):
            reply = tools_back(track).reply(reply)
        self._reply = reply
        self._context = track.context()
        self._front = track.call.dialect
        if isinstance(reply, EmbedReply):
            check_count(len(reply.vectors), self._context.inputs)
        self.observed = observe(reply)
        self._losses: tuple[Loss, ...] = ()
        if _may_lose(reply, self._front):
            # Rare: what the encoder cannot say must be known before the record is written.
            self.finish(Bill(usage=None, cost_pusd=0, credits_remaining_pusd=0))

    def finish(self, bill: Bill) -> bytes:
        data, self._losses = self._front.encode_reply(self._reply, self._context, bill)
        return data

    def fail(self, error: RouterError, request_id: str) -> bytes:
        return self._front.encode_error(error, request_id)

    def losses(self) -> Sequence[Loss]:
        return self._losses


class PlainDelivery:
    """An answer of text that came in another dialect."""

    def __init__(
        self,
        reply: PlainReply,
        tell: Callable[[PlainReply, ReplyContext, Bill], bytes],
        context: ReplyContext,
        front: Spoken,
    ) -> None:
        self._reply = reply
        self._tell = tell
        self._context = context
        self._front = front
        self.observed = Observed(
            content_started=True,
            ended=True,
            usage=reply.usage,
            finish=reply.finish.value,
            native_finish=reply.native_finish,
            output_chars=len(reply.text),
            upstream_id=reply.id or None,
            upstream_model=reply.model or None,
        )

    def finish(self, bill: Bill) -> bytes:
        return self._tell(self._reply, self._context, bill)

    def fail(self, error: RouterError, request_id: str) -> bytes:
        return self._front.encode_error(error, request_id)

    def losses(self) -> Sequence[Loss]:
        return ()


def _may_lose(reply: events.Reply | EmbedReply, front: Spoken) -> bool:
    """Whether a reply holds something that the client's dialect may have no word for."""
    if isinstance(reply, EmbedReply):
        return False
    if not isinstance(front, Dialect):  # made for clients alone, and poorer than any provider's
        return True
    if reply.opaque or len(reply.choices) != 1 or reply.choices[0].logprobs is not None:
        return True
    parts = reply.choices[0].parts
    calls = sum(isinstance(part, chat.ToolCall) for part in parts)
    return calls > 1 or not all(map(_is_plain, parts)) or (calls > 0 and _is_cut(reply))


def _is_plain(part: chat.Part) -> bool:
    """Whether every dialect can say the part."""
    return isinstance(part, chat.Thinking | chat.ToolCall) or (
        isinstance(part, chat.Text) and not part.citations
    )


def _is_cut(reply: events.Reply) -> bool:
    return reply.choices[0].finish is events.Finish.LENGTH


class _WholeAsStream:
    """A decoder for a provider that answers a streamed request with one JSON body."""

    def __init__(self, behind: Behind[Any, Any], bytes_max: int) -> None:
        self._behind = behind
        self._bytes_max = bytes_max
        self._body = bytearray()

    def feed(self, data: bytes) -> list[events.Event]:
        self._body += data
        return []

    def close(self) -> list[events.Event]:
        body, self._body = bytes(self._body), bytearray()
        try:
            body = _readable(body, self._bytes_max)
            return list(unfold(self._behind.decode_reply(body)))
        except UpstreamError as error:
            return [events.Failed(error=error)]


async def stream(track: Track, behind: Behind[Any, Any], reply: UpstreamReply, clock: Clock) -> None:
    """Relay a stream until its end is proven.

    Raises:
        UpstreamError: it failed or broke off. Bytes may have been sent: see ``track.content_sent``.
    """
    chunks = reply.chunks() if behind.unframe is None else unframed(reply.chunks(), behind.unframe())
    intake = Intake(chunks, track.sent_secret, track.state.reply_bytes_max)
    reply.expect_content(more=False)
    head = await _head(intake)
    relay = relay_of(track, behind, head)
    try:
        await _relayed(track, relay, intake, head, clock, reply)
    except UpstreamError as error:
        if track.transcript is None or not await _was_whole(track, relay, clock):
            raise error
    await _rest(intake)


def relay_of(track: Track, behind: Behind[Any, Any], head: bytes) -> Relay:
    """What relays a stream that begins so: it is the track's delivery from now on."""
    assert track.candidate is not None
    front, context = track.call.dialect, track.context()
    relay: Relay
    going = track.continuation
    whole = head.lstrip()[:1] == b"{" and not behind.json_lines
    if going is not None:
        assert going.relay is not None
        decoder = _WholeAsStream(behind, track.state.reply_bytes_max) if whole else behind.stream_decoder()
        going.relay.read(decoder, tools_back(track, f"c{going.times}"))
        relay = going.relay
    elif whole:
        relay = BridgeRelay(
            _WholeAsStream(behind, track.state.reply_bytes_max),
            front.stream_encoder(context),
            tools_back(track),
        )
    elif track.candidate.same_dialect:
        assert isinstance(front, Dialect)
        relay = front.pass_relay(context)
    else:
        relay = BridgeRelay(behind.stream_decoder(), front.stream_encoder(context), tools_back(track))
    track.delivery, track.relay = StreamDelivery(relay), relay
    track.transcript = None if whole else continuing.listen(track, behind)
    return relay


async def _relayed(
    track: Track, relay: Relay, intake: Intake, head: bytes, clock: Clock, reply: UpstreamReply
) -> None:
    """Give everything to the relay until the end is proven.

    Raises:
        UpstreamError: it failed or broke off.
    """
    track.hear(head, HEARD_BYTES_MAX)
    transcript = track.transcript
    if transcript is not None:
        transcript.hear(head)
    seen, waited_us = relay.observed, clock.monotonic_us()
    had = content_of(seen)
    await _forward(track, relay.feed(head), clock)
    while not (seen.ended or seen.error):
        if (now := content_of(seen)) != had:
            had = now
            reply.expect_content(more=True)
        chunk = await intake.next()
        if chunk is None:
            await _forward(track, relay.close(), clock)
            break
        track.upstream_us += clock.monotonic_us() - waited_us
        track.drained(len(chunk))
        track.hear(chunk, HEARD_BYTES_MAX)
        if transcript is not None:
            transcript.hear(chunk)
        await _forward(track, relay.feed(chunk), clock)
        waited_us = clock.monotonic_us()
    if seen.error is not None or not seen.ended:
        raise broken(seen.error, head)


def content_of(seen: Observed) -> int:
    """A number that grows with the content that has come, and with nothing else."""
    return seen.output_chars + seen.reasoning_chars + seen.content_started


async def _was_whole(track: Track, relay: Relay, clock: Clock) -> bool:
    """Whether a connection broke only after the answer had ended: all but the end marker had come."""
    if relay.observed.error is not None or not track.content_sent:
        return False
    await _forward(track, relay.close(), clock)
    if relay.observed.ended:
        relay.observed.flags.append("cut_after_end")
    return relay.observed.ended


def broken(error: UpstreamError | None, head: bytes) -> UpstreamError:
    """What is said of a stream that failed, or whose end is not proven: perhaps it was none."""
    if head.lstrip()[:1] == b"<":
        return UpstreamError("The provider answered with a page of HTML.", kind=UpstreamKind.MALFORMED)
    return error or UpstreamError(
        "The provider's stream ended before the answer was complete.", kind=UpstreamKind.TRUNCATED
    )


async def _head(intake: Intake) -> bytes:
    """The first bytes that are not blank."""
    head = b""
    while not head.strip() and len(head) <= SNIFF_BYTES_MAX:
        chunk = await intake.next()
        if chunk is None:
            break
        head += chunk
    return head


async def _rest(intake: Intake) -> None:
    """Take what follows the end marker if it is already there, so that the connection can be reused."""
    size = 0
    try:
        async with asyncio.timeout(REST_S):
            while size < REST_BYTES_MAX and (chunk := await intake.next()) is not None:
                size += len(chunk)
    except (TimeoutError, UpstreamError):
        pass  # the answer is complete; the connection is closed instead


async def _forward(track: Track, data: bytes, clock: Clock) -> None:
    if not data:
        return
    client = track.client
    if not track.content_sent:
        track.content_sent = True
        track.first_token_ms = (clock.monotonic_us() - track.call.started_us) // 1000
        if not client.started:
            await client.start(200, reply_headers(track))
    await client.send(data)


async def whole(track: Track, behind: Behind[Any, Any], reply: UpstreamReply, clock: Clock) -> None:
    """Read a whole reply and make it ready for its bill.

    Raises:
        UpstreamError: it broke off, is not what its dialect says, or reports an error.
    """
    assert track.candidate is not None
    began_us = clock.monotonic_us()
    try:
        body = await reply.read(track.state.reply_bytes_max)
    finally:
        track.upstream_us += clock.monotonic_us() - began_us
    folded = None
    if len(body) > TURN_BYTES and _is_stream(body.removeprefix(BOM)):
        body = redact_body(body, track.sent_secret).removeprefix(BOM)
        folded = await _folded(behind, _readable(body, track.state.reply_bytes_max))
    land(track, behind, body, folded)


def land(track: Track, behind: Behind[Any, Any], body: bytes, folded: events.Reply | None = None) -> None:
    """Make a whole reply that has come ready for its bill. ``folded``: what it says, where that is known.

    Raises:
        UpstreamError: as :func:`whole`.
    """
    assert track.candidate is not None
    if track.sent_secret is not None:
        body = redact_body(body, track.sent_secret)
    body = body.removeprefix(BOM)
    body = _readable(body, track.state.reply_bytes_max, vectors=track.call.operation == "embed")
    track.hear(body, HEARD_BYTES_MAX)
    if track.landing is not None:
        track.landing.append(body)
    if folded is not None:
        track.delivery = BridgedDelivery(folded, track)
    elif not body.startswith(b"{") and _is_stream(body):
        decoder = behind.stream_decoder()
        track.delivery = BridgedDelivery(fold([*decoder.feed(body), *decoder.close()]), track)
    elif track.candidate.same_dialect:
        track.delivery = _passed(track, body)
    else:
        track.delivery = _bridged(track, behind, body)
    seen = track.delivery.observed
    if seen.error is not None:
        raise seen.error


def _passed(track: Track, body: bytes) -> PassedDelivery:
    """A reply in the client's own dialect.

    Raises:
        UpstreamError: it is none.
    """
    front, inspected = track.call.dialect, track.inspected
    assert isinstance(front, Dialect)
    plain = front.pass_plain(body) if inspected is not None and inspected.plain else None
    return PassedDelivery(front.pass_reply(body, track.context()) if plain is None else plain, front)


def _bridged(track: Track, behind: Behind[Any, Any], body: bytes) -> Delivery:
    """A reply in another dialect than the client's.

    Raises:
        UpstreamError: it is none.
    """
    front, inspected = track.call.dialect, track.inspected
    if inspected is not None and inspected.plain and isinstance(front, Dialect):
        plain = None if behind.read_plain is None else behind.read_plain(body)
        if plain is not None and front.tell_plain is not None:
            return PlainDelivery(plain, front.tell_plain, track.context(), front)
    return BridgedDelivery(behind.decode_reply(body), track)


def _is_stream(body: bytes) -> bool:
    """Whether a whole reply is an event stream."""
    return body[: SNIFF_BYTES_MAX * 4].lstrip().startswith((b"data:", b"event:", b":"))


def _readable(body: bytes, bytes_max: int, *, vectors: bool = False) -> bytes:
    """A whole body as its dialect may read it: UTF-8, and no more JSON than can be held.

    Raises:
        UpstreamError: it is none of that.
    """
    why = overgrown(body, len(body)) if vectors else overgrown(body)
    if why is not None:
        raise malformed(f"a reply of {why}")
    try:
        return utf8(body, bytes_max)
    except EventTooLarge as error:
        raise malformed(f"a reply that cannot be mended: {error}") from None


async def _folded(behind: Behind[Any, Any], body: bytes) -> events.Reply:
    """A whole reply out of a stream that came at once. Others get their turn between its pieces.

    Raises:
        UpstreamError: it is none.
    """
    decoder = behind.stream_decoder()
    found: list[events.Event] = []
    for at in range(0, len(body), TURN_BYTES):
        found += decoder.feed(body[at : at + TURN_BYTES])
        await asyncio.sleep(0)
    return fold([*found, *decoder.close()])


def observe(reply: events.Reply | EmbedReply) -> Observed:
    """What a relay would have observed of a whole reply."""
    if isinstance(reply, EmbedReply):
        return reply.observed()
    seen = Observed(
        content_started=True,
        ended=True,
        usage=reply.usage,
        upstream_id=reply.id or None,
        upstream_model=reply.model or None,
        flags=list(reply.flags),
    )
    for choice in reply.choices:
        if seen.finish is None:
            seen.finish, seen.native_finish = choice.finish.value, choice.native_finish
        for part in choice.parts:
            match part:
                case chat.Thinking():
                    seen.reasoning_chars += len(part.text)
                case chat.Text() | chat.Refusal():
                    seen.output_chars += len(part.text)
                case chat.ToolCall():
                    seen.output_chars += len(part.name) + len(part.arguments)
                case _:
                    seen.output_chars += 1
    return seen


@contextmanager
def heartbeat(track: Track) -> Iterator[None]:
    """Send a comment whenever a stream has been silent for ``state.heartbeat_s``.

    The first one commits to status 200; an error afterwards is told inside the stream.
    """
    pause_s, inspected = track.state.heartbeat_s, track.inspected
    if pause_s <= 0 or inspected is None or not inspected.stream or inspected.json_array:
        yield
        return
    heart = _Heart(track, pause_s)
    try:
        yield
    finally:
        heart.stop()


class _Heart:
    def __init__(self, track: Track, pause_s: float) -> None:
        self._track = track
        self._pause_s = pause_s
        self._loop = asyncio.get_running_loop()
        self._beat: asyncio.Task[None] | None = None
        self._stopped = False
        self._timer = self._loop.call_later(pause_s, self._due)

    def _due(self) -> None:
        client = self._track.client
        silent_s = self._loop.time() - client.last_sent_s if client.started else self._pause_s
        if silent_s < self._pause_s:
            self._timer = self._loop.call_later(self._pause_s - silent_s, self._due)
            return
        if self._beat is None or self._beat.done():
            self._beat = self._loop.create_task(self._send())
        self._timer = self._loop.call_later(self._pause_s, self._due)

    async def _send(self) -> None:
        client = self._track.client
        if self._stopped:  # between the timer and this task the answer was complete
            return
        with suppress(ConnectionError):  # the pump learns of it by itself
            await client.beat(200, reply_headers(self._track), self._track.call.dialect.heartbeat)

    def stop(self) -> None:
        self._stopped = True
        self._timer.cancel()
