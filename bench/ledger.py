"""Measure the SQLite ledger: hold and settle pairs a second, their latency, and CPU a pair.

    python bench/ledger.py [--dir FOLDER] [--seconds 3] [--concurrency 1,32,128] [--preload 0]

Each simulated client holds, then settles with a whole exchange record, as fast as it can. The
folder decides which disk is measured. ``--preload`` fills the tables with that many exchanges first.
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
from pathlib import Path

import uvloop

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.budget import Payer
from llm_router.domain.price import CostLine
from llm_router.domain.record import AttemptRecord, ExchangeRecord
from llm_router.domain.usage import Usage

USAGE = Usage(input_tokens=1200, cache_read_tokens=800, output_tokens=350)
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
    price_version="anthropic/claude-sonnet-4-5@2026-01-01",
    attempts=(
        AttemptRecord(
            deployment="anthropic/claude-sonnet-4-5", provider="anthropic", upstream_model="claude-sonnet-4-5",
            started_ms=0, duration_ms=2300, outcome="delivered", status=200, first_byte_ms=610,
            upstream_id="msg_01AbCdEfGhIjKlMnOpQrStUv", usage=USAGE,
        ),
    ),
)  # fmt: skip


async def client(store: SqliteStore, until: float, latencies: list[float], dice: random.Random) -> None:
    fields = {name: getattr(RECORD, name) for name in RECORD.__struct_fields__}
    while (begin := time.perf_counter()) < until:
        now_ms = time.time_ns() // 1_000_000
        # Ids as the gateway's (rising) and a provider's (random), made cheaply: they are not measured.
        fields["id"] = exchange_id = f"gen-{time.time_ns():026x}"
        fields["reply_id"] = f"chatcmpl-{dice.getrandbits(96):024x}"
        fields["created_ms"] = now_ms
        await store.hold(exchange_id, Payer(account="acct"), 250_000_000_000, "v1", now_ms)
        await store.settle(ExchangeRecord(**fields))
        latencies.append(time.perf_counter() - begin)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def run(folder: Path, concurrency: int, seconds: float, preload: int) -> None:
    path = folder / "ledger.db"
    store = await SqliteStore.open(path, clock=SystemClock())
    if preload:
        await store.close()
        fill(path, preload)
        store = await SqliteStore.open(path, clock=SystemClock())
    await store.credit("acct", 4_000_000 * 10**12, "bench", "benchmark", 0)
    latencies: list[float] = []
    begin, cpu = time.perf_counter(), cpu_s()
    async with asyncio.TaskGroup() as group:
        for number in range(concurrency):
            group.create_task(client(store, begin + seconds, latencies, random.Random(number)))
    elapsed, cpu = time.perf_counter() - begin, cpu_s() - cpu
    log_mb = os.stat(f"{path}-wal").st_size / 1e6
    await store.close()
    latencies.sort()
    pairs = len(latencies)
    per_pair = path.stat().st_size / max(1, pairs + preload)
    print(
        f"{concurrency:>11} {pairs / elapsed:>9.0f} {1e6 * cpu / pairs:>12.0f} "
        f"{1e3 * latencies[pairs // 2]:>8.2f} {1e3 * latencies[int(pairs * 0.99)]:>8.2f} "
        f"{1e3 * latencies[-1]:>8.1f} {per_pair:>10.0f} {log_mb:>8.1f}",
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
    options = parser.parse_args()
    print(f"{'concurrency':>11} {'pairs/s':>9} {'CPU us/pair':>12} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} "
          f"{'bytes/pair':>10} {'log MB':>8}")  # fmt: skip
    for concurrency in (int(part) for part in options.concurrency.split(",")):
        folder = Path(tempfile.mkdtemp(prefix="ledger-bench-", dir=options.dir))
        try:
            uvloop.run(run(folder, concurrency, options.seconds, options.preload))
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
