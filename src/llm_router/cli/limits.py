"""The commands on limits."""

from __future__ import annotations

import argparse
from typing import Any

from llm_router.cli.output import note, print_json, print_table, printable


def set_limit(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    scope, id_ = _scope(arguments)
    values = {
        "kind": arguments.kind,
        "amount": arguments.amount,
        "account": arguments.account,
        "scope": scope,
        "scope_id": id_,
        "window": arguments.window,
        "model": arguments.model,
    }
    result = run_command(arguments, "limits.set", values)
    if arguments.json:
        print_json(result)
    else:
        print(f"{result['id']}: {_whom(result)} may have {_amount(result)}, {_models(result)}.")
    return 0


def list_limits(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "limits.list", {"account": arguments.account})
    if arguments.json:
        print_json(result)
        return 0
    limits = result["limits"]
    assert isinstance(limits, list), "the command's own result"
    if not limits:
        note(f"The account {arguments.account} has no limit; make one: llm-router limits set KIND AMOUNT")
        return 0
    rows = [(limit["id"], _whom(limit), _amount(limit), _models(limit)) for limit in limits]
    print_table(("ID", "FOR", "AT MOST", "MODELS"), rows)
    return 0


def remove_limit(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "limits.remove", {"id": arguments.id})
    if arguments.json:
        print_json(result)
    else:
        print(f"{result['id']} is gone: it bounds {_whom(result)} no more.")
    return 0


def _scope(arguments: argparse.Namespace) -> tuple[str, str | None]:
    for scope in ("team", "user", "key"):
        if getattr(arguments, scope) is not None:
            return scope, getattr(arguments, scope)
    return "account", None


def _whom(limit: dict[str, Any]) -> str:
    scope, id_ = limit["scope"], printable(str(limit["scope_id"]))
    return f"key {id_}" if scope == "key" else f"the {scope} {id_}"


def _amount(limit: dict[str, Any]) -> str:
    window = limit["window"]
    if window is None:
        return f"{limit['amount']} requests at the same time"
    return f"{limit['amount']} {limit['kind']} {'an' if window == 'hour' else 'a'} {window}"


def _models(limit: dict[str, Any]) -> str:
    return "all models" if limit["model"] is None else printable(limit["model"])
