"""The commands on budgets."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import msgspec

from llm_router.cli.output import note, print_json, print_table, printable


def set_budget(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    scope, id_ = _scope(arguments)
    values = {
        "amount": arguments.amount,
        "account": arguments.account,
        "scope": scope,
        "scope_id": id_,
        "window": arguments.window,
        "rolling": arguments.rolling,
        "time_zone": arguments.time_zone,
    }
    result = run_command(arguments, "budgets.set", values)
    if arguments.json:
        print_json(result)
    else:
        spent = _plain(result)["spends"][0]["spent"]
        print(f"{result['id']}: {_whom(result)} may spend {_amount(result)}, of which ${spent} is spent.")
    return 0


def list_budgets(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "budgets.list", {"account": arguments.account})
    if arguments.json:
        print_json(result)
        return 0
    rows = list(_rows(_plain(result)["budgets"]))
    if not rows:
        note(f"The account {arguments.account} has no budget; make one: llm-router budgets set AMOUNT")
        return 0
    columns = ("ID", "FOR", "SESSION", "AMOUNT", "SPENT", "HELD", "LEFT", "RESETS")
    print_table(columns, rows, frozenset({"SPENT", "HELD", "LEFT"}))
    return 0


def remove_budget(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "budgets.remove", {"id": arguments.id})
    if arguments.json:
        print_json(result)
    else:
        print(f"{result['id']} is gone: it bounds {_whom(result)} no more.")
    return 0


def _scope(arguments: argparse.Namespace) -> tuple[str, str | None]:
    for scope in ("team", "user", "key"):
        if getattr(arguments, scope) is not None:
            return scope, getattr(arguments, scope)
    if arguments.session is not None:
        return "session", arguments.session or None
    return "account", None


def _plain(result: dict[str, object]) -> dict[str, Any]:
    """The result with its amounts as text, digit by digit."""
    return dict(_texts(result))


def _texts(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, dict):
        return {name: _texts(inner) for name, inner in value.items()}
    return [_texts(inner) for inner in value] if isinstance(value, list) else value


def _rows(budgets: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for budget in budgets:
        for spend in budget["spends"]:
            yield (
                budget["id"],
                _whom(budget),
                printable(spend["session"] or "-"),
                _amount(budget),
                f"${spend['spent']}",
                f"${spend['held']}",
                f"${spend['left']}",
                _resets(budget, spend["resets"]),
            )


def _resets(budget: dict[str, Any], time: str | None) -> str:
    if time is None:
        return "never" if budget["window"] == "lifetime" else "-"  # of a rolling one nothing is spent
    return time[:16].replace("T", " ")


def _whom(budget: dict[str, Any]) -> str:
    scope, id_ = budget["scope"], printable(str(budget["scope_id"]))
    if scope == "session":
        return f"each session of {'the account ' if id_ == budget['account'] else 'key '}{id_}"
    return f"key {id_}" if scope == "key" else f"the {scope} {id_}"


def _amount(budget: dict[str, Any]) -> str:
    amount, window = _texts(budget["amount"]), budget["window"]
    if window == "lifetime":
        return f"${amount} in all"
    return f"${amount} a {'rolling ' if budget['rolling'] else ''}{window}"
