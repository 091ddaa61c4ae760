"""Power cuts: what the store writes is recorded write by write, and files are made as a cut could leave them.

SQLite writes through a VFS of ours (apsw) that notes every write, truncation and sync. At any point of that
log a disk may hold what was synced, and of the rest nothing, all, a beginning, some of it, or torn pieces
of 512 bytes. Each such image is opened by the store's own code for a start, and audited.

What it covers: the store's statements, batches, settings and checkpoints, in SQLite's own order of writes and
syncs. What it does not: the shared-memory index of the log (the one connection locks the file, which
apsw's VFS asks for; SQLite makes it anew at every start), and disks that lie about syncs or forget that a
file was deleted. The journal in front of the tables is recorded in the same order, by its own writes and syncs.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
from sim_disk import Disk, SimWriter
from store_cases import FixedClock, record
from virtual import VirtualLoop

from llm_router.adapters.sqlite import journal_file, schema, store, writer
from llm_router.adapters.sqlite.boot import audit, boot
from llm_router.adapters.sqlite.journal_file import JournalFile
from llm_router.adapters.sqlite.journaling import replay
from llm_router.adapters.sqlite.writer import _checkpoint
from llm_router.domain.budget import Payer
from llm_router.domain.errors import InsufficientCredits

SECTOR = 512
ACME = Payer(account="acme", key="key_1")
VFS = "recorded"
MOVES = "moves"
"""The journal, among the files."""

JOURNAL_BYTES = 32_768


@dataclass
class Recording:
    """What reached the disk, in order, between what was acknowledged.

    ``events``: ("write", file, offset, data), ("cut", file, size, b""), ("sync", file, 0, b""), and
    ("held" | "settled" | "credited", id, amount, b"").
    """

    events: list[tuple[str, str, int, bytes]] = field(default_factory=list)

    def note(self, what: str, where: str, number: int = 0, data: bytes = b"") -> None:
        self.events.append((what, where, number, data))


def _kind(path: str) -> str:
    """Which of the store's files: the database, its log, or the journal of its first transaction."""
    return next((kind for kind in ("wal", "journal") if path.endswith(f"-{kind}")), "db")


class _File(apsw.VFSFile):
    def __init__(self, recording: Recording, filename: Any, flags: list[int]) -> None:
        self._recording = recording
        self._name = _kind(filename.filename() if isinstance(filename, apsw.URIFilename) else filename)
        super().__init__("", filename, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        super().xWrite(data, offset)
        self._recording.note("write", self._name, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._recording.note("cut", self._name, newsize)

    def xSync(self, flags: int) -> None:
        self._recording.note("sync", self._name)


class _Vfs(apsw.VFS):
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        super().__init__(VFS, "")

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._recording.note("cut", _kind(filename), 0)
        self._recording.note("sync", _kind(filename))

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _File(self._recording, name, flags)


class _Os:
    """The system as the journal's file knows it; what it writes is noted."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        self._recording.note("write", MOVES, offset, bytes(data))
        return os.pwrite(descriptor, data, offset)

    def posix_fallocate(self, descriptor: int, offset: int, size: int) -> None:
        self._recording.note("write", MOVES, offset, bytes(size))
        self._recording.note("sync", MOVES)
        os.posix_fallocate(descriptor, offset, size)

    def fdatasync(self, descriptor: int) -> None:
        self._recording.note("sync", MOVES)


class _Cursor:
    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        self._rows = list(rows)
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def fetchall(self) -> list[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return self._rows[0] if self._rows else None


class _Connection:
    """An apsw connection with what the store uses of the standard library's."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path), vfs=VFS)
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        for pragma in schema.PRAGMAS:
            self._db.execute(pragma)

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, sql: str, values: Sequence[Any] = ()) -> _Cursor:
        before = self._db.total_changes()
        rows = self._db.execute(sql, tuple(values) or None).fetchall()
        return _Cursor(rows, self._db.total_changes() - before)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> _Cursor:
        before = self._db.total_changes()
        self._db.executemany(sql, [tuple(row) for row in rows])
        return _Cursor((), self._db.total_changes() - before)

    def executescript(self, sql: str) -> None:
        self._db.execute(sql)

    def close(self) -> None:
        self._db.close()


class _World:
    """As much of a simulation as its disk asks for."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.loop = VirtualLoop(lambda: 0.0003)
        self.writer: Any = None

    def committed(self, connection: Any) -> None:
        if self.dice.random() < 0.06:
            _checkpoint(connection)

    def crash(self, why: str) -> None:
        raise AssertionError(why)


@contextmanager
def _recorded(disk: Disk, recording: Recording) -> Iterator[None]:
    vfs = _Vfs(recording)
    opened: list[_Connection] = []

    def connect(path: Path, *, read_only: bool = False) -> _Connection:
        if not opened:
            opened.append(_Connection(path))
        return opened[0]

    with (
        mock.patch.object(SimWriter, "disk", disk, create=True),
        mock.patch.object(store, "Writer", SimWriter),
        mock.patch.object(store, "connect", connect),
        mock.patch.object(journal_file, "JOURNAL_BYTES", JOURNAL_BYTES),
        mock.patch.object(journal_file, "os", _Os(recording)),
        mock.patch.object(writer, "JOURNALED_MAX", 24),
    ):
        try:
            yield
        finally:
            vfs.unregister()


def record_load(folder: Path, seed: int, requests: int) -> Recording:
    """Have a store hold, settle and credit for many at once; return all that it wrote."""
    world, recording = _World(seed), Recording()
    disk = Disk(world)  # type: ignore[arg-type]

    async def client(books: Any, number: int) -> None:
        dice = random.Random(f"{seed}-{number}")
        await asyncio.sleep(dice.random())
        id_ = f"e{number}"
        try:
            await books.hold(id_, ACME, 1000, "v1", 1)
        except InsufficientCredits:
            return
        recording.note("held", id_)
        await asyncio.sleep(dice.choice((0.0, 0.01, 0.2)))
        if dice.random() < 0.1:
            return  # one that dies with the process
        cost = dice.choice((0, 1, 999, 1000))
        await books.settle(record(id_, cost, error_message="x" * dice.randrange(3000)))
        recording.note("settled", id_, cost)
        if dice.random() < 0.05:
            await books.credit("acme", 777, f"c{number}", "", 1)
            recording.note("credited", f"c{number}", 777)

    async def main() -> None:
        books = await store.SqliteStore.open(folder / "books.db", clock=FixedClock())
        await books.credit("acme", 10**9, "start", "", 1)
        recording.note("credited", "start", 10**9)
        await asyncio.gather(*(client(books, number) for number in range(requests)))
        await books.close()

    asyncio.set_event_loop(world.loop)
    try:
        with _recorded(disk, recording):
            world.loop.run_until_complete(main())
    finally:
        asyncio.set_event_loop(None)
        world.loop.close()
    return recording


class _Platter:
    """One file: what is surely on the disk, and what may be."""

    def __init__(self) -> None:
        self.safe = bytearray()
        self.pending: list[tuple[str, int, bytes]] = []

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.safe, *change)
        self.pending.clear()

    def image(self, dice: random.Random) -> bytes:
        """What a cut now may leave."""
        data, pending = bytearray(self.safe), self.pending
        how = dice.choice(("nothing", "all", "beginning", "some", "torn", "torn"))
        if how == "nothing":
            return bytes(data)
        if how == "beginning":
            pending = pending[: dice.randrange(len(pending) + 1)]
        for change in pending:
            if how == "some" and dice.random() < 0.5:
                continue
            if how == "torn" and change[0] == "write" and dice.random() < 0.5:
                _tear(data, change, dice)
            else:
                _apply(data, *change)
        return bytes(data)


def _apply(data: bytearray, what: str, number: int, written: bytes) -> None:
    if what == "cut":
        del data[number:]
        return
    if len(data) < number:
        data.extend(bytes(number - len(data)))
    data[number : number + len(written)] = written


def _tear(data: bytearray, change: tuple[str, int, bytes], dice: random.Random) -> None:
    _, offset, written = change
    for at in range(0, len(written), SECTOR):
        if dice.random() < 0.5:
            _apply(data, "write", offset + at, written[at : at + SECTOR])


def cuts(recording: Recording, images: int, seed: int) -> Iterator[tuple[dict[str, bytes], dict[str, Any]]]:
    """So many images of cuts at random points, each with what had been acknowledged until then."""
    dice = random.Random(seed)
    points = sorted(dice.randrange(len(recording.events) + 1) for _ in range(images))
    platters = {name: _Platter() for name in ("db", "wal", "journal", MOVES)}
    told: dict[str, Any] = {"held": {}, "settled": {}, "credited": {}}
    at = 0
    for point in points:
        for what, where, number, data in recording.events[at:point]:
            if what in told:
                told[what][where] = number
            elif what == "sync":
                platters[where].sync()
            else:
                platters[where].pending.append((what, number, data))
        at = point
        yield {name: platter.image(dice) for name, platter in platters.items()}, told


def check_image(folder: Path, files: dict[str, bytes], told: dict[str, Any]) -> int:
    """Start on an image, and audit it; return how many acknowledgements it kept.

    Raises:
        AssertionError: an acknowledged one is lost. StoreCorrupt: the books do not add up.
    """
    path = folder / "books.db"
    path.write_bytes(files["db"])
    path.with_name("books.db-wal").write_bytes(files["wal"])
    path.with_name("books.db-journal").write_bytes(files["journal"])
    path.with_name("books.db-shm").unlink(missing_ok=True)
    moves = path.with_name("books.db.journal")
    moves.write_bytes(files[MOVES])
    with (
        mock.patch.object(journal_file, "JOURNAL_BYTES", JOURNAL_BYTES),
        closing(JournalFile(moves)) as file,
        closing(schema.connect(path)) as connection,
    ):
        schema.prepare(connection, path)
        replay(connection, file, path)
        boot(connection, 2)
        audit(connection)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "the file is corrupt"
        costs = dict(connection.execute("SELECT id, cost FROM exchanges"))
        holds = {id_ for (id_,) in connection.execute("SELECT exchange_id FROM holds")}
        entries = dict(connection.execute("SELECT ref, amount FROM entries"))
    for id_, cost in told["settled"].items():
        assert costs.get(id_) == cost, f"the settlement of {id_} is lost"
        assert entries.get(f"use:{id_}", 0) == -cost
    for id_ in told["held"]:
        assert id_ in holds or id_ in costs, f"the hold of {id_} is lost"
    for ref, amount in told["credited"].items():
        assert entries.get(f"credit:{ref}") == amount, f"the credit {ref} is lost"
    return sum(map(len, told.values()))


def power(images: int, seed: int = 1, requests: int = 400, images_a_load: int = 100) -> dict[str, int]:
    """
    Raises:
        AssertionError, StoreCorrupt: of the first image that lost something.
    """
    done = kept = writes = 0
    while done < images:
        with tempfile.TemporaryDirectory(prefix="power-", dir=_memory()) as name:
            folder = Path(name)
            (folder / "load").mkdir()
            recording = record_load(folder / "load", seed + done, requests)
            writes += sum(event[0] == "write" for event in recording.events)
            for files, told in cuts(recording, min(images_a_load, images - done), seed + done):
                kept += check_image(folder, files, told)
                done += 1
    return {
        "images": done,
        "writes recorded": writes,
        "acknowledgements checked": kept,
        "lost": 0,
        "corrupt": 0,
    }


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
