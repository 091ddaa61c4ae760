"""Where the CPU of a request goes: py-spy beside the closed loop of chat requests."""

from __future__ import annotations

import re
import subprocess
from collections import Counter

from suite import bodies
from suite.peers import python_package
from suite.rows import CHAT, OURS, Effort
from suite.stage import Gateway, Stage, Target


def profile(stage: Stage, gateway: Gateway, effort: Effort) -> str:
    """A table of the functions with the largest parts, in themselves and with all that they call.

    Raises:
        NoPeer, CalledProcessError: py-spy cannot be installed.
    """
    seconds, out = max(4, effort.seconds), stage.folder / "profile"
    command = [python_package("py-spy", "py-spy"), "record", "--pid", str(gateway.pid), "--format", "raw"]
    command += ["--duration", str(seconds), "--rate", "500", "--output", str(out), "--nonblocking"]
    spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    target = Target(OURS, gateway.port, gateway.pid, CHAT, bodies.chat_request(), gateway.key)
    stage.closed_loop(target, seconds, effort.connections)
    _, said = spy.communicate(timeout=60)
    if not out.exists():
        raise RuntimeError(f"py-spy: {said.strip()[-300:]}")
    return table(out.read_text())


def table(raw: str, rows: int = 25) -> str:
    """``raw``: a line each, ``frame;frame;frame COUNT``."""
    alone: Counter[str] = Counter()
    with_calls: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        alone[frames[-1]] += int(count)
        for frame in set(frames):
            with_calls[frame] += int(count)
    total = max(1, alone.total())
    lines = [
        "### Profile of chat requests",
        "",
        "| function | by itself | with what it calls |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| `{name}` | {count / total:.1%} | {with_calls[name] / total:.1%} |"
        for name, count in alone.most_common(rows)
    ]
    return "\n".join([*lines, ""])
