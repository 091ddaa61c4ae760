"""The commands on receipts."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from llm_router.cli.output import note, print_json


def export(arguments: argparse.Namespace) -> int:
    """Write an account's receipts, one JSON object a line."""
    from llm_router.cli.world import run_pages

    count = 0

    def write(result: dict[str, object]) -> object:
        nonlocal count
        rows: Any = result["receipts"]
        for row in rows:
            print(msgspec.json.encode(row).decode())
        count += len(rows)
        return result["next"]

    values = {"account": arguments.account, "after": arguments.after}
    run_pages(arguments, "receipts.export", values, write)
    note(f"{count} receipts of the account {arguments.account}.")
    return 0


def show_keys(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    print_json(run_command(arguments, "receipts.keys", {}))
    return 0


def rotate(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "receipts.rotate", {})
    if arguments.json:
        print_json(result)
    else:
        print(f"Receipts are signed with the key {result['id']} from now on.")
    return 0
