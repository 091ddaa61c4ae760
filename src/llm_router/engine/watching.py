"""Looks at how late this process is: its event loop, and the settlements that wait for the ledger."""

from __future__ import annotations

from collections.abc import Callable

from llm_router.engine.trying import Pause
from llm_router.ports import Clock
from llm_router.routing.pressure import Pressure

LOOK_S = 0.2
"""How often it is looked."""

LAG_S = 0.005
"""So late, this process adds to every time that it measures: it cannot tell a slow deployment from itself."""


class Waits:
    """What waits for the ledger.

    Attributes:
        since_us: of each since when, in the order in which it began.
    """

    def __init__(self) -> None:
        self.since_us: dict[str, int] = {}

    def begin(self, id_: str, now_us: int) -> None:
        self.since_us[id_] = now_us

    def end(self, id_: str) -> None:
        self.since_us.pop(id_, None)

    def oldest_us(self) -> int | None:
        """When what waits for longest began to; None if nothing does."""
        return next(iter(self.since_us.values()), None)


class Watch:
    """One per process.

    Attributes:
        pressure: what follows from what it saw.
        waits: settlements under way.
    """

    def __init__(self, clock: Clock, pause: Pause) -> None:
        self.pressure = Pressure()
        self.waits = Waits()
        self._clock = clock
        self._pause = pause

    def lagging(self) -> bool:
        """Whether times that are measured now are its own rather than a provider's."""
        return self.pressure.delay_s > LAG_S

    async def run(self, most_s: Callable[[], float]) -> None:
        """Look until cancelled. ``most_s``: how late the process may be, as configured now."""
        while True:
            before_us = self._clock.monotonic_us()
            await self._pause(LOOK_S)
            self.look(before_us, most_s())

    def look(self, before_us: int, most_s: float) -> None:
        """Note how late it is: by how much a pause of LOOK_S that began then was longer, or how long a
        settlement waits."""
        now_us = self._clock.monotonic_us()
        late_us = now_us - before_us - round(LOOK_S * 1_000_000)
        oldest_us = self.waits.oldest_us()
        if oldest_us is not None:
            late_us = max(late_us, now_us - oldest_us)
        self.pressure.look(max(0, late_us) / 1_000_000, most_s)
