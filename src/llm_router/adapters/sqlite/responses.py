"""Kept responses in a SQLite file of their own, beside the ledger's: they are user content."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

from llm_router.adapters.sqlite import response_rows as rows
from llm_router.adapters.sqlite.aside import Aside, empty_log
from llm_router.domain.stored import UNFINISHED, StoredConversation, StoredResponse


class SqliteResponses(Aside):
    """Implements the port ResponseStore. Make one with :meth:`open`; use it in one event loop."""

    @classmethod
    async def open(cls, path: Path) -> SqliteResponses:
        """Open the file at ``path``, creating it if need be. The caller has the data folder for itself.

        Raises:
            StoreError, StoreTooNew: it cannot be used, for the reason given.
        """
        loop = asyncio.get_running_loop()
        connection = await loop.run_in_executor(None, rows.connect, path)
        return cls(connection, loop, "responses")

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
            await self._run(empty_log)
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

    async def withdraw(self, account: str, user: str | None, before_ms: int) -> int:
        gone = await self._do(lambda connection: rows.withdraw(connection, account, user, before_ms))
        if gone:
            await self._run(empty_log)
        return int(gone)

    async def purge(self, now_ms: int, bytes_max: int) -> int:
        gone = await self._do(lambda connection: rows.purge(connection, now_ms, bytes_max))
        if gone:
            await self._run(empty_log)
        return int(gone)

    async def _one(self, sql: str, values: tuple[object, ...]) -> StoredResponse | None:
        return next(iter(await self._all(sql, values)), None)

    async def _all(self, sql: str, values: tuple[object, ...]) -> list[StoredResponse]:
        def read(connection: sqlite3.Connection) -> list[StoredResponse]:
            return [rows.response_of(row) for row in connection.execute(sql, values)]

        found: list[StoredResponse] = await self._do(read)
        return found
