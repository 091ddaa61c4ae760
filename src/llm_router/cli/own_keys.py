"""The commands on customers' own provider keys."""

from __future__ import annotations

import argparse
import getpass
import sys

from llm_router.cli.output import note, print_json, print_table, text_of

SECRET_BYTES_MAX = 64 * 1024


def read_secret(provider: str) -> str:
    """A key from standard input; asked for, unseen, on a terminal."""
    if sys.stdin.isatty():
        return getpass.getpass(f"Key at {provider}: ")
    return sys.stdin.read(SECRET_BYTES_MAX)


def set_key(arguments: argparse.Namespace) -> int:
    """The key comes from standard input: an argument would stand in the shell's history."""
    from llm_router.cli.world import run_command

    secret = read_secret(arguments.provider)
    values = {
        "account": arguments.account,
        "provider": arguments.provider,
        "secret": secret,
        "fallback": arguments.fallback,
    }
    result = run_command(arguments, "byok.set", values)
    if arguments.json:
        print_json(result)
    else:
        print(f"The account {result['account']} uses its own key at {result['provider']} from now on.")
        warnings = result.get("warnings")
        for warning in warnings if isinstance(warnings, list) else ():
            note(f"Note: {warning}")
    return 0


def list_keys(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "byok.list", {"account": arguments.account})
    if arguments.json:
        print_json(result)
        return 0
    rows = [
        (
            row["account"],
            row["provider"],
            "not readable: set it again" if not row["readable"] else ", ".join(row["origins"]),
            "-" if row["fallback"] is None else ("yes" if row["fallback"] else "no"),
            row["set"][:10],
        )
        for row in text_of(result)["byok"]
    ]
    if not rows:
        note("No account has a provider key of its own.")
        return 0
    print_table(("ACCOUNT", "PROVIDER", "SENT TO", "FALLBACK", "SET"), rows)
    return 0


def remove_key(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    values = {"account": arguments.account, "provider": arguments.provider}
    result = run_command(arguments, "byok.remove", values)
    if arguments.json:
        print_json(result)
    else:
        print(f"The key of {result['account']} at {result['provider']} is deleted.")
    return 0
