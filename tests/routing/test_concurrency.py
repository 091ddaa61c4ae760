"""How many calls a deployment takes: learned from refusals and from latency, and forgotten again."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.routing.concurrency import (
    LANES_MAX,
    NEAR,
    PROVEN_MS,
    QUIET_MS,
    REFUSALS_MIN,
    REFUSED,
    TROUBLE_MS,
    WHOLE,
    ConcurrencyRules,
    Lanes,
    LaneView,
    Place,
    Went,
)


class Story:
    """Calls of one deployment, at a time that moves."""

    def __init__(self, **rules: object) -> None:
        self.lanes = Lanes(ConcurrencyRules(**rules))  # type: ignore[arg-type]
        self.now_ms = 1_700_000_000_000
        self.places: list[Place] = []

    def begin(self, times: int = 1) -> None:
        self.places += [self.lanes.enter("d", self.now_ms) for _ in range(times)]

    def end(self, went: Went, times: int = 1, *, ms: int = 100, last: bool = False) -> None:
        for _ in range(times):
            place = self.places.pop(-1 if last else 0)
            self.lanes.leave(place, self.now_ms, went, kind=0, sample=float(ms))

    def round(self, calls: int, *, ms: int, times: int = 1) -> None:
        """So many at a time, all as fast as each other."""
        for _ in range(times):
            self.begin(calls)
            self.now_ms += ms
            self.end(Went.WELL, calls, ms=ms)

    @property
    def limit(self) -> int | None:
        return self.lanes.view("d").limit


def test_without_a_sign_of_too_much_there_is_no_limit() -> None:
    story = Story()
    story.round(500, ms=200, times=5)
    assert story.limit is None
    assert story.lanes.full == ()


def test_a_refusal_lowers_the_limit_once_for_all_calls_of_its_round() -> None:
    story = Story()
    story.begin(23)
    story.end(Went.REFUSED, 3, last=True)
    assert story.limit == int(REFUSED * 20)
    story.end(Went.REFUSED, 20)
    assert story.limit == int(REFUSED * 20)
    assert story.lanes.view("d").in_flight == 0


def test_a_limit_that_is_in_use_grows_and_slowly_where_it_was_too_much() -> None:
    story = Story()
    story.begin(45)
    story.end(Went.REFUSED, 5, last=True)
    story.end(Went.WELL, 40)
    first = story.limit
    assert first is not None
    grown = []
    for _ in range(12):
        story.round(story.limit or 0, ms=100)
        grown.append(story.limit or 0)
    assert grown == sorted(grown)
    assert grown[0] > first + 1
    near = [after - before for before, after in pairwise(grown) if NEAR * 41 < before < 41]
    assert set(near) <= {0, 1, 2}, "one a round there"
    assert grown[-1] > 41, "and on beyond"


def test_a_limit_that_is_not_used_does_not_grow_and_is_forgotten() -> None:
    story = Story()
    story.begin(23)
    story.end(Went.REFUSED, 3, last=True)
    story.end(Went.WELL, 20)
    for _ in range(5):
        story.round(3, ms=100)
    assert story.limit == 17
    story.now_ms += QUIET_MS + 1
    story.begin()
    assert story.limit is None


def test_the_limit_never_goes_below_the_least() -> None:
    story = Story(least=3)
    for _ in range(30):
        story.begin(4)
        story.end(Went.REFUSED, 4)
    assert story.limit == 3


@pytest.mark.parametrize("went", [Went.REFUSED, Went.LATE])
@pytest.mark.parametrize("calls", [1, 2, 4, 20])
def test_a_lone_refusal_lowers_nothing(went: Went, calls: int) -> None:
    story = Story()
    for _ in range(20):
        story.begin(calls)
        story.end(went, last=True)
        story.end(Went.WELL, calls - 1)
        story.now_ms += TROUBLE_MS + 1
    assert story.limit is None


def test_with_few_calls_under_way_refusals_are_of_another_cause() -> None:
    story = Story()
    for _ in range(50):
        story.begin(2)
        story.now_ms += 100
        story.end(Went.REFUSED, 2)
    assert story.limit is None


def test_the_limit_does_not_go_below_what_went_well_shortly_before() -> None:
    story = Story()
    story.round(30, ms=100)
    story.begin(30)
    story.end(Went.REFUSED, 6, last=True)
    assert story.limit == 30
    story.end(Went.WELL, 24)
    for _ in range(12):
        story.begin(30)
        story.end(Went.REFUSED, 6, last=True)
        story.end(Went.WELL, 24)
    assert story.limit is not None
    assert story.limit < 25, "but it does if it goes on"


def test_what_went_well_long_ago_says_nothing() -> None:
    story = Story()
    story.round(30, ms=100)
    story.now_ms += 2 * PROVEN_MS
    story.begin(30)
    story.end(Went.REFUSED, 6, last=True)
    assert story.limit == int(REFUSED * 27), "below the third of them"


def test_after_trouble_the_limit_is_soon_what_it_was() -> None:
    story = Story()
    story.begin(45)
    story.end(Went.REFUSED, 5, last=True)
    story.end(Went.WELL, 40)
    for _ in range(4):
        story.now_ms += 100
        story.begin(20)
        story.end(Went.REFUSED, 5, last=True)
        story.end(Went.WELL, 15)
    low = story.limit
    assert low is not None
    assert low < 20
    for _ in range(3):
        story.round(story.limit or 0, ms=100)
    assert (story.limit or 0) > 0.85 * 20


def test_when_even_the_fastest_are_slow_the_limit_is_what_is_worked_on() -> None:
    story = Story()
    story.round(10, ms=100, times=10)
    story.begin(40)
    story.now_ms += 400
    story.end(Went.WELL, 40, ms=400)
    assert story.limit is not None
    assert story.limit < 24


def test_single_slow_answers_mean_nothing() -> None:
    story = Story()
    story.round(10, ms=100, times=5)
    for _ in range(20):
        story.begin(10)
        story.end(Went.WELL, 9, ms=5000)
        story.end(Went.WELL, 1, ms=110)
    assert story.limit is None


def test_if_fewer_calls_are_no_faster_it_was_not_their_number() -> None:
    story = Story()
    story.round(30, ms=100, times=5)
    story.round(30, ms=500)
    assert story.limit is not None
    story.round(story.limit, ms=500, times=3)
    assert story.limit is None
    story.round(30, ms=500, times=5)
    assert story.limit is None, "it is the usual speed now"


def test_if_fewer_calls_are_faster_the_limit_stays() -> None:
    story = Story()
    story.round(10, ms=100, times=5)
    story.round(30, ms=300)
    limit = story.limit
    assert limit is not None
    story.round(limit, ms=round(100 * limit / 10), times=2)
    assert story.limit is not None


def test_latency_may_be_left_out_of_it_and_so_may_all() -> None:
    story = Story(latency_factor=0.0)
    story.round(30, ms=100, times=5)
    story.round(30, ms=5000, times=5)
    assert story.limit is None
    story.begin(20)
    story.end(Went.REFUSED, 3, last=True)
    assert story.limit is not None
    off = Story(enabled=False)
    off.begin(20)
    off.end(Went.REFUSED, 20)
    assert off.limit is None


def test_what_says_nothing_of_the_load_changes_nothing() -> None:
    story = Story()
    story.begin(20)
    story.end(Went.NEITHER, 20)
    assert story.lanes.view("d") == LaneView(in_flight=0, limit=None, shed=0)


def test_a_ceiling_holds_whatever_was_learned_and_follows_the_configuration() -> None:
    story = Story(most=(("x", 1), ("d*", 3), ("*", 9)))
    assert story.limit == 3
    story.begin(3)
    assert not story.lanes.room("d")
    assert story.lanes.full == ("d",)
    story.lanes.rules = ConcurrencyRules(most=(("d", 4),))
    assert story.lanes.room("d")
    story.lanes.rules = ConcurrencyRules()
    assert story.limit is None


def test_switching_it_off_forgets_what_was_learned() -> None:
    story = Story()
    story.begin(9)
    story.end(Went.REFUSED, 9)
    story.lanes.rules = ConcurrencyRules(enabled=False)
    assert story.limit is None


def test_a_call_ends_once() -> None:
    lanes = Lanes()
    place = lanes.enter("d", 0)
    lanes.leave(place, 1, Went.WELL)
    lanes.leave(place, 1, Went.WELL)
    assert lanes.view("d").in_flight == 0


def test_how_long_one_waits_follows_from_how_long_calls_take() -> None:
    story = Story(most=(("d", 2),))
    story.begin(2)
    story.now_ms += 1000
    story.end(Went.WELL, 2)
    assert story.lanes.wait_ms("d", 0) == pytest.approx(500)
    assert story.lanes.wait_ms("d", 3) == pytest.approx(2000)


def test_only_so_many_deployments_are_remembered() -> None:
    lanes = Lanes()
    lanes.enter("busy", 0)
    for number in range(LANES_MAX + 5):
        place = lanes.enter(f"d{number}", 0)
        lanes.leave(place, 0, Went.WELL, kind=WHOLE)
    assert lanes.view("busy").in_flight == 1
    assert len(lanes._lanes) <= LANES_MAX + 1


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(Went), st.integers(0, 5000), st.integers(0, WHOLE)),
        max_size=200,
    ),
    st.integers(1, 5),
)
def test_whatever_happens_the_books_of_calls_are_right(
    steps: list[tuple[bool, Went, int, int]], least: int
) -> None:
    lanes = Lanes(ConcurrencyRules(least=least))
    places: list[Place] = []
    now_ms = 0
    for begins, went, ms, kind in steps:
        now_ms += ms
        if begins or not places:
            places.append(lanes.enter("d", now_ms))
        else:
            lanes.leave(places.pop(ms % len(places)), now_ms, went, kind=kind, sample=float(ms))
        view = lanes.view("d")
        assert view.in_flight == len(places)
        assert view.limit is None or view.limit >= least
        assert lanes.room("d") == (view.limit is None or view.in_flight < view.limit)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, REFUSALS_MIN - 1)), min_size=1, max_size=40),
    st.sampled_from([Went.REFUSED, Went.LATE]),
)
def test_stray_refusals_never_limit_anybody(rounds: list[tuple[int, int]], went: Went) -> None:
    """Fewer than REFUSALS_MIN within TROUBLE_MS, whatever is under way."""
    story = Story()
    for calls, refused in rounds:
        story.begin(calls)
        story.end(went, min(refused, calls), last=True)
        story.end(Went.WELL, calls - min(refused, calls))
        assert story.limit is None
        story.now_ms += TROUBLE_MS + 1


@settings(max_examples=200, deadline=None)
@given(st.integers(5, 200), st.integers(5, 200), st.sampled_from([Went.REFUSED, Went.LATE]))
def test_one_cut_keeps_what_was_proven_and_the_least(well: int, calls: int, went: Went) -> None:
    story = Story()
    story.round(well, ms=100)
    story.begin(calls)
    story.end(went, calls)
    if story.limit is not None:
        assert story.limit >= min(well, calls)
        assert story.limit >= ConcurrencyRules().least
