"""The side-car in a SQLite file of its own, beside the store.

What it holds is convenience, not money: rows are written behind, by one thread, without a sync for
each commit, and whatever goes wrong with the file costs kept state and nothing else. Which keys are
held is known in memory, so that a question for what was never kept costs no read.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from llm_router.adapters.installation import installation_secret
from llm_router.adapters.memory.side_car import GONE_MAX, Entry, Shelf
from llm_router.adapters.sealing import Sealer
from llm_router.adapters.sqlite.schema import create_file
from llm_router.domain.errors import ServerError
from llm_router.ports import Clock

SIDE_CAR_NAME = "side-car.db"
SCHEMA_VERSION = 1

HOT_BYTES_MAX = 8 * 1024 * 1024
"""Sealed values kept in memory: the next turn of a conversation comes soon after the last one."""

PENDING_BYTES_MAX = 32 * 1024 * 1024
"""Values that wait for the disk; while it stands still, later ones are not kept."""

_DDL = f"""
CREATE TABLE kept (
    number INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    owner BLOB NOT NULL,
    target BLOB, -- of a further name: the key of the value
    value BLOB, -- sealed
    size INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX kept_owner ON kept (owner);
CREATE TABLE gone (
    number INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE
) STRICT;
PRAGMA user_version = {SCHEMA_VERSION};
"""
_INSERT = (
    "INSERT OR REPLACE INTO kept (key, owner, target, value, size, expires_ms) VALUES (?, ?, ?, ?, ?, ?)"
)

_Row = tuple[bytes, bytes, bytes | None, bytes | None, int, int]


class _Work(msgspec.Struct, kw_only=True):
    """What waits to be written."""

    rows: dict[bytes, _Row] = msgspec.field(default_factory=dict)
    gone: dict[bytes, None] = msgspec.field(default_factory=dict)
    owners: dict[bytes, None] = msgspec.field(default_factory=dict)


class SqliteSideCar:
    """Implements the port SideCar. Make one with :meth:`open`; use it in one event loop."""

    def __init__(self, path: Path, sealer: Sealer, *, bytes_max: int, ttl_ms: int, now_ms: int) -> None:
        """Open the file and read which keys it holds. Blocks; use :meth:`open` instead."""
        self._sealer = sealer
        self._ttl_ms = ttl_ms
        self._shelf = Shelf(bytes_max)
        self._hot: OrderedDict[bytes, bytes] = OrderedDict()
        self._hot_bytes = 0
        self._work = _Work()
        self._writing = _Work()
        self._pending_bytes = 0
        self._flush: asyncio.Future[None] | None = None
        self._closed = False
        self._connection = _connect(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="side-car")
        self._read_index(now_ms)

    @classmethod
    async def open(
        cls, path: Path, sealer: Sealer, *, bytes_max: int, ttl_ms: int, clock: Clock
    ) -> SqliteSideCar:
        """Open the file at ``path``. One that cannot be read is begun anew: it holds nothing that must last.

        Raises:
            OSError, sqlite3.Error: no file can be made there.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            None, lambda: cls(path, sealer, bytes_max=bytes_max, ttl_ms=ttl_ms, now_ms=clock.now_ms())
        )

    @classmethod
    async def of_folder(cls, folder: Path, *, bytes_max: int, ttl_s: int, clock: Clock) -> SqliteSideCar:
        """The side-car of a data folder, sealed with the secret of its installation.

        Raises:
            ServerError: the secret or the file cannot be used.
        """
        sealer = Sealer(installation_secret(folder), "side-car")
        path = folder / SIDE_CAR_NAME
        try:
            return await cls.open(path, sealer, bytes_max=bytes_max, ttl_ms=ttl_s * 1000, clock=clock)
        except (OSError, sqlite3.Error) as error:
            raise ServerError(f"the file {path} cannot be used ({error})", code="data_dir_unusable") from None

    def owns(self, account: str) -> bool:
        return self._shelf.owns(self._sealer.owner(account))

    def put(self, account: str, names: Sequence[bytes], value: bytes, now_ms: int) -> None:
        if self._closed or self._pending_bytes + len(value) > PENDING_BYTES_MAX:
            return
        owner, expires_ms = self._sealer.owner(account), now_ms + self._ttl_ms
        first, *others = (self._sealer.key(account, name) for name in names)
        sealed = self._sealer.seal(account, first, value)
        self._add(first, (first, owner, None, sealed, len(sealed), expires_ms), now_ms)
        for other in others:
            self._add(other, (other, owner, first, None, 0, expires_ms), now_ms)
        self._warm(first, sealed)
        self._begin_flush()

    async def get(self, account: str, names: Sequence[bytes], now_ms: int) -> dict[bytes, bytes | None]:
        places: dict[bytes, tuple[bytes, bool]] = {}
        for name in names:
            place = self._shelf.find(self._sealer.key(account, name), now_ms)
            if place is not None:
                places[name] = place
        wanted = {key for key, held in places.values() if held}
        sealed = {key: value for key in wanted if (value := self._near(key)) is not None}
        missing = [key for key in wanted if key not in sealed]
        if missing and not self._closed:
            loop = asyncio.get_running_loop()
            sealed |= await loop.run_in_executor(self._thread, self._read, missing)
        found: dict[bytes, bytes | None] = {}
        for name, (key, held) in places.items():
            value = sealed.get(key) if held else None
            found[name] = None if value is None else self._sealer.open(account, key, value)
        return found

    async def forget(self, account: str) -> None:
        owner = self._sealer.owner(account)
        for key in self._shelf.forget(owner):
            self._cool(key)
            self._unqueue(key)
        self._work.owners[owner] = None
        self._begin_flush()
        await self._flushing()
        if owner in self._work.owners:
            raise ServerError("The side-car's file cannot be written: the account's rows are still in it.")

    async def close(self) -> None:
        """Write what is waiting, then let go of the file."""
        if self._closed:
            return
        self._closed = True
        await self._flushing()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    # in the event loop

    def _add(self, key: bytes, row: _Row, now_ms: int) -> None:
        _, owner, target, _, size, expires_ms = row
        entry = Entry(owner=owner, size=size, expires_ms=expires_ms, target=target)
        self._unqueue(key)
        self._work.gone.pop(key, None)
        self._work.rows[key] = row
        self._pending_bytes += size
        for left in self._shelf.add(key, entry, now_ms):
            self._cool(left)
            self._unqueue(left)
            self._work.gone[left] = None

    def _unqueue(self, key: bytes) -> None:
        row = self._work.rows.pop(key, None)
        if row is not None:
            self._pending_bytes -= row[4]

    def _near(self, key: bytes) -> bytes | None:
        """The sealed value if it is in memory."""
        if key in self._hot:
            self._hot.move_to_end(key)
            return self._hot[key]
        row = self._work.rows.get(key) or self._writing.rows.get(key)
        return None if row is None else row[3]

    def _warm(self, key: bytes, sealed: bytes) -> None:
        self._cool(key)
        self._hot[key] = sealed
        self._hot_bytes += len(sealed)
        while self._hot_bytes > HOT_BYTES_MAX:
            self._hot_bytes -= len(self._hot.popitem(last=False)[1])

    def _cool(self, key: bytes) -> None:
        sealed = self._hot.pop(key, None)
        if sealed is not None:
            self._hot_bytes -= len(sealed)

    async def _flushing(self) -> None:
        while self._flush is not None:
            await asyncio.wait((self._flush,))

    def _begin_flush(self) -> None:
        if self._flush is None:
            self._writing, self._work = self._work, _Work()
            loop = asyncio.get_running_loop()
            self._flush = loop.run_in_executor(self._thread, self._write, self._writing)
            self._flush.add_done_callback(self._flushed)

    def _flushed(self, done: asyncio.Future[None]) -> None:
        written, failed = self._writing, done.exception() is not None
        self._writing, self._flush = _Work(), None
        self._pending_bytes -= sum(row[4] for row in written.rows.values())
        if failed:  # the values live on as long as they are in memory; what is to go is tried again
            for key in written.rows:
                if key not in self._hot and key not in self._work.rows:
                    self._shelf.lose(key)
            self._work.gone = {**written.gone, **self._work.gone}
            self._work.owners |= written.owners
        elif self._work.rows or self._work.gone or self._work.owners:
            self._begin_flush()

    # in the thread of the file

    def _write(self, work: _Work) -> None:
        connection = self._connection
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("DELETE FROM kept WHERE owner = ?", [(owner,) for owner in work.owners])
            connection.executemany(_INSERT, list(work.rows.values()))
            connection.executemany("DELETE FROM gone WHERE key = ?", [(key,) for key in work.rows])
            connection.executemany("DELETE FROM kept WHERE key = ?", [(key,) for key in work.gone])
            connection.executemany("INSERT OR REPLACE INTO gone (key) VALUES (?)", [(k,) for k in work.gone])
            if work.gone:
                connection.execute(
                    "DELETE FROM gone WHERE number <= (SELECT max(number) FROM gone) - ?", (GONE_MAX,)
                )

    def _read(self, keys: list[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        try:
            for key in keys:
                row = self._connection.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
                if row is not None and row[0] is not None:
                    found[key] = row[0]
        except sqlite3.Error:  # what cannot be read is lost, and the request goes on without it
            pass
        return found

    def _read_index(self, now_ms: int) -> None:
        rows = self._connection.execute(
            "SELECT key, owner, target, size, expires_ms FROM kept ORDER BY number"
        )
        left: list[bytes] = []
        for key, owner, target, size, expires_ms in rows:
            entry = Entry(owner=owner, size=size, expires_ms=expires_ms, target=target)
            left += self._shelf.add(key, entry, now_ms)
        for (key,) in self._connection.execute("SELECT key FROM gone ORDER BY number"):
            self._shelf.mark_gone(key)
        if left:
            self._write(_Work(gone=dict.fromkeys(left)))


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return _prepared(path)
    except sqlite3.DatabaseError:  # damaged, or of another version
        for name in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            name.unlink(missing_ok=True)
        return _prepared(path)


def _prepared(path: Path) -> sqlite3.Connection:
    create_file(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {_DDL} COMMIT;")
        elif version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError("of another version")
        connection.execute("SELECT count(*) FROM kept").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
