"""What an exchange is charged: the settlement table.

    how it ended                                          charged by default          policy
    ----------------------------------------------------  --------------------------  -----------
    delivered, the provider reported usage (0 included)   exactly that usage          zero
    delivered, no usage                                   what was counted; estimated no_usage
    delivered, the usage cannot be true                   what was counted; estimated absurd
    delivered, but empty                                  nothing                     empty
    empty because the request asked for no output         the usage as if delivered   zero
    failed before any content                             nothing                     failed
    cut after content                                     nothing                     cut
    the client left after content                         the usage if it is whole,   gone
                                                          else the input's estimate
                                                          and what was delivered
    the client left before content                        nothing                     gone_before

A drained stream (the client left, the upstream was read to its end) is ``DELIVERED``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from llm_router.billing.policy import Bounds, SettlementPolicy, unbelievable
from llm_router.billing.tokens import tokens_of_chars
from llm_router.domain.money import MAX_PUSD
from llm_router.domain.price import TOOL, CostLine, Price, cost_lines, rates_for
from llm_router.domain.usage import NO_USAGE, Provenance, Usage

FLAG_ESTIMATED = "usage_estimated"  # charged by our own count
FLAG_PROVISIONAL = "usage_provisional"  # the provider's count was that of the stream's beginning
FLAG_EMPTY = "empty_not_charged"  # nothing was produced, so nothing is charged
FLAG_NOT_CHARGED = "usage_not_charged"  # the provider counts something that the customer is spared
FLAG_ABSURD = "usage_absurd"  # the counts cannot be true
FLAG_UNPRICED_TIER = "unpriced_tier"  # served in a dearer way that the price list does not know
FLAG_UNPRICED = (
    "unpriced_usage"  # a model or tool took part whose price is unknown: ":MODEL" or ":tool:NAME" follows
)


class End(StrEnum):
    """How the attempt that counts came to its end."""

    DELIVERED = "delivered"  # proven complete
    FAILED = "failed"  # no content was sent
    CUT = "cut"  # content was sent, then the upstream failed or broke
    CLIENT_GONE = "client_gone"  # the client left and the upstream was aborted


class Metered(msgspec.Struct, frozen=True, kw_only=True):
    """The charge. ``cost_pusd`` is the sum of the lines; the usage is what the client is told.

    ``others``: the prices of other models that took part, by upstream model.
    """

    usage: Usage
    lines: tuple[CostLine, ...]
    cost_pusd: int
    flags: tuple[str, ...]
    others: tuple[tuple[str, Price], ...] = ()


DEAR_TIERS = ("fast", "us", "us fast", "priority")
"""Those that cost more than the standard one wherever they are offered."""

DEFAULT_POLICY = SettlementPolicy()


def meter(
    *,
    end: End,
    usage: Usage | None,
    output_chars: int,
    reasoning_chars: int,
    input_tokens_estimate: int,
    price: Price,
    price_of: Callable[[str], Price | None],
    policy: SettlementPolicy = DEFAULT_POLICY,
    bounds: Bounds | None = None,
    produced: bool = False,
    nonsense: bool = False,
) -> Metered:
    """Charge an exchange that ended so.

    Args:
        usage: the last that the provider reported; None if none, or if it could not be true.
        output_chars, reasoning_chars: characters that reached the client.
        input_tokens_estimate: the expected (not the upper) count of the request's tokens.
        price: the one that the hold pinned.
        price_of: prices of other upstream models that consumed tokens inside this exchange.
        bounds: what a true usage cannot exceed; None bounds nothing.
        produced: the answer holds something that is not counted in characters or output tokens.
        nonsense: there is no usage because what the provider reported is no count at all.
    """
    counted = _counted(output_chars, reasoning_chars, input_tokens_estimate)
    flags: tuple[str, ...] = ()
    believed: Metered | None = None
    if usage is not None:
        believed = _believed(usage, bounds, counted, produced, price, price_of)
        if believed is None:
            usage, flags = None, (FLAG_ABSURD,)
    counted = _asked_for(counted, bounds)
    produced = produced or _none_asked(end, usage, bounds)
    basis = _basis(end, usage, counted, policy, produced, absurd=bool(flags) or (nonsense and usage is None))
    if isinstance(basis, str):
        return _free(usage, (*flags, *((basis,) if basis else ())))
    chosen, why = basis
    if believed is not None and chosen is usage and not why:
        return believed
    return _charge(chosen, price, price_of, (*flags, *why))


def _basis(
    end: End,
    usage: Usage | None,
    counted: Usage,
    policy: SettlementPolicy,
    produced: bool,
    *,
    absurd: bool,
) -> tuple[Usage, tuple[str, ...]] | str:
    """The usage to charge, with its flags; or the flag (or none: "") of what is free."""
    spared = FLAG_NOT_CHARGED if _consumed(usage) else ""
    whole = end is End.DELIVERED
    if end is End.FAILED:
        return (usage, ()) if usage is not None and spared and policy.failed == "reported" else spared
    if end is End.CUT and (policy.cut == "free" or (usage is None and policy.cut == "reported")):
        return spared
    if not (produced or _produced(end, usage, counted.completion_tokens)):
        if end is End.CLIENT_GONE and policy.gone_before == "input":
            return counted, (FLAG_ESTIMATED,)
        return (usage, ()) if whole and usage is not None and policy.empty == "reported" else FLAG_EMPTY
    if end is End.CLIENT_GONE and policy.gone == "free":
        return spared
    if usage is None:
        free = whole and (policy.absurd if absurd else policy.no_usage) == "free"
        return "" if free else (counted, (FLAG_ESTIMATED,))
    if whole and policy.zero == "counted" and not _consumed(usage):
        return counted, (FLAG_ESTIMATED,)
    if not whole and 2 * usage.completion_tokens < counted.completion_tokens:
        return _completed(usage, counted), (FLAG_PROVISIONAL, FLAG_ESTIMATED)
    return usage, ()


def _believed(
    usage: Usage,
    bounds: Bounds | None,
    counted: Usage,
    produced: bool,
    price: Price,
    price_of: Callable[[str], Price | None],
) -> Metered | None:
    """What the counts come to; None if they cannot be true, so that they count as not reported."""
    if bounds is not None and unbelievable(usage, bounds, counted.output_tokens, produced):
        return None
    found = _charge(usage, price, price_of, ())
    return None if found.cost_pusd > MAX_PUSD else found


def _consumed(usage: Usage | None) -> bool:
    return usage is not None and (usage.total_tokens > 0 or bool(usage.others))


def _produced(end: End, usage: Usage | None, counted_tokens: int) -> bool:
    """Whether there is anything to charge for.

    When the client left, only what it saw counts: the first usage of a stream claims a token or
    two of output before there is any.
    """
    if counted_tokens > 0:
        return True
    if usage is None:
        return False
    if end is End.CLIENT_GONE:
        return usage.output_image_tokens > 0 or usage.output_audio_tokens > 0
    return usage.completion_tokens > 0


def _none_asked(end: End, usage: Usage | None, bounds: Bounds | None) -> bool:
    """Whether an answer without content is all that the request asked for (Anthropic's ``max_tokens: 0`` fills
    a cache). Of a client that left, the usage must have come: there is no content that it could have left after."""
    if bounds is None or bounds.output_tokens != 0:
        return False
    return end is End.DELIVERED or (end is End.CLIENT_GONE and usage is not None)


def _counted(output_chars: int, reasoning_chars: int, input_tokens: int) -> Usage:
    return Usage(
        input_tokens=input_tokens,
        output_tokens=tokens_of_chars(output_chars),
        reasoning_tokens=tokens_of_chars(reasoning_chars),
        provenance=Provenance.ESTIMATED,
    )


def _asked_for(counted: Usage, bounds: Bounds | None) -> Usage:
    """Our own count, no larger than what the request asked for: what a provider writes beyond that, and a
    connection's buffers take, nobody owes."""
    most = None if bounds is None else bounds.output_tokens
    if most is None or counted.completion_tokens <= most:
        return counted
    output = min(counted.output_tokens, most)
    return msgspec.structs.replace(
        counted, output_tokens=output, reasoning_tokens=min(counted.reasoning_tokens, most - output)
    )


def _completed(usage: Usage, counted: Usage) -> Usage:
    """The reported input with the counted output, for a stream whose usage was only a beginning."""
    return msgspec.structs.replace(
        usage,
        output_tokens=max(usage.output_tokens, counted.output_tokens),
        reasoning_tokens=max(usage.reasoning_tokens, counted.reasoning_tokens),
        provenance=Provenance.ESTIMATED,
    )


def _free(usage: Usage | None, flags: tuple[str, ...]) -> Metered:
    return Metered(usage=NO_USAGE if usage is None else usage, lines=(), cost_pusd=0, flags=flags)


def rate(
    usage: Usage, price: Price, price_of: Callable[[str], Price | None]
) -> tuple[tuple[CostLine, ...], tuple[tuple[str, Price], ...], tuple[str, ...]]:
    """The lines of a usage, the prices of the other models in it, and those that have none."""
    if not usage.others:
        return cost_lines(price, usage), (), ()
    lines, others, unpriced = list(cost_lines(price, usage)), [], []
    for model, part in usage.others:
        other = price_of(model)
        if other is None:
            unpriced.append(model)
            continue
        others.append((model, other))
        lines += (
            msgspec.structs.replace(
                line, bucket=model if model.startswith(TOOL) else f"{model}:{line.bucket}"
            )
            for line in cost_lines(other, part)
            if line.bucket != "requests"  # one request was made, whoever took part in it
        )
    return tuple(lines), tuple(others), tuple(unpriced)


def _charge(
    usage: Usage, price: Price, price_of: Callable[[str], Price | None], flags: tuple[str, ...]
) -> Metered:
    lines, others, unpriced = rate(usage, price, price_of)
    if usage.service_tier in DEAR_TIERS and usage.service_tier not in price.service_tiers:
        flags += (FLAG_UNPRICED_TIER,)
    if usage.web_searches and rates_for(price, usage.prompt_tokens, usage.service_tier).web_search is None:
        unpriced = (*unpriced, "web_search")
    return Metered(
        usage=usage,
        lines=lines,
        cost_pusd=sum(line.amount_pusd for line in lines),
        flags=(*flags, *(f"{FLAG_UNPRICED}:{model}" for model in unpriced)),
        others=others,
    )
