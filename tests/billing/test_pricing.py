from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.billing.pricing import SOLD_RATE_MAX, PriceList, sold
from llm_router.domain.budget import Payer
from llm_router.domain.model import Deployment
from llm_router.domain.price import MAX_RATE_PUSD, OffPeak, Price, Rates, Tier, price_at
from llm_router.domain.price_rule import For, PriceRule

BASE = Price(
    version="p/m@1",
    rates=Rates(input=1_000_001, output=5, cache_read=0, request=3),
    tiers=(Tier(above_prompt_tokens=10, rates=Rates(input=15, output=25)),),
    service_tiers={"flex": Rates(input=7, output=9)},
    service_tiers_long={"flex": (Tier(above_prompt_tokens=10, rates=Rates(input=11, output=13)),)},
    valid_from="2026-01-01",
)


def rule(number: int = 1, **fields) -> PriceRule:
    values = {"id": f"rule_{number}", "number": number, "published_ms": 0, "valid_from_ms": 0}
    return PriceRule(**(values | fields))


def deployment(model: str = "m", provider: str = "p", price: Price | None = BASE) -> Deployment:
    return Deployment(
        id=f"{provider}/{model}", model=model, provider=provider, upstream_model="u", price=price
    )


def test_every_rate_of_a_price_is_sold_at_the_rule():
    made = sold(BASE, rule(factor_bp=15_000))
    assert made.version == "p/m@1~rule_1"
    assert made.rates == Rates(input=1_500_002, output=8, cache_read=0, request=4)  # halves to even: 7.5, 4.5
    assert made.tiers[0].rates == Rates(input=22, output=38)  # 22.5, 37.5
    assert made.service_tiers["flex"] == Rates(input=10, output=14)  # 10.5, 13.5
    assert made.service_tiers_long["flex"][0] == Tier(
        above_prompt_tokens=10, rates=Rates(input=16, output=20)
    )
    assert made.rates.cache_write is None  # no rate of its own stays none
    assert sold(BASE, rule(factor_bp=0)).rates == Rates(input=0, output=0, cache_read=0)
    fixed = sold(BASE, rule(rates=Rates(input=1, output=2)))
    assert (fixed.rates, fixed.tiers, fixed.service_tiers) == (Rates(input=1, output=2), (), {})


@given(st.integers(0, MAX_RATE_PUSD), st.integers(0, 100_000))
def test_a_rate_is_rounded_once_half_to_even(rate, factor):
    made = sold(Price(version="v", rates=Rates(input=rate, output=0)), rule(factor_bp=factor))
    assert made.rates.input == round(Fraction(rate * factor, 10_000))


def test_a_rate_above_the_largest_is_refused():
    with pytest.raises(ValueError, match="above the largest"):
        sold(Price(version="v", rates=Rates(input=SOLD_RATE_MAX, output=0)), rule(factor_bp=10_001))


ANN = Payer(account="acme-1", key="key_1", team="red")


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ((), None),
        ((rule(1), rule(2)), 2),
        ((rule(1, valid_from_ms=50), rule(2)), 1),  # the one that came into force last
        ((rule(1), rule(2, valid_from_ms=101)), 1),  # not yet
        ((rule(1, scope=For.ACCOUNT, account="acme-*"), rule(2)), 1),
        ((rule(1, scope=For.TEAM, account="acme-1", scope_id="red"), rule(2, scope=For.ACCOUNT)), 1),
        ((rule(1, scope=For.KEY, scope_id="key_1"), rule(2, scope=For.TEAM, scope_id="red")), 1),
        ((rule(1), rule(2, scope=For.TEAM, account="other", scope_id="red")), 1),
        ((rule(1), rule(2, scope=For.KEY, scope_id="key_2")), 1),
        ((rule(1), rule(2, models=("gpt-*",))), 1),
        ((rule(1), rule(2, models=("x", "m*"), providers=("q", "p"))), 2),
        ((rule(1, providers=("q",)),), None),
    ],
)
def test_the_most_particular_rule_and_of_these_the_last_counts(rules, wanted):
    found = PriceList(rules).rule_for(ANN, "m", "p", 100)
    assert (None if found is None else found.number) == wanted


def test_what_is_sold_keeps_what_it_costs():
    prices = PriceList((rule(1, factor_bp=20_000, providers=("p",)),))
    first, second, third = prices.sell(
        (deployment(), deployment(provider="q"), deployment(price=None)), ANN, 100
    )
    assert first.price.rates.input == 2 * BASE.rates.input
    assert (first.cost, first.operator_price) == (BASE, BASE)
    assert (second, second.operator_price) == (deployment(provider="q"), BASE)
    assert third == deployment(price=None)  # unpriced stays refused
    again = prices.sell((deployment(),), ANN, 100)[0]
    assert again.price is first.price  # made once
    assert msgspec.json.decode(msgspec.json.encode(first.price), type=Price) == first.price


QUIET = Price(
    version="d/m@1",
    rates=Rates(input=20, output=40),
    off_peak=OffPeak(windows=((0, 60), (600, 1440)), rates=Rates(input=10, output=21)),
)
DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("minute", "quiet"), [(0, True), (59, True), (60, False), (599, False), (600, True), (1439, True)]
)
def test_quiet_hours_have_a_price_of_their_own(minute, quiet):
    at = price_at(QUIET, 20_000 * DAY_MS + minute * 60_000 + 59_999)
    assert (at.version, at.rates.input) == (("d/m@1/off-peak", 10) if quiet else ("d/m@1", 20))
    assert price_at(BASE, 0) is BASE


def test_a_rule_applies_to_the_price_of_the_hour():
    (found,) = PriceList().sell((deployment(price=QUIET),), ANN, 0)
    assert (found.price.version, found.operator_price.rates.input) == ("d/m@1/off-peak", 10)
    assert PriceList().sell((deployment(price=QUIET),), ANN, 60 * 60_000)[0].price is QUIET
    (dearer,) = PriceList((rule(1, factor_bp=15_000),)).sell((deployment(price=QUIET),), ANN, 0)
    assert dearer.price.version == "d/m@1/off-peak~rule_1"
    assert (dearer.price.rates.output, dearer.operator_price.rates.output) == (32, 21)  # 31.5
    whole = sold(QUIET, rule(1, factor_bp=15_000))
    assert whole.off_peak.rates == Rates(input=15, output=32)
