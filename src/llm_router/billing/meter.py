"""What an exchange is charged: the settlement table.

    how it ended                                          charged
    ----------------------------------------------------  ------------------------------------------
    delivered, the provider reported usage (0 included)   exactly that usage
    delivered, no usage                                   what was counted; marked as estimated
    delivered, but empty                                  nothing
    failed before any content                             nothing
    cut after content                                     nothing, unless the operator charges for
                                                          delivered parts and usage was reported
    the client left after content                         the usage if it is whole, else the input's
                                                          estimate and what was delivered; estimated
    the client left before content                        nothing

A drained stream (the client left, the upstream was read to its end) is ``DELIVERED``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from llm_router.billing.tokens import tokens_of_chars
from llm_router.domain.money import MAX_PUSD
from llm_router.domain.price import CostLine, Price, cost_lines
from llm_router.domain.usage import NO_USAGE, Provenance, Usage

FLAG_ESTIMATED = "usage_estimated"  # charged by our own count
FLAG_PROVISIONAL = "usage_provisional"  # the provider's count was that of the stream's beginning
FLAG_EMPTY = "empty_not_charged"  # nothing was produced, so nothing is charged
FLAG_NOT_CHARGED = "usage_not_charged"  # the provider counts something that the customer is spared
FLAG_ABSURD = "usage_absurd"  # the counts come to more than an account can hold
FLAG_UNPRICED = "unpriced_usage"  # another model took part whose price is unknown: ":MODEL" follows


class End(StrEnum):
    """How the attempt that counts came to its end."""

    DELIVERED = "delivered"  # proven complete
    FAILED = "failed"  # no content was sent
    CUT = "cut"  # content was sent, then the upstream failed or broke
    CLIENT_GONE = "client_gone"  # the client left and the upstream was aborted


class Metered(msgspec.Struct, frozen=True, kw_only=True):
    """The charge. ``cost_pusd`` is the sum of the lines; the usage is what the client is told."""

    usage: Usage
    lines: tuple[CostLine, ...]
    cost_pusd: int
    flags: tuple[str, ...]


def meter(
    *,
    end: End,
    usage: Usage | None,
    output_chars: int,
    reasoning_chars: int,
    input_tokens_estimate: int,
    price: Price,
    price_of: Callable[[str], Price | None],
    charge_on_error: str = "none",
    produced: bool = False,
) -> Metered:
    """Charge an exchange that ended so.

    Args:
        usage: the last that the provider reported; None if none, or if it could not be true.
        output_chars, reasoning_chars: characters that reached the client.
        input_tokens_estimate: the expected (not the upper) count of the request's tokens.
        price: the one that the hold pinned.
        price_of: prices of other upstream models that consumed tokens inside this exchange.
        charge_on_error: "none", or "delivered" to charge for reported usage of a cut answer.
        produced: the answer holds something that is not counted in characters or output tokens.
    """
    if end is End.FAILED or (end is End.CUT and (charge_on_error != "delivered" or usage is None)):
        return _free(usage, FLAG_NOT_CHARGED if _consumed(usage) else None)
    if not (produced or _produced(end, usage, output_chars + reasoning_chars)):
        return _free(usage, FLAG_EMPTY)
    counted = _counted(output_chars, reasoning_chars, input_tokens_estimate)
    if usage is None:
        return _charge(counted, price, price_of, (FLAG_ESTIMATED,))
    if end is End.CLIENT_GONE and 2 * usage.completion_tokens < counted.completion_tokens:
        return _charge(_completed(usage, counted), price, price_of, (FLAG_PROVISIONAL, FLAG_ESTIMATED))
    metered = _charge(usage, price, price_of, ())
    if metered.cost_pusd > MAX_PUSD:  # cannot be true, so it counts as not reported
        return _charge(counted, price, price_of, (FLAG_ABSURD, FLAG_ESTIMATED))
    return metered


def _consumed(usage: Usage | None) -> bool:
    return usage is not None and (usage.total_tokens > 0 or bool(usage.others))


def _produced(end: End, usage: Usage | None, chars: int) -> bool:
    """Whether there is anything to charge for.

    When the client left, only what it saw counts: the first usage of a stream claims a token or
    two of output before there is any.
    """
    if chars > 0:
        return True
    if usage is None:
        return False
    if end is End.CLIENT_GONE:
        return usage.output_image_tokens > 0 or usage.output_audio_tokens > 0
    return usage.completion_tokens > 0


def _counted(output_chars: int, reasoning_chars: int, input_tokens: int) -> Usage:
    return Usage(
        input_tokens=input_tokens,
        output_tokens=tokens_of_chars(output_chars),
        reasoning_tokens=tokens_of_chars(reasoning_chars),
        provenance=Provenance.ESTIMATED,
    )


def _completed(usage: Usage, counted: Usage) -> Usage:
    """The reported input with the counted output, for a stream whose usage was only a beginning."""
    return msgspec.structs.replace(
        usage,
        output_tokens=max(usage.output_tokens, counted.output_tokens),
        reasoning_tokens=max(usage.reasoning_tokens, counted.reasoning_tokens),
        provenance=Provenance.ESTIMATED,
    )


def _free(usage: Usage | None, flag: str | None) -> Metered:
    return Metered(
        usage=NO_USAGE if usage is None else usage,
        lines=(),
        cost_pusd=0,
        flags=() if flag is None else (flag,),
    )


def _charge(
    usage: Usage, price: Price, price_of: Callable[[str], Price | None], flags: tuple[str, ...]
) -> Metered:
    lines = list(cost_lines(price, usage))
    for model, part in usage.others:
        other = price_of(model)
        if other is None:
            flags += (f"{FLAG_UNPRICED}:{model}",)
            continue
        lines += (
            msgspec.structs.replace(line, bucket=f"{model}:{line.bucket}")
            for line in cost_lines(other, part)
            if line.bucket != "requests"  # one request was made, whoever took part in it
        )
    return Metered(
        usage=usage,
        lines=tuple(lines),
        cost_pusd=sum(line.amount_pusd for line in lines),
        flags=flags,
    )
