"""Calls without a task: sent at once, and listened to. See :class:`llm_router.ports.PromptUpstream`."""

from __future__ import annotations

import asyncio

from llm_router.adapters.upstream.faults import truncated, unavailable
from llm_router.adapters.upstream.pool import Pool
from llm_router.adapters.upstream.protocol import Connection
from llm_router.adapters.upstream.reply import LeanReply
from llm_router.domain.errors import UpstreamError
from llm_router.ports import Deadlines, Listener
from llm_router.wire.cut import Pieces


class PreparedRequest:
    """Implements :class:`~llm_router.ports.Prepared`."""

    __slots__ = ("_loop", "_method", "_pool", "_start")

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool, method: str, start: bytes) -> None:
        self._loop = loop
        self._pool = pool
        self._method = method
        self._start = start

    def launch(
        self, body: bytes | Pieces, deadlines: Deadlines, total_s: float, listener: Listener
    ) -> ListenedReply:
        """As the port says."""
        now_s = self._loop.time()
        total_due_s = now_s + total_s
        reply = ListenedReply(self._loop, self._method, deadlines, total_due_s, _listener=listener)
        size = len(body) if isinstance(body, bytes) else sum(map(len, body))
        head = b"%bcontent-length: %d\r\n\r\n" % (self._start, size)
        connection = self._pool.take()
        if connection is not None:
            reply._connection = connection
            connection.begin(reply, head, body)
        else:
            until = min(now_s + deadlines.connect_s, total_due_s)
            reply.dialling = self._loop.create_task(self._dial(reply, head, body, until))
        return reply

    async def _dial(self, reply: ListenedReply, head: bytes, body: bytes | Pieces, until: float) -> None:
        """Send as soon as there is a connection; the listener hears if there is none in time."""
        try:
            connection = await self._pool.acquire(until)
        except UpstreamError as error:
            reply.dialling = None
            reply.fail(error)
        except BaseException:  # nobody may wait for ever; of an abort nobody is told
            reply.dialling = None
            reply.fail(unavailable(self._pool.label, "the connection could not be made", sent=False))
            raise
        else:
            reply.dialling = None
            reply.begin(connection, head, body)


class ListenedReply(LeanReply):
    """Implements :class:`~llm_router.ports.LiveReply`: the connection tells a listener where it would wake a
    reader.

    What the listener takes at once moves no deadline: the one that was set comes early then, and is set anew.

    Attributes:
        dialling: what waits for a connection, while there is none.
    """

    dialling: asyncio.Task[None] | None = None
    _listener: Listener | None = None
    _more_s: float | None = None
    _connection: Connection | None = None

    def begin(self, connection: Connection, head: bytes, body: bytes | Pieces) -> None:
        """Send the request; the reply comes on that connection."""
        self._connection = connection
        connection.begin(self, head, body)

    @property
    def awaited(self) -> bool:
        """Whether somebody listens: an idle gap is the provider's."""
        return self._listener is not None

    @property
    def stale(self) -> bool:
        """Whether its connection had been closed before the request came."""
        return self._connection is not None and self._connection.stale

    def wake(self) -> None:
        listener = self._listener
        if listener is not None:
            listener.on_upstream()

    def more(self, piece: bytes) -> bool:
        """Let the listener take it, unless something waits before it. It is content: further bytes are due by that."""
        listener = self._listener
        if listener is None or self._pieces or not self._begun or self._inflater is not None:
            return False
        if not listener.on_more(piece):
            return False
        self._more_s = self._loop.time()
        return True

    def _hear_of_more(self) -> None:
        """What was taken at once only left its time behind. It was content."""
        at_s, self._more_s = self._more_s, None
        if at_s is not None:
            self._content_due = at_s + self._deadlines.silence_s

    def due_again(self) -> float | None:
        """When further bytes are due after what was taken at once; None if nothing was since somebody asked."""
        at_s = self._more_s
        if at_s is None:
            return None
        self._hear_of_more()
        return min(at_s + self._deadlines.idle_s, self._content_due, self.total_due)

    def expect_content(self, *, more: bool) -> None:
        self._hear_of_more()
        super().expect_content(more=more)

    @property
    def whole(self) -> bytes | None:
        """As the port says."""
        pieces = self._pieces
        if not self.complete or len(pieces) != 1 or self._inflater is not None or self._refused is not None:
            return None
        return pieces[0]

    def take(self) -> bytes:
        """As the port says."""
        pieces = self._pieces
        if self._inflater is not None or self._refused is not None:
            piece = self._take()
            if not piece and self.complete and self.failure is None:
                self._check_inflated()
            return piece
        if not pieces:
            return b""
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if not self.complete:  # else the connection serves another already
            self._drained()
        return piece

    def expect(self, within_s: float) -> None:
        """As the port says; the first bytes are due by the first-byte deadline if that is later."""
        self._hear_of_more()
        due = self._loop.time() + within_s
        if not self._begun and due < self._first_due:
            due = self._first_due
        if self._wire is not None:
            self._wire.expect(min(due, self._content_due, self.total_due))

    def abort(self) -> None:
        """As the port says. Nobody is told any more."""
        self._listener = None
        dialling, self.dialling = self.dialling, None  # no cycle: what is over must be freed at once
        if dialling is not None:
            dialling.cancel()
        if not self.complete and self._wire is not None:
            self._wire.drop(self, truncated(self._wire.label, "the reply was closed before its end"))
        self._pieces.clear()
