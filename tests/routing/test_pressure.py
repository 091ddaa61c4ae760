"""When a process turns requests away because it is late itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.routing.pressure import LOOKS, PART_MAX, Pressure


def seen(*delays_s: float, most_s: float = 1.0) -> Pressure:
    pressure = Pressure()
    for delay_s in delays_s:
        pressure.look(delay_s, most_s)
    return pressure


def refused(pressure: Pressure, times: int = 1000) -> int:
    return sum(pressure.refuses(batch=False) for _ in range(times))


def test_a_burst_is_no_reason() -> None:
    assert refused(seen(*[5.0] * (LOOKS - 1), 0.1, *[5.0] * (LOOKS - 1))) == 0


def test_a_delay_that_stays_refuses_more_and_more_but_never_all() -> None:
    parts = [refused(seen(*[2.0] * looks)) for looks in range(LOOKS, LOOKS + 10)]
    assert parts == sorted(parts)
    assert abs(parts[0] - 200) <= 1
    assert abs(parts[-1] - 1000 * PART_MAX) <= 1


def test_batches_go_first_and_all_of_them() -> None:
    pressure = seen(*[2.0] * LOOKS)
    assert all(pressure.refuses(batch=True) for _ in range(10))
    assert pressure.refused == 10


def test_when_it_is_over_everybody_is_served_again() -> None:
    pressure = seen(*[2.0] * 20, *[0.0] * 20)
    assert (pressure.part, refused(pressure)) == (0.0, 0)


def test_without_a_bound_nobody_is_refused() -> None:
    assert refused(seen(*[60.0] * 20, most_s=0.0)) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 100), max_size=50))
def test_the_part_stays_within_its_bounds(delays_s: list[float]) -> None:
    assert 0.0 <= seen(*delays_s).part <= PART_MAX
