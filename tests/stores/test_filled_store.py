"""The store that the benchmarks fill in bulk is one that the ledger could have written."""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.adapters.sqlite.verify import verify
from llm_router.billing.rollups import HOUR_MS

BENCH = Path(__file__).parents[2] / "bench"
HOUR = 490_000


@pytest.fixture
def scale(monkeypatch):
    if not BENCH.is_dir():
        pytest.skip("bench/ is not part of this checkout")
    monkeypatch.syspath_prepend(str(BENCH))
    before = set(sys.modules)
    module = importlib.import_module("suite.scale")
    monkeypatch.setattr(module, "BLOCK", 1000)
    yield module
    for name in set(sys.modules) - before:
        if name == "ledger" or name.partition(".")[0] == "suite":
            del sys.modules[name]


async def opened_and_closed(path: Path) -> None:
    await (await SqliteStore.open(path, clock=SystemClock())).close()


def test_a_filled_store_is_proved_and_folded(scale, tmp_path):
    path = tmp_path / "books.db"
    asyncio.run(opened_and_closed(path))
    scale.fill(path, keys=200, accounts=10, records=2500, now_ms=HOUR * HOUR_MS + 1)
    asyncio.run(opened_and_closed(path))

    assert scale.census(path) == (200, 10, 2500)
    verdict = verify(path, now_ms=(HOUR + 1) * HOUR_MS)
    assert (verdict.doubt, verdict.exchanges, verdict.rerated) == (None, 2500, 2500)
    with closing(sqlite3.connect(path)) as store:
        (folded,) = store.execute("SELECT value FROM meta WHERE name = 'folded'").fetchone()
        hours = store.execute("SELECT min(hour), max(hour) FROM rollups").fetchone()
        assert (folded, *hours) == (HOUR, HOUR - 3, HOUR - 1)
        assert store.execute("SELECT count(DISTINCT reply_id) FROM replies").fetchone() == (2500,)
        made = (
            "SELECT count(*) FROM sqlite_schema WHERE name IN ('entries_gapless', 'keys_account', 'keys_old')"
        )
        assert store.execute(made).fetchone() == (3,)
