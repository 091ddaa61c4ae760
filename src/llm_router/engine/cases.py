"""Requests for a dry run, of what is JSON or of what was served.

a body ──────────── of any API; or {"api": ..., "body": {...}} where that cannot be told by its members
an explanation ──── what ``llm-router explain ID --json`` prints
an exported row ─── of ``llm-router usage export --format jsonl``
a record ────────── of the log
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from llm_router.billing.usage_rows import BUCKETS, usage_row
from llm_router.domain.decision import OWN, Asks, Decision, KeyBounds
from llm_router.domain.errors import InvalidRequest
from llm_router.domain.record import ExchangeRecord
from llm_router.domain.usage import Usage
from llm_router.engine.dry_run import Case, Route
from llm_router.engine.remembering import Remembered, remembered, view_of
from llm_router.engine.shadows import FLAG as SHADOW
from llm_router.routing.query import is_auto, read_query
from llm_router.wire.apis import APIS, named_api, recognised_api
from llm_router.wire.asked import stand_in

NEEDS_KEY = "an explanation does not tell which models auto might choose for its key: take the exported row"

_PUSD = 10**12

_COUNT_MAX = 10**12
"""Of tokens and bytes, and of dollars: no request comes to more."""


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """The members of an exported row that are read by name; its buckets are read apart."""

    asked_model: str
    operation: str
    dialect: str
    deployment: str | None = None
    model: str | None = None
    stream: bool | str | None = None
    key: str | None = None
    error_code: str | None = None
    status: int | str | None = None
    cost: object = None
    decision: Decision = Decision()


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    bucket: str
    quantity: int


class _Settlement(msgspec.Struct, frozen=True, kw_only=True):
    lines: list[_Line]
    cost: object = None


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    deployment: str
    ttft_ms: float | None
    tokens_per_s: float | None
    in_flight: int = 0
    error_rate: float | None = None
    share: float = 1.0


class _Cache(msgspec.Struct, frozen=True, kw_only=True):
    stayed_with: str | None = None


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    code: str | None
    message: str | None


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The members of an explanation that are read."""

    asked_model: str | None = None
    planned_as: str
    operation: str
    api: str
    stream: bool
    request: dict[str, Any]
    candidates: list[_Candidate]
    settlement: _Settlement
    plan: list[str]
    model: str | None
    strategy: str
    error: _Error | None
    key: str | None = None
    cache: _Cache = _Cache()


def case_of_line(line: bytes, embeds: Callable[[str], bool]) -> Case | None:
    """The request of a line of JSON; None of a copy that a shadow of an experiment was given.

    Args:
        embeds: whether a model is for embeddings only.

    Raises:
        InvalidRequest, ArithmeticError, RecursionError, ValueError: it is none.
    """
    members = msgspec.json.decode(line)
    if not isinstance(members, dict):
        raise InvalidRequest("a line must be a JSON object")
    if members.get("object") == "explanation":
        return _known(_explained(members))
    if "asked_model" in members and "dialect" in members:
        if SHADOW in str(members.get("flags") or "").split():
            return None
        return _known(_exported(members))
    api = None
    if isinstance(members.get("body"), dict):
        api, members = members.get("api"), members["body"]
        line = msgspec.json.encode(members)
    name = named_api(str(api)) if api is not None else recognised_api(members, False, embeds)
    found, model = APIS[name], members.get("model")
    if not isinstance(model, str) and (found.path_model or stand_in(members) is None):
        raise InvalidRequest("name the model in 'model'")
    if found.path_model:
        line = msgspec.json.encode({name: value for name, value in members.items() if name != "model"})
    return Case(
        asked=model
        if isinstance(model, str)
        else "|".join(members.get("models") or [str(stand_in(members))]),
        operation=found.operation,
        dialect=found.dialect,
        path_model=str(model).removeprefix("models/") if found.path_model else None,
        body=line,
    )


def case_of_record(record: ExchangeRecord) -> Case | None:
    """A request that was served; None of a copy that a shadow of an experiment was given."""
    if SHADOW in record.flags:
        return None
    row = usage_row(record, "")
    row["decision"] = None if record.decision is None else msgspec.to_builtins(record.decision)
    try:
        return _known(_exported(msgspec.json.decode(msgspec.json.encode(row))))
    except (InvalidRequest, ArithmeticError, ValueError):
        return Case(
            asked=record.asked_model, operation=record.operation, dialect=record.dialect,
            untold="what was kept of it is not enough",
        )  # fmt: skip


def _known(case: Case) -> Case:
    """The case, if it is of an API that there is."""
    if not any((api.operation, api.dialect) == (case.operation, case.dialect) for api in APIS.values()):
        raise InvalidRequest("this is no exchange of an API that is known here")
    return case


def _explained(members: Mapping[str, Any]) -> Case:
    if "request" not in members or "id" not in members:
        raise InvalidRequest("this explanation lacks its 'request' or 'id'")
    if members["request"] is None:
        raise InvalidRequest("nothing was kept of this request: it was refused before it was read")
    if members["id"] is None:
        raise InvalidRequest("this explains a request that was not sent: give the request itself")
    shown = msgspec.convert(members, _Shown)
    routing = msgspec.convert(shown.request.get("routing"), dict[str, Any] | None)
    return Case(
        asked=shown.asked_model or shown.planned_as,
        planned=shown.planned_as,
        operation=shown.operation,
        dialect=shown.api,
        asks=_asks(shown.request),
        routing=routing,
        stream=shown.stream,
        key=shown.key or "",
        untold=NEEDS_KEY if _has_auto(shown.planned_as, routing) else None,
        known=Remembered(
            views={
                c.deployment: view_of(
                    ttft_ms=c.ttft_ms,
                    tokens_per_s=c.tokens_per_s,
                    in_flight=c.in_flight,
                    error_rate=c.error_rate,
                    share=c.share,
                )
                for c in shown.candidates
            },
            stuck=shown.cache.stayed_with,
        ),
        usage=msgspec.convert(_lines(shown), Usage),
        was=_was(shown),
    )


def _has_auto(model: str, routing: dict[str, Any] | None) -> bool:
    try:
        return any(is_auto(asked.name) for asked in read_query(model, routing or {}).names)
    except InvalidRequest:
        return False


def _asks(request: Mapping[str, Any]) -> Asks:
    """What was kept of a request, each number within its bounds."""
    numbers = {name: value for name, value in request.items() if name != "routing"}
    fields = msgspec.structs.fields(Asks)
    for field in fields:
        value = numbers.get(field.name)
        if isinstance(value, int):
            _count(value)
        elif value is None:  # not counted
            numbers.pop(field.name, None)
    return Asks(**{f.name: msgspec.convert(numbers[f.name], f.type) for f in fields if f.name in numbers})


def _count(value: int) -> int:
    if not 0 <= value <= _COUNT_MAX:
        raise InvalidRequest(f"a count must be from 0 to {_COUNT_MAX}")
    return value


def _lines(shown: _Shown) -> dict[str, int]:
    """The tokens that were charged, by bucket."""
    return {line.bucket: _count(line.quantity) for line in shown.settlement.lines if line.bucket in BUCKETS}


def _was(shown: _Shown) -> Route:
    """Where it went: what failed only later, at a provider, would be asked again."""
    plan = tuple(key.removesuffix(OWN) for key in shown.plan)
    error = None if plan else shown.error
    return Route(
        model=shown.model,
        plan=plan,
        strategy=shown.strategy,
        expected_pusd=_pusd(shown.settlement.cost) if _lines(shown) else None,
        error=None if error is None else error.code,
        message=None if error is None else error.message,
    )


def _exported(members: Mapping[str, Any]) -> Case:
    """What is known of an exported row: all that its decision was made of, where it holds that."""
    row = msgspec.convert({n: v for n, v in members.items() if (n, v) != ("decision", None)}, _Row)
    decision = row.decision
    for weighing in decision.weighings:
        _count(weighing.output_tokens)
    found = {name: members[name] for name in BUCKETS if members.get(name) is not None}
    counts = msgspec.convert(found, dict[str, int], strict=False)
    usage = msgspec.convert({name: _count(value) for name, value in counts.items()}, Usage)
    return Case(
        asked=row.asked_model,
        planned=decision.model,
        operation=row.operation,
        dialect=row.dialect,
        asks=Asks(input_tokens=usage.prompt_tokens)
        if decision.asks is None
        else _asks(msgspec.structs.asdict(decision.asks)),
        routing=decision.routing,
        untold=_untold(row),
        known=remembered(decision),
        usage=usage,
        stream=row.stream in (True, "true"),
        key=row.key or "",
        may=row.decision.key or KeyBounds(),
        was=_went(row, usage),
    )


def _went(row: _Row, usage: Usage) -> Route:
    """Where an exported row went: what was planned, else who served it."""
    plan = tuple(key.removesuffix(OWN) for key in row.decision.plan)
    if not plan and row.deployment:
        plan = (row.deployment,)
    return Route(
        model=row.model,
        plan=plan,
        strategy=row.decision.strategy or "priority",
        expected_pusd=_pusd(row.cost) if usage.total_tokens else None,
        error=None if plan else row.error_code,
    )


_NOT_OF_ROUTES = ("401", "402", "403", "429")
"""What is refused with these is refused whatever the routes are."""


def _untold(row: _Row) -> str | None:
    """Why it cannot be said where an exported row would go; None if it can."""
    if not row.asked_model:
        return "it was refused before it was read"
    if row.decision.key is not None and not row.decision.key.whole:
        return "what its key may use was too much to keep"
    if not row.deployment and row.decision.asks is None and row.error_code:
        return f"it was refused before it was planned: {row.error_code}"  # for its preset, say
    if row.decision.asks is None and "@" in row.asked_model:
        return "its preset was not kept: export it again, as JSON lines"
    if not row.deployment and not row.decision.plan and str(row.status) in _NOT_OF_ROUTES:
        return f"it was refused before it was planned: {row.error_code}"
    return None


def _pusd(amount: object) -> int | None:
    if amount is None:
        return None
    try:
        dollars = Decimal(str(amount))
    except InvalidOperation:
        raise InvalidRequest("a cost must be dollars such as 0.25") from None
    if not dollars.is_finite() or not 0 <= dollars <= _COUNT_MAX:
        raise InvalidRequest(f"a cost must be from 0 to {_COUNT_MAX} dollars")
    return int(dollars * _PUSD)
