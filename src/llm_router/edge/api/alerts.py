"""The ways in which alerts leave, and whether they arrive. The configuration names them."""

from __future__ import annotations

from typing import Any

from llm_router.edge.api.table import ApiRoute, Ask, Reply


class AlertWays(Reply, frozen=True, kw_only=True):
    """``data``: each with ``name``, ``waiting``, ``last_tried``, ``delivered`` (null: not tried yet), ``problem``."""

    data: list[dict[str, Any]]


class AlertTried(Reply, frozen=True, kw_only=True):
    name: str
    delivered: bool
    problem: str | None


async def alerts(ask: Ask) -> dict[str, object]:
    return {"data": await ask.desk.rows("alerts.list", ask.by, {}, "alerts")}


async def try_alert(ask: Ask) -> dict[str, object]:
    return {**await ask.desk.run("alerts.try", ask.by, {"name": ask.parameters["name"]})}


ALERT_ROUTES = (
    ApiRoute(
        method="GET", path="/api/v1/gateway/alerts", handler=alerts, permission="house:read", house=True,
        reply=AlertWays, summary="The ways in which alerts leave, what waits, and how the last try ended.",
    ),
    ApiRoute(
        method="POST", path="/api/v1/gateway/alerts/{name}/test", handler=try_alert, permission="house:write",
        house=True, reply=AlertTried, summary="Send a test of alerts, now.",
    ),
)  # fmt: skip
