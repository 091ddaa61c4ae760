"""What both ways of writing a request do to its options: for reasoning models, limits, quirks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from llm_router.wire.dialect import Target
from llm_router.wire.lenient import load
from llm_router.wire.loss import Loss
from llm_router.wire.quirks import apply_quirks

SAMPLING: Final[Mapping[str, float]] = {
    "temperature": 1,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
}
"""Sampling options with their defaults. Reasoning models refuse any other value.

https://platform.openai.com/docs/guides/reasoning
"""


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
    if target.output_tokens_cap is None:
        return
    if all(_absent(body.get(name)) for name in ("max_tokens", "max_completion_tokens")):
        body["max_tokens"] = target.output_tokens_cap


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, msgspec.Raw) and bytes(value) == b"null")


def takes(target: Target, field: str) -> bool:
    """Whether a provider declares that it takes a field that OpenAI does not know.

    It does so by a quirk about the field that is not a ``drop``: a ``clamp`` of ``top_k`` to 1 and
    more, say.
    """
    return any(quirk.field == field and quirk.edit != "drop" for quirk in target.quirks)


def finish_body(body: dict[str, Any], target: Target) -> list[Loss]:
    """The last edits of every upstream body, in order: sampling, limit, quirks."""
    if target.capabilities.sampling and target.output_tokens_cap is None and not target.quirks:
        return []  # as most
    losses = drop_sampling(body, target)
    cap_output(body, target)
    return losses + apply_quirks(body, target.quirks, *target.names)
