"""A key and its budget are written together, or neither is, in every store."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import postgres_server
import pytest
from store_cases import FixedClock, make_key, openers, run

from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.budget import Budget, Scope, Window
from llm_router.domain.errors import LedgerUnavailable
from llm_router.domain.key import Key

NOW_MS = FixedClock().now_ms()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return openers(tmp_path)[request.param]


def with_store(opened: Any, scenario: Any) -> None:
    async def main() -> None:
        store = await opened()
        try:
            await scenario(store)
        finally:
            await store.close()

    run(main())


def limit(key: Key, amount: int, id_: str = "bud_1", window: Window = Window.DAY, **more: Any) -> Budget:
    return Budget(
        id=id_, account=key.account, scope=Scope.KEY, scope_id=key.id, amount_pusd=amount, window=window,
        created_ms=1, **more,
    )  # fmt: skip


def next_of(key: Key, **fields: Any) -> Key:
    return msgspec.structs.replace(key, version=key.version + 1, **fields)


async def amounts(store: Any, account: str) -> dict[str, int]:
    return {s.budget.id: s.budget.amount_pusd for s in await store.budgets(account, NOW_MS)}


def test_a_key_is_made_and_changed_with_its_budget(opened: Any) -> None:
    async def scenario(store: Any) -> None:
        key, digest = make_key(1)
        assert await store.write_key(key, digest, limit(key, 5), None, NOW_MS)
        assert await store.find(digest) == key
        assert await amounts(store, key.account) == {"bud_1": 5}
        second = next_of(key, name="second")
        assert await store.write_key(second, None, limit(key, 9), None, NOW_MS)
        assert await store.find(digest) == second
        assert await amounts(store, key.account) == {"bud_1": 9}
        third = next_of(second)
        assert await store.write_key(third, None, limit(key, 7, "bud_2", Window.MONTH), "bud_1", NOW_MS)
        assert await amounts(store, key.account) == {"bud_2": 7}
        assert await store.write_key(next_of(third), None, None, "bud_2", NOW_MS)
        assert await amounts(store, key.account) == {}

    with_store(opened, scenario)


def test_nothing_is_written_from_another_version(opened: Any) -> None:
    async def scenario(store: Any) -> None:
        key, digest = make_key(1)
        await store.write_key(key, digest, limit(key, 5), None, NOW_MS)
        assert not await store.write_key(key, None, limit(key, 9), None, NOW_MS)
        assert not await store.write_key(next_of(next_of(key)), None, limit(key, 9, "bud_2"), "bud_1", NOW_MS)
        with pytest.raises(ValueError, match="key"):
            await store.write_key(make_key(2)[0], digest, limit(key, 9, "bud_2"), None, NOW_MS)
        assert await amounts(store, key.account) == {"bud_1": 5}
        assert [k.id for k in await store.list()] == [key.id]

    with_store(opened, scenario)


@pytest.mark.parametrize("wrong", [{"time_zone": "Mars/Phobos"}, {"amount": -1}])
def test_a_budget_that_cannot_be_leaves_the_key_as_it_is(opened: Any, wrong: dict[str, Any]) -> None:
    async def scenario(store: Any) -> None:
        key, digest = make_key(1)
        await store.create(key, digest)
        bad = limit(key, wrong.get("amount", 1), time_zone=wrong.get("time_zone", "UTC"))
        with pytest.raises(ValueError, match=r"budget|zone"):
            await store.write_key(next_of(key, name="second"), None, bad, None, NOW_MS)
        other, more = make_key(2)
        with pytest.raises(ValueError, match=r"budget|zone"):
            await store.write_key(other, more, bad, None, NOW_MS)
        assert await store.find(digest) == key
        assert await store.find(more) is None
        assert await amounts(store, key.account) == {}

    with_store(opened, scenario)


def test_a_database_that_refuses_the_budget_keeps_the_key_in_sqlite(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "books.db"
        store = await SqliteStore.open(path, clock=FixedClock())
        key, digest = make_key(1)
        await store.create(key, digest)
        with sqlite3.connect(path) as connection:
            connection.execute(
                "CREATE TRIGGER no BEFORE INSERT ON budgets BEGIN SELECT RAISE(ABORT, 'no budgets'); END"
            )
        connection.close()
        try:
            with pytest.raises(ValueError):  # noqa: PT011 - in whatever words
                await store.write_key(next_of(key, name="second"), None, limit(key, 5), None, NOW_MS)
            assert await store.find(digest) == key
            assert await amounts(store, key.account) == {}
        finally:
            await store.close()
        again = await SqliteStore.open(path, clock=FixedClock())
        assert await again.list() == [key]
        assert await amounts(again, key.account) == {}
        await again.close()

    run(main())


def test_a_database_that_refuses_the_budget_keeps_the_key_in_postgres() -> None:
    async def main() -> None:
        database = postgres_server.new_database()
        store = await postgres_server.open_store(database)
        key, digest = make_key(1)
        await store.create(key, digest)
        postgres_server.server().sql(
            database,
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no budgets'; END $$;"
            "CREATE TRIGGER no BEFORE INSERT ON llm_router.budgets FOR EACH ROW EXECUTE FUNCTION no()",
        )
        try:
            with pytest.raises(LedgerUnavailable):
                await store.write_key(next_of(key, name="second"), None, limit(key, 5), None, NOW_MS)
            assert await store.find(digest) == key
            assert await amounts(store, key.account) == {}
        finally:
            await store.close()

    run(main())


def test_who_asks_may_leave(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())
        key, digest = make_key(1)
        asked = asyncio.ensure_future(store.write_key(key, digest, limit(key, 5), None, NOW_MS))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await store.close()  # waits for what was begun
        store = await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())
        assert await store.find(digest) == key
        assert await amounts(store, key.account) == {"bud_1": 5}
        await store.close()

    run(main())
