from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.money import MAX_PUSD, PUSD_PER_USD, format_usd, parse_usd


@given(st.integers(-MAX_PUSD, MAX_PUSD))
def test_written_amounts_are_exact_and_read_back(pusd):
    text = format_usd(pusd)
    assert Decimal(text) * PUSD_PER_USD == pusd
    assert parse_usd(text) == pusd
    assert json.loads(text, parse_float=Decimal, parse_int=Decimal) == Decimal(text)
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("text", "pusd"),
    [
        ("5", 5 * 10**12),
        ("12.50", 12_500_000_000_000),
        ("0.000000000001", 1),
        ("-0.5", -500_000_000_000),
        ("0", 0),
    ],
)
def test_amounts_that_are_read(text, pusd):
    assert parse_usd(text) == pusd


@pytest.mark.parametrize(
    "text",
    [
        *("", "5 ", " 5", "5\n", "+5", "--5", "1e3", "1_000", "1,5", "5.", ".5", "NaN", "inf", "0x10"),
        *("\u0665", "\uff15", "0.0000000000001", "1234567890123"),
    ],
)
def test_amounts_that_are_refused(text):
    with pytest.raises(ValueError, match="amount"):
        parse_usd(text)


def test_two_of_the_largest_amounts_fit_an_int64():
    assert 2 * MAX_PUSD < 2**63
