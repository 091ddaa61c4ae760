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
import shlex
import sys
import tempfile
from pathlib import Path

from suite import machine, report
from suite.rows import ROWS, Effort, Table
from suite.stage import Stage


def main() -> int:
    options = _options()
    try:
        machine.need_tools()
    except machine.Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="llm-router-bench-", dir=options.dir) as folder:
        stage = Stage(Path(folder))
        try:
            tables = run(stage, options)
        finally:
            stage.stop()
    if options.json:
        report.write_json(options.json, command(), tables)
    return 0


def run(stage: Stage, options: argparse.Namespace) -> dict[str, Table]:
    effort = Effort(rounds=options.rounds, seconds=options.seconds, connections=options.connections)
    gateway = stage.gateway()
    print(report.heading(command()), flush=True)
    tables = {}
    for name in options.rows:
        tables[name] = ROWS[name](stage, gateway, effort, [])
        print(report.markdown(tables[name]), flush=True)
    return tables


def command() -> str:
    return shlex.join(["python", "bench/run.py", *sys.argv[1:]])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=_rows, default=list(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seconds", type=int, default=3, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--dir", type=Path, help="where the data folders are made: the disk that is measured")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


def _rows(text: str) -> list[str]:
    rows = text.split(",")
    for row in rows:
        if row not in ROWS:
            raise argparse.ArgumentTypeError(f"{row} is none of {', '.join(ROWS)}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
