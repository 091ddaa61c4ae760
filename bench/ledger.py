"""Measure the SQLite ledger: hold and settle pairs a second, their latency, and CPU a pair.

    python bench/ledger.py [--dir FOLDER] [--seconds 3] [--concurrency 1,32,128] [--preload 0] [--awaited] [--cores 1]

Each simulated client holds, then settles with a whole exchange record, as fast as it can: as the fast
lane does, which is told what became durable, or with ``--awaited`` in tasks, as other requests do. The
price is published and the collector of cycles set as the gateway does it. The
folder decides which disk is measured. ``--preload`` fills the tables with that many exchanges first. It
runs on one core, as whatever ``bench/run.py`` measures. ``of clients`` is the benchmark's own part of the
CPU, and ``step ns`` what one step of an empty loop cost meanwhile: on machines that are shared the
processor's speed changes within seconds, and figures compare only where that one is the same.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import shutil
import sqlite3
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import cast

import uvloop

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.heap import end_start
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.budget import Payer
from llm_router.domain.price import CostLine, Price, Rates
from llm_router.domain.record import AttemptRecord, ExchangeRecord
from llm_router.domain.usage import Usage

CLIENTS_S = 0.2
STEPS = 3_000_000
HOLD_PUSD = 250_000_000_000
USAGE = Usage(input_tokens=1200, cache_read_tokens=800, output_tokens=350)
PRICE = Price(
    version="anthropic/claude-sonnet-4-5@2026-01-01",
    rates=Rates(input=3_000_000, cache_read=300_000, output=15_000_000),
)
RECORD = ExchangeRecord(
    id="", account="acct", key="key_1", operation="chat", dialect="openai_chat",
    asked_model="claude-sonnet-4-5", model="claude-sonnet-4-5", deployment="anthropic/claude-sonnet-4-5",
    provider="anthropic", created_ms=0, duration_ms=2310, first_token_ms=640, overhead_us=210, stream=True,
    status=200, finish="stop", native_finish="end_turn", usage=USAGE, cost_pusd=9_090_000_000,
    cost=(
        CostLine(bucket="input_tokens", quantity=1200, rate_pusd=3_000_000, amount_pusd=3_600_000_000),
        CostLine(bucket="cache_read_tokens", quantity=800, rate_pusd=300_000, amount_pusd=240_000_000),
        CostLine(bucket="output_tokens", quantity=350, rate_pusd=15_000_000, amount_pusd=5_250_000_000),
    ),
    price_version=PRICE.version,
    attempts=(
        AttemptRecord(
            deployment="anthropic/claude-sonnet-4-5", provider="anthropic", upstream_model="claude-sonnet-4-5",
            started_ms=0, duration_ms=2300, outcome="delivered", status=200, first_byte_ms=610,
            upstream_id="msg_01AbCdEfGhIjKlMnOpQrStUv", usage=USAGE,
        ),
    ),
)  # fmt: skip


class Work:
    """What clients do until it is time to end."""

    def __init__(self, store: SqliteStore, until_s: float) -> None:
        self.store = store
        self.until_s = until_s
        self.latencies: list[float] = []


class Asking:
    """One client's exchanges, one after another; ids are made cheaply, since they are not measured."""

    def __init__(self, number: int) -> None:
        self._dice = random.Random(number)
        self._fields = {name: getattr(RECORD, name) for name in RECORD.__struct_fields__}
        self.payer = Payer(account="acct")
        self.id = ""
        self.now_ms = 0

    def next(self) -> None:
        self.now_ms = time.time_ns() // 1_000_000
        self.id = f"gen-{time.time_ns():026x}"  # rising, as the gateway's; the provider's are random
        changed = {"id": self.id, "created_ms": self.now_ms}
        self._fields |= changed | {"reply_id": f"chatcmpl-{self._dice.getrandbits(96):024x}"}

    def record(self) -> ExchangeRecord:
        return ExchangeRecord(**self._fields)


async def client(work: Work, number: int) -> None:
    """A client that awaits the store."""
    asking = Asking(number)
    while (begin_s := time.perf_counter()) < work.until_s:
        asking.next()
        await work.store.hold(asking.id, asking.payer, HOLD_PUSD, "v1", asking.now_ms)
        await work.store.settle(asking.record())
        work.latencies.append(time.perf_counter() - begin_s)


class Told:
    """A client that the store tells, as the port ``Landing`` says."""

    def __init__(self, work: Work, number: int) -> None:
        self._work = work
        self._asking = Asking(number)
        self._begin_s = 0.0
        self._held = False
        self.over = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        self._begin_s = time.perf_counter()
        if self._begin_s >= self._work.until_s:
            self.over.set_result(None)
            return
        asking, self._held = self._asking, False
        asking.next()
        self._work.store.hold_now(asking.id, asking.payer, HOLD_PUSD, "v1", asking.now_ms, self)

    def done(self) -> bool:
        return self.over.done()

    def set_result(self, result: object, /) -> None:
        if not self._held:
            self._held = True
            self._work.store.settle_now(self._asking.record(), self)
            return
        self._work.latencies.append(time.perf_counter() - self._begin_s)
        self.begin()

    def set_exception(self, exception: BaseException, /) -> None:
        self.over.set_exception(exception)

    def exception(self) -> BaseException | None:
        return None


async def all_told(work: Work, concurrency: int) -> None:
    clients = [Told(work, number) for number in range(concurrency)]
    for each in clients:
        each.begin()
    await asyncio.gather(*(each.over for each in clients))


async def all_awaiting(work: Work, concurrency: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(concurrency):
            group.create_task(client(work, number))


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Nowhere:
    """In place of the store: says yes to everything, one after the other."""

    def __init__(self) -> None:
        self.asked: deque[Told] = deque()

    def hold_now(self, _id: str, _payer: Payer, _pusd: int, _version: str, _now_ms: int, told: Told) -> None:
        self.asked.append(told)

    def settle_now(self, _record: ExchangeRecord, told: Told) -> None:
        self.asked.append(told)


def clients_us(concurrency: int) -> float:
    """CPU of a pair of the benchmark's own clients, in microseconds."""
    nowhere = Nowhere()
    work = Work(cast(SqliteStore, nowhere), time.perf_counter() + CLIENTS_S)
    begin = time.thread_time()
    for each in [Told(work, number) for number in range(concurrency)]:
        each.begin()
    while nowhere.asked:
        nowhere.asked.popleft().set_result(None)
    return 1e6 * (time.thread_time() - begin) / len(work.latencies)


def step_ns() -> float:
    """CPU of one step of an empty loop, in nanoseconds: how fast the machine is now."""
    begin = time.thread_time_ns()
    for _ in range(STEPS):
        pass
    return (time.thread_time_ns() - begin) / STEPS


async def run(folder: Path, concurrency: int, options: argparse.Namespace) -> None:
    path = folder / "ledger.db"
    store = await SqliteStore.open(path, clock=SystemClock())
    if options.preload:
        await store.close()
        fill(path, options.preload)
        store = await SqliteStore.open(path, clock=SystemClock())
    await store.credit("acct", 4_000_000 * 10**12, "bench", "benchmark", 0)
    store.publish(PRICE, 0)
    end_start()
    step, clients = step_ns(), clients_us(concurrency)
    begin, cpu, loop = time.perf_counter(), cpu_s(), time.thread_time()
    work = Work(store, begin + options.seconds)
    await (all_awaiting if options.awaited else all_told)(work, concurrency)
    loop = time.thread_time() - loop
    elapsed, cpu = time.perf_counter() - begin, cpu_s() - cpu
    step, clients = (step + step_ns()) / 2, (clients + clients_us(concurrency)) / 2
    log_mb = os.stat(f"{path}-wal").st_size / 1e6
    await store.close()
    latencies = sorted(work.latencies)
    pairs = len(latencies)
    per_pair = path.stat().st_size / max(1, pairs + options.preload)
    print(
        f"{concurrency:>11} {pairs / elapsed:>9.0f} {1e6 * cpu / pairs:>12.0f} {1e6 * loop / pairs:>8.0f} {clients:>10.1f} "
        f"{1e3 * latencies[pairs // 2]:>8.2f} {1e3 * latencies[int(pairs * 0.99)]:>8.2f} "
        f"{1e3 * latencies[-1]:>8.1f} {per_pair:>10.0f} {log_mb:>8.1f} {step:>8.1f}",
        flush=True,
    )


def fill(path: Path, count: int) -> None:
    """Copy one exchange many times, past the ledger, to see how a large file behaves."""
    import msgspec

    text = msgspec.json.encode(RECORD).decode()
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO exchanges (id, account, key, reply_id, created_ms, model, status, hold, cost, record) "
            "VALUES (?, 'acct', 'key_1', ?, 0, 'claude-sonnet-4-5', 200, 1, 0, ?)",
            ((f"gen-0{i:024x}", f"chatcmpl-{os.urandom(12).hex()}", text) for i in range(count)),
        )
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dir", type=Path, default=None, help="folder on the disk to measure")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--concurrency", default="1,32,128")
    parser.add_argument("--preload", type=int, default=0)
    parser.add_argument("--awaited", action="store_true", help="clients wait in tasks")
    parser.add_argument("--cores", type=int, default=1, help="how many it may use (1)")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    print(f"{'concurrency':>11} {'pairs/s':>9} {'CPU us/pair':>12} {'of loop':>8} {'of clients':>10} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} "
          f"{'bytes/pair':>10} {'log MB':>8} {'step ns':>8}")  # fmt: skip
    for concurrency in (int(part) for part in options.concurrency.split(",")):
        folder = Path(tempfile.mkdtemp(prefix="ledger-bench-", dir=options.dir))
        try:
            uvloop.run(run(folder, concurrency, options))
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
