"""The fast lane: plain exchanges without a task of their own.

    take ──── admitted, limited, held in memory, in one step; or not taken, and nothing was changed
      held ── the hold is durable: the request goes out, or waits for a connection first
        heard ── the reply comes, piece by piece
          settled ── the settlement is durable: the last bytes go out

A ride is taken on if nothing about its request has to be waited for or looked at twice: one model, no wishes, no
session, nothing kept of earlier turns. Each step is a call from whoever has news (the store's batch, the provider's
connection), so there is nothing to schedule, wake or cancel in between.

As soon as anything else happens than the usual (too little credit, no place at the provider, one that fails, a
stream that breaks, a client that leaves) the ride becomes an ordinary exchange: its :class:`Track` goes on in a task,
by the same code as all others. Whatever a ride does itself is done by that code's own parts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from llm_router.billing.estimate import Estimate, expected_input
from llm_router.billing.meter import Metered
from llm_router.billing.tokens import estimate_tokens
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
from llm_router.domain.record import ExchangeRecord
from llm_router.engine import pump, refusing, settle
from llm_router.engine.admit import Admitted, Call
from llm_router.engine.attempt import ERROR_BYTES_MAX, Attempt
from llm_router.engine.boarding import Boarding, board, is_plain
from llm_router.engine.braking import check_alone, limits_of, may_repeat
from llm_router.engine.deadlines import NO_WISH, Wish, total_of
from llm_router.engine.forms import Form
from llm_router.engine.intake import Intake
from llm_router.engine.limits import concerning_of, refused_by, tokens_admitted
from llm_router.engine.pump import PlainDelivery
from llm_router.engine.tracks import Delivery, Track, native_line, reply_head, reply_id_of, whole_head
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
from llm_router.wire.cut import Pieces
from llm_router.wire.dialect import (
    Bill,
    Dialect,
    Inspected,
    Observed,
    PassedReply,
    Relay,
    ReplyContext,
)
from llm_router.wire.heads import Head
from llm_router.wire.plain import PlainReply

if TYPE_CHECKING:
    from llm_router.engine.exchange import Engine

KINDS_MAX = 4096
"""Kinds of requests remembered."""

READY_MAX = 4
"""Heads of calls remembered for a kind: they differ by what its clients have forwarded."""

FORWARDED_CHARS_MAX = 1024
"""With more of it a head is made for its call alone."""

_HOLDING, _CALLING, _SETTLING, _OVER = range(4)

Sent = tuple[str | None, Prepared]
"""A call without its body, and what is sent of a credential."""


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
        emptied: who waits until there are none.
        whole: those whose whole reply waits to be read, and landing: they will be, in this iteration of the loop.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kinds: dict[tuple[object, ...], Boarding] = {}
        self.taken = 0
        self.rides: set[Ride] = set()
        self.emptied: asyncio.Future[None] | None = None
        self.whole: deque[Ride] = deque()
        self.landing = False
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
        if boarding is None:
            return None
        asked, bytes_max, most = inspected.output_tokens, boarding.context_tokens, boarding.output_tokens_max
        if asked is not None and most is not None and asked > most:
            return None
        if bytes_max is not None and inspected.text_bytes + inspected.input_tokens + (asked or 0) > bytes_max:
            return None  # it may be too long for a candidate: no text has more tokens than bytes
        if wish is not NO_WISH and boarding.candidate.provider.deadline_header is not None:
            return None  # the provider is told how long it has: its head is another each time
        if inspected.repeats and may_repeat(call.body):
            state, payer = boarding.state, boarding.payer
            try:
                check_alone(call, inspected, limits_of(call, payer, state.sessions, state.sessions_by_key))
            except SessionBrake:
                return None
        trying, candidate = engine.trying, boarding.candidate
        if not trying.health.quiet:
            return None
        if not candidate.own_key and not trying.gate.lanes.room(candidate.deployment.id):
            return None
        limits = boarding.limits
        made = rules.limits_now(boarding.payer)
        if made is None:
            return None
        if made:
            limits += tuple(concerning_of(made, boarding.plan.models))
        if limits and self.counters is None and self.entrance is None:
            return None
        due_us = boarding.total_us if wish is NO_WISH else round(total_of(boarding.base, wish) * 1_000_000)
        ride = Ride(
            self,
            engine,
            call,
            client,
            boarding,
            key,
            inspected,
            engine.new_id(),
            now_ms,
            wish,
            call.started_us + due_us,
        )
        if key.tags:
            ride.tags_over = engine.tags_over(key.account, key.tags, now_ms)
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

    def prepared(self, ride: Ride, boarding: Boarding, forwarded: dict[str, str], stream: bool) -> Sent:
        """The address and headers of a call, with what is sent of the credential.

        Raises:
            UpstreamError: they may not be sent.
        """
        ready = boarding.ready
        place = (stream, *forwarded.items()) if forwarded else stream
        found = ready.get(place)
        if found is not None:
            return found
        assert self.upstream is not None
        track = ride.as_track()
        request = self._engine.attempts.request(track, boarding.candidate, b"", forwarded, boarding.secret)
        made = (track.sent_secret, self.upstream.prepare(request))
        if sum(map(len, forwarded.values())) <= FORWARDED_CHARS_MAX:
            if len(ready) >= READY_MAX:
                ready.clear()
            ready[place] = made
        return made

    def land_soon(self, ride: Ride | None = None) -> None:
        """Land the whole replies that come in this iteration of the loop at its end, one after the other: the same
        code for many costs less than many kinds of code in turns. ``ride``: whose reply has come.

        Who submits to the store says it before, so that what the landings submit leaves with it.
        """
        if ride is not None:
            self.whole.append(ride)
        if not self.landing:
            self.landing = True
            asyncio.get_running_loop().call_soon(self._land)

    def _land(self) -> None:
        self.landing = False
        whole = self.whole
        try:
            while whole:
                whole.popleft().land()
        finally:
            if whole:  # one failed in a way that nobody foresaw: the others must not wait for ever
                self.land_soon()

    async def empty(self) -> None:
        """Wait until there is no ride."""
        if self.rides:
            self.emptied = asyncio.get_running_loop().create_future()
            await self.emptied

    def left(self, ride: Ride) -> None:
        """It is no ride any more."""
        self.rides.discard(ride)
        if self.emptied is not None and not self.rides and not self.emptied.done():
            self.emptied.set_result(None)

    def stop(self) -> None:
        """End what still runs; every client is told, every hold resolved."""
        for ride in list(self.rides):
            ride.stop()


class Ride(msgspec.Struct, eq=False):
    """One exchange in the fast lane. It stands in the place of a future towards the store.

    A plain request that gets a plain answer needs no more than what stands here. In all that is not so it has
    a ``track``, as every exchange has, which is made when it is first asked for.

    Attributes:
        tags_over: there was no room to count it by its key's tags.
    """

    _express: Express
    _engine: Engine
    call: Call
    client: PromptClient
    _boarding: Boarding
    key: Key
    inspected: Inspected
    id: str
    created_ms: int
    wish: Wish
    due_us: int
    tags_over: bool = False
    _track: Track | None = None
    _stage: int = _HOLDING
    _expected: int = 0  # tokens of input
    _worst: Estimate | None = None
    _admission: Admission | None = None
    _entering: bool = False
    _counted: bool = False
    _held: bool = False
    _gone: bool = False
    _secret: str | None = None  # what of it was sent
    _reply: LiveReply | None = None
    _attempt: Attempt | None = None
    _calling: Calling | None = None
    _called_us: int = 0
    _launched_us: int = 0
    _came_us: int | None = None  # when the reply was whole
    _status: int | None = None
    _first_byte_us: int | None = None
    _pieces: list[bytes] | None = None  # of a reply that was not there at once
    _size: int = 0
    _metered: Metered | None = None
    _answer: PassedReply | None = None  # a plain one
    _record: ExchangeRecord | None = None
    _spoken: int = 0  # tokens of it
    # Of streams:
    _intake: Intake | None = None
    _relay: Relay | None = None
    _telling: Relay | None = None  # while each event may go straight from the connection to the client
    _head: bytes = b""
    _idle_s: float = 0.0
    _had: int = 0
    _rest: asyncio.TimerHandle | None = None
    _beat: asyncio.TimerHandle | None = None

    # -- as an ordinary exchange -----------------------------------------------------------------------

    @property
    def track(self) -> Track:
        """The exchange as all others are known, from now on."""
        track = self._track
        if track is None:
            track = self._track = self.as_track()
            if self._stage == _CALLING:
                self._attempt = Attempt(
                    candidate=self._boarding.candidate,
                    started_ms=self._wall_ms(self._called_us),
                    started_us=self._called_us,
                    status=self._status,
                    first_byte_us=self._first_byte_us,
                )
        return track

    def as_track(self) -> Track:
        """The exchange as all others are known, as it stands."""
        if self._track is not None:
            return self._track
        engine, boarding, key = self._engine, self._boarding, self.key
        track = Track(
            id=self.id,
            call=self.call,
            client=self.client,
            state=boarding.state,
            clock=engine.clock,
            created_ms=self.created_ms,
            key=key,
            paid_by=boarding.payer,
            tags=key.tags,
            tags_over=self.tags_over,
            inspected=self.inspected,
            asked_model=self.inspected.model,
            plan=boarding.plan,
            model=boarding.candidate.model,
            price_list=boarding.price_list,
            wish=self.wish,
            due_us=self.due_us,
            admission=self._admission,
            counted=self._counted,
            held=self._held,
            gone=self._gone,
        )
        if self._held and self._admission is not None:
            track.admitted = self._admitted(self._admission)
        if self._stage == _CALLING:  # as Attempts.opened has it
            track.candidate, track.sent_secret = boarding.candidate, self._secret
            track.heard = [] if boarding.keeps else None
        if self._record is not None:
            track.candidate, track.record, track.settled = boarding.candidate, self._record, True
            track.attempts += self._record.attempts
        return track

    def _admitted(self, admission: Admission) -> Admitted:
        key, inspected, worst = self.key, self.inspected, self._worst
        assert worst is not None
        wish = inspected.usage_chunk
        return Admitted(
            key=key,
            inspected=inspected,
            plan=self._boarding.plan,
            estimate=worst,
            admission=admission,
            input_tokens_expected=self._expected,
            output_tokens_cap=None,
            strict=key.strict,
            usage_chunk=key.usage_chunk if wish is None else wish,
        )

    def _wall_ms(self, at_us: int) -> int:
        """Unix time at a moment of the exchange."""
        return self.created_ms + (at_us - self.call.started_us) // 1000

    # -- admitted --------------------------------------------------------------------------------------

    def begin(self, limits: Sequence[Limit]) -> None:
        """Count and hold; what keeps it from going on ends it, or sends it the ordinary way."""
        engine, express, boarding, inspected = self._engine, self._express, self._boarding, self.inspected
        books, entrance, created_ms = express.books, express.entrance, self.created_ms
        assert books is not None
        try:
            for price in boarding.prices:
                engine.publish(price, created_ms)
            tokens = estimate_tokens(inspected.text_bytes)
            if not inspected.plain:
                tokens = expected_input(inspected)
            self._expected = tokens
            if inspected.output_tokens is not None:
                tokens = tokens_admitted(inspected, tokens)
            rows = boarding.worst
            worst = None if rows is None else rows.estimate(inspected, boarding.state.hold_output_tokens)
            if worst is None:
                worst = boarding.estimate(inspected)
            self._worst = worst
            if not express.landing:
                express.land_soon()
            if entrance is not None:
                entrance.enter_now(
                    self.id,
                    boarding.payer,
                    worst.amount_pusd,
                    worst.price_version,
                    tuple(limits),
                    tokens,
                    created_ms,
                    self,
                )
                self._held, self._counted = True, bool(limits)  # perhaps: what comes will say
                self._entering = True
                return
            gauge = boarding.gauge
            if gauge is not None and limits is boarding.limits:
                admission = gauge.admit(self.id, tokens, created_ms)
                if admission.refused is not None:
                    refused_by(admission, tokens)
                self._admission, self._counted = admission, True
            else:
                self._admission = self._count(limits, tokens) if limits else UNLIMITED
            books.hold_now(self.id, boarding.payer, worst.amount_pusd, worst.price_version, created_ms, self)
        except InsufficientCredits:
            self._ordinary(engine.hold_and_resume(self.track, boarding.payer, inspected, boarding.plan))
            return
        except RouterError as error:
            self._ordinary(engine.refuse(self.track, error))
            return
        except Exception as error:  # told and closed as any other unforeseen one
            self._unforeseen(error)
            return
        self._held = True
        if inspected.stream:
            self._beat_if_silent()

    def _beat_if_silent(self) -> None:
        """The client hears of a stream that has not begun."""
        pause_s = self._boarding.state.heartbeat_s
        if pause_s > 0 and not self.inspected.json_array:
            self._beat = asyncio.get_running_loop().call_later(pause_s, self._due)

    def _entered(self, entered: Entered) -> None:
        """Counted and held elsewhere, in one step; or not.

        Raises:
            RateLimitExceeded, InsufficientCredits, LedgerUnavailable: it is not.
        """
        if entered.admission.refused is not None:
            self._counted = False
            refused_by(entered.admission, tokens_admitted(self.inspected, self._expected))
        self._admission = entered.admission
        if entered.refusal is not None:
            raise entered.refusal
        if self.inspected.stream:
            self._beat_if_silent()

    def _count(self, limits: Sequence[Limit], tokens: int) -> Admission:
        """Count the request against its limits.

        Raises:
            RateLimitExceeded
        """
        counters = self._express.counters
        assert counters is not None
        admission = counters.admit_now(self.id, limits, tokens, self.created_ms)
        if admission.refused is not None:
            refused_by(admission, tokens)
        self._counted = True
        return admission

    # -- in the place of a future: what the store says -------------------------------------------------

    def done(self) -> bool:
        """Whether the store's word is waited for no more."""
        return self._stage not in (_HOLDING, _SETTLING)

    def set_result(self, result: Any, /) -> None:
        """The hold is durable, or the settlement."""
        try:
            if self._stage == _HOLDING:
                if self._entering:
                    try:
                        self._entered(result)
                    except Exception as error:  # told as what the store says otherwise
                        self.set_exception(error)
                        return
                boarding, inspected = self._boarding, self.inspected
                if boarding.write is None or inspected.stream:
                    self._call_as_others()
                elif inspected.plain or boarding.candidate.same_dialect:
                    self._call(boarding.write)
                else:
                    self._call_as_others()
            elif self._track is None:
                self._settled_plainly(result)
            else:
                self._settled(result)
        except Exception as error:  # told and closed as any other unforeseen one
            self._unforeseen(error)

    def set_exception(self, exception: BaseException, /) -> None:
        """Neither is."""
        engine, boarding = self._engine, self._boarding
        if self._stage == _HOLDING:
            self._held = False
            track = self.track
            if isinstance(exception, InsufficientCredits):
                self._ordinary(engine.hold_and_resume(track, boarding.payer, self.inspected, boarding.plan))
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

    def _call(self, write: Callable[[Inspected], bytes | Pieces | None]) -> None:
        """Call the provider with a plain request, or one of its own dialect."""
        engine, boarding, inspected = self._engine, self._boarding, self.inspected
        trying, candidate = engine.trying, boarding.candidate
        if not trying.health.quiet or not (
            candidate.own_key or trying.gate.lanes.room(candidate.deployment.id)
        ):
            self._ordinary(engine.resume(self.track))
            return
        try:
            body = None if inspected.losses else write(inspected)
            if body is None:
                self._call_as_others()
                return
            forwarded: dict[str, str] = {}
            if boarding.forwards:
                given = self.call.headers
                forwarded = {name: given[name] for name in boarding.forwards if name in given}
            self._secret, prepared = self._express.prepared(self, boarding, forwarded, False)
        except RouterError:
            self._ordinary(engine.resume(self.track))  # which meets it again, and knows what follows
            return
        self._called_us = self._launched_us = now_us = engine.clock.monotonic_us()
        deadlines, left_s = boarding.deadlines_of(self.wish, False, (self.due_us - now_us) / 1_000_000)
        self._reply = prepared.launch(body, deadlines, left_s, self)
        if boarding.state is not trying.state or not trying.budget.full:
            trying.begin(boarding.state)
        called_ms = self.created_ms + (now_us - self.call.started_us) // 1000
        self._calling = trying.begun(candidate, called_ms, now_us)
        self._stage = _CALLING

    def _call_as_others(self) -> None:
        """Call the provider with any other request."""
        engine, track, boarding, inspected = self._engine, self.track, self._boarding, self.inspected
        trying, candidate = engine.trying, boarding.candidate
        if not (trying.health.quiet and trying.takes(candidate)):
            self._ordinary(engine.resume(track))
            return
        attempt = engine.attempts.opened(track, candidate)
        try:
            body, forwarded = engine.attempts.sent(track, candidate, boarding.target, inspected)
            self._secret, prepared = self._express.prepared(self, boarding, forwarded, inspected.stream)
        except RouterError:
            self._ordinary(engine.resume(track))  # which meets it again, and knows what follows
            return
        track.sent_secret = self._secret
        self._called_us = self._launched_us = now_us = engine.clock.monotonic_us()
        deadlines, left_s = boarding.deadlines_of(
            self.wish, inspected.stream, (self.due_us - now_us) / 1_000_000
        )
        self._reply = prepared.launch(body, deadlines, left_s, self)
        self._attempt = attempt
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
                reply = self._reply
                if self._track is None and reply is not None and reply.complete and reply.status == 200:
                    self._came()
                else:
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
        relay, intake = self._telling, self._intake
        if relay is None or intake is None or (again := relay.again) is None:
            return False
        try:
            if not intake.clean(data) or not (told := again.tell(data)):
                return False
            intake.size += len(data)
            track = self.track
            if track.transcript is not None:
                track.transcript.hear(data)
            if track.heard is not None:
                track.hear(data, pump.HEARD_BYTES_MAX)
            self.client.put(told)
        except Exception as error:  # told and closed as any other unforeseen one
            self._unforeseen(error)
        return True

    def land(self) -> None:
        """Read the reply if it has come whole, and was not read yet."""
        if self._came_us is None or self._stage != _CALLING:
            return
        try:
            if self._track is not None or not self._landed_plainly(self._came_us):
                self._landed()
        except UpstreamError as error:
            if self._stage == _CALLING:
                self._failed(error)
        except Exception as error:  # told and closed as any other unforeseen one
            self._unforeseen(error)

    def _came(self) -> None:
        """A whole answer has come."""
        if self._came_us is None:
            self._came_us = now_us = self._engine.clock.monotonic_us()
            if self._status is None:
                self._status, self._first_byte_us = 200, now_us - self._called_us
            express = self._express
            express.whole.append(self)
            if not express.landing:
                express.land_soon()

    def _hear(self) -> None:
        reply, attempt = self._reply, self._attempt
        assert reply is not None
        status, now_us = reply.status, self._engine.clock.monotonic_us()
        if status and self._status is None:
            self._status, self._first_byte_us = status, now_us - self._called_us
            if attempt is not None:
                attempt.status, attempt.first_byte_us = status, self._first_byte_us
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
        most, pieces = self._boarding.state.reply_bytes_max, self._pieces
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

    def _landed_plainly(self, came_us: int) -> bool:
        """Read a plain reply and settle; False of any other: nothing was changed then."""
        boarding, reply, inspected, worst = self._boarding, self._reply, self.inspected, self._worst
        read, form, tariff = boarding.read, boarding.form, boarding.tariff
        if read is None or form is None or tariff is None or worst is None or self.key.tags:
            return False
        body = None if reply is None or self._pieces is not None else reply.whole
        if body is None or len(body) > boarding.reply_bytes_max or inspected.n > 1:
            return False
        if inspected.legacy_functions:  # asked in an older style, and answered in it
            return False
        if self._secret is not None and self._secret.encode() in body:
            return False
        found = read(body)
        if found is None:
            return False
        answer = self._bridged(found) if isinstance(found, PlainReply) else found
        seen = answer.observed
        if seen.usage is None:
            return False
        bill = tariff.meter(seen.usage, worst.input_tokens, inspected.output_tokens)
        if bill is None or bill.cost_pusd > worst.amount_pusd:
            return False
        self._settle_plainly(form, answer, bill, came_us)
        return True

    def _bridged(self, reply: PlainReply) -> PassedReply:
        """A plain reply in another dialect than the client's."""
        front = self.call.dialect
        assert isinstance(front, Dialect)
        assert front.tell_plain is not None
        context = ReplyContext(
            reply_id=front.reply_id_prefix + self.id.removeprefix("gen-"),
            model=self._boarding.candidate.model.id,
            created_s=self.created_ms // 1000,
        )
        return PlainDelivery(reply, front.tell_plain, context, front)

    def _settle_plainly(self, form: Form, answer: PassedReply, bill: Metered, came_us: int) -> None:
        """Write down what a plain answer came to."""
        engine, books, calling = self._engine, self._express.books, self._calling
        assert books is not None
        assert calling is not None
        seen, call, now_us = answer.observed, self.call, engine.clock.monotonic_us()
        self._answer, self._calling, self._stage = answer, None, _SETTLING
        reply_id = seen.reply_id
        if reply_id is None:
            reply_id = reply_id_of(call, self.id, seen.upstream_id)
        called_us, created_ms, begun_us = self._called_us, self.created_ms, call.started_us
        self._record = record = form.filled(
            self.id,
            created_ms,
            begun_us,
            came_us - called_us,
            created_ms + (called_us - begun_us) // 1000,
            called_us,
            self._status,
            self._first_byte_us,
            None,
            reply_id,
            seen,
            bill,
            now_us,
            self.inspected,
            self._worst,
            self._admission,
        )
        usage = bill.usage  # of text alone
        self._spoken = spoken = usage.output_tokens + usage.reasoning_tokens
        engine.trying.answered(calling, spoken, now_us, created_ms + (now_us - begun_us) // 1000)
        engine.watch.waits.since_us[self.id] = now_us
        try:
            books.settle_now(record, self)
        except LedgerUnavailable as error:
            self._unsettled(error)

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
        track.hear(data, pump.HEARD_BYTES_MAX)
        if track.transcript is not None:
            track.transcript.hear(data)
        self._forward(relay.feed(data))
        seen = relay.observed
        if seen.error is not None:
            raise pump.broken(seen.error, self._head)
        if seen.ended:
            self._delivered()
        return seen.ended

    def _look_closer(self) -> None:
        """Events go straight on no more."""
        relay, self._telling = self._telling, None
        if relay is not None:
            self._had = pump.content_of(relay.observed)
            now_us = self._engine.clock.monotonic_us()
            self.track.upstream_us += now_us - self._launched_us
            self._launched_us = now_us

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

    def on_clogged(self) -> None:
        """The client reads slowly: what comes waits until it has read."""
        self._look_closer()

    def on_drained(self) -> None:
        """The client has read what waited for it."""
        if self._stage == _CALLING and self._reply is not None:
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
        admitted = track.admitted
        assert admitted is not None
        track.record = record = form.filled(
            track.id,
            track.created_ms,
            track.call.started_us,
            track.upstream_us,
            attempt.started_ms,
            attempt.started_us,
            attempt.status,
            attempt.first_byte_us,
            track.first_token_ms,
            track.reply_id_for(seen.upstream_id) if seen.reply_id is None else seen.reply_id,
            seen,
            bill,
            now_us,
            admitted.inspected,
            admitted.estimate,
            admitted.admission,
        )
        track.attempts += record.attempts
        track.settled = True
        if record.stream:
            engine.trying.called(track, attempt.candidate, calling, True)
        else:
            spoken = None if seen.usage is None else seen.usage.completion_tokens
            engine.trying.answered(calling, spoken, now_us, engine.clock.now_ms())

    def _settled_plainly(self, settled: Settled) -> None:
        """A plain answer is paid: it goes out."""
        engine, express, boarding = self._engine, self._express, self._boarding
        id_, answer, record, call = self.id, self._answer, self._record, self.call
        assert answer is not None
        assert record is not None
        if self._entering:
            self._counted = False  # the settlement gave the places back
        engine.watch.waits.since_us.pop(id_, None)
        charged_pusd, usage, spoken = settled.charged_pusd, record.usage, self._spoken
        if charged_pusd < record.cost_pusd:
            record = settle.settled_record(record, charged_pusd)
        if boarding.plan.session is not None or record.finish == "length" or self._gone:
            if not self._gone:
                engine.learn(record, spoken, boarding.candidate, boarding.plan, boarding.state)
        elif spoken > 0:
            engine.holding.outputs.learn(record.key, boarding.candidate.model.id, spoken)
        bill = Bill(usage=usage, cost_pusd=charged_pusd, credits_remaining_pusd=settled.remaining_pusd)
        data, now_us, admission, at_ms = (
            answer.finish(bill),
            engine.clock.monotonic_us(),
            self._admission,
            self.created_ms,
        )
        elapsed_ms = (now_us - call.started_us) // 1000
        limits = () if admission is None else admission.limits
        told = call.dialect.head(Head(request_id=id_, at_ms=at_ms, elapsed_ms=elapsed_ms, limits=limits))
        head = f"content-type: application/json\r\nx-generation-id: {id_}\r\n{told}{boarding.whose}"
        self.client.answer(200, head + native_line(record.native_finish), data)
        self._stage, self._reply = _OVER, None
        express.rides.discard(self)
        if express.emptied is not None:
            express.left(self)
        engine.ended(self.key.account, record)
        if self._counted and express.counters is not None:
            used = usage.input_tokens + usage.cache_read_tokens + spoken
            express.counters.release_now(id_, used, at_ms + elapsed_ms)
        self.client.over()

    def _settled(self, settled: Settled) -> None:
        track, engine, client = self.track, self._engine, self.client
        if self._entering:
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
        self._answer = None
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
        reply, track, attempt = self._reply, self.track, self._attempt
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

    def _break_off(self) -> Track:
        """End the call, if there is one."""
        self._look_closer()
        track = self.track
        if self._reply is not None:
            self._reply.abort()
        if self._attempt is not None:
            self._attempt.outcome = "aborted"
        self._ended(False)
        return track

    def _unforeseen(self, error: Exception) -> None:
        """A fault of ours: it is reported, and the exchange closed as it stands."""
        if self._stage == _OVER:
            self.client.run(_raise(error))
            return
        self._ordinary(self._engine.crash(self._break_off(), error))

    def cancel(self) -> None:
        """The exchange went on without its client, and has done so for long enough."""
        self.land()
        if self._stage == _CALLING:
            self._ordinary(self._engine.abandon(self._break_off()))

    def left(self) -> None:
        """The client has left."""
        self.land()  # what has come whole is billed as what it is
        self._look_closer()
        if self._stage == _OVER:
            return
        if self._stage == _SETTLING:
            self._gone = True
            if self._track is not None:
                self._track.gone = True
        elif not self._engine.drains.begin(self.track, self):
            self._ordinary(self._engine.abandon(self._break_off()))

    def stop(self, *, ended: bool = False) -> bool:
        """The gateway stops, or its operator ends this one; False if it ends by itself."""
        self.land()
        if self._stage not in (_HOLDING, _CALLING):
            return False
        track = self._break_off()
        track.stopped, track.ended = True, ended
        self._ordinary(self._engine.refuse(track, refusing.ended() if ended else refusing.stopping()))
        return True


async def _raise(error: BaseException) -> None:
    raise error
