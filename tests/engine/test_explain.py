"""Decisions: what is kept of them, that they can be made again from it, and what is told of them."""

from __future__ import annotations

from tempfile import NamedTemporaryFile
from typing import Any

import msgspec
import pytest
from engine_kit import (
    KEY,
    FakeClient,
    World,
    answer,
    ask,
    deployment,
    events,
    model,
    provider,
    refusal,
    run,
    whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.billing.usage_rows import usage_row
from llm_router.cli.cases import read_cases
from llm_router.domain.decision import Decision, Stood, key_of
from llm_router.domain.model import Deployment
from llm_router.domain.price import Price, Rates
from llm_router.domain.record import ExchangeRecord
from llm_router.engine.admit import Call
from llm_router.engine.brief import CHARS_MAX
from llm_router.engine.cases import case_of_record
from llm_router.engine.dry_run import DryRun, Route
from llm_router.engine.explaining import explain_call
from llm_router.engine.explanation import CHANGED, explain_record
from llm_router.routing.health import Fared
from llm_router.routing.replay import replay, replay_order
from llm_router.routing.rules import RoutingRules
from llm_router.wire.dialects.registry import DIALECTS

NAMES = ("p1", "p2", "p3", "p4")
PROVIDERS = tuple(provider(name) for name in NAMES)


def _served(id_: str, at: str, rate: int, weight: int = 1, window: int | None = None) -> Deployment:
    price = Price(version=f"{at}-{rate}", rates=Rates(input=rate, output=3 * rate))
    found = deployment(id_, at, weight=weight, context_tokens=window)
    return msgspec.structs.replace(found, price=price)


def _world(rates: dict[str, list[int]], weights: list[int], **state: Any) -> World:
    models = [
        msgspec.structs.replace(
            model(id_, deployments=tuple(_served(id_, at, r, w) for at, r, w in zip(NAMES, each, weights, strict=False))),
            quality_tier=1 + at,
        )
        for at, (id_, each) in enumerate(rates.items())
    ]  # fmt: skip
    world = World(*models, providers=PROVIDERS, **state)
    for name in NAMES:
        world.upstream.scripts[name] = [answer(whole())]
    return world


def _again(record: ExchangeRecord) -> Decision:
    """The decision as it comes back from a store."""
    text = msgspec.json.encode(record)
    found = msgspec.json.decode(text, type=ExchangeRecord).decision
    assert found is not None
    return found


ROUTES = st.fixed_dictionaries(
    {},
    optional={
        "order": st.lists(st.sampled_from(NAMES), max_size=3),
        "ignore": st.lists(st.sampled_from(NAMES), max_size=2),
        "allow_fallbacks": st.booleans(),
        "sort": st.sampled_from(["price", "throughput", "latency", "exacto"]),
        "preferred_max_latency": st.sampled_from([0.05, 0.5]),
    },
)
FARED = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(Fared),
        st.sampled_from([20.0, 90.5, 700.25]),
        st.sampled_from([10.0, 33.3, 250.0]),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    strategy=st.sampled_from(["priority", "weighted", "cheapest", "fastest", "balanced", "least_busy"]),
    asked=st.sampled_from(
        ["a", "a|b", "b:floor|a:nitro", "auto", "a:exacto", "auto|c", "c|auto", "b:floor|auto|a"]
    ),
    wishes=ROUTES,
    fared=FARED,
    rates=st.lists(st.integers(1, 50), min_size=12, max_size=12),
    weights=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    dice=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=9),
    most=st.integers(1, 6),
    session=st.booleans(),
    dial=st.sampled_from([None, 0, 3.5, 10]),
)
def test_the_same_record_gives_the_same_choice(
    strategy: Any,
    asked: str,
    wishes: dict[str, Any],
    fared: list[tuple[str, str, Fared, float, float]],
    rates: list[int],
    weights: list[int],
    dice: list[float],
    most: int,
    session: bool,
    dial: float | None,
) -> None:
    async def main() -> None:
        groups = {"a": rates[:4], "b": rates[4:8], "c": rates[8:]}
        rules = RoutingRules(strategy=strategy, candidates_max=most)
        world = _world(groups, weights, routing=rules)
        thrown = iter(dice * 100)
        throw = lambda: next(thrown)  # noqa: E731
        world.engine.trying._dice = world.engine.planner._ordering._dice = throw
        health = world.engine.trying.health
        for name, id_, how, ttft, speed in fared:
            call = health.began(f"{name}/{id_}", 1_700_000_000_000)
            health.ended(call, 1_700_000_000_000, how, ttft_ms=ttft, tokens_per_s=speed)
        body = ask(asked, provider=wishes, **({"session_id": "s"} if session else {}))
        if dial is not None:
            body["dial"] = dial
        for _ in range(2):  # the second one of a session finds where the first was served
            world.client = FakeClient(world)
            await world.serve(body)
            record = world.telemetry.records[-1]
            if record.error_code == "no_eligible_deployment":
                assert _again(record).left_out
                continue
            assert world.client.status == 200, world.client.data
            decision = _again(record)
            if not decision.weighings:
                continue
            assert replay(decision) == decision.plan
            order = replay_order(decision, decision.plan)
            assert order[0] == record.attempts[0].deployment
            snapshot = world.engine.state.snapshot
            shown = explain_record(record, snapshot, world.engine.state.active)
            assert shown["replayed"] == {"same": True, "plan": list(decision.plan)}
            if decision.auto is None and not (decision.stuck and strategy == "balanced"):
                # how much of the prompt was warm is not kept, and moves what balanced compares with
                route = await _tried_again(record, world)
                assert (route.error, route.plan) == (None, decision.plan)
                assert route.expected_pusd == record.cost_pusd or route.plan[0] != record.deployment

    run(main())


async def _tried_again(record: ExchangeRecord, world: World) -> Route:
    """Where an exported record goes in a dry run under the same configuration."""
    row = usage_row(record, "") | {"decision": msgspec.to_builtins(record.decision)}
    with NamedTemporaryFile() as file:
        file.write(msgspec.json.encode(row))
        file.flush()
        (case,) = read_cases(file.name, lambda model_: False)
    assert case.was is not None
    assert record.decision is not None
    assert case.was.plan == record.decision.plan
    found = await DryRun(world.engine.state, DIALECTS, 0).route(case)
    assert found is not None
    return found


def test_a_record_that_was_tampered_with_gives_another_choice() -> None:
    async def main() -> None:
        world = _world({"a": [5, 3, 9, 7]}, [1, 1, 1, 1], routing=RoutingRules(strategy="cheapest"))
        await world.serve(ask("a"))
        decision = _again(world.record)
        assert decision.plan == ("p2/a", "p1/a", "p4/a", "p3/a")
        weighing = decision.weighings[0]
        dearer = tuple(
            msgspec.structs.replace(c, cost_pusd=10**12) if c.deployment == "p2/a" else c
            for c in weighing.candidates
        )
        changed = msgspec.structs.replace(
            decision, weighings=(msgspec.structs.replace(weighing, candidates=dearer),)
        )
        assert replay(changed)[-1] == "p2/a"
        record = msgspec.structs.replace(world.record, decision=changed)
        shown: Any = explain_record(record, world.engine.state.snapshot, world.engine.state.active)
        assert shown["replayed"]["same"] is False

    run(main())


def test_a_plain_request_keeps_next_to_nothing_and_is_explained_all_the_same() -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [answer(whole())]
        await world.serve(ask("m1"))
        record, state = world.record, world.engine.state
        assert record.decision is not None
        assert len(msgspec.json.encode(record.decision)) < 200
        shown: Any = explain_record(record, state.snapshot, state.active)
        assert shown["plan"] == [key_of(c.id, False) for c in state.snapshot.models["m1"].deployments]
        assert shown["candidates"][0]["price_per_mtok"] is not None
        assert shown["candidates"][0]["forecast_cost"] is not None
        assert shown["attempts"][0]["why"] == "first"
        assert shown["hold"] is not None
        fewer: Any = explain_record(record, state.snapshot, state.active - {"p1"})
        assert fewer["notes"] == [CHANGED]

    run(main())


def test_a_plan_that_was_cut_is_told_as_it_was() -> None:
    async def main() -> None:
        world = World(routing=RoutingRules(candidates_max=3))
        world.upstream.scripts["p1"] = [refusal(500)]
        world.upstream.scripts["p2"] = [answer(whole())]
        for _ in range(2):  # one that failed first, one that went as most do
            world.client = FakeClient(world)
            world.telemetry.records.clear()
            await world.serve(ask("m6"))
            shown: Any = explain_record(world.record, world.engine.state.snapshot, world.engine.state.active)
            assert shown["plan"] == shown["replayed"]["plan"] == ["p1/m6", "p2/m6", "p3/m6"]
            assert [each["deployment"] for each in shown["rejected"]] == ["p4/m6", "p5/m6", "p6/m6"]
            assert [each["place"] for each in shown["candidates"]] == [1, 2, 3]
            world.upstream.scripts["p1"] = [answer(whole())]

    run(main())


@pytest.mark.parametrize(
    "asked", [{"model": "@nope"}, {"model": "m1", "preset": "nope"}, {"model": "m1", "preset": 5}]
)
def test_what_was_refused_for_its_preset_is_not_said_to_go_now(asked: dict[str, Any]) -> None:
    async def main() -> None:
        world = World()
        await world.serve({**ask("m1"), **asked})
        assert world.client.status in (400, 404)
        case = case_of_record(world.record)
        assert case is not None
        assert case.untold is not None
        assert "refused before" in case.untold

    run(main())


def test_what_failed_and_what_followed_is_told() -> None:
    async def main() -> None:
        world = _world({"a": [5, 3, 9, 7]}, [1, 1, 1, 1])
        world.upstream.scripts["p1"] = [refusal(503)]
        await world.serve(ask("a"))
        record, state = world.record, world.engine.state
        shown: Any = explain_record(record, state.snapshot, state.active)
        assert [(a["why"], a["outcome"], a["cause"]) for a in shown["attempts"]] == [
            ("first", "failed", "provider_overloaded"),
            ("next", "delivered", None),
        ]
        assert shown["served_by"] == "p2/a"
        assert shown["stopped"] is None

    run(main())


def test_why_nothing_more_was_tried() -> None:
    async def main() -> None:
        world = _world({"a": [5]}, [1])
        world.upstream.scripts["p1"] = [refusal(400)]
        await world.serve(ask("a"))
        shown: Any = explain_record(world.record, world.engine.state.snapshot, world.engine.state.active)
        assert shown["stopped"] == "request"
        assert shown["error"]["code"] == world.record.error_code
        assert shown["served_by"] is None

    run(main())


@pytest.mark.parametrize("rejected", [{"only": ["nowhere"]}, {"ignore": list(NAMES)}])
def test_who_was_left_out_of_a_request_that_nobody_could_serve(rejected: dict[str, Any]) -> None:
    async def main() -> None:
        world = _world({"a": [5, 3, 9, 7]}, [1, 1, 1, 1])
        await world.serve(ask("a", provider=rejected))
        shown: Any = explain_record(world.record, world.engine.state.snapshot, world.engine.state.active)
        assert [each["deployment"] for each in shown["rejected"]] == [f"{name}/a" for name in NAMES]
        assert shown["hold"] is None

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_header_says_it_in_short(stream: bool) -> None:
    async def main() -> None:
        world = _world({"a": [5, 3, 9, 7]}, [1, 1, 1, 1], routing=RoutingRules(strategy="cheapest"))
        world.upstream.scripts["p2"] = [refusal(503)]
        if stream:
            world.upstream.scripts["p1"] = [answer(*events("Hi"))]
        await world.serve(ask("a", stream=stream), headers={"x-llm-router-explain": "1"})
        said = world.client.headers["x-llm-router-explain"]
        parts = dict(part.split("=", 1) for part in said.split("; "))
        assert parts["strategy"] == "cheapest"
        assert parts["plan"] == "p2/a,p1/a,p4/a,p3/a"
        first, second = parts["tried"].split(",")
        assert first.startswith("p2/a:provider_overloaded:")
        assert second == "p1/a"
        assert "error" not in parts

    run(main())


def test_the_header_comes_with_errors_and_only_when_asked() -> None:
    async def main() -> None:
        world = _world({"a": [5]}, [1])
        world.upstream.scripts["p1"] = [refusal(400)]
        await world.serve(ask("a"), headers={"x-llm-router-explain": "true"})
        said = world.client.headers["x-llm-router-explain"]
        assert "tried=p1/a:invalid_request:" in said
        assert said.endswith(f"error={world.record.error_code}")
        for wish in ({}, {"x-llm-router-explain": "0"}):
            world.client = FakeClient(world)
            await world.serve(ask("a", provider={"only": ["x"]}), headers=wish)
            assert "x-llm-router-explain" not in world.client.headers
        world.client = FakeClient(world)
        await world.serve(ask("a", provider={"only": ["x"]}), headers={"x-llm-router-explain": "1"})
        assert world.client.headers["x-llm-router-explain"] == "left_out=1; error=no_eligible_deployment"

    run(main())


def test_the_header_is_bounded_and_ascii() -> None:
    async def main() -> None:
        names = tuple(f"prövider-{'x' * 150}-{n}" for n in range(12))
        found = tuple(_served("a", name, 5) for name in names)
        world = World(model("a", deployments=found), providers=tuple(provider(name) for name in names))
        await world.serve(ask("a"), headers={"x-llm-router-explain": "1"})
        said = world.client.headers["x-llm-router-explain"]
        assert said.isascii()
        assert len(said) <= CHARS_MAX

    run(main())


def test_who_served_the_session_is_part_of_the_record() -> None:
    async def main() -> None:
        world = _world({"a": [5, 3, 9, 7]}, [1, 1, 1, 1], routing=RoutingRules(strategy="cheapest"))
        world.upstream.scripts["p2"] = [refusal(503), answer(whole())]
        for _ in range(2):  # the first is served by p1, since p2 fails
            world.client = FakeClient(world)
            await world.serve(ask("a", session_id="s"))
        decision = _again(world.telemetry.records[-1])
        assert decision.stuck == "p1/a"
        assert replay(decision) == decision.plan == ("p1/a", "p2/a", "p4/a", "p3/a")

    run(main())


def test_the_order_of_trying_is_told_while_one_comes_back() -> None:
    async def main() -> None:
        world = _world({"a": [1, 2]}, [1, 1])
        health, now_ms = world.engine.trying.health, world.engine.clock.now_ms()
        for _ in range(6):
            health.ended(health.began("p1/a", now_ms - 20_000), now_ms - 20_000, Fared.BADLY)
        health.ended(health.began("p1/a", now_ms), now_ms, Fared.WELL)  # its circuit closes, slowly
        world.dice = 0.99
        await world.serve(ask("a"), headers={"x-llm-router-explain": "1"})
        assert world.upstream.asked == ["p2"]
        assert "plan=p1/a,p2/a; order=p2/a,p1/a; " in world.client.headers["x-llm-router-explain"]
        shown: Any = explain_record(world.record, world.engine.state.snapshot, world.engine.state.active)
        assert (shown["plan"], shown["order"]) == (["p1/a", "p2/a"], ["p2/a", "p1/a"])
        call = Call(
            operation="chat", dialect=DIALECTS["openai_chat"], body=msgspec.json.encode(ask("a")), credential=KEY,
            headers={}, started_us=0,
        )  # fmt: skip
        before: Any = await explain_call(world.engine, call, "chat")
        assert (before["plan"], before["order"]) == (["p1/a", "p2/a"], ["p2/a", "p1/a"])
        assert "p1/a comes back from an outage: about " in before["notes"][-1]
        world.dice, world.client = 0.0, FakeClient(world)
        await world.serve(ask("a"), headers={"x-llm-router-explain": "1"})
        assert world.upstream.asked[-1] == "p1"
        assert "order=" not in world.client.headers["x-llm-router-explain"]

    run(main())


def test_the_account_s_own_key_does_not_hide_how_a_deployment_stood() -> None:
    decision = Decision(
        plan=("p1/a#own", "p2/a"), stood=(Stood(deployment="p1/a", available=False, reason="its circuit is open"),)
    )  # fmt: skip
    assert replay_order(decision, decision.plan) == ("p2/a", "p1/a#own")


def test_scores_have_their_unit_and_reasons_are_in_dollars() -> None:
    async def main() -> None:
        world = _world({"a": [2, 1], "b": [40, 50]}, [1, 1])
        await world.serve(ask("a:floor"))
        shown: Any = explain_record(world.record, world.engine.state.snapshot, world.engine.state.active)
        assert {c["score_unit"] for c in shown["candidates"]} == {"picodollars"}
        world.client = FakeClient(world)
        await world.serve(ask("auto"))
        record = world.telemetry.records[-1]
        shown = explain_record(record, world.engine.state.snapshot, world.engine.state.active)
        assert " for $0.0" in shown["auto"]["reason"]
        assert "pUSD" not in shown["auto"]["reason"]

    run(main())
