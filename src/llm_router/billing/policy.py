"""The lines of the settlement table that an operator may choose, and what is believed of a usage."""

from __future__ import annotations

from typing import Literal

import msgspec

from llm_router.domain.model import OnUnpricedTools
from llm_router.domain.usage import Usage

OnFailed = Literal["free", "reported"]
OnCut = Literal["free", "reported", "delivered"]
OnGoneBefore = Literal["free", "input"]
OnGone = Literal["delivered", "free"]
OnNoUsage = Literal["counted", "free"]
OnZero = Literal["exact", "counted"]
OnAbsurd = Literal["counted", "free"]
OnEmpty = Literal["free", "reported"]
OnExcess = Literal["available", "hold"]
Drain = Literal["auto", "always", "never"]


class SettlementPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays in which case. What the words mean stands in docs/money.md.

    Attributes:
        failed: no content came, but the provider reported usage.
        cut: the answer broke off, or failed, after content.
        gone_before: the client left before any content.
        gone: the client left after content, and the provider was told to stop.
        no_usage: the answer is complete, without usage.
        zero: the provider reports that a complete answer cost no token.
        absurd: the usage cannot be true.
        empty: the answer is complete, and there is nothing in it.
        excess: the cost is above the hold: how much of it the customer pays.
        unpriced_tools: a request has a tool that the provider runs and that has no price.
        drain: whether an exchange goes on when its client left after content: where the provider bills it
            to its end anyway ("auto"), everywhere, or nowhere.
        drain_max: how many go on at once; drain_s, drain_bytes_max: how long, and for how much, each.
    """

    failed: OnFailed = "free"
    cut: OnCut = "free"
    gone_before: OnGoneBefore = "free"
    gone: OnGone = "delivered"
    no_usage: OnNoUsage = "counted"
    zero: OnZero = "exact"
    absurd: OnAbsurd = "counted"
    empty: OnEmpty = "free"
    excess: OnExcess = "available"
    unpriced_tools: OnUnpricedTools = "auto"
    drain: Drain = "auto"
    drain_max: int = 100
    drain_s: float = 120.0
    drain_bytes_max: int = 16 * 1024 * 1024


INPUT_TOLERANCE = 200_000
"""What a provider may add to a request: some search unasked, and have long instructions of their own."""

WINDOW_UNKNOWN = 1_000_000
"""Tokens of a context window that nobody stated."""

INJECTED_WINDOWS = 4
"""Context windows that a provider may fill in one answer where its own tools go back and forth."""

OUTPUT_MOST_TOLERANCE = 10_000
"""What an answer may exceed twice its model's maximum by."""

OUTPUT_TOLERANCE = 1_024
"""What an answer may exceed twice its limit by: limits are soft for some, and counts differ."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a true usage of a request can hardly exceed.

    Attributes:
        input_tokens: the upper bound that the hold was made of.
        window_tokens: the model's context window; None is not known.
        output_tokens: the limit of all choices together, asked for or set; None if there was none.
        output_tokens_max: what the model can write in all choices; None is not known.
        tools: the request has tools, which may be the provider's own.
    """

    input_tokens: int
    window_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_max: int | None = None
    tools: bool = False


def unbelievable(usage: Usage, bounds: Bounds, counted_output: int, produced: bool) -> bool:
    """Whether a usage contradicts the request and the answer so far that it cannot be true.

    Args:
        counted_output: visible output tokens by our own count of what came.
        produced: the answer holds output that is not counted in characters.
    """
    window = WINDOW_UNKNOWN if bounds.window_tokens is None else bounds.window_tokens
    windows = INJECTED_WINDOWS if bounds.tools or usage.web_searches > 0 else 1
    if usage.prompt_tokens > 2 * bounds.input_tokens + max(INPUT_TOLERANCE, window * windows):
        return True
    most = bounds.output_tokens_max
    if most is not None and usage.completion_tokens > 2 * most + OUTPUT_MOST_TOLERANCE:
        return True
    asked = bounds.output_tokens
    if asked is None or produced or usage.output_tokens <= 2 * asked + OUTPUT_TOLERANCE:
        return False
    return usage.output_tokens > 4 * counted_output + OUTPUT_TOLERANCE  # else the text bears it out
