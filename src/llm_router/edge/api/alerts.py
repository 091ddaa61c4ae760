"""The ways in which alerts leave, and whether they arrive. Those of the configuration are only shown."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from llm_router.edge.api.table import Answer, ApiRoute, Ask, Body, Reply, said


class AlertType(Reply, frozen=True, kw_only=True):
    """Something that can be told of."""

    type: str
    what: str


class AlertWay(Reply, frozen=True, kw_only=True):
    """``source``: ``config`` or ``stored``. ``url``: of a webhook, without what may open it. ``types``: what it is
    told of; [] is everything. ``waiting``: notices that are not taken yet. ``delivered``: how this gateway's last
    try ended; null: there was none. ``problem``: what was wrong with it."""

    name: str
    kind: str | None
    source: str
    url: str | None
    to: list[str] | None
    types: list[str]
    enabled: bool
    created: str | None
    waiting: int
    last_tried: str | None
    delivered: bool | None
    problem: str | None


class WrittenWay(AlertWay, frozen=True, kw_only=True):
    """``secret``: what the webhook's notices are signed with, once, where the gateway made it; else null."""

    secret: str | None


class AlertWays(Reply, frozen=True, kw_only=True):
    data: list[AlertWay]
    types: list[AlertType]


class AlertTried(Reply, frozen=True, kw_only=True):
    name: str
    delivered: bool
    problem: str | None


class RemovedWay(Reply, frozen=True, kw_only=True):
    name: str
    removed: bool


class MakeWay(Body, frozen=True, kw_only=True):
    """A ``webhook`` has ``url`` and ``secret`` (null: the gateway makes one), ``mail`` has ``to``."""

    name: str
    kind: Literal["webhook", "mail"]
    url: str | None = None
    secret: str | None = None
    to: list[str] | None = None
    types: list[str] | None = None
    enabled: bool | None = None

    def __repr__(self) -> str:
        return f"MakeWay(name={self.name!r}, ***)"


class ChangeWay(Body, frozen=True, kw_only=True):
    """What is null or absent stays. ``new_secret``: the gateway makes another one."""

    url: str | None = None
    secret: str | None = None
    new_secret: bool | None = None
    to: list[str] | None = None
    types: list[str] | None = None
    enabled: bool | None = None

    def __repr__(self) -> str:
        return "ChangeWay(***)"


async def alerts(ask: Ask) -> dict[str, object]:
    found = await ask.desk.run("alerts.list", ask.by, {})
    return {"data": found["alerts"], "types": found["types"]}


async def show_alert(ask: Ask) -> dict[str, msgspec.Raw]:
    return await ask.desk.run("alerts.show", ask.by, {"name": ask.parameters["name"]})


async def make_alert(ask: Ask) -> Answer:
    return Answer(value=await ask.desk.run("alerts.add", ask.by, _wanted(ask.body)), status=201)


async def change_alert(ask: Ask) -> dict[str, msgspec.Raw]:
    wanted = {**_wanted(ask.body), "name": ask.parameters["name"]}
    return await ask.desk.run("alerts.change", ask.by, wanted)


async def remove_alert(ask: Ask) -> dict[str, msgspec.Raw]:
    return await ask.desk.run("alerts.remove", ask.by, {"name": ask.parameters["name"]})


async def try_alert(ask: Ask) -> dict[str, object]:
    return {**await ask.desk.run("alerts.try", ask.by, {"name": ask.parameters["name"]})}


def _wanted(body: Body) -> dict[str, Any]:
    """The arguments of the command, which calls the address what the audit log leaves out."""
    return {"address" if name == "url" else name: value for name, value in said(body).items()}


_READS: dict[str, Any] = {"permission": "house:read", "house": True}
_WRITES: dict[str, Any] = {"permission": "house:write", "house": True}

ALERT_ROUTES = (
    ApiRoute(
        method="GET", path="/api/v1/gateway/alerts", handler=alerts, reply=AlertWays, **_READS,
        summary="The ways in which alerts leave, what waits, and how the last try ended.",
    ),
    ApiRoute(
        method="POST", path="/api/v1/gateway/alerts", handler=make_alert, body=MakeWay, reply=WrittenWay, status=201,
        summary="Have alerts leave in one more way.", **_WRITES,
    ),
    ApiRoute(
        method="GET", path="/api/v1/gateway/alerts/{name}", handler=show_alert, reply=AlertWay, **_READS,
        summary="One of the ways in which alerts leave.",
    ),
    ApiRoute(
        method="PATCH", path="/api/v1/gateway/alerts/{name}", handler=change_alert, body=ChangeWay, reply=WrittenWay,
        summary="Change a way that is not of the configuration.", **_WRITES,
    ),
    ApiRoute(
        method="DELETE", path="/api/v1/gateway/alerts/{name}", handler=remove_alert, reply=RemovedWay,
        summary="Have no more alerts leave that way; what waits for it is not sent.", **_WRITES,
    ),
    ApiRoute(
        method="POST", path="/api/v1/gateway/alerts/{name}/test", handler=try_alert, reply=AlertTried, **_WRITES,
        summary="Send a test of alerts, now.",
    ),
)  # fmt: skip
