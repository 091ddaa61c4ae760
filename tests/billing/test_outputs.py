from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from llm_router.billing.outputs import BOUNDS, SAMPLES_FADE, SAMPLES_MIN, Outputs
from llm_router.domain.usage import MAX_COUNT


def test_too_few_answers_teach_nothing():
    outputs = Outputs()
    for _ in range(SAMPLES_MIN - 1):
        outputs.learn("k", "m", 50)
    assert outputs.expect("k", "m") is None
    outputs.learn("k", "m", 50)
    learned = outputs.expect("k", "m")
    assert learned is not None
    assert (learned.mean, learned.samples) == (50, SAMPLES_MIN)
    assert 50 <= learned.high <= 62


def test_a_new_key_is_expected_to_be_like_the_others_of_its_model():
    outputs = Outputs()
    for _ in range(SAMPLES_MIN):
        outputs.learn("old", "m", 7)
    learned = outputs.expect("new", "m")
    assert learned is not None
    assert learned.mean == 7
    assert outputs.expect("old", "other") is None


def test_a_key_of_its_own_goes_over_its_model():
    outputs = Outputs()
    for _ in range(SAMPLES_MIN):
        outputs.learn("long", "m", 9000)
        outputs.learn("short", "m", 3)
    assert outputs.expect("short", "m").mean == 3  # type: ignore[union-attr]
    assert outputs.expect("long", "m").mean == 9000  # type: ignore[union-attr]


@given(st.lists(st.integers(0, 10**9), min_size=SAMPLES_MIN, max_size=200))
def test_the_high_quantile_is_above_nearly_all_and_close(tokens):
    outputs = Outputs()
    for count in tokens:
        outputs.learn("k", "m", count)
    high = outputs.expect("k", "m").high  # type: ignore[union-attr]
    capped = sorted(min(count, MAX_COUNT) for count in tokens)
    assert sum(count > high for count in capped) * 100 <= len(capped)
    assert high <= max(1, capped[-1] * 5 // 4 + 1)


def test_what_was_learned_long_ago_fades():
    outputs = Outputs()
    for _ in range(SAMPLES_FADE):
        outputs.learn("k", "m", 10_000)
    for _ in range(16 * SAMPLES_FADE):
        outputs.learn("k", "m", 10)
    learned = outputs.expect("k", "m")
    assert learned is not None
    assert learned.high <= 12
    assert learned.mean <= 20
    assert learned.samples <= SAMPLES_FADE


def test_memory_is_bounded_and_the_oldest_is_forgotten():
    outputs = Outputs(places_max=4)
    for key in "abcdef":
        for _ in range(SAMPLES_MIN):
            outputs.learn(key, "m", 5)
    assert outputs.expect("f", "m") is not None
    assert len(outputs._places) <= 4
    assert ("f", "m") in outputs._places
    assert ("a", "m") not in outputs._places


def test_buckets_grow_by_a_quarter_at_most():
    assert BOUNDS[-1] >= MAX_COUNT
    assert all(low < high <= max(low + 1, low * 5 // 4) for low, high in itertools.pairwise(BOUNDS))
