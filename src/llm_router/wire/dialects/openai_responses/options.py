"""What both ways of writing a request do to its options: for reasoning models and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from llm_router.wire.dialect import Target
from llm_router.wire.dialects.openai_responses.words import ENCRYPTED, STATE
from llm_router.wire.lenient import load
from llm_router.wire.loss import Loss

SAMPLING: Final[Mapping[str, float]] = {"temperature": 1, "top_p": 1}
"""Sampling options with their defaults. Reasoning models refuse any other value.

https://platform.openai.com/docs/guides/reasoning
"""

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def drop_sampling(body: dict[str, Any], target: Target) -> list[Loss]:
    """Take out sampling options that the model would refuse; the default value loses nothing."""
    if target.capabilities.sampling:
        return []
    losses = []
    for name, default in SAMPLING.items():
        if name in body:
            value = body.pop(name)
            if isinstance(value, msgspec.Raw):
                value = load(bytes(value))
            if value is not None and value != default:
                losses.append(Loss(field=name, why="the model takes no sampling options"))
    return losses


def cap_output(body: dict[str, Any], target: Target) -> None:
    """Write the cap on output tokens where the client named no limit."""
    said = body.get("max_output_tokens")
    if isinstance(said, msgspec.Raw) and bytes(said) == b"null":
        said = None
    if said is None and target.output_tokens_cap is not None:
        body["max_output_tokens"] = target.output_tokens_cap


def keep_nothing(body: dict[str, Any], target: Target) -> None:
    """Have the provider store nothing, and give reasoning in a form that can be sent back."""
    for name in STATE:
        body.pop(name, None)
    body["store"] = False
    if target.capabilities.reasoning or target.capabilities.reasoning_levels:
        said = body.get("include")
        wanted = load(bytes(said)) if isinstance(said, msgspec.Raw) else said
        wanted = wanted if isinstance(wanted, list) else []
        if ENCRYPTED not in wanted:
            body["include"] = [*wanted, ENCRYPTED]


def nearest(wish: str, levels: tuple[str, ...]) -> str:
    """The level the model has that is closest to the one asked for; of two, the lower one."""
    if wish in levels or wish not in EFFORTS:
        return wish
    known = [level for level in levels if level in EFFORTS]
    if not known:
        return levels[0]
    at = EFFORTS.index(wish)
    return min(known, key=lambda level: (abs(EFFORTS.index(level) - at), EFFORTS.index(level)))
