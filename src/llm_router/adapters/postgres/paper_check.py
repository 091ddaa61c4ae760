"""The papers of the database, beside its books."""

from __future__ import annotations

import asyncpg

from llm_router.adapters.paper_proof import AccountBooks, PaperProof, check_counts
from llm_router.adapters.postgres.known import entry_of
from llm_router.billing.rollups import HOUR_MS
from llm_router.billing.statements import Statement

_PAGE = 1000
_RECEIPTS = (
    "SELECT p.series, p.number AS place, p.id, p.account AS payer, p.body, x.record, e.hash, "
    "e.seq, e.ref, e.account, e.amount, e.kind, e.created_ms, e.note "
    "FROM papers p LEFT JOIN entries e ON e.ref = p.id "
    "LEFT JOIN exchanges x ON e.kind = 'use' AND x.id = substr(e.ref, 5) "
    "WHERE substr(p.series, 1, 9) = 'receipts/' ORDER BY p.series, p.number"
)
_SKIPPED = (
    "SELECT r.account FROM (SELECT p.account, count(*) AS made, max(e.seq) AS top FROM papers p "
    "JOIN entries e ON e.ref = p.id WHERE substr(p.series, 1, 9) = 'receipts/' GROUP BY p.account) r "
    "WHERE r.made <> (SELECT count(*) FROM entries e WHERE e.account = r.account AND e.seq <= r.top) LIMIT 1"
)
_OTHERS = (
    "SELECT series, number, id, account, body FROM papers WHERE substr(series, 1, 9) <> 'receipts/' "
    'ORDER BY series COLLATE "C", number'
)
_BOOKS = (
    "SELECT e.seq, e.ref, e.account, e.amount, e.kind, e.created_ms, e.note, x.created_ms AS admitted_ms, x.model "
    "FROM entries e LEFT JOIN exchanges x ON e.kind = 'use' AND x.id = substr(e.ref, 5) "
    "WHERE e.account = $1 ORDER BY e.seq"
)
_SUMS = (
    "SELECT model, sum(requests)::text, sum(input_tokens)::text, sum(cached_tokens)::text, sum(output_tokens)::text "
    "FROM rollups WHERE account = $1 AND hour >= $2 AND hour < $3 GROUP BY model"
)


async def check_papers(connection: asyncpg.Connection) -> int:
    """Prove all papers, in the caller's transaction; return how many there are.

    Raises:
        Doubted: one does not follow from what it must.
    """
    proof = PaperProof()
    async for row in connection.cursor(_RECEIPTS, prefetch=_PAGE):
        paper = (row["series"], row["place"], row["id"], row["payer"], row["body"])
        proof.receipt(paper, None if row["seq"] is None else entry_of(row), row["hash"], row["record"])
    account = await connection.fetchval(_SKIPPED)
    if account is not None:
        proof.skipped(account)
    async for series, number, id_, account, body in connection.cursor(_OTHERS, prefetch=_PAGE):
        proof.other((series, number, id_, account, body))
    proof.end()
    for account, statements in proof.statements.items():
        await _check_account(connection, account, statements)
    return proof.papers


async def _check_account(connection: asyncpg.Connection, account: str, statements: list[Statement]) -> None:
    books = AccountBooks(statements)
    async for row in connection.cursor(_BOOKS, account, prefetch=_PAGE):
        admitted_ms = row["created_ms"] if row["admitted_ms"] is None else row["admitted_ms"]
        books.entry(entry_of(row), admitted_ms, row["model"] or "")
    books.end()
    for s in statements:
        rows = await connection.fetch(_SUMS, account, s.from_ms // HOUR_MS, s.to_ms // HOUR_MS)
        check_counts(s, {model: (*map(int, counts),) for model, *counts in rows})
