"""What a decision of the auto router costs: CPU time of reading, scoring and choosing, by length of the prompt.

    python bench/auto_router.py prompts.jsonl        (rows with a member "prompt"; .csv and .parquet too)

The prompts are taken as they are, and joined to prompts of 8 kB. Each is new to the processor's caches, as it
is in a gateway. CPU time of this process, so what else runs disturbs it less than a clock on the wall.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from llm_router.cli.labelled import read_labelled
from llm_router.domain.errors import RouterError
from llm_router.routing.auto.artefact import decode_artefact, shipped
from llm_router.routing.auto.choose import Offer
from llm_router.routing.auto.router import AutoRouter

PROMPT_BYTES = 8192
OFFERS = tuple(
    Offer(id=f"p/{i}", model=f"m{i}", cost_pusd=1000 * 2**i, quality_tier=1 + i // 3) for i in range(15)
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--outcomes", type=Path)
    arguments = parser.parse_args()
    try:
        rows = read_labelled(arguments.file, arguments.outcomes, {})
    except RouterError as error:
        print(error.message, file=sys.stderr)
        return 1
    prompts = [row.prompt for row in rows][:5000]
    joined = " ".join(prompts * (1 + 400 * PROMPT_BYTES // max(sum(map(len, prompts)), 1)))
    long = [joined[i * PROMPT_BYTES : (i + 1) * PROMPT_BYTES] for i in range(400)]
    started = time.process_time()
    router = AutoRouter(decode_artefact(shipped()))
    print(f"load: {(time.process_time() - started) * 1000:.0f} ms")
    for name, texts in (("as they are", prompts), ("8 kB", long)):
        print(f"{name}: {len(texts)} prompts, mean {sum(map(len, texts)) // len(texts)} characters")
        _measure(router, texts)
    return 0


def _measure(router: AutoRouter, texts: list[str]) -> None:
    reading, choosing = [], []
    for text in texts:
        begin = time.process_time_ns()
        read = router.read(text)
        middle = time.process_time_ns()
        choice = router.choose(read, OFFERS, 5.0)
        end = time.process_time_ns()
        router.made(choice)
        reading.append(middle - begin)
        choosing.append(end - middle)
    for name, times in (("read and score", reading), (f"choose among {len(OFFERS)}", choosing)):
        times.sort()
        p50, p99 = (times[int(len(times) * q)] / 1e6 for q in (0.5, 0.99))
        print(f"  {name}: p50 {p50:.3f} ms, p99 {p99:.3f} ms")


if __name__ == "__main__":
    sys.exit(main())
