"""The port Directory, the same for every store."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import msgspec
import postgres_server
import pytest
from shared_kit import hub_of, linked, unlink
from store_cases import FixedClock, run

from llm_router.adapters.shared.remote import RemoteDirectory
from llm_router.adapters.sqlite.directory import SqliteDirectory
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.adapters.store_errors import StoreError, StoreTooNew
from llm_router.domain.account import (
    Account,
    Act,
    Intent,
    Link,
    Member,
    Person,
    Role,
    SignIn,
    Team,
    member_id,
)
from llm_router.domain.errors import LedgerUnavailable
from llm_router.engine.auditing import recover_intents


@dataclass
class Opened:
    directory: Any
    close: Any


async def sqlite(folder) -> Opened:
    directory = await SqliteDirectory.open(folder / "directory.db")
    return Opened(directory, directory.close)


async def postgres(folder) -> Opened:
    from llm_router.adapters.postgres.directory import PostgresDirectory
    from llm_router.adapters.postgres.link import Target

    database = postgres_server.new_database()
    store = await postgres_server.open_store(database)
    await store.close()
    directory = PostgresDirectory(Target(url=postgres_server.server().url(database)))
    return Opened(directory, directory.close)


async def remote(folder) -> Opened:
    below = await sqlite(folder)
    store = await SqliteStore.open(folder / "books.db", clock=FixedClock())
    _, link = await linked(hub_of(store, directory=below.directory))

    async def close() -> None:
        await unlink()
        await store.close()
        await below.close()

    return Opened(RemoteDirectory(link), close)


@pytest.fixture(params=[sqlite, postgres, remote], ids=lambda opener: opener.__name__)
def scenario_of(request, tmp_path):
    def play(scenario):
        async def main():
            opened = await request.param(tmp_path)
            try:
                return await scenario(opened.directory)
            finally:
                await opened.close()

        return run(main())

    return play


def person(number: int, **fields) -> Person:
    return Person(
        id=f"usr_{number}", email=f"p{number}@example.com", title=f"P {number}", created_ms=number, **fields
    )


def member(account: str, number: int, role: Role = Role.VIEWER) -> Member:
    id_ = f"usr_{number}"
    return Member(id=member_id(account, id_), account=account, person=id_, role=role, created_ms=1)


def act(number: int, account: str = "acme") -> Act:
    return Act(
        at_ms=number, account=account, actor="usr_1", actor_name="ada@example.com", action="keys.create",
        object=f"key_{number}", after='{"name":"n"}', ip="192.0.2.1",
    )  # fmt: skip


def test_rows_are_found_by_id_and_by_name(scenario_of):
    async def scenario(directory):
        assert await directory.write([person(1), Account(id="acme", title="Acme", created_ms=1)], [], [])
        assert await directory.find("person", "usr_1") == person(1)
        assert await directory.named("person", "p1@example.com") == person(1)
        assert await directory.find("account", "acme") == Account(id="acme", title="Acme", created_ms=1)
        assert await directory.find("team", "usr_1") is None
        assert await directory.find("person", "usr\x001") is None
        assert await directory.named("person", "nobody@example.com") is None

    scenario_of(scenario)


def test_a_version_is_written_once(scenario_of):
    async def scenario(directory):
        assert await directory.write([person(1)], [], [])
        assert not await directory.write([person(1)], [], [])
        second = person(1, version=2, operator=True)
        assert await directory.write([second], [], [])
        assert not await directory.write([second], [], [])
        assert not await directory.write([person(1, version=4)], [], [])
        assert await directory.find("person", "usr_1") == second

    scenario_of(scenario)


def test_names_are_taken_once(scenario_of):
    async def scenario(directory):
        assert await directory.write([person(1)], [], [])
        twin = msgspec.structs.replace(person(2), email="p1@example.com")
        assert not await directory.write([twin], [], [])
        team = Team(id="team_1", account="acme", title="red", created_ms=1)
        assert await directory.write([team], [], [])
        assert not await directory.write([msgspec.structs.replace(team, id="team_2")], [], [])
        assert await directory.write([msgspec.structs.replace(team, id="team_2", account="bolt")], [], [])

    scenario_of(scenario)


def test_all_or_nothing_is_written_with_its_acts(scenario_of):
    async def scenario(directory):
        assert await directory.write([person(1)], [], [act(1)])
        assert not await directory.write([person(2), person(1)], [], [act(2)])
        assert not await directory.write([person(3)], [("person", "usr_9")], [act(3)])
        assert await directory.find("person", "usr_2") is None
        assert await directory.find("person", "usr_3") is None
        assert await directory.write([person(4)], [("person", "usr_1")], [act(4)])
        assert await directory.find("person", "usr_1") is None
        assert [entry.act for entry in await directory.acts(None, 0, 10)] == [act(4), act(1)]

    scenario_of(scenario)


def test_rows_of_an_account_and_of_a_person_come_by_pages(scenario_of):
    async def scenario(directory):
        members = [member(account, number) for account in ("acme", "bolt") for number in range(1, 6)]
        assert await directory.write(members, [], [])
        acme = await directory.rows("member", account="acme", limit=3)
        assert [m.person for m in acme] == ["usr_1", "usr_2", "usr_3"]
        rest = await directory.rows("member", account="acme", after=acme[-1].id, limit=3)
        assert [m.person for m in rest] == ["usr_4", "usr_5"]
        assert [m.account for m in await directory.rows("member", person="usr_2")] == ["acme", "bolt"]
        assert await directory.rows("member", account="bolt", person="usr_2") == [member("bolt", 2)]
        assert len(await directory.rows("member")) == 10
        assert await directory.rows("member", account="none") == []

    scenario_of(scenario)


def test_what_expired_is_purged(scenario_of):
    async def scenario(directory):
        sign_in = SignIn(
            id="ses_1", person="usr_1", digest="aa", created_ms=1, seen_ms=1, expires_ms=100, ip="", agent="", how="password",
        )  # fmt: skip
        link = Link(id="lnk_1", purpose="setup", digest="bb", created_ms=1, expires_ms=200)
        assert await directory.write([sign_in, link, person(1)], [], [])
        assert await directory.named("sign_in", "aa") == sign_in
        assert await directory.purge(100) == 1
        assert await directory.named("sign_in", "aa") is None
        assert await directory.named("link", "bb") == link
        assert await directory.find("person", "usr_1") is not None

    scenario_of(scenario)


def test_acts_come_newest_first_by_account_and_are_chained(scenario_of):
    async def scenario(directory):
        for number in range(1, 7):
            assert await directory.write([], [], [act(number, "acme" if number % 2 else "")])
        entries = await directory.acts("acme", 0, 2)
        assert [entry.seq for entry in entries] == [5, 3]
        assert [entry.seq for entry in await directory.acts("acme", 3, 2)] == [1]
        assert [entry.seq for entry in await directory.acts("", 0, 9)] == [6, 4, 2]
        assert len({entry.hash for entry in await directory.acts(None, 0, 9)}) == 6
        assert await directory.check_acts() == 6

    scenario_of(scenario)


def test_what_was_begun_long_ago_and_not_told_is_logged_once(scenario_of):
    async def scenario(directory):
        begun = [Intent(id=f"int_{at}", act=act(at, "acme")) for at in (1, 2)]
        assert await directory.write(begun, [], [])
        assert not await directory.write([begun[0]], [], [])
        old = begun[1].act.at_ms
        assert await recover_intents(directory, old) == 1
        assert await recover_intents(directory, old + 1) == 1
        assert await recover_intents(directory, old + 1) == 0
        entries = await directory.acts("acme", 0, 9)
        assert [entry.act.at_ms for entry in entries] == [begun[1].act.at_ms, begun[0].act.at_ms]
        assert all("not known" in entry.act.after for entry in entries)
        assert await directory.check_acts() == 2

    scenario_of(scenario)


def test_acts_cannot_be_changed_in_the_file(tmp_path):
    async def scenario():
        opened = await sqlite(tmp_path)
        await opened.directory.write([], [], [act(1), act(2)])
        await opened.close()

    run(scenario())
    connection = sqlite3.connect(tmp_path / "directory.db")
    for sql in (
        "UPDATE acts SET at_ms = 0",
        "DELETE FROM acts",
        "INSERT INTO acts VALUES (9, '', 0, '', zeroblob(32))",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(sql)
    connection.execute("DROP TRIGGER acts_update")
    connection.execute("UPDATE acts SET body = replace(body, 'key_1', 'key_7')")
    connection.commit()
    connection.close()

    async def check():
        opened = await sqlite(tmp_path)
        try:
            with pytest.raises(ValueError, match="number 1"):
                await opened.directory.check_acts()
        finally:
            await opened.close()

    run(check())


def test_acts_cannot_be_changed_in_the_database():
    database = postgres_server.new_database()

    async def scenario():
        from llm_router.adapters.postgres.directory import PostgresDirectory
        from llm_router.adapters.postgres.link import Target

        store = await postgres_server.open_store(database)
        await store.close()
        directory = PostgresDirectory(Target(url=postgres_server.server().url(database)))
        await directory.write([], [], [act(1)])
        await directory.close()

    run(scenario())
    for sql in (
        "UPDATE llm_router.acts SET at_ms = 0",
        "DELETE FROM llm_router.acts",
        "TRUNCATE llm_router.acts",
    ):
        with pytest.raises(AssertionError, match="never changed"):
            postgres_server.server().sql(database, sql)


def test_rows_outlast_a_restart_and_a_closed_store_says_so(tmp_path):
    async def scenario():
        opened = await sqlite(tmp_path)
        await opened.directory.write([person(1)], [], [act(1)])
        await opened.close()
        with pytest.raises(LedgerUnavailable):
            await opened.directory.find("person", "usr_1")
        opened = await sqlite(tmp_path)
        assert await opened.directory.find("person", "usr_1") == person(1)
        await opened.directory.write([], [], [act(2)])
        assert await opened.directory.check_acts() == 2
        await opened.close()

    run(scenario())


def test_files_of_others_and_of_later_versions_are_refused(tmp_path):
    other = sqlite3.connect(tmp_path / "directory.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(StoreError, match="some other program"):
        run(sqlite(tmp_path))
    (tmp_path / "later").mkdir()
    run(_made(tmp_path / "later"))
    later = sqlite3.connect(tmp_path / "later" / "directory.db")
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(StoreTooNew, match="99"):
        run(sqlite(tmp_path / "later"))


async def _made(folder) -> None:
    await (await sqlite(folder)).close()
