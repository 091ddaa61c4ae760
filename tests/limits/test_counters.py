from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.adapters.memory.counters import MemoryCounters
from llm_router.domain.key import Limits
from llm_router.wire.heads import Head, anthropic_head, duration, openai_head


def now(coroutine):
    """What it returns without ever waiting."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    return ended.value.value


class Counters(MemoryCounters):
    def admit(self, *arguments):
        return now(super().admit(*arguments))

    def release(self, *arguments):
        return now(super().release(*arguments))


def told(admission):
    head = openai_head(Head(request_id="r", at_ms=0, limits=admission.limits))
    return [(name, value) for name, value in head if name.startswith("x-ratelimit")]


def test_the_same_in_the_words_of_anthropic():
    limits = Limits(requests_per_minute=2, tokens_per_minute=100)
    admission = Counters().admit("k", limits, 40, 10_500)
    head = dict(anthropic_head(Head(request_id="gen-1", at_ms=10_500, limits=admission.limits)))
    assert head == {
        "request-id": "gen-1",
        "x-request-id": "gen-1",
        "anthropic-ratelimit-requests-limit": "2",
        "anthropic-ratelimit-requests-remaining": "1",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:01:11Z",
        **{
            f"anthropic-ratelimit-{kind}-{what}": value
            for kind in ("tokens", "input-tokens", "output-tokens")
            for what, value in (("limit", "100"), ("remaining", "60"), ("reset", "1970-01-01T00:01:11Z"))
        },
    }


def test_no_limits_admit_everything_and_remember_nothing():
    counters = Counters()
    for number in range(1000):
        admission = counters.admit(f"k{number}", Limits(), 10**9, 0)
        assert (admission.refused, admission.limits) == (None, ())
        counters.release(f"k{number}", Limits(), 10**9, 1)
    assert len(counters) == 0


def test_requests_a_minute():
    counters, limits = Counters(), Limits(requests_per_minute=2)
    first = counters.admit("k", limits, 0, 10_500)
    assert first.refused is None
    assert dict(told(first)) == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1m1s",
    }
    assert counters.admit("k", limits, 0, 20_000).refused is None
    third = counters.admit("k", limits, 0, 30_000)
    assert (third.refused, third.retry_after_s) == ("requests", 41.0)
    assert dict(told(third))["x-ratelimit-remaining-requests"] == "0"
    assert counters.admit("other", limits, 0, 30_000).refused is None  # keys do not share
    assert counters.admit("k", limits, 0, 71_000).refused is None


def test_tokens_are_taken_at_admission_and_corrected_at_release():
    counters, limits = Counters(), Limits(tokens_per_minute=1000)
    assert counters.admit("k", limits, 900, 0).refused is None
    refused = counters.admit("k", limits, 101, 0)
    assert (refused.refused, refused.retry_after_s) == ("tokens", 61.0)
    counters.release("k", limits, 900, 400)
    assert counters.admit("k", limits, 600, 0).refused is None
    counters.release("k", limits, 600, 650)  # more than estimated
    last = counters.admit("k", limits, 1, 0)
    assert last.refused == "tokens"
    assert dict(told(last))["x-ratelimit-remaining-tokens"] == "0"
    assert "x-ratelimit-limit-requests" not in dict(told(last))


def test_concurrency_is_freed_by_release():
    counters, limits = Counters(), Limits(concurrency=2)
    assert counters.admit("k", limits, 0, 0).refused is None
    assert counters.admit("k", limits, 0, 0).refused is None
    third = counters.admit("k", limits, 0, 0)
    assert (third.refused, third.retry_after_s, third.limits) == ("concurrency", 1.0, ())
    counters.release("k", limits, 0, 0)
    assert counters.admit("k", limits, 0, 10**9).refused is None
    assert counters.admit("k", limits, 0, 10**9).refused == "concurrency"  # open for long, still open


def test_all_windows_move_or_none():
    counters = Counters()
    limits = Limits(requests_per_minute=3, tokens_per_minute=100, concurrency=2)
    assert counters.admit("k", limits, 60, 0).refused is None
    assert counters.admit("k", limits, 60, 0).refused == "tokens"
    assert counters.admit("k", limits, 40, 0).refused is None  # the refused one took nothing
    refused = counters.admit("k", limits, 0, 0)
    assert refused.refused == "concurrency"
    assert dict(told(refused))["x-ratelimit-remaining-requests"] == "1"


def test_of_several_reasons_the_longest_wait_is_told():
    counters, limits = Counters(), Limits(requests_per_minute=1, concurrency=1)
    counters.admit("k", limits, 0, 0)
    refused = counters.admit("k", limits, 0, 0)
    assert (refused.refused, refused.retry_after_s) == ("requests", 61.0)


def test_a_request_that_can_never_fit_is_refused():
    counters = Counters()
    refused = counters.admit("k", Limits(tokens_per_minute=10), 11, 0)
    assert (refused.refused, refused.retry_after_s) == ("tokens", 60.0)
    assert counters.admit("k", Limits(requests_per_minute=0), 0, 0).refused == "requests"
    assert counters.admit("k", Limits(concurrency=0), 0, 0).refused == "concurrency"


def test_idle_keys_are_dropped_and_busy_ones_kept():
    counters, limits = Counters(), Limits(requests_per_minute=5)
    counters.admit("busy", limits, 0, 0)
    for number in range(1, 20_000):
        counters.admit(f"k{number}", limits, 0, number * 100)
        counters.release(f"k{number}", limits, 0, 0)
    assert len(counters) <= 61 * 10 + 2
    counters.release("busy", limits, 0, 0)
    counters.release("busy", limits, 0, 0)  # one too many does no harm
    counters.release("unknown", limits, 0, 0)


def test_a_flood_of_refused_keys_is_forgotten_too():
    counters, limits = Counters(), Limits(tokens_per_minute=1)
    for number in range(5000):
        counters.admit(f"k{number}", limits, 100, 0)
    for number in range(5000):
        counters.admit("one", limits, 100, 100_000 + number)
    assert len(counters) == 1


LIMITS = st.builds(
    Limits,
    requests_per_minute=st.none() | st.integers(0, 6),
    tokens_per_minute=st.none() | st.integers(0, 200),
    concurrency=st.none() | st.integers(0, 3),
)
STEPS = st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 90), st.booleans()), max_size=60)


@given(LIMITS, STEPS)
def test_no_minute_ever_exceeds_a_limit(limits, steps):
    counters, now_ms, admitted, open_ = Counters(), 0, [], 0
    for pause_ms, tokens, ends in steps:
        now_ms += pause_ms
        if ends and open_:
            counters.release("k", limits, 0, 0)
            open_ -= 1
        if counters.admit("k", limits, tokens, now_ms).refused is None:
            admitted.append((now_ms, tokens))
            open_ += 1
        minute = [count for at, count in admitted if at > now_ms - 60_000]
        if limits.requests_per_minute is not None:
            assert len(minute) <= limits.requests_per_minute
        if limits.tokens_per_minute is not None:
            assert sum(minute) <= limits.tokens_per_minute
        if limits.concurrency is not None:
            assert open_ <= limits.concurrency


@given(LIMITS, STEPS)
def test_after_the_wait_that_was_told_a_request_is_admitted(limits, steps):
    counters, now_ms = Counters(), 0
    for pause_ms, tokens, _ in steps:
        now_ms += pause_ms
        admission = counters.admit("k", limits, tokens, now_ms)
        if admission.refused in ("requests", "tokens"):
            fits = limits.tokens_per_minute is None or tokens <= limits.tokens_per_minute
            if fits and limits.requests_per_minute != 0:
                now_ms += round(admission.retry_after_s * 1000)
                admission = counters.admit("k", limits, tokens, now_ms)
                assert admission.refused in (None, "concurrency")
        if admission.refused is None:
            counters.release("k", limits, tokens, tokens)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0s"),
        (1, "1s"),
        (1000, "1s"),
        (1001, "2s"),
        (60_000, "1m0s"),
        (360_000, "6m0s"),
        (3_661_000, "1h1m1s"),
    ],
)
def test_durations_are_written_as_openai_does(ms, text):
    assert duration(ms) == text
