"""Whole replies of the fast lane are read together at the end of the loop's iteration, and none is forgotten."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from llm_router.engine import express
from llm_router.engine.express import Express, Ride


class Came(Ride):
    """A ride whose provider is called; how it lands is told to a list."""

    told: list[object] = []

    @classmethod
    def of(cls, lane: Express, told: list[object]) -> Came:
        engine = SimpleNamespace(drains=SimpleNamespace(begin=lambda track, ride: True))
        nothing = cast(Any, None)
        made = cls(
            lane,
            cast(Any, engine),
            nothing,
            nothing,
            nothing,
            nothing,
            nothing,
            "gen-1",
            0,
            nothing,
            0,
            told=told,
        )
        made._track = cast(Any, SimpleNamespace(id="gen-1", gone=False))
        made._stage = express._CALLING
        return made

    def come(self) -> None:
        """The reply is whole."""
        self._came_us = 0
        self._express.land_soon(self)

    def _landed(self) -> None:
        self.told.append(self)
        self._stage = express._SETTLING


class Fails(Came):
    """A ride that fails as nobody foresaw."""

    def land(self) -> None:
        raise RuntimeError("unforeseen")


def lane() -> Express:
    return Express(
        cast(Any, SimpleNamespace(books=None, keyring=None, rules=None, counters=None, upstream=None))
    )


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_replies_land_together_and_once() -> None:
    async def main() -> None:
        made, told = lane(), list[object]()
        first, second, waits = (Came.of(made, told) for _ in range(3))
        first.come()
        second.come()
        assert told == [], "the iteration is not over"
        await turns()
        assert told == [first, second]
        waits.land()
        assert told == [first, second], "nothing has come for it"

    asyncio.run(main())


def test_who_leaves_when_the_reply_is_there_is_billed_for_it() -> None:
    async def main() -> None:
        made, told = lane(), list[object]()
        leaves, ends = Came.of(made, told), Came.of(made, told)
        leaves.come()
        leaves.left()
        assert told == [leaves]
        assert leaves.track.gone
        ends.come()
        assert not ends.stop(), "it ends by itself"
        await turns()
        assert told == [leaves, ends], "and none is read twice"

    asyncio.run(main())


def test_one_that_fails_keeps_no_other_waiting() -> None:
    async def main() -> None:
        seen: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: seen.append(context["exception"])
        )
        made, told = lane(), list[object]()
        Fails.of(made, told).come()
        other = Came.of(made, told)
        other.come()
        await turns()
        assert told == [other]
        assert [str(error) for error in cast(list[Exception], seen)] == ["unforeseen"]

    asyncio.run(main())


def test_the_last_piece_of_a_reply_is_not_taken_for_all_of_it() -> None:
    nothing = cast(Any, None)
    boarding = SimpleNamespace(read=None, form=object(), tariff=object(), reply_bytes_max=100)
    read: list[bytes] = []
    boarding.read = read.append
    made = Ride(
        nothing, nothing, nothing, nothing, cast(Any, boarding), nothing, nothing, "gen-1", 0, nothing, 0
    )
    made.key, made.inspected = (
        cast(Any, SimpleNamespace(tags=())),
        cast(Any, SimpleNamespace(legacy_functions=False, n=1)),
    )
    made._worst, made._reply = cast(Any, object()), cast(Any, SimpleNamespace(whole=b"{}"))
    made._pieces = [b"what came before "]
    assert not made._landed_plainly(0)
    assert read == []
    made._pieces = None
    assert not made._landed_plainly(0), "it was not plain"
    assert read == [b"{}"]
