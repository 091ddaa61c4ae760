"""What every store of responses must do."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from store_cases import run

from llm_router.adapters.memory.responses import MemoryResponses
from llm_router.adapters.sqlite.response_rows import SCHEMA_VERSION
from llm_router.adapters.sqlite.responses import SqliteResponses
from llm_router.adapters.sqlite.schema import StoreError, StoreTooNew
from llm_router.domain.errors import LedgerUnavailable
from llm_router.domain.stored import StoredConversation, StoredItem, StoredResponse

MUCH = 10**9
Store = Any


def response(id_: str, **members: Any) -> StoredResponse:
    values: dict[str, Any] = {
        "account": "acme", "created_ms": 1, "expires_ms": 1000, "status": "completed", "previous": None,
        "body": b'{"id":"%b"}' % id_.encode(), "input": b"[]",
    }  # fmt: skip
    return StoredResponse(id=id_, **(values | members))


@pytest.fixture(params=["memory", "sqlite"])
def scene(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Callable[[Store], Awaitable[None]]], None]:
    """Runs a scenario on a new store."""

    def play(scenario: Callable[[Store], Awaitable[None]]) -> None:
        async def main() -> None:
            sqlite = request.param == "sqlite"
            store = await SqliteResponses.open(tmp_path / "r.db") if sqlite else MemoryResponses()
            try:
                await scenario(store)
            finally:
                await store.close()

        run(main())

    return play


def test_a_response_is_kept_replaced_and_seen_by_its_account_alone(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        first = response("resp_1", events=b"e", background=True, item_ids=("a",))
        await store.put(response("resp_1", status="queued"))
        await store.put(first)
        kept = await store.get("acme", "resp_1", 5)
        assert (kept.status, kept.body, kept.events, kept.background) == ("completed", first.body, b"e", True)
        assert await store.get("other", "resp_1", 5) is None
        assert await store.get("acme", "resp_2", 5) is None
        await store.put(response("resp_1", account="other", body=b"{}"))
        assert (await store.get("acme", "resp_1", 5)).body == first.body

    scene(scenario)


def test_expired_ones_are_not_found_and_go(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.put(response("resp_1", expires_ms=10, item_ids=("a",)))
        await store.put(response("resp_2", expires_ms=20, previous="resp_1"))
        assert await store.get("acme", "resp_1", 9) is not None
        assert await store.get("acme", "resp_1", 10) is None
        assert await store.holding("acme", "a", 10) is None
        assert [r.id for r in await store.chain("acme", "resp_2", 10, MUCH)] == ["resp_2"]
        assert await store.purge(10, MUCH) == 1
        assert await store.get("acme", "resp_1", 5) is None
        assert await store.purge(10, MUCH) == 0

    scene(scenario)


def test_a_chain_is_told_from_its_begin_without_events(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        for number in range(1, 5):
            previous = None if number == 1 else f"resp_{number - 1}"
            await store.put(response(f"resp_{number}", previous=previous, events=b"x"))
        await store.put(response("resp_3", account="other"))
        chain = await store.chain("acme", "resp_4", 5, MUCH)
        assert [r.id for r in chain] == ["resp_1", "resp_2", "resp_3", "resp_4"]
        assert {r.events for r in chain} == {b""}
        assert await store.chain("other", "resp_4", 5, MUCH) == []
        size = chain[0].size_bytes + 1
        short = await store.chain("acme", "resp_4", 5, 2 * size)
        assert [r.id for r in short] == ["resp_3", "resp_4"]
        assert short[0].previous == "resp_2"
        assert [r.id for r in await store.chain("acme", "resp_4", 5, 1)] == ["resp_4"]
        assert await store.delete("acme", "resp_2", 5)
        assert [r.id for r in await store.chain("acme", "resp_4", 5, MUCH)] == ["resp_3", "resp_4"]

    scene(scenario)


def test_a_chain_does_not_lead_into_another_account(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.put(response("resp_1", account="other"))
        await store.put(response("resp_2", previous="resp_1"))
        chain = await store.chain("acme", "resp_2", 5, MUCH)
        assert [(r.account, r.id) for r in chain] == [("acme", "resp_2")]

    scene(scenario)


def test_a_chain_in_a_circle_ends(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.put(response("resp_1", previous="resp_2"))
        await store.put(response("resp_2", previous="resp_1"))
        assert len(await store.chain("acme", "resp_2", 5, MUCH)) <= 2

    scene(scenario)


def test_items_lead_to_the_newest_response_that_has_them(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.put(response("resp_1", item_ids=("msg_1", "rs_1")))
        await store.put(response("resp_2", item_ids=("msg_1", "")))
        assert (await store.holding("acme", "msg_1", 5)).id == "resp_2"
        assert (await store.holding("acme", "rs_1", 5)).id == "resp_1"
        assert await store.holding("other", "rs_1", 5) is None
        await store.put(response("resp_1", item_ids=("rs_2",)))
        assert await store.holding("acme", "rs_1", 5) is None
        await store.delete("acme", "resp_2", 5)
        assert await store.holding("acme", "msg_1", 5) is None

    scene(scenario)


def test_deletion(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.put(response("resp_1"))
        assert not await store.delete("other", "resp_1", 5)
        assert await store.delete("acme", "resp_1", 5)
        assert not await store.delete("acme", "resp_1", 5)
        await store.put(response("resp_1", expires_ms=3))
        assert not await store.delete("acme", "resp_1", 5)

    scene(scenario)


def test_the_oldest_finished_ones_make_room(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        for number, status in enumerate(("in_progress", "completed", "failed", "completed")):
            await store.put(response(f"resp_{number}", status=status, body=b"x" * 98))
        assert [r.id for r in await store.unfinished()] == ["resp_0"]
        assert await store.purge(5, 400) == 0
        assert await store.purge(5, 250) == 2
        left = [n for n in range(4) if await store.get("acme", f"resp_{n}", 5) is not None]
        assert left == [0, 3]
        assert await store.purge(5, 0) == 1
        assert await store.get("acme", "resp_0", 5) is not None

    scene(scenario)


def test_many_at_once(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        await asyncio.gather(*(store.put(response(f"resp_{n}")) for n in range(600)))
        found = await asyncio.gather(*(store.get("acme", f"resp_{n}", 5) for n in range(600)))
        assert all(found)

    scene(scenario)


def conversation(id_: str, *bodies: bytes, **members: Any) -> StoredConversation:
    items = tuple(StoredItem(id=f"msg_{n}", body=msgspec.Raw(body)) for n, body in enumerate(bodies))
    values: dict[str, Any] = {"account": "acme", "created_ms": 1, "expires_ms": 1000, "items": items}
    return StoredConversation(id=id_, **(values | members))


def test_conversations_are_kept_changed_and_deleted(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        made = conversation("conv_1", b'{"a":1}', metadata=b'{"k":"v"}')
        await store.put_conversation(made)
        assert await store.conversation("acme", "conv_1", 5) == made
        assert await store.conversation("other", "conv_1", 5) is None
        assert await store.conversation("acme", "conv_1", 1000) is None

        def longer(found: StoredConversation) -> StoredConversation:
            more = StoredItem(id=f"x{len(found.items)}", body=msgspec.Raw(b"[]"))
            return msgspec.structs.replace(found, items=(*found.items, more), expires_ms=2000)

        await asyncio.gather(*(store.change_conversation("acme", "conv_1", 5, longer) for _ in range(20)))
        found = await store.conversation("acme", "conv_1", 1500)
        assert [item.id for item in found.items] == ["msg_0", *(f"x{n}" for n in range(1, 21))]
        assert await store.change_conversation("other", "conv_1", 5, longer) is None
        assert not await store.delete_conversation("other", "conv_1", 5)
        assert await store.delete_conversation("acme", "conv_1", 5)
        assert not await store.delete_conversation("acme", "conv_1", 5)

    scene(scenario)


def test_conversations_make_room_after_responses(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.put(response("resp_1", body=b"x" * 100))
        for number in range(3):
            await store.put_conversation(
                conversation(f"conv_{number}", b'"%b"' % (b"x" * 93), expires_ms=100 - number)
            )
        await store.put_conversation(conversation("conv_old", b"1", expires_ms=3))
        assert await store.purge(5, 410) == 1
        assert await store.purge(5, 310) == 1
        assert await store.get("acme", "resp_1", 5) is None
        assert await store.purge(5, 200) == 2
        left = [n for n in range(3) if await store.conversation("acme", f"conv_{n}", 5) is not None]
        assert left == [0]

    scene(scenario)


# -- the file --------------------------------------------------------------------------------------


def test_the_file_survives_and_holds_nothing_that_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "r.db"

    async def first() -> None:
        store = await SqliteResponses.open(path)
        await store.put(response("resp_1", body=b'"WORDS-OF-ONE"'))
        await store.put(response("resp_2", body=b'"WORDS-OF-TWO"', expires_ms=3))
        await store.put(response("resp_3", body=b'"WORDS-OF-THREE"'))
        await store.delete("acme", "resp_1", 5)
        await store.purge(5, MUCH)
        await store.close()
        with pytest.raises(LedgerUnavailable):
            await store.get("acme", "resp_3", 5)

    run(first())
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"WORDS-OF-THREE" in content
    assert b"WORDS-OF-ONE" not in content
    assert b"WORDS-OF-TWO" not in content
    assert path.stat().st_mode & 0o077 == 0

    async def second() -> None:
        store = await SqliteResponses.open(path)
        assert (await store.get("acme", "resp_3", 5)).body == b'"WORDS-OF-THREE"'
        await store.close()

    run(second())


def test_one_that_cannot_be_written_does_not_spoil_the_others(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteResponses.open(tmp_path / "r.db")
        puts = [
            store.put(response("resp_1")),
            store.put(response("resp_2", created_ms="x")),
            store.put(response("resp_3")),
        ]
        one, two, three = await asyncio.gather(*puts, return_exceptions=True)
        assert (one, three) == (None, None)
        assert isinstance(two, LedgerUnavailable)
        assert await store.get("acme", "resp_3", 5) is not None
        await store.close()

    run(main())


def test_a_foreign_or_newer_file_is_refused(tmp_path: Path) -> None:
    foreign, newer = tmp_path / "foreign.db", tmp_path / "newer.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE t (x)")

    async def make() -> None:
        await (await SqliteResponses.open(newer)).close()

    run(make())
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    for path, error in ((foreign, StoreError), (newer, StoreTooNew)):
        with pytest.raises(error):
            run(SqliteResponses.open(path))


def test_what_is_withdrawn_goes_and_what_is_being_made_stays(scene: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.put(response("resp_1", body=b'{"user":"zoe"}', item_ids=("a",)))
        await store.put(response("resp_2", body=b'{"user":null,"safety_identifier":"zoe"}'))
        await store.put(response("resp_3", body=b"{}", created_ms=5))
        await store.put(response("resp_4", status="queued", body=b'{"user":"zoe"}'))
        await store.put(response("resp_1", account="other", body=b'{"user":"zoe"}'))
        await store.put_conversation(
            StoredConversation(account="acme", id="conv_1", created_ms=1, expires_ms=1000)
        )
        assert await store.withdraw("acme", "zoe", 9) == 2
        assert await store.holding("acme", "a", 5) is None
        assert await store.conversation("acme", "conv_1", 5) is not None
        assert await store.withdraw("acme", None, 5) == 1
        assert await store.conversation("acme", "conv_1", 5) is None
        assert await store.get("acme", "resp_3", 5) is not None
        assert await store.withdraw("acme", None, 6) == 1
        assert [
            (await store.get(*key, 5)) is not None for key in (("acme", "resp_4"), ("other", "resp_1"))
        ] == [
            True,
            True,
        ]

    scene(scenario)
