"""The requests that run now, in all processes, and the end of one."""

from __future__ import annotations

import msgspec

from llm_router.edge.api.table import ApiRoute, Ask, Reply


class RunningRequest(Reply, frozen=True, kw_only=True):
    """A request under way. ``answering``: content has reached its client; ``model``, ``provider``: who is asked now.
    ``output_tokens``, ``cost``: estimates of what was delivered by now, and of what it costs in dollars."""

    id: str
    account: str | None
    key: str | None
    key_name: str | None
    asked_model: str
    model: str | None
    provider: str | None
    stream: bool
    begun: str
    running_ms: int
    first_token_ms: int | None
    answering: bool
    output_tokens: int
    cost: float


class RunningRequests(Reply, frozen=True, kw_only=True):
    """``data``: the longest first."""

    data: list[RunningRequest]


class EndedRequest(Reply, frozen=True, kw_only=True):
    id: str
    ended: bool


async def list_running(ask: Ask) -> dict[str, object]:
    return {"data": await ask.desk.rows("requests.list", ask.by, {"account": ask.account}, "requests")}


async def has_running(ask: Ask, account: str) -> bool:
    """Whether the request that the path names runs, and is of that account."""
    rows = await ask.desk.rows("requests.list", ask.by, {"account": account}, "requests")
    return any(msgspec.json.decode(row["id"]) == ask.parameters["id"] for row in rows)


async def end_running(ask: Ask) -> dict[str, msgspec.Raw]:
    """End one of the account's own; those of others are told like none."""
    return await ask.desk.run("requests.end", ask.by, {"id": ask.parameters["id"], "account": ask.account})


RUNNING_ROUTES = (
    ApiRoute(
        method="GET",
        path="/api/v1/requests",
        handler=list_running,
        permission="exchange:read",
        reply=RunningRequests,
        summary="The account's requests that run now, in all processes of the gateway.",
    ),
    ApiRoute(
        method="DELETE",
        path="/api/v1/requests/{id}",
        handler=end_running,
        holds=has_running,
        permission="exchange:write",
        reply=EndedRequest,
        summary="End a request that runs: its client gets an error, and is charged nothing.",
    ),
)
