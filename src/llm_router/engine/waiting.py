"""Requests that wait for credit which others hold and will give back."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from llm_router.domain.budget import Payer

LOOK_S = 0.5
"""How long nobody looks by himself: another process may have settled."""


class WaitingRoom:
    """One queue for each payer, since whoever spends on the same path is bounded by the same budgets.

    Attributes:
        queues: those that are not empty.
    """

    def __init__(self) -> None:
        self.queues: dict[Payer, deque[asyncio.Future[None]]] = {}

    def empty(self) -> bool:
        return not self.queues

    async def wait(self, payer: Payer, timeout_s: float, *, again: bool) -> None:
        """Return when it may be worth another try, or after a while. ``again``: it keeps its place."""
        called = asyncio.get_running_loop().create_future()
        queue = self.queues.setdefault(payer, deque())
        if again:
            queue.appendleft(called)
        else:
            queue.append(called)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(timeout_s, LOOK_S)):
                    await called
        finally:
            queue.remove(called)
            if not queue:
                del self.queues[payer]

    def freed(self, account: str) -> None:
        """Credit of an account came back: call the first of each queue."""
        for payer, queue in self.queues.items():
            if payer.account == account:
                _call(queue)

    def next(self, payer: Payer) -> None:
        """One of a queue got what it waited for: there may be enough for the next."""
        queue = self.queues.get(payer)
        if queue is not None:
            _call(queue)


def _call(queue: deque[asyncio.Future[None]]) -> None:
    for called in queue:
        if not called.done():
            called.set_result(None)
            return
