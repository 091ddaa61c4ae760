from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limit_cases import BruteForce, limit, now

from llm_router.adapters.memory.counters import MemoryCounters
from llm_router.domain.budget import Payer, Scope, Window
from llm_router.domain.key import Limits
from llm_router.domain.limit import Limit, LimitKind, check_limit
from llm_router.limits.rules import LimitBook, concerning, own_limits
from llm_router.limits.tally import LOOKS, Tally
from llm_router.wire.heads import Head, anthropic_head, duration, fields, openai_head


def told(admission):
    head = openai_head(Head(request_id="r", at_ms=0, limits=admission.limits))
    return [
        (name.decode(), value.decode()) for name, value in fields(head) if name.startswith(b"x-ratelimit")
    ]


def test_the_same_in_the_words_of_anthropic():
    admission = Tally().admit("t", [limit("requests", 2), limit("tokens", 100)], 40, 10_500)
    head = anthropic_head(Head(request_id="gen-1", at_ms=10_500, limits=admission.limits))
    assert {name.decode(): value.decode() for name, value in fields(head)} == {
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
    counters = MemoryCounters()
    for number in range(1000):
        admission = now(counters.admit(f"t{number}", [], 10**9, 0))
        assert (admission.refused, admission.limits) == (None, ())
        now(counters.release(f"t{number}", 1, 0))
    assert len(counters) == 0
    assert counters.problem() is None


def test_requests_a_minute():
    tally, limits = Tally(), [limit("requests", 2)]
    first = tally.admit("1", limits, 0, 10_500)
    assert first.refused is None
    assert dict(told(first)) == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1m1s",
    }
    assert tally.admit("2", limits, 0, 20_000).refused is None
    third = tally.admit("3", limits, 0, 30_000)
    assert (third.refused, third.retry_after_s, third.remaining) == (limits[0], 41.0, 0)
    assert dict(told(third))["x-ratelimit-remaining-requests"] == "0"
    assert tally.admit("4", [limit("requests", 2, scope_id="other")], 0, 30_000).refused is None
    assert tally.admit("5", limits, 0, 71_000).refused is None


def test_requests_a_day_come_back_by_sixtieths():
    tally, limits = Tally(), [limit("requests", 1, "day")]
    assert tally.admit("1", limits, 0, 0).refused is None
    assert tally.admit("2", limits, 0, 86_400_000).refused is limits[0]
    assert tally.admit("3", limits, 0, 86_400_000 + 1_440_000).refused is None


def test_tokens_are_taken_at_admission_and_corrected_at_release():
    tally, limits = Tally(), [limit("tokens", 1000)]
    assert tally.admit("1", limits, 900, 0).refused is None
    refused = tally.admit("2", limits, 101, 0)
    assert (refused.refused, refused.retry_after_s, refused.remaining) == (limits[0], 61.0, 100)
    tally.release("1", 400, 0)
    assert tally.admit("3", limits, 600, 0).refused is None
    tally.release("3", 650, 0)  # more than estimated
    last = tally.admit("4", limits, 1, 0)
    assert last.refused is limits[0]
    assert dict(told(last))["x-ratelimit-remaining-tokens"] == "0"
    assert "x-ratelimit-limit-requests" not in dict(told(last))


def test_a_correction_takes_nothing_of_what_came_later():
    tally, limits = Tally(), [limit("tokens", 1000)]
    tally.admit("early", limits, 900, 0)
    tally.admit("late", limits, 50, 30_000)
    tally.release("early", 0, 40_000)
    assert tally.admit("next", limits, 951, 62_000).refused is limits[0]
    assert tally.admit("next", limits, 950, 62_000).refused is None


def test_concurrency_is_freed_by_release():
    tally, limits = Tally(), [limit("concurrency", 2)]
    assert tally.admit("1", limits, 0, 0).refused is None
    assert tally.admit("2", limits, 0, 0).refused is None
    third = tally.admit("3", limits, 0, 0)
    assert (third.refused, third.retry_after_s) == (limits[0], 1.0)
    assert told(third) == [
        ("x-ratelimit-limit-concurrency", "2"),
        ("x-ratelimit-remaining-concurrency", "0"),
    ]
    tally.release("3", 0, 0)  # was not admitted
    assert tally.admit("4", limits, 0, 0).refused is limits[0]
    tally.release("1", 0, 0)
    tally.release("1", 0, 0)  # frees its place once
    assert tally.admit("5", limits, 0, 10**9).refused is None
    assert tally.admit("6", limits, 0, 10**9).refused is limits[0]  # open for long, still open


def test_all_limits_move_or_none():
    tally = Tally()
    tokens, limits = (
        limit("tokens", 100),
        [limit("requests", 3), limit("tokens", 100), limit("concurrency", 2)],
    )
    assert tally.admit("1", limits, 60, 0).refused is None
    assert tally.admit("2", limits, 60, 0).refused == tokens
    assert tally.admit("3", limits, 40, 0).refused is None  # the refused one took nothing
    refused = tally.admit("4", limits, 0, 0)
    assert refused.refused.kind is LimitKind.CONCURRENCY
    assert dict(told(refused))["x-ratelimit-remaining-requests"] == "1"


def test_of_several_reasons_the_longest_wait_is_told():
    tally, limits = Tally(), [limit("concurrency", 1), limit("requests", 1), limit("requests", 1, "hour")]
    tally.admit("1", limits, 0, 0)
    refused = tally.admit("2", limits, 0, 0)
    assert (refused.refused, refused.retry_after_s) == (limits[2], 3660.0)


def test_the_headers_tell_the_tightest_limit_of_each_kind():
    limits = [limit("requests", 10), limit("requests", 5, "day"), limit("requests", 6, scope_id="team")]
    admission = Tally().admit("1", [*limits, limit("tokens", 9)], 2, 0)
    assert [(s.kind, s.limit, s.remaining, s.window) for s in admission.limits] == [
        ("requests", 5, 4, "day"),
        ("tokens", 9, 7, "minute"),
    ]


def test_a_request_that_can_never_fit_is_refused():
    tally, limits = Tally(), [limit("tokens", 10)]
    refused = tally.admit("1", limits, 11, 0)
    assert (refused.refused, refused.retry_after_s) == (limits[0], 60.0)
    assert tally.admit("2", [limit("requests", 0)], 0, 0).refused is not None
    assert tally.admit("3", [limit("concurrency", 0)], 0, 0).refused is not None


def test_idle_limits_are_forgotten_and_busy_ones_kept():
    tally, day = Tally(), limit("requests", 5, "day", scope_id="all")
    busy = limit("concurrency", 5, scope_id="busy")
    tally.admit("busy", [busy], 0, 0)
    for number in range(1, 20_000):
        limits = [limit("requests", 5, scope_id=f"k{number}"), day, limit("concurrency", 9)]
        tally.admit(f"t{number}", limits, 0, number * 100)
        tally.release(f"t{number}", 0, 0)
    assert len(tally) <= 61 * 10 + 4 + LOOKS
    assert tally.busy() == {busy.id: 1}


def test_a_flood_of_refused_keys_is_forgotten_too():
    tally = Tally()
    for number in range(5000):
        tally.admit(f"t{number}", [limit("tokens", 1, scope_id=f"k{number}")], 100, 0)
    for number in range(5000):
        tally.admit(f"u{number}", [limit("tokens", 1)], 100, 100_000 + number)
    assert len(tally) == 1


LIMITS = st.lists(
    st.builds(
        limit,
        st.sampled_from(("requests", "tokens", "concurrency")),
        st.integers(0, 9),
        st.sampled_from(("minute", "hour", "day")),
        scope_id=st.sampled_from(("k", "team", "acme")),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda one: one.id,
)
# (pause in ms, tokens, which of the limits concern the request, what to release, tokens used)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 30_000) | st.integers(0, 40_000_000),
        st.integers(0, 9),
        st.integers(1, 31),
        st.none() | st.integers(0, 50),
        st.integers(0, 14),
    ),
    max_size=50,
)


@given(LIMITS, STEPS)
def test_against_a_model_that_adds_everything_up(limits, steps):
    """No window of its length ever admits above the amount; a request that a window of one slice more has
    room for is admitted; all limits move or none."""
    tally, model, now_ms, tickets = Tally(), BruteForce(), 0, []
    for number, (pause_ms, tokens, mask, ends, used) in enumerate(steps):
        now_ms += pause_ms
        if ends is not None and tickets:
            ticket = tickets[ends % len(tickets)]
            tally.release(ticket, used, now_ms)
            model.released(ticket, used, now_ms)
        asked = [one for bit, one in enumerate(limits) if mask >> bit & 1]
        admission = tally.admit(str(number), asked, tokens, now_ms)
        if admission.refused is None:
            assert all(model.room(one, tokens, now_ms) for one in asked)
            if asked:
                model.admitted(str(number), asked, tokens, now_ms)
                tickets.append(str(number))
        else:
            assert not all(model.room(one, tokens, now_ms, slices=1) for one in asked)
            assert admission.refused in asked
        for one in asked:
            standing = next(s for s in admission.limits if s.kind == one.kind)
            assert standing.remaining >= 0
            assert standing.remaining <= max(0, one.amount - model.used(one, now_ms))


@given(LIMITS, STEPS)
def test_after_the_wait_that_was_told_a_request_is_admitted(limits, steps):
    tally, now_ms = Tally(), 0
    for number, (pause_ms, tokens, _, _, used) in enumerate(steps):
        now_ms += pause_ms
        admission = tally.admit(str(number), limits, tokens, now_ms)
        refused = admission.refused
        if refused is not None and refused.window is not None:
            needed = tokens if refused.kind is LimitKind.TOKENS else 1
            if needed <= refused.amount:
                now_ms += round(admission.retry_after_s * 1000)
                again = tally.admit(str(number), limits, tokens, now_ms).refused
                assert again is None or again.window is None or _never(again, tokens)
        tally.release(str(number), min(used, tokens), now_ms)


def _never(one: Limit, tokens: int) -> bool:
    return one.amount < (tokens if one.kind is LimitKind.TOKENS else 1)


@given(LIMITS, STEPS, st.lists(st.integers(-(10**10), 0), max_size=50))
def test_a_clock_running_backwards_lets_nothing_in_early(limits, steps, jumps):
    """Against the model on a clock that stands still where the real one jumps back."""
    tally, model, now_ms, true_ms = Tally(), BruteForce(), 10**13, 0
    for number, (pause_ms, tokens, mask, _, _) in enumerate(steps):
        now_ms += pause_ms + (jumps[number] if number < len(jumps) else 0)
        true_ms += pause_ms if number >= len(jumps) or jumps[number] == 0 else 0
        asked = [one for bit, one in enumerate(limits) if mask >> bit & 1]
        if tally.admit(str(number), asked, tokens, now_ms).refused is None:
            for one in asked:
                if one.window is None:
                    assert model.room(one, tokens, true_ms)
            model.admitted(str(number), asked, tokens, true_ms)


def test_which_limits_concern_a_request():
    book = LimitBook()
    for number, (scope, id_, model) in enumerate(
        [
            (Scope.ACCOUNT, "acme", None),
            (Scope.TEAM, "red", "gpt-*"),
            (Scope.USER, "ann", None),
            (Scope.KEY, "k", "claude-*"),
            (Scope.TEAM, "blue", None),
        ]
    ):
        book.put(limit("requests", 1, id=f"l{number}", scope=scope, scope_id=id_, model=model))
    book.put(limit("requests", 1, id="other", account="other", scope=Scope.TEAM, scope_id="red"))
    ann = Payer(account="acme", key="k", team="red", user="ann")
    found = book.of_payer(ann)
    assert [one.id for one in found] == ["l0", "l1", "l2", "l3"]
    assert [one.id for one in concerning(found, "gpt-5")] == ["l0", "l1", "l2"]
    assert [one.id for one in concerning(found, "claude-x")] == ["l0", "l2", "l3"]
    assert [one.id for one in book.of_account("other")] == ["other"]
    assert book.remove("l2") is not None
    assert book.remove("l2") is None
    assert [one.id for one in book.of_payer(ann)] == ["l0", "l1", "l3"]
    assert LimitBook().of_payer(ann) == ()


def test_a_keys_own_limits_go_over_the_configured_ones():
    payer = Payer(account="acme", key="k")
    own, default = Limits(requests_per_minute=0), Limits(requests_per_minute=5, concurrency=3)
    found = own_limits(payer, own, default)
    assert [(one.id, one.amount) for one in found] == [("k.requests", 0), ("k.concurrency", 3)]
    assert own_limits(payer, Limits(), Limits()) == []
    for one in found:
        check_limit(one)


@pytest.mark.parametrize(
    "wrong",
    [
        limit("requests", -1),
        limit("requests", 1, "week"),
        limit("requests", 1, scope=Scope.SESSION),
        limit("tokens", 1, None),
    ],
)
def test_what_no_limit_can_be(wrong):
    with pytest.raises(ValueError, match="limit"):
        check_limit(wrong)


def test_concurrency_has_no_window():
    good = limit("concurrency", 1)
    check_limit(good)
    with pytest.raises(ValueError, match="no window"):
        check_limit(
            Limit(
                id="x",
                account="a",
                scope=Scope.KEY,
                scope_id="k",
                kind=LimitKind.CONCURRENCY,
                amount=1,
                window=Window.HOUR,
            )
        )


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
