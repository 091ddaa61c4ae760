"""API keys: read through a small cache that all nodes tell each other to forget from."""

from __future__ import annotations

from collections import OrderedDict

import asyncpg
import msgspec

from llm_router.domain.key import Key, until

CHANNEL = "llm_router_keys"
"""Where a node that revokes a key says so."""

CACHE_MAX = 100_000

FRESH_S = 1.0
"""How long a key is believed without asking again, should a word of its revocation be lost."""

_CREATE = (
    "INSERT INTO keys (id, digest, account, created_ms, revoked_ms, body) VALUES ($1, $2, $3, $4, $5, $6)"
)
_REVOKE = "UPDATE keys SET revoked_ms = $1 WHERE id = $2 AND revoked_ms IS NULL"
_CHANGE = (
    "UPDATE keys SET body = $1, version = $2 WHERE id = $3 AND version = $2 - 1 AND account = $4 RETURNING id"
)
_ROTATE = (
    "UPDATE keys SET body = $1, version = $2, digest = $5, old_until_ms = $6, "
    "old_digest = CASE WHEN $6::bigint IS NULL THEN NULL ELSE digest END "
    "WHERE id = $3 AND version = $2 - 1 AND account = $4 RETURNING id"
)
_TELL = "SELECT pg_notify($1, encode(digest, 'hex')) FROM unnest($2::bytea[]) digest"
_BY_DIGEST = "SELECT body, revoked_ms FROM keys WHERE digest = $1"
_BY_OLD = "SELECT body, revoked_ms FROM keys WHERE old_digest = $1"
_BY_ID = "SELECT body, revoked_ms, digest, old_digest FROM keys WHERE id = $1"
_OF_ACCOUNT = (
    "SELECT body, revoked_ms FROM keys WHERE account = $1 AND ($2::text = '' OR (created_ms, id) > "
    "(SELECT created_ms, id FROM keys WHERE id = $2 AND account = $1)) ORDER BY created_ms, id LIMIT $3"
)
_SOME = "SELECT body, revoked_ms FROM keys LIMIT $1"
_COUNT = "SELECT count(*) FROM keys WHERE account = $1"
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


async def revoke(
    connection: asyncpg.Connection, key_id: str, now_ms: int
) -> tuple[Key, tuple[bytes, ...]] | None:
    """Revoke, tell all nodes, and return the key as it is then with its digests; None if there is none."""
    async with connection.transaction():
        await connection.execute(_REVOKE, now_ms, key_id)
        row = await connection.fetchrow(_BY_ID, key_id)
        if row is None:
            return None
        digests = _digests(row)
        await connection.execute(_TELL, CHANNEL, digests)
    return _key(row), digests


async def rewrite(
    connection: asyncpg.Connection, key: Key, digest: bytes | None
) -> tuple[bool, tuple[bytes, ...]]:
    """Write a key of the next version, with another text if one is given, and tell all nodes. Return whether
    it was written, and the digests that it had.

    Raises:
        ValueError: another key has that digest.
    """
    values = (msgspec.json.encode(key).decode(), key.version, key.id, key.account)
    try:
        async with connection.transaction():
            row = await connection.fetchrow(_BY_ID + " FOR UPDATE", key.id)
            if row is None:
                return False, ()
            if digest is None:
                written = await connection.fetchval(_CHANGE, *values)
            else:
                written = await connection.fetchval(_ROTATE, *values, digest, key.old_until_ms)
            await connection.execute(_TELL, CHANNEL, _digests(row))
    except asyncpg.UniqueViolationError as error:
        raise ValueError(f"key {key.id} cannot have the text of another") from error
    return written is not None, _digests(row)


def _digests(row: asyncpg.Record) -> tuple[bytes, ...]:
    return tuple(d for d in (row["digest"], row["old_digest"]) if d is not None)


async def get(connection: asyncpg.Connection, key_id: str) -> Key | None:
    row = None if "\x00" in key_id else await connection.fetchrow(_BY_ID, key_id)
    return None if row is None else _key(row)


async def read_of(connection: asyncpg.Connection, account: str, after: str, limit: int) -> list[Key]:
    if "\x00" in account + after:
        return []
    return [_key(row) for row in await connection.fetch(_OF_ACCOUNT, account, after, limit)]


async def read_some(connection: asyncpg.Connection, limit: int) -> list[Key]:
    return [_key(row) for row in await connection.fetch(_SOME, limit)]


async def count(connection: asyncpg.Connection, account: str) -> int:
    return 0 if "\x00" in account else int(await connection.fetchval(_COUNT, account))


async def read_one(connection: asyncpg.Connection, digest: bytes) -> Key | None:
    """The key with that text, or that had it before and still may be used by it: it ends with that time."""
    row = await connection.fetchrow(_BY_DIGEST, digest)
    if row is not None:
        return _key(row)
    row = await connection.fetchrow(_BY_OLD, digest)
    return None if row is None else until(_key(row))


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
