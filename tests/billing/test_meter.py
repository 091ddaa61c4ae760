from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.billing.meter import End, meter
from llm_router.billing.policy import Bounds, SettlementPolicy
from llm_router.domain.money import MAX_PUSD
from llm_router.domain.price import MAX_RATE_PUSD, Price, Rates, cost_lines
from llm_router.domain.usage import MAX_COUNT, NO_USAGE, Provenance, Usage

PRICE = Price(version="v", rates=Rates(input=10, output=100, reasoning=50, request=3))
OTHER = Price(version="o", rates=Rates(input=1, output=2, request=7))
USAGE = Usage(input_tokens=20, output_tokens=5, reasoning_tokens=2)
EXACT = 20 * 10 + 5 * 100 + 2 * 50 + 3


def charge(end, usage=None, output_chars=0, reasoning_chars=0, **fields):
    values = {"input_tokens_estimate": 30, "price": PRICE, "price_of": {"advisor": OTHER}.get}
    values.update(fields)
    return meter(end=end, usage=usage, output_chars=output_chars, reasoning_chars=reasoning_chars, **values)


def test_reported_usage_is_charged_exactly():
    result = charge(End.DELIVERED, USAGE, output_chars=999_999)
    assert (result.cost_pusd, result.usage, result.flags) == (EXACT, USAGE, ())
    assert sum(line.amount_pusd for line in result.lines) == EXACT


def test_an_explicit_zero_is_not_replaced_by_an_estimate():
    zero = Usage(input_tokens=0, output_tokens=0)
    result = charge(
        End.DELIVERED, zero, output_chars=400, price=Price(version="v", rates=Rates(input=1, output=2))
    )
    assert (result.cost_pusd, result.usage, result.flags) == (0, zero, ())


def test_missing_usage_is_counted_from_what_was_delivered():
    result = charge(End.DELIVERED, None, output_chars=401, reasoning_chars=8)
    assert result.usage == Usage(
        input_tokens=30, output_tokens=101, reasoning_tokens=2, provenance=Provenance.ESTIMATED
    )
    assert result.cost_pusd == 30 * 10 + 101 * 100 + 2 * 50 + 3
    assert result.flags == ("usage_estimated",)


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("usage", [None, Usage(input_tokens=5000), Usage()])
def test_an_empty_answer_is_free_however_it_ended(end, usage):
    result = charge(end, usage, policy=SettlementPolicy(cut="delivered"))
    assert result.cost_pusd == 0
    assert result.lines == ()


def test_output_that_is_not_text_is_not_empty():
    for usage in (Usage(input_tokens=1, output_image_tokens=9), Usage(input_tokens=1, reasoning_tokens=9)):
        assert charge(End.DELIVERED, usage).cost_pusd > 0


@pytest.mark.parametrize("cut", ["free", "reported", "delivered"])
def test_a_failure_before_content_is_free(cut):
    result = charge(End.FAILED, USAGE, policy=SettlementPolicy(cut=cut))
    assert (result.cost_pusd, result.lines) == (0, ())
    assert result.usage == USAGE  # kept for the operator
    assert result.flags == ("usage_not_charged",)
    assert charge(End.FAILED).usage == NO_USAGE


def test_a_cut_answer_is_free_unless_the_operator_charges_for_delivered_parts():
    assert charge(End.CUT, USAGE, output_chars=50).cost_pusd == 0
    assert charge(End.CUT, None, output_chars=50).cost_pusd == 0
    reported, delivered = SettlementPolicy(cut="reported"), SettlementPolicy(cut="delivered")
    assert charge(End.CUT, None, output_chars=50, policy=reported).cost_pusd == 0
    assert charge(End.CUT, USAGE, output_chars=28, policy=reported).cost_pusd == EXACT
    assert charge(End.CUT, USAGE, output_chars=28, policy=delivered).cost_pusd == EXACT
    counted = charge(End.CUT, None, output_chars=50, policy=delivered)
    assert counted.cost_pusd == 30 * 10 + 13 * 100 + 3
    assert counted.flags == ("usage_estimated",)


def test_the_usage_of_a_cut_streams_beginning_is_not_taken_for_the_whole():
    provisional = Usage(input_tokens=20, output_tokens=1)
    result = charge(End.CUT, provisional, output_chars=400, policy=SettlementPolicy(cut="reported"))
    assert (result.usage.input_tokens, result.usage.output_tokens) == (20, 100)
    assert result.flags == ("usage_provisional", "usage_estimated")


@pytest.mark.parametrize(
    ("policy", "case", "cost"),
    [
        ({"failed": "reported"}, {"end": End.FAILED, "usage": USAGE}, EXACT),
        ({"failed": "reported"}, {"end": End.FAILED}, 0),
        ({"gone_before": "input"}, {"end": End.CLIENT_GONE}, 30 * 10 + 3),
        ({"gone": "free"}, {"end": End.CLIENT_GONE, "output_chars": 40}, 0),
        ({"no_usage": "free"}, {"end": End.DELIVERED, "output_chars": 40}, 0),
        ({"zero": "counted"}, {"end": End.DELIVERED, "usage": Usage(), "output_chars": 40}, 30 * 10 + 1003),
        ({"empty": "reported"}, {"end": End.DELIVERED, "usage": Usage(input_tokens=9)}, 9 * 10 + 3),
        ({"empty": "reported"}, {"end": End.DELIVERED}, 0),
    ],
)
def test_every_line_of_the_table_can_be_changed(policy, case, cost):
    assert charge(**case, policy=SettlementPolicy(**policy)).cost_pusd == cost
    assert charge(**case).cost_pusd != cost or cost == 0  # the default is another one


BOUNDS = Bounds(input_tokens=1_100, window_tokens=300_000, output_tokens=100, output_tokens_max=4_000)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=302_201, output_tokens=5),
        Usage(input_tokens=5, cache_read_tokens=302_200, output_tokens=5),
        Usage(input_tokens=20, output_tokens=1_225),
        Usage(input_tokens=20, output_tokens=5, reasoning_tokens=18_000),
    ],
)
def test_usage_that_contradicts_the_request_is_charged_by_our_own_count(usage):
    result = charge(End.DELIVERED, usage, output_chars=8, bounds=BOUNDS)
    assert result.flags == ("usage_absurd", "usage_estimated")
    assert result.cost_pusd == 30 * 10 + 2 * 100 + 3
    free = charge(End.DELIVERED, usage, output_chars=8, bounds=BOUNDS, policy=SettlementPolicy(absurd="free"))
    assert (free.cost_pusd, free.flags) == (0, ("usage_absurd",))


def test_what_is_no_count_is_charged_by_the_policy_of_usage_that_cannot_be_true():
    both = {"output_chars": 8, "nonsense": True}
    assert charge(End.DELIVERED, None, **both).cost_pusd == 30 * 10 + 2 * 100 + 3
    assert charge(End.DELIVERED, None, **both, policy=SettlementPolicy(absurd="free")).cost_pusd == 0
    assert charge(End.DELIVERED, None, **both, policy=SettlementPolicy(no_usage="free")).cost_pusd > 0
    assert charge(End.DELIVERED, USAGE, **both, policy=SettlementPolicy(absurd="free")).cost_pusd == EXACT


@pytest.mark.parametrize(
    ("usage", "fields"),
    [
        (Usage(input_tokens=302_200, output_tokens=5), {}),
        (Usage(input_tokens=1_002_200), {"bounds": msgspec.structs.replace(BOUNDS, window_tokens=None)}),
        (Usage(input_tokens=202_200), {"bounds": msgspec.structs.replace(BOUNDS, window_tokens=8_000)}),
        (Usage(input_tokens=1_202_200, output_tokens=5, web_searches=2), {}),
        (
            Usage(input_tokens=1_202_200, output_tokens=5),
            {"bounds": msgspec.structs.replace(BOUNDS, tools=True)},
        ),
        (Usage(input_tokens=20, output_tokens=1_224), {}),
        (Usage(input_tokens=20, output_tokens=3_000), {"output_chars": 12_000}),  # the text bears it out
        (Usage(input_tokens=20, output_tokens=3_000), {"produced": True}),
        (Usage(input_tokens=20, reasoning_tokens=9_000), {}),  # limits leave hidden thinking out for some
    ],
)
def test_usage_that_is_merely_large_is_believed(usage, fields):
    result = charge(End.DELIVERED, usage, **{"output_chars": 8, "bounds": BOUNDS, **fields})
    assert (result.usage, result.flags) == (
        usage,
        ("unpriced_usage:web_search",) if usage.web_searches else (),
    )


def test_a_client_that_leaves_pays_for_what_it_saw():
    result = charge(End.CLIENT_GONE, None, output_chars=40, reasoning_chars=4)
    assert result.usage.provenance is Provenance.ESTIMATED
    assert result.cost_pusd == 30 * 10 + 10 * 100 + 50 + 3
    assert charge(End.CLIENT_GONE, USAGE, output_chars=28).cost_pusd == EXACT


def test_a_client_that_leaves_before_content_pays_nothing():
    provisional = Usage(input_tokens=2000, output_tokens=8)  # of the stream's first message
    assert charge(End.CLIENT_GONE).cost_pusd == 0
    assert charge(End.CLIENT_GONE, provisional).cost_pusd == 0
    assert charge(End.CLIENT_GONE, Usage(input_tokens=1, output_image_tokens=10)).cost_pusd > 0


def test_the_usage_of_a_streams_beginning_is_not_taken_for_the_whole():
    provisional = Usage(input_tokens=2000, cache_read_tokens=100, output_tokens=1)
    result = charge(End.CLIENT_GONE, provisional, output_chars=4000)
    assert (result.usage.input_tokens, result.usage.cache_read_tokens) == (2000, 100)
    assert result.usage.output_tokens == 1000
    assert result.usage.provenance is Provenance.ESTIMATED
    assert result.flags == ("usage_provisional", "usage_estimated")


def test_other_models_are_priced_at_their_own_rates_once():
    usage = Usage(
        input_tokens=20, output_tokens=5, others=(("advisor", Usage(input_tokens=8, output_tokens=4)),)
    )
    result = charge(End.DELIVERED, usage, output_chars=1)
    assert result.cost_pusd == 20 * 10 + 5 * 100 + 3 + 8 * 1 + 4 * 2
    assert [line.bucket for line in result.lines][-2:] == ["advisor:input_tokens", "advisor:output_tokens"]


def test_other_models_without_a_price_are_flagged():
    usage = Usage(input_tokens=20, output_tokens=5, others=(("mystery", Usage(input_tokens=8)),))
    result = charge(End.DELIVERED, usage, output_chars=1)
    assert result.cost_pusd == 20 * 10 + 5 * 100 + 3
    assert result.flags == ("unpriced_usage:mystery",)


def test_counts_that_no_account_could_pay_are_treated_as_not_reported():
    dear = Price(version="v", rates=Rates(input=MAX_RATE_PUSD, output=MAX_RATE_PUSD))
    absurd = Usage(
        **dict.fromkeys(
            (n for n in Usage.__struct_fields__ if n not in ("provenance", "service_tier", "others")),
            MAX_COUNT,
        )
    )
    result = charge(End.DELIVERED, absurd, output_chars=4, price=dear)
    assert result.cost_pusd == 31 * MAX_RATE_PUSD
    assert result.flags == ("usage_absurd", "usage_estimated")


COUNT = st.integers(0, MAX_COUNT)
USAGES = st.none() | st.builds(
    Usage, input_tokens=COUNT, cache_read_tokens=COUNT, output_tokens=COUNT, reasoning_tokens=COUNT
)
CHARS = st.integers(0, 10**6)


POLICIES = st.from_type(SettlementPolicy)
BOUNDARIES = st.none() | st.builds(Bounds, input_tokens=COUNT, output_tokens=st.none() | COUNT)


@given(st.sampled_from(End), USAGES, CHARS, CHARS, st.integers(0, 10**6), POLICIES, BOUNDARIES)
def test_every_charge_is_the_price_of_its_usage_or_nothing(
    end, usage, out, thought, input_estimate, policy, bounds
):
    result = charge(
        end, usage, out, thought, input_tokens_estimate=input_estimate, policy=policy, bounds=bounds
    )
    assert 0 <= result.cost_pusd <= MAX_PUSD
    assert type(result.cost_pusd) is int
    assert result.cost_pusd == sum(line.amount_pusd for line in result.lines)
    if result.lines:
        assert result.lines == cost_lines(PRICE, result.usage)  # re-rating gives the same, to the last digit


def test_a_dear_tier_without_a_price_is_flagged():
    fast = msgspec.structs.replace(USAGE, service_tier="fast")
    assert charge(End.DELIVERED, fast, output_chars=28).flags == ("unpriced_tier",)
    price = msgspec.structs.replace(PRICE, service_tiers={"fast": Rates(input=20, output=200)})
    result = charge(End.DELIVERED, fast, output_chars=28, price=price)
    assert (result.cost_pusd, result.flags) == (20 * 20 + 7 * 200, ())
    standard = msgspec.structs.replace(USAGE, service_tier="standard")
    assert charge(End.DELIVERED, standard, output_chars=28).flags == ()


@pytest.mark.parametrize("end", [End.CLIENT_GONE, End.DELIVERED])
def test_what_is_counted_here_is_never_more_than_was_asked_for(end: End) -> None:
    """A provider that ignores the limit fills the buffers on the way to a client that has stopped reading."""
    found = meter(
        end=end,
        usage=None,
        output_chars=4_000_000,
        reasoning_chars=4_000_000,
        input_tokens_estimate=10,
        price=PRICE,
        price_of=lambda _: None,
        bounds=Bounds(input_tokens=20, output_tokens=30),
    )
    assert (found.usage.output_tokens, found.usage.reasoning_tokens) == (30, 0)
    assert found.usage.input_tokens == 10


def test_an_answer_is_no_failure_that_is_empty_because_no_output_was_asked_for():
    warmed = Usage(input_tokens=4, cache_write_1h_tokens=160_000)
    cost = 160_004 * 10 + 3
    asked = Bounds(input_tokens=200_000, output_tokens=0)
    result = charge(End.DELIVERED, warmed, bounds=asked)
    assert (result.cost_pusd, result.usage, result.flags) == (cost, warmed, ())
    assert charge(End.CLIENT_GONE, warmed, bounds=asked).cost_pusd == cost
    for end in (End.FAILED, End.CUT):
        assert charge(end, warmed, bounds=asked).cost_pusd == 0
    assert charge(End.DELIVERED, warmed, bounds=Bounds(input_tokens=200_000, output_tokens=1)).cost_pusd == 0
