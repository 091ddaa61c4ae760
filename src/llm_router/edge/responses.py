"""The endpoints around kept responses: read, stream again, delete, cancel, list what they were made from.

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.edge.gateway import Gateway
from llm_router.edge.guard import USE
from llm_router.edge.http import AsgiClient, Request, Send, answer_json
from llm_router.edge.routes import Handler, Route
from llm_router.engine.counting import count_tokens
from llm_router.engine.paging import PAGE_DEFAULT, PAGE_MAX

DIALECT = "openai_responses"
_FALSE = ("", "0", "false")


async def account_of(gateway: Gateway, request: Request, permission: str = USE) -> str:
    """Whose key the request has.

    Raises:
        MissingApiKey, InvalidApiKey, Forbidden: as their names say.
    """
    return (await gateway.key_of(request, permission)).account


def _id(parameters: dict[str, str]) -> str:
    return unquote(parameters["id"])


async def retrieve(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/responses/{id}: a kept response, or the events of one made in the background."""
    account = await account_of(gateway, request)
    if (request.parameter("stream") or "").lower() in _FALSE:
        await answer(gateway, send, await gateway.responses.get(account, _id(parameters)))
        return
    after = request.parameter("starting_after")
    if after is not None and not (after.isdecimal() and len(after) < 10):
        raise InvalidRequest(
            "'starting_after' must be the sequence number of an event.", param="starting_after"
        )
    headers = [
        (b"content-type", gateway.dialect(DIALECT).content_type_stream.encode()),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
        (b"x-request-id", gateway.engine.new_id().encode()),
    ]
    position = -1 if after is None else int(after)
    await gateway.watched(
        request, gateway.responses.stream(account, _id(parameters), position, AsgiClient(send), headers)
    )


async def delete(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """DELETE /v1/responses/{id}: for good."""
    id_ = _id(parameters)
    await gateway.responses.delete(await account_of(gateway, request), id_)
    await answer(gateway, send, {"id": id_, "object": "response", "deleted": True})


async def cancel(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/responses/{id}/cancel: end a background response."""
    account = await account_of(gateway, request)
    await answer(gateway, send, await gateway.responses.cancel(account, _id(parameters)))


async def input_items(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/responses/{id}/input_items: what the response was made from, the newest first."""
    account = await account_of(gateway, request)
    wanted = page_of(request)
    found = await gateway.responses.kept.input_items(
        account, _id(parameters), limit=wanted.limit, descending=wanted.descending, after=wanted.after
    )
    await answer(gateway, send, found)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of a list is wanted."""

    limit: int
    descending: bool
    after: str | None


def page_of(request: Request) -> Page:
    """The page that a request's parameters name.

    Raises:
        InvalidRequest: a parameter is malformed.
    """
    order, limit = request.parameter("order") or "desc", request.parameter("limit") or str(PAGE_DEFAULT)
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be asc or desc.", param="order")
    if not limit.isdecimal() or len(limit) > 5 or not 1 <= int(limit) <= PAGE_MAX:
        raise InvalidRequest(f"'limit' must be a whole number from 1 to {PAGE_MAX}.", param="limit")
    return Page(limit=int(limit), descending=order == "desc", after=request.parameter("after"))


async def input_tokens(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/responses/input_tokens: the tokens of a request, not charged."""
    started_us = gateway.engine.clock.monotonic_us()
    body, key = await gateway.read(request, DIALECT)
    call = gateway.call(
        request,
        body,
        started_us,
        operation="count_tokens",
        dialect=DIALECT,
        model=None,
        stream=False,
        key=key,
    )
    turn = await gateway.responses.kept.prepare(call)
    count = await count_tokens(gateway.engine, turn.call)
    headers = [(b"x-llm-router-estimated", b"true")] if count.estimated else []
    await answer(gateway, send, {"object": "response.input_tokens", "input_tokens": count.tokens}, headers)


async def compact(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/responses/compact: refused, since only a provider can make what it would answer."""
    await account_of(gateway, request)
    raise NotFound(
        "This gateway does not compact conversations: the compacted form is encrypted by one provider and "
        "useless to every other. Shorten the input, or have a model summarise it by POST /v1/responses."
    )


async def answer(
    gateway: Gateway, send: Send, body: object, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Answer with JSON under an id of its own."""
    request_id = (b"x-request-id", gateway.engine.new_id().encode())
    await answer_json(send, 200, body, [request_id, *(headers or [])])


def _row(method: str, path: str, handler: Handler, summary: str) -> Route:
    return Route(
        method=method, path=f"/v1/responses/{path}", handler=handler, summary=summary, dialect=DIALECT
    )


RESPONSES_ROUTES = (
    _row("POST", "input_tokens", input_tokens, "The tokens of a request for a response."),
    _row("POST", "compact", compact, "Refused: this gateway does not compact."),
    _row("GET", "{id}/input_items", input_items, "What a response was made from."),
    _row("POST", "{id}/cancel", cancel, "End a background response."),
    _row("GET", "{id}", retrieve, "A kept response."),
    _row("DELETE", "{id}", delete, "Delete a kept response."),
)
