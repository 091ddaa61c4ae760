"""Bodies of exchanges in the database that all nodes share, over a connection of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from llm_router.adapters.body_seals import BodySeals, opened_body, sealed_body
from llm_router.adapters.postgres.link import FAILURES, Link, Target, unavailable
from llm_router.domain.bodies import BodiesHeld, StoredBody, Withdrawal

USE_S = 10.0
DELETE_S = 600.0
WITHDRAWN_MS = 24 * 3_600_000
"""How long it is remembered what was withdrawn: nothing that began before is put later than that."""

_WITHDRAWN = "SELECT id, key, user_mark FROM bodies_withdrawn WHERE account = $1 AND before_ms > $2"
_PUT = (
    "INSERT INTO bodies VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (account, id) DO UPDATE SET "
    "key = $3, users = $4, created_ms = $5, expires_ms = $6, sealed_with = $7, content = $8"
)
_GET = (
    "SELECT key, created_ms, expires_ms, sealed_with, content FROM bodies "
    "WHERE account = $1 AND id = $2 AND expires_ms > $3"
)
_REMEMBER = "INSERT INTO bodies_withdrawn VALUES ($1, $2, $3, $4, $5, $6)"
_WITHDRAW = """
WITH gone AS (
    DELETE FROM bodies WHERE account = $1 AND created_ms < $2 AND ($3::text IS NULL OR id = $3)
    AND ($4::text IS NULL OR key = $4) AND ($5::bytea IS NULL OR $5 = ANY (users)) RETURNING 1
) SELECT count(*) FROM gone
"""
_HELD = (
    "SELECT count(*), coalesce(sum(length(content)), 0)::bigint, min(created_ms) FROM bodies "
    "WHERE account = $1 AND expires_ms > $2"
)
_PURGE = "WITH gone AS (DELETE FROM bodies WHERE expires_ms <= $1 RETURNING 1) SELECT count(*) FROM gone"

_T = TypeVar("_T")


class PostgresBodies:
    """Implements the port BodyStore, on tables that the store has made. Use it in one event loop."""

    def __init__(self, target: Target, seals: BodySeals) -> None:
        self._link = Link(target, lock_timeout=f"{round(1000 * DELETE_S)}")
        self._seals = seals

    async def close(self) -> None:
        """Let go of the database."""
        await self._link.close()

    async def put(self, body: StoredBody) -> bool:
        name, sealer = await self._seals.current()
        users = [self._seals.user(body.account, user) for user in body.users]
        content = await asyncio.to_thread(sealed_body, sealer, body.account, body.id, body.content)

        async def work(connection: asyncpg.Connection) -> bool:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", _LOCK)
                for row in await connection.fetch(_WITHDRAWN, body.account, body.created_ms):
                    id_, key, user = row
                    if id_ in (None, body.id) and key in (None, body.key) and (user is None or user in users):
                        return False
                await connection.execute(
                    _PUT,
                    body.account,
                    body.id,
                    body.key,
                    users,
                    body.created_ms,
                    body.expires_ms,
                    name,
                    content,
                )
            return True

        return await self._run(work)

    async def get(self, account: str, id_: str, now_ms: int) -> StoredBody | None:
        if "\x00" in account + id_:  # no text of the database has one
            return None
        row = await self._run(lambda c: c.fetchrow(_GET, account, id_, now_ms))
        if row is None:
            return None
        sealer = await self._seals.named(row["sealed_with"])
        return StoredBody(
            account=account,
            id=id_,
            key=row["key"],
            users=(),
            created_ms=row["created_ms"],
            expires_ms=row["expires_ms"],
            content=await asyncio.to_thread(opened_body, sealer, account, id_, row["content"]),
        )

    async def withdraw(self, which: Withdrawal) -> int:
        user = None if which.user is None else self._seals.user(which.account, which.user)
        forget_ms = which.before_ms + WITHDRAWN_MS

        async def work(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                values = (which.account, which.id, which.key, user)
                await connection.execute(_REMEMBER, *values, which.before_ms, forget_ms)
                named = (which.account, which.before_ms, which.id, which.key, user)
                return int(await connection.fetchval(_WITHDRAW, *named))

        return await self._run(work, DELETE_S)

    async def held(self, account: str, now_ms: int) -> BodiesHeld:
        count, size, oldest = await self._run(lambda c: c.fetchrow(_HELD, account, now_ms))
        return BodiesHeld(count=count, size_bytes=size, oldest_ms=oldest)

    async def purge(self, now_ms: int) -> int:
        async def work(connection: asyncpg.Connection) -> tuple[int, set[str]]:
            gone = int(await connection.fetchval(_PURGE, now_ms))
            await connection.execute("DELETE FROM bodies_withdrawn WHERE forget_ms <= $1", now_ms)
            used = await connection.fetch("SELECT DISTINCT sealed_with FROM bodies")
            return gone, {row["sealed_with"] for row in used}

        gone, used = await self._run(work, DELETE_S)
        await self._seals.forget(used, now_ms)
        return gone

    async def rotate(self) -> str:
        return await self._seals.rotate()

    async def _run(self, work: Callable[[asyncpg.Connection], Awaitable[_T]], timeout_s: float = USE_S) -> _T:
        """
        Raises:
            LedgerUnavailable: the database did not confirm it.
        """
        try:
            return await self._link.run(work, timeout_s)
        except FAILURES as error:
            raise unavailable(error) from error


_LOCK = 0x4C4C4D42
"""The advisory lock under which is withdrawn; who puts something holds a share of it."""
