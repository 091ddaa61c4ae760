"""Prove the books, at the size of the tests or in full.

    python tools/prove.py [NAME ...] [--full]     one or several of the proofs below, or all
    python tools/prove.py simulate SEED           replay one seed of the simulation
    python tools/prove.py model SEED              replay one walk of the model

    model      random steps of the stores beside a model of a few lines
    simulate   the gateway on virtual time, with every fault, audited by its providers' logs
    power      starts on images of the disk as power cuts leave it
    kills      kill -9 of the whole gateway under load
    race       1,000 requests at once with credit for 7, in one process and over 4 workers
    aborts     streams that their clients leave, against the providers' invoice

Each prints what was counted as one line of JSON, and the command ends with 1 at the first thing lost, doubled or overdrawn.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

try:
    import hypothesis  # noqa: F401 - what the proofs rest on
    import pytest  # noqa: F401
except ImportError as error:
    sys.exit(f"The proofs need the extra [dev] ({error}). In the checkout: pip install -e '.[dev]'")

TESTS = Path(__file__).parents[1] / "tests"
for _suite in ("proofs", "http", "stores"):
    sys.path.insert(0, str(TESTS / _suite))

Counts = dict[str, object]


def model(full: bool) -> Counts:
    from model import walk

    steps: Counter[str] = Counter()
    sizes = {"memory": 600_000, "sqlite": 400_000} if full else {"memory": 60_000, "sqlite": 40_000}
    for store, size in sizes.items():
        for seed in range(size // 400):
            steps += walk(seed, 400, sqlite=store == "sqlite")
    return {"steps": steps.total(), **sizes, "crashes": steps["crash"], "full disks": steps["full"]}


def simulate(full: bool) -> Counts:
    from simulation import simulate as run

    counts: Counter[str] = Counter()
    seeds = 2_000 if full else 200
    for seed in range(seeds):
        world = _noted(f"seed {seed}", lambda seed=seed: run(seed))
        found = world.findings
        counts += Counter(
            requests=len(world.sights), calls=len(world.calls), crashes=found.crashes, stops=found.stops,
            faults=found.faults, jumps=found.jumps, commits=found.commits, orphans=found.orphans,
            told=sum(sight.cost_pusd is not None for sight in world.sights.values()),
            left=sum(sight.left for sight in world.sights.values()),
        )  # fmt: skip
        counts["virtual seconds"] += int(found.virtual_s)
    return {"seeds": seeds, **counts}


def _noted(what: str, run: Callable[[], object]) -> object:
    try:
        return run()
    except BaseException as error:
        error.add_note(f"{what} failed")
        raise


def power(full: bool) -> Counts:
    from power import power as run

    return dict(run(5_000 if full else 300))


def kills(full: bool) -> Counts:
    from served import kills as run

    with tempfile.TemporaryDirectory() as folder:
        return dict(run(Path(folder), 60 if full else 6))


def race(full: bool) -> Counts:
    from served import race as run

    counts: Counter[str] = Counter()
    for round_ in range(5 if full else 1):
        for workers in (1, 4):
            with tempfile.TemporaryDirectory() as folder:
                found = run(Path(folder), 1_000, 7 + round_, workers)
            counts += Counter(
                races=1, requests=found["requests"], covered=found["credit for"], admitted=found["admitted"]
            )
    return dict(counts)


def aborts(full: bool) -> Counts:
    from aborts import aborted

    counts: Counter[str] = Counter()
    for seed in range(20 if full else 3):
        counts += Counter(aborted(seed, 500))
    return dict(counts)


PROOFS = {
    "model": model,
    "simulate": simulate,
    "power": power,
    "kills": kills,
    "race": race,
    "aborts": aborts,
}


def replay(name: str, seed: int) -> None:
    if name == "model":
        from model import walk

        for sqlite in (False, True):
            print(dict(walk(seed, 400, sqlite=sqlite)))
        return
    from simulation import simulate as run

    world = run(seed)
    print(world.findings)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROOFS))
    parser.add_argument("--full", action="store_true", help="the full size")
    arguments = parser.parse_args()
    names = arguments.names or list(PROOFS)
    if len(names) == 2 and names[0] in ("simulate", "model") and names[1].isdigit():
        replay(names[0], int(names[1]))
        return
    unknown = [name for name in names if name not in PROOFS]
    if unknown:
        parser.error(f"no such proof: {', '.join(unknown)}. There are: {', '.join(PROOFS)}")
    for name in names:
        began_s = time.monotonic()
        counts = PROOFS[name](arguments.full)
        print(json.dumps({"proof": name, **counts, "seconds": round(time.monotonic() - began_s)}), flush=True)


if __name__ == "__main__":
    main()
