"""Measure the PostgreSQL ledger on one hot account, beside a row lock for each request.

    python bench/ledger_postgres.py URL [--seconds 3] [--concurrency 32] [--nodes 1,2,4]

URL names an empty database. Both write holds, records and entries (the row lock design, in its favour, neither
hourly sums nor hashes); it holds by a conditional
UPDATE and settles in a transaction of its own, each request on a connection of a pool. Each node is a process;
the clients are shared out among them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time

import asyncpg
import msgspec
import uvloop
from ledger import RECORD, client

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.postgres.link import Target
from llm_router.adapters.postgres.store import PostgresStore

ROW_LOCK, BATCHES = "row lock", "batches"


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


def show(name: str, nodes: int, latencies: list[float], elapsed: float) -> float:
    latencies.sort()
    pairs = len(latencies)
    print(f"{nodes:>5}  {name:<10} {pairs / elapsed:>8.0f} pairs/s  p50 {1e3 * latencies[pairs // 2]:.1f} ms  "
          f"p99 {1e3 * latencies[int(pairs * 0.99)]:.1f} ms", flush=True)  # fmt: skip
    return pairs / elapsed


async def node(url: str, name: str, concurrency: int, seconds: float) -> None:
    """One process of a round: says that it is ready, waits for the word, prints its latencies."""
    store = await PostgresStore.open(Target(url=url), clock=SystemClock())
    size = concurrency if name == ROW_LOCK else 1
    pool = await asyncpg.create_pool(
        url, min_size=size, max_size=size, server_settings={"search_path": "llm_router"}
    )
    worker, on = (direct, pool) if name == ROW_LOCK else (client, store)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    latencies: list[float] = []
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker(on, begin + seconds, latencies, random.Random()))
    print(json.dumps([time.perf_counter() - begin, latencies]), flush=True)
    await pool.close()
    await store.close()


def measure(url: str, name: str, nodes: int, concurrency: int, seconds: float) -> float:
    """So many nodes at once, that share the clients among them; return pairs a second over all."""
    words = [sys.executable, __file__, url, "--seconds", str(seconds), "--node", name]
    started = [
        subprocess.Popen(
            [*words, "--concurrency", str(concurrency // nodes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(nodes)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [json.loads(process.communicate()[0]) for process in started]
    return show(name, nodes, [one for _, some in told for one in some], max(elapsed for elapsed, _ in told))


async def prepare(url: str) -> None:
    store = await PostgresStore.open(Target(url=url), clock=SystemClock())
    await store.credit("acct", 4_000_000 * 10**12, "bench", "benchmark", 0)
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--concurrency", type=int, default=32, help="clients, over all nodes")
    parser.add_argument("--nodes", default="1,2,4", help="how many there are, in one round after the other")
    parser.add_argument("--node", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node is not None:
        uvloop.run(node(options.url, options.node, options.concurrency, options.seconds))
        return
    uvloop.run(prepare(options.url))
    for nodes in map(int, options.nodes.split(",")):
        slow, fast = (
            measure(options.url, name, nodes, options.concurrency, options.seconds)
            for name in (ROW_LOCK, BATCHES)
        )
        print(f"{nodes:>5}  ratio {fast / slow:.1f}", flush=True)


if __name__ == "__main__":
    main()
