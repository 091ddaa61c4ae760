"""The directory in the database that all nodes share. One lock puts all acts into one order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from llm_router.adapters.directory_rows import (
    GENESIS,
    ActChain,
    act_hash,
    act_text,
    entry_of,
    read_noun,
    row_of,
)
from llm_router.adapters.postgres.link import FAILURES, Link, Links, Target, unavailable
from llm_router.domain.account import Act, AuditEntry, Noun

READ_S = 2.0
WRITE_S = 5.0
CHECK_S = 3600.0
READ_LINKS = 2

_LOG_LOCK = 0x4C4C4D44
"""The advisory lock under which acts are added."""

_FIND = "SELECT body FROM directory WHERE kind = $1 AND id = $2"
_NAMED = "SELECT body FROM directory WHERE kind = $1 AND name = $2"
_ROWS = (
    "SELECT body FROM directory WHERE kind = $1 AND id > $2 AND ($4::text = '' OR account = $4) "
    "AND ($5::text = '' OR person = $5) ORDER BY id LIMIT $3"
)
_INSERT = "INSERT INTO directory VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING 1"
_UPDATE = (
    "UPDATE directory SET account = $3, person = $4, name = $5, version = $6, expires_ms = $7, body = $8 "
    "WHERE kind = $1 AND id = $2 AND version = $6 - 1 RETURNING 1"
)
_REMOVE = "DELETE FROM directory WHERE kind = $1 AND id = $2 RETURNING 1"
_PURGE = "WITH gone AS (DELETE FROM directory WHERE expires_ms <= $1 RETURNING 1) SELECT count(*) FROM gone"
_LAST_ACT = "SELECT seq, hash FROM acts ORDER BY seq DESC LIMIT 1"
_ADD_ACT = "INSERT INTO acts VALUES ($1, $2, $3, $4, $5)"
_ACTS = (
    "SELECT seq, body, hash FROM acts WHERE ($1::bigint = 0 OR seq < $1) AND ($3::text IS NULL OR account = $3) "
    "ORDER BY seq DESC LIMIT $2"
)
_ALL_ACTS = "SELECT seq, body, hash FROM acts ORDER BY seq"

_T = TypeVar("_T")


class _Refused(Exception):
    """The write does not fit what is stored."""


class PostgresDirectory:
    """Implements the port Directory, on tables that the store has made. Use it in one event loop."""

    def __init__(self, target: Target) -> None:
        self._reads = Links(target, READ_LINKS, READ_S)
        self._writes = Link(target)

    async def close(self) -> None:
        """Let go of the database."""
        await self._reads.close()
        await self._writes.close()

    async def find(self, kind: str, id_: str) -> Noun | None:
        return await self._one(_FIND, kind, id_)

    async def named(self, kind: str, name: str) -> Noun | None:
        return await self._one(_NAMED, kind, name)

    async def rows(
        self, kind: str, *, account: str = "", person: str = "", after: str = "", limit: int = 1000
    ) -> list[Noun]:
        if "\x00" in account + person + after:  # no text of the database has one
            return []
        rows = await self._reads.read(lambda c: c.fetch(_ROWS, kind, after, limit, account, person))
        return [read_noun(row["body"]) for row in rows]

    async def write(self, puts: list[Noun], removes: list[tuple[str, str]], acts: list[Act]) -> bool:
        async def work(connection: asyncpg.Connection) -> bool:
            try:
                async with connection.transaction():
                    await _write(connection, puts, removes)
                    await _log(connection, acts)
            except (_Refused, asyncpg.UniqueViolationError):
                return False
            return True

        return await self._run(work, WRITE_S)

    async def purge(self, now_ms: int) -> int:
        return int(await self._run(lambda c: c.fetchval(_PURGE, now_ms), WRITE_S))

    async def acts(self, account: str | None, before: int, limit: int) -> list[AuditEntry]:
        rows = await self._reads.read(lambda c: c.fetch(_ACTS, before, limit, account))
        return [entry_of(row["seq"], row["body"], row["hash"]) for row in rows]

    async def check_acts(self) -> int:
        async def work(connection: asyncpg.Connection) -> int:
            chain = ActChain()
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                async for row in connection.cursor(_ALL_ACTS, prefetch=1000):
                    chain.check(row["seq"], row["body"], row["hash"])
            return chain.seq

        return await self._run(work, CHECK_S)

    async def _one(self, sql: str, kind: str, name: str) -> Noun | None:
        if "\x00" in name:
            return None
        body = await self._reads.read(lambda c: c.fetchval(sql, kind, name))
        return None if body is None else read_noun(body)

    async def _run(self, work: Callable[[asyncpg.Connection], Awaitable[_T]], timeout_s: float) -> _T:
        """
        Raises:
            LedgerUnavailable: the database did not confirm it.
        """
        try:
            return await self._writes.run(work, timeout_s)
        except FAILURES as error:
            raise unavailable(error) from error


async def _write(connection: asyncpg.Connection, puts: list[Noun], removes: list[tuple[str, str]]) -> None:
    """
    Raises:
        _Refused, asyncpg.UniqueViolationError: it does not fit what is stored.
    """
    for kind, id_ in removes:
        if await connection.fetchval(_REMOVE, kind, id_) is None:
            raise _Refused
    for noun in puts:
        if await connection.fetchval(_INSERT if noun.version == 1 else _UPDATE, *row_of(noun)) is None:
            raise _Refused


async def _log(connection: asyncpg.Connection, acts: list[Act]) -> None:
    if not acts:
        return
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOG_LOCK)
    row = await connection.fetchrow(_LAST_ACT)
    seq, head = (0, GENESIS) if row is None else (row["seq"], row["hash"])
    for act in acts:
        seq += 1
        text = act_text(act)
        head = act_hash(head, seq, text)
        await connection.execute(_ADD_ACT, seq, act.account, act.at_ms, text, head)
