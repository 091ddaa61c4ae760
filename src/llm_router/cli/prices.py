"""The commands on prices."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from llm_router.cli.output import note, print_json, print_table, printable


def publish_prices(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    scope, id_ = _scope(arguments)
    values: dict[str, object] = {
        "percent": arguments.percent,
        "input": arguments.input,
        "output": arguments.output,
        "cache_read": arguments.cache_read,
        "scope": scope,
        "account": arguments.account or "*",
        "scope_id": id_,
        "models": arguments.models.split(","),
        "providers": arguments.providers.split(","),
        "start": arguments.start,
        "reason": arguments.reason or "",
    }
    result = run_command(arguments, "prices.publish", values)
    if arguments.json:
        print_json(result)
    else:
        row = _texts(result)
        print(
            f"{row['id']}: {_whom(row)} pays {_what(row)} from {row['valid_from']} on ({row['prices']} prices)."
        )
    return 0


def list_prices(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "prices.list", {})
    if arguments.json:
        print_json(result)
        return 0
    rows = [
        (
            row["id"],
            _whom(row),
            ",".join(row["models"]),
            ",".join(row["providers"]),
            _what(row),
            row["valid_from"][:16].replace("T", " "),
            printable(row["reason"] or "-"),
        )
        for row in _texts(result)["rules"]
    ]
    if not rows:
        note(
            "There is no rule: customers pay the providers' prices. Make one: llm-router prices publish PERCENT"
        )
        return 0
    print_table(("ID", "FOR", "MODELS", "PROVIDERS", "PRICE", "FROM", "REASON"), rows, frozenset())
    return 0


def show_prices(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    values = {
        "model": arguments.model,
        "account": arguments.account,
        "team": arguments.team,
        "key": arguments.key,
    }
    result = run_command(arguments, "prices.show", values)
    if arguments.json:
        print_json(result)
        return 0
    rows = [
        (
            row["id"],
            *(_rate(row[kind], name) for kind in ("price", "cost") for name in ("input", "output")),
            "-" if row["price"] is None else row["price"]["version"],
        )
        for row in _texts(result)["providers"]
    ]
    columns = ("PROVIDER", "$/M IN", "$/M OUT", "COST IN", "COST OUT", "VERSION")
    if result["note"] is not None:  # first, since it says whose prices these are
        note(printable(str(result["note"])))
    print_table(columns, rows, frozenset(columns[1:5]))
    return 0


def show_history(arguments: argparse.Namespace) -> int:
    """Every price that the model had, the newest of each provider first."""
    from llm_router.cli.world import run_command

    values = {name: getattr(arguments, name) for name in ("model", "account", "team", "key")}
    result = run_command(arguments, "prices.history", values)
    if arguments.json:
        print_json(result)
        return 0
    rows = [
        (
            row["id"],
            step["from"][:16].replace("T", " "),
            *(_rate(step[kind], name) for kind in ("price", "cost") for name in ("input", "output")),
            "-" if step["price"] is None else step["price"]["version"],
        )
        for row in _texts(result)["providers"]
        for step in row["history"]
    ]
    if not rows:
        note("No price of it was ever in the list; a running gateway writes down what is.")
        return 0
    columns = ("PROVIDER", "FROM", "$/M IN", "$/M OUT", "COST IN", "COST OUT", "VERSION")
    print_table(columns, rows, frozenset(columns[2:6]))
    return 0


def _rate(price: dict[str, str] | None, name: str) -> str:
    return "-" if price is None else price[name]


def _scope(arguments: argparse.Namespace) -> tuple[str, str]:
    for scope in ("team", "key"):
        if getattr(arguments, scope) is not None:
            return scope, getattr(arguments, scope)
    return ("all" if arguments.account is None else "account"), ""


def _whom(row: dict[str, Any]) -> str:
    match row["scope"]:
        case "all":
            return "everybody"
        case "account":
            return f"account {printable(row['account'])}"
        case scope:
            return f"{scope} {printable(row['scope_id'])}"


def _what(row: dict[str, Any]) -> str:
    if row["percent"] is None:
        price = row["price_per_mtok"]
        return f"${price['input']} in, ${price['output']} out"
    sign = "" if row["percent"].startswith("-") else "+"
    return f"{sign}{row['percent']} %"


def _texts(value: Any) -> Any:
    """The result with its numbers as text, digit by digit."""
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, dict):
        return {name: _texts(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_texts(inner) for inner in value]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
