"""Kept responses in a SQLite file of their own, beside the ledger's.

They are user content: they come and go, and are large, so they must not lengthen the ledger's log or
its commits. One thread owns the connection; what waits for it is committed together. A commit is safe
when the process dies, not when the machine loses power (synchronous = NORMAL): money is not in here.

Deleted content is overwritten in the file (secure_delete), and the log is emptied after each purge.
https://www.sqlite.org/pragma.html#pragma_secure_delete
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from llm_router.adapters.sqlite.schema import StoreError, StoreTooNew, create_file
from llm_router.domain.errors import LedgerUnavailable
from llm_router.domain.stored import UNFINISHED, StoredResponse

_T = TypeVar("_T")

SCHEMA_VERSION = 1
APPLICATION_ID = 0x4C4C4D53  # "LLMS": marks the file as ours

BATCH_MAX = 256
"""Operations in one transaction."""

TURNS_MAX = 10_000
"""Longest chain of responses that is read."""

_DDL = """
CREATE TABLE responses (
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
CREATE INDEX responses_expiry ON responses (expires_ms);
CREATE INDEX responses_unfinished ON responses (status) WHERE status IN ('queued', 'in_progress');

CREATE TABLE items (
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    response INTEGER NOT NULL REFERENCES responses (number) ON DELETE CASCADE,
    PRIMARY KEY (account, id, response)
) STRICT, WITHOUT ROWID;
CREATE INDEX items_response ON items (response);
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
_GET = _WHOLE + "WHERE account = ? AND id = ? AND expires_ms > ?"
_CHAIN = """
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
_HOLDING = _WITHOUT_EVENTS + _OF_ITEM
_DELETE = "DELETE FROM responses WHERE account = ? AND id = ? RETURNING expires_ms"
_UNFINISHED = _WHOLE + "WHERE status IN (?, ?)"
_EXPIRE = "DELETE FROM responses WHERE expires_ms <= ?"
_SIZE = "SELECT coalesce(sum(size), 0) FROM responses"
_TRIM = """
DELETE FROM responses WHERE number IN (
    SELECT number FROM (
        SELECT number, sum(size) OVER (ORDER BY number) - size AS before
        FROM responses WHERE status NOT IN (?, ?)
    ) WHERE before < ?
)
"""

Work = Callable[[sqlite3.Connection], Any]


class SqliteResponses:
    """Implements the port ResponseStore. Make one with :meth:`open`; use it in one event loop."""

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="responses")
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._flush: asyncio.Future[None] | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> SqliteResponses:
        """Open the file at ``path``, creating it if need be. The caller has the data folder for itself.

        Raises:
            StoreError, StoreTooNew: it cannot be used, for the reason given.
        """
        loop = asyncio.get_running_loop()
        connection = await loop.run_in_executor(None, _connect, path)
        return cls(connection, loop)

    async def close(self) -> None:
        """Write what is waiting, then let go of the file."""
        if self._closed:
            return
        self._closed = True
        if self._flush is not None:
            await asyncio.wait((self._flush,))
        await self._loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def put(self, response: StoredResponse) -> None:
        await self._do(lambda connection: _put(connection, response))

    async def get(self, account: str, id_: str, now_ms: int) -> StoredResponse | None:
        return await self._one(_GET, (account, id_, now_ms))

    async def chain(self, account: str, id_: str, now_ms: int, bytes_max: int) -> list[StoredResponse]:
        return await self._all(_CHAIN, (account, id_, now_ms, bytes_max, TURNS_MAX))

    async def holding(self, account: str, item_id: str, now_ms: int) -> StoredResponse | None:
        return await self._one(_HOLDING, (account, item_id, now_ms))

    async def delete(self, account: str, id_: str, now_ms: int) -> bool:
        row = await self._do(lambda connection: connection.execute(_DELETE, (account, id_)).fetchone())
        if row is not None:
            await self._run(_empty_log)
        return row is not None and row[0] > now_ms

    async def unfinished(self) -> list[StoredResponse]:
        return await self._all(_UNFINISHED, UNFINISHED)

    async def purge(self, now_ms: int, bytes_max: int) -> int:
        gone = await self._do(lambda connection: _purge(connection, now_ms, bytes_max))
        if gone:
            await self._run(_empty_log)
        return int(gone)

    async def _one(self, sql: str, values: tuple[object, ...]) -> StoredResponse | None:
        return next(iter(await self._all(sql, values)), None)

    async def _all(self, sql: str, values: tuple[object, ...]) -> list[StoredResponse]:
        def read(connection: sqlite3.Connection) -> list[StoredResponse]:
            return [_response(row) for row in connection.execute(sql, values)]

        found: list[StoredResponse] = await self._do(read)
        return found

    async def _do(self, work: Work) -> Any:
        """Have the thread do it, in one transaction with whatever else waits.

        Raises:
            LedgerUnavailable: it was not done.
        """
        if self._closed:
            raise LedgerUnavailable("The gateway is shutting down.", retry_after_s=5)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((work, future))
        if self._flush is None:
            self._flush = self._loop.create_task(self._work())
        return await future

    async def _work(self) -> None:
        batch: list[tuple[Work, asyncio.Future[Any]]] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
                works = [work for work, _ in batch]
                results = await self._loop.run_in_executor(self._thread, _batch, self._connection, works)
                for (_, future), result in zip(batch, results, strict=True):
                    _resolve(future, result)
        finally:
            self._flush = None
            for _, future in (*batch, *self._waiting):  # a bug: nobody may wait for ever
                _resolve(future, RuntimeError("the store of responses has failed"))

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await self._loop.run_in_executor(self._thread, work, self._connection)


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():  # the wait was cancelled
        return
    if isinstance(result, BaseException):
        future.set_exception(_unavailable(result))
        future.exception()  # counts as seen: a caller that was cancelled will not look
    else:
        future.set_result(result)


def _batch(connection: sqlite3.Connection, works: list[Work]) -> list[Any]:
    """Do all in one transaction; where one fails, each in its own."""
    try:
        return _commit(connection, works)
    except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
        if len(works) == 1:
            return [error]
        return [_batch(connection, [work])[0] for work in works]


def _commit(connection: sqlite3.Connection, works: list[Work]) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [work(connection) for work in works]
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return results


def _put(connection: sqlite3.Connection, response: StoredResponse) -> None:
    r = response
    values = (
        r.account, r.id, r.created_ms, r.expires_ms, r.status, r.previous, int(r.background), r.size_bytes,
        r.body, r.input, r.events,
    )  # fmt: skip
    (number,) = connection.execute(_PUT, values).fetchone()
    connection.execute(_NO_ITEMS, (number,))
    connection.executemany(_ITEM, [(r.account, id_, number) for id_ in r.item_ids if id_])


def _purge(connection: sqlite3.Connection, now_ms: int, bytes_max: int) -> int:
    gone = connection.execute(_EXPIRE, (now_ms,)).rowcount
    (size,) = connection.execute(_SIZE).fetchone()
    if size > bytes_max:
        gone += connection.execute(_TRIM, (*UNFINISHED, size - bytes_max)).rowcount
    return gone


def _empty_log(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):  # the next one will
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute("PRAGMA incremental_vacuum").fetchall()


def _response(row: tuple[Any, ...]) -> StoredResponse:
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


def _unavailable(error: BaseException) -> LedgerUnavailable:
    unavailable = LedgerUnavailable(
        "The store of responses cannot use its disk. Try again shortly.", retry_after_s=5
    )
    unavailable.__cause__ = error
    return unavailable


def _connect(path: Path) -> sqlite3.Connection:
    try:
        create_file(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"The data file {path} cannot be opened ({error}).") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"The data file {path} cannot be used ({error}).") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    execute = connection.execute
    execute("PRAGMA synchronous = NORMAL")
    execute("PRAGMA foreign_keys = ON")
    execute("PRAGMA secure_delete = ON")
    (version,) = execute("PRAGMA user_version").fetchone()
    (application,) = execute("PRAGMA application_id").fetchone()
    (tables,) = execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if version == 0 and tables == 0:
        execute("PRAGMA auto_vacuum = INCREMENTAL")
        execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN IMMEDIATE; {_DDL} PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
        return
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is a database of some other program.")
    if version > SCHEMA_VERSION:
        raise StoreTooNew(
            f"{path} was written by a later version of llm-router (schema {version}; this one knows "
            f"{SCHEMA_VERSION}). Install that version or a later one."
        )
