"""Use and exchanges of an account: sums, the log, those that end now, receipts, statements, exports; and how the
deployments fare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from llm_router.billing.search import Filter
from llm_router.billing.statement_rows import statement_json
from llm_router.catalog.listing import per_mtok
from llm_router.domain.errors import InvalidRequest, NotFound, ServerError
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.money import Rows
from llm_router.edge.api.table import ApiRoute, Ask, Reply, Stream
from llm_router.engine import statement_files
from llm_router.engine.logs import END, Logs
from llm_router.engine.moments import iso_time
from llm_router.engine.reports import FORMATS
from llm_router.engine.standings import Standing, together

TEXT_MAX = 256
"""Of what is looked for."""

_NAMES = ("key", "team", "user", "model", "provider", "tag", "session")
_OUTCOMES = {"failed": True, "succeeded": False}


class UsageReport(Reply, frozen=True, kw_only=True):
    """``data``: a row for each of ``by``, null where it has none; amounts are exact dollars."""

    object: str
    from_: str = msgspec.field(name="from")
    to: str
    by: list[str]
    data: list[dict[str, Any]]
    total: dict[str, Any]


class ExchangeEntry(Reply, frozen=True, kw_only=True):
    """A request and what became of it. ``cost``: exact dollars."""

    id: str
    reply_id: str | None
    created: str
    created_ms: int
    key: str | None
    team: str | None
    user: str | None
    session: str | None
    tags: list[str]
    api: str
    operation: str
    stream: bool
    asked_model: str
    model: str | None
    provider: str | None
    deployment: str | None
    status: int
    error: str | None
    error_message: str | None
    finish: str | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost: float
    first_token_ms: int | None
    duration_ms: int
    attempts: int
    lost: int
    client_gone: bool
    experiment: str | None
    arm: str | None
    comparison: str | None
    flags: list[str]


class ExchangePage(Reply, frozen=True, kw_only=True):
    """``searched_to``: how far this look went, if there is more: a page may have fewer rows than asked for, or none."""

    data: list[ExchangeEntry]
    has_more: bool
    next: str | None
    searched_to: str | None


class ExchangeDetail(ExchangeEntry, frozen=True, kw_only=True):
    """``explanation``: why it went as it did, as of ``/v1/generations/{id}/explain``. ``attempts_began_ms``: since
    ``created_ms``, in the order of its attempts."""

    usage: dict[str, int]
    usage_provenance: str
    losses: list[str]
    overhead_us: int | None
    native_finish: str | None
    attempts_began_ms: list[int]
    explanation: dict[str, Any]


class Health(Reply, frozen=True, kw_only=True):
    """``data``: what is known of each deployment that can be called, of all processes together; those that were asked
    for. ``deployments``, ``providers``: how many there are in all."""

    processes: int
    deployments: int
    providers: int
    data: list[dict[str, Any]]


def logs_of(desk: Desk) -> Logs:
    if desk.logs is None:
        raise NotFound("The store of this gateway keeps no log.")
    return desk.logs


def filter_of(ask: Ask) -> Filter:
    """What is looked for, by the query.

    Raises:
        InvalidRequest
    """
    named: dict[str, str] = {}
    for name in _NAMES:
        value = ask.request.parameter(name)
        if value is not None:
            if len(value) > TEXT_MAX:
                raise InvalidRequest(f"'{name}' must have at most {TEXT_MAX} characters.", param=name)
            named[name] = value.encode(errors="replace").decode()
    outcome = ask.request.parameter("outcome")
    if outcome is not None and outcome not in _OUTCOMES:
        raise InvalidRequest(f"'outcome' must be {' or '.join(_OUTCOMES)}.", param="outcome")
    return msgspec.convert({**named, "failed": _OUTCOMES.get(outcome or "")}, Filter)


def _span(ask: Ask, from_: str | None = None) -> tuple[int, int]:
    asked = ask.request.parameter("from") or from_
    return logs_of(ask.desk).papers.reports.span(asked, ask.request.parameter("to"))


def _by(ask: Ask) -> tuple[str, ...]:
    by = ask.request.parameter("by")
    return ("model",) if by is None else tuple(name.strip() for name in by.split(",") if name.strip())


async def usage(ask: Ask) -> dict[str, object]:
    wanted = filter_of(ask)
    if wanted.session is not None or wanted.failed is not None:
        raise InvalidRequest("Sums are kept by key, team, user, model, provider and tag: filter by these.")
    reports = logs_of(ask.desk).papers.reports
    return await reports.summary(_span(ask), _by(ask), ask.account, operator=False, wanted=wanted)


async def usage_of_all(ask: Ask) -> dict[str, object]:
    wanted = filter_of(ask)
    if wanted.session is not None or wanted.failed is not None:
        raise InvalidRequest("Sums are kept by key, team, user, model, provider and tag: filter by these.")
    reports = logs_of(ask.desk).papers.reports
    return await reports.summary(_span(ask), _by(ask), None, operator=True, wanted=wanted)


async def export(ask: Ask) -> Stream:
    """In pieces, each read when the one before is sent."""
    format_ = ask.request.parameter("format") or "csv"
    if format_ not in FORMATS:
        raise InvalidRequest(f"'format' must be one of {', '.join(FORMATS)}.", param="format")
    pieces = logs_of(ask.desk).papers.reports.export(_span(ask), ask.account, format_, operator=False)
    return Stream(pieces=pieces, content_type=FORMATS[format_], filename=f"usage.{format_}")


async def list_exchanges(ask: Ask) -> dict[str, object]:
    span = _span(ask, "1970-01-01")
    return await logs_of(ask.desk).page(ask.account, filter_of(ask), span, ask.after() or None, ask.limit())


async def live(ask: Ask) -> Stream:
    return Stream(
        pieces=logs_of(ask.desk).live(
            ask.account, filter_of(ask), ask.subject.id, operator=ask.subject.operator
        ),
        content_type="text/event-stream; charset=utf-8",
        over=END,
    )


async def has_exchange(ask: Ask, account: str) -> bool:
    """Whether an account has the exchange that the path names."""
    try:
        await logs_of(ask.desk).record(account, ask.parameters["id"])
    except NotFound:
        return False
    return True


async def show_exchange(ask: Ask) -> dict[str, object]:
    return await logs_of(ask.desk).show(ask.account, ask.parameters["id"])


async def show_receipt(ask: Ask) -> dict[str, object]:
    logs = logs_of(ask.desk)
    record = await logs.record(ask.account, ask.parameters["id"])
    return await logs.papers.receipts.of_exchange(ask.account, record.id)


class StatementRows(Rows, frozen=True, kw_only=True):
    """``missing_formats``: files that this gateway cannot make of them, each with the reason."""

    missing_formats: dict[str, str]


async def list_statements(ask: Ask) -> dict[str, object]:
    """The months that were issued, and the present one as it stands, the newest first."""
    statements = logs_of(ask.desk).papers.statements
    issued = await statements.issued(ask.account)
    month = iso_time(ask.desk.clock.now_ms())[:7]
    found = [each for each in issued if each.month != month]
    found.append(await statements.show(ask.account, month))
    names = ("month", "issued", "invoice_number", "opening", "used", "closing")
    shown = [statement_json(each, iso_time) for each in reversed(found)]
    return {
        "data": [{name: each[name] for name in names} for each in shown],
        "missing_formats": statement_files.missing_formats(),
    }


async def show_statement(ask: Ask) -> dict[str, object]:
    statements = logs_of(ask.desk).papers.statements
    return statement_json(await statements.show(ask.account, ask.parameters["month"]), iso_time)


async def download_statement(ask: Ask) -> Stream:
    """A month as a file to keep. A PDF is made beside the event loop."""
    format_ = ask.request.parameter("format") or "pdf"
    if format_ not in statement_files.FORMATS:
        known = ", ".join(statement_files.FORMATS)
        raise InvalidRequest(f"'format' must be one of {known}.", param="format")
    month = ask.parameters["month"]
    statement = await logs_of(ask.desk).papers.statements.show(ask.account, month)
    try:
        data = await asyncio.to_thread(statement_files.render, statement, format_)
    except ServerError as error:
        raise InvalidRequest(error.message, param="format", code=error.code) from error
    name = f"{ask.account}-{month}.{format_}"
    return Stream(pieces=_once(data), content_type=statement_files.FORMATS[format_], filename=name)


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


UNWELL_CALLS_MIN, UNWELL_ERROR_RATE = 5, 0.1
"""What fails more often than that, of so many calls, is not well."""


def _unwell(row: Standing) -> bool:
    rate: float | None = row["error_rate"]
    often = rate is not None and row["calls"] >= UNWELL_CALLS_MIN and rate > UNWELL_ERROR_RATE
    return often or not row["available"]


async def health(ask: Ask) -> dict[str, object]:
    only = ask.request.parameter("only")
    if only not in (None, "unwell"):
        raise InvalidRequest("'only' must be unwell, or be left out for all.", param="only")
    found = await ask.desk.run("deployments", ask.by, {"every": True})
    processes = [
        each["deployments"] for each in msgspec.json.decode(found["processes"], type=list[dict[str, Any]])
    ]
    prices = {d.id: d.price for model in ask.desk.snapshot().models.values() for d in model.deployments}
    standings: list[Standing] = together(processes)
    shown = [row for row in standings if only is None or _unwell(row)]
    return {
        "processes": len(processes),
        "deployments": len(standings),
        "providers": len({row["provider"] for row in standings}),
        "data": [{**row, "price_per_mtok": per_mtok(prices.get(row["deployment"]))} for row in shown],
    }


_TIMES = (("from", "ISO 8601; UTC where no zone is named"), ("to", "the same, not included"))
_SUMMED = tuple((name, f"only of this {name}; empty: of none") for name in _NAMES[:-1])
_FILTERS = (
    *_SUMMED,
    ("session", "only of this session"),
    ("outcome", "failed or succeeded"),
)
_SUMS = (
    ("by", "up to four of day, hour, account, key, team, user, model, provider, tag; model if left out"),
    *_TIMES,
    *_SUMMED,
)

_ROUTES: tuple[Mapping[str, Any], ...] = (
    {
        "path": "/api/v1/usage", "handler": usage, "permission": "usage:read", "reply": UsageReport,
        "summary": "Sums of what the account used, by what is asked for; the present month if no time is.",
        "parameters": _SUMS,
    },
    {
        "path": "/api/v1/usage/export", "handler": export, "permission": "exchange:read", "parameters": (
            ("format", "csv or jsonl"), *_TIMES,
        ),
        "media": tuple(kind.partition(";")[0] for kind in FORMATS.values()),
        "summary": "Every exchange of the account, as CSV or JSON lines.",
    },
    {
        "path": "/api/v1/exchanges", "handler": list_exchanges, "permission": "exchange:read", "reply": ExchangePage,
        "summary": "The log of the account's exchanges, the newest first.", "parameters": (
            *_TIMES, *_FILTERS, ("after", "the next of the page before"), ("limit", "1 to 200"),
        ),
    },
    {
        "path": "/api/v1/exchanges/live", "handler": live, "permission": "exchange:read", "parameters": _FILTERS,
        "media": ("text/event-stream",), "summary": "Exchanges as they end, as server-sent events, for ten minutes.",
    },
    {
        "path": "/api/v1/exchanges/{id}", "handler": show_exchange, "holds": has_exchange, "permission": "exchange:read",
        "reply": ExchangeDetail, "summary": "An exchange with its attempts, its costs and why it went as it did.",
    },
    {
        "path": "/api/v1/exchanges/{id}/receipt", "handler": show_receipt, "holds": has_exchange, "permission": "exchange:read",
        "summary": "The signed receipt of an exchange.",
    },
    {
        "path": "/api/v1/statements", "handler": list_statements, "permission": "credit:read", "reply": StatementRows,
        "summary": "The account's months: those issued, and the present one as it stands.",
    },
    {
        "path": "/api/v1/statements/{month}", "handler": show_statement, "permission": "credit:read",
        "summary": "A month: balances, credits, use by model, the invoice.",
    },
    {
        "path": "/api/v1/statements/{month}/file", "handler": download_statement, "permission": "credit:read",
        "parameters": (("format", "pdf (if nothing is said), html, csv or json"),),
        "media": tuple(kind.partition(";")[0] for kind in statement_files.FORMATS.values()),
        "summary": "A month as a file to keep.",
    },
    {
        "path": "/api/v1/gateway/usage", "handler": usage_of_all, "permission": "accounts:read", "house": True,
        "reply": UsageReport, "parameters": _SUMS,
        "summary": "The same of all accounts, with what it cost the operator.",
    },
    {
        "path": "/api/v1/health", "handler": health, "permission": "health:read", "house": True, "reply": Health,
        "parameters": (("only", "unwell: not those that can be called and seldom fail"),),
        "summary": "How the deployments fare: availability, errors, speed, calls under way, price.",
    },
)  # fmt: skip

LOG_ROUTES = tuple(ApiRoute(method="GET", **row) for row in _ROUTES)
