"""What an iteration of the event loop submits goes to the writer together, in its order, and is never left behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable

from llm_router.adapters.sqlite.journal import Journal
from llm_router.adapters.sqlite.rows import Op
from llm_router.billing.ledger import Ledger

HEARD = "heard"


class ListWriter:
    """Notes what it is told, in order."""

    waits = False

    def __init__(self) -> None:
        self.told: list[Op | str] = []

    def start(self) -> None:
        """No thread."""

    def submit(self, ops: list[Op]) -> None:
        self.told += ops

    def heard(self) -> None:
        self.told.append(HEARD)


def run(work: Callable[[Journal, ListWriter], Awaitable[None]]) -> None:
    async def main() -> None:
        writer = ListWriter()
        books = Journal(Ledger(), asyncio.get_running_loop())
        books.start(writer)  # type: ignore[arg-type]
        await work(books, writer)
        books.close()

    asyncio.run(main())


def ops_of(books: Journal, count: int) -> list[Op]:
    ops = [Op(future=books.future()) for _ in range(count)]
    for op in ops:
        books.submit(op)
    return ops


def test_the_writer_is_woken_once_an_iteration() -> None:
    async def work(books: Journal, writer: ListWriter) -> None:
        first = ops_of(books, 3)
        assert writer.told == [], "the loop has more to do"
        await asyncio.sleep(0)
        assert writer.told == first
        second = ops_of(books, 2)
        await asyncio.sleep(0)
        assert writer.told == first + second

    run(work)


def test_what_did_not_know_of_a_refusal_goes_before_the_word_that_it_is_undone() -> None:
    async def work(books: Journal, writer: ListWriter) -> None:
        [refused] = ops_of(books, 1)
        await asyncio.sleep(0)
        refused.error = ValueError("not this one")
        books.deliver([refused], None)
        [unknowing] = ops_of(books, 1)
        await asyncio.sleep(0)
        assert writer.told == [refused, unknowing, HEARD]

    run(work)


def test_closing_leaves_nothing_behind() -> None:
    async def work(books: Journal, writer: ListWriter) -> None:
        ops = ops_of(books, 2)
        books.close()
        assert writer.told == ops
        await asyncio.sleep(0)
        assert writer.told == ops, "and nothing goes twice"

    run(work)


def test_who_was_told_is_not_kept_until_the_move_is_booked() -> None:
    """A ride holds all of its request, and the writer books much later what it made durable."""

    async def work(books: Journal, writer: ListWriter) -> None:
        told, cancelled, refused = ops_of(books, 3)
        cancelled.future.cancel()  # type: ignore[attr-defined]
        refused.error = ValueError("not this one")
        waiting = [weakref.ref(op.future) for op in (told, cancelled, refused)]
        await asyncio.sleep(0)
        books.deliver([told, cancelled, refused], None)
        await asyncio.sleep(0)
        gc.collect()
        assert [each() for each in waiting] == [None] * 3
        assert all(op.future.done() for op in (told, cancelled, refused))

    run(work)
