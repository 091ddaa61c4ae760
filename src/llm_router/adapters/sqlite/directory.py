"""The directory in a SQLite file of its own, beside the ledger's.

People sign in, guess passwords and look at pages; none of that may lengthen the ledger's log or wait for
its commits. One thread owns the connection. Each commit is on the disk when it is acknowledged
(synchronous = FULL): a session that was ended must not come back with the power.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from llm_router.adapters.directory_rows import (
    GENESIS,
    ActChain,
    act_hash,
    act_text,
    entry_of,
    read_noun,
    row_of,
)
from llm_router.adapters.sqlite.schema import create_file
from llm_router.adapters.store_errors import StoreError, StoreTooNew
from llm_router.domain.account import Act, AuditEntry, Noun
from llm_router.domain.errors import LedgerUnavailable

_T = TypeVar("_T")

VERSION = 1
APPLICATION_ID = 0x4C4C4D44  # "LLMD"

_DDL = """
CREATE TABLE directory (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    person TEXT NOT NULL,
    name TEXT, -- by which a row is found too
    version INTEGER NOT NULL CHECK (version > 0),
    expires_ms INTEGER,
    body TEXT NOT NULL, -- JSON
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX directory_name ON directory (kind, name) WHERE name IS NOT NULL;
CREATE INDEX directory_account ON directory (kind, account, id);
CREATE INDEX directory_person ON directory (kind, person, id);
CREATE INDEX directory_expires ON directory (expires_ms) WHERE expires_ms IS NOT NULL;

CREATE TABLE acts (
    seq INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL, -- JSON of the act
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX acts_account ON acts (account, seq);
CREATE TRIGGER acts_gapless BEFORE INSERT ON acts
    WHEN new.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM acts)
    BEGIN SELECT raise(ABORT, 'acts are numbered without a gap'); END;
CREATE TRIGGER acts_update BEFORE UPDATE ON acts
    BEGIN SELECT raise(ABORT, 'acts are never changed'); END;
CREATE TRIGGER acts_delete BEFORE DELETE ON acts
    BEGIN SELECT raise(ABORT, 'acts are never deleted'); END;
"""

_FIND = "SELECT body FROM directory WHERE kind = ? AND id = ?"
_NAMED = "SELECT body FROM directory WHERE kind = ? AND name = ?"
_ROWS = "SELECT body FROM directory WHERE kind = ?1 AND id > ?2{} ORDER BY id LIMIT ?3"
_INSERT = "INSERT INTO directory VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_UPDATE = (
    "UPDATE directory SET account = ?3, person = ?4, name = ?5, version = ?6, expires_ms = ?7, body = ?8 "
    "WHERE kind = ?1 AND id = ?2 AND version = ?6 - 1"
)
_REMOVE = "DELETE FROM directory WHERE kind = ? AND id = ?"
_PURGE = "DELETE FROM directory WHERE expires_ms <= ?"
_LAST_ACT = "SELECT seq, hash FROM acts ORDER BY seq DESC LIMIT 1"
_ADD_ACT = "INSERT INTO acts VALUES (?, ?, ?, ?, ?)"
_ACTS = "SELECT seq, body, hash FROM acts WHERE (?1 = 0 OR seq < ?1){} ORDER BY seq DESC LIMIT ?2"
_ALL_ACTS = "SELECT seq, body, hash FROM acts ORDER BY seq"


class _Refused(Exception):
    """The write does not fit what is stored."""


class SqliteDirectory:
    """Implements the port Directory. Make one with :meth:`open`; use it in one event loop."""

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="directory")
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> SqliteDirectory:
        """Open the file at ``path``, creating it if need be. The caller has the data folder for itself.

        Raises:
            StoreError, StoreTooNew: it cannot be used, for the reason given.
        """
        loop = asyncio.get_running_loop()
        return cls(await loop.run_in_executor(None, connect, path), loop)

    async def close(self) -> None:
        """Let go of the file, when what was asked is done."""
        if not self._closed:
            self._closed = True
            await self._loop.run_in_executor(self._thread, self._connection.close)
            self._thread.shutdown()

    async def find(self, kind: str, id_: str) -> Noun | None:
        return await self._one(_FIND, (kind, id_))

    async def named(self, kind: str, name: str) -> Noun | None:
        return await self._one(_NAMED, (kind, name))

    async def rows(
        self, kind: str, *, account: str = "", person: str = "", after: str = "", limit: int = 1000
    ) -> list[Noun]:
        which = (" AND account = ?4" if account else "") + (" AND person = ?5" if person else "")
        values = (kind, after, limit, account, person)[: 5 if person else 4 if account else 3]

        def work(connection: sqlite3.Connection) -> list[Noun]:
            return [read_noun(body) for (body,) in connection.execute(_ROWS.format(which), values)]

        return await self._do(work)

    async def write(self, puts: list[Noun], removes: list[tuple[str, str]], acts: list[Act]) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            connection.execute("BEGIN IMMEDIATE")
            try:
                _write(connection, puts, removes)
                _log(connection, acts)
                connection.execute("COMMIT")
            except BaseException as error:
                connection.execute("ROLLBACK")
                if isinstance(error, _Refused | sqlite3.IntegrityError):
                    return False
                raise
            return True

        return await self._do(work)

    async def purge(self, now_ms: int) -> int:
        return await self._do(lambda connection: connection.execute(_PURGE, (now_ms,)).rowcount)

    async def acts(self, account: str | None, before: int, limit: int) -> list[AuditEntry]:
        query = _ACTS.format("" if account is None else " AND account = ?3")
        values = (before, limit) if account is None else (before, limit, account)
        return await self._do(
            lambda connection: [entry_of(*row) for row in connection.execute(query, values)]
        )

    async def check_acts(self) -> int:
        def work(connection: sqlite3.Connection) -> int:
            chain = ActChain()
            for row in connection.execute(_ALL_ACTS):
                chain.check(*row)
            return chain.seq

        return await self._do(work)

    async def _one(self, sql: str, values: tuple[str, str]) -> Noun | None:
        def work(connection: sqlite3.Connection) -> Noun | None:
            row = connection.execute(sql, values).fetchone()
            return None if row is None else read_noun(row[0])

        return await self._do(work)

    async def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Have the thread do it.

        Raises:
            LedgerUnavailable: it was not done.
        """
        if self._closed:
            raise LedgerUnavailable("The gateway is shutting down.", retry_after_s=5)
        try:
            return await self._loop.run_in_executor(self._thread, work, self._connection)
        except (sqlite3.Error, UnicodeEncodeError, msgspec.MsgspecError) as error:
            raise LedgerUnavailable(
                "The directory of accounts cannot use its disk. Try again shortly.", retry_after_s=5
            ) from error


def _write(connection: sqlite3.Connection, puts: list[Noun], removes: list[tuple[str, str]]) -> None:
    """
    Raises:
        _Refused, sqlite3.IntegrityError: it does not fit what is stored.
    """
    for place in removes:
        if connection.execute(_REMOVE, place).rowcount == 0:
            raise _Refused
    for noun in puts:
        if connection.execute(_INSERT if noun.version == 1 else _UPDATE, row_of(noun)).rowcount == 0:
            raise _Refused


def _log(connection: sqlite3.Connection, acts: list[Act]) -> None:
    if not acts:
        return
    seq, head = connection.execute(_LAST_ACT).fetchone() or (0, GENESIS)
    for act in acts:
        seq += 1
        text = act_text(act)
        head = act_hash(head, seq, text)
        connection.execute(_ADD_ACT, (seq, act.account, act.at_ms, text, head))


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, make its tables if it is empty, check that it is ours.

    Raises:
        StoreError, StoreTooNew: it cannot be used, for the reason given.
    """
    try:
        create_file(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"The data file {path} cannot be used ({error}).") from error
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables == 0:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN IMMEDIATE; {_DDL} PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )
        return
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is a database of some other program.")
    if version > VERSION:
        raise StoreTooNew(
            f"{path} was written by a later version of llm-router (schema {version}; this one knows {VERSION}). "
            "Install that version or a later one."
        )
