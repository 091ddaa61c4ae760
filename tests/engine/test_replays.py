"""The claim of an ``Idempotency-Key`` goes with its client, whenever that leaves."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from typing import Any, cast

import msgspec
import pytest

from llm_router.adapters.memory.books import MemoryBooks
from llm_router.domain.errors import IdempotencyConflict
from llm_router.domain.key import Key
from llm_router.engine.admit import Call
from llm_router.engine.replays import EARLIER, Replays, Shelf, _Kept
from llm_router.ports import Client, Clock, Document

KEY = Key(id="key_1", account="acme", name="k", prefix="sk", created_ms=1)


class SlowBooks(MemoryBooks):
    """Books that write when they are let: ``sure``, also if nobody waits for it any more."""

    def __init__(self, *, sure: bool) -> None:
        super().__init__()
        self.sure = sure
        self.free = asyncio.Event()
        self.free.set()
        self.asked, self.stuck = asyncio.Event(), asyncio.Event()

    async def _written(self, write: Coroutine[Any, Any, bool]) -> bool:
        async def late() -> bool:
            await self.free.wait()
            return await write

        self.asked.set()
        if not self.free.is_set():
            self.stuck.set()
        work = asyncio.ensure_future(late())
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if not self.sure:
                work.cancel()
                write.close()
            raise

    async def put_document(self, document: Document) -> bool:
        return await self._written(super().put_document(document))

    async def remove_document(self, kind: str, id_: str) -> bool:
        return await self._written(super().remove_document(kind, id_))

    def hold_up(self) -> None:
        self.free.clear()


class StandingClock:
    def now_ms(self) -> int:
        return 1_800_000_000_000

    def monotonic_us(self) -> int:
        return 0


class Sink:
    """A client that takes everything."""

    started = False
    last_sent_s = 0.0

    def __init__(self) -> None:
        self.told = b""
        self.headers: list[tuple[bytes, bytes]] = []

    async def start(self, status: int, headers: Any) -> None:
        self.started, self.headers = True, headers

    async def finish(self, data: bytes = b"") -> None:
        self.told += data


def call(key: Key = KEY) -> Call:
    return Call(
        operation="chat",
        dialect=cast(Any, None),
        body=b"{}",
        credential=None,
        headers={"idempotency-key": "k"},
        started_us=0,
        key=key,
    )


async def whole(_: Call, client: Client) -> bool:
    await client.start(200, [])
    await client.finish(b"the answer")
    return True


async def broken(_: Call, client: Client) -> bool:
    await client.start(200, [])
    return False


async def once(books: SlowBooks, serve: Any, key: Key = KEY) -> bytes:
    """What a client is told."""
    clock, client = cast(Clock, StandingClock()), Sink()
    replays = Replays(Shelf(books, clock), clock, lambda: 600.0)
    await replays.serve(call(key), "/v1", cast(Client, client), serve)
    return client.told


async def left(books: SlowBooks, serve: Any) -> None:
    """A client that leaves while the books, which were held up, have something to write."""
    task = asyncio.ensure_future(once(books, serve))
    await books.stuck.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(books.free.set)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("sure", [True, False])
def test_who_leaves_while_the_key_is_claimed_leaves_no_claim(sure: bool) -> None:
    async def scenario() -> None:
        books = SlowBooks(sure=sure)
        books.hold_up()
        await left(books, whole)
        assert await once(books, whole) == b"the answer"

    asyncio.run(scenario())


@pytest.mark.parametrize("sure", [True, False])
def test_who_leaves_while_the_answer_is_kept_gets_it_later(sure: bool) -> None:
    async def scenario() -> None:
        books = SlowBooks(sure=sure)

        async def held_up(asked: Call, client: Client) -> bool:
            books.hold_up()
            return await whole(asked, client)

        await left(books, held_up)
        assert await once(books, broken) == b"the answer"  # it is not made again

    asyncio.run(scenario())


@pytest.mark.parametrize("sure", [True, False])
def test_who_leaves_while_the_key_is_given_back_holds_nobody_up(sure: bool) -> None:
    async def scenario() -> None:
        books = SlowBooks(sure=sure)

        async def held_up(asked: Call, client: Client) -> bool:
            books.hold_up()
            return await broken(asked, client)

        await left(books, held_up)
        assert await once(books, whole) == b"the answer"

    asyncio.run(scenario())


def test_a_claim_of_somebody_else_is_left_alone() -> None:
    async def scenario() -> None:
        books, served = SlowBooks(sure=True), asyncio.Event()

        async def waits(asked: Call, client: Client) -> bool:
            await served.wait()
            return await whole(asked, client)

        first = asyncio.ensure_future(once(books, waits))
        await books.asked.wait()
        await asyncio.sleep(0)
        with pytest.raises(IdempotencyConflict):
            await once(books, whole)
        served.set()
        assert await first == b"the answer"

    asyncio.run(scenario())


def test_the_claim_of_a_process_that_died_is_free_at_once_and_the_next_answer_says_so() -> None:
    async def scenario() -> None:
        books, clock = SlowBooks(sure=True), cast(Clock, StandingClock())
        shelf = Shelf(books, clock)
        waits = asyncio.Event()

        async def hangs(asked: Call, client: Client) -> bool:
            await waits.wait()
            return False

        def process(number: int) -> Replays:
            return Replays(shelf, clock, lambda: 600.0, number)

        dying = asyncio.ensure_future(process(7).serve(call(), "/v1", cast(Client, Sink()), hangs))
        await books.asked.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        await shelf.ended(8)
        with pytest.raises(IdempotencyConflict):
            await process(8).serve(call(), "/v1", cast(Client, Sink()), whole)
        await shelf.ended(7)
        client, again = Sink(), Sink()
        await process(8).serve(call(), "/v1", cast(Client, client), whole)
        assert (client.told, client.headers) == (b"the answer", [EARLIER])
        await process(8).serve(call(), "/v1", cast(Client, again), broken)
        assert EARLIER not in again.headers
        waits.set()  # it was not dead after all: what is kept stays
        await dying
        assert await once(books, broken) == b"the answer"

    asyncio.run(scenario())


def test_the_claim_of_a_run_that_is_over_is_free_at_once() -> None:
    async def scenario() -> None:
        books, clock = SlowBooks(sure=True), cast(Clock, StandingClock())
        shelf = Shelf(books, clock)
        begun = _Kept(digest="x", until_ms=clock.now_ms() + 10**6, life="of before", process=1)
        id_ = hashlib.sha256(b"acme\0k").hexdigest()
        assert await shelf.claim(id_, "acme", begun, None, clock.now_ms()) is not None
        assert await once(books, whole) == b"the answer"

    asyncio.run(scenario())


def test_what_one_key_was_answered_is_not_told_to_another_of_its_account() -> None:
    async def refused(_: Call, client: Client) -> bool:
        await client.start(403, [])
        await client.finish(b"not yours")
        return True

    async def scenario() -> None:
        books = SlowBooks(sure=True)
        mate = msgspec.structs.replace(KEY, id="key_2", models=("m2",))
        assert await once(books, whole) == b"the answer"
        assert await once(books, refused, mate) == b"not yours"
        assert await once(books, refused) == b"the answer"

    asyncio.run(scenario())
