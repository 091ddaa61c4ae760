"""Prove the books of a file: everything that follows from something else is calculated again.

Reads only, in one transaction: a store that is in use is seen at one moment. What is compared:

    the file          its own integrity, and the triggers that refuse changes
    entries           numbered without a gap, chained by their hashes, one for each charged exchange, with
                      the digest of the record and the prices that it was calculated from
    exchanges         columns = record; cost = usage x prices of the version, line by line
    accounts          posted = sum of entries, held = sum of open holds, nothing overdrawn; what is carried
                      along of the sum is the sum so far
    rollups           = the sums of the exchanges
    folds             = the sums of those, of all hours before the one up to which they say they go
    budgets           spent = what the exchanges of their part cost in that window
    orders            each booking of a payment is that of an order, and of its amount
    papers            receipts, statements and invoices: numbered, continued, and what the books make of them
    journal           of a store that no process has: whole, of these books, and its moves such as they can have

The first thing that does not agree is the verdict. Who may write the file may also write all of it
anew, with other hashes: only a hash that is kept elsewhere tells (see :func:`verify`'s ``expected``).
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeVar

import msgspec

from llm_router.adapters.recount import Doubt, Doubted, Recount, Verdict, record_of
from llm_router.adapters.sqlite import schema
from llm_router.adapters.sqlite.journal_check import ABSENT, CHECKED, Journal, check_journal, journal_beside
from llm_router.adapters.sqlite.paper_check import check_papers
from llm_router.adapters.sqlite.prices import read_rules, versions_of
from llm_router.billing.payments import Order
from llm_router.billing.rollups import COUNTS, RollupKey
from llm_router.domain.budget import Budget
from llm_router.domain.limit import Limit
from llm_router.domain.price_rule import PriceRule

ORDERS = "order"
"""The kind of documents that are orders of payments."""

_orders = msgspec.json.Decoder(Order)
_T = TypeVar("_T")


def verify(
    path: Path, now_ms: int, expected: tuple[int, str] | None = None, *, copy: bool = False
) -> Verdict:
    """Check a store's file, in use or not.

    Args:
        expected: number and hash of an entry as they were told before.
        copy: whether it may have been copied without its journal.

    Raises:
        StoreError: it is no store of this version.
        sqlite3.Error, OSError: it cannot be read.
    """
    with ExitStack() as stack:
        with journal_beside(path) as journal:  # of the same moment as the tables
            connection = stack.enter_context(closing(_connect(path)))
            connection.execute("BEGIN")
            if schema.check_ours(connection, path) != schema.SCHEMA_VERSION:
                raise schema.StoreTooOld(
                    f"{path} was written by an earlier version of llm-router. Run: llm-router migrate"
                )
            connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
        proof = _Proof(connection, now_ms)
        try:
            proof.run(expected)
            proof.check_journal(journal, copy=copy)
        except Doubted as doubted:
            return proof.verdict(doubted.doubt)
        except sqlite3.DatabaseError as error:
            return proof.verdict(Doubt(check="file", where=str(path), what=str(error)))
        return proof.verdict(None)


def _connect(path: Path) -> sqlite3.Connection:
    """Read only; of a copy in a folder that cannot be written, without its write-ahead log."""
    uri = path.absolute().as_uri()
    for mode in ("ro", "ro&immutable=1"):
        connection = sqlite3.connect(f"{uri}?mode={mode}", uri=True, isolation_level=None)
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
            return connection
        except sqlite3.OperationalError:
            connection.close()
            if mode != "ro":
                raise
    raise AssertionError("one of the two returns or raises")


class _Proof:
    """One run over one file."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int) -> None:
        self._db = connection
        self._unread: Doubted | None = None
        self._count = Recount(self._bodies("budgets", Budget), now_ms, exact=True)
        self._head = schema.GENESIS
        self._proved: dict[str, int] = {}

    def verdict(self, doubt: Doubt | None) -> Verdict:
        return self._count.verdict(doubt, self._head.hex(), self._count.entries)

    def run(self, expected: tuple[int, str] | None) -> None:
        self._check_file()
        if self._unread is not None:
            raise self._unread
        self._read_prices()
        self._check_entries(expected)
        self._check_exchanges()
        self._check_holds()
        self._check_accounts()
        columns = ", ".join((*RollupKey._fields, *COUNTS))
        self._count.rollups(self._db.execute(f"SELECT {columns} FROM rollups"))  # noqa: S608 - names of ours
        self._count.folds(
            self._meta("folded"),
            lambda fold: self._db.execute(f"SELECT {columns} FROM sums WHERE fold = ?", (fold,)),  # noqa: S608 - names of ours
        )
        self._count.spends(self._db.execute("SELECT budget, session, bucket, spent FROM spends"))
        self._check_orders()
        self._count.papers = check_papers(self._db)

    def _bodies(self, table: str, form: type[_T]) -> list[_T]:
        """The rows of a table of JSON texts. One that cannot be read is kept, to be told in its turn."""
        found: list[_T] = []
        for id_, body in self._db.execute(f"SELECT id, body FROM {table} ORDER BY id"):  # noqa: S608 - a name of ours
            try:
                found.append(msgspec.json.decode(body, type=form))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._unread = self._unread or Doubted(table, str(id_), f"it cannot be read: {error}")
        return found

    def check_journal(self, journal: Journal, *, copy: bool) -> None:
        """What a process has in use is its own to say. After all else."""
        self._count.journal = journal.state
        if journal.state == CHECKED or (journal.state == ABSENT and not copy):
            self._count.journaled = check_journal(self._db, journal.content, self._count)

    def _check_file(self) -> None:
        (found,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise Doubted("file", "integrity", str(found))
        query = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
            schema.create(fresh)
            wanted = dict(fresh.execute(query).fetchall())
        have = dict(self._db.execute(query).fetchall())
        for name in sorted(wanted.keys() | have.keys()):
            if wanted.get(name) != have.get(name):
                raise Doubted("file", f"trigger {name}", "it is missing, or not as this version makes it")

    def _read_prices(self) -> None:
        for version, body in self._db.execute("SELECT version, body FROM price_versions"):
            self._count.price(version, body)
        self._bodies("limits", Limit)
        self._bodies("price_rules", PriceRule)
        if self._unread is not None:
            raise self._unread
        self._count.rules(read_rules(self._db))

    def _check_entries(self, expected: tuple[int, str] | None) -> None:
        proofs_from, proved_seq = self._meta("proofs_from"), self._meta("proved_seq")
        rows = self._db.execute(
            "SELECT e.seq, e.ref, e.account, e.amount, e.kind, e.created_ms, e.note, e.proof, e.hash, "
            "x.account, x.cost, x.record FROM entries e LEFT JOIN exchanges x "
            "ON e.kind = 'use' AND x.id = substr(e.ref, 5) ORDER BY e.seq"
        )
        for *row, link, account, cost, record in rows:
            where = f"entry {row[0]} ({row[1]})"
            self._head = schema.entry_hash(self._head, *row)
            number = self._count.entries + 1
            if row[0] != number:
                raise Doubted("entries", where, f"entry {number} is missing")
            if link != self._head:
                raise Doubted("entries", where, "it was changed, or one before it: its hash is another")
            self._count.entry(where, row[1], row[2], row[3], row[4])
            if row[0] <= proved_seq:
                self._proved[row[2]] = self._proved.get(row[2], 0) + row[3]
            if row[4] == "use":
                self._check_use(where, row, account, cost, record, row[0] >= proofs_from)
            if expected is not None and row[0] == expected[0] and link.hex() != expected[1].lower():
                raise Doubted("head", where, "its hash is not the one that was expected")
        if expected is not None and expected[0] > self._count.entries:
            raise Doubted("head", f"entry {expected[0]}", f"there are only {self._count.entries} entries")
        doubled = self._db.execute("SELECT ref FROM entries GROUP BY ref HAVING count(*) > 1").fetchone()
        if doubled is not None:
            raise Doubted("entries", doubled[0], "it is booked twice")

    def _check_use(
        self, where: str, row: list[object], account: str | None, cost: int, record: str, proven: bool
    ) -> None:
        _, _, payer, amount, _, _, note, proof = row
        if account is None:
            raise Doubted("entries", where, "the exchange that it charges is missing")
        if account != payer or -cost != amount:
            raise Doubted("entries", where, f"its exchange says {cost} p$ of account {account}")
        if not proven:
            return
        found = record_of(record, where)
        if (found.price_version or "") != note:
            raise Doubted("entries", where, f"its exchange was charged by {found.price_version}")
        prices = [self._count.texts.get(version, "") for version in versions_of(found)]
        if proof != schema.proof_of(record, prices):
            raise Doubted("entries", where, "its record or its price is not what it was booked from")

    def _check_exchanges(self) -> None:
        proofs_from = self._meta("proofs_from")
        rows = self._db.execute(
            "SELECT x.id, x.account, x.key, x.reply_id, x.created_ms, x.model, x.status, x.cost, x.hold, "
            "x.record, e.seq FROM exchanges x LEFT JOIN entries e ON e.ref = 'use:' || x.id ORDER BY x.number"
        )
        for id_, *columns, hold, text, seq in rows:
            proven = seq is None or seq >= proofs_from
            self._count.exchange(id_, columns, hold, text, booked=seq is not None, proven=proven)

    def _check_holds(self) -> None:
        epoch = self._meta("epoch")
        rows = self._db.execute(
            "SELECT h.exchange_id, h.epoch, h.state, x.id FROM holds h "
            "LEFT JOIN exchanges x ON x.id = h.exchange_id"
        )
        for id_, born, state, settled in rows:
            if settled is not None:
                raise Doubted("holds", id_, "its exchange is settled, and it is still there")
            if state == "open" and born != epoch:
                raise Doubted("holds", id_, "it is open, though the process that made it is gone")

    def _check_accounts(self) -> None:
        held = dict(
            self._db.execute("SELECT account, sum(amount) FROM holds WHERE state = 'open' GROUP BY account")
        )
        self._count.balances(self._db.execute("SELECT id, posted, held FROM accounts"), held)
        for id_, proved in self._db.execute("SELECT id, proved FROM accounts"):
            total = self._proved.get(id_, 0)
            if proved != total:
                raise Doubted(
                    "accounts",
                    f"account {id_}",
                    f"its sum is carried along as {proved} p$, its entries up to there come to {total}",
                )

    def _check_orders(self) -> None:
        entries = {
            ref.removeprefix("credit:"): (account, amount)
            for ref, account, amount in self._db.execute(
                "SELECT ref, account, amount FROM entries WHERE ref LIKE 'credit:pay:ord\\_%' ESCAPE '\\'"
            )
        }
        for id_, account, body in self._db.execute(
            "SELECT id, account, body FROM documents WHERE kind = ? ORDER BY id", (ORDERS,)
        ):
            try:
                order = _orders.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Doubted("orders", f"order {id_}", f"it cannot be read: {error}") from None
            self._count.order(id_, account, order, entries)
        for ref in entries:
            raise Doubted("orders", f"entry {ref}", "the order that it belongs to is missing, or without it")

    def _meta(self, name: str) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise Doubted("file", f"meta {name}", "it is missing")
        return int(row[0])
