"""The connections of one origin: reused, bounded, and shared in the order of asking."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from llm_router.adapters.upstream.faults import timed_out, unavailable
from llm_router.adapters.upstream.protocol import Connection
from llm_router.domain.errors import UpstreamError

Turn = Connection | None
"""What a waiter gets: a free connection, or None for the right to open one."""


class Pool:
    """Connections of one origin. A *slot* is the right to a connection; there are ``size`` of them.

    Implements :class:`~llm_router.adapters.upstream.protocol.Owner`. The connection used last is
    taken first, so that a pool shrinks when traffic does. A freed connection goes to who waits
    longest; nobody overtakes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        label: str,
        connect: Callable[[float], Awaitable[Connection]],
        *,
        size: int,
        waiters_max: int,
        idle_s: float,
    ) -> None:
        self._loop = loop
        self._label = label
        self._connect = connect
        self._size = size
        self._waiters_max = waiters_max
        self._idle_s = idle_s
        self._idle: dict[Connection, None] = {}
        self._live: set[Connection] = set()
        self._slots = 0
        self._warming = 0
        self._waiters: deque[asyncio.Future[Turn]] = deque()
        self._closed = False

    @property
    def label(self) -> str:
        """Of the origin, for messages."""
        return self._label

    @property
    def empty(self) -> bool:
        """Whether nothing is open, opening or waited for."""
        return self._slots == 0 and not self._waiters

    @property
    def idle(self) -> int:
        """Connections ready for a request."""
        return len(self._idle)

    def take(self) -> Connection | None:
        """A ready connection, at once, or None."""
        idle = self._idle
        while idle:
            connection = idle.popitem()[0]
            if connection.usable:
                return connection
        return None

    async def acquire(self, until: float, *, fresh: bool = False) -> Connection:
        """A connection for one exchange; ``fresh`` asks for one that has served nobody yet.

        Raises:
            UpstreamError: UNAVAILABLE or TIMEOUT, with ``sent`` False, by ``until`` at the latest.
        """
        if fresh:
            self._make_room()
        while True:
            if not fresh and (ready := self.take()) is not None:
                return ready
            if self._slots < self._size and (fresh or self._warming <= len(self._waiters)):
                self._slots += 1
                return await self._open(until)
            turn = await self._wait(until)
            if turn is None:
                return await self._open(until)
            if fresh and not turn.lost:
                self._retire(turn)
                return await self._open(until)
            if turn.usable:
                return turn

    async def warm(self, until: float) -> None:
        """Open a connection for who comes next, unless one is ready or the pool is busy."""
        if self._idle or self._warming or self._waiters or self._slots >= self._size or self._closed:
            return
        self._slots += 1
        self._warming += 1
        try:
            connection = await self._open(until)
        except UpstreamError:
            return  # the request that follows will tell
        finally:
            self._warming -= 1
        self.freed(connection)

    def close(self) -> None:
        """Close all connections; who waits is told."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(unavailable(self._label, "the client is closed", sent=False))
        self._waiters.clear()
        for connection in list(self._live):
            connection.fail(unavailable(self._label, "the client was closed during the call", sent=True))

    def freed(self, connection: Connection) -> None:
        idle_s = self._idle_s
        if connection.keep_s is not None:  # be gone before the server is
            idle_s = min(idle_s, connection.keep_s - 1.0)
        if self._closed or idle_s <= 0:
            connection.close()
            return
        connection.park(self._loop.time() + idle_s)
        waiter = self._next_waiter() if self._waiters else None
        if waiter is not None:
            waiter.set_result(connection)
        else:
            self._idle[connection] = None

    def lost(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self._live.discard(connection)
        self._release_slot()

    async def _open(self, until: float) -> Connection:
        """Open a connection in a slot that the caller holds."""
        try:
            if self._closed:
                raise unavailable(self._label, "the client is closed", sent=False)
            connection = await self._connect(until)
        except BaseException:
            self._release_slot()
            raise
        connection.owner = self
        self._live.add(connection)
        if not connection.usable or self._closed:  # lost in the moment between
            connection.owner = None
            connection.close()
            self._live.discard(connection)
            self._release_slot()
            raise unavailable(self._label, "the connection was closed at once", sent=False)
        return connection

    def _retire(self, connection: Connection) -> None:
        """Close a connection but keep its slot."""
        connection.owner = None
        self._live.discard(connection)
        connection.close()

    def _make_room(self) -> None:
        """Give up the connection that has been idle longest if there is no slot left."""
        if self._slots >= self._size and self._idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.close()

    def _release_slot(self) -> None:
        self._slots -= 1
        waiter = self._next_waiter()
        if waiter is not None:
            self._slots += 1
            waiter.set_result(None)

    def _next_waiter(self) -> asyncio.Future[Turn] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    async def _wait(self, until: float) -> Turn:
        if len(self._waiters) >= self._waiters_max:
            raise unavailable(
                self._label,
                f"overloaded here: {self._waiters_max} calls already wait for a connection",
                sent=False,
            )
        waiter: asyncio.Future[Turn] = self._loop.create_future()
        self._waiters.append(waiter)
        timer = self._loop.call_at(until, self._give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())
            raise
        finally:
            timer.cancel()

    def _give_back(self, turn: Turn) -> None:
        """Pass on what came to a waiter that has been cancelled."""
        if turn is None:
            self._release_slot()
        elif turn.usable:
            self.freed(turn)

    def _give_up(self, waiter: asyncio.Future[Turn]) -> None:
        if waiter.done():
            return
        if self._slots < self._size:
            waiter.set_exception(timed_out(self._label, "connecting timed out", sent=False))
            return
        cause = f"overloaded here: all {self._size} connections were busy until the connect deadline"
        waiter.set_exception(unavailable(self._label, cause, sent=False))
