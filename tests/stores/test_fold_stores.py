"""Folds in the stores: whatever is folded, and whatever comes late, reports say the same."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from itertools import combinations

import pytest
from store_cases import Open, openers, record, run

from llm_router.adapters.postgres.store import PostgresStore
from llm_router.adapters.sqlite import schema, verify
from llm_router.adapters.sqlite.boot import audit
from llm_router.billing.folds import FOLDS
from llm_router.billing.rollups import HOUR_MS, add_counts
from llm_router.billing.search import ANY, Filter
from llm_router.domain.budget import Payer
from llm_router.domain.usage import Usage

NAMES = ("hour", "day", "account", "key", "team", "user", "model", "provider", "tags")
SPANS = ((0, 200), (5, 75), (24, 72), (30, 31), (49, 200))
BY = ((), *combinations(NAMES, 1), ("hour", "model"), ("day", "model"), ("user", "tags"), ("key", "day"))
LAST = 100


@pytest.fixture(params=["sqlite", "postgres", "remote"])
def open_store(request, tmp_path) -> Open:
    return openers(tmp_path)[request.param]


async def used(store, id_: str, hour: int, n: int, cost_pusd: int) -> None:
    made = record(
        id_,
        cost_pusd,
        created_ms=hour * HOUR_MS + n,
        usage=Usage(input_tokens=n, output_tokens=2 * n),
        account=("acme", "beta")[n % 2],
        team=(None, "red")[n % 3 % 2],
        user=(None, "ann", "bob")[n % 3],
        model=("m", "n", None)[n % 5 % 3],
        provider=("p", "q")[n % 4 % 2],
        tags=((), ("a",), ("a", "b"))[n % 7 % 3],
    )
    payer = Payer(account=made.account, key=made.key, team=made.team, user=made.user)
    await store.hold(id_, payer, n + 1, "v1", made.created_ms)
    await store.settle(made)


async def fill(store, begin: int, hours: range, *, charged: bool = True) -> None:
    for n, hour in enumerate(hours, begin):
        await used(store, f"e{n}", hour, n, n + 1 if charged else 0)


async def reports(store) -> list[object]:
    found: list[object] = []
    for n, by in enumerate(BY):
        for account in (None, "acme"):
            span = SPANS[n % len(SPANS)]
            found += [await store.sums(by, *span, account, ANY)]
            found += [await store.sums(by, *SPANS[0], account, Filter(model="m", user=("ann", None)[n % 2]))]
    return found


def test_reports_say_the_same_however_much_is_folded(open_store):
    async def main():
        store = await open_store()
        try:
            for account in ("acme", "beta"):
                await store.credit(account, 10**9, f"r-{account}", "", 1)
            assert not await store.fold(LAST)
            await fill(store, 0, range(2, 90, 3))
            plain = await reports(store)
            month = await store.month("acme", 24 * HOUR_MS, 72 * HOUR_MS, 3 * HOUR_MS)
            for _ in range(12):
                assert await store.fold(LAST)
            assert await reports(store) == plain
            while await store.fold(60):
                pass
            assert not await store.fold(60)
            assert await reports(store) == plain
            assert await store.month("acme", 24 * HOUR_MS, 72 * HOUR_MS, 3 * HOUR_MS) == month
            # What is settled of hours that are folded: in rows that are there, and in new ones.
            await fill(store, 40, range(2, 90, 4))
            late = await reports(store)
            assert late != plain
            while await store.fold(LAST):
                pass
            assert await reports(store) == late
            await fill(store, 100, range(1, 90, 5))
            assert await store.audit() > 0
        finally:
            await store.close()

    run(main())


def test_folds_and_settlements_at_the_same_time_lose_nothing(open_store):
    """Every hour that is settled is being folded, or was: each exchange is in the folds once."""

    async def main():
        store = await open_store()
        other = await open_store() if isinstance(store, PostgresStore) else store
        try:
            for account in ("acme", "beta"):
                await store.credit(account, 10**9, f"r-{account}", "", 1)
            done = asyncio.Event()

            async def keep_folding() -> None:
                while not done.is_set():
                    await other.fold(LAST)
                    await asyncio.sleep(0)

            folding = asyncio.ensure_future(keep_folding())
            await asyncio.gather(
                *(
                    used(each, f"e{n}", n // 4, n, n + 1)
                    for n in range(160)
                    for each in [(store, other)[n % 2]]
                )
            )
            done.set()
            await folding
            while await store.fold(LAST):
                pass
            exact = [(of[0], counts) for of, counts in await store.sums(("user", "hour"), 0, LAST, None)]
            by_user: dict[str, tuple[int, ...]] = {}
            for user, counts in exact:
                by_user[user] = add_counts(by_user[user], counts) if user in by_user else counts
            assert sum(counts[0] for counts in by_user.values()) == 160
            for by in (("user",), ("user", "day"), ("user", "account"), ("user", "tags", "team")):
                again: dict[str, tuple[int, ...]] = {}
                for (user, *_), counts in await store.sums(by, 0, LAST, None):
                    again[user] = add_counts(again[user], counts) if user in again else counts
                assert again == by_user
            total = await store.sums((), 0, LAST, None)
            assert total[0][1][0] == 160
        finally:
            await store.close()
            if other is not store:
                await other.close()

    run(main())


def folded_file(path) -> None:
    async def main() -> None:
        store = await openers(path.parent)["sqlite"]()
        for account in ("acme", "beta"):
            await store.credit(account, 10**9, f"r-{account}", "", 1)
        await fill(store, 0, range(2, 90, 3), charged=False)
        while await store.fold(50):
            pass
        await fill(store, 40, range(2, 90, 4), charged=False)
        await store.close()

    run(main())


DAMAGE = {
    "a figure": "UPDATE sums SET requests = requests + 1 WHERE fold = 'key' AND hour = 24",
    "a row": "DELETE FROM sums WHERE fold = 'total' AND hour = 5",
    "a row too many": "INSERT INTO sums SELECT 'day', 480, account, key, team, user, model, provider, tags, "
    "1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM sums LIMIT 1",
    "how far they go": "DROP TRIGGER fold_hours; UPDATE meta SET value = value + 10 WHERE name = 'folded'",
}


def test_the_folds_are_proven(tmp_path):
    path = tmp_path / "books.db"
    folded_file(path)
    assert verify.verify(path, 1).doubt is None
    with closing(schema.connect(path)) as connection:
        audit(connection)


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_wrong_with_folds_is_found(tmp_path, name):
    path = tmp_path / "books.db"
    folded_file(path)
    with closing(sqlite3.connect(path)) as connection:
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE name = 'fold_hours'"
        ).fetchall()
        connection.executescript(DAMAGE[name])
        if name == "how far they go":
            connection.execute(triggers[0][1])
        connection.commit()
    doubt = verify.verify(path, 1).doubt
    assert doubt is not None
    assert doubt.check == "folds"


def test_folds_that_came_later_are_made_of_what_is_folded_already(tmp_path):
    path = tmp_path / "books.db"
    folded_file(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        whole = connection.execute("SELECT * FROM sums ORDER BY fold, hour, account, tags").fetchall()
        later = "('account', 'tag_hour')"
        connection.execute(f"DELETE FROM sums WHERE fold IN {later}")
        connection.execute(f"DELETE FROM folds WHERE name IN {later}")
        assert verify.verify(path, 1).doubt is not None
        connection.execute("PRAGMA user_version = 11")
        schema.migrate(connection)
        assert connection.execute("SELECT * FROM sums ORDER BY fold, hour, account, tags").fetchall() == whole
    assert verify.verify(path, 1).doubt is None


def test_the_table_of_folds_is_the_one_that_readers_know(tmp_path):
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.create(connection)
        rows = connection.execute(
            "SELECT name, hours, account, key, team, user, model, provider, tags FROM folds ORDER BY name"
        ).fetchall()
    assert rows == sorted((fold.name, fold.hours, *(int(n in fold.of) for n in NAMES[2:])) for fold in FOLDS)


def test_sums_of_an_earlier_version_are_kept_and_folded(tmp_path):
    """The step that brings tags and folds: the sums stay as they are, and are folded afterwards, hour by hour."""
    path = tmp_path / "books.db"
    folded_file(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        step = next(version for version, sql in schema.MIGRATIONS.items() if "CREATE TABLE folds" in sql)
        columns = "hour, account, key, team, user, model, provider"
        connection.executescript(
            "DROP TRIGGER fold_hours; DELETE FROM meta WHERE name = 'folded'; DROP TABLE sums; DROP TABLE folds; "
            f"CREATE TABLE old AS SELECT {columns}, sum(requests) AS requests, sum(errors) AS errors, "
            "sum(input_tokens) AS input_tokens, sum(cached_tokens) AS cached_tokens, "
            "sum(output_tokens) AS output_tokens, sum(cost) AS cost, sum(absorbed) AS absorbed, "
            "sum(operator_cost) AS operator_cost, sum(first_token_ms) AS first_token_ms, "
            f"sum(first_tokens) AS first_tokens, sum(duration_ms) AS duration_ms FROM rollups GROUP BY {columns}; "
            "DROP TABLE rollups; ALTER TABLE old RENAME TO rollups;"
        )
        before = connection.execute(
            f"SELECT {columns}, requests, cost FROM rollups ORDER BY {columns}"
        ).fetchall()
        later = [
            sql for version, sql in schema.MIGRATIONS.items() if "INSERT INTO folds" in sql and version > step
        ]
        connection.executescript(f"BEGIN; {schema.MIGRATIONS[step]} {''.join(later)} COMMIT;")
        after = connection.execute(
            f"SELECT {columns}, requests, cost FROM rollups ORDER BY {columns}"
        ).fetchall()
        assert after == before

    async def main() -> None:
        store = await openers(tmp_path)["sqlite"]()
        try:
            plain = await reports(store)
            count = 0
            while await store.fold(LAST):
                count += 1
            assert count == len({row[0] for row in before})
            assert await reports(store) == plain
        finally:
            await store.close()

    run(main())
