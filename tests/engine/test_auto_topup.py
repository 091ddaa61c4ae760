"""Auto top-up: what ends it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from llm_router.adapters.memory.books import MemoryBooks
from llm_router.domain.errors import NotFound, PaymentDeclined, PaymentUnavailable, RouterError
from llm_router.engine.auto_topup import FAILURES_MAX, AutoTopup, AutoTopups
from llm_router.engine.notices import Notices
from llm_router.engine.payments import Payments
from llm_router.ports import Clock

MINUTE_MS = 60_000


class Hands:
    """A clock, a bank that says no, and a place for notices."""

    def __init__(self, answer: RouterError) -> None:
        self.answer = answer
        self.time_ms = 1_800_000_000_000
        self.charged = 0
        self.told: list[str] = []

    def now_ms(self) -> int:
        return self.time_ms

    async def card(self, account: str) -> object:
        return object()

    async def charge_card(self, account: str, cents: int, card: object) -> None:
        self.charged += 1
        raise self.answer

    async def tell(self, kind: str, *_: Any) -> None:
        self.told.append(kind)


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (NotFound("no such customer"), FAILURES_MAX),
        (PaymentUnavailable("nobody is there"), FAILURES_MAX),
        (PaymentDeclined("no"), 1),
    ],
)
def test_a_card_that_cannot_be_charged_ends_it(answer: RouterError, tries: int) -> None:
    async def scenario() -> None:
        books, hands = MemoryBooks(), Hands(answer)
        topups = AutoTopups(
            books=books,
            clock=cast(Clock, hands),
            payments=cast(Payments, hands),
            notices=cast(Notices, hands),
        )
        wish = AutoTopup(threshold_pusd=10**12, cents=100, every_ms=MINUTE_MS)
        await topups._write("acme", None, wish)
        for _ in range(5):
            await topups.work()
            hands.time_ms += 2 * MINUTE_MS
        assert hands.charged == tries
        assert hands.told == ["auto_topup.disabled"]
        found = await topups.get("acme")
        assert found is not None
        assert found.disabled

    asyncio.run(scenario())
