"""What clients say of the time that they have."""

from __future__ import annotations

import pytest

from llm_router.domain.errors import InvalidRequest
from llm_router.engine.deadlines import Wish, wish_of


def test_parts_are_read_and_go_before_the_header_of_an_sdk() -> None:
    found = wish_of(
        {"x-llm-router-timeouts": "connect=2, first_byte=500ms, total=60", "x-stainless-timeout": "9"}
    )
    assert found == Wish(connect_s=2, first_byte_s=0.5, total_s=60)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("total=1,total=2", "says 'total' twice"),
        ("first-byte=1, first_byte=1", "says 'first_byte' twice"),
        ("total", "must be like"),
        ("total=0", "must be like"),
        ("totl=1", "must be like"),
        ("total=1,", "must be like"),
        ("total=nan", "must be like"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        wish_of({"x-llm-router-timeouts": text})
