"""A reply as its reader sees it: pieces of a body that arrive while they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from math import inf
from typing import Protocol

import msgspec

from llm_router.adapters.upstream.faults import malformed, truncated
from llm_router.adapters.upstream.framing import Framing
from llm_router.adapters.upstream.inflate import ENCODINGS, Inflater
from llm_router.domain.errors import UpstreamError
from llm_router.ports import Deadlines


class Wire(Protocol):
    """What a reply needs of its connection."""

    label: str

    def expect(self, at: float) -> None:
        """Fail the reply with a timeout when it is still being waited for at that time."""
        ...

    def drained(self, reply: LeanReply) -> None:
        """The reader of that reply has taken everything that was queued."""
        ...

    def drop(self, reply: LeanReply, error: UpstreamError) -> None:
        """Close the connection if it still serves this reply, which then ends with ``error``."""
        ...


class LeanReply(msgspec.Struct, eq=False):
    """One reply on one connection. Implements :class:`~llm_router.ports.UpstreamReply`.

    The connection writes (``take_head``, ``push``, ``end``, ``fail``), one task reads. When the last
    byte has come the connection is already back in its pool, whatever the reader does.

    Attributes:
        complete: the whole body has arrived (not: has been read); failure: why it ended before.
    """

    _loop: asyncio.AbstractEventLoop
    method: str
    _deadlines: Deadlines
    total_due: float
    _first_due: float = 0.0
    _content_due: float = inf
    status: int = 0
    size: int = 0
    complete: bool = False
    failure: UpstreamError | None = None
    _begun: bool = False
    _length: int | None = None
    _framing: Framing | None = None
    _wire: Wire | None = None
    _pieces: list[bytes] = msgspec.field(default_factory=list)
    _inflater: Inflater | None = None
    _refused: str | None = None
    _waiter: asyncio.Future[None] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Of the reply, with lower-case names; none before its head was read."""
        return {} if self._framing is None else self._framing.headers

    @property
    def awaited(self) -> bool:
        """Whether a reader waits for bytes right now; if not, an idle gap is the reader's own."""
        return self._waiter is not None

    # The connection's side.

    def start(self, wire: Wire, now: float) -> float:
        """The request is about to be written: return when its first byte is due."""
        self._wire = wire
        due = now + self._deadlines.first_byte_s
        if due > self.total_due:
            due = self.total_due
        self._first_due = due
        return due

    def take_head(self, status: int, framing: Framing) -> None:
        """The head is read."""
        self.status = status
        self._framing = framing
        coding = framing.coding
        if coding in ENCODINGS and not framing.bodiless:
            self._inflater = Inflater(coding)
        elif coding not in ("identity", ""):
            self._refused = f"the body has the content-encoding {coding[:40]!r}, which was not asked for"
        elif not framing.bodiless:
            self._length = framing.length

    def take_whole(self, framing: Framing, body: bytes) -> None:
        """The head and all of a body that is as it was asked for, at once."""
        self.status = 200
        self._framing = framing
        self._length = size = framing.length
        assert size is not None
        self.size = size
        self._begun = self.complete = True
        self._pieces.append(body)

    def more(self, piece: bytes) -> bool:
        """Whether somebody takes these body bytes at once; if not, they are to be pushed."""
        return False

    def due_again(self) -> float | None:
        """A deadline has passed: the one that holds now, if bytes were taken meanwhile."""
        return None

    def push(self, piece: bytes) -> None:
        """Body bytes as they came."""
        self._begun = True
        self._pieces.append(piece)
        self.size += len(piece)

    def end(self) -> None:
        """The body is complete."""
        self.complete = True

    def fail(self, error: UpstreamError) -> None:
        """The reply ends here, in failure; what came before may still be read."""
        if self.failure is None and not self.complete:
            self.failure = error
        self.wake()

    def overdue(self, now: float) -> str:
        """Which deadline it was that passed now."""
        deadlines = self._deadlines
        if now + 0.002 >= self.total_due:
            return f"the call was not over within {deadlines.total_s:g} s"
        if not self._begun:
            return f"no first byte within {deadlines.first_byte_s:g} s"
        if now + 0.002 >= self._content_due:
            first = self._content_due == self._first_due
            return f"no content within {deadlines.first_byte_s if first else deadlines.silence_s:g} s"
        return f"no further byte for {deadlines.idle_s:g} s"

    def wake(self) -> None:
        """Let the reader look again."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    # The reader's side.

    async def head(self) -> None:
        """Wait until the head is read.

        Raises:
            UpstreamError: see :meth:`llm_router.ports.Upstream.send`.
        """
        while self.status == 0:
            if self.failure is not None:
                raise self.failure
            await self._wait()

    def chunks(self) -> AsyncIterator[bytes]:
        """The decoded body, as it comes. What waits in several pieces is joined once."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while True:
            piece = self._take()
            if piece:
                return piece
            if self.failure is not None:
                raise self.failure
            if self.complete:
                self._check_inflated()
                raise StopAsyncIteration
            await self._wait_body()

    def expect_content(self, *, more: bool) -> None:
        """As the port says."""
        self._content_due = self._loop.time() + self._deadlines.silence_s if more else self._first_due

    async def read(self, bytes_max: int) -> bytes:
        """The whole decoded body, see :meth:`llm_router.ports.UpstreamReply.read`."""
        if self._length is not None and self._length > bytes_max:
            raise self._abandon(f"the body is larger than {bytes_max} bytes")
        first, size = b"", 0
        rest: BytesIO | None = None  # gives its buffer away: a list of pieces would be there beside their sum
        async for piece in self:
            size += len(piece)
            if size > bytes_max:
                first, rest = b"", None  # the error keeps this frame
                raise self._abandon(f"the body is larger than {bytes_max} bytes")
            if not first:
                first = piece
                continue
            if rest is None:
                rest = BytesIO()
                rest.write(first)
            rest.write(piece)
        return first if rest is None else rest.getvalue()

    async def close(self) -> None:
        """Let go of the reply. Before its end this closes the connection, which stops the provider."""
        if not self.complete and self._wire is not None:
            self._wire.drop(self, truncated(self._wire.label, "the reply was closed before its end"))
        self._pieces.clear()

    def _take(self) -> bytes:
        pieces = self._pieces
        if self._refused is not None and pieces:
            raise self._abandon(self._refused)
        if self._inflater is not None:
            return self._inflate(self._inflater)
        if not pieces:
            return b""
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._drained()
        return piece

    def _inflate(self, inflater: Inflater) -> bytes:
        """Inflate only what is asked for: what waits stays compressed."""
        pieces = self._pieces
        try:
            while inflater.pending or pieces:
                output = inflater.feed(b"" if inflater.pending else pieces.pop(0))
                if not pieces:
                    self._drained()
                if output:
                    return output
        except ValueError as error:
            raise self._abandon(str(error)) from error
        return b""

    def _check_inflated(self) -> None:
        if self._inflater is not None and not self._inflater.complete:
            raise truncated(self._label(), "the compressed body is cut off")

    def _abandon(self, cause: str) -> UpstreamError:
        """Stop reading: the error to raise. The connection is closed, since more may be coming."""
        error = malformed(self._label(), cause)
        self._pieces.clear()
        if self._wire is not None:
            self._wire.drop(self, error)
        self.failure = error
        return error

    def _drained(self) -> None:
        self.size = 0
        if self._wire is not None:
            self._wire.drained(self)

    def _label(self) -> str:
        return "the provider" if self._wire is None else self._wire.label

    async def _wait_body(self) -> None:
        """Wait for bytes; the first are due by the first-byte deadline or idle_s from now, whichever
        is later, for a provider may send the head at once and think afterwards."""
        due = self._loop.time() + self._deadlines.idle_s
        if not self._begun and due < self._first_due:
            due = self._first_due
        if self._wire is not None:
            self._wire.expect(min(due, self._content_due, self.total_due))
        await self._wait()

    async def _wait(self) -> None:
        assert self._waiter is None, "a reply has one reader"
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self._waiter = None
            if self._wire is not None:
                self._wire.drop(self, truncated(self._wire.label, "the call was cancelled"))
            raise
