"""One seed of the deterministic simulation: a gateway, its disk, its providers and its clients on virtual time.

Real are the engine with everything below it: admission, limits, budgets, estimate, relays, metering,
settlement, the store with its writer, journal, recovery and boot. Simulated are the clock, the threads,
the network and the disk's faults. Everything is drawn from the seed, so a seed replays exactly.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import sim_disk
from auditor import audit
from sim_disk import Disk, SimWriter, simulated, snapshot
from sim_upstream import KINDS, Script, SimUpstream, UpCall, script_of
from virtual import VirtualLoop

from llm_router.adapters.memory.counters import MemoryCounters
from llm_router.adapters.memory.responses import MemoryResponses
from llm_router.adapters.memory.sessions import MemorySessions
from llm_router.adapters.sqlite import store as sqlite_store
from llm_router.adapters.store_errors import StoreError
from llm_router.catalog.schema import CatalogData
from llm_router.catalog.snapshot import compile_snapshot
from llm_router.domain.budget import Budget, Scope, Window
from llm_router.domain.errors import LedgerUnavailable, RouterError
from llm_router.domain.key import Key, Limits, key_digest
from llm_router.domain.model import Capabilities, Deployment, Model, Provider
from llm_router.domain.price import Price, Rates
from llm_router.domain.record import ExchangeRecord
from llm_router.engine.admit import Call
from llm_router.engine.background import Background
from llm_router.engine.exchange import Engine
from llm_router.engine.responses import Keeping, Responses
from llm_router.engine.state import State
from llm_router.ports import Deadlines
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.operations import SPOKEN

PRICES = {"p1": (1_000_000, 2_000_000), "p2": (3_000_000, 5_000_000), "p3": (2_000_000, 7_000_000),
          "anth": (3_000_000, 15_000_000)}  # fmt: skip
"""Picodollars for a token in and out."""

MODELS = {"one": ("p1",), "two": ("p1", "p2"), "goes-on": ("p3",), "anth": ("anth",), "mixed": ("anth", "p2")}
GRANTS = {"rich": 10**12, "thin": 3_000_000_000, "team": 10**11}
DAY_MS = 86_400_000
START_MS = 1_800_000_000_000 - 1_800_000_000_000 % DAY_MS + 20 * 3_600_000  # 20:00 UTC
JUMPS_MS = (DAY_MS, -DAY_MS, 3_600_000, -3_600_000, 61_000, -5_000)
COST = re.compile(rb'"cost":\s*([0-9.]+)')
REMAINING = re.compile(rb'"credits_remaining":\s*(-?[0-9.]+)')

KEYS = (
    Key(id="key_rich", account="rich", name="k", prefix="sk", created_ms=0),
    Key(id="key_thin", account="thin", name="k", prefix="sk", created_ms=0),
    Key(id="key_t1", account="team", name="k", prefix="sk", created_ms=0, team="t", user="ann"),
    Key(
        id="key_t2", account="team", name="k", prefix="sk", created_ms=0, team="t", user="bob",
        limits=Limits(concurrency=3, requests_per_minute=30),
    ),
)  # fmt: skip
BUDGETS = (
    Budget(id="bud_team", account="team", scope=Scope.TEAM, scope_id="t", amount_pusd=4_000_000_000, window=Window.HOUR, created_ms=0),
    Budget(id="bud_user", account="team", scope=Scope.USER, scope_id="ann", amount_pusd=2_000_000_000, window=Window.MINUTE, rolling=True, created_ms=0),
    Budget(id="bud_day", account="team", scope=Scope.KEY, scope_id="key_t2", amount_pusd=3_000_000_000, window=Window.DAY, created_ms=0),
    Budget(id="bud_session", account="team", scope=Scope.SESSION, scope_id="team", amount_pusd=1_500_000_000, window=Window.LIFETIME, created_ms=0),
)  # fmt: skip

_TAG: ContextVar[int] = ContextVar("tag")


@dataclass
class Sight:
    """What one client asked, did and saw.

    Attributes:
        left: it has left. died: its gateway died under it. over: it knows how it ended.
        cost_pusd: ``usage.cost`` as it saw it; None if it never did.
    """

    tag: int
    key: Key
    model: str
    front: str
    streamed: bool
    background: bool
    body: bytes
    session: str | None
    headers: dict[str, str]
    status: int | None = None
    data: bytes = b""
    finished: bool = False
    left: bool = False
    died: bool = False
    refused: bool = False
    stopped: bool = False
    started: bool = False
    last_sent_s: float = 0.0
    response: str | None = None

    @property
    def id(self) -> str:
        return f"gen-{self.tag:06}"

    @property
    def cost_pusd(self) -> int | None:
        found = COST.findall(self.data)
        return None if not found else int(Decimal(found[-1].decode()) * 10**12)

    @property
    def remaining_pusd(self) -> int | None:
        found = REMAINING.findall(self.data)
        return None if not found else int(Decimal(found[-1].decode()) * 10**12)


class SimClient:
    """The port Client."""

    def __init__(self, simulation: Simulation, sight: Sight, net_s: float, leave_at: int | None) -> None:
        self._simulation = simulation
        self._sight = sight
        self._net_s = net_s
        self._leave_at = leave_at
        self._writes = 0

    @property
    def started(self) -> bool:
        return self._sight.started

    @property
    def last_sent_s(self) -> float:
        return self._sight.last_sent_s

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert not self._sight.started, "started twice"
        self._sight.started = True
        if not self._sight.died:
            self._sight.status = status

    async def send(self, data: bytes) -> None:
        await self._write(data)

    async def finish(self, data: bytes = b"") -> None:
        await self._write(data)
        if not self._sight.died and not self._sight.left:
            self._sight.finished = True

    async def beat(self, status: int, headers: list[tuple[bytes, bytes]], data: bytes) -> None:
        assert not self._sight.finished, "a heartbeat after the end"
        if not self.started:
            await self.start(status, headers)

    async def _write(self, data: bytes) -> None:
        sight = self._sight
        self._writes += 1
        if self._leave_at is not None and self._writes >= self._leave_at:
            sight.left = True
        if sight.left:
            raise ConnectionError("gone")
        if self._net_s:
            await asyncio.sleep(self._net_s)
        if sight.left:
            raise ConnectionError("gone")
        if not sight.died:
            sight.data += data
            sight.last_sent_s = self._simulation.loop.time()


class SimClock:
    """The port Clock: wall time that jumps over a monotonic one that does not."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset_ms = START_MS

    def now_ms(self) -> int:
        return self.offset_ms + int(self._loop.time() * 1000)

    def monotonic_us(self) -> int:
        return int(self._loop.time() * 1_000_000)


class Telemetry:
    def __init__(self) -> None:
        self.records: list[ExchangeRecord] = []

    def exchange(self, record: ExchangeRecord) -> None:
        self.records.append(record)


class Life:
    """One run of the gateway, from its start to its stop or its death."""

    def __init__(self, simulation: Simulation, store: Any, responses: MemoryResponses) -> None:
        self.store = store
        self.writer: SimWriter = simulation.writer
        self.tasks: dict[asyncio.Task[Any], Sight] = {}
        self.dead = False
        self.counters = MemoryCounters()
        self.telemetry = Telemetry()
        self.responses = responses
        self.engine = Engine(
            state=simulation.state,
            dialects=SPOKEN,
            books=store,
            keyring=store,
            rules=store,
            counters=self.counters,
            sessions=MemorySessions(),
            upstream=simulation.upstream,
            fetcher=None,  # type: ignore[arg-type]  # no request has a URL
            clock=simulation.clock,
            telemetry=self.telemetry,
            new_id=lambda: f"gen-{_TAG.get():06}",
            dice=random.Random(f"{simulation.seed}-{simulation.number}-engine").random,
            prices=store,
        )
        self.background = Background(Responses(self.engine, responses, Keeping()))


@dataclass
class Findings:
    """What went on, for the auditor and for the figures."""

    crashes: int = 0
    stops: int = 0
    faults: int = 0
    jumps: int = 0
    trace: str = ""
    virtual_s: float = 0.0
    commits: int = 0
    orphans: int = 0


class Simulation:
    """Everything of one seed.

    Attributes:
        calls: the providers' log. sights: what the clients saw, by tag. credits: (account, amount) by ref, as
            acknowledged; doubtful: those whose answer never came.
    """

    def __init__(self, seed: int, folder: Path, requests: int = 30, kinds: tuple[str, ...] = KINDS) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.folder = folder
        self.kinds = kinds
        self.requests = requests
        self.loop = VirtualLoop(lambda: 0.0003)
        self.clock = SimClock(self.loop)
        self.disk = Disk(self)
        self.writer: SimWriter = None  # type: ignore[assignment]  # made with the store
        self.upstream = SimUpstream(self)
        self.calls: list[UpCall] = []
        self.sights: dict[int, Sight] = {}
        self.credits: dict[str, tuple[str, int]] = {}
        self.doubtful: dict[str, tuple[str, int]] = {}
        self.records: dict[str, ExchangeRecord] = {}
        self.findings = Findings()
        self.life: Life | None = None
        self.number = 0
        self._hash = hashlib.sha256()
        self._restarting: asyncio.Task[None] | None = None
        self.state = _state(self.dice)
        self.clocks_jump = self.dice.random() < 0.35

    # what happens

    def told(self, *what: object) -> None:
        """A line of the trace."""
        self._hash.update(f"{self.loop.time():.9f} {what}\n".encode())

    def script(self, tag: int, nth: int) -> Script:
        return script_of(random.Random(f"{self.seed}-{tag}-{nth}"), self.kinds)

    def must_be_held(self, tag: int) -> None:
        """The hold is in the file before a provider is asked."""
        if self.life is None or self.life.dead:
            return
        row = self.writer.plain.execute(
            "SELECT state FROM holds WHERE exchange_id = ?", (f"gen-{tag:06}",)
        ).fetchone()
        durable = row == ("open",) or f"gen-{tag:06}" in self.writer.held_in_journal()
        assert durable, f"request {tag} went upstream without a hold on the disk"

    def committed(self, connection: Any) -> None:
        """After every commit: nothing is overdrawn, and what is held is what the open holds come to."""
        broken = connection.execute(
            "SELECT id FROM accounts a WHERE posted - held < 0 OR held <> "
            "(SELECT coalesce(sum(amount), 0) FROM holds h WHERE h.account = a.id AND state = 'open')"
        ).fetchall()
        assert not broken, f"after a commit the accounts {broken} are overdrawn or hold something else"

    @property
    def path(self) -> Path:
        return self.folder / str(self.number) / "books.db"

    def crash(self, why: str) -> None:
        """The process dies now; what is on the disk is what the next one finds."""
        life = self.life
        if life is None or life.dead:
            return
        self.told("crash", why)
        self.findings.crashes += 1
        life.dead = life.writer.dead = True
        for task, sight in life.tasks.items():
            if not task.done():
                sight.died = True
        before = self.path.parent
        self.number += 1
        snapshot(before, self.path.parent)
        self.disk.mode = None
        self.life = None
        self._restarting = self.loop.create_task(self._rise(life))

    async def _rise(self, life: Life) -> None:
        responses = MemoryResponses()
        responses._kept.update(life.responses._kept)
        await _end(life)
        await asyncio.sleep(self.dice.uniform(0.1, 3))
        await self.begin(responses)

    async def begin(self, responses: MemoryResponses) -> None:
        """Start the gateway on what is there."""
        store = await self._opened()
        self.findings.orphans += store.orphans
        life = Life(self, store, responses)
        await life.background.begin()
        self.life = life
        self.told("begun", store.orphans)
        self._must_know()

    async def _opened(self) -> sqlite_store.SqliteStore:
        """The store; a start on a disk that fails is refused, and tried again."""
        while True:
            try:
                return await sqlite_store.SqliteStore.open(self.path, clock=self.clock)
            except StoreError:
                if self.disk.mode != sim_disk.SYNC:
                    raise
                self.told("refused")
                await asyncio.sleep(0.5)

    def _must_know(self) -> None:
        """What a client was told of before the process ended is in the books."""
        costs = dict(self.writer.plain.execute("SELECT id, cost FROM exchanges"))
        for sight in self.sights.values():
            if sight.cost_pusd is not None and sight.response is None:
                assert costs.get(sight.id) == sight.cost_pusd, f"{sight.id}: lost after a restart"
        refs = {ref for (ref,) in self.writer.plain.execute("SELECT ref FROM entries")}
        assert {f"credit:{ref}" for ref in self.credits} <= refs, "an acknowledged credit is lost"

    async def stop(self, *, restart: bool) -> None:
        """Stop the gateway in order."""
        life = self.life
        if life is None:
            return
        self.told("stop")
        self.findings.stops += 1
        self.life = None
        for task, sight in life.tasks.items():
            sight.stopped = sight.stopped or not task.done()
        life.engine.stop()
        usable = life.store.trouble is None and self.disk.mode is None
        while tasks := [task for task in life.tasks if not task.done()]:
            await asyncio.wait(tasks)
        await life.background.close()
        if usable:
            while (upkeep := life.engine.upkeep._task) is not None:
                await asyncio.wait([upkeep])
        await life.engine.close()
        assert not life.counters._tally.busy(), "a place stayed taken"
        assert life.engine._running == {}, "an exchange still runs"
        if life.dead:  # its disk failed on the way
            return
        usable = usable and life.store.trouble is None and self.disk.mode is None
        await life.store.close()
        if usable:
            _must_hold_nothing(self.path)
        if restart:
            await asyncio.sleep(self.dice.uniform(0.1, 3))
            await self.begin(life.responses)

    # what is asked

    async def ask(self, sight: Sight, leave_s: float | None, net_s: float, leave_at: int | None) -> None:
        life = self.life
        if life is None:
            sight.refused = True
            return
        client = SimClient(self, sight, net_s, leave_at)
        _TAG.set(sight.tag)
        dialect = DIALECTS[sight.front]
        call = Call(
            operation="chat", dialect=dialect, body=sight.body, credential=sight.key.id.encode(),
            headers=sight.headers, started_us=self.clock.monotonic_us(),
        )  # fmt: skip
        serve = life.background.serve if sight.front == "openai_responses" else life.engine.serve
        task = self.loop.create_task(self._served(serve(call, client), sight))
        life.tasks[task] = sight
        if leave_s is not None:
            self.loop.call_later(leave_s, self._leave, life, task, sight)
        await asyncio.wait([task])
        self.told("over", sight.tag, sight.status, sight.cost_pusd, sight.finished)
        if task.cancelled():
            assert sight.left or sight.died or sight.stopped, f"request {sight.tag} was cancelled by nobody"
        elif (error := task.exception()) is not None and not sight.died:
            raise error
        if sight.background and sight.status == 200 and not sight.died:
            sight.response = json.loads(sight.data)["id"]
            await self._follow(life, sight)

    async def _served(self, serving: Any, sight: Sight) -> None:
        try:
            await serving
        except RouterError as error:  # refused before it was an exchange: the edge tells it
            sight.status = error.status

    async def _follow(self, life: Life, sight: Sight) -> None:
        """Wait for a background response, or cancel it."""
        dice = random.Random(f"{self.seed}-{sight.tag}-follow")
        account, id_ = sight.key.account, sight.response
        assert id_ is not None
        if dice.random() < 0.3:
            await asyncio.sleep(dice.uniform(0, 2))
            if not life.dead and self.life is life:
                sight.left = True
                await life.background.cancel(account, id_)
        run = life.background._admitted.get((account, id_))
        if run is not None and run.task is not None:
            life.tasks[run.task] = sight
            await asyncio.wait([run.task])

    def _leave(self, life: Life, task: asyncio.Task[None], sight: Sight) -> None:
        if task.done() or life.dead or sight.finished:
            return
        self.told("leave", sight.tag)
        sight.left = True
        if life.engine.left(task):
            task.cancel()

    async def pay_in(self, ref: str, account: str, amount_pusd: int) -> None:
        """Top up, or take; asked again under the same reference by whoever heard nothing."""
        for _ in range(3):
            life = self.life
            if life is None:
                await asyncio.sleep(2)
                continue
            self.doubtful[ref] = (account, amount_pusd)
            try:
                await life.store.credit(account, amount_pusd, ref, "sim", self.clock.now_ms())
            except LedgerUnavailable:
                await asyncio.sleep(1.5)
                continue
            except RouterError:  # not so much there to take
                if not life.dead:
                    self.doubtful.pop(ref, None)
                return
            if not life.dead:
                self.credits[ref] = (account, amount_pusd)
                self.doubtful.pop(ref, None)
                if self.dice.random() < 0.5:
                    return

    # the course of a seed

    async def main(self) -> None:
        self.path.parent.mkdir()
        await self.begin(MemoryResponses())
        assert self.life is not None
        for key in KEYS:
            await self.life.store.create(key, key_digest(key.id.encode()))
        for account, amount_pusd in GRANTS.items():
            await self.pay_in(f"grant-{account}", account, amount_pusd)
        for budget in BUDGETS:
            await self.life.store.set_budget(budget, self.clock.now_ms())
        span_s = self.dice.choice((5.0, 60.0, 400.0))
        timers = [self._at(moment_s, what) for moment_s, what in self._events(span_s)]
        asked = [self._arrive(tag, span_s) for tag in range(self.requests)]
        results = await asyncio.gather(*asked, *timers, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        await self._settle_down()
        await self.stop(restart=False)
        if self._restarting is not None and not self._restarting.done():
            await self._restarting
            await self.stop(restart=False)
        self.findings.virtual_s = self.loop.time()
        self.findings.commits = self.disk.commits
        self.findings.trace = self._hash.hexdigest()

    async def _settle_down(self) -> None:
        """Let the disk recover, and the gateway with it."""
        self.disk.mode = None
        for _ in range(600):
            if self._restarting is not None:
                await self._restarting
                self._restarting = None
            life = self.life
            if (
                life is not None
                and life.store.trouble is None
                and life.engine.upkeep._task is None
                and not life.background._runs
            ):
                return
            await asyncio.sleep(0.5)
        raise AssertionError("the gateway did not recover")

    async def _at(self, moment_s: float, what: Any) -> None:
        await asyncio.sleep(moment_s)
        result = what()
        if asyncio.iscoroutine(result):
            await result

    def _events(self, span_s: float) -> list[tuple[float, Any]]:
        """Everything that befalls the gateway, at its moments."""
        dice = self.dice
        found: list[tuple[float, Any]] = []
        crashes = dice.choice((0, 0, 1, 2))
        found += [(dice.uniform(0, span_s), lambda: self.crash("killed")) for _ in range(crashes)]
        if dice.random() < 0.4:
            found.append((dice.uniform(0, span_s), lambda: self.stop(restart=True)))
        for _ in range(dice.choice((0, 1, 2))):
            mode = dice.choice((sim_disk.FULL, sim_disk.FULL, sim_disk.EIO, sim_disk.EIO, sim_disk.SYNC))
            begin_s, long_s = dice.uniform(0, span_s), dice.choice((0.01, 0.5, 5.0, 30.0))
            found.append((begin_s, lambda mode=mode: self._fault(mode)))
            found.append((begin_s + long_s, lambda: self._fault(None)))
        for by_ms in dice.choices(JUMPS_MS, k=dice.choice((1, 2, 3))) if self.clocks_jump else ():
            found += [(dice.uniform(0, span_s), lambda by_ms=by_ms: self._jump(by_ms))]
        for number in range(dice.randrange(4)):
            account = dice.choice(tuple(GRANTS))
            amount_pusd = dice.choice((10**9, 5 * 10**9, -(10**9), 123_456_789))
            pay = lambda n=number, a=account, p=amount_pusd: self.pay_in(f"top-{n}", a, p)  # noqa: E731
            found.append((dice.uniform(0, span_s), pay))
        return found

    def _fault(self, mode: str | None) -> None:
        self.told("disk", mode)
        self.findings.faults += mode is not None
        self.disk.mode = mode

    def _jump(self, by_ms: int) -> None:
        self.told("clock", by_ms)
        self.findings.jumps += 1
        self.clock.offset_ms += by_ms

    async def _arrive(self, tag: int, span_s: float) -> None:
        dice = random.Random(f"{self.seed}-{tag}")
        sight = self.sights[tag] = _sight(tag, dice)
        burst = dice.choice((0.0, 0.5, 0.9)) * span_s
        arrives_s = burst if dice.random() < 0.5 else dice.uniform(0, span_s)
        leaves = dice.random() < 0.3 and not sight.background
        leave_s = (
            dice.choice((dice.uniform(0, 0.1), dice.uniform(0, 2), dice.uniform(0, 20))) if leaves else None
        )
        leave_at = dice.randrange(1, 6) if leaves and dice.random() < 0.4 else None
        await asyncio.sleep(arrives_s)
        await self.ask(sight, leave_s, dice.choice((0.0, 0.0, 0.002, 0.2)), leave_at)


def simulate(
    seed: int,
    requests: int = 30,
    kind: Callable[[int, Path, int], Simulation] = Simulation,
    check: Callable[[Simulation], None] = audit,
) -> Simulation:
    """Run one seed to its end, and check all that can be checked on the way and then."""
    with tempfile.TemporaryDirectory(prefix="sim-", dir=_memory()) as folder:
        simulation = kind(seed, Path(folder), requests)
        loop = simulation.loop
        asyncio.set_event_loop(loop)
        try:
            with simulated(simulation.disk, random.Random(seed).choice((2_000, 64_000))):
                loop.run_until_complete(simulation.main())
                check(simulation)
            assert not loop.problems, loop.problems
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    return simulation


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


async def _end(life: Life) -> None:
    """Clear away what a dead process left in our memory."""
    runs = [task for run in life.background._runs for task in (run.exchange, run.task) if task is not None]
    tasks = [task for task in (*life.tasks, *runs) if not task.done()]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    await life.background.close()
    await life.engine.close()
    await life.store.close()


def _must_hold_nothing(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (held,) = connection.execute("SELECT count(*) FROM holds WHERE state = 'open'").fetchone()
    assert held == 0, f"{held} holds are open after an orderly stop"


def _sight(tag: int, dice: random.Random) -> Sight:
    key = dice.choice(KEYS)
    front = dice.choice(("openai_chat",) * 4 + ("anthropic_messages", "openai_responses"))
    model, streamed = dice.choice(tuple(MODELS)), dice.random() < 0.6
    limit = dice.choice((None, 10, 50, 200)) if front != "anthropic_messages" else dice.choice((10, 50, 200))
    text = f"tag:{tag}: " + "hello " * dice.randrange(1, 30)
    headers = {"x-session-id": f"s{dice.randrange(3)}"} if dice.random() < 0.3 else {}
    if dice.random() < 0.1:
        headers["x-max-cost"] = dice.choice(("0.0001", "0.0004", "0.001"))
    background = front == "openai_responses"
    body: dict[str, Any] = {"model": model}
    if background:
        body |= {"input": text, "background": True}
        body |= {} if limit is None else {"max_output_tokens": limit}
    else:
        body |= {"messages": [{"role": "user", "content": text}], "stream": streamed}
        body |= {} if limit is None else {"max_tokens": limit}
    return Sight(
        tag=tag, key=key, model=model, front=front, streamed=streamed, background=background,
        body=json.dumps(body).encode(), session=headers.get("x-session-id"), headers=headers,
    )  # fmt: skip


def _state(dice: random.Random) -> State:
    providers = tuple(
        Provider(
            id=id_, name=id_.title(), base_url=f"http://{id_}.test/v1",
            dialect="anthropic_messages" if id_ == "anth" else "openai_chat", bills_abandoned=id_ == "p3",
        )
        for id_ in PRICES
    )  # fmt: skip
    models = tuple(
        Model(
            id=id_, name=id_, family="Test", developer="Test", capabilities=Capabilities(tools=True),
            deployments=tuple(
                Deployment(
                    id=f"{p}/{id_}", model=id_, provider=p, upstream_model="up",
                    price=Price(version=f"{p}-1", rates=Rates(input=PRICES[p][0], output=PRICES[p][1])),
                )
                for p in places
            ),
        )
        for id_, places in MODELS.items()
    )  # fmt: skip
    snapshot_ = compile_snapshot(
        CatalogData(as_of="2026-01-01", providers=(), models=(), prices=()),
        providers=providers,
        models=models,
    )
    return State(
        snapshot=snapshot_,
        provider_keys=dict.fromkeys(PRICES, "secret-0123456789abcdef"),
        active=frozenset(PRICES),
        deadlines=Deadlines(first_byte_s=15.0, idle_s=4.0, total_s=100.0),
        heartbeat_s=dice.choice((0.0, 0.5)),
        hold_output_tokens=dice.choice((100, 1000)),
    )
