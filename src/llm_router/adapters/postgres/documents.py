"""The treasury's documents, and what was ever credited to an account."""

from __future__ import annotations

import asyncpg

from llm_router.ports import Document, Standing

# Each change of a document counts one up for its kind: nodes that keep some in memory look there.
_COUNTED = (
    "WITH done AS ({} RETURNING 1) INSERT INTO meta AS m SELECT 'changes:' || $1::text, 1 FROM done "
    "ON CONFLICT (name) DO UPDATE SET value = m.value + 1 RETURNING 1"
)
_INSERT = _COUNTED.format("INSERT INTO documents VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING")
_UPDATE = _COUNTED.format(
    "UPDATE documents SET account = $3, version = $4, open = $5, created_ms = $6, body = $7 "
    "WHERE kind = $1 AND id = $2 AND version = $4 - 1"
)
_REMOVE = _COUNTED.format("DELETE FROM documents WHERE kind = $1 AND id = $2")
_CHANGED = "SELECT value FROM meta WHERE name = 'changes:' || $1::text"
_COLUMNS = "SELECT kind, id, account, version, open, created_ms, body FROM documents "
_ONE = _COLUMNS + "WHERE kind = $1 AND id = $2"
_ALL = _COLUMNS + (
    "WHERE kind = $1 AND id > $2 AND ($3::text IS NULL OR account = $3) AND (open OR NOT $4) ORDER BY id LIMIT $5"
)
_STANDING = (
    "SELECT (SELECT coalesce(sum(amount), 0)::numeric FROM entries WHERE account = $1 AND kind <> 'use'), "
    "coalesce(max(posted), 0), coalesce(max(held), 0) FROM accounts WHERE id = $1"
)


async def put(connection: asyncpg.Connection, document: Document) -> bool:
    """Write a document whose version is one more than the stored one; False if it is not."""
    d = document
    statement = _INSERT if d.version == 1 else _UPDATE
    values = (d.kind, d.id, d.account, d.version, d.open, d.created_ms, d.body)
    return await connection.fetchval(statement, *values) is not None


async def remove(connection: asyncpg.Connection, kind: str, id_: str) -> bool:
    return await connection.fetchval(_REMOVE, kind, id_) is not None


async def changes(connection: asyncpg.Connection, kind: str) -> int:
    """How often documents of a kind were changed."""
    count = await connection.fetchval(_CHANGED, kind)
    return 0 if count is None else int(count)


async def read(connection: asyncpg.Connection, kind: str, id_: str) -> Document | None:
    row = await connection.fetchrow(_ONE, kind, id_)
    return None if row is None else Document(**row)


async def read_all(
    connection: asyncpg.Connection, kind: str, account: str | None, open_only: bool, after: str, limit: int
) -> list[Document]:
    rows = await connection.fetch(_ALL, kind, after, account, open_only, limit)
    return [Document(**row) for row in rows]


async def standing(connection: asyncpg.Connection, account: str) -> Standing:
    """What the account has, all of one moment."""
    credited, posted, held = await connection.fetchrow(_STANDING, account)
    return Standing(credited_pusd=int(credited), posted_pusd=posted, held_pusd=held)
