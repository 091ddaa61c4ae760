"""The commands on credit."""

from __future__ import annotations

import argparse

from llm_router.cli.output import dollars_of, note, print_json


def add(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    values = {"amount": arguments.amount, "account": arguments.account, "ref": arguments.ref}
    if arguments.reason is not None:
        values["reason"] = arguments.reason
    result = run_command(arguments, "credits.add", values)
    if arguments.json:
        print_json(result)
        return 0
    if result.get("booked") is False:
        note(f"Nothing was added: the reference {result['ref']} was booked already.")
    print(f"The account {result['account']} has {dollars_of(result)} left.")
    _note_debt(result)
    warnings = result.get("warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        note(f"Note: {warning}")
    return 0


def show(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "credits.show", {"account": arguments.account})
    if arguments.json:
        print_json(result)
    else:
        print(f"The account {result['account']} has {dollars_of(result)} left.")
        _note_debt(result)
    return 0


def _note_debt(result: dict[str, object]) -> None:
    if "owed" in result:
        note(
            f"It owes {dollars_of(result, 'owed')} of payments that were taken back, and is blocked until that is paid: "
            "what is added pays it first, within seconds."
        )
