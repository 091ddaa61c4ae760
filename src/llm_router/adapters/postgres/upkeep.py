"""What a node does beside its requests: says that it is alive, closes dead nodes, hears of revocations."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg

from llm_router.adapters.postgres import budgets, sessions
from llm_router.adapters.postgres.keys import CHANNEL, KeyCache
from llm_router.adapters.postgres.link import FAILURES, Link
from llm_router.adapters.postgres.nodes import reap, renew
from llm_router.adapters.postgres.writer import Writer
from llm_router.ports import Clock

ROUND_S = 10.0
"""A round that takes longer is given up."""

PURGE_MS = 3_600_000
"""Pause between two rounds that delete what no budget's window holds any more."""

AGAIN_S = 0.5
"""Pause before a round after one that failed."""


class Upkeep:
    """One task with a connection of its own.

    Attributes:
        orphans: holds of dead nodes that this one voided.
    """

    def __init__(self, link: Link, writer: Writer, keys: KeyCache, clock: Clock, ttl_s: float) -> None:
        self._link = link
        self._writer = writer
        self._keys = keys
        self._clock = clock
        self._ttl_s = ttl_s
        self._heard: asyncpg.Connection | None = None
        self._purged_ms = 0
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.orphans = 0

    async def start(self) -> None:
        """
        Raises:
            one of FAILURES: the first round failed.
        """
        await self._link.run(self.round, ROUND_S)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="ledger-upkeep")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._keys.hear(False)

    async def reap(self) -> int:
        """Close dead nodes now; return how many holds were voided.

        Raises:
            one of FAILURES.
        """
        before = self.orphans
        await self._link.run(self._reap, ROUND_S)
        return self.orphans - before

    async def _run(self) -> None:
        pause_s = self._ttl_s / 3
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._due.wait()
            try:
                self._due.clear()
                await self._link.run(self.round, ROUND_S)
                pause_s = self._ttl_s / 3
            except FAILURES:
                self._keys.hear(False)
                self._writer.doubt()
                self._due.clear()
                pause_s = min(AGAIN_S, self._ttl_s / 3)

    async def round(self, connection: asyncpg.Connection) -> None:
        if self._heard is not connection:
            await self._listen(connection)
        await renew(connection, self._writer.node, self._ttl_s)  # if it was closed, its next batch finds out
        await self._reap(connection)
        now_ms = self._clock.now_ms()
        if now_ms - self._purged_ms >= PURGE_MS:
            await budgets.purge(connection, now_ms)
            await sessions.purge(connection, now_ms)
            self._purged_ms = now_ms

    async def _reap(self, connection: asyncpg.Connection) -> None:
        for closed in await reap(connection):
            self.orphans += closed.voided

    async def _listen(self, connection: asyncpg.Connection) -> None:
        await connection.add_listener(CHANNEL, self._revoked)
        connection.add_termination_listener(self._deafened)
        self._heard = connection
        self._keys.hear(True)

    def _revoked(self, connection: object, pid: int, channel: str, payload: object) -> None:
        self._keys.forget(bytes.fromhex(str(payload)))

    def _deafened(self, connection: object) -> None:
        if connection is self._heard:
            self._heard = None
            self._keys.hear(False)
            self._due.set()
