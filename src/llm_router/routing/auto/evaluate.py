"""What a router is worth on labelled prompts, and which setting of the dial a target needs.

Chance is an argument: a resample is a sequence of counts, one for each case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from llm_router.routing.auto.measures import apgr, area, cpt, curve

CURVE_POINTS = 10
"""Parts of the curve in dollars."""

ROUTABLE, NOT_ROUTABLE = "routable", "not routable"

SINGLE_CASES_MIN = 0.9
"""A single model is compared if it answered at least this share of the cases."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One labelled prompt.

    Attributes:
        score: by which the router ranks it: what it expects the strong model to add.
        chars: of the prompt.
        weak, strong: quality of the two sides, 0..1.
        weak_pusd, strong_pusd: what they cost; None where that is unknown.
        others: quality by model, of all that answered it.
        task: what it belongs to.
    """

    score: float
    chars: int
    weak: float
    strong: float
    weak_pusd: int | None = None
    strong_pusd: int | None = None
    others: Mapping[str, float] = {}
    task: str = ""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % interval. None where it does not exist."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Ranker(msgspec.Struct, frozen=True, kw_only=True):
    """How well an order of the prompts does. The CPTs are shares of calls to the strong side."""

    name: str
    apgr: Interval
    cpt50: Interval
    cpt80: Interval


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A place on the curve: what so much of the extra money buys.

    Attributes:
        dial: the setting that spends it.
        strong_share: of the calls.
        usd_per_1000: mean cost of a thousand requests; None where costs are unknown.
    """

    dial: float
    strong_share: float
    quality: Interval
    usd_per_1000: float | None


class TaskReport(msgspec.Struct, frozen=True, kw_only=True):
    task: str
    prompts: int
    gap: float
    apgr: Interval
    verdict: str
    reason: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that ``eval-router`` says.

    Attributes:
        mix: the router's APGR with equal weight for each task, where there are several.
        single: the best single model and its mean quality; None if no model answered nearly all.
    """

    prompts: int
    weak: Interval
    strong: Interval
    rankers: tuple[Ranker, ...]
    mix: Interval | None
    single: tuple[str, float] | None
    curve: tuple[Point, ...]
    tasks: tuple[TaskReport, ...]
    verdict: str
    reason: str


Resamples = Sequence[Sequence[int]]


def evaluate(cases: Sequence[Case], resamples: Resamples) -> Report:
    """Measure. ``resamples``: counts by case; without any there are no intervals, and the verdict goes by
    the figures alone."""
    weak, strong = [c.weak for c in cases], [c.strong for c in cases]
    ranks: tuple[tuple[str, Callable[[Case], float]], ...] = (
        ("router", lambda c: c.score),
        ("length only", lambda c: float(c.chars)),
        ("random", lambda c: 0.0),
        ("oracle", lambda c: c.strong - c.weak),
    )
    rankers = tuple(_ranker(name, [rank(c) for c in cases], weak, strong, resamples) for name, rank in ranks)
    gap = _interval(lambda w: _mean(strong, w) - _mean(weak, w), cases, resamples)
    verdict, reason = _verdict(rankers[0].apgr, gap)
    names = sorted({c.task for c in cases})
    tasks = tuple(_task(name, cases, resamples) for name in names) if len(names) > 1 else ()
    return Report(
        prompts=len(cases),
        weak=_interval(lambda w: _mean(weak, w), cases, resamples),
        strong=_interval(lambda w: _mean(strong, w), cases, resamples),
        rankers=rankers,
        mix=_mix(cases, resamples) if tasks else None,
        single=_single(cases),
        curve=tuple(dial_points(cases, resamples, [i * 10 / CURVE_POINTS for i in range(CURVE_POINTS + 1)])),
        tasks=tasks,
        verdict=verdict,
        reason=reason,
    )


def calibrate(cases: Sequence[Case], resamples: Resamples, target: float) -> tuple[Point | None, list[Point]]:
    """The cheapest setting of the dial whose lower bound meets the target, and all that were tried.

    None if no setting does: not even the strong side alone is surely that good.
    """
    points = list(dial_points(cases, resamples, [i / 4 for i in range(41)]))
    good = [p for p in points if p.quality.low is not None and p.quality.low >= target]
    if good and good[0].usd_per_1000 is not None:
        return min(good, key=lambda p: p.usd_per_1000 or 0.0), points
    return (good[0] if good else None), points


def dial_points(cases: Sequence[Case], resamples: Resamples, dials: Sequence[float]) -> list[Point]:
    """What each setting of the dial does when these cases are the traffic."""
    priced = all(c.weak_pusd is not None and c.strong_pusd is not None for c in cases)
    extra = [max(_extra(c), 0) if priced else 1 for c in cases]
    order = sorted(range(len(cases)), key=lambda i: -_worth(cases[i].score, extra[i]))
    total, points = sum(extra), []
    for dial in dials:
        strong = _spend(order, extra, total * dial / 10)
        points.append(_point(cases, strong, dial, resamples, priced))
    return points


def _extra(case: Case) -> int:
    assert case.weak_pusd is not None
    assert case.strong_pusd is not None
    return case.strong_pusd - case.weak_pusd


def _worth(score: float, extra: int) -> float:
    """What is gained for the money. What is expected to gain nothing is bought last, the dearest at the end."""
    if extra <= 0:
        return float("inf")
    return score / extra if score > 0 else score * extra


def _spend(order: Sequence[int], extra: Sequence[int], budget: float) -> set[int]:
    """Whom the money goes to: in order, as long as it lasts."""
    chosen, spent = set(), 0.0
    for i in order:
        spent += extra[i]
        if spent > budget * (1 + 1e-12):
            break
        chosen.add(i)
    return chosen


def _point(cases: Sequence[Case], strong: set[int], dial: float, resamples: Resamples, priced: bool) -> Point:
    quality = [c.strong if i in strong else c.weak for i, c in enumerate(cases)]
    usd = None
    if priced:
        pusd = sum((c.strong_pusd if i in strong else c.weak_pusd) or 0 for i, c in enumerate(cases))
        usd = pusd / len(cases) / 10**9
    return Point(
        dial=dial,
        strong_share=len(strong) / len(cases),
        quality=_interval(lambda w: _mean(quality, w), cases, resamples),
        usd_per_1000=usd,
    )


def _ranker(
    name: str, scores: list[float], weak: list[float], strong: list[float], resamples: Resamples
) -> Ranker:
    order = sorted(range(len(scores)), key=lambda i: -scores[i])  # once: sorting again is then quick
    scores, weak, strong = ([values[i] for i in order] for values in (scores, weak, strong))
    found = curve(scores, weak, strong)
    curves = [c for counts in resamples if (c := curve(scores, weak, strong, [counts[i] for i in order]))]
    if found is None:
        nothing = Interval(value=None)
        return Ranker(name=name, apgr=nothing, cpt50=nothing, cpt80=nothing)
    return Ranker(
        name=name,
        apgr=_between(area(found), [area(c) for c in curves]),
        cpt50=_between(cpt(found, 0.5), [v for c in curves if (v := cpt(c, 0.5)) is not None]),
        cpt80=_between(cpt(found, 0.8), [v for c in curves if (v := cpt(c, 0.8)) is not None]),
    )


def _mix(cases: Sequence[Case], resamples: Resamples) -> Interval:
    sizes: dict[str, int] = {}
    for case in cases:
        sizes[case.task] = sizes.get(case.task, 0) + 1
    scores, weak, strong = [c.score for c in cases], [c.weak for c in cases], [c.strong for c in cases]
    even = [1 / sizes[c.task] for c in cases]
    draws = [
        apgr(scores, weak, strong, [n * e for n, e in zip(counts, even, strict=True)]) for counts in resamples
    ]
    return _between(apgr(scores, weak, strong, even), [d for d in draws if d is not None])


def _task(name: str, cases: Sequence[Case], resamples: Resamples) -> TaskReport:
    at = [i for i, c in enumerate(cases) if c.task == name]
    mine = [cases[i] for i in at]
    own = [[counts[i] for i in at] for counts in resamples]
    weak, strong = [c.weak for c in mine], [c.strong for c in mine]
    found = _ranker("router", [c.score for c in mine], weak, strong, own).apgr
    gap = _interval(lambda w: _mean(strong, w) - _mean(weak, w), mine, own)
    verdict, reason = _verdict(found, gap)
    return TaskReport(
        task=name, prompts=len(mine), gap=gap.value or 0.0, apgr=found, verdict=verdict, reason=reason
    )


def _verdict(found: Interval, gap: Interval) -> tuple[str, str]:
    """Routable is what surely has a gap and surely is ranked better than at random."""
    low_gap = gap.value if gap.low is None else gap.low
    if found.value is None or low_gap is None or low_gap <= 0:
        return NOT_ROUTABLE, "the strong side is not surely better than the weak one: use the cheaper alone"
    low = found.value if found.low is None else found.low
    if low <= 0.5:
        return NOT_ROUTABLE, (
            f"the router's order is not surely better than chance (APGR {found.value:.3f}, at least {low:.3f}): "
            "choose one of the two by the quality that you need"
        )
    return ROUTABLE, f"the router's order is better than chance (APGR {found.value:.3f}, at least {low:.3f})"


def _single(cases: Sequence[Case]) -> tuple[str, float] | None:
    sums: dict[str, list[float]] = {}
    for case in cases:
        for model, quality in case.others.items():
            sums.setdefault(model, []).append(quality)
    known = [(m, sum(v) / len(v)) for m, v in sums.items() if len(v) >= SINGLE_CASES_MIN * len(cases)]
    return max(known, key=lambda pair: (pair[1], pair[0])) if known else None


def _mean(values: Sequence[float], weights: Sequence[int] | None) -> float:
    if weights is None:
        return sum(values) / len(values)
    return sum(map(float.__mul__, map(float, values), map(float, weights))) / max(sum(weights), 1)


def _interval(
    figure: Callable[[Sequence[int] | None], float], cases: Sequence[Case], resamples: Resamples
) -> Interval:
    return _between(figure(None), [figure(counts) for counts in resamples])


def _between(value: float | None, draws: Sequence[float]) -> Interval:
    """The middle 95 % of the draws."""
    if not draws or value is None:
        return Interval(value=value)
    ordered = sorted(draws)
    cut = int(len(ordered) * 0.025)
    return Interval(value=value, low=ordered[cut], high=ordered[-1 - cut])
