"""Stores as a worker sees them: over a link to whoever owns them, here in one event loop."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from store_cases import FixedClock

from llm_router.adapters.memory.counters import MemoryCounters
from llm_router.adapters.memory.responses import MemoryResponses
from llm_router.adapters.memory.sessions import MemorySessions
from llm_router.adapters.shared.hub import Hub, Session, Shared
from llm_router.adapters.shared.link import Link
from llm_router.adapters.shared.remote import RemoteBooks, RemoteKeyring, RemotePapers, RemoteRules
from llm_router.engine.background import broken_off


async def nothing_to_hear(name: str, body: object) -> bytes:
    return b"\xc0"


def hub_of(store: Any, **others: Any) -> Hub:
    values = {
        "counters": MemoryCounters(), "sessions": MemorySessions(), "responses": MemoryResponses(), "side_car": None,
        "clock": FixedClock(), "failed": broken_off, "prices": store, "papers": store, **others,
    }  # fmt: skip
    return Hub(Shared(books=store, keyring=store, rules=store, **values))


LINKED: list[tuple[Session, Link]] = []
"""Those of the running scenario."""


async def unlink() -> None:
    """Close all links, and wait until what their workers left is resolved."""
    while LINKED:
        session, link = LINKED.pop()
        link.close()
        await session.left


async def soon(condition: Any) -> None:
    """Wait until it is true: at most for many turns of the event loop."""
    for _ in range(100_000):
        if await condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


async def linked(hub: Hub, handler: Any = nothing_to_hear) -> tuple[Session, Link]:
    """A worker's link to the hub, and the session at its other end."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    session = hub.open(b"")
    await loop.create_unix_connection(lambda: session.link, sock=ours)
    _, link = await loop.create_unix_connection(lambda: Link(handler), sock=theirs)
    LINKED.append((session, link))
    return session, link


class RemoteStore:
    """Books and keyring over a link; whatever else a test asks is asked of the store itself."""

    def __init__(self, store: Any, link: Link) -> None:
        self.store = store
        books, keyring = RemoteBooks(link), RemoteKeyring(link)
        self.hold, self.settle, self.balance = books.hold, books.settle, books.balance  # type: ignore[attr-defined]
        self.credit, self.generation = books.credit, books.generation  # type: ignore[attr-defined]
        self.find, self.create, self.list = keyring.find, keyring.create, keyring.list  # type: ignore[attr-defined]
        self.get, self.of_account = keyring.get, keyring.of_account  # type: ignore[attr-defined]
        self.limits_of = RemoteRules(link).limits_of
        self.standing, self.credited, self.entries = books.standing, books.credited, books.entries  # type: ignore[attr-defined]
        self._keyring = keyring
        papers = RemotePapers(link)
        for name in papers.calls:
            setattr(self, name, getattr(papers, name))

    async def revoke(self, key_id: str, now_ms: int) -> Any:
        key = await self._keyring.revoke(key_id, now_ms)  # type: ignore[attr-defined]
        self._keyring.forget()
        return key

    async def change(self, key: Any) -> Any:
        return await self._forgetting(self._keyring.change(key))  # type: ignore[attr-defined]

    async def rotate(self, key: Any, digest: bytes) -> Any:
        return await self._forgetting(self._keyring.rotate(key, digest))  # type: ignore[attr-defined]

    async def _forgetting(self, asked: Any) -> Any:
        try:
            return await asked
        finally:
            self._keyring.forget()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def close(self) -> None:
        await unlink()
        await self.store.close()


async def remote_store(store: Any) -> RemoteStore:
    return RemoteStore(store, (await linked(hub_of(store)))[1])
