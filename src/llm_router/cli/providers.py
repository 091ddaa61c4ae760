"""The commands on the gateway's own keys at providers."""

from __future__ import annotations

import argparse

from llm_router.cli.output import note, print_json
from llm_router.cli.own_keys import read_secret


def set_key(arguments: argparse.Namespace) -> int:
    """Keep a key. It comes from standard input: an argument would stand in the shell's history."""
    from llm_router.cli.world import run_command

    values = {"provider": arguments.provider, "secret": read_secret(arguments.provider)}
    result = run_command(arguments, "providers.set_key", values)
    if arguments.json:
        print_json(result)
        return 0
    print(f"The gateway calls {result['provider']} with this key from now on.")
    if not result["active"]:
        note("It cannot be called all the same: llm-router config check says why.")
    return 0
