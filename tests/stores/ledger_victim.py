"""A process that holds and settles until it is killed, and says what was acknowledged.

    python ledger_victim.py STORE RUN CLIENTS [MARK AFTER]

With a mark it kills itself there, at the time numbered AFTER that it comes by. Prints ``ready``, then one line ``ID COST`` for every settlement that the store acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from store_cases import ACME, record

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.sqlite import journal, journal_file, rows, writer
from llm_router.adapters.sqlite.store import SqliteStore

MARKS = (
    (writer.Writer, "_take"), (writer.Writer, "_commit"), (rows.Rows, "write"), (writer.Writer, "_count"),
    (journal_file.JournalFile, "append"), (journal_file, "_sync"), (journal.Journal, "submit"), (journal.Journal, "_landed"),
)  # fmt: skip
"""Points on the way of every operation; before and after each of them is a mark."""


def kill_at(mark: int, after: int) -> None:
    """Have this process kill itself at a mark."""
    place, name = MARKS[mark // 2]
    real, left = getattr(place, name), [after]

    def marked(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and mark % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(place, name, marked)


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
    await store.hold(f"{run}-kept", ACME, 1000, "v1", 1)  # never settled
    os.write(1, b"ready\n")
    if len(sys.argv) > 4:
        kill_at(int(sys.argv[4]), int(sys.argv[5]))
    dice = random.Random(run)
    await asyncio.gather(*(client(store, run, number, dice) for number in range(clients)))


if __name__ == "__main__":
    writer.CHECKPOINT_PAGES = 300  # so that kills fall into checkpoints too
    writer.JOURNALED_MAX = 16  # and between the journal and the tables
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
