"""The endpoints of what an account gets in writing: receipts, the keys that verify them, reports of use, statements."""

from __future__ import annotations

from urllib.parse import unquote

from llm_router.billing.statement_rows import statement_json
from llm_router.domain.errors import InvalidRequest, NotFound, RouterError
from llm_router.edge.gateway import Gateway
from llm_router.edge.guard import LOOK_US, USAGE
from llm_router.edge.http import AsgiClient, Request, Send, answer_json
from llm_router.edge.responses import account_of
from llm_router.edge.routes import Route
from llm_router.engine.moments import iso_time
from llm_router.engine.paging import PAGE_DEFAULT, PAGE_MAX
from llm_router.engine.papers import Papers
from llm_router.engine.reports import FORMATS


def papers_of(gateway: Gateway) -> Papers:
    if gateway.papers is None:
        raise NotFound("The store of this gateway issues no papers.")
    return gateway.papers


async def receipt(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/generations/{id}/receipt."""
    account = await account_of(gateway, request, USAGE)
    record = await gateway.engine.books.generation(account, unquote(parameters["id"]))
    if record is None:
        raise NotFound("There is no such generation for this API key. Use the x-generation-id of a reply.")
    await answer_json(send, 200, await papers_of(gateway).receipts.of_exchange(account, record.id))


async def receipts(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/receipts."""
    account = await account_of(gateway, request, USAGE)
    after = number(request, "after", 0, 10**15, 0)
    limit = number(request, "limit", 1, PAGE_MAX, PAGE_DEFAULT)
    await answer_json(send, 200, await papers_of(gateway).receipts.page(account, after, limit))


async def receipt_keys(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /.well-known/llm-router-receipts.json."""
    headers = [(b"cache-control", b"public, max-age=300")]
    await answer_json(send, 200, papers_of(gateway).receipts.keys(), headers)


def number(request: Request, name: str, low: int, high: int, default: int) -> int:
    """A parameter of the query.

    Raises:
        InvalidRequest: it is no whole number within the bounds.
    """
    text = request.parameter(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 17 and low <= int(text) <= high):
        raise InvalidRequest(f"'{name}' must be from {low} to {high}.", param=name)
    return int(text)


async def usage(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/usage."""
    account = await account_of(gateway, request, USAGE)
    reports = papers_of(gateway).reports
    by = request.parameter("by")
    names = ("model",) if by is None else tuple(name.strip() for name in by.split(",") if name.strip())
    span = reports.span(request.parameter("from"), request.parameter("to"))
    await answer_json(send, 200, await reports.summary(span, names, account, operator=False))


async def export(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/usage/export: in pieces, each read when the one before is sent. What breaks off is cut."""
    account = await account_of(gateway, request, USAGE)
    reports = papers_of(gateway).reports
    format_ = request.parameter("format") or "csv"
    span = reports.span(request.parameter("from"), request.parameter("to"))
    pieces = reports.export(span, account, format_, operator=False)
    first = await anext(pieces)
    client, now_us = AsgiClient(send), gateway.engine.clock.monotonic_us
    headers = [
        (b"content-type", FORMATS[format_].encode()),
        (b"content-disposition", f'attachment; filename="usage.{format_}"'.encode()),
        (b"cache-control", b"no-store"),
    ]

    async def work() -> None:
        await client.start(200, headers)
        if first:
            await client.send(first)
        looked_us = now_us()
        try:
            async for piece in pieces:
                if now_us() - looked_us >= LOOK_US:
                    looked_us = now_us()
                    await account_of(gateway, request, USAGE)  # the key may have been revoked
                await client.send(piece)
        except RouterError as error:
            raise ConnectionError("the export broke off") from error
        await client.finish()

    await gateway.watched(request, work())


async def statement(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/statements/{month}."""
    account = await account_of(gateway, request, USAGE)
    found = await papers_of(gateway).statements.show(account, unquote(parameters["month"]))
    await answer_json(send, 200, statement_json(found, iso_time))


PAPER_ROUTES = (
    Route(
        method="GET",
        path="/v1/statements/{month}",
        handler=statement,
        summary="The account's month: balances, credits, use by model, the invoice.",
    ),
    Route(method="GET", path="/v1/usage", handler=usage, summary="Sums of what the account used."),
    Route(
        method="GET",
        path="/v1/usage/export",
        handler=export,
        summary="Every exchange of the account, as CSV or JSON lines.",
    ),
    Route(
        method="GET",
        path="/v1/generations/{id}/receipt",
        handler=receipt,
        summary="The signed receipt of an exchange.",
    ),
    Route(method="GET", path="/v1/receipts", handler=receipts, summary="The account's receipts, by pages."),
    Route(
        method="GET",
        path="/.well-known/llm-router-receipts.json",
        handler=receipt_keys,
        summary="The keys that verify receipts.",
    ),
)
