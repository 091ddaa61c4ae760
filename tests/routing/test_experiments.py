"""The split, the figures and what is concluded from them, against values that were calculated by hand."""

from __future__ import annotations

import pickle
from math import comb, isclose, log, sqrt
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.experiment import Arm, Experiment, Guard
from llm_router.domain.record import ExchangeRecord
from llm_router.routing.experiments import chance
from llm_router.routing.experiments.figures import (
    FIELDS,
    ArmFigures,
    Figures,
    bin_of,
    count_rating,
    count_record,
    middle_of,
    quantiles,
)
from llm_router.routing.experiments.guard import worse
from llm_router.routing.experiments.report import report
from llm_router.routing.experiments.split import GROUPS, SPACE, arm_of, group_of, pick


def experiment(*weights: int, **more: object) -> Experiment:
    arms = tuple(Arm(name=f"arm{n}", weight=weight) for n, weight in enumerate(weights or (1, 1)))
    return Experiment(**{"name": "x", "of": "m", "arms": arms, **more})  # type: ignore[arg-type]


# -- the split -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any), st.integers(1, 8))
def test_the_split_is_exact(weights: list[int], times: int) -> None:
    space = sum(weights) * times
    found = [pick(weights, point, space) for point in range(space)]
    assert [found.count(arm) for arm in range(len(weights))] == [weight * times for weight in weights]
    assert found == sorted(found)


@given(st.integers(0, SPACE - 1), st.integers(0, 99), st.integers(0, 99))
def test_an_arm_that_grows_keeps_whom_it_had(point: int, share: int, more: int) -> None:
    grown = min(99, share + more)
    if pick([100 - share, share], point) == 1:
        assert pick([100 - grown, grown], point) == 1


@given(st.text(), st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_a_unit_keeps_its_arm(unit: str, weights: list[int]) -> None:
    split = experiment(*weights)
    assert arm_of(split, unit) == arm_of(split, unit)
    assert 0 <= group_of("x", unit) < GROUPS


def test_units_are_spread_by_weight_and_arm_and_group_have_nothing_to_do_with_each_other() -> None:
    split, seen, by_group = experiment(3, 1), 0, [0] * GROUPS
    for n in range(40_000):
        arm = arm_of(split, f"user{n}")
        assert arm is not None
        if arm.name == "arm1":
            seen += 1
            by_group[group_of("x", f"user{n}")] += 1
    assert abs(seen - 10_000) < 4 * sqrt(40_000 * 0.25 * 0.75)
    assert all(abs(count - seen / GROUPS) < 5 * sqrt(seen / GROUPS) for count in by_group)


def test_a_shadow_takes_its_share_and_is_served_by_the_first_arm() -> None:
    shadow = experiment(1, 1, kind="shadow", share=0.1)
    found = [arm_of(shadow, f"user{n}") for n in range(10_000)]
    assert {arm.name for arm in found if arm is not None} == {"arm0"}
    assert abs(sum(arm is not None for arm in found) - 1000) < 120


def test_another_definition_is_another_run() -> None:
    first = experiment(1, 1)
    assert first.run == experiment(1, 1).run
    assert first.run == msgspec.structs.replace(first, description="why").run
    assert first.run != experiment(1, 2).run
    assert first.run != experiment(1, 1, guard=Guard(margin=0.5)).run
    said = experiment(1, 1, share=float("0.5"), guard=Guard(margin=float("0.25")))
    for again in (
        msgspec.json.decode(msgspec.json.encode(said), type=Experiment),
        msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=Experiment),
        pickle.loads(pickle.dumps(said)),
    ):
        assert again.run == said.run


# -- figures ---------------------------------------------------------------------------------------


def record(**members: object) -> ExchangeRecord:
    usual = {
        "id": "gen-1", "account": "a", "key": "k", "operation": "chat", "dialect": "openai_chat",
        "asked_model": "m", "created_ms": 0, "status": 200, "duration_ms": 100, "finish": "stop", "model": "m",
    }  # fmt: skip
    return ExchangeRecord(**{**usual, **members})  # type: ignore[arg-type]


def test_what_is_counted_of_a_record() -> None:
    figures = ArmFigures()
    count_record(figures, 3, record(first_token_ms=40, duration_ms=100), 7)
    count_record(figures, 3, record(error_code="upstream_error", finish=None, duration_ms=900), 0)
    count_record(figures, 5, record(client_gone=True, duration_ms=500), 1)
    totals = {name: figures.total(name) for name in FIELDS}
    assert totals["requests"] == 3
    assert (totals["errors"], totals["gone"], totals["answers"]) == (1, 1, 1)
    assert (totals["latency_ms"], totals["firsts"], totals["first_token_ms"]) == (100, 1, 40)
    assert totals["cost_pusd"] == 8
    assert figures.codes == {"upstream_error": 1}
    assert sorted(figures.groups) == [3, 5]


@given(st.integers(0, 10**15))
def test_a_bin_holds_what_is_close_to_its_middle(number: int) -> None:
    middle = middle_of(bin_of(number))
    assert bin_of(middle) == bin_of(number)
    assert abs(middle - number) <= number / 31


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_bins_are_in_order_and_quantiles_are_where_they_belong(numbers: list[int]) -> None:
    bins: dict[int, int] = {}
    for number in numbers:
        bins[bin_of(number)] = bins.get(bin_of(number), 0) + 1
    for share in (0.5, 0.9, 0.99):
        (found,) = quantiles(bins, [share])
        at = next(n for n in sorted(numbers) if sum(m <= n for m in numbers) >= share * len(numbers))
        assert found is not None
        assert bin_of(found) == bin_of(at)


def test_figures_of_several_processes_add_up_in_any_order() -> None:
    dice, parts = Random(1), []
    for _ in range(4):
        part = Figures()
        for n in range(50):
            count_record(part.arm("a"), dice.randrange(64), record(duration_ms=dice.randrange(2000)), n)
            count_rating(part.arm("a"), dice.randrange(64), dice.choice([-1.0, 0.5, 1.0]), dice.choice("xy"))
        parts.append(msgspec.json.encode(part))

    def summed(order: list[bytes]) -> Figures:
        whole = Figures()
        for each in order:
            whole.add(msgspec.json.decode(each, type=Figures))
        return whole

    one, two = summed(parts), summed(parts[::-1])
    assert msgspec.to_builtins(report(experiment(), one)) == msgspec.to_builtins(report(experiment(), two))
    assert one.arm("a").total("requests") == 200


def test_a_rating_that_is_taken_back_leaves_nothing() -> None:
    figures = ArmFigures()
    count_rating(figures, 1, -1.0, "bad")
    count_rating(figures, 1, -1.0, "bad", times=-1)
    assert not any(figures.groups[1])
    assert figures.labels == {}


# -- chance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (60, 2.0003)]
)
def test_students_quantiles_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert chance.student(freedom) == pytest.approx(quantile, abs=5e-5)


def test_a_mean_over_groups() -> None:
    # Groups of 2, 1 and 1 with sums 6, 1 and 5: mean 3; off by 0, -2, 2; 3/2 * 8 / 16 = 0.75.
    mean = chance.mean_of([(2, 6), (1, 1), (1, 5), (0, 0)])
    assert mean is not None
    assert (mean.value, mean.count, mean.groups) == (3, 4, 3)
    assert mean.variance == pytest.approx(0.75)
    once = chance.once(mean)
    assert once is not None
    assert once.high == pytest.approx(3 + 4.302653 * sqrt(0.75), abs=1e-4)


def test_groups_of_one_are_the_usual_standard_error() -> None:
    numbers = [3, 1, 4, 1, 5, 9, 2, 6]
    mean = chance.mean_of([(1, n) for n in numbers])
    assert mean is not None
    average = sum(numbers) / 8
    assert mean.variance == pytest.approx(sum((n - average) ** 2 for n in numbers) / 7 / 8)


def test_welch_as_by_hand() -> None:
    # 1..5: mean 3, s2/n = 2.5/5 = 0.5. 4, 8, 12: mean 8, s2/n = 16/3.
    left, right = chance.mean_of([(1, n) for n in range(1, 6)]), chance.mean_of([(1, n) for n in (4, 8, 12)])
    assert left is not None
    assert right is not None
    found = chance.difference(left, right)
    assert found.value == 5
    assert found.error == pytest.approx(sqrt(0.5 + 16 / 3))
    freedom = (0.5 + 16 / 3) ** 2 / (0.25 / 4 + (16 / 3) ** 2 / 2)
    assert found.once is not None
    assert found.once.high - 5 == pytest.approx(chance.student(freedom) * sqrt(0.5 + 16 / 3))
    share = chance.relative(left, right)
    assert share is not None
    assert share.value == pytest.approx(5 / 3)
    assert share.error == pytest.approx(sqrt(0.5 / 9 + 16 / 3 / 64))


def test_wilson_and_newcombe_as_published() -> None:
    # Newcombe 1998 (Statistics in Medicine 17), table II, case (a): 56/70 against 48/80, method 10.
    found = chance.newcombe((48, 80), (56, 70))
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)
    # Wilson's for 81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I of the other paper).
    wilson = chance.wilson(81, 263)
    assert wilson is not None
    assert (round(wilson.low, 4), round(wilson.high, 4)) == (0.2553, 0.3662)


def test_the_anytime_interval_of_a_share_is_where_the_mixture_says() -> None:
    # Of 4 hits of 4 the mixture is the integral of p**4 over Jeffreys' prior: 35/128. low**4 = 0.05 * 35/128.
    found = chance.always(4, 4)
    assert found.high == 1
    assert found.low == pytest.approx((0.05 * 35 / 128) ** 0.25, abs=1e-9)
    assert chance.always(0, 0) == chance.Interval(0.0, 1.0)


def test_the_anytime_interval_of_a_share_holds_at_all_times() -> None:
    """At each of 100 looks the truth must be inside, in 95 of 100 runs; single looks do not do that."""
    dice, missed, missed_once = Random(5), 0, 0
    for _ in range(60):
        hits, out, once_out = 0, False, False
        for count in range(1, 301):
            hits += dice.random() < 0.1
            if count % 3:
                continue
            found = chance.always(hits, count)
            out = out or not found.low <= 0.1 <= found.high
            if count >= 20:
                once = chance.wilson(hits, count)
                assert once is not None
                once_out = once_out or not once.low <= 0.1 <= once.high
        missed, missed_once = missed + out, missed_once + once_out
    assert missed <= 3
    assert missed_once > 15


def test_the_anytime_interval_of_a_mean_holds_at_all_times() -> None:
    dice, missed = Random(8), 0
    for _ in range(60):
        groups, out = [[0, 0] for _ in range(GROUPS)], False
        for count in range(1, 1001):
            group = groups[dice.randrange(GROUPS)]
            group[0] += 1
            group[1] += round(dice.expovariate(1) * 1000)
            if count >= 100 and count % 50 == 0:
                mean = chance.mean_of([(n, s) for n, s in groups])
                assert mean is not None
                found = chance.anytime(mean)
                assert found is not None
                out = out or not found.low <= 1000 <= found.high
        missed += out
    assert missed <= 3


def test_how_many_more_are_needed_is_enough_and_not_far_too_many() -> None:
    found = chance.Difference(value=0.0, error=0.1, count=100)
    more = chance.more_for(found, 0.05)
    assert more is not None
    for count, enough in ((100 + more, True), (99 + more, False)):
        half = chance.widening(count) * chance.Z * 0.1 * sqrt(100 / count)
        assert (half <= 0.05) is enough
    assert chance.more_for(found, 1.0) == 0
    assert chance.more_for(chance.Difference(value=0.0), 1.0) is None


def test_clumps_count_for_less() -> None:
    alone = chance.mean_of([(1, n % 2) for n in range(64)])
    clumped = chance.mean_of([(10, 10 * (n % 2)) for n in range(64)])
    assert alone is not None
    assert clumped is not None
    assert chance.clumping(alone) == pytest.approx(64 / 63)
    assert chance.clumping(clumped) == pytest.approx(10 * 64 / 63)


# -- the guard and the report ----------------------------------------------------------------------


def counted(arm: ArmFigures, requests: int, errors: int = 0, **members: object) -> None:
    for n in range(requests):
        failed = {"error_code": "upstream_error"} if n < errors else {}
        count_record(arm, n % GROUPS, record(**{**members, **failed}), 0 if failed else 1_000_000)


def test_the_guard_stops_what_is_clearly_worse_and_nothing_else() -> None:
    canary = experiment(1, 1, kind="canary", guard=Guard(requests_min=20))
    figures = Figures()
    counted(figures.arm("arm0"), 20)
    counted(figures.arm("arm1"), 19, 19)
    assert worse(canary, figures) is None, "too few"
    counted(figures.arm("arm1"), 1, 1)
    assert worse(canary, figures) == "20 of 20 requests failed with arm 'arm1', 0 of 20 with 'arm0'"
    counted(figures.arm("arm0"), 20, 20)
    assert worse(canary, figures) is None, "the first arm fails as well"
    lenient = msgspec.structs.replace(canary, guard=Guard(requests_min=20, margin=0.9))
    figures = Figures()
    counted(figures.arm("arm0"), 100)
    counted(figures.arm("arm1"), 100, 60)
    assert worse(canary, figures) is not None
    assert worse(lenient, figures) is None


def test_the_guard_does_not_stop_what_is_no_worse() -> None:
    dice, stopped = Random(3), 0
    canary = experiment(1, 1, kind="canary")
    for _ in range(60):
        figures = Figures()
        for _ in range(40):
            for arm in ("arm0", "arm1"):
                counted(figures.arm(arm), 10, sum(dice.random() < 0.2 for _ in range(10)))
            stopped += worse(canary, figures) is not None
    assert stopped == 0


def figures_of(cost: tuple[int, int], ratings: tuple[float, float], requests: int = 400) -> Figures:
    figures = Figures()
    for arm, price, good in zip(("arm0", "arm1"), cost, ratings, strict=True):
        for n in range(requests):
            spread = price * (80 + (n * 7) % 41) // 100
            count_record(figures.arm(arm), n % GROUPS, record(duration_ms=90 + n % 21), spread)
            score = 1.0 if (n * 13 % 100) < good * 100 else -1.0
            count_rating(figures.arm(arm), n % GROUPS, score, None)
    return figures


def test_a_report_says_what_is_clear_and_what_is_not() -> None:
    said = report(experiment(), figures_of((1_000_000_000, 820_000_000), (0.7, 0.72)))
    cost, latency, errors, quality = said["comparisons"]
    assert (cost["metric"], cost["clear"]) == ("cost", True)
    assert cost["difference"] == pytest.approx(-0.18, abs=1e-6)
    assert cost["interval"][0] < -0.18 < cost["interval"][1] < 0
    assert cost["verdict"].startswith("arm1 is cheaper by 18 % (")
    assert (latency["metric"], latency["clear"], latency["difference"]) == ("latency", False, 0)
    assert (errors["metric"], errors["clear"]) == ("errors", False)
    assert (quality["metric"], quality["clear"]) == ("quality", False)
    assert quality["difference"] == pytest.approx(0.02)
    assert "quality: no difference seen yet" in quality["verdict"]
    assert quality["more_needed"] > 0
    assert f"about {quality['more_needed']} more with each arm are needed" in quality["verdict"]
    first = said["arms"][0]
    assert first["requests"] == 400
    assert first["cost_usd"]["total"] == f"{sum(80 + 7 * n % 41 for n in range(400)) / 10**5}"
    assert first["feedback"]["good"]["count"] == 280
    assert msgspec.json.encode(said) == msgspec.json.encode(
        report(experiment(), figures_of((1_000_000_000, 820_000_000), (0.7, 0.72)))
    )


def test_a_clear_difference_of_ratings_is_seen() -> None:
    said = report(experiment(), figures_of((10**9, 10**9), (0.9, 0.4)))
    quality = said["comparisons"][-1]
    assert quality["clear"]
    assert "arm1 is worse in its share of good ratings: 40 % against 90 %" in quality["verdict"]


def test_one_user_alone_says_nothing_however_often_he_asks() -> None:
    figures = Figures()
    for arm, price in (("arm0", 2 * 10**9), ("arm1", 10**9)):
        for _ in range(1000):
            count_record(figures.arm(arm), 7, record(), price)
    cost = report(experiment(), figures)["comparisons"][0]
    assert not cost["clear"]
    assert "too few who keep an arm" in cost["verdict"]


def test_an_empty_report() -> None:
    said = report(experiment(), Figures())
    assert said["verdict"] == ["nothing was counted yet"]
    assert said["comparisons"] == []


def test_the_widening_is_that_of_the_paper() -> None:
    wish = -2 * log(0.05)
    square = (wish + log(wish + 1)) / chance.TUNED_FOR
    seen = 500 * square
    assert isclose(
        chance.widening(500) * chance.Z / sqrt(500),
        sqrt(2 * (seen + 1) / (500 * seen) * log(sqrt(seen + 1) / 0.05)),
    )
    assert comb(8, 4) / 2**8 == 35 / 128  # what the mixture above rests on
