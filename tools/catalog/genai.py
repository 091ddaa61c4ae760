"""Quotes from the package genai-prices (https://github.com/pydantic/genai-prices, MIT)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from catalog.quotes import Quote, Rates, SourceError, Tiers, picodollars

_PER_MTOK = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
    "output_reasoning_mtok": "reasoning",
}
_PER_THOUSAND = {"web_searches_kcount": "web_search", "requests_kcount": "request"}
_NOT_METERED = frozenset(
    {
        "storage_searches_kcount",
        "cache_audio_read_mtok",
        "cache_image_read_mtok",
        "input_image_mtok",
        "input_video_mtok",
        "output_video_mtok",
        "output_citation_mtok",
        "audio_hours",
        "input_audio_hours",
    }
)
"""Units that no chat usage of ours counts by itself."""

_SERVICES = {
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("service_tier", "fast"): "fast",
    ("speed", "fast"): "fast",
    ("processing", "batch"): "batch",
}


class GenaiPrices:
    """Look up what genai-prices states of a model at a provider."""

    def __init__(self, as_of: str) -> None:
        from genai_prices.data import providers

        self._providers = {p.id: p for p in providers}
        self._day = date.fromisoformat(as_of)
        self.name = f"genai-prices {version('genai-prices')}"

    def model(self, provider: str, ref: str) -> Any | None:
        """The package's own row of a model, by its matching rules."""
        known = self._providers.get(provider)
        if known is None:
            raise SourceError(f"genai-prices knows no provider {provider!r}")
        exact = (m for m in known.models if m.id == ref)
        return next(exact, None) or next((m for m in known.models if m.is_match(ref)), None)

    def context_tokens(self, provider: str, ref: str) -> int | None:
        found = self.model(provider, ref)
        return None if found is None else found.context_window

    def quotes(self, provider: str, ref: str, *, input_only: bool = False) -> list[Quote]:
        """The price that holds now, then the announced ones, by rising date; [] if there is none.

        ``input_only``: the model gives no tokens, so that whatever is stated of its output is naught.
        """
        found = self.model(provider, ref)
        if found is None:
            return []
        page = next(iter(self._providers[provider].pricing_urls or ()), None)
        quotes = []
        for since, prices in self._periods(found.prices):
            day = max(self._day, date.fromisoformat(since)) if since else self._day
            rates, tiers = _read(prices, f"{provider}/{ref}")
            if input_only:
                rates["output"] = 0
            if rates.get("input") is None or rates.get("output") is None:
                continue
            if not rates["input"] and not rates["output"]:
                continue
            services = self._services(found, day)
            if input_only:
                services = {name: ({**own, "output": 0}, steps) for name, (own, steps) in services.items()}
            quotes.append(
                Quote(
                    source=self.name,
                    rates=rates,
                    tiers=tiers,
                    services=services,
                    off_peak=self._off_peak(found.prices, prices[0], f"{provider}/{ref}"),
                    page=page,
                    since=since,
                )
            )
        return quotes

    def _periods(self, prices: Any) -> list[tuple[str | None, list[Any]]]:
        """(since, prices that may hold then): more than one where the price depends on the hour."""
        if not isinstance(prices, list):
            return [(None, [prices])]
        dated: list[tuple[str | None, Any]] = []
        hourly = []
        for row in prices:
            kind = type(row.constraint).__name__
            if kind == "NoneType":
                dated.append((None, row.prices))
            elif kind == "StartDateConstraint":
                dated.append((row.constraint.start_date.isoformat(), row.prices))
            elif kind == "TimeOfDateConstraint":
                hourly.append(row.prices)
            else:
                raise SourceError(f"genai-prices has a new constraint {kind}")
        day = self._day.isoformat()
        current = [(since, p) for since, p in dated if since is None or since <= day][-1:]
        coming = [(since, p) for since, p in dated if since is not None and since > day]
        return [(since, [p, *hourly]) for since, p in current + coming]

    def _off_peak(
        self, stated: Any, base: Any, what: str
    ) -> tuple[tuple[tuple[int, int], ...], Rates] | None:
        """When, and at what rates, it is cheaper: outside of the hours that have prices of their own."""
        rows = stated if isinstance(stated, list) else []
        hours = [row.constraint for row in rows if type(row.constraint).__name__ == "TimeOfDateConstraint"]
        if not hours:
            return None
        windows, begin = [], 0
        for start, end in sorted((_minute(h.start_time), _minute(h.end_time)) for h in hours):
            if start > begin:
                windows.append((begin, start))
            begin = max(begin, end)
        if begin < DAY_MINUTES:
            windows.append((begin, DAY_MINUTES))
        return tuple(windows), _read([base], what)[0]

    def _services(self, model: Any, day: date) -> dict[str, tuple[Rates, Tiers]]:
        at = datetime.combine(day, time(12), tzinfo=UTC)
        found: dict[str, tuple[Rates, Tiers]] = {}
        for variant in model.price_variants or ():
            name = _SERVICES.get(next(iter(variant.when.items()))) if len(variant.when) == 1 else None
            if name is None or name in found:
                continue
            if variant.constraint is not None and not variant.constraint.active(at):
                continue
            own, own_tiers = _read([variant.prices], model.id)
            if not own:
                continue
            found[name] = (own, own_tiers)
        return found


DAY_MINUTES = 24 * 60


def _minute(moment: time) -> int:
    """Of the day, in UTC, in which the source states it."""
    if moment.tzinfo is not UTC or moment.second:
        raise SourceError(f"genai-prices has an hour of another zone: {moment}")
    return moment.hour * 60 + moment.minute


def _read(prices: list[Any], what: str) -> tuple[Rates, Tiers]:
    """Rates and tiers of a price; of several (by the hour), the dearest of each."""
    rates: Rates = {}
    tiers: Tiers = {}
    starts: set[int] = set()
    stated: list[tuple[str, int, dict[int, int]]] = []
    for price in prices:
        for key, value in vars(price).items():
            if value is None or key.startswith("_") or key in _NOT_METERED:
                continue
            if key in _PER_MTOK:
                bucket, per = _PER_MTOK[key], Decimal(10**6)
            elif key in _PER_THOUSAND:
                bucket, per = _PER_THOUSAND[key], Decimal(1000)
            else:
                raise SourceError(f"{what}: genai-prices has a new unit {key}")
            base = getattr(value, "base", value)
            steps = {t.start: picodollars(t.price / per, what) for t in getattr(value, "tiers", ())}
            stated.append((bucket, picodollars(base / per, what), steps))
            starts |= steps.keys()
    for bucket, base, _ in stated:
        rates[bucket] = max(base, rates.get(bucket, 0))
    for start in sorted(starts):
        above = dict(rates)
        for bucket, base, steps in stated:
            reached = [s for s in steps if s <= start]
            above[bucket] = steps[max(reached)] if reached else base
        tiers[start] = above
    return rates, tiers
