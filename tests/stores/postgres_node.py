"""A node in a process of its own, told what to do on its command line.

    python postgres_node.py URL TTL_S NAME rush HOLDS AMOUNT    hold at once; print how many were granted
    python postgres_node.py URL TTL_S NAME work CLIENTS         hold one that is never settled, then hold and
                                                                settle others until killed
    python postgres_node.py URL TTL_S NAME pause                hold, wait for a line, settle

Prints ``ready`` first and waits for a line; ``work`` prints ``ID COST`` for what was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import sys

from store_cases import ACME, record

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.postgres.link import Target
from llm_router.adapters.postgres.store import PostgresStore
from llm_router.domain.errors import InsufficientCredits, LedgerUnavailable


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def heard() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def rush(store: PostgresStore, name: str, holds: int, amount: int) -> None:
    tries = [store.hold(f"{name}-{n}", ACME, amount, "v1", 1) for n in range(holds)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    others = [o for o in outcomes if not isinstance(o, int | InsufficientCredits)]
    say(f"{sum(isinstance(o, int) for o in outcomes)} {len(others)}")
    await heard()  # what is held stays held until all have counted


async def client(store: PostgresStore, name: str) -> None:
    count = 0
    while True:
        count += 1
        try:
            await store.hold(f"{name}-{count}", ACME, 1000, "v1", 1)
            settled = await store.settle(record(f"{name}-{count}", (0, 1, 999, 1000, 1500)[count % 5]))
            say(f"{name}-{count} {settled.charged_pusd}")
        except LedgerUnavailable:
            await asyncio.sleep(0.05)


async def pause(store: PostgresStore, name: str) -> None:
    await store.hold(name, ACME, 1000, "v1", 1)
    say("held")
    await heard()
    settled = await store.settle(record(name, 700))
    say(f"{settled.charged_pusd} {store.fenced}")


async def main(url: str, ttl_s: float, name: str, what: str, *numbers: str) -> None:
    store = await PostgresStore.open(Target(url=url), clock=SystemClock(), ttl_s=ttl_s)
    say("ready")
    await heard()
    if what == "rush":
        await rush(store, name, *map(int, numbers))
    elif what == "work":
        await store.hold(f"{name}-kept", ACME, 1000, "v1", 1)
        say("held")
        await asyncio.gather(*(client(store, f"{name}-{n}") for n in range(int(numbers[0]))))
    else:
        await pause(store, name)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:]))
