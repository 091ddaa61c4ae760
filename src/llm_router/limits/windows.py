"""A sliding window: no stretch of its length ever holds more than was let in.

Counts are kept by slices of a sixtieth of the window, so a window never needs more than 61 of them,
and a unit is given back at most a slice later than strictly due. Time is an argument, in milliseconds
of a clock that should not jump; when it does run backwards, what was counted moves back with it.
"""

from __future__ import annotations

from collections import deque

SLICES = 60


class Slice:
    """Units counted in one slice of time. ``units`` is 0 once the slice has left its window."""

    __slots__ = ("at", "units")

    def __init__(self, at: int, units: int) -> None:
        self.at = at
        self.units = units


class Window:
    """Units counted over the last ``length_ms``.

    Attributes:
        slices: oldest first; slice_ms: how long each is.
        slot: the number of the slice of the last look; seen_ms: when it was last advanced to another; moves: how often.
    """

    __slots__ = ("moves", "seen_ms", "slice_ms", "slices", "slot", "total")

    def __init__(self, length_ms: int = 60_000) -> None:
        self.slice_ms = length_ms // SLICES
        self.slices: deque[Slice] = deque()
        self.slot = -1
        self.moves = 0
        self.total = 0
        self.seen_ms = 0

    def advance(self, now_ms: int) -> None:
        """Forget what is older than the window."""
        now = now_ms // self.slice_ms
        if now == self.slot:  # nothing has aged since
            return
        self.slot, self.seen_ms, slices = now, now_ms, self.slices
        self.moves += 1
        if slices and slices[-1].at > now:  # the clock ran backwards
            back = slices[-1].at - now
            for entry in slices:
                entry.at -= back
        while slices and slices[0].at < now - SLICES:
            old = slices.popleft()
            self.total -= old.units
            old.units = 0

    def add(self, units: int, now_ms: int) -> Slice:
        """Count ``units`` (>= 0) now; return where. Call :meth:`advance` first."""
        now, slices = now_ms // self.slice_ms, self.slices
        self.total += units
        if slices and (last := slices[-1]).at == now:
            last.units += units
            return last
        made = Slice(now, units)
        slices.append(made)
        return made

    def take_back(self, units: int, where: Slice) -> None:
        """Count ``units`` less of what was counted there; never below nothing."""
        taken = units if units < where.units else where.units
        where.units -= taken
        self.total -= taken

    def free_in_ms(self, excess: int, now_ms: int) -> int:
        """Milliseconds until ``excess`` units will have left; 0 if there is none, the whole window if so
        many are not in it."""
        if excess <= 0:
            return 0
        for entry in self.slices:
            excess -= entry.units
            if excess <= 0:
                return max(0, (entry.at + SLICES + 1) * self.slice_ms - now_ms)
        return SLICES * self.slice_ms

    def empty_in_ms(self, now_ms: int) -> int:
        """Milliseconds until the window is empty, if nothing more comes."""
        for entry in reversed(self.slices):
            if entry.units > 0:
                return max(0, (entry.at + SLICES + 1) * self.slice_ms - now_ms)
        return 0

    def left_ms(self, where: Slice, now_ms: int) -> int:
        """The same, when something was counted there just now."""
        if where.units > 0:
            return (where.at + SLICES + 1) * self.slice_ms - now_ms
        return self.empty_in_ms(now_ms)

    @property
    def empty(self) -> bool:
        return not self.slices
