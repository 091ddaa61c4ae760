"""Exchanges that go on without their client, to learn what they cost.

Some providers bill a stream to its end although nobody reads it any more. Of these the gateway reads
on in place of a client that left, within bounds of number, time and size, so that what is charged is
what was billed. All others are told to stop.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from llm_router.engine.tracks import Track
from llm_router.ports import Client

Headers = list[tuple[bytes, bytes]]


class Audience:
    """The port Client: the caller as long as it is there, then nobody."""

    def __init__(self, client: Client, drains: Drains) -> None:
        self._client = client
        self._drains = drains
        self.track: Track | None = None

    @property
    def started(self) -> bool:
        return self._client.started

    @property
    def last_sent_s(self) -> float:
        return self._client.last_sent_s

    async def start(self, status: int, headers: Headers) -> None:
        if not self._left:
            await self._client.start(status, headers)

    async def send(self, data: bytes) -> None:
        if self._left:
            return
        try:
            await self._client.send(data)
        except ConnectionError:
            if not self._goes_on():
                raise

    async def finish(self, data: bytes = b"") -> None:
        if not self._left:
            await self._client.finish(data)

    async def beat(self, status: int, headers: Headers, data: bytes) -> None:
        if not self._left:
            await self._client.beat(status, headers, data)

    @property
    def _left(self) -> bool:
        return self.track is not None and self.track.drain is not None

    def _goes_on(self) -> bool:
        task = asyncio.current_task()
        return self.track is not None and task is not None and self._drains.begin(self.track, task)


class Cancelled(Protocol):
    """What ends an exchange: its task, or what stands in its place."""

    def cancel(self) -> object: ...


class Drains:
    """Those of this process.

    Attributes:
        running: how many exchanges go on without their client.
    """

    def __init__(self) -> None:
        self.running = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def begin(self, track: Track, task: Cancelled) -> bool:
        """The client has left: whether the exchange goes on without it. If not, the task is to end."""
        if track.drain is not None:
            return True
        policy, candidate = track.state.settlement, track.candidate
        if track.settled or track.stopped or not track.content_sent or candidate is None:
            return False
        billed = candidate.provider.bills_abandoned if policy.drain == "auto" else policy.drain == "always"
        if not billed or self.running >= policy.drain_max:
            return False
        track.gone = True
        track.drain = policy.drain_bytes_max
        if track.delivery is not None:
            seen = track.delivery.observed
            track.delivered_chars = (seen.output_chars, seen.reasoning_chars)
        self.running += 1
        loop = asyncio.get_running_loop()
        self._timers[track.id] = loop.call_later(policy.drain_s, task.cancel)
        return True

    def end(self, track: Track) -> None:
        """The exchange is over, or needs its provider no more."""
        timer = self._timers.pop(track.id, None)
        if timer is not None:
            timer.cancel()
            self.running -= 1
