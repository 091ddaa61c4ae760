"""Write results: JSON for scripts, tables for people, one line for errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

_GAP = "  "


def print_json(value: object) -> None:
    """Indented JSON on standard output; verbatim numbers stay as they are."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str] = frozenset()
) -> None:
    """A table on standard output: drawn on a terminal, plain columns elsewhere.

    Args:
        right: columns whose cells are set flush right.
    """
    if sys.stdout.isatty():
        _print_drawn(columns, rows, right)
        return
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        )
        print(_GAP.join(cells).rstrip())


def _print_drawn(columns: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def note(text: str) -> None:
    """A word for people, on standard error, so that it does not mix with results."""
    print(text, file=sys.stderr)


def print_error(
    code: str, message: str, details: Mapping[str, object] | None = None, *, as_json: bool
) -> None:
    """An error: an object on standard output, or lines on standard error."""
    if as_json:
        print_json({"error": {"code": code, "message": message, **(details or {})}})
        return
    for line in message.splitlines():
        note(f"llm-router: {line}")


def printable(text: str) -> str:
    """Text of others, safe for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def silence_stdout() -> None:
    """The reader of standard output went away: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
