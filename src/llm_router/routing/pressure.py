"""When this process itself has too much to do, and which requests it then turns away. Pure: the time is an argument.

A delay that is over soon takes up a burst; one that stays only makes every answer late. So what counts is the
*least* delay of a while, as in CoDel (https://www.rfc-editor.org/rfc/rfc8289): if even that is above the bound, a
part of the requests is refused, more with every look until the delay falls, then less again.
"""

from __future__ import annotations

from collections import deque

LOOKS = 3
"""Looks in a row that must all be above the bound."""

MORE = 0.2
LESS = 0.05
"""By what the refused part grows and falls with each look."""

PART_MAX = 0.9
"""Of the requests that are refused: the rest shows when it is over."""

BATCH_ROOM = 0.75
"""Requests of batches are served only while this part of all places at most is taken."""


class Pressure:
    """What one process knows of its own delay.

    Attributes:
        delay_s: as it was seen last.
        part: of the requests that is refused now, 0 to PART_MAX.
        refused: requests turned away so far.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.part = 0.0
        self.refused = 0
        self._seen: deque[float] = deque(maxlen=LOOKS)
        self._owed = 0.0

    def look(self, delay_s: float, most_s: float) -> None:
        """Note how late the process is. ``most_s``: how late it may be; 0: however late."""
        self.delay_s = delay_s
        self._seen.append(delay_s)
        late = most_s > 0 and len(self._seen) == LOOKS and min(self._seen) > most_s
        self.part = min(PART_MAX, self.part + MORE) if late else max(0.0, self.part - LESS)

    def refuses(self, *, batch: bool) -> bool:
        """Whether the next request is turned away: every batch, and evenly a part of the others."""
        if self.part <= 0.0:
            return False
        if not batch:
            self._owed += self.part
            if self._owed < 1.0:
                return False
            self._owed -= 1.0
        self.refused += 1
        return True
