"""What an account's requests do now: tokens a second, dollars a minute, first-token times, by key and model; those
that run, and a key to end one."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from llm_router.cli.logs import recent, took
from llm_router.cli.output import note, print_json, printable, text_of
from llm_router.domain.errors import RouterError

if TYPE_CHECKING:
    from rich.console import RenderableType

WINDOW_S = 60
RUNNING_MAX = 9


class Figure(NamedTuple):
    """Of the requests of a key and model that ended in the last minute.

    Attributes:
        tokens_per_s: of output, over the whole window.
        dollars_per_min: what they cost.
    """

    key: str
    model: str
    requests: int
    errors: int
    tokens_per_s: float
    dollars_per_min: Decimal
    first_token_ms: int | None
    running: int


def top(arguments: argparse.Namespace) -> int:
    """Draw it anew each second, or print it once as JSON."""
    if arguments.json or not sys.stdout.isatty():
        figures, running = asyncio.run(look(arguments))
        if arguments.json:
            print_json(
                {"window_s": WINDOW_S, "data": [_plain(figure) for figure in figures], "running": running}
            )
        else:
            _print(figures, running)
        return 0
    from rich.live import Live

    chosen: str | None = None
    with keys_of_terminal() as pressed, Live(screen=True, auto_refresh=False) as live:
        while True:
            figures, running = asyncio.run(look(arguments))
            live.update(drawn(figures, running, chosen), refresh=True)
            for key in pressed(1.0):
                if key in "qQ\x03":
                    return 0
                chosen = _press(arguments, key, chosen, running)


def _press(
    arguments: argparse.Namespace, key: str, chosen: str | None, running: list[dict[str, Any]]
) -> str | None:
    """What a key does: a number chooses a request, x ends the chosen one; which is chosen then."""
    if key.isascii() and key.isdigit() and 1 <= int(key) <= len(running[:RUNNING_MAX]):
        return str(running[int(key) - 1]["id"])
    if key in "xX" and chosen is not None:
        from llm_router.cli.world import run_command

        with suppress(RouterError):  # it ended meanwhile
            run_command(arguments, "requests.end", {"id": chosen})
        return None
    return chosen


async def look(arguments: argparse.Namespace) -> tuple[list[Figure], list[dict[str, Any]]]:
    """The figures of the last minute, the busiest first, and the requests that run."""
    from llm_router.cli.world import ask_command

    found = await ask_command(arguments, "requests.list", {"account": arguments.account})
    running: list[dict[str, Any]] = [text_of(row) for row in _listed(found["requests"])]
    now = datetime.now(UTC)
    rows = await recent(arguments, {"account": arguments.account}, now - timedelta(minutes=15))
    since_ms = now.timestamp() * 1000 - WINDOW_S * 1000
    ended = [text_of(row) for row in rows if row["created_ms"] + row["duration_ms"] >= since_ms]
    return figures_of(ended, running), running


def _listed(value: object) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else []


def figures_of(ended: list[dict[str, Any]], running: list[dict[str, Any]]) -> list[Figure]:
    """Sums by key and model. ``ended``: rows of the log of the last minute."""
    groups: dict[tuple[str, str], tuple[list[dict[str, Any]], int]] = {}
    for row in ended:
        place = (row["key"] or "-", row["model"] or row["asked_model"] or "-")
        groups.setdefault(place, ([], 0))[0].append(row)
    for row in running:
        place = (row["key"] or "-", row["model"] or row["asked_model"] or "-")
        rows, count = groups.get(place, ([], 0))
        groups[place] = (rows, count + 1)
    made = [_figure(place, rows, count) for place, (rows, count) in groups.items()]
    return sorted(made, key=lambda figure: (-figure.tokens_per_s, -figure.running, figure.key, figure.model))


def _figure(place: tuple[str, str], rows: list[dict[str, Any]], running: int) -> Figure:
    firsts = [row["first_token_ms"] for row in rows if row["first_token_ms"] is not None]
    return Figure(
        key=place[0],
        model=place[1],
        requests=len(rows),
        errors=sum(row["error"] is not None for row in rows),
        tokens_per_s=sum(row["output_tokens"] for row in rows) / WINDOW_S,
        dollars_per_min=sum((Decimal(str(row["cost"])) for row in rows), Decimal(0)) * 60 / WINDOW_S,
        first_token_ms=round(median(firsts)) if firsts else None,
        running=running,
    )


_HEADS = ("KEY", "MODEL", "REQUESTS", "ERRORS", "TOKENS/S", "$/MIN", "FIRST TOKEN", "RUNNING")


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.key,
        printable(figure.model),
        f"{figure.requests:,}",
        f"{figure.errors:,}",
        f"{figure.tokens_per_s:,.1f}",
        f"${figure.dollars_per_min.normalize():f}",
        took(figure.first_token_ms),
        f"{figure.running:,}",
    )


def _plain(figure: Figure) -> Mapping[str, object]:
    import msgspec

    amount = msgspec.Raw(f"{figure.dollars_per_min.normalize():f}".encode())
    return {**figure._asdict(), "dollars_per_min": amount}


def _print(figures: list[Figure], running: list[dict[str, Any]]) -> None:
    from llm_router.cli.output import print_table

    if not figures:
        note("No request ended in the last minute, and none runs.")
        return
    print_table(_HEADS, [_cells(figure) for figure in figures], frozenset(_HEADS[2:]))
    note(f"{len(running)} running; the figures are of the last minute.")


def drawn(figures: list[Figure], running: list[dict[str, Any]], chosen: str | None) -> RenderableType:
    """The screen."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    sums = Table(box=box.SIMPLE_HEAD, expand=True, title="The last minute", title_justify="left")
    for number, head in enumerate(_HEADS):
        sums.add_column(head, justify="left" if number < 2 else "right", no_wrap=True)
    for figure in figures[:20]:
        sums.add_row(*(Text(cell) for cell in _cells(figure)))
    open_ = Table(box=box.SIMPLE_HEAD, expand=True, title=f"Running: {len(running)}", title_justify="left")
    for head in ("", "ID", "KEY", "MODEL", "PROVIDER", "FOR", "FIRST TOKEN"):
        open_.add_column(head, no_wrap=True)
    for number, row in enumerate(running[:RUNNING_MAX], start=1):
        model = printable(row["model"] or row["asked_model"] or "-")
        cells = (str(number), row["id"], printable(row["key_name"] or "-"), model, row["provider"] or "-")
        style = "reverse" if row["id"] == chosen else ""
        times = (took(row["running_ms"]), took(row["first_token_ms"]))
        open_.add_row(*(Text(cell) for cell in (*cells, *times)), style=style)
    hint = "q leaves, 1 to 9 choose a request"
    word = f"{hint}, x ends {chosen}: its client gets an error, and is charged nothing" if chosen else hint
    return Group(sums, open_, Text(word, style="dim"))


@contextmanager
def keys_of_terminal() -> Iterator[Any]:
    """A function that waits so many seconds for keys, and gives those that were pressed."""
    import os
    import select
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)

    def pressed(within_s: float) -> str:
        ready, _, _ = select.select([handle], [], [], within_s)
        return os.read(handle, 32).decode("ascii", "ignore") if ready else ""

    try:
        tty.setcbreak(handle)
        yield pressed
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
