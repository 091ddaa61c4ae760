"""Names to addresses, remembered for a moment."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host and port, best first. Raises OSError."""

NAMES_MAX = 256
"""Names remembered at once; beyond, the oldest is forgotten."""


async def system_resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver, without its duplicates.

    Raises:
        OSError: the name has no address, or the resolver failed.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Names:
    """A short cache of resolved names. Lookups of one name at the same time are made once.

    Failures are not remembered. An address that took a connection moves to the front, so that a dead
    first address delays one connection and not each.
    """

    def __init__(self, resolve: Resolve, ttl_s: float) -> None:
        self._resolve = resolve
        self._ttl_s = ttl_s
        self._known: dict[tuple[str, int], tuple[float, list[str]]] = {}
        self._asked: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def find(self, host: str, port: int) -> list[str]:
        """Raises OSError when there is no address."""
        key = (host, port)
        known = self._known.get(key)
        if known is not None and known[0] > asyncio.get_running_loop().time():
            return list(known[1])
        task = self._asked.get(key)
        if task is None:
            task = asyncio.ensure_future(self._ask(key))
            self._asked[key] = task
            task.add_done_callback(lambda done: self._answered(key, done))
        return list(await asyncio.shield(task))

    def prefer(self, host: str, port: int, address: str) -> None:
        """That address works: try it first next time."""
        known = self._known.get((host, port))
        if known is not None and address in known[1]:
            known[1].remove(address)
            known[1].insert(0, address)

    async def _ask(self, key: tuple[str, int]) -> list[str]:
        addresses = list(await self._resolve(*key))
        if not addresses:
            raise OSError("the name has no address")
        while len(self._known) >= NAMES_MAX:
            del self._known[next(iter(self._known))]
        self._known[key] = (asyncio.get_running_loop().time() + self._ttl_s, addresses)
        return addresses

    def _answered(self, key: tuple[str, int], task: asyncio.Task[list[str]]) -> None:
        self._asked.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who waited have it; if all of them left, nobody needs it
