"""How often a request was treated badly, for orders such as ``[[error 500 x2]]``."""

from __future__ import annotations

from collections import OrderedDict

REQUESTS_MAX = 10_000
"""How many requests are remembered; the oldest go first."""


class Tries:
    """Counts by request. One per running sandbox."""

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def left(self, key: bytes, most: int) -> bool:
        """Count one try; True for the first ``most``, then False once, then from the beginning."""
        count = self._counts.pop(key, 0)
        if count >= most:
            return False
        self._counts[key] = count + 1
        if len(self._counts) > REQUESTS_MAX:
            self._counts.popitem(last=False)
        return True
