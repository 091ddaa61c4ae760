"""The fast lane: plain exchanges without a task of their own.

    take ──── admitted, limited, held in memory, in one step; or not taken, and nothing was changed
      held ── the hold is durable: the request goes out, or waits for a connection first
        heard ── the reply comes, piece by piece
          settled ── the settlement is durable: the last bytes go out

A ride is taken on if nothing about its request has to be waited for or looked at twice: one model, no wishes, no
session, nothing kept of earlier turns. Each step is a call from whoever has news (the store's batch, the provider's
connection), so there is nothing to schedule, wake or cancel in between.

As soon as anything else happens than the usual (too little credit, no place at the provider, one that fails, a
stream that breaks, a client that leaves) the ride becomes an ordinary exchange: the same :class:`Track` goes on in a
task, by the same code as all others. Whatever a ride does itself is done by that code's own parts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from llm_router.billing.estimate import Estimate, expected_input
from llm_router.billing.meter import Metered
from llm_router.domain.errors import (
    InsufficientCredits,
    LedgerUnavailable,
    RouterError,
    SessionBrake,
    UpstreamError,
    UpstreamKind,
)
from llm_router.domain.key import Key
from llm_router.domain.limit import UNLIMITED, Admission, Limit
from llm_router.engine import pump, refusing
from llm_router.engine.admit import Admitted, Call
from llm_router.engine.attempt import ERROR_BYTES_MAX, Attempt
from llm_router.engine.boarding import Boarding, board, is_plain
from llm_router.engine.braking import check_alone, limits_of, may_repeat
from llm_router.engine.deadlines import NO_WISH, Wish, total_of
from llm_router.engine.intake import Intake
from llm_router.engine.limits import concerning_of, refused_by, tokens_admitted
from llm_router.engine.tracks import Delivery, Track, reply_head, whole_head
from llm_router.engine.trying import Calling
from llm_router.ports import (
    Client,
    Entered,
    LiveReply,
    Prepared,
    PromptBooks,
    PromptCounters,
    PromptEntrance,
    PromptKeyring,
    PromptRules,
    PromptUpstream,
    Settled,
)
from llm_router.wire.dialect import Inspected, Observed, Relay

if TYPE_CHECKING:
    from llm_router.engine.exchange import Engine

KINDS_MAX = 4096
"""Kinds of requests remembered."""

READY_MAX = 4
"""Heads of calls remembered for a kind: they differ by what its clients have forwarded."""

FORWARDED_CHARS_MAX = 1024
"""With more of it a head is made for its call alone."""

_HOLDING, _CALLING, _SETTLING, _OVER = range(4)


class PromptClient(Client, Protocol):
    """The caller's end of a ride: what is written leaves at once, or waits in the connection's buffer.

    Attributes:
        clogged: the reader is slow, and enough waits for it.
    """

    @property
    def clogged(self) -> bool: ...

    def answer(self, status: int, head: str, data: bytes) -> None:
        """A whole answer; ``head``: its lines."""
        ...

    def open(self, status: int, head: str) -> None:
        """The head of a stream; its first bytes follow."""
        ...

    def put(self, data: bytes) -> None:
        """A piece of the stream."""
        ...

    def end(self, data: bytes) -> None:
        """The last piece."""
        ...

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        """Go on with the exchange in a task; whatever it raises is told."""
        ...

    def over(self) -> None:
        """The ride is over: the connection is free."""
        ...


class Express:
    """Takes rides. One per engine.

    Attributes:
        rides: those under way; taken: how many there have been.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kinds: dict[tuple[object, ...], Boarding] = {}
        self.taken = 0
        self.rides: set[Ride] = set()
        self._emptied: asyncio.Future[None] | None = None
        self._whole: deque[Ride] = deque()
        self._landing = False
        books, upstream = engine.books, engine.upstream
        self.books = books if isinstance(books, PromptBooks) else None
        self.entrance = books if isinstance(books, PromptEntrance) else None
        self.keyring = engine.keyring if isinstance(engine.keyring, PromptKeyring) else None
        self.rules = engine.rules if isinstance(engine.rules, PromptRules) else None
        self.counters = engine.counters if isinstance(engine.counters, PromptCounters) else None
        self.upstream = upstream if isinstance(upstream, PromptUpstream) else None

    @property
    def able(self) -> bool:
        """Whether the stores and the upstream can answer at once."""
        return None not in (self.books, self.keyring, self.rules, self.upstream)

    def find(self, digest: bytes, now_ms: int) -> Key | None:
        """The valid key of that digest, if it is in memory."""
        key = None if self.keyring is None else self.keyring.find_now(digest)
        if (
            key is None
            or key.revoked_ms is not None
            or (key.expires_ms is not None and key.expires_ms <= now_ms)
        ):
            return None
        return key

    def take(
        self, call: Call, key: Key, client: PromptClient, now_ms: int, wish: Wish = NO_WISH
    ) -> Ride | None:
        """Take a request on; None if it has to go the ordinary way: then nothing was changed.

        Args:
            wish: of the client's time, as its head says.
        """
        engine, rules = self._engine, self.rules
        assert rules is not None
        if not engine.alone(key.account):
            return None
        if engine.recall is not None and engine.recall.may_concern(key.account, call):
            return None
        try:
            inspected = call.dialect.inspect(call.body, call.path_model, call.path_stream)
        except RouterError:
            return None
        inspected.json_array = call.json_array
        boarding = self._boarding(call, key, inspected, now_ms)
        if boarding is None or not boarding.fits(inspected):
            return None
        if wish is not NO_WISH and boarding.candidate.provider.deadline_header is not None:
            return None  # the provider is told how long it has: its head is another each time
        if inspected.repeats and may_repeat(call.body):
            state, payer = boarding.state, boarding.payer
            try:
                check_alone(call, inspected, limits_of(call, payer, state.sessions, state.sessions_by_key))
            except SessionBrake:
                return None
        trying = engine.trying
        if not trying.health.quiet or not trying.takes(boarding.candidate):
            return None
        limits = boarding.limits
        made = rules.limits_now(boarding.payer)
        if made is None:
            return None
        if made:
            limits += tuple(concerning_of(made, boarding.plan.models))
        if limits and self.counters is None and self.entrance is None:
            return None
        track = Track(
            id=engine.new_id(),
            call=call,
            client=client,
            state=boarding.state,
            clock=engine.clock,
            created_ms=now_ms,
            key=key,
            paid_by=boarding.payer,
            inspected=inspected,
            asked_model=inspected.model,
            plan=boarding.plan,
            model=boarding.candidate.model,
            price_list=boarding.price_list,
            wish=wish,
            due_us=call.started_us
            + (boarding.total_us if wish is NO_WISH else round(total_of(boarding.base, wish) * 1_000_000)),
        )
        if key.tags:
            engine.tag(track, key.account, key.tags)
        ride = Ride(self, engine, track, client, boarding)
        self.rides.add(ride)
        self.taken += 1
        ride.begin(limits)
        return ride

    def _boarding(self, call: Call, key: Key, inspected: Inspected, now_ms: int) -> Boarding | None:
        """What holds for all requests of its kind."""
        engine = self._engine
        if not (inspected.plain or is_plain(inspected)):
            return None
        place = (key.id, inspected.model, call.dialect.name, call.operation, inspected.needs)
        found = self._kinds.get(place)
        if (
            found is not None
            and found.key is key
            and found.state is engine.state
            and found.price_list is engine.price_list
            and now_ms < found.until_ms
        ):
            return found
        if not is_plain(inspected):  # text alone, but perhaps for a preset: such a kind is never known
            return None
        made = board(
            engine.planner,
            engine.attempts,
            self.counters,
            engine.state,
            engine.price_list,
            call,
            key,
            inspected,
            now_ms,
        )
        if made is None:
            self._kinds.pop(place, None)
            return None
        if len(self._kinds) >= KINDS_MAX:
            self._kinds.clear()
        self._kinds[place] = made
        return made

    def prepared(self, track: Track, boarding: Boarding, forwarded: dict[str, str], stream: bool) -> Prepared:
        """The address and headers of a call.

        Raises:
            UpstreamError: they may not be sent.
        """
        ready = boarding.ready
        place = (stream, *forwarded.items()) if forwarded else stream
        found = ready.get(place)
        if found is not None:
            track.sent_secret = found[0]
            return found[1]
        assert self.upstream is not None
        request = self._engine.attempts.request(track, boarding.candidate, b"", forwarded, boarding.secret)
        made = self.upstream.prepare(request)
        if sum(map(len, forwarded.values())) <= FORWARDED_CHARS_MAX:
            if len(ready) >= READY_MAX:
                ready.clear()
            ready[place] = (track.sent_secret, made)
        return made

    def land_soon(self, ride: Ride | None = None) -> None:
        """Land the whole replies that come in this iteration of the loop at its end, one after the other: the same
        code for many costs less than many kinds of code in turns. ``ride``: whose reply has come.

        Who submits to the store says it before, so that what the landings submit leaves with it.
        """
        if ride is not None:
            self._whole.append(ride)
        if not self._landing:
            self._landing = True
            asyncio.get_running_loop().call_soon(self._land)

    def _land(self) -> None:
        self._landing = False
        whole = self._whole
        try:
            while whole:
                whole.popleft().land()
        finally:
            if whole:  # one failed in a way that nobody foresaw: the others must not wait for ever
                self.land_soon()

    async def empty(self) -> None:
        """Wait until there is no ride."""
        if self.rides:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def left(self, ride: Ride) -> None:
        """It is no ride any more."""
        self.rides.discard(ride)
        if self._emptied is not None and not self.rides and not self._emptied.done():
            self._emptied.set_result(None)

    def stop(self) -> None:
        """End what still runs; every client is told, every hold resolved."""
        for ride in list(self.rides):
            ride.stop()


class Ride(msgspec.Struct, eq=False):
    """One exchange in the fast lane. It stands in the place of a future towards the store."""

    _express: Express
    _engine: Engine
    track: Track
    client: PromptClient
    _boarding: Boarding
    _stage: int = _HOLDING
    _reply: LiveReply | None = None
    _attempt: Attempt | None = None
    _calling: Calling | None = None
    _launched_us: int = 0
    _came_us: int | None = None  # when the reply was whole
    _pieces: list[bytes] | None = None  # of a reply that was not there at once
    _size: int = 0
    _metered: Metered | None = None
    _entering: tuple[int, Estimate] | None = None
    # Of streams:
    _intake: Intake | None = None
    _relay: Relay | None = None
    _telling: Relay | None = None  # while each event may go straight from the connection to the client
    _head: bytes = b""
    _idle_s: float = 0.0
    _had: int = 0
    _rest: asyncio.TimerHandle | None = None
    _beat: asyncio.TimerHandle | None = None

    # -- admitted --------------------------------------------------------------------------------------

    def begin(self, limits: Sequence[Limit]) -> None:
        """Count and hold; what keeps it from going on ends it, or sends it the ordinary way."""
        track, engine, boarding = self.track, self._engine, self._boarding
        inspected, books = track.inspected, self._express.books
        assert inspected is not None
        assert books is not None
        try:
            for price in boarding.prices:
                engine.publish(price, track.created_ms)
            expected = expected_input(inspected)
            tokens, worst = tokens_admitted(inspected, expected), boarding.estimate(inspected)
            entrance = self._express.entrance
            if entrance is not None:
                self._express.land_soon()
                entrance.enter_now(
                    track.id,
                    boarding.payer,
                    worst.amount_pusd,
                    worst.price_version,
                    tuple(limits),
                    tokens,
                    track.created_ms,
                    self,
                )
                track.held, track.counted = True, bool(limits)  # perhaps: what comes will say
                self._entering = expected, worst
                return
            admission = self._count(limits, tokens) if limits else UNLIMITED
            track.admission = admission
            self._express.land_soon()
            books.hold_now(
                track.id, boarding.payer, worst.amount_pusd, worst.price_version, track.created_ms, self
            )
        except InsufficientCredits:
            self._ordinary(engine.hold_and_resume(track, boarding.payer, inspected, boarding.plan))
            return
        except RouterError as error:
            self._ordinary(engine.refuse(track, error))
            return
        except Exception as error:  # told and closed as any other unforeseen one
            self._unforeseen(error)
            return
        track.held = True
        self._admit(admission, expected, worst)

    def _admit(self, admission: Admission, expected: int, worst: Estimate) -> None:
        """It is counted, and its hold is under way."""
        track, boarding = self.track, self._boarding
        inspected, key = track.inspected, track.key
        assert inspected is not None
        assert key is not None
        wish = inspected.usage_chunk
        track.admission = admission
        track.admitted = Admitted(
            key=key,
            inspected=inspected,
            plan=boarding.plan,
            estimate=worst,
            admission=admission,
            input_tokens_expected=expected,
            output_tokens_cap=None,
            strict=key.strict,
            usage_chunk=key.usage_chunk if wish is None else wish,
        )
        pause_s = boarding.state.heartbeat_s
        if inspected.stream and pause_s > 0 and not inspected.json_array:
            self._beat = asyncio.get_running_loop().call_later(pause_s, self._due)

    def _entered(self, entered: Entered) -> None:
        """Counted and held elsewhere, in one step; or not.

        Raises:
            RateLimitExceeded, InsufficientCredits, LedgerUnavailable: it is not.
        """
        track = self.track
        assert self._entering is not None
        if entered.admission.refused is not None:
            assert track.inspected is not None
            track.counted = False
            refused_by(entered.admission, tokens_admitted(track.inspected, self._entering[0]))
        track.admission = entered.admission
        if entered.refusal is not None:
            raise entered.refusal
        self._admit(entered.admission, *self._entering)

    def _count(self, limits: Sequence[Limit], tokens: int) -> Admission:
        """Count the request against its limits.

        Raises:
            RateLimitExceeded
        """
        counters, track, boarding = self._express.counters, self.track, self._boarding
        assert counters is not None
        if limits is boarding.limits and boarding.gauge is not None:
            admission = boarding.gauge.admit(track.id, tokens, track.created_ms)
        else:
            admission = counters.admit_now(track.id, limits, tokens, track.created_ms)
        if admission.refused is not None:
            refused_by(admission, tokens)
        track.counted = True
        return admission

    # -- in the place of a future: what the store says -------------------------------------------------

    def done(self) -> bool:
        """Whether the store's word is waited for no more."""
        return self._stage not in (_HOLDING, _SETTLING)

    def set_result(self, result: Any, /) -> None:
        """The hold is durable, or the settlement."""
        try:
            if self._stage == _HOLDING:
                if self._entering is not None:
                    try:
                        self._entered(result)
                    except Exception as error:  # told as what the store says otherwise
                        self.set_exception(error)
                        return
                self._call()
            else:
                self._settled(result)
        except Exception as error:  # told and closed as any other unforeseen one
            self._unforeseen(error)

    def set_exception(self, exception: BaseException, /) -> None:
        """Neither is."""
        track, engine = self.track, self._engine
        if self._stage == _HOLDING:
            track.held = False
            if isinstance(exception, InsufficientCredits):
                assert track.inspected is not None
                self._ordinary(
                    engine.hold_and_resume(track, self._boarding.payer, track.inspected, self._boarding.plan)
                )
                return
            if isinstance(exception, RouterError):
                self._ordinary(engine.refuse(track, exception))
            else:
                self._ordinary(engine.crash(track, exception))
        else:
            self._unsettled(exception)

    def exception(self) -> BaseException | None:
        """Nobody asks."""
        return None

    # -- called ----------------------------------------------------------------------------------------

    def _call(self) -> None:
        engine, track, boarding = self._engine, self.track, self._boarding
        trying, candidate, inspected = engine.trying, boarding.candidate, track.inspected
        assert inspected is not None
        if not (trying.health.quiet and trying.takes(candidate)):
            self._ordinary(engine.resume(track))
            return
        attempt = engine.attempts.opened(track, candidate)
        try:
            body, forwarded = engine.attempts.written(track, candidate, boarding.target, inspected)
            prepared = self._express.prepared(track, boarding, forwarded, inspected.stream)
        except RouterError:
            self._ordinary(engine.resume(track))  # which meets it again, and knows what follows
            return
        now_us = engine.clock.monotonic_us()
        deadlines, left_s = boarding.deadlines_of(track, now_us)
        due_s = asyncio.get_running_loop().time() + left_s
        self._reply = prepared.launch(body, deadlines, due_s, self)
        self._attempt, self._launched_us = attempt, now_us
        trying.begin(track.state)
        self._calling = trying.begun(candidate, attempt.started_ms, now_us)
        self._stage = _CALLING
        if inspected.stream:
            self._idle_s = deadlines.idle_s
            self._intake = Intake(None, track.sent_secret, track.state.reply_bytes_max)

    def on_upstream(self) -> None:
        """Something has come of the reply."""
        try:
            if self._stage == _CALLING:
                self._hear()
            elif self._reply is not None:  # what follows the end
                self._reply.take()
                if self._reply.complete and self._rest is not None:
                    self._rest.cancel()
        except UpstreamError as error:
            if self._stage == _CALLING:
                self._failed(error)
        except ConnectionError:  # more than what may come for a client that left
            self.cancel()
        except Exception as error:  # told and closed as any other unforeseen one
            self._unforeseen(error)

    def on_more(self, data: bytes) -> bool:
        """Nearly all that comes of a stream: events like the one before, but for their text."""
        relay, intake, client = self._telling, self._intake, self.client
        if relay is None or intake is None or client.clogged:
            return False
        try:
            if not intake.clean(data) or not (told := relay.more(data)):
                return False
            intake.took(data)
            self._note(data)
            client.put(told)
            self._had = pump.content_of(relay.observed)
        except Exception as error:  # told and closed as any other unforeseen one
            self._unforeseen(error)
        return True

    def land(self) -> None:
        """Read the reply if it has come whole, and was not read yet."""
        if self._came_us is None or self._stage != _CALLING:
            return
        try:
            self._landed()
        except UpstreamError as error:
            if self._stage == _CALLING:
                self._failed(error)
        except Exception as error:  # told and closed as any other unforeseen one
            self._unforeseen(error)

    def _hear(self) -> None:
        reply, attempt = self._reply, self._attempt
        assert reply is not None
        assert attempt is not None
        status, now_us = reply.status, self._engine.clock.monotonic_us()
        if status and attempt.status is None:
            attempt.status = status
            attempt.first_byte_us = now_us - self._launched_us
            if self._intake is not None:
                reply.expect_content(more=False)
        if status and not 200 <= status < 300:
            self._refused(reply)
        elif self._intake is not None:
            self._flow(reply, self._intake)
        elif not reply.complete:
            self._take_in(reply)
            if reply.failure is not None:
                raise reply.failure
        elif self._came_us is None:
            self._came_us = now_us
            self._express.land_soon(self)

    def _take_in(self, reply: LiveReply) -> list[bytes] | None:
        """Take what has come of a whole reply. All pieces of it, not joined: they may be many; None if there are
        none.

        Raises:
            UpstreamError: it is too large, or cannot be read.
        """
        most, pieces = self.track.state.reply_bytes_max, self._pieces
        while data := reply.take():
            self._size += len(data)
            if self._size > most:
                raise UpstreamError(
                    f"The provider's reply is larger than {most} bytes.", kind=UpstreamKind.MALFORMED
                )
            if pieces is None:
                pieces = self._pieces = []
            pieces.append(data)
        return pieces

    def _gather(self, reply: LiveReply) -> bytes:
        """All of a whole reply.

        Raises:
            UpstreamError: as :meth:`_take_in`.
        """
        pieces = self._take_in(reply)
        if pieces is None:
            return b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _refused(self, reply: LiveReply) -> None:
        """A reply that is no success: its body says why.

        Raises:
            UpstreamError: what it says.
        """
        body = b"" if self._pieces is None else self._pieces.pop()
        while len(body) < ERROR_BYTES_MAX and (data := reply.take()):
            body += data
        self._pieces = [body]
        if reply.complete or reply.failure is not None or len(body) >= ERROR_BYTES_MAX:
            body = b"" if len(body) > ERROR_BYTES_MAX else body
            raise self._engine.attempts.refusal(self._boarding.behind, reply.status, reply.headers, body)

    def _landed(self) -> None:
        track, reply = self.track, self._reply
        assert self._came_us is not None
        assert reply is not None
        track.upstream_us += self._came_us - self._launched_us
        self._launched_us = self._came_us
        pump.land(track, self._boarding.behind, self._gather(reply))
        self._delivered()

    # -- streams ---------------------------------------------------------------------------------------

    def _flow(self, reply: LiveReply, intake: Intake) -> None:
        """Relay what has come of a stream.

        Raises:
            UpstreamError: it failed, or broke off.
        """
        track = self.track
        self._look_closer()
        while not self.client.clogged and (chunk := reply.take()):
            now_us = self._engine.clock.monotonic_us()
            track.upstream_us += now_us - self._launched_us
            track.drained(len(chunk))
            if (data := intake.take(chunk)) and self._fed(data):
                return
            self._launched_us = now_us
        if self.client.clogged and not reply.complete:
            return  # it is read on when the client has read
        if reply.failure is not None:
            if self._relay is not None and self._was_whole(self._relay):
                self._delivered()
                return
            raise reply.failure
        if reply.complete:
            rest = intake.rest()
            if rest and self._fed(rest):
                return
            self._closed()
        else:
            if self._relay is not None and (had := pump.content_of(self._relay.observed)) != self._had:
                self._had = had
                reply.expect_content(more=True)
            reply.expect(self._idle_s)
            if track.content_sent and track.drain is None:
                self._telling = self._relay

    def _fed(self, data: bytes) -> bool:
        """Give bytes to the relay, and what they complete to the client; whether the stream has ended.

        Raises:
            UpstreamError: it failed.
        """
        track, relay = self.track, self._relay
        if relay is None:
            self._head += data
            if not self._head.strip() and len(self._head) <= pump.SNIFF_BYTES_MAX:
                return False
            data = self._head
            relay = self._relay = pump.relay_of(track, self._boarding.behind, data)
        self._note(data)
        self._forward(relay.feed(data))
        seen = relay.observed
        if seen.error is not None:
            raise pump.broken(seen.error, self._head)
        if seen.ended:
            self._delivered()
        return seen.ended

    def _look_closer(self) -> None:
        """Events go straight on no more."""
        if self._telling is not None:
            self._telling = None
            now_us = self._engine.clock.monotonic_us()
            self.track.upstream_us += now_us - self._launched_us
            self._launched_us = now_us

    def _note(self, data: bytes) -> None:
        """Keep what the provider said, where somebody may want it again."""
        track = self.track
        if track.heard is not None:
            track.hear(data, pump.HEARD_BYTES_MAX)
        if track.transcript is not None:
            track.transcript.hear(data)

    def _closed(self) -> None:
        """The provider's stream is over.

        Raises:
            UpstreamError: its end is not proven.
        """
        relay = self._relay
        if relay is None:
            relay = self._relay = pump.relay_of(self.track, self._boarding.behind, self._head)
            self._forward(relay.feed(self._head))
        self._forward(relay.close())
        if relay.observed.error is not None or not relay.observed.ended:
            raise pump.broken(relay.observed.error, self._head)
        self._delivered()

    def _was_whole(self, relay: Relay) -> bool:
        """Whether the connection broke only after the answer had ended."""
        track, seen = self.track, relay.observed
        if track.transcript is None or seen.error is not None or not track.content_sent:
            return False
        self._forward(relay.close())
        if seen.ended:
            seen.flags.append("cut_after_end")
        return seen.ended

    def _forward(self, data: bytes) -> None:
        if not data:
            return
        track, client = self.track, self.client
        if not track.content_sent:
            track.content_sent = True
            track.first_token_ms = (self._engine.clock.monotonic_us() - track.call.started_us) // 1000
            if not client.started:
                client.open(200, reply_head(track))
        client.put(data)

    def on_drained(self) -> None:
        """The client has read what waited for it."""
        if self._stage == _CALLING and self._reply is not None and self._telling is None:
            self._launched_us = self._engine.clock.monotonic_us()
            self.on_upstream()

    def _due(self) -> None:
        """The stream may have been silent for a while: tell the client that it is still there."""
        track, client = self.track, self.client
        pause_s, loop = track.state.heartbeat_s, asyncio.get_running_loop()
        silent_s = loop.time() - client.last_sent_s if client.started else pause_s
        if silent_s >= pause_s:
            if not client.started:
                client.open(200, reply_head(track))
            client.put(track.call.dialect.heartbeat)
            silent_s = 0.0
        self._beat = loop.call_later(pause_s - silent_s, self._due)

    # -- over ------------------------------------------------------------------------------------------

    def _delivered(self) -> None:
        """The answer is whole: what it came to is written down."""
        track, engine, attempt, reply = self.track, self._engine, self._attempt, self._reply
        books, delivery = self._express.books, track.delivery
        assert attempt is not None
        assert reply is not None
        assert books is not None
        assert delivery is not None
        attempt.outcome = "delivered"
        bill, now_us = self._tariffed(delivery), engine.clock.monotonic_us()
        if bill is None:
            self._ended(True)
            self._metered = engine.metered(track)
        else:
            self._metered = bill
            self._fill_in(attempt, delivery.observed, bill, now_us)
        if not reply.complete:  # take what follows, so that the connection can be used again
            self._rest = asyncio.get_running_loop().call_later(pump.REST_S, reply.abort)
        self._stage = _SETTLING
        if self._intake is not None:  # else it is the landing
            self._express.land_soon()
        engine.watch.waits.begin(track.id, now_us)
        try:
            assert track.record is not None
            books.settle_now(track.record, self)
        except LedgerUnavailable as error:
            self._unsettled(error)

    def _tariffed(self, delivery: Delivery) -> Metered | None:
        """What the answer came to, if it is plain, and nothing else is to be said of it in its record."""
        track, boarding = self.track, self._boarding
        tariff, admitted, usage = boarding.tariff, track.admitted, delivery.observed.usage
        if tariff is None or usage is None or admitted is None or boarding.form is None:
            return None
        if track.tags or track.losses or track.gone or track.drain is not None or delivery.losses():
            return None
        inspected = admitted.inspected
        asked = inspected.output_tokens
        if asked is not None and inspected.n > 1:
            asked *= inspected.n
        bill = tariff.meter(usage, admitted.estimate.input_tokens, asked)
        return None if bill is None or bill.cost_pusd > admitted.estimate.amount_pusd else bill

    def _fill_in(self, attempt: Attempt, seen: Observed, bill: Metered, now_us: int) -> None:
        """Write down a plain answer: :meth:`_ended` and ``metered``, by the form of its kind."""
        track, engine, form, calling = self.track, self._engine, self._boarding.form, self._calling
        assert form is not None
        assert calling is not None
        self._attempt = self._calling = None
        track.record = record = form.filled(track, attempt, seen, bill, now_us)
        track.attempts += record.attempts
        track.settled = True
        if record.stream:
            engine.trying.called(track, attempt.candidate, calling, True)
        else:
            engine.trying.answered(calling, seen.usage, now_us, engine.clock.now_ms())

    def _settled(self, settled: Settled) -> None:
        track, engine, client = self.track, self._engine, self.client
        if self._entering is not None:
            track.counted = False  # the settlement gave the places back
        engine.watch.waits.end(track.id)
        data = engine.last_bytes(track, engine.billed(track, self._metered, settled))
        if client.started:
            client.end(data)
        else:
            head = reply_head(track) if self._intake is not None else whole_head(track, self._boarding.whose)
            client.answer(200, head, data)
        self._over()

    def _unsettled(self, exception: BaseException) -> None:
        """The store did not take the settlement: the hold is resolved later, and the client hears of an error."""
        track, engine, client = self.track, self._engine, self.client
        engine.watch.waits.end(track.id)
        assert track.record is not None
        if track.gone or not isinstance(exception, LedgerUnavailable):
            engine.upkeep.settle_later(track.record)
        else:
            engine.upkeep.void_later(track.record)
        error = exception if isinstance(exception, RouterError) else None
        if error is None:
            self._ordinary(engine.crash(track, exception))
            return
        track.error = error
        if client.started:
            assert track.delivery is not None
            client.end(track.delivery.fail(error, track.id))
        else:
            client.answer(
                error.status, reply_head(track, error), track.call.dialect.encode_error(error, track.id)
            )
        self._over()

    def _over(self) -> None:
        self._leave()
        track, counters, entrance = self.track, self._express.counters, self._express.entrance
        self._engine.over(track)
        self._engine.drains.end(track)
        if track.counted:
            used = track.record.usage.total_tokens if track.record is not None else 0
            if entrance is not None:
                entrance.leave_now(track.id, used, self._engine.clock.now_ms())
            elif counters is not None:
                counters.release_now(track.id, used, self._engine.clock.now_ms())
        self.client.over()

    def _leave(self) -> None:
        """It is no ride any more."""
        self._stage, self._telling = _OVER, None
        if self._reply is not None and self._reply.complete:
            self._reply = None  # no cycle: what is over must be freed at once
        self._express.left(self)
        if self._beat is not None:
            self._beat.cancel()

    def _ended(self, how: RouterError | bool) -> None:
        """The call is over, one way or another."""
        attempt, calling = self._attempt, self._calling
        if attempt is not None and calling is not None:
            self._attempt = self._calling = None
            self._engine.attempts.over(self.track, attempt)
            self._engine.trying.called(self.track, attempt.candidate, calling, how)

    def _ordinary(self, work: Coroutine[Any, Any, object]) -> None:
        """Go on as every other exchange does."""
        self._leave()
        self.client.run(work)

    def _failed(self, error: UpstreamError) -> None:
        """The provider failed: somebody else may answer."""
        reply, attempt, track = self._reply, self._attempt, self.track
        assert reply is not None
        assert attempt is not None
        assert self._calling is not None
        reply.abort()
        if self._intake is None or not track.content_sent:
            track.upstream_us += self._engine.clock.monotonic_us() - self._launched_us
        if reply.stale:  # nothing was answered: the connection had been closed before
            self._engine.trying.called(track, attempt.candidate, self._calling, False)
            self._ordinary(self._engine.resume(track))
            return
        attempt.failed(error, track)
        self._ended(error)
        self._ordinary(self._engine.resume(track, error))

    def _break_off(self) -> None:
        self._look_closer()
        if self._reply is not None:
            self._reply.abort()
        if self._attempt is not None:
            self._attempt.outcome = "aborted"
        self._ended(False)

    def _unforeseen(self, error: Exception) -> None:
        """A fault of ours: it is reported, and the exchange closed as it stands."""
        if self._stage == _OVER:
            self.client.run(_raise(error))
            return
        self._break_off()
        self._ordinary(self._engine.crash(self.track, error))

    def cancel(self) -> None:
        """The exchange went on without its client, and has done so for long enough."""
        self.land()
        if self._stage == _CALLING:
            self._break_off()
            self._ordinary(self._engine.abandon(self.track))

    def left(self) -> None:
        """The client has left."""
        track = self.track
        self.land()  # what has come whole is billed as what it is
        self._look_closer()
        if self._stage == _OVER:
            return
        if self._stage == _SETTLING:
            track.gone = True
        elif not self._engine.drains.begin(track, self):
            self._break_off()
            self._ordinary(self._engine.abandon(track))

    def stop(self, *, ended: bool = False) -> bool:
        """The gateway stops, or its operator ends this one; False if it ends by itself."""
        self.land()
        if self._stage not in (_HOLDING, _CALLING):
            return False
        self.track.stopped, self.track.ended = True, ended
        self._break_off()
        self._ordinary(self._engine.refuse(self.track, refusing.ended() if ended else refusing.stopping()))
        return True


async def _raise(error: BaseException) -> None:
    raise error
