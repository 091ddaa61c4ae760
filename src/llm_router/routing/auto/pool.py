"""Among which models ``auto`` chooses: of each quality tier the cheapest few that can do what is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from llm_router.domain.model import Capabilities, Deployment, Model, Status
from llm_router.routing.auto.tasks import Task, lacking

PER_TIER = 3
"""Models of one tier: enough to have another where one fails, few enough for a decision at once."""

OUTPUT_SHARE = 3
"""One token of output for so many of input makes a model's price for this selection; the decision itself
takes the request's own figures."""


def auto_pool(
    models: Iterable[Model], task: Task | None, needs: frozenset[str], active: Collection[str]
) -> tuple[str, ...]:
    """Public ids of the models to choose among, the cheapest of each tier first, tiers rising.

    Left out is what cannot be called here, what is on its way out, what the task or the needs of the request
    rule out, and without a task that names models what has no quality tier.

    Args:
        active: ids of the providers that can be called.
    """
    named = task is not None and bool(task.models)
    tiers: dict[int, list[tuple[int, str]]] = {}
    for model in models:
        if model.status in (Status.SHUTDOWN, Status.DEPRECATED) and not named:
            continue
        if (model.quality_tier is None and not named) or not _can(model.capabilities, needs):
            continue
        if lacking(Task() if task is None else task, model) is not None:
            continue
        prices = [p for d in model.deployments if d.provider in active and (p := _price(d)) is not None]
        if prices:
            tiers.setdefault(model.quality_tier or 0, []).append((min(prices), model.id))
    count = None if named else PER_TIER
    return tuple(id_ for tier in sorted(tiers) for _, id_ in sorted(tiers[tier])[:count])


def _price(deployment: Deployment) -> int | None:
    if deployment.price is None:
        return None
    rates = deployment.price.rates
    return rates.input * OUTPUT_SHARE + rates.output


def _can(can: Capabilities, needs: frozenset[str]) -> bool:
    if any(form in needs and not can.sees(form) for form in ("image", "audio", "video", "file")):
        return False
    if "tools" in needs and not can.tools:
        return False
    if "json_schema" in needs and not can.json_schema:
        return False
    return "json_object" not in needs or can.json_object or can.json_schema
