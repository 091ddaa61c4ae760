"""Measure the PostgreSQL ledger on one hot account, beside a row lock for each request.

    python bench/ledger_postgres.py URL [--seconds 3] [--concurrency 32]

URL names an empty database. Both write holds, records and entries (the row lock design, in its favour, neither
hourly sums nor hashes); it holds by a conditional
UPDATE and settles in a transaction of its own, each request on a connection of a pool.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time

import asyncpg
import msgspec
import uvloop
from ledger import RECORD, client

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.postgres.link import Target
from llm_router.adapters.postgres.store import PostgresStore


async def direct(pool: asyncpg.Pool, until: float, latencies: list[float], dice: random.Random) -> None:
    text = msgspec.json.encode(RECORD).decode()
    while (begin := time.perf_counter()) < until:
        id_, amount, cost = f"gen-{dice.getrandbits(96):024x}", 250_000_000_000, RECORD.cost_pusd
        async with pool.acquire() as connection:
            async with connection.transaction():
                await connection.execute(
                    "UPDATE accounts SET held = held + $1 WHERE id = 'acct' AND posted - held >= $1", amount
                )
                await connection.execute(
                    "INSERT INTO holds VALUES ($1, 'acct', $2, '{}', '[]', 'v1', 1, 0, NULL)", id_, amount
                )
            async with connection.transaction():
                await connection.execute("DELETE FROM holds WHERE exchange_id = $1", id_)
                await connection.execute(
                    "INSERT INTO exchanges VALUES ($1, 'acct', 'key_1', $1, 0, 'm', 200, $2, $3, $4)",
                    id_, amount, cost, text,
                )  # fmt: skip
                await connection.execute(
                    "INSERT INTO entries (node, number, ref, account, amount, kind, created_ms, note, hash) "
                    "VALUES (0, $1, $2, 'acct', $3, 'use', 0, 'v1', $4)",
                    dice.getrandbits(62), f"use:{id_}", -cost, bytes(32),
                )  # fmt: skip
                await connection.execute(
                    "UPDATE accounts SET held = held - $1, posted = posted - $2 WHERE id = 'acct'",
                    amount,
                    cost,
                )
        latencies.append(time.perf_counter() - begin)


def show(name: str, latencies: list[float], elapsed: float) -> None:
    latencies.sort()
    pairs = len(latencies)
    print(f"{name:<10} {pairs / elapsed:>8.0f} pairs/s  p50 {1e3 * latencies[pairs // 2]:.1f} ms  "
          f"p99 {1e3 * latencies[int(pairs * 0.99)]:.1f} ms", flush=True)  # fmt: skip


async def run(url: str, seconds: float, concurrency: int) -> None:
    store = await PostgresStore.open(Target(url=url), clock=SystemClock())
    await store.credit("acct", 4_000_000 * 10**12, "bench", "benchmark", 0)
    pool = await asyncpg.create_pool(
        url, min_size=concurrency, max_size=concurrency, server_settings={"search_path": "llm_router"}
    )
    for name, worker, on in (("row lock", direct, pool), ("batches", client, store)):
        latencies: list[float] = []
        begin = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(concurrency):
                group.create_task(worker(on, begin + seconds, latencies, random.Random(f"{name}{number}")))
        show(name, latencies, time.perf_counter() - begin)
    await pool.close()
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()
    uvloop.run(run(options.url, options.seconds, options.concurrency))


if __name__ == "__main__":
    main()
