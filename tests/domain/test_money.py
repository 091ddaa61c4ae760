from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.money import MAX_PUSD, PUSD_PER_USD, format_usd, parse_usd, pusd_of


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


@pytest.mark.parametrize(
    ("text", "pusd"),
    [
        ("5", 5 * 10**12),
        ("12.5e1", 125 * 10**12),
        ("1e-12", 1),
        ("-0.50", -(10**12) // 2),
        ("0e-999999999", 0),
    ],
)
def test_numbers_of_dollars_that_are_read(text, pusd):
    assert pusd_of(Decimal(text)) == pusd


@pytest.mark.parametrize(
    "text", ["1e-13", "1e-200000000", "1e200000000", "1e-900000000000000000", "1e12", "NaN", "sNaN", "-inf"]
)
def test_numbers_that_are_no_amounts_are_refused_before_their_digits_are_written(text):
    with pytest.raises(ValueError, match="digits"):
        pusd_of(Decimal(text))


@given(st.integers(-MAX_PUSD, MAX_PUSD))
def test_every_amount_is_read_back_from_its_number(pusd):
    assert pusd_of(Decimal(format_usd(pusd))) == pusd
