"""Train the router artefact that the package ships, and say what it is worth.

    pip install -e '.[train]'
    python tools/train_router.py --data ../shared/routing --write

Training has three steps, each on the train split alone:

1. six ridge regressions on hashed words and pairs of words: the scores of a weak and of a strong tier of
   models, and what the strong tier adds in each of the four sources;
2. the same out of fold, so that what follows sees them as they are on prompts that they do not know;
3. boosted trees that predict what the strong tier adds from the figures of the form and the heads' outputs.

The linear weights are rounded to signed bytes. The figures that are printed are those of the written artefact,
read back and run by the package's own scorer over the dev split. ``--transfer`` leaves out whole benchmarks,
one after the other, and says how well the rest ranks the prompts of the one left out: what is to be expected of
prompts unlike those of the data.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from hashlib import md5, sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sp
from router_tiers import TIERS, Tiers
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from llm_router.routing.auto.artefact import (
    HEADS,
    LEAF,
    MAGIC,
    NAME,
    Header,
    Provenance,
    decode_artefact,
)
from llm_router.routing.auto.features import BUCKETS, READING, read_prompt
from llm_router.routing.auto.measures import apgr
from llm_router.routing.auto.scoring import score

TARGET = Path(__file__).parent.parent / "src/llm_router/routing/auto/data" / NAME

SEED = 20
FOLDS = 5

QUALITY_TIERS = (1, 3)
"""Of the catalogue's tiers those that these models belong to."""


class Config(NamedTuple):
    """What was chosen; ``router_ceiling.py`` measures it by cross-validation within the train split."""

    alpha: float = 10.0
    source_alpha: float = 10.0
    trees: int = 120
    leaves: int = 15
    rate: float = 0.06
    leaf_min: int = 40
    figures_share: float = 0.5


class Data(NamedTuple):
    words: Any  # sparse prompts x buckets, each row divided by the root of its count
    form: Any
    tiers: Any  # prompts x (weak, strong)
    source: Any
    benchmark: Any
    category: Any
    group: Any
    fold: Any
    train: Any
    dev: Any
    prompts: list[str]
    licences: tuple[str, ...]


def load(folder: Path, tiers_of: Tiers = TIERS) -> Data:
    """Read both tables, keep the prompts that both tiers answered, and read their features."""
    outcomes = pq.read_table(folder / "outcomes.parquet").to_pydict()
    scores: dict[str, dict[str, float]] = {}
    for pid, model, value in zip(outcomes["pid"], outcomes["model"], outcomes["score"], strict=True):
        scores.setdefault(pid, {})[model] = value
    rows, tiers = [], []
    for row in pq.read_table(folder / "prompts.parquet").to_pylist():
        known = scores.get(row["pid"], {})
        both = [[known[m] for m in models if m in known] for models in tiers_of[row["source"]]]
        if all(both):
            rows.append(row)
            tiers.append([sum(part) / len(part) for part in both])
    read = [read_prompt(row["prompt"]) for row in rows]
    counts = [len(f.buckets) for f in read]
    words = sp.csr_matrix(
        (
            np.repeat([max(n, 1) ** -0.5 for n in counts], counts).astype(np.float32),
            np.fromiter((b for f in read for b in f.buckets), np.int32),
            np.concatenate([[0], np.cumsum(counts)]),
        ),
        shape=(len(rows), BUCKETS),
    )
    split = np.array([row["split"] for row in rows])
    return Data(
        words=words,
        form=np.array([f.form for f in read]),
        tiers=np.array(tiers),
        source=np.array([row["source"] for row in rows]),
        benchmark=np.array([row["benchmark"] for row in rows]),
        category=np.array([row["category"] or "" for row in rows]),
        group=np.array([row["group"] for row in rows]),
        fold=np.array([int(md5(row["group"].encode()).hexdigest(), 16) % FOLDS for row in rows]),
        train=np.flatnonzero(split == "train"),
        dev=np.flatnonzero(split == "dev"),
        prompts=[row["prompt"] for row in rows],
        licences=tuple(sorted({str(row["licence"]) for row in rows})),
    )


def _ridge(data: Data, at: Any, targets: Any, alpha: float) -> Any:
    return Ridge(alpha=alpha, solver="sparse_cg", tol=1e-3).fit(data.words[at], targets[at])


def _head_plans(data: Data, train: Any, config: Config) -> list[tuple[Any, Any, float]]:
    """For each head, in the order of the artefact: its prompts, its target, its penalty."""
    gain = data.tiers[:, 1] - data.tiers[:, 0]
    plans = [(train, data.tiers[:, i], config.alpha) for i in (0, 1)]
    return plans + [
        (train[data.source[train] == source], gain, config.source_alpha)
        for source in ("ulab", "mmlupro", "routellm", "zeroeval")
    ]


class Trained(NamedTuple):
    coefficients: Any  # HEADS x BUCKETS
    offsets: list[float]
    trees: Any

    def heads(self, words: Any) -> Any:
        return words @ self.coefficients.T + np.array(self.offsets)


def fit(data: Data, train: Any, config: Config) -> Trained:
    """Heads, the same out of fold, trees."""
    outside = np.zeros((len(data.tiers), HEADS))
    coefficients, offsets = [], []
    for i, (at, target, alpha) in enumerate(_head_plans(data, train, config)):
        if not len(at):  # a source whose only benchmark is left out
            coefficients.append(np.zeros(BUCKETS))
            offsets.append(0.0)
            continue
        whole = _ridge(data, at, target, alpha)
        coefficients.append(whole.coef_)
        offsets.append(float(whole.intercept_))
        for fold in range(FOLDS):
            mine = train[data.fold[train] == fold]
            others = at[data.fold[at] != fold]
            outside[mine, i] = _ridge(data, others, target, alpha).predict(data.words[mine])
    trees = HistGradientBoostingRegressor(
        max_iter=config.trees,
        max_leaf_nodes=config.leaves,
        learning_rate=config.rate,
        min_samples_leaf=config.leaf_min,
        max_features=config.figures_share,
        l2_regularization=1.0,
        random_state=SEED,
        early_stopping=False,
    ).fit(figures(data.form, outside)[train], (data.tiers[:, 1] - data.tiers[:, 0])[train])
    return Trained(np.array(coefficients), offsets, trees)


def figures(form: Any, heads: Any) -> Any:
    """What the trees see."""
    return np.column_stack([form, heads, heads[:, 1] - heads[:, 0]])


def write(trained: Trained, data: Data, config: Config, command: str) -> bytes:
    """The artefact's bytes: reproducible but for the date."""
    scales = np.maximum(np.abs(trained.coefficients).max(axis=1) / 127, 1e-9)
    table = np.clip(np.rint(trained.coefficients / scales[:, None]), -127, 127).astype(np.int8)
    kinds, limits, lefts, rights, roots = _nodes(trained.trees)
    payload = b"".join(
        (
            table.tobytes(),
            bytes(kinds),
            np.array(limits, "<f4").tobytes(),
            np.array(lefts, "<u2").tobytes(),
            np.array(rights, "<u2").tobytes(),
        )
    )
    gains = trained.trees.predict(figures(data.form, trained.heads(data.words))[data.dev])
    made = datetime.now(UTC).date().isoformat()
    header = Header(
        version=f"{made}/{sha256(payload).hexdigest()[:12]}",
        reading=READING,
        scales=tuple(map(float, scales)),
        offsets=tuple(trained.offsets),
        base=float(np.ravel(trained.trees._baseline_prediction)[0]),
        roots=tuple(roots),
        nodes=len(kinds),
        tiers=QUALITY_TIERS,
        gains=tuple(round(float(g), 5) for g in np.quantile(gains, np.linspace(0, 1, 101))),
        provenance=Provenance(
            data=tuple(sorted({f"{s}/{b}" for s, b in zip(data.source, data.benchmark, strict=True)})),
            licences=data.licences,
            made=made,
            command=command,
            seed=SEED,
            prompts=len(data.train),
        ),
        payload_bytes=len(payload),
        payload_sha256=sha256(payload).hexdigest(),
    )
    return MAGIC + msgspec.json.encode(header) + b"\n" + payload


def _nodes(trees: Any) -> tuple[list[int], list[float], list[int], list[int], list[int]]:
    """All trees in one row of nodes; children come after their parents."""
    kinds: list[int] = []
    limits: list[float] = []
    lefts: list[int] = []
    rights: list[int] = []
    roots = []
    for (tree,) in trees._predictors:
        begin = len(kinds)
        roots.append(begin)
        for node in tree.nodes:
            leaf = bool(node["is_leaf"])
            kinds.append(LEAF if leaf else int(node["feature_idx"]))
            limits.append(float(node["value"] if leaf else node["num_threshold"]))
            lefts.append(0 if leaf else begin + int(node["left"]))
            rights.append(0 if leaf else begin + int(node["right"]))
    return kinds, limits, lefts, rights, roots


def report(scores: Any, data: Data, at: Any) -> dict[str, Any]:
    """APGR of an order of prompts: pooled, with equal weight for each task (a benchmark in a source) and for
    each benchmark, and within each task."""
    weak, strong = data.tiers[at, 0], data.tiers[at, 1]
    tasks = [f"{s}/{b}" for s, b in zip(data.source[at], data.benchmark[at], strict=True)]
    benchmarks = list(data.benchmark[at])
    of_each = [1 / benchmarks.count(b) for b in benchmarks]
    counts = {task: tasks.count(task) for task in set(tasks)}
    within = {}
    for task in sorted(counts):
        mine = np.array([t == task for t in tasks])
        value = apgr(list(scores[mine]), list(weak[mine]), list(strong[mine]))
        within[task] = {"prompts": counts[task], "apgr": None if value is None else round(value, 3)}
    return {
        "prompts": len(at),
        "pooled": round(apgr(list(scores), list(weak), list(strong)) or 0, 4),
        "mix": round(apgr(list(scores), list(weak), list(strong), [1 / counts[t] for t in tasks]) or 0, 4),
        "tasks": len(counts),
        "mix_of_benchmarks": round(apgr(list(scores), list(weak), list(strong), of_each) or 0, 4),
        "benchmarks": len(set(benchmarks)),
        "within": within,
    }


def transfer(data: Data, config: Config) -> dict[str, Any]:
    """APGR within each benchmark by a router that never saw it, in whatever source."""
    found = {}
    for benchmark in sorted(set(data.benchmark)):
        rest = data.train[data.benchmark[data.train] != benchmark]
        left = np.flatnonzero(data.benchmark == benchmark)
        trained = fit(data, rest, config)
        scores = trained.trees.predict(figures(data.form, trained.heads(data.words))[left])
        value = apgr(list(scores), list(data.tiers[left, 0]), list(data.tiers[left, 1]))
        found[str(benchmark)] = {"prompts": len(left), "apgr": None if value is None else round(value, 3)}
        print(benchmark, found[str(benchmark)], file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with prompts.parquet and outcomes.parquet"
    )
    parser.add_argument("--write", action="store_true", help="replace the artefact of the package")
    parser.add_argument(
        "--transfer", action="store_true", help="leave out whole benchmarks, and say how it goes"
    )
    arguments = parser.parse_args()
    data, config = load(arguments.data), Config()
    if arguments.transfer:
        print(json.dumps(transfer(data, config), indent=2))
        return 0
    command = "python tools/train_router.py --data DATA --write"
    made = write(fit(data, data.train, config), data, config, command)
    artefact = decode_artefact(made)
    scores = np.array([score(artefact, read_prompt(data.prompts[i])).gain for i in data.dev])
    print(
        json.dumps(
            {"bytes": len(made), "version": artefact.header.version, **report(scores, data, data.dev)},
            indent=2,
        )
    )
    if arguments.write:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_bytes(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
