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
from llm_router.domain.decision import OWN, Asks
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.usage import Usage
from llm_router.engine.dry_run import Case, Measured, Route
from llm_router.wire.apis import APIS, named_api, recognised_api

_PUSD = 10**12


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
        except InvalidRequest as error:
            raise InvalidRequest(f"{file}, line {number}: {error.message}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError, InvalidOperation):
            raise InvalidRequest(
                f"{file}, line {number}: this is no request, explanation or exported row in JSON"
            ) from None


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
    if not isinstance(case.asked, str) or not any(
        (api.operation, api.dialect) == (case.operation, case.dialect) for api in APIS.values()
    ):
        raise InvalidRequest("this is no exchange of an API that is known here")
    return case


def _explained(shown: Mapping[str, Any]) -> Case:
    request = shown["request"]
    if request is None:
        raise InvalidRequest("nothing was kept of this request: it was refused before it was read")
    if shown["id"] is None:
        raise InvalidRequest("this explains a request that was not sent: give the request itself")
    numbers = {name: value for name, value in request.items() if name != "routing"}
    return Case(
        asked=shown["planned_as"],
        operation=shown["operation"],
        dialect=shown["api"],
        asks=Asks(**{**numbers, "needs": tuple(numbers["needs"])}),
        routing=request["routing"],
        stream=shown["stream"],
        measured=tuple(
            Measured(deployment=c["deployment"], ttft_ms=c["ttft_ms"], tokens_per_s=c["tokens_per_s"])
            for c in shown["candidates"]
            if c["ttft_ms"] is not None or c["tokens_per_s"] is not None
        ),
        usage=msgspec.convert(_lines(shown), Usage),
        was=_was(shown),
    )


def _lines(shown: Mapping[str, Any]) -> dict[str, int]:
    """The tokens that were charged, by bucket."""
    lines = shown["settlement"]["lines"]
    return {line["bucket"]: line["quantity"] for line in lines if line["bucket"] in BUCKETS}


def _was(shown: Mapping[str, Any]) -> Route:
    """Where it went: what failed only later, at a provider, would be asked again."""
    plan = tuple(str(key).removesuffix(OWN) for key in shown["plan"])
    failed = shown["error"] is not None and not plan
    return Route(
        model=shown["model"],
        plan=plan,
        strategy=shown["strategy"],
        expected_pusd=_pusd(shown["settlement"]["cost"]) if _lines(shown) else None,
        error=shown["error"]["code"] if failed else None,
        message=shown["error"]["message"] if failed else None,
    )


def _exported(row: Mapping[str, Any]) -> Case:
    """What is known of an exported row: its size as it was counted, but not what it needed."""
    deployment = row.get("deployment")
    counts = {name: int(found) for name in BUCKETS if (found := row.get(name)) is not None}
    usage = msgspec.convert(counts, Usage)
    return Case(
        asked=row["asked_model"],
        operation=row["operation"],
        dialect=row["dialect"],
        asks=Asks(input_tokens=usage.prompt_tokens),
        usage=usage,
        stream=row.get("stream") in (True, "true"),
        key=row.get("key") or "",
        was=Route(
            model=row.get("model"),
            plan=() if not deployment else (deployment,),
            expected_pusd=_pusd(row.get("cost")) if usage.total_tokens else None,
            error=None if deployment else row.get("error_code"),
        ),
    )


def _pusd(amount: object) -> int | None:
    return None if amount is None else int(Decimal(str(amount)) * _PUSD)
