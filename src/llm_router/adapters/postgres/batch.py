"""One transaction of a node: many holds and settlements, decided one after the other, written together.

The rows of their accounts are locked first, in the order of their ids; then the pure ledger decides
on what is there; then one statement writes everything. A row is locked once a batch, not once a
request, so a busy account costs little more than a quiet one, and nothing is decided on a balance
that another node could change meanwhile. Nobody is told anything before the disk has it.
"""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import msgspec

from llm_router.adapters.postgres.known import Gather, Known, read_known
from llm_router.adapters.postgres.ops import (
    CreditOp,
    Fenced,
    HoldOp,
    Op,
    OweOp,
    PublishOp,
    ReleaseOp,
    SettleOp,
)
from llm_router.adapters.postgres.schema import entry_hash
from llm_router.adapters.postgres.write import COUNT_COLUMNS, FORGET_SPENDS, WRITE, WRITE_SPENDS, columns
from llm_router.billing.budgets import Share
from llm_router.billing.ledger import Entry, Settlement, booked, credit_kind, same_credit
from llm_router.billing.rollups import RollupKey, add_counts, rollup_counts, rollup_key
from llm_router.domain.errors import ClientError
from llm_router.domain.record import ExchangeRecord
from llm_router.ports import Settled

# The locks are let go before the disk has the commit, so that whoever waits for them does not wait for the disk
# too. The log of the database is one sequence: whoever builds on this batch is on the disk only if this is, and
# the next, synchronous commit of this node, which nothing is told before, puts both there.
_BEGIN = "BEGIN; SET LOCAL synchronous_commit TO off"
_FLUSH = "UPDATE nodes SET number = number WHERE id = $1"

_CLAIM = "SELECT number, head FROM nodes WHERE id = $1 AND NOT closed FOR UPDATE"
_OPEN_ACCOUNTS = "INSERT INTO accounts (id, posted, held) SELECT id, 0, 0 FROM unnest($1::text[]) a(id) ON CONFLICT DO NOTHING"

_PUBLISH = "INSERT INTO price_versions SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) ON CONFLICT DO NOTHING"
_ORPHANED = (
    "UPDATE holds h SET voided_ms = o.voided_ms FROM unnest($1::text[], $2::bigint[]) o(id, voided_ms) "
    "WHERE h.exchange_id = o.id"
)
_OWE = (
    "UPDATE accounts a SET owed = o.owed FROM unnest($1::text[], $2::bigint[]) o(id, owed) WHERE a.id = o.id"
)

_records = msgspec.json.Decoder(ExchangeRecord)


async def commit(connection: asyncpg.Connection, node: int, ops: list[Op], gather: Gather) -> int:
    """Decide and write the operations, and those that ``gather`` adds to them when the locks are had; set
    ``result`` or ``error`` of each. Return how many of the settlements found their hold voided by another node.

    Raises:
        Fenced: the node is closed; nothing was written.
        one of link.FAILURES: nothing was written, or (of a connection that broke) perhaps all of it.
    """
    credited = sorted({op.account for op in ops if isinstance(op, CreditOp | OweOp)})
    if credited:
        await connection.execute(_OPEN_ACCOUNTS, credited)
    await connection.execute(_BEGIN)
    # The node's row first: a node that is being closed waits here, and finds out.
    claim = await connection.fetchrow(_CLAIM, node)
    if claim is None:
        raise Fenced
    batch = Batch(node, claim["number"], claim["head"], await read_known(connection, ops, gather))
    for op in ops:
        batch.decide(op)
    await batch.write(connection)
    await connection.execute("COMMIT")
    if await connection.execute(_FLUSH, node) != "UPDATE 1":
        raise ConnectionError("the batch may not be on the disk")
    return batch.fenced


class Batch:
    """Decisions on a ledger that is locked, and the rows that they come to."""

    def __init__(self, node: int, number: int, head: bytes, known: Known) -> None:
        self._node = node
        self._number = number
        self._head = head
        self._known = known
        self._ledger = known.ledger
        self._holds: dict[str, tuple[Any, ...]] = {}
        self._resolved: set[str] = set()
        self._exchanges: list[tuple[Any, ...]] = []
        self._entries: list[tuple[Any, ...]] = []
        self._rollups: dict[RollupKey, tuple[int, ...]] = {}
        self._spends: dict[Share, int] = {}  # when last seen
        self._owed: dict[str, int] = {}
        self._orphans: list[tuple[str, int]] = []
        self._published: dict[str, tuple[str, str, int]] = {}
        self.fenced = 0

    def decide(self, op: Op) -> None:
        op.error = None
        try:
            match op:
                case HoldOp():
                    op.result = self._hold(op)
                case SettleOp():
                    op.result = self._settle(op)
                case ReleaseOp():
                    op.result = self._release(op)
                case CreditOp():
                    op.result = self._credit(op)
                case OweOp():
                    self._ledger.owe(op.account, op.owed_pusd)
                    self._owed[op.account] = max(0, op.owed_pusd)
                case PublishOp():
                    self._published[op.version] = (op.version, op.body, op.now_ms)
        except (ClientError, ValueError) as error:  # this one is refused; nothing of it was done
            op.error = error

    def _hold(self, op: HoldOp) -> int:
        for each in op.wanted:
            if each.exchange_id in self._known.costs or each.exchange_id in self._known.voided:
                raise ValueError(f"exchange {each.exchange_id} is settled already")
        if op.tried and all(self._ledger.is_open(each.exchange_id) for each in op.wanted):
            return self._ledger.available(op.payer.account)  # committed, but the answer was lost
        holds = self._ledger.hold_all(op.wanted, op.payer, op.now_ms)
        for hold, each in zip(holds, op.wanted, strict=True):
            self._holds[hold.exchange_id] = (
                hold.exchange_id,
                hold.account,
                hold.amount_pusd,
                _json(op.payer),
                _json(hold.shares) if hold.shares else "[]",
                each.price_version,
                op.now_ms,
            )
            self._touch(hold.shares, op.now_ms)
        return self._ledger.available(op.payer.account)

    def _settle(self, op: SettleOp) -> Settled:
        record = op.record
        cost_pusd = self._known.costs.get(record.id)
        if cost_pusd is None:
            settlement = self._ledger.settle(record.id, record.payer, record.cost_pusd, record.created_ms)
            self._write_settlement(booked(record, settlement), settlement)
            return Settled(charged_pusd=settlement.charged_pusd, remaining_pusd=settlement.remaining_pusd)
        return Settled(charged_pusd=cost_pusd, remaining_pusd=self._ledger.available(record.account))

    def _write_settlement(self, record: ExchangeRecord, settlement: Settlement) -> None:
        record, text = _storable(record)
        self._known.costs[record.id] = settlement.charged_pusd
        if record.id in self._known.voided:
            self._known.voided.discard(record.id)
            self.fenced += 1
            self._resolved.add(record.id)
        elif settlement.hold is not None:
            self._resolve(record.id)
        self._exchanges.append(
            (
                record.id,
                record.account,
                record.key,
                record.reply_id,
                record.created_ms,
                record.model,
                record.status,
                None if settlement.hold is None else settlement.hold.amount_pusd,
                record.cost_pusd,
                text,
            )
        )
        if settlement.charged_pusd:
            note = "" if record.price_version is None else record.price_version
            entry = (
                f"use:{record.id}",
                record.account,
                -settlement.charged_pusd,
                "use",
                record.created_ms,
                note,
            )
            self._entry(entry, text)
        self._touch(settlement.shares, record.created_ms)
        key, counts = rollup_key(record), rollup_counts(record)
        sums = self._rollups.get(key)
        self._rollups[key] = counts if sums is None else add_counts(sums, counts)

    def _release(self, op: ReleaseOp) -> int:
        hold = self._ledger.open_hold(op.exchange_id)
        if hold is None:
            return 0
        self._ledger.settle(op.exchange_id, hold.payer, 0, hold.admitted_ms)
        self._touch(hold.shares, hold.admitted_ms)
        if op.orphaned_ms is None:
            self._resolve(op.exchange_id)
        else:
            self._orphans.append((op.exchange_id, op.orphaned_ms))
        return 1

    def _resolve(self, id_: str) -> None:
        if self._holds.pop(id_, None) is None:  # else it is of this very batch: never written
            self._resolved.add(id_)

    def _credit(self, op: CreditOp) -> int:
        booked_already = self._known.credits.get(op.ref)
        if booked_already is not None:
            same_credit(booked_already, op.account, op.amount_pusd)
            return self._ledger.available(op.account)
        credit = self._ledger.credit(op.account, op.amount_pusd)
        kind = credit_kind(op.amount_pusd)
        ref, note = f"credit:{_clean(op.ref)}", _clean(op.reason)
        self._entry((ref, op.account, op.amount_pusd, kind, op.now_ms, note), "")
        self._known.credits[op.ref] = Entry(  # its number over all is not known yet
            seq=0,
            ref=ref,
            account=op.account,
            amount_pusd=op.amount_pusd,
            kind=kind,
            created_ms=op.now_ms,
            note=note,
        )
        return credit.remaining_pusd

    def _entry(self, entry: tuple[str, str, int, str, int, str], record: str) -> None:
        self._number += 1
        self._head = entry_hash(self._head, (self._node, self._number, *entry), record)
        self._entries.append((self._number, *entry, self._head))

    def _touch(self, shares: tuple[Share, ...], seen_ms: int) -> None:
        for share in shares:
            self._spends[share] = max(seen_ms, self._spends.get(share, 0))

    async def write(self, connection: asyncpg.Connection) -> None:
        """Write all rows. Inside the caller's transaction."""
        stored = self._known.stored
        moved = [
            (account, posted, held)
            for account, posted, held in self._ledger.balances()
            if account in stored and stored[account] != (posted, held)
        ]
        rollups = [(*key, *sums) for key, sums in sorted(self._rollups.items())]
        await connection.execute(
            WRITE,
            self._node,
            self._number,
            self._head,
            list(self._resolved),
            *columns(list(self._holds.values()), 7),
            *columns(self._exchanges, 10),
            *columns(self._entries, 8),
            *columns(moved, 3),
            *columns(rollups, COUNT_COLUMNS),
        )
        if self._spends:
            await self._write_spends(connection)
        if self._published:
            await connection.execute(_PUBLISH, *columns(list(self._published.values()), 3))
        if self._orphans:
            await connection.execute(_ORPHANED, *columns(self._orphans, 2))
        if self._owed:
            await connection.execute(_OWE, *columns(list(self._owed.items()), 2))

    async def _write_spends(self, connection: asyncpg.Connection) -> None:
        rows: list[tuple[Any, ...]] = []
        gone: list[tuple[Any, ...]] = []
        for share, seen_ms in self._spends.items():
            counted = self._ledger.budgets.counted(share)
            place = (share.budget, share.session, share.bucket)
            if counted is None:
                gone.append(place)  # no window can hold it any more, or its budget was removed
            else:
                rows.append((*place, *counted, seen_ms))
        gone += self._known.over
        if gone:
            await connection.execute(FORGET_SPENDS, *columns(gone, 3))
        if rows:
            await connection.execute(WRITE_SPENDS, *columns(rows, 7))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _clean(text: str) -> str:
    """Text as the database takes it: no NUL, no lone surrogates."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()


def _storable(record: ExchangeRecord) -> tuple[ExchangeRecord, str]:
    """The record with texts that the database takes, and its JSON. The charge must not fail for a text."""
    try:
        text = msgspec.json.encode(record).decode()
    except UnicodeEncodeError:  # a lone surrogate somewhere
        plain = json.dumps(msgspec.to_builtins(record), ensure_ascii=False)
        text = plain.encode(errors="replace").decode()
        record = _records.decode(text)
    if "\\u0000" in text:  # JSON may name it, a column may not hold it
        names = ("account", "key", "team", "user", "reply_id", "model", "provider", "price_version")
        texts = {name: getattr(record, name) for name in names}
        changed = {name: _clean(value) for name, value in texts.items() if value and "\x00" in value}
        record = msgspec.structs.replace(record, **changed)
    return record, text
