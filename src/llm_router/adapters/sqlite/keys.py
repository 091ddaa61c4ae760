"""API keys: read through a bounded cache, so that a million of them cost no memory."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict

import msgspec

from llm_router.domain.key import Key, until

CACHE_MAX = 100_000
"""Keys remembered; some 1 kB each."""

CREATE = "INSERT INTO keys (id, digest, account, created_ms, revoked_ms, body) VALUES (?, ?, ?, ?, ?, ?)"
REVOKE = "UPDATE keys SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL"
CHANGE = "UPDATE keys SET body = ?, version = ? WHERE id = ? AND version = ? AND account = ?"
ROTATE = (
    "UPDATE keys SET body = ?1, version = ?2, digest = ?3, old_until_ms = ?4, "
    "old_digest = CASE WHEN ?4 IS NULL THEN NULL ELSE digest END "
    "WHERE id = ?5 AND version = ?6 AND account = ?7"
)
_BY_DIGEST = "SELECT body, revoked_ms FROM keys WHERE digest = ?"
_BY_OLD = "SELECT body, revoked_ms FROM keys WHERE old_digest = ?"
_BY_ID = "SELECT body, revoked_ms, digest, old_digest FROM keys WHERE id = ?"
_OF_ACCOUNT = "SELECT body, revoked_ms FROM keys WHERE account = ?1 ORDER BY created_ms, id LIMIT ?3"
_BEHIND = (
    "SELECT body, revoked_ms FROM keys WHERE account = ?1 AND (created_ms, id) > "
    "(SELECT created_ms, id FROM keys WHERE id = ?2 AND account = ?1) ORDER BY created_ms, id LIMIT ?3"
)
_SOME = "SELECT body, revoked_ms FROM keys LIMIT ?"
_COUNT = "SELECT count(*) FROM keys WHERE account = ?"
_ALL = "SELECT body, revoked_ms FROM keys ORDER BY created_ms, id"

_decoder = msgspec.json.Decoder(Key)


def key_values(key: Key, digest: bytes) -> tuple[object, ...]:
    body = msgspec.json.encode(key).decode()
    return (key.id, digest, key.account, key.created_ms, key.revoked_ms, body)


def read_key(connection: sqlite3.Connection, digest: bytes) -> Key | None:
    """The key with that text, or that had it before and still may be used by it: it ends with that time."""
    row = connection.execute(_BY_DIGEST, (digest,)).fetchone()
    if row is not None:
        return _key(row[0], row[1])
    row = connection.execute(_BY_OLD, (digest,)).fetchone()
    return None if row is None else until(_key(*row))


def read_key_by_id(connection: sqlite3.Connection, key_id: str) -> tuple[Key, tuple[bytes, ...]] | None:
    """The key and the digests of its texts."""
    row = connection.execute(_BY_ID, (key_id,)).fetchone()
    return None if row is None else (_key(row[0], row[1]), tuple(d for d in row[2:] if d is not None))


def read_keys_of(connection: sqlite3.Connection, account: str, after: str, limit: int) -> list[Key]:
    return [
        _key(*row) for row in connection.execute(_BEHIND if after else _OF_ACCOUNT, (account, after, limit))
    ]


def change_values(key: Key) -> tuple[object, ...]:
    body = msgspec.json.encode(key).decode()
    return (body, key.version, key.id, key.version - 1, key.account)


def rotate_values(key: Key, digest: bytes) -> tuple[object, ...]:
    body, version, id_, before, account = change_values(key)
    return (body, version, digest, key.old_until_ms, id_, before, account)


def read_keys(connection: sqlite3.Connection) -> list[Key]:
    return [_key(body, revoked_ms) for body, revoked_ms in connection.execute(_ALL)]


def read_some(connection: sqlite3.Connection, limit: int) -> list[Key]:
    return [_key(*row) for row in connection.execute(_SOME, (limit,))]


def count_keys(connection: sqlite3.Connection, account: str) -> int:
    return int(connection.execute(_COUNT, (account,)).fetchone()[0])


def _key(body: str, revoked_ms: int | None) -> Key:
    return msgspec.structs.replace(_decoder.decode(body), revoked_ms=revoked_ms)


class KeyCache:
    """The keys used last. Unknown digests are not remembered: guesses must not push out real keys.

    ``version`` changes with every change of a stored key, so that a read that began before a
    revocation is not put into the cache after it.
    """

    def __init__(self, size: int = CACHE_MAX) -> None:
        self._size = size
        self._keys: OrderedDict[bytes, Key] = OrderedDict()
        self.version = 0

    def get(self, digest: bytes) -> Key | None:
        key = self._keys.get(digest)
        if key is not None:
            self._keys.move_to_end(digest)
        return key

    def put(self, digest: bytes, key: Key) -> None:
        self._keys[digest] = key
        self._keys.move_to_end(digest)
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)

    def forget(self, digest: bytes) -> None:
        """A stored key changed."""
        self.version += 1
        self._keys.pop(digest, None)

    def clear(self) -> None:
        """Any stored key may have changed."""
        self.version += 1
        self._keys.clear()
