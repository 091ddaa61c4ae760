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

import msgspec

from llm_router.adapters.sqlite import response_rows as rows
from llm_router.domain.errors import LedgerUnavailable
from llm_router.domain.stored import UNFINISHED, StoredConversation, StoredResponse

_T = TypeVar("_T")

BATCH_MAX = 256
"""Operations in one transaction."""

_OP_ERRORS = (sqlite3.Error, OverflowError, UnicodeEncodeError, msgspec.MsgspecError)
"""What one operation may fail of, the disk or a row in it."""

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
        connection = await loop.run_in_executor(None, rows.connect, path)
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
        await self._do(lambda connection: rows.put_response(connection, response))

    async def get(self, account: str, id_: str, now_ms: int) -> StoredResponse | None:
        return await self._one(rows.GET, (account, id_, now_ms))

    async def chain(self, account: str, id_: str, now_ms: int, bytes_max: int) -> list[StoredResponse]:
        return await self._all(rows.CHAIN, (account, id_, now_ms, bytes_max, rows.TURNS_MAX))

    async def holding(self, account: str, item_id: str, now_ms: int) -> StoredResponse | None:
        return await self._one(rows.HOLDING, (account, item_id, now_ms))

    async def delete(self, account: str, id_: str, now_ms: int) -> bool:
        return await self._delete(rows.DELETE, account, id_, now_ms)

    async def _delete(self, sql: str, account: str, id_: str, now_ms: int) -> bool:
        row = await self._do(lambda connection: connection.execute(sql, (account, id_)).fetchone())
        if row is not None:
            await self._run(rows.empty_log)
        return row is not None and row[0] > now_ms

    async def unfinished(self) -> list[StoredResponse]:
        return await self._all(rows.OPEN, UNFINISHED)

    async def put_conversation(self, conversation: StoredConversation) -> None:
        await self._do(lambda connection: rows.put_conversation(connection, conversation))

    async def conversation(self, account: str, id_: str, now_ms: int) -> StoredConversation | None:
        found: StoredConversation | None = await self._do(
            lambda connection: rows.read_conversation(connection, (account, id_, now_ms))
        )
        return found

    async def change_conversation(
        self, account: str, id_: str, now_ms: int, change: Callable[[StoredConversation], StoredConversation]
    ) -> StoredConversation | None:
        def work(connection: sqlite3.Connection) -> StoredConversation | None:
            found = rows.read_conversation(connection, (account, id_, now_ms))
            if found is not None:
                found = change(found)
                rows.put_conversation(connection, found)
            return found

        changed: StoredConversation | None = await self._do(work)
        return changed

    async def delete_conversation(self, account: str, id_: str, now_ms: int) -> bool:
        return await self._delete(rows.DELETE_CONVERSATION, account, id_, now_ms)

    async def purge(self, now_ms: int, bytes_max: int) -> int:
        gone = await self._do(lambda connection: rows.purge(connection, now_ms, bytes_max))
        if gone:
            await self._run(rows.empty_log)
        return int(gone)

    async def _one(self, sql: str, values: tuple[object, ...]) -> StoredResponse | None:
        return next(iter(await self._all(sql, values)), None)

    async def _all(self, sql: str, values: tuple[object, ...]) -> list[StoredResponse]:
        def read(connection: sqlite3.Connection) -> list[StoredResponse]:
            return [rows.response_of(row) for row in connection.execute(sql, values)]

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


def _unavailable(error: BaseException) -> LedgerUnavailable:
    unavailable = LedgerUnavailable(
        "The store of responses cannot use its disk. Try again shortly.", retry_after_s=5
    )
    unavailable.__cause__ = error
    return unavailable
