"""A decision made again from its record: the same inputs, through the same functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llm_router.domain.decision import OWN, Decision, Stood, Weighed, Weighing, key_of
from llm_router.routing.arrange import Arrangement, arrange, kept
from llm_router.routing.auto.choose import Scored, in_turn, ranking
from llm_router.routing.health import SIZES, HealthView, spread
from llm_router.routing.strategies import Dice, Facts


def replay(decision: Decision) -> tuple[str, ...]:
    """Keys of the candidates in order, as they follow from the record's inputs."""
    if not decision.weighings:
        return decision.plan
    ordered: list[tuple[str, str, str]] = []  # key, deployment, model
    for weighing in decision.weighings:
        found = arrange(_arrangement(weighing), _thrown(weighing.dice))
        ordered += (_named(weighing.candidates[place]) for place in found.places)
    if decision.auto is not None:
        ordered = _chosen(decision, ordered)
    return tuple(ordered[place][0] for place in kept([model for _, _, model in ordered], decision.most))


def replay_order(decision: Decision, plan: Sequence[str]) -> tuple[str, ...]:
    """Keys in the order in which they were to be tried: those last that were not to be called then."""
    stood = {each.deployment: each for each in decision.stood}
    views = [_view(stood.get(key.removesuffix(OWN))) for key in plan]
    return tuple(plan[at] for at in spread(views, decision.dice))


def _chosen(decision: Decision, ordered: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """What ``auto`` keeps of the models, in the order of their worth."""
    assert decision.auto is not None
    worth_min = decision.auto.worth_min
    firsts: dict[str, str] = {}
    for _, deployment, model in ordered:
        firsts.setdefault(model, deployment)
    known = {offer.model: offer for offer in decision.auto.offers}
    offers = [
        Scored(
            id=deployment,
            model=model,
            quality=(offer := known[model]).quality,
            cost_pusd=offer.cost_pusd,
            worth=None if worth_min is None else offer.quality - worth_min * offer.cost_pusd,
            fits=offer.fits,
        )
        for model, deployment in firsts.items()
        if model in known
    ]
    turns = in_turn(ranking(offers), decision.auto.before, decision.auto.after)
    rank = {model: at for at, model in enumerate(turns)}
    return sorted((each for each in ordered if each[2] in rank), key=lambda each: rank[each[2]])


def _arrangement(weighing: Weighing) -> Arrangement:
    candidates = weighing.candidates
    return Arrangement(
        strategy=weighing.strategy,
        deployments=tuple(c.deployment for c in candidates),
        facts=tuple(map(_facts, candidates)) if weighing.measured else None,
        size=weighing.size,
        output_tokens=weighing.output_tokens,
        ranks=tuple(0 if c.rank is None else c.rank for c in candidates)
        if weighing.strategy == "order"
        else None,
        slow=tuple(c.slow for c in candidates),
        doubts=tuple(c.doubt for c in candidates),
        stuck=tuple(c.stuck for c in candidates),
        own=tuple(c.own_key for c in candidates),
        first_only=weighing.first_only,
        thrown=[],
    )


def _facts(candidate: Weighed) -> Facts:
    view = HealthView(
        share=candidate.share,
        in_flight=candidate.in_flight,
        error_rate=candidate.error_rate,
        ttft_ms=(candidate.ttft_ms,) * SIZES,
        tokens_per_s=candidate.tokens_per_s,
    )
    return Facts(cost_pusd=candidate.cost_pusd, weight=candidate.weight, view=view, tools=candidate.tools)


def _view(stood: Stood | None) -> HealthView:
    return HealthView() if stood is None else HealthView(available=stood.available, share=stood.share)


def _named(candidate: Weighed) -> tuple[str, str, str]:
    return key_of(candidate.deployment, candidate.own_key), candidate.deployment, candidate.model


def _thrown(dice: Sequence[float]) -> Dice:
    """The dice of then, once more."""
    left: Iterator[float] = iter(dice)
    return lambda: next(left, 1.0)
