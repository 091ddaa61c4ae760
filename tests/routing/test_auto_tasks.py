"""What the tasks mean over the catalogue, and an operator's own."""

from __future__ import annotations

import pytest

from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.domain.model import Model
from llm_router.routing.auto.tasks import TASKS, Task, fits, lacking


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return dict(compile_snapshot(load_builtin()).models)


def test_each_task_has_models_to_choose_from_and_not_all(models: dict[str, Model]) -> None:
    assert set(TASKS) == {"code", "creative", "fast", "vision", "reasoning", "open_source"}
    for task in TASKS.values():
        passed = [m for m in models.values() if lacking(task, m) is None]
        assert 10 < len(passed) < len(models)


def test_the_tasks_mean_what_their_names_say(models: dict[str, Model]) -> None:
    assert lacking(TASKS["vision"], models["gpt-3.5-turbo"]) is not None
    assert lacking(TASKS["vision"], models["claude-sonnet-4-5"]) is None
    assert lacking(TASKS["open_source"], models["claude-sonnet-4-5"]) == "has no open weights"
    assert lacking(TASKS["open_source"], models["gpt-oss-120b"]) is None
    assert lacking(TASKS["code"], models["gpt-3.5-turbo"]) == "is not known to be good at code"
    assert lacking(TASKS["reasoning"], models["gpt-4o"]) is not None
    assert TASKS["fast"].strategy == "fastest"


def test_an_operator_s_task_by_names_and_tiers(models: dict[str, Model]) -> None:
    task = Task(models=("claude-*",), tier_min=4)
    assert lacking(task, models["claude-sonnet-4-5"]) is None
    assert lacking(task, models["gpt-5"]) == "is not among the task's models"
    assert lacking(task, models["claude-3-sonnet"]) is not None


def test_between_equals_what_the_request_asks_for_counts(models: dict[str, Model]) -> None:
    sonnet = models["claude-sonnet-4-5"]
    assert fits(None, sonnet, frozenset()) == 0
    assert fits(TASKS["code"], sonnet, frozenset({"image"})) == 2
