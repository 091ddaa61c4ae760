"""The one thread that writes: it takes whatever waits, makes it durable together, and says so once.

Holds and settlements are durable by one frame of the journal, and go into the tables later, many at once:
when JOURNALED_MAX of them wait, when somebody asks (to read, or because some time is over), or with a batch
that has an operation of another kind in it, in the same transaction. So the tables always hold a beginning of
what was acknowledged, in its order. What the tables could refuse never gets into the journal: what may come
of an operation that was refused, while the event loop does not know that yet, goes into them at once.

There is no timer: while a sync waits for the disk the next batch gathers by itself.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import cast

from llm_router.adapters.sqlite.journal_file import JOURNAL_BYTES, JournalFile
from llm_router.adapters.sqlite.journaling import Waiting, are_plain, end_use, fits, move_of
from llm_router.adapters.sqlite.known import Known
from llm_router.adapters.sqlite.replies import BATCH, file_replies
from llm_router.adapters.sqlite.rows import (
    OP_ERRORS,
    BudgetOp,
    Chain,
    FlushOp,
    GuardedOp,
    HoldOp,
    Op,
    ProbeOp,
    Rows,
    SettleOp,
)

BATCH_MAX = 1024
"""A batch that has so many operations takes no more: bounds how long one commit takes."""

CHECKPOINT_PAGES = 4000
"""Pages in the write-ahead log between two checkpoints: some 16 MB."""

COMMIT_PAGES = 6
MOVES_A_PAGE = 2
"""Pages that a commit writes, and how many moves go into one more, as measured."""

JOURNALED_MAX = 512
"""Moves that wait in the journal before they go into the tables together: bounds how long others wait then."""

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
        file: JournalFile,
        die: Callable[[Exception], object] = die,
    ) -> None:
        self._connection = connection
        self._checkpoints = checkpoints
        self._epoch = epoch
        self._chain = chain
        self._deliver = deliver
        self._die = die
        self._file = file
        self._waiting = Waiting()
        self._known = Known(connection)
        self._unheard = 0  # answers with a refusal in them that the event loop has not acted on yet
        self._heard = 0  # how many of these it says that it has, in the batch under way
        self._refused: set[str] = set()  # exchanges whose hold was refused in one of these
        self._queue: SimpleQueue[list[Op] | None] = SimpleQueue()
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

    def submit(self, ops: list[Op]) -> None:
        """Take over operations, and the list that they are in."""
        if len(ops) <= BATCH_MAX and _ENDS.isdisjoint(map(type, ops)):
            self._queue.put(ops)
        else:
            for op in ops:
                self._queue.put([op])

    def heard(self) -> None:
        """Say that all is undone that one answer refused, and no operation comes any more that did not know."""
        self._queue.put([_HEARD])

    @property
    def waits(self) -> bool:
        """Whether something that was acknowledged is not in the tables yet."""
        return bool(self._waiting)

    def stop(self) -> None:
        """Write what was submitted, then end. Blocks."""
        self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            while (ops := self._take()) is not None:
                self._handle(ops)
            self._finish()
        finally:  # whatever happened: nobody may wait for ever
            self._ending = True
            self._checkpoint_due.release()
            left = self._drain()
            if left:
                self._deliver(left, self._failure or RuntimeError("the writer has ended"))

    def _take(self) -> list[Op] | None:
        """Wait for work and take all there is (a budget ends a batch); None when it is time to end."""
        ops = self._queue.get()
        if ops is None:
            return None
        get = self._queue.get_nowait
        with suppress(Empty):
            while len(ops) < BATCH_MAX and type(ops[-1]) not in _ENDS:
                more = get()
                if more is None:
                    self._queue.put(None)
                    break
                ops += more
        return self._without_heard(ops)

    def _drain(self) -> list[Op]:
        left: list[Op] = []
        while True:
            try:
                ops = self._queue.get_nowait()
            except Empty:
                return self._without_heard(left)
            if ops is not None:
                left += ops

    def _without_heard(self, ops: list[Op]) -> list[Op]:
        if _HEARD in ops:
            self._heard += ops.count(_HEARD)
            ops = [op for op in ops if op is not _HEARD]
        return ops

    def _finish(self) -> None:
        """Leave nothing in the journal, if the disk lets us: else the next start reads it."""
        if self._waiting and self._failure is None:
            self._save([])
        if not self._waiting:
            try:
                end_use(self._connection)
                self._file.clear()
            except (sqlite3.Error, OSError) as error:
                print(f"the journal of the ledger cannot be cleared: {error}", file=sys.stderr)

    def _handle(self, ops: list[Op]) -> None:
        if self._failure is not None and not self._recovered(ops):
            if ops:
                self._refuse(ops, self._failure)
        elif ops:
            self._write(ops)
        if self._heard:  # behind all that came before it
            self._unheard -= self._heard
            self._heard = 0
            if not self._unheard:
                self._refused.clear()

    def _write(self, ops: list[Op]) -> None:
        flushes: list[Op] = []
        if not _MOVES.issuperset(map(type, ops)):  # whoever reads may see what came behind as well
            flushes = [op for op in ops if type(op) is FlushOp]
            ops = [op for op in ops if type(op) is not FlushOp]
        if ops and not self._journaled(ops):
            self._save(ops)
        full = len(self._waiting) >= JOURNALED_MAX or self._file.size > JOURNAL_BYTES // 4
        if flushes or (full and self._failure is None):
            self._flush(flushes)

    def _flush(self, flushes: list[Op]) -> None:
        if self._failure is not None:
            self._refuse(flushes, self._failure)
        else:
            self._save(flushes)

    def _journaled(self, ops: list[Op]) -> bool:
        """Make moves durable in the journal, or refuse them; False if the tables must take them at once."""
        try:
            if self._unheard or not _MOVES.issuperset(map(type, ops)):
                self._known.note(ops)
                return False
            taken = self._known.allowed(cast(list[HoldOp | SettleOp], ops), self._waiting.settled)
            done = not taken or (are_plain(taken) and self._append(taken))
        except (OverflowError, UnicodeEncodeError):  # of one of them: the others can be saved
            done = False
        except sqlite3.Error as error:
            _forget_errors(ops)
            self._fail(ops, error)
            return True
        if done:
            self._tell(ops, None)
            with suppress(*OP_ERRORS):  # what is wrong is found again when they are applied
                self._waiting.gather(self._epoch, self._chain)
            return True
        _forget_errors(ops)
        if self._failure is not None:
            self._refuse(ops, self._failure)
        return self._failure is not None

    def _append(self, moves: list[HoldOp | SettleOp]) -> bool:
        """Add moves to the journal; False if there is no room for them."""
        try:
            if not self._file.append([move_of(op) for op in moves], self._chain.head):
                return False
        except OSError as error:
            self._failure = error
            self._die(error)
            return False
        self._waiting.add(moves)
        return True

    def _save(self, ops: list[Op]) -> None:
        """Put what waits in the journal, and operations behind it, into the tables."""
        if not self._waiting and all(isinstance(op, FlushOp) for op in ops):
            self._tell(ops, None)
            return
        count = len(self._waiting) + len(ops)
        try:
            self._commit(ops)
        except OP_ERRORS:
            self._rollback()
            self._save_singly(ops)
        except sqlite3.Error as error:
            self._fail(ops, error)
        else:
            if ops:
                self._tell(ops, None)
            self._count(count)

    def _save_singly(self, ops: list[Op]) -> None:
        try:
            self._commit_singly(ops)
        except sqlite3.Error as error:
            _forget_errors(ops)
            self._fail(ops, error)
        else:
            self._tell(ops, None)

    def _commit(self, ops: list[Op]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        chain = self._chain
        if self._waiting:
            chain = self._waiting.apply(self._connection, self._epoch, chain, self._file.generation)
        if ops:
            rows = Rows(ops, self._epoch, chain)
            rows.write(self._connection)
            chain = rows.chain
        self._connection.execute("COMMIT")
        self._committed(chain)

    def _commit_singly(self, ops: list[Op]) -> None:
        """Commit the operations that can be, each in a savepoint of its own; mark the others."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        chain = self._chain
        if self._waiting:
            chain = self._waiting.apply_singly(self._connection, self._epoch, chain, self._file.generation)
        for op in ops:
            execute("SAVEPOINT one")
            try:
                rows = Rows([op], self._epoch, chain)
                rows.write(self._connection)
                chain = rows.chain
            except OP_ERRORS as error:
                op.error = error
                execute("ROLLBACK TO one")
            execute("RELEASE one")
        execute("COMMIT")
        self._committed(chain)

    def _committed(self, chain: Chain) -> None:
        self._chain = chain
        if self._waiting:
            self._file.begin(self._file.generation + 1)
            self._waiting.clear()

    def _fail(self, ops: list[Op], error: sqlite3.Error) -> None:
        """The disk refused: nothing of the batch is saved, nor of what comes behind it."""
        self._failure = error
        if getattr(error, "sqlite_errorcode", None) in _SYNC:
            self._die(error)
        self._rollback()
        self._refuse(ops, error)

    def _refuse(self, ops: list[Op], error: BaseException) -> None:
        """None of it is saved, but for charges whose hold is safe: they wait in the journal, as durable."""
        new = {op.hold.exchange_id for op in ops if isinstance(op, HoldOp)} | self._refused
        kept: list[Op] = []
        if not _is_fatal(error):
            charges = [op for op in ops if isinstance(op, SettleOp) and _can_wait(op, new)]
            if charges and self._kept(charges):
                kept = list(charges)
                self._tell(kept, None)
        waiting = {id(op) for op in kept}
        self._tell([op for op in ops if id(op) not in waiting], error)

    def _tell(self, ops: list[Op], failure: BaseException | None) -> None:
        """Deliver, and know what the event loop has yet to undo: until it says that it has, operations come
        that were made as if nothing had been refused."""
        refused = ops if failure is not None else [op for op in ops if op.error is not None]
        if refused or failure is not None:
            self._unheard += 1
            self._refused.update([op.hold.exchange_id for op in refused if isinstance(op, HoldOp)])
        if ops or failure is not None:
            self._deliver(ops, failure)

    def _kept(self, charges: list[SettleOp]) -> bool:
        try:
            return self._append(cast(list[HoldOp | SettleOp], charges))
        except (OverflowError, UnicodeEncodeError):
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
            self._commit([])
        except OP_ERRORS:
            self._rollback()
            return self._recovered_singly()
        except sqlite3.Error as error:
            self._still_failing(error)
            return False
        self._failure = None
        return True

    def _recovered_singly(self) -> bool:
        try:
            self._commit_singly([])
        except sqlite3.Error as error:
            self._still_failing(error)
            return False
        self._failure = None
        return True

    def _still_failing(self, error: sqlite3.Error) -> None:
        self._failure = error
        if getattr(error, "sqlite_errorcode", None) in _SYNC:
            self._die(error)
        self._rollback()

    def _count(self, ops: int) -> None:
        self._file_replies(ops)
        self._log_pages += COMMIT_PAGES + ops // MOVES_A_PAGE
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
    return hold is not None and op.settlement.charged_pusd > 0 and hold.exchange_id not in new and fits(op)


def _forget_errors(ops: list[Op]) -> None:
    for op in ops:
        op.error = None


_HEARD = cast(Op, object())
_ENDS = frozenset((BudgetOp, GuardedOp))
_MOVES = frozenset((HoldOp, SettleOp))


def _checkpoint(connection: sqlite3.Connection) -> None:
    """Copy the log into the file as far as readers allow. Commits are safe in the log without it."""
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.Error:
        return  # a full or failing disk: the next commit will tell


def _is_fatal(error: BaseException | None) -> bool:
    """``OSError``: a failed sync of the journal."""
    return isinstance(error, OSError) or getattr(error, "sqlite_errorcode", None) in _FATAL
