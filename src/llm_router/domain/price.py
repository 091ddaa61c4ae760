"""Prices as dated, immutable integer rates, and the one function that turns usage into cost.

Sources of the facts: a tier above a token threshold prices the *whole* request, not the part above
it (https://ai.google.dev/gemini-api/docs/pricing); Anthropic bills cache writes by lifetime
(https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_router.domain.usage import Usage

MAX_RATE_PUSD = 10**10
"""No rate may exceed this (one cent a token): with MAX_COUNT a product fits an int64."""


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Picodollars per token (or per piece) by bucket of :class:`Usage`.

    ``None`` means that the provider publishes no rate of its own for the bucket. Then cache reads,
    cache writes and audio input cost what ``input`` costs, and reasoning, audio and image output
    what ``output`` costs: never zero. A rate of 0 is a real, published zero.
    """

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    input_audio: int | None = None
    reasoning: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    web_search: int | None = None
    request: int = 0


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of a request whose input exceeds ``above_prompt_tokens``: they price all of it."""

    above_prompt_tokens: int
    rates: Rates


class OffPeak(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of quiet hours: of requests that are admitted within one of the windows.

    ``windows``: (begin, end) in minutes of the day, UTC; the end is no part of it.
    """

    windows: tuple[tuple[int, int], ...]
    rates: Rates


class Price(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One published price of one deployment.

    Attributes:
        version: names this price for ever; a hold pins it and a settlement uses it.
        rates: of a request below every tier.
        tiers: in rising order of their threshold.
        service_tiers: rates of other service tiers by the provider's name ("flex", "priority").
        service_tiers_long: by the same names, their own rates above a threshold.
        off_peak: what it is in quiet hours; all other rates are those of the others.
        valid_from: ISO date from which it holds.
        source: the page or data set it was taken from.
    """

    version: str
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    service_tiers: dict[str, Rates] = {}
    service_tiers_long: dict[str, tuple[Tier, ...]] = {}
    off_peak: OffPeak | None = None
    valid_from: str | None = None
    source: str | None = None


TOOL = "tool:"
"""Begins the name under which a tool that the provider runs stands beside models in a usage."""


def tool_prices(provider: str, rates: Mapping[str, int]) -> dict[str, Price]:
    """The prices of a provider's tools. Each has one rate, whatever its use is counted in."""
    return {
        name: Price(
            version=f"{TOOL}{provider}/{name}@{rate}",
            rates=Rates(input=rate, output=rate, web_search=rate),
            source=f"tools of {provider}",
        )
        for name, rate in rates.items()
    }


class CostLine(msgspec.Struct, frozen=True, kw_only=True):
    """quantity x rate of one bucket; ``amount_pusd`` is their product."""

    bucket: str
    quantity: int
    rate_pusd: int
    amount_pusd: int


def price_at(price: Price, now_ms: int) -> Price:
    """The price of a request that is admitted then: itself, or that of a quiet hour under a version of its own."""
    quiet = price.off_peak
    minute = now_ms // 60_000 % 1440
    if quiet is None or not any(begin <= minute < end for begin, end in quiet.windows):
        return price
    return Price(
        version=f"{price.version}/off-peak",
        rates=quiet.rates,
        valid_from=price.valid_from,
        source=price.source,
    )


def rates_for(price: Price, prompt_tokens: int, service_tier: str | None = None) -> Rates:
    """The rates that apply to a request of that size and service tier."""
    rates, tiers = price.rates, price.tiers
    if service_tier is not None and service_tier in price.service_tiers:
        rates = price.service_tiers[service_tier]
        tiers = price.service_tiers_long.get(service_tier, ())
    for tier in tiers:
        if prompt_tokens > tier.above_prompt_tokens:
            rates = tier.rates
    return rates


def cost_lines(price: Price, usage: Usage) -> tuple[CostLine, ...]:
    """Price every non-empty bucket of ``usage`` (``usage.others`` is priced by the caller).

    The sum of the lines' amounts is the cost in picodollars; it is exact, with no rounding.
    """
    r = rates_for(price, usage.prompt_tokens, usage.service_tier)
    lines: list[CostLine] = []
    if count := usage.input_tokens:
        _charge(lines, "input_tokens", count, r.input)
    if count := usage.cache_read_tokens:
        _charge(lines, "cache_read_tokens", count, _or(r.cache_read, r.input))
    if count := usage.cache_write_tokens:
        _charge(lines, "cache_write_tokens", count, _or(r.cache_write, r.input))
    if count := usage.cache_write_1h_tokens:
        _charge(lines, "cache_write_1h_tokens", count, _or(r.cache_write_1h, _or(r.cache_write, r.input)))
    if count := usage.input_audio_tokens:
        _charge(lines, "input_audio_tokens", count, _or(r.input_audio, r.input))
    if count := usage.output_tokens:
        _charge(lines, "output_tokens", count, r.output)
    if count := usage.reasoning_tokens:
        _charge(lines, "reasoning_tokens", count, _or(r.reasoning, r.output))
    if count := usage.output_audio_tokens:
        _charge(lines, "output_audio_tokens", count, _or(r.output_audio, r.output))
    if count := usage.output_image_tokens:
        _charge(lines, "output_image_tokens", count, _or(r.output_image, r.output))
    if count := usage.web_searches:
        _charge(lines, "web_searches", count, _or(r.web_search, 0))
    _charge(lines, "requests", 1, r.request)
    return tuple(lines)


def _charge(lines: list[CostLine], bucket: str, count: int, rate: int) -> None:
    if rate:
        lines.append(CostLine(bucket=bucket, quantity=count, rate_pusd=rate, amount_pusd=count * rate))


def _or(rate: int | None, other: int) -> int:
    return other if rate is None else rate
