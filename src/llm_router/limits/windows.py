"""A sliding window of one minute: no sixty seconds ever hold more than the limit.

Counts are kept by the second, so a window never needs more than 61 of them, and a unit is given
back at most a second later than strictly due. Time is an argument, in milliseconds of a clock that
should not jump; when it does run backwards, what was counted moves back with it.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 60


class Window:
    """Units counted over the last minute."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts: deque[list[int]] = deque()  # [second, units], oldest first
        self.total = 0

    def advance(self, now_ms: int) -> None:
        """Forget what is older than a minute."""
        second = now_ms // 1000
        counts = self._counts
        if counts and counts[-1][0] > second:  # the clock ran backwards
            back = counts[-1][0] - second
            for entry in counts:
                entry[0] -= back
        while counts and counts[0][0] < second - WINDOW_S:
            self.total -= counts.popleft()[1]

    def add(self, units: int, now_ms: int) -> None:
        """Count ``units`` (>= 0) now. Call :meth:`advance` first."""
        second = now_ms // 1000
        if self._counts and self._counts[-1][0] == second:
            self._counts[-1][1] += units
        else:
            self._counts.append([second, units])
        self.total += units

    def correct(self, units: int) -> None:
        """Count more (or, negative, less) of what was counted last; never below nothing."""
        if not self._counts:
            return  # a minute has passed: nothing left to correct
        if units >= 0:
            self._counts[-1][1] += units
            self.total += units
            return
        for entry in reversed(self._counts):
            taken = min(entry[1], -units)
            entry[1] -= taken
            self.total -= taken
            units += taken
            if units == 0:
                return

    def free_in_ms(self, excess: int, now_ms: int) -> int:
        """Milliseconds until ``excess`` units will have left the window; 0 if there is none."""
        if excess <= 0:
            return 0
        for second, units in self._counts:
            excess -= units
            if excess <= 0:
                return max(0, (second + WINDOW_S + 1) * 1000 - now_ms)
        return WINDOW_S * 1000

    def empty_in_ms(self, now_ms: int) -> int:
        """Milliseconds until the window is empty, if nothing more comes."""
        for second, units in reversed(self._counts):
            if units > 0:
                return max(0, (second + WINDOW_S + 1) * 1000 - now_ms)
        return 0

    @property
    def empty(self) -> bool:
        return not self._counts
