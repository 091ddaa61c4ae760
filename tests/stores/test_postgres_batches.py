"""What is committed together, and when somebody is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from postgres_server import new_database, open_store, server
from store_cases import record, run

from llm_router.adapters.postgres.batch import _FLUSH
from llm_router.domain.budget import Payer

NOW_MS = 1_800_000_000_000


class Watched:
    """A connection whose statements without rows go another way."""

    def __init__(self, connection: asyncpg.Connection, execute: Callable[..., Awaitable[str]]) -> None:
        self._connection = connection
        self.execute = execute

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def until_waiting(connection: asyncpg.Connection) -> None:
    """Until a node waits for a lock."""
    for _ in range(3000):
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        if await connection.fetchval(waits):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits for the lock")


def test_what_comes_while_the_locks_are_waited_for_joins_the_batch_in_its_order() -> None:
    database = new_database()

    async def scenario() -> None:
        store = await open_store(database)
        other = await asyncpg.connect(server().url(database))
        try:
            for account in ("acme", "else"):
                await store.credit(account, 100, f"grant {account}", "a grant", NOW_MS)
            await other.execute("BEGIN; SELECT 1 FROM llm_router.accounts WHERE id = 'acme' FOR UPDATE")

            def hold(number: int, account: str) -> asyncio.Task[int]:
                held = store.hold(f"gen-{number}", Payer(account=account), 10, "v1", NOW_MS)
                return asyncio.ensure_future(held)

            held = [hold(1, "acme")]
            watch = await asyncpg.connect(server().url(database))
            await until_waiting(watch)
            await watch.close()
            held += [hold(2, "acme"), hold(3, "acme"), hold(4, "else"), hold(5, "acme")]
            await asyncio.sleep(0)
            await other.execute("COMMIT")
            assert await asyncio.gather(*held) == [90, 80, 70, 90, 60]
            rows = await other.fetch("SELECT exchange_id, xmin::text AS batch FROM llm_router.holds")
            batch = {row["exchange_id"]: row["batch"] for row in rows}
            assert batch["gen-1"] == batch["gen-2"] == batch["gen-3"]
            assert batch["gen-1"] != batch["gen-4"] == batch["gen-5"]  # another account ends it
        finally:
            await other.close()
            await store.close()

    run(scenario())


def test_nobody_is_told_before_the_disk_has_it_and_what_is_in_doubt_is_done_once() -> None:
    database = new_database()

    async def scenario() -> None:
        store = await open_store(database)
        writer_link = store._writer._link
        told: list[str] = []
        try:
            await store.credit("acme", 100, "grant", "a grant", NOW_MS)
            await store.hold("gen-1", Payer(account="acme"), 30, "v1", NOW_MS)
            connection = writer_link._connection

            async def failing(query: str, *values: object) -> str:
                if query == _FLUSH:
                    told.append("flush")
                    assert not settling.done()
                    raise ConnectionResetError("gone")
                if query == "COMMIT":
                    told.append("commit")
                done: str = await connection.execute(query, *values)
                return done

            writer_link._connection = Watched(connection, failing)
            settling = asyncio.ensure_future(store.settle(record("gen-1", 12)))
            settled = await settling
            assert told == ["commit", "flush"]
            assert (settled.charged_pusd, settled.remaining_pusd) == (12, 88)
            assert await store.accounts() == [("acme", 88, 0)]
            assert len(await store.entries("acme", 9)) == 2
            assert await store.audit() == 2
        finally:
            await store.close()

    run(scenario())
