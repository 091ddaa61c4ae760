"""The ports of the engine in a worker: what they ask is answered by the process that owns the stores."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from llm_router.adapters.shared.calls import CALL_S, Call, Remote
from llm_router.adapters.shared.hub import EXTRA
from llm_router.adapters.shared.link import Link
from llm_router.adapters.shared.moves import HOLD_S, Leave, Moves, Publish, encode
from llm_router.adapters.sqlite.keys import KeyCache
from llm_router.billing.ledger import Wanted
from llm_router.domain.budget import Payer
from llm_router.domain.errors import LedgerUnavailable
from llm_router.domain.key import Key
from llm_router.domain.limit import Limit
from llm_router.domain.price import Price
from llm_router.domain.record import ExchangeRecord
from llm_router.domain.stored import StoredConversation
from llm_router.ports import (
    BodyStore,
    Counters,
    Directory,
    Keyring,
    Landing,
    LimitRules,
    PaperBooks,
    ResponseStore,
    SessionBook,
    SideCar,
    TreasuryBooks,
)

RULES_MAX = 10_000
"""Payers whose limits are remembered."""


class RemoteBooks(Remote):
    """The port TreasuryBooks, and with it Books."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, "books", TreasuryBooks)
        self._hold = self.calls["hold"]
        self._settle = self.calls["settle"]
        self._hold_all = self.calls["hold_all"]
        self._moves = moves = Moves(link, self._void)
        self.enter_now, self.leave_now = moves.enter, moves.leave  # of the port PromptEntrance

    async def hold(
        self, exchange_id: str, payer: Payer, amount_pusd: int, price_version: str, now_ms: int
    ) -> int:
        """As the port says. A hold that nobody heard of in time is taken back."""
        arguments = (exchange_id, payer, amount_pusd, price_version, now_ms)
        try:
            return int(await self._hold.ask(self.link, arguments, HOLD_S))
        except LedgerUnavailable:
            self.link.tell(*_told(EXTRA["void"], exchange_id))
            raise

    def hold_now(
        self,
        exchange_id: str,
        payer: Payer,
        amount_pusd: int,
        price_version: str,
        now_ms: int,
        landing: Landing,
    ) -> None:
        """As the port PromptBooks says. A hold that nobody heard of in time is taken back."""
        arguments = (exchange_id, payer, amount_pusd, price_version, now_ms)
        self._hold.ask_now(self.link, arguments, HOLD_S, _Held(self.link, exchange_id, landing))

    def settle_now(self, record: ExchangeRecord, landing: Landing) -> None:
        """As the port PromptEntrance says."""
        try:
            self._moves.charge(record, landing)
        except UnicodeEncodeError:  # the ordinary way writes it with another character
            self._settle.ask_now(self.link, (record,), CALL_S, landing)
            self.leave_now(record.id, record.usage.total_tokens, record.created_ms + record.duration_ms)

    def _void(self, exchange_id: str) -> None:
        self.link.tell(*_told(EXTRA["void"], exchange_id))

    async def hold_all(self, wanted: Sequence[Wanted], payer: Payer, now_ms: int) -> int:
        """As the port says. What nobody heard of in time is taken back."""
        try:
            return int(await self._hold_all.ask(self.link, (wanted, payer, now_ms), HOLD_S))
        except LedgerUnavailable:
            for each in wanted:
                self.link.tell(*_told(EXTRA["void"], each.exchange_id))
            raise

    def owe(self, account: str, owed_pusd: int) -> None:
        self.link.tell(*_told(EXTRA["owe"], account, owed_pusd))


class RemoteDirectory(Remote):
    """The port Directory."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, "directory", Directory)


class _Held:
    """Who hears of a hold. One that nobody heard of in time is taken back."""

    __slots__ = ("_exchange_id", "_landing", "_link")

    def __init__(self, link: Link, exchange_id: str, landing: Landing) -> None:
        self._link = link
        self._exchange_id = exchange_id
        self._landing = landing

    def done(self) -> bool:
        return self._landing.done()

    def set_result(self, result: object, /) -> None:
        self._landing.set_result(result)

    def set_exception(self, exception: BaseException, /) -> None:
        if isinstance(exception, LedgerUnavailable):
            self._link.tell(*_told(EXTRA["void"], self._exchange_id))
        self._landing.set_exception(exception)

    def exception(self) -> BaseException | None:
        return self._landing.exception()


class RemotePapers(Remote):
    """The port PaperBooks."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, "papers", PaperBooks)


class RemotePrices:
    """The port PriceBook: told once for each price, and again after the store was in trouble."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._told: dict[str, Price] = {}

    def publish(self, price: Price, now_ms: int) -> None:
        if self._told.get(price.version) is not price:
            self._told[price.version] = price
            self._link.post(encode(Publish(price, now_ms)))

    def forget(self) -> None:
        """What was told may not have been written."""
        self._told.clear()


class RemoteRuns:
    """The port OtherRuns."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def cancel(self, account: str, id_: str) -> None:
        await EXTRA["cancel_run"].ask(self._link, (account, id_))


class RemoteTails:
    """Listeners to the log in other workers, by way of the process that all are linked with."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def changed(self, accounts: list[str]) -> None:
        """Here is somebody who watches these accounts."""
        self._link.tell(*_told(EXTRA["tail"], accounts))

    def hand_on(self, record: ExchangeRecord) -> None:
        """Somebody elsewhere watches for it."""
        self._link.tell(*_told(EXTRA["tailed"], record))


class Fresh:
    """Says when what is in memory has to be asked for again, because other gateways may have changed it.

    Args:
        pause_s: how long it is believed; None: until this gateway says otherwise.
    """

    def __init__(self, pause_s: float | None) -> None:
        self.pause_s = pause_s
        self._until_s = 0.0

    def over(self) -> bool:
        """Whether the time is over; a new one begins then."""
        if self.pause_s is None:
            return False
        now_s = asyncio.get_running_loop().time()
        if now_s < self._until_s:
            return False
        self._until_s = now_s + self.pause_s
        return True


class RemoteKeyring(Remote):
    """The port Keyring, with the keys used last in memory until they are told to be forgotten, for
    ``fresh_s`` at most."""

    def __init__(self, link: Link, fresh_s: float | None = None) -> None:
        super().__init__(link, "keyring", Keyring)
        self._cache = KeyCache()
        self._fresh = Fresh(fresh_s)

    async def find(self, digest: bytes) -> Key | None:
        if self._fresh.over():
            self._cache.clear()
        while (key := self._cache.get(digest)) is None:
            version = self._cache.version
            key = cast("Key | None", await self.calls["find"].ask(self.link, (digest,), HOLD_S))
            if key is None:
                return None
            if version == self._cache.version:  # else a key was revoked meanwhile: this may be its old state
                self._cache.put(digest, key)
                return key
        return key

    def find_now(self, digest: bytes) -> Key | None:
        """As the port PromptKeyring says."""
        if self._fresh.pause_s is not None and self._fresh.over():
            self._cache.clear()
        return self._cache.get(digest)

    def forget(self) -> None:
        """A key may have changed."""
        self._cache.clear()


class RemoteRules(Remote):
    """The port LimitRules, with the answers in memory until they are told to be forgotten, for
    ``fresh_s`` at most."""

    def __init__(self, link: Link, fresh_s: float | None = None) -> None:
        super().__init__(link, "rules", LimitRules)
        self._fresh = Fresh(fresh_s)
        self._known: OrderedDict[Payer, Sequence[Limit]] = OrderedDict()
        self._version = 0

    async def limits_of(self, payer: Payer) -> Sequence[Limit]:
        payer = msgspec.structs.replace(payer, session=None)  # no limit is for a session
        if self._fresh.over():
            self.forget()
        while (limits := self._known.get(payer)) is None:
            version = self._version
            limits = cast("Sequence[Limit]", await self.calls["limits_of"].ask(self.link, (payer,), HOLD_S))
            if version == self._version:
                self._known[payer] = limits
                if len(self._known) > RULES_MAX:
                    self._known.popitem(last=False)
                return limits
        return limits

    def limits_now(self, payer: Payer) -> Sequence[Limit] | None:
        """As the port PromptRules says."""
        if self._fresh.pause_s is not None and self._fresh.over():
            self.forget()
        if payer.session is not None:
            payer = msgspec.structs.replace(payer, session=None)
        return self._known.get(payer)

    def forget(self) -> None:
        """A limit may have changed."""
        self._version += 1
        self._known.clear()


class RemoteSessions(Remote):
    """The port SessionBook."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, "sessions", SessionBook)

    def end(self, step: str, account: str, name: str, counted: bool, tokens: int, cost_pusd: int) -> None:
        self.link.tell(*_told(EXTRA["end_step"], step, account, name, counted, tokens, cost_pusd))


class RemoteCounters(Remote):
    """The port Counters.

    Attributes:
        degraded: why limits are not exact now, as their owner told.
    """

    def __init__(self, link: Link) -> None:
        super().__init__(link, "counters", Counters)
        self.degraded: str | None = None

    async def release(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        self.link.post(encode(Leave(ticket, tokens_used, now_ms)))  # ahead of what enters after it

    def problem(self) -> str | None:
        return self.degraded

    async def close(self) -> None:
        """Nothing: they are the other side's."""


class RemoteResponses(Remote):
    """The port ResponseStore."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, "responses", ResponseStore)

    async def change_conversation(
        self, account: str, id_: str, now_ms: int, change: Callable[[StoredConversation], StoredConversation]
    ) -> StoredConversation | None:
        """As the port says: tried again until nobody else changed it in between."""
        before: StoredConversation | None
        before = await self.calls["conversation"].ask(self.link, (account, id_, now_ms))
        while before is not None:
            after = change(before)
            found = await EXTRA["replace"].ask(self.link, (account, id_, now_ms, before, after))
            if found == after:
                return after
            before = found
        return None


class RemoteBodies(Remote):
    """The port BodyStore."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, "bodies", BodyStore)


class RemoteSideCar(Remote):
    """The port SideCar."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, "side_car", SideCar)

    def owns(self, account: str) -> bool:
        """Always: what is kept is known elsewhere."""
        return True

    def put(self, account: str, names: Sequence[bytes], value: bytes, now_ms: int) -> None:
        self.link.tell(*_told(EXTRA["put"], account, names, value, now_ms))

    async def get(self, account: str, names: Sequence[bytes], now_ms: int) -> dict[bytes, bytes | None]:
        """As the port says; nothing is known while nobody answers."""
        try:
            found: dict[bytes, bytes | None]
            found = await self.calls["get"].ask(self.link, (account, list(names), now_ms), CALL_S)
        except LedgerUnavailable:
            return {}
        return found


def _told(call: Call, *arguments: object) -> tuple[str, bytes]:
    return call.name, call.arguments.encode(arguments)
