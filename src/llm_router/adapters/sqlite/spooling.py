"""Between the spool and the ledger's tables."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Sequence
from typing import Any, cast

from llm_router.adapters.sqlite.rows import Chain, RowRefused, Rows, SettleOp
from llm_router.adapters.sqlite.schema import GENESIS
from llm_router.adapters.sqlite.spool import Spool, Spooled
from llm_router.billing.rollups import RollupKey

_NOBODY = cast("asyncio.Future[Any]", None)
"""Nobody waits for what is booked from the spool."""


def spooled_of(op: SettleOp) -> Spooled:
    return Spooled(
        settlement=op.settlement,
        row=op.row,
        rollup=tuple(op.rollup),
        sums=op.sums,
        created_ms=op.created_ms,
        note=op.note,
        proof=op.proof,
    )


def book(connection: sqlite3.Connection, ops: Sequence[SettleOp], epoch: int, chain: Chain) -> Chain:
    """Write settlements that waited, in one transaction; those that are booked already are left out.

    Return the new end of the entries.

    Raises:
        sqlite3.Error: nothing was written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for op in ops:
            connection.execute("SAVEPOINT one")
            try:
                chain = _book(connection, op, epoch, chain)
            except (sqlite3.IntegrityError, RowRefused) as error:  # the others must not wait for it
                connection.execute("ROLLBACK TO one")
                print(f"the charge of {op.row[0]} in the spool cannot be booked: {error}", file=sys.stderr)
            connection.execute("RELEASE one")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return chain


def _book(connection: sqlite3.Connection, op: SettleOp, epoch: int, chain: Chain) -> Chain:
    id_ = op.row[0]
    if connection.execute("SELECT 1 FROM exchanges WHERE id = ?", (id_,)).fetchone() is not None:
        return chain
    rows = Rows([op], epoch, chain)
    rows.write(connection)
    return rows.chain


def replay(connection: sqlite3.Connection, spool: Spool) -> int:
    """Book what an earlier process left in the spool; return how many settlements it held.

    Raises:
        sqlite3.Error, OSError: the disk refuses still.
    """
    waiting = spool.read()
    if not waiting:
        return 0
    row = connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    chain = Chain(seq=0, head=GENESIS) if row is None else Chain(seq=row[0], head=row[1])
    (epoch,) = connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
    book(connection, [_op_of(spooled) for spooled in waiting], epoch, chain)
    spool.clear()
    return len(waiting)


def _op_of(spooled: Spooled) -> SettleOp:
    return SettleOp(
        future=_NOBODY,
        settlement=spooled.settlement,
        row=tuple(spooled.row),
        rollup=RollupKey(*spooled.rollup),
        sums=spooled.sums,
        created_ms=spooled.created_ms,
        note=spooled.note,
        proof=spooled.proof,
    )
