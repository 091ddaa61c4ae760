"""Hours that are over are added up for long reports, a little at a time."""

from __future__ import annotations

import asyncio
import contextlib

from llm_router.billing.rollups import HOUR_MS
from llm_router.domain.errors import LedgerUnavailable
from llm_router.ports import Clock, PaperBooks

LATE_MS = 300_000
"""An hour is folded when it has been over for so long: most of its exchanges are settled then."""

ROUND_S = 60.0
"""Pause when there is nothing to fold."""

SHARE = 4
"""Of the time, one part in so many goes to folding what was there before: the store has other things to do."""


async def keep_folded(books: PaperBooks, clock: Clock) -> None:
    """Fold what there is, and then every hour that ends. Runs until it is cancelled."""
    while True:
        pause_s, begin_us = ROUND_S, clock.monotonic_us()
        with contextlib.suppress(LedgerUnavailable):  # the next round tries again
            if await books.fold((clock.now_ms() - LATE_MS) // HOUR_MS):
                pause_s = (clock.monotonic_us() - begin_us) * (SHARE - 1) / 1e6
        await asyncio.sleep(pause_s)
