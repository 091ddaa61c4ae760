"""What the operator's own requests are like: what a better model would add to each, and would cost more.

The dial is a share of money, not of calls: at 3 of 10 the requests that gain most for their price get
30 % of what it would cost extra to send everything to the best model. Which those are is a quantile of the
operator's own requests, since one fixed on other people's does not transfer. Until enough were seen, the
training data's quantiles stand in for the rest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from math import inf

import msgspec

SAMPLES_MAX = 512
"""Requests remembered: the latest."""

SAMPLES_ENOUGH = 200
"""From so many on the training data's quantiles count for nothing."""

REFRESH = 32
"""The quantiles are made again after so many requests."""

DIAL_MAX = 10.0

SCALE_MAX = 4.0
"""What the candidates at hand may gain more than the two tiers of the training data."""

_JUST = 1 - 1e-9
"""What is worth exactly the minimum is taken, whatever the rounding."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One request: what the router estimated in general, what its best candidate was expected to add to
    its cheapest, and what that would have cost more (picodollars). No text."""

    estimate: float
    gain: float
    extra_pusd: int


class Traffic:
    """The latest requests, in order. The same samples give the same quantiles."""

    def __init__(self, usual: tuple[float, ...], samples: tuple[Sample, ...] = ()) -> None:
        """``usual``: quantiles of the estimate on the training data, rising."""
        self._usual = usual
        self._samples: deque[Sample] = deque(samples[-SAMPLES_MAX:], maxlen=SAMPLES_MAX)
        self._fresh = 0
        self._worths: list[float] = []  # gain a picodollar, rising
        self._spent: list[float] = []  # the share of money that goes to what is worth at least as much
        self._estimates: list[float] = []
        self.refresh()

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(self._samples)

    def add(self, sample: Sample) -> None:
        """Take in a request, unless there was no choice between cheap and good."""
        if sample.extra_pusd <= 0 or sample.gain <= 0:
            return
        self._samples.append(sample)
        self._fresh += 1
        if self._fresh >= REFRESH or len(self._samples) < REFRESH:
            self.refresh()

    def rank(self, estimate: float) -> float:
        """The share of requests that gain less, 0..1."""
        return bisect_left(self._estimates, estimate) / max(len(self._estimates), 1)

    def worth_min(self, dial: float, extra_pusd: int, gain: float, estimate: float) -> float:
        """The gain a picodollar that a better model must bring at that setting: infinite at 0, zero at 10.

        The rest describes the request at hand: the first one is the only measure of what money is.
        """
        if dial <= 0:
            return inf
        if dial >= DIAL_MAX:
            return 0.0
        worths, spent = self._worths, self._spent
        if not worths:
            sample = Sample(estimate=estimate, gain=gain, extra_pusd=max(extra_pusd, 1))
            worths, spent = _quantiles([sample], self._usual)
        at = bisect_left(spent, dial / DIAL_MAX)
        return worths[-1 - min(at, len(worths) - 1)] * _JUST

    def refresh(self) -> None:
        """Make the quantiles of all that was taken in; else that is done from time to time."""
        self._fresh = 0
        samples = list(self._samples)
        if samples:
            self._worths, self._spent = _quantiles(samples, self._usual)
        own = sorted(s.estimate for s in samples)
        self._estimates = own if len(own) >= SAMPLES_ENOUGH else sorted((*own, *self._usual))


def _quantiles(samples: list[Sample], usual: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """Worths, rising, and for each from the highest on the share of money spent down to it."""
    pairs = [(s.gain / s.extra_pusd, float(s.extra_pusd)) for s in samples]
    missing = max(0, SAMPLES_ENOUGH - len(samples))
    estimates = sum(max(s.estimate, 0.0) for s in samples)
    if missing and usual:
        scale = min(sum(s.gain for s in samples) / max(estimates, 1e-9), SCALE_MAX)
        mean = sum(s.extra_pusd for s in samples) / len(samples)
        weight = mean * missing / len(usual)
        pairs += [(max(u, 0.0) * scale / mean, weight) for u in usual]
    pairs.sort()
    total = sum(extra for _, extra in pairs)
    spent, shares = 0.0, []
    for _, extra in reversed(pairs):
        spent += extra
        shares.append(spent / total)
    return [worth for worth, _ in pairs], shares
