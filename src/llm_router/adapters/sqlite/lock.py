"""One process a store: a lock file beside it, held as long as the process lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from llm_router.adapters.sqlite.schema import StoreLocked


class StoreLock:
    """An exclusive ``flock``; the kernel frees it however the process ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock of the store at ``path``.

        Raises:
            StoreLocked: another process (or another store object of this one) has it.
        """
        self._descriptor = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = _owner(self._descriptor)
            os.close(self._descriptor)
            raise StoreLocked(path, pid) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _owner(descriptor: int) -> int | None:
    text = os.pread(descriptor, 20, 0).strip()
    return int(text) if text.isdigit() else None
