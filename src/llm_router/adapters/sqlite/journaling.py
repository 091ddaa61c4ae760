"""Between the journal's file and the ledger's tables."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import msgspec

from llm_router.adapters.sqlite import journal_file
from llm_router.adapters.sqlite.journal_file import Charged, Frame, Held, JournalFile, Survey, survey
from llm_router.adapters.sqlite.rows import OP_ERRORS, Chain, HoldOp, Op, Rows, SettleOp
from llm_router.adapters.sqlite.schema import GENESIS, StoreCorrupt
from llm_router.billing.ledger import Hold, Settlement
from llm_router.billing.rollups import RollupKey
from llm_router.domain.budget import Payer

PLAIN_PUSD = 10**15
"""What a move may come to that is journaled: the sums of an hour cannot refuse it later."""

_TOP = 1 << 60  # well within what a column holds, with what else is added to it
_NOBODY = cast("asyncio.Future[Any]", None)
"""Nobody waits for what is booked from the journal of an earlier process."""

Apply = Callable[[sqlite3.Connection, Sequence[Op], int, Chain, int], Chain]

_GENERATION = "SELECT value FROM meta WHERE name = 'journal'"
_BOOKED = "UPDATE meta SET value = ? WHERE name = 'journal'"
_IN_USE = "INSERT INTO meta VALUES ('journal_of', ?) ON CONFLICT DO UPDATE SET value = excluded.value"
"""By which opening the journal is in use; 0 after an orderly end. One that was cut off leaves it behind."""


def fits(op: HoldOp | SettleOp) -> bool:
    """Whether the tables can hold each value of a move."""
    if type(op) is HoldOp:
        return 0 <= op.now_ms < _TOP
    assert type(op) is SettleOp
    return 0 <= op.created_ms < _TOP and min(op.sums) >= 0 and max(op.sums) < _TOP


def are_plain(moves: Sequence[HoldOp | SettleOp]) -> bool:
    """Whether the tables are sure to take each of some moves later, if its exchange is new to them."""
    times = [op.now_ms if type(op) is HoldOp else op.created_ms for op in moves]  # type: ignore[union-attr]
    if min(times) < 0 or max(times) >= _TOP:
        return False
    charges = [op for op in moves if type(op) is SettleOp]
    if not charges:
        return True
    sums = list(chain.from_iterable([op.sums for op in charges]))
    return min(sums) >= 0 and max(sums) < _TOP and max([op.row[8] for op in charges]) <= PLAIN_PUSD


def move_of(op: HoldOp | SettleOp) -> Held | Charged:
    if type(op) is HoldOp:
        hold = op.hold
        return Held(hold.exchange_id, hold.payer.account, hold.amount_pusd, op.price_version, op.now_ms)
    assert type(op) is SettleOp
    settlement = op.settlement
    return Charged(
        settlement.account,
        None if settlement.hold is None else settlement.hold.amount_pusd,
        settlement.charged_pusd,
        settlement.shares,
        op.row,
        op.rollup,
        op.sums,
        op.created_ms,
        op.note,
        op.proof,
    )


class Waiting:
    """The moves that are in the journal alone, in their order. To be used by the thread that writes.

    Attributes:
        settled: the exchanges that are settled by them.
    """

    def __init__(self) -> None:
        self.settled: set[str] = set()
        self._moves: list[HoldOp | SettleOp] = []
        self._rows: Rows | None = None
        self._begin: Chain | None = None  # of the rows
        self._gathered = 0  # so many of them are in the rows

    def __len__(self) -> int:
        return len(self._moves)

    def add(self, moves: list[HoldOp | SettleOp]) -> None:
        self._moves += moves
        self.settled.update([op.row[0] for op in moves if type(op) is SettleOp])

    def gather(self, epoch: int, chain: Chain) -> Rows:
        """Bring their rows together, in pieces while they come: the event loop needs the interpreter too.

        Raises:
            RowRefused: a hold is there twice.
        """
        if self._rows is None or self._begin != chain:
            self._rows, self._begin, self._gathered = Rows((), epoch, chain), chain, 0
        rows, self._rows = self._rows, None  # after an error they are made anew, and it is raised again
        rows.add(self._moves[self._gathered :])
        self._rows, self._gathered = rows, len(self._moves)
        return rows

    def apply(self, connection: sqlite3.Connection, epoch: int, chain: Chain, generation: int) -> Chain:
        """Write them inside the caller's transaction, and that the tables hold this generation of the journal.

        Return the new end of the entries.

        Raises:
            RowRefused, sqlite3.Error: the caller must roll back.
        """
        rows = self.gather(epoch, chain)
        rows.write(connection)
        connection.execute(_BOOKED, (generation,))
        return rows.chain

    def apply_singly(
        self, connection: sqlite3.Connection, epoch: int, chain: Chain, generation: int
    ) -> Chain:
        """The same, one by one, see :func:`apply_singly`."""
        return apply_singly(connection, self._moves, epoch, chain, generation)

    def clear(self) -> None:
        """They are in the tables."""
        self.settled.clear()
        self._moves = []
        self._rows = None


def apply(
    connection: sqlite3.Connection, ops: Sequence[Op], epoch: int, chain: Chain, generation: int
) -> Chain:
    """Write the moves of a generation, inside the caller's transaction, and that they are written.

    Return the new end of the entries.

    Raises:
        RowRefused, sqlite3.Error: the caller must roll back.
    """
    chain = write_ops(connection, ops, epoch, chain)
    connection.execute(_BOOKED, (generation,))
    return chain


def apply_singly(
    connection: sqlite3.Connection, ops: Sequence[Op], epoch: int, chain: Chain, generation: int
) -> Chain:
    """The same, one by one: what the tables refuse, though they were asked before, is told of and left out,
    since the others must not wait for it."""
    execute = connection.execute
    for op in ops:
        execute("SAVEPOINT one")
        try:
            chain = write_ops(connection, [op], epoch, chain)
        except OP_ERRORS as error:
            execute("ROLLBACK TO one")
            print(f"{_id(op)} in the journal cannot be booked: {error}", file=sys.stderr, flush=True)
        execute("RELEASE one")
    execute(_BOOKED, (generation,))
    return chain


def write_ops(connection: sqlite3.Connection, ops: Sequence[Op], epoch: int, chain: Chain) -> Chain:
    """Write some moves; return the new end of the entries."""
    rows = Rows(ops, epoch, chain)
    rows.write(connection)
    return rows.chain


def _id(op: Op) -> str:
    if isinstance(op, HoldOp):
        return f"the hold of {op.hold.exchange_id}"
    return f"the charge of {op.row[0]}" if isinstance(op, SettleOp) else "an operation"


class Begin(msgspec.Struct, frozen=True, kw_only=True):
    """What the tables say before anything is booked that waits beside them.

    Attributes:
        epoch: of the process that left it. chain: the end of the entries.
        generation: the last one of the journal that they hold wholly.
        in_use: whether that process began the journal and did not end it: it must be there then.
    """

    epoch: int
    chain: Chain
    generation: int
    in_use: bool


def begin_of(connection: sqlite3.Connection) -> Begin:
    row = connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    (epoch,) = connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
    (generation,) = connection.execute(_GENERATION).fetchone()
    (used_by,) = connection.execute(
        "SELECT coalesce(max(value), 0) FROM meta WHERE name = 'journal_of'"
    ).fetchone()
    chain = Chain(seq=0, head=GENESIS) if row is None else Chain(seq=row[0], head=row[1])
    return Begin(epoch=epoch, chain=chain, generation=generation, in_use=0 != used_by == epoch)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal holds that the tables do not have.

    Attributes:
        frames: in their order, from the first on; behind: those behind a gap.
        doubt: why something that was acknowledged may be missing, as what the file is; None if nothing can be.
        strange: it continues other books: nothing of it belongs here.
    """

    frames: list[Frame]
    behind: list[Frame]
    doubt: str | None
    strange: bool = False


def examine(begin: Begin, content: bytes) -> Found:
    """Compare a journal with what the tables say of it. What was appended last may be torn, by a crash."""
    seen = survey(content, begin.generation + 1, begin.chain.head)
    behind = [frame for _, frame in seen.behind]
    newer = [frame for frame in seen.frames if frame.generation > begin.generation]
    if newer and not _continues(begin, newer):
        return Found(
            frames=[], behind=[], doubt="holds moves that continue other books than these", strange=True
        )
    return Found(frames=newer, behind=behind, doubt=_doubt(begin, seen))


def _continues(begin: Begin, frames: list[Frame]) -> bool:
    return frames[0].generation == begin.generation + 1 and all(
        frame.head == begin.chain.head for frame in frames if frame.moves
    )


def _doubt(begin: Begin, seen: Survey) -> str | None:
    if seen.behind:
        at = seen.end if seen.frames and seen.frames[0].generation > begin.generation else 0
        return (
            f"is damaged at byte {at}: what stood there is lost, and {len(seen.behind)} sound frames follow, the "
            f"next at byte {seen.behind[0][0]}"
        )
    if not begin.in_use:
        return None
    if not seen.size:
        return "is missing or empty, though the process that used it did not end in order"
    if seen.size < journal_file.JOURNAL_BYTES:
        return f"is cut short: it has {seen.size} of its {journal_file.JOURNAL_BYTES} bytes"
    if seen.begins is None:
        return "is damaged at byte 0, or was emptied, though the process that used it did not end in order"
    if seen.begins < begin.generation:
        return (
            f"is older than the tables: it holds generation {seen.begins}, and they have had "
            f"{begin.generation} already"
        )
    if seen.begins > begin.generation + 1:
        return "is damaged at byte 0: it begins with a generation that there was not"
    return None


def replay(connection: sqlite3.Connection, file: JournalFile, path: Path) -> int:
    """Book what an earlier process left in the journal; return how many moves that were.

    Raises:
        StoreCorrupt: the journal continues other books than these, or something that was acknowledged may be
            missing from it.
        sqlite3.Error, OSError: the disk refuses.
    """
    begin = begin_of(connection)
    ended = file.cleared and not begin.in_use  # in order: what is behind the mark need not be looked at
    found = examine(begin, b"" if ended else file.content())
    if found.doubt is not None:
        raise StoreCorrupt(refusal(path, found))
    generation = begin.generation + 1
    if not found.frames:
        file.begin(generation)
        return 0
    ops = [op_of(move) for frame in found.frames for move in frame.moves]
    try:
        book(connection, apply, ops, begin, generation)
    except OP_ERRORS:
        book(connection, apply_singly, ops, begin, generation)
    file.begin(generation + 1)
    return len(ops)


def refusal(path: Path, found: Found) -> str:
    """Why no store is opened on such a journal, and what to do."""
    if found.strange:
        return (
            f"The journal beside {path} {found.doubt}. If {path.name} is a backup that was put back, go on "
            f"without that journal: {SALVAGE}; else put back the file that it belongs to."
        )
    return (
        f"The journal beside {path} {found.doubt}. Charges that were acknowledged may be missing. Put back the "
        f"file that the last process left; if there is none, or {path.name} is a backup that was put back, go on "
        f"with what there is: {SALVAGE}"
    )


def finish_generation(connection: sqlite3.Connection, generation: int) -> None:
    """Have the tables say, in the caller's transaction, that they hold it, and that no journal is in use."""
    connection.execute(_BOOKED, (generation,))
    connection.execute(_IN_USE, (0,))


SALVAGE = "llm-router ledger salvage --reason WHY"


def take_into_use(connection: sqlite3.Connection, file: JournalFile) -> bool:
    """Begin the journal; False if that cannot be: whoever comes has to go without that knowledge.

    Raises:
        sqlite3.Error, OSError: the disk refuses.
    """
    file.allocate()
    return file.append([], begin_of(connection).chain.head)


def begin_use(connection: sqlite3.Connection, epoch: int) -> None:
    """Have the tables say, in the caller's transaction, that this opening's journal must be there."""
    connection.execute(_IN_USE, (epoch,))


def end_use(connection: sqlite3.Connection) -> None:
    """Have the tables say that they hold everything.

    Raises:
        sqlite3.Error: the disk refuses.
    """
    connection.execute(_IN_USE, (0,))


def book(connection: sqlite3.Connection, apply: Apply, ops: list[Op], begin: Begin, generation: int) -> None:
    """Apply moves in a transaction of their own.

    Raises:
        RowRefused, sqlite3.Error: nothing was written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        apply(connection, ops, begin.epoch, begin.chain, generation)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def op_of(move: Held | Charged) -> Op:
    """The operation that a move was made of."""
    if isinstance(move, Held):
        hold = _hold(move.exchange_id, move.account, move.amount_pusd)
        return HoldOp(future=_NOBODY, hold=hold, price_version=move.price_version, now_ms=move.now_ms)
    return SettleOp(
        future=_NOBODY,
        settlement=Settlement(
            hold=None if move.held_pusd is None else _hold(move.row[0], move.account, move.held_pusd),
            account=move.account,
            charged_pusd=move.charged_pusd,
            absorbed_pusd=0,
            remaining_pusd=0,
            shares=move.shares,
        ),
        row=tuple(move.row),
        rollup=RollupKey(*move.rollup),
        sums=move.sums,
        created_ms=move.created_ms,
        note=move.note,
        proof=move.proof,
    )


def _hold(exchange_id: str, account: str, amount_pusd: int) -> Hold:
    return Hold(
        exchange_id=exchange_id,
        payer=Payer(account=account),
        amount_pusd=amount_pusd,
        available_pusd=0,
        admitted_ms=0,
    )
