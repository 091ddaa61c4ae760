"""The treasury's documents in the SQLite store, and what was ever credited to an account."""

from __future__ import annotations

import sqlite3
from typing import Any

from llm_router.ports import Document, Standing

INSERT = "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
UPDATE = (
    "UPDATE documents SET account = ?, version = ?, open = ?, created_ms = ?, body = ? "
    "WHERE kind = ? AND id = ? AND version = ?"
)
REMOVE = "DELETE FROM documents WHERE kind = ? AND id = ?"

_COLUMNS = "SELECT kind, id, account, version, open, created_ms, body FROM documents "
_ONE = _COLUMNS + "WHERE kind = ? AND id = ?"
_ALL = _COLUMNS + "WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
# Left to itself SQLite goes through all documents of the kind, as they are in order.
_OPEN = _COLUMNS + "INDEXED BY documents_open WHERE kind = ?1 AND id > ?2 AND open = 1 ORDER BY id LIMIT ?3"
_OWN = (
    _COLUMNS
    + "INDEXED BY documents_account WHERE kind = ?1 AND id > ?2 AND account = ?4 ORDER BY id LIMIT ?3"
)
_OWN_OPEN = (
    _COLUMNS
    + "INDEXED BY documents_account WHERE kind = ?1 AND id > ?2 AND account = ?4 AND open = 1 ORDER BY id LIMIT ?3"
)

# In two halves, since SQLite's own sum refuses to pass 63 bits on the way.
_CREDITED = (
    "SELECT coalesce(sum(amount >> 32), 0), coalesce(sum(amount & 4294967295), 0) FROM entries "
    "WHERE account = ? AND kind <> 'use'"
)
_ACCOUNT = "SELECT posted, held FROM accounts WHERE id = ?"


def put(document: Document) -> tuple[str, tuple[Any, ...]]:
    """The statement that writes a document, and its values."""
    d = document
    if d.version == 1:
        return INSERT, (d.kind, d.id, d.account, 1, int(d.open), d.created_ms, d.body)
    return UPDATE, (d.account, d.version, int(d.open), d.created_ms, d.body, d.kind, d.id, d.version - 1)


def read(reads: sqlite3.Connection, kind: str, id_: str) -> Document | None:
    row = reads.execute(_ONE, (kind, id_)).fetchone()
    return None if row is None else _document(row)


def read_all(
    reads: sqlite3.Connection, kind: str, account: str | None, open_only: bool, after: str, limit: int
) -> list[Document]:
    values: tuple[Any, ...] = (kind, after, limit)
    if account is None:
        rows = reads.execute(_OPEN if open_only else _ALL, values)
    else:
        rows = reads.execute(_OWN_OPEN if open_only else _OWN, (*values, account))
    return [_document(row) for row in rows]


def standing(reads: sqlite3.Connection, account: str) -> Standing:
    """What the account has, all of one moment."""
    reads.execute("BEGIN")
    try:
        high, low = reads.execute(_CREDITED, (account,)).fetchone()
        found = reads.execute(_ACCOUNT, (account,)).fetchone()
    finally:
        reads.execute("ROLLBACK")
    posted, held = (0, 0) if found is None else found
    return Standing(credited_pusd=(high << 32) + low, posted_pusd=posted, held_pusd=held)


def _document(row: tuple[Any, ...]) -> Document:
    kind, id_, account, version, open_, created_ms, body = row
    return Document(
        kind=kind,
        id=id_,
        account=account,
        version=version,
        open=bool(open_),
        created_ms=created_ms,
        body=body,
    )
