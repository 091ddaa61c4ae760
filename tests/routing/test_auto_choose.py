"""The auto strategy's decision: laws of the order, of the dial, and of what is learned on the way."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llm_router.routing.auto.choose import Offer, choose
from llm_router.routing.auto.local import LABELS_MIN, LocalHeads, local_buckets
from llm_router.routing.auto.scoring import Score
from llm_router.routing.auto.traffic import SAMPLES_ENOUGH, SAMPLES_MAX, Sample, Traffic

USUAL = tuple(i / 100 * 0.6 - 0.1 for i in range(101))

CHEAP = Offer(id="a/small", model="small", cost_pusd=1_000, quality_tier=1)
GOOD = Offer(id="b/large", model="large", cost_pusd=30_000, quality_tier=4)
MIDDLE = Offer(id="c/middle", model="middle", cost_pusd=8_000, quality_tier=2)


def a_score(gain: float = 0.2, weak: float = 0.5) -> Score:
    return Score(weak=weak, gain=gain, tiers=(1, 3))


offers = st.lists(
    st.builds(
        Offer,
        id=st.uuids().map(str),
        model=st.sampled_from(["m1", "m2", "m3"]),
        cost_pusd=st.integers(0, 10**12),
        quality_tier=st.one_of(st.none(), st.integers(1, 5)),
        fits=st.integers(0, 3),
    ),
    max_size=8,
    unique_by=lambda offer: offer.id,
)
gains = st.floats(-0.5, 0.9)
samples = st.lists(
    st.builds(Sample, estimate=gains, gain=gains, extra_pusd=st.integers(0, 10**12)), max_size=40
)


@given(offers, gains, st.floats(0, 1), st.floats(-1, 11), samples)
def test_the_choice_orders_the_offers_and_is_always_the_same(
    given_offers: list[Offer], gain: float, weak: float, dial: float, seen: list[Sample]
) -> None:
    traffic = Traffic(USUAL)
    for sample in seen:
        traffic.add(sample)
    score = a_score(gain, min(max(weak, 0.03), 0.97))
    first = choose(score, given_offers, dial=dial, traffic=traffic)
    again = choose(score, given_offers, dial=dial, traffic=Traffic(USUAL, traffic.samples))
    assert sorted(s.id for s in first.ranked) == sorted(o.id for o in given_offers)
    assert [s.id for s in choose(score, given_offers, dial=dial, traffic=traffic).ranked] == [
        s.id for s in first.ranked
    ]
    assert again.sample == first.sample
    assert all(0 <= s.quality <= 1 for s in first.ranked)


@given(offers.filter(bool), gains, samples)
def test_more_dial_never_chooses_worse_nor_less_dial_dearer(
    given_offers: list[Offer], gain: float, seen: list[Sample]
) -> None:
    traffic = Traffic(USUAL, tuple(s for s in seen if s.gain > 0 and s.extra_pusd > 0))
    tops = [choose(a_score(gain), given_offers, dial=d / 2, traffic=traffic).ranked[0] for d in range(21)]
    assert tops[0].cost_pusd == min(o.cost_pusd for o in given_offers)
    best = max(s.quality for s in choose(a_score(gain), given_offers, dial=10, traffic=traffic).ranked)
    assert tops[-1].quality == best
    for lower, higher in pairwise(tops):
        assert higher.quality >= lower.quality - 1e-9
        assert higher.cost_pusd >= lower.cost_pusd


def test_the_dial_is_the_share_of_the_extra_money_that_is_spent() -> None:
    traffic = Traffic(USUAL)
    estimates = [(i * 37 % 100) / 250 for i in range(SAMPLES_MAX)]
    for estimate in estimates:
        choice = choose(a_score(estimate), [CHEAP, GOOD], dial=3, traffic=traffic)
        assert choice.sample is not None
        traffic.add(choice.sample)
    for dial in (2, 5, 8):
        chosen = [choose(a_score(e), [CHEAP, GOOD], dial=dial, traffic=traffic).ranked[0] for e in estimates]
        share = sum(s.id == GOOD.id for s in chosen) / len(chosen)
        assert abs(share - dial / 10) < 0.06


def test_before_any_traffic_the_training_quantiles_decide() -> None:
    traffic = Traffic(USUAL)
    hard = choose(a_score(0.55), [CHEAP, GOOD], dial=5, traffic=traffic)
    easy = choose(a_score(-0.05), [CHEAP, GOOD], dial=5, traffic=traffic)
    assert hard.ranked[0].id == GOOD.id
    assert easy.ranked[0].id == CHEAP.id
    assert hard.rank > 0.9 > 0.2 > easy.rank
    assert easy.worth_min is not None
    assert easy.worth_min > 0


def test_dollars_decide_not_calls() -> None:
    traffic = Traffic(USUAL, tuple(Sample(estimate=0.2, gain=0.2, extra_pusd=29_000) for _ in range(300)))
    for dear, wanted in ((30_000, GOOD.id), (900_000, CHEAP.id)):
        good = msgspec.structs.replace(GOOD, cost_pusd=dear)
        assert choose(a_score(0.25), [CHEAP, good], dial=5, traffic=traffic).ranked[0].id == wanted


def test_a_strength_that_fits_and_then_the_price_decide_between_equals() -> None:
    twin = Offer(id="d/coder", model="coder", cost_pusd=30_000, quality_tier=4, fits=1)
    cheaper = Offer(id="e/large", model="large", cost_pusd=20_000, quality_tier=4)
    best = choose(a_score(), [GOOD, twin, cheaper], dial=10, traffic=Traffic(USUAL)).ranked
    assert [s.id for s in best] == ["d/coder", "e/large", "b/large"]


def test_traffic_keeps_the_latest_and_what_was_no_choice_teaches_nothing() -> None:
    traffic = Traffic(USUAL)
    traffic.add(Sample(estimate=0.1, gain=0.1, extra_pusd=0))
    traffic.add(Sample(estimate=0.1, gain=0.0, extra_pusd=5))
    assert traffic.samples == ()
    for i in range(SAMPLES_MAX + 10):
        traffic.add(Sample(estimate=0.5, gain=0.5, extra_pusd=i + 1))
    assert len(traffic.samples) == SAMPLES_MAX
    assert traffic.samples[-1].extra_pusd == SAMPLES_MAX + 10
    assert SAMPLES_ENOUGH < SAMPLES_MAX
    assert choose(a_score(), [CHEAP], dial=5, traffic=traffic).sample is None


def test_a_head_says_nothing_before_300_labels_and_then_what_it_saw() -> None:
    heads = LocalHeads()
    hard, easy = local_buckets([5, 17, 900]), local_buckets([6, 18, 901])
    for i in range(LABELS_MIN - 2):
        heads.observe(hard if i % 2 else easy, "small", float(i % 2 == 0), 0.5)
    assert heads.quality(hard, "small", 0.5) == 0.5
    for i in range(100):
        heads.observe(hard if i % 2 else easy, "small", float(i % 2 == 0), 0.5)
    assert heads.quality(hard, "small", 0.5) < 0.4
    assert heads.quality(easy, "small", 0.5) > 0.6
    assert heads.quality(easy, "other", 0.5) == 0.5
