"""What a plain answer costs: :func:`~llm_router.billing.meter.meter` in a closed form, for one deployment.

An answer is plain if it is whole, its usage was reported and can be true beyond doubt, and it consists of text: fresh
and cached input, output and reasoning. Nearly all are. Where :meth:`Tariff.meter` says something it is what the
settlement table says; everything else goes by the table.
"""

from __future__ import annotations

import msgspec

from llm_router.billing.meter import DEAR_TIERS, Metered
from llm_router.billing.policy import INPUT_TOLERANCE, OUTPUT_MOST_TOLERANCE, OUTPUT_TOLERANCE
from llm_router.domain.model import Deployment
from llm_router.domain.money import MAX_PUSD
from llm_router.domain.price import CostLine, Price
from llm_router.domain.usage import Usage


class Tariff(msgspec.Struct, frozen=True):
    """The rates of one price in picodollars.

    Attributes:
        price: what it was made from.
        tiers: service tiers that change the rates, or whose rates nobody knows.
        completion_max: the most output of a true usage; None is not bounded.
    """

    price: Price
    input: int
    cached: int
    output: int
    reasoning: int
    request: int
    tiers: frozenset[str]
    completion_max: int | None

    def meter(self, usage: Usage, input_tokens: int, asked: int | None) -> Metered | None:
        """What a whole answer of that usage costs; None if it is not plain.

        Args:
            input_tokens: the upper bound that the hold was made of.
            asked: the output limit of all choices together.
        """
        if (
            usage.cache_write_tokens
            or usage.cache_write_1h_tokens
            or usage.input_audio_tokens
            or usage.output_audio_tokens
            or usage.output_image_tokens
            or usage.web_searches
            or usage.others
            or (usage.service_tier is not None and usage.service_tier in self.tiers)
        ):
            return None
        fresh, cached, output, thought = (
            usage.input_tokens,
            usage.cache_read_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
        )
        produced = output + thought
        if produced <= 0 or fresh + cached > 2 * input_tokens + INPUT_TOLERANCE:
            return None
        if self.completion_max is not None and produced > self.completion_max:
            return None
        if asked is not None and output > 2 * asked + OUTPUT_TOLERANCE:
            return None
        cost = (
            fresh * self.input
            + cached * self.cached
            + output * self.output
            + thought * self.reasoning
            + self.request
        )
        if cost > MAX_PUSD:
            return None
        lines: tuple[CostLine, ...] = ()
        if fresh and self.input:
            rate = self.input
            lines = (
                CostLine(bucket="input_tokens", quantity=fresh, rate_pusd=rate, amount_pusd=fresh * rate),
            )
        if cached and self.cached:
            lines += (_line("cache_read_tokens", cached, self.cached),)
        if output and self.output:
            rate = self.output
            lines += (
                CostLine(bucket="output_tokens", quantity=output, rate_pusd=rate, amount_pusd=output * rate),
            )
        if thought and self.reasoning:
            lines += (_line("reasoning_tokens", thought, self.reasoning),)
        if self.request:
            lines += (_line("requests", 1, self.request),)
        return Metered(usage=usage, lines=lines, cost_pusd=cost, flags=())


def _line(bucket: str, count: int, rate: int) -> CostLine:
    return CostLine(bucket=bucket, quantity=count, rate_pusd=rate, amount_pusd=count * rate)


def tariff_of(deployment: Deployment) -> Tariff | None:
    """That of a deployment; None if it has no price, or its rates depend on the size of a request."""
    price, most = deployment.price, deployment.output_tokens_max
    if price is None or price.tiers:
        return None
    rates = price.rates
    return Tariff(
        price=price,
        input=rates.input,
        cached=rates.input if rates.cache_read is None else rates.cache_read,
        output=rates.output,
        reasoning=rates.output if rates.reasoning is None else rates.reasoning,
        request=rates.request,
        tiers=frozenset((*price.service_tiers, *DEAR_TIERS)),
        completion_max=None if most is None else 2 * most + OUTPUT_MOST_TOLERANCE,
    )
