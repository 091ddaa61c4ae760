"""The worst a request can cost, before it is sent: the size of its hold.

Every candidate deployment is priced at the dearest rates that may apply to it, since any of them
may end up answering. What the hold is too large by comes back with the settlement.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from llm_router.billing.policy import INJECTED_WINDOWS
from llm_router.billing.tokens import (
    DENSE_BYTES,
    FRAME_TOKENS,
    FRAME_TOKENS_PLAIN,
    estimate_tokens,
    tokens_upper,
)
from llm_router.domain.model import Deployment
from llm_router.domain.price import Price, Rates, cost_lines
from llm_router.domain.usage import MAX_COUNT
from llm_router.wire.dialect import Inspected

OUTPUT_TOKENS_DEFAULT = 16_384
"""Held for a request that names no limit of its own: longer answers are rare."""

IMAGE_TOKENS_MAX = 5_000
"""Above what one image costs at nearly every model: 1,445 at GPT-4o (8 tiles of 170 and 85), 3,779
at GPT-4.1 nano (1,536 patches x 2.46; https://platform.openai.com/docs/guides/images-vision), 4,784
at Claude (https://docs.anthropic.com/en/docs/build-with-claude/vision), 2,240 at Gemini 3
(https://ai.google.dev/gemini-api/docs/media-resolution)."""

IMAGE_TOKENS_BY_MODEL = (("gpt-4o-mini*", 48_169),)
"""Upstream models that count images otherwise: 2,833 and eight tiles of 5,667 each (same source)."""

AUDIO_BYTES_PER_TOKEN = 30
"""Base64 bytes of sound for one token: 32 tokens a second (Gemini, the most of all) at 6 kbit/s
(speech in Opus, the least that is common) make 31."""

FILE_BYTES_PER_TOKEN = 2
"""Base64 bytes of a document for one token: a page of compressed text has 4 kB and is billed as up
to 3,000 tokens of text and picture together."""

FILE_TOKENS_MAX = 200_000
"""All documents of a request together: scanned pages are megabytes, yet few tokens."""

REMOTE_TOKENS_MAX = 50_000
"""A document, sound or video of which only the address is known."""


_FRAMED = frozenset({"tools", "json_object", "json_schema", "file"})
"""Needs that make a provider add text of its own."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The worst case of a request over its candidates.

    Attributes:
        input_tokens, output_tokens, amount_pusd: each the largest of any candidate; output over
            all choices.
        price_version: of the dearest candidate's price.
    """

    input_tokens: int
    output_tokens: int
    amount_pusd: int
    price_version: str


def expected_input(inspected: Inspected) -> int:
    """The expected count of the request's input tokens; media are left out."""
    return estimate_tokens(inspected.text_bytes) + inspected.input_tokens


def estimate(
    inspected: Inspected,
    deployments: Sequence[Deployment],
    *,
    output_tokens_default: int = OUTPUT_TOKENS_DEFAULT,
) -> Estimate:
    """Bound what the request may cost at any of the deployments; unpriced ones are left out.

    The output is bounded by the request's own limit and the model's, and by ``output_tokens_default``
    where the request names none.

    Raises:
        ValueError: no deployment has a price; such a request must have been refused before.
    """
    worst: Estimate | None = None
    input_most = output_most = 0
    for deployment in deployments:
        if deployment.price is None:
            continue
        counts = _input_counts(inspected, deployment)
        output = _output_tokens(inspected, deployment, output_tokens_default) * _choices(inspected)
        rates = _dearest(deployment.price, sum(counts), inspected.service_tier)
        amount = _input_pusd(rates, counts) + output * _output_rate(rates)
        amount += _beside_pusd(inspected, deployment, rates)
        input_most, output_most = max(input_most, sum(counts)), max(output_most, output)
        if worst is None or amount > worst.amount_pusd:
            worst = Estimate(
                input_tokens=0, output_tokens=0, amount_pusd=amount, price_version=deployment.price.version
            )
    if worst is None:
        raise ValueError("no candidate has a price")
    return msgspec.structs.replace(worst, input_tokens=input_most, output_tokens=output_most)


class Worst(msgspec.Struct, frozen=True):
    """The same deployments for many requests: :func:`estimate` of plain ones by what does not change.

    ``rows``: of each deployment context window, largest answer, picodollars of an input token, of an output
    token and of a request, and the version of its price.
    """

    rows: tuple[tuple[int, int | None, int, int, int, str], ...]

    def estimate(self, inspected: Inspected, output_tokens_default: int) -> Estimate | None:
        """What :func:`estimate` says; None of a request that holds more than text."""
        if inspected.plain:
            size, choices = inspected.text_bytes, 1
            plain = (
                FRAME_TOKENS_PLAIN + size if size <= DENSE_BYTES else tokens_upper(size, FRAME_TOKENS_PLAIN)
            )
        elif (
            inspected.images
            or inspected.file_bytes
            or inspected.audio_bytes
            or inspected.media_urls
            or inspected.service_tier is not None
            or inspected.inputs != 1
            or inspected.beside is not None
        ):
            return None
        else:
            frame = FRAME_TOKENS if _FRAMED & inspected.needs else FRAME_TOKENS_PLAIN
            plain = tokens_upper(inspected.text_bytes, frame) + inspected.input_tokens
            choices = _choices(inspected)
        asked = output_tokens_default if inspected.output_tokens is None else inspected.output_tokens
        amount, version, input_most, output_most = -1, "", 0, 0
        for window, most, input_rate, output_rate, request, of in self.rows:
            count = plain if plain < window else window
            output = (asked if most is None or asked < most else most) * choices
            cost = count * input_rate + request + output * output_rate
            if count > input_most:
                input_most = count
            if output > output_most:
                output_most = output
            if cost > amount:
                amount, version = cost, of
        return Estimate(
            input_tokens=input_most, output_tokens=output_most, amount_pusd=amount, price_version=version
        )


def worst_of(deployments: Sequence[Deployment]) -> Worst | None:
    """What does not change of them; None if rates depend on the size of a request, or there is no price."""
    rows = []
    for deployment in deployments:
        price = deployment.price
        if price is None or price.tiers:
            return None
        rates = price.rates
        text = _most(rates.input, rates.cache_read, rates.cache_write, rates.cache_write_1h)
        window = MAX_COUNT if deployment.context_tokens is None else deployment.context_tokens
        row = (window, deployment.output_tokens_max, text, _output_rate(rates), rates.request, price.version)
        rows.append(row)
    return Worst(tuple(rows)) if rows else None


def affordable_output_tokens(
    inspected: Inspected, deployments: Sequence[Deployment], available_pusd: int
) -> int:
    """How many output tokens a choice the credit covers at every candidate, after the worst input.

    Never more than a model's own maximum; 0 if not even the input is covered, or if there is no
    priced candidate. A hold for a request with this limit is at most ``available_pusd``.
    """
    affordable: int | None = None
    for deployment in deployments:
        if deployment.price is None:
            continue
        counts = _input_counts(inspected, deployment)
        rates = _dearest(deployment.price, sum(counts), inspected.service_tier)
        left = available_pusd - _input_pusd(rates, counts) - _beside_pusd(inspected, deployment, rates)
        if left < 0:
            return 0
        most = MAX_COUNT if deployment.output_tokens_max is None else deployment.output_tokens_max
        rate = _output_rate(rates) * _choices(inspected)
        count = most if rate == 0 else min(most, left // rate)
        affordable = count if affordable is None else min(affordable, count)
    return 0 if affordable is None else affordable


def continued_output_tokens(
    deployment: Deployment, input_tokens: int, available_pusd: int, service_tier: str | None
) -> int:
    """How many output tokens are covered at a deployment beside so many of text as input."""
    if deployment.price is None:
        return 0
    rates = _dearest(deployment.price, input_tokens, service_tier)
    left = available_pusd - _input_pusd(rates, (input_tokens, 0))
    rate = _output_rate(rates)
    if left < 0 or rate == 0:
        return 0 if left < 0 else MAX_COUNT
    return min(MAX_COUNT, left // rate)


def _choices(inspected: Inspected) -> int:
    return inspected.n if inspected.n > 1 else 1


def _output_tokens(inspected: Inspected, deployment: Deployment, default: int) -> int:
    asked = default if inspected.output_tokens is None else inspected.output_tokens
    return asked if deployment.output_tokens_max is None else min(asked, deployment.output_tokens_max)


def _input_counts(inspected: Inspected, deployment: Deployment) -> tuple[int, int]:
    """Upper bounds of (text, images and documents; sound), together within the context window.

    A provider refuses, unbilled, what does not fit the window. Of several inputs each has its own, and tools
    that the provider runs may fill it several times.
    """
    remote = sum(1 for kind, _ in inspected.media_urls if kind != "image")
    frame = FRAME_TOKENS if _FRAMED & inspected.needs else FRAME_TOKENS_PLAIN
    plain = tokens_upper(inspected.text_bytes, frame) + inspected.input_tokens
    plain += inspected.images * _image_tokens(deployment.base)
    plain += min(inspected.file_bytes // FILE_BYTES_PER_TOKEN, FILE_TOKENS_MAX)
    plain += remote * REMOTE_TOKENS_MAX
    sound = -(-inspected.audio_bytes // AUDIO_BYTES_PER_TOKEN)
    window = MAX_COUNT if deployment.context_tokens is None else deployment.context_tokens * inspected.inputs
    beside = inspected.beside
    if beside is not None:
        plain += beside.unseen_tokens
    sound = min(sound, window)
    plain = min(plain, window - sound)
    if beside is not None and beside.lookup_tokens:
        plain = min(plain + beside.lookup_tokens, window * INJECTED_WINDOWS, MAX_COUNT)
    return plain, sound


def _beside_pusd(inspected: Inspected, deployment: Deployment, rates: Rates) -> int:
    """The dearest that what the provider runs beside the model can cost, but for the tokens that it adds."""
    beside = inspected.beside
    if beside is None:
        return 0
    searches = beside.searches * (0 if rates.web_search is None else rates.web_search)
    return searches + sum(
        line.amount_pusd
        for name, usage in beside.tools
        if name in deployment.tools
        for line in cost_lines(deployment.tools[name], usage)
    )


def _image_tokens(model: str) -> int:
    for pattern, tokens in IMAGE_TOKENS_BY_MODEL:
        if fnmatchcase(model, pattern):
            return tokens
    return IMAGE_TOKENS_MAX


def _input_pusd(rates: Rates, counts: tuple[int, int]) -> int:
    """The dearest that fresh or cached input can cost, and the fixed fee."""
    text = _most(rates.input, rates.cache_read, rates.cache_write, rates.cache_write_1h)
    sound = _most(text, rates.input_audio)
    return counts[0] * text + counts[1] * sound + rates.request


def _output_rate(rates: Rates) -> int:
    return _most(rates.output, rates.reasoning, rates.output_audio, rates.output_image)


def _dearest(price: Price, input_tokens: int, service_tier: str | None) -> Rates:
    """Rate by rate the dearest of all that may apply: the size's tiers, the tier asked for, the base.

    A provider may serve another tier than was asked for; with "auto" it may serve any.
    """
    sets = [price.rates]
    sets += [tier.rates for tier in price.tiers if input_tokens > tier.above_prompt_tokens]
    if service_tier == "auto":
        sets += price.service_tiers.values()
    elif service_tier is not None and service_tier in price.service_tiers:
        sets.append(price.service_tiers[service_tier])
    if len(sets) == 1:
        return price.rates
    return Rates(
        input=max(r.input for r in sets),
        output=max(r.output for r in sets),
        cache_read=_most(0, *(r.cache_read for r in sets)),
        cache_write=_most(0, *(r.cache_write for r in sets)),
        cache_write_1h=_most(0, *(r.cache_write_1h for r in sets)),
        input_audio=_most(0, *(r.input_audio for r in sets)),
        reasoning=_most(0, *(r.reasoning for r in sets)),
        output_audio=_most(0, *(r.output_audio for r in sets)),
        output_image=_most(0, *(r.output_image for r in sets)),
        web_search=_most(0, *(r.web_search for r in sets)),
        request=max(r.request for r in sets),
    )


def _most(rate: int, *others: int | None) -> int:
    """The largest; None (no rate of its own) counts for nothing, since the others stand in for it."""
    return max(rate, *(0 if other is None else other for other in others))
