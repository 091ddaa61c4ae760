"""Requests for a dry run, read from lines of JSON.

a body ──────────── of any API; or {"api": ..., "body": {...}} where that cannot be told by its members
an explanation ──── what ``llm-router explain ID --json`` prints
an exported row ─── of ``llm-router usage export --format jsonl``
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from llm_router.billing.usage_rows import BUCKETS
from llm_router.cli.output import UNREADABLE
from llm_router.domain.decision import OWN, Asks
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.usage import Usage
from llm_router.engine.dry_run import Case, Measured, Route
from llm_router.wire.apis import APIS, named_api, recognised_api

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
    cost: object = None


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


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    code: str | None
    message: str | None


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The members of an explanation that are read."""

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


def read_cases(file: str, embeds: Callable[[str], bool]) -> Iterator[Case]:
    """The requests of a file, or of standard input ("-").

    Args:
        embeds: whether a model is for embeddings only.

    Raises:
        NotFound: the file cannot be read.
        InvalidRequest: a line is no request; it is named.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}", code="no_file") from None
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield _case(line, embeds)
        except (InvalidRequest, ArithmeticError, RecursionError, ValueError) as error:
            raise InvalidRequest(f"{file}, line {number}: {_what(error)}", code=UNREADABLE) from None


def _what(error: Exception) -> str:
    """What is wrong with a line. What cannot be decoded or converted is a ValueError of msgspec."""
    match error:
        case InvalidRequest():
            return error.message
        case RecursionError():
            return "its JSON is nested too deeply"
        case msgspec.ValidationError():
            return f"this is no request, explanation or exported row: {error}"
        case msgspec.DecodeError():
            return f"this is no JSON: {error}"
        case UnicodeError():
            return "its text is not Unicode"
        case _:
            return "it holds a number that no request, explanation or exported row comes to"


def _case(line: bytes, embeds: Callable[[str], bool]) -> Case:
    members = msgspec.json.decode(line)
    if not isinstance(members, dict):
        raise InvalidRequest("a line must be a JSON object")
    if members.get("object") == "explanation":
        return _known(_explained(members))
    if "asked_model" in members and "dialect" in members:
        return _known(_exported(members))
    api = None
    if isinstance(members.get("body"), dict):
        api, members = members.get("api"), members["body"]
        line = msgspec.json.encode(members)
    name = named_api(str(api)) if api is not None else recognised_api(members, False, embeds)
    found, model = APIS[name], members.get("model")
    if not isinstance(model, str) and not isinstance(members.get("models"), list):
        raise InvalidRequest("name the model in 'model'")
    if found.path_model:
        line = msgspec.json.encode({name: value for name, value in members.items() if name != "model"})
    return Case(
        asked=model if isinstance(model, str) else "|".join(map(str, members["models"])),
        operation=found.operation,
        dialect=found.dialect,
        path_model=str(model).removeprefix("models/") if found.path_model else None,
        body=line,
    )


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
        asked=shown.planned_as,
        operation=shown.operation,
        dialect=shown.api,
        asks=_asks(shown.request),
        routing=routing,
        stream=shown.stream,
        measured=tuple(
            Measured(deployment=c.deployment, ttft_ms=c.ttft_ms, tokens_per_s=c.tokens_per_s)
            for c in shown.candidates
            if c.ttft_ms is not None or c.tokens_per_s is not None
        ),
        usage=msgspec.convert(_lines(shown), Usage),
        was=_was(shown),
    )


def _asks(request: Mapping[str, Any]) -> Asks:
    """What was kept of a request, each number within its bounds."""
    numbers = {name: value for name, value in request.items() if name != "routing"}
    fields = msgspec.structs.fields(Asks)
    for field in fields:
        value = numbers.get(field.name)
        if isinstance(value, int):
            _count(value)
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
    """What is known of an exported row: its size as it was counted, but not what it needed."""
    row = msgspec.convert(members, _Row)
    found = {name: members[name] for name in BUCKETS if members.get(name) is not None}
    counts = msgspec.convert(found, dict[str, int], strict=False)
    usage = msgspec.convert({name: _count(value) for name, value in counts.items()}, Usage)
    return Case(
        asked=row.asked_model,
        operation=row.operation,
        dialect=row.dialect,
        asks=Asks(input_tokens=usage.prompt_tokens),
        usage=usage,
        stream=row.stream in (True, "true"),
        key=row.key or "",
        was=Route(
            model=row.model,
            plan=() if not row.deployment else (row.deployment,),
            expected_pusd=_pusd(row.cost) if usage.total_tokens else None,
            error=None if row.deployment else row.error_code,
        ),
    )


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
