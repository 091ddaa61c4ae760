"""Many random steps of the stores beside a model of them."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from model import walk

from llm_router.adapters.sqlite import journaling
from llm_router.adapters.sqlite import store as sqlite_store
from llm_router.adapters.sqlite.journal import Journal
from llm_router.adapters.sqlite.journal_file import JournalFile
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


def _walk_some() -> None:
    for seed in range(60):
        walk(seed, WALK, sqlite=True)


def test_the_model_sees_a_read_that_does_not_wait_for_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(self: Journal) -> None:
        """Not waited for."""

    monkeypatch.setattr(Journal, "applied", at_once)
    with pytest.raises(AssertionError):
        _walk_some()


def test_the_model_sees_a_journal_that_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_read(connection: sqlite3.Connection, file: JournalFile, path: Path) -> None:
        file.begin(journaling.begin_of(connection).generation + 1)

    monkeypatch.setattr(sqlite_store, "replay", not_read)
    with pytest.raises(AssertionError):
        _walk_some()


def test_the_model_sees_a_journal_that_is_booked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables forget which generation they hold, and frames fit whatever entries there are."""
    monkeypatch.setattr(
        journaling, "_BOOKED", "UPDATE meta SET value = value - 1 + ? * 0 WHERE name = 'journal'"
    )
    with pytest.raises(Exception, match=r"continue other books|settled already|UNIQUE"):
        _walk_some()
