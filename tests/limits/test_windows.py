from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_router.limits.windows import WINDOW_S, Window

STEPS = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 9)), max_size=80)


@given(STEPS, st.integers(0, 10**13))
def test_the_window_holds_what_the_last_minute_held(steps, now_ms):
    window, log = Window(), []
    for pause_ms, units in steps:
        now_ms += pause_ms
        window.advance(now_ms)
        window.add(units, now_ms)
        log.append((now_ms, units))
        exact = sum(n for at, n in log if at > now_ms - WINDOW_S * 1000)
        coarse = sum(n for at, n in log if at > now_ms - (WINDOW_S + 1) * 1000)
        assert exact <= window.total <= coarse
        assert len(window._counts) <= WINDOW_S + 1


@given(STEPS, st.integers(1, 30), st.integers(0, 10**13))
def test_waiting_as_long_as_told_makes_room_and_a_moment_less_does_not(steps, excess, now_ms):
    window = Window()
    for pause_ms, units in steps:
        now_ms += pause_ms
        window.advance(now_ms)
        window.add(units, now_ms)
    window.advance(now_ms)
    before = window.total
    wait_ms = window.free_in_ms(excess, now_ms)
    if excess > before:
        assert wait_ms == WINDOW_S * 1000
        return
    window.advance(now_ms + wait_ms - 1)
    assert window.total > before - excess
    window.advance(now_ms + wait_ms)
    assert window.total <= before - excess


@given(STEPS, st.integers(0, 10**13))
def test_it_is_empty_when_it_said_it_would_be(steps, now_ms):
    window = Window()
    for pause_ms, units in steps:
        now_ms += pause_ms
        window.advance(now_ms)
        window.add(units, now_ms)
    empty_ms = window.empty_in_ms(now_ms)
    if empty_ms:
        window.advance(now_ms + empty_ms - 1)
        assert window.total > 0
    window.advance(now_ms + empty_ms)
    assert window.total == 0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(-300, 300))
def test_corrections_take_and_give_but_never_below_nothing(counts, correction):
    window = Window()
    for second, units in enumerate(counts):
        window.advance(second * 1000)
        window.add(units, second * 1000)
    window.correct(correction)
    assert window.total == max(0, sum(counts) + correction)
    assert window.total == sum(units for _, units in window._counts)
    assert all(units >= 0 for _, units in window._counts)


def test_a_correction_after_a_minute_changes_nothing():
    window = Window()
    window.add(5, 0)
    window.advance(100_000)
    window.correct(7)
    assert window.total == 0
    assert window.empty


def test_a_clock_that_runs_backwards_neither_frees_nor_locks():
    window = Window()
    window.add(5, 90_000_000)
    window.advance(3_600_000)
    assert window.total == 5
    assert window.free_in_ms(5, 3_600_000) <= (WINDOW_S + 1) * 1000
    window.advance(3_600_000 + (WINDOW_S + 1) * 1000)
    assert window.total == 0
