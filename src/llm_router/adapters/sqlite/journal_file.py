"""The file in front of the tables: holds and settlements are durable by one append and one sync.

    frame     magic (4 bytes), length, CRC-32 of length and body (4 bytes each, big endian),
              then the body in MessagePack: a Frame

The file has its full size from the start, so no full disk can take its room. A batch is one frame: it is
there wholly or not at all. When everything in it is in the tables it begins anew at its start, with the next
**generation**: the tables name the last one that they hold wholly, in the same transaction, so no frame
can be booked twice. A frame names the end of the entries that it continues too: it fits no other file.

Each opening of the store begins with a frame without moves, so the file of a process that did not end in order
always begins with a frame of the last generation that the tables hold, or of the next. What was appended last
may be torn; sound frames behind a gap were synced after it, so the gap is damage.
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


class Held(msgspec.Struct, frozen=True, array_like=True, tag="h", gc=False):
    """A hold, as its row is to be written."""

    exchange_id: str
    account: str
    amount_pusd: int
    price_version: str
    now_ms: int


class Charged(msgspec.Struct, frozen=True, array_like=True, tag="s", gc=False):
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
        moves: none in the frame that an opening begins with; credits may come behind that one.
    """

    generation: int
    number: int
    head: bytes
    moves: tuple[Held | Charged, ...]


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds.

    Attributes:
        size: its bytes. frames: the sound ones from its start on, of one generation. end: where these end.
        begins: the generation of the first frame, sound or torn; None if no frame ever stood there.
        behind: sound frames of the generation that was looked for behind a gap, with where each begins.
    """

    size: int
    frames: list[Frame]
    end: int
    begins: int | None
    behind: list[tuple[int, Frame]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def survey(data: bytes, generation: int, head: bytes) -> Survey:
    """Look for frames everywhere in a file: behind the first gap for those of ``generation`` that continue
    the entry with the hash ``head``."""
    frames: list[Frame] = []
    end = 0
    while (read := _frame(data, end)) is not None:
        frame, after = read
        if frame.number != len(frames) or (frames and frame.generation != frames[0].generation):
            break
        frames.append(frame)
        end = after
    wanted = bool(frames) and frames[0].generation == generation
    behind: list[tuple[int, Frame]] = []
    body = b"\x94" + _encoder.encode(generation)  # an array of four, the first of which is that
    at = data.find(_MAGIC, end if wanted else 0)
    while at >= 0:
        after = at + len(_MAGIC)
        if data.startswith(body, at + _HEAD) and (read := _frame(data, at)) is not None:
            if read[0].head == head and read[0].number > 0:
                behind.append((at, read[0]))
            after = read[1]
        at = data.find(_MAGIC, after)
    return Survey(size=len(data), frames=frames, end=end, begins=_begins(data, frames), behind=behind)


def _begins(data: bytes, frames: list[Frame]) -> int | None:
    """A frame that is torn has its first sector whole: that of what stood there, or that of what was to come."""
    if frames:
        return frames[0].generation
    if data[: len(_MAGIC)] != _MAGIC or data[_HEAD : _HEAD + 1] != b"\x94":
        return None
    first = data[_HEAD + 1 : _HEAD + 2]
    size = {b"\xcc": 2, b"\xcd": 3, b"\xce": 5, b"\xcf": 9}.get(first, 1)
    try:
        return msgspec.msgpack.decode(data[_HEAD + 1 : _HEAD + 1 + size], type=int)
    except msgspec.DecodeError:
        return None


def _frame(data: bytes, at: int) -> tuple[Frame, int] | None:
    """The sound frame there, and where it ends."""
    length = int.from_bytes(data[at + 4 : at + 8], "big")
    end = at + _HEAD + length
    if data[at : at + 4] != _MAGIC or end > len(data):
        return None
    body = data[at + _HEAD : end]
    checksum = zlib.crc32(
        body, zlib.crc32(data[at + 4 : at + 8])
    )  # of the length too: what is cut there is zeros
    if checksum != int.from_bytes(data[at + 8 : at + _HEAD], "big"):
        return None
    try:
        return _decoder.decode(body), end
    except msgspec.DecodeError:  # no frame of ours
        return None


class JournalFile:
    """To be used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make it if need be. It has its whole size when the first frame is appended, see
        :meth:`allocate`.

        Raises:
            OSError: it cannot be opened.
        """
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.generation = 0
        self._at = 0
        self._number = 0
        self._frame = bytearray(_HEAD)

    @property
    def size(self) -> int:
        """Bytes of the frames of this generation."""
        return self._at

    def allocate(self) -> None:
        """Give it its whole size.

        Raises:
            OSError: there is no room for it.
        """
        _allocate(self._descriptor, self._path.parent)

    @property
    def cleared(self) -> bool:
        """Whether it is as :meth:`clear` leaves it."""
        return os.pread(self._descriptor, _HEAD, 0) == _END

    def content(self) -> bytes:
        """All that is in it, as it was found if :meth:`allocate` was not called."""
        return content_of(self._descriptor)

    def read(self) -> list[Frame]:
        """The whole frames of the generation at the file's start, up to the first that is torn or stale."""
        return survey(self.content(), 0, b"").frames

    def append(self, moves: list[Held | Charged], head: bytes) -> bool:
        """Keep moves, synced; False if there is no room, or the disk refuses: nothing is kept.

        Raises:
            OSError: the sync failed: nobody knows what is kept.
            OverflowError, UnicodeEncodeError: a value can be written nowhere; nothing is kept.
        """
        frame = self._frame
        _encoder.encode_into((self.generation, self._number, head, moves), frame, _HEAD)
        length = (len(frame) - _HEAD).to_bytes(4, "big")
        with memoryview(frame) as whole:
            checksum = zlib.crc32(whole[_HEAD:], zlib.crc32(length))
        frame[:_HEAD] = _MAGIC + length + checksum.to_bytes(4, "big")
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


def content_of(descriptor: int) -> bytes:
    """All bytes of a journal that is open."""
    return os.pread(descriptor, JOURNAL_BYTES, 0)


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
