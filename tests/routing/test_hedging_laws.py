"""What is late, who is asked beside a late call, and that the budget of second calls is kept by any traffic."""

from __future__ import annotations

import math
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.model import Capabilities, Deployment, Model, Provider
from llm_router.routing.health import UNKNOWN, HealthView
from llm_router.routing.hedging import (
    BURST,
    SAMPLES_MAX,
    SAMPLES_MIN,
    WHOLE_BP,
    HedgeBudget,
    HedgeMode,
    HedgeRules,
    Tails,
    hedged,
    second,
)
from llm_router.routing.plan import Candidate

TIMES = st.lists(st.floats(0, 1e6), max_size=3 * SAMPLES_MAX)


@settings(max_examples=60, deadline=None)
@given(times=TIMES, percentile=st.floats(50, 99.9))
def test_late_is_a_percentile_of_the_latest_times(times: list[float], percentile: float) -> None:
    tails = Tails()
    for ms in times:
        tails.add("d", 0, ms)
    latest = sorted(deque(times, SAMPLES_MAX))
    late = tails.late_ms("d", 0, percentile)
    if len(latest) < SAMPLES_MIN:
        assert late is None
        return
    assert late in latest
    above = sum(ms > late for ms in latest)
    assert above <= math.ceil(len(latest) * (100 - percentile) / 100)


def test_sizes_and_deployments_are_kept_apart() -> None:
    tails = Tails()
    for _ in range(SAMPLES_MIN):
        tails.add("d", 0, 10.0)
        tails.add("d", 1, 20.0)
    assert tails.late_ms("d", 0, 95) == 10.0
    assert tails.late_ms("d", 1, 95) == 20.0
    assert tails.late_ms("d", 2, 95) is None
    assert tails.late_ms("e", 0, 95) is None


COSTS = st.tuples(st.integers(0, 10**12), st.integers(0, 10**12), st.booleans())


@settings(max_examples=200, deadline=None)
@given(share_bp=st.integers(0, WHOLE_BP), traffic=st.lists(COSTS, max_size=300))
def test_second_calls_stay_within_their_share(share_bp: int, traffic: list[tuple[int, int, bool]]) -> None:
    """At every moment, by number and by cost."""
    budget = HedgeBudget()
    calls = seconds = pusd = extra_pusd = 0
    for cost_pusd, second_pusd, late in traffic:
        calls, pusd = calls + 1, pusd + cost_pusd
        budget.earn(share_bp, cost_pusd)
        if late and budget.spend(second_pusd):
            seconds, extra_pusd = seconds + 1, extra_pusd + second_pusd
        assert seconds * WHOLE_BP <= calls * share_bp
        assert extra_pusd * WHOLE_BP <= pusd * share_bp


def test_only_so_many_are_saved_up() -> None:
    budget = HedgeBudget()
    for _ in range(10_000):
        budget.earn(500, 10**6)
    assert [budget.spend(1) for _ in range(BURST + 1)] == [True] * BURST + [False]


def test_whose_word_counts() -> None:
    rules = HedgeRules(
        mode="asked", models=(("a*", "on"), ("*", "off")), keys={"k": "off"}, presets={"p": "asked"}
    )
    cases: list[tuple[str, str, str | None, HedgeMode]] = [
        ("a1", "other", None, "on"),
        ("b1", "other", None, "off"),
        ("a1", "other", "p", "asked"),
        ("a1", "k", "p", "off"),
        ("a1", "other", "q", "on"),
    ]
    for model, key, preset, mode in cases:
        assert rules.mode_for(model=model, key=key, preset=preset) == mode
    assert HedgeRules().never
    assert not rules.never
    words: list[tuple[HedgeMode, bool | None, bool]] = [
        ("off", True, False), ("off", None, False), ("asked", None, False), ("asked", True, True),
        ("asked", False, False), ("on", None, True), ("on", True, True), ("on", False, False),
    ]  # fmt: skip
    for mode, wish, found in words:
        assert hedged(mode, wish) is found


def candidate(model: str, provider: str, *, own: bool = False) -> Candidate:
    found = Deployment(
        id=f"{provider}/{model}", model=model, provider=provider, upstream_model="up", price=None
    )
    return Candidate(
        model=Model(
            id=model, name=model, family="f", developer="d", capabilities=Capabilities(), deployments=()
        ),
        deployment=found,
        provider=Provider(id=provider, name=provider, base_url="http://x.test", dialect="openai_chat"),
        dialect="openai_chat",
        same_dialect=True,
        own_key=own,
    )


@settings(max_examples=200, deadline=None)
@given(
    plan=st.lists(st.tuples(st.sampled_from("mn"), st.integers(0, 5), st.booleans()), min_size=1, max_size=6),
    ill=st.sets(st.integers(0, 5)),
)
def test_the_second_serves_the_same_model_is_well_and_is_nobodys_own(
    plan: list[tuple[str, int, bool]], ill: set[int]
) -> None:
    candidates = [candidate(model, f"p{n}", own=own) for model, n, own in plan]

    def views(ids: object) -> list[HealthView]:
        assert isinstance(ids, list)
        bad = HealthView(available=False, reason="ill")
        return [bad if int(id_[1]) in ill else UNKNOWN for id_ in ids]

    first = candidates[0]
    found = second(candidates, first, views)
    if found is None:
        return
    assert not first.own_key
    assert not found.own_key
    assert found in candidates
    assert found.deployment.model == first.deployment.model
    assert int(found.provider.id[1]) not in ill
    if found.deployment.id == first.deployment.id:
        assert all(
            each.own_key or each.deployment.model != "m" or int(each.provider.id[1]) in ill
            for each in candidates
            if each.deployment.id != first.deployment.id and first.deployment.model == "m"
        )
