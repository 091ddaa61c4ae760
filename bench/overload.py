#!/usr/bin/env python3
"""What a gateway does with more than its provider can serve: with limits, and without.

    python bench/overload.py [--capacity 10] [--service-ms 500] [--times 3] [--seconds 60] [--whole]

A provider that serves so many calls at a time is asked for so many times what it can serve, on virtual time
(``tests/proofs/overload.py``): the figures are the same on every machine. Printed are the requests that were served
in a second beside what the provider can serve, how long they took, and how soon the others were refused.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS / "proofs"), str(TESTS / "engine")]

from overload import Overload, Upstream, quantile  # noqa: E402

from llm_router.routing.concurrency import ConcurrencyRules  # noqa: E402

BEFORE_S = 10.0


def main() -> int:
    options = _options()
    rate = options.capacity / (options.service_ms / 1000)
    print(f"the provider serves {rate:.1f} a second and is asked {options.times * rate:.1f}")
    print(
        f"{'':34}{'served/s':>10}{'median':>10}{'99 %':>10}{'refused':>10}{'95 % in':>10}{'provider refused':>18}"
    )
    for refuses in (False, True):
        for enabled in (False, True):
            _show(options, rate, refuses, enabled)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--capacity", type=int, default=10, help="calls that the provider serves at a time")
    parser.add_argument("--service-ms", type=float, default=500, help="how long each takes")
    parser.add_argument("--times", type=float, default=3, help="of what it can serve is asked")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--whole", action="store_true", help="whole answers instead of streams")
    return parser.parse_args()


def _show(options: argparse.Namespace, rate: float, refuses: bool, enabled: bool) -> None:
    upstream = Upstream(options.capacity, refuses=refuses, service_s=options.service_ms / 1000)
    world = Overload(p1=upstream)
    world.rules = ConcurrencyRules(enabled=enabled)
    world.run((rate / 2, BEFORE_S), (options.times * rate, options.seconds), stream=not options.whole)
    served = [each.took_s for each in world.of(200, BEFORE_S)]
    refused = [each.took_s for each in world.answered if each.status != 200]
    name = f"{'limits' if enabled else 'no limits'}, the provider {'refuses' if refuses else 'queues'}"
    soon = f"{quantile(refused, 0.95):.3f} s" if refused else "-"
    print(
        f"{name:34}{len(served) / options.seconds:>10.1f}{quantile(served, 0.5):>8.2f} s{quantile(served, 0.99):>8.2f} s"
        f"{len(refused):>10}{soon:>10}{upstream.refused:>18}"
    )


if __name__ == "__main__":
    sys.exit(main())
