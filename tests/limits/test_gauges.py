"""Limits that are looked up once count as they do one by one."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from limit_cases import limit

from llm_router.limits.tally import Gauge, Tally

OWN = [limit("requests", 7), limit("tokens", 90), limit("concurrency", 3)]
SETS = [
    OWN,
    [limit("tokens", 60, "hour"), limit("requests", 5)],
    [limit("concurrency", 3), *OWN[:2], limit("requests", 40, "day")],
]

ONWARDS = (0, 0, 1, 300, 999, 1000, 20_000, 61_000, 4_000_000)


def one_by_one(tally, limits, ticket, tokens, now_ms):
    return tally.admit(ticket, limits, tokens, now_ms)


def steps(later_ms):
    return st.lists(
        st.tuples(
            st.sampled_from(["gauge", "gauge", "one by one", "release"]),
            st.integers(0, len(SETS) - 1),
            st.integers(0, 40),
            st.sampled_from(later_ms),
        ),
        max_size=60,
    )


@given(steps(ONWARDS))
def test_a_gauge_says_and_counts_what_the_tally_does(steps):
    gauged, plain = Tally(), Tally()
    gauges = [Gauge(gauged, limits) for limits in SETS]
    now_ms, open_ = 100_000_500, []
    for number, (what, which, tokens, later_ms) in enumerate(steps):
        now_ms += later_ms
        ticket = f"t{number}"
        if what == "release":
            if open_:
                ticket = open_.pop(which % len(open_))
                gauged.release(ticket, tokens, now_ms)
                plain.release(ticket, tokens, now_ms)
            continue
        if what == "gauge":
            found = gauges[which].admit(ticket, tokens, now_ms)
        else:
            found = gauged.admit(ticket, SETS[which], tokens, now_ms)
        assert found == plain.admit(ticket, SETS[which], tokens, now_ms)
        if found.refused is None:
            open_.append(ticket)
        assert gauged.busy() == plain.busy()


@given(steps((*ONWARDS, -1, -700, -70_000, -8_000_000)))
def test_nothing_stays_counted_when_the_clock_jumps(steps):
    tally = Tally()
    gauges = [Gauge(tally, limits) for limits in SETS]
    now_ms, open_ = 100_000_500, []
    for number, (what, which, tokens, later_ms) in enumerate(steps):
        now_ms += later_ms
        if what == "release" and open_:
            tally.release(open_.pop(which % len(open_)), tokens, now_ms)
        elif what != "release":
            admit = gauges[which].admit if what == "gauge" else partial(one_by_one, tally, SETS[which])
            if admit(f"t{number}", tokens, now_ms).refused is None:
                open_.append(f"t{number}")
    for ticket in open_:
        tally.release(ticket, 0, now_ms)
    assert tally.busy() == {}
    for which, gauge in enumerate(gauges):
        found = gauge.admit(f"last{which}", 1, now_ms + (which + 1) * 100_000_000)
        assert found.refused is None
        used = {state.kind: state.limit - state.remaining for state in found.limits}
        assert used["requests"] == used["tokens"] == 1
        tally.release(f"last{which}", 1, now_ms)


def test_windows_that_were_forgotten_are_looked_up_again():
    tally = Tally()
    gauge = Gauge(tally, OWN)
    assert gauge.admit("1", 10, 500).refused is None
    tally.release("1", 10, 500)
    for number in range(200):  # the clock jumps, and others come and go until what is idle is swept out
        tally.admit(f"o{number}", [limit("requests", 10**6, scope_id=f"s{number}")], 1, 200_000 + number)
        tally.release(f"o{number}", 1, 200_000 + number)
    assert all(OWN[0].id not in shelf for shelf in tally._windows.values()), "it was forgotten"
    for number in range(7):  # and it jumps back
        assert gauge.admit(f"g{number}", 0, 501).refused is None
        tally.release(f"g{number}", 0, 501)
    assert tally.admit("last", OWN, 0, 501).refused is OWN[0]
