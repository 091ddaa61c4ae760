"""Budgets in the database: each change of one is a transaction under the lock of its account."""

from __future__ import annotations

import asyncpg
import msgspec

from llm_router.adapters.postgres.known import budget_of, hold_of, read_budgets
from llm_router.adapters.postgres.write import WRITE_SPENDS, columns
from llm_router.billing.budgets import SESSION_IDLE_MS, Budgets, Share, Spend, kept_buckets
from llm_router.billing.history import spent_before
from llm_router.billing.spans import SLICES
from llm_router.domain.budget import Budget, Scope, Window

_LOCK = "SELECT id FROM accounts WHERE id = $1 FOR UPDATE"
_OPEN_ACCOUNT = "INSERT INTO accounts (id, posted, held) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING"
_COUNT = (
    "UPDATE accounts SET budgets = (SELECT count(*) FROM budgets WHERE account = $1)::integer WHERE id = $1"
)
_ONE = "SELECT body FROM budgets WHERE id = $1"
_PUT = "INSERT INTO budgets (id, account, body) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET body = $3"
_HOLDS = (
    "SELECT exchange_id AS id, amount, payer, shares, created_ms FROM holds "
    "WHERE account = $1 AND voided_ms IS NULL"
)
_SHARES = "UPDATE holds h SET shares = n.shares FROM unnest($1::text[], $2::text[]) n(id, shares) WHERE exchange_id = n.id"
_SESSIONS = "SELECT DISTINCT s.session FROM spends s JOIN budgets b ON b.id = s.budget WHERE b.account = $1"
_SPENT = {
    Scope.ACCOUNT: "SELECT hour, sum(cost)::bigint FROM rollups WHERE account = $1 AND account = $2 GROUP BY hour",
    Scope.TEAM: "SELECT hour, sum(cost)::bigint FROM rollups WHERE account = $1 AND team = $2 GROUP BY hour",
    Scope.USER: 'SELECT hour, sum(cost)::bigint FROM rollups WHERE account = $1 AND "user" = $2 GROUP BY hour',
    Scope.KEY: "SELECT hour, sum(cost)::bigint FROM rollups WHERE account = $1 AND key = $2 GROUP BY hour",
}


async def read_spends(connection: asyncpg.Connection, account: str, now_ms: int) -> list[Spend]:
    """How the budgets of an account stand, in the order in which they were made."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        sessions = [session for (session,) in await connection.fetch(_SESSIONS, account)]
        budgets = Budgets()
        await read_budgets(connection, budgets, [account], sessions, now_ms)
    own = sorted(budgets.all(), key=lambda b: (b.created_ms, b.id))
    return [spend for budget in own for spend in budgets.spends(budget.id, now_ms)]


async def put(connection: asyncpg.Connection, budget: Budget, now_ms: int) -> None:
    """Make a budget, or give the one of that id another amount. A new one counts what its scope has
    spent in the present window, and what is held.

    Raises:
        ValueError: it cannot be, see :meth:`llm_router.billing.budgets.Budgets.put`.
    """
    budgets = Budgets()
    await connection.execute(_OPEN_ACCOUNT, budget.account)
    async with connection.transaction():
        await connection.fetch(_LOCK, budget.account)
        old = await connection.fetchval(_ONE, budget.id)
        if old is not None:
            budgets.put(budget_of(old))
        budgets.put(budget)
        await connection.execute(_PUT, budget.id, budget.account, msgspec.json.encode(budget).decode())
        if old is None:
            touched = await _count_holds(connection, budgets, budget)
            touched += await _count_history(connection, budgets, budget, now_ms)
            rows = [
                (share.budget, share.session, share.bucket, *counted, now_ms)
                for share in dict.fromkeys(touched)
                if (counted := budgets.counted(share)) is not None
            ]
            await connection.execute(WRITE_SPENDS, *columns(rows, 7))
            await connection.execute(_COUNT, budget.account)


async def _count_holds(connection: asyncpg.Connection, budgets: Budgets, budget: Budget) -> list[Share]:
    """Count what is held now, and write into the holds where they are counted."""
    ids, texts, touched = [], [], []
    for row in await connection.fetch(_HOLDS, budget.account):
        hold = hold_of(row)
        share = budgets.share_of(budget, hold.payer, hold.admitted_ms)
        if share is not None:
            budgets.hold((share,), hold.amount_pusd)
            touched.append(share)
            ids.append(hold.exchange_id)
            texts.append(msgspec.json.encode((*hold.shares, share)).decode())
    if ids:
        await connection.execute(_SHARES, ids, texts)
    return touched


async def _count_history(
    connection: asyncpg.Connection, budgets: Budgets, budget: Budget, now_ms: int
) -> list[Share]:
    """Count what was spent in the present window before. Of sessions and minutes there are no sums."""
    query = _SPENT.get(budget.scope)
    if query is None or budget.window is Window.MINUTE:
        return []
    hours = [(hour, cost) for hour, cost in await connection.fetch(query, budget.account, budget.scope_id)]
    touched = []
    for bucket, pusd in spent_before(budgets, budget, hours, now_ms):
        budgets.recall(budget.id, "", bucket, pusd, now_ms)
        touched.append(Share(budget.id, "", bucket))
    return touched


async def remove(connection: asyncpg.Connection, budget_id: str) -> Budget | None:
    """Remove a budget; None if there is none of that id. What is held against it resolves without it."""
    body = await connection.fetchval(_ONE, budget_id)
    if body is None:
        return None
    budget = budget_of(body)
    async with connection.transaction():
        await connection.fetch(_LOCK, budget.account)
        if await connection.fetchval("DELETE FROM budgets WHERE id = $1 RETURNING id", budget_id) is None:
            return None
        await connection.execute("DELETE FROM spends WHERE budget = $1", budget_id)
        await connection.execute(_COUNT, budget.account)
    return budget


async def purge(connection: asyncpg.Connection, now_ms: int) -> None:
    """Delete the spending that no window holds any more, and that of sessions that are over."""
    budgets = Budgets()
    for (body,) in await connection.fetch("SELECT body FROM budgets"):
        budgets.put(budget_of(body))
    for budget in budgets.all():
        bucket = budgets.bucket_of(budget, now_ms)
        oldest = bucket - 2 * SLICES if budget.rolling else bucket
        await connection.execute(
            "DELETE FROM spends s WHERE budget = $1 AND bucket < $2 AND opened = 0 AND (SELECT count(*) "
            "FROM spends n WHERE n.budget = s.budget AND n.session = s.session AND n.bucket > s.bucket) >= $3",
            budget.id,
            oldest,
            kept_buckets(budget),
        )
    await connection.execute(
        "DELETE FROM spends s WHERE session <> '' AND NOT EXISTS (SELECT 1 FROM spends o "
        "WHERE o.budget = s.budget AND o.session = s.session AND (o.seen_ms >= $1 OR o.opened > 0))",
        now_ms - SESSION_IDLE_MS,
    )
