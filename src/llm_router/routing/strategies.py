"""In which order the candidates of a model are tried. Each strategy is one function and one row.

A strategy sees numbers about candidates and gives an order of their places, so that it cannot add, lose or
double one. Chance is an argument. Ties stay in the catalogue's order. What is not known of a candidate (it was
never called) counts as the mean of what is known of the others, and it is tried first now and then, since nobody
would learn of it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, log
from typing import Literal

import msgspec

from llm_router.routing.health import UNKNOWN, HealthView

EXPLORED = 0.05
"""Share of requests for which one of the unknown candidates comes first."""

Dice = Callable[[], float]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate in numbers.

    Attributes:
        cost_pusd: expected of this very request; None is unknown.
        weight: its share of the calls beside the others; 0 comes last.
        tools: how well it is known to call tools, more is better.
    """

    cost_pusd: int | None = None
    weight: int = 1
    view: HealthView = UNKNOWN
    tools: int = 0


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What strategies are told beside the candidates.

    Attributes:
        size: the class of the input, see :func:`routing.health.size_of`.
        output_tokens: expected.
        dice: numbers from 0 to 1.
    """

    size: int
    output_tokens: int
    dice: Dice


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """Places of the candidates, the first to be tried first, and what each was judged by: less is better."""

    places: tuple[int, ...]
    scores: tuple[float | None, ...]


Strategy = Callable[[Sequence[Facts], Given], Ordered]


def priority(facts: Sequence[Facts], given: Given) -> Ordered:
    """The catalogue's order."""
    return Ordered(places=tuple(range(len(facts))), scores=(None,) * len(facts))


def weighted(facts: Sequence[Facts], given: Given) -> Ordered:
    """By lot: who has twice the weight is first twice as often. A slow start lowers the weight.

    Drawn without putting back, by the keys of Efraimidis and Spirakis (2006): -ln(u) / weight.
    """
    scores = []
    for each in facts:
        weight, lot = each.weight * each.view.share, given.dice()
        scores.append(inf if weight <= 0 else -log(max(lot, 1e-300)) / weight)
    return _by(scores)


def cheapest(facts: Sequence[Facts], given: Given) -> Ordered:
    """By the expected cost of this request."""
    return _by([inf if each.cost_pusd is None else float(each.cost_pusd) for each in facts])


def fastest(facts: Sequence[Facts], given: Given) -> Ordered:
    """By the time to the whole answer: to the first token, and from there to the last."""
    return _explored(_times(facts, given), given)


def latency(facts: Sequence[Facts], given: Given) -> Ordered:
    """By the time to the first token."""
    return _explored([each.view.ttft_of(given.size) for each in facts], given)


def throughput(facts: Sequence[Facts], given: Given) -> Ordered:
    """By tokens a second."""
    speeds = [each.view.tokens_per_s for each in facts]
    return _explored([None if not speed else 1 / speed for speed in speeds], given)


def balanced(facts: Sequence[Facts], given: Given) -> Ordered:
    """By cost and time alike, each against the best of the candidates."""
    costs = [None if each.cost_pusd is None else float(each.cost_pusd) for each in facts]
    parts = [_shares(costs), _shares(_times(facts, given))]
    return _by([a + b for a, b in zip(*parts, strict=True)])


def least_busy(facts: Sequence[Facts], given: Given) -> Ordered:
    """By calls under way, against the weight."""
    return _by([each.view.in_flight / each.weight if each.weight > 0 else inf for each in facts])


def exacto(facts: Sequence[Facts], given: Given) -> Ordered:
    """By what is known of calling tools, then by the share of calls that failed."""
    return _by([-each.tools + (each.view.error_rate or 0.0) * 0.999 for each in facts])


STRATEGIES: Mapping[str, Strategy] = {
    "priority": priority,
    "weighted": weighted,
    "cheapest": cheapest,
    "fastest": fastest,
    "balanced": balanced,
    "least_busy": least_busy,
    "latency": latency,
    "throughput": throughput,
    "exacto": exacto,
}
"""All of them by name. The last three are asked for by requests only (``provider.sort``, suffixes)."""

UNITS: Mapping[str, str] = {
    "weighted": "a lot divided by the weight",
    "cheapest": "picodollars",
    "fastest": "milliseconds to the last token",
    "balanced": "cost and time, each as a multiple of the least",
    "least_busy": "calls under way for each unit of weight",
    "latency": "milliseconds to the first token",
    "throughput": "seconds for a token",
    "exacto": "share of failed calls less ability with tools",
}
"""What the scores of a strategy count. Those that are not here give none."""

TaskStrategy = Literal[
    "auto", "priority", "weighted", "cheapest", "fastest", "balanced", "least_busy", "latency", "throughput", "exacto",
    "floor", "nitro",
]  # fmt: skip
"""How a task may choose one of its models: by the router, by one of the strategies, or by the word of a suffix."""

SUFFIXED: Mapping[str, str] = {"floor": "cheapest", "nitro": "throughput"}
"""Suffix -> strategy, where they have different names."""

SORTS: Mapping[str, str] = {
    "price": "cheapest",
    "throughput": "throughput",
    "latency": "latency",
    "exacto": "exacto",
}
"""``provider.sort`` -> strategy."""


def _times(facts: Sequence[Facts], given: Given) -> list[float | None]:
    """Milliseconds to the last token; None where either part is unknown."""
    times: list[float | None] = []
    for each in facts:
        ttft, speed = each.view.ttft_of(given.size), each.view.tokens_per_s
        known = ttft is not None and speed
        times.append(
            ttft + 1000 * given.output_tokens / speed if known and ttft is not None and speed else None
        )
    return times


def _filled(values: Sequence[float | None]) -> list[float]:
    """The values with the mean of the known ones in place of the unknown."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [mean if value is None else value for value in values]


def _shares(values: Sequence[float | None]) -> list[float]:
    """The values against the least of them."""
    filled = _filled(values)
    least = min(filled, default=0.0)
    return [value / least if least > 0 else float(value > 0) for value in filled]


def _explored(values: Sequence[float | None], given: Given) -> Ordered:
    ordered = _by(_filled(values))
    unknown = [place for place in ordered.places if values[place] is None]
    if not unknown or len(unknown) == len(values) or given.dice() >= EXPLORED:
        return ordered
    first = unknown[int(given.dice() * len(unknown)) % len(unknown)]
    rest = tuple(place for place in ordered.places if place != first)
    return msgspec.structs.replace(ordered, places=(first, *rest))


def _by(scores: Sequence[float]) -> Ordered:
    places = tuple(sorted(range(len(scores)), key=scores.__getitem__))
    return Ordered(places=places, scores=tuple(scores))
