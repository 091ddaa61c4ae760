#!/usr/bin/env python3
"""The benchmark suite: what the gateway costs beside nginx's proxy_pass on the same work.

    python bench/run.py                      all rows, about ten minutes
    python bench/run.py --rows chat,streams  some of them
    python bench/run.py --quick              the gate: about a minute, fails when a ratio has worsened

One core (the first) is for whoever is measured, the last for the load generators and the upstreams
(nginx with fixed answers, and a server of paced streams). Rounds are interleaved, medians are shown, and
CPU seconds are those of the operating system's own accounting (/proc/PID/stat of all processes of a
contender). nginx and wrk are installed by apt-get where that is possible. Listens on the loopback only.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tempfile
from pathlib import Path

from suite import gate, machine, peers, report
from suite.profile import profile
from suite.rows import ROWS, Busy, Effort, Table
from suite.stage import Stage


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends with this process
    try:
        machine.need_tools()
    except machine.Missing as missing:
        print(f"SKIPPED: {missing}" if options.quick else missing, file=sys.stderr)
        return 0 if options.quick else 2
    with tempfile.TemporaryDirectory(prefix="llm-router-bench-", dir=_place(options)) as folder:
        stage = Stage(Path(folder))
        try:
            stage.begin()
            if options.quick:
                return gate.run(stage, record=options.record)
            tables = run(stage, options)
        except Busy as busy:
            print(f"SKIPPED: {busy}", file=sys.stderr)
            return 0
        finally:
            stage.stop()
    if options.json:
        report.write_json(options.json, command(), tables)
    return 0 if len(tables) == len(options.rows) else 1


def run(stage: Stage, options: argparse.Namespace) -> dict[str, Table]:
    effort = Effort(
        rounds=options.rounds, seconds=options.seconds, connections=options.connections,
        keys=options.keys, accounts=options.accounts, records=options.records, store=options.store,
    )  # fmt: skip
    gateway = stage.gateway()
    print(report.heading(command()), flush=True)
    others = peers.start(stage, options.peers)
    tables = {}
    for name in options.rows:
        try:
            tables[name] = ROWS[name](stage, gateway, effort, others)
        except (RuntimeError, Busy) as error:
            print(f"no figures of {name}: {error}", file=sys.stderr)
            continue
        print(report.markdown(tables[name]), flush=True)
    if options.profile:
        print(profile(stage, gateway, effort), flush=True)
    return tables


def _place(options: argparse.Namespace) -> Path | None:
    """Where the data folders are made."""
    memory = Path("/dev/shm")
    return memory if options.quick and options.dir is None and os.access(memory, os.W_OK) else options.dir


def command() -> str:
    return shlex.join(["python", "bench/run.py", *sys.argv[1:]])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=_rows, default=list(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--keys", type=int, default=Effort.keys, help="of the row scale")
    parser.add_argument("--accounts", type=int, default=Effort.accounts, help="of the row scale")
    parser.add_argument(
        "--records", type=int, default=Effort.records, help="of the row scale, some 2.6 kB each"
    )
    parser.add_argument(
        "--store", type=Path, help="the data folder of the row scale: filled if it is not there, and kept"
    )
    parser.add_argument(
        "--peers", type=_peers, default=[], help=f"beside us: of {', '.join(peers.PEERS)}, or all"
    )
    parser.add_argument(
        "--profile", action="store_true", help="say where the CPU of a chat request goes (py-spy)"
    )
    parser.add_argument("--dir", type=Path, help="where the data folders are made: the disk that is measured")
    parser.add_argument("--quick", action="store_true", help="the gate: compare with the recorded ratios")
    parser.add_argument("--record", action="store_true", help="with --quick: record the ratios instead")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


def _rows(text: str) -> list[str]:
    rows = text.split(",")
    for row in rows:
        if row not in ROWS:
            raise argparse.ArgumentTypeError(f"{row} is none of {', '.join(ROWS)}")
    return rows


def _peers(text: str) -> list[str]:
    names = list(peers.PEERS) if text == "all" else text.split(",")
    for name in names:
        if name not in peers.PEERS:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(peers.PEERS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
