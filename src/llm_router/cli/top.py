"""What an account's requests do now: tokens a second, dollars a minute, first-token times, by key and model, and those
that run."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any, NamedTuple

from llm_router.cli.logs import recent, took
from llm_router.cli.output import note, print_json, printable, text_of

WINDOW_S = 60


class Figure(NamedTuple):
    """Of the requests of a key and model that ended in the last minute, or run.

    Attributes:
        requests, errors: of those that ended.
        tokens_per_s: of output, over the whole window.
        dollars_per_min: what they cost.
        estimated: there are requests among them that run, of which both are estimates by what was delivered.
    """

    key: str
    model: str
    requests: int
    errors: int
    tokens_per_s: float
    dollars_per_min: Decimal
    first_token_ms: int | None
    running: int
    estimated: bool = False


def top(arguments: argparse.Namespace) -> int:
    """Draw it anew each second; print it once where there is no terminal, or as JSON."""
    figures, running = asyncio.run(look(arguments))
    if arguments.json:
        print_json({"window_s": WINDOW_S, "data": [_plain(figure) for figure in figures], "running": running})
    elif is_terminal():
        from llm_router.cli.top_screen import watch

        watch(arguments, figures, running)
    else:
        _print(figures, running)
    return 0


def is_terminal() -> bool:
    """Whether somebody looks, can press keys, and the screen can be drawn anew."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


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
    groups: dict[tuple[str, str], tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for at, rows in enumerate((ended, running)):
        for row in rows:
            place = (row["key"] or "-", row["model"] or row["asked_model"] or "-")
            groups.setdefault(place, ([], []))[at].append(row)
    made = [_figure(place, *found) for place, found in groups.items()]
    return sorted(made, key=lambda figure: (-figure.tokens_per_s, -figure.running, figure.key, figure.model))


def _figure(place: tuple[str, str], rows: list[dict[str, Any]], running: list[dict[str, Any]]) -> Figure:
    firsts = [row["first_token_ms"] for row in rows if row["first_token_ms"] is not None]
    shares = [(row, _share(row)) for row in running if row["output_tokens"]]
    tokens = sum(row["output_tokens"] for row in rows) + sum(
        row["output_tokens"] * part for row, part in shares
    )
    costs = [Decimal(str(row["cost"])) for row in rows]
    costs += [Decimal(str(row["cost"])) * part for row, part in shares]
    return Figure(
        key=place[0],
        model=place[1],
        requests=len(rows),
        errors=sum(row["error"] is not None for row in rows),
        tokens_per_s=float(tokens / WINDOW_S),
        dollars_per_min=sum(costs, Decimal(0)) * 60 / WINDOW_S,
        first_token_ms=round(median(firsts)) if firsts else None,
        running=len(running),
        estimated=bool(shares),
    )


def _share(row: dict[str, Any]) -> Decimal:
    """The part of what a running request has delivered that fell into the window, were it delivered evenly."""
    answering_ms: int = row["running_ms"] - (row["first_token_ms"] or 0)
    return Decimal(WINDOW_S * 1000) / max(answering_ms, WINDOW_S * 1000)


HEADS = ("KEY", "MODEL", "REQUESTS", "ERRORS", "TOKENS/S", "$/MIN", "FIRST TOKEN", "RUNNING")


def about(figure: Figure) -> str:
    """What stands before a figure that is an estimate."""
    return "~" if figure.estimated else ""


def _brief(amount: Decimal) -> str:
    """To the picodollar; parts of one are estimates' alone."""
    return f"{round(amount, 12).normalize():f}"


def _cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.key,
        printable(figure.model),
        f"{figure.requests:,}",
        f"{figure.errors:,}",
        f"{about(figure)}{figure.tokens_per_s:,.1f}",
        f"{about(figure)}${_brief(figure.dollars_per_min)}",
        took(figure.first_token_ms),
        f"{figure.running:,}",
    )


def _plain(figure: Figure) -> Mapping[str, object]:
    import msgspec

    amount = msgspec.Raw(_brief(figure.dollars_per_min).encode())
    return {**figure._asdict(), "dollars_per_min": amount}


def _print(figures: list[Figure], running: list[dict[str, Any]]) -> None:
    from llm_router.cli.output import print_table

    if not figures:
        note("No request ended in the last minute, and none runs.")
        return
    print_table(HEADS, [_cells(figure) for figure in figures], frozenset(HEADS[2:]))
    estimates = ", with ~ estimates by what was delivered so far" if any(f.estimated for f in figures) else ""
    note(f"{len(running)} running; the figures are of the last minute{estimates}.")
