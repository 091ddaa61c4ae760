"""The side of the process that owns the stores: one session for each worker.

A session knows what its worker has open: holds, places in the limits, responses being made. When
the connection ends, however it ends, all of it is resolved, and nothing of any other worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from llm_router.adapters.shared.calls import CALL_S, Call, calls_of
from llm_router.adapters.shared.link import Link
from llm_router.adapters.shared.tails import Tails
from llm_router.adapters.shared.teller import Singly, Teller
from llm_router.billing.ledger import Wanted
from llm_router.billing.sessions import Calls, Granted
from llm_router.domain.account import Actor
from llm_router.domain.budget import Payer
from llm_router.domain.errors import LedgerUnavailable, SessionBrake
from llm_router.domain.limit import Admission, Limit
from llm_router.domain.record import ExchangeRecord
from llm_router.domain.session import SessionLimits
from llm_router.domain.stored import StoredConversation, StoredResponse
from llm_router.ports import (
    BodyStore,
    Clock,
    Counters,
    Directory,
    Keyring,
    LimitRules,
    PaperBooks,
    PriceBook,
    ResponseStore,
    SessionBook,
    SideCar,
    TreasuryBooks,
)

TRY_AGAIN_S = 1.0
"""Pause between two tries to resolve what a worker left, while the disk refuses."""

_encoder = msgspec.msgpack.Encoder()

Answer = Callable[..., Awaitable[Any]]


class SharedBooks(TreasuryBooks, Protocol):
    """Books whose holds can be taken from a worker that is no more."""

    @property
    def trouble(self) -> str | None:
        """Why no request can be served now, in a word; None if it can."""
        ...

    async def release(self, exchange_ids: Sequence[str], now_ms: int, *, orphaned: bool) -> int:
        """Void the open holds among those of some exchanges; return how many there were.

        Raises:
            LedgerUnavailable: not all of them were released.
        """
        ...


class Extra(Protocol):
    """What workers may ask beside the ports."""

    async def void(self, exchange_id: str) -> None:
        """Nobody waits for that hold any more, and nothing was sent for it."""
        ...

    async def replace(
        self, account: str, id_: str, now_ms: int, before: StoredConversation, after: StoredConversation
    ) -> StoredConversation | None:
        """Replace a conversation that still is as it was; return what is there then."""
        ...

    async def put(self, account: str, names: list[bytes], value: bytes, now_ms: int) -> None:
        """Keep something in the side-car."""
        ...

    async def owe(self, account: str, owed_pusd: int) -> None:
        """As of the port TreasuryBooks."""
        ...

    async def end_step(
        self, step: str, account: str, name: str, counted: bool, tokens: int, cost_pusd: int
    ) -> None:
        """As ``end`` of the port SessionBook."""
        ...

    async def cancel_run(self, account: str, id_: str) -> None:
        """As of the port OtherRuns."""
        ...

    async def welcome(self) -> bytes:
        """What a worker needs to begin."""
        ...

    async def begun(self) -> None:
        """The worker accepts requests."""
        ...

    async def tail(self, accounts: list[str]) -> None:
        """Of these accounts the worker has listeners to the log."""
        ...

    async def tailed(self, record: ExchangeRecord) -> None:
        """An exchange has ended that listeners of other workers watch for."""
        ...

    async def operate(self, command: str, arguments: bytes, by: Actor) -> bytes:
        """Run an operator's command. Raises what the command raises."""
        ...


EXTRA = calls_of("extra", Extra)


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What was resolved when a worker had gone."""

    holds: int
    places: int
    responses: int


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers share.

    Attributes:
        operate: runs an operator's command with arguments in JSON; its result is JSON.
        failed: makes the last state of a response whose worker died.
    """

    books: SharedBooks
    keyring: Keyring
    rules: LimitRules
    counters: Counters
    sessions: SessionBook
    prices: PriceBook
    responses: ResponseStore
    side_car: SideCar | None
    papers: PaperBooks
    directory: Directory | None = None
    bodies: BodyStore | None = None
    operate: Callable[[str, bytes, Actor], Awaitable[bytes]] | None = None
    clock: Clock
    failed: Callable[[StoredResponse], StoredResponse]


class Session:
    """One worker's connection, and what the worker has open.

    Attributes:
        ready: done when the worker accepts requests.
        left: done when the connection has ended and all that was open is resolved.
    """

    def __init__(
        self,
        stores: Shared,
        welcome: bytes,
        owner_of: Callable[[str, str], Session | None],
        tails: Tails,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._stores = stores
        self._tails = tails
        self._welcome = welcome
        self._owner_of = owner_of
        self._holding: dict[str, asyncio.Future[None]] = {}
        self._open: dict[str, None] = {}
        self._places: dict[str, int] = {}
        self._steps: dict[str, tuple[str, str]] = {}
        self._unfinished: dict[tuple[str, str], None] = {}
        self._refused: dict[str, str] = {}
        self.ready: asyncio.Future[None] = loop.create_future()
        self.left: asyncio.Future[Left] = loop.create_future()
        self._desk = self._answers()
        self._end: asyncio.Task[None] | None = None
        self.link = Link(self._answer, self._lost)
        self._teller = Teller(
            self.link,
            books=stores.books,
            counters=stores.counters,
            singly=Singly(admit=self._admit, hold=self._hold, settle=self._settle, release=self._release),
            open_=self._open,
            places=self._places,
            prices=stores.prices,
            refused=self._refused,
        )

    def _answers(self) -> Mapping[str, tuple[Call, Answer]]:
        stores = self._stores
        desk: dict[str, tuple[Call, Answer]] = {}
        ports: list[tuple[str, type, object]] = [
            ("books", TreasuryBooks, stores.books),
            ("papers", PaperBooks, stores.papers),
            ("keyring", Keyring, stores.keyring),
            ("rules", LimitRules, stores.rules),
            ("counters", Counters, stores.counters),
            ("sessions", SessionBook, stores.sessions),
            ("responses", ResponseStore, stores.responses),
            ("extra", Extra, self),
        ]
        if stores.directory is not None:
            ports.append(("directory", Directory, stores.directory))
        if stores.bodies is not None:
            ports.append(("bodies", BodyStore, stores.bodies))
        if stores.side_car is not None:
            ports.append(("side_car", SideCar, stores.side_car))
        for prefix, port, store in ports:
            for name, call in calls_of(prefix, port).items():
                desk[call.name] = (call, getattr(store, name))
        for name, answer in (
            ("books.hold", self._hold),
            ("books.hold_all", self._hold_all),
            ("books.settle", self._settle),
            ("counters.admit", self._admit),
            ("counters.release", self._release),
            ("sessions.begin", self._begin_step),
            ("responses.put", self._put_response),
        ):
            desk[name] = (desk[name][0], answer)
        return desk

    async def _answer(self, name: str, body: msgspec.Raw) -> bytes:
        found = self._desk.get(name)
        if found is None:
            raise ValueError(f"there is no call {name}")
        call, answer = found
        return call.result.encode(await call.run(answer, call.arguments.decode(body)))

    # -- what must be resolved when the worker goes ------------------------------------------------

    async def _hold(
        self, exchange_id: str, payer: Payer, amount_pusd: int, price_version: str, now_ms: int
    ) -> int:
        if price_version in self._refused:
            raise ValueError(self._refused[price_version])
        done = self._holding[exchange_id] = asyncio.get_running_loop().create_future()
        try:
            available_pusd = await self._stores.books.hold(
                exchange_id, payer, amount_pusd, price_version, now_ms
            )
            self._open[exchange_id] = None
            return available_pusd
        finally:
            del self._holding[exchange_id]
            done.set_result(None)

    async def _hold_all(self, wanted: Sequence[Wanted], payer: Payer, now_ms: int) -> int:
        for each in wanted:
            if each.price_version in self._refused:
                raise ValueError(self._refused[each.price_version])
        ids = [each.exchange_id for each in wanted]
        done = asyncio.get_running_loop().create_future()
        self._holding |= dict.fromkeys(ids, done)
        try:
            available_pusd = await self._stores.books.hold_all(wanted, payer, now_ms)
            self._open |= dict.fromkeys(ids)
            return available_pusd
        except LedgerUnavailable:  # some of it may be there
            self._open |= dict.fromkeys(ids)
            raise
        finally:
            for id_ in ids:
                self._holding.pop(id_, None)
            done.set_result(None)

    async def _settle(self, record: ExchangeRecord) -> Any:
        settled = await self._stores.books.settle(record)
        self._open.pop(record.id, None)
        return settled

    async def _admit(self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int) -> Admission:
        self._places[ticket] = tokens
        admission = await self._stores.counters.admit(ticket, limits, tokens, now_ms)
        if admission.refused is not None:
            self._places.pop(ticket, None)
        elif ticket not in self._places:  # it left before it was counted
            await self._stores.counters.release(ticket, 0, now_ms)
        return admission

    async def _release(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        self._places.pop(ticket, None)
        await self._stores.counters.release(ticket, tokens_used, now_ms)

    async def _begin_step(
        self,
        step: str,
        account: str,
        name: str,
        limits: SessionLimits,
        tokens: int,
        calls: Calls | None,
        worst_pusd: int,
        now_ms: int,
    ) -> Granted:
        self._steps[step] = (account, name)
        try:
            return await self._stores.sessions.begin(
                step, account, name, limits, tokens, calls, worst_pusd, now_ms
            )
        except SessionBrake:
            self._steps.pop(step, None)
            raise

    async def end_step(
        self, step: str, account: str, name: str, counted: bool, tokens: int, cost_pusd: int
    ) -> None:
        self._steps.pop(step, None)
        self._stores.sessions.end(step, account, name, counted, tokens, cost_pusd)

    async def _put_response(self, response: StoredResponse) -> None:
        place = (response.account, response.id)
        if response.unfinished:
            self._unfinished[place] = None
        await self._stores.responses.put(response)
        if not response.unfinished:
            self._unfinished.pop(place, None)

    # -- what workers may ask beside the ports -----------------------------------------------------

    async def void(self, exchange_id: str) -> None:
        await self._teller.entered(exchange_id)
        while (waiting := self._holding.get(exchange_id)) is not None:
            await asyncio.wait((waiting,))
        if exchange_id in self._open:
            await self._until_taken(
                lambda: self._stores.books.release([exchange_id], self._stores.clock.now_ms(), orphaned=False)
            )
            self._open.pop(exchange_id, None)

    async def replace(
        self, account: str, id_: str, now_ms: int, before: StoredConversation, after: StoredConversation
    ) -> StoredConversation | None:
        return await self._stores.responses.change_conversation(
            account, id_, now_ms, lambda found: after if found == before else found
        )

    async def put(self, account: str, names: list[bytes], value: bytes, now_ms: int) -> None:
        if self._stores.side_car is not None:
            self._stores.side_car.put(account, names, value, now_ms)

    async def owe(self, account: str, owed_pusd: int) -> None:
        self._stores.books.owe(account, owed_pusd)

    async def cancel_run(self, account: str, id_: str) -> None:
        owner = self._owner_of(account, id_)
        if owner is not None:
            await owner.link.ask("cancel_run", _encoder.encode((account, id_)), CALL_S)

    def makes(self, account: str, id_: str) -> bool:
        """Whether this worker makes that response."""
        return (account, id_) in self._unfinished

    async def welcome(self) -> bytes:
        return self._welcome

    async def operate(self, command: str, arguments: bytes, by: Actor) -> bytes:
        if self._stores.operate is None:
            raise ValueError("nobody runs commands here")
        return await self._stores.operate(command, arguments, by)

    async def tail(self, accounts: list[str]) -> None:
        self._tails.watch(self.link, accounts)

    async def tailed(self, record: ExchangeRecord) -> None:
        self._tails.hand_on(self.link, record)

    async def begun(self) -> None:
        self._tails.tell(self.link)
        if not self.ready.done():
            self.ready.set_result(None)

    # -- the end -----------------------------------------------------------------------------------

    def _lost(self) -> None:
        self._end = asyncio.get_running_loop().create_task(self._resolve(), name="worker-left")

    async def _resolve(self) -> None:
        """Resolve what the worker left open: its holds are voided, its places in the limits given back."""
        await self.link.answered()
        await self._teller.done()
        self._tails.watch(self.link, ())
        stores, now_ms = self._stores, self._stores.clock.now_ms()
        for step, (account, name) in self._steps.items():
            stores.sessions.end(step, account, name, True, 0, 0)
        for ticket, tokens in self._places.items():
            await stores.counters.release(ticket, tokens, now_ms)
        ids = list(self._open)
        holds = await self._until_taken(lambda: stores.books.release(ids, now_ms, orphaned=True))
        for account, id_ in self._unfinished:
            await self._until_taken(lambda a=account, i=id_: self._fail(a, i, now_ms))  # type: ignore[misc]
        left = Left(holds=holds, places=len(self._places), responses=len(self._unfinished))
        self.left.set_result(left)

    async def _fail(self, account: str, id_: str, now_ms: int) -> int:
        found = await self._stores.responses.get(account, id_, now_ms)
        if found is not None and found.unfinished:
            await self._stores.responses.put(self._stores.failed(found))
        return 1

    async def _until_taken(self, work: Callable[[], Awaitable[int]]) -> int:
        """Do it as soon as the store takes it, or never if the store closes: then its next start does."""
        while True:
            try:
                return await work()
            except LedgerUnavailable:
                if self._stores.books.trouble == "stopping":
                    return 0
                await asyncio.sleep(TRY_AGAIN_S)


class Hub:
    """All sessions."""

    def __init__(self, stores: Shared) -> None:
        self.stores = stores
        self.sessions: set[Session] = set()
        self._tails = Tails(lambda: [session.link for session in self.sessions])

    def open(self, welcome: bytes) -> Session:
        """A session for a worker that is about to connect: give its ``link`` to the transport."""
        session = Session(self.stores, welcome, self._owner_of, self._tails)
        self.sessions.add(session)
        session.left.add_done_callback(lambda _: self.sessions.discard(session))
        return session

    def _owner_of(self, account: str, id_: str) -> Session | None:
        return next((session for session in self.sessions if session.makes(account, id_)), None)

    def tell(self, name: str, *arguments: object) -> None:
        """Tell all workers something."""
        for session in self.sessions:
            session.link.tell(name, _encoder.encode(arguments))

    async def gather(self, name: str, *arguments: object, timeout_s: float) -> list[Any]:
        """What all workers answer; those that do not in time are left out."""
        body = _encoder.encode(arguments)
        answers = await asyncio.gather(
            *(session.link.ask(name, body, timeout_s) for session in self.sessions), return_exceptions=True
        )
        found = [
            msgspec.msgpack.decode(answer) for answer in answers if not isinstance(answer, BaseException)
        ]
        return [answer for answer in found if answer is not None]

    async def ask(self, name: str, *arguments: object, timeout_s: float) -> list[Session]:
        """Ask all workers, and wait for them; return those that did not answer though they are there."""
        sessions = list(self.sessions)
        body = _encoder.encode(arguments)
        answers = await asyncio.gather(
            *(session.link.ask(name, body, timeout_s) for session in sessions), return_exceptions=True
        )
        return [
            session
            for session, answer in zip(sessions, answers, strict=True)
            if isinstance(answer, BaseException) and not session.link.closed
        ]
