"""The commands on who may sign in."""

from __future__ import annotations

import argparse

from llm_router.cli.output import note, print_json, print_table, text_of


def show(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "people.list", {})
    if arguments.json:
        print_json(result)
        return 0
    rows = [
        (row["email"], row["name"], "operator" if row["operator"] else "-", "yes" if row["disabled"] else "-")
        for row in text_of(result)["people"]
    ]
    if not rows:
        note("Nobody can sign in yet; llm-router people set-up prints a link.")
        return 0
    print_table(("E-MAIL", "NAME", "RUNS THE GATEWAY", "DISABLED"), rows)
    return 0


def set_up(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    return _link(arguments, run_command(arguments, "people.set_up", {}))


def reset(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    return _link(arguments, run_command(arguments, "people.reset", {"email": arguments.email}))


def _link(arguments: argparse.Namespace, result: dict[str, object]) -> int:
    if arguments.json:
        print_json(result)
    else:
        print(result["path"])
        note("Put the gateway's address in front of it. It is good once.")
    return 0
