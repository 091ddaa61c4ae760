"""Accounts are read when they are asked for and forgotten when they are idle; no credit comes or goes by that."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing

import pytest
from store_cases import FixedClock, record, run

from llm_router.adapters.sqlite import accounts, writer
from llm_router.adapters.sqlite.schema import StoreCorrupt
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.billing.ledger import Ledger
from llm_router.domain.budget import Payer
from llm_router.domain.errors import InsufficientCredits, LedgerUnavailable

ACCOUNTS = [f"account-{number:02d}" for number in range(40)]
NOW_MS = 1_800_000_000_000


@pytest.fixture
def crowded(monkeypatch):
    """Room for so few accounts that each new one has idle ones looked for."""
    monkeypatch.setattr(accounts, "ACCOUNTS_MAX", 4)
    monkeypatch.setattr(accounts, "LOOK", 3)


def with_store(path, scenario):
    async def main():
        store = await SqliteStore.open(path, clock=FixedClock())
        try:
            return await scenario(store)
        finally:
            await store.close()

    return run(main())


async def one(store, account, number, amount_pusd, cost_pusd):
    """An exchange; what it paid."""
    exchange_id = f"gen-{number}"
    try:
        await store.hold(exchange_id, Payer(account=account), amount_pusd, "v1", NOW_MS)
    except InsufficientCredits:
        return 0
    return (await store.settle(record(exchange_id, cost_pusd, account=account))).charged_pusd


def test_a_start_reads_no_balance(tmp_path):
    async def fill(store):
        for account in ACCOUNTS:
            await store.credit(account, 100, f"grant {account}", "a grant", NOW_MS)

    async def look(store):
        assert len(store._ledger) == 0
        assert await store.accounts() == [(account, 100, 0) for account in ACCOUNTS]
        assert len(store._ledger) == 0
        assert store.available("account-07") == 100
        assert await store.hold("gen-1", Payer(account="account-08"), 30, "v1", NOW_MS) == 70
        assert len(store._ledger) == 2
        assert ("account-08", 100, 30) in await store.accounts()

    with_store(tmp_path / "books.db", fill)
    with_store(tmp_path / "books.db", look)


def test_balances_are_exact_while_accounts_come_and_go(tmp_path, crowded):
    dice = random.Random(7)
    left = dict.fromkeys(ACCOUNTS, 1000)
    sizes = []

    async def scenario(store):
        for account in ACCOUNTS:
            await store.credit(account, 1000, f"grant {account}", "a grant", NOW_MS)
        for batch in range(120):
            busy = dice.choices([*ACCOUNTS, *ACCOUNTS][batch % 40 :][:5], k=6)
            costs = [dice.randrange(0, 90) for _ in busy]
            paid = await asyncio.gather(
                *(
                    one(store, account, 100 * batch + at, dice.randrange(cost, 120), cost)
                    for at, (account, cost) in enumerate(zip(busy, costs, strict=True))
                )
            )
            for account, pusd in zip(busy, paid, strict=True):
                left[account] -= pusd
            assert {account: store.available(account) for account in busy} == {a: left[a] for a in busy}
            sizes.append(len(store._ledger))
        assert await store.accounts() == [(account, left[account], 0) for account in ACCOUNTS]
        assert await store.audit() > 0

    with_store(tmp_path / "books.db", scenario)
    assert min(left.values()) >= 0
    assert max(sizes[40:]) < 30  # others were forgotten

    async def after(store):
        assert await store.accounts() == [(account, left[account], 0) for account in ACCOUNTS]

    with_store(tmp_path / "books.db", after)


def test_nothing_is_forgotten_that_is_under_way_or_held():
    stored = {"a": 100, "b": 50}
    ledger = Ledger(stored=lambda account: stored.get(account, 0))
    ledger.hold("gen-1", Payer(account="a"), 10, NOW_MS)
    ledger.available("b")
    assert ledger.idle(9) == []  # both have just come
    assert ledger.idle(9) == ["b"]  # the other holds
    ledger.credit("b", 7)  # not in the file yet
    ledger.forget(["b"])
    assert ledger.available("b") == 57
    assert ledger.idle(9) == []
    stored["b"] = 57
    assert ledger.idle(9) == ["b"]
    ledger.forget(["b"])
    assert len(ledger) == 1
    assert ledger.available("b") == 57
    ledger.settle("gen-1", Payer(account="a"), 4, NOW_MS)
    stored["a"] = 96
    assert ledger.idle(9) == []
    assert set(ledger.idle(9)) == {"a", "b"}
    ledger.forget(["a", "b"])
    assert len(ledger) == 0
    assert ledger.available("a") == 96


def test_accounts_are_looked_at_in_turn():
    ledger = Ledger(stored=lambda _: 5)
    for account in "abcdef":
        ledger.available(account)
    assert ledger.idle(4) == []
    assert ledger.idle(2) == []  # e and f, which have just come
    assert ledger.idle(3) == ["a", "b", "c"]


def test_idle_accounts_stay_while_the_disk_refuses(tmp_path, crowded):
    async def scenario(store):
        for account in ACCOUNTS[:3]:
            await store.credit(account, 100, f"grant {account}", "a grant", NOW_MS)
        store._ledger.idle(9)
        store._journal._failure = OSError("full")
        for account in ACCOUNTS[3:12]:
            assert store.available(account) == 0
        await asyncio.sleep(0)
        assert len(store._ledger) == 12
        store._journal._failure = None
        store.available("another")
        for number in range(9):  # behind whoever looks for idle ones
            await store.credit("another", 1, f"another {number}", "a grant", NOW_MS)
        assert len(store._ledger) < 13
        assert [store.available(account) for account in ACCOUNTS[:3]] == [100] * 3

    with_store(tmp_path / "books.db", scenario)


def test_a_balance_that_cannot_be_read_refuses_the_hold_and_moves_nothing(tmp_path):
    async def scenario(store):
        await store.credit("acme", 100, "grant", "a grant", NOW_MS)
        store._ledger.idle(1)
        store._ledger.forget(store._ledger.idle(1))
        connection = store._accounts._connection
        store._accounts._connection = closed = sqlite3.connect(":memory:")
        closed.close()
        with pytest.raises(LedgerUnavailable):
            await store.hold("gen-1", Payer(account="acme"), 5, "v1", NOW_MS)
        store._accounts._connection = connection
        assert await store.hold("gen-1", Payer(account="acme"), 5, "v1", NOW_MS) == 95

    with_store(tmp_path / "books.db", scenario)


def test_the_proof_of_balances_moves_along(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "BATCH", 1024)
    path = tmp_path / "books.db"

    async def scenario(store):
        await store.credit("acme", 10**6, "grant", "a grant", NOW_MS)
        for first in range(0, 1200, 300):
            await asyncio.gather(*(one(store, "acme", first + at, 5, 3) for at in range(300)))

    with_store(path, scenario)
    with closing(sqlite3.connect(path)) as db:
        (proved,) = db.execute("SELECT value FROM meta WHERE name = 'proved_seq'").fetchone()
        (last,) = db.execute("SELECT max(seq) FROM entries").fetchone()
    assert last - proved < 1024 < last  # the next start adds up no more than that


@pytest.mark.parametrize("busy", [True, False])
def test_a_balance_that_is_not_the_sum_of_its_entries_is_found_at_the_start(tmp_path, busy):
    path = tmp_path / "books.db"

    async def scenario(store):
        await store.credit("acme", 1000, "grant", "a grant", NOW_MS)

    async def charge(store):
        await one(store, "acme", 1, 5, 3)

    with_store(path, scenario)
    if busy:
        with_store(path, charge)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE accounts SET posted = posted + 1")
    with pytest.raises(StoreCorrupt, match="is not the sum of its entries"):
        with_store(path, charge)
