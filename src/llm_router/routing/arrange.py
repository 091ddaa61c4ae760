"""The order of candidates from what is known of them. The same arguments, dice included, give the same order.

strategy ──── or provider.order, or the catalogue
  slow ────── less fast than was preferred, behind the others
  doubted ─── what is likely not to do, behind these
  session ─── who served it before, first
  own keys ── of the account, before all
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import msgspec

from llm_router.routing.strategies import STRATEGIES, Dice, Facts, Given, Ordered


class Arrangement(msgspec.Struct, frozen=True, kw_only=True):
    """Candidates to be ordered together, in the order of the catalogue. What is None is so of none of them.

    Attributes:
        facts: their numbers, where the strategy asks for any.
        doubts: why they may not do.
        ranks: their places in ``provider.order``, which goes before the strategy.
        first_only: only the first of them may serve.
        thrown: the dice of the order, once it was made.
    """

    strategy: str
    deployments: tuple[str, ...]
    facts: tuple[Facts, ...] | None = None
    size: int = 0
    output_tokens: int = 0
    ranks: tuple[int, ...] | None = None
    slow: tuple[bool, ...] | None = None
    doubts: tuple[str | None, ...] | None = None
    stuck: tuple[bool, ...] | None = None
    own: tuple[bool, ...] | None = None
    first_only: bool = False
    thrown: list[float] = []


def arrange(group: Arrangement, dice: Dice) -> Ordered:
    """The places of the candidates, the first to be tried first, and what each was judged by."""
    count = len(group.deployments)
    scores: tuple[float | None, ...] = (None,) * count
    if group.ranks is not None:
        places = sorted(range(count), key=group.ranks.__getitem__)
    elif group.facts is None:
        places = list(range(count))
    else:
        given = Given(size=group.size, output_tokens=group.output_tokens, dice=_noted(dice, group.thrown))
        found = STRATEGIES[group.strategy](group.facts, given)
        places, scores = list(found.places), found.scores
    if group.slow is not None:
        places.sort(key=group.slow.__getitem__)
    if group.doubts is not None:
        places.sort(key=[doubt is not None for doubt in group.doubts].__getitem__)
    for better in (group.stuck, group.own):
        if better is not None:
            places.sort(key=[not each for each in better].__getitem__)
    return Ordered(places=tuple(places[:1] if group.first_only else places), scores=scores)


def _noted(dice: Dice, thrown: list[float]) -> Dice:
    def throw() -> float:
        thrown.append(found := dice())
        return found

    return throw


def kept(models: Sequence[str], most: int | None) -> list[int]:
    """Places of the candidates that a plan keeps, in order: at most so many, but one of each model as long as
    there is room, since a model that was asked for is to be heard before others are heard again."""
    if most is None or len(models) <= most:
        return list(range(len(models)))
    first: dict[str, int] = {}
    for place, model in enumerate(models):
        first.setdefault(model, place)
    chosen = set(islice(first.values(), most))
    chosen.update(islice((at for at in range(len(models)) if at not in chosen), most - len(chosen)))
    return sorted(chosen)
