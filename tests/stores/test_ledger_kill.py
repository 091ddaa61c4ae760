"""kill -9 at random points: nothing acknowledged is lost, nothing is doubled, the books add up."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from ledger_victim import MARKS
from store_cases import FixedClock, run

from llm_router.adapters.sqlite.store import SqliteStore

KILLS = int(os.environ.get("LEDGER_KILLS", "10"))
MARKED_KILLS = int(os.environ.get("LEDGER_KILLS_MARKED", "12"))
VICTIM = Path(__file__).with_name("ledger_victim.py")


def killed_run(path: Path, number: int, clients: int, acks: int) -> dict[str, int]:
    """Let a victim run until it has acknowledged so many settlements, kill it, return all it told."""
    victim = subprocess.Popen(
        [sys.executable, str(VICTIM), str(path), f"run{number}", str(clients)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with victim:
        assert victim.stdout.readline() == b"ready\n", victim.stderr.read()
        lines = [victim.stdout.readline() for _ in range(acks)]
        victim.kill()
        lines += victim.stdout.read().splitlines(keepends=True)
    told = [line.split() for line in lines if line.endswith(b"\n")]
    return {id_.decode(): int(cost) for id_, cost in told}


def marked_run(path: Path, number: int, mark: int, after: int) -> dict[str, int]:
    """Let a victim run until it kills itself at a mark; return all it told."""
    done = subprocess.run(
        [sys.executable, str(VICTIM), str(path), f"mark{number}", "8", str(mark), str(after)],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    told = [line.split() for line in done.stdout.splitlines(keepends=True)[1:] if line.endswith(b"\n")]
    return {id_.decode(): int(cost) for id_, cost in told}


def test_kill_9_at_marked_points_loses_nothing_that_was_acknowledged(tmp_path):
    path, dice = tmp_path / "books.db", random.Random(11)
    acknowledged: dict[str, int] = {}
    orphans = 0
    for number in range(MARKED_KILLS):
        acknowledged |= marked_run(path, number, number % (2 * len(MARKS)), dice.randrange(2, 60))
        orphans += run(check(path, acknowledged))
    assert acknowledged
    assert orphans >= MARKED_KILLS  # each had one that it never settled


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    path, dice = tmp_path / "books.db", random.Random(7)
    acknowledged: dict[str, int] = {}
    orphans = 0
    for number in range(KILLS):
        acknowledged |= killed_run(path, number, dice.choice((1, 8, 64)), dice.randrange(1, 400))
        orphans += run(check(path, acknowledged))
    assert len(acknowledged) > 10 * KILLS
    assert orphans >= KILLS  # each had one that it never settled; how many more is up to chance


async def check(path: Path, acknowledged: dict[str, int]) -> int:
    store = await SqliteStore.open(path, clock=FixedClock())
    try:
        await store.audit()
        ((account, posted, held),) = await store.accounts()
    finally:
        await store.close()
    with closing(sqlite3.connect(path)) as connection:
        exchanges = dict(connection.execute("SELECT id, cost FROM exchanges"))
        rows = connection.execute("SELECT ref, amount FROM entries WHERE kind = 'use'").fetchall()
    uses = {ref.removeprefix("use:"): -amount for ref, amount in rows}
    assert len(uses) == len(rows)  # none doubled
    assert {id_: exchanges.get(id_) for id_ in acknowledged} == acknowledged  # none lost
    assert uses == {id_: cost for id_, cost in exchanges.items() if cost}  # no charge without record
    assert (account, held) == ("acme", 0)
    assert posted == 10**12 - sum(uses.values())
    return store.orphans
