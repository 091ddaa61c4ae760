"""A price as one source states it, in integer picodollars, and how two of them are compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

TOKEN_BUCKETS = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "reasoning",
    "output_audio",
    "output_image",
)
PIECE_BUCKETS = ("web_search", "request")

Rates = dict[str, int]
"""Bucket of ``domain.price.Rates`` -> picodollars per token or piece."""

Tiers = dict[int, Rates]
"""Threshold in prompt tokens -> rates of a request above it."""

_ARTEFACT = Decimal("0.001")
"""How far from whole picodollars a float of a source may be (1.5000000000000002e-07 dollars)."""


class SourceError(ValueError):
    """A source states something that cannot be carried over."""


@dataclass(frozen=True, kw_only=True)
class Quote:
    """One price of one deployment from one source.

    Attributes:
        source: the name of the source with its version.
        page: the page that the source names as its own source.
        since: ISO date from which it holds; None if the source does not say.
        off_peak: windows (minutes of the day, UTC) and rates of quiet hours, where ``rates`` are the others'.
        services: rates and tiers of other service tiers, by name: only what the source states of
            them. What it does not state is as in the standard tier.
    """

    source: str
    rates: Rates
    tiers: Tiers = field(default_factory=dict)
    services: dict[str, tuple[Rates, Tiers]] = field(default_factory=dict)
    off_peak: tuple[tuple[tuple[int, int], ...], Rates] | None = None
    page: str | None = None
    since: str | None = None


def picodollars(dollars: Decimal, what: str) -> int:
    """Dollars as whole picodollars; a true fraction (a price divided by 12) is rounded up.

    Raises:
        SourceError: the amount is negative.
    """
    exact = dollars.scaleb(12)
    if exact < 0:
        raise SourceError(f"{what}: {dollars} dollars")
    whole = exact.quantize(Decimal(1))
    return int(whole if abs(exact - whole) <= _ARTEFACT else exact.to_integral_value(ROUND_CEILING))


def differences(one: Quote, two: Quote) -> list[str]:
    """What two quotes state differently; what only one of them states is no difference."""
    found = _rate_differences("", one.rates, two.rates)
    found += _tier_differences("", one.tiers, two.tiers)
    for name in sorted(one.services.keys() & two.services.keys()):
        found += _rate_differences(f"{name} ", one.services[name][0], two.services[name][0])
    return found


def _rate_differences(where: str, one: Rates, two: Rates) -> list[str]:
    return [
        f"{where}{bucket} {one[bucket]} / {two[bucket]}"
        for bucket in TOKEN_BUCKETS + PIECE_BUCKETS
        if bucket in one and bucket in two and one[bucket] != two[bucket]
    ]


def _tier_differences(where: str, one: Tiers, two: Tiers) -> list[str]:
    """Thresholds that differ by one token mean the same ("above 200k", "from 200k on")."""
    left, right = sorted(one), sorted(two)
    if len(left) != len(right) or any(abs(a - b) > 1 for a, b in zip(left, right, strict=True)):
        return [f"{where}tiers {left} / {right}"]
    found = []
    for a, b in zip(left, right, strict=True):
        found += _rate_differences(f"{where}above {a} ", one[a], two[b])
    return found


def merged(first: Quote, second: Quote) -> Quote:
    """The first quote, with what only the second one states added."""
    services = {**second.services, **first.services}
    for name in first.services.keys() & second.services.keys():
        rates, tiers = first.services[name]
        other, other_tiers = second.services[name]
        services[name] = ({**other, **rates}, _merged_tiers(tiers, other_tiers))
    return Quote(
        source=f"{first.source}, {second.source}",
        rates={**second.rates, **first.rates},
        tiers=_merged_tiers(first.tiers, second.tiers),
        services=services,
        off_peak=first.off_peak or second.off_peak,
        page=second.page or first.page,
        since=first.since or second.since,
    )


def _merged_tiers(first: Tiers, second: Tiers) -> Tiers:
    if not first:
        return second
    if len(first) != len(second):
        return first
    pairs = zip(sorted(first), sorted(second), strict=True)
    return {a: {**second[b], **first[a]} for a, b in pairs}
