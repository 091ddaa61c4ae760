"""A provider with a heavy tail, on virtual time: what hedging does to the time to the first token, or to a whole
answer, and what it costs.

Real are the engine and what it decides by. Simulated are the clock, the ledger and two deployments of one model.
First tokens take a log-normal time, and one call in fifty waits for seconds more (Pareto), independently of the other
deployment. Requests come at random moments. Everything is drawn from the seed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine_kit import FakeClient, World, ask, deployment, events, model, provider, whole
from virtual import VirtualLoop

from llm_router.domain.record import OUTRUN
from llm_router.ports import Deadlines, UpstreamRequest
from llm_router.routing.hedging import HedgeRules
from llm_router.routing.retry import RetryRules
from llm_router.routing.rules import RoutingRules

MEDIAN_S, SIGMA = 0.4, 0.35
HEAVY, HEAVY_S, ALPHA = 0.02, 4.0, 1.5
HEAVY_S_MAX = 45.0
PIECE_S = 0.02
RATE = 20.0
"""Requests a second."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Costs are the operator's, in picodollars; ``first_s``, to the first content that the client
    got, are sorted."""

    first_s: list[float]
    calls: int
    outrun: int
    cost_pusd: int
    extra_pusd: int
    charged_pusd: int

    def percentile_s(self, percent: float) -> float:
        return self.first_s[min(len(self.first_s) - 1, int(len(self.first_s) * percent / 100))]

    @property
    def extra_share(self) -> float:
        """What the calls that were not used cost, beside those that were."""
        return self.extra_pusd / self.cost_pusd


class _Client(FakeClient):
    """Notes when the first content came."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.first_s: float | None = None

    async def send(self, data: bytes) -> None:
        self._note()
        await super().send(data)

    async def finish(self, data: bytes = b"") -> None:
        self._note()
        await super().finish(data)

    def _note(self) -> None:
        if self.first_s is None:
            self.first_s = asyncio.get_running_loop().time()


class _Reply:
    """A reply that begins after its time."""

    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s

    def expect_content(self, *, more: bool) -> None: ...

    async def chunks(self) -> AsyncIterator[bytes]:
        await asyncio.sleep(self._first_s)
        for piece in events("one ", "two ", "three ", "four"):
            yield piece
            await asyncio.sleep(PIECE_S)

    async def read(self, bytes_max: int) -> bytes:
        await asyncio.sleep(self._first_s + 4 * PIECE_S)
        return whole("one two three four")

    async def close(self) -> None: ...


class _Clock:
    """The loop's time."""

    def now_ms(self) -> int:
        return self.monotonic_us() // 1000

    def monotonic_us(self) -> int:
        return 1_700_000_000_000_000 + round(asyncio.get_running_loop().time() * 1_000_000)


def first_token_s(dice: random.Random) -> float:
    """How long a call waits for its first token."""
    usual = dice.lognormvariate(0, SIGMA) * MEDIAN_S
    return usual + min(HEAVY_S_MAX, HEAVY_S * dice.paretovariate(ALPHA)) if dice.random() < HEAVY else usual


def simulated(
    requests: int, *, seed: int, mode: str, billed_on: bool = False, stream: bool = True
) -> Outcome:
    """Serve so many requests.

    Args:
        mode: of hedging. billed_on: the providers bill what nobody reads to its end. stream: answers are streamed.
    """
    loop = VirtualLoop(lambda: 0.0)
    try:
        return loop.run_until_complete(_served(requests, seed, mode, billed_on, stream))
    finally:
        loop.close()


async def _served(requests: int, seed: int, mode: str, billed_on: bool, stream: bool) -> Outcome:
    arrivals, waits = random.Random(seed), random.Random(f"{seed}:waits")
    rules: Any = HedgeRules(mode=mode)  # type: ignore[arg-type]
    world = World(
        model("m", deployments=(deployment("m", "p1"), deployment("m", "p2"))),
        providers=(provider("p1", bills_abandoned=billed_on), provider("p2", bills_abandoned=billed_on)),
        retries=RetryRules(),
        routing=RoutingRules(hedging=rules),
    )
    calls = 0

    async def send(request: UpstreamRequest, deadlines: Deadlines) -> _Reply:
        nonlocal calls
        calls += 1
        return _Reply(first_token_s(waits))

    clock: Any = world.engine.clock
    clock.now_ms, clock.monotonic_us = _Clock().now_ms, _Clock().monotonic_us
    world.upstream.send = send  # type: ignore[method-assign, assignment]
    world.engine.trying._pause = asyncio.sleep
    first_s: list[float] = []

    async def request() -> None:
        client, began_s = _Client(world), asyncio.get_running_loop().time()
        call = world.call(ask("m", stream=stream, max_tokens=50), started_us=clock.monotonic_us())
        await world.engine.serve(call, client)
        assert client.first_s is not None, client.data
        first_s.append(client.first_s - began_s)

    running: set[asyncio.Task[None]] = set()
    for _ in range(requests):
        await asyncio.sleep(arrivals.expovariate(RATE))
        task = asyncio.ensure_future(request())
        running.add(task)
        task.add_done_callback(running.discard)
    while running:
        await asyncio.gather(*running)
    return _outcome(world, sorted(first_s), calls)


def _outcome(world: World, first_s: list[float], calls: int) -> Outcome:
    records = world.telemetry.records
    attempts = [attempt for record in records for attempt in record.attempts]
    outrun = [attempt for attempt in attempts if attempt.outcome == OUTRUN]
    extra = [attempt.operator_cost_pusd or 0 for attempt in outrun]
    assert len(records) == len(first_s)
    assert len(attempts) == calls, "every call stands in a record"
    return Outcome(
        first_s=first_s,
        calls=calls,
        outrun=len(outrun),
        cost_pusd=sum(attempt.operator_cost_pusd or 0 for attempt in attempts) - sum(extra),
        extra_pusd=sum(extra),
        charged_pusd=sum(record.cost_pusd for record in records),
    )
