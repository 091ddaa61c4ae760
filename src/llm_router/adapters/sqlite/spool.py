"""A file of its full size beside the ledger: settlements wait in it while the ledger's disk is full.

    frame     magic (4 bytes), length, CRC-32 (4 bytes each, big endian), then MessagePack: settlements

Room that a file has cannot be lost to a full disk. A batch is one frame, so it is there wholly or not
at all. What is in the file is booked at the next opening, or as soon as the ledger writes again, by the
exchange's id: once, however often it is read.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import msgspec

from llm_router.billing.ledger import Settlement

SPOOL_SUFFIX = ".spool"
SPOOL_BYTES = 16 * 1024 * 1024
_MAGIC = b"LRsp"
_HEAD = 12
_END = bytes(_HEAD)


class Spooled(msgspec.Struct, frozen=True, array_like=True):
    """A settlement as it is to be written; the fields of :class:`SettleOp`."""

    settlement: Settlement
    row: tuple[Any, ...]
    rollup: tuple[Any, ...]
    sums: tuple[int, ...]
    created_ms: int
    note: str
    proof: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Spooled])


class Spool:
    """To be used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make it if need be.

        Raises:
            OSError: there is no room for it, or it cannot be opened.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _allocate(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            raise
        self._at = 0

    def read(self) -> list[Spooled]:
        """What waits. Later frames go behind it."""
        found: list[Spooled] = []
        self._at = 0
        while (frame := self._frame()) is not None:
            found += frame
        return found

    def append(self, settlements: list[Spooled]) -> bool:
        """Keep settlements, synced; False if there is no room, or the disk refuses: nothing is kept.

        Raises:
            OSError: the sync failed: nobody knows what is kept.
        """
        body = _encoder.encode(settlements)
        frame = _MAGIC + len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body + _END
        if self._at + len(frame) > SPOOL_BYTES:
            return False
        try:
            written = os.pwrite(self._descriptor, frame, self._at)
        except OSError:
            return False
        if written != len(frame):  # its checksum does not fit: no frame
            return False
        os.fsync(self._descriptor)
        self._at += len(frame) - _HEAD
        return True

    def clear(self) -> None:
        """Everything in it is booked."""
        os.pwrite(self._descriptor, _END, 0)
        os.fsync(self._descriptor)
        self._at = 0

    def close(self) -> None:
        os.close(self._descriptor)

    def _frame(self) -> list[Spooled] | None:
        head = os.pread(self._descriptor, _HEAD, self._at)
        length = int.from_bytes(head[4:8], "big")
        if head[:4] != _MAGIC or self._at + _HEAD + length > SPOOL_BYTES:
            return None
        body = os.pread(self._descriptor, length, self._at + _HEAD)
        if len(body) != length or zlib.crc32(body) != int.from_bytes(head[8:], "big"):
            return None
        self._at += _HEAD + length
        return _decoder.decode(body)


def _allocate(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size >= SPOOL_BYTES:
        return
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, SPOOL_BYTES)
    else:  # written, not only promised: sparse files have no room of their own
        zeros = bytes(1024 * 1024)
        for at in range(size, SPOOL_BYTES, len(zeros)):
            os.pwrite(descriptor, zeros[: SPOOL_BYTES - at], at)
    os.fsync(descriptor)
