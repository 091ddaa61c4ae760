"""Budgets in the SQLite store: how they are read at the start, and what was spent before one was made."""

from __future__ import annotations

import sqlite3

import msgspec

from llm_router.billing.budgets import SESSION_IDLE_MS, Budgets, kept_buckets
from llm_router.billing.history import spent_before
from llm_router.billing.spans import SLICES
from llm_router.domain.budget import Budget, Scope, Window

SET = "UPDATE budgets SET body = ? WHERE id = ?"
REMOVE = "DELETE FROM budgets WHERE id = ?"
FORGET = "DELETE FROM spends WHERE budget = ?"

_PRUNE = """
DELETE FROM spends WHERE budget = ?1 AND bucket < ?2 AND (SELECT count(*) FROM spends n
    WHERE n.budget = spends.budget AND n.session = spends.session AND n.bucket > spends.bucket) >= ?3
"""

_SPENT = {
    Scope.ACCOUNT: "SELECT hour, sum(cost) FROM rollups WHERE account = ?1 AND account = ?2 GROUP BY hour",
    Scope.TEAM: "SELECT hour, sum(cost) FROM rollups WHERE account = ?1 AND team = ?2 GROUP BY hour",
    Scope.USER: "SELECT hour, sum(cost) FROM rollups WHERE account = ?1 AND user = ?2 GROUP BY hour",
    Scope.KEY: "SELECT hour, sum(cost) FROM rollups WHERE account = ?1 AND key = ?2 GROUP BY hour",
}

_decoder = msgspec.json.Decoder(Budget)


def load(connection: sqlite3.Connection, budgets: Budgets, now_ms: int) -> None:
    """Read all budgets and what is spent of them; forget spending that no window holds any more.

    Inside the caller's transaction.
    """
    for (body,) in connection.execute("SELECT body FROM budgets"):
        budgets.put(_decoder.decode(body))
    for budget in budgets.all():
        bucket = budgets.bucket_of(budget, now_ms)
        oldest = bucket - 2 * SLICES if budget.rolling else bucket
        connection.execute(_PRUNE, (budget.id, oldest, kept_buckets(budget)))
    connection.execute(
        "DELETE FROM spends WHERE budget NOT IN (SELECT id FROM budgets) OR session <> '' AND seen_ms < ?",
        (now_ms - SESSION_IDLE_MS,),
    )
    for row in connection.execute("SELECT budget, session, bucket, spent, seen_ms FROM spends"):
        budgets.recall(*row)


def history(
    connection: sqlite3.Connection, budgets: Budgets, budget: Budget, now_ms: int
) -> list[tuple[str, int, int]]:
    """(session, bucket, spent) of what a new budget's scope has spent in its present window already.

    Of sessions and minutes there are no sums.
    """
    query = _SPENT.get(budget.scope)
    if query is None or budget.window is Window.MINUTE:
        return []
    rows = connection.execute(query, (budget.account, budget.scope_id))
    return [("", bucket, pusd) for bucket, pusd in spent_before(budgets, budget, rows, now_ms)]
