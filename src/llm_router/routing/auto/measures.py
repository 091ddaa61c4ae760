"""What an order of prompts is worth: the performance gap that a share of strong calls recovers.

PGR(c) = (quality(c) - weak) / (strong - weak) where the share c of the prompts, those that the router ranks
highest, goes to the strong model. APGR is the area under it (0.5 for a random order), CPT(x) the smallest
share with PGR = x.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

GAP_MIN = 1e-9
"""A smaller difference of the two models' means is none: there is nothing to recover."""


def curve(
    scores: Sequence[float],
    weak: Sequence[float],
    strong: Sequence[float],
    weights: Sequence[float] | None = None,
) -> list[tuple[float, float]] | None:
    """(share, PGR) from (0, 0) to (1, 1); None if the strong model is no better in the mean, nor worse.

    Prompts with equal scores are taken together, so that their order means nothing.
    """
    steps = list(_steps(scores, weak, strong, weights))
    whole, total = sum(w for w, _ in steps), sum(g for _, g in steps)
    if not steps or abs(total) <= GAP_MIN * whole:
        return None
    points = [(0.0, 0.0)]
    share = gained = 0.0
    for weight, gain in steps:
        share += weight
        gained += gain
        points.append((share / whole, gained / total))
    return points


def _steps(
    scores: Sequence[float],
    weak: Sequence[float],
    strong: Sequence[float],
    weights: Sequence[float] | None,
) -> Iterator[tuple[float, float]]:
    """Weight and gain of each score, the highest first."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    last: float | None = None
    weight = gain = 0.0
    for i in order:
        if last is not None and scores[i] != last:
            yield weight, gain
            weight = gain = 0.0
        last = scores[i]
        own = 1.0 if weights is None else weights[i]
        weight += own
        gain += own * (strong[i] - weak[i])
    if last is not None:
        yield weight, gain


def area(points: Sequence[tuple[float, float]]) -> float:
    """The area under a curve."""
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))


def apgr(
    scores: Sequence[float],
    weak: Sequence[float],
    strong: Sequence[float],
    weights: Sequence[float] | None = None,
) -> float | None:
    """The area under the PGR curve; None where there is no gap."""
    points = curve(scores, weak, strong, weights)
    return None if points is None else area(points)


def cpt(points: Sequence[tuple[float, float]], target: float) -> float | None:
    """The smallest share of strong calls with that PGR; None if it is never reached."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if y1 >= target:
            return x0 if y0 >= target else x0 + (x1 - x0) * (target - y0) / (y1 - y0)
    return None
