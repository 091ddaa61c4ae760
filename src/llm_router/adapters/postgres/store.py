"""Books and keys of many nodes in one PostgreSQL database.

Every node gathers the holds and settlements of the moment and commits them in one transaction, under
the locks of their accounts; see :mod:`llm_router.adapters.postgres.batch`. Nothing is decided in a
node's memory, so balances and budgets are exact whatever the number of nodes and whichever of them
dies. Holds belong to the node that made them and are voided when it dies, or closes.

Cancelling an await does not cancel the move, as with the other stores.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import msgspec

from llm_router.adapters.postgres import budgets as budget_rows
from llm_router.adapters.postgres import documents, keys, prices
from llm_router.adapters.postgres import limits as limit_rows
from llm_router.adapters.postgres import papers as paper_rows
from llm_router.adapters.postgres.audit import audit
from llm_router.adapters.postgres.folding import fold
from llm_router.adapters.postgres.known import entry_of, read_budgets
from llm_router.adapters.postgres.link import FAILURES, Link, Links, Target, connect, unavailable
from llm_router.adapters.postgres.nodes import retire
from llm_router.adapters.postgres.ops import CreditOp, HoldOp, Op, OweOp, PublishOp, ReleaseOp, SettleOp
from llm_router.adapters.postgres.schema import prepare
from llm_router.adapters.postgres.sessions import PostgresSessions
from llm_router.adapters.postgres.upkeep import ROUND_S, Upkeep
from llm_router.adapters.postgres.writer import HOLD_S, SETTLE_S, Writer, check_usable
from llm_router.adapters.sqlite.prices import KnownPrices
from llm_router.adapters.store_errors import StoreError
from llm_router.billing.budgets import Spend
from llm_router.billing.ledger import Entry, Ledger, Wanted, no_entry
from llm_router.billing.search import ANY, Filter, Found
from llm_router.domain.budget import Budget, Payer
from llm_router.domain.errors import LedgerUnavailable
from llm_router.domain.key import Key
from llm_router.domain.limit import Limit, check_limit
from llm_router.domain.price import Price
from llm_router.domain.price_rule import PriceRule
from llm_router.domain.record import ExchangeRecord
from llm_router.limits.rules import LimitBook
from llm_router.ports import Booked, Clock, Document, MonthBooks, Paper, Settled, Standing, Sums, Unsettled

NODE_TTL_S = 60.0
"""A node that has not been heard of for so long is dead: its holds are voided."""

READ_S = 1.0
REPORT_S = 60.0
"""What is read for a report may take so long, on a connection of its own."""

READ_LINKS = 3
AUDIT_S = 3600.0

_BALANCE = "SELECT posted - held FROM accounts WHERE id = $1"
_STATE = "SELECT posted, held, owed FROM accounts WHERE id = $1"
_EXCHANGE = "SELECT record FROM exchanges WHERE id = $1 AND account = $2"
_REPLY = "SELECT record FROM exchanges WHERE reply_id = $1 AND account = $2 ORDER BY created_ms DESC, id DESC LIMIT 1"
_CREDITED = "SELECT 1 FROM entries WHERE ref = $1"
_ACCOUNTS = "SELECT id, posted, held FROM accounts"
_LAST = (
    "SELECT seq, ref, account, amount, kind, created_ms, note FROM entries "
    "WHERE account = $1 ORDER BY seq DESC LIMIT $2"
)
_OVER = "SELECT closed FROM nodes WHERE id = $1"
_OWN = "SELECT 1 FROM entries WHERE ref = $1 AND account = $2"
_EARLIER = (
    "SELECT seq, ref, account, amount, kind, created_ms, note FROM entries WHERE account = $1 "
    "AND seq < (SELECT seq FROM entries WHERE ref = $3 AND account = $1) ORDER BY seq DESC LIMIT $2"
)

_records = msgspec.json.Decoder(ExchangeRecord)


class PostgresStore:
    """Implements the ports Books and Keyring. Make one with :meth:`open`; use it in one event loop.

    Attributes:
        created: the tables were made by this opening.
        sessions: what sessions have used, over all nodes.
    """

    def __init__(
        self, target: Target, clock: Clock, *, created: bool, ttl_s: float, known_prices: KnownPrices
    ) -> None:
        self.created = created
        self._reads = Links(target, READ_LINKS, READ_S)
        self._reports = Links(target, 1, REPORT_S)
        self._changes = Link(target)  # of budgets and keys
        self._links = (Link(target), Link(target), self._changes)
        self._keys = keys.KeyCache()
        self._writer = Writer(self._links[0], platform.node(), ttl_s)
        self._upkeep = Upkeep(self._links[1], self._writer, self._keys, clock, ttl_s)
        self.sessions = PostgresSessions(target, lambda: self._writer.node)
        self._prices = known_prices
        self._limit_book: LimitBook | None = None
        self._limits_until_s = 0.0
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, target: Target, *, clock: Clock, ttl_s: float = NODE_TTL_S) -> PostgresStore:
        """Open the store, making its tables in an empty database.

        Raises:
            StoreTooNew, StoreTooOld, StoreError: it cannot be used, for the reason given.
        """
        try:
            connection = await connect(target)
            try:
                created = await prepare(connection, target.place)
                known = KnownPrices(await prices.read_prices(connection))
            finally:
                connection.terminate()
            store = cls(target, clock, created=created, ttl_s=ttl_s, known_prices=known)
            try:
                await store._writer.start()
                await store._upkeep.start()
            except BaseException:
                await store.close()
                raise
        except (*FAILURES, ValueError) as error:
            raise StoreError(
                f"The database {target.place} cannot be used ({error or 'no answer'})."
            ) from error
        return store

    async def close(self) -> None:
        """Write what is waiting, void what is still open, and let go of the database."""
        if self._writer.closing:
            return
        await self.sessions.close()
        await self._upkeep.close()
        await self._writer.close()
        if self._writer.node:
            with contextlib.suppress(*FAILURES):  # then another node does it, when our time is over
                await self._links[1].run(lambda connection: retire(connection, self._writer.node), ROUND_S)
        for link in self._links:
            await link.close()
        await self._reads.close()
        await self._reports.close()

    @property
    def orphans(self) -> int:
        """Holds of nodes that died before they could resolve them, voided by this one."""
        return self._upkeep.orphans

    @property
    def trouble(self) -> str | None:
        """Why no request can be served now, in a word; None if it can."""
        return None if self._writer.failure is None else "ledger"

    @property
    def fenced(self) -> int:
        """Settlements whose hold had been voided by another node."""
        return self._writer.fenced

    @property
    def node(self) -> int:
        """The number of this node in the database."""
        return self._writer.node

    async def reap(self) -> int:
        """Void the holds of dead nodes now, without waiting for the next round; return how many."""
        try:
            return await self._upkeep.reap()
        except FAILURES as error:
            raise unavailable(error) from error

    # Books

    async def balance(self, account: str) -> int:
        value = await self._reads.read(lambda c: c.fetchval(_BALANCE, account))
        return 0 if value is None else int(value)

    async def affordable(self, payer: Payer, now_ms: int) -> int:
        """The largest hold that would be granted to a payer now: the account's credit within all budgets."""

        async def read(connection: asyncpg.Connection) -> int:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                row = await connection.fetchrow(_STATE, payer.account)
                ledger = Ledger()
                if row is not None:
                    ledger.recall(payer.account, row["posted"], row["held"])
                    sessions = {"", payer.session or ""}
                    await read_budgets(connection, ledger.budgets, [payer.account], sessions, now_ms)
            return 0 if row is None or row["owed"] > 0 else ledger.affordable(payer, now_ms)

        return max(0, await self._reads.read(read))

    async def release(self, exchange_ids: Sequence[str], now_ms: int, *, orphaned: bool) -> int:
        """Void the open holds among those of some exchanges; return how many there were.

        Raises:
            LedgerUnavailable: not all of them were released.
        """
        check_usable(self._writer)
        until_s = self._loop.time() + SETTLE_S
        ops = [
            ReleaseOp(
                future=self._loop.create_future(),
                until_s=until_s,
                exchange_id=id_,
                orphaned_ms=now_ms if orphaned else None,
            )
            for id_ in exchange_ids
        ]
        futures = [self._writer.submit(op) for op in ops]
        return sum(await asyncio.gather(*futures)) if futures else 0

    async def hold(
        self, exchange_id: str, payer: Payer, amount_pusd: int, price_version: str, now_ms: int
    ) -> int:
        """As the port says; answers within HOLD_S, whatever the database does.

        Raises:
            InsufficientCredits, LedgerUnavailable: as the port says.
            ValueError: the exchange holds already or is settled already.
        """
        wanted = Wanted(exchange_id=exchange_id, amount_pusd=amount_pusd, price_version=price_version)
        return await self.hold_all((wanted,), payer, now_ms)

    async def hold_all(self, wanted: Sequence[Wanted], payer: Payer, now_ms: int) -> int:
        """As the port says; answers within HOLD_S, whatever the database does.

        Raises:
            InsufficientCredits, LedgerUnavailable: as the port says.
            ValueError: one of the exchanges holds already or is settled already.
        """
        check_usable(self._writer)
        op = HoldOp(
            future=self._loop.create_future(),
            until_s=self._loop.time() + HOLD_S,
            wanted=wanted,
            payer=payer,
            now_ms=now_ms,
        )
        future = self._writer.submit(op)
        await asyncio.wait((future,), timeout=HOLD_S)
        if not future.done():
            self._writer.give_up(op)
            raise unavailable(TimeoutError())
        return int(future.result())

    async def settle(self, record: ExchangeRecord) -> Settled:
        """As the port says. May be called for an exchange that held nothing, to record a refusal.

        Raises:
            LedgerUnavailable: the database did not confirm it within SETTLE_S.
            ValueError: the cost cannot be booked, or the hold belongs to another account.
        """
        if self._writer.closing:
            check_usable(self._writer)
        op = SettleOp(future=self._loop.create_future(), until_s=self._loop.time() + SETTLE_S, record=record)
        future = self._writer.submit(op)
        await asyncio.wait((future,), timeout=SETTLE_S + HOLD_S)
        if not future.done():
            self._writer.give_up(op)
            raise unavailable(TimeoutError())
        settled: Settled = future.result()
        return settled

    async def credit(self, account: str, amount_pusd: int, ref: str, reason: str, now_ms: int) -> int:
        """As the port says; the balance returned is what is then available.

        Raises:
            InvalidRequest: the amount is 0 or too large, or the ref belongs to another booking.
            InsufficientCredits: a negative amount exceeds what is available.
            LedgerUnavailable: the database did not confirm it; the same ref may be tried again.
        """
        check_usable(self._writer)
        op = CreditOp(
            future=self._loop.create_future(),
            until_s=self._loop.time() + HOLD_S,
            account=account,
            amount_pusd=amount_pusd,
            ref=ref,
            reason=reason,
            now_ms=now_ms,
        )
        return int(await asyncio.shield(self._writer.submit(op)))

    async def credited(self, ref: str) -> bool:
        """Whether a grant or adjustment was booked under that reference."""
        return await self._reads.read(lambda c: c.fetchval(_CREDITED, f"credit:{ref}")) is not None

    async def generation(self, account: str, id_: str) -> ExchangeRecord | None:
        if "\x00" in id_:  # no text of the database has one
            return None

        async def read(connection: asyncpg.Connection) -> ExchangeRecord | None:
            text = await connection.fetchval(_EXCHANGE, id_, account)
            if text is None:
                text = await connection.fetchval(_REPLY, id_, account)
            return None if text is None else _records.decode(text)

        return await self._reads.read(read)

    # Budgets

    async def budgets(self, account: str, now_ms: int) -> list[Spend]:
        """How the budgets of an account stand, in the order in which they were made."""
        return await self._reads.read(lambda c: budget_rows.read_spends(c, account, now_ms))

    async def set_budget(self, budget: Budget, now_ms: int) -> None:
        """Make a budget, or give the one of that id another amount; it holds on all nodes when this
        returns. A new one counts what its scope has spent in the present window before.

        Raises:
            ValueError: it cannot be, see :meth:`llm_router.billing.budgets.Budgets.put`.
            LedgerUnavailable: the database did not confirm it.
        """
        await self._change(lambda c: budget_rows.put(c, budget, now_ms))

    async def remove_budget(self, budget_id: str) -> Budget | None:
        """Remove a budget; None if there is none of that id.

        Raises:
            LedgerUnavailable: the database did not confirm it.
        """
        budget: Budget | None = await self._change(lambda c: budget_rows.remove(c, budget_id))
        return budget

    async def write_key(
        self, key: Key, digest: bytes | None, budget: Budget | None, removed: str | None, now_ms: int
    ) -> bool:
        """As :class:`llm_router.engine.operator.OperatorBooks` says."""

        async def work(connection: asyncpg.Connection) -> tuple[bool, tuple[bytes, ...]]:
            async with connection.transaction():
                if digest is None:
                    written, digests = await keys.rewrite(connection, key, None)
                    if not written:
                        return False, digests
                else:
                    await keys.create(connection, key, digest)
                    digests = ()
                if budget is not None:
                    await budget_rows.put(connection, budget, now_ms)
                if removed is not None:
                    await budget_rows.remove(connection, removed)
            return True, digests

        written, digests = await self._change(work)
        self._forget(digests)
        return bool(written)

    # For operators

    async def life(self) -> str:
        return str(self._writer.node)

    async def is_over(self, life: str) -> bool:
        if not (life.isascii() and life.isdigit() and len(life) < 19):
            return False
        return bool(await self._reads.read(lambda c: c.fetchval(_OVER, int(life))))

    async def accounts(self) -> list[tuple[str, int, int]]:
        """(account, posted, held) of every account, by name."""
        return sorted(tuple(row) for row in await self._reads.read(lambda c: c.fetch(_ACCOUNTS)))

    async def entries(self, account: str, limit: int, before: str | None = None) -> list[Entry]:
        """The account's last entries, the newest first; those before that with the ref ``before``.

        Raises:
            InvalidRequest: the account has no entry of that ref.
        """
        if before is None:
            last = await self._reads.read(lambda c: c.fetch(_LAST, account, limit))
            return [entry_of(row) for row in last]
        if "\x00" in before:  # no text of the database has one
            raise no_entry()

        async def read(connection: asyncpg.Connection) -> list[Entry]:
            rows = await connection.fetch(_EARLIER, account, limit, before)
            if not rows and await connection.fetchval(_OWN, before, account) is None:
                raise no_entry()
            return [entry_of(row) for row in rows]

        return await self._reads.read(read)

    async def audit(self) -> int:
        """Check all the books from the first entry on; return how many entries there are.

        Raises:
            StoreCorrupt: something does not add up.
        """
        try:
            return await self._changes.run(audit, AUDIT_S)
        except FAILURES as error:
            raise unavailable(error) from error

    # Limits

    async def limits_of(self, payer: Payer) -> Sequence[Limit]:
        return (await self._limits()).of_payer(payer)

    async def limits(self, account: str) -> list[Limit]:
        """The limits of an account, in the order in which they were made."""
        return (await self._limits()).of_account(account)

    async def set_limit(self, limit: Limit) -> None:
        """Make a limit, or replace the one of that id; on other nodes it holds within a second.

        Raises:
            ValueError: it cannot be, see :func:`llm_router.domain.limit.check_limit`.
            LedgerUnavailable: the database did not confirm it.
        """
        check_limit(limit)
        await self._change(lambda c: limit_rows.put(c, limit))
        self._limits_until_s = 0.0

    async def remove_limit(self, limit_id: str) -> Limit | None:
        """Remove a limit; None if there is none of that id.

        Raises:
            LedgerUnavailable: the database did not confirm it.
        """
        removed: Limit | None = await self._change(lambda c: limit_rows.remove(c, limit_id))
        self._limits_until_s = 0.0
        return removed

    async def _limits(self) -> LimitBook:
        """All limits, as they were a moment ago; while the database fails, as they were before."""
        book, now_s = self._limit_book, self._loop.time()
        if book is not None and now_s < self._limits_until_s:
            return book
        self._limits_until_s = now_s + limit_rows.FRESH_S  # one of those who ask reads for all
        try:
            book = self._limit_book = await self._reads.read(limit_rows.load)
        except LedgerUnavailable:
            if book is None:
                self._limits_until_s = 0.0
                raise
        return book

    # Papers

    async def booked(self, account: str, after: str | None, limit: int) -> list[Booked]:
        return await self._reports.read(lambda c: paper_rows.booked(c, account, after, limit))

    async def exchanges(
        self, account: str, from_ms: int, to_ms: int, after: tuple[int, str] | None, limit: int
    ) -> list[ExchangeRecord]:
        return await self._reports.read(
            lambda c: paper_rows.exchanges(c, account, from_ms, to_ms, after, limit)
        )

    async def unsettled(self, from_ms: int, to_ms: int, limit: int) -> list[Unsettled]:
        return await self._reports.read(lambda c: paper_rows.unsettled(c, from_ms, to_ms, limit))

    async def newest(
        self,
        account: str,
        wanted: Filter,
        from_ms: int,
        to_ms: int,
        before: tuple[int, str] | None,
        limit: int,
    ) -> Found:
        return await self._reports.read(
            lambda c: paper_rows.newest(c, account, wanted, from_ms, to_ms, before, limit)
        )

    async def sums(
        self,
        by: tuple[str, ...],
        from_hour: int,
        to_hour: int,
        account: str | None,
        wanted: Filter = ANY,
    ) -> list[Sums]:
        return await self._reports.read(lambda c: paper_rows.sums(c, by, from_hour, to_hour, account, wanted))

    async def fold(self, before_hour: int) -> bool:
        return bool(await self._change(lambda c: fold(c, before_hour)))

    async def month(self, account: str, from_ms: int, to_ms: int, earlier_ms: int) -> MonthBooks:
        return await self._reports.read(lambda c: paper_rows.month(c, account, from_ms, to_ms, earlier_ms))

    async def add_papers(self, papers: list[Paper]) -> bool:
        return bool(await self._change(lambda c: paper_rows.add(c, papers)))

    async def paper(self, series: str, id_: str) -> Paper | None:
        return await self._reads.read(lambda c: paper_rows.one(c, series, id_))

    async def last_paper(self, series: str) -> Paper | None:
        return await self._reads.read(lambda c: paper_rows.last(c, series))

    async def papers(self, series: str, after: int, limit: int) -> list[Paper]:
        return await self._reads.read(lambda c: paper_rows.page(c, series, after, limit))

    # Prices

    def publish(self, price: Price, now_ms: int) -> None:
        """As the port PriceBook says: what is submitted later is written with it or after it."""
        text = self._prices.add(price)
        if text is not None:
            self._submit(PublishOp, version=price.version, body=text, now_ms=now_ms).add_done_callback(
                lambda done: self._prices.forget(price.version) if done.exception() is not None else None
            )

    async def price_rules(self) -> list[PriceRule]:
        """The published price rules, in their order."""
        return await self._reads.read(prices.read_rules)

    async def add_price_rule(self, rule: PriceRule, published: Iterable[Price]) -> None:
        """As the port PriceRules says."""
        check_usable(self._writer)
        for price in published:
            self.publish(price, rule.published_ms)
        await self._change(lambda c: prices.add_rule(c, rule))

    # Treasury

    async def standing(self, account: str) -> Standing:
        return await self._reads.read(lambda c: documents.standing(c, account))

    def owe(self, account: str, owed_pusd: int) -> None:
        """Refuse holds of an account, from the next batch on and on all nodes, while it owes more than 0."""
        self._submit(OweOp, account=account, owed_pusd=owed_pusd)

    async def document(self, kind: str, id_: str) -> Document | None:
        return await self._reads.read(lambda c: documents.read(c, kind, id_))

    async def put_document(self, document: Document) -> bool:
        return bool(await self._change(lambda c: documents.put(c, document)))

    async def remove_document(self, kind: str, id_: str) -> bool:
        return bool(await self._change(lambda c: documents.remove(c, kind, id_)))

    async def documents(
        self,
        kind: str,
        *,
        account: str | None = None,
        open_only: bool = False,
        after: str = "",
        limit: int = 1000,
    ) -> list[Document]:
        return await self._reads.read(lambda c: documents.read_all(c, kind, account, open_only, after, limit))

    async def changes(self, kind: str) -> tuple[int, int]:
        """Two numbers, of which one grows with each change of documents of a kind and the other with each
        price rule, whichever node made it."""

        async def read(connection: asyncpg.Connection) -> tuple[int, int]:
            return await documents.changes(connection, kind), await prices.last_rule(connection)

        return await self._reads.read(read)

    def _submit(self, kind: type[Op], **fields: Any) -> asyncio.Future[Any]:
        """Queue what lasts until it is done."""
        return self._writer.submit(kind(future=self._loop.create_future(), until_s=float("inf"), **fields))

    # Keyring

    async def find(self, digest: bytes) -> Key | None:
        key = self._keys.get(digest, self._loop.time())
        while key is None:
            version = self._keys.version
            key = await self._reads.read(lambda c: keys.read_one(c, digest))
            if key is None:
                return None
            if version == self._keys.version:
                self._keys.put(digest, key, self._loop.time())
            else:  # a key was revoked meanwhile, and this may be its old state
                key = None
        return key

    async def create(self, key: Key, digest: bytes) -> None:
        """Store a new key.

        Raises:
            ValueError: its id or digest exists already.
            LedgerUnavailable: the database did not confirm it.
        """
        await self._change(lambda c: keys.create(c, key, digest))

    async def revoke(self, key_id: str, now_ms: int) -> Key | None:
        found: tuple[Key, tuple[bytes, ...]] | None
        found = await self._change(lambda c: keys.revoke(c, key_id, now_ms))
        if found is None:
            return None
        self._forget(found[1])
        return found[0]

    async def get(self, key_id: str) -> Key | None:
        return await self._reads.read(lambda c: keys.get(c, key_id))

    async def of_account(self, account: str, after: str, limit: int) -> Sequence[Key]:
        return await self._reads.read(lambda c: keys.read_of(c, account, after, limit))

    async def change(self, key: Key) -> bool:
        return await self._rewrite(key, None)

    async def rotate(self, key: Key, digest: bytes) -> bool:
        return await self._rewrite(key, digest)

    async def _rewrite(self, key: Key, digest: bytes | None) -> bool:
        written, digests = await self._change(lambda c: keys.rewrite(c, key, digest))
        self._forget(digests)
        return bool(written)

    def _forget(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._keys.forget(digest)

    async def list(self) -> list[Key]:
        return await self._reads.read(keys.read_all)

    async def some(self, limit: int) -> Sequence[Key]:
        return await self._reads.read(lambda c: keys.read_some(c, limit))

    async def count(self, account: str) -> int:
        return await self._reads.read(lambda c: keys.count(c, account))

    async def _change(self, work: Any) -> Any:
        """
        Raises:
            LedgerUnavailable: the database did not confirm it.
        """
        if self._writer.closing:
            raise LedgerUnavailable("The gateway is shutting down.", retry_after_s=5)
        try:
            return await self._changes.run(work, SETTLE_S)
        except FAILURES as error:
            raise unavailable(error) from error
