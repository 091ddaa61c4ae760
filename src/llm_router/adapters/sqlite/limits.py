"""Limits in the SQLite store: one row each, read whole at the start."""

from __future__ import annotations

import sqlite3

import msgspec

from llm_router.domain.limit import Limit
from llm_router.limits.rules import LimitBook

SET = "INSERT OR REPLACE INTO limits VALUES (?, ?)"
REMOVE = "DELETE FROM limits WHERE id = ?"

_decoder = msgspec.json.Decoder(Limit)


def load(connection: sqlite3.Connection) -> LimitBook:
    """All limits of the store."""
    return LimitBook(_decoder.decode(body) for (body,) in connection.execute("SELECT body FROM limits"))


def row(limit: Limit) -> tuple[str, str]:
    return limit.id, msgspec.json.encode(limit).decode()
