"""A process that holds and settles until it is killed, and says what was acknowledged.

    python ledger_victim.py STORE RUN CLIENTS

Prints ``ready``, then one line ``ID COST`` for every settlement that the store acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from store_cases import ACME, record

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.sqlite import writer
from llm_router.adapters.sqlite.store import SqliteStore

writer.CHECKPOINT_PAGES = 300  # so that kills fall into checkpoints too


async def client(store: SqliteStore, run: str, number: int, dice: random.Random) -> None:
    count = 0
    while True:
        count += 1
        id_ = f"{run}-{number}-{count}"
        await store.hold(id_, ACME, 1000, "v1", 1)
        cost = dice.choice((0, 1, 999, 1000, 1500))
        await store.settle(record(id_, cost, error_message="x" * dice.randrange(3000)))
        os.write(1, f"{id_} {cost}\n".encode())


async def main(path: Path, run: str, clients: int) -> None:
    store = await SqliteStore.open(path, clock=SystemClock())
    await store.credit("acme", 10**12, "start", "", 1)
    os.write(1, b"ready\n")
    dice = random.Random(run)
    await asyncio.gather(*(client(store, run, number, dice) for number in range(clients)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
