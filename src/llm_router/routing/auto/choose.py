"""The decision: which of the models that may be asked is worth its price for this prompt.

What a model is worth is its expected quality less its price, at the exchange rate that the dial and the
operator's traffic give. At 0 only the price counts, at 10 only the quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf
from typing import Protocol

import msgspec

from llm_router.domain.money import format_usd
from llm_router.routing.auto.local import pack_outcome
from llm_router.routing.auto.scoring import Score
from llm_router.routing.auto.traffic import DIAL_MAX, Sample, Traffic

DIAL = 5.0
"""The middle, where nobody set it."""

MODELS_MAX = 3
"""Models in the plan of an ``auto``: the chosen one, and those that follow when it fails."""

DEARER_MAX = 3
"""A model that follows costs at most so many times as much as the chosen one: the hold covers it."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that passed the filters, and what this very request is expected to cost there.

    Attributes:
        id: of the deployment; model: its model's id.
        cost_pusd: counted input, what is warm in its cache at the cache's rate, learned output.
        quality_tier: 1..5, None where nobody said.
        fits: strengths of the model that the request asks for; they decide between equals.
    """

    id: str
    model: str
    cost_pusd: int
    quality_tier: int | None
    fits: int = 0


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """An offer as it was judged.

    Attributes:
        quality: how likely it answers well, 0..1.
        worth: quality less price in units of quality; None at dial 0, where only the price counts.
        fits: of the offer.
    """

    id: str
    model: str
    quality: float
    cost_pusd: int
    worth: float | None
    fits: int = 0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The offers in the order in which they are to be tried, with all that they were judged by.

    Attributes:
        ranked: the chosen one first. None is added, lost or doubled.
        rank: the share of the operator's requests that gain less from a better model.
        worth_min: quality that a picodollar had to buy; None at dial 0.
        sample: what the request teaches of the operator's traffic; give it to :meth:`Traffic.add` if the
            request is really made.
        reason: the decision in one line, for people.
        buckets: of the prompt, numbers of hashed words.
        before, after: models that the request names in front of ``auto`` and behind it, in that order.
    """

    ranked: tuple[Scored, ...]
    score: Score
    dial: float
    rank: float
    worth_min: float | None
    sample: Sample | None
    reason: str
    buckets: tuple[int, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def features(self) -> bytes:
        """What to keep with the request, so that the router can learn from its outcome
        (:meth:`router.AutoRouter.observe`). It holds no text."""
        return pack_outcome(self.score, self.buckets)


class Learned(Protocol):
    """What was learned from the operator's own outcomes."""

    def quality(self, model: str, shipped: float) -> float:
        """The quality of that model for the prompt at hand, given what the shipped router expects."""
        ...


def choose(
    score: Score,
    offers: Sequence[Offer],
    *,
    dial: float,
    traffic: Traffic,
    learned: Learned | None = None,
    buckets: tuple[int, ...] = (),
) -> Choice:
    """Order the offers of one request. Pure: the same arguments give the same choice.

    ``dial``: 0 (cheapest) to 10 (best).
    """
    dial = min(max(dial, 0.0), DIAL_MAX)
    tiers = {tier: score.quality(tier) for tier in {offer.quality_tier for offer in offers}}
    known = [(offer, _quality(tiers[offer.quality_tier], offer, learned)) for offer in offers]
    sample = _sample(score, known)
    if sample is None:
        worth_min = traffic.worth_min(dial, 1, 0.0, score.gain)
    else:
        worth_min = traffic.worth_min(dial, sample.extra_pusd, sample.gain, score.gain)
    least = None if isinf(worth_min) else worth_min
    ranked = ranking(
        [
            Scored(
                id=offer.id,
                model=offer.model,
                quality=quality,
                cost_pusd=offer.cost_pusd,
                worth=None if least is None else quality - least * offer.cost_pusd,
                fits=offer.fits,
            )
            for offer, quality in known
        ]
    )
    rank = traffic.rank(score.gain)
    return Choice(
        ranked=ranked,
        score=score,
        dial=dial,
        rank=rank,
        worth_min=least,
        sample=sample,
        reason=_reason(ranked, dial, rank),
        buckets=buckets,
    )


def ranking(offers: Sequence[Scored]) -> tuple[Scored, ...]:
    """The offers by what they are worth; by price alone where that was not asked."""
    return tuple(
        sorted(
            offers,
            key=lambda each: (
                (each.cost_pusd, -each.quality, -each.fits)
                if each.worth is None
                else (-each.worth, -each.fits, each.cost_pusd)
            ),
        )
    )


def followers(ranked: Sequence[Scored]) -> tuple[str, ...]:
    """Ids of the models of a plan: the chosen one, and those that may follow it."""
    first, *rest = ranked
    near = [each for each in rest if each.cost_pusd <= DEARER_MAX * first.cost_pusd]
    if not near and rest:
        near = [min(rest, key=lambda each: each.cost_pusd)]
    return tuple(each.model for each in (first, *near[: MODELS_MAX - 1]))


def in_turn(ranked: Sequence[Scored], before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    """Ids of the models of a plan in the order of trying, those too that were named beside ``auto``."""
    return tuple(dict.fromkeys((*before, *followers(ranked), *after)))


def _quality(shipped: float, offer: Offer, learned: Learned | None) -> float:
    return shipped if learned is None else learned.quality(offer.model, shipped)


def _sample(score: Score, known: Sequence[tuple[Offer, float]]) -> Sample | None:
    """What lies between the cheapest and the best; None if they are the same."""
    if len(known) < 2:
        return None
    cheap, low = min(known, key=lambda pair: (pair[0].cost_pusd, -pair[1]))
    best, high = max(known, key=lambda pair: (pair[1], -pair[0].cost_pusd))
    extra_pusd = best.cost_pusd - cheap.cost_pusd
    if extra_pusd <= 0 or high <= low:
        return None
    return Sample(estimate=score.gain, gain=high - low, extra_pusd=extra_pusd)


def _reason(ranked: tuple[Scored, ...], dial: float, rank: float) -> str:
    if not ranked:
        return "nothing to choose from"
    first = ranked[0]
    return (
        f"{first.model}: expected quality {first.quality:.2f} for ${format_usd(first.cost_pusd)} at dial {dial:g}; "
        f"a better model gains more on {1 - rank:.0%} of requests"
    )
