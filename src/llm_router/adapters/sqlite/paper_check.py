"""The papers of a file, beside its books."""

from __future__ import annotations

import sqlite3

from llm_router.adapters.paper_proof import AccountBooks, PaperProof, check_counts
from llm_router.adapters.recount import Doubted
from llm_router.billing.ledger import Entry
from llm_router.billing.rollups import HOUR_MS
from llm_router.billing.statements import Statement

_RECEIPTS = (
    "SELECT p.series, p.number, p.id, p.account, p.body, x.record, e.hash, "
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
_LATER = (
    "SELECT p.series, p.number FROM papers p JOIN entries e ON e.ref = p.id "
    "WHERE substr(p.series, 1, 9) = 'receipts/' AND p.created_ms <> e.created_ms LIMIT 1"
)
_OTHERS = (
    "SELECT series, number, id, account, body, created_ms FROM papers WHERE substr(series, 1, 9) <> 'receipts/' "
    "ORDER BY series, number"
)
_BOOKS = (
    "SELECT e.seq, e.ref, e.account, e.amount, e.kind, e.created_ms, e.note, x.created_ms, x.model FROM entries e "
    "LEFT JOIN exchanges x ON e.kind = 'use' AND x.id = substr(e.ref, 5) WHERE e.account = ? ORDER BY e.seq"
)
_SUMS = (
    "SELECT model, sum(requests), sum(input_tokens), sum(cached_tokens), sum(output_tokens) FROM rollups "
    "WHERE account = ? AND hour >= ? AND hour < ? GROUP BY model"
)


def check_papers(connection: sqlite3.Connection) -> int:
    """Prove all papers, in the caller's transaction; return how many there are.

    Raises:
        Doubted: one does not follow from what it must.
    """
    proof = PaperProof()
    for *paper, record, link, seq, ref, account, amount, kind, created_ms, note in connection.execute(
        _RECEIPTS
    ):
        entry = None if seq is None else _entry((seq, ref, account, amount, kind, created_ms, note))
        proof.receipt((*paper,), entry, link, record)
    for (account,) in connection.execute(_SKIPPED):
        proof.skipped(account)
    for series, number in connection.execute(_LATER):
        raise Doubted("papers", f"{series} {number}", "it is not of the time of its entry")
    for *row, created_ms in connection.execute(_OTHERS):
        proof.other((*row,), created_ms)
    proof.end()
    for account, statements in proof.statements.items():
        _check_account(connection, account, statements)
    return proof.papers


def _check_account(connection: sqlite3.Connection, account: str, statements: list[Statement]) -> None:
    books = AccountBooks(statements)
    for *columns, admitted_ms, model in connection.execute(_BOOKS, (account,)):
        entry = _entry((*columns,))
        books.entry(entry, entry.created_ms if admitted_ms is None else admitted_ms, model or "")
    books.end()
    for s in statements:
        span = (account, s.from_ms // HOUR_MS, s.to_ms // HOUR_MS)
        check_counts(s, {model: (*counts,) for model, *counts in connection.execute(_SUMS, span)})


def _entry(row: tuple[int, str, str, int, str, int, str]) -> Entry:
    seq, ref, account, amount, kind, created_ms, note = row
    return Entry(
        seq=seq, ref=ref, account=account, amount_pusd=amount, kind=kind, created_ms=created_ms, note=note
    )
