"""Write results: JSON for scripts, tables for people, one line for errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_GAP = "  "

UNREADABLE = "unreadable_file"
"""Code of the error about a file that is not what the command reads: it leaves with the status of a wrong command line."""


def print_json(value: object) -> None:
    """Indented JSON on standard output; verbatim numbers stay as they are."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str] = frozenset()
) -> None:
    """A table on standard output: styled on a terminal that is wide enough, plain columns elsewhere.

    Cells are never broken or cut: ids are there to be copied.

    Args:
        right: columns whose cells are set flush right.
    """
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    width = sum(widths) + len(_GAP) * len(widths)
    if sys.stdout.isatty() and width <= _terminal_width():
        _print_styled(columns, rows, right)
        return
    for row in (columns, *rows):
        cells = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        )
        print(_GAP.join(cells).rstrip())


def _terminal_width() -> int:
    import shutil  # and all that packs files with it: who serves prints no tables

    return shutil.get_terminal_size().columns


def _print_styled(columns: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def note(text: str) -> None:
    """A word for people, on standard error, so that it does not mix with results."""
    sys.stdout.flush()  # so that both stand in order where they go to the same place
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


def dollars_of(result: Mapping[str, Any], name: str = "credits_remaining") -> str:
    """An amount of a result for people: exact, with cents at least."""
    whole, _, part = str(_texts(result[name])).partition(".")
    return f"${whole}.{part.ljust(2, '0')}"


def text_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result with its amounts as text, digit by digit."""
    return {name: _texts(value) for name, value in result.items()}


def _texts(value: Any) -> Any:
    import msgspec

    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, dict):
        return {name: _texts(inner) for name, inner in value.items()}
    return [_texts(inner) for inner in value] if isinstance(value, list) else value


def silence() -> None:
    """The reader of the output went away: let the interpreter's last flush go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
