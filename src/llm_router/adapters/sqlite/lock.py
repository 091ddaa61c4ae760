"""One process a store: locks on a file beside it, its journal and its folder, held as long as the process lives.

The lock file says who holds the store. Somebody who tidies up may remove it, and a new one would be free: so the
journal and the folder are locked too. The file of the tables is not: closing it here would drop the locks that
SQLite has on it (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from llm_router.adapters.sqlite.journal_file import JOURNAL_SUFFIX
from llm_router.adapters.sqlite.schema import StoreLocked

LOCK_SUFFIX = ".lock"

_TRIES = 20
_BETWEEN_S = 0.05
"""A proof of the books has the journal for a moment, to read it; nobody else lets go of it again."""


class StoreLock:
    """Exclusive ``flock``s; the kernel frees them however the process ends."""

    def __init__(self, path: Path) -> None:
        """Take the locks of the store at ``path``, before anything in it is read.

        Raises:
            StoreLocked: another process (or another store object of this one) has it.
            OSError: its folder cannot be used.
        """
        self._descriptors: list[int] = []
        try:
            self._take(path)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []

    def _take(self, path: Path) -> None:
        file = self._open(path.with_name(path.name + LOCK_SUFFIX), os.O_RDWR | os.O_CREAT)
        if not _locked(file):
            raise StoreLocked(path, _owner(file))
        journal = self._open(path.with_name(path.name + JOURNAL_SUFFIX), os.O_RDWR | os.O_CREAT)
        if not _locked_soon(journal):
            raise StoreLocked(path, None)
        try:
            free = _locked(self._open(path.parent, os.O_RDONLY))
        except OSError:  # network file systems lock no folder
            free = True
        if not free:
            raise StoreLocked(path, None)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)

    def _open(self, path: Path, flags: int) -> int:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        self._descriptors.append(descriptor)
        return descriptor


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _locked_soon(descriptor: int) -> bool:
    for _ in range(_TRIES):
        if _locked(descriptor):
            return True
        time.sleep(_BETWEEN_S)
    return False


def owner_of(path: Path) -> int | None:
    """The process that says in the lock file that it has the store at ``path``; None if nobody does."""
    try:
        descriptor = os.open(path.with_name(path.name + LOCK_SUFFIX), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _owner(descriptor)
    finally:
        os.close(descriptor)


def _owner(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0).strip()
    return int(text) if text.isdigit() else None
