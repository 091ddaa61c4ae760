"""The port BodyStore, the same for every store: what is kept, sealed, withdrawn and gone."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import postgres_server
import pytest
from shared_kit import hub_of, linked, unlink
from store_cases import FixedClock, run

from llm_router.adapters.body_seals import KIND, BodySeals
from llm_router.adapters.sealing import BODIES, Sealer
from llm_router.adapters.shared.remote import RemoteBodies
from llm_router.adapters.sqlite.bodies import SqliteBodies
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.bodies import StoredBody, Withdrawal
from llm_router.domain.errors import ServerError

NOW = FixedClock().now_ms()
SECRET = bytes(range(32))


@dataclass
class Opened:
    bodies: Any
    seals: BodySeals
    books: Any
    close: Any
    below: Any = None


def seals_of(books: Any, secret: bytes = SECRET) -> BodySeals:
    return BodySeals(books, FixedClock(), lambda: Sealer(secret, BODIES))


async def sqlite(folder) -> Opened:
    books = await SqliteStore.open(folder / "books.db", clock=FixedClock())
    seals = seals_of(books)
    bodies = await SqliteBodies.open(folder / "bodies.db", seals)

    async def close() -> None:
        await bodies.close()
        await books.close()

    return Opened(bodies, seals, books, close, bodies)


async def postgres(folder) -> Opened:
    from llm_router.adapters.postgres.bodies import PostgresBodies
    from llm_router.adapters.postgres.link import Target

    database = postgres_server.new_database()
    books = await postgres_server.open_store(database)
    seals = seals_of(books)
    bodies = PostgresBodies(Target(url=postgres_server.server().url(database)), seals)

    async def close() -> None:
        await bodies.close()
        await books.close()

    return Opened(bodies, seals, books, close)


async def remote(folder) -> Opened:
    below = await sqlite(folder)
    _, link = await linked(hub_of(below.books, bodies=below.bodies))

    async def close() -> None:
        await unlink()
        await below.close()

    return Opened(RemoteBodies(link), below.seals, below.books, close, below.bodies)


@pytest.fixture(params=[sqlite, postgres, remote], ids=lambda opener: opener.__name__)
def scenario_of(request, tmp_path):
    def play(scenario):
        async def main():
            opened = await request.param(tmp_path)
            try:
                return await scenario(opened)
            finally:
                await opened.close()

        return run(main())

    return play


def body(id_: str, **fields) -> StoredBody:
    values = {
        "account": "acme", "key": "key_1", "users": (), "created_ms": NOW - 1000, "expires_ms": NOW + 1000,
        "content": b'{"said":"' + id_.encode() + b'"}',
    }  # fmt: skip
    return StoredBody(id=id_, **(values | fields))


def test_what_is_kept_is_read_by_its_account_until_it_expires(scenario_of):
    async def scenario(opened):
        store = opened.bodies
        assert await store.put(body("gen-1", users=("zoe",)))
        found = await store.get("acme", "gen-1", NOW)
        assert (found.content, found.key, found.created_ms) == (b'{"said":"gen-1"}', "key_1", NOW - 1000)
        assert await store.get("rival", "gen-1", NOW) is None
        assert await store.get("acme", "gen-1", NOW + 1000) is None
        await store.put(body("gen-2", expires_ms=NOW + 5000))
        held = await store.held("acme", NOW)
        assert (held.count, held.oldest_ms) == (2, NOW - 1000)
        assert held.size_bytes > 0
        assert await store.purge(NOW + 1000) == 1
        assert (await store.held("acme", NOW)).count == 1
        assert (await store.held("rival", NOW)).oldest_ms is None

    scenario_of(scenario)


@pytest.mark.parametrize(
    ("named", "left"),
    [
        ({"id": "gen-1"}, ["gen-2", "gen-3", "gen-4"]),
        ({"key": "key_2"}, ["gen-1", "gen-3", "gen-4"]),
        ({"user": "zoe"}, ["gen-2", "gen-4"]),
        ({"user": "zoe", "key": "key_2"}, ["gen-1", "gen-2", "gen-3", "gen-4"]),
        ({"before_ms": NOW - 500}, ["gen-4"]),
        ({}, []),
    ],
    ids=str,
)
def test_what_is_withdrawn_goes_and_comes_no_more(scenario_of, named, left):
    async def scenario(opened):
        store = opened.bodies
        every = [
            body("gen-1", users=("zoe",)), body("gen-2", key="key_2"), body("gen-3", users=("bob", "zoe")),
            body("gen-4", created_ms=NOW - 100),
        ]  # fmt: skip
        for each in every:
            assert await store.put(each)
        await store.put(body("gen-1", account="rival", users=("zoe",)))
        which = Withdrawal(**{"account": "acme", "before_ms": NOW, **named})
        assert await store.withdraw(which) == 4 - len(left)
        assert [each.id for each in every if await store.get("acme", each.id, NOW)] == left
        assert await store.get("rival", "gen-1", NOW) is not None
        # what was still under way when it was asked for comes too late
        assert [each.id for each in every if await store.put(each)] == left
        assert await store.put(body("gen-9", created_ms=NOW, users=("zoe",)))  # this began afterwards

    scenario_of(scenario)


def test_keys_are_changed_and_unused_ones_go(scenario_of):
    async def scenario(opened):
        store, books = opened.bodies, opened.books
        await store.put(body("gen-1"))
        second = await store.rotate()
        await store.put(body("gen-2", expires_ms=NOW + 9_000_000))
        keys = [document.id for document in await books.documents(KIND)]
        assert second in keys
        assert len(keys) == 2
        for id_ in ("gen-1", "gen-2"):
            assert (await store.get("acme", id_, NOW)).id == id_
        assert await store.purge(NOW + 1000) == 1
        assert len(await books.documents(KIND)) == 2, "another process may be about to use it"
        await store.purge(NOW + 4_000_000)
        assert [document.id for document in await books.documents(KIND)] == [second]
        assert (await store.get("acme", "gen-2", NOW)).content == b'{"said":"gen-2"}'

    scenario_of(scenario)


def test_nothing_of_it_can_be_read_without_the_installation(tmp_path):
    async def scenario():
        opened = await sqlite(tmp_path)
        await opened.bodies.put(
            body("gen-1", users=("zoe@example.com",), content=b"a very private word " * 20)
        )
        await opened.close()
        for file in tmp_path.iterdir():
            data = file.read_bytes()
            assert b"private" not in data, file
            assert b"zoe@example" not in data, file
        books = await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())
        other = await SqliteBodies.open(tmp_path / "bodies.db", seals_of(books, bytes(32)))
        with pytest.raises(ServerError, match=r"installation\.key"):
            await other.get("acme", "gen-1", NOW)
        assert await other.put(body("gen-2"))  # what it seals itself it can read
        assert (await other.get("acme", "gen-2", NOW)).id == "gen-2"
        await other.close()
        await books.close()

    run(scenario())


def test_what_was_changed_or_moved_is_not_opened(tmp_path):
    async def scenario():
        opened = await sqlite(tmp_path)
        await opened.bodies.put(body("gen-1"))
        with sqlite3.connect(tmp_path / "bodies.db") as connection:
            connection.execute("UPDATE bodies SET id = 'gen-2'")
        connection.close()
        with pytest.raises(ServerError, match="changed"):
            await opened.bodies.get("acme", "gen-2", NOW)
        await opened.close()

    run(scenario())
