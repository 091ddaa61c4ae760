"""llm-router ledger verify on a database: whole books pass, and every way of tampering is found."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from postgres_server import new_database, open_store, server
from store_cases import run
from test_ledger_verify import NOW_MS, fill

from llm_router.adapters.recount import Verdict
from llm_router.adapters.stores import orphans_of_database, verify_database
from llm_router.billing.rollups import HOUR_MS

_numbers = itertools.count()
Heads = dict[int, tuple[int, str]]


@pytest.fixture(scope="module")
def books() -> str:
    """A database with all kinds of rows, of two nodes."""
    database = new_database()

    async def main() -> None:
        store, other = await open_store(database), await open_store(database)
        await fill(store)
        assert await store.fold(NOW_MS // HOUR_MS + 1)
        await other.credit("other", 5, "r9", "", 1)
        verdict, _ = await verify_database(server().url(database), None, NOW_MS, {})
        assert verdict.doubt is None, verdict.doubt  # while it is in use
        assert (verdict.entries, verdict.exchanges, verdict.rerated) == (8, 5, 4)
        assert (verdict.accounts, verdict.budgets, verdict.unproven) == (2, 3, 0)
        assert verdict.rollups > 0
        await other.close()
        server().sql(database, "UPDATE llm_router.nodes SET expires = now() - interval '1 hour'")
        third = await open_store(database)  # voids what is open
        assert third.orphans == 1
        await third.close()
        await store.close()

    run(main())
    return database


def verified(database: str, heads: Heads | None = None) -> tuple[Verdict, Heads]:
    found: tuple[Verdict, Heads] = run(
        verify_database(server().url(database), None, NOW_MS, {} if heads is None else heads)
    )
    return found


def copy(books: str, change: str = "") -> str:
    name = f"{books}_copy{next(_numbers)}"
    server().sql("postgres", f"CREATE DATABASE {name} TEMPLATE {books}")
    if change:
        tables = ("entries", "price_versions", "price_rules")
        off = "".join(f"ALTER TABLE {table} DISABLE TRIGGER USER;" for table in tables)
        server().sql(
            name, f"SET search_path = llm_router; {off} {change}; {off.replace('DISABLE', 'ENABLE')}"
        )
    return name


def test_the_orphan_is_listed(books: str) -> None:
    (orphan,) = run(orphans_of_database(server().url(books), None, 10))
    assert (orphan.exchange_id, orphan.account, orphan.amount_pusd) == ("open", "acme", 77)
    assert verified(books)[0].doubt is None


TAMPERED: list[tuple[str, str, str]] = [
    (
        "UPDATE entries SET amount = amount + 1 WHERE number = 1 AND kind = 'grant'",
        "entries",
        "hash is another",
    ),
    ("UPDATE entries SET note = 'x' WHERE kind = 'use'", "entries", "hash is another"),
    ("DELETE FROM entries WHERE number = 2", "entries", "entry 2 of its node is missing"),
    ("DELETE FROM entries WHERE ref = 'credit:r9'", "entries", "last entries are missing"),
    (
        "UPDATE exchanges SET record = replace(record, 'key_1', 'key_2') WHERE id = 'e0'",
        "entries",
        "its record",
    ),
    ("UPDATE exchanges SET cost = 1 WHERE id = 'e0'", "entries", "its exchange says 1 p$"),
    ("DELETE FROM exchanges WHERE id = 'e1'", "entries", "hash is another"),
    ("UPDATE exchanges SET model = 'other' WHERE id = 'e1'", "exchanges", "its columns"),
    (
        "UPDATE price_versions SET body = replace(body, '100', '101') WHERE version = 'p/m@1'",
        "exchanges",
        "p/m@1",
    ),
    ("DELETE FROM price_versions WHERE version = 'p/m@1'", "exchanges", "is not known"),
    ("UPDATE accounts SET posted = posted + 1 WHERE id = 'acme'", "accounts", "its entries come to"),
    ("UPDATE accounts SET held = 7 WHERE id = 'acme'", "accounts", "its holds come to 0"),
    ("INSERT INTO accounts VALUES ('thief', 5, 0)", "accounts", "its entries come to 0"),
    ("UPDATE rollups SET cost = cost + 1", "rollups", "its exchanges come to"),
    ("UPDATE rollups SET output_tokens = 0 WHERE output_tokens > 0", "rollups", "output_tokens is 0"),
    ("DELETE FROM rollups", "rollups", "it is missing"),
    ("UPDATE sums SET cost = cost + 1 WHERE fold = 'day'", "folds", "its hours come to"),
    ("DELETE FROM sums WHERE fold = 'total'", "folds", "it is missing"),
    ("UPDATE spends SET spent = spent + 1 WHERE spent > 0", "budgets", "are spent of it"),
    ("UPDATE spends SET held = 7", "budgets", "7 p$ are held of it"),
    ("UPDATE holds SET voided_ms = NULL", "holds", "node that made it is gone"),
    ("UPDATE holds SET exchange_id = 'e0'", "holds", "its exchange is settled"),
    ("DROP TRIGGER entries_kept ON entries", "file", "it is missing"),
    (
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "file",
        "not as this version makes it",
    ),
]


@pytest.mark.parametrize(("change", "check", "what"), TAMPERED, ids=[t[0][:50] for t in TAMPERED])
def test_tampering_is_found(books: str, change: str, check: str, what: str) -> None:
    doubt: Any = verified(copy(books, change))[0].doubt
    assert doubt is not None
    assert (doubt.check, what in f"{doubt.where} {doubt.what}") == (check, True), doubt


def test_heads_that_were_kept_find_a_history_that_was_written_anew(books: str) -> None:
    _, heads = verified(books)
    assert sorted(number for number, _ in heads.values()) == [1, 7]
    assert verified(books, heads)[0].doubt is None
    node, (number, _) = max(heads.items(), key=lambda item: item[1])
    other: Any = verified(books, {node: (number, "0" * 64)})[0].doubt
    assert (other.check, "expected" in other.what) == ("head", True)
    missing: Any = verified(books, {node: (number + 1, "0" * 64)})[0].doubt
    assert (missing.check, missing.what) == ("head", "it is missing")
