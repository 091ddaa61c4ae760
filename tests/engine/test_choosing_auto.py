"""``auto`` over whole exchanges: what is offered, the dial, tasks, and what follows when the choice fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from engine_kit import KEY, FakeClient, World, answer, ask, deployment, model, provider, refusal, run, whole

from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.domain.key import Key, key_digest
from llm_router.domain.model import Model
from llm_router.domain.price import Price, Rates
from llm_router.routing.auto.tasks import Task
from llm_router.routing.replay import replay
from llm_router.routing.rules import RoutingRules, Rule
from llm_router.routing.strategies import STRATEGIES, TaskStrategy
from llm_router.settings import ServeOptions, load

HARD = (
    "Prove that every finite group of order p^2 is abelian, where p is prime. Explain each step of the proof "
    "rigorously, and then generalise the argument to show which groups of order p^3 are not."
)


def _model(id_: str, provider_: str, tier: int, rate: int, **more: Any) -> Model:
    at = deployment(id_, provider_)
    price = Price(version=f"{id_}-1", rates=Rates(input=rate, output=4 * rate))
    found = model(id_, deployments=(msgspec.structs.replace(at, price=price),))
    return msgspec.structs.replace(found, quality_tier=tier, **more)


def _world(**state: Any) -> World:
    world = World(
        _model("small", "p1", 1, 100_000, strengths=("fast",)),
        _model("middle", "p2", 3, 1_000_000, strengths=("code",)),
        _model("large", "p3", 5, 10_000_000, strengths=("code", "reasoning"), open_weights=True),
        providers=tuple(provider(f"p{n}") for n in (1, 2, 3)),
        **state,
    )
    for name in ("p1", "p2", "p3"):
        world.upstream.scripts[name] = [answer(whole())]
    return world


async def _model_at(dial: str, text: str = HARD, **body: Any) -> str:
    world = _world()
    messages = [{"role": "user", "content": text}]
    await world.serve({**ask("auto", messages=messages), **body}, headers={"x-llm-router-dial": dial})
    assert world.client.status == 200, world.client.data
    world.check()
    return str(world.record.model)


def test_the_dial_goes_from_the_cheapest_to_the_best() -> None:
    async def main() -> None:
        assert await _model_at("0") == "small"
        assert await _model_at("10") == "large"

    run(main())


def test_the_record_names_what_was_asked_and_what_answered() -> None:
    async def main() -> None:
        world = _world(routing=RoutingRules(dial=0.0))
        await world.serve(ask("auto"))
        assert (world.record.asked_model, world.record.model) == ("auto", "small")
        assert world.client.headers["x-llm-router-model"] == "small"

    run(main())


@pytest.mark.parametrize(
    ("asked", "order"),
    [
        ({"model": "large|auto"}, ["large", "small", "middle"]),
        ({"model": "large|auto:code"}, ["large", "middle"]),
        ({"model": "middle", "models": ["large:floor", "auto"]}, ["middle", "large", "small"]),
        ({"model": "auto|large"}, ["small", "middle", "large"]),
        ({"model": "large|auto:fast"}, ["large", "small"]),
        ({"model": "large|auto:floor"}, ["large", "small", "middle"]),
    ],
)
def test_models_are_tried_in_the_order_in_which_they_stand_beside_auto(
    asked: dict[str, Any], order: list[str]
) -> None:
    async def main() -> None:
        world = _world(routing=RoutingRules(dial=0.0))
        for name in ("p1", "p2", "p3"):
            world.upstream.scripts[name] = [refusal(500)]
        await world.serve({**ask("auto"), **asked})
        assert [attempt.deployment.split("/")[1] for attempt in world.record.attempts] == order
        decision = world.record.decision
        assert decision is not None
        assert replay(decision) == decision.plan

    run(main())


@pytest.mark.parametrize(
    ("name", "models"),
    [("auto:code", {"middle", "large"}), ("auto:open_source", {"large"}), ("auto:own", {"small"})],
)
def test_tasks_bound_the_choice(name: str, models: set[str]) -> None:
    async def main() -> None:
        for dial in ("0", "10"):
            world = _world(routing=RoutingRules(tasks={"own": Task(models=("sm*",))}))
            await world.serve(ask(name), headers={"x-llm-router-dial": dial})
            assert world.record.model in models

    run(main())


def test_a_task_may_have_another_strategy() -> None:
    async def main() -> None:
        rules = RoutingRules(tasks={"cheap": Task(strategy="cheapest", strengths=("code",))})
        world = _world(routing=rules)
        await world.serve(ask("auto:cheap"))
        assert world.record.model == "middle"

    run(main())


@pytest.mark.parametrize("strategy", [s for s in get_args(TaskStrategy) if s != "auto"])
def test_a_task_may_have_any_strategy_of_the_configuration(strategy: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'[routing.tasks.own]\nstrategy = "{strategy}"\nstrengths = ["code"]\n')
    builtin = compile_snapshot(load_builtin())
    rules = load(
        file, {"HOME": str(tmp_path)}, builtin, options=ServeOptions(sandbox=True), secrets=False
    ).routing
    assert rules.tasks["own"].strategy in STRATEGIES

    async def main() -> None:
        world = _world(routing=rules)
        await world.serve(ask("auto:own"))
        assert world.record.model in ("middle", "large")
        decision = world.record.decision
        assert decision is not None
        assert decision.strategy == rules.tasks["own"].strategy
        if strategy in ("floor", "cheapest"):
            assert world.record.model == "middle"

    run(main())


def test_a_suffix_chooses_the_model_of_auto() -> None:
    async def main() -> None:
        for name, model_ in (("auto:floor", "small"), ("auto:code:floor", "middle")):
            world = _world()
            await world.serve(ask(name), headers={"x-llm-router-dial": "10"})
            assert world.record.model == model_

    run(main())


def test_an_unknown_task_names_the_nearest() -> None:
    async def main() -> None:
        world = _world()
        await world.serve(ask("auto:cod"))
        assert world.client.status == 404
        assert "auto:code" in world.client.error["message"]
        world.client = FakeClient(world)
        await world.serve(ask("auto"), headers={"x-llm-router-dial": "11"})
        assert world.client.status == 400

    run(main())


def test_the_next_model_follows_when_the_chosen_one_fails() -> None:
    async def main() -> None:
        world = _world(routing=RoutingRules(keys={"key_1": Rule(dial=0.0)}))
        world.upstream.scripts["p1"] = [refusal(500)]
        await world.serve(ask("auto"))
        assert world.client.status == 200
        assert world.upstream.asked == ["p1", "p2"]
        assert world.record.price_version == "middle-1"
        world.check()

    run(main())


def test_the_hold_does_not_cover_what_is_never_asked() -> None:
    async def main() -> None:
        world = _world()
        holds: list[int] = []
        taken = world.books.hold

        async def hold(id_: str, payer: Any, amount: int, version: str, now: int) -> int:
            holds.append(amount)
            return await taken(id_, payer, amount, version, now)

        world.books.hold = hold  # type: ignore[method-assign]
        await world.serve(ask("auto", max_tokens=1000), headers={"x-llm-router-dial": "0"})
        assert holds[0] < 1000 * 4 * 10_000_000

    run(main())


def test_a_key_chooses_among_its_own_models() -> None:
    async def main() -> None:
        world = _world()
        key = Key(id="key_1", account="acme", name="k", prefix="sk", created_ms=0, models=("middle",))
        world.keyring.keys[key_digest(KEY)] = key
        await world.serve(ask("auto"), headers={"x-llm-router-dial": "10"})
        assert world.record.model == "middle"
        world.keyring.keys[key_digest(KEY)] = msgspec.structs.replace(key, models=("none",))
        world.client = FakeClient(world)
        await world.serve(ask("auto"))
        assert world.client.status == 403

    run(main())


def test_wishes_filter_before_the_choice() -> None:
    async def main() -> None:
        assert await _model_at("10", provider={"ignore": ["p3"]}) == "middle"
        assert await _model_at("10", provider={"max_price": {"prompt": 0.5}}) == "small"

    run(main())


@pytest.mark.parametrize("by", ["only", "ignore", "data_collection", "regions", "key"])
def test_who_may_not_be_asked_takes_no_place_among_the_cheapest_that_are_offered(by: str) -> None:
    """Of each tier the three cheapest are offered: of those that may serve the request."""
    asked: dict[str, dict[str, Any]] = {
        "only": {"only": ["p9"]}, "ignore": {"ignore": ["p1"]}, "data_collection": {"data_collection": "deny"},
        "regions": {"regions": ["eu"]}, "key": {},
    }  # fmt: skip

    async def main() -> None:
        other = msgspec.structs.replace(provider("p9"), data_collection="deny", regions=("eu",))
        world = World(
            *(_model(f"cheap-{n}", "p1", 1, 1_000 * n) for n in range(1, 5)),
            _model("dearer", "p9", 1, 1_000_000),
            providers=(provider("p1"), other),
        )
        world.upstream.scripts["p9"] = [answer(whole())] * 2
        body = {**ask("auto"), "provider": asked[by]} if asked[by] else ask("auto")
        if by == "key":
            key = msgspec.structs.replace(world.keyring.keys[key_digest(KEY)], providers=("p9",))
            world.keyring.keys[key_digest(KEY)] = key
        await world.serve(body)
        assert world.client.status == 200, world.client.data
        assert world.record.model == "dearer"

    run(main())


def test_long_requests_are_offered_models_whose_window_takes_them() -> None:
    async def main() -> None:
        def windowed(found: Model, tokens: int) -> Model:
            (at,) = found.deployments
            return msgspec.structs.replace(
                found, deployments=(msgspec.structs.replace(at, context_tokens=tokens),)
            )

        world = World(
            *(windowed(_model(f"cheap-{n}", "p1", 1, 1_000 * n), 32_768) for n in range(1, 5)),
            windowed(_model("roomy", "p2", 1, 1_000_000), 1_000_000),
            providers=(provider("p1"), provider("p2")),
        )
        for name in ("p1", "p2"):
            world.upstream.scripts[name] = [answer(whole())]
        await world.serve(ask("auto", messages=[{"role": "user", "content": "word " * 60_000}]))
        assert (world.client.status, world.record.model) == (200, "roomy")
        world.client = FakeClient(world)
        await world.serve(ask("auto"))
        assert world.telemetry.records[-1].model != "roomy"

    run(main())


def test_what_is_kept_of_auto_is_kept_for_whom_it_holds() -> None:
    """The candidates of ``auto`` are kept; a key, a rule of prices and another configuration have their own."""

    async def main() -> None:
        world = _world()
        dial = {"x-llm-router-dial": "10"}

        async def chosen(**body: Any) -> Any:
            world.client = FakeClient(world)
            await world.serve({**ask("auto"), **body}, headers=dial)
            assert world.client.status == 200, world.client.data
            return world.telemetry.records[-1]

        first, again = await chosen(), await chosen()
        assert first.model == again.model == "large"
        assert first.decision.plan == again.decision.plan
        key = world.keyring.keys[key_digest(KEY)]
        for narrowed, model_ in ((("small", "middle"), "middle"), (("small",), "small"), (None, "large")):
            world.keyring.keys[key_digest(KEY)] = msgspec.structs.replace(key, models=narrowed)
            assert (await chosen()).model == model_
        world.keyring.keys[key_digest(KEY)] = msgspec.structs.replace(key, providers=("p2",))
        assert (await chosen()).model == "middle"
        world.keyring.keys[key_digest(KEY)] = key
        world.engine.state = msgspec.structs.replace(world.engine.state, active=frozenset({"p1"}))
        assert (await chosen()).model == "small"

    run(main())


def test_a_record_of_auto_gives_the_same_choice_again_at_every_dial() -> None:
    async def main() -> None:
        for dial in ("0", "2", "5", "8", "10"):
            world = _world()
            await world.serve(ask("auto"), headers={"x-llm-router-dial": dial})
            decision = world.record.decision
            assert decision is not None
            assert decision.auto is not None
            assert {offer.model for offer in decision.auto.offers} == {"small", "middle", "large"}
            assert replay(decision) == decision.plan
            assert decision.plan[0] == world.record.deployment

    run(main())
