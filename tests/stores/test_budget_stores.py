"""Budgets in the stores: kept over a restart, and filled with what was spent before they were made."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from store_cases import ACME, FixedClock, Open, openers, record, run

from llm_router.adapters.sqlite import schema
from llm_router.adapters.sqlite.boot import audit
from llm_router.adapters.sqlite.schema import StoreCorrupt, StoreTooOld
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.budget import Budget, Payer, Scope, Window
from llm_router.domain.errors import InsufficientCredits
from llm_router.domain.money import MAX_PUSD

NOW_MS = FixedClock().now_ms()
HOUR_MS = 3_600_000


@pytest.fixture(params=["memory", "sqlite", "postgres", "remote"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return openers(tmp_path)[request.param]


async def affordable(store: Any, payer: Payer, now_ms: int) -> int:
    """The largest hold that would be granted."""
    with pytest.raises(InsufficientCredits) as caught:
        await store.hold("too-much", payer, MAX_PUSD, "v1", now_ms)
    return caught.value.available_pusd


def budget(amount: int, window: Window = Window.DAY, **more: object) -> Budget:
    fields = {"id": f"bud_{window}", "scope": Scope.KEY, "scope_id": "key_1", "created_ms": 1, **more}
    return Budget(account="acme", amount_pusd=amount, window=window, **fields)


async def spend(store: SqliteStore, id_: str, held: int, cost: int, now_ms: int = NOW_MS) -> None:
    await store.hold(id_, ACME, held, "v1", now_ms)
    await store.settle(record(id_, cost, created_ms=now_ms))


def test_a_budget_is_hard_at_any_concurrency(opened: Open) -> None:
    async def main() -> None:
        store = await opened()
        await store.credit("acme", 10**9, "r1", "", 1)
        await store.set_budget(budget(700), NOW_MS)
        tries = [store.hold(f"e{n}", ACME, 100, "v1", NOW_MS) for n in range(200)]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        refused = [o for o in outcomes if isinstance(o, InsufficientCredits)]
        assert len(refused) == 193
        assert await affordable(store, ACME, NOW_MS) == 0
        assert await affordable(store, Payer(account="acme", key="key_2"), NOW_MS) == 10**9 - 700
        (state,) = await store.budgets("acme", NOW_MS)
        assert (state.spent_pusd, state.held_pusd) == (0, 700)
        assert await store.budgets("stranger", NOW_MS) == []
        assert await store.remove_budget("bud_day") == budget(700)
        assert await store.remove_budget("bud_day") is None
        assert await affordable(store, ACME, NOW_MS) == 10**9 - 700
        await store.close()

    run(main())


def test_what_is_spent_is_kept_over_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        async def reopened(store: SqliteStore) -> SqliteStore:
            await store.close()
            return await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())

        store = await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())
        await store.credit("acme", 10**9, "r1", "", 1)
        for window in Window:
            await store.set_budget(budget(1000, window), NOW_MS)
        await store.set_budget(budget(1000, id="bud_roll", rolling=True), NOW_MS)
        session = Payer(account="acme", key="key_1", session="s1")
        await store.set_budget(budget(1000, id="bud_s", scope=Scope.SESSION), NOW_MS)
        await store.hold("e1", session, 300, "v1", NOW_MS)
        await store.settle(record("e1", 120, created_ms=NOW_MS, session="s1"))
        await store.hold("lost", session, 300, "v1", NOW_MS)
        before = [(s.budget.id, s.session, s.spent_pusd) for s in await store.budgets("acme", NOW_MS)]
        store = await reopened(store)
        after = await store.budgets("acme", NOW_MS)
        assert [(s.budget.id, s.session, s.spent_pusd) for s in after] == before
        assert {s.spent_pusd for s in after} == {120}
        assert {s.held_pusd for s in after} == {0}  # the hold of a dead process is void
        await store.set_budget(budget(130, Window.DAY), NOW_MS)
        store = await reopened(store)
        assert await affordable(store, ACME, NOW_MS) == 10
        await store.remove_budget("bud_day")
        store = await reopened(store)
        assert await affordable(store, ACME, NOW_MS) == 880
        await store.close()

    run(main())


@pytest.mark.parametrize(
    ("window", "more", "spent"),
    [
        (Window.HOUR, {}, 1),
        (Window.DAY, {}, 11),
        (Window.WEEK, {}, 111),
        (Window.MONTH, {}, 1111),
        (Window.LIFETIME, {}, 11111),
        (Window.DAY, {"rolling": True}, 11),
        (Window.DAY, {"scope": Scope.TEAM, "scope_id": "red"}, 1),
        (Window.DAY, {"scope": Scope.ACCOUNT, "scope_id": "acme"}, 11),
        (Window.LIFETIME, {"scope_id": "key_2"}, 0),
    ],
)
def test_a_new_budget_knows_what_was_spent_before(
    tmp_path: Path, window: Window, more: dict[str, object], spent: int
) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())
        await store.credit("acme", 10**9, "r1", "", 1)
        await spend(store, "e5", 10_000, 10_000, NOW_MS - 400 * 24 * HOUR_MS)
        await spend(store, "e4", 1000, 1000, NOW_MS - 9 * 24 * HOUR_MS)
        await spend(store, "e3", 100, 100, NOW_MS - 2 * 24 * HOUR_MS)
        await spend(store, "e2", 10, 10, NOW_MS - 3 * HOUR_MS)
        red = Payer(account="acme", key="key_1", team="red")
        await store.hold("e1", red, 1, "v1", NOW_MS)
        made = asyncio.create_task(store.set_budget(budget(10**6, window, **more), NOW_MS))
        await asyncio.sleep(0)  # it is on its way: what is settled from now on must count once
        await store.settle(record("e1", 1, created_ms=NOW_MS, team="red"))
        await made
        (state,) = await store.budgets("acme", NOW_MS)
        assert state.spent_pusd == spent
        await store.close()
        with closing(sqlite3.connect(tmp_path / "books.db")) as connection:
            (kept,) = connection.execute("SELECT coalesce(sum(spent), 0) FROM spends").fetchone()
            assert kept == spent

    run(main())


def test_sums_that_do_not_agree_are_found(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())
        await store.credit("acme", 10**9, "r1", "", 1)
        await spend(store, "e1", 300, 120)
        await store.audit()
        await store.close()

    run(main())
    with closing(sqlite3.connect(tmp_path / "books.db")) as connection:
        connection.execute("UPDATE rollups SET cost = cost + 1")
        with pytest.raises(StoreCorrupt, match="key_1 and model m are 1 p"):
            audit(connection)


def old_file(path: Path) -> None:
    """A store of the first version, with two settled exchanges."""

    async def main() -> None:
        store = await SqliteStore.open(path, clock=FixedClock())
        await store.credit("acme", 10**9, "r1", "", 1)
        await spend(store, "e1", 300, 120)
        await spend(store, "e2", 300, 0)
        await store.close()

    run(main())
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TRIGGER fold_hours; DROP TABLE sums; DROP TABLE folds; DELETE FROM meta WHERE name = 'folded'; "
            "DROP TABLE papers; DROP INDEX exchanges_time; DROP TABLE budgets; DROP TABLE spends; DROP TABLE rollups; DROP TABLE price_versions; "
            "DROP TABLE documents; DROP INDEX entries_credits; "
            "DROP TABLE limits; DROP TABLE price_rules; DROP TABLE replies; "
            "CREATE INDEX exchanges_reply ON exchanges (reply_id) WHERE reply_id IS NOT NULL; "
            "DELETE FROM meta WHERE name IN ('replies_to', 'journal'); "
            "ALTER TABLE entries DROP COLUMN proof; DELETE FROM meta WHERE name = 'proofs_from'; "
            "DROP INDEX keys_old; DROP INDEX keys_account; ALTER TABLE keys DROP COLUMN version; "
            "ALTER TABLE keys DROP COLUMN old_digest; ALTER TABLE keys DROP COLUMN old_until_ms; "
            "PRAGMA user_version = 1"
        )
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'entries'"
        ).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        head = schema.GENESIS
        rows = connection.execute("SELECT seq, ref, account, amount, kind, created_ms, note FROM entries")
        for row in rows.fetchall():
            head = schema.entry_hash(head, *row)
            connection.execute("UPDATE entries SET hash = ? WHERE seq = ?", (head, row[0]))
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


def test_an_old_file_is_refused_and_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "books.db"
    old_file(path)
    with pytest.raises(StoreTooOld, match="llm-router migrate"):
        run(SqliteStore.open(path, clock=FixedClock()))
    with closing(schema.connect(path)) as connection:
        assert schema.migrate(connection) == list(range(2, schema.SCHEMA_VERSION + 1))
        assert schema.migrate(connection) == []
        audit(connection)
        sums = connection.execute("SELECT requests, errors, cost FROM rollups").fetchall()
        assert sums == [(2, 0, 120)]

    async def main() -> None:
        await (await SqliteStore.open(path, clock=FixedClock())).close()

    run(main())


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "books.db"
    old_file(path)
    broken = {**schema.MIGRATIONS, 2: schema.MIGRATIONS[2] + "INSERT INTO nowhere VALUES (1);"}
    with closing(schema.connect(path)) as connection:
        before = connection.execute("SELECT name FROM sqlite_schema ORDER BY 1").fetchall()
        with monkeypatch.context() as patch:
            patch.setattr(schema, "MIGRATIONS", broken)
            with pytest.raises(sqlite3.OperationalError):
                schema.migrate(connection)
        assert connection.execute("SELECT name FROM sqlite_schema ORDER BY 1").fetchall() == before
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert schema.migrate(connection) == list(range(2, schema.SCHEMA_VERSION + 1))
