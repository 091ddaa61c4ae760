"""Where the moves of a worker's requests are made: the ledger's end of :mod:`llm_router.adapters.shared.moves`.

With books and counters that answer at once a frame of moves is made in one step, and each is answered when the
store has written it. With others (PostgreSQL, Redis) each is a task, made as if it had been asked for by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from llm_router.adapters.shared.failures import UNFORESEEN, Failure, told
from llm_router.adapters.shared.link import Link
from llm_router.adapters.shared.moves import (
    Charge,
    Charged,
    Enter,
    Held,
    Kind,
    Leave,
    Publish,
    Uncharged,
    decode_moves,
    encode,
)
from llm_router.domain.errors import RouterError
from llm_router.domain.limit import Admission
from llm_router.domain.price import Price
from llm_router.domain.record import ExchangeRecord
from llm_router.ports import Gauge, PriceBook, PromptBooks, PromptCounters, Settled

_decode_record = msgspec.json.Decoder(ExchangeRecord).decode


class Singly(msgspec.Struct, frozen=True, kw_only=True):
    """The moves one by one, as a session of a worker makes them that asks for each."""

    admit: Callable[..., Awaitable[Admission]]
    hold: Callable[..., Awaitable[int]]
    settle: Callable[[ExchangeRecord], Awaitable[Settled]]
    release: Callable[[str, int, int], Awaitable[None]]


class Teller:
    """Makes the moves of one worker.

    Args:
        open_: the exchanges that hold; places: those that are counted, with their tokens. Kept up to date here.
        refused: why nothing can be held by a price, by its version. Written here too.

    Attributes:
        waiting: how many moves the store has not spoken of yet.
    """

    def __init__(
        self,
        link: Link,
        *,
        books: object,
        counters: object,
        singly: Singly,
        open_: dict[str, None],
        places: dict[str, int],
        prices: PriceBook,
        refused: dict[str, str],
    ) -> None:
        self._books: PromptBooks | None = None
        self._counters: PromptCounters | None = None
        if isinstance(books, PromptBooks) and isinstance(counters, PromptCounters):
            self._books, self._counters = books, counters
        self._singly = singly
        self.open, self._places, self._refused = open_, places, refused
        self._prices = prices
        self._kinds: dict[int, tuple[Kind, Gauge | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._entering: dict[str, asyncio.Task[None]] = {}
        self.waiting = 0
        self._quiet: asyncio.Future[None] | None = None
        self.post = link.post
        link.hear = self._make

    async def done(self) -> None:
        """Wait until all moves are durable, or refused."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self.waiting:
            self._quiet = asyncio.get_running_loop().create_future()
            await self._quiet

    def _make(self, posted: msgspec.Raw) -> None:
        for move in decode_moves(posted):
            if type(move) is Enter:
                if self._books is not None:
                    self._enter(move, self._books)
                else:
                    self._entering[move.exchange_id] = self._begin(
                        self._enter_singly(move, self._kinds[move.kind][0])
                    )
            elif type(move) is Charge:
                if self._books is not None:
                    self._charge(move, self._books)
                else:
                    self._begin(self._charge_singly(move))
            elif type(move) is Leave:
                if not self.leave(move.exchange_id, move.tokens_used, move.now_ms):
                    self._begin(self._leave_singly(move.exchange_id, move.tokens_used, move.now_ms))
            elif type(move) is Kind:
                gauge = (
                    None if not move.limits or self._counters is None else self._counters.gauge(move.limits)
                )
                self._kinds[move.number] = move, gauge
            else:
                assert type(move) is Publish
                self._publish(move.price, move.now_ms)

    # -- at once -----------------------------------------------------------------------------------

    def _enter(self, move: Enter, books: PromptBooks) -> None:
        id_, admission = move.exchange_id, None
        kind, gauge = self._kinds[move.kind]
        if gauge is not None:
            admission = gauge.admit(id_, move.tokens, move.now_ms)
            if admission.refused is not None:
                self.answer(Held(move.number, admission))
                return
            self._places[id_] = move.tokens
        landing, version = _Holding(self, move.number, id_, admission), kind.price_version
        self.open[id_] = None  # at once: it is to be voided if the worker goes now
        self.waiting += 1
        try:
            if version in self._refused:
                raise ValueError(self._refused[version])
            books.hold_now(id_, kind.payer, move.amount_pusd, version, move.now_ms, landing)
        except Exception as error:  # whatever it is, the worker waits for an answer
            landing.set_exception(error)

    def _charge(self, move: Charge, books: PromptBooks) -> None:
        record = self._read(move)
        if record is None:
            return
        landing = _Charging(self, move.number, record)
        self.waiting += 1
        try:
            books.settle_now(record, landing)
        except Exception as error:  # whatever it is, the worker waits for an answer
            landing.set_exception(error)

    def _read(self, move: Charge) -> ExchangeRecord | None:
        """The record of a move; None of one that is none: the worker is told, and all others go on."""
        try:
            return _decode_record(move.record)
        except msgspec.MsgspecError as error:
            self.answer(Uncharged(move.number, failure_of(error)))
            return None

    def leave(self, exchange_id: str, tokens_used: int, now_ms: int) -> bool:
        """Give its places back at once; False if it has none, or they cannot be given back at once."""
        if self._counters is None or self._places.pop(exchange_id, None) is None:
            return False
        self._counters.release_now(exchange_id, tokens_used, now_ms)
        return True

    def _publish(self, price: Price, now_ms: int) -> None:
        try:
            self._prices.publish(price, now_ms)
        except ValueError as error:  # the worker hears of it when it asks for a hold by that price
            self._refused[price.version] = str(error)

    def answer(self, answer: Held | Charged | Uncharged) -> None:
        """Tell the worker what became of a move that nobody waits for any more."""
        self.post(encode(answer))
        if self._quiet is not None and not self.waiting:
            self._quiet.set_result(None)
            self._quiet = None

    # -- in tasks ----------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def entered(self, exchange_id: str) -> None:
        """Wait until it has entered, or not: what is asked of it afterwards comes behind."""
        if exchange_id in self._entering:
            await asyncio.wait((self._entering[exchange_id],))

    async def _enter_singly(self, move: Enter, kind: Kind) -> None:
        id_, singly = move.exchange_id, self._singly
        admission: Admission | None = None
        try:
            if kind.limits:
                admission = await singly.admit(id_, kind.limits, move.tokens, move.now_ms)
            if admission is None or admission.refused is None:
                await singly.hold(id_, kind.payer, move.amount_pusd, kind.price_version, move.now_ms)
        except Exception as error:  # whatever it is, the worker waits for an answer
            self.answer(Held(move.number, admission, failure_of(error)))
        else:
            self.answer(Held(move.number, admission))
        finally:
            del self._entering[id_]

    async def _leave_singly(self, exchange_id: str, tokens_used: int, now_ms: int) -> None:
        """Behind what was asked before, which may be to count it."""
        await self.entered(exchange_id)
        if exchange_id in self._places:
            await self._singly.release(exchange_id, tokens_used, now_ms)

    async def _charge_singly(self, move: Charge) -> None:
        record = self._read(move)
        if record is None:
            return
        await self.entered(record.id)
        try:
            settled = await self._singly.settle(record)
            await self._leave_singly(record.id, record.usage.total_tokens, left_ms(record))
        except Exception as error:  # whatever it is, the worker waits for an answer
            self.answer(Uncharged(move.number, failure_of(error)))
        else:
            self.answer(Charged(move.number, settled.charged_pusd, settled.remaining_pusd))


class _Holding(msgspec.Struct, eq=False):
    """Waits for a hold in the place of a future."""

    _teller: Teller
    _number: int
    _exchange_id: str
    _admission: Admission | None

    def done(self) -> bool:
        return False

    def set_result(self, result: object, /) -> None:
        teller = self._teller
        teller.waiting -= 1
        teller.answer(Held(self._number, self._admission))

    def set_exception(self, exception: BaseException, /) -> None:
        teller = self._teller
        teller.waiting -= 1
        teller.open.pop(self._exchange_id, None)
        teller.answer(Held(self._number, self._admission, failure_of(exception)))

    def exception(self) -> BaseException | None:
        return None


class _Charging(msgspec.Struct, eq=False):
    """Waits for a settlement in the place of a future."""

    _teller: Teller
    _number: int
    _record: ExchangeRecord

    def done(self) -> bool:
        return False

    def set_result(self, settled: Settled, /) -> None:
        teller, record = self._teller, self._record
        teller.waiting -= 1
        teller.open.pop(record.id, None)
        teller.leave(record.id, record.usage.total_tokens, left_ms(record))
        teller.answer(Charged(self._number, settled.charged_pusd, settled.remaining_pusd))

    def set_exception(self, exception: BaseException, /) -> None:
        teller = self._teller
        teller.waiting -= 1
        teller.answer(Uncharged(self._number, failure_of(exception)))

    def exception(self) -> BaseException | None:
        return None


def left_ms(record: ExchangeRecord) -> int:
    """When a settled exchange has left."""
    return record.created_ms + record.duration_ms


def failure_of(error: BaseException) -> Failure:
    """The error for the worker; one that nobody foresaw is reported here."""
    if isinstance(error, RouterError | ValueError):
        return told(error)
    asyncio.get_running_loop().call_exception_handler(
        {"message": "unforeseen error between worker and ledger", "exception": error}
    )
    return UNFORESEEN
