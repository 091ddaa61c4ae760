"""Many random steps of the stores beside a model of them."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from model import walk

from llm_router.billing.budgets import Budgets

STEPS = int(os.environ.get("MODEL_STEPS", "60000"))
WALK = 400


@pytest.mark.parametrize(("store", "share"), [("memory", 0.6), ("sqlite", 0.4)])
def test_a_store_does_what_its_model_does(store: str, share: float) -> None:
    steps: Counter[str] = Counter()
    for seed in range(max(1, int(STEPS * share) // WALK)):
        try:
            steps += walk(seed, WALK, sqlite=store == "sqlite")
        except BaseException as error:
            error.add_note(f"walk {seed} of {store}; again: python tools/prove.py model {seed}")
            raise
    wanted = {"hold", "settle", "credit", "many", "amount"}
    assert wanted | ({"crash", "full", "restart"} if store == "sqlite" else set()) <= set(steps)


def test_the_model_sees_a_budget_that_bounds_no_charge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budgets, "room", lambda self, shares: None)
    with pytest.raises(AssertionError):
        walk(1, WALK, sqlite=False)
