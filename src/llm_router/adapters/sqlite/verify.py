"""Prove the books of a file: everything that follows from something else is calculated again.

Reads only, in one transaction: a store that is in use is seen at one moment. What is compared:

    the file          its own integrity, and the triggers that refuse changes
    entries           numbered without a gap, chained by their hashes, one for each charged exchange, with
                      the digest of the record and the prices that it was calculated from
    exchanges         columns = record; cost = usage x prices of the version, line by line
    accounts          posted = sum of entries, held = sum of open holds, nothing overdrawn
    rollups           = the sums of the exchanges
    budgets           spent = what the exchanges of their part cost in that window

The first thing that does not agree is the verdict. Who may write the file may also write all of it
anew, with other hashes: only a hash that is kept elsewhere tells (see :func:`verify`'s ``expected``).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from llm_router.adapters.sqlite import schema
from llm_router.adapters.sqlite.prices import decode_price, figures, read_rules, versions_of
from llm_router.adapters.sqlite.spending import Spending
from llm_router.billing.own_keys import FEE_MARK
from llm_router.billing.pricing import MARK, sold
from llm_router.billing.rerate import lines_doubt, rerated
from llm_router.billing.rollups import COUNTS, RollupKey, add_counts, rollup_counts, rollup_key
from llm_router.domain.price import Price
from llm_router.domain.record import ExchangeRecord

_records = msgspec.json.Decoder(ExchangeRecord)


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing that does not agree.

    Attributes:
        check: of what: file, entries, exchanges, accounts, holds, rollups, budgets, head.
        where: the row in question.
    """

    check: str
    where: str
    what: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was proven.

    Attributes:
        rerated: exchanges whose cost was calculated again from the stored prices.
        unproven: charged by a version that stored no prices: their lines were added up, no more.
        seq, head: number and hash of the last entry, to be kept elsewhere.
    """

    entries: int = 0
    exchanges: int = 0
    rerated: int = 0
    unproven: int = 0
    accounts: int = 0
    rollups: int = 0
    budgets: int = 0
    seq: int = 0
    head: str = ""
    doubt: Doubt | None = None


class _Doubted(Exception):
    def __init__(self, check: str, where: str, what: str) -> None:
        super().__init__(what)
        self.doubt = Doubt(check=check, where=where, what=what)


def verify(path: Path, now_ms: int, expected: tuple[int, str] | None = None) -> Verdict:
    """Check a store's file, in use or not.

    Args:
        expected: number and hash of an entry as they were told before.

    Raises:
        StoreError: it is no store of this version.
        sqlite3.Error: it cannot be read.
    """
    with closing(_connect(path)) as connection:
        connection.execute("BEGIN")
        if schema.check_ours(connection, path) != schema.SCHEMA_VERSION:
            raise schema.StoreTooOld(
                f"{path} was written by an earlier version of llm-router. Run: llm-router migrate"
            )
        proof = _Proof(connection, now_ms)
        try:
            proof.run(expected)
        except _Doubted as doubted:
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
        self._prices: dict[str, str] = {}
        self._decoded: dict[str, Price] = {}
        self._sums: dict[str, int] = {}
        self._rollups: dict[RollupKey, tuple[int, ...]] = {}
        self._spending = Spending(connection, now_ms)
        self._head = schema.GENESIS
        self.entries = self.exchanges = self.rerated = self.unproven = self.accounts = 0

    def verdict(self, doubt: Doubt | None) -> Verdict:
        return Verdict(
            entries=self.entries,
            exchanges=self.exchanges,
            rerated=self.rerated,
            unproven=self.unproven,
            accounts=self.accounts,
            rollups=len(self._rollups),
            budgets=self._spending.budgets,
            seq=self.entries,
            head=self._head.hex() if doubt is None else "",
            doubt=doubt,
        )

    def run(self, expected: tuple[int, str] | None) -> None:
        self._check_file()
        self._read_prices()
        self._check_entries(expected)
        self._check_exchanges()
        self._check_holds()
        self._check_accounts()
        self._check_rollups()
        for where, what in self._spending.doubts():
            raise _Doubted("budgets", where, what)

    def _check_file(self) -> None:
        (found,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise _Doubted("file", "integrity", str(found))
        query = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
            schema.create(fresh)
            wanted = dict(fresh.execute(query).fetchall())
        have = dict(self._db.execute(query).fetchall())
        for name in sorted(wanted.keys() | have.keys()):
            if wanted.get(name) != have.get(name):
                raise _Doubted("file", f"trigger {name}", "it is missing, or not as this version makes it")

    def _read_prices(self) -> None:
        for version, body in self._db.execute("SELECT version, body FROM price_versions"):
            try:
                self._decoded[version] = decode_price(body)
            except msgspec.DecodeError as error:
                raise _Doubted("prices", version, f"it cannot be read: {error}") from None
            if self._decoded[version].version != version:
                raise _Doubted("prices", version, "it is the price of another version")
            self._prices[version] = body
        self._check_sold()

    def _check_sold(self) -> None:
        """Prices that a rule made come out again."""
        rules = {rule.id: rule for rule in read_rules(self._db)}
        for version, price in self._decoded.items():
            base, mark, id_ = version.rpartition(MARK)
            if not mark or FEE_MARK in id_:  # that of an own key is made of a price that is not kept
                continue
            if id_ not in rules:
                raise _Doubted("prices", version, f"the rule {id_} that made it is missing")
            made = None if base not in self._decoded else sold(self._decoded[base], rules[id_])
            if made is None or figures(made) != figures(price):
                raise _Doubted("prices", version, f"it is not what the rule {id_} makes of {base}")

    def _check_entries(self, expected: tuple[int, str] | None) -> None:
        proofs_from = self._meta("proofs_from")
        rows = self._db.execute(
            "SELECT e.seq, e.ref, e.account, e.amount, e.kind, e.created_ms, e.note, e.proof, e.hash, "
            "x.account, x.cost, x.record FROM entries e LEFT JOIN exchanges x "
            "ON e.kind = 'use' AND x.id = substr(e.ref, 5) ORDER BY e.seq"
        )
        for *row, link, account, cost, record in rows:
            where = f"entry {row[0]} ({row[1]})"
            self._head = schema.entry_hash(self._head, *row)
            if row[0] != self.entries + 1:
                raise _Doubted("entries", where, f"entry {self.entries + 1} is missing")
            if link != self._head:
                raise _Doubted("entries", where, "it was changed, or one before it: its hash is another")
            if (row[3] < 0) != (row[4] in ("use", "adjust")) or row[3] == 0:
                raise _Doubted("entries", where, f"an amount of {row[3]} p$ is none of its kind")
            if (row[4] == "use") != row[1].startswith("use:"):
                raise _Doubted("entries", where, "its kind is not that of its reference")
            if row[4] == "use":
                self._check_use(where, row, account, cost, record, row[0] >= proofs_from)
            self.entries += 1
            self._sums[row[2]] = self._sums.get(row[2], 0) + row[3]
            if expected is not None and row[0] == expected[0] and link.hex() != expected[1].lower():
                raise _Doubted("head", where, "its hash is not the one that was expected")
        if expected is not None and expected[0] > self.entries:
            raise _Doubted("head", f"entry {expected[0]}", f"there are only {self.entries} entries")
        doubled = self._db.execute("SELECT ref FROM entries GROUP BY ref HAVING count(*) > 1").fetchone()
        if doubled is not None:
            raise _Doubted("entries", doubled[0], "it is booked twice")

    def _check_use(
        self, where: str, row: list[object], account: str | None, cost: int, record: str, proven: bool
    ) -> None:
        _, _, payer, amount, _, _, note, proof = row
        if account is None:
            raise _Doubted("entries", where, "the exchange that it charges is missing")
        if account != payer or -cost != amount:
            raise _Doubted("entries", where, f"its exchange says {cost} p$ of account {account}")
        if not proven:
            return
        found = _record(record, where)
        if (found.price_version or "") != note:
            raise _Doubted("entries", where, f"its exchange was charged by {found.price_version}")
        prices = [self._prices.get(version, "") for version in versions_of(found)]
        if proof != schema.proof_of(record, prices):
            raise _Doubted("entries", where, "its record or its price is not what it was booked from")

    def _check_exchanges(self) -> None:
        proofs_from = self._meta("proofs_from")
        rows = self._db.execute(
            "SELECT x.id, x.account, x.key, x.reply_id, x.created_ms, x.model, x.status, x.cost, x.hold, "
            "x.record, e.seq FROM exchanges x LEFT JOIN entries e ON e.ref = 'use:' || x.id ORDER BY x.number"
        )
        for id_, *columns, hold, text, seq in rows:
            where = f"exchange {id_}"
            record = _record(text, where)
            said = (record.account, record.key, record.reply_id, record.created_ms, record.model)
            if record.id != id_ or (*said, record.status, record.cost_pusd) != tuple(columns):
                raise _Doubted("exchanges", where, "its columns are not those of its record")
            if (record.cost_pusd != 0) != (seq is not None):
                raise _Doubted("exchanges", where, f"it cost {record.cost_pusd} p$, which is not booked")
            if hold is not None and hold < 0:
                raise _Doubted("exchanges", where, "its hold is negative")
            self._rerate(record, where, seq is None or seq >= proofs_from)
            self.exchanges += 1
            key = rollup_key(record)
            sums = self._rollups.get(key)
            counts = rollup_counts(record)
            self._rollups[key] = counts if sums is None else add_counts(sums, counts)
            self._spending.add(record)

    def _rerate(self, record: ExchangeRecord, where: str, proven: bool) -> None:
        """An exchange that predates stored prices has its lines added up; all others are rated again."""
        known = record.price_version in self._decoded
        if proven or known:
            doubt = rerated(record, self._decoded)
            self.rerated += bool(record.cost)
        else:
            doubt = lines_doubt(record)
            self.unproven += 1
        if doubt is not None:
            raise _Doubted("exchanges", where, doubt)

    def _check_holds(self) -> None:
        epoch = self._meta("epoch")
        rows = self._db.execute(
            "SELECT h.exchange_id, h.epoch, h.state, x.id FROM holds h "
            "LEFT JOIN exchanges x ON x.id = h.exchange_id"
        )
        for id_, born, state, settled in rows:
            if settled is not None:
                raise _Doubted("holds", id_, "its exchange is settled, and it is still there")
            if state == "open" and born != epoch:
                raise _Doubted("holds", id_, "it is open, though the process that made it is gone")

    def _check_accounts(self) -> None:
        held = dict(
            self._db.execute("SELECT account, sum(amount) FROM holds WHERE state = 'open' GROUP BY account")
        )
        for account, posted, holds in self._db.execute("SELECT id, posted, held FROM accounts"):
            where = f"account {account}"
            total = self._sums.pop(account, 0)
            if posted != total:
                raise _Doubted("accounts", where, f"its balance is {posted} p$, its entries come to {total}")
            open_pusd = held.pop(account, 0)
            if holds != open_pusd:
                raise _Doubted("accounts", where, f"{holds} p$ are held, its holds come to {open_pusd}")
            if posted - holds < 0:
                raise _Doubted("accounts", where, f"it is overdrawn by {holds - posted} p$")
            self.accounts += 1
        for account in sorted(self._sums.keys() | {name for name, pusd in held.items() if pusd}):
            raise _Doubted("accounts", f"account {account}", "it has entries or holds but no balance")

    def _check_rollups(self) -> None:
        left = dict(self._rollups)
        columns = ", ".join((*RollupKey._fields, *COUNTS))
        size = len(RollupKey._fields)
        for row in self._db.execute(f"SELECT {columns} FROM rollups"):  # noqa: S608 - names of ours
            place = RollupKey(*row[:size])
            wanted = left.pop(place, None)
            if wanted is None:
                raise _Doubted("rollups", _place(place), "no exchange belongs to it")
            for name, one, other in zip(COUNTS, row[size:], wanted, strict=True):
                if one != other:
                    raise _Doubted(
                        "rollups", _place(place), f"{name} is {one}, its exchanges come to {other}"
                    )
        for place in left:
            raise _Doubted("rollups", _place(place), "it is missing")

    def _meta(self, name: str) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise _Doubted("file", f"meta {name}", "it is missing")
        return int(row[0])


def _record(text: str, where: str) -> ExchangeRecord:
    try:
        return _records.decode(text)
    except msgspec.DecodeError as error:
        raise _Doubted("exchanges", where, f"its record cannot be read: {error}") from None


def _place(key: RollupKey) -> str:
    return f"hour {key.hour}, account {key.account}, key {key.key}, model {key.model or '(none)'}"
