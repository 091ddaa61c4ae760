"""Calendar windows in the time zones of their budgets."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.billing.spans import FOREVER_MS, calendar_span, slice_ms
from llm_router.domain.budget import Window

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Asia/Kathmandu")
CALENDAR = [window for window in Window if window is not Window.LIFETIME]


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("window", "zone", "now", "begin", "end"),
    [
        (Window.MINUTE, "UTC", "2026-03-04T05:06:59", "2026-03-04T05:06:00", "2026-03-04T05:07:00"),
        (Window.HOUR, "UTC", "2026-03-04T05:06:59", "2026-03-04T05:00:00", "2026-03-04T06:00:00"),
        (Window.HOUR, "Asia/Kolkata", "2026-03-04T05:06:59", "2026-03-04T05:00:00", "2026-03-04T06:00:00"),
        (Window.DAY, "Europe/Berlin", "2026-03-04T23:59:59", "2026-03-04T00:00:00", "2026-03-05T00:00:00"),
        (Window.WEEK, "UTC", "2026-03-08T12:00:00", "2026-03-02T00:00:00", "2026-03-09T00:00:00"),
        (
            Window.MONTH,
            "America/New_York",
            "2026-12-31T23:00:00",
            "2026-12-01T00:00:00",
            "2027-01-01T00:00:00",
        ),
    ],
)
def test_windows(window: Window, zone: str, now: str, begin: str, end: str) -> None:
    assert calendar_span(window, zone, ms(now, zone)) == (ms(begin, zone), ms(end, zone))


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
def test_days_follow_summer_time(day: str, hours: int) -> None:
    begin, end = calendar_span(Window.DAY, "Europe/Berlin", ms(f"{day}T12:00:00", "Europe/Berlin"))
    assert end - begin == hours * 3_600_000


def test_a_lifetime_never_ends() -> None:
    assert calendar_span(Window.LIFETIME, "UTC", 5) == (0, FOREVER_MS)


@given(st.sampled_from(CALENDAR), st.sampled_from(ZONES), st.integers(10**12, 4 * 10**12))
def test_windows_neither_overlap_nor_leave_a_gap(window: Window, zone: str, now_ms: int) -> None:
    begin, end = calendar_span(window, zone, now_ms)
    assert begin <= now_ms < end
    assert calendar_span(window, zone, begin) == (begin, end)
    assert calendar_span(window, zone, end - 1) == (begin, end)
    assert calendar_span(window, zone, end)[0] == end


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "a\0b"])
def test_what_is_no_time_zone(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        calendar_span(Window.DAY, name, 0)


def test_slices_are_whole() -> None:
    for window in CALENDAR:
        assert slice_ms(window) * 60 in (60_000, 3_600_000, 86_400_000, 7 * 86_400_000, 30 * 86_400_000)
