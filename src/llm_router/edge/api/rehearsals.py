"""The dry run of a change of the configuration, on what was asked last."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.edge.api.table import ApiRoute, Ask, Body, Reply, said


class Rehearse(Body, frozen=True, kw_only=True):
    """``change``: TOML that is laid over the configuration; or ``config``: all of it. ``last``: how many requests, 100
    unless said otherwise; ``account``: null is of all; ``model``: that answered. ``all``: those for which nothing
    changes, too."""

    change: str | None = None
    config: str | None = None
    last: int | None = None
    account: str | None = None
    model: str | None = None
    all: bool | None = None


class RouteError(Reply, frozen=True, kw_only=True):
    code: str | None
    message: str | None


class PlannedRoute(Reply, frozen=True, kw_only=True):
    """``plan``: deployments in order. ``expected_cost``, ``max_cost``: dollars; null is not known."""

    model: str | None
    plan: list[str]
    strategy: str
    expected_cost: float | None
    max_cost: float | None
    error: RouteError | None
    names: list[dict[str, Any]]
    rejected: list[dict[str, str]]


class RehearsedRequest(Reply, frozen=True, kw_only=True):
    """``change``: what it is expected to cost more, in dollars. ``unknown``: why nothing can be said of it."""

    id: str
    at: str
    account: str
    asked_model: str
    api: str
    moved: bool
    fails: bool
    change: float | None
    before: PlannedRoute | None
    after: PlannedRoute | None
    unknown: str | None


class Rehearsed(Reply, frozen=True, kw_only=True):
    """``all``: requests that were looked at; ``moved``: go elsewhere; ``failing``: fail that did not; ``mended``: fail
    no more; ``unknown``: cannot be said. ``change``: what they are expected to cost more together, in dollars."""

    requests: list[RehearsedRequest]
    all: int
    moved: int
    failing: int
    mended: int
    unknown: int
    change: float
    warnings: list[str]


async def rehearse(ask: Ask) -> dict[str, msgspec.Raw]:
    wanted: dict[str, Any] = said(ask.body)
    if "all" in wanted:
        wanted["every"] = wanted.pop("all")
    return await ask.desk.run("routes.rehearse", ask.by, wanted)


REHEARSAL_ROUTES = (
    ApiRoute(
        method="POST",
        path="/api/v1/gateway/routes/test",
        handler=rehearse,
        body=Rehearse,
        reply=Rehearsed,
        permission="house:read",
        house=True,
        summary="What a change of the configuration would have done to the last requests: nothing is sent or changed.",
    ),
)
