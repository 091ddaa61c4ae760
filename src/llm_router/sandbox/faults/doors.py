"""Listening sockets that are shut for a time, so that connections are really refused."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable

from llm_router.sandbox.faults.rules import Rule

Factory = Callable[[], asyncio.Protocol]


class Door:
    """A port that is ours from first to last, whether anybody listens there or not.

    ``shut_out``: called with the port when it shuts; open connections are to be dropped.
    """

    def __init__(
        self,
        listener: socket.socket,
        rules: Iterable[Rule],
        factory: Factory,
        shut_out: Callable[[int], None],
    ) -> None:
        self._family = listener.family
        self._address = listener.getsockname()
        self._listener: socket.socket | None = listener
        self._server: asyncio.Server | None = None
        self._windows = [(rule.from_s, rule.to_s) for rule in rules]
        self._factory = factory
        self._shut_out = shut_out
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return int(self._address[1])

    async def begin(self) -> None:
        """Open or shut it as its rules say for the start, and follow them from then on.

        Raises:
            OSError: its address is of no use any more.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await self._set(0.0)
        self._task = loop.create_task(self._follow(began_s), name=f"door {self.port}")

    async def close(self) -> None:
        """Let go of the port."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._server is not None:
            self._server.close()
        if self._listener is not None:
            self._listener.close()

    async def _follow(self, began_s: float) -> None:
        loop = asyncio.get_running_loop()
        for edge_s in sorted({edge for window in self._windows for edge in window}):
            if 0 < edge_s < float("inf"):
                await asyncio.sleep(began_s + edge_s - loop.time())
                await self._set(edge_s)

    async def _set(self, now_s: float) -> None:
        refused = any(begin <= now_s < end for begin, end in self._windows)
        if refused:
            self._shut()
        elif self._server is None:
            listener = self._bound() if self._listener is None else self._listener
            self._listener = None
            self._server = await asyncio.get_running_loop().create_server(self._factory, sock=listener)

    def _shut(self) -> None:
        """Stop listening, and keep the address with a socket that does not."""
        if self._server is not None:
            self._server.close()
            self._server = None
        elif self._listener is not None:
            self._listener.close()
        self._listener = self._bound()
        self._shut_out(self.port)

    def _bound(self) -> socket.socket:
        made = socket.socket(self._family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(self._address)
        made.setblocking(False)
        return made
