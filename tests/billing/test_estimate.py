from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.billing.estimate import (
    FILE_TOKENS_MAX,
    IMAGE_TOKENS_MAX,
    OUTPUT_TOKENS_DEFAULT,
    REMOTE_TOKENS_MAX,
    affordable_output_tokens,
    estimate,
    expected_input,
    worst_of,
)
from llm_router.billing.tokens import FRAME_TOKENS, FRAME_TOKENS_PLAIN, tokens_upper
from llm_router.domain.model import Deployment
from llm_router.domain.price import Price, Rates, Tier, cost_lines
from llm_router.domain.usage import Usage
from llm_router.wire.dialect import Beside, Inspected


def upper(text_bytes):
    return tokens_upper(text_bytes, FRAME_TOKENS_PLAIN)


def deployment(rates=None, *, name="p/m", **fields):
    price = fields.pop("price", None)
    if price is None and rates is not None:
        price = Price(version=f"{name}@1", rates=rates)
    return Deployment(id=name, model="m", provider="p", upstream_model="m", price=price, **fields)


def request(**fields):
    return Inspected(model="m", stream=False, tree=None, **fields)


PLAIN = deployment(Rates(input=3, output=15))


def test_input_and_output_are_priced_at_their_rates():
    result = estimate(request(text_bytes=1000, output_tokens=50), [PLAIN])
    assert result.input_tokens == upper(1000)
    assert result.output_tokens == 50
    assert result.amount_pusd == upper(1000) * 3 + 50 * 15
    assert result.price_version == "p/m@1"


@pytest.mark.parametrize(
    ("asked", "model_max", "held"),
    [
        (50, None, 50),
        (50, 10, 10),
        (50_000, None, 50_000),  # a limit of one's own may exceed the default
        (None, None, OUTPUT_TOKENS_DEFAULT),
        (None, 4096, 4096),
        (None, 128_000, OUTPUT_TOKENS_DEFAULT),
        (0, None, 0),
    ],
)
def test_the_output_is_bounded_by_the_request_the_model_and_the_default(asked, model_max, held):
    one = deployment(Rates(input=0, output=1), output_tokens_max=model_max)
    assert estimate(request(output_tokens=asked), [one]).output_tokens == held
    assert estimate(request(output_tokens=asked), [one]).amount_pusd == held


def test_the_default_can_be_set():
    assert estimate(request(), [PLAIN], output_tokens_default=7).output_tokens == 7


def test_each_input_has_the_window_to_itself():
    small = deployment(Rates(input=3, output=0), context_tokens=100)
    assert estimate(request(text_bytes=100_000), [small]).input_tokens == 100
    assert estimate(request(text_bytes=100_000, inputs=7), [small]).input_tokens == 700


def test_tokens_that_came_as_such_are_held_beside_the_text():
    result = estimate(request(text_bytes=8, input_tokens=5000), [PLAIN])
    assert result.input_tokens == upper(8) + 5000
    assert expected_input(request(text_bytes=7, input_tokens=5000)) == 5002


def test_every_choice_is_held():
    once = estimate(request(output_tokens=50), [PLAIN]).amount_pusd
    assert estimate(request(output_tokens=50, n=4), [PLAIN]).amount_pusd == once + 3 * 50 * 15


def test_the_dearest_candidate_counts_wherever_it_stands():
    dear = deployment(Rates(input=5, output=20), name="dear/m")
    for order in ([PLAIN, dear], [dear, PLAIN]):
        result = estimate(request(text_bytes=10, output_tokens=10), order)
        assert result.price_version == "dear/m@1"
        assert result.amount_pusd == upper(10) * 5 + 200


def test_unpriced_candidates_count_for_nothing_and_are_never_free():
    assert estimate(request(), [deployment(), PLAIN]) == estimate(request(), [PLAIN])
    with pytest.raises(ValueError, match="price"):
        estimate(request(), [deployment()])
    assert affordable_output_tokens(request(), [deployment()], 10**12) == 0


@pytest.mark.parametrize(
    ("rates", "input_rate", "output_rate"),
    [
        (Rates(input=10, output=20, cache_write=12), 12, 20),
        (Rates(input=10, output=20, cache_write_1h=16), 16, 20),
        (Rates(input=10, output=20, cache_read=1), 10, 20),
        (Rates(input=10, output=20, reasoning=30), 10, 30),
        (Rates(input=10, output=20, output_image=90), 10, 90),
        (Rates(input=10, output=20, output_audio=80), 10, 80),
    ],
)
def test_the_dearest_rate_that_may_apply_is_held(rates, input_rate, output_rate):
    result = estimate(request(text_bytes=100, output_tokens=7), [deployment(rates)])
    assert result.amount_pusd == upper(100) * input_rate + 7 * output_rate


def test_a_request_fee_is_held():
    assert (
        estimate(request(output_tokens=0), [deployment(Rates(input=0, output=0, request=9))]).amount_pusd == 9
    )


def test_a_tier_that_the_input_may_reach_is_held():
    price = Price(
        version="t",
        rates=Rates(input=1, output=10),
        tiers=(Tier(above_prompt_tokens=50_000, rates=Rates(input=2, output=15)),),
    )
    below, above = request(text_bytes=1000, output_tokens=1), request(text_bytes=100_000, output_tokens=1)
    assert estimate(below, [deployment(price=price)]).amount_pusd == upper(1000) + 10
    assert estimate(above, [deployment(price=price)]).amount_pusd == 2 * upper(100_000) + 15


@pytest.mark.parametrize(
    ("tier", "rate"), [(None, 10), ("default", 10), ("flex", 10), ("priority", 25), ("auto", 25)]
)
def test_a_dearer_service_tier_is_held_when_it_may_be_served(tier, rate):
    price = Price(
        version="s",
        rates=Rates(input=0, output=10),
        service_tiers={"flex": Rates(input=0, output=5), "priority": Rates(input=0, output=25)},
    )
    found = estimate(request(output_tokens=1, service_tier=tier), [deployment(price=price)])
    assert found.amount_pusd == rate


def test_media_are_held_though_the_text_is_tiny():
    base = estimate(request(), [PLAIN]).input_tokens

    def more(**fields):
        return estimate(request(**fields), [PLAIN]).input_tokens - base

    assert more(images=3) == 3 * IMAGE_TOKENS_MAX
    assert more(audio_bytes=30_001) == 1001
    assert more(file_bytes=100_000) == 50_000
    assert more(file_bytes=50_000_000) == FILE_TOKENS_MAX
    assert more(media_urls=(("file", "https://a/b"), ("video", "https://a/c"))) == 2 * REMOTE_TOKENS_MAX
    assert more(images=1, media_urls=(("image", "https://a/b"),)) == IMAGE_TOKENS_MAX


def test_images_are_dearer_where_a_model_counts_them_so():
    mini = msgspec.structs.replace(PLAIN, upstream_model="gpt-4o-mini-2024-07-18")
    assert estimate(request(images=1), [mini]).input_tokens == upper(0) + 48_169


def test_audio_has_its_own_rate():
    rates = Rates(input=2, output=0, input_audio=40)
    without = estimate(request(), [deployment(rates)]).amount_pusd
    assert estimate(request(audio_bytes=3000), [deployment(rates)]).amount_pusd == without + 100 * 40


def test_the_context_window_bounds_the_input():
    small = deployment(Rates(input=1, output=0, input_audio=3), context_tokens=8000)
    full = estimate(request(text_bytes=10**7, images=9, output_tokens=0), [small])
    assert (full.input_tokens, full.amount_pusd) == (8000, 8000)
    with_audio = estimate(request(text_bytes=10**7, audio_bytes=10**7, output_tokens=0), [small])
    assert (with_audio.input_tokens, with_audio.amount_pusd) == (8000, 24_000)


RATE = st.integers(0, 10**7)
DEPLOYMENTS = st.lists(
    st.builds(
        lambda rates, window, most: deployment(rates, context_tokens=window, output_tokens_max=most),
        st.builds(Rates, input=RATE, output=RATE, cache_write=st.none() | RATE, reasoning=st.none() | RATE),
        st.none() | st.integers(1000, 10**6),
        st.none() | st.integers(1, 10**6),
    ),
    min_size=1,
    max_size=4,
)
REQUESTS = st.builds(
    request,
    text_bytes=st.integers(0, 10**6),
    n=st.integers(1, 8),
    images=st.integers(0, 5),
    service_tier=st.none() | st.sampled_from(["auto", "flex"]),
)


@given(REQUESTS, DEPLOYMENTS, st.integers(0, 10**13))
def test_what_is_affordable_is_covered_and_one_more_is_not(asked, candidates, available):
    count = affordable_output_tokens(asked, candidates, available)
    assert count >= 0
    if count == 0:
        return
    fits = estimate(msgspec.structs.replace(asked, output_tokens=count), candidates)
    assert fits.amount_pusd <= available
    more = msgspec.structs.replace(asked, output_tokens=count + 1)
    bounded = any(d.output_tokens_max == count for d in candidates)
    assert bounded or estimate(more, candidates).amount_pusd > available or count >= 10**8


def test_nothing_is_affordable_when_the_input_alone_is_too_dear():
    assert affordable_output_tokens(request(text_bytes=10**6), [PLAIN], 1000) == 0
    assert affordable_output_tokens(request(), [PLAIN], -1) == 0


@given(REQUESTS, DEPLOYMENTS, st.data())
def test_the_hold_covers_any_bill_within_its_bounds(asked, candidates, data):
    asked = msgspec.structs.replace(asked, output_tokens=data.draw(st.integers(0, 10**6)))
    held = estimate(asked, candidates)
    chosen = data.draw(st.sampled_from(candidates))
    own = estimate(asked, [chosen])
    parts = [data.draw(st.integers(0, own.input_tokens)), data.draw(st.integers(0, own.output_tokens))]
    usage = Usage(
        input_tokens=parts[0],
        cache_write_tokens=own.input_tokens - parts[0],
        output_tokens=parts[1],
        reasoning_tokens=own.output_tokens - parts[1],
    )
    assert sum(line.amount_pusd for line in cost_lines(chosen.price, usage)) <= held.amount_pusd


@pytest.mark.parametrize("need", ["tools", "json_object", "json_schema", "file"])
def test_what_makes_a_provider_add_text_of_its_own_is_held(need):
    plain = estimate(request(text_bytes=100, needs=frozenset({"stream"})), [PLAIN])
    framed = estimate(request(text_bytes=100, needs=frozenset({need})), [PLAIN])
    assert framed.input_tokens - plain.input_tokens == FRAME_TOKENS - FRAME_TOKENS_PLAIN > 0


def test_files_that_only_the_provider_sees_are_held():
    unseen = request(text_bytes=40, output_tokens=5, beside=Beside(unseen_tokens=50_000))
    assert estimate(unseen, [PLAIN]).input_tokens == upper(40) + 50_000
    assert (
        estimate(unseen, [deployment(Rates(input=3, output=15), context_tokens=9_000)]).input_tokens == 9_000
    )


def test_what_the_provider_searches_is_held_with_what_it_brings():
    rates = Rates(input=3, output=15, web_search=10**10)
    asked = request(text_bytes=40, output_tokens=5, beside=Beside(searches=50, lookup_tokens=900_000))
    held = estimate(asked, [deployment(rates)])
    assert held.input_tokens == upper(40) + 900_000
    assert held.amount_pusd == held.input_tokens * 3 + 5 * 15 + 50 * 10**10
    bounded = estimate(asked, [deployment(rates, context_tokens=100_000)])
    assert bounded.input_tokens == 400_000  # tools may fill the window several times
    assert affordable_output_tokens(asked, [deployment(rates)], held.amount_pusd) == 5
    assert affordable_output_tokens(asked, [deployment(rates)], 50 * 10**10) == 0


def test_tools_that_the_provider_runs_are_held_at_their_price():
    tools = {"code_interpreter": Price(version="t", rates=Rates(input=0, output=0, web_search=3 * 10**10))}
    uses = (("code_interpreter", Usage(web_searches=2)), ("unpriced", Usage(web_searches=9)))
    asked = request(text_bytes=40, output_tokens=5, beside=Beside(tools=uses))
    at = deployment(Rates(input=3, output=15), tools=tools)
    assert estimate(asked, [at]).amount_pusd == upper(40) * 3 + 5 * 15 + 6 * 10**10


def test_the_quick_way_leaves_such_requests_to_the_thorough_one():
    assert worst_of([PLAIN]).estimate(request(text_bytes=40, beside=Beside(searches=1)), 100) is None
