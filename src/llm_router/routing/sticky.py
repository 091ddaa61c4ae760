"""Where sessions were served, so that the next turn finds its prompt in the cache. Pure: time is an argument."""

from __future__ import annotations

from collections import OrderedDict

import msgspec


class Stuck(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session was served last.

    Attributes:
        input_tokens: of that request: so much of the next one may be in the cache.
        until_ms: Unix time from which it does not count any more.
    """

    deployment: str
    input_tokens: int
    until_ms: int


class Sticky:
    """A bounded table; what was used least recently is forgotten first."""

    def __init__(self) -> None:
        self._places: OrderedDict[str, Stuck] = OrderedDict()

    def find(self, key: str, now_ms: int) -> Stuck | None:
        """Where a session was served; None if nobody knows, or it is too long ago."""
        place = self._places.get(key)
        if place is not None and place.until_ms <= now_ms:
            del self._places[key]
            return None
        return place

    def keep(
        self, key: str, deployment: str, input_tokens: int, now_ms: int, *, ttl_s: float, entries_max: int
    ) -> None:
        """A session was served there."""
        self._places[key] = Stuck(
            deployment=deployment, input_tokens=input_tokens, until_ms=now_ms + round(ttl_s * 1000)
        )
        self._places.move_to_end(key)
        while len(self._places) > entries_max:
            self._places.popitem(last=False)
