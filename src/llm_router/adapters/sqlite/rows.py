"""What the event loop asks the writer to make durable, and the SQL that does it.

Statements name values by ``?`` only; no text of a caller ever becomes SQL.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import msgspec

from llm_router.adapters.sqlite.schema import entry_hash
from llm_router.billing.budgets import Share
from llm_router.billing.ledger import Credit, Hold, Settlement, credit_kind
from llm_router.billing.rollups import COUNTS, SUM_MAX, RollupKey, bounded
from llm_router.ports import Landing

_SIZES = (64, 16, 4, 1)
"""Rows in one statement. The interpreter's lock is let go and taken again around each statement: with a
statement for each row, the writer and the event loop would take it from each other several times a request."""


_LONG_SIZES = (16, 4, 1)
"""The same of rows that are thousands of bytes long: more of them at once leave the processor's caches."""


class _Insert:
    """One statement for many rows, in pieces of a few sizes that stay prepared."""

    def __init__(self, before: str, row: str, after: str = "", sizes: tuple[int, ...] = _SIZES) -> None:
        width = row.count("?")
        self._sql = [(size * width, before + ", ".join([row] * size) + after) for size in sizes]

    def execute(self, connection: sqlite3.Connection, values: list[Any]) -> int:
        """Return how many rows were changed. ``values``: of all rows, one after the other."""
        changed, begin = 0, 0
        for count, sql in self._sql:
            while len(values) - begin >= count:
                changed += connection.execute(sql, values[begin : begin + count]).rowcount
                begin += count
        return changed


class _Lookup:
    """One question for many ids, in pieces of a few sizes that stay prepared."""

    def __init__(self, sql: str) -> None:
        self._sql = {size: sql.format(", ".join(["?"] * size)) for size in _SIZES}

    def read(self, connection: sqlite3.Connection, ids: list[str]) -> set[str]:
        found: set[str] = set()
        begin = 0
        for size, sql in self._sql.items():
            while len(ids) - begin >= size:
                rows = connection.execute(sql, ids[begin : begin + size]).fetchall()
                found.update(id_ for (id_,) in rows)
                begin += size
        return found


_SETTLED = _Lookup("SELECT id FROM exchanges WHERE id IN ({})")
_HOLDING = _Lookup("SELECT exchange_id FROM holds WHERE exchange_id IN ({})")

_HOLD = _Insert(
    "INSERT INTO holds SELECT *, 'open', NULL FROM (VALUES ",
    "(?, ?, ?, ?, ?, ?)",
    ") WHERE NOT EXISTS (SELECT 1 FROM exchanges WHERE id = column1)",
)
_ENTRY = _Insert("INSERT INTO entries VALUES ", "(?, ?, ?, ?, ?, ?, ?, ?, ?)")
_EXCHANGE = _Insert(
    "INSERT INTO exchanges (id, account, key, reply_id, created_ms, model, status, hold, cost, record) VALUES ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    sizes=_LONG_SIZES,
)
_RESOLVE = _Insert("DELETE FROM holds WHERE exchange_id IN (", "?", ")")
_ORPHAN = "UPDATE holds SET state = 'orphaned', voided_ms = ? WHERE exchange_id = ? AND state = 'open'"
_OPEN_ACCOUNT = "INSERT OR IGNORE INTO accounts (id, posted, held) VALUES (?, 0, 0)"
_SPEND = (
    "INSERT INTO spends VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
    "SET spent = spent + excluded.spent, seen_ms = max(seen_ms, excluded.seen_ms)"
)
# What others claim must not refuse a charge; what was charged is exact.
_ROLLUP = (
    "INSERT INTO rollups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - names of ours
    "ON CONFLICT DO UPDATE SET cost = cost + excluded.cost, "
    + ", ".join(f"{name} = min({SUM_MAX}, {name} + excluded.{name})" for name in COUNTS if name != "cost")
)
_MOVE = "UPDATE accounts SET posted = posted + ?, held = held + ? WHERE id = ?"


class Op(msgspec.Struct, kw_only=True):
    """One request to the writer. ``future`` gets ``result`` when it is durable, else ``error``."""

    future: Landing
    result: Any = None
    error: BaseException | None = None


class HoldOp(Op, kw_only=True):
    hold: Hold
    price_version: str
    now_ms: int


class SettleOp(Op, kw_only=True):
    """``row`` is that of the table exchanges; ``sums`` are added to the row of rollups; ``proof`` is the
    digest of what the charge was calculated from."""

    settlement: Settlement
    row: tuple[Any, ...]
    rollup: RollupKey
    sums: tuple[int, ...]
    created_ms: int
    note: str
    proof: bytes


class ReleaseOp(Op, kw_only=True):
    """Resolve the hold of an exchange without a record of it. ``orphaned_ms``: keep the row, as that of an
    exchange whose outcome nobody knows; None deletes it."""

    settlement: Settlement
    orphaned_ms: int | None


class CreditOp(Op, kw_only=True):
    credit: Credit
    ref: str
    reason: str
    now_ms: int


class BudgetOp(Op, kw_only=True):
    """Write a budget with what was spent before it was there, read by ``history`` after everything
    submitted before and before anything submitted later. Its result is that history."""

    budget_id: str
    body: str
    now_ms: int
    history: Callable[[sqlite3.Connection], list[tuple[str, int, int]]]


class StatementOp(Op, kw_only=True):
    """One statement that touches no money; its result is the number of changed rows."""

    sql: str
    values: tuple[Any, ...]


class GuardedOp(Op, kw_only=True):
    """A statement, and if it changed a row those behind it, in the same transaction. Its result: whether it did."""

    guard: StatementOp
    behind: list[StatementOp | BudgetOp]


class ProbeOp(Op, kw_only=True):
    """Ask a writer that failed to try again."""


class FlushOp(Op, kw_only=True):
    """Have everything that was submitted before in the tables."""


class RowRefused(Exception):
    """A statement changed fewer rows than it must: the store does not agree with the ledger."""


OP_ERRORS = (sqlite3.IntegrityError, RowRefused, OverflowError, UnicodeEncodeError)
"""One operation is at fault, not the disk: the others of its batch are saved without it."""


def settled_of(connection: sqlite3.Connection, ids: list[str]) -> set[str]:
    """Those of some exchanges that are settled."""
    return _SETTLED.read(connection, ids)


def newest_of(connection: sqlite3.Connection) -> str:
    """The greatest id of an exchange that is settled or has a hold: a greater one is new. Ids rise, so that
    hardly one has to be looked for."""
    (exchange,) = connection.execute("SELECT coalesce(max(id), '') FROM exchanges").fetchone()
    (hold,) = connection.execute("SELECT coalesce(max(exchange_id), '') FROM holds").fetchone()
    return max(str(exchange), str(hold))


def held_of(connection: sqlite3.Connection, ids: list[str]) -> set[str]:
    """Those of some exchanges that have a hold, open or orphaned."""
    return _HOLDING.read(connection, ids)


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the entries: number and hash of the last one."""

    seq: int
    head: bytes


class Rows:
    """The rows of a batch, table by table. The order of the tables makes the order of ops immaterial:
    a hold is there before it is resolved, and balances move once, by the sum of all moves."""

    def __init__(self, ops: Iterable[Op], epoch: int, end: Chain) -> None:
        self._epoch = epoch
        self._seq = end.seq
        self._head = end.head
        self._holds: dict[str, HoldOp] = {}  # a hold that is resolved in the same batch has no row
        self._entries: list[Any] = []  # the values of their rows, one after the other
        self._exchanges: list[Any] = []  # the same
        self._resolved: list[str] = []
        self._orphans: list[tuple[int, str]] = []
        self._strays: list[str] = []
        self._new_accounts: list[tuple[str]] = []
        self._moves: dict[str, list[int]] = {}
        self._spends: dict[Share, tuple[int, int]] = {}  # spent, seen_ms
        self._rollups: dict[RollupKey, list[tuple[int, ...]]] = {}  # added up when they are written
        self._statements: list[StatementOp | BudgetOp | GuardedOp] = []
        self.add(ops)

    @property
    def chain(self) -> Chain:
        """The end of the entries after these."""
        return Chain(seq=self._seq, head=self._head)

    def write(self, connection: sqlite3.Connection) -> None:
        """Execute everything, inside the caller's transaction.

        Raises:
            RowRefused, sqlite3.Error: the caller must roll back.
        """
        many = connection.executemany
        holds = list(chain.from_iterable([self._hold_row(op) for op in self._holds.values()]))
        _all(_HOLD.execute(connection, holds), len(self._holds), "the exchange is settled already")
        _ENTRY.execute(connection, self._entries)
        _EXCHANGE.execute(connection, self._exchanges)
        _all(_RESOLVE.execute(connection, self._resolved), len(self._resolved), "the hold is not there")
        if self._orphans:
            _all(many(_ORPHAN, self._orphans).rowcount, len(self._orphans), "the hold is not there")
        _RESOLVE.execute(connection, self._strays)
        if self._new_accounts:
            many(_OPEN_ACCOUNT, self._new_accounts)
        moves = self._account_moves()
        if moves:
            _all(many(_MOVE, moves).rowcount, len(moves), "the account is not there")
        if self._spends:
            rows = [(s.budget, s.session, s.bucket, *spent) for s, spent in self._spends.items()]
            many(_SPEND, rows)
        if self._rollups:
            many(
                _ROLLUP,
                [(*key, *bounded(map(sum, zip(*sums, strict=True)))) for key, sums in self._rollups.items()],
            )
        for op in self._statements:
            _state(connection, op)

    def add(self, ops: Iterable[Op]) -> None:
        """Raises: RowRefused: a hold is there twice."""
        holds = self._holds
        for op in ops:
            if type(op) is SettleOp:  # by far the most, and the next
                self._add_settlement(op)
            elif type(op) is HoldOp:
                if holds.setdefault(op.hold.exchange_id, op) is not op:
                    raise RowRefused("the exchange holds already")
            elif isinstance(op, ReleaseOp):
                self._add_release(op)
            elif isinstance(op, CreditOp):
                self._add_credit(op)
            elif isinstance(op, StatementOp | BudgetOp | GuardedOp):
                self._statements.append(op)

    def _hold_row(self, op: HoldOp) -> tuple[Any, ...]:
        hold = op.hold
        return hold.exchange_id, hold.account, hold.amount_pusd, op.price_version, self._epoch, op.now_ms

    def _account_moves(self) -> list[tuple[int, int, str]]:
        """(posted, held, account) by which accounts move: what was added up, and the holds that stay."""
        held = dict.fromkeys(self._moves, 0)
        for op in self._holds.values():
            hold = op.hold
            held[hold.account] = held.get(hold.account, 0) + hold.amount_pusd
        moves = []
        for account, staying in held.items():
            posted, resolved = self._moves.get(account, (0, 0))
            if posted or resolved + staying:
                moves.append((posted, resolved + staying, account))
        return moves

    def _add_settlement(self, op: SettleOp) -> None:
        settlement, exchange_id = op.settlement, op.row[0]
        self._exchanges += op.row
        hold, held = settlement.hold, 0
        if hold is None:  # perhaps that of an earlier epoch, voided long ago
            self._strays.append(exchange_id)
        else:
            held = self._resolve(hold)
        charged = settlement.charged_pusd
        if charged:
            self._entry(
                f"use:{exchange_id}", settlement.account, -charged, "use", op.created_ms, op.note, op.proof
            )
            for share in settlement.shares:
                spent, seen_ms = self._spends.get(share, (0, 0))
                self._spends[share] = (spent + charged, max(seen_ms, op.created_ms))
        if charged or held:
            self._move(settlement.account, -charged, -held)
        sums = self._rollups.get(op.rollup)
        if sums is None:
            self._rollups[op.rollup] = [op.sums]
        else:
            sums.append(op.sums)

    def _add_release(self, op: ReleaseOp) -> None:
        hold = op.settlement.hold
        assert hold is not None, "only open holds are released"
        held = hold.amount_pusd
        if op.orphaned_ms is None:
            held = self._resolve(hold)
        else:
            self._orphans.append((op.orphaned_ms, hold.exchange_id))
        self._move(hold.account, 0, -held)

    def _resolve(self, hold: Hold) -> int:
        """Return by how much less the tables' accounts hold then: a hold of this batch never gets there."""
        op = self._holds.pop(hold.exchange_id, None)
        if op is None:
            self._resolved.append(hold.exchange_id)
            return hold.amount_pusd
        return hold.amount_pusd - op.hold.amount_pusd

    def _add_credit(self, op: CreditOp) -> None:
        account, amount = op.credit.account, op.credit.amount_pusd
        self._new_accounts.append((account,))
        self._entry(f"credit:{op.ref}", account, amount, credit_kind(amount), op.now_ms, op.reason)
        self._move(account, amount, 0)

    def _entry(
        self,
        ref: str,
        account: str,
        amount: int,
        kind: str,
        created_ms: int,
        note: str,
        proof: bytes | None = None,
    ) -> None:
        self._seq = seq = self._seq + 1
        self._head = head = entry_hash(self._head, seq, ref, account, amount, kind, created_ms, note, proof)
        self._entries += (seq, ref, account, amount, kind, created_ms, note, head, proof)

    def _move(self, account: str, posted: int, held: int) -> None:
        move = self._moves.get(account)
        if move is None:
            self._moves[account] = [posted, held]
        else:
            move[0] += posted
            move[1] += held


def _state(connection: sqlite3.Connection, op: StatementOp | BudgetOp | GuardedOp) -> None:
    if isinstance(op, BudgetOp):
        _write_budget(connection, op)
    elif isinstance(op, StatementOp):
        op.result = connection.execute(op.sql, op.values).rowcount
    else:
        _state(connection, op.guard)
        op.result = op.guard.result == 1
        for each in op.behind if op.result else ():
            _state(connection, each)


def _write_budget(connection: sqlite3.Connection, op: BudgetOp) -> None:
    connection.execute("INSERT OR REPLACE INTO budgets VALUES (?, ?)", (op.budget_id, op.body))
    op.result = op.history(connection)
    connection.executemany(_SPEND, [(op.budget_id, *row, op.now_ms) for row in op.result])


def _all(changed: int, expected: int, why: str) -> None:
    if changed != expected:
        raise RowRefused(why)
