"""Who may call a deployment that takes only so many calls at a time: now, after a short wait, or not at all.

room ─────────── go                            routing/concurrency.py learns how much there is
another's room ─ the request goes there
none ─────────── wait, shortly, in a bounded queue: who is in a hurry before batches
too long a wait  refused at once, with Retry-After: better than an answer that comes too late
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from llm_router.domain.errors import Overloaded
from llm_router.domain.key import Key
from llm_router.routing.concurrency import Lane, Lanes, Place, Went

RETRY_S_MIN = 1.0
RETRY_S_MAX = 30.0

STANDING = 0.25
"""Of the usual wait, once a queue has not been empty for that long: it takes up no burst, it only delays."""

SURE = 0.8
"""A wait is begun only if it is likely to be over in this part of the time."""


class _Waiter:
    """A request that waits for a place at any of some deployments."""

    __slots__ = ("called", "urgent")

    def __init__(self, called: asyncio.Future[str | None], urgent: bool) -> None:
        self.called = called
        self.urgent = urgent


class Promise:
    """A place that is kept for a call which begins a little later."""

    def __init__(self, deployment: str, lane: Lane) -> None:
        self.deployment = deployment
        self._lane: Lane | None = lane
        lane.promised += 1

    def redeem(self) -> None:
        """The call begins, or will not; a second word is not heard."""
        if self._lane is not None:
            self._lane.promised -= 1
            self._lane = None


class Gate:
    """One per process.

    Attributes:
        lanes: how many calls each deployment takes.
        queues: of deployments that have one, who waits for a place there.
    """

    def __init__(self) -> None:
        self.lanes = Lanes()
        self.queues: dict[str, deque[_Waiter]] = {}
        self._since_s: dict[str, float] = {}  # when a queue that is not empty began

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len({id(waiter) for queue in self.queues.values() for waiter in queue})

    def check(self, deployments: Sequence[str], *, urgent: bool) -> None:
        """Refuse a request early that would be refused later.

        Raises:
            Overloaded: no deployment has room, and none will have soon enough.
        """
        if not any(self.lanes.room(id_) for id_ in deployments):
            timeout_s = self.lanes.rules.wait_s_max
            if not any(self._worth_waiting(id_, timeout_s, urgent) for id_ in deployments):
                raise self.refusal(deployments)

    async def place(self, deployments: Sequence[str], timeout_s: float, *, urgent: bool) -> str:
        """One of the deployments that takes a call now; let the call begin before anything else is awaited.

        Raises:
            Overloaded: none does, not soon enough either.
        """
        for id_ in deployments:
            if self.lanes.room(id_):
                return id_
        timeout_s = min(timeout_s, self.lanes.rules.wait_s_max)
        queues = [id_ for id_ in deployments if self._worth_waiting(id_, timeout_s, urgent)]
        found = await self._wait(queues, timeout_s, urgent) if queues else None
        if found is None:
            raise self.refusal(deployments)
        return found

    def promise(self, deployment: str) -> Promise:
        """Keep a place for a call that begins a little later."""
        return Promise(deployment, self.lanes.lane(deployment))

    def leave(self, place: Place, now_ms: int, went: Went, kind: int, sample: float | None) -> None:
        """A call is over: who waits for its place gets it."""
        place.lane.leave(place, now_ms, went, kind, sample)
        if self.queues:
            self.call(place.lane.deployment)

    def refusal(self, deployments: Sequence[str]) -> Overloaded:
        """What a request is told for which there is no place."""
        self.lanes.lane(deployments[0]).shed += 1
        soonest_ms = min(self.lanes.wait_ms(id_, self._ahead(id_, urgent=False)) for id_ in deployments)
        return Overloaded(
            "Every deployment that could answer has as many calls under way as it takes. Retry shortly.",
            retry_after_s=min(RETRY_S_MAX, max(RETRY_S_MIN, soonest_ms / 1000)),
        )

    def _worth_waiting(self, deployment: str, timeout_s: float, urgent: bool) -> bool:
        ahead = self._ahead(deployment, urgent)
        if timeout_s <= 0 or ahead >= self.lanes.rules.queue_max:
            return False
        since_s = self._since_s.get(deployment)
        if since_s is not None and asyncio.get_running_loop().time() - since_s > self.lanes.rules.wait_s_max:
            timeout_s *= STANDING
        return self.lanes.wait_ms(deployment, ahead) <= SURE * 1000 * timeout_s

    def _ahead(self, deployment: str, urgent: bool) -> int:
        queue = self.queues.get(deployment, ())
        return sum(waiter.urgent for waiter in queue) if urgent else len(queue)

    async def _wait(self, deployments: Sequence[str], timeout_s: float, urgent: bool) -> str | None:
        """Wait in the queues of all of them; whose place is free first, or None."""
        waiter = _Waiter(asyncio.get_running_loop().create_future(), urgent)
        for id_ in deployments:
            self._make_room(id_, urgent)
            self.queues.setdefault(id_, deque()).append(waiter)
            self._since_s.setdefault(id_, asyncio.get_running_loop().time())
        kept = False
        try:
            async with asyncio.timeout(timeout_s):
                found = await waiter.called
            kept = True
            return found
        except TimeoutError:
            return None
        finally:
            for id_ in deployments:
                self.queues[id_].remove(waiter)
                if not self.queues[id_]:
                    del self.queues[id_], self._since_s[id_]
            self._redeem(waiter, kept)

    def _redeem(self, waiter: _Waiter, kept: bool) -> None:
        """The place that was promised is taken, or goes to the next if nobody came for it."""
        called = waiter.called
        found = called.result() if called.done() and not called.cancelled() else None
        if found is not None:
            self.lanes.lane(found).promised -= 1
            if not kept:
                self.call(found)

    def _make_room(self, deployment: str, urgent: bool) -> None:
        """A queue that is full gives up the batch that came last for who is in a hurry."""
        queue = self.queues.get(deployment)
        if queue is None or not urgent or len(queue) < self.lanes.rules.queue_max:
            return
        for waiter in reversed(queue):
            if not waiter.urgent and not waiter.called.done():
                waiter.called.set_result(None)
                return

    def call(self, deployment: str) -> None:
        """Give the places that are free to those who wait, the urgent first."""
        queue = self.queues.get(deployment)
        while queue and self.lanes.room(deployment):
            open_ = [waiter for waiter in queue if not waiter.called.done()]
            if not open_:
                return
            first = next((waiter for waiter in open_ if waiter.urgent), open_[0])
            self.lanes.lane(deployment).promised += 1
            first.called.set_result(deployment)


def is_urgent(key: Key | None) -> bool:
    """Whether somebody waits for the answers of a key's requests."""
    return key is None or key.priority == "interactive"
