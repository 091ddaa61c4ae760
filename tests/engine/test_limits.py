"""Limits in an exchange: which one refuses and what it says, and what is given back when."""

from __future__ import annotations

import msgspec
import pytest
from engine_kit import World, answer, ask, run, whole

from llm_router.domain.budget import Scope, Window
from llm_router.domain.key import Key, Limits, key_digest
from llm_router.domain.limit import Limit, LimitKind

TEAM = Limit(
    id="lim_team",
    account="acme",
    scope=Scope.TEAM,
    scope_id="red",
    kind=LimitKind.REQUESTS,
    amount=1,
    window=Window.HOUR,
    model="m*",
)


def world_with(*limits: Limit, own: Limits = Limits()) -> World:  # noqa: B008 - frozen
    world = World()
    world.rules.limits = list(limits)
    key = Key(id="key_1", account="acme", name="k", prefix="sk", created_ms=0, team="red", limits=own)
    world.keyring.keys = {key_digest(b"sk-lr-test"): key}
    return world


async def again(world: World) -> None:
    """Another request by the same key."""
    world.client = type(world.client)(world)
    await world.serve(ask("m1", max_tokens=10))


def test_the_refusal_names_the_limit() -> None:
    async def main() -> None:
        world = world_with(TEAM)
        world.upstream.scripts["p1"] = [answer(whole())]
        await world.serve(ask("m1", max_tokens=10))
        assert world.client.status == 200
        assert world.client.headers["x-ratelimit-remaining-requests"] == "0"
        await again(world)
        assert world.client.status == 429
        error = world.client.error
        assert error["message"].startswith(
            "The team 'red' is limited to 1 requests an hour for the models 'm*'. Retry after 36"
        )
        assert world.client.headers["retry-after"] == "120"  # clients obey no longer time
        assert error["limit"] == {
            "id": "lim_team", "kind": "requests", "scope": "team", "scope_id": "red", "amount": 1,
            "window": "hour", "model": "m*",
        }  # fmt: skip
        assert (error["needed"], error["remaining"]) == (1, 0)
        assert world.books.holds == ["gen-0000"]

    run(main())


def test_a_limit_for_other_models_does_not_count() -> None:
    async def main() -> None:
        world = world_with(msgspec.structs.replace(TEAM, model="other-*", amount=0))
        world.upstream.scripts["p1"] = [answer(whole())]
        await world.serve(ask("m1", max_tokens=10))
        assert world.client.status == 200
        assert world.counters.admitted == 0

    run(main())


def test_a_request_that_never_fits_is_told_so() -> None:
    async def main() -> None:
        world = world_with(own=Limits(tokens_per_minute=5))
        await world.serve(ask("m1", max_tokens=10))
        assert world.client.status == 429
        assert "never fits: lower max_tokens" in world.client.error["message"]

    run(main())


def test_tokens_are_corrected_to_what_was_used() -> None:
    async def main() -> None:
        world = world_with(own=Limits(tokens_per_minute=1000, concurrency=1))
        world.upstream.scripts["p1"] = [answer(whole(tokens=(10, 5)))]
        body = ask("m1", max_tokens=900)
        await world.serve(body)
        counted = 1000 - int(world.client.headers["x-ratelimit-remaining-tokens"])
        assert counted > 900
        world.client = type(world.client)(world)
        await world.serve(body)
        assert world.client.status == 200
        assert int(world.client.headers["x-ratelimit-remaining-tokens"]) == 1000 - 15 - counted

    run(main())


@pytest.mark.parametrize("status", [200, 500])
def test_places_are_freed_however_it_ends(status: int) -> None:
    async def main() -> None:
        world = world_with(own=Limits(concurrency=1))
        if status == 200:
            world.upstream.scripts["p1"] = [answer(whole())]
        for _ in range(3):
            await again(world)
            assert world.client.status != 429
        assert world.counters.busy == 0

    run(main())
