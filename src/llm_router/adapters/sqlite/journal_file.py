"""The file in front of the tables: holds and settlements are durable by one append and one sync.

    frame     magic (4 bytes), length, CRC-32 of length and body (4 bytes each, big endian),
              then the body in MessagePack: a Frame

The file has its full size from the start, so no full disk can take its room. A batch is one frame: it is
there wholly or not at all. When everything in it is in the tables it begins anew at its start, with the next
**generation**: the tables name the last one that they hold wholly, in the same transaction, so no frame
can be booked twice. A frame names the end of the entries that it continues too: it fits no other file.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import msgspec

from llm_router.billing.budgets import Share

JOURNAL_SUFFIX = ".journal"
JOURNAL_BYTES = 16 * 1024 * 1024
_MAGIC = b"LRj1"
_HEAD = 12
_END = bytes(_HEAD)


class Held(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """A hold, as its row is to be written."""

    exchange_id: str
    account: str
    amount_pusd: int
    price_version: str
    now_ms: int


class Charged(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """A settlement, as its rows are to be written. ``held_pusd``: of the hold that it resolves, None if
    there was none; the others are the fields of ``SettleOp`` and its ``Settlement``."""

    account: str
    held_pusd: int | None
    charged_pusd: int
    shares: tuple[Share, ...]
    row: tuple[Any, ...]
    rollup: tuple[Any, ...]
    sums: tuple[int, ...]
    created_ms: int
    note: str
    proof: bytes


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """What one append made durable.

    Attributes:
        generation: of the journal. number: of the frame in it, from 0 on.
        head: hash of the last entry in the tables when the generation began.
    """

    generation: int
    number: int
    head: bytes
    moves: tuple[Held | Charged, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


class JournalFile:
    """To be used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make it if need be.

        Raises:
            OSError: there is no room for it, or it cannot be opened.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _allocate(self._descriptor, path.parent)
        except OSError:
            os.close(self._descriptor)
            raise
        self.generation = 0
        self._at = 0
        self._number = 0

    @property
    def size(self) -> int:
        """Bytes of the frames of this generation."""
        return self._at

    def read(self) -> list[Frame]:
        """The whole frames of the generation at the file's start, up to the first that is torn or stale."""
        found: list[Frame] = []
        at = 0
        while (read := self._frame(at)) is not None:
            frame, at = read
            if frame.number != len(found) or (found and frame.generation != found[0].generation):
                break
            found.append(frame)
        return found

    def append(self, moves: list[Held | Charged], head: bytes) -> bool:
        """Keep moves, synced; False if there is no room, or the disk refuses: nothing is kept.

        Raises:
            OSError: the sync failed: nobody knows what is kept.
            OverflowError, UnicodeEncodeError: a value can be written nowhere; nothing is kept.
        """
        body = _encoder.encode((self.generation, self._number, head, moves))
        length = len(body).to_bytes(4, "big")
        frame = b"".join((_MAGIC, length, zlib.crc32(body, zlib.crc32(length)).to_bytes(4, "big"), body))
        if self._at + len(frame) > JOURNAL_BYTES:
            return False
        try:
            written = os.pwrite(self._descriptor, frame, self._at)
        except OSError:
            return False
        if written != len(frame):  # its checksum does not fit: no frame
            return False
        _sync(self._descriptor)
        self._at += len(frame)
        self._number += 1
        return True

    def begin(self, generation: int) -> None:
        """Begin anew: the tables hold the generations before, and say so."""
        self.generation = generation
        self._at = self._number = 0

    def clear(self) -> None:
        """Leave nothing to be read: everything is in the tables.

        Raises:
            OSError: the disk refuses.
        """
        os.pwrite(self._descriptor, _END, 0)
        _sync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def _frame(self, at: int) -> tuple[Frame, int] | None:
        head = os.pread(self._descriptor, _HEAD, at)
        length = int.from_bytes(head[4:8], "big")
        if head[:4] != _MAGIC or at + _HEAD + length > JOURNAL_BYTES:
            return None
        body = os.pread(self._descriptor, length, at + _HEAD)
        checksum = zlib.crc32(body, zlib.crc32(head[4:8]))  # of the length too: what is cut there is zeros
        if len(body) != length or checksum != int.from_bytes(head[8:], "big"):
            return None
        return _decoder.decode(body), at + _HEAD + length


def _sync(descriptor: int) -> None:
    """The file's size never changes, so its data is all that must be on the disk."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def _allocate(descriptor: int, folder: Path) -> None:
    size = os.fstat(descriptor).st_size
    if size >= JOURNAL_BYTES:
        return
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, JOURNAL_BYTES)
    else:  # written, not only promised: sparse files have no room of their own
        zeros = bytes(1024 * 1024)
        for at in range(size, JOURNAL_BYTES, len(zeros)):
            os.pwrite(descriptor, zeros[: JOURNAL_BYTES - at], at)
    os.fsync(descriptor)
    entry = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(entry)  # a file whose name is lost is lost
    finally:
        os.close(entry)
