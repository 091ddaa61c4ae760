"""The only file that reads a clock (adapters/ids.py apart, whose ids sort by time)."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clocks. Implements the port Clock."""

    def now_ms(self) -> int:
        """Unix time in milliseconds. May jump when the machine's time is set."""
        return time.time_ns() // 1_000_000

    def monotonic_us(self) -> int:
        """Microseconds since some fixed moment; never jumps, never runs backwards."""
        return time.monotonic_ns() // 1000
