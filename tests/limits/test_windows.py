from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.limits.windows import SLICES, Window

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LENGTHS = st.sampled_from((MINUTE, HOUR, DAY))
# Pauses as thousandths of the window, so that every length sees units come and go.
STEPS = st.lists(st.tuples(st.integers(0, 333), st.integers(0, 9)), max_size=80)
NOW = st.integers(0, 10**13)


def filled(length_ms, steps, now_ms):
    window, log = Window(length_ms), []
    for pause, units in steps:
        now_ms += pause * length_ms // 1000
        window.advance(now_ms)
        window.add(units, now_ms)
        log.append((now_ms, units))
    window.advance(now_ms)
    return window, log, now_ms


@given(LENGTHS, STEPS, NOW)
def test_the_window_holds_what_its_length_held(length_ms, steps, now_ms):
    window, log, now_ms = filled(length_ms, steps, now_ms)
    slice_ms = length_ms // SLICES
    exact = sum(n for at, n in log if at > now_ms - length_ms)
    coarse = sum(n for at, n in log if at > now_ms - length_ms - slice_ms)
    assert exact <= window.total <= coarse
    assert len(window.slices) <= SLICES + 1


@given(LENGTHS, STEPS, st.integers(1, 30), NOW)
def test_waiting_as_long_as_told_makes_room_and_a_moment_less_does_not(length_ms, steps, excess, now_ms):
    window, _, now_ms = filled(length_ms, steps, now_ms)
    before = window.total
    wait_ms = window.free_in_ms(excess, now_ms)
    if excess > before:
        assert wait_ms == length_ms
        return
    window.advance(now_ms + wait_ms - 1)
    assert window.total > before - excess
    window.advance(now_ms + wait_ms)
    assert window.total <= before - excess


@given(LENGTHS, STEPS, NOW)
def test_it_is_empty_when_it_said_it_would_be(length_ms, steps, now_ms):
    window, _, now_ms = filled(length_ms, steps, now_ms)
    empty_ms = window.empty_in_ms(now_ms)
    if empty_ms:
        window.advance(now_ms + empty_ms - 1)
        assert window.total > 0
    window.advance(now_ms + empty_ms)
    assert window.total == 0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(0, 4), st.integers(0, 300))
def test_what_is_taken_back_is_taken_from_where_it_was_counted(counts, place, units):
    window, places = Window(), []
    for second, count in enumerate(counts):
        window.advance(second * 1000)
        places.append(window.add(count, second * 1000))
    place %= len(counts)
    window.take_back(units, places[place])
    left = [max(0, n - units) if i == place else n for i, n in enumerate(counts)]
    assert [entry.units for entry in window.slices] == left
    assert window.total == sum(left)


def test_what_has_left_the_window_cannot_be_taken_back():
    window = Window()
    where = window.add(5, 0)
    window.advance(100_000)
    window.add(3, 100_000)
    window.take_back(5, where)
    assert window.total == 3


@pytest.mark.parametrize("length_ms", [MINUTE, HOUR, DAY])
def test_a_clock_that_runs_backwards_neither_frees_nor_locks(length_ms):
    window = Window(length_ms)
    window.add(5, 90_000_000_000)
    window.advance(3_600_000)
    assert window.total == 5
    wait_ms = window.free_in_ms(5, 3_600_000)
    assert length_ms <= wait_ms <= length_ms + length_ms // SLICES
    window.advance(3_600_000 + wait_ms)
    assert window.total == 0
