"""Laws of strategies: an order of all candidates and of nothing else; the same dice, the same order."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.routing.health import SIZES, UNKNOWN, HealthView
from llm_router.routing.strategies import STRATEGIES, Facts, Given

views = st.builds(
    HealthView,
    share=st.sampled_from([0.1, 0.5, 1.0]),
    in_flight=st.integers(0, 5),
    error_rate=st.none() | st.floats(0, 1),
    ttft_ms=st.lists(st.none() | st.floats(1, 10**5), min_size=SIZES, max_size=SIZES).map(tuple),
    tokens_per_s=st.none() | st.floats(0.1, 1000),
)
facts = st.builds(
    Facts,
    cost_pusd=st.none() | st.integers(0, 10**15),
    weight=st.integers(0, 10),
    view=st.just(UNKNOWN) | views,
    tools=st.integers(0, 15),
)


def _given(seed: int) -> Given:
    return Given(size=1, output_tokens=100, dice=random.Random(seed).random)


@pytest.mark.parametrize("name", STRATEGIES)
@given(st.lists(facts, max_size=7), st.integers(0, 50))
def test_nothing_is_added_lost_or_doubled_and_the_dice_decide(
    name: str, candidates: list[Facts], seed: int
) -> None:
    ordered = STRATEGIES[name](candidates, _given(seed))
    assert sorted(ordered.places) == list(range(len(candidates)))
    assert len(ordered.scores) == len(candidates)
    assert STRATEGIES[name](candidates, _given(seed)) == ordered


@given(st.lists(facts, max_size=7), st.integers(0, 50))
def test_the_cheapest_is_first(candidates: list[Facts], seed: int) -> None:
    costs = [candidates[at].cost_pusd for at in STRATEGIES["cheapest"](candidates, _given(seed)).places]
    known = [cost for cost in costs if cost is not None]
    assert costs[: len(known)] == sorted(known)


def test_lots_follow_the_weights() -> None:
    given_ = _given(7)
    candidates = [Facts(weight=3), Facts(weight=1), Facts(weight=0)]
    first = Counter(STRATEGIES["weighted"](candidates, given_).places[0] for _ in range(4000))
    assert 2800 < first[0] < 3200
    assert first[2] == 0
    slow = [Facts(weight=1, view=HealthView(share=0.1)), Facts(weight=1)]
    first = Counter(STRATEGIES["weighted"](slow, given_).places[0] for _ in range(2000))
    assert first[0] < 300


def _seen(ttft: float, speed: float) -> HealthView:
    return HealthView(ttft_ms=(ttft,) * SIZES, tokens_per_s=speed)


def test_speed_is_the_time_to_the_whole_answer() -> None:
    never = Given(size=0, output_tokens=1000, dice=lambda: 0.99)
    quick_start, quick_end = Facts(view=_seen(100, 10)), Facts(view=_seen(900, 100))
    assert STRATEGIES["fastest"]([quick_start, quick_end], never).places == (1, 0)
    assert STRATEGIES["latency"]([quick_end, quick_start], never).places == (1, 0)
    assert STRATEGIES["throughput"]([quick_start, quick_end], never).places == (1, 0)


def test_unknown_ones_are_in_the_middle_and_tried_now_and_then() -> None:
    fast, slow, unknown = Facts(view=_seen(100, 100)), Facts(view=_seen(900, 10)), Facts()
    never = Given(size=0, output_tokens=100, dice=lambda: 0.99)
    assert STRATEGIES["fastest"]([slow, unknown, fast], never).places == (2, 1, 0)
    given_ = _given(3)
    first = Counter(STRATEGIES["fastest"]([slow, unknown, fast], given_).places[0] for _ in range(2000))
    assert 50 < first[1] < 160


def test_balance_is_neither_the_cheapest_nor_the_fastest() -> None:
    never = Given(size=0, output_tokens=100, dice=lambda: 0.99)
    candidates = [
        Facts(cost_pusd=100, view=_seen(5000, 10)),
        Facts(cost_pusd=150, view=_seen(300, 100)),
        Facts(cost_pusd=900, view=_seen(200, 110)),
    ]
    assert STRATEGIES["balanced"](candidates, never).places[0] == 1


def test_the_least_busy_is_first_by_its_weight() -> None:
    candidates = [
        Facts(view=HealthView(in_flight=3), weight=3),
        Facts(view=HealthView(in_flight=2)),
        Facts(view=HealthView(in_flight=0), weight=0),
    ]
    assert STRATEGIES["least_busy"](candidates, _given(0)).places == (0, 1, 2)
