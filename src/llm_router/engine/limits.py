"""The limits of a request: which concern it, and whether it fits into them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from llm_router.billing.estimate import expected_input
from llm_router.domain.budget import Payer, Scope
from llm_router.domain.errors import RateLimitExceeded
from llm_router.domain.key import Key, Limits
from llm_router.domain.limit import Admission, Limit, LimitKind
from llm_router.limits.rules import concerning, own_limits
from llm_router.ports import Counters, LimitRules
from llm_router.wire.dialect import Inspected


async def limits_for(
    rules: LimitRules, payer: Payer, key: Key, default: Limits, models: Sequence[str]
) -> list[Limit]:
    """The limits that a request counts against: the key's own, and those made for its account, team, user and
    key that concern any of the models (public ids) that may answer it."""
    made = await rules.limits_of(payer)
    return own_limits(payer, key.limits, default) + concerning_of(made, models)


def concerning_of(made: Sequence[Limit], models: Sequence[str]) -> list[Limit]:
    """Those of the limits that concern any of the models."""
    if not made or len(models) == 1:
        return concerning(made, models[0]) if made else []
    return list({limit.id: limit for model in models for limit in concerning(made, model)}.values())


async def admit_to_limits(
    counters: Counters, ticket: str, limits: list[Limit], inspected: Inspected, now_ms: int
) -> Admission:
    """Count the request against all its limits.

    Raises:
        RateLimitExceeded: naming the limit, with what is left of it and when to retry.
    """
    tokens = tokens_admitted(inspected, expected_input(inspected))
    admission = await counters.admit(ticket, limits, tokens, now_ms)
    refused_by(admission, tokens)
    return admission


def refused_by(admission: Admission, tokens: int) -> None:
    """
    Raises:
        RateLimitExceeded: as :func:`admit_to_limits`.
    """
    if admission.refused is not None:
        raise _refusal(admission, admission.refused, tokens)


def tokens_admitted(inspected: Inspected, input_tokens: int) -> int:
    """What a request with so many tokens of input is counted as by limits of tokens until its usage is known."""
    asked = inspected.output_tokens
    return input_tokens if asked is None else input_tokens + asked * inspected.n


def _refusal(admission: Admission, limit: Limit, tokens: int) -> RateLimitExceeded:
    wait_s = max(1, ceil(admission.retry_after_s))
    needed = tokens if limit.kind is LimitKind.TOKENS else 1
    if needed > limit.amount > 0:
        way = f"This request counts as {needed} tokens, so it never fits: lower max_tokens or the input."
    else:
        way = f"Retry after {wait_s} s."
    error = RateLimitExceeded(
        f"{_whose(limit)} is limited to {_bound(limit)}. {way}",
        retry_after_s=admission.retry_after_s,
        details={
            "limit": {
                "id": limit.id,
                "kind": limit.kind.value,
                "scope": limit.scope.value,
                "scope_id": limit.scope_id,
                "amount": limit.amount,
                "window": None if limit.window is None else limit.window.value,
                "model": limit.model,
            },
            "needed": needed,
            "remaining": admission.remaining,
        },
    )
    error.limits = admission.limits
    error.models = limit.model
    return error


def _whose(limit: Limit) -> str:
    match limit.scope:
        case Scope.KEY:
            return "This API key"
        case Scope.ACCOUNT:
            return "The account of this API key"
        case _:
            return f"The {limit.scope.value} '{limit.scope_id}'"


def _bound(limit: Limit) -> str:
    models = "" if limit.model is None else f" for the models '{limit.model}'"
    if limit.window is None:
        return f"{limit.amount} requests at the same time{models}"
    a = "an" if limit.window.value == "hour" else "a"
    return f"{limit.amount} {limit.kind.value} {a} {limit.window.value}{models}"
