"""The journey of one request: admit > attempt* > settle > answer. Read this file first.

    serve ── admit ───────── key, limits, model, plan, hold        engine/admit.py
         ├── flights ─────── or what another got that asks the same engine/flights.py
         ├── deliver ─────── one deployment after the other        engine/trying.py
         │     ├── attempt ─ the request written and sent          engine/attempt.py
         │     └── pump ──── bytes from the provider to the client engine/pump.py
         ├── settle ──────── meter, charge, record: one commit     engine/settle.py
         └── answer ──────── the last bytes, with the bill in them

Whatever happens (an error, a client that leaves, a cancelled task) the hold is resolved exactly
once: ``serve`` settles in its ``finally`` if nothing did before. A settlement is queued in one
synchronous step, so that a cancellation while waiting for its commit cannot lose it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, cast

from llm_router.billing.estimate import estimate, expected_input
from llm_router.billing.meter import Metered
from llm_router.billing.pricing import PriceList
from llm_router.domain.budget import Payer
from llm_router.domain.errors import (
    InvalidRequest,
    LedgerUnavailable,
    MaxCostExceeded,
    ModelNotFound,
    Overloaded,
    RateLimitExceeded,
    RouterError,
    ServerError,
)
from llm_router.domain.key import Key
from llm_router.domain.limit import UNLIMITED
from llm_router.domain.model import Deployment
from llm_router.domain.own_key import OwnKey
from llm_router.domain.price import TOOL, Price
from llm_router.domain.record import ExchangeRecord
from llm_router.domain.session import SessionLimits
from llm_router.engine import admit, flights, hedging, refusing, settle, under_way
from llm_router.engine.admit import Admitted, Call
from llm_router.engine.attempt import Attempts
from llm_router.engine.bodies import BodyKeeper
from llm_router.engine.braking import check_alone, heard, limits_of, session_refusal, tighter
from llm_router.engine.continuing import check_wish
from llm_router.engine.deadlines import total_of, wish_of
from llm_router.engine.drain import Audience, Drains
from llm_router.engine.experiments import Experiments, Trial, armed, with_dial
from llm_router.engine.express import Express
from llm_router.engine.fallbacks import NO_FALLBACKS, Fallbacks, fallbacks_of
from llm_router.engine.flights import Flights
from llm_router.engine.gate import is_urgent
from llm_router.engine.holding import Asking, Ceiling, Held, Holder, Holding, max_cost
from llm_router.engine.limits import admit_to_limits, limits_for
from llm_router.engine.own_keys import NONE
from llm_router.engine.planning import Occasion, Planner
from llm_router.engine.presets import StoredPresets, applied
from llm_router.engine.probing import FRONT, Probes
from llm_router.engine.recall import Recall
from llm_router.engine.shadows import Shadows
from llm_router.engine.standings import standings
from llm_router.engine.state import State
from llm_router.engine.tagging import TagRoom, tags_of
from llm_router.engine.tracks import Track, price_of, reply_headers
from llm_router.engine.trying import Dice, Pause, Trying
from llm_router.engine.upkeep import Upkeep
from llm_router.engine.watching import Watch
from llm_router.ports import (
    Books,
    Client,
    Clock,
    Counters,
    Fetcher,
    Keyring,
    LimitRules,
    OwnKeys,
    PriceBook,
    SessionBook,
    Settled,
    SideCar,
    Telemetry,
    Tokens,
    Upstream,
)
from llm_router.privacy.redact import holds_credential
from llm_router.routing.plan import Candidate, Plan
from llm_router.wire.dialect import Behind, Bill, Dialect, Front, Inspected

REFUSALS_NOT_RECORDED = (401, 429)
"""Refusals without a durable record: they have no owner, or are the sign of a flood."""


class Engine:
    """Serves exchanges. One per process.

    Attributes:
        state: replaced whole by a reload.
        price_list: what customers pay; replaced whole when a rule is published.
    """

    def __init__(
        self,
        *,
        state: State,
        dialects: Mapping[str, Behind[Any, Any] | Front[Any, Any]],
        books: Books,
        keyring: Keyring,
        rules: LimitRules,
        counters: Counters,
        sessions: SessionBook,
        upstream: Upstream,
        fetcher: Fetcher,
        clock: Clock,
        telemetry: Telemetry,
        new_id: Callable[[], str],
        dice: Dice,
        pause: Pause = asyncio.sleep,
        tokens: Tokens | None = None,
        side_car: SideCar | None = None,
        prices: PriceBook | None = None,
        own_keys: OwnKeys | None = None,
        presets: StoredPresets | None = None,
        experiments: Experiments | None = None,
        bodies: BodyKeeper | None = None,
    ) -> None:
        self.state = state
        self.dialects = dialects
        self.books = books
        self.keyring = keyring
        self.rules = rules
        self.counters = counters
        self.clock = clock
        self.telemetry = telemetry
        self.new_id = new_id
        self.upstream = upstream
        behind = cast(
            "Mapping[str, Behind[Any, Any]]", dialects
        )  # no provider is asked in what is a front alone
        self.tokens = tokens
        self._prices = prices
        self._own_keys = own_keys
        self.presets = presets
        self.experiments = experiments
        self.bodies = bodies
        self.recall = None if side_car is None else Recall(side_car, behind, clock)
        attempts = self.attempts = Attempts(behind, upstream, fetcher, clock, tokens, self.recall)
        self.trying = Trying(attempts, clock, pause, dice)
        self._flights = Flights(self.trying, attempts, clock)
        front = dialects[FRONT]
        assert isinstance(front, Dialect), "it is spoken on both sides"
        self.probes = Probes(self.trying, front, clock, telemetry, new_id, pause)
        self.price_list = PriceList()
        self.upkeep = Upkeep(books)
        self._tag_room = TagRoom()
        self.drains = Drains()
        self.holding = Holding(books)
        self.sessions = sessions
        self.planner = Planner(self.trying.health, self.holding.outputs, dice)
        self.shadows = (
            None if experiments is None else self._shadows(experiments, behind, fetcher, pause, dice)
        )
        self.watch = Watch(clock, pause)
        self.trying.lagging = self.watch.lagging
        self._running: dict[asyncio.Task[object], Track] = {}
        self.express = Express(self)

    def _shadows(
        self,
        experiments: Experiments,
        behind: Mapping[str, Behind[Any, Any]],
        fetcher: Fetcher,
        pause: Pause,
        dice: Dice,
    ) -> Shadows:
        """What copies requests: with eyes of its own on how deployments fare."""
        attempts = Attempts(behind, self.upstream, fetcher, self.clock, self.tokens)
        return Shadows(
            experiments=experiments,
            planner=self.planner,
            trying=Trying(attempts, self.clock, pause, dice),
            holding=self.holding,
            books=self.books,
            upkeep=self.upkeep,
            presets=self.presets,
            telemetry=self.telemetry,
            clock=self.clock,
            new_id=self.new_id,
            publish=self.publish,
        )

    async def serve(
        self,
        call: Call,
        client: Client,
        admitted: Callable[[Track], Awaitable[None]] | None = None,
        holder: Holder | None = None,
    ) -> bool:
        """Answer one call; return whether the answer was whole. Raises only what is a bug of ours; errors are
        told to the client.

        Ask :meth:`left` when the client has left, and cancel the task if it says so. ``admitted`` is called
        once the credit is held; a RouterError of it ends the exchange. ``holder`` takes the hold, where it is
        one for several exchanges.
        """
        track = Track(
            id=self.new_id(),
            call=call,
            client=client,
            state=self.state,
            clock=self.clock,
            created_ms=self.clock.now_ms(),
            holder=holder,
        )
        await self._run(track, self._begin(track, admitted))
        return track.error is None and not track.gone

    async def resume(self, track: Track, failed: RouterError | None = None) -> None:
        """Go on with an exchange whose credit is held; ``failed``: of its first attempt, if that was made."""
        await self._run(track, self.trying.deliver(track, failed))

    async def hold_and_resume(self, track: Track, payer: Payer, inspected: Inspected, plan: Plan) -> None:
        """Go on with an exchange that was admitted to its limits, and has no hold yet."""

        async def work() -> None:
            await self._hold(track, payer, inspected, plan)
            await self.trying.deliver(track)

        await self._run(track, work())

    async def refuse(self, track: Track, error: RouterError) -> None:
        """End an exchange in an error."""
        track.error = error
        await self._run(track, None)

    async def abandon(self, track: Track) -> None:
        """End an exchange whose client has left."""
        track.gone = True
        try:
            await self._close(track)
        finally:
            self.drains.end(track)

    async def crash(self, track: Track, error: BaseException) -> None:
        """Close an exchange that met a fault of ours, and raise that."""

        async def work() -> None:
            raise error

        await self._run(track, work())

    def alone(self, account: str) -> bool:
        """Whether nothing that an account or the operator has set makes its requests different ones: no
        experiment, no provider keys of its own, and no bodies that it wants kept."""
        if self.bodies is not None and not self.bodies.policy.quiet and self.bodies.policy.may_keep(account):
            return False
        if self.experiments is not None and self.experiments.running:
            return False
        return self._own_keys is None or self._own_keys.now(account) == NONE

    async def _run(self, track: Track, work: Coroutine[Any, Any, None] | None) -> None:
        """Do the work, tell the client what came of it, and close the exchange."""
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = track
        track.client = audience = Audience(track.client, self.drains)
        audience.track = track
        try:
            await self._serve(track, task, work)
        finally:
            self.drains.end(track)
            audience.track = None  # no cycle: what is over must be freed at once
            if track.error is not None:  # its frames hold the track: what is over must be freed at once
                track.error.__cause__ = track.error.__context__ = track.error.__traceback__ = None
            del self._running[task]

    def health(self) -> list[dict[str, object]]:
        """How the deployments stand, as this process knows them: see engine/standings.py."""
        return standings(self.trying, self.probes, self.state, self.clock.now_ms())

    @property
    def draining(self) -> int:
        """How many exchanges go on without their client."""
        return self.drains.running

    @property
    def load(self) -> dict[str, int]:
        """How much there is to do: requests in queues, deployments without room, requests turned away, by how
        much this process is late and which part of requests it refuses for it, and how many the fast lane took."""
        gate, pressure = self.trying.gate, self.watch.pressure
        return {
            "waiting": gate.waiting,
            "full": len(gate.lanes.full),
            "shed": gate.lanes.shed + pressure.refused,
            "late_ms": round(pressure.delay_s * 1000),
            "refused_percent": round(pressure.part * 100),
            "express": self.express.taken,
            **({} if self.bodies is None else self.bodies.load),
        }

    def left(self, task: asyncio.Task[object]) -> bool:
        """The client of the exchange in that task has left: whether the task is to be cancelled. If not,
        the exchange goes on for a while, to learn what it costs."""
        track = self._running.get(task)
        return track is None or not self.drains.begin(track, task)

    def stop(self) -> None:
        """End what still runs: every client is told, every hold resolved. ``serve`` returns soon after."""
        self.express.stop()
        for task, track in self._running.items():
            if not (track.settled or track.stopped):  # else it ends by itself
                track.stopped = True
                task.cancel()

    def under_way(self) -> list[dict[str, object]]:
        """The exchanges that run in this process: see engine/under_way.py."""
        now_ms = self.clock.now_ms()
        tracks = [*self._running.values(), *(ride.as_track() for ride in self.express.rides)]
        return [under_way.shown(track, now_ms) for track in tracks if not track.settled]

    def end_one(self, id_: str) -> bool:
        """End one of them: its client is told, its hold resolved. False if this process has none of that id."""
        for ride in self.express.rides:
            if ride.id == id_:
                return ride.stop(ended=True)
        for task, track in self._running.items():
            if track.id == id_ and not (track.settled or track.stopped):
                track.stopped = track.ended = True
                return task.cancel()
        return False

    async def close(self) -> None:
        """Let go of what runs beside the exchanges."""
        if self.shadows is not None:
            await self.shadows.close()
        await self.upkeep.close()
        if self.bodies is not None:
            await self.bodies.close()

    async def _begin(self, track: Track, admitted: Callable[[Track], Awaitable[None]] | None) -> None:
        await self._admit(track)
        if admitted is not None:
            await admitted(track)
        await self._flights.deliver(track)

    async def _serve(
        self, track: Track, task: asyncio.Task[object], work: Coroutine[Any, Any, None] | None
    ) -> None:
        try:
            if work is not None:
                try:
                    await work
                except RouterError as error:
                    track.error = error
            await self._conclude(track)
        except ConnectionError:
            track.gone = True
        except asyncio.CancelledError:
            if not track.stopped:
                track.gone = True
                raise
            task.uncancel()
            await self._say_stopped(track)
        finally:
            await self._close(track)

    def tags_over(self, account: str, tags: tuple[str, ...], now_ms: int) -> bool:
        """Have an exchange counted by tags; whether there is no room for them."""
        return not self._tag_room.take(account, tags, now_ms)

    async def _admit(self, track: Track) -> None:
        call, state = track.call, track.state
        now_ms = track.created_ms
        key = track.key = await admit.key_of(self.keyring, call, now_ms)
        if self.bodies is not None and not self.bodies.policy.quiet:
            await self.bodies.begin(track)
        admit.check_session(call.headers)
        if tags := tags_of(call.headers, key.tags):
            track.tags, track.tags_over = tags, self.tags_over(key.account, tags, track.created_ms)
        inspected = call.dialect.inspect(call.body, call.path_model, call.path_stream)
        inspected.json_array = call.json_array
        inspected.keeps_state = call.state is not None
        if inspected.routing:
            admit.check_routing(inspected.routing)
        track.asked_model = inspected.model
        try:
            occasion, plan = await self._planned(track, key, inspected)
        except ModelNotFound:
            if not holds_credential(inspected.model):
                raise
            track.asked_model, track.inspected = "", None
            raise InvalidRequest(
                "'model' holds what looks like a key; it was not kept.", param="model"
            ) from None
        track.plan = plan
        call, inspected, payer = occasion.call, occasion.inspected, occasion.payer
        fallbacks = fallbacks_of(self.planner, occasion, plan)
        further = fallbacks.deployments
        self.trying.check((*plan.candidates, *fallbacks.chains.get("general", ())), is_urgent(key))
        track.model = plan.candidates[0].model
        track.wish = wish_of(call.headers)
        check_wish(call.headers)
        hedging.wish_of(call.headers)
        flights.wish_of(call.headers)
        total_s = total_of(state.deadlines_for(plan.model), track.wish)
        track.due_us = call.started_us + round(total_s * 1_000_000)
        deployments = plan.deployments
        for deployment in (*deployments, *further):
            self.publish(deployment.price, now_ms)
            self.publish(deployment.cost, now_ms)  # what the former was made from
        ceiling, limits = await self._begin_step(track, payer, inspected, (*deployments, *further))
        fallbacks = await self._admit_to_limits(track, key, plan.models, fallbacks)
        await self._hold(track, payer, inspected, plan, fallbacks, ceiling, limits)

    async def _hold(
        self,
        track: Track,
        payer: Payer,
        inspected: Inspected,
        plan: Plan,
        fallbacks: Fallbacks = NO_FALLBACKS,
        ceiling: Ceiling | None = None,
        limits: SessionLimits | None = None,
    ) -> None:
        """Take the hold of a planned request: it is admitted then.

        Raises:
            MaxCostExceeded, InsufficientCredits, SessionBrake, LedgerUnavailable: there is no hold.
        """
        assert track.key is not None
        assert track.model is not None
        assert track.admission is not None
        key, call = track.key, track.call
        track.held = True  # before the await: a cancelled hold must be resolved too
        try:
            held = await (self.holding if track.holder is None else track.holder).hold(
                Asking(
                    exchange_id=track.id,
                    payer=payer,
                    call=call,
                    inspected=inspected,
                    deployments=plan.deployments,
                    further=fallbacks.deployments,
                    model=track.model.id,
                    output_tokens_default=track.state.hold_output_tokens,
                    wait_s=track.state.hold_wait_s,
                    now_ms=track.created_ms,
                    ceiling=ceiling,
                )
            )
        except MaxCostExceeded as error:
            track.held = False
            if ceiling is not None and ceiling.session and limits is not None:
                raise session_refusal(error, limits, ceiling) from None
            raise
        except RouterError as error:  # of a hold for several, this one's part may be there even so
            track.held = track.holder is not None and isinstance(error, LedgerUnavailable)
            raise
        inspected = track.inspected = held.inspected
        wish = inspected.usage_chunk
        fallbacks = fallbacks.within(held.covered)
        self.planner.made(plan)
        track.admitted = Admitted(
            key=key,
            inspected=inspected,
            plan=plan.without(fallbacks.rejections),
            fallbacks=fallbacks.chains,
            estimate=held.estimate,
            admission=track.admission,
            input_tokens_expected=expected_input(inspected),
            output_tokens_cap=held.cap,
            lowered_to=held.lowered,
            charge_pusd_max=_charge_max(track, ceiling, held),
            strict=admit.is_strict(call, key),
            usage_chunk=key.usage_chunk if wish is None else wish,
        )

    async def _planned(self, track: Track, key: Key, inspected: Inspected) -> tuple[Occasion, Plan]:
        """The plan of a request: with its arm, if it takes part in an experiment and the arm can serve it.

        Raises:
            RouterError: nothing can serve it; see ``Planner.plan``.
        """
        track.price_list = self.price_list
        track.own_keys = await self.own_keys_of(key.account)
        experiments = self.experiments
        if experiments is None or not experiments.running or track.call.comparison is not None:
            return await self._plan(track, key, inspected, None)
        trial = track.trial = experiments.trial(track.call, key, inspected)
        try:
            return await self._plan(track, key, inspected, trial)
        except RouterError:
            if trial is None or trial.arm.plain:
                raise
            trial.left, track.call = True, trial.call
            return await self._plan(track, key, inspected, None)

    async def _plan(
        self, track: Track, key: Key, inspected: Inspected, trial: Trial | None
    ) -> tuple[Occasion, Plan]:
        call, state = track.call, track.state
        if trial is not None:
            call, inspected = armed(trial.experiment, trial.arm, call, inspected)
        found = await applied(state, self.presets, call, inspected, call.dialect.inspect)
        track.call = call = found.call
        inspected, preset = found.inspected, found.preset
        if preset is not None:
            inspected.json_array, inspected.keeps_state = call.json_array, call.state is not None
        track.inspected = inspected
        occasion = Occasion(
            state=state,
            call=call,
            key=key,
            payer=track.payer(),
            inspected=inspected,
            own_keys=track.own_keys,
            price_list=track.price_list,
            now_ms=track.created_ms,
            preset=preset if trial is None else with_dial(trial.arm, preset),
        )
        return occasion, self.planner.plan(occasion)

    async def _begin_step(
        self, track: Track, payer: Payer, inspected: Inspected, deployments: tuple[Deployment, ...]
    ) -> tuple[Ceiling | None, SessionLimits]:
        """Count the request as a step of its session; return what it may cost, by its own word and for
        what the session has left.

        Raises:
            SessionBrake: the session has reached a ceiling, or goes in circles.
            InvalidRequest: a header about it cannot be read.
        """
        call, state = track.call, track.state
        ceiling = max_cost(call)
        limits = limits_of(call, payer, state.sessions, state.sessions_by_key)
        if payer.session is None:
            check_alone(call, inspected, limits)
            return ceiling, limits
        calls = heard(call, inspected, limits)
        worst_pusd = 0
        if limits.cost_pusd is not None:
            worst = estimate(inspected, deployments, output_tokens_default=state.hold_output_tokens)
            worst_pusd = worst.amount_pusd
        track.stepped = True  # before the await: a step that was cancelled there may be counted too
        granted = await self.sessions.begin(
            track.id,
            payer.account,
            payer.session,
            limits,
            expected_input(inspected),
            calls,
            worst_pusd,
            track.created_ms,
        )
        track.session_held_pusd = granted.held_pusd
        return tighter(ceiling, granted.room_pusd, granted.others_pusd), limits

    def _end_step(self, track: Track) -> None:
        """The step of a session is over; one that was refused does not count."""
        if track.key is None:
            return
        track.stepped = False
        session = track.payer().session
        assert session is not None, "it has begun a step"
        record = track.record
        self.sessions.end(
            track.id,
            track.key.account,
            session,
            track.admitted is not None,
            record.usage.total_tokens if record is not None else 0,
            record.cost_pusd if record is not None else 0,
        )

    async def own_keys_of(self, account: str) -> Mapping[str, OwnKey]:
        """What an account has brought of its own."""
        return {} if self._own_keys is None else await self._own_keys.of(account)

    def publish(self, price: Price | None, now_ms: int) -> None:
        """Keep a price that the exchange may be charged by.

        Raises:
            ServerError: its version stands for other rates already.
        """
        if self._prices is None or price is None:
            return
        try:
            self._prices.publish(price, now_ms)
        except ValueError as error:
            raise ServerError(f"This gateway's price list contradicts itself: {error}.") from None

    async def _admit_to_limits(
        self, track: Track, key: Key, models: Sequence[str], fallbacks: Fallbacks
    ) -> Fallbacks:
        """Count the request against the limits of every model that may answer it; return the fallbacks without
        those whose own limits have no room.

        Raises:
            RateLimitExceeded: a limit for a model that was asked for has none.
        """
        assert track.inspected is not None
        default = track.state.default_limits
        while True:
            every = (*models, *fallbacks.models) if fallbacks.chains else models
            limits = await limits_for(self.rules, track.payer(), key, default, every)
            if not limits:
                track.admission = UNLIMITED
                return fallbacks
            track.counted = True  # before the await: what is cancelled there may be counted too
            try:
                track.admission = await admit_to_limits(
                    self.counters, track.id, limits, track.inspected, track.created_ms
                )
                return fallbacks
            except RateLimitExceeded as error:
                track.counted = False
                left = fallbacks.beyond(error.models, models)
                if left is fallbacks:
                    raise
                fallbacks = left

    async def _conclude(self, track: Track) -> None:
        """Settle, then send the last bytes: the rest of the answer with its bill, or the error."""
        client, error = track.client, track.error
        try:
            bill = await self._settle(track)
        except RouterError as failure:
            bill = None
            if error is None:  # else nothing is to be charged, and that error is the one to tell
                track.error = error = failure
        if error is None and bill is not None and track.delivery is not None:
            data = self.last_bytes(track, bill)
            if not client.started:
                await client.start(200, reply_headers(track))
            await client.finish(data)
        elif error is not None:
            await self._tell_error(track, error)

    async def _say_stopped(self, track: Track) -> None:
        """Answer an exchange that is ended because the gateway stops, or because its operator wants so."""
        track.error = refusing.ended() if track.ended else refusing.stopping()
        try:
            await self._conclude(track)
        except ConnectionError:
            track.gone = True

    async def _tell_error(self, track: Track, error: RouterError) -> None:
        client, front = track.client, track.call.dialect
        if client.started:
            data = (
                track.delivery.fail(error, track.id)
                if track.delivery is not None
                else front.stream_encoder(track.context()).fail(error, track.id)
            )
            await client.finish(data)
        else:
            await client.start(error.status, reply_headers(track, error))
            await client.finish(front.encode_error(error, track.id))

    async def _settle(self, track: Track) -> Bill | None:
        """Charge and record once. None when there is nothing to charge to (no key)."""
        if track.settled:
            return None
        metered = self.metered(track)
        record = track.record
        assert record is not None
        if track.key is None or not (track.held or _recorded(record.status, track.error)):
            return None
        self.watch.waits.begin(track.id, self.clock.monotonic_us())
        try:
            settled = await self.books.settle(record)
        except LedgerUnavailable:
            if track.held:
                self.upkeep.void_later(record)
            raise
        except asyncio.CancelledError:
            if track.held:  # on its way, but nobody waits any more to hear if the store refuses it
                self.upkeep.settle_later(record)
            raise
        finally:
            self.watch.waits.end(track.id)
        return self.billed(track, metered, settled)

    def metered(self, track: Track) -> Metered | None:
        """What an exchange came to, with its record made: it is settled from now on."""
        track.settled = True
        if track.delivery is not None and (lost := track.delivery.losses()):
            track.note_losses(lost)  # what the answer lost stands in the record too
        metered = settle.metered(track)
        if metered is not None and metered.others:
            for name, price in metered.others:
                with contextlib.suppress(ServerError):  # the hold must be resolved all the same
                    self.publish(price, track.created_ms)
                    if name.startswith(TOOL):  # nobody published it before; and what it was made from
                        self.publish(price_of(track, name), track.created_ms)
        track.record = settle.record_of(track, metered, self.clock.monotonic_us())
        return metered

    def billed(self, track: Track, metered: Metered | None, settled: Settled) -> Bill:
        """The bill of an exchange whose settlement is durable."""
        assert track.record is not None
        track.record = settle.settled_record(track.record, settled.charged_pusd)
        self._learn(track, track.record)
        if track.stepped:
            self._end_step(track)  # before the end is told: the next step may come at once
        return Bill(
            usage=settle.shared_usage(track) if metered is None else settle.shown_usage(track, metered),
            cost_pusd=settled.charged_pusd,
            credits_remaining_pusd=settled.remaining_pusd,
            seams=track.record.seams,
        )

    def last_bytes(self, track: Track, bill: Bill) -> bytes:
        """The end of an answer, with its bill."""
        assert track.delivery is not None
        if self.recall is not None:  # before the end is told: the next turn may come at once
            self.recall.remember(track)
        data = track.delivery.finish(bill)
        if lost := track.delivery.losses():
            track.note_losses(lost)
        return data

    def over(self, track: Track) -> None:
        """An exchange is over and its hold resolved: whoever is concerned hears of it."""
        if track.stepped:
            self._end_step(track)
        self.ended(track.key.account if track.held and track.key is not None else None, track.record)
        if track.trial is not None:
            self._tried(track, track.trial)
        if track.tape is not None and self.bodies is not None:
            self.bodies.keep(track)

    def ended(self, account: str | None, record: ExchangeRecord | None) -> None:
        """An exchange has ended. ``account``: whose hold was resolved; record: of it, if there is one."""
        waiting = self.holding.waiting
        if waiting.queues and account is not None:
            waiting.freed(account)
        if record is not None:
            self.telemetry.exchange(record)

    def _learn(self, track: Track, record: ExchangeRecord) -> None:
        """Learn how long the answer was, if it was whole."""
        if track.error is not None or track.gone or track.model is None or track.admitted is None:
            return
        if track.candidate is not None:
            tokens = record.usage.completion_tokens // max(1, track.admitted.inspected.n)
            self.learn(record, tokens, track.candidate, track.admitted.plan, track.state)

    def learn(
        self, record: ExchangeRecord, tokens: int, candidate: Candidate, plan: Plan, state: State
    ) -> None:
        """Learn how long a choice of a whole answer was."""
        if record.finish == "length":
            tokens *= 2  # it would have been longer, nobody knows by how much
        if tokens > 0:
            self.holding.outputs.learn(record.key, candidate.model.id, tokens)
        if plan.session is not None:
            self.planner.served(plan, candidate, record.usage.prompt_tokens, state, self.clock.now_ms())

    def _tried(self, track: Track, trial: Trial) -> None:
        """An exchange that took part in an experiment is over: count it, and make the copies of a shadow."""
        if track.admitted is None or track.record is None or track.stopped or self.experiments is None:
            return
        self.experiments.ended(trial, track.record)
        if trial.experiment.kind == "shadow" and not trial.left and self.shadows is not None:
            self.shadows.begin(trial, track.state, track.price_list)

    async def _close(self, track: Track) -> None:
        """Resolve what is still open. Runs on every way out."""
        if track.error is None and not (track.settled or track.gone):
            track.error = ServerError("The gateway met an unforeseen error.")  # it is being raised now
        if self.recall is not None and track.error is None:
            self.recall.remember(track)  # of a client that left when the turn was whole
        try:
            if not track.settled:
                await self._settle(track)
        except RouterError:
            pass  # the store is down: the hold is voided later, and nobody was told of a cost
        finally:
            self.over(track)
            if track.counted:
                used = track.record.usage.total_tokens if track.record is not None else 0
                await self.counters.release(track.id, used, self.clock.now_ms())


def _recorded(status: int, error: RouterError | None) -> bool:
    """Whether a refusal gets a durable record. Turning requests away must cost next to nothing."""
    return status not in REFUSALS_NOT_RECORDED and not isinstance(error, Overloaded)


def _charge_max(track: Track, ceiling: Ceiling | None, held: Held) -> int | None:
    """The most that may be charged, whatever the provider reports."""
    bounds = [] if ceiling is None else [ceiling.amount_pusd]
    if held.most_pusd is not None:
        bounds.append(held.most_pusd)
    if track.session_held_pusd:  # others of the session may use the rest
        bounds.append(track.session_held_pusd)
    return min(bounds, default=None)
