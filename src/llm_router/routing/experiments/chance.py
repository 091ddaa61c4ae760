"""How far chance goes: intervals for what is read once, and for what is read again and again.

Who looks at a running experiment every day and stops when the difference "is significant" finds one sooner or
later, whether there is one or not. So there are two kinds of intervals here:

* *anytime* ones hold at all times together: with the stated confidence the truth is never outside of any of
  them, however often one looks and whenever one stops. For means: asymptotic confidence sequences (Waudby-Smith,
  Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit theory and asymptotic confidence sequences, 2021,
  https://arxiv.org/abs/2103.06476). For shares: the mixture of binomials of Robbins (1970) with Jeffreys'
  prior, exact.
* *single-look* ones hold for one look at a time that was fixed before: Welch's for means, Wilson's (1927) for
  shares, Newcombe's (1998, method 10) for their difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, inf, isfinite, lgamma, log, log1p, sqrt

import msgspec

ALPHA = 0.05
Z = 1.959963984540054
"""Of the normal distribution, for ALPHA on both sides."""

TUNED_FOR = 1000
"""Observations at which anytime intervals are narrowest, in relation to single-look ones."""


class Interval(msgspec.Struct, frozen=True):
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether it leaves no doubt on which side of 0 the truth is."""
        return self.low > 0 or self.high < 0


class Mean(msgspec.Struct, frozen=True, kw_only=True):
    """A mean and how far it may be off.

    Attributes:
        count: observations; groups: those that hold any.
        variance: of the mean, None where there is but one group.
    """

    value: float
    count: int
    groups: int
    variance: float | None


def mean_of(pairs: Sequence[tuple[int, int]]) -> Mean | None:
    """The mean of groups of observations, as (count, sum); None of nothing.

    The variance is that of a ratio of sums over independent groups, of whatever size:
    G / (G - 1) * sum((sum_g - mean * count_g)**2) / count**2
    """
    pairs = [pair for pair in pairs if pair[0] > 0]
    count, groups = sum(n for n, _ in pairs), len(pairs)
    if not count:
        return None
    value = sum(s for _, s in pairs) / count
    variance = None
    if groups > 1:
        off = sum((s - value * n) ** 2 for n, s in pairs)
        variance = groups / (groups - 1) * off / count**2
    return Mean(value=value, count=count, groups=groups, variance=variance)


def once(mean: Mean) -> Interval | None:
    """The single-look interval of a mean (Student's)."""
    if mean.variance is None:
        return None
    half = student(mean.groups - 1) * sqrt(mean.variance)
    return Interval(mean.value - half, mean.value + half)


def anytime(mean: Mean) -> Interval | None:
    """The anytime interval of a mean."""
    if mean.variance is None:
        return None
    half = widening(mean.count) * student(mean.groups - 1) * sqrt(mean.variance)
    return Interval(mean.value - half, mean.value + half)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How far a second mean is from a first.

    Attributes:
        value: absolute, or relative to the first (-0.18: 18 % less).
        anytime, once: see the module. None where chance cannot be told yet.
        error: the standard error; of a relative one, of the logarithm of the quotient.
        count: observations of the smaller side.
    """

    value: float
    anytime: Interval | None = None
    once: Interval | None = None
    error: float | None = None
    count: int = 0


def difference(first: Mean, second: Mean) -> Difference:
    """Welch's: the variances need not be the same."""
    value, count = second.value - first.value, min(first.count, second.count)
    if first.variance is None or second.variance is None:
        return Difference(value=value, count=count)
    error = sqrt(first.variance + second.variance)
    half = student(_freedom(first, first.variance, second, second.variance)) * error
    wide = widening(count) * half
    return Difference(
        value=value,
        anytime=Interval(value - wide, value + wide),
        once=Interval(value - half, value + half),
        error=error,
        count=count,
    )


def relative(first: Mean, second: Mean) -> Difference | None:
    """The same as a share of the first, of positive means: by the logarithm of the quotient, so that no
    interval says "more than all of it less". None where the first is 0."""
    if first.value <= 0 or second.value <= 0:
        return None
    value, count = second.value / first.value - 1, min(first.count, second.count)
    if first.variance is None or second.variance is None:
        return Difference(value=value, count=count)
    left, right = first.variance / first.value**2, second.variance / second.value**2
    error = sqrt(left + right)
    half = student(_freedom(first, left, second, right)) * error
    middle, wide = log1p(value), widening(count) * half

    def share(exponent: float) -> float:
        return exp(exponent) - 1 if exponent < 700 else inf

    return Difference(
        value=value,
        anytime=Interval(share(middle - wide), share(middle + wide)),
        once=Interval(share(middle - half), share(middle + half)),
        error=error,
        count=count,
    )


def _freedom(first: Mean, left: float, second: Mean, right: float) -> float:
    """Welch's and Satterthwaite's degrees of freedom."""
    below = left**2 / (first.groups - 1) + right**2 / (second.groups - 1)
    return (left + right) ** 2 / below if below > 0 else float(first.groups + second.groups - 2)


def widening(count: int, alpha: float = ALPHA) -> float:
    """By how much an anytime interval is wider than one for a single look."""
    wish = -2 * log(alpha)
    tuned = (wish + log(wish + 1)) / TUNED_FOR
    seen = max(1, count) * tuned
    return sqrt(2 * (seen + 1) / seen * log(sqrt(seen + 1) / alpha)) / Z


def more_for(found: Difference, size: float) -> int | None:
    """About how many more observations the smaller side needs until an anytime interval is so narrow that a
    difference of ``size`` is seen; None where nobody can tell, 0 where it is so already."""
    if found.error is None or found.count == 0:
        return None

    def enough(count: int) -> bool:
        error = found.error if found.error is not None else inf
        return widening(count) * Z * error * sqrt(found.count / count) <= size

    if enough(found.count):
        return 0
    high = found.count
    while not enough(high):
        high *= 2
        if high > 10**12:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high - found.count


# -- shares ----------------------------------------------------------------------------------------


def wilson(hits: float, count: float) -> Interval | None:
    """The single-look interval of a share."""
    if count <= 0:
        return None
    share, square = hits / count, Z * Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z / (1 + square / count) * sqrt(share * (1 - share) / count + square / (4 * count * count))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def newcombe(first: tuple[float, float], second: tuple[float, float]) -> Interval | None:
    """The single-look interval of the difference of two shares, given as (hits, count)."""
    left, right = wilson(*first), wilson(*second)
    if left is None or right is None:
        return None
    one, two = first[0] / first[1], second[0] / second[1]
    below = sqrt((two - right.low) ** 2 + (left.high - one) ** 2)
    above = sqrt((right.high - two) ** 2 + (one - left.low) ** 2)
    return Interval(two - one - below, two - one + above)


def always(hits: float, count: float, alpha: float = ALPHA) -> Interval:
    """The anytime interval of a share: all those under which what was seen is not too unlikely,
    B(hits + 1/2, misses + 1/2) / B(1/2, 1/2) < share**hits * (1 - share)**misses / alpha."""
    misses = count - hits
    least = _beta(hits + 0.5, misses + 0.5) - _beta(0.5, 0.5) + log(alpha)

    def likely(share: float) -> bool:
        odds = hits * log(share) if hits else 0.0
        return odds + (misses * log1p(-share) if misses else 0.0) > least

    best = hits / count if count else 0.5
    low = 0.0 if hits == 0 else _edge(likely, 0.0, best)
    high = 1.0 if misses == 0 else _edge(likely, 1.0, best)
    return Interval(low, high)


def _edge(likely: Callable[[float], bool], outside: float, inside: float) -> float:
    for _ in range(60):
        middle = (outside + inside) / 2
        if middle in (0.0, 1.0):
            break
        outside, inside = (outside, middle) if likely(middle) else (middle, inside)
    return outside


def _beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def clumping(mean: Mean) -> float:
    """How many observations of a share say as much as one would if they had nothing to do with each other: 1,
    or more where those of one user are alike."""
    if mean.variance is None or not 0 < mean.value < 1:
        return 1.0
    return max(1.0, mean.variance * mean.count / (mean.value * (1 - mean.value)))


# -- Student's distribution ------------------------------------------------------------------------


def student(freedom: float) -> float:
    """The quantile of Student's distribution for ALPHA on both sides."""
    if not isfinite(freedom) or freedom > 1e6:
        return Z
    low, high = Z, 13.0
    while _outside(high, freedom) > ALPHA:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _outside(middle, freedom) > ALPHA else (low, middle)
    return (low + high) / 2


def _outside(t: float, freedom: float) -> float:
    """How likely a variable is farther from 0 than ``t``: the regularised incomplete beta function."""
    return _incomplete(freedom / 2, 0.5, freedom / (freedom + t * t))


def _incomplete(a: float, b: float, x: float) -> float:
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete(b, a, 1.0 - x)
    front = exp(a * log(x) + b * log1p(-x) - _beta(a, b)) / a
    return front * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """Its continued fraction, by Lentz's method."""
    tiny, c, d = 1e-300, 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    product = d
    for m in range(1, 1000):
        for above in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + above * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + above / c
            c = c if abs(c) > tiny else tiny
            product *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return product
