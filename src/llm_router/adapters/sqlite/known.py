"""Which exchanges are new, so that a move can be promised before the tables have seen it."""

from __future__ import annotations

import sqlite3

from llm_router.adapters.sqlite.rows import HoldOp, Op, RowRefused, SettleOp, held_of, newest_of, settled_of

KNOWN_MAX = 8192
"""Exchanges that are remembered; of those that are not greater than one that was forgotten the tables are asked."""


class Known:
    """To be used by the thread that writes. Ids rise, but for some that are made in the same millisecond or
    by another worker: hardly one has to be looked for."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ids: set[str] = set()
        self._to = newest_of(connection)  # no greater one is in the tables, but for those above

    def note(self, ops: list[Op] | list[HoldOp | SettleOp]) -> list[str]:
        """Remember the exchanges that come with operations; return those of them that are not new."""
        ids = [op.hold.exchange_id for op in ops if type(op) is HoldOp]
        ids += [op.row[0] for op in ops if type(op) is SettleOp and op.settlement.hold is None]
        if not ids:
            return []
        new = set(ids)
        if len(new) == len(ids) and min(ids) > self._to and self._ids.isdisjoint(new):
            old: list[str] = []
        else:
            old = [id_ for id_ in ids if id_ <= self._to or id_ in self._ids or ids.count(id_) > 1]
        self._ids |= new
        if len(self._ids) > KNOWN_MAX:
            self._to = max(self._to, max(self._ids))
            self._ids.clear()
        return old

    def allowed(self, moves: list[HoldOp | SettleOp], settling: set[str]) -> list[HoldOp | SettleOp]:
        """Those of some moves that the tables will take; the others are marked.

        Args:
            settling: exchanges that are settled, though not in the tables yet.

        Raises:
            sqlite3.Error, UnicodeEncodeError: the tables cannot be asked.
        """
        old = self.note(moves)
        if not old:
            return moves
        settled = settled_of(self._connection, old) | settling
        held = held_of(self._connection, old)
        refused: set[str] = set()
        for op in moves:
            if type(op) is HoldOp:
                id_ = op.hold.exchange_id
                wrong = id_ in held or id_ in settled
                (refused if wrong else held).add(id_)
            else:
                assert type(op) is SettleOp
                id_ = op.row[0]
                wrong = id_ in settled if op.settlement.hold is None else id_ in refused
                settled.add(id_)
            if wrong:
                op.error = RowRefused("the exchange is settled already")
        return [op for op in moves if op.error is None]
