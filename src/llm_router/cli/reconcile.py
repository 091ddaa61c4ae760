"""The command that compares a provider's export with what was recorded."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from llm_router.billing.provider_bills import FIELDS, FORMATS, BillProblem, Row, iso_day, read_bill
from llm_router.billing.reconcile import (
    Counts,
    Key,
    Line,
    Report,
    compare,
    model_name,
    named_in,
    tokens,
)
from llm_router.cli.output import note, print_json, print_table, printable
from llm_router.domain.errors import InvalidRequest
from llm_router.domain.money import format_usd
from llm_router.engine.operator import dollars

WORDS = {
    "equal": "agrees",
    "missing_here": "not recorded here",
    "missing_there": "not billed",
    "unknown_outcome": "outcome unknown here",
    "estimated_usage": "usage counted here",
    "tokens_differ": "tokens differ",
    "price_differs": "price differs",
    "price_unknown_here": "no price here",
    "day_boundary": "day cut elsewhere",
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """The days that are compared, ISO, the end no part of it; in which time zone; by calls or by days."""

    first: str
    end: str
    zone: tzinfo
    by_id: bool

    def day_of(self, at_ms: int) -> str:
        return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(self.zone).date().isoformat()


def reconcile(arguments: argparse.Namespace) -> int:
    """Print the drift line by line; 1 where all together it is above the tolerance.

    Raises:
        InvalidRequest: the file or a flag cannot be understood.
    """
    tolerance_ppm, zone = _tolerance(arguments.tolerance), _zone(arguments)
    rows = _read(arguments.file, arguments, zone)
    first, end = _days(arguments, rows)
    rows = [row for row in rows if first <= row.day < end]
    span = Span(first=first, end=end, zone=zone, by_id=bool(rows) and all(row.id for row in rows))
    attempts, lost = _recorded(arguments, span)
    report = _compared(rows, attempts, lost, span)
    ok = report.within(tolerance_ppm)
    if arguments.json:
        print_json(_as_json(report, span, ok=ok, every=arguments.all))
    else:
        _print(report, span, ok=ok, every=arguments.all)
    return 0 if ok else 1


def _read(path: Path, arguments: argparse.Namespace, zone: tzinfo) -> list[Row]:
    chosen = _columns(arguments.column)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(read_bill(file, FORMATS[arguments.provider], chosen, zone))
    except (BillProblem, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: {error}", code="bill_unreadable") from None
    if not rows:
        raise InvalidRequest(f"{path} holds no usage", code="bill_unreadable")
    return rows


def _columns(words: list[str]) -> dict[str, tuple[str, ...]]:
    chosen = {}
    for word in words:
        field, sign, names = word.partition("=")
        if field not in FIELDS or not sign or not names.strip():
            raise InvalidRequest(
                f"--column must be FIELD=NAME, FIELD one of {', '.join(FIELDS)}", param="column"
            )
        found = names.split("+") if field in ("input", "output", "cost") else [names]
        chosen[field] = tuple(name.strip().lower() for name in found)
    return chosen


def _zone(arguments: argparse.Namespace) -> tzinfo:
    name = arguments.time_zone or FORMATS[arguments.provider].time_zone
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest(f"there is no time zone '{name}'", param="time_zone") from None


def _tolerance(text: str) -> int:
    try:
        ppm = Decimal(text) * 10_000
        if not 0 <= ppm <= 1_000_000:
            raise InvalidOperation
    except InvalidOperation:
        raise InvalidRequest("--tolerance must be a percentage from 0 to 100", param="tolerance") from None
    return int(ppm)


def _days(arguments: argparse.Namespace, rows: list[Row]) -> tuple[str, str]:
    """The first day and the one after the last."""
    first = min(row.day for row in rows) if arguments.start is None else _day(arguments.start)
    last = date.fromisoformat(max(row.day for row in rows))
    end = (last + _DAY).isoformat() if arguments.end is None else _day(arguments.end)
    if end <= first:
        raise InvalidRequest("--from must be before --to", param="from")
    return first, end


def _day(text: str) -> str:
    try:
        return iso_day(text)
    except ValueError:
        raise InvalidRequest(f"'{text}' is no day such as 2026-11-01") from None


def _recorded(arguments: argparse.Namespace, span: Span) -> tuple[list[Any], list[Any]]:
    """All attempts of the providers that may fall into these days, and what nobody settled."""
    from llm_router.cli.world import run_pages

    providers = FORMATS[arguments.provider].providers
    if arguments.of is not None:
        providers = tuple(name.strip() for name in arguments.of.split(",") if name.strip())
    if not providers:
        raise InvalidRequest("--of must name the providers here that the file is about", param="of")
    values = {
        "providers": providers,
        "from_": (date.fromisoformat(span.first) - 2 * _DAY).isoformat(),
        "to": (date.fromisoformat(span.end) + 2 * _DAY).isoformat(),
    }
    attempts: list[Any] = []
    lost: list[Any] = []

    def take(result: dict[str, object]) -> object:
        rows, unsettled = result["attempts"], result["unsettled"]
        assert isinstance(rows, list)
        assert isinstance(unsettled, list)
        attempts.extend(rows)
        lost.extend(unsettled)
        return result["next"]

    run_pages(arguments, "reconcile.attempts", values, take)
    return attempts, lost


def _compared(rows: list[Row], attempts: list[Any], lost: list[Any], span: Span) -> Report:
    models = {model_name(attempt["model"]) for attempt in attempts}
    theirs: dict[Key, Counts] = {}
    for row in rows:
        name = model_name(row.label)
        if name not in models:
            name = named_in(row.label, models) or name
        _add(theirs, Key("", "", row.id) if span.by_id else Key(row.day, name), row.counts)
    ours: dict[Key, Counts] = {}
    for attempt in attempts:
        day = span.day_of(attempt["at_ms"])
        id_ = attempt["id"] or attempt["exchange"]
        key = Key("", "", id_) if span.by_id else Key(day, model_name(attempt["model"]))
        if span.first <= day < span.end or (span.by_id and key in theirs):
            _add(ours, key, _counts(attempt))
    days = {row.id: row.day for row in rows if row.id}
    unknown: Counter[Key] = Counter()
    for one in lost:
        day = span.day_of(one["at_ms"])
        unknown.update(
            key
            for key in theirs
            if _may_be(key, days.get(key.id, key.day), day, one["price_version"].lower())
        )
    return compare(theirs, ours, unknown)


def _may_be(key: Key, billed: str, day: str, price_version: str) -> bool:
    """Whether a line may be of an exchange that nobody settled: its provider's id is not known."""
    return billed == day and key.model in price_version


def _add(sides: dict[Key, Counts], key: Key, counts: Counts) -> None:
    sides.setdefault(key, Counts()).add(counts)


def _counts(attempt: Mapping[str, Any]) -> Counts:
    return Counts(
        requests=1,
        input_tokens=attempt["input_tokens"],
        output_tokens=attempt["output_tokens"],
        cost_pusd=attempt["cost_pusd"],
        estimated=int(attempt["estimated"]),
        unknown=int(attempt["unknown"]),
        unpriced=int(attempt["cost_pusd"] is None),
    )


def _print(report: Report, span: Span, *, ok: bool, every: bool) -> None:
    shown = [line for line in report.lines if every or line.cause != "equal"]
    if shown:
        head = ("ID",) if span.by_id else ("DAY", "MODEL")
        figures = ("THEIR TOKENS", "OURS", "DRIFT", "THEIR COST", "OUR COST", "COST DRIFT")
        print_table((*head, *figures, "WHY"), [_cells(line) for line in shown], frozenset(figures))
        print()
    causes = Counter(line.cause for line in report.lines)
    said = ", ".join(f"{count} {WORDS[cause]}" for cause, count in causes.most_common())
    lines = "1 line" if len(report.lines) == 1 else f"{len(report.lines):,} lines"
    print(f"{span.first} to {span.end} (not included), {lines}: {said}.")
    print(
        f"In all {_number(tokens(report.theirs))} tokens and {_usd(report.theirs.cost_pusd)} there, "
        f"{_number(tokens(report.ours))} and {_usd(report.ours.cost_pusd)} here: a drift of "
        f"{_number(report.drift_tokens)} tokens and {_usd(report.drift_pusd)}."
    )
    if not ok:
        note("That is above the tolerance.")


def _cells(line: Line) -> tuple[str, ...]:
    theirs, ours = line.theirs or Counts(), line.ours or Counts()
    head = (printable(line.key.id),) if line.key.id else (line.key.day, printable(line.key.model))
    return (
        *head,
        _number(tokens(theirs)),
        _number(tokens(ours)),
        _number(line.drift_tokens),
        _usd(theirs.cost_pusd),
        _usd(ours.cost_pusd),
        _usd(line.drift_pusd),
        WORDS[line.cause],
    )


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _usd(pusd: int | None) -> str:
    if pusd is None:
        return "-"
    return f"{'-' if pusd < 0 else ''}${format_usd(abs(pusd))}"


def _as_json(report: Report, span: Span, *, ok: bool, every: bool) -> dict[str, object]:
    return {
        "from": span.first,
        "to": span.end,
        "by": "id" if span.by_id else "day and model",
        "ok": ok,
        "causes": dict(Counter(line.cause for line in report.lines)),
        "lines": [_line(line) for line in report.lines if every or line.cause != "equal"],
        "total": {
            "theirs": _side(report.theirs),
            "ours": _side(report.ours),
            "drift_tokens": report.drift_tokens,
            "drift_cost": _exact(report.drift_pusd),
        },
    }


def _line(line: Line) -> dict[str, object]:
    return {
        "id": line.key.id or None,
        "day": line.key.day or None,
        "model": line.key.model or None,
        "cause": line.cause,
        "theirs": None if line.theirs is None else _side(line.theirs),
        "ours": None if line.ours is None else _side(line.ours),
        "drift_tokens": line.drift_tokens,
        "drift_cost": _exact(line.drift_pusd),
    }


def _side(counts: Counts) -> dict[str, object]:
    return {
        "requests": counts.requests,
        "input_tokens": counts.input_tokens,
        "output_tokens": counts.output_tokens,
        "cost": _exact(counts.cost_pusd),
    }


def _exact(pusd: int | None) -> msgspec.Raw | None:
    return None if pusd is None else dollars(pusd)
