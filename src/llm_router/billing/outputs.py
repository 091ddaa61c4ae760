"""How long answers are: learned by key and model, for what is expected, never for what is owed.

A histogram per key and model, and one per model for keys that are new to it. Its buckets grow by a
quarter, so a quantile is known within a quarter; all counts are halved from time to time, so that
what was learned long ago fades. Memory is bounded: who was seen least recently is forgotten. Nothing
of it is kept over a restart, since a few dozen answers teach it again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, OrderedDict

import msgspec

from llm_router.domain.usage import MAX_COUNT

PLACES_MAX = 10_000
"""Histograms kept; each is a few kB at most."""

HEARD_MAX = 256
"""Answers that are counted together."""

SAMPLES_MIN = 20
"""Fewer answers teach nothing of a quantile."""

SAMPLES_FADE = 1024
"""At so many all counts are halved."""


def _bounds() -> tuple[int, ...]:
    bounds = [0, 1]
    while bounds[-1] < MAX_COUNT:
        bounds.append(max(bounds[-1] + 1, bounds[-1] * 5 // 4))
    return tuple(bounds)


BOUNDS = _bounds()
"""The largest count of each bucket."""


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """Output tokens of one choice. ``high`` is above 99 answers of 100."""

    mean: int
    high: int
    samples: int


class _Histogram:
    __slots__ = ("counts", "samples", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.samples = 0
        self.total = 0

    def add(self, tokens: int, bucket: int, times: int) -> None:
        self.counts[bucket] = self.counts.get(bucket, 0) + times
        self.samples += times
        self.total += tokens * times
        if self.samples >= SAMPLES_FADE:
            self._fade()

    def _fade(self) -> None:
        before = self.samples
        self.counts = {bucket: half for bucket, n in self.counts.items() if (half := n // 2)}
        self.samples = sum(self.counts.values())
        self.total = self.total * self.samples // before

    def high(self, percent: int) -> int:
        """The bound below which so many of a hundred are."""
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen * 100 >= percent * self.samples:
                return BOUNDS[bucket]
        return 0


class Outputs:
    """What was learned. In memory, one step each."""

    def __init__(self, places_max: int = PLACES_MAX) -> None:
        self._places_max = places_max
        self._places: OrderedDict[tuple[str, str], _Histogram] = OrderedDict()
        self._heard: list[tuple[str, str, int]] = []

    def learn(self, key: str, model: str, tokens: int) -> None:
        """Take in a whole answer. It is counted with others, as soon as somebody asks or many have come."""
        heard = self._heard
        heard.append((key, model, tokens))
        if len(heard) >= HEARD_MAX:
            self._count()

    def _count(self) -> None:
        """Count what was heard: of some hundred answers many are alike."""
        places, heard = self._places, self._heard
        self._heard = []
        for (key, model, tokens), times in Counter(heard).items():
            tokens = min(max(tokens, 0), MAX_COUNT)
            bucket = bisect_left(BOUNDS, tokens)
            for place in ((key, model), ("", model)):
                histogram = places.get(place)
                if histogram is None:
                    histogram = places[place] = _Histogram()
                else:
                    places.move_to_end(place)
                histogram.add(tokens, bucket, times)
        while len(places) > self._places_max:
            places.popitem(last=False)

    def expect(self, key: str, model: str) -> Learned | None:
        """What answers to that key are like, else those of that model; None if too few were seen."""
        if self._heard:
            self._count()
        for place in ((key, model), ("", model)):
            histogram = self._places.get(place)
            if histogram is not None and histogram.samples >= SAMPLES_MIN:
                return Learned(
                    mean=histogram.total // histogram.samples,
                    high=histogram.high(99),
                    samples=histogram.samples,
                )
        return None
