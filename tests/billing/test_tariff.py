"""The closed form of the settlement table says what the table says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_router.billing.meter import End, meter
from llm_router.billing.policy import Bounds, SettlementPolicy
from llm_router.billing.tariff import tariff_of
from llm_router.domain.model import Deployment
from llm_router.domain.price import MAX_RATE_PUSD, Price, Rates, Tier
from llm_router.domain.usage import MAX_COUNT, Provenance, Usage

_rate = st.integers(0, MAX_RATE_PUSD) | st.integers(0, 20)
_own = st.none() | _rate
_count = st.integers(0, MAX_COUNT) | st.integers(0, 50)
_rates = st.builds(
    Rates, input=_rate, output=_rate, cache_read=_own, reasoning=_own, web_search=_own, request=_rate
)
_prices = st.builds(
    Price, version=st.just("v"), rates=_rates, service_tiers=st.dictionaries(st.just("flex"), _rates)
)
_tier = st.sampled_from([None, "default", "flex", "priority", "odd"])
_text = st.builds(
    Usage, input_tokens=_count, cache_read_tokens=_count, output_tokens=_count, reasoning_tokens=_count, service_tier=_tier
)  # fmt: skip
_any = st.builds(
    Usage, input_tokens=_count, cache_write_tokens=_count, input_audio_tokens=_count, output_tokens=_count,
    output_image_tokens=_count, web_searches=st.integers(0, 3), provenance=st.sampled_from(Provenance),
    others=st.just(()) | st.just((("helper", Usage(output_tokens=5)),)), service_tier=_tier,
)  # fmt: skip
_policy = st.builds(
    SettlementPolicy, zero=st.sampled_from(["exact", "counted"]), empty=st.sampled_from(["free", "reported"])
)


@given(_prices, _text | _any, _policy, _count, st.none() | _count, st.none() | _count, st.integers(0, 10**6))
def test_where_the_tariff_speaks_it_is_the_table(price, usage, policy, input_tokens, asked, most, chars):
    tariff = tariff_of(Deployment(id="d", model="m", provider="p", upstream_model="u", price=price, output_tokens_max=most))  # fmt: skip
    assert tariff is not None
    found = tariff.meter(usage, input_tokens, asked)
    if found is not None:
        assert found == meter(
            end=End.DELIVERED,
            usage=usage,
            output_chars=chars,
            reasoning_chars=0,
            input_tokens_estimate=7,
            price=price,
            price_of=lambda _: None,
            policy=policy,
            bounds=Bounds(
                input_tokens=input_tokens, window_tokens=1000, output_tokens=asked, output_tokens_max=most
            ),
        )


def test_it_speaks_of_plain_answers_and_of_no_others():
    price = Price(version="v", rates=Rates(input=2, output=5, cache_read=1, request=3))
    tariff = tariff_of(Deployment(id="d", model="m", provider="p", upstream_model="u", price=price))
    plain = Usage(input_tokens=10, cache_read_tokens=20, output_tokens=30, reasoning_tokens=40)
    found = tariff.meter(plain, 100, 500)
    assert found.cost_pusd == 10 * 2 + 20 * 1 + 30 * 5 + 40 * 5 + 3
    assert [line.bucket for line in found.lines] == [
        "input_tokens", "cache_read_tokens", "output_tokens", "reasoning_tokens", "requests",
    ]  # fmt: skip
    assert tariff.meter(Usage(input_tokens=10), 100, None) is None  # nothing was produced
    assert tariff.meter(Usage(input_tokens=10**7, output_tokens=1), 100, None) is None
    assert tariff.meter(Usage(output_tokens=10**6), 100, 10) is None
    dear = tariff_of(Deployment(id="d", model="m", provider="p", upstream_model="u", price=Price(version="v", rates=Rates(input=2, output=5), tiers=(Tier(above_prompt_tokens=1, rates=Rates(input=3, output=5)),))))  # fmt: skip
    assert dear is None
