"""Try official clients against a gateway with the sandbox behind it.

    python tools/clients/run.py                    the light ones, each installed in an environment of its own
    python tools/clients/run.py --heavy            all, with the Node clients and the agents
    python tools/clients/run.py openai claude-code those
    python tools/clients/run.py --heavy --write    also write docs/client-matrix.md

Environments are kept in ``--cache`` (by default ~/.cache/llm-router-clients) and used again. What
cannot be installed is told and, with --write, listed on the page as not run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "src")]

import world  # noqa: E402
from page import write_page  # noqa: E402
from table import ENVIRONMENTS, Environment  # noqa: E402

SCRIPT_S = 600

Line = dict[str, Any]


def run_client(environment: Environment, gateway: world.Gateway, folder: Path | None) -> list[Line]:
    """What a client's script found. A script that breaks off is a failed check of its own."""
    with tempfile.TemporaryDirectory() as home:
        ended = subprocess.run(
            world.command_of(environment, folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=home,
            timeout=SCRIPT_S,
            env={
                "PATH": os.environ["PATH"],
                "HOME": home,
                "LLM_ROUTER_ROOT": gateway.root,
                "LLM_ROUTER_KEY": gateway.key,
                "LLM_ROUTER_MODELS": json.dumps(world.models()),
                "LLM_ROUTER_CLIENT": environment.name,
                "LLM_ROUTER_CLIENT_HOME": "" if folder is None else str(folder),
            },
        )
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"client"')]
    if ended.returncode or not lines:
        why = (ended.stderr.strip() or ended.stdout.strip())[-1500:]
        broken: Line = {"client": environment.name, "version": "", "check": "script", "upstream": ""}
        lines.append(broken | {"ok": False, "detail": why, "ms": 0})
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="; ".join(ENVIRONMENTS))
    parser.add_argument("--heavy", action="store_true", help="the Node clients and the agents too")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "llm-router-clients")
    parser.add_argument("--write", action="store_true", help="write docs/client-matrix.md")
    parser.add_argument("--json", action="store_true", help="print every result as a line of JSON")
    arguments = parser.parse_args()
    if wrong := [name for name in arguments.clients if name not in ENVIRONMENTS]:
        parser.error(f"unknown: {', '.join(wrong)}")
    chosen = [
        environment
        for environment in ENVIRONMENTS.values()
        if (environment.name in arguments.clients)
        or (not arguments.clients and (arguments.heavy or not environment.heavy))
    ]
    lines, missing = _try(chosen, arguments)
    if arguments.write:
        write_page(lines, missing, list(world.models()))
    return 0 if lines and all(line["ok"] for line in lines) else 1


def _try(chosen: list[Environment], arguments: argparse.Namespace) -> tuple[list[Line], dict[str, str]]:
    """All results, and why clients could not be installed."""
    lines: list[Line] = []
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        gateway = world.Gateway(Path(folder))
        try:
            for environment in chosen:
                try:
                    built = world.build(environment, arguments.cache)
                except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                    missing[environment.name] = str(error)
                    print(f"{environment.name:24} not installed: {error}", file=sys.stderr)
                    continue
                found = run_client(environment, gateway, built)
                lines += found
                _show(found, arguments.json)
        finally:
            gateway.stop()
    return lines, missing


def _show(found: list[Line], as_json: bool) -> None:
    if as_json:
        for line in found:
            print(json.dumps(line), flush=True)
        return
    for name in dict.fromkeys(line["client"] for line in found):
        mine = [line for line in found if line["client"] == name]
        good = sum(line["ok"] for line in mine)
        print(f"{name:34} {mine[0]['version']:12} {good}/{len(mine)}", flush=True)
        for line in mine:
            if not line["ok"]:
                print(f"    {line['check']} {line['upstream']}: {line['detail']}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
