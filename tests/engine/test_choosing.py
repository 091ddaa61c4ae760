"""Exchanges whose plan spans several models, and what they say to the gateway."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from engine_kit import (
    KEY,
    FakeClient,
    World,
    answer,
    anthropic_whole,
    ask,
    deployment,
    model,
    provider,
    refusal,
    run,
    whole,
)

from llm_router.domain.key import Key, key_digest
from llm_router.domain.price import Price, Rates
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.operations import SPOKEN


@pytest.mark.parametrize("asked", [{"model": "m1|claude"}, {"model": "m1", "models": ["claude"]}])
def test_the_next_model_answers_when_the_first_cannot(asked: dict[str, Any]) -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [refusal(401)]
        world.upstream.scripts["anth"] = [answer(anthropic_whole())]
        await world.serve({**ask("m1"), **asked})
        assert world.client.status == 200
        assert world.client.headers["x-llm-router-model"] == "claude"
        assert world.upstream.asked == ["p1", "anth"]
        record = world.record
        assert (record.model, record.deployment, record.price_version) == ("claude", "anth/claude", "anth-1")
        assert [a.deployment for a in record.attempts] == ["p1/m1", "anth/claude"]
        assert record.cost_pusd == 10 * 1_000_000 + 5 * 2_000_000
        assert not any(b"models" in request.body for request in world.upstream.requests)
        world.check()

    run(main())


def test_the_hold_covers_the_dearest_model_of_the_plan() -> None:
    async def main() -> None:
        dear = msgspec.structs.replace(
            deployment("dear", "p2"),
            price=Price(version="dear-1", rates=Rates(input=50_000_000, output=90_000_000)),
        )
        world = World(model("cheap", "p1"), model("dear", deployments=(dear,)))
        world.upstream.scripts["p1"] = [answer(whole())]
        holds: list[tuple[int, str]] = []
        taken = world.books.hold

        async def hold(id_: str, payer: Any, amount: int, version: str, now: int) -> int:
            holds.append((amount, version))
            return await taken(id_, payer, amount, version, now)

        world.books.hold = hold  # type: ignore[method-assign]
        await world.serve(ask("cheap|dear", max_tokens=100))
        assert holds[0][1] == "dear-1"
        assert holds[0][0] >= 100 * 90_000_000
        assert world.record.price_version == "p1-1"
        world.check()

    run(main())


def test_a_model_that_the_key_may_not_use_is_left_out() -> None:
    async def main() -> None:
        key = Key(id="key_1", account="acme", name="k", prefix="sk", created_ms=0, models=("m2",))
        world = World()
        world.keyring.keys[key_digest(KEY)] = key
        world.upstream.scripts["p1"] = [answer(whole())]
        await world.serve(ask("m1|m2"))
        assert world.record.model == "m2"
        world.check()
        other = World()
        other.keyring.keys[key_digest(KEY)] = key
        await other.serve(ask("m1|m6"))
        assert other.client.status == 403
        assert other.client.error["code"] == "model_not_allowed"

    run(main())


def test_an_unknown_model_among_several_is_told() -> None:
    async def main() -> None:
        world = World()
        await world.serve(ask("m1|m7"))
        assert world.client.status == 404
        assert "'m7'" in world.client.error["message"]

    run(main())


def test_limits_of_every_model_of_the_plan_count() -> None:
    async def main() -> None:
        world = World()
        limit = world.rules.limits[0]
        world.rules.limits = [msgspec.structs.replace(limit, id="lim_2", amount=0, model="m2")]
        await world.serve(ask("m1|m2"))
        assert world.client.status == 429
        world.check()

    run(main())


def test_embeddings_of_several_models_are_refused() -> None:
    async def main() -> None:
        world = World()
        await world.serve(
            {"model": "m1|m2", "input": "hi"}, operation="embed", dialect=SPOKEN["openai_embeddings"]
        )
        assert world.client.status == 400
        assert "vectors" in world.client.error["message"]

    run(main())


def test_plans_are_kept_as_long_as_the_configuration() -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [answer(whole())]
        planner = world.engine.planner
        await world.serve(ask("m1"))
        (kept,) = planner._kept.values()
        world.client = FakeClient(world)
        await world.serve(ask("m1"))
        assert [each is kept for each in planner._kept.values()] == [True]
        world.engine.state = msgspec.structs.replace(world.engine.state, active=frozenset())
        world.client = FakeClient(world)
        await world.serve(ask("m1"))
        assert world.client.status == 503

    run(main())


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (
            "anthropic_messages",
            {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
        ),
        ("gemini_generate", {"contents": [{"parts": [{"text": "hi"}]}]}),
        ("openai_responses", {"model": "m", "input": "hi"}),
        ("openai_chat", ask("m")),
    ],
)
def test_providers_hear_nothing_of_what_is_said_to_the_gateway(dialect: str, body: dict[str, Any]) -> None:
    async def main() -> None:
        said = {
            "provider": {"allow_fallbacks": False},
            "session_id": "s",
            "models": ["m"],
            "route": "fallback",
        }
        path = {"path_model": "m", "path_stream": False} if dialect == "gemini_generate" else {}
        for behind in ("anthropic_messages", "gemini_generate", "openai_responses", "openai_chat"):
            world = World(model("m", "r"), providers=(provider("r", behind),))
            await world.serve({**body, **said}, dialect=DIALECTS[dialect], **path)
            sent = world.upstream.requests[0].body
            assert not any(f'"{name}"'.encode() in sent for name in said), behind

    run(main())


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic_messages"])
def test_the_list_alone_names_the_model(dialect: str) -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [answer(whole())]
        body = {**ask("m1"), "max_tokens": 5, "models": ["m1"]}
        del body["model"]
        await world.serve(body, dialect=DIALECTS[dialect])
        assert world.client.status == 200, world.client.data
        assert world.record.model == "m1"

    run(main())
