"""The spool of versions before the journal: charges waited in it while the ledger's disk was full.

frame     magic (4 bytes), length, CRC-32 (4 bytes each, big endian), then MessagePack: settlements
"""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path
from typing import Any

import msgspec

from llm_router.adapters.sqlite.journal_file import Charged
from llm_router.adapters.sqlite.journaling import apply_singly, begin_of, book, op_of
from llm_router.adapters.sqlite.rows import settled_of
from llm_router.billing.ledger import Settlement

_MAGIC = b"LRsp"
_HEAD = 12


class _Spooled(msgspec.Struct, frozen=True, array_like=True):
    settlement: Settlement
    row: tuple[Any, ...]
    rollup: tuple[Any, ...]
    sums: tuple[int, ...]
    created_ms: int
    note: str
    proof: bytes


_decoder = msgspec.msgpack.Decoder(list[_Spooled])


def book_spool(connection: sqlite3.Connection, path: Path) -> int:
    """Book what waits in the spool beside a store's file, once, however often it is read, and remove it.

    Return how many charges that were. To be called before the holds that they resolve are voided.

    Raises:
        sqlite3.Error, OSError: the disk refuses.
    """
    spool = path.with_name(path.name + ".spool")
    try:
        data = spool.read_bytes()
    except FileNotFoundError:
        return 0
    waiting = _read(data)
    booked = settled_of(connection, [each.row[0] for each in waiting])
    ops = [op_of(_charged(each)) for each in waiting if each.row[0] not in booked]
    if ops:
        begin = begin_of(connection)
        book(connection, apply_singly, ops, begin, begin.generation)
    spool.unlink()
    return len(ops)


def _read(data: bytes) -> list[_Spooled]:
    """The settlements of the whole frames, up to the first that is torn."""
    found: list[_Spooled] = []
    at = 0
    while data[at : at + 4] == _MAGIC:
        end = at + _HEAD + int.from_bytes(data[at + 4 : at + 8], "big")
        body = data[at + _HEAD : end]
        if end > len(data) or zlib.crc32(body) != int.from_bytes(data[at + 8 : at + _HEAD], "big"):
            break
        found += _decoder.decode(body)
        at = end
    return found


def _charged(spooled: _Spooled) -> Charged:
    settlement = spooled.settlement
    return Charged(
        settlement.account,
        None if settlement.hold is None else settlement.hold.amount_pusd,
        settlement.charged_pusd,
        settlement.shares,
        spooled.row,
        spooled.rollup,
        spooled.sums,
        spooled.created_ms,
        spooled.note,
        spooled.proof,
    )
