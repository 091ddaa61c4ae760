"""Exchanges and sums as rows: what is exported, by whom it may be seen, and safe cells of CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

import msgspec

from llm_router.billing.rollups import COUNTS
from llm_router.domain.money import format_usd
from llm_router.domain.record import ExchangeRecord
from llm_router.domain.usage import Usage

BUCKETS = tuple(
    name for name in Usage.__struct_fields__ if name not in ("provenance", "service_tier", "others")
)
"""The buckets of a usage, in their order."""

OPERATOR_ONLY = ("operator_cost",)
"""What customers are not shown."""

COLUMNS = (
    "id", "created", "account", "key", "team", "user", "session", "tags", "operation", "dialect", "asked_model", "model",
    "provider", "deployment", "stream", "status", "error_code", *BUCKETS, "usage_provenance", "cost", "absorbed",
    "operator_cost", "price_version", "first_token_ms", "duration_ms", "attempts", "upstream_id", "client_gone", "flags",
)  # fmt: skip
"""Of an exported exchange. Amounts are decimal US dollars, exact to the picodollar."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def usage_row(record: ExchangeRecord, created: str) -> dict[str, object]:
    """One exchange by COLUMNS. None is what is not known."""
    costs = [attempt.operator_cost_pusd for attempt in record.attempts]
    known = [cost for cost in costs if cost is not None]
    row: dict[str, object] = {
        name: getattr(record, name, None) for name in COLUMNS if name in record.__struct_fields__
    }
    row |= {name: getattr(record.usage, name) for name in BUCKETS}
    row |= {
        "created": created,
        "usage_provenance": record.usage.provenance.value,
        "cost": format_usd(record.cost_pusd),
        "absorbed": format_usd(record.absorbed_pusd),
        "operator_cost": format_usd(sum(known)) if known else None,
        "attempts": len(record.attempts),
        "upstream_id": record.attempts[-1].upstream_id if record.attempts else None,
        "flags": " ".join(record.flags),
        "tags": " ".join(record.tags),
    }
    return {name: row[name] for name in COLUMNS}


def sum_row(by: Sequence[str], names: Sequence[str], counts: Sequence[int]) -> dict[str, object]:
    """Sums of exchanges; amounts are exact JSON numbers of US dollars."""
    sums = dict(zip(COUNTS, counts, strict=True))
    row: dict[str, object] = {name: value or None for name, value in zip(by, names, strict=True)}
    row |= {
        name: sums[name] for name in ("requests", "errors", "input_tokens", "cached_tokens", "output_tokens")
    }
    row |= {
        name: msgspec.Raw(format_usd(sums[name]).encode()) for name in ("cost", "absorbed", "operator_cost")
    }
    row["first_token_ms"] = _mean(sums["first_token_ms"], sums["first_tokens"])
    row["duration_ms"] = _mean(sums["duration_ms"], sums["requests"])
    return row


def without(row: dict[str, object], hidden: Sequence[str]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in hidden}


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Lines of CSV (RFC 4180). No cell is one that a spreadsheet would take for a formula."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return file.getvalue()


def _cell(value: object) -> str:
    """Text as a cell. A formula would be run by whoever opens the file; an apostrophe makes it text
    (https://owasp.org/www-community/attacks/CSV_Injection)."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def _mean(total: int, count: int) -> int | None:
    return None if count == 0 else total // count
