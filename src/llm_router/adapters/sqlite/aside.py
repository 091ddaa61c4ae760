"""A SQLite file beside the ledger's, for what is large, comes and goes.

It must lengthen neither the ledger's log nor its commits. One thread owns the connection; what waits for it is
committed together. A commit is safe when the process dies, not when the machine loses power (synchronous = NORMAL):
money is not in here.

Deleted content is overwritten in the file (secure_delete), and the log is emptied after each deletion.
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

import msgspec

from llm_router.adapters.sqlite.schema import StoreError, StoreTooNew, create_file
from llm_router.domain.errors import LedgerUnavailable

_T = TypeVar("_T")

BATCH_MAX = 256
"""Operations in one transaction."""

_OP_ERRORS = (sqlite3.Error, OverflowError, UnicodeEncodeError, msgspec.MsgspecError)
"""What one operation may fail of, the disk or a row in it."""

Work = Callable[[sqlite3.Connection], Any]


class Aside:
    """The file and its thread. ``what``: the word for it, in errors. Use it in one event loop."""

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop, what: str) -> None:
        self._connection = connection
        self._loop = loop
        self._what = what
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=what)
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._flush: asyncio.Future[None] | None = None
        self._closed = False

    async def close(self) -> None:
        """Write what is waiting, then let go of the file."""
        if self._closed:
            return
        self._closed = True
        if self._flush is not None:
            await asyncio.wait((self._flush,))
        await self._loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

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
                    _resolve(future, result, self._what)
        finally:
            self._flush = None
            for _, future in (*batch, *self._waiting):  # a bug: nobody may wait for ever
                _resolve(future, RuntimeError(f"the store of {self._what} has failed"), self._what)

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await self._loop.run_in_executor(self._thread, work, self._connection)


def _resolve(future: asyncio.Future[Any], result: Any, what: str) -> None:
    if future.done():  # the wait was cancelled
        return
    if isinstance(result, BaseException):
        future.set_exception(_unavailable(result, what))
        future.exception()  # counts as seen: a caller that was cancelled will not look
    else:
        future.set_result(result)


def _batch(connection: sqlite3.Connection, works: list[Work]) -> list[Any]:
    """Do all in one transaction; where one fails, each in its own."""
    try:
        return _commit(connection, works)
    except _OP_ERRORS as error:
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


def _unavailable(error: BaseException, what: str) -> LedgerUnavailable:
    unavailable = LedgerUnavailable(
        f"The store of {what} cannot use its disk. Try again shortly.", retry_after_s=5
    )
    unavailable.__cause__ = error
    return unavailable


def empty_log(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):  # the next one will
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute("PRAGMA incremental_vacuum").fetchall()


def connect(path: Path, ddl: str, *, application_id: int, version: int) -> sqlite3.Connection:
    """Open the file, making it and its tables if need be.

    Raises:
        StoreError, StoreTooNew: it cannot be used, for the reason given.
    """
    try:
        create_file(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"The data file {path} cannot be opened ({error}).") from error
    try:
        _prepare(connection, path, ddl, application_id, version)
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"The data file {path} cannot be used ({error}).") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, ddl: str, application_id: int, newest: int) -> None:
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
        execute(f"PRAGMA application_id = {application_id}")
        application = application_id
    if application != application_id:
        raise StoreError(f"{path} is a database of some other program.")
    if version > newest:
        raise StoreTooNew(
            f"{path} was written by a later version of llm-router (schema {version}; this one knows "
            f"{newest}). Install that version or a later one."
        )
    connection.executescript(f"BEGIN IMMEDIATE; {ddl} PRAGMA user_version = {newest}; COMMIT;")
