"""What follows a failure: few calls, none in vain, no pause that the client does not wait for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import LossRefused, ProviderNotConfigured, UpstreamError, UpstreamKind
from llm_router.domain.model import Capabilities, Deployment, Model, Provider
from llm_router.domain.price import Price, Rates
from llm_router.routing.advance import VERDICTS, Reach, Step, Stop, Tried, fared, following, telling
from llm_router.routing.health import Fared, HealthView
from llm_router.routing.plan import Candidate
from llm_router.routing.retry import RetryBudget, RetryRules, backoff_ms

K = UpstreamKind
PRICE = Price(version="1", rates=Rates(input=1, output=1))
RULES = RetryRules(attempts_max=5, repeats_max=2, reserve=10)


def candidate(name: str, model: str = "m", window: int | None = None, **more: bool) -> Candidate:
    return Candidate(
        model=Model(
            id=model, name=model, family="F", developer="D", capabilities=Capabilities(), deployments=()
        ),
        deployment=Deployment(
            id=f"{name}/{model}", model=model, provider=name, upstream_model="up", price=PRICE,
            context_tokens=window,
        ),
        provider=Provider(id=name, name=name, base_url="http://x"),
        dialect="openai_chat",
        same_dialect=True,
        **more,
    )  # fmt: skip


def failed(of: Candidate, kind: UpstreamKind, after_s: float | None = None, **more: bool) -> Tried:
    return Tried(candidate=of, error=UpstreamError("x", kind=kind, retry_after_s=after_s), **more)


def follow(
    plan: Sequence[Candidate],
    *tried: Tried,
    rules: RetryRules = RULES,
    budget: RetryBudget | None = None,
    due_ms: int | None = None,
    dice: float = 0.5,
    views: dict[str, HealthView] | None = None,
    chain: Sequence[Candidate] = (),
) -> Step | Stop:
    return following(
        rules,
        plan,
        tried,
        now_ms=1000,
        due_ms=due_ms,
        budget=RetryBudget(rules) if budget is None else budget,
        dice=dice,
        views=None if views is None else lambda ids: [views.get(id_, HealthView()) for id_ in ids],
        chain=chain,
    )


A, B, C = candidate("a"), candidate("b"), candidate("c")
OTHER = candidate("o", "other", 200_000)

names = st.sampled_from("abcd")
plans = st.lists(st.tuples(names, st.sampled_from(["m", "n"])), unique=True, min_size=1, max_size=6)


@given(
    plans,
    st.lists(st.tuples(st.sampled_from(list(K)), st.none() | st.floats(0, 30)), min_size=30, max_size=30),
    st.integers(1, 6),
    st.integers(0, 3),
    st.floats(0, 1, exclude_max=True),
)
def test_attempts_end_and_keep_to_their_bounds(
    pairs: list[tuple[str, str]],
    fates: list[tuple[UpstreamKind, float | None]],
    attempts_max: int,
    repeats_max: int,
    dice: float,
) -> None:
    rules = RetryRules(attempts_max=attempts_max, repeats_max=repeats_max, reserve=3)
    budget = RetryBudget(rules)
    plan = [candidate(*pair) for pair in pairs]
    current, tried, repeats, now_ms, due_ms = plan[0], list[Tried](), 0, 0, 20_000
    for kind, after_s in fates:
        tried.append(failed(current, kind, after_s))
        step = following(
            rules, plan, tried, now_ms=now_ms, due_ms=due_ms, budget=budget, dice=dice, views=None
        )
        if isinstance(step, Stop):
            break
        seen = [each.candidate for each in tried].count(step.candidate)
        assert (step.why == "repeat") == (seen > 0)
        assert seen <= repeats_max
        assert step.wait_ms == 0 or step.why == "repeat"
        assert step.wait_ms <= rules.wait_s_max * 1000
        repeats += step.why == "repeat"
        now_ms += step.wait_ms
        assert now_ms < due_ms
        current = step.candidate
    else:
        raise AssertionError("the attempts never ended")
    assert len(tried) <= attempts_max
    assert repeats <= 3


@pytest.mark.parametrize("kind", K)
def test_which_failures_go_to_another_deployment(kind: UpstreamKind) -> None:
    step = follow([A, B], failed(A, kind))
    if VERDICTS[kind].reach is Reach.ANY:
        assert step == Step(candidate=B)
    else:
        assert step == Stop(why="request")


@pytest.mark.parametrize("kind", K)
def test_every_failure_goes_to_another_model_that_was_asked_for(kind: UpstreamKind) -> None:
    assert follow([A, B, OTHER], failed(A, kind), failed(B, kind)) == Step(candidate=OTHER)


@pytest.mark.parametrize("kind", K)
def test_which_failures_are_tried_again(kind: UpstreamKind) -> None:
    step = follow([A], failed(A, kind))
    again = kind in {K.RATE_LIMIT, K.OVERLOADED, K.SERVER, K.UNAVAILABLE, K.TRUNCATED, K.MALFORMED}
    assert isinstance(step, Step) == again
    if isinstance(step, Step):
        assert step == Step(candidate=A, wait_ms=250, why="repeat")


def test_too_long_a_prompt_goes_where_there_is_more_room() -> None:
    small, same, large, unknown = (
        candidate("a", "m", 8_000), candidate("b", "m", 8_000), candidate("c", "m", 32_000), candidate("d")
    )  # fmt: skip
    too_long = failed(small, K.CONTEXT_LENGTH)
    assert follow([small, same, unknown, large], too_long) == Step(candidate=large)
    assert follow([small, same, unknown, OTHER], too_long) == Step(candidate=OTHER)
    assert follow([OTHER, small], failed(OTHER, K.CONTEXT_LENGTH)) == Stop(why="request")


def test_the_chain_comes_behind_the_plan_and_keeps_to_what_is_known() -> None:
    big = candidate("z", "big", 1_000_000)
    assert follow([A, B], failed(A, K.SERVER), chain=[big]) == Step(candidate=B)
    step = follow([A, B], failed(A, K.CONTENT_POLICY), chain=[big])
    assert step == Step(candidate=big, why="fallback")
    small = candidate("y", "small", 100)
    given_ = candidate("a", "m", 8_000)
    assert follow([given_], failed(given_, K.CONTEXT_LENGTH), chain=[small, big]) == Step(
        candidate=big, why="fallback"
    )


def test_another_key_of_the_same_provider_comes_first() -> None:
    assert follow([A, B], failed(A, K.RATE_LIMIT, other_key=True)) == Step(candidate=A, why="key")


def test_who_is_unwell_comes_last_but_is_not_left_out() -> None:
    out = {"b/m": HealthView(available=False, reason="open")}
    assert follow([A, B, C], failed(A, K.SERVER), views=out) == Step(candidate=C)
    assert follow([A, B, C], failed(A, K.SERVER), failed(C, K.SERVER), views=out) == Step(candidate=B)


def test_a_provider_s_own_word_is_waited_for_up_to_a_bound() -> None:
    assert follow([A], failed(A, K.RATE_LIMIT, 3.0)) == Step(candidate=A, wait_ms=3000, why="repeat")
    assert follow([A], failed(A, K.RATE_LIMIT, 11.0)) == Stop(why="wait")
    assert follow([A, B], failed(A, K.RATE_LIMIT, 11.0)) == Step(candidate=B)


def test_of_several_the_one_that_is_back_first_is_asked_again() -> None:
    tried = (failed(A, K.RATE_LIMIT, 5.0), failed(B, K.RATE_LIMIT, 2.0))
    assert follow([A, B], *tried) == Step(candidate=B, wait_ms=2000, why="repeat")


def test_no_pause_goes_beyond_the_client_s_deadline() -> None:
    assert follow([A], failed(A, K.RATE_LIMIT, 3.0), due_ms=4000) == Stop(why="deadline")
    assert follow([A, B], failed(A, K.RATE_LIMIT, 3.0), due_ms=4000) == Step(candidate=B)
    assert follow([A, B], failed(A, K.SERVER), due_ms=1000) == Stop(why="deadline")


def test_without_a_budget_nothing_is_asked_again() -> None:
    rules = RetryRules(budget=0.2, reserve=1)
    budget = RetryBudget(rules)
    assert isinstance(follow([A], failed(A, K.SERVER), budget=budget), Step)
    assert follow([A], failed(A, K.SERVER), budget=budget) == Stop(why="budget")
    assert isinstance(follow([A, B], failed(A, K.SERVER), budget=budget), Step)  # another one costs nothing
    for _ in range(5):
        budget.earn()
    assert isinstance(follow([A], failed(A, K.SERVER), budget=budget), Step)


@given(st.integers(1, 400), st.lists(st.booleans(), max_size=600))
def test_repeats_stay_within_their_share_of_traffic(reserve: int, moves: list[bool]) -> None:
    budget = RetryBudget(RetryRules(budget=0.2, reserve=reserve))
    exchanges = repeats = 0
    for is_exchange in moves:
        if is_exchange:
            exchanges += 1
            budget.earn()
        else:
            repeats += budget.spend()
        assert repeats <= reserve + exchanges * 0.2 + 1e-6


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_the_pause_is_any_part_of_a_bound_that_doubles(repeat: int, dice: float) -> None:
    rules = RetryRules(backoff_s=0.5, backoff_s_max=8.0)
    bound_ms = min(8000, 500 * 2**repeat)
    assert backoff_ms(rules, repeat, dice) == round(bound_ms * dice)


def test_what_the_operator_has_to_mend_is_told_last() -> None:
    busy, key = failed(A, K.RATE_LIMIT), failed(B, K.AUTHENTICATION)
    assert telling([busy, key]) is busy.error
    assert telling([key]) is key.error
    assert telling([key, busy]) is busy.error
    unsigned = Tried(candidate=B, error=ProviderNotConfigured("no"), called=False)
    assert telling([busy, unsigned]) is busy.error


def test_what_could_not_be_sent_is_no_call() -> None:
    lossy = Tried(candidate=A, error=LossRefused("no"), called=False)
    assert follow([A, B], lossy, rules=RetryRules(attempts_max=1)) == Step(candidate=B)


def test_a_customer_s_own_key_is_not_held_against_the_deployment() -> None:
    for kind in (K.AUTHENTICATION, K.PERMISSION, K.PAYMENT, K.RATE_LIMIT):
        error = UpstreamError("x", kind=kind)
        assert fared(error, own_key=True) is Fared.NEITHER
        assert fared(error, own_key=False) is not Fared.NEITHER
    assert fared(UpstreamError("x", kind=K.SERVER), own_key=True) is Fared.BADLY
    for kind in (K.INVALID_REQUEST, K.CONTEXT_LENGTH, K.CONTENT_POLICY, K.PAYLOAD):
        assert fared(UpstreamError("x", kind=kind), own_key=False) is Fared.NEITHER


@pytest.mark.parametrize("kind", [K.SERVER, K.RATE_LIMIT, K.TIMEOUT, K.AUTHENTICATION])
def test_every_model_that_was_asked_for_is_heard_before_the_calls_run_out(kind: UpstreamKind) -> None:
    rules = RetryRules(attempts_max=3)
    plan = [A, B, C, OTHER]
    first = follow(plan, failed(A, kind), rules=rules)
    assert isinstance(first, Step)
    assert first.candidate == B  # there is still a call left for the other model
    second = follow(plan, failed(A, kind), failed(B, kind), rules=rules)
    assert isinstance(second, Step)
    assert (second.candidate, second.why) == (OTHER, "next")
    third = candidate("t", "third")
    assert follow([A, B, OTHER, third], failed(A, kind), rules=rules) == Step(candidate=OTHER)
    assert follow([A, B, OTHER, third], failed(A, kind), failed(OTHER, kind), rules=rules) == Step(
        candidate=third
    )


def test_a_fallback_is_heard_too() -> None:
    rules = RetryRules(attempts_max=3)
    step = follow([A, B, C], failed(A, K.SERVER), failed(B, K.SERVER), rules=rules, chain=[OTHER])
    assert step == Step(candidate=OTHER, why="fallback")
