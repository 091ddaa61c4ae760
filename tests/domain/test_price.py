from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.price import MAX_RATE_PUSD, Price, Rates, Tier, cost_lines, rates_for
from llm_router.domain.usage import MAX_COUNT, Usage

RATES = Rates(
    input=1, cache_read=2, cache_write=3, cache_write_1h=4, input_audio=5, output=6, reasoning=7,
    output_audio=8, output_image=9, web_search=10, request=11,
)  # fmt: skip
BUCKETS = {
    "input_tokens": 1,
    "cache_read_tokens": 2,
    "cache_write_tokens": 3,
    "cache_write_1h_tokens": 4,
    "input_audio_tokens": 5,
    "output_tokens": 6,
    "reasoning_tokens": 7,
    "output_audio_tokens": 8,
    "output_image_tokens": 9,
    "web_searches": 10,
}


def cost(price, usage):
    return sum(line.amount_pusd for line in cost_lines(price, usage))


@pytest.mark.parametrize(("bucket", "rate"), BUCKETS.items())
def test_each_bucket_has_its_own_rate(bucket, rate):
    lines = cost_lines(Price(version="v", rates=RATES), Usage(**{bucket: 1000}))
    assert [(line.bucket, line.quantity, line.rate_pusd, line.amount_pusd) for line in lines] == [
        (bucket, 1000, rate, 1000 * rate),
        ("requests", 1, 11, 11),
    ]


@pytest.mark.parametrize(
    ("bucket", "rate"),
    [
        ("cache_read_tokens", 20),
        ("cache_write_tokens", 20),
        ("cache_write_1h_tokens", 20),
        ("input_audio_tokens", 20),
        ("reasoning_tokens", 30),
        ("output_audio_tokens", 30),
        ("output_image_tokens", 30),
        ("web_searches", 0),
    ],
)
def test_a_bucket_without_a_rate_of_its_own_is_never_free_by_accident(bucket, rate):
    price = Price(version="v", rates=Rates(input=20, output=30))
    assert cost(price, Usage(**{bucket: 7})) == 7 * rate


def test_a_published_zero_is_a_zero():
    price = Price(version="v", rates=Rates(input=20, output=30, cache_read=0))
    assert cost_lines(price, Usage(cache_read_tokens=1000)) == ()


def test_the_hour_long_cache_falls_back_to_the_short_one_first():
    price = Price(version="v", rates=Rates(input=20, output=30, cache_write=25))
    assert cost(price, Usage(cache_write_1h_tokens=10)) == 250


def test_a_tier_prices_the_whole_request():
    price = Price(
        version="v",
        rates=Rates(input=10, output=100),
        tiers=(
            Tier(above_prompt_tokens=200, rates=Rates(input=20, output=150)),
            Tier(above_prompt_tokens=1000, rates=Rates(input=30, output=300)),
        ),
    )
    assert cost(price, Usage(input_tokens=200, output_tokens=5)) == 2000 + 500
    assert cost(price, Usage(input_tokens=150, cache_read_tokens=51, output_tokens=5)) == 201 * 20 + 750
    assert cost(price, Usage(input_tokens=1001, output_tokens=5)) == 1001 * 30 + 1500


def test_the_service_tier_that_was_served_sets_the_rates():
    flex = Rates(input=5, output=50)
    price = Price(version="v", rates=Rates(input=10, output=100), service_tiers={"flex": flex})
    assert rates_for(price, 1, "flex") is flex
    assert rates_for(price, 1, "unheard-of") is price.rates
    assert cost(price, Usage(input_tokens=1, service_tier="flex")) == 5


@given(
    st.builds(Usage, **{bucket: st.integers(0, MAX_COUNT) for bucket in BUCKETS}),
    st.builds(Rates, **{name: st.integers(0, MAX_RATE_PUSD) for name in Rates.__struct_fields__}),
)
def test_costs_are_exact_integers_and_each_line_fits_an_int64(usage, rates):
    lines = cost_lines(Price(version="v", rates=rates), usage)
    names = [name.replace("_tokens", "").replace("web_searches", "web_search") for name in BUCKETS]
    expected = sum(getattr(usage, b) * getattr(rates, n) for b, n in zip(BUCKETS, names, strict=True))
    assert sum(line.amount_pusd for line in lines) == expected + rates.request
    assert all(type(line.amount_pusd) is int and 0 < line.amount_pusd < 2**63 for line in lines)
