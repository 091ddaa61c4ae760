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

import msgspec

from llm_router.billing.outputs import Outputs
from llm_router.billing.pricing import PriceList
from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.cli.labelled import read_labelled
from llm_router.domain.errors import RouterError
from llm_router.domain.key import Key
from llm_router.engine.admit import Call, payer_of
from llm_router.engine.planning import Occasion, Planner
from llm_router.engine.state import State
from llm_router.routing.auto.artefact import decode_artefact, shipped
from llm_router.routing.auto.choose import Offer
from llm_router.routing.auto.router import AutoRouter
from llm_router.routing.health import Health
from llm_router.wire.dialects.registry import DIALECTS

PROMPT_BYTES = 8192
PROVIDERS = frozenset(
    (
        "openai",
        "anthropic",
        "google",
        "groq",
        "openrouter",
        "together",
        "deepinfra",
        "fireworks",
        "mistral",
        "xai",
    )
)
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
    _plan(prompts[:1500])
    return 0


def _plan(prompts: list[str]) -> None:
    """The whole plan of a request for ``auto``, as the gateway makes it with ten providers."""
    state = State(snapshot=compile_snapshot(load_builtin()), provider_keys={}, active=PROVIDERS)
    planner = Planner(Health(), Outputs(), lambda: 0.5)
    key = Key(id="k", account="a", name="k", prefix="k", created_ms=0)
    dialect = DIALECTS["openai_chat"]
    times = []
    for text in prompts:
        body = msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": text}]})
        call = Call(operation="chat", dialect=dialect, body=body, credential=None, headers={}, started_us=0)
        occasion = Occasion(
            state=state,
            call=call,
            key=key,
            payer=payer_of(key, call),
            inspected=dialect.inspect(body, None, None),
            own_keys={},
            price_list=PriceList(),
            now_ms=1_700_000_000_000,
        )
        begin = time.process_time_ns()
        plan = planner.plan(occasion)
        times.append(time.process_time_ns() - begin)
        planner.made(plan)
    times.sort()
    p50, p99 = (times[int(len(times) * q)] / 1e6 for q in (0.5, 0.99))
    print(f"plan of auto, read and choose with it: p50 {p50:.3f} ms, p99 {p99:.3f} ms")


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
