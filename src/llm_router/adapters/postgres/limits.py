"""Limits: read whole, and again when another node changed one."""

from __future__ import annotations

import asyncpg
import msgspec

from llm_router.domain.limit import Limit
from llm_router.limits.rules import LimitBook

FRESH_S = 1.0
"""How long the limits are believed without asking again."""

_SET = "INSERT INTO limits VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET body = $2"
_REMOVE = "DELETE FROM limits WHERE id = $1 RETURNING body"

_decoder = msgspec.json.Decoder(Limit)


async def load(connection: asyncpg.Connection) -> LimitBook:
    """All limits of the store."""
    return LimitBook(_decoder.decode(body) for (body,) in await connection.fetch("SELECT body FROM limits"))


async def put(connection: asyncpg.Connection, limit: Limit) -> None:
    await connection.execute(_SET, limit.id, msgspec.json.encode(limit).decode())


async def remove(connection: asyncpg.Connection, limit_id: str) -> Limit | None:
    body = await connection.fetchval(_REMOVE, limit_id)
    return None if body is None else _decoder.decode(body)
