"""From where sums are read: every hour from one place, whatever is asked for and however far the store has come."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_router.billing.folds import DAY_HOURS, FOLDS, folded_key, parts_of, range_of
from llm_router.billing.rollups import RollupKey

NAMES = ("account", "key", "team", "user", "model", "provider", "tags")
HOURS = st.integers(0, 120)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    by=st.sets(st.sampled_from((*NAMES, "hour", "day"))),
    filtered=st.sets(st.sampled_from(NAMES)),
    from_hour=HOURS,
    to_hour=HOURS,
    folded_to=HOURS,
)
def test_each_hour_is_read_from_one_place(by, filtered, from_hour, to_hour, folded_to):
    read: Counter[int] = Counter()
    for fold, begin, end in parts_of(by, filtered, from_hour=from_hour, to_hour=to_hour, folded_to=folded_to):
        if fold is None:
            read.update(range(begin, end))
            continue
        assert (by | filtered) - {"hour", "day"} <= set(fold.of)
        assert fold.hours == 1 or "hour" not in by
        for hour in range(begin - begin % fold.hours, end, fold.hours):
            # A row holds those of its hours that are folded.
            read.update(at for at in range(hour, hour + fold.hours) if at < folded_to)
    assert read == Counter(range(from_hour, to_hour))


def test_long_spans_are_read_by_the_day_and_by_the_smallest_fold_that_will_do():
    span = {"from_hour": 5, "to_hour": 100, "folded_to": 90}
    parts = parts_of(["model", "day"], ["account"], **span)
    assert [(part.fold and part.fold.name, *part[1:]) for part in parts] == [
        ("model_hour", 5, 24),
        ("model", 24, 90),
        (None, 90, 100),
    ]
    assert range_of(parts[1]) == [24, 48, 72]
    parts = parts_of(["user"], ["account"], **span)
    assert [(part.fold and part.fold.name, *part[1:]) for part in parts] == [
        (None, 5, 24),
        ("day", 24, 90),
        (None, 90, 100),
    ]
    parts = parts_of(["hour", "model"], ["account", "tags"], **span)
    assert [part.fold and part.fold.name for part in parts] == ["tag_hour", None]
    parts = parts_of(["account"], [], **span)
    assert [part.fold and part.fold.name for part in parts] == ["model_hour", "account", None]
    assert [part.fold and part.fold.name for part in parts_of(["key", "hour"], [], **span)] == [None]
    assert [part.fold and part.fold.name for part in parts_of(["hour"], [], **span)] == ["total", None]


def test_a_row_of_a_fold_stands_for_its_first_hour():
    key = RollupKey(50, "acme", "k", "t", "u", "m", "p", "a,b")
    found = {fold.name: folded_key(fold, key) for fold in FOLDS}
    assert found["day"] == key._replace(hour=2 * DAY_HOURS)
    assert found["total"] == RollupKey(50, "", "", "", "", "m", "p", "")
    assert found["key"] == RollupKey(48, "acme", "k", "t", "", "m", "p", "")
