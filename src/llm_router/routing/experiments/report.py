"""What an experiment came to: figures of each arm, how they differ from the first, and a plain verdict.

Verdicts go by anytime intervals alone (:mod:`.chance`), so that a report may be read as often as one likes. Each
comparison stands for itself: among many of them one in twenty may be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

from llm_router.domain.experiment import Arm, Experiment
from llm_router.routing.experiments.chance import (
    Difference,
    Interval,
    Mean,
    always,
    anytime,
    clumping,
    difference,
    mean_of,
    more_for,
    newcombe,
    once,
    relative,
    wilson,
)
from llm_router.routing.experiments.figures import AT, ArmFigures, Figures, quantiles

COUNT_MIN, GROUPS_MIN = 30, 8
"""Fewer observations, or observations of fewer groups, tell nothing of means."""

SIZES: Mapping[str, float] = {
    "cost": 0.05,
    "latency": 0.1,
    "first_token": 0.1,
    "errors": 0.02,
    "quality": 0.1,
}
"""Of differences that are worth knowing: shares of the first arm's, for errors and quality as they are."""

_SHARES = (0.5, 0.9, 0.99)
_PUSD = 10**12

HOW = {
    "confidence": 0.95,
    "interval": "anytime: holds however often the report is read and whenever the experiment is stopped",
    "interval_once": "holds for one look alone, at a time that was fixed before",
}


def report(experiment: Experiment, figures: Figures) -> dict[str, Any]:
    """The whole report, as JSON. The same figures give the same report."""
    arms = [_arm(arm, figures.arm(arm.name)) for arm in experiment.arms]
    first = experiment.arms[0]
    comparisons = [
        each
        for arm in experiment.arms[1:]
        for each in _compared(first, figures.arm(first.name), arm, figures.arm(arm.name))
    ]
    return {
        "how": HOW,
        "arms": arms,
        "comparisons": comparisons,
        "verdict": [*_notes(experiment, figures), *(each["verdict"] for each in comparisons)],
    }


# -- one arm ---------------------------------------------------------------------------------------


def _arm(arm: Arm, seen: ArmFigures) -> dict[str, Any]:
    requests, cost = seen.total("requests"), _mean(seen, "requests", "cost_pusd")
    return {
        "name": arm.name,
        "weight": arm.weight,
        "requests": requests,
        "groups": sum(sums[AT["requests"]] > 0 for sums in seen.groups.values()),
        "errors": _share(seen, "errors"),
        "moved_on": seen.total("moved"),
        "clients_gone": seen.total("gone"),
        "left": seen.total("left"),
        "skipped": seen.total("skipped"),
        "latency_ms": _spread(_mean(seen, "answers", "latency_ms"), seen.latency, 1),
        "first_token_ms": _spread(_mean(seen, "firsts", "first_token_ms"), seen.first_token, 1),
        "cost_usd": {
            "total": _dollars(seen.total("cost_pusd")),
            **_spread(cost, seen.cost, _PUSD),
        },
        "operator_cost_usd": {
            "total": _dollars(seen.total("operator_pusd")),
            "known_for": seen.total("operators"),
        },
        "input_tokens": seen.total("input_tokens"),
        "output_tokens": seen.total("output_tokens"),
        "finish": dict(sorted(seen.finishes.items())),
        "error_codes": dict(sorted(seen.codes.items())),
        "models": dict(sorted(seen.models.items())),
        "feedback": _feedback(seen),
    }


def _mean(seen: ArmFigures, count: str, total: str) -> Mean | None:
    at, of = AT[count], AT[total]
    return mean_of([(sums[at], sums[of]) for _, sums in sorted(seen.groups.items())])


def _spread(mean: Mean | None, bins: Mapping[int, int], unit: int) -> dict[str, Any]:
    parts = quantiles(bins, _SHARES)
    found: dict[str, Any] = {
        f"p{round(share * 100)}": None if part is None else _round(part / unit)
        for share, part in zip(_SHARES, parts, strict=True)
    }
    if mean is None:
        return {"mean": None, "interval": None, "interval_once": None, **found}
    return {
        "mean": _round(mean.value / unit),
        "interval": _shown(anytime(mean), unit),
        "interval_once": _shown(once(mean), unit),
        **found,
    }


def _effective(seen: ArmFigures, hits: str, count: str) -> tuple[float, float]:
    """Hits and count of a share, as if they had nothing to do with each other."""
    mean = _mean(seen, count, hits)
    fewer = 1.0 if mean is None else clumping(mean)
    return seen.total(hits) / fewer, seen.total(count) / fewer


def _share(seen: ArmFigures, hits: str, count: str = "requests") -> dict[str, Any]:
    number, total = seen.total(hits), seen.total(count)
    worth = _effective(seen, hits, count)
    return {
        "count": number,
        "rate": _round(number / total) if total else None,
        "interval": _shown(always(*worth)) if total else None,
        "interval_once": _shown(wilson(*worth)),
    }


def _feedback(seen: ArmFigures) -> dict[str, Any]:
    mean = _mean(seen, "ratings", "score_milli")
    return {
        "ratings": seen.total("ratings"),
        "mean": None if mean is None else _round(mean.value / 1000),
        "interval": None if mean is None else _shown(anytime(mean), 1000),
        "interval_once": None if mean is None else _shown(once(mean), 1000),
        "good": _share(seen, "good", "ratings"),
        "labels": dict(sorted(seen.labels.items())),
    }


# -- two arms --------------------------------------------------------------------------------------


def _compared(first: Arm, base: ArmFigures, arm: Arm, seen: ArmFigures) -> list[dict[str, Any]]:
    found = [
        _means(first, base, arm, seen, "cost", "requests", "cost_pusd"),
        _means(first, base, arm, seen, "latency", "answers", "latency_ms"),
        _means(first, base, arm, seen, "first_token", "firsts", "first_token_ms"),
        _shares(first, base, arm, seen, "errors", "errors", "requests", SIZES["errors"]),
        _quality(first, base, arm, seen),
    ]
    return [each for each in found if each is not None]


_LESS_MORE = {
    "cost": ("cheaper", "dearer"),
    "latency": ("faster", "slower"),
    "first_token": ("faster to the first token", "slower to the first token"),
}
_NOUNS = {
    "cost": "cost", "latency": "latency", "first_token": "time to the first token", "errors": "error rate",
    "quality": "quality",
}  # fmt: skip


def _means(
    first: Arm, base: ArmFigures, arm: Arm, seen: ArmFigures, metric: str, count: str, total: str
) -> dict[str, Any] | None:
    """The comparison of two means, as a share of the first; None where there is nothing to compare."""
    left, right = _mean(base, count, total), _mean(seen, count, total)
    if left is None or right is None:
        return None
    found = relative(left, right)
    if found is None:
        return None
    if not _enough(left, right):
        return _entry(
            first, arm, metric, found, _early(arm, metric, left, right), relative_to=first.name, early=True
        )
    interval = found.anytime
    assert interval is not None, "there are several groups"
    less, more = _LESS_MORE[metric]
    if interval.clear:
        word = less if found.value < 0 else more
        low, high = sorted((abs(interval.low), abs(interval.high)))
        said = f"{arm.name} is {word} by {_percent(abs(found.value))} ({_percent(low)} to {_percent(high)})"
    else:
        said = _unclear(
            arm,
            metric,
            f"{_signed(interval.low)} to {_signed(interval.high)}",
            found,
            _percent(SIZES[metric]),
        )
    return _entry(first, arm, metric, found, said, relative_to=first.name)


def _shares(
    first: Arm, base: ArmFigures, arm: Arm, seen: ArmFigures, metric: str, hits: str, count: str, size: float
) -> dict[str, Any] | None:
    """The comparison of two shares."""
    if not base.total(count) or not seen.total(count):
        return None
    one, two = _effective(base, hits, count), _effective(seen, hits, count)
    left, right = always(*one, alpha=0.025), always(*two, alpha=0.025)
    interval = Interval(right.low - left.high, right.high - left.low)
    value = two[0] / two[1] - one[0] / one[1]
    error = _error(one, two)
    found = Difference(
        value=value,
        anytime=interval,
        once=newcombe(one, two),
        error=error,
        count=min(base.total(count), seen.total(count)),
    )
    rates = f"{_percent(seen.total(hits) / seen.total(count))} against {_percent(base.total(hits) / base.total(count))}"
    points = f"{_signed(interval.low)} to {_signed(interval.high)}"
    if interval.clear:
        word = (
            ("better" if value > 0 else "worse")
            if metric == "quality"
            else ("worse" if value > 0 else "better")
        )
        noun = "share of good ratings" if metric == "quality" else "error rate"
        said = f"{arm.name} is {word} in its {noun}: {rates} (difference {points})"
    else:
        said = _unclear(arm, metric, f"{rates}; difference {points}", found, _percent(size), size)
    return _entry(first, arm, metric, found, said)


def _error(one: tuple[float, float], two: tuple[float, float]) -> float:
    """The standard error of a difference of shares; a hit and a miss are added to each, so that none is 0."""
    found = 0.0
    for hits, count in (one, two):
        share = (hits + 1) / (count + 2)
        found += share * (1 - share) / (count + 2)
    return sqrt(found)


def _quality(first: Arm, base: ArmFigures, arm: Arm, seen: ArmFigures) -> dict[str, Any] | None:
    """The comparison of ratings: of shares of good ones where all are up or down, else of their means."""
    ratings = (base.total("ratings"), seen.total("ratings"))
    if not all(ratings):
        return None
    if ratings == (base.total("plain"), seen.total("plain")):
        return _shares(first, base, arm, seen, "quality", "good", "ratings", SIZES["quality"])
    left, right = _mean(base, "ratings", "score_milli"), _mean(seen, "ratings", "score_milli")
    if left is None or right is None:
        return None
    found = _scaled(difference(left, right))
    if not _enough(left, right) or not found.error:
        return _entry(first, arm, "quality", found, _early(arm, "quality", left, right), early=True)
    interval = found.anytime
    assert interval is not None, "there are several groups"
    means = f"mean rating {right.value / 1000:.2f} against {left.value / 1000:.2f}"
    span = f"{interval.low:+.2f} to {interval.high:+.2f}"
    if interval.clear:
        said = f"{arm.name} is {'better' if found.value > 0 else 'worse'} in quality: {means} (difference {span})"
    else:
        said = _unclear(arm, "quality", f"{means}; difference {span}", found, f"{SIZES['quality']}")
    return _entry(first, arm, "quality", found, said)


def _scaled(found: Difference) -> Difference:
    """Of thousandths, ones."""

    def part(interval: Interval | None) -> Interval | None:
        return None if interval is None else Interval(interval.low / 1000, interval.high / 1000)

    return Difference(
        value=found.value / 1000,
        anytime=part(found.anytime),
        once=part(found.once),
        error=None if found.error is None else found.error / 1000,
        count=found.count,
    )


def _entry(
    first: Arm,
    arm: Arm,
    metric: str,
    found: Difference,
    verdict: str,
    *,
    relative_to: str | None = None,
    early: bool = False,
) -> dict[str, Any]:
    interval = None if early else found.anytime
    return {
        "arm": arm.name,
        "against": first.name,
        "metric": metric,
        "difference": _round(found.value),
        "unit": "share" if relative_to is not None or metric == "errors" else "as measured",
        "interval": _shown(interval),
        "interval_once": None if early else _shown(found.once),
        "clear": interval is not None and interval.clear,
        "more_needed": None if early else more_for(found, SIZES[metric]),
        "verdict": verdict,
    }


def _enough(left: Mean, right: Mean) -> bool:
    return all(each.count >= COUNT_MIN and each.groups >= GROUPS_MIN for each in (left, right))


def _early(arm: Arm, metric: str, left: Mean, right: Mean) -> str:
    count, groups = min(left.count, right.count), min(left.groups, right.groups)
    if count < COUNT_MIN:
        return f"{arm.name}: {_NOUNS[metric]}: too early to say; {COUNT_MIN - count} more are needed at least"
    return (
        f"{arm.name}: {_NOUNS[metric]}: too early to say; all of it comes from too few who keep an arm ({groups} groups, "
        f"{GROUPS_MIN} are needed)"
    )


def _unclear(
    arm: Arm, metric: str, seen: str, found: Difference, size: str, exact: float | None = None
) -> str:
    more = more_for(found, SIZES[metric] if exact is None else exact)
    if more == 0:
        tail = f"one of {size} would have been seen"
    elif more is None:
        tail = "nobody can say how many more are needed"
    else:
        tail = f"about {more} more with each arm are needed to see one of {size}"
    return f"{arm.name}: {_NOUNS[metric]}: no difference seen yet ({seen}); {tail}"


def _notes(experiment: Experiment, figures: Figures) -> list[str]:
    """What has to be known to read the rest."""
    notes = []
    for arm in experiment.arms:
        seen = figures.arm(arm.name)
        requests, left = seen.total("requests"), seen.total("left")
        if left:
            notes.append(
                f"{arm.name} could not serve {left} of {left + requests} requests, which are not counted with it: "
                "the arms do not see quite the same requests"
            )
        if skipped := seen.total("skipped"):
            notes.append(
                f"{skipped} copies for {arm.name} were not made, since as many were under way as may be"
            )
    if not any(figures.arm(arm.name).total("requests") for arm in experiment.arms):
        notes.append("nothing was counted yet")
    return notes


# -- numbers ---------------------------------------------------------------------------------------


def _shown(interval: Interval | None, unit: float = 1) -> list[float | None] | None:
    if interval is None:
        return None
    return [_round(interval.low / unit), _round(interval.high / unit)]


def _round(number: float) -> float | None:
    """Six digits that count; None for what JSON has no word for."""
    if number in (float("inf"), float("-inf")) or number != number:
        return None
    return float(f"{number:.6g}")


def _dollars(amount_pusd: int) -> str:
    """Exact, as text."""
    whole, part = divmod(abs(amount_pusd), _PUSD)
    digits = f"{part:012}".rstrip("0")
    sign = "-" if amount_pusd < 0 else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def _percent(share: float) -> str:
    text = f"{share * 100:.3g}" if abs(share) < 10 else f"{share * 100:.0f}"
    return f"{text} %"


def _signed(share: float) -> str:
    return f"{'+' if share > 0 else ''}{_percent(share)}"


def columns(arms: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The arms of a report as a table: heads and rows."""
    heads = (
        "ARM",
        "REQUESTS",
        "ERRORS",
        "LATENCY ms",
        "P90",
        "FIRST TOKEN ms",
        "COST $/1000",
        "RATINGS",
        "MEAN",
    )
    return heads, [_row(arm) for arm in arms]


def _row(arm: Mapping[str, Any]) -> tuple[str, ...]:
    rate, cost, rated = arm["errors"]["rate"], arm["cost_usd"], arm["feedback"]
    return (
        str(arm["name"]),
        str(arm["requests"]),
        "-" if rate is None else _percent(rate),
        _cell(arm["latency_ms"], "mean"),
        _cell(arm["latency_ms"], "p90"),
        _cell(arm["first_token_ms"], "mean"),
        "-" if cost["mean"] is None else f"{cost['mean'] * 1000:.4g}",
        str(rated["ratings"]),
        "-" if rated["mean"] is None else f"{rated['mean']:+.2f}",
    )


def _cell(spread: Mapping[str, Any], name: str) -> str:
    return "-" if spread[name] is None else f"{spread[name]:.0f}"
