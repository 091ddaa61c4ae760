"""Prove the books of a database: everything that follows from something else is calculated again.

Reads only, in one transaction: nodes go on meanwhile, and one moment is seen. What is compared:

    tables            the triggers that refuse changes
    prices            those that a rule made come out again
    entries           numbered by node without a gap, chained by their hashes over entry and record up to
                      the node's own head, one for each charged exchange
    exchanges         columns = record; cost = usage x prices of the version, line by line
    holds             none of an exchange that is settled, none open of a node that is closed
    accounts          posted = sum of entries, held = sum of open holds, nothing overdrawn
    rollups           = the sums of the exchanges
    folds             = the sums of those, of all hours before the one up to which they say they go
    budgets           spent = what the exchanges of their part cost in that window, held = the open holds
    papers            receipts, statements and invoices: numbered, continued, and what the books make of them

The first thing that does not agree is the verdict. Who may write the database may also write all of
it anew, with other hashes: only heads that are kept elsewhere tell.
"""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from llm_router.adapters.postgres.audit import check_held
from llm_router.adapters.postgres.folding import FOLDED_TO
from llm_router.adapters.postgres.known import budget_of
from llm_router.adapters.postgres.paper_check import check_papers
from llm_router.adapters.postgres.prices import read_prices, read_rules
from llm_router.adapters.postgres.schema import GENESIS, SCHEMA, entry_hash
from llm_router.adapters.recount import Doubt, Doubted, Recount, Verdict
from llm_router.adapters.store_errors import StoreCorrupt
from llm_router.billing.folds import FOLDS
from llm_router.billing.rollups import COUNTS

_PAGE = 1000

TRIGGERS = {
    "entries_only_added": "entries",
    "entries_kept": "entries",
    "price_versions_only_added": "price_versions",
    "price_rules_only_added": "price_rules",
    "papers_gapless": "papers",
    "papers_only_added": "papers",
    "papers_kept": "papers",
}
"""Those that refuse changes, and their tables."""

_TRIGGERS = (
    "SELECT t.tgname, c.relname, t.tgenabled, p.prosrc FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid "
    "WHERE n.nspname = $1 AND NOT t.tgisinternal"
)
_REFUSES = "RAISE "
_ENTRIES = (
    "SELECT e.node, e.number, e.ref, e.account, e.amount, e.kind, e.created_ms, e.note, e.hash, x.account AS payer, "
    "x.cost, x.record FROM entries e LEFT JOIN exchanges x ON e.kind = 'use' AND x.id = substr(e.ref, 5) "
    "ORDER BY e.node, e.number"
)
_EXCHANGES = (
    "SELECT x.id, x.account, x.key, x.reply_id, x.created_ms, x.model, x.status, x.cost, x.hold, x.record, "
    "e.ref IS NOT NULL AS booked FROM exchanges x LEFT JOIN entries e ON e.ref = 'use:' || x.id"
)
_HOLDS = (
    "SELECT h.exchange_id, h.voided_ms, x.id AS settled, n.closed FROM holds h "
    "LEFT JOIN exchanges x ON x.id = h.exchange_id LEFT JOIN nodes n ON n.id = h.node "
    "WHERE x.id IS NOT NULL OR (h.voided_ms IS NULL AND n.closed IS DISTINCT FROM false) LIMIT 1"
)
_HELD = "SELECT account, sum(amount)::bigint FROM holds WHERE voided_ms IS NULL GROUP BY account"
_ROLLUP = f'SELECT hour, account, key, team, "user", model, provider, tags, {", ".join(COUNTS)} FROM '  # noqa: S608
_ROLLUPS = _ROLLUP + "rollups"
_FOLD = _ROLLUP + "sums WHERE fold = $1"

Heads = Mapping[int, tuple[int, str]]
"""By node: the number and hash of an entry."""


async def verify(
    connection: asyncpg.Connection, now_ms: int, expected: Heads | None = None
) -> tuple[Verdict, dict[int, tuple[int, str]]]:
    """Check the books. ``expected``: heads as they were told before. Return the verdict and the heads."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # Whole tables are compared here, not single rows looked up.
        await connection.execute("SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on")
        bodies = await connection.fetch("SELECT body FROM budgets")
        count = Recount([budget_of(body) for (body,) in bodies], now_ms)
        try:
            heads = await _check(connection, count, expected or {})
        except Doubted as doubted:
            return count.verdict(doubted.doubt, "", count.entries), {}
        except StoreCorrupt as error:
            return count.verdict(
                Doubt(check="budgets", where="holds", what=str(error)), "", count.entries
            ), {}
    return count.verdict(None, "", count.entries), heads


async def _check(
    connection: asyncpg.Connection, count: Recount, expected: Heads
) -> dict[int, tuple[int, str]]:
    await _check_triggers(connection)
    for version, body in await read_prices(connection):
        count.price(version, body)
    count.rules(await read_rules(connection))
    heads = await _check_entries(connection, count, expected)
    async for id_, *columns, hold, record, booked in connection.cursor(_EXCHANGES, prefetch=_PAGE):
        count.exchange(id_, columns, hold, record, booked=booked, proven=True)
    row = await connection.fetchrow(_HOLDS)
    if row is not None:
        why = "its exchange is settled, and it is still there"
        if row["settled"] is None:
            why = "it is open, though the node that made it is gone"
        raise Doubted("holds", row["exchange_id"], why)
    accounts = await connection.fetch("SELECT id, posted, held FROM accounts")
    count.balances(map(tuple, accounts), dict(await connection.fetch(_HELD)))
    count.rollups(map(tuple, await connection.fetch(_ROLLUPS)))
    folds = {fold.name: [tuple(row) for row in await connection.fetch(_FOLD, fold.name)] for fold in FOLDS}
    count.folds(await connection.fetchval(FOLDED_TO), folds.__getitem__)
    count.spends(map(tuple, await connection.fetch("SELECT budget, session, bucket, spent FROM spends")))
    await check_held(connection)
    count.papers = await check_papers(connection)
    return heads


async def _check_triggers(connection: asyncpg.Connection) -> None:
    found = {
        name: (table, enabled, source)
        for name, table, enabled, source in await connection.fetch(_TRIGGERS, SCHEMA)
    }
    for name, table in TRIGGERS.items():
        have = found.get(name)
        if have is None or have[0] != table or have[1] != b"O" or _REFUSES not in have[2]:
            raise Doubted(
                "file", f"trigger {name}", "it is missing, switched off, or not as this version makes it"
            )


async def _check_entries(
    connection: asyncpg.Connection, count: Recount, expected: Heads
) -> dict[int, tuple[int, str]]:
    at: dict[int, tuple[int, bytes]] = {}
    async for row in connection.cursor(_ENTRIES, prefetch=_PAGE):
        node, number, ref, account, amount, kind, created_ms, note, link, payer, cost, record = row
        where = f"entry {number} of node {node} ({ref})"
        last, head = at.get(node, (0, GENESIS))
        if number != last + 1:
            raise Doubted("entries", where, f"entry {last + 1} of its node is missing")
        entry = (node, number, ref, account, amount, kind, created_ms, note)
        head = entry_hash(head, entry, "" if record is None else record)
        if link != head:
            raise Doubted(
                "entries", where, "it or its record was changed, or one before it: its hash is another"
            )
        count.entry(where, ref, account, amount, kind)
        if kind == "use" and payer is None:
            raise Doubted("entries", where, "the exchange that it charges is missing")
        if kind == "use" and (payer != account or -cost != amount):
            raise Doubted("entries", where, f"its exchange says {cost} p$ of account {payer}")
        at[node] = (number, head)
        if expected.get(node, (0, ""))[0] == number and link.hex() != expected[node][1]:
            raise Doubted("head", where, "its hash is not the one that was expected")
    heads = await connection.fetch("SELECT id, number, head FROM nodes")
    for node, number, link in heads:
        if at.pop(node, (0, GENESIS)) != (number, link):
            raise Doubted("entries", f"node {node}", "its last entries are missing")
    for node in at:
        raise Doubted("entries", f"node {node}", "there are entries of it, but no such node")
    numbers = {node: (number, link.hex()) for node, number, link in heads if number}
    for node, (number, _) in expected.items():
        if number > numbers.get(node, (0, ""))[0]:
            raise Doubted("head", f"entry {number} of node {node}", "it is missing")
    return numbers
