"""The log of requests: a page of it, or those that end from now on."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from llm_router.cli.output import note, print_table, printable, text_of

POLL_S = 1.0
BACK = timedelta(minutes=15)
"""How long before now a request may have begun that ends now."""

PAGES_MAX = 5
PAGE_ROWS = 200
SEEN_MAX = 20_000

_COLUMNS = ("WHEN", "ID", "KEY", "MODEL", "PROVIDER", "STATUS", "IN", "OUT", "FIRST", "ALL", "COST")
_RIGHT = frozenset({"IN", "OUT", "FIRST", "ALL", "COST"})
_FILTERS = ("account", "key", "team", "user", "model", "provider", "tag", "session")

Asked = Callable[[dict[str, object]], Iterable[dict[str, Any]]]


def show(arguments: argparse.Namespace) -> int:
    """The newest requests as a table, or one JSON object a line; with ``--follow`` those that end, too."""
    from llm_router.cli.world import run_command

    wanted = {name: value for name in _FILTERS if (value := getattr(arguments, name)) is not None}
    if arguments.outcome is not None:
        wanted["failed"] = arguments.outcome == "failed"
    page = run_command(arguments, "exchanges.list", {**wanted, "limit": arguments.limit})
    rows = _rows(page)
    if arguments.follow:
        follow(arguments, wanted, rows)
        return 0
    if arguments.json:
        _print_lines(rows)
    elif not rows:
        note("There is no such request.")
    else:
        print_table(_COLUMNS, [_cells(row) for row in rows], _RIGHT)
    return 0


def follow(arguments: argparse.Namespace, wanted: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Print requests as they end, until Ctrl-C."""
    seen: dict[str, None] = {}
    _print_new(arguments, list(reversed(rows)), seen)
    while True:
        time.sleep(POLL_S)
        found = asyncio.run(recent(arguments, wanted, datetime.now(UTC) - BACK))
        _print_new(arguments, list(reversed(found)), seen)
        while len(seen) > SEEN_MAX:
            del seen[next(iter(seen))]


async def recent(
    arguments: argparse.Namespace, wanted: dict[str, Any], since: datetime
) -> list[dict[str, Any]]:
    """Requests that began since then, the newest first: a thousand at most."""
    from llm_router.cli.world import ask_command

    rows: list[dict[str, Any]] = []
    values = {**wanted, "limit": PAGE_ROWS, "from_": since.isoformat()}
    for _ in range(PAGES_MAX):
        page = await ask_command(arguments, "exchanges.list", values)
        rows += _rows(page)
        if page["next"] is None:
            break
        values["after"] = page["next"]
    return rows


def _print_new(arguments: argparse.Namespace, rows: list[dict[str, Any]], seen: dict[str, None]) -> None:
    new = [row for row in rows if row["id"] not in seen]
    seen.update(dict.fromkeys(row["id"] for row in new))
    if arguments.json:
        _print_lines(new)
        return
    for row in new:
        when, id_, key, model, provider, status, input_, output, first, all_, cost = _cells(row)
        print(
            f"{when}  {status:<7}  {model:<28}  {provider:<12}  {input_:>7} in {output:>6} out  {first:>8}  "
            f"{all_:>8}  {cost:>12}  {key}  {id_}",
            flush=True,
        )


def _print_lines(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(msgspec.json.encode(row).decode(), flush=True)


def _rows(page: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = page["data"]
    return rows


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    plain = text_of(row)
    local = datetime.fromisoformat(plain["created"].replace("Z", "+00:00")).astimezone()
    return (
        local.strftime("%H:%M:%S"),
        plain["id"],
        plain["key"] or "-",
        printable(plain["model"] or plain["asked_model"] or "-"),
        plain["provider"] or "-",
        str(plain["error"] or plain["status"]) if plain["error"] is None else printable(plain["error"]),
        f"{plain['input_tokens']:,}",
        f"{plain['output_tokens']:,}",
        took(plain["first_token_ms"]),
        took(plain["duration_ms"]),
        f"${plain['cost']}",
    )


def took(ms: int | None) -> str:
    """A time for people."""
    if ms is None:
        return "-"
    return f"{ms} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
