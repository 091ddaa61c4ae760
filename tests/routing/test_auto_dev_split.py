"""The shipped artefact on the dev split of the training data: the figures that the page names."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm_router.cli.labelled import Labelled, read_labelled
from llm_router.routing.auto.artefact import Artefact, decode_artefact, shipped
from llm_router.routing.auto.features import read_prompt
from llm_router.routing.auto.measures import apgr
from llm_router.routing.auto.scoring import score

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "routing"
TIERS = ROOT / "tools" / "router_tiers.py"

WEAK, STRONG = "mixtral-8x7b-instruct", "gpt-4-1106-preview"


@pytest.fixture(scope="module")
def rows() -> list[Labelled]:
    if not (DATA / "prompts.parquet").is_file():
        pytest.skip(f"the training data is not at {DATA}")
    pytest.importorskip("pyarrow", reason="Parquet files need pyarrow (extra [train])")
    return read_labelled(DATA / "prompts.parquet", DATA / "outcomes.parquet", {"split": "dev"})


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    return decode_artefact(shipped())


def gains(artefact: Artefact, rows: Sequence[Labelled]) -> list[float]:
    return [score(artefact, read_prompt(row.prompt)).gain for row in rows]


def test_it_ranks_prompts_of_two_models_that_it_was_not_trained_on(
    rows: list[Labelled], artefact: Artefact
) -> None:
    mine = [row for row in rows if row.task.startswith("routellm/")]
    assert len(mine) == 1495
    weak = [row.answers[WEAK].quality for row in mine]
    strong = [row.answers[STRONG].quality for row in mine]
    found = apgr(gains(artefact, mine), weak, strong)
    assert found is not None
    assert found == pytest.approx(0.698, abs=0.005)


def test_it_ranks_the_prompts_of_all_benchmarks_together(rows: list[Labelled], artefact: Artefact) -> None:
    if not TIERS.is_file():
        pytest.skip("tools/ is not part of this checkout")
    kept, weak, strong = _tiers(rows)
    assert len(kept) == 3509
    order = gains(artefact, kept)
    pooled = apgr(order, weak, strong)
    benchmarks = [row.task.partition("/")[2] for row in kept]
    counts = Counter(benchmarks)
    assert len(counts) == 16
    mix = apgr(order, weak, strong, [1 / counts[name] for name in benchmarks])
    assert pooled is not None
    assert mix is not None
    assert pooled == pytest.approx(0.690, abs=0.005)
    assert mix == pytest.approx(0.786, abs=0.005)


def _tiers(rows: Sequence[Labelled]) -> tuple[list[Labelled], list[float], list[float]]:
    """The prompts that both tiers answered, and the two tiers' mean scores."""
    spec = importlib.util.spec_from_file_location("router_tiers", TIERS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kept, sides = [], []
    for row in rows:
        models = module.TIERS[row.task.partition("/")[0]]
        both = [[row.answers[m].quality for m in side if m in row.answers] for side in models]
        if all(both):
            kept.append(row)
            sides.append([sum(side) / len(side) for side in both])
    return kept, [side[0] for side in sides], [side[1] for side in sides]
