"""Check all books, as one moment shows them, while nodes go on using them."""

from __future__ import annotations

import asyncpg

from llm_router.adapters.postgres.known import shares_of
from llm_router.adapters.postgres.schema import GENESIS, entry_hash
from llm_router.adapters.store_errors import StoreCorrupt
from llm_router.billing.budgets import Share

_PAGE = 1000

_POSTED = (
    "SELECT coalesce(a.id, e.account) AS account, a.posted, e.posted AS entries FROM accounts a FULL JOIN "
    "(SELECT account, sum(amount) AS posted FROM entries GROUP BY account) e ON e.account = a.id "
    "WHERE coalesce(a.posted, 0) <> coalesce(e.posted, 0) LIMIT 1"
)
_HELD = (
    "SELECT coalesce(a.id, h.account) AS account, a.held, h.held AS holds FROM accounts a FULL JOIN "
    "(SELECT account, sum(amount) AS held FROM holds WHERE voided_ms IS NULL GROUP BY account) h "
    "ON h.account = a.id WHERE coalesce(a.held, 0) <> coalesce(h.held, 0) LIMIT 1"
)
_CHARGED = (
    "SELECT coalesce(x.id, substr(e.ref, 5)) AS id FROM (SELECT id, account, cost FROM exchanges WHERE cost > 0) x "
    "FULL JOIN (SELECT ref, account, amount FROM entries WHERE kind = 'use') e ON e.ref = 'use:' || x.id "
    "WHERE x.id IS NULL OR e.ref IS NULL OR x.cost <> -e.amount OR x.account <> e.account LIMIT 1"
)
_ROLLUPS = (
    "SELECT account, key, model, sum(cost) AS pusd FROM ("
    " SELECT account, key, model, requests AS n, cost FROM rollups UNION ALL"
    " SELECT account, key, coalesce(model, ''), -1, -cost FROM exchanges"
    ") d GROUP BY account, key, model HAVING sum(n) <> 0 OR sum(cost) <> 0 LIMIT 1"
)
_SPENDS = "SELECT budget, session, bucket, held, opened FROM spends WHERE held <> 0 OR opened <> 0"
_CHAIN = (
    "SELECT e.node, e.number, e.ref, e.account, e.amount, e.kind, e.created_ms, e.note, e.hash, x.record "
    "FROM entries e LEFT JOIN exchanges x ON e.kind = 'use' AND x.id = substr(e.ref, 5) ORDER BY e.node, e.number"
)


async def audit(connection: asyncpg.Connection) -> int:
    """Check balances, holds, charges, sums, budgets and the chain of every node; return how many entries
    there are.

    Raises:
        StoreCorrupt: with the first thing that does not add up.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # Whole tables are compared here, not single rows looked up.
        await connection.execute("SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on")
        await _check_sums(connection)
        await check_held(connection)
        return await _check_chains(connection)


async def _check_sums(connection: asyncpg.Connection) -> None:
    if (row := await connection.fetchrow(_POSTED)) is not None:
        raise StoreCorrupt(
            f"Account {row['account']}: the balance of {row['posted']} p$ is not the sum of its entries."
        )
    if (row := await connection.fetchrow(_HELD)) is not None:
        raise StoreCorrupt(
            f"Account {row['account']}: {row['held']} p$ are held, but its holds say otherwise."
        )
    if (id_ := await connection.fetchval(_CHARGED)) is not None:
        raise StoreCorrupt(f"Exchange {id_}: its record and its entry do not agree.")
    if (row := await connection.fetchrow(_ROLLUPS)) is not None:
        raise StoreCorrupt(
            f"Account {row['account']}: the sums of key {row['key']} and model {row['model'] or '(none)'} are "
            f"{row['pusd']} p$ off from its exchanges."
        )


async def check_held(connection: asyncpg.Connection) -> None:
    """Of every budget that there is: held = what the open holds say.

    Raises:
        StoreCorrupt: it is not.
    """
    known = {id_ for (id_,) in await connection.fetch("SELECT id FROM budgets")}
    held: dict[Share, list[int]] = {}
    for amount, text in await connection.fetch(
        "SELECT amount, shares FROM holds WHERE voided_ms IS NULL AND shares <> '[]'"
    ):
        for share in shares_of(text):
            if share.budget in known:
                total = held.setdefault(share, [0, 0])
                total[0] += amount
                total[1] += 1
    for budget, session, bucket, amount, opened in await connection.fetch(_SPENDS):
        if held.pop(Share(budget, session, bucket), None) != [amount, opened]:
            raise StoreCorrupt(f"Budget {budget}: {amount} p$ are held of it, but the holds say otherwise.")
    if held:
        raise StoreCorrupt(f"Budget {next(iter(held)).budget}: what is held of it is not counted.")


async def _check_chains(connection: asyncpg.Connection) -> int:
    ends = {
        node: (number, head)
        for node, number, head in await connection.fetch("SELECT id, number, head FROM nodes")
    }
    at: dict[int, tuple[int, bytes]] = {}
    count = 0
    async for row in connection.cursor(_CHAIN, prefetch=_PAGE):
        *entry, link, record = row
        number, head = at.get(row["node"], (0, GENESIS))
        head = entry_hash(head, (*entry,), "" if record is None else record)
        if row["number"] != number + 1 or link != head:
            raise StoreCorrupt(
                f"Entry {row['number']} of node {row['node']} or its record was changed, or one before it is missing."
            )
        at[row["node"]] = (number + 1, head)
        count += 1
    for node, end in ends.items():
        if at.get(node, (0, GENESIS)) != end:
            raise StoreCorrupt(f"The last entries of node {node} are missing.")
    return count
