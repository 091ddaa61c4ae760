"""Books and keys in one SQLite file.

The balances of the accounts that are busy live in memory; a hold or a settlement is one synchronous
step on them, then its rows go to the writer thread, and the await ends when their batch is committed.
So no two requests can both take the last credit, whatever the disk does, and nothing is acknowledged
that a crash could lose.

Cancelling an await does not cancel the move: a hold whose await was cancelled stays open until it
is settled (or until the next start voids it), so callers shield the pair.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from llm_router.adapters.memory.sessions import MemorySessions
from llm_router.adapters.sqlite import accounts, documents, keys
from llm_router.adapters.sqlite import budgets as budget_rows
from llm_router.adapters.sqlite import limits as limit_rows
from llm_router.adapters.sqlite import papers as paper_rows
from llm_router.adapters.sqlite.boot import audit, boot
from llm_router.adapters.sqlite.folding import FOLD
from llm_router.adapters.sqlite.journal import Journal, OpRefused
from llm_router.adapters.sqlite.journal_file import JOURNAL_SUFFIX, JournalFile
from llm_router.adapters.sqlite.journaling import replay, take_into_use
from llm_router.adapters.sqlite.lock import StoreLock
from llm_router.adapters.sqlite.old_spool import book_spool
from llm_router.adapters.sqlite.prices import ADD_RULE, PUBLISH, PUBLISHED, KnownPrices, read_rules
from llm_router.adapters.sqlite.replies import find_reply
from llm_router.adapters.sqlite.rows import (
    BudgetOp,
    Chain,
    CreditOp,
    GuardedOp,
    HoldOp,
    ReleaseOp,
    SettleOp,
    StatementOp,
)
from llm_router.adapters.sqlite.schema import StoreError, connect, create_file, prepare
from llm_router.adapters.sqlite.writer import Writer
from llm_router.billing.budgets import Spend
from llm_router.billing.ledger import Entry, Ledger, Settlement, Wanted, booked, no_entry, same_credit
from llm_router.billing.rollups import rollup_counts, rollup_key
from llm_router.billing.search import ANY, Filter, Found
from llm_router.domain.budget import Budget, Payer
from llm_router.domain.errors import LedgerUnavailable
from llm_router.domain.key import Key
from llm_router.domain.limit import Limit, check_limit
from llm_router.domain.price import Price
from llm_router.domain.price_rule import PriceRule
from llm_router.domain.record import ExchangeRecord
from llm_router.ports import (
    Booked,
    Clock,
    Document,
    Landing,
    MonthBooks,
    Paper,
    Settled,
    Standing,
    Sums,
    Unsettled,
)

_T = TypeVar("_T")

_COST = "SELECT cost FROM exchanges WHERE id = ?"
_EXCHANGE = "SELECT record FROM exchanges WHERE id = ? AND account = ?"
_BY_REF = "SELECT seq, ref, account, amount, kind, created_ms, note FROM entries WHERE ref = ?"
_LAST = (
    "SELECT seq, ref, account, amount, kind, created_ms, note FROM entries "
    "WHERE account = ? ORDER BY seq DESC LIMIT ?"
)
_OWN = "SELECT 1 FROM entries WHERE ref = ? AND account = ?"
_EARLIER = (
    "SELECT seq, ref, account, amount, kind, created_ms, note FROM entries WHERE account = ?1 "
    "AND seq < (SELECT seq FROM entries WHERE ref = ?3 AND account = ?1) ORDER BY seq DESC LIMIT ?2"
)

_encode = msgspec.json.Encoder().encode
_records = msgspec.json.Decoder(ExchangeRecord)


class SqliteStore:
    """Implements the ports Books and Keyring. Make one with :meth:`open`; use it in one event loop.

    Attributes:
        created: the database was created by this opening.
        orphans: holds of a process that died before it could resolve them, voided by this opening.
    """

    def __init__(self, path: Path, clock: Clock, lock: StoreLock, loop: asyncio.AbstractEventLoop) -> None:
        """Open everything. Blocks; use :meth:`open` instead."""
        self.path = path
        self._lock = lock
        self._loop = loop
        connection, file = connect(path), None
        try:
            self.created = prepare(connection, path)
            book_spool(connection, path)
            file = JournalFile(path.with_name(path.name + JOURNAL_SUFFIX))
            replay(connection, file, path)  # before the holds of what is in it would be voided
            journaled = take_into_use(connection, file)
            begin = boot(connection, clock.now_ms(), journaled=journaled)
            self._prices = KnownPrices(connection.execute(PUBLISHED))
        except BaseException:
            connection.close()
            if file is not None:
                file.close()
            raise
        self._file = file
        self.orphans = begin.orphans
        self.sessions = MemorySessions()  # a restart forgets them
        self._limits = limit_rows.load(connection)
        balances = connect(path, read_only=True)
        self._accounts = accounts.Accounts(balances, loop)
        self._ledger = Ledger(budgets=begin.budgets, stored=self._accounts.posted)
        self._keys = keys.KeyCache()
        self._unheld: dict[str, asyncio.Future[Any]] = {}  # settlements of exchanges that hold nothing
        self._crediting: dict[str, asyncio.Future[Any]] = {}
        self._begun: set[asyncio.Task[bool]] = set()  # what is gone on with though who asked has left
        self._reads = connect(path, read_only=True)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="ledger-reader")
        # Requests wait for keys and settings: those must not stand behind a report.
        self._long_reads = connect(path, read_only=True)
        self._long_reader = ThreadPoolExecutor(1, thread_name_prefix="ledger-reports")
        self._connections = (self._reads, self._long_reads, connect(path), connection, balances)
        self._life = str(begin.epoch)
        self._journal = Journal(self._ledger, loop)
        self._accounts.watch(self._ledger, self._journal)
        self._journal.start(
            Writer(
                connection=connection,
                checkpoints=self._connections[1],
                epoch=begin.epoch,
                chain=Chain(seq=begin.seq, head=begin.head),
                deliver=self._journal.deliver,
                file=file,
            )
        )

    @classmethod
    async def open(cls, path: Path, *, clock: Clock) -> SqliteStore:
        """Open the store at ``path``, creating it (and its folder) if need be.

        Raises:
            StoreLocked: another process uses it.
            StoreTooNew, StoreCorrupt, StoreError: it cannot be used, for the reason given.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, cls._open, path, clock, loop)

    @classmethod
    def _open(cls, path: Path, clock: Clock, loop: asyncio.AbstractEventLoop) -> SqliteStore:
        try:
            create_file(path)
            lock = StoreLock(path)
        except OSError as error:
            raise StoreError(f"The data file {path} cannot be opened ({error}).") from error
        try:
            return cls(path, clock, lock, loop)
        except (sqlite3.Error, OSError) as error:
            lock.release()
            raise StoreError(f"The data file {path} cannot be used ({error}).") from error
        except BaseException:
            lock.release()
            raise

    async def close(self) -> None:
        """Write what is waiting, then let go of the file. Open holds stay; the next start voids them."""
        if self._begun:
            await asyncio.wait(self._begun)
        if not self._journal.closing:
            self._journal.close()
            await self._loop.run_in_executor(None, self._shut)

    def _shut(self) -> None:
        self._journal.stop()
        self._reader.shutdown()
        self._long_reader.shutdown()
        for connection in self._connections:
            connection.close()
        self._file.close()
        self._lock.release()

    @property
    def trouble(self) -> str | None:
        """Why no request can be served now, in a word; None if it can."""
        return self._journal.trouble

    # Books

    def available(self, account: str) -> int:
        return self._ledger.available(account)

    async def balance(self, account: str) -> int:
        return self._ledger.available(account)

    async def affordable(self, payer: Payer, now_ms: int) -> int:
        return max(0, self._ledger.affordable(payer, now_ms))

    async def hold(
        self, exchange_id: str, payer: Payer, amount_pusd: int, price_version: str, now_ms: int
    ) -> int:
        """As the port says.

        Raises:
            InsufficientCredits, LedgerUnavailable: as the port says.
            ValueError: the exchange holds already or is settled already.
        """
        self._journal.check_usable()
        self._journal.check_room()
        if self._journal.is_settling(exchange_id):
            raise ValueError(f"exchange {exchange_id} is settled already")
        hold = self._ledger.hold(exchange_id, payer, amount_pusd, now_ms)
        op = HoldOp(future=self._journal.future(), hold=hold, price_version=price_version, now_ms=now_ms)
        await self._journal.submit(op)
        return hold.available_pusd

    def hold_now(
        self,
        exchange_id: str,
        payer: Payer,
        amount_pusd: int,
        price_version: str,
        now_ms: int,
        landing: Landing,
    ) -> None:
        """As the port PromptBooks says."""
        self._journal.check_usable()
        self._journal.check_room()
        hold = self._ledger.hold(exchange_id, payer, amount_pusd, now_ms)
        self._journal.enqueue(HoldOp(future=landing, hold=hold, price_version=price_version, now_ms=now_ms))

    def settle_now(self, record: ExchangeRecord, landing: Landing) -> None:
        """As the port PromptBooks says."""
        self._journal.check_open()  # a charge whose hold is safe may wait in the journal
        op = self._settlement(record, landing)
        settlement = op.settlement
        op.result = Settled(charged_pusd=settlement.charged_pusd, remaining_pusd=settlement.remaining_pusd)
        self._journal.enqueue(op)

    def find_now(self, digest: bytes) -> Key | None:
        """As the port PromptKeyring says."""
        return self._keys.get(digest)

    def limits_now(self, payer: Payer) -> Sequence[Limit]:
        """As the port PromptRules says."""
        return self._limits.of_payer(payer)

    async def hold_all(self, wanted: Sequence[Wanted], payer: Payer, now_ms: int) -> int:
        """As the port says.

        Raises:
            InsufficientCredits, LedgerUnavailable: as the port says.
            ValueError: one of the exchanges holds already or is settled already.
        """
        self._journal.check_usable()
        self._journal.check_room()
        for each in wanted:
            if self._journal.is_settling(each.exchange_id):
                raise ValueError(f"exchange {each.exchange_id} is settled already")
        holds = self._ledger.hold_all(wanted, payer, now_ms)
        waits = [
            self._journal.submit(
                HoldOp(
                    future=self._journal.future(), hold=hold, price_version=each.price_version, now_ms=now_ms
                )
            )
            for hold, each in zip(holds, wanted, strict=True)
        ]
        for result in await asyncio.gather(*waits, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        return self._ledger.available(payer.account) if not holds else holds[-1].available_pusd

    async def settle(self, record: ExchangeRecord) -> Settled:
        """As the port says. May be called for an exchange that held nothing, to record a refusal.

        Raises:
            LedgerUnavailable: nothing was charged or written; the hold is still open.
            ValueError: the cost cannot be booked, or the hold belongs to another account.
        """
        while (other := self._unheld.get(record.id)) is not None or self._journal.is_settling(record.id):
            await asyncio.wait((self._journal.settled(record.id) if other is None else other,))
        if self._ledger.is_open(record.id):
            return await self._settle(record)
        # One at a time: two that both find nothing settled would both move the balance for a moment.
        done = self._unheld[record.id] = self._journal.future()
        try:
            settled = await self._settled(record)
            return await self._settle(record) if settled is None else settled
        finally:
            del self._unheld[record.id]
            done.set_result(None)

    async def _settle(self, record: ExchangeRecord) -> Settled:
        if record.cost_pusd <= 0 or not self._ledger.is_open(record.id):
            self._journal.check_usable()
        self._journal.check_open()  # a charge whose hold is safe may wait in the journal
        op = self._settlement(record, self._journal.future())
        try:
            await self._journal.submit(op)
        except OpRefused:
            if (settled := await self._settled(record)) is not None:
                return settled
            raise
        settlement = op.settlement
        return Settled(charged_pusd=settlement.charged_pusd, remaining_pusd=settlement.remaining_pusd)

    def _settlement(self, record: ExchangeRecord, landing: Landing) -> SettleOp:
        settlement = self._ledger.settle(record.id, record.payer, record.cost_pusd, record.created_ms)
        try:
            if settlement.absorbed_pusd:
                record = booked(record, settlement)
            row, encoded = _exchange_row(record, settlement)
        except BaseException:  # it cannot be written, so it did not happen
            self._ledger.undo_settlement(settlement)
            raise
        return SettleOp(
            future=landing,
            settlement=settlement,
            row=row,
            rollup=rollup_key(record),
            sums=rollup_counts(record),
            created_ms=record.created_ms,
            note="" if record.price_version is None else record.price_version,
            proof=self._prices.proof_of(record, encoded),
        )

    async def price_rules(self) -> list[PriceRule]:
        """The published price rules, in their order."""
        return await self._read(read_rules)

    async def add_price_rule(self, rule: PriceRule, prices: Iterable[Price]) -> None:
        """As the port PriceRules says."""
        self._journal.check_usable()
        for price in prices:
            self.publish(price, rule.published_ms)
        await self._change(ADD_RULE, (rule.number, rule.id, msgspec.json.encode(rule).decode()))

    def publish(self, price: Price, now_ms: int) -> None:
        """As the port PriceBook says: what is submitted later is written with it or after it."""
        text = self._prices.add(price)
        if text is None:
            return
        op = StatementOp(future=self._journal.future(), sql=PUBLISH, values=(price.version, text, now_ms))
        self._journal.submit(op).add_done_callback(
            lambda done: self._prices.forget(price.version) if done.exception() is not None else None
        )

    async def release(self, exchange_ids: Sequence[str], now_ms: int, *, orphaned: bool) -> int:
        """Void the open holds among those of some exchanges, at once; return how many there were.

        Args:
            orphaned: the process that served them has died, and nobody knows how far it came: they are
                listed. Else nothing was ever sent for them, and no trace of them stays.

        Raises:
            LedgerUnavailable: not all of them were released.
        """
        self._journal.check_usable()
        ops = [
            ReleaseOp(
                future=self._journal.future(),
                settlement=self._ledger.settle(id_, hold.payer, 0, now_ms),
                orphaned_ms=now_ms if orphaned else None,
            )
            for id_ in exchange_ids
            if (hold := self._ledger.open_hold(id_)) is not None
        ]
        waits = [self._journal.submit(op) for op in ops]
        results = await asyncio.gather(*waits, return_exceptions=True)
        for failed in (result for result in results if isinstance(result, BaseException)):
            raise failed
        return len(ops)

    async def _settled(self, record: ExchangeRecord) -> Settled | None:
        """How the exchange was settled before, if it was."""

        def read(reads: sqlite3.Connection) -> tuple[int] | None:
            row: tuple[int] | None = reads.execute(_COST, (record.id,)).fetchone()
            return row

        row = await self._read_books(read)
        if row is None:
            return None
        return Settled(charged_pusd=row[0], remaining_pusd=self._ledger.available(record.account))

    async def credit(self, account: str, amount_pusd: int, ref: str, reason: str, now_ms: int) -> int:
        """As the port says; the balance returned is what is then available.

        Raises:
            InvalidRequest: the amount is 0 or too large, or the ref belongs to another booking.
            InsufficientCredits: a negative amount exceeds what is available.
            LedgerUnavailable: nothing was booked.
        """
        while (other := self._crediting.get(ref)) is not None:
            await asyncio.wait((other,))
        self._journal.check_usable()
        done = self._crediting[ref] = self._journal.future()
        try:
            return await self._credit(account, amount_pusd, ref, reason, now_ms)
        finally:
            del self._crediting[ref]
            done.set_result(None)

    async def _credit(self, account: str, amount_pusd: int, ref: str, reason: str, now_ms: int) -> int:
        row = await self._read(lambda reads: reads.execute(_BY_REF, (f"credit:{ref}",)).fetchone())
        if row is not None:
            same_credit(_entry(row), account, amount_pusd)
            return self._ledger.available(account)
        self._journal.check_usable()
        credit = self._ledger.credit(account, amount_pusd)
        op = CreditOp(
            future=self._journal.future(),
            result=credit.remaining_pusd,
            credit=credit,
            ref=ref,
            reason=reason,
            now_ms=now_ms,
        )
        return int(await self._journal.submit(op))

    async def credited(self, ref: str) -> bool:
        """Whether a grant or adjustment was booked under that reference."""
        row = await self._read(lambda reads: reads.execute(_BY_REF, (f"credit:{ref}",)).fetchone())
        return row is not None

    async def generation(self, account: str, id_: str) -> ExchangeRecord | None:
        def read(reads: sqlite3.Connection) -> ExchangeRecord | None:
            row = reads.execute(_EXCHANGE, (id_, account)).fetchone()
            text = find_reply(reads, id_, account) if row is None else row[0]
            return None if text is None else _records.decode(text)

        return await self._read_books(read)

    # Budgets

    async def budgets(self, account: str, now_ms: int) -> list[Spend]:
        """How the budgets of an account stand, in the order in which they were made."""
        budgets = self._ledger.budgets
        own = sorted((b for b in budgets.all() if b.account == account), key=lambda b: (b.created_ms, b.id))
        return [spend for budget in own for spend in budgets.spends(budget.id, now_ms)]

    async def set_budget(self, budget: Budget, now_ms: int) -> None:
        """Make a budget, or give the one of that id another amount; it holds when this returns. A new
        one counts what its scope has spent in the present window before.

        Raises:
            ValueError: it cannot be, see :meth:`llm_router.billing.budgets.Budgets.put`.
            LedgerUnavailable: nothing was changed.
        """
        self._journal.check_usable()
        budgets = self._ledger.budgets
        old = budgets.get(budget.id)
        self._ledger.set_budget(budget)
        try:
            found = await self._journal.submit(self._budget_op(budget, old, now_ms))
            for session, bucket, spent_pusd in found if old is None else ():
                budgets.recall(budget.id, session, bucket, spent_pusd, now_ms)
        except LedgerUnavailable:
            self._ledger.undo_budget(budget.id, old)
            raise

    async def remove_budget(self, budget_id: str) -> Budget | None:
        """Remove a budget; None if there is none of that id.

        Raises:
            LedgerUnavailable: nothing was changed.
        """
        budget = self._ledger.budgets.get(budget_id)
        if budget is not None:
            await self._change(budget_rows.REMOVE, (budget_id,))
            self._ledger.budgets.remove(budget_id)
            await self._change(budget_rows.FORGET, (budget_id,))
        return budget

    async def write_key(
        self, key: Key, digest: bytes | None, budget: Budget | None, removed: str | None, now_ms: int
    ) -> bool:
        """As :class:`llm_router.engine.operator.OperatorBooks` says. Who asks may leave: it is gone on with."""
        self._journal.check_usable()
        work = self._loop.create_task(self._write_key(key, digest, budget, removed, now_ms))
        self._begun.add(work)
        work.add_done_callback(self._begun.discard)
        return await asyncio.shield(work)

    async def _write_key(
        self, key: Key, digest: bytes | None, budget: Budget | None, removed: str | None, now_ms: int
    ) -> bool:
        budgets = self._ledger.budgets
        before = await self._read(lambda reads: keys.read_key_by_id(reads, key.id))
        old = None if budget is None else budgets.get(budget.id)
        if budget is not None:
            self._ledger.set_budget(budget)
        put = None if budget is None else self._budget_op(budget, old, now_ms)
        guard = (
            (keys.CHANGE, keys.change_values(key))
            if digest is None
            else (keys.CREATE, keys.key_values(key, digest))
        )
        gone = [] if removed is None else [(budget_rows.REMOVE, (removed,)), (budget_rows.FORGET, (removed,))]
        op = GuardedOp(
            future=self._journal.future(),
            guard=self._statement(*guard),
            behind=[*([] if put is None else [put]), *(self._statement(*each) for each in gone)],
        )
        written = False
        try:
            written = bool(await self._journal.submit(op))
        finally:
            if not written and budget is not None:
                self._ledger.undo_budget(budget.id, old)
        if written and budget is not None and isinstance(put, BudgetOp):
            for session, bucket, spent_pusd in put.result:
                budgets.recall(budget.id, session, bucket, spent_pusd, now_ms)
        if written and removed is not None:
            budgets.remove(removed)
        self._forget(() if before is None else before[1])
        return written

    def _budget_op(self, budget: Budget, old: Budget | None, now_ms: int) -> StatementOp | BudgetOp:
        """What writes a budget: one that is new counts what its scope has spent before."""
        body = msgspec.json.encode(budget).decode()
        if old is not None:
            return self._statement(budget_rows.SET, (body, budget.id))
        budgets = self._ledger.budgets
        return BudgetOp(
            future=self._journal.future(),
            budget_id=budget.id,
            body=body,
            now_ms=now_ms,
            history=lambda connection: budget_rows.history(connection, budgets, budget, now_ms),
        )

    # Limits

    async def limits_of(self, payer: Payer) -> Sequence[Limit]:
        return self._limits.of_payer(payer)

    async def limits(self, account: str) -> list[Limit]:
        """The limits of an account, in the order in which they were made."""
        return self._limits.of_account(account)

    async def set_limit(self, limit: Limit) -> None:
        """Make a limit, or replace the one of that id; it holds for the next request.

        Raises:
            ValueError: it cannot be, see :func:`llm_router.domain.limit.check_limit`.
            LedgerUnavailable: nothing was changed.
        """
        check_limit(limit)
        await self._change(limit_rows.SET, limit_rows.row(limit))
        self._limits.put(limit)

    async def remove_limit(self, limit_id: str) -> Limit | None:
        """Remove a limit; None if there is none of that id.

        Raises:
            LedgerUnavailable: nothing was changed.
        """
        if self._limits.get(limit_id) is None:
            return None
        await self._change(limit_rows.REMOVE, (limit_id,))
        return self._limits.remove(limit_id)

    # For operators

    async def accounts(self) -> list[tuple[str, int, int]]:
        """(account, posted, held) of every account, by name."""
        stored = await self._read(accounts.read_all, long=True)
        found = {account: (posted, held) for account, posted, held in stored}
        found |= {account: (posted, held) for account, posted, held in self._ledger.balances()}
        return [(account, *found[account]) for account in sorted(found)]

    async def entries(self, account: str, limit: int, before: str | None = None) -> list[Entry]:
        """The account's last entries, the newest first; those before that with the ref ``before``.

        Raises:
            InvalidRequest: the account has no entry of that ref.
        """
        if before is None:
            return await self._read_books(
                lambda reads: list(map(_entry, reads.execute(_LAST, (account, limit))))
            )

        def read(reads: sqlite3.Connection) -> list[Entry]:
            rows = reads.execute(_EARLIER, (account, limit, before)).fetchall()
            if not rows and reads.execute(_OWN, (before, account)).fetchone() is None:
                raise no_entry()
            return [_entry(row) for row in rows]

        return await self._read_books(read)

    # Treasury

    async def life(self) -> str:
        return self._life

    async def is_over(self, life: str) -> bool:
        return life != self._life

    async def standing(self, account: str) -> Standing:
        return await self._read_books(lambda reads: documents.standing(reads, account))

    def owe(self, account: str, owed_pusd: int) -> None:
        self._ledger.owe(account, owed_pusd)

    async def document(self, kind: str, id_: str) -> Document | None:
        return await self._read(lambda reads: documents.read(reads, kind, id_))

    async def put_document(self, document: Document) -> bool:
        return await self._change(*documents.put(document)) == 1

    async def remove_document(self, kind: str, id_: str) -> bool:
        return await self._change(documents.REMOVE, (kind, id_)) == 1

    async def documents(
        self,
        kind: str,
        *,
        account: str | None = None,
        open_only: bool = False,
        after: str = "",
        limit: int = 1000,
    ) -> list[Document]:
        return await self._read(
            lambda reads: documents.read_all(reads, kind, account, open_only, after, limit)
        )

    # Papers

    async def booked(self, account: str, after: str | None, limit: int) -> list[Booked]:
        return await self._read_long(lambda reads: paper_rows.booked(reads, account, after, limit))

    async def exchanges(
        self, account: str, from_ms: int, to_ms: int, after: tuple[int, str] | None, limit: int
    ) -> list[ExchangeRecord]:
        return await self._read_long(
            lambda reads: paper_rows.exchanges(reads, account, from_ms, to_ms, after, limit)
        )

    async def unsettled(self, from_ms: int, to_ms: int, limit: int) -> list[Unsettled]:
        return await self._read_long(lambda reads: paper_rows.unsettled(reads, from_ms, to_ms, limit))

    async def newest(
        self,
        account: str,
        wanted: Filter,
        from_ms: int,
        to_ms: int,
        before: tuple[int, str] | None,
        limit: int,
    ) -> Found:
        return await self._read_long(
            lambda reads: paper_rows.newest(reads, account, wanted, from_ms, to_ms, before, limit)
        )

    async def sums(
        self,
        by: tuple[str, ...],
        from_hour: int,
        to_hour: int,
        account: str | None,
        wanted: Filter = ANY,
    ) -> list[Sums]:
        return await self._read_long(
            lambda reads: paper_rows.sums(reads, by, from_hour, to_hour, account, wanted)
        )

    async def fold(self, before_hour: int) -> bool:
        return await self._change(FOLD, (before_hour,)) == 1

    async def month(self, account: str, from_ms: int, to_ms: int, earlier_ms: int) -> MonthBooks:
        return await self._read_long(
            lambda reads: paper_rows.month(reads, account, from_ms, to_ms, earlier_ms)
        )

    async def add_papers(self, papers: list[Paper]) -> bool:
        try:
            return await self._change(*paper_rows.add(papers)) == len(papers)
        except ValueError:  # there is one of that id
            return False

    async def paper(self, series: str, id_: str) -> Paper | None:
        return await self._read(lambda reads: paper_rows.one(reads, series, id_))

    async def last_paper(self, series: str) -> Paper | None:
        return await self._read(lambda reads: paper_rows.last(reads, series))

    async def papers(self, series: str, after: int, limit: int) -> list[Paper]:
        return await self._read(lambda reads: paper_rows.page(reads, series, after, limit))

    async def audit(self) -> int:
        """Check all the books from the first entry on; return how many entries there are.

        Raises:
            StoreCorrupt: something does not add up.
        """

        def read(reads: sqlite3.Connection) -> int:
            reads.execute("BEGIN")  # one moment for all that is read
            try:
                return audit(reads)
            finally:
                reads.execute("ROLLBACK")

        return await self._read_long(read)

    # Keyring

    async def find(self, digest: bytes) -> Key | None:
        key = self._keys.get(digest)
        while key is None:
            version = self._keys.version
            key = await self._read(lambda reads: keys.read_key(reads, digest))
            if key is None:
                return None
            if version == self._keys.version:
                self._keys.put(digest, key)
            else:  # a key was revoked meanwhile, and this may be its old state
                key = self._keys.get(digest)
        return key

    async def create(self, key: Key, digest: bytes) -> None:
        """Store a new key.

        Raises:
            ValueError: its id or digest exists already.
            LedgerUnavailable: it was not stored.
        """
        await self._change(keys.CREATE, keys.key_values(key, digest))

    async def revoke(self, key_id: str, now_ms: int) -> Key | None:
        found = await self._read(lambda reads: keys.read_key_by_id(reads, key_id))
        if found is None:
            return None
        key, digests = found
        if key.revoked_ms is None:
            await self._change(keys.REVOKE, (now_ms, key_id))
            self._forget(digests)
            key = msgspec.structs.replace(key, revoked_ms=now_ms)
        return key

    async def get(self, key_id: str) -> Key | None:
        found = await self._read(lambda reads: keys.read_key_by_id(reads, key_id))
        return None if found is None else found[0]

    async def of_account(self, account: str, after: str, limit: int) -> Sequence[Key]:
        return await self._read(lambda reads: keys.read_keys_of(reads, account, after, limit))

    async def change(self, key: Key) -> bool:
        return await self._rewrite(key, keys.CHANGE, keys.change_values(key))

    async def rotate(self, key: Key, digest: bytes) -> bool:
        return await self._rewrite(key, keys.ROTATE, keys.rotate_values(key, digest))

    async def _rewrite(self, key: Key, sql: str, values: tuple[object, ...]) -> bool:
        before = await self._read(lambda reads: keys.read_key_by_id(reads, key.id))
        changed = before is not None and await self._change(sql, values) == 1
        if before is not None:
            self._forget(before[1])
        return changed

    def _forget(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._keys.forget(digest)

    async def _change(self, sql: str, values: tuple[object, ...]) -> int:
        """Execute a statement; the number of rows that it changed."""
        self._journal.check_usable()
        op = self._statement(sql, values)
        await self._journal.submit(op)
        return int(op.result)

    def _statement(self, sql: str, values: tuple[object, ...]) -> StatementOp:
        return StatementOp(future=self._journal.future(), sql=sql, values=values)

    async def _read(self, read: Callable[[sqlite3.Connection], _T], *, long: bool = False) -> _T:
        """Query in a reader's thread what no hold or settlement changes.

        Args:
            long: it may take a while; then it has a thread with others of its kind.

        Raises:
            LedgerUnavailable: the store is closed, or its disk cannot be read.
        """
        self._journal.check_open()
        try:
            if long:
                return await self._loop.run_in_executor(self._long_reader, read, self._long_reads)
            return await self._loop.run_in_executor(self._reader, read, self._reads)
        except sqlite3.Error as error:
            raise LedgerUnavailable(
                "The ledger cannot read its disk. Try again shortly.", retry_after_s=5
            ) from error

    async def _read_books(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        """Query, once all that was acknowledged is in the tables.

        Raises:
            LedgerUnavailable: the store is closed, or its disk cannot be read or written.
        """
        self._journal.check_open()
        await self._journal.applied()
        return await self._read(read)

    async def _read_long(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        """The same for what may take a while. Raises: LedgerUnavailable: as that says."""
        self._journal.check_open()
        await self._journal.applied()
        return await self._read(read, long=True)

    async def list(self) -> list[Key]:
        return await self._read(keys.read_keys, long=True)

    async def some(self, limit: int) -> Sequence[Key]:
        return await self._read(lambda reads: keys.read_some(reads, limit))

    async def count(self, account: str) -> int:
        return await self._read(lambda reads: keys.count_keys(reads, account))


def _exchange_row(record: ExchangeRecord, settlement: Settlement) -> tuple[tuple[Any, ...], bytes]:
    """The row, and the text of the record in it as bytes."""
    try:
        encoded = _encode(record)
    except UnicodeEncodeError:  # a lone surrogate somewhere; the charge must not fail for it
        encoded = json.dumps(msgspec.to_builtins(record), ensure_ascii=False).encode(errors="replace")
        record = _records.decode(encoded)
    row = (
        record.id,
        record.account,
        record.key,
        record.reply_id,
        record.created_ms,
        record.model,
        record.status,
        None if settlement.hold is None else settlement.hold.amount_pusd,
        record.cost_pusd,
        encoded.decode(),
    )
    return row, encoded


def _entry(row: tuple[Any, ...]) -> Entry:
    seq, ref, account, amount, kind, created_ms, note = row
    return Entry(
        seq=seq, ref=ref, account=account, amount_pusd=amount, kind=kind, created_ms=created_ms, note=note
    )
