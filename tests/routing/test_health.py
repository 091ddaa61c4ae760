"""The circuit of a deployment: who is passed over, for how long, and that never everybody is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.routing.health import (
    COOLDOWN_MS,
    COOLDOWN_MS_MAX,
    SHARE_MIN,
    Fared,
    Health,
    HealthRules,
    HealthView,
    size_of,
    spread,
)

RULES = HealthRules(
    failures_max=3, error_rate_max=0.5, calls_min=10, window_s=60, open_s=10, open_s_max=35, slow_start_s=20
)


class Story:
    """Calls of one deployment after the other, at a time that moves."""

    def __init__(self, rules: HealthRules = RULES) -> None:
        self.health = Health(rules)
        self.now_ms = 1_700_000_000_000

    def call(self, how: Fared, times: int = 1, at: str = "d", **more: Any) -> None:
        for _ in range(times):
            begun = self.health.began(at, self.now_ms)
            self.health.ended(begun, self.now_ms, how, why="server", **more)

    def later(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def view(self, at: str = "d") -> HealthView:
        return self.health.view(at, self.now_ms)


def test_failures_in_a_row_open_the_circuit_and_a_trial_closes_it() -> None:
    story = Story()
    story.call(Fared.BADLY, 2)
    story.call(Fared.WELL)
    story.call(Fared.BADLY, 2)
    assert story.view().available
    assert story.health.quiet
    story.call(Fared.BADLY)
    view = story.view()
    assert (view.available, view.state, view.back_ms) == (False, "open", story.now_ms + 10_000)
    assert not story.health.quiet
    story.later(10)
    assert (story.view().available, story.view().state, story.view().share) == (True, "half_open", SHARE_MIN)
    story.call(Fared.WELL)
    assert (story.view().available, story.view().state, story.view().share) == (True, "closed", SHARE_MIN)
    story.later(10)
    assert story.view().share == 0.5
    story.later(10)
    assert story.view().share == 1.0
    assert story.health.quiet


def test_a_trial_that_fails_opens_it_for_twice_as_long() -> None:
    story, waits = Story(), []
    story.call(Fared.BADLY, 3)
    for _ in range(4):
        back_ms = story.view().back_ms
        assert back_ms is not None
        waits.append((back_ms - story.now_ms) / 1000)
        story.later(waits[-1])
        story.call(Fared.BADLY)
    assert waits == [10, 20, 35, 35]


def test_one_trial_at_a_time() -> None:
    story = Story()
    story.call(Fared.BADLY, 3)
    story.later(10)
    trial = story.health.began("d", story.now_ms)
    assert story.view().available is False
    story.health.ended(trial, story.now_ms, Fared.NEITHER)  # its client left: nothing is known
    assert (story.view().available, story.view().state) == (True, "half_open")


def test_what_began_before_it_opened_proves_nothing() -> None:
    story = Story()
    early = story.health.began("d", story.now_ms)
    story.call(Fared.BADLY, 3)
    story.health.ended(early, story.now_ms, Fared.WELL)
    assert story.view().state == "open"


def test_half_of_many_calls_open_it_too() -> None:
    story = Story()
    for _ in range(4):
        story.call(Fared.BADLY)
        story.call(Fared.WELL)
    assert story.view().available
    story.call(Fared.WELL)
    story.call(Fared.BADLY)
    assert story.view().state == "open"


def test_what_is_older_than_the_window_does_not_count() -> None:
    story = Story()
    for _ in range(4):
        story.call(Fared.BADLY)
        story.call(Fared.WELL)
    story.later(61)
    assert (story.view().calls, story.view().error_rate) == (0, None)
    story.call(Fared.WELL)
    story.call(Fared.BADLY, 2)
    assert story.view().available


def test_the_client_s_own_never_counts() -> None:
    story = Story()
    story.call(Fared.NEITHER, 100)
    assert story.view() == HealthView()
    story.call(Fared.BADLY, 2)
    story.call(Fared.NEITHER, 10)
    story.call(Fared.BADLY)
    assert story.view().state == "open"  # nor does it interrupt a row


def test_who_asks_to_be_left_alone_is() -> None:
    story = Story()
    story.call(Fared.LIMITED, cooldown_ms=5_000)
    view = story.view()
    assert (view.available, view.state, view.back_ms) == (False, "closed", story.now_ms + 5_000)
    story.later(5)
    assert story.view().available
    assert story.health.quiet
    story.call(Fared.LIMITED, cooldown_ms=10**12)
    assert story.view().back_ms == story.now_ms + COOLDOWN_MS_MAX


def test_without_a_word_the_pause_grows() -> None:
    story, waits = Story(), []
    for _ in range(8):
        story.call(Fared.LIMITED)
        back_ms = story.view().back_ms
        assert back_ms is not None
        waits.append((back_ms - story.now_ms) // COOLDOWN_MS)
        story.later(3600)
    assert waits == [1, 2, 4, 8, 16, 32, 32, 32]
    story.call(Fared.WELL)
    story.call(Fared.LIMITED)
    assert story.view().back_ms == story.now_ms + COOLDOWN_MS


def test_switched_off_it_only_measures() -> None:
    story = Story(HealthRules(enabled=False))
    story.call(Fared.BADLY, 100)
    story.call(Fared.LIMITED, cooldown_ms=10_000)
    assert story.view().available
    assert story.health.quiet
    assert story.view().error_rate == 1.0


def test_times_are_means_by_size() -> None:
    story = Story()
    story.call(Fared.WELL, ttft_ms=100, tokens_per_s=50, input_tokens=10)
    story.call(Fared.WELL, ttft_ms=300, tokens_per_s=70, input_tokens=10)
    story.call(Fared.WELL, ttft_ms=2000, input_tokens=10_000)
    view = story.view()
    assert view.ttft_ms == (200, None, 2000, None)
    assert view.tokens_per_s == 60
    assert [view.ttft_of(size) for size in range(4)] == [200, 200, 2000, 2000]
    assert HealthView().ttft_of(0) is None
    for _ in range(100):
        story.call(Fared.WELL, ttft_ms=1000, input_tokens=10)
    assert 990 < (story.view().ttft_ms[0] or 0) <= 1000


@pytest.mark.parametrize(
    ("tokens", "size"), [(0, 0), (999, 0), (1000, 1), (8000, 2), (64_000, 3), (10**7, 3)]
)
def test_sizes(tokens: int, size: int) -> None:
    assert size_of(tokens) == size


def test_at_most_a_share_is_passed_over_and_never_the_last() -> None:
    story = Story()
    for name in "abcd":
        story.call(Fared.BADLY, 3, at=name)
        story.later(1)
    views = story.health.views(tuple("abcd"), story.now_ms)
    assert [view.available for view in views] == [True, True, False, False]
    assert [view.available for view in story.health.views(("d",), story.now_ms)] == [True]
    assert [view.available for view in story.health.views(("d", "well"), story.now_ms)] == [False, True]


def test_the_unwell_come_last_and_those_who_return_slowly_in_part() -> None:
    well, ill, slow = HealthView(), HealthView(available=False), HealthView(share=0.3)
    assert spread([ill, well, slow], iter([0.2])) == [1, 2, 0]
    assert spread([slow, ill, well], iter([0.4])) == [2, 0, 1]


EVENTS = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from(list(Fared)),
    st.integers(0, 20_000),
    st.none() | st.integers(0, 10**7),
)


@settings(max_examples=300)
@given(st.lists(EVENTS, max_size=80), st.integers(0, 5))
def test_laws(events: list[tuple[str, Fared, int, int | None]], open_calls: int) -> None:
    """Whatever happens: counts fit, never all are passed over, and who is left alone is well again in time."""
    story = Story()
    waiting = [story.health.began("abc"[n % 3], story.now_ms) for n in range(open_calls)]
    for name, how, pause_ms, cooldown_ms in events:
        story.call(how, at=name, cooldown_ms=cooldown_ms)
        story.now_ms += pause_ms
        views = story.health.views(("a", "b", "c"), story.now_ms)
        assert sum(view.available for view in views) >= 2
        for view in views:
            assert 0 < view.share <= 1
            assert view.error_rate is None or 0 <= view.error_rate <= 1
            assert (view.reason is None) == (view.back_ms is None)
        if story.health.quiet:
            assert all(view.available and view.share == 1.0 for view in views)
    for call in waiting:
        story.health.ended(call, story.now_ms, Fared.NEITHER)
        story.health.ended(call, story.now_ms, Fared.NEITHER)  # a second word is not heard
    assert [story.view(name).in_flight for name in "abc"] == [0, 0, 0]
    story.later(COOLDOWN_MS_MAX / 1000 + 35)
    for name in "abc":
        assert story.view(name).available
        story.call(Fared.WELL, at=name)
    story.later(RULES.slow_start_s)
    assert all(story.view(name).share == 1.0 for name in "abc")
    assert story.health.quiet


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_router.routing.health.DEPLOYMENTS_MAX", 3)
    story = Story()
    busy = story.health.began("busy", story.now_ms)
    for n in range(10):
        story.call(Fared.WELL, at=f"d{n}")
    assert story.health.deployments == ("busy", "d8", "d9")
    story.health.ended(busy, story.now_ms, Fared.WELL)
