"""The commands on what accounts have kept of what was said."""

from __future__ import annotations

import argparse
import json
from typing import Any

from llm_router.cli.output import note, print_json, printable, text_of

_DEFAULTED = ("share", "redact", "patterns", "bytes_max", "retention_days")


def show(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "bodies.show", {"account": arguments.account})
    if arguments.json:
        print_json(result)
        return 0
    plain = text_of(result)
    print(f"{'account':<10} {_said(plain['rule'])}")
    for key, rule in plain["keys"].items():
        print(f"{key:<10} {_said(rule)}")
    since = f", the oldest of {plain['oldest'][:10]}" if plain["oldest"] else ""
    print(f"Kept: {plain['kept']} exchanges, {plain['size_bytes']} bytes{since}.")
    return 0


def set_rule(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    values: dict[str, object] = {"account": arguments.account, "key": arguments.key, "files": arguments.files}
    values |= {name: value for name in _DEFAULTED if (value := getattr(arguments, name)) is not None}
    result = run_command(arguments, "bodies.set", values)
    if arguments.json:
        print_json(result)
    else:
        plain = text_of(result)
        print(f"{plain['key'] or plain['account']}: {_said(plain['rule'])}")
    return 0


def delete(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    values = {
        name: getattr(arguments, name) for name in ("account", "id", "key", "user", "before", "everything")
    }
    result = run_command(arguments, "bodies.delete", {**values, "responses": not arguments.without_responses})
    if arguments.json:
        print_json(result)
        return 0
    print(f"Deleted: what was kept of {result['deleted']} exchanges of {result['account']}.")
    if result["responses_deleted"]:
        print(f"Deleted: {result['responses_deleted']} kept responses and conversations.")
    return 0


def show_exchange(arguments: argparse.Namespace) -> int:
    if not arguments.body:
        from llm_router.cli.explain import explain

        return explain(arguments)
    from llm_router.cli.world import run_command

    result = run_command(arguments, "bodies.read", {"account": arguments.account, "id": arguments.id})
    if arguments.json:
        print_json(result)
        return 0
    plain: dict[str, Any] = text_of(result)
    for title in ("request", "response"):
        side = plain[title]
        cut = ", cut off" if side["truncated"] else ""
        part = "" if side.get("complete", True) else ", not complete"
        note(f"--- {title}: {side['size_bytes']} bytes{cut}{part}")
        _print_body(side["body"])
    if plain["redacted"]:
        note("Taken out: " + ", ".join(f"{count} {kind}" for kind, count in plain["redacted"].items()))
    return 0


def _print_body(body: object) -> None:
    text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
    for line in text.split("\n"):
        print(printable(line))


def _said(rule: dict[str, Any] | None) -> str:
    if rule is None:
        return "nothing is kept"
    taken = [*rule["redact"], *(f"/{pattern}/" for pattern in rule["patterns"])]
    without = f", without credentials{''.join(f', {each}' for each in taken)}"
    files = ", with files" if rule["files"] else ""
    return (
        f"{100 * float(rule['share']):g} % are kept for {rule['retention_days']} days, up to {rule['bytes_max']} bytes each"
        f"{without}{files}"
    )
