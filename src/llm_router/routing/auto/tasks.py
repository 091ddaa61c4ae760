"""Tasks: what ``auto:code`` and its like mean over the facts of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

import msgspec

from llm_router.domain.model import Model, Status


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which models a task may be given to, and how one of them is chosen.

    Attributes:
        strengths: the model has one of these by the catalogue; empty asks for none.
        sees: kinds of input that it takes.
        reasoning: it reasons before it answers.
        open_weights: its weights are published.
        tier_min: its quality tier is at least that; a model without a tier does not pass.
        models: glob patterns of public ids; one of them matches. Empty means all.
        strategy: by which one of them is chosen: the name of a routing strategy.
        dial: of the strategy ``auto``, where neither the request nor the key set it.
    """

    strengths: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    reasoning: bool = False
    open_weights: bool = False
    tier_min: int | None = None
    models: tuple[str, ...] = ()
    strategy: str = "auto"
    dial: float | None = None


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "code": Task(strengths=("code",)),
        "creative": Task(strengths=("creative",)),
        "fast": Task(strengths=("fast",), strategy="fastest"),
        "vision": Task(strengths=("vision",), sees=("image",)),
        "reasoning": Task(strengths=("reasoning",), reasoning=True),
        "open_source": Task(open_weights=True),
    }
)
"""The tasks that come with the program; an operator's own of the same name takes their place."""


def lacking(task: Task, model: Model) -> str | None:
    """Why the model is not for the task; None if it is."""
    if "chat" not in model.operations:
        return "is no chat model"
    if task.models and not any(fnmatchcase(model.id, pattern) for pattern in task.models):
        return "is not among the task's models"
    if task.strengths and not set(task.strengths).intersection(model.strengths):
        return f"is not known to be good at {' or '.join(task.strengths)}"
    for kind in task.sees:
        if not model.capabilities.sees(kind):
            return f"takes no {kind} input"
    if task.reasoning and not model.capabilities.reasoning:
        return "does not reason"
    if task.open_weights and not model.open_weights:
        return "has no open weights"
    if task.tier_min is not None and (model.quality_tier is None or model.quality_tier < task.tier_min):
        return f"is below quality tier {task.tier_min}"
    return "is shut down by its developer" if model.status is Status.SHUTDOWN else None


def fits(task: Task | None, model: Model, needs: frozenset[str]) -> int:
    """How many strengths of the model the task or the request asks for: between equals, more is better."""
    wanted = set() if task is None else set(task.strengths)
    if "image" in needs:
        wanted.add("vision")
    return len(wanted.intersection(model.strengths))
