"""What a router is worth: the measures, the verdicts, the calibration."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from llm_router.routing.auto.evaluate import NOT_ROUTABLE, ROUTABLE, Case, calibrate, evaluate
from llm_router.routing.auto.measures import apgr, area, cpt, curve


def some_cases(n: int, *, informed: float, gap: float = 0.3, task: str = "", seed: int = 3) -> list[Case]:
    """Prompts of which some need the strong side; ``informed``: how much of that the router sees."""
    dice = random.Random(seed)
    cases = []
    for _ in range(n):
        needs = dice.random() < gap
        cases.append(
            Case(
                score=informed * needs + (1 - informed) * dice.random(),
                chars=dice.randint(10, 900),
                weak=0.0 if needs else 1.0,
                strong=1.0,
                weak_pusd=1_000_000,
                strong_pusd=20_000_000,
                others={"small": 0.0 if needs else 1.0, "large": 1.0},
                task=task,
            )
        )
    return cases


def draws(n: int, times: int = 60) -> list[bytes]:
    dice = random.Random(5)
    return [bytes(dice.choices(range(4), weights=(37, 37, 18, 8), k=n)) for _ in range(times)]


def test_the_area_of_orders_that_can_be_computed_by_hand() -> None:
    weak, strong = [0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]
    assert apgr([4, 3, 2, 1], weak, strong) == pytest.approx(0.75)
    assert apgr([1, 2, 3, 4], weak, strong) == pytest.approx(0.25)
    assert apgr([0, 0, 0, 0], weak, strong) == pytest.approx(0.5)
    assert apgr([1, 2, 3, 4], strong, strong) is None
    assert apgr([], [], []) is None
    points = curve([4, 3, 2, 1], weak, strong)
    assert points is not None
    assert area(points) == pytest.approx(0.75)
    assert cpt(points, 0.5) == pytest.approx(0.25)
    assert cpt(points, 0.8) == pytest.approx(0.4)
    assert cpt(points, 1.1) is None


def test_weights_count_as_copies() -> None:
    scores, weak, strong = [3.0, 2.0, 1.0], [0.0, 0.5, 1.0], [1.0, 0.5, 0.8]
    copied = apgr([3, 3, 2, 1], [0.0, 0.0, 0.5, 1.0], [1.0, 1.0, 0.5, 0.8])
    assert apgr(scores, weak, strong, [2, 1, 1]) == pytest.approx(copied)


def test_a_router_that_sees_is_routable_and_one_that_guesses_is_not() -> None:
    seeing = evaluate(some_cases(300, informed=0.8), draws(300))
    assert seeing.verdict == ROUTABLE
    router, length, chance, oracle = seeing.rankers
    assert router.apgr.value is not None
    assert router.apgr.value > 0.75
    assert router.apgr.low is not None
    assert router.apgr.high is not None
    assert router.apgr.low < router.apgr.value < router.apgr.high
    assert chance.apgr.value == pytest.approx(0.5)
    assert oracle.apgr.value == pytest.approx(0.85, abs=0.05)
    assert seeing.single == ("large", 1.0)
    guessing = evaluate(some_cases(300, informed=0.0), draws(300))
    assert guessing.verdict == NOT_ROUTABLE
    assert "chance" in guessing.reason
    assert length.name == "length only"


def test_without_a_gap_nothing_is_routable() -> None:
    cases = [Case(score=i, chars=i, weak=0.8, strong=0.8) for i in range(50)]
    report = evaluate(cases, draws(50))
    assert report.verdict == NOT_ROUTABLE
    assert "not surely better" in report.reason
    assert report.rankers[0].apgr.value is None
    assert report.single is None


def test_each_task_has_its_verdict_and_the_same_weight_in_the_mix() -> None:
    cases = some_cases(200, informed=0.9, task="seen") + some_cases(100, informed=0.0, task="unseen", seed=8)
    report = evaluate(cases, draws(300))
    verdicts = {t.task: t.verdict for t in report.tasks}
    assert verdicts == {"seen": ROUTABLE, "unseen": NOT_ROUTABLE}
    assert report.mix is not None
    assert report.mix.value is not None
    assert report.rankers[0].apgr.value is not None
    assert report.mix.value < report.rankers[0].apgr.value


def test_the_curve_begins_cheap_ends_good_and_never_turns_back() -> None:
    points = evaluate(some_cases(200, informed=0.9), draws(200)).curve
    assert points[0].strong_share == 0
    assert points[-1].strong_share == 1
    assert points[0].usd_per_1000 == pytest.approx(0.001)
    assert points[-1].usd_per_1000 == pytest.approx(0.02)
    for lower, higher in pairwise(points):
        assert higher.strong_share >= lower.strong_share


def test_the_calibration_picks_the_cheapest_that_surely_reaches_the_target() -> None:
    cases = some_cases(400, informed=0.9)
    point, tried = calibrate(cases, draws(400), 0.85)
    assert point is not None
    assert point.quality.low is not None
    assert point.quality.low >= 0.85
    cheaper = [p for p in tried if (p.usd_per_1000 or 0) < (point.usd_per_1000 or 0)]
    assert cheaper
    assert all(p.quality.low is not None and p.quality.low < 0.85 for p in cheaper)


def test_the_calibration_refuses_what_cannot_be_reached() -> None:
    cases = [Case(score=i, chars=i, weak=0.1, strong=0.6) for i in range(100)]
    point, tried = calibrate(cases, draws(100), 0.9)
    assert point is None
    assert max(p.quality.value or 0 for p in tried) == pytest.approx(0.6)
