"""Read what a provider exports of its usage or costs: CSV whose columns are known by several names.

Column names follow the providers' usage and cost APIs and console exports:
https://platform.openai.com/docs/api-reference/usage, https://docs.anthropic.com/en/api/admin-api/usage-cost,
https://cloud.google.com/billing/docs/how-to/cost-table. Exports change: any column can be named instead.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import msgspec

from llm_router.billing.reconcile import Counts
from llm_router.domain.money import PUSD_PER_USD

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

FIELDS = ("time", "model", "id", "requests", "input", "output", "cost")

SLACK_PUSD = 1000
"""What binary fractions on the provider's side may have added to one amount."""

QUARTER_S = 900
"""No time zone begins a day within a quarter of an hour."""

_NONE = ("", "null", "none", "n/a")
_AMOUNT = re.compile(r"-?[0-9]{0,15}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,2})?")
_COUNT = re.compile(r"[0-9]{1,15}(\.0+)?")
_EPOCH = re.compile(r"[0-9]{9,13}")


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """What columns may be called. Each field takes the first name that is there; ``input`` and ``output``
    add up all that are."""

    columns: Mapping[str, tuple[str, ...]]
    providers: tuple[str, ...]
    time_zone: str = "UTC"


FORMATS: Mapping[str, Format] = {
    "openai": Format(
        providers=("openai",),
        columns={
            "time": ("start_time_iso", "start_time", "usage_date", "date", "timestamp"),
            "model": ("model", "snapshot_id", "line_item", "name"),
            "id": ("request_id", "response_id"),
            "requests": ("num_model_requests", "num_requests", "n_requests"),
            "input": ("input_tokens", "n_context_tokens_total"),
            "output": ("output_tokens", "n_generated_tokens_total"),
            "cost": ("amount_value", "cost_usd", "cost", "amount"),
        },
    ),
    "anthropic": Format(
        providers=("anthropic",),
        columns={
            "time": ("usage_date_utc", "starting_at", "date"),
            "model": ("model_version", "model"),
            "id": ("request_id", "message_id"),
            "requests": ("requests",),
            "input": (
                "usage_input_tokens_no_cache",
                "usage_input_tokens_cache_write_5m",
                "usage_input_tokens_cache_write_1h",
                "usage_input_tokens_cache_read",
                "uncached_input_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "ephemeral_5m_input_tokens",
                "ephemeral_1h_input_tokens",
            ),
            "output": ("usage_output_tokens", "output_tokens"),
            "cost": ("cost_usd", "cost"),
        },
    ),
    "google": Format(
        providers=("google", "vertex"),
        time_zone="America/Los_Angeles",
        columns={
            "time": ("usage start date", "usage_start_time", "usage date"),
            "model": ("sku description", "sku.description"),
            "cost": (
                "unrounded cost ($)", "unrounded subtotal ($)", "unrounded cost (usd)", "cost ($)", "cost (usd)",
                "subtotal ($)", "cost",
            ),
        },
    ),
    "generic": Format(
        providers=(),
        columns={
            "time": ("time", "timestamp", "created", "created_at", "date", "day"),
            "model": ("model",),
            "id": ("upstream_id", "request_id", "id"),
            "requests": ("requests",),
            "input": ("input_tokens", "prompt_tokens"),
            "output": ("output_tokens", "completion_tokens"),
            "cost": ("cost", "cost_usd", "amount"),
        },
    ),
}  # fmt: skip


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row: ``day`` in the provider's time zone, ``label`` what it calls the model."""

    day: str
    label: str
    id: str
    counts: Counts


class BillProblem(ValueError):
    """The file cannot be read as asked; the message says what to change."""


def read_bill(
    lines: Iterable[str], format_: Format, chosen: Mapping[str, tuple[str, ...]], zone: tzinfo
) -> Iterator[Row]:
    """The rows of a file. ``chosen``: columns by field, in place of the format's.

    Raises:
        BillProblem: a column is missing, or a cell is none of its kind.
    """
    reader = csv.reader(lines)
    names: list[str] | None = None
    for cells in _lines(reader):
        if names is None:
            known = [cell.strip().lower().lstrip("\ufeff") for cell in cells]
            if _is_head(known, format_, chosen):
                names = known
                places = _places(names, format_, chosen)
            elif reader.line_num > 30:  # Google's tables begin with some lines about the invoice
                break
            continue
        if len(cells) < len(names) or not any(map(str.strip, cells)):
            continue
        row = _row(cells, places, zone, reader.line_num)
        if row is not None:
            yield row
    if names is None:
        wanted = ", ".join((*chosen.get("time", format_.columns["time"]),))
        raise BillProblem(
            f"no line names the columns: one of {wanted} must be there; name it with --column time=NAME"
        )


def _lines(reader: CsvReader) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:  # a cell that never ends
        raise BillProblem(f"line {reader.line_num}: this is no CSV ({error})") from None


def _is_head(names: Sequence[str], format_: Format, chosen: Mapping[str, tuple[str, ...]]) -> bool:
    return any(name in names for name in chosen.get("time", format_.columns["time"]))


def _places(
    names: Sequence[str], format_: Format, chosen: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[int, ...]]:
    places = {}
    for field in FIELDS:
        for name in chosen.get(field, ()):
            if name not in names:
                raise BillProblem(
                    f"there is no column {name!r}; there are {', '.join(n for n in names if n)}"
                )
        found = tuple(
            names.index(name) for name in chosen.get(field, format_.columns.get(field, ())) if name in names
        )
        places[field] = found if field in ("input", "output") or field in chosen else found[:1]
    if not places["model"] and not places["id"]:
        raise BillProblem("no column names the model: name it with --column model=NAME")
    if not (places["cost"] or places["input"] or places["output"]):
        raise BillProblem("no column has tokens or costs: name it with --column cost=NAME or input=NAME")
    return places


def _row(
    cells: Sequence[str], places: Mapping[str, tuple[int, ...]], zone: tzinfo, number: int
) -> Row | None:
    when, id_ = _text(cells, places["time"]), _text(cells, places["id"])
    if when.lower() in _NONE:  # a line of totals
        return None
    cost = [_amount(cells[at], number) for at in places["cost"]]
    known = [pair for pair in cost if pair is not None]
    return Row(
        day=day_of(when, zone, number),
        label=_text(cells, places["model"]),
        id="" if id_.lower() in _NONE else id_,
        counts=Counts(
            requests=_count(cells, places["requests"], number),
            input_tokens=_count(cells, places["input"], number),
            output_tokens=_count(cells, places["output"], number),
            cost_pusd=sum(pusd for pusd, _ in known) if known else None,
            slack_pusd=sum(slack for _, slack in known),
        ),
    )


def _text(cells: Sequence[str], places: Sequence[int]) -> str:
    if len(places) == 1:
        return cells[places[0]].strip()
    return " ".join(cells[at].strip() for at in places)


@functools.lru_cache(maxsize=4096)
def _quarter(quarter: int, zone: tzinfo) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=quarter * QUARTER_S)
    return iso_day(moment.astimezone(zone).date().isoformat())


def day_at(at_s: int, zone: tzinfo) -> str:
    """The day of a Unix time.

    Raises:
        ValueError, OverflowError: one that no provider bills.
    """
    return _quarter(at_s // QUARTER_S, zone)


def day_of(text: str, zone: tzinfo, number: int) -> str:
    """The day of a time: a date as it is, a moment in the given zone (UTC where it names none).

    Raises:
        BillProblem: it is no time.
    """
    try:
        if _EPOCH.fullmatch(text):
            return day_at(int(text) // (1000 if len(text) > 10 else 1), zone)
        if len(text) == 10:
            return iso_day(text)
        moment = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return iso_day(moment.astimezone(zone).date().isoformat())
    except (ValueError, OverflowError):
        raise BillProblem(f"line {number}: {text[:40]!r} is no time such as 2026-11-01") from None


def iso_day(text: str) -> str:
    """A day in its one ISO form.

    Raises:
        ValueError: it is none, or one that no provider bills.
    """
    day = date.fromisoformat(text)
    if not 1970 < day.year < 9999:
        raise ValueError(text)
    return day.isoformat()


def _count(cells: Sequence[str], places: Sequence[int], number: int) -> int | None:
    if len(places) == 1 and (text := cells[places[0]]).isdigit() and text.isascii() and len(text) < 16:
        return int(text)
    texts = [cells[at].strip().replace(",", "") for at in places]
    texts = [text for text in texts if text.lower() not in _NONE]
    for text in texts:
        if not _COUNT.fullmatch(text):
            raise BillProblem(f"line {number}: {text[:40]!r} is no whole number of tokens")
    return sum(int(text.partition(".")[0]) for text in texts) if texts else None


def _amount(cell: str, number: int) -> tuple[int, int] | None:
    """Picodollars, and what rounding to the digits that are there may have hidden."""
    text = cell.strip().replace(",", "").replace("$", "")
    if text.lower() in _NONE:
        return None
    whole, _, part = text.partition(".")
    digits = whole + part
    if digits.isdigit() and digits.isascii() and len(whole) < 16 and len(part) <= 12:
        unit_pusd = 10 ** (12 - len(part))
        return int(digits) * unit_pusd, max(SLACK_PUSD, unit_pusd // 2)
    try:
        if not _AMOUNT.fullmatch(text):
            raise InvalidOperation
        amount = Decimal(text)
    except InvalidOperation:
        raise BillProblem(f"line {number}: {cell.strip()[:40]!r} is no amount of dollars") from None
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    unit = Decimal(1).scaleb(min(exponent, 0)) * PUSD_PER_USD / 2
    return int((amount * PUSD_PER_USD).to_integral_value()), max(SLACK_PUSD, int(unit))
