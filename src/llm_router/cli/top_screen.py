"""The screen of ``top``: drawn anew each second, for as long as somebody looks, whether the gateway answers or not."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import select
import shutil
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.live import Live
from rich.text import Text

from llm_router.cli.logs import took
from llm_router.cli.output import printable
from llm_router.cli.top import Figure, about, look
from llm_router.domain.errors import RouterError

PERIOD_S = 1.0
KNOWN_MAX = 50
"""Of how many keys the names are asked for."""

RUNNING_MAX = 9
"""As many as there are keys with digits."""

_KEY = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.)|.", re.DOTALL)
"""One key, as terminals send it: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html"""

_UP, _DOWN = {"\x1b[A", "\x1bOA", "k"}, {"\x1b[B", "\x1bOB", "j"}
_LEAVE = {"q", "Q", "\x03", "\x04"}
_GAP = 2
_LEAST = 12
"""Of a column that may be cut."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        drops: the larger, the later it goes where there is no room; 0: never.
        cut: it takes what room is left, and is cut where that is too little.
    """

    head: str
    drops: int = 0
    cut: bool = False
    right: bool = False


_SUMS = (
    Column("KEY", 3, cut=True),
    Column("MODEL", cut=True),
    Column("REQS", 2, right=True),
    Column("ERRS", 1, right=True),
    Column("TOKENS/S", 6, right=True),
    Column("$/MIN", right=True),
    Column("FIRST", 5, right=True),
    Column("RUNNING", 4, right=True),
)
_RUNNING = (
    Column(""),
    Column("MODEL", cut=True),
    Column("KEY", 3, cut=True),
    Column("PROVIDER", 2),
    Column("FOR", right=True),
    Column("FIRST", 4, right=True),
    Column("ID", 1),
)


class State:
    """What the screen shows beside the figures.

    Attributes:
        chosen: id of the request that x ends. said: a word about what was done, or why nothing is new.
        names: of keys, by id.
    """

    def __init__(self) -> None:
        self.chosen: str | None = None
        self.said = ""
        self.names: dict[str, str] = {}


def watch(arguments: argparse.Namespace, figures: list[Figure], running: list[dict[str, Any]]) -> None:
    """Draw until somebody leaves. A gateway that does not answer is waited for."""
    from llm_router.cli.world import run_command

    def end(id_: str) -> None:
        run_command(arguments, "requests.end", {"id": id_})

    def name_of(id_: str) -> str:
        return str(run_command(arguments, "keys.show", {"id": id_})["name"])

    state = State()
    with keys_of_terminal() as pressed, Live(screen=True, auto_refresh=False) as live:
        while True:
            if state.chosen not in {row["id"] for row in running}:
                state.chosen = None
            learn(state, {figure.key for figure in figures[:KNOWN_MAX]}, name_of)
            width, height = shutil.get_terminal_size()
            live.update(screen(figures, running, state, width, height), refresh=True)
            for key in _KEY.findall(pressed(PERIOD_S)):
                if key in _LEAVE:
                    return
                press(key, state, running, end)
            try:
                figures, running = asyncio.run(look(arguments))
            except RouterError as error:
                state.said = f"No answer: {error.message}. Trying again."
                running = []
            else:
                if state.said.startswith("No answer"):
                    state.said = ""


def learn(state: State, keys: set[str], name_of: Callable[[str], str]) -> None:
    """Ask for the names of keys that are not known yet; one that cannot be told is shown by its id."""
    for id_ in keys - set(state.names):
        try:
            state.names[id_] = name_of(id_)
        except RouterError:
            state.names[id_] = id_


def press(key: str, state: State, running: Sequence[dict[str, Any]], end: Callable[[str], None]) -> None:
    """What a key does: a digit or an arrow chooses a request, x ends the chosen one."""
    ids = [str(row["id"]) for row in running[:RUNNING_MAX]]
    if key.isdigit() and key.isascii():
        if 1 <= int(key) <= len(ids):
            state.chosen = ids[int(key) - 1]
    elif key in _UP | _DOWN and ids:
        step = 1 if key in _DOWN else -1
        at = ids.index(state.chosen) + step if state.chosen in ids else 0 if step == 1 else len(ids) - 1
        state.chosen = ids[min(max(at, 0), len(ids) - 1)]
    elif key == "\x1b":
        state.chosen = None
    elif key in ("x", "X") and state.chosen is not None:
        try:
            end(state.chosen)
            state.said = f"{state.chosen} is ended."
        except RouterError as error:
            state.said = error.message
        state.chosen = None


def screen(
    figures: Sequence[Figure], running: Sequence[dict[str, Any]], state: State, width: int, height: int
) -> Text:
    """What fits into that many columns and lines; the last line says which keys there are."""
    room = max(height - 7, 2)
    open_ = min(len(running), RUNNING_MAX, max(room - len(figures), room // 2))
    shown = figures[: max(room - open_, 1)]
    more = len(figures) - len(shown)
    lines = [_title("The last minute" + (f" ({more} more)" if more else ""), width)]
    lines += table(_SUMS, [_sums(figure, state.names) for figure in shown], width)
    lines.append(Text(""))
    lines.append(
        _title(f"Running: {len(running)}" + (f" (the first {open_})" if open_ < len(running) else ""), width)
    )
    rows = [_open(number, row) for number, row in enumerate(running[:open_], start=1)]
    for line, row in zip(table(_RUNNING, rows, width), [None, *running[:open_]], strict=True):
        if row is not None and row["id"] == state.chosen:
            line.stylize("reverse")
        lines.append(line)
    lines = lines[: height - 2]
    lines.append(Text(_cut(printable(state.said), width)))
    lines.append(Text(_cut(_hint(state), width), style="dim"))
    return Text("\n").join(lines)


def _hint(state: State) -> str:
    if state.chosen is None:
        return "q leaves; 1 to 9, up and down choose a request"
    return "x ends the chosen request: an error for its client, no charge; Esc keeps it; q leaves"


def _title(text: str, width: int) -> Text:
    return Text(_cut(text, width), style="bold")


def _sums(figure: Figure, names: dict[str, str]) -> tuple[str, ...]:
    return (
        printable(names.get(figure.key, figure.key)),
        printable(figure.model),
        f"{figure.requests:,}",
        f"{figure.errors:,}",
        f"{about(figure)}{figure.tokens_per_s:,.1f}",
        about(figure) + brief(figure.dollars_per_min),
        took(figure.first_token_ms),
        f"{figure.running:,}",
    )


def _open(number: int, row: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(number),
        printable(row["model"] or row["asked_model"] or "-"),
        printable(row["key_name"] or row["key"] or "-"),
        printable(row["provider"] or "-"),
        took(row["running_ms"]),
        took(row["first_token_ms"]),
        row["id"],
    )


def brief(amount: Decimal) -> str:
    """Dollars with cents, and with three digits that matter where it is less than that."""
    if not amount:
        return "$0"
    places = max(2, 2 - amount.adjusted())
    return f"${round(amount, places):,f}"


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[Text]:
    """Lines of a table that is no wider than that: columns go, the least important first, then texts are cut."""
    wide = [
        max(cell_len(cell) for cell in (column.head, *cells))
        for column, *cells in zip(columns, *rows, strict=True)
    ]
    kept = list(range(len(columns)))

    def least(at: int) -> int:
        return min(wide[at], _LEAST) if columns[at].cut else wide[at]

    while sum(map(least, kept)) + _GAP * (len(kept) - 1) > width:
        droppable = [at for at in kept if columns[at].drops]
        if not droppable:
            break
        kept.remove(min(droppable, key=lambda at: columns[at].drops))
    spare = width - sum(map(least, kept)) - _GAP * (len(kept) - 1)
    sizes = {}
    for at in kept:
        sizes[at] = least(at) + max(0, min(spare, wide[at] - least(at)))
        spare -= sizes[at] - least(at)
    heads = _line(columns, [column.head for column in columns], sizes)
    return [Text(heads, style="dim"), *(Text(_line(columns, row, sizes)) for row in rows)]


def _line(columns: Sequence[Column], cells: Sequence[str], sizes: dict[int, int]) -> str:
    parts = []
    for at, size in sizes.items():
        text = _cut(cells[at], size)
        pad = " " * (size - cell_len(text))
        parts.append(pad + text if columns[at].right else text + pad)
    return (" " * _GAP).join(parts).rstrip()


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, max(width - 1, 0)).rstrip() + "…"


@contextmanager
def keys_of_terminal() -> Iterator[Callable[[float], str]]:
    """A function that waits so many seconds for keys, and gives those that were pressed. It returns earlier when the
    terminal gets another size, and tells of one that is gone as of who leaves."""
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)

    def pressed(within_s: float) -> str:
        size = shutil.get_terminal_size()
        for _ in range(4):
            ready, _, _ = select.select([handle], [], [], within_s / 4)
            if ready:
                return os.read(handle, 32).decode("ascii", "ignore") or "q"
            if shutil.get_terminal_size() != size:
                break
        return ""

    try:
        tty.setcbreak(handle)
        yield pressed
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
