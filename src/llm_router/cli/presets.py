"""The commands on presets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

from llm_router.cli.output import note, print_json, print_table, printable


def create(arguments: argparse.Namespace) -> int:
    result = _run(
        arguments,
        "presets.create",
        {
            "name": arguments.name,
            "models": tuple(arguments.model),
            "system": arguments.system,
            "parameters": _members(arguments.parameters, "--parameters"),
            "provider": _members(arguments.provider, "--provider"),
            "dial": arguments.dial,
            "description": arguments.description,
        },
    )
    if arguments.json:
        print_json(result)
    else:
        print(
            f"@{result['name']} is saved; this is version {result['version']} (@{result['name']}:{result['version']})."
        )
        for warning in result.get("warnings", ()):
            note(printable(warning))
    return 0


def list_all(arguments: argparse.Namespace) -> int:
    result = _run(arguments, "presets.list", {})
    if arguments.json:
        print_json(result)
        return 0
    presets = result["presets"]
    assert isinstance(presets, list), "the command's own result"
    if not presets:
        note("No preset is saved; make one: llm-router presets create NAME --model MODEL")
        return 0
    print_table(("NAME", "VERSION", "MODELS", "DESCRIPTION"), [_row(each) for each in presets])
    return 0


def show(arguments: argparse.Namespace) -> int:
    name, colon, version = arguments.name.partition(":")
    if colon and not version.isdecimal():
        from llm_router.domain.errors import InvalidRequest

        raise InvalidRequest("the version must be a whole number: NAME:3", param="name")
    result = _run(arguments, "presets.show", {"name": name, "version": int(version) if colon else None})
    print_json(result)
    return 0


def versions(arguments: argparse.Namespace) -> int:
    result = _run(arguments, "presets.versions", {"name": arguments.name})
    if arguments.json:
        print_json(result)
        return 0
    found = result["versions"]
    assert isinstance(found, list), "the command's own result"
    rows = [
        (str(each["version"]), str(each["created"]), "deleted" if each.get("deleted") else _models(each))
        for each in found
    ]
    print_table(("VERSION", "SAVED", "MODELS"), rows)
    return 0


def delete(arguments: argparse.Namespace) -> int:
    result = _run(arguments, "presets.delete", {"name": arguments.name})
    if arguments.json:
        print_json(result)
    else:
        print(f"@{result['name']} is gone with all its versions.")
    return 0


ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "create": create,
    "list": list_all,
    "show": show,
    "versions": versions,
    "delete": delete,
}


def _run(arguments: argparse.Namespace, command: str, values: dict[str, Any]) -> dict[str, Any]:
    from llm_router.cli.world import run_command

    return dict(run_command(arguments, command, values))


def _members(text: str | None, flag: str) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        from llm_router.domain.errors import InvalidRequest

        raise InvalidRequest(f"{flag} must be a JSON object", param=flag)
    return found


def _row(preset: dict[str, Any]) -> tuple[str, ...]:
    return (
        printable(preset["name"]),
        str(preset["version"]),
        _models(preset),
        printable(preset["description"] or ""),
    )


def _models(preset: dict[str, Any]) -> str:
    return printable("|".join(preset["models"])) or "as requested"
