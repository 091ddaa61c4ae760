"""API keys: read through a small cache that all nodes tell each other to forget from."""

from __future__ import annotations

from collections import OrderedDict

import asyncpg
import msgspec

from llm_router.domain.key import Key

CHANNEL = "llm_router_keys"
"""Where a node that revokes a key says so."""

CACHE_MAX = 100_000

FRESH_S = 1.0
"""How long a key is believed without asking again, should a word of its revocation be lost."""

_CREATE = (
    "INSERT INTO keys (id, digest, account, created_ms, revoked_ms, body) VALUES ($1, $2, $3, $4, $5, $6)"
)
_REVOKE = (
    "WITH revoked AS (UPDATE keys SET revoked_ms = $1 WHERE id = $2 AND revoked_ms IS NULL RETURNING digest) "
    "SELECT pg_notify($3, encode(digest, 'hex')) FROM revoked"
)
_BY_DIGEST = "SELECT body, revoked_ms FROM keys WHERE digest = $1"
_BY_ID = "SELECT body, revoked_ms, digest FROM keys WHERE id = $1"
_ALL = "SELECT body, revoked_ms FROM keys ORDER BY created_ms, id"

_decoder = msgspec.json.Decoder(Key)


def _key(row: asyncpg.Record) -> Key:
    return msgspec.structs.replace(_decoder.decode(row["body"]), revoked_ms=row["revoked_ms"])


async def create(connection: asyncpg.Connection, key: Key, digest: bytes) -> None:
    """
    Raises:
        ValueError: its id or digest exists already.
    """
    body = msgspec.json.encode(key).decode()
    try:
        await connection.execute(_CREATE, key.id, digest, key.account, key.created_ms, key.revoked_ms, body)
    except asyncpg.UniqueViolationError as error:
        raise ValueError(f"key {key.id} exists already") from error


async def revoke(connection: asyncpg.Connection, key_id: str, now_ms: int) -> tuple[Key, bytes] | None:
    """Revoke, tell all nodes, and return the key as it is then with its digest; None if there is none."""
    await connection.execute(_REVOKE, now_ms, key_id, CHANNEL)
    row = await connection.fetchrow(_BY_ID, key_id)
    return None if row is None else (_key(row), row["digest"])


async def read_one(connection: asyncpg.Connection, digest: bytes) -> Key | None:
    row = await connection.fetchrow(_BY_DIGEST, digest)
    return None if row is None else _key(row)


async def read_all(connection: asyncpg.Connection) -> list[Key]:
    return [_key(row) for row in await connection.fetch(_ALL)]


class KeyCache:
    """The keys used last, each for a moment; none while this node cannot hear of revocations.

    Attributes:
        version: changes with whatever is forgotten, so that a read that began before is not kept after.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, tuple[float, Key]] = OrderedDict()
        self._hearing = False
        self.version = 0

    def get(self, digest: bytes, now_s: float) -> Key | None:
        found = self._keys.get(digest)
        return found[1] if found is not None and now_s < found[0] else None

    def put(self, digest: bytes, key: Key, now_s: float) -> None:
        if self._hearing:
            self._keys[digest] = (now_s + FRESH_S, key)
            self._keys.move_to_end(digest)
            if len(self._keys) > CACHE_MAX:
                self._keys.popitem(last=False)

    def forget(self, digest: bytes) -> None:
        self._keys.pop(digest, None)
        self.version += 1

    def hear(self, hearing: bool) -> None:
        """Begin anew: revocations are heard of from now on, or not any more."""
        self._keys.clear()
        self._hearing = hearing
        self.version += 1
