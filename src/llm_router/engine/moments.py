"""Points in time as operators write and read them. The time of now is an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from llm_router.domain.errors import InvalidRequest

_SPAN = re.compile(r"([1-9][0-9]{0,4})(m|h|d|w)")
_SPANS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MOMENT_MAX_MS = 253_402_300_799_999
"""The last millisecond of the year 9999 (UTC): no text tells a later moment. The first one is 0, in 1970."""


def parse_expiry(text: str, now_ms: int) -> int:
    """Unix milliseconds of a span from now (``90m``, ``12h``, ``30d``, ``8w``) or an ISO 8601 time.

    A time without a zone is UTC; a date alone is the start of that day.

    Raises:
        InvalidRequest: it is neither, or lies in the past.
    """
    span = _SPAN.fullmatch(text)
    if span is not None:
        return now_ms + int(span[1]) * _SPANS_MS[span[2]]
    try:
        at_ms = parse_moment(text, "expires")
    except InvalidRequest:
        raise InvalidRequest(
            "expires must be a span such as 12h, 30d or 8w, or a time such as 2027-01-31, up to the year 9999",
            param="expires",
        ) from None
    if at_ms <= now_ms:
        raise InvalidRequest(f"expires lies in the past: {iso_time(at_ms)}", param="expires")
    return at_ms


def parse_moment(text: str, param: str) -> int:
    """Unix milliseconds of an ISO 8601 time; UTC where no zone is named.

    Raises:
        InvalidRequest: it is none, or not within the years 1970 to 9999 (UTC).
    """
    try:
        moment = datetime.fromisoformat(text)
        zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        at_ms = (zoned - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{param} must be a time such as 2027-01-31", param=param) from None
    if not 0 <= at_ms <= MOMENT_MAX_MS:
        raise InvalidRequest(f"{param} must be a time from 1970 to 9999, in UTC", param=param)
    return at_ms


def parse_span(text: str, param: str) -> int:
    """Milliseconds of a span (``90m``, ``12h``, ``30d``, ``8w``).

    Raises:
        InvalidRequest: it is none.
    """
    span = _SPAN.fullmatch(text)
    if span is None:
        raise InvalidRequest(f"{param} must be a span such as 90m, 12h or 1d", param=param)
    return int(span[1]) * _SPANS_MS[span[2]]


def iso_time(ms: int) -> str:
    """Unix milliseconds as ``2026-01-31T12:00:00Z``. What lies before 1970 or after 9999 is told as its first or last
    second: a row that says such a thing must not keep others from being told."""
    moment = _EPOCH + timedelta(milliseconds=min(max(ms, 0), MOMENT_MAX_MS))
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
