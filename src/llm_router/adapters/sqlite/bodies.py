"""Bodies of exchanges in a SQLite file of their own, ``bodies.db``: sealed, with nothing else to read than whose they
are, when they came and how large they are."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from llm_router.adapters.body_seals import BodySeals, opened_body, sealed_body
from llm_router.adapters.sqlite import aside
from llm_router.adapters.sqlite.aside import Aside, empty_log
from llm_router.domain.bodies import BodiesHeld, StoredBody, Withdrawal

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4C4C4D42  # "LLMB": marks the file as ours

WITHDRAWN_MS = 24 * 3_600_000
"""How long it is remembered what was withdrawn: nothing that began before is put later than that."""

_DDL = """
CREATE TABLE IF NOT EXISTS bodies (
    number INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    id TEXT NOT NULL, -- of the exchange
    key TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    sealed_with TEXT NOT NULL,
    content BLOB NOT NULL,
    UNIQUE (account, id)
) STRICT;
CREATE INDEX IF NOT EXISTS bodies_expiry ON bodies (expires_ms);
CREATE INDEX IF NOT EXISTS bodies_of_key ON bodies (account, key, created_ms);
CREATE INDEX IF NOT EXISTS bodies_sealed ON bodies (sealed_with);

CREATE TABLE IF NOT EXISTS users (
    body INTEGER NOT NULL REFERENCES bodies (number) ON DELETE CASCADE,
    user BLOB NOT NULL, -- what stands for the name
    PRIMARY KEY (user, body)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS users_body ON users (body);

CREATE TABLE IF NOT EXISTS withdrawn (
    account TEXT NOT NULL,
    id TEXT,
    key TEXT,
    user BLOB,
    before_ms INTEGER NOT NULL,
    forget_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS withdrawn_account ON withdrawn (account);
"""

_PUT = (
    "INSERT OR REPLACE INTO bodies (account, id, key, created_ms, expires_ms, sealed_with, content) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING number"
)
_USER = "INSERT OR IGNORE INTO users VALUES (?, ?)"
_GET = (
    "SELECT key, created_ms, expires_ms, sealed_with, content FROM bodies "
    "WHERE account = ? AND id = ? AND expires_ms > ?"
)
_WITHDRAWN = "SELECT id, key, user FROM withdrawn WHERE account = ? AND before_ms > ?"
_REMEMBER = "INSERT INTO withdrawn VALUES (?, ?, ?, ?, ?, ?)"
_WITHDRAW = """
DELETE FROM bodies WHERE account = ?1 AND created_ms < ?2 AND (?3 IS NULL OR id = ?3) AND (?4 IS NULL OR key = ?4)
AND (?5 IS NULL OR number IN (SELECT body FROM users WHERE user = ?5))
"""
_HELD = (
    "SELECT count(*), coalesce(sum(length(content)), 0), min(created_ms) FROM bodies "
    "WHERE account = ? AND expires_ms > ?"
)


class SqliteBodies(Aside):
    """Implements the port BodyStore. Make one with :meth:`open`; use it in one event loop."""

    _seals: BodySeals

    @classmethod
    async def open(cls, path: Path, seals: BodySeals) -> SqliteBodies:
        """Open the file at ``path``, creating it if need be. The caller has the data folder for itself.

        Raises:
            StoreError, StoreTooNew: it cannot be used, for the reason given.
        """
        loop = asyncio.get_running_loop()
        connection = await loop.run_in_executor(
            None,
            lambda: aside.connect(path, _DDL, application_id=APPLICATION_ID, version=SCHEMA_VERSION),
        )
        found = cls(connection, loop, "bodies")
        found._seals = seals
        return found

    async def put(self, body: StoredBody) -> bool:
        name, sealer = await self._seals.current()
        users = [self._seals.user(body.account, user) for user in body.users]
        return bool(
            await self._do(
                lambda connection: _put(
                    connection, body, users, name, sealed_body(sealer, body.account, body.id, body.content)
                )
            )
        )

    async def get(self, account: str, id_: str, now_ms: int) -> StoredBody | None:
        row = await self._do(lambda connection: connection.execute(_GET, (account, id_, now_ms)).fetchone())
        if row is None:
            return None
        key, created_ms, expires_ms, name, content = row
        sealer = await self._seals.named(name)
        return StoredBody(
            account=account,
            id=id_,
            key=key,
            users=(),
            created_ms=created_ms,
            expires_ms=expires_ms,
            content=opened_body(sealer, account, id_, content),
        )

    async def withdraw(self, which: Withdrawal) -> int:
        user = None if which.user is None else self._seals.user(which.account, which.user)
        gone = await self._do(lambda connection: _withdraw(connection, which, user))
        if gone:
            await self._run(empty_log)
        return int(gone)

    async def held(self, account: str, now_ms: int) -> BodiesHeld:
        count, size, oldest = await self._do(
            lambda connection: connection.execute(_HELD, (account, now_ms)).fetchone()
        )
        return BodiesHeld(count=count, size_bytes=size, oldest_ms=oldest)

    async def purge(self, now_ms: int) -> int:
        gone, used = await self._do(lambda connection: _purge(connection, now_ms))
        if gone:
            await self._run(empty_log)
        await self._seals.forget(used, now_ms)
        return int(gone)

    async def rotate(self) -> str:
        return await self._seals.rotate()


def _put(
    connection: sqlite3.Connection, body: StoredBody, users: list[bytes], name: str, content: bytes
) -> bool:
    for id_, key, user in connection.execute(_WITHDRAWN, (body.account, body.created_ms)):
        if id_ in (None, body.id) and key in (None, body.key) and (user is None or user in users):
            return False
    values = (body.account, body.id, body.key, body.created_ms, body.expires_ms, name, content)
    (number,) = connection.execute(_PUT, values).fetchone()
    connection.executemany(_USER, [(number, user) for user in users])
    return True


def _withdraw(connection: sqlite3.Connection, which: Withdrawal, user: bytes | None) -> int:
    """Delete, and remember for what is still on its way."""
    values: tuple[Any, ...] = (which.account, which.id, which.key, user)
    connection.execute(_REMEMBER, (*values, which.before_ms, which.before_ms + WITHDRAWN_MS))
    named = (which.account, which.before_ms, which.id, which.key, user)
    return connection.execute(_WITHDRAW, named).rowcount


def _purge(connection: sqlite3.Connection, now_ms: int) -> tuple[int, set[str]]:
    gone = connection.execute("DELETE FROM bodies WHERE expires_ms <= ?", (now_ms,)).rowcount
    connection.execute("DELETE FROM withdrawn WHERE forget_ms <= ?", (now_ms,))
    used = {name for (name,) in connection.execute("SELECT DISTINCT sealed_with FROM bodies")}
    return gone, used
