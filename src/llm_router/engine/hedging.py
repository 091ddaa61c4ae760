"""Hedging: a second call when the first one is later than usual; the one that has something first answers.

    first call ──────────── has until its deployment is late (routing/hedging.py)
      late ── within the budget? a second call beside it
        either has content (of a stream), or is whole ── it goes to the client; the other one is cancelled
        either fails ──────── the other one goes on alone
        both fail ─────────── what follows is decided as ever (engine/trying.py)

Each call runs in a task of its own with a copy of the track (a lane), so that neither disturbs the other. With
the first content byte, or a whole answer, the winner's state becomes that of the exchange. The client pays for one answer: what the
other call costs is the operator's, and stands in the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from llm_router.billing.interval import expected_tokens, forecast
from llm_router.domain.errors import InvalidRequest, RouterError
from llm_router.domain.record import OUTRUN
from llm_router.engine.admit import Admitted
from llm_router.engine.tracks import Track
from llm_router.ports import Client, Clock
from llm_router.routing.advance import moves_on
from llm_router.routing.health import HealthView
from llm_router.routing.hedging import HedgeBudget, Kind, Tails, hedged, kind_of, second
from llm_router.routing.plan import Candidate

HEADER = "x-llm-router-hedge"
_WISHES = {"on": True, "off": False}

_OF_ATTEMPT = (
    "candidate", "model", "canonical", "tool_names", "delivery", "content_sent", "losses", "first_token_ms",
    "sent_secret", "heard", "heard_bytes", "found", "pool_key", "other_key", "relay", "transcript", "landing",
)  # fmt: skip
"""What of a track is its present attempt's."""


def wish_of(headers: Mapping[str, str]) -> bool | None:
    """The request's own word.

    Raises:
        InvalidRequest: it cannot be read.
    """
    wish = headers.get(HEADER)
    if wish is None:
        return None
    if (found := _WISHES.get(wish.strip().lower())) is None:
        raise InvalidRequest(f"'{HEADER}' must be on or off.", param=HEADER)
    return found


class Hedge(msgspec.Struct, frozen=True, kw_only=True):
    """A second call that may be made. ``wait_s``: how long the first one has; ``cost_pusd``: expected."""

    candidate: Candidate
    wait_s: float
    cost_pusd: int


class Hedges:
    """Decides on second calls. One per process.

    Attributes:
        tails: how long calls took; budget: the second calls that may still be made.
    """

    def __init__(self) -> None:
        self.tails = Tails()
        self.budget = HedgeBudget()

    def took(self, track: Track, candidate: Candidate, ms: float) -> None:
        """What a call is awaited for (its first token, or all of a whole answer) came after so long, or had not come
        by then."""
        assert track.admitted is not None
        self.tails.add(candidate.deployment.id, _kind(track.admitted), ms)

    def of(
        self,
        track: Track,
        candidates: Sequence[Candidate],
        first: Candidate,
        views: Callable[[Sequence[str]], Sequence[HealthView]],
    ) -> Hedge | None:
        """The second call that may be made beside the first one; None if there is to be none."""
        admitted, rules = track.admitted, track.state.routing.hedging
        if admitted is None or track.state.retries.attempts_max < 2:
            return None
        inspected = admitted.inspected
        preset = inspected.routing.get("preset")
        mode = rules.mode_for(
            model=first.model.id, key=admitted.key.id, preset=preset if isinstance(preset, str) else None
        )
        if not hedged(mode, wish_of(track.call.headers)):
            return None
        input_tokens, output_tokens = expected_tokens(inspected, None)

        def cost_of(candidate: Candidate) -> int | None:
            return forecast(
                inspected, candidate.deployment, input_tokens=input_tokens, output_tokens=output_tokens
            )

        cost_pusd = cost_of(first)
        if cost_pusd is None:
            return None
        self.budget.earn(rules.share_bp, cost_pusd)
        late_ms = self.tails.late_ms(first.deployment.id, _kind(admitted), rules.percentile)
        if late_ms is None or (found := second(candidates, first, views)) is None:
            return None
        cost_pusd = cost_of(found)
        if cost_pusd is None:
            return None
        return Hedge(candidate=found, wait_s=late_ms / 1000, cost_pusd=cost_pusd)


def _kind(admitted: Admitted) -> Kind:
    inspected = admitted.inspected
    return kind_of(
        stream=inspected.stream,
        input_tokens=admitted.input_tokens_expected,
        output_tokens_max=inspected.output_tokens,
    )


class _Lane:
    """One of the two calls. ``track``: its own copy, but for what belongs to the exchange."""

    __slots__ = ("began_us", "candidate", "error", "task", "track")

    def __init__(self, track: Track, candidate: Candidate, client: Client) -> None:
        self.candidate = candidate
        self.track = msgspec.structs.replace(
            track, client=client, tool_names={}, losses=[], attempts=[], found={}, upstream_us=0, of=track
        )
        if track.landing is not None:
            self.track.landing = []
        self.began_us: int | None = None
        self.error: RouterError | None = None
        self.task: asyncio.Task[None] | None = None


class _LaneClient:
    """The client as a call sees it: with its first content byte it has won, or is too late."""

    def __init__(self, client: Client, claim: Callable[[], None]) -> None:
        self._client = client
        self._claim = claim

    @property
    def started(self) -> bool:
        return self._client.started

    @property
    def last_sent_s(self) -> float:
        return self._client.last_sent_s

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._claim()
        await self._client.start(status, headers)

    async def send(self, data: bytes) -> None:
        self._claim()
        await self._client.send(data)

    async def finish(self, data: bytes = b"") -> None:
        await self._client.finish(data)

    async def beat(self, status: int, headers: list[tuple[bytes, bytes]], data: bytes) -> None:
        await self._client.beat(status, headers, data)


class Race:
    """Two calls for one answer. Run it once."""

    def __init__(
        self,
        track: Track,
        first: Candidate,
        hedge: Hedge,
        *,
        hedges: Hedges,
        takes: Callable[[Candidate], bool],
        one: Callable[[Track, Candidate], Awaitable[None]],
        pause: Callable[[float], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._track = track
        self._hedge = hedge
        self._hedges = hedges
        self._takes = takes
        self._one = one
        self._pause = pause
        self._clock = clock
        self._began_us = clock.monotonic_us()
        self._winner: _Lane | None = None
        self._failed: list[_Lane] = []
        self._lanes = tuple(self._lane(each) for each in (first, hedge.candidate))

    def _lane(self, candidate: Candidate) -> _Lane:
        def claim() -> None:
            self._claim(lane)

        lane = _Lane(self._track, candidate, _LaneClient(self._track.client, claim))
        return lane

    @property
    def failed_before(self) -> Sequence[_Lane]:
        """The call that failed before the one that ``track`` tells of, if there is one."""
        return self._failed[:-1]

    async def run(self) -> None:
        """Run both calls until one has answered, or both failed. ``track`` then tells of the one that counts.

        Raises:
            RouterError: of that one: it broke off after content, or was the last to fail.
            ConnectionError: the client left.
        """
        track, (first, other) = self._track, self._lanes
        track.candidate, track.model = first.candidate, first.candidate.model
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._go(first)), loop.create_task(self._go_late(other))]
        first.task, other.task = tasks
        struck = await _ended(tasks)
        chosen = self._conclude()
        self._lanes = ()  # no cycle: what is over must be freed at once
        broken = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
        if struck is not None:
            raise struck
        if broken:
            raise broken[0]
        if chosen.error is not None:
            raise chosen.error
        if self._winner is None:  # the time of who reads on for a client that left is up
            raise asyncio.CancelledError
        if chosen.task is not None and chosen.task.cancelled():
            raise asyncio.CancelledError

    async def _go_late(self, lane: _Lane) -> None:
        """The second call: only when the first one is late, its deployment takes one and the budget allows it."""
        await self._pause(self._hedge.wait_s)
        if self._winner is not None or self._failed or not self._takes(lane.candidate):
            return
        if self._hedges.budget.spend(self._hedge.cost_pusd):
            await self._go(lane)

    async def _go(self, lane: _Lane) -> None:
        lane.began_us = self._clock.monotonic_us()
        try:
            await self._one(lane.track, lane.candidate)
            self._claim(lane)  # an answer without content wins by being whole
        except RouterError as error:
            lane.error = error
            self._failed.append(lane)
            if self._winner is lane or not moves_on(error):
                self._cancel_others(lane)
            else:
                self._cancel_unbegun()
        except BaseException:
            if self._winner is None or self._winner is lane:
                self._cancel_others(lane)
            raise

    def _claim(self, lane: _Lane) -> None:
        """A call has content for the client.

        Raises:
            CancelledError: the other one was first.
        """
        if self._winner is lane:
            return
        if self._winner is not None:
            raise asyncio.CancelledError
        self._winner = lane
        _adopt(self._track, lane.track)
        self._cancel_others(lane)

    def _cancel_others(self, lane: _Lane) -> None:
        for other in self._lanes:
            if other is not lane and other.task is not None:
                other.task.cancel()

    def _cancel_unbegun(self) -> None:
        for lane in self._lanes:
            if lane.began_us is None and lane.task is not None:
                lane.task.cancel()

    def _conclude(self) -> _Lane:
        """Both are over: the exchange goes on with what one of them was; the records of both stay."""
        track, first = self._track, self._lanes[0]
        chosen = self._winner or (self._failed[-1] if self._failed else first)
        for lane in self._lanes:
            if lane is not chosen and lane.began_us is not None:
                if self._winner is not None and lane.error is None:
                    self._outrun(lane)
                track.attempts += lane.track.attempts
        if self._lanes[1].began_us is not None:
            track.followed += (("hedge", round(self._hedge.wait_s * 1000)),)
        _adopt(track, chosen.track)
        waited_us = 0 if chosen.began_us is None else chosen.began_us - self._began_us
        track.upstream_us += waited_us + chosen.track.upstream_us
        track.attempts += chosen.track.attempts
        return chosen

    def _outrun(self, lane: _Lane) -> None:
        """The other one was faster: nobody's fault, but known of the first call that it was late."""
        assert lane.began_us is not None
        self._track.outrun = lane.candidate
        attempts = lane.track.attempts
        whole = attempts[-1].outcome == "delivered"  # in the same moment: its time is known
        attempts[-1] = msgspec.structs.replace(attempts[-1], outcome=OUTRUN)
        if lane is self._lanes[0] and not whole:
            self._hedges.took(self._track, lane.candidate, float(attempts[-1].duration_ms))


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> asyncio.CancelledError | None:
    """Wait until all tasks are over. Who cancels this one cancels them; that is what is returned."""
    struck = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            struck = error
            for task in tasks:
                task.cancel()
    return struck


def _adopt(track: Track, lane: Track) -> None:
    """The exchange is from now on what that call is."""
    for name in _OF_ATTEMPT:
        setattr(track, name, getattr(lane, name))
