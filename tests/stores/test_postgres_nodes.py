"""Several nodes on one database: exact together, whichever of them dies or sleeps, and the server too.

``POSTGRES_KILLS`` is how many nodes are killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from postgres_server import Server, binaries, new_database, open_store, server
from store_cases import ACME, make_key, record, run

from llm_router.domain.budget import Budget, Scope, Window
from llm_router.domain.errors import InsufficientCredits, LedgerUnavailable

KILLS = int(os.environ.get("POSTGRES_KILLS", "4"))
NODE = Path(__file__).with_name("postgres_node.py")
NOW_MS = 1_800_000_000_000


class Node:
    """A node process."""

    def __init__(self, url: str, name: str, *what: object, ttl_s: float = 60.0) -> None:
        command = [sys.executable, str(NODE), url, str(ttl_s), name, *map(str, what)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self) -> str:
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def started(url: str, count: int, *what: object) -> list[Node]:
    nodes = [Node(url, f"n{number}", *what) for number in range(count)]
    assert [node.read() for node in nodes] == ["ready"] * count
    return nodes


async def until(done: Callable[[], bool]) -> None:
    for _ in range(3000):
        if done():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


def expire(database: str) -> None:
    """As if all nodes had not been heard of for long."""
    server().sql(database, "UPDATE llm_router.nodes SET expires = now() - interval '1 hour' WHERE NOT closed")


async def credited(database: str, amount: int) -> None:
    store = await open_store(database)
    await store.credit("acme", amount, "r1", "", 1)
    await store.close()


@pytest.mark.parametrize(("nodes", "budgeted"), [(2, False), (4, False), (4, True)])
def test_a_thousand_holds_over_nodes_admit_exactly_what_is_covered(nodes: int, budgeted: bool) -> None:
    database = new_database()

    async def prepare() -> None:
        store = await open_store(database)
        await store.credit("acme", 10**9 if budgeted else 137 * 100 + 99, "r1", "", 1)
        if budgeted:
            day = Budget(
                id="bud_1", account="acme", scope=Scope.KEY, scope_id="key_1", amount_pusd=13_799,
                window=Window.LIFETIME, created_ms=1,
            )  # fmt: skip
            await store.set_budget(day, 1)
        await store.close()

    run(prepare())
    running = started(server().url(database), nodes, "rush", 1000 // nodes, 100)
    try:
        for node in running:
            node.go()
        told = [tuple(map(int, node.read().split())) for node in running]
        assert sum(granted for granted, _ in told) == 137
        assert sum(others for _, others in told) == 0
    finally:
        for node in running:
            node.end()


def test_kill_9_of_nodes_loses_nothing_and_their_holds_come_back() -> None:
    database, dice = new_database(), random.Random(7)
    run(credited(database, 10**12))
    url, acknowledged = server().url(database), {}
    survivor = Node(url, "survivor", "work", 8)
    assert survivor.read() == "ready"
    survivor.go()
    assert survivor.read() == "held"
    for number in range(KILLS):
        victim = Node(url, f"victim{number}", "work", dice.choice((1, 8, 32)))
        assert victim.read() == "ready"
        victim.go()
        assert victim.read() == "held"
        lines = [victim.read() for _ in range(dice.randrange(20, 200))]
        time.sleep(dice.random() / 50)  # or it would always be right after a commit
        victim.process.kill()
        lines += victim.process.communicate()[0].splitlines()
        acknowledged |= {id_: int(cost) for id_, cost in (line.split() for line in lines if " " in line)}
    survivor.process.kill()
    lines = survivor.process.communicate()[0].splitlines()
    acknowledged |= {id_: int(cost) for id_, cost in (line.split() for line in lines[:-1])}

    async def check() -> int:
        store = await open_store(database)
        expire(database)
        voided = await store.reap()
        entries = await store.audit()
        ((_, posted, held),) = await store.accounts()
        assert held == 0
        charged = {}
        for entry in await store.entries("acme", entries):
            if entry.kind == "use":
                charged[entry.ref.removeprefix("use:")] = -entry.amount_pusd
        assert posted == 10**12 - sum(charged.values())
        assert {id_: charged.get(id_, 0) for id_ in acknowledged} == acknowledged
        await store.close()
        return voided

    orphans = run(check())
    assert len(acknowledged) > 20 * KILLS
    assert orphans >= KILLS + 1  # each had one that it never settled; how many more is up to chance


def test_a_node_that_slept_past_its_time_charges_all_the_same() -> None:
    database = new_database()
    run(credited(database, 5000))
    node = Node(server().url(database), "sleeper", "pause")
    assert node.read() == "ready"
    node.go()
    assert node.read() == "held"
    node.process.send_signal(signal.SIGSTOP)

    async def meanwhile() -> None:
        store = await open_store(database)
        with pytest.raises(InsufficientCredits):
            await store.hold("e1", ACME, 4500, "v1", 1)
        server().sql(database, "UPDATE llm_router.nodes SET expires = now() - interval '1 hour' WHERE id = 2")
        assert await store.reap() == 1
        assert await store.hold("e1", ACME, 4500, "v1", 1) == 500  # the credit came back
        node.process.send_signal(signal.SIGCONT)
        node.go()
        assert node.read() == "500 1"  # charged to what is available; the rest is absorbed
        assert (await store.generation("acme", "sleeper")).absorbed_pusd == 200
        assert (await store.settle(record("e1", 4500))).remaining_pusd == 0
        await store.audit()
        await store.close()

    try:
        run(meanwhile())
    finally:
        node.process.send_signal(signal.SIGCONT)
        node.end()


def test_the_server_may_crash_and_come_back_under_load() -> None:
    place = binaries()
    server()  # or skip
    own = Server(place)
    try:
        own.sql("postgres", "CREATE DATABASE books")

        async def main() -> None:
            from llm_router.adapters.clock import SystemClock
            from llm_router.adapters.postgres.link import Target
            from llm_router.adapters.postgres.store import PostgresStore

            store = await PostgresStore.open(Target(url=own.url("books")), clock=SystemClock())
            await store.credit("acme", 10**9, "r1", "", 1)
            charged: dict[str, int] = {}
            refused: list[float] = []
            loop, running = asyncio.get_running_loop(), True

            async def client(number: int) -> None:
                count = 0
                while running:
                    count += 1
                    begin_s = loop.time()
                    try:
                        await store.hold(f"{number}-{count}", ACME, 100, "v1", 1)
                    except LedgerUnavailable:
                        refused.append(loop.time() - begin_s)
                        await asyncio.sleep(0.05)
                        continue
                    settled = None
                    while settled is None:  # as the gateway does, until it is done
                        with suppress(LedgerUnavailable):
                            settled = await store.settle(record(f"{number}-{count}", 10))
                    charged[f"{number}-{count}"] = settled.charged_pusd

            clients = [asyncio.create_task(client(number)) for number in range(8)]
            await until(lambda: len(charged) >= 200)
            await loop.run_in_executor(None, own.stop, signal.SIGQUIT)
            begin_s = loop.time()
            with pytest.raises(LedgerUnavailable):
                await store.hold("down", ACME, 100, "v1", 1)
            refused.append(loop.time() - begin_s)
            await loop.run_in_executor(None, own.start)
            before = len(charged)
            await until(lambda: len(charged) >= before + 200)
            running = False
            await asyncio.gather(*clients)
            assert max(refused) < 30  # none waited for the server to come back
            await store.settle(record("last", 0))
            ((_, posted, held),) = await store.accounts()
            assert (posted, held) == (10**9 - 10 * len(charged), 0)
            assert set(charged.values()) == {10}
            await store.audit()
            await store.close()

        run(main())
    finally:
        own.remove()


def test_a_key_revoked_at_one_node_is_refused_at_all() -> None:
    async def main() -> None:
        database = new_database()
        first, second = await open_store(database), await open_store(database)
        key, digest = make_key(1)
        await first.create(key, digest)
        assert await second.find(digest) == key
        assert await second.find(digest) == key
        await first.revoke(key.id, 77)
        for _ in range(3000):  # the word is on its way
            if (await second.find(digest)).revoked_ms is not None:
                break
            await asyncio.sleep(0.01)
        assert (await second.find(digest)).revoked_ms == 77
        await first.close()
        await second.close()

    run(main())


def test_debts_and_limits_bind_all_nodes() -> None:
    async def main() -> None:
        database = new_database()
        first, second = await open_store(database), await open_store(database)
        await first.credit("acme", 1000, "r1", "", 1)
        first.owe("acme", 300)
        await first.settle(record("e0", 0))  # behind it
        with pytest.raises(InsufficientCredits, match="owes"):
            await second.hold("e1", ACME, 1, "v1", 1)
        first.owe("acme", 0)
        await first.settle(record("e2", 0))
        assert await second.hold("e1", ACME, 1, "v1", 1) == 999
        await first.close()
        await second.close()

    run(main())


def test_entries_cannot_be_changed_and_tampering_is_found() -> None:
    from llm_router.adapters.store_errors import StoreCorrupt

    async def main() -> None:
        database = new_database()
        store = await open_store(database)
        await store.credit("acme", 1000, "r1", "", 1)
        await store.settle(record("e1", 100))
        await store.settle(record("e2", 100))
        assert await store.audit() == 3
        for change in ("UPDATE llm_router.entries SET amount = 1", "DELETE FROM llm_router.entries"):
            with pytest.raises(AssertionError, match="never changed"):
                server().sql(database, change)
        switch = "ALTER TABLE llm_router.entries {} TRIGGER ALL; "
        for change, found in (
            ("UPDATE llm_router.accounts SET posted = posted + 1", "not the sum"),
            ("UPDATE llm_router.rollups SET cost = cost + 1", "off from its exchanges"),
            ("UPDATE llm_router.exchanges SET record = record || ' ' WHERE id = 'e1'", "was changed"),
            (
                switch.format("DISABLE") + "UPDATE llm_router.entries SET note = 'x' WHERE number = 1",
                "was changed",
            ),
        ):
            copy = f"{database}_{abs(hash(change))}"
            await store.close()
            server().sql("postgres", f"CREATE DATABASE {copy} TEMPLATE {database}")
            server().sql(copy, change)
            other = await open_store(copy)
            with pytest.raises(StoreCorrupt, match=found):
                await other.audit()
            await other.close()

    run(main())


def test_schemas_of_other_versions_are_refused_and_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    server()  # or skip
    import asyncpg

    from llm_router.adapters.postgres import schema
    from llm_router.adapters.store_errors import StoreTooNew, StoreTooOld
    from llm_router.adapters.stores import migrate_database

    database = new_database()
    url = server().url(database)

    async def opened() -> bool:
        store = await open_store(database)
        await store.close()
        return store.created

    assert run(opened())
    assert not run(opened())
    step = max(schema.MIGRATIONS) + 1
    with monkeypatch.context() as patch:
        broken = "CREATE TABLE more (a int); SELECT 1/0"
        patch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, step: broken})
        with pytest.raises(StoreTooOld, match="llm-router migrate"):
            run(opened())
        with suppress(asyncpg.PostgresError), pytest.raises(Exception, match="division"):
            run(migrate_database(url, None))
        assert server().sql(database, "SELECT to_regclass('llm_router.more')") == ""
        patch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, step: "CREATE TABLE more (a int)"})
        assert run(migrate_database(url, None)) == (step, [step])
        assert run(migrate_database(url, None)) == (step, [])
    with pytest.raises(StoreTooNew, match="later version"):
        run(opened())


def test_a_migration_that_is_killed_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server()  # or skip
    from llm_router.adapters.postgres import schema
    from llm_router.adapters.store_errors import StoreError
    from llm_router.adapters.stores import migrate_database

    database = new_database()
    run(credited(database, 500))
    newest = max(schema.MIGRATIONS)
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE '%sleep%' AND pid <> pg_backend_pid() AND wait_event = 'PgSleep'"
    )

    async def main() -> None:
        step = "CREATE TABLE half (a int); UPDATE accounts SET posted = 1; SELECT pg_sleep(600)"
        monkeypatch.setattr(schema, "MIGRATIONS", {**schema.MIGRATIONS, newest + 1: step})
        migrating = asyncio.create_task(migrate_database(server().url(database), None))
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, server().sql, database, kill) != "t":
            assert not migrating.done()
        with pytest.raises(StoreError):
            await migrating

    run(main())
    monkeypatch.undo()
    assert server().sql(database, "SELECT to_regclass('llm_router.half')") == ""
    assert server().sql(database, "SELECT value FROM llm_router.meta WHERE name = 'schema'") == str(newest)
    assert run(migrate_database(server().url(database), None)) == (newest, [])

    async def as_before() -> int:
        store = await open_store(database)
        balance: int = await store.balance("acme")
        await store.close()
        return balance

    assert run(as_before()) == 500
