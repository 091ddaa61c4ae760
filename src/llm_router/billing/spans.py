"""The windows of budgets as numbered buckets of time.

A calendar window is one bucket, named by its beginning. A rolling window is cut into SLICES buckets of
equal length and covers one more than that, so that it is never shorter than it says: what was spent
is given back at most one slice late, never early.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from llm_router.domain.budget import Window

SLICES = 60
"""Buckets of a rolling window: an hour is cut into minutes."""

NAME_CHARS_MAX = 64
"""Of a time zone."""

FOREVER_MS = 2**62
"""The end of a window that never ends."""

_LENGTH_MS = {
    Window.MINUTE: 60_000,
    Window.HOUR: 3_600_000,
    Window.DAY: 86_400_000,
    Window.WEEK: 7 * 86_400_000,
    Window.MONTH: 30 * 86_400_000,
}


def slice_ms(window: Window) -> int:
    """The length of a bucket of a rolling window."""
    return _LENGTH_MS[window] // SLICES


def calendar_span(window: Window, time_zone: str, now_ms: int) -> tuple[int, int]:
    """Beginning and end of the calendar window that holds ``now_ms``, in Unix milliseconds.

    Days follow the zone's own clock: one with a change of summer time has 23 or 25 hours.

    Raises:
        ValueError: there is no such time zone.
    """
    if window is Window.LIFETIME:
        return 0, FOREVER_MS
    if window is Window.MINUTE:
        begin = now_ms - now_ms % _LENGTH_MS[window]
        return begin, begin + _LENGTH_MS[window]
    zone = zone_of(time_zone)
    local = datetime.fromtimestamp(now_ms // 1000, tz=zone)
    if window is Window.HOUR:  # by its offset, for two hours of a year have the same name
        offset_ms = int((local.utcoffset() or timedelta()).total_seconds()) * 1000
        begin = now_ms - (now_ms + offset_ms) % _LENGTH_MS[window]
        return begin, begin + _LENGTH_MS[window]
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0, tzinfo=None)
    if window is Window.WEEK:
        day -= timedelta(days=day.weekday())
        following = day + timedelta(days=7)
    elif window is Window.MONTH:
        day = day.replace(day=1)
        following = (day + timedelta(days=32)).replace(day=1)
    else:
        following = day + timedelta(days=1)
    return _unix_ms(day, zone), _unix_ms(following, zone)


def iso_second(unix_ms: int) -> str:
    """A moment as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(unix_ms // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=64)
def zone_of(time_zone: str) -> ZoneInfo:
    """The zone of an IANA name.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        if len(time_zone) > NAME_CHARS_MAX:
            raise ValueError(time_zone)
        return ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{time_zone[:NAME_CHARS_MAX]!r} is no time zone such as UTC or Europe/Berlin"
        ) from error


def _unix_ms(local: datetime, zone: ZoneInfo) -> int:
    return int(local.replace(tzinfo=zone).astimezone(UTC).timestamp()) * 1000
