#!/usr/bin/env python3
"""The soak test: mixed traffic for a while, and bounds on how memory, descriptors and tasks grow.

    python bench/soak.py                 five minutes
    python bench/soak.py --minutes 480   a night

A gateway with simulated providers gets plain, streamed and translated requests, providers that fail in the
middle, and clients that leave. In laps: after each the traffic rests until all is settled, then the gateway
collects its garbage and is looked at. What grows from lap to lap, by the median of all slopes (Theil-Sen,
which a few odd laps do not move), must stay within the bounds. The first third warms caches and does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import aiohttp
from suite import machine
from suite.traffic import Traffic

WATCHED = Path(__file__).resolve().parent / "suite" / "watched.py"
BOUNDS = {
    "memory_bytes": (24e6, 200.0),  # pages of the stores are remembered, up to a limit
    "blocks": (8000.0, 0.5),
    "descriptors": (40.0, 0.001),  # connections that are kept for the next call
    "tasks": (15.0, 0.001),
    "threads": (4.0, 0.0),
}
"""How much there may be more at the end: at all, and for each request."""
CONFIG = "[credits]\nstarting = 100000\n[retries]\nbackoff_s = 0.01\n[server]\naccess_log = false\n"

Sample = dict[str, float]


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the gateway ends with this process
    with tempfile.TemporaryDirectory(prefix="llm-router-soak-") as folder:
        place = Path(folder)
        port, watch = machine.free_port(), place / "watch"
        (place / "config.toml").write_text(CONFIG)
        process = subprocess.Popen(
            [
                sys.executable, str(WATCHED), str(watch), "serve", "--sandbox",
                "--config", str(place / "config.toml"), "--data-dir", str(place / "data"), "--port", str(port),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            machine.wait_for(port, process)
            traffic = Traffic(f"http://127.0.0.1:{port}", _key(place), random.Random(options.seed))
            samples = asyncio.run(soak(traffic, watch, options))
        finally:
            process.terminate()
            status = process.wait(120)
    return report(samples, traffic, status)


async def soak(traffic: Traffic, watch: Path, options: argparse.Namespace) -> list[Sample]:
    """Laps until the time is over, and what the gateway held after each."""
    end = time.monotonic() + options.minutes * 60
    samples = []
    while time.monotonic() < end or len(samples) < 6:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await lap(traffic, session, options.lap_s, options.rate)
        samples.append({**await settled(watch), "requests": traffic.sent})
        told = ", ".join(f"{name} {samples[-1][name]:,.0f}" for name in ("requests", *BOUNDS))
        print(told, flush=True)
    return samples


async def lap(traffic: Traffic, session: aiohttp.ClientSession, seconds: float, rate: float) -> None:
    """Requests at a fixed rate, each in a task of its own; until the last is answered."""
    end = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        while time.monotonic() < end:
            group.create_task(traffic.one(session))
            await asyncio.sleep(1 / rate)


async def settled(watch: Path) -> Sample:
    """What the gateway holds when that no longer shrinks: streams without a client may go on for a while."""
    least = await asyncio.to_thread(look, watch)
    for _ in range(60):
        await asyncio.sleep(0.5)
        now = await asyncio.to_thread(look, watch)
        if now["tasks"] >= least["tasks"] and now["descriptors"] >= least["descriptors"]:
            return now
        least = now
    return least


def look(watch: Path) -> Sample:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.fspath(watch))
        with connection.makefile() as told:
            found: Sample = json.loads(told.readline())
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between any two points."""
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))


def report(samples: list[Sample], traffic: Traffic, status: int) -> int:
    """Compare with the bounds; the exit status."""
    counted = samples[len(samples) // 3 :]
    print(f"{traffic.sent} requests: {dict(sorted(traffic.answers.items()))}")
    failures = [] if status == 0 else [f"the gateway ended with status {status}"]
    span = counted[-1]["requests"] - counted[0]["requests"]
    for name, (at_all, a_request) in BOUNDS.items():
        bound = at_all + a_request * span
        found = slope([(sample["requests"], sample[name]) for sample in counted]) * span
        print(f"{name}: {found:+,.0f} in {span:,} requests, bound {bound:,.0f}")
        if found > bound:
            failures.append(f"{name} grew by {found:,.0f}, more than {bound:,.0f}")
    if not any(answer.endswith(" 200") for answer in traffic.answers):
        failures.append("no request was answered with success")
    for failure in failures:
        print(f"FAILED: {failure}")
    if failures:
        _tell_types(counted[0], counted[-1])
    return 1 if failures else 0


def _tell_types(first: Sample, last: Sample) -> None:
    """What there is more of, by type."""
    grown = {name: count - first["types"].get(name, 0) for name, count in last["types"].items()}
    for name, more in sorted(grown.items(), key=lambda item: -item[1])[:15]:
        print(f"  {more:+8} {name}")


def _key(place: Path) -> str:
    command = [
        sys.executable, "-m", "llm_router.cli", "keys", "create", "--name", "soak", "--json", "--sandbox",
        "--config", str(place / "config.toml"), "--data-dir", str(place / "data"),
    ]  # fmt: skip
    end = time.monotonic() + 60
    while True:  # a gateway that listens may not be ready to be told yet
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode == 0:
            return str(json.loads(made.stdout)["key"])
        if time.monotonic() > end:
            raise RuntimeError(f"no key could be made: {made.stderr.strip()}")
        time.sleep(0.2)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--lap-s", type=float, default=15, help="traffic between two looks")
    parser.add_argument("--rate", type=float, default=40, help="requests a second")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
