"""The commands on experiments."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

from llm_router.cli.output import note, print_json, print_table, printable


def create(arguments: argparse.Namespace) -> int:
    result = _run(
        arguments,
        "experiments.create",
        {
            "name": arguments.name,
            "of": arguments.of,
            "kind": arguments.kind,
            "arms": tuple(_arm(text) for text in arguments.arm),
            "sticky": arguments.sticky,
            "share": arguments.share,
            "concurrency": arguments.concurrency,
            "billed": arguments.billed,
            "requests_min": arguments.guard_requests,
            "margin": arguments.guard_margin,
            "description": arguments.description,
        },
    )
    if arguments.json:
        print_json(result)
    else:
        print(
            f"The experiment {printable(result['name'])} runs on the requests for {printable(result['of'])}."
        )
        for warning in result.get("warnings", ()):
            note(printable(warning))
    return 0


def list_all(arguments: argparse.Namespace) -> int:
    result = _run(arguments, "experiments.list", {})
    if arguments.json:
        print_json(result)
        return 0
    found = result["experiments"]
    if not found:
        note(
            "There is no experiment; make one: llm-router experiments create NAME --of MODEL --arm a --arm b=MODEL"
        )
        return 0
    rows = [
        (
            printable(each["name"]),
            each["kind"],
            printable(each["of"]),
            each["state"],
            printable(each["reason"] or ""),
        )
        for each in found
    ]
    print_table(("NAME", "KIND", "OF", "STATE", "WHY"), rows)
    return 0


def show(arguments: argparse.Namespace) -> int:
    print_json(_run(arguments, "experiments.show", {"name": arguments.name}))
    return 0


def stop(arguments: argparse.Namespace) -> int:
    result = _run(arguments, "experiments.stop", {"name": arguments.name, "reason": arguments.reason})
    if arguments.json:
        print_json(result)
    else:
        print(f"The experiment {printable(result['name'])} is over; its report stays.")
    return 0


def report(arguments: argparse.Namespace) -> int:
    result = _run(arguments, "experiments.report", {"name": arguments.name})
    if arguments.json:
        print_json(result)
        return 0
    import msgspec

    from llm_router.routing.experiments.report import columns

    result = msgspec.json.decode(msgspec.json.encode(result))  # numbers of a running gateway come verbatim
    over = "" if result["reason"] is None else f", {result['ended_by']}: {printable(result['reason'])}"
    print(
        f"{printable(result['name'])} ({result['kind']}) of {printable(result['of'])}: {result['state']}{over}"
    )
    heads, rows = columns(result["arms"])
    print_table(heads, [tuple(printable(cell) for cell in row) for row in rows])
    for line in result["verdict"]:
        print(f"- {printable(line)}")
    note(
        "Intervals are of 95 % confidence and hold however often the report is read (anytime-valid); "
        "--json has those for a single look too."
    )
    return 0


ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "create": create,
    "list": list_all,
    "show": show,
    "stop": stop,
    "report": report,
}


def _run(arguments: argparse.Namespace, command: str, values: dict[str, Any]) -> dict[str, Any]:
    from llm_router.cli.world import run_command

    return dict(run_command(arguments, command, values))


def _arm(text: str) -> dict[str, Any]:
    """NAME[:WEIGHT][=MODEL or JSON object].

    Raises:
        InvalidRequest: it is none.
    """
    from llm_router.domain.errors import InvalidRequest

    head, equals, said = text.partition("=")
    name, colon, weight = head.partition(":")
    if colon and not (weight.isascii() and weight.isdecimal()):
        raise InvalidRequest("the weight of an arm is a whole number: --arm NAME:WEIGHT=MODEL", param="--arm")
    arm: dict[str, Any] = {"name": name, "weight": int(weight) if colon else 1}
    if said.startswith("{"):
        try:
            found = json.loads(said)
        except ValueError:
            raise InvalidRequest("--arm NAME={...} must hold a JSON object", param="--arm") from None
        return {**found, **arm}
    if equals:
        arm["model"] = said
    return arm
