"""The disk of a simulated gateway: the real store and its real writer, without threads, with faults."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from llm_router.adapters.sqlite import journal_file, store
from llm_router.adapters.sqlite.rows import Op
from llm_router.adapters.sqlite.writer import Writer
from llm_router.domain.errors import LedgerUnavailable

if TYPE_CHECKING:
    from simulation import Simulation

FULL, EIO, SYNC = "full", "eio", "sync"
_ERRORS = {
    FULL: ("database or disk is full", sqlite3.SQLITE_FULL),
    EIO: ("disk I/O error", sqlite3.SQLITE_IOERR_WRITE),
    SYNC: ("disk I/O error", sqlite3.SQLITE_IOERR_FSYNC),
}


def failure(kind: str) -> sqlite3.OperationalError:
    """What SQLite raises."""
    words, code = _ERRORS[kind]
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = code
    return error


class PowerCut(BaseException):
    """The process ends at once."""


class Disk:
    """What the disk does now. ``mode``: None, or the fault that every write meets.

    Attributes:
        commits: of the tables, and syncs: of the journal: how many were made.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.mode: str | None = None
        self.commits = 0
        self.syncs = 0

    def check(self, sql: str) -> None:
        """Raise what a statement meets."""
        word = sql.split(None, 1)[0].upper()
        if self.mode is None or word not in ("INSERT", "UPDATE", "DELETE", "COMMIT"):
            return
        if self.mode == FULL or (self.mode == EIO and self.simulation.dice.random() < 0.7):
            raise failure(self.mode)
        if self.mode == SYNC and word == "COMMIT":
            raise failure(SYNC)

    def sync(self, descriptor: int) -> None:
        """The sync of the journal."""
        if self.mode == SYNC:
            raise OSError("Input/output error")
        self.syncs += 1

    def commit_s(self) -> float:
        """How long a commit takes."""
        dice = self.simulation.dice
        return dice.choice((0.0005, 0.001, 0.002, 0.02)) if dice.random() < 0.98 else 0.8


class _Faulty:
    """A connection to that disk."""

    def __init__(self, connection: sqlite3.Connection, disk: Disk) -> None:
        self._connection = connection
        self._disk = disk

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        self._disk.check(sql)
        if sql == "COMMIT":
            self._disk.commits += 1
        return self._connection.execute(sql, values)

    def executemany(self, sql: str, values: Any) -> sqlite3.Cursor:
        self._disk.check(sql)
        return self._connection.executemany(sql, values)

    def close(self) -> None:
        self._connection.close()


class SimWriter(Writer):
    """The writer, called by timers in place of a thread."""

    disk: Disk  # set for the time of a simulation

    def __init__(self, **parts: Any) -> None:
        self.plain = parts["connection"]
        self.journal = parts["file"]
        self._telling = parts["deliver"]
        self._told: set[int] = set()  # of the batch under way
        parts["connection"] = _Faulty(self.plain, self.disk)
        parts["deliver"] = self._tell
        super().__init__(**parts, die=self._cut)
        self._disk = self.disk
        self._due = False
        self._ended = False
        self.dead = False
        self._disk.simulation.writer = self

    def start(self) -> None:
        """No thread."""

    def submit(self, ops: list[Op]) -> None:
        super().submit(ops)
        if not self._due:
            self._due = True
            self._disk.simulation.loop.call_later(self._disk.commit_s(), self._turn)

    def stop(self) -> None:
        while not self._queue.empty():
            self._turn()
        if not self.dead:
            self._finish()
        self._ended = True

    def held_in_journal(self) -> set[str]:
        """The exchanges whose hold is in the file, whether the tables have it or not."""
        frames = self.journal.read()
        moves = [
            move for frame in frames if frame.generation == self.journal.generation for move in frame.moves
        ]
        return {move.exchange_id for move in moves if isinstance(move, journal_file.Held)}

    def _tell(self, ops: list[Op], failure: BaseException | None) -> None:
        self._told.update(map(id, ops))
        self._telling(ops, failure)

    def _cut(self, error: Exception) -> None:
        raise PowerCut from error

    def _turn(self) -> None:
        self._due = False
        while not self._queue.empty() and not self._ended:  # the thread would be gone
            ops = self._take()
            if ops is None:
                continue
            self._told.clear()
            if self.dead:
                self._deliver(ops, LedgerUnavailable("the process is gone"))
                continue
            try:
                self._handle(ops)
            except PowerCut:
                if self._connection.in_transaction:
                    self.plain.execute("ROLLBACK")
                self._disk.simulation.crash("failed sync")
                left = [op for op in ops if id(op) not in self._told]
                self._deliver(left, LedgerUnavailable("the process is gone"))
                continue
            self._disk.simulation.committed(self.plain)


@contextmanager
def simulated(disk: Disk, journal_bytes: int) -> Iterator[None]:
    """Have stores that are opened write to that disk."""
    quick: Callable[..., sqlite3.Connection] = _quick
    with (
        mock.patch.object(SimWriter, "disk", disk, create=True),
        mock.patch.object(store, "Writer", SimWriter),
        mock.patch.object(store, "connect", quick),
        mock.patch.object(journal_file, "JOURNAL_BYTES", journal_bytes),
        mock.patch.object(journal_file, "_sync", disk.sync),
        mock.patch.object(journal_file.os, "fsync", return_value=None),
    ):
        yield


_connect = store.connect


def _quick(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Power never fails in here: the syncs themselves prove nothing and cost most of the time."""
    connection = _connect(path, read_only=read_only)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def snapshot(before: Path, after: Path) -> None:
    """The files as they are at this moment: what a process that dies now leaves behind."""
    after.mkdir()
    for path in before.iterdir():
        if not path.name.endswith(("-shm", ".lock")):
            shutil.copy(path, after / path.name)
