"""The shipped artefact on the dev split of the training data: the figures that the page names."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_router.cli.labelled import read_labelled
from llm_router.routing.auto.artefact import decode_artefact, shipped
from llm_router.routing.auto.features import read_prompt
from llm_router.routing.auto.measures import apgr
from llm_router.routing.auto.scoring import score

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "routing"

WEAK, STRONG = "mixtral-8x7b-instruct", "gpt-4-1106-preview"


def test_it_ranks_prompts_of_two_models_that_it_was_not_trained_on() -> None:
    if not (DATA / "prompts.parquet").is_file():
        pytest.skip(f"the training data is not at {DATA}")
    pytest.importorskip("pyarrow", reason="Parquet files need pyarrow (extra [train])")
    rows = read_labelled(
        DATA / "prompts.parquet", DATA / "outcomes.parquet", {"split": "dev", "source": "routellm"}
    )
    assert len(rows) == 1495
    artefact = decode_artefact(shipped())
    scores = [score(artefact, read_prompt(row.prompt)).gain for row in rows]
    weak = [row.answers[WEAK].quality for row in rows]
    strong = [row.answers[STRONG].quality for row in rows]
    found = apgr(scores, weak, strong)
    assert found is not None
    assert found == pytest.approx(0.705, abs=0.005)
