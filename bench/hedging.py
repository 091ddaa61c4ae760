"""What hedging does to the time to the first token on a heavy tail, or of whole answers, and what it costs the
operator.

    python bench/hedging.py [--requests N] [--seeds N] [--whole]

The engine on virtual time (tests/proofs/heavy_tail.py): the figures are of the distribution that is simulated, the
same each time, and nothing of this machine is in them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

for suite in ("engine", "proofs"):
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / suite))

from heavy_tail import Outcome, simulated  # noqa: E402  (found by the lines above)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="whole answers instead of streams")
    arguments = parser.parse_args()
    count, stream = arguments.requests, not arguments.whole
    print("| seed | hedging | providers | p50 | p95 | p99 | p99.9 | second calls | extra cost |")
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in range(1, arguments.seeds + 1):
        _row(seed, "off", "", simulated(count, seed=seed, mode="off", stream=stream))
        for billed_on in (False, True):
            told = "bill to the end" if billed_on else "stop"
            outcome = simulated(count, seed=seed, mode="on", billed_on=billed_on, stream=stream)
            _row(seed, "on", told, outcome)
    return 0


def _row(seed: int, mode: str, told: str, outcome: Outcome) -> None:
    times = " | ".join(f"{outcome.percentile_s(percent):.2f} s" for percent in (50, 95, 99, 99.9))
    share = outcome.outrun / len(outcome.first_s)
    print(f"| {seed} | {mode} | {told} | {times} | {share:.2%} | {outcome.extra_share:.2%} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
