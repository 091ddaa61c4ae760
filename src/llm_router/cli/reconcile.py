"""The command that compares a provider's export with what was recorded."""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import date, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from llm_router.billing.bill_sides import Bill, Ours
from llm_router.billing.provider_bills import FIELDS, FORMATS, BillProblem, day_at, iso_day, read_bill
from llm_router.billing.reconcile import Counts, Line, Report, compare, tokens
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

_DAY = timedelta(days=1)


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """The days that are compared, ISO, the end no part of it; in which time zone; by calls or by days."""

    first: str
    end: str
    zone: tzinfo
    by_id: bool


def reconcile(arguments: argparse.Namespace) -> int:
    """Print the drift line by line; 1 where all together it is above the tolerance.

    Raises:
        InvalidRequest: the file or a flag cannot be understood.
    """
    tolerance_ppm, zone = _tolerance(arguments.tolerance), _zone(arguments)
    bill = _read(arguments, zone)
    first, end = _days(arguments, bill)
    span = Span(first=first, end=end, zone=zone, by_id=bill.by_id)
    report = _compared(bill, _recorded(arguments, bill, span))
    ok = report.within(tolerance_ppm)
    if arguments.json:
        print_json(_as_json(report, span, ok=ok, every=arguments.all))
    else:
        _print(report, span, ok=ok, every=arguments.all)
    return 0 if ok else 1


def _read(arguments: argparse.Namespace, zone: tzinfo) -> Bill:
    path, chosen = arguments.file, _columns(arguments.column)
    start, end = (None if text is None else _day(text) for text in (arguments.start, arguments.end))
    bill = Bill(start, end)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in read_bill(file, FORMATS[arguments.provider], chosen, zone):
                bill.add(row)
    except (BillProblem, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: {error}", code="bill_unreadable") from None
    if bill.first is None:
        raise InvalidRequest(f"{path} holds no usage", code="bill_unreadable")
    return bill


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


def _days(arguments: argparse.Namespace, bill: Bill) -> tuple[str, str]:
    """The first day and the one after the last."""
    assert bill.first is not None
    assert bill.last is not None
    first = bill.first if arguments.start is None else _day(arguments.start)
    last = date.fromisoformat(bill.last)
    end = (last + _DAY).isoformat() if arguments.end is None else _day(arguments.end)
    if end <= first:
        raise InvalidRequest("--from must be before --to", param="from")
    return first, end


def _day(text: str) -> str:
    try:
        return iso_day(text)
    except ValueError:
        raise InvalidRequest(f"'{text}' is no day such as 2026-11-01") from None


def _recorded(arguments: argparse.Namespace, bill: Bill, span: Span) -> Ours:
    """All attempts of the providers that fall into these days, and what nobody settled."""
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
    ours = Ours(
        bill, lambda at_ms: day_at(at_ms // 1000, span.zone), lambda day: span.first <= day < span.end
    )

    def take(result: dict[str, object]) -> object:
        rows, unsettled = result["attempts"], result["unsettled"]
        assert isinstance(rows, list)
        assert isinstance(unsettled, list)
        for attempt in rows:
            ours.add(attempt)
        for one in unsettled:
            ours.lose(one)
        return result["next"]

    run_pages(arguments, "reconcile.attempts", values, take)
    return ours


def _compared(bill: Bill, ours: Ours) -> Report:
    theirs = bill.lines(ours.models)
    return compare(theirs, ours.lines, ours.unknown(theirs))


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
