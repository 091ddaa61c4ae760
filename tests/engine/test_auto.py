"""``auto`` in the engine: the dial of a request, and what is kept over a restart."""

from __future__ import annotations

import asyncio
import json
from functools import cached_property
from typing import Any

import pytest

from llm_router.adapters.memory.books import MemoryBooks
from llm_router.domain.errors import InvalidRequest
from llm_router.engine import auto
from llm_router.engine.admit import Call
from llm_router.engine.auto import DIAL_HEADER, KIND, PLACE, AutoKeeper, read_dial
from llm_router.engine.autos import Autos
from llm_router.routing.auto.artefact import Artefact, decode_artefact, shipped
from llm_router.routing.auto.choose import Offer
from llm_router.routing.auto.router import AutoRouter
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.registry import DIALECTS

OFFERS = (
    Offer(id="a/small", model="small", cost_pusd=1_000, quality_tier=1),
    Offer(id="b/large", model="large", cost_pusd=30_000, quality_tier=4),
)


def a_call(
    dialect: str = "openai_chat", headers: dict[str, str] | None = None, **members: Any
) -> tuple[Call, Inspected]:
    asked = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9}
    body = json.dumps({"model": "auto", **asked, **members}).encode()
    spoken = DIALECTS[dialect]
    call = Call(
        operation="chat", dialect=spoken, body=body, credential=None, headers=headers or {}, started_us=0
    )
    return call, spoken.inspect(body, None, None)


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic_messages"])
@pytest.mark.parametrize(("given", "meant"), [("0", 0.0), ("7.5", 7.5), ("10", 10.0)])
def test_the_dial_of_a_request(given: str, meant: float, dialect: str) -> None:
    assert read_dial(*a_call(dialect, dial=float(given))) == meant
    assert read_dial(*a_call(headers={DIAL_HEADER: given})) == meant
    assert read_dial(*a_call(dial=float(given))) == meant
    assert read_dial(*a_call(headers={DIAL_HEADER: given}, dial=1)) == meant
    assert read_dial(*a_call()) is None


@pytest.mark.parametrize("wrong", ["11", "-1", "nan", "inf", "high", ""])
def test_a_dial_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidRequest, match="from 0 \\(cheapest\\) to 10"):
        read_dial(*a_call(headers={DIAL_HEADER: wrong}))
    with pytest.raises(InvalidRequest, match="'dial'"):
        read_dial(*a_call(dial=wrong))
    with pytest.raises(InvalidRequest):
        read_dial(*a_call(dial=True))


class Held:
    """A router that is read when it is needed."""

    def __init__(self) -> None:
        self.used = False

    def prepare(self, artefact: Artefact) -> None:
        """It reads the weights itself."""

    @cached_property
    def router(self) -> AutoRouter:
        self.used = True
        return AutoRouter(decode_artefact(shipped()))


class Clock:
    def now_ms(self) -> int:
        return 1_800_000_000_000

    def monotonic_us(self) -> int:
        return 0


def test_what_was_learned_outlives_a_restart() -> None:
    async def go() -> None:
        books = MemoryBooks()
        held = Held()
        keeper = AutoKeeper(held, books, Clock())
        await keeper.begin()
        assert not held.used
        await keeper.close()
        assert await books.document(KIND, PLACE) is None
        for _ in range(2):  # the second time over what was there
            held.router.made(held.router.choose(held.router.read("Prove that 2 is prime."), OFFERS, 5))
            await keeper.save()
            await keeper.save()
        document = await books.document(KIND, PLACE)
        assert document is not None
        assert document.version == 2
        assert b"prime" not in document.body
        again = Held()
        other = AutoKeeper(again, books, Clock())
        await other.begin()
        assert again.router.traffic.samples == held.router.traffic.samples
        await other.close()

    asyncio.run(go())


class Prepared(Autos):
    """Says when it has its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared = asyncio.Event()

    def prepare(self, artefact: Artefact) -> None:
        super().prepare(artefact)
        self.prepared.set()


def test_the_weights_are_read_beside_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        monkeypatch.setattr(auto, "PREPARE_S", 0.0)
        autos = Prepared()
        keeper = AutoKeeper(autos, MemoryBooks(), Clock())
        await keeper.begin()
        async with asyncio.timeout(30):
            await autos.prepared.wait()
        first = autos.router
        autos.prepare(first.artefact)
        assert autos.router is first
        await keeper.close()

    asyncio.run(go())
