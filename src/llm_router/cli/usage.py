"""The commands on what was used."""

from __future__ import annotations

import argparse
import sys
from decimal import Decimal
from typing import Any

from llm_router.cli.output import note, print_json, print_table, printable, text_of

BAR_CHARS = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"


def show(arguments: argparse.Namespace) -> int:
    """Sums as a table, the dearest first unless they are by time, each with its share as a bar."""
    from llm_router.cli.world import run_command

    by = [name.strip() for name in arguments.by.split(",") if name.strip()]
    values = {"by": by, "account": arguments.account, "from_": arguments.start, "to": arguments.end}
    result = run_command(arguments, "usage.show", values)
    if arguments.json:
        print_json(result)
        return 0
    plain: Any = text_of(result)
    rows = plain["data"]
    if not rows:
        note(f"Nothing was used from {_moment(plain['from'])} to {_moment(plain['to'])}.")
        return 0
    if not {"day", "hour"} & set(by):
        rows.sort(key=lambda row: (-Decimal(row["cost"]), -row["requests"]))
    top = max(Decimal(row["cost"]) for row in rows)
    numbers = ("REQUESTS", "ERRORS", "INPUT", "CACHED", "OUTPUT", "COST", "OPERATOR COST")
    columns = (*(name.upper() for name in by), *numbers, "")
    cells = [_cells(by, row, bar(Decimal(row["cost"]), top)) for row in rows]
    cells.append(
        _cells(by, {**dict.fromkeys(by, ""), **plain["total"], **({by[0]: "total"} if by else {})}, "")
    )
    print_table(columns, cells, frozenset(numbers))
    note(f"From {_moment(plain['from'])} to {_moment(plain['to'])}, UTC.")
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write every exchange, page by page."""
    from llm_router.cli.world import run_pages
    from llm_router.engine.reports import lines_of

    lines = lines_of(arguments.format, operator=True)
    sys.stdout.buffer.write(lines(None))

    def write(result: dict[str, object]) -> object:
        rows: Any = result["rows"]
        sys.stdout.buffer.write(lines(rows))
        sys.stdout.buffer.flush()
        return result["next"]

    values = {"account": arguments.account, "from_": arguments.start, "to": arguments.end}
    run_pages(arguments, "usage.export", values, write)
    return 0


def bar(part: Decimal, whole: Decimal, chars: int = BAR_CHARS) -> str:
    """A bar as long as the part is of the whole, to an eighth of a character."""
    if whole <= 0:
        return ""
    eighths = int(part * chars * 8 / whole)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def _cells(by: list[str], row: dict[str, Any], drawn: str) -> tuple[str, ...]:
    names = ["-" if row[name] is None else printable(row[name]) for name in by]
    counts = [
        f"{row[name]:,}" for name in ("requests", "errors", "input_tokens", "cached_tokens", "output_tokens")
    ]
    return (*names, *counts, f"${row['cost']}", f"${row['operator_cost']}", drawn)


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")
