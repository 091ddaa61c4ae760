"""Nodes: each says by the database's clock how long it is alive, and closes those whose time is over.

To close a node is to void its open holds. Whatever it still does afterwards is safe: its batches
find their node closed, and a settlement that finds its hold voided is charged to what is available.
"""

from __future__ import annotations

import asyncpg
import msgspec

from llm_router.adapters.orphan import Orphan
from llm_router.adapters.postgres.known import shares_of
from llm_router.adapters.postgres.schema import GENESIS
from llm_router.billing.budgets import Share

REGISTER = (
    "INSERT INTO nodes (name, expires, head) "
    "VALUES ($1, clock_timestamp() + make_interval(secs => $2), $3) RETURNING id"
)
_RENEW = (
    "UPDATE nodes SET expires = clock_timestamp() + make_interval(secs => $2) "
    "WHERE id = $1 AND NOT closed RETURNING id"
)
_CLAIM_DEAD = (
    "SELECT id FROM nodes WHERE NOT closed AND expires < clock_timestamp() "
    "ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
)
_CLAIM_OWN = "SELECT id FROM nodes WHERE id = $1 AND NOT closed FOR UPDATE"
_CLOSE = "UPDATE nodes SET closed = true WHERE id = $1"
_LOCK = (
    "SELECT id FROM accounts WHERE id IN (SELECT account FROM holds WHERE node = $1 AND voided_ms IS NULL) "
    "ORDER BY id FOR UPDATE"
)
_VOID = """
WITH voided AS (
    UPDATE holds SET voided_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
    WHERE node = $1 AND voided_ms IS NULL RETURNING account, amount, shares
), moved AS (
    UPDATE accounts a SET held = a.held - v.amount
    FROM (SELECT account, sum(amount)::bigint AS amount FROM voided GROUP BY account) v WHERE a.id = v.account
)
SELECT amount, shares FROM voided
"""
_UNSPEND = """
UPDATE spends s SET held = s.held - g.held, opened = s.opened - g.opened
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
    g(budget, session, bucket, held, opened)
WHERE s.budget = g.budget AND s.session = g.session AND s.bucket = g.bucket
"""
_ORPHANS = (
    "SELECT exchange_id, account, amount AS amount_pusd, price_version, node AS epoch, created_ms, voided_ms "
    "FROM holds WHERE voided_ms IS NOT NULL ORDER BY created_ms DESC, exchange_id LIMIT $1"
)


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A node that was closed, and how many holds of it were voided."""

    node: int
    voided: int


async def register(connection: asyncpg.Connection, name: str, ttl_s: float) -> int:
    """Begin a node, alive for ``ttl_s`` seconds; return its number."""
    return int(await connection.fetchval(REGISTER, name, ttl_s, GENESIS))


async def renew(connection: asyncpg.Connection, node: int, ttl_s: float) -> bool:
    """Say that the node is alive; False if it was closed."""
    return await connection.fetchval(_RENEW, node, ttl_s) is not None


async def reap(connection: asyncpg.Connection) -> list[Closed]:
    """Close the nodes whose time is over, one in each transaction; nodes that others are closing are
    left to them."""
    closed = []
    while (one := await _close(connection, _CLAIM_DEAD, ())) is not None:
        closed.append(one)
    return closed


async def retire(connection: asyncpg.Connection, node: int) -> Closed | None:
    """Close this node itself; None if another one did."""
    return await _close(connection, _CLAIM_OWN, (node,))


async def read_orphans(connection: asyncpg.Connection, limit: int) -> list[Orphan]:
    """The newest holds of nodes that died."""
    return [Orphan(**row) for row in await connection.fetch(_ORPHANS, limit)]


async def _close(connection: asyncpg.Connection, claim: str, values: tuple[int, ...]) -> Closed | None:
    """Rows are locked in the order of every transaction: the node, its accounts by id, the rest."""
    async with connection.transaction():
        node = await connection.fetchval(claim, *values)
        if node is None:
            return None
        await connection.execute(_CLOSE, node)
        await connection.fetch(_LOCK, node)
        voided = await connection.fetch(_VOID, node)
        sums: dict[Share, list[int]] = {}
        for amount, text in voided:
            for share in () if text == "[]" else shares_of(text):
                total = sums.setdefault(share, [0, 0])
                total[0] += amount
                total[1] += 1
        if sums:
            rows = [(s.budget, s.session, s.bucket, *total) for s, total in sums.items()]
            await connection.execute(_UNSPEND, *(list(column) for column in zip(*rows, strict=True)))
    return Closed(node=node, voided=len(voided))
