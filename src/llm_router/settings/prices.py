"""Prices as operators write them (dollars per million tokens) to exact integer rates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from llm_router.domain.money import PUSD_PER_USD
from llm_router.domain.price import MAX_RATE_PUSD, Price, Rates
from llm_router.settings.problems import KeyPath, Problems
from llm_router.settings.schema import PriceTable

MAX_PER_MTOK = Decimal(1000)
"""No model costs more a million tokens; a larger figure was meant in another unit."""

MIN_PER_MTOK = Decimal("0.001")
"""No model costs less a million tokens but for nothing; a smaller figure is a price per token."""

MAX_PIECE_USD = Decimal("0.05")
"""The dearest search or request: keeps the product with a plausible count within an int64."""

_TOKENS = 10**6
_BUCKETS = {
    "input_per_mtok": "input",
    "output_per_mtok": "output",
    "cache_read_per_mtok": "cache_read",
    "cache_write_per_mtok": "cache_write",
    "cache_write_1h_per_mtok": "cache_write_1h",
    "input_audio_per_mtok": "input_audio",
    "output_audio_per_mtok": "output_audio",
    "reasoning_per_mtok": "reasoning",
    "web_search_usd": "web_search",
    "request_usd": "request",
}

FREE = Rates(input=0, output=0)


def read_price(table: PriceTable | Decimal, path: KeyPath, problems: Problems) -> Price | None:
    """The price with integer rates; None when something in it is wrong (and reported)."""
    if isinstance(table, Decimal):
        if table == 0:
            return _named(FREE)
        problems.add(
            path,
            "must be 0 (free of charge) or a table such as "
            "{ input_per_mtok = 0.15, output_per_mtok = 0.60 }, in US dollars per million tokens",
        )
        return None
    rates: dict[str, int] = {}
    right = True
    for key, bucket in _BUCKETS.items():
        dollars: Decimal | None = getattr(table, key)
        if dollars is None:
            continue
        rate = _rate(key, dollars, (*path, key), problems)
        if rate is None:
            right = False
        else:
            rates[bucket] = rate
    return _named(msgspec.convert(rates, Rates)) if right else None


def read_tools(tools: Mapping[str, Decimal], path: KeyPath, problems: Problems) -> dict[str, int]:
    """What a provider's tools cost: dollars of each use, of ``image_generation`` per million tokens of image."""
    found: dict[str, int] = {}
    for name, dollars in tools.items():
        key = "output_per_mtok" if name == "image_generation" else "request_usd"
        rate = _rate(key, dollars, (*path, name), problems)
        if rate is not None:
            found[name] = rate
    return found


def _rate(key: str, dollars: Decimal, path: KeyPath, problems: Problems) -> int | None:
    """Picodollars a token or a piece."""
    per_token = key.endswith("_per_mtok")
    wrong = _implausible_tokens(dollars) if per_token else _implausible_piece(dollars)
    if wrong is None:
        scaled = dollars * (PUSD_PER_USD // _TOKENS if per_token else PUSD_PER_USD)
        if scaled == int(scaled):
            return int(scaled)
        places = 6 if per_token else 12
        wrong = f"has more than {places} digits behind the point, which is finer than anything is billed"
    problems.add(path, wrong)
    return None


def _implausible_tokens(dollars: Decimal) -> str | None:
    if dollars > MAX_PER_MTOK:
        return (
            f"{dollars:f} dollars per million tokens is implausible (at most {MAX_PER_MTOK}); the unit "
            "is US dollars per 1,000,000 tokens: $3 per million is written 3"
        )
    if 0 < dollars < MIN_PER_MTOK:
        return (
            f"{dollars:f} dollars per million tokens is implausible (at least {MIN_PER_MTOK}, or 0); the "
            f"unit is US dollars per 1,000,000 tokens: {dollars:f} a token is written "
            f"{(dollars * _TOKENS).normalize():f}"
        )
    return None


def _implausible_piece(dollars: Decimal) -> str | None:
    if dollars > MAX_PIECE_USD:
        return (
            f"{dollars:f} dollars a piece is implausible (at most {MAX_PIECE_USD}); "
            "$10 per 1,000 is written 0.01"
        )
    return None


def _named(rates: Rates) -> Price:
    """A price whose version is a digest of its rates: the same figures are the same version."""
    digest = hashlib.sha256(msgspec.json.encode(rates)).hexdigest()[:16]
    return Price(version=f"config:{digest}", rates=rates, source="configuration")


assert MAX_PIECE_USD * PUSD_PER_USD * 10**8 < 2**63, "a rate times MAX_COUNT must fit an int64"
assert MAX_PER_MTOK * (PUSD_PER_USD // _TOKENS) <= MAX_RATE_PUSD
