"""What a request will cost, as an interval, before it is sent. Nothing is held by it.

The least is a true lower bound of an answer that is charged at all (an empty or failed one is free):
one token of output, and the fewest tokens that its text can be, at the cheapest rates. The most is
what would be held. What is expected lies between, at the ordinary rates.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from llm_router.billing.estimate import estimate, expected_input
from llm_router.billing.outputs import Learned
from llm_router.domain.model import Deployment
from llm_router.domain.price import CostLine, Price, Rates, cost_lines, rates_for
from llm_router.domain.usage import Provenance, Usage
from llm_router.wire.dialect import Inspected

IMAGE_TOKENS = 1_500
"""The estimate of one image: about 1,600 at Claude for a full-size one, 258 to 1,290 at Gemini."""

BYTES_PER_TOKEN_MOST = 16
"""No language makes more bytes of a token on average: seen were up to 9 (see billing/tokens.py)."""

OUTPUT_TOKENS_ASSUMED = 500
"""Of an answer, where too few were seen to know better."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Picodollars and tokens at one deployment.

    Attributes:
        input_tokens, output_tokens: expected; output over all choices.
        input_tokens_max, output_tokens_max: what would be held.
        lines: of what is expected, at its price; their sum is ``expected_pusd`` unless that lies
            outside of the bounds.
    """

    input_tokens: int
    input_tokens_max: int
    output_tokens: int
    output_tokens_max: int
    min_pusd: int
    expected_pusd: int
    max_pusd: int
    lines: tuple[CostLine, ...]


def interval(
    inspected: Inspected, deployment: Deployment, *, learned: Learned | None, output_tokens_default: int
) -> Interval:
    """What a request will cost at a deployment that has a price.

    Raises:
        ValueError: it has none.
    """
    price = deployment.price
    if price is None:
        raise ValueError("an unpriced deployment has no cost")
    most = estimate(inspected, [deployment], output_tokens_default=output_tokens_default)
    input_tokens = min(_input(inspected), most.input_tokens)
    output_tokens = min(_output(inspected, learned, _rates_output(price)), most.output_tokens)
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        provenance=Provenance.ESTIMATED,
        service_tier=inspected.service_tier,
    )
    lines = cost_lines(price, usage)
    least = min(_least(inspected, price), most.amount_pusd)
    expected = sum(line.amount_pusd for line in lines)
    return Interval(
        input_tokens=input_tokens,
        input_tokens_max=most.input_tokens,
        output_tokens=output_tokens,
        output_tokens_max=most.output_tokens if _rates_output(price) else 0,
        min_pusd=least,
        expected_pusd=min(max(expected, least), most.amount_pusd),
        max_pusd=most.amount_pusd,
        lines=lines,
    )


def least_tokens(inspected: Inspected) -> int:
    """The fewest tokens that the text of a request can be."""
    return inspected.text_bytes // BYTES_PER_TOKEN_MOST + inspected.input_tokens


def forecast(
    inspected: Inspected,
    deployment: Deployment,
    *,
    input_tokens: int,
    output_tokens: int,
    warm_tokens: int = 0,
) -> int | None:
    """Picodollars that a request is expected to cost at a deployment; None if that has no price.

    Args:
        input_tokens, output_tokens: expected; output over all choices.
        warm_tokens: of the input, those that a cache of the deployment is expected to hold.
    """
    price = deployment.price
    if price is None:
        return None
    rates = rates_for(price, input_tokens, inspected.service_tier)
    warm = min(warm_tokens, input_tokens) if rates.cache_read is not None else 0
    cost = (input_tokens - warm) * rates.input + output_tokens * rates.output + rates.request
    return cost if rates.cache_read is None else cost + warm * rates.cache_read


def expected_tokens(inspected: Inspected, learned: Learned | None) -> tuple[int, int]:
    """Input and output (over all choices) that a chat request is expected to come to."""
    output = _output(inspected, learned, True)
    asked = inspected.output_tokens
    return _input(inspected), output if asked is None else min(output, asked * max(1, inspected.n))


def _input(inspected: Inspected) -> int:
    """The expected input: text by its bytes, images by the piece, other media by their size."""
    media = inspected.images * IMAGE_TOKENS + inspected.file_bytes // 16 + inspected.audio_bytes // 300
    return expected_input(inspected) + media


def _output(inspected: Inspected, learned: Learned | None, priced: bool) -> int:
    if not priced:  # an embedding has no output
        return 0
    return (OUTPUT_TOKENS_ASSUMED if learned is None else learned.mean) * max(1, inspected.n)


def _rates_output(price: Price) -> bool:
    return any(rates.output for rates in _all_rates(price))


def _least(inspected: Inspected, price: Price) -> int:
    sets = list(_all_rates(price))
    rate = min(
        value
        for r in sets
        for value in (r.input, r.cache_read, r.cache_write, r.cache_write_1h)
        if value is not None
    )
    output = min(r.output if r.reasoning is None else min(r.output, r.reasoning) for r in sets)
    return least_tokens(inspected) * rate + output + min(r.request for r in sets)


def _all_rates(price: Price) -> Iterable[Rates]:
    """Every set of rates that a request may be charged by."""
    yield price.rates
    yield from (tier.rates for tier in price.tiers)
    yield from price.service_tiers.values()
    for tiers in price.service_tiers_long.values():
        yield from (tier.rates for tier in tiers)
