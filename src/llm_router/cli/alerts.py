"""The commands that make and change ways in which alerts leave."""

from __future__ import annotations

import argparse

from llm_router.cli.output import note, print_json, text_of
from llm_router.cli.own_keys import SECRET_BYTES_MAX


def add(arguments: argparse.Namespace) -> int:
    """Make a way. An own secret comes from standard input: an argument would stand in the shell's history."""
    return _written(arguments, "alerts.add", {"kind": "webhook" if arguments.to is None else "mail"})


def change(arguments: argparse.Namespace) -> int:
    """Change what is named, and nothing else."""
    values: dict[str, object] = {"new_secret": True} if arguments.new_secret else {}
    if arguments.on or arguments.off:
        values["enabled"] = bool(arguments.on)
    if arguments.all_types:
        values["types"] = []
    return _written(arguments, "alerts.change", values)


def _written(arguments: argparse.Namespace, command: str, values: dict[str, object]) -> int:
    from llm_router.cli.world import run_command

    given = {"address": arguments.url, "to": arguments.to, "types": arguments.type, "name": arguments.name}
    values = {name: value for name, value in given.items() if value is not None} | values
    if arguments.own_secret:
        values["secret"] = _read_secret()
    result = run_command(arguments, command, values)
    if arguments.json:
        print_json(result)
        return 0
    way = text_of(result)
    if way["secret"] is not None:
        print(f"{way['secret']}")
        note("Its notices are signed with this secret, which is not shown again.")
    leads = way["url"] or ", ".join(way["to"])
    note(f"Alerts {'leave' if way['enabled'] else 'do not leave'} by {way['name']}: {leads}.")
    return 0


def _read_secret() -> str:
    """What notices are to be signed with; asked for, unseen, on a terminal."""
    import getpass
    import sys

    if sys.stdin.isatty():
        return getpass.getpass("Secret of the webhook: ")
    return sys.stdin.read(SECRET_BYTES_MAX).strip()
