"""Every store against a model of a few lines, step by step, through restarts and crashes."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import postgres_server
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store_cases import FixedClock, record

from llm_router.adapters.memory.books import MemoryBooks
from llm_router.adapters.sqlite.boot import audit
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.budget import Payer
from llm_router.domain.errors import ClientError, InsufficientCredits
from llm_router.domain.money import MAX_PUSD

ACCOUNTS = st.sampled_from(["a", "b"])
IDS = st.integers(0, 11).map(lambda n: f"e{n}")
AMOUNTS = st.one_of(st.integers(-2, 60), st.sampled_from([MAX_PUSD - 50, MAX_PUSD, MAX_PUSD + 1]))
REFS = st.integers(0, 7).map(lambda n: f"r{n}")


class Books(RuleBasedStateMachine):
    """The model: entries are the only truth about posted, open holds the only one about held."""

    knows_spent_ids = True  # in memory; else only when the disk is asked, after the balance

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.entries: dict[str, tuple[str, int]] = {}  # ref -> (account, amount), in order
        self.holds: dict[str, tuple[str, int]] = {}  # open ones
        self.charged: dict[str, tuple[str, int, int]] = {}  # id -> (account, charged, absorbed)
        self.orphans: set[str] = set()  # ids whose hold a restart voided
        self.store = self.open()

    def open(self):
        return MemoryBooks()

    def wait(self, awaitable):
        async def bounded():
            async with asyncio.timeout(30):
                return await awaitable

        return self.loop.run_until_complete(bounded())

    def posted(self, account):
        return sum(amount for owner, amount in self.entries.values() if owner == account)

    def held(self, account):
        return sum(amount for owner, amount in self.holds.values() if owner == account)

    def available(self, account):
        return self.posted(account) - self.held(account)

    # What the model says of a move, which it makes at once; a string names the refusal.

    def model_hold(self, id_, account, amount):
        if amount < 0 or id_ in self.holds:
            return "refused"
        spent = id_ in self.charged or id_ in self.orphans
        if amount > self.available(account) and not (spent and self.knows_spent_ids):
            return "insufficient"
        if spent:
            return "refused"
        self.holds[id_] = (account, amount)
        return self.available(account)

    def model_settle(self, id_, account, cost):
        if id_ in self.charged:
            return self.available(account)
        if not 0 <= cost <= MAX_PUSD or (id_ in self.holds and self.holds[id_][0] != account):
            return "refused"
        self.holds.pop(id_, None)
        self.orphans.discard(id_)
        charged = min(cost, self.available(account))
        self.charged[id_] = (account, charged, cost - charged)
        if charged:
            self.entries[f"use:{id_}"] = (account, -charged)
        return self.available(account)

    def model_credit(self, ref, account, amount):
        booked = self.entries.get(f"credit:{ref}")
        if booked is not None:
            return self.available(account) if booked == (account, amount) else "invalid"
        if amount == 0 or self.posted(account) + amount > MAX_PUSD:
            return "invalid"
        if -amount > self.available(account):
            return "insufficient"
        self.entries[f"credit:{ref}"] = (account, amount)
        return self.available(account)

    async def outcome(self, awaitable):
        try:
            return await awaitable
        except InsufficientCredits:
            return "insufficient"
        except ClientError:
            return "invalid"
        except ValueError:
            return "refused"

    def hold_of(self, id_, account, amount):
        return self.outcome(self.store.hold(id_, Payer(account=account), amount, "v1", 1))

    def settle_of(self, id_, account, cost):
        return self.outcome(self.remaining(record(id_, cost, account=account, reply_id=f"c{id_}")))

    async def remaining(self, settled):
        return (await self.store.settle(settled)).remaining_pusd

    @rule(id_=IDS, account=ACCOUNTS, amount=AMOUNTS)
    def hold(self, id_, account, amount):
        assert self.wait(self.hold_of(id_, account, amount)) == self.model_hold(id_, account, amount)

    @rule(id_=IDS, account=ACCOUNTS, cost=AMOUNTS)
    def settle(self, id_, account, cost):
        assert self.wait(self.settle_of(id_, account, cost)) == self.model_settle(id_, account, cost)

    @rule(ref=REFS, account=ACCOUNTS, amount=AMOUNTS)
    def credit(self, ref, account, amount):
        outcome = self.outcome(self.store.credit(account, amount, ref, "why", 1))
        assert self.wait(outcome) == self.model_credit(ref, account, amount)

    @rule(account=ACCOUNTS, moves=st.lists(st.tuples(IDS, st.integers(0, 30)), max_size=12))
    def hold_many_at_once(self, account, moves):
        moves = [move for move in moves if move[0] not in self.charged and move[0] not in self.orphans]

        async def together():
            return await asyncio.gather(*(self.hold_of(id_, account, amount) for id_, amount in moves))

        # The first step of each is synchronous, so they move in this order.
        assert self.wait(together()) == [self.model_hold(id_, account, amount) for id_, amount in moves]

    @rule(costs=st.lists(st.integers(0, 40), min_size=12, max_size=12))
    def settle_all_at_once(self, costs):
        moves = [
            (id_, account, cost) for (id_, (account, _)), cost in zip(self.holds.items(), costs, strict=False)
        ]

        async def together():
            return await asyncio.gather(*(self.settle_of(*move) for move in moves))

        assert self.wait(together()) == [self.model_settle(*move) for move in moves]

    @rule(id_=IDS, account=ACCOUNTS, by_reply=st.booleans())
    def look_up(self, id_, account, by_reply):
        found = self.wait(self.store.generation(account, f"c{id_}" if by_reply else id_))
        owner, charged, absorbed = self.charged.get(id_, (None, 0, 0))
        if owner != account:
            assert found is None
        else:
            assert (found.id, found.cost_pusd, found.absorbed_pusd) == (id_, charged, absorbed)

    @invariant()
    def balances_agree(self):
        for account in ("a", "b"):
            assert self.wait(self.store.balance(account)) == self.available(account) >= 0
        for account, posted, held in self.wait(self.store.accounts()):
            assert (posted, held) == (self.posted(account), self.held(account))

    @invariant()
    def entries_agree(self):
        for account in ("a", "b"):
            stored = [(e.ref, e.amount_pusd) for e in self.wait(self.store.entries(account, 1000))]
            expected = [(ref, amount) for ref, (owner, amount) in self.entries.items() if owner == account]
            assert stored == expected[::-1]

    def teardown(self):
        self.wait(self.store.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class SqliteBooks(Books):
    """The same, on disk: with restarts, crashes and cancelled waits between the steps."""

    knows_spent_ids = False

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="books-"))
        self.crashes = 0
        self.leaves = 0
        super().__init__()

    @property
    def path(self):
        return self.folder / str(self.crashes) / "books.db"

    def open(self):
        return self.wait(SqliteStore.open(self.path, clock=FixedClock()))

    def void_holds(self):
        self.orphans.update(self.holds)
        self.holds.clear()

    @rule()
    def restart(self):
        self.wait(self.store.close())
        self.void_holds()
        self.store = self.open()

    @rule()
    def crash(self):
        """Go on with the files as they are at this moment, log and all."""
        before, old = self.path.parent, self.store
        self.crashes += 1
        shutil.copytree(before, self.path.parent)
        os.unlink(f"{self.path}-shm")
        self.wait(old.close())
        self.void_holds()
        self.store = self.open()

    @rule(id_=IDS, account=ACCOUNTS, amount=st.integers(0, 30))
    def hold_but_leave(self, id_, account, amount):
        async def leave():
            waiting = asyncio.create_task(self.hold_of(id_, account, amount))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            # One that the store refuses only when it looks at the disk is undone a moment later.
            self.leaves += 1
            await self.store.settle(record(f"-{self.leaves}", account="-"))

        self.wait(leave())
        self.model_hold(id_, account, amount)

    @invariant()
    def disk_agrees(self):
        self.wait(self.store._journal.applied())
        with closing(sqlite3.connect(self.path)) as connection:
            assert audit(connection) == len(self.entries)
            rows = connection.execute(
                "SELECT id, account, cost FROM exchanges WHERE account <> '-'"
            ).fetchall()
        assert sorted(rows) == sorted((id_, *cost[:2]) for id_, cost in self.charged.items())

    def teardown(self):
        super().teardown()
        shutil.rmtree(self.folder)


class PostgresBooks(Books):
    """The same in PostgreSQL: with restarts and nodes that die between the steps."""

    def __init__(self):
        self.database = postgres_server.new_database()
        super().__init__()

    def open(self):
        return self.wait(postgres_server.open_store(self.database))

    def void_holds(self):
        self.orphans.update(self.holds)
        self.holds.clear()

    @rule()
    def restart(self):
        self.wait(self.store.close())
        self.void_holds()
        self.store = self.open()

    @rule()
    def die(self):
        """The node is closed by another one, and does not know it yet."""
        server, number = postgres_server.server(), self.store.node
        server.sql(
            self.database, f"UPDATE llm_router.nodes SET expires = now() - interval '1 s' WHERE id = {number}"
        )
        other = self.open()
        assert other.orphans == len(self.holds)
        self.wait(other.close())
        self.void_holds()

    @rule()
    def check(self):
        assert self.wait(self.store.audit()) == len(self.entries)

    def teardown(self):
        super().teardown()
        postgres_server.server().sql("postgres", f"DROP DATABASE {self.database} WITH (FORCE)")


def _examples(ci: int) -> int:
    """``BOOKS_MODEL_SCALE`` multiplies the number of runs."""
    return ci * int(os.environ.get("BOOKS_MODEL_SCALE", "1"))


_COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}
TestMemoryBooks = Books.TestCase
TestMemoryBooks.settings = settings(max_examples=_examples(40), stateful_step_count=50, **_COMMON)
TestPostgresBooks = PostgresBooks.TestCase
TestPostgresBooks.settings = settings(max_examples=_examples(8), stateful_step_count=30, **_COMMON)
TestSqliteBooks = SqliteBooks.TestCase
TestSqliteBooks.settings = settings(max_examples=_examples(25), stateful_step_count=40, **_COMMON)
