"""Exchanges are found by the id of their reply, before it is filed and after, in whatever part it is."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from store_cases import ACME, FixedClock, record, run

from llm_router.adapters.sqlite import proving, replies, schema, writer
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.errors import LedgerUnavailable


async def ask(store: SqliteStore, number: int, reply_id: str, account: str = "acme") -> None:
    """One exchange that costs nothing."""
    held = msgspec.structs.replace(ACME, account=account)
    await store.hold(f"e{number}", held, 0, "v1", number)
    done = msgspec.structs.replace(record(f"e{number}", 0), reply_id=reply_id, account=account)
    await store.settle(done)


async def found(store: SqliteStore, reply_id: str, account: str = "acme") -> str | None:
    exchange = await store.generation(account, reply_id)
    return None if exchange is None else exchange.id


def filed(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM replies").fetchone()[0])


@pytest.mark.parametrize("part_bits", [0, 2, 14])
def test_a_reply_is_found_filed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_bits: int
) -> None:
    monkeypatch.setattr(writer, "BATCH", 8)
    monkeypatch.setattr(replies, "PART_BITS", part_bits)
    monkeypatch.setattr(replies, "_FILE", replies._FILE.replace(">> 14", f">> {part_bits}"))
    path = tmp_path / "books.db"

    async def main() -> None:
        for start in (0, 10):  # the second opening goes on where the first ended
            store = await SqliteStore.open(path, clock=FixedClock())
            await store.credit("acme", 1000, f"r{start}", "", 1)
            await store.credit("other", 1000, f"o{start}", "", 1)
            for number in range(start, start + 10):
                await ask(store, number, f"chatcmpl-{number}")
                for known in range(number + 1):
                    assert await found(store, f"chatcmpl-{known}") == f"e{known}"
            await store.close()
        assert 0 < filed(path) < 20
        store = await SqliteStore.open(path, clock=FixedClock())
        await ask(store, 20, "chatcmpl-3", account="other")
        await ask(store, 21, "chatcmpl-4")
        assert await found(store, "chatcmpl-3") == "e3"
        assert await found(store, "chatcmpl-3", "other") == "e20"
        assert await found(store, "chatcmpl-4") == "e21"  # the newest of that name
        assert await found(store, "chatcmpl-5", "other") is None
        assert await found(store, "chatcmpl-99") is None
        await store.close()

    run(main())


def test_a_disk_that_fails_while_filing_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BATCH", 4)
    failures = iter([True])

    def file_replies(connection: sqlite3.Connection) -> None:
        if next(failures, False):
            raise sqlite3.OperationalError("disk I/O error")
        replies.file_replies(connection)

    monkeypatch.setattr(writer, "file_replies", file_replies)
    monkeypatch.setattr("llm_router.adapters.sqlite.journal.PROBE_S", 0.01)

    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())
        await store.credit("acme", 1000, "r", "", 1)
        for number in range(12):
            with contextlib.suppress(LedgerUnavailable):
                await ask(store, number, f"chatcmpl-{number}")
            while store.trouble is not None:  # noqa: ASYNC110 - the probe runs by its own timer
                await asyncio.sleep(0.01)
        await store.release([f"e{number}" for number in range(12)], 1, orphaned=False)
        written = [n for n in range(12) if await store.generation("acme", f"e{n}") is not None]
        assert len(written) > 8
        for known in written:
            assert await found(store, f"chatcmpl-{known}") == f"e{known}"
        await store.close()

    run(main())
    assert filed(tmp_path / "books.db") > 0


@pytest.mark.parametrize(("sql", "values"), [(replies._FILE, ()), (replies._FILED, ()), (proving.SUMS, (9,))])
def test_what_is_filed_every_so_often_is_read_without_all_that_came_before(
    sql: str, values: tuple[int, ...]
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.create(connection)
        plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert plan
    assert not [step for step in plan if step.startswith("SCAN")], plan
