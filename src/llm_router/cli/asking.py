"""Commands that are their operation: its arguments are the options, its result is shown as the row says."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from llm_router.cli.grammar import Command, View
from llm_router.cli.output import note, print_json, print_table, printable, text_of


def run_operation(command: Command, arguments: argparse.Namespace) -> int:
    """Have the gateway do it, and show what came of it."""
    from llm_router.cli.world import run_command

    result = run_command(arguments, command.operation, wanted(command, arguments))
    if arguments.json:
        print_json(result)
        return 0
    plain = text_of(result)
    if command.view is not None:
        show(command.view, plain)
    else:
        print(command.done.format_map({name: cell(value) for name, value in plain.items()}))
    warnings = plain.get("warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        note(f"Warning: {printable(warning)}")
    return 0


def wanted(command: Command, arguments: argparse.Namespace) -> dict[str, object]:
    """The arguments of the operation: what the command line says, and nothing for what it leaves out."""
    values = dict(command.fixed)
    for option in command.options:
        value = getattr(arguments, option.name)
        if value is not None:
            values[option.argument or option.name] = value
    return values


def show(view: View, result: Mapping[str, Any]) -> None:
    """Rows as a table; one thing as a list of its members."""
    if not view.rows:
        width = max(len(head) for head, _ in view.columns)
        for head, member in view.columns:
            print(f"{head.ljust(width)}  {cell(result.get(member))}")
        return
    rows = result[view.rows]
    if not rows:
        note(view.empty)
        return
    heads = tuple(head for head, _ in view.columns)
    cells = [tuple(cell(row.get(member)) for _, member in view.columns) for row in rows]
    print_table(heads, cells, view.right)


def cell(value: object) -> str:
    """A value for people."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, dict):
        said = [f"{name} {cell(part)}" for name, part in value.items() if part is not None]
        return ", ".join(said) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(cell(each) for each in value)
    text = printable(str(value))
    # A time, to the minute: rows of an hour are told apart by their order.
    return (
        text[:16].replace("T", " ") if len(text) >= 20 and text[4:5] == "-" and text[10:11] == "T" else text
    )
