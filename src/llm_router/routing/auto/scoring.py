"""From what was read of a prompt to how likely a model of a tier is to answer it well."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt

import msgspec

from llm_router.routing.auto.artefact import LEAF, Artefact, unpack
from llm_router.routing.auto.features import Features

WEAK_MIN, WEAK_MAX = 0.03, 0.97
"""No prompt is surely answered, nor surely not."""

GAIN_MIN = 0.005
"""A better model is never taken for a worse one: tiers are averages over many prompts."""

TIER_UNKNOWN = 1
"""A model of which nothing is known is taken for a small one: it is not preferred on hope."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of the two tiers that the router was trained on.

    Attributes:
        weak: of a small model, 0..1.
        gain: what a strong one adds, as estimated: the figure by which prompts are ranked. It may be
            negative, since some prompts are answered worse by strong models.
        tiers: the quality tiers that were meant.
    """

    weak: float
    gain: float
    tiers: tuple[int, int]

    def quality(self, tier: int | None) -> float:
        """How likely a model of that tier answers well: on the line of the two, in log-odds."""
        low, high = self.tiers
        weak = self.weak
        strong = min(weak + max(self.gain, GAIN_MIN), 0.99)
        begin = log_odds(weak)
        step = (log_odds(strong) - begin) / (high - low)
        return chance(begin + step * ((TIER_UNKNOWN if tier is None else tier) - low))


def log_odds(share: float) -> float:
    return log(share / (1 - share))


def chance(odds: float) -> float:
    """The inverse of :func:`log_odds`."""
    return 1 / (1 + exp(-odds)) if odds > -30 else 0.0


def score(artefact: Artefact, features: Features) -> Score:
    """Score a prompt. Deterministic; takes no time that depends on anything but the prompt's length."""
    header = artefact.header
    heads = linear(artefact, features.buckets)
    weak, strong = heads[0], heads[1]
    figures = (*features.form, *heads, strong - weak)
    gain = header.base + _trees(artefact, figures)
    return Score(weak=min(max(weak, WEAK_MIN), WEAK_MAX), gain=gain, tiers=header.tiers)


def linear(artefact: Artefact, buckets: Sequence[int]) -> list[float]:
    """What each linear head says."""
    header, count = artefact.header, len(buckets)
    sums: tuple[int, ...] = ()
    for table in artefact.tables:
        sums += unpack(sum(map(table.__getitem__, buckets)), count)
    norm = sqrt(max(count, 1))
    return [o + s * n / norm for o, s, n in zip(header.offsets, header.scales, sums, strict=True)]


def _trees(artefact: Artefact, values: tuple[float, ...]) -> float:
    figures, limits, lefts, rights = artefact.figures, artefact.limits, artefact.lefts, artefact.rights
    total = 0.0
    for at in artefact.header.roots:
        while (figure := figures[at]) != LEAF:
            at = lefts[at] if values[figure] <= limits[at] else rights[at]
        total += limits[at]
    return total
