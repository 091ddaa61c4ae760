"""The one thread that writes: it takes whatever waits, commits it together, and says so once.

There is no timer: while a commit waits for the disk the next batch gathers by itself.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from llm_router.adapters.sqlite.replies import BATCH, file_replies
from llm_router.adapters.sqlite.rows import (
    BudgetOp,
    Chain,
    GuardedOp,
    HoldOp,
    Op,
    ProbeOp,
    RowRefused,
    Rows,
    SettleOp,
)
from llm_router.adapters.sqlite.spool import Spool
from llm_router.adapters.sqlite.spooling import book, spooled_of

BATCH_MAX = 1024
"""Operations in one transaction: bounds how long one commit takes."""

CHECKPOINT_PAGES = 4000
"""Pages in the write-ahead log between two checkpoints: some 16 MB."""

COMMIT_PAGES = 6
"""Pages that a commit writes beside one for each operation, as measured."""

_OP_ERRORS = (sqlite3.IntegrityError, RowRefused, OverflowError, UnicodeEncodeError)
"""One operation is at fault, not the disk: the others of its batch are saved without it."""

_SYNC = {sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC}
_FATAL = {*_SYNC, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""After a failed sync nobody knows what is on the disk, and asking again gives a false yes
(https://www.usenix.org/conference/atc20/presentation/rebello): only a restart reads what is there."""

EXIT_DISK = 74
"""Exit status after a failed sync: EX_IOERR of sysexits.h."""


def die(error: Exception) -> None:
    """End the process at once, as a crash would: the next start reads what is on the disk."""
    print(
        f"the disk of the ledger failed ({error}): this process ends, since nobody knows what was written; "
        "the next start reads what is there",
        file=sys.stderr,
        flush=True,
    )
    os._exit(EXIT_DISK)


Deliver = Callable[[list[Op], BaseException | None], None]


class Writer:
    """Commits operations in the order they come. ``deliver`` is called from the writer's thread, once
    a batch, with the error that none of it was saved for, or None; then single ops may hold one."""

    def __init__(
        self,
        *,
        connection: sqlite3.Connection,
        checkpoints: sqlite3.Connection,
        epoch: int,
        chain: Chain,
        deliver: Deliver,
        die: Callable[[Exception], object] = die,
        spool: Spool | None = None,
    ) -> None:
        self._connection = connection
        self._checkpoints = checkpoints
        self._epoch = epoch
        self._chain = chain
        self._deliver = deliver
        self._die = die
        self._spool = spool
        self._spooled: list[SettleOp] = []
        self._queue: SimpleQueue[Op | None] = SimpleQueue()
        self._failure: BaseException | None = None
        self._log_pages = 0
        self._unfiled = BATCH  # nobody knows what the last process left
        self._checkpoint_due = threading.Semaphore(0)
        self._checkpoint_made = threading.Event()
        self._ending = False
        self._threads = (
            threading.Thread(target=self._run, name="ledger-writer", daemon=True),
            threading.Thread(target=self._run_checkpoints, name="ledger-checkpoints", daemon=True),
        )

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def submit(self, op: Op) -> None:
        self._queue.put(op)

    def stop(self) -> None:
        """Write what was submitted, then end. Blocks."""
        self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            while (ops := self._take()) is not None:
                self._handle(ops)
        finally:  # whatever happened: nobody may wait for ever
            self._ending = True
            self._checkpoint_due.release()
            left = self._drain()
            if left:
                self._deliver(left, self._failure or RuntimeError("the writer has ended"))

    def _take(self) -> list[Op] | None:
        """Wait for work and take all there is (a budget ends a batch); None when it is time to end."""
        first = self._queue.get()
        if first is None:
            return None
        ops = [first]
        while len(ops) < BATCH_MAX and not isinstance(ops[-1], BudgetOp | GuardedOp):
            try:
                op = self._queue.get_nowait()
            except Empty:
                break
            if op is None:
                self._queue.put(None)
                break
            ops.append(op)
        return ops

    def _drain(self) -> list[Op]:
        left: list[Op] = []
        while True:
            try:
                op = self._queue.get_nowait()
            except Empty:
                return left
            if op is not None:
                left.append(op)

    def _handle(self, ops: list[Op]) -> None:
        if self._failure is not None and not self._recovered(ops):
            self._refuse(ops, self._failure)
            return
        try:
            self._commit(ops)
        except _OP_ERRORS:
            self._rollback()
            self._handle_singly(ops)
        except sqlite3.Error as error:
            self._fail(ops, error)
        else:
            self._deliver(ops, None)
            self._count(len(ops))

    def _handle_singly(self, ops: list[Op]) -> None:
        try:
            self._commit_singly(ops)
        except sqlite3.Error as error:
            for op in ops:
                op.error = None
            self._fail(ops, error)
        else:
            self._deliver(ops, None)

    def _commit(self, ops: list[Op]) -> None:
        rows = Rows(ops, self._epoch, self._chain)
        self._connection.execute("BEGIN IMMEDIATE")
        rows.write(self._connection)
        self._connection.execute("COMMIT")
        self._chain = rows.chain

    def _commit_singly(self, ops: list[Op]) -> None:
        """Commit the operations that can be, each in a savepoint of its own; mark the others."""
        chain = self._chain
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        for op in ops:
            execute("SAVEPOINT one")
            try:
                rows = Rows([op], self._epoch, chain)
                rows.write(self._connection)
                chain = rows.chain
            except _OP_ERRORS as error:
                op.error = error
                execute("ROLLBACK TO one")
            execute("RELEASE one")
        execute("COMMIT")
        self._chain = chain

    def _fail(self, ops: list[Op], error: sqlite3.Error) -> None:
        """The disk refused: nothing of the batch is saved, nor of what waits behind it."""
        self._failure = error
        if getattr(error, "sqlite_errorcode", None) in _SYNC:
            self._die(error)
        self._rollback()
        self._refuse(ops, error)

    def _refuse(self, ops: list[Op], error: BaseException) -> None:
        """None of it is saved, but for charges whose hold is safe: they wait in the spool, as durable."""
        new = {op.hold.exchange_id for op in ops if isinstance(op, HoldOp)}
        kept: list[Op] = []
        if self._spool is not None and not _is_fatal(error):
            charges = [op for op in ops if isinstance(op, SettleOp) and _can_wait(op, new)]
            if charges and self._append(self._spool, charges):
                self._spooled += charges
                kept = list(charges)
                self._deliver(kept, None)
        waiting = {id(op) for op in kept}
        self._deliver([op for op in ops if id(op) not in waiting], error)

    def _append(self, spool: Spool, charges: list[SettleOp]) -> bool:
        try:
            return spool.append([spooled_of(op) for op in charges])
        except OSError as error:
            self._die(error)
            return False

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _recovered(self, ops: list[Op]) -> bool:
        """Whether the disk takes writes again; tried only when asked by a probe alone in its batch."""
        if len(ops) != 1 or not isinstance(ops[0], ProbeOp) or _is_fatal(self._failure):
            return False
        try:
            self._rollback()
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("UPDATE meta SET value = value WHERE name = 'epoch'")
            self._connection.execute("COMMIT")
            if self._spool is not None and self._spooled:
                self._chain = book(self._connection, self._spooled, self._epoch, self._chain)
                self._spooled = []
                self._spool.clear()
        except sqlite3.Error as error:
            self._failure = error
            if getattr(error, "sqlite_errorcode", None) in _SYNC:
                self._die(error)
            return False
        except OSError as error:
            self._die(error)
        self._failure = None
        return True

    def _count(self, ops: int) -> None:
        self._file_replies(ops)
        self._log_pages += COMMIT_PAGES + ops
        if self._log_pages >= CHECKPOINT_PAGES:
            self._log_pages = 0
            self._checkpoint_due.release()
        if self._checkpoint_made.is_set():
            # The other connection has copied all but the newest pages. Copying the rest here, where
            # nothing is written meanwhile, lets the log begin again at its start.
            self._checkpoint_made.clear()
            _checkpoint(self._connection)

    def _file_replies(self, ops: int) -> None:
        """File the ids of replies when enough have come. Nobody waits for it, and what fails comes next time."""
        self._unfiled += ops
        if self._unfiled < BATCH:
            return
        self._unfiled = 0
        try:
            file_replies(self._connection)
        except sqlite3.Error as error:
            self._fail([], error)

    def _run_checkpoints(self) -> None:
        while True:
            self._checkpoint_due.acquire()
            if self._ending:
                return
            _checkpoint(self._checkpoints)
            self._checkpoint_made.set()


def _can_wait(op: SettleOp, new: set[str]) -> bool:
    hold = op.settlement.hold
    return hold is not None and op.settlement.charged_pusd > 0 and hold.exchange_id not in new


def _checkpoint(connection: sqlite3.Connection) -> None:
    """Copy the log into the file as far as readers allow. Commits are safe in the log without it."""
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.Error:
        return  # a full or failing disk: the next commit will tell


def _is_fatal(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in _FATAL
