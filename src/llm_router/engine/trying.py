"""All attempts of an exchange: one deployment after the other, until one delivers or nothing is left to try.

What is tried next, after how long a wait, or why nothing is, is decided by :mod:`llm_router.routing.advance`;
this module waits, calls and reports how each deployment fared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from math import inf

import msgspec

from llm_router.domain.errors import Overloaded, RouterError, UpstreamError, UpstreamKind
from llm_router.engine import continuing, pump
from llm_router.engine.admit import Admitted
from llm_router.engine.attempt import Attempts
from llm_router.engine.deadlines import tighter
from llm_router.engine.gate import Gate, Promise, is_urgent
from llm_router.engine.hedging import Hedges, Race
from llm_router.engine.state import State
from llm_router.engine.tracks import Stances, Track
from llm_router.ports import Clock
from llm_router.routing.advance import (
    KEYS_FAULT,
    Step,
    Stop,
    Tried,
    fared,
    following,
    moves_on,
    open_to,
    telling,
)
from llm_router.routing.concurrency import WHOLE, WHOLE_TOKENS, Place, Went
from llm_router.routing.health import Call as HealthCall
from llm_router.routing.health import Fared, Health, HealthView, size_of, spread
from llm_router.routing.plan import Candidate
from llm_router.routing.retry import RetryBudget

Pause = Callable[[float], Awaitable[None]]
"""Wait for so many seconds."""

Dice = Callable[[], float]
"""A number from 0 to 1."""


class Calling(msgspec.Struct, frozen=True):
    """A deployment that is being called: for its health, for its load, since when."""

    call: HealthCall
    place: Place | None
    began_us: int


class Trying:
    """Tries plans. One per process.

    Attributes:
        health: how the deployments fare that this process calls.
        gate: how many calls each of them takes, and who waits for a place.
        budget: the repeats that it may still make. state: the configuration whose rules they go by.
        hedges: what decides on second calls beside a late one.
        ring: whose turn it is of the keys of providers that have several.
        lagging: asked whether this process itself is so late that times say little of a deployment.
    """

    def __init__(self, attempts: Attempts, clock: Clock, pause: Pause, dice: Dice) -> None:
        self._attempts = attempts
        self.ring = attempts.ring
        self._clock = clock
        self._pause = pause
        self._dice = dice
        self.state: State | None = None
        self.health = Health()
        self.gate = Gate()
        self.budget = RetryBudget()
        self.hedges = Hedges()
        self.lagging: Callable[[], bool] = _never

    async def deliver(self, track: Track, failed: RouterError | None = None) -> None:
        """Try the plan's deployments in order until one delivers.

        ``failed``: of the first attempt, at ``track.candidate``, if it was made already.

        Raises:
            RouterError: nothing more can be tried; the error that says most.
        """
        assert track.admitted is not None
        if failed is None:
            self.begin(track.state)
        candidates = self._ordered(track, track.admitted.plan.candidates)
        candidate, tried = candidates[0], list[Tried]()
        with pump.heartbeat(track):
            while True:
                if failed is None and not track.content_sent and not self.takes(candidate):
                    candidate = await self._with_room(track, candidate, candidates, tried)
                try:
                    if failed is not None:
                        error, failed = failed, None
                        raise error
                    if tried or track.continuation is not None or track.state.routing.hedging.never:
                        await self.one(track, candidate)
                    else:
                        await self._hedged(track, candidates, candidate, tried)
                    return
                except RouterError as error:
                    assert track.candidate is not None, "it was tried"
                    candidate = track.candidate
                    if not moves_on(error):
                        raise
                    if track.content_sent:
                        candidate = continuing.follow(track, candidates, candidate, error, self._clock)
                        track.followed += (("continue", 0),)
                        continue
                    tried.append(self._tried(track, candidate, error))
                step = self._next(track, candidates, tried)
                if isinstance(step, Stop):
                    track.stopped_for = step.why
                    raise telling(tried)
                track.followed += ((step.why, step.wait_ms),)
                if step.wait_ms:
                    await self._pause(step.wait_ms / 1000)
                candidate = step.candidate

    async def _hedged(
        self, track: Track, candidates: Sequence[Candidate], candidate: Candidate, tried: list[Tried]
    ) -> None:
        """The first attempt, with a second one beside it if it is late. ``tried`` gets the one that failed
        before the last.

        Raises:
            RouterError: as :meth:`one`, of ``track.candidate``.
        """
        views = partial(self._views, now_ms=self._clock.now_ms())
        hedge = self.hedges.of(track, candidates, candidate, views)
        if hedge is None:
            await self.one(track, candidate)
            return
        promise = None if candidate.own_key else self.gate.promise(candidate.deployment.id)
        race = Race(
            track,
            candidate,
            hedge,
            hedges=self.hedges,
            takes=self.takes,
            one=partial(self.one, promise=promise),
            pause=self._pause,
            clock=self._clock,
        )
        try:
            await race.run()
        except RouterError:
            for lane in race.failed_before:
                assert lane.error is not None
                tried.append(self._tried(lane.track, lane.candidate, lane.error))
            raise
        finally:
            if promise is not None:
                promise.redeem()

    def begin(self, state: State) -> None:
        """Another exchange is tried, by the rules of its configuration, which may have been read again."""
        if not self.budget.full:
            self.budget.earn()
        if state is not self.state:
            self.state = state
            self.health.rules = state.health
            self.budget.rules, self.budget.full = state.retries, False
            self.gate.lanes.rules = state.concurrency

    def check(self, candidates: Sequence[Candidate], urgent: bool) -> None:
        """Refuse a request, before anything is held for it, for which there is no place.

        Raises:
            Overloaded: every deployment has as many calls as it takes, and enough requests wait.
        """
        if not any(map(self.takes, candidates)):
            self.gate.check([each.deployment.id for each in candidates], urgent=urgent)

    def takes(self, candidate: Candidate) -> bool:
        """Whether the deployment takes a call now. What it takes with a customer's own key is not known."""
        return candidate.own_key or self.gate.lanes.room(candidate.deployment.id)

    async def _with_room(
        self, track: Track, wanted: Candidate, candidates: Sequence[Candidate], tried: Sequence[Tried]
    ) -> Candidate:
        """A candidate that takes a call, or will soon: the one that is wanted, else another.

        Raises:
            RouterError: there is none; what failed before, if anything did.
        """
        assert track.admitted is not None
        now_ms = self._clock.now_ms()
        found = dict.fromkeys(
            [wanted.deployment.id, *(c.deployment.id for c in _further(track, candidates, tried))]
        )
        by_id = {c.deployment.id: c for c in (*_all(track.admitted, candidates), wanted)}
        if not self.health.quiet:
            fit = [
                i
                for i, view in zip(found, self.health.views(list(found), now_ms), strict=True)
                if view.available
            ]
            found = dict.fromkeys(fit or found)
        due_ms = _due_ms(track, now_ms, self._clock)
        timeout_s = inf if due_ms is None else (due_ms - now_ms) / 1000
        try:
            chosen = await self.gate.place(list(found), timeout_s, urgent=is_urgent(track.key))
        except Overloaded:
            track.stopped_for = "busy"
            if tried:
                raise telling(tried) from None
            raise
        return by_id[chosen]

    def _ordered(self, track: Track, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """The plan's candidates, those last that are not to be called now."""
        if self.health.quiet or len(candidates) == 1:
            return candidates
        ids = tuple(each.deployment.id for each in candidates)
        views, thrown = self.health.views(ids, self._clock.now_ms()), list[float]()
        places = spread(views, _noted(self._dice, thrown))
        track.stood = Stances(deployments=ids, views=views, thrown=thrown)
        return [candidates[at] for at in places]

    def _next(self, track: Track, candidates: Sequence[Candidate], tried: Sequence[Tried]) -> Step | Stop:
        now_ms = self._clock.now_ms()
        return following(
            track.state.retries,
            candidates,
            tried,
            now_ms=now_ms,
            due_ms=_due_ms(track, now_ms, self._clock),
            budget=self.budget,
            dice=self._dice(),
            views=None if self.health.quiet else partial(self._views, now_ms=now_ms),
            chain=_chain(track, tried),
        )

    def _views(self, deployments: Sequence[str], now_ms: int) -> Sequence[HealthView]:
        """How deployments stand; those that take no call now are not available."""
        views = self.health.views(deployments, now_ms)
        room = self.gate.lanes.room
        return [
            view if room(id_) else msgspec.structs.replace(view, available=False)
            for id_, view in zip(deployments, views, strict=True)
        ]

    async def one(self, track: Track, candidate: Candidate, *, promise: Promise | None = None) -> None:
        """One attempt; however it ends, the deployment's health hears of it once. ``promise``: a place that was
        kept for it, if it is for this deployment.

        Raises:
            RouterError: as :meth:`Attempts.run`.
        """
        calling = self.calls(candidate, promise)
        ended: RouterError | bool = False
        try:
            await self._attempts.run(track, candidate)
            ended = True
        except RouterError as error:
            ended = error
            raise
        finally:
            self.called(track, candidate, calling, ended)

    def calls(self, candidate: Candidate, promise: Promise | None = None) -> Calling:
        """A deployment is about to be called. Hand what this returns to :meth:`called`, whatever comes."""
        if promise is not None and promise.deployment == candidate.deployment.id:
            promise.redeem()
        return self.begun(candidate, self._clock.now_ms(), self._clock.monotonic_us())

    def begun(self, candidate: Candidate, now_ms: int, now_us: int) -> Calling:
        """The same, of a call that has just been made."""
        id_ = candidate.deployment.id
        place = None if candidate.own_key else self.gate.lanes.enter(id_, now_ms)
        return Calling(self.health.began(id_, now_ms), place, now_us)

    def called(self, track: Track, candidate: Candidate, calling: Calling, ended: RouterError | bool) -> None:
        """A call is over: in its error, well (True), or broken off by us (False)."""
        if (
            ended is True
            and track.pool_key is None
            and track.inspected is not None
            and not track.inspected.stream
            and track.state.routing.hedging.never  # else its time is learned
        ):
            track.other_key = False
            seen = None if track.delivery is None else track.delivery.observed
            usage = None if seen is None else seen.usage
            spoken = None if usage is None else usage.completion_tokens
            self.answered(calling, spoken, self._clock.monotonic_us(), self._clock.now_ms())
            return
        how, why, cooldown_ms, went = Fared.NEITHER, "", None, Went.NEITHER
        if ended is True:
            self._turn_key(track, candidate, None)
            how, went = Fared.WELL, Went.WELL
        elif ended is not False:
            error = ended
            self._turn_key(track, candidate, error)
            how = self._blame(track, candidate, error)
            why = error.kind.value if isinstance(error, UpstreamError) else error.code
            if how in (Fared.LIMITED, Fared.BADLY) and error.retry_after_s is not None:
                cooldown_ms = round(error.retry_after_s * 1000)
            went = _load(how, error)
        now_us, now_ms = self._clock.monotonic_us(), self._clock.now_ms()
        ttft_ms, speed = _times(track, calling.began_us, now_us)
        expected = track.admitted.input_tokens_expected if track.admitted is not None else 0
        if how is Fared.WELL and not track.state.routing.hedging.never and track.admitted is not None:
            took_ms = ttft_ms if track.admitted.inspected.stream else (now_us - calling.began_us) / 1000
            if took_ms is not None:
                self.hedges.took(track, candidate, took_ms)
        if calling.place is not None:
            kind, sample = _sample(track, expected, ttft_ms, now_us - calling.began_us)
            if sample is not None and self.lagging():
                sample = None
            self.gate.leave(calling.place, now_ms, went, kind, sample)
        self.health.ended(
            calling.call,
            now_ms,
            how,
            why=why,
            cooldown_ms=cooldown_ms,
            input_tokens=expected,
            ttft_ms=ttft_ms,
            tokens_per_s=speed,
        )

    def answered(self, calling: Calling, spoken: int | None, now_us: int, now_ms: int) -> None:
        """A whole answer came, of so many tokens: :meth:`called`, without what can only follow others."""
        if calling.place is not None:
            sample = None
            if spoken is not None and not self.lagging():
                sample = (now_us - calling.began_us) / 1000 / (spoken + WHOLE_TOKENS)
            place = calling.place
            place.lane.leave(place, now_ms, Went.WELL, WHOLE, sample)
            if self.gate.queues:
                self.gate.call(place.lane.deployment)
        self.health.went_well(calling.call, now_ms)

    def _tried(self, track: Track, candidate: Candidate, error: RouterError) -> Tried:
        called = isinstance(error, UpstreamError)
        return Tried(candidate=candidate, error=error, called=called, other_key=track.other_key)

    def _turn_key(self, track: Track, candidate: Candidate, error: RouterError | None) -> None:
        """Tell the ring what became of the key, where the provider has several; and note whether another
        one may be used at once."""
        track.other_key = False
        key, provider = track.pool_key, candidate.provider.id
        if key is None:
            return
        ring, pool = self.ring, track.state.key_pools[provider]
        if isinstance(error, UpstreamError) and error.suspected is not None:
            if error.suspected in KEYS_FAULT:
                track.keys_tried |= {key.mark}
                track.other_key = ring.doubted(provider, pool, self._clock.now_ms(), track.keys_tried)
        elif isinstance(error, UpstreamError) and error.kind in KEYS_FAULT:
            track.keys_tried |= {key.mark}
            pause_s = error.retry_after_s
            cooldown_ms = None if pause_s is None else round(pause_s * 1000)
            track.other_key = ring.refused(
                provider, pool, key, error.kind, self._clock.now_ms(), cooldown_ms, track.keys_tried
            )
        elif error is None:
            ring.took(provider, key)

    def _blame(self, track: Track, candidate: Candidate, error: RouterError) -> Fared:
        """How a failure counts for its deployment. A client that waits for less long than others would is
        told of a timeout, but nobody is blamed for it."""
        if isinstance(error, UpstreamError) and error.kind is UpstreamKind.TIMEOUT:
            base = track.state.deadlines_for(candidate.deployment.model)
            if tighter(base, track.wish):
                return Fared.NEITHER
        return fared(error, own_key=candidate.own_key or track.other_key)


def _never() -> bool:
    return False


def _noted(dice: Dice, thrown: list[float]) -> Iterator[float]:
    """The dice, written down as they are thrown."""
    while True:
        thrown.append(found := dice())
        yield found


def _chain(track: Track, tried: Sequence[Tried]) -> Sequence[Candidate]:
    """The fallbacks that are meant for any of the failures, the latest first."""
    if track.admitted is None or not track.admitted.fallbacks:
        return ()
    kinds = dict.fromkeys(each.verdict.chain for each in reversed(tried))
    return [c for kind in kinds if kind is not None for c in track.admitted.fallbacks.get(kind, ())]


def _further(track: Track, candidates: Sequence[Candidate], tried: Sequence[Tried]) -> Sequence[Candidate]:
    """Who else may answer where the one that is wanted takes no call now."""
    assert track.admitted is not None
    chain = _chain(track, tried) if tried else track.admitted.fallbacks.get("general", ())
    return [each for each in (*open_to(candidates, tried), *open_to(chain, tried)) if not each.own_key]


def _all(admitted: Admitted, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Every candidate of a request, those of its plan last."""
    every = (*(c for chain in admitted.fallbacks.values() for c in chain), *candidates)
    return [each for each in every if not each.own_key]


def _load(how: Fared, error: RouterError) -> Went:
    """What a failure says of how many calls a deployment takes."""
    if not isinstance(error, UpstreamError) or how not in (Fared.LIMITED, Fared.BADLY):
        return Went.NEITHER
    if error.kind is UpstreamKind.TIMEOUT:
        return Went.LATE
    return Went.REFUSED if error.kind in _REFUSALS else Went.NEITHER


_REFUSALS = {UpstreamKind.RATE_LIMIT, UpstreamKind.OVERLOADED}


def _sample(track: Track, input_tokens: int, ttft_ms: float | None, took_us: int) -> tuple[int, float | None]:
    """How long a call took, for calls of its kind: to the first token, or of a whole answer per token."""
    if track.inspected is None or track.inspected.stream:
        return size_of(input_tokens), ttft_ms
    seen = track.delivery.observed if track.delivery is not None else None
    usage = seen.usage if seen is not None else None
    if usage is None:
        return WHOLE, None
    return WHOLE, took_us / 1000 / (usage.completion_tokens + WHOLE_TOKENS)


def _due_ms(track: Track, now_ms: int, clock: Clock) -> int | None:
    """When the client stops waiting, in Unix time."""
    if track.due_us is None:
        return None
    return now_ms + (track.due_us - clock.monotonic_us()) // 1000


def _times(track: Track, began_us: int, now_us: int) -> tuple[float | None, float | None]:
    """Milliseconds to the first token of this attempt, and output tokens a second after it, of a stream."""
    inspected, seen = track.inspected, track.delivery.observed if track.delivery is not None else None
    if inspected is None or not inspected.stream or track.first_token_ms is None or seen is None:
        return None, None
    first_us = track.call.started_us + track.first_token_ms * 1000
    if first_us < began_us:
        return None, None
    tokens = seen.usage.completion_tokens if seen.usage is not None else None
    went_us = now_us - first_us
    speed = tokens * 1_000_000 / went_us if tokens is not None and tokens > 1 and went_us > 0 else None
    return (first_us - began_us) / 1000, speed
