"""Say how well the trainer's method orders prompts, and how well anything could, without the dev split.

    pip install -e '.[train]'
    python tools/router_ceiling.py --data ../shared/routing

The train split is cut in five: what scores a part was trained on the other four, and no question is in two
parts. Beside the trainer's method stand simpler and larger ones, and guesses that are told what a router has to
find out: the name of the prompt's benchmark, and of its category there. The figures are APGRs, pooled and with
equal weight for each benchmark of the dev split, with 95 % intervals over resampled prompts. Last comes the
artefact of the package on the dev split.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
from router_tiers import TIERS, Tiers
from train_router import FOLDS, SEED, Config, Data, figures, fit, load

from llm_router.routing.auto.artefact import decode_artefact, shipped
from llm_router.routing.auto.features import read_prompt
from llm_router.routing.auto.scoring import score

RESAMPLES = 200

SHRINKAGE = 20
"""A category's mean gain is drawn towards its benchmark's as if so many prompts said that."""

CODE_MODEL = "codegemma-7b"

YARDSTICKS: dict[str, Tiers] = {
    "models for all kinds of prompts": TIERS,
    f"with {CODE_MODEL} among the small ones": {
        **TIERS,
        "ulab": ((*TIERS["ulab"][0], CODE_MODEL), TIERS["ulab"][1]),
    },
}


def parts_of(data: Data) -> Any:
    """The part of each prompt; other parts than those within the trainer."""
    return np.array(
        [int(md5(b"part " + str(group).encode()).hexdigest(), 16) % FOLDS for group in data.group]
    )


def orders(data: Data, config: Config) -> dict[str, Any]:
    """Scores of the train split's prompts by each method, from the other parts."""
    part, gain = parts_of(data), data.tiers[:, 1] - data.tiers[:, 0]
    task = np.char.add(np.char.add(data.source.astype(str), "/"), data.benchmark.astype(str))
    # LLMRouter's "category" is its own split, which says nothing of a prompt.
    finer = np.where(
        data.source == "ulab", task, np.char.add(np.char.add(task, "/"), data.category.astype(str))
    )
    found: dict[str, Any] = defaultdict(lambda: np.zeros(len(gain)))
    for mine in range(FOLDS):
        rest = data.train[part[data.train] != mine]
        here = data.train[part[data.train] == mine]
        trained = fit(data, rest, config)
        heads = trained.heads(data.words)[here]
        router = trained.trees.predict(figures(data.form[here], heads))
        tasks = _means(task, gain, rest, float(gain[rest].mean()))
        by_task = np.array([tasks(i) for i in here])
        categories = _means(finer, gain, rest, tasks)
        by_category = np.array([categories(i) for i in here])
        found["the router"][here] = router
        found["linear alone: strong head less weak head"][here] = heads[:, 1] - heads[:, 0]
        found["told the benchmark"][here] = by_task
        found["told the benchmark and the category"][here] = by_category
        found["told the category, and the router"][here] = by_category + router
        print(f"part {mine + 1} of {FOLDS}", file=sys.stderr, flush=True)
    return dict(found)


def _means(
    names: Any, gain: Any, rest: Any, parent: float | Callable[[int], float]
) -> Callable[[int], float]:
    """The mean gain of a prompt's namesakes among ``rest``, drawn towards the parent's."""
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for i in rest:
        sums[names[i]] += float(gain[i])
        counts[names[i]] += 1

    def mean(i: int) -> float:
        name = names[i]
        above = parent if isinstance(parent, float) else parent(i)
        return (sums[name] + SHRINKAGE * above) / (counts[name] + SHRINKAGE)

    return mean


def area(scores: Any, gain: Any, weights: Any) -> float:
    """APGR, as :func:`llm_router.routing.auto.measures.apgr` has it, over arrays."""
    _, places = np.unique(-scores, return_inverse=True)
    share = np.concatenate([[0.0], np.cumsum(np.bincount(places, weights))]) / weights.sum()
    gained = np.concatenate([[0.0], np.cumsum(np.bincount(places, weights * gain))]) / (weights * gain).sum()
    return float(np.sum(np.diff(share) * (gained[1:] + gained[:-1]) / 2))


def shipped_on_dev(data: Data) -> Any:
    """Scores of the dev split's prompts by the artefact of the package."""
    artefact, scores = decode_artefact(shipped()), np.zeros(len(data.prompts))
    for i in data.dev:
        scores[i] = score(artefact, read_prompt(data.prompts[i])).gain
    return scores


def judge(orders_: dict[str, Any], data: Data, at: Any) -> dict[str, Any]:
    """Pooled APGR and that of the mix of each order of the prompts ``at``; the same resamples for all."""
    gain = data.tiers[:, 1] - data.tiers[:, 0]
    judged = set(data.benchmark[data.dev])
    chance = np.random.default_rng(SEED)
    draws = [at, *(chance.choice(at, len(at)) for _ in range(RESAMPLES))]
    found: dict[str, dict[str, list[float]]] = {name: {"pooled": [], "mix": []} for name in orders_}
    for draw in draws:
        mixed = draw[np.isin(data.benchmark[draw], list(judged))]
        _, places, counts = np.unique(data.benchmark[mixed], return_inverse=True, return_counts=True)
        for name, scores in orders_.items():
            found[name]["pooled"].append(area(scores[draw], gain[draw], np.ones(len(draw))))
            found[name]["mix"].append(area(scores[mixed], gain[mixed], 1 / counts[places]))
    return {
        name: {key: _interval(values) for key, values in both.items()} for name, both in found.items()
    } | {"prompts": len(at), "benchmarks": len(judged)}


def _interval(values: list[float]) -> dict[str, float]:
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return {"apgr": round(values[0], 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with prompts.parquet and outcomes.parquet"
    )
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    first: Any = None
    for name, tiers in YARDSTICKS.items():
        data = load(arguments.data, tiers)
        by = orders(data, Config())
        if first is None:
            first = by["the router"]
        else:
            by["the router trained on the first yardstick, as the shipped one is"] = first
        found[name] = {
            "within the train split": judge(by, data, data.train),
            "dev split": judge({"the shipped router": shipped_on_dev(data)}, data, data.dev),
        }
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
