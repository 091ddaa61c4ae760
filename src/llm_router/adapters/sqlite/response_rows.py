"""The tables of kept responses, and the SQL that reads and writes them.

Statements name values by ``?`` only; no text of a caller ever becomes SQL.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from llm_router.adapters.sqlite import aside
from llm_router.domain.stored import UNFINISHED, StoredConversation, StoredItem, StoredResponse

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4C4C4D53  # "LLMS": marks the file as ours

TURNS_MAX = 10_000
"""Longest chain of responses that is read."""

_DDL = """
CREATE TABLE IF NOT EXISTS responses (
    number INTEGER PRIMARY KEY, -- rises with time
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    status TEXT NOT NULL,
    previous TEXT,
    background INTEGER NOT NULL,
    size INTEGER NOT NULL, -- bytes of body, input and events
    body BLOB NOT NULL,
    input BLOB NOT NULL,
    events BLOB NOT NULL,
    UNIQUE (account, id)
) STRICT;
CREATE INDEX IF NOT EXISTS responses_expiry ON responses (expires_ms);
CREATE INDEX IF NOT EXISTS responses_unfinished ON responses (status) WHERE status IN ('queued', 'in_progress');

CREATE TABLE IF NOT EXISTS items (
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    response INTEGER NOT NULL REFERENCES responses (number) ON DELETE CASCADE,
    PRIMARY KEY (account, id, response)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_response ON items (response);

CREATE TABLE IF NOT EXISTS conversations (
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    size INTEGER NOT NULL,
    metadata BLOB NOT NULL,
    items BLOB NOT NULL, -- JSON array of pairs: id, item
    PRIMARY KEY (account, id)
) STRICT;
CREATE INDEX IF NOT EXISTS conversations_expiry ON conversations (expires_ms);
"""

_SELECT = "SELECT account, id, created_ms, expires_ms, status, previous, background, body, input, {} FROM responses "
_WHOLE = _SELECT.format("events")
_WITHOUT_EVENTS = _SELECT.format("x''")
_PUT = (
    "INSERT INTO responses (account, id, created_ms, expires_ms, status, previous, background, size, body, "
    "input, events) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, id) DO UPDATE SET "
    "created_ms = excluded.created_ms, expires_ms = excluded.expires_ms, status = excluded.status, "
    "previous = excluded.previous, background = excluded.background, size = excluded.size, "
    "body = excluded.body, input = excluded.input, events = excluded.events RETURNING number"
)
_ITEM = "INSERT OR IGNORE INTO items VALUES (?, ?, ?)"
_NO_ITEMS = "DELETE FROM items WHERE response = ?"
GET = _WHOLE + "WHERE account = ? AND id = ? AND expires_ms > ?"
CHAIN = """
WITH RECURSIVE chain (turn, number, previous, total) AS (
    SELECT 0, number, previous, size FROM responses WHERE account = ?1 AND id = ?2 AND expires_ms > ?3
    UNION ALL
    SELECT turn + 1, r.number, r.previous, total + r.size FROM chain JOIN responses AS r
    ON r.account = ?1 AND r.id = chain.previous AND r.expires_ms > ?3 AND r.number < chain.number
    WHERE turn < ?5 AND total + r.size <= ?4
)
SELECT r.account, r.id, r.created_ms, r.expires_ms, r.status, r.previous, r.background, r.body, r.input, x''
FROM chain JOIN responses AS r ON r.number = chain.number ORDER BY turn DESC
"""
_OF_ITEM = "WHERE number = (SELECT max(response) FROM items WHERE account = ? AND id = ?) AND expires_ms > ?"
HOLDING = _WITHOUT_EVENTS + _OF_ITEM
DELETE = "DELETE FROM responses WHERE account = ? AND id = ? RETURNING expires_ms"
OPEN = _WHOLE + "WHERE status IN (?, ?)"
_PUT_CONVERSATION = "INSERT OR REPLACE INTO conversations VALUES (?, ?, ?, ?, ?, ?, ?)"
_CONVERSATION = (
    "SELECT account, id, created_ms, expires_ms, metadata, items FROM conversations "
    "WHERE account = ? AND id = ? AND expires_ms > ?"
)
DELETE_CONVERSATION = "DELETE FROM conversations WHERE account = ? AND id = ? RETURNING expires_ms"
_WITHDRAW = f"DELETE FROM responses WHERE account = ? AND created_ms < ? AND status NOT IN ({', '.join('?' * len(UNFINISHED))})"  # noqa: S608
_NAMED = """
 AND CASE WHEN json_valid(CAST(body AS TEXT)) THEN ? IN (
    json_extract(CAST(body AS TEXT), '$.user'), json_extract(CAST(body AS TEXT), '$.safety_identifier')
) ELSE 0 END
"""
_WITHDRAW_CONVERSATIONS = "DELETE FROM conversations WHERE account = ? AND created_ms < ?"
_EXPIRE = "DELETE FROM responses WHERE expires_ms <= ?"
_EXPIRE_CONVERSATIONS = "DELETE FROM conversations WHERE expires_ms <= ?"
_SIZE = "SELECT (SELECT coalesce(sum(size), 0) FROM responses) + (SELECT coalesce(sum(size), 0) FROM conversations)"
_TRIM_CONVERSATIONS = """
DELETE FROM conversations WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, sum(size) OVER (ORDER BY expires_ms, rowid) - size AS before FROM conversations
    ) WHERE before < ?
)
"""
_TRIM = """
DELETE FROM responses WHERE number IN (
    SELECT number FROM (
        SELECT number, sum(size) OVER (ORDER BY number) - size AS before
        FROM responses WHERE status NOT IN (?, ?)
    ) WHERE before < ?
)
"""

_items = msgspec.json.Decoder(tuple[StoredItem, ...]).decode


def put_response(connection: sqlite3.Connection, response: StoredResponse) -> None:
    r = response
    values = (
        r.account, r.id, r.created_ms, r.expires_ms, r.status, r.previous, int(r.background), r.size_bytes,
        r.body, r.input, r.events,
    )  # fmt: skip
    (number,) = connection.execute(_PUT, values).fetchone()
    connection.execute(_NO_ITEMS, (number,))
    connection.executemany(_ITEM, [(r.account, id_, number) for id_ in r.item_ids if id_])


def purge(connection: sqlite3.Connection, now_ms: int, bytes_max: int) -> int:
    gone = connection.execute(_EXPIRE, (now_ms,)).rowcount
    gone += connection.execute(_EXPIRE_CONVERSATIONS, (now_ms,)).rowcount
    for sql, values in ((_TRIM, UNFINISHED), (_TRIM_CONVERSATIONS, ())):
        (size,) = connection.execute(_SIZE).fetchone()
        if size > bytes_max:
            gone += connection.execute(sql, (*values, size - bytes_max)).rowcount
    return gone


def withdraw(connection: sqlite3.Connection, account: str, user: str | None, before_ms: int) -> int:
    """Of a user, the responses to requests that named it; of an account, its conversations too."""
    if user is not None:
        return connection.execute(_WITHDRAW + _NAMED, (account, before_ms, *UNFINISHED, user)).rowcount
    gone = connection.execute(_WITHDRAW, (account, before_ms, *UNFINISHED)).rowcount
    return gone + connection.execute(_WITHDRAW_CONVERSATIONS, (account, before_ms)).rowcount


def put_conversation(connection: sqlite3.Connection, conversation: StoredConversation) -> None:
    c = conversation
    items = msgspec.json.encode(c.items)
    values = (c.account, c.id, c.created_ms, c.expires_ms, c.size_bytes, c.metadata, items)
    connection.execute(_PUT_CONVERSATION, values)


def read_conversation(
    connection: sqlite3.Connection, values: tuple[object, ...]
) -> StoredConversation | None:
    row = connection.execute(_CONVERSATION, values).fetchone()
    if row is None:
        return None
    account, id_, created_ms, expires_ms, metadata, items = row
    return StoredConversation(
        account=account,
        id=id_,
        created_ms=created_ms,
        expires_ms=expires_ms,
        metadata=metadata,
        items=_items(items),
    )


def response_of(row: tuple[Any, ...]) -> StoredResponse:
    account, id_, created_ms, expires_ms, status, previous, background, body, input_, events = row
    return StoredResponse(
        account=account,
        id=id_,
        created_ms=created_ms,
        expires_ms=expires_ms,
        status=status,
        previous=previous,
        background=bool(background),
        body=body,
        input=input_,
        events=events,
    )


def connect(path: Path) -> sqlite3.Connection:
    return aside.connect(path, _DDL, application_id=APPLICATION_ID, version=SCHEMA_VERSION)
