"""Sessions in memory and in PostgreSQL, there over several nodes: exact ceilings, and none for ever taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from postgres_server import new_database, open_store, server
from store_cases import run

from llm_router.adapters.memory.sessions import MemorySessions
from llm_router.billing.budgets import SESSION_IDLE_MS
from llm_router.billing.sessions import Calls, Granted
from llm_router.domain.errors import SessionBrake
from llm_router.domain.session import SessionLimits
from llm_router.ports import SessionBook

NOW_MS = 1_800_000_000_000
Opened = Callable[[], AsyncIterator[list[SessionBook]]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[list[Any]]:
    book = MemorySessions()
    yield [book, book]


@asynccontextmanager
async def in_postgres() -> AsyncIterator[list[Any]]:
    database = new_database()
    stores = [await open_store(database) for _ in range(2)]
    yield [store.sessions for store in stores]
    for store in stores:
        await store.close()


@pytest.fixture(params=["memory", "postgres"])
def with_books(request: pytest.FixtureRequest) -> Callable[[Callable[[list[Any]], Awaitable[None]]], None]:
    """Runs a scenario with two ends of the same sessions."""
    opened = in_memory if request.param == "memory" else in_postgres
    if request.param == "postgres":
        server()  # or skip

    def with_both(scenario: Callable[[list[Any]], Awaitable[None]]) -> None:
        async def main() -> None:
            async with opened() as books:
                await scenario(books)

        run(main())

    return with_both


async def begin(book: Any, step: str, limits: SessionLimits, **more: Any) -> Granted:
    told = {"tokens": 1, "calls": None, "worst_pusd": 10, "now_ms": NOW_MS} | more
    granted: Granted = await book.begin(step, "acme", "s1", limits, *told.values())
    return granted


async def refused(book: Any, limits: SessionLimits, **more: Any) -> str:
    with pytest.raises(SessionBrake) as caught:
        await begin(book, "refused", limits, **more)
    return str(caught.value.details["brake"])


async def ended(book: Any, step: str, counted: bool = True, tokens: int = 0, cost_pusd: int = 0) -> None:
    book.end(step, "acme", "s1", counted, tokens, cost_pusd)
    await refused(book, SessionLimits(steps=0))  # behind it: now it is written


def test_many_at_once_get_no_more_than_there_is(with_books: Any) -> None:
    async def scenario(books: list[Any]) -> None:
        limits = SessionLimits(cost_pusd=105)
        tries = [begin(books[n % 2], f"e{n}", limits) for n in range(40)]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        granted = {n: o for n, o in enumerate(outcomes) if isinstance(o, Granted)}
        assert sorted(o.held_pusd for o in granted.values()) == [5] + 10 * [10]
        assert sum(isinstance(o, SessionBrake) for o in outcomes) == 29
        for n, one in granted.items():
            await ended(books[n % 2], f"e{n}", cost_pusd=one.held_pusd - 1)
        left = await begin(books[0], "last", limits)
        assert left == Granted(room_pusd=11, held_pusd=10)

    with_books(scenario)


def test_steps_and_tokens_count_over_all(with_books: Any) -> None:
    async def scenario(books: list[Any]) -> None:
        tries = [begin(books[n % 2], f"e{n}", SessionLimits(steps=7)) for n in range(20)]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(o, Granted) for o in outcomes) == 7
        begun = [n for n, o in enumerate(outcomes) if isinstance(o, Granted)]
        await ended(books[begun[0] % 2], f"e{begun[0]}", counted=False)  # it was refused after all
        await begin(books[1], "another", SessionLimits(steps=7))
        assert await refused(books[0], SessionLimits(steps=7)) == "steps"
        await ended(books[1], "another", tokens=90)
        assert await refused(books[0], SessionLimits(tokens=100), tokens=11) == "tokens"
        await begin(books[0], "fits", SessionLimits(tokens=100), tokens=10)

    with_books(scenario)


def test_what_repeats_is_noticed_whoever_is_asked(with_books: Any) -> None:
    async def scenario(books: list[Any]) -> None:
        limits = SessionLimits(repeats=3)
        for n in range(2):
            calls = Calls(name="look", mark=b"\xff\x00", turn=bytes([n]), run=1)
            for book in books:  # the same turn, sent again, counts once
                await begin(book, f"e{n}", limits, calls=calls)
        calls = Calls(name="look", mark=b"\xff\x00", turn=b"x", run=1)
        assert await refused(books[1], limits, calls=calls) == "repeats"
        assert await refused(books[0], limits, calls=calls) == "repeats"
        await begin(books[0], "other", limits, calls=Calls(name="do", mark=b"y", turn=b"z", run=1))

    with_books(scenario)


def test_a_step_ends_once_and_a_session_that_is_over_begins_anew(with_books: Any) -> None:
    async def scenario(books: list[Any]) -> None:
        limits = SessionLimits(cost_pusd=50)
        await begin(books[0], "e1", limits)
        for _ in range(2):
            await ended(books[0], "e1", cost_pusd=45)
        await ended(books[1], "never begun", cost_pusd=45)
        assert (await begin(books[1], "e2", limits)).room_pusd == 5
        later = NOW_MS + SESSION_IDLE_MS
        assert (await begin(books[0], "e3", limits, now_ms=later)).room_pusd == 50

    with_books(scenario)


def test_what_a_dead_node_held_is_free_again() -> None:
    database = new_database()

    async def main() -> None:
        first, second = await open_store(database), await open_store(database)
        limits = SessionLimits(cost_pusd=10)
        await begin(first.sessions, "e1", limits)
        assert await refused(second.sessions, limits) == "cost"
        server().sql(
            database, f"UPDATE llm_router.nodes SET expires = now() - interval '1h' WHERE id = {first.node}"
        )
        await second.reap()
        assert (await begin(second.sessions, "e2", limits)).held_pusd == 10
        await first.close()
        await second.close()

    run(main())


def test_an_end_that_cannot_be_written_is_written_later() -> None:
    database = new_database()

    async def main() -> None:
        store = await open_store(database)
        other = await open_store(database)
        await begin(store.sessions, "e1", SessionLimits(cost_pusd=10))
        server().sql(database, "ALTER TABLE llm_router.sessions RENAME TO away")
        store.sessions.end("e1", "acme", "s1", True, 5, 3)
        failing = [begin(store.sessions, f"f{n}", SessionLimits()) for n in range(3)]
        outcomes = await asyncio.gather(*failing, return_exceptions=True)
        assert {getattr(o, "status", None) for o in outcomes} == {503}
        server().sql(database, "ALTER TABLE llm_router.away RENAME TO sessions")
        while True:
            try:
                granted = await begin(store.sessions, "e2", SessionLimits(cost_pusd=10))
                break
            except Exception as error:
                assert getattr(error, "status", None) == 503  # noqa: PT017 - until it is back
        assert granted == Granted(room_pusd=7, held_pusd=7)
        assert await refused(other.sessions, SessionLimits(cost_pusd=10)) == "cost"
        await store.close()
        await other.close()

    run(main())
