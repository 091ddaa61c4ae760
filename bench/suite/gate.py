"""The gate: whether the CPU a request costs has worsened against nginx's in the same run.

What is measured here must not depend on what else the machine does. So there is one request at a time,
which leaves nothing to batch; the data folder is in memory, where a sync takes no time; events come 20 ms
apart on each of many streams, which are read one by one. The ratios are therefore not those of the tables.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

from suite import bodies, machine
from suite.rows import CHAT, OURS, REFERENCE, Effort, Figures, interleaved, ours, paced_streams
from suite.stage import CALM, Gateway, Stage, Target

BASELINE = Path(__file__).resolve().parent.parent / "baseline.json"
WORSE = 1.25
"""A ratio may be so many times the recorded one."""


def build() -> str:
    """The interpreter as far as the ratios depend on it."""
    return machine.interpreter().replace(
        platform.python_version(), ".".join(platform.python_version_tuple()[:2])
    )


def measure(stage: Stage, gateway: Gateway) -> Figures:
    """The ratios to nginx, by the name of the work."""

    def closed(target: Target) -> Figures:
        return stage.closed_loop(target, 1, 1)

    def streamed(target: Target) -> Figures:
        return paced_streams(stage, target, 60, 1.2)

    chat = [
        stage.nginx_target(REFERENCE, CHAT, bodies.chat_request()),
        ours(OURS, gateway, bodies.chat_request()),
        ours("bridged", gateway, bodies.chat_request("bench-anthropic")),
    ]
    body = bodies.chat_request("calm-model", stream=True)
    streams = [stage.nginx_target(REFERENCE, f"{CALM}{CHAT}", body), ours(OURS, gateway, body)]
    answered = interleaved(chat, closed, Effort(rounds=7), "cpu_ms")
    followed = interleaved(streams, streamed, Effort(rounds=5), "cpu_us")
    return {
        "chat": answered[OURS]["x_nginx"],
        "chat, bridged": answered["bridged"]["x_nginx"],
        "event of a stream": followed[OURS]["x_nginx"],
    }


def judge(found: Figures, recorded: Figures) -> list[str]:
    """What has worsened, in words."""
    return [
        f"{work}: {found[work]:.2f} x nginx, {found[work] / ratio - 1:.0%} more than the recorded {ratio:.2f}"
        for work, ratio in recorded.items()
        if found[work] > ratio * WORSE
    ]


def run(stage: Stage, *, record: bool) -> int:
    """Measure and compare; once more if something seems worse. The exit status."""
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    gateway = stage.gateway()
    found = measure(stage, gateway)
    _show(found)
    if record:
        known[build()] = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "x_nginx": found}
        BASELINE.write_text(json.dumps(known, indent=1) + "\n")
        return 0
    if build() not in known:
        print(f"SKIPPED: no ratio is recorded for {build()}; python bench/run.py --quick --record writes one")
        return 0
    recorded = known[build()]["x_nginx"]
    if not judge(found, recorded):
        return 0
    print("once more, since the machine may have been busy:", flush=True)
    again = measure(stage, gateway)
    _show(again)
    worse = judge({work: min(ratio, again[work]) for work, ratio in found.items()}, recorded)
    for line in worse:
        print(f"WORSE: {line}")
    return 1 if worse else 0


def _show(found: Figures) -> None:
    told = ", ".join(f"{work} {ratio:.2f}" for work, ratio in found.items())
    print(f"x nginx CPU with {build()}: {told}", flush=True)
