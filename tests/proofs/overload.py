"""An upstream of a known capacity, and more requests than it can serve, on virtual time.

Real are the engine and everything below it but the store and the network. Requests come evenly, whether or not
the earlier ones were answered, so that a queue has no end where nobody bounds it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from engine_kit import KEY, FakeClient, World, ask, deployment, events, model, provider, whole
from virtual import VirtualLoop

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.domain.key import Key, key_digest
from llm_router.ports import Deadlines, UpstreamRequest
from llm_router.routing.concurrency import ConcurrencyRules
from llm_router.routing.retry import RetryRules

BATCH_KEY = b"sk-lr-batch"
SERVICE_S = 0.5


@dataclass
class Upstream:
    """The port Upstream: so many calls at a time, each ``service_s``; the others wait in line, or are refused.

    Attributes:
        refuses: 429 beyond the capacity; else everybody waits for his turn.
        line: calls that wait.
    """

    capacity: int
    refuses: bool = False
    service_s: float = SERVICE_S
    busy: int = 0
    line: list[asyncio.Future[None]] = field(default_factory=list)
    served: int = 0
    refused: int = 0
    busy_most: int = 0

    async def send(self, request: UpstreamRequest, deadlines: Deadlines) -> Reply:
        asked = json.loads(request.body)
        if self.busy >= self.capacity:
            if self.refuses:
                self.refused += 1
                return Reply(429, [b'{"error": {"message": "too many", "type": "t", "code": null}}'])
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.line.append(turn)
            self.busy_most = max(self.busy_most, self.busy + len(self.line))
            try:
                async with asyncio.timeout(deadlines.first_byte_s):
                    await turn
            except TimeoutError:
                raise UpstreamError("late", kind=UpstreamKind.TIMEOUT) from None
            finally:
                if turn in self.line:
                    self.line.remove(turn)
        else:
            self.busy += 1
        try:
            await asyncio.sleep(self.service_s)
            self.served += 1
        finally:
            self._next()
        return Reply(200, events() if asked.get("stream") else [whole()])

    def _next(self) -> None:
        while self.line:
            turn = self.line.pop(0)
            if not turn.done():
                turn.set_result(None)
                return
        self.busy -= 1

    async def close(self) -> None: ...


class Reply:
    """The port UpstreamReply."""

    def __init__(self, status: int, pieces: list[bytes]) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}
        self._pieces = pieces

    def expect_content(self, *, more: bool) -> None: ...

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def read(self, bytes_max: int) -> bytes:
        return b"".join(self._pieces)

    async def close(self) -> None: ...


class LoopClock:
    """The port Clock, by the virtual loop."""

    def now_ms(self) -> int:
        return 1_700_000_000_000 + self.monotonic_us() // 1000

    def monotonic_us(self) -> int:
        return round(asyncio.get_running_loop().time() * 1_000_000)


@dataclass
class Answered:
    """One request: when it came, how long it took, what came of it."""

    at_s: float
    took_s: float
    status: int
    retry_after_s: int | None
    model: str | None
    batch: bool


class Overload:
    """One gateway, its upstreams by provider id, and those who ask."""

    def __init__(self, **upstreams: Upstream) -> None:
        self.upstreams = upstreams
        self.answered: list[Answered] = []
        self.rules = ConcurrencyRules()
        self.retries = RetryRules(repeats_max=0)
        self.more: dict[str, Any] = {}

    def run(self, *phases: tuple[float, float], stream: bool = True, batch_every: int = 0) -> None:
        """Ask so often a second for so many seconds: (rate, seconds), one phase after the other."""
        loop = VirtualLoop(lambda: 0.0)
        try:
            loop.run_until_complete(self._run(phases, stream, batch_every))
        finally:
            loop.close()
        assert not loop.problems

    async def _run(self, phases: tuple[tuple[float, float], ...], stream: bool, batch_every: int) -> None:
        ids = tuple(self.upstreams)
        world = World(
            model("m", deployments=tuple(deployment("m", id_) for id_ in ids)),
            providers=tuple(provider(id_) for id_ in ids),
            concurrency=self.rules, retries=self.retries, **self.more,
        )  # fmt: skip
        self.world = world
        batch = Key(id="key_b", account="acme", name="b", prefix="sk", created_ms=0, priority="batch")
        world.keyring.keys[key_digest(BATCH_KEY)] = batch
        world.engine.clock = LoopClock()
        world.engine.trying._clock = world.engine.trying._attempts._clock = world.engine.clock
        world.engine.upstream = world.engine.trying._attempts._upstream = self
        world.engine.trying._pause = asyncio.sleep
        tasks, number = set[asyncio.Task[None]](), 0
        for rate, seconds in phases:
            until_s = asyncio.get_running_loop().time() + seconds
            while asyncio.get_running_loop().time() < until_s:
                number += 1
                is_batch = bool(batch_every) and number % batch_every == 0
                task = asyncio.ensure_future(self._ask(stream, is_batch))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(1 / rate)
        while tasks:
            await asyncio.wait(set(tasks))
        await world.engine.close()
        assert world.books.ledger.open_holds() == 0, "a hold stayed open"
        assert world.engine.trying.gate.waiting == 0
        views = [world.engine.trying.gate.lanes.view(f"{id_}/m") for id_ in ids]
        assert all(view.in_flight == 0 for view in views)

    async def send(self, request: UpstreamRequest, deadlines: Deadlines) -> Any:
        return await self.upstreams[request.url.split("/")[2].split(".")[0]].send(request, deadlines)

    async def _ask(self, stream: bool, batch: bool) -> None:
        world, loop = self.world, asyncio.get_running_loop()
        client = FakeClient(world)
        began_s = loop.time()
        call = world.call(ask("m", stream=stream), started_us=world.engine.clock.monotonic_us())
        if batch:
            call = world.call(ask("m", stream=stream), credential=BATCH_KEY, started_us=call.started_us)
        else:
            assert call.credential == KEY
        with suppress(ConnectionError):
            await world.engine.serve(call, client)
        after = client.headers.get("retry-after")
        assert client.status is not None
        self.answered.append(
            Answered(
                at_s=began_s, took_s=loop.time() - began_s, status=client.status,
                retry_after_s=None if after is None else int(after),
                model=client.headers.get("x-llm-router-provider"), batch=batch,
            )
        )  # fmt: skip

    def of(self, status: int, from_s: float = 0.0, to_s: float = 1e9) -> list[Answered]:
        """Those that came in a span of time and ended so."""
        return [each for each in self.answered if each.status == status and from_s <= each.at_s < to_s]


def quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
