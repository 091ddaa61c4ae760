"""Going on with books whose journal was lost or damaged: what is sound of it is booked, and the file is put aside."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from llm_router.adapters.sqlite.journal_file import JOURNAL_SUFFIX, Charged, Held, JournalFile
from llm_router.adapters.sqlite.journaling import (
    Begin,
    begin_of,
    examine,
    finish_generation,
    op_of,
    write_ops,
)
from llm_router.adapters.sqlite.lock import StoreLock
from llm_router.adapters.sqlite.rows import OP_ERRORS
from llm_router.adapters.sqlite.schema import connect, prepare

_Move = Held | Charged


class Salvage(msgspec.Struct, frozen=True, kw_only=True):
    """What was done.

    Attributes:
        doubt: why the journal was refused.
        booked: exchanges whose moves were sound and went into the tables.
        refused: those whose moves are sound, but do not fit what the tables have.
        aside: where the file is now.
    """

    doubt: str
    booked: list[str]
    refused: list[str]
    aside: str


def doubt_of(path: Path) -> str | None:
    """Why a store's journal is refused; None if it is not.

    Raises:
        StoreError, sqlite3.Error, OSError: the store cannot be used.
    """
    lock = StoreLock(path)
    try:
        journal = path.with_name(path.name + JOURNAL_SUFFIX)
        with closing(connect(path)) as connection, closing(JournalFile(journal)) as file:
            prepare(connection, path)
            return examine(begin_of(connection), file.content()).doubt
    finally:
        lock.release()


def salvage(path: Path, now_ms: int) -> Salvage | None:
    """Book what is sound of a journal that is refused, and put the file aside; None if it is not refused.

    Nothing of it is booked where it continues other books. May be done again after a crash.

    Raises:
        StoreError, sqlite3.Error, OSError: the store cannot be used.
    """
    lock = StoreLock(path)
    try:
        journal = path.with_name(path.name + JOURNAL_SUFFIX)
        with closing(connect(path)) as connection:
            prepare(connection, path)
            begin = begin_of(connection)
            with closing(JournalFile(journal)) as file:
                found = examine(begin, file.content())
            if found.doubt is None:
                return None
            moves = [move for frame in (*found.frames, *found.behind) for move in frame.moves]
            booked, refused = _book(connection, moves, begin)
        aside = path.with_name(f"{journal.name}.{now_ms}")
        _rename(journal, aside)
        return Salvage(doubt=found.doubt, booked=booked, refused=refused, aside=str(aside))
    finally:
        lock.release()


def _book(connection: sqlite3.Connection, moves: list[_Move], begin: Begin) -> tuple[list[str], list[str]]:
    """Write what the tables take, in one transaction; the exchanges of what they took, and of what not."""
    booked: dict[str, None] = {}
    refused: dict[str, None] = {}
    chain = begin.chain
    execute = connection.execute
    execute("BEGIN IMMEDIATE")
    try:
        for move in moves:
            for variant in _variants(move):
                execute("SAVEPOINT one")
                try:
                    chain = write_ops(connection, [op_of(variant)], begin.epoch, chain)
                except OP_ERRORS:
                    execute("ROLLBACK TO one")
                    execute("RELEASE one")
                    continue
                execute("RELEASE one")
                booked[_exchange(move)] = None
                break
            else:
                refused[_exchange(move)] = None
        finish_generation(connection, begin.generation + 1)
        execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            execute("ROLLBACK")
        raise
    return list(booked), list(refused)


def _variants(move: _Move) -> list[_Move]:
    """A charge is owed though the hold that it resolves is what was lost."""
    if isinstance(move, Held) or move.held_pusd is None:
        return [move]
    return [move, msgspec.structs.replace(move, held_pusd=None)]


def _exchange(move: _Move) -> str:
    return move.exchange_id if isinstance(move, Held) else str(move.row[0])


def _rename(path: Path, to: Path) -> None:
    os.replace(path, to)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
