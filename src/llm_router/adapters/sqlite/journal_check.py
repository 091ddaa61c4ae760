"""The proof of a journal: what the next start would book of it is calculated again, as the tables are."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from llm_router.adapters.recount import Doubted, Recount
from llm_router.adapters.sqlite.journal_file import JOURNAL_SUFFIX, Charged, Held, content_of
from llm_router.adapters.sqlite.journaling import begin_of, examine
from llm_router.adapters.sqlite.prices import versions_of
from llm_router.adapters.sqlite.schema import proof_of
from llm_router.billing.rollups import rollup_counts, rollup_key

IN_USE = "in use"
CHECKED = "checked"
ABSENT = "absent"


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """What is beside a store's file.

    Attributes:
        state: in use by a process, so that it is not looked at; absent; or to be checked.
        content: all of it.
    """

    state: str
    content: bytes = b""


@contextmanager
def journal_beside(path: Path) -> Iterator[Journal]:
    """The journal of a store, which no process takes while this lasts.

    Raises:
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(path.with_name(path.name + JOURNAL_SUFFIX), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield Journal(state=ABSENT)
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Journal(state=IN_USE)
            return
        yield Journal(state=CHECKED, content=content_of(descriptor))
    finally:
        os.close(descriptor)


def check_journal(connection: sqlite3.Connection, content: bytes, count: Recount) -> int:
    """Check what the next start would do with a journal; return how many moves it would book.

    Args:
        count: knows the prices.

    Raises:
        Doubted: at the first thing that does not agree.
    """
    begin = begin_of(connection)
    found = examine(begin, content)
    if found.doubt is not None:
        raise Doubted("journal", "the file", f"it {found.doubt}")
    moves = _Moves(connection, count)
    for frame in found.frames:
        for move in frame.moves:
            moves.add(f"generation {frame.generation}, frame {frame.number}", move)
    return moves.number


class _Moves:
    """The moves of a journal, one after the other, over what the tables say."""

    def __init__(self, connection: sqlite3.Connection, count: Recount) -> None:
        self._db = connection
        self._count = count
        self._available: dict[str, int] = {}
        self._open: dict[str, tuple[str, int]] = {}  # account and amount of the holds here
        self._settled: set[str] = set()
        self.number = 0

    def add(self, place: str, move: Held | Charged) -> None:
        """
        Raises:
            Doubted: it is no move that these books can have.
        """
        if isinstance(move, Held):
            self._hold(f"{place}, hold of {move.exchange_id}", move)
        else:
            self._charge(f"{place}, charge of {move.row[0]}", move)
        self.number += 1

    def _hold(self, where: str, move: Held) -> None:
        id_ = move.exchange_id
        if move.amount_pusd < 0:
            raise Doubted("journal", where, "it is negative")
        if self._known(id_) or self._held(id_) is not None:
            raise Doubted("journal", where, "the exchange holds or is settled already")
        self._open[id_] = (move.account, move.amount_pusd)
        self._move(where, move.account, -move.amount_pusd)

    def _charge(self, where: str, move: Charged) -> None:
        id_, account, *columns = move.row[:7]
        *_, hold, cost, text = move.row
        if self._known(id_):
            raise Doubted("journal", where, "the exchange is settled already")
        if (account, cost, hold) != (move.account, move.charged_pusd, move.held_pusd):
            raise Doubted("journal", where, "it moves something else than its row says")
        record = self._count.journaled_exchange(where, id_, (account, *columns, cost), text)
        proof = proof_of(text, [self._count.texts.get(version, "") for version in versions_of(record)])
        if (move.proof, move.note) != (proof, record.price_version or ""):
            raise Doubted("journal", where, "its record or its price is not what it was made from")
        if (tuple(move.rollup), tuple(move.sums)) != (tuple(rollup_key(record)), rollup_counts(record)):
            raise Doubted("journal", where, "what it adds to the sums is not what its record says")
        freed = 0
        if hold is not None:
            if self._held(id_) != (account, hold):
                raise Doubted("journal", where, f"the hold of {hold} p$ that it resolves is not there")
            freed = hold
        self._settled.add(id_)
        self._open.pop(id_, None)
        self._move(where, account, freed - cost)

    def _known(self, id_: str) -> bool:
        return (
            id_ in self._settled
            or self._db.execute("SELECT 1 FROM exchanges WHERE id = ?", (id_,)).fetchone() is not None
        )

    def _held(self, id_: str) -> tuple[str, int] | None:
        """Account and amount of the open hold."""
        if id_ in self._open:
            return self._open[id_]
        row = self._db.execute(
            "SELECT account, amount FROM holds WHERE exchange_id = ? AND state = 'open'", (id_,)
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def _move(self, where: str, account: str, pusd: int) -> None:
        if account not in self._available:
            row = self._db.execute("SELECT posted - held FROM accounts WHERE id = ?", (account,)).fetchone()
            if row is None and pusd:
                raise Doubted("journal", where, f"the account {account} is not there")
            self._available[account] = 0 if row is None else row[0]
        self._available[account] += pusd
        if pusd and self._available[account] < 0:
            raise Doubted("journal", where, f"the account {account} would be overdrawn")
