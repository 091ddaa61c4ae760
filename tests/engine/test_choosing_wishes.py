"""What requests wish of who serves them, over whole exchanges: filters with reasons, orders, sessions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from engine_kit import FakeClient, World, answer, ask, deployment, model, provider, refusal, run, whole

from llm_router.domain.model import Deployment, Provider
from llm_router.domain.price import Price, Rates
from llm_router.routing.rules import RoutingRules, Rule
from llm_router.wire.dialects.registry import DIALECTS


def _priced(id_: str, input_: int, output: int, **more: Any) -> Deployment:
    price = Price(
        version=f"{id_}-1", rates=Rates(input=input_, output=output, cache_read=more.pop("read", None))
    )
    return msgspec.structs.replace(deployment("m", id_, **more), price=price)


PROVIDERS: tuple[Provider, ...] = (
    provider("p1", data_collection="allow", data_source="x"),
    provider("p2", data_collection="deny", data_source="x", zero_retention=True, regions=("eu",)),
    provider("p3"),
)


LONG = ask("m", max_tokens=1, messages=[{"role": "user", "content": "word " * 100}])


def _world(**state: Any) -> World:
    world = World(
        model(
            "m",
            deployments=(
                _priced("p1", 3_000_000, 9_000_000, context_tokens=1000, quantization="fp8"),
                _priced("p2", 2_000_000, 8_000_000, context_tokens=100_000, quantization="bf16"),
                _priced("p3", 1_000_000, 30_000_000, context_tokens=100_000),
            ),
        ),
        providers=PROVIDERS,
        **state,
    )
    for name in ("p1", "p2", "p3"):
        world.upstream.scripts[name] = [answer(whole())]
    return world


async def _again(world: World, body: dict[str, Any], **call: Any) -> str:
    """Who serves one more request."""
    world.client = FakeClient(world)
    world.upstream.requests.clear()
    await world.serve(body, **call)
    assert world.client.status == 200, world.client.data
    return world.upstream.asked[-1]


@pytest.mark.parametrize(
    ("wishes", "served"),
    [
        ({}, "p1"),
        ({"order": ["p3", "p2"]}, "p3"),
        ({"order": ["nowhere", "P2"]}, "p2"),
        ({"only": ["p2", "p3"]}, "p2"),
        ({"ignore": ["p1", "p2"]}, "p3"),
        ({"sort": "price"}, "p2"),
        ({"max_price": {"prompt": 2.5, "completion": 10}}, "p2"),
        ({"max_price": {"prompt": "1.00"}}, "p3"),
        ({"data_collection": "deny"}, "p2"),
        ({"zdr": True}, "p2"),
        ({"quantizations": ["bf16", "fp16"]}, "p2"),
        ({"quantizations": ["unknown"]}, "p3"),
        ({"regions": ["eu"]}, "p2"),
        ({"order": ["p1/bf16", "p2/bf16"]}, "p2"),
    ],
)
def test_wishes_decide_who_serves(wishes: dict[str, Any], served: str) -> None:
    async def main() -> None:
        world = _world()
        await world.serve(ask("m", provider=wishes))
        assert world.client.status == 200, world.client.data
        assert world.upstream.asked == [served]
        assert b"provider" not in world.upstream.requests[0].body
        world.check()

    run(main())


def test_suffixes_order_by_price() -> None:
    async def main() -> None:
        world = _world()
        await world.serve({**LONG, "model": "m:floor"})
        assert world.upstream.asked == ["p3"]  # few output tokens: the cheap input decides
        assert world.record.asked_model == "m:floor"
        assert world.record.model == "m"
        assert await _again(world, ask("m:floor", max_tokens=10_000)) == "p2"

    run(main())


@pytest.mark.parametrize(
    ("wishes", "reasons"),
    [
        ({"only": ["p9"]}, ["provider.only does not name it"] * 3),
        ({"max_price": {"prompt": 0.1}}, ["its price is above provider.max_price.prompt"] * 3),
        (
            {"data_collection": "deny", "ignore": ["p2"]},
            [
                "it may keep or train on what it is sent",
                "provider.ignore names it",
                "what it does with data is not known",
            ],
        ),
    ],
)
def test_if_nobody_is_left_the_error_says_why(wishes: dict[str, Any], reasons: list[str]) -> None:
    async def main() -> None:
        for dialect in ("openai_chat", "anthropic_messages", "gemini_generate", "openai_responses"):
            world = _world()
            await world.serve(
                {**_body(dialect), "provider": wishes}, dialect=DIALECTS[dialect], path_model="m"
            )
            assert world.client.status == 404
            assert reasons[0] in world.client.data.decode()
            assert world.upstream.asked == []
            world.check()
            if dialect == "openai_chat":
                error = world.client.error
                assert error["code"] == "no_eligible_deployment"
                assert [each["reason"] for each in error["rejected"]] == reasons

    run(main())


def _body(dialect: str) -> dict[str, Any]:
    match dialect:
        case "gemini_generate":
            return {"contents": [{"parts": [{"text": "hi"}]}]}
        case "openai_responses":
            return {"model": "m", "input": "hi"}
    return {**ask("m"), "max_tokens": 5}


def test_without_fallbacks_only_the_first_is_tried() -> None:
    async def main() -> None:
        world = _world()
        world.upstream.scripts["p1"] = [refusal(500)]
        await world.serve(ask("m", provider={"allow_fallbacks": False}))
        assert world.client.status == 500
        assert set(world.upstream.asked) == {"p1"}
        other = _world()
        other.upstream.scripts["p2"] = [refusal(500)]
        await other.serve(ask("m", provider={"order": ["p2", "p3"], "allow_fallbacks": False}))
        assert other.client.status == 200
        assert other.upstream.asked == ["p2", "p3"]

    run(main())


def test_an_unknown_wish_is_refused_in_the_callers_words() -> None:
    async def main() -> None:
        world = _world()
        await world.serve(ask("m", provider={"sorts": "price"}))
        assert world.client.status == 400
        assert "did you mean 'sort'?" in world.client.error["message"]
        assert world.client.error["param"] == "provider.sorts"
        world.check()

    run(main())


def test_a_text_that_fits_no_window_is_refused_and_a_doubtful_one_goes_to_the_larger() -> None:
    async def main() -> None:
        world = _world()
        await world.serve(ask("m", messages=[{"role": "user", "content": "word " * 2000}]))
        assert world.upstream.asked == ["p2"]  # about 2,000 tokens: p1 has room for 1,000
        longer = ask("m", messages=[{"role": "user", "content": "x" * 2_000_000}])
        world.client = FakeClient(world)
        world.upstream.requests.clear()
        await world.serve(longer)
        assert world.client.status == 404
        assert (
            "its context window of 1000 tokens is too small for at least 125000" in world.client.data.decode()
        )

    run(main())


def test_who_loses_a_parameter_is_passed_over_if_all_are_required() -> None:
    async def main() -> None:
        world = World(
            model("m", "anth", "p1"),
            providers=(provider("anth", "anthropic_messages"), provider("p1", developer="Else")),
        )
        world.upstream.scripts["p1"] = [answer(whole())]
        await world.serve(ask("m", seed=5, provider={"require_parameters": True, "order": ["anth"]}))
        assert world.client.status == 200, world.client.data
        assert world.upstream.asked == ["p1"]
        assert world.record.attempts[0].error_kind == "lossy_translation"
        assert world.record.losses == ()

    run(main())


def test_a_model_that_cannot_see_is_left_out_for_one_that_can() -> None:
    async def main() -> None:
        blind = model("blind", "p1", input_modalities=("text",))
        sees = model("sees", "p2")
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
        body = ask("blind|sees", messages=[{"role": "user", "content": [image]}])
        world = World(blind, sees)
        world.upstream.scripts = {"p1": [answer(whole())], "p2": [answer(whole())]}
        await world.serve(body)
        assert world.upstream.asked == ["p2"]
        alone = World(blind)
        alone.upstream.scripts["p1"] = [answer(whole())]
        await alone.serve({**body, "model": "blind"})
        assert alone.upstream.asked == ["p1"]  # the catalogue may be behind

    run(main())


def test_sessions_stay_where_they_were_served() -> None:
    async def main() -> None:
        world = _world()
        world.upstream.scripts["p1"] = [refusal(400), answer(whole())]
        world.upstream.scripts["p1"] = [refusal(401), answer(whole())]
        body = ask("m", session_id="s1")
        await world.serve(body)
        assert world.upstream.asked == ["p1", "p2"]
        assert await _again(world, body) == "p2"
        assert await _again(world, ask("m", session_id="s2")) == "p1"
        assert await _again(world, ask("m"), headers={"x-session-id": "s1"}) == "p2"
        assert await _again(world, ask("m", session_id="s1", provider={"order": ["p3"]})) == "p3"
        world.engine.planner.sticky._places.clear()
        assert await _again(world, body) == "p1"

    run(main())


def test_a_warm_cache_counts_for_the_cheapest() -> None:
    async def main() -> None:
        world = World(
            model(
                "m",
                deployments=(
                    _priced("p1", 1_000_000, 0, read=10_000),
                    _priced("p2", 900_000, 0, read=10_000),
                    _priced("p3", 2_000_000, 0),
                ),
            ),
            providers=PROVIDERS,
            routing=RoutingRules(strategy="cheapest"),
        )
        for name in ("p1", "p2", "p3"):
            world.upstream.scripts[name] = [answer(whole(tokens=(3000, 5)))]
        text = ask("m", messages=[{"role": "user", "content": "word " * 3000}])
        await world.serve(text)
        assert world.upstream.asked == ["p2"]
        (stuck,) = world.engine.planner.sticky._places.values()
        assert (stuck.deployment, stuck.input_tokens) == ("p2/m", 3000)

    run(main())


def test_strategies_by_key_and_model() -> None:
    async def main() -> None:
        rules = RoutingRules(
            models=(("m*", Rule(strategy="cheapest")),), keys={"key_2": Rule(strategy="priority")}
        )
        world = _world(routing=rules)
        await world.serve(LONG)
        assert world.upstream.asked == ["p3"]
        keyed = _world(routing=msgspec.structs.replace(rules, keys={"key_1": Rule(strategy="priority")}))
        await keyed.serve(LONG)
        assert keyed.upstream.asked == ["p1"]

    run(main())


def test_a_plan_holds_no_more_than_it_may() -> None:
    async def main() -> None:
        world = _world(routing=RoutingRules(candidates_max=2, strategy="cheapest"))
        await world.serve(ask("m", max_tokens=10_000))
        plan = world.engine._running
        assert plan == {}
        assert world.upstream.asked == ["p2"]
        world.check()

    run(main())


def test_partition_none_orders_over_all_models() -> None:
    async def main() -> None:
        dear = msgspec.structs.replace(_priced("p1", 9_000_000, 9_000_000), id="p1/dear", model="dear")
        world = World(
            model("dear", deployments=(dear,)),
            model("m", deployments=(_priced("p2", 1_000_000, 1_000_000),)),
            providers=PROVIDERS,
        )
        world.upstream.scripts = {"p1": [answer(whole())], "p2": [answer(whole())]}
        await world.serve(ask("dear|m", provider={"sort": "price"}))
        assert world.upstream.asked == ["p1"]
        sort = {"by": "price", "partition": "none"}
        assert await _again(world, ask("dear|m", provider={"sort": sort})) == "p2"

    run(main())
