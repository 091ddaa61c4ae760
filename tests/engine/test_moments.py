from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest
from llm_router.engine.moments import MOMENT_MAX_MS, iso_time, parse_expiry, parse_moment


@given(st.integers(-(2**70), 2**70))
def test_whatever_is_stored_can_be_told(ms):
    told = iso_time(ms)
    assert 0 <= parse_moment(told, "at") <= MOMENT_MAX_MS
    if 0 <= ms <= MOMENT_MAX_MS:
        assert parse_moment(told, "at") == ms - ms % 1000


@given(st.datetimes(timezones=st.none() | st.timezones()) | st.text())
def test_what_is_read_can_be_told(moment):
    try:
        at_ms = parse_moment(moment if isinstance(moment, str) else moment.isoformat(), "at")
    except InvalidRequest:
        return
    assert at_ms - at_ms % 1000 == parse_moment(iso_time(at_ms), "at")


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+23:59", "1969-12-31", "2027-13-01", "soon", ""]
)
def test_no_other_moments_are_read(text):
    with pytest.raises(InvalidRequest):
        parse_moment(text, "at")
    with pytest.raises(InvalidRequest):
        parse_expiry(text, 0)
