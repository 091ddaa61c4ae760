"""What the database knows of a batch's accounts, exchanges, references and budgets, under their locks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import asyncpg
import msgspec

from llm_router.adapters.postgres.ops import CreditOp, HoldOp, Op, OweOp, ReleaseOp, SettleOp
from llm_router.billing.budgets import SESSION_IDLE_MS, Budgets, Share
from llm_router.billing.ledger import Entry, Hold, Ledger
from llm_router.domain.budget import Budget, Payer

_LOCK = "SELECT id, posted, held, budgets, owed FROM accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE"
_EXCHANGES = (
    "SELECT q.id, h.account, h.amount, h.payer, h.shares, h.created_ms, h.voided_ms, x.cost "
    "FROM unnest($1::text[]) q(id) "
    "LEFT JOIN holds h ON h.exchange_id = q.id LEFT JOIN exchanges x ON x.id = q.id "
    "WHERE h.exchange_id IS NOT NULL OR x.id IS NOT NULL"
)
_CREDITS = "SELECT seq, ref, account, amount, kind, created_ms, note FROM entries WHERE ref = ANY($1)"
_BUDGETS = "SELECT body FROM budgets WHERE account = ANY($1)"
_SPENDS = (
    "SELECT budget, session, bucket, spent, held, opened, seen_ms FROM spends "
    "WHERE budget = ANY($1) AND (session = '' OR session = ANY($2))"
)
_OWNERS = "SELECT DISTINCT account FROM holds WHERE exchange_id = ANY($1)"

budget_of = msgspec.json.Decoder(Budget).decode
payer_of = msgspec.json.Decoder(Payer).decode
shares_of = msgspec.json.Decoder(tuple[Share, ...]).decode


class Known(msgspec.Struct, kw_only=True):
    """The ledger of this batch, and what else bears on it.

    Attributes:
        voided: exchanges whose hold was voided by another node.
        costs: of the exchanges that are settled.
        credits: entries by reference.
        stored: (posted, held) of the accounts that have a row, as it is.
        over: rows of spends of sessions that are over.
    """

    ledger: Ledger
    voided: set[str]
    costs: dict[str, int]
    credits: dict[str, Entry]
    stored: dict[str, tuple[int, int]]
    over: list[tuple[str, str, int]] = []


Gather = Callable[[Collection[str]], list[Op]]
"""Takes the next operations that wait, as long as they concern no account but these."""


async def read_known(connection: asyncpg.Connection, ops: list[Op], gather: Gather) -> Known:
    """Lock the accounts of the operations and read what there is. Inside the caller's transaction.

    Accounts are locked in the order of their ids, so that no two transactions wait for each other. What has
    come for them while their locks were waited for joins ``ops``: a busy account's locks are had less often.
    """
    accounts, exchanges, sessions, refs = await _concerned(connection, ops)
    locked = await connection.fetch(_LOCK, sorted(accounts))
    for op in gather(accounts):
        ops.append(op)
        _add_concern(op, accounts, exchanges, sessions, refs)
    budgets = Budgets()
    known = Known(ledger=Ledger(budgets=budgets), voided=set(), costs={}, credits={}, stored={})
    budgeted = []
    for account, posted, held, count, owed in locked:
        known.ledger.recall(account, posted, held)
        known.stored[account] = (posted, held)
        known.ledger.owe(account, owed)
        if count:
            budgeted.append(account)
    if exchanges:
        for row in await connection.fetch(_EXCHANGES, list(exchanges)):
            _add_exchange(known, row, sessions)
    if refs:
        for row in await connection.fetch(_CREDITS, [f"credit:{ref}" for ref in refs]):
            known.credits[row["ref"].removeprefix("credit:")] = entry_of(row)
    if budgeted:
        now_ms = max((op.now_ms for op in ops if isinstance(op, HoldOp)), default=None)
        known.over = await read_budgets(connection, budgets, budgeted, sessions, now_ms)
    return known


async def _concerned(
    connection: asyncpg.Connection, ops: Iterable[Op]
) -> tuple[set[str], set[str], set[str], set[str]]:
    """Accounts, exchange ids, sessions and credit references of the operations."""
    accounts: set[str] = set()
    exchanges: set[str] = set()
    sessions: set[str] = set()
    refs: set[str] = set()
    released: list[str] = []
    for op in ops:
        _add_concern(op, accounts, exchanges, sessions, refs)
        if isinstance(op, ReleaseOp):
            released.append(op.exchange_id)
    if released:  # their accounts are to be locked too
        accounts.update(account for (account,) in await connection.fetch(_OWNERS, released))
    return accounts, exchanges, sessions, refs


def _add_concern(op: Op, accounts: set[str], exchanges: set[str], sessions: set[str], refs: set[str]) -> None:
    match op:
        case HoldOp():
            accounts.add(op.payer.account)
            exchanges.update(each.exchange_id for each in op.wanted)
            sessions.add(op.payer.session or "")
        case SettleOp():
            accounts.add(op.record.account)
            exchanges.add(op.record.id)
            sessions.add(op.record.session or "")
        case ReleaseOp():
            exchanges.add(op.exchange_id)
        case CreditOp():
            accounts.add(op.account)
            refs.add(op.ref)
        case OweOp():
            accounts.add(op.account)


def _add_exchange(known: Known, row: asyncpg.Record, sessions: set[str]) -> None:
    if row["cost"] is not None:
        known.costs[row["id"]] = row["cost"]
    if row["account"] is None:
        return
    if row["voided_ms"] is not None:
        known.voided.add(row["id"])
        return
    hold = hold_of(row)
    known.ledger.recall_hold(hold)
    sessions.update(share.session for share in hold.shares)


def hold_of(row: asyncpg.Record) -> Hold:
    return Hold(
        exchange_id=row["id"],
        payer=payer_of(row["payer"]),
        amount_pusd=row["amount"],
        available_pusd=0,  # of the past
        admitted_ms=row["created_ms"],
        shares=() if row["shares"] == "[]" else shares_of(row["shares"]),
    )


def entry_of(row: asyncpg.Record) -> Entry:
    return Entry(
        seq=row["seq"],
        ref=row["ref"],
        account=row["account"],
        amount_pusd=row["amount"],
        kind=row["kind"],
        created_ms=row["created_ms"],
        note=row["note"],
    )


async def read_budgets(
    connection: asyncpg.Connection,
    budgets: Budgets,
    accounts: Collection[str],
    sessions: Collection[str],
    now_ms: int | None,
) -> list[tuple[str, str, int]]:
    """Read the budgets of some accounts and what is spent and held of them, by these sessions.

    A session that was over at ``now_ms`` begins anew: return its rows (budget, session, bucket), which
    do not count any more.
    """
    for (body,) in await connection.fetch(_BUDGETS, list(accounts)):
        budgets.put(budget_of(body))
    ids = [budget.id for budget in budgets.all()]
    meters: dict[tuple[str, str], list[asyncpg.Record]] = {}
    for row in await connection.fetch(_SPENDS, ids, list(sessions)):
        meters.setdefault((row["budget"], row["session"]), []).append(row)
    over = []
    for (id_, session), rows in meters.items():
        idle = now_ms is not None and now_ms - max(row["seen_ms"] for row in rows) >= SESSION_IDLE_MS
        if session and idle and not any(row["opened"] for row in rows):
            over += [(id_, session, row["bucket"]) for row in rows]
            continue
        for _, _, bucket, spent, held, opened, seen_ms in rows:
            budgets.recall(id_, session, bucket, spent, seen_ms, held_pusd=held, opened=opened)
    return over
