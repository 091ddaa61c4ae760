"""A deadline that moves with every request and costs no timer each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

GRAIN_S = 5.0
"""A timer is never armed further ahead than this, so that a deadline that moves to and fro beyond it
(first byte 60 s, idle 30 s, the next request ...) finds the timer early enough and leaves it alone."""

_EARLY_S = 0.001
"""Event loops count milliseconds: a timer may fire this much before its time."""

_NEVER = float("inf")


class Deadline:
    """Call ``expired`` once at a time that may be moved, in event-loop seconds.

    One lazy timer: moving the deadline later only stores a number; the timer looks again when it
    fires. Only a move to before the armed timer touches the loop. So a busy connection costs one
    timer in GRAIN_S seconds, not two a request.
    """

    __slots__ = ("_expired", "_handle", "_loop", "armed", "at")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._handle: asyncio.TimerHandle | None = None
        self.armed = _NEVER
        self.at = _NEVER

    def move(self, at: float) -> None:
        """Set the time; what was set before is forgotten."""
        self.at = at
        if at < self.armed:
            self._arm(min(at, self._loop.time() + GRAIN_S))

    def stop(self) -> None:
        """Never fire again, and let go of the owner."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self.armed = self.at = _NEVER

    def _arm(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self.armed = at
        self._handle = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self.armed = _NEVER
        if self._loop.time() + _EARLY_S >= self.at:
            self.at = _NEVER
            self._expired()
        elif self.at != _NEVER:
            self.move(self.at)
