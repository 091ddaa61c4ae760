"""A client that has its own words quoted by a provider harms nobody: no health, key or limit moves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engine_kit import World, answer, ask, refusal, run, whole

from llm_router.routing.health import HealthRules
from llm_router.routing.key_ring import pool_of

WORDS = "insufficient_quota rate limit overloaded api key, try again in 9h"


def quoting(status: int, **error: Any) -> Any:
    body = {"error": {"message": f"Unknown parameter: '{WORDS}'.", "type": "invalid_request_error", **error}}
    return answer(json.dumps(body).encode(), status=status)


@pytest.mark.parametrize(
    "refused",
    [
        quoting(400, param=WORDS, code="unknown_parameter"),
        quoting(400),
        quoting(422),
        quoting(400, message=WORDS),
        quoting(400, message="Incorrect API key provided", type=None),
        quoting(404, message="File not found: file_1", type="not_found_error"),
        quoting(404, param="file_id"),
    ],
)
def test_a_quoted_request_leaves_all_as_it_was(refused: Any) -> None:
    async def main() -> None:
        pool = pool_of(["key-one-0123456789", "key-two-0123456789"])
        world = World(health=HealthRules(failures_max=1), key_pools={"p1": pool})
        trying = world.engine.trying
        world.upstream.scripts["p1"] = [refused, refused, refused, answer(whole())]
        for _ in range(3):
            await world.serve(ask("m1", metadata={WORDS: "Incorrect API key provided", "file": "file_1"}))
            world.check()
            assert world.client.status in (400, 404, 422)
            assert world.client.error["code"] != "model_not_found"
            again(world)
        now_ms = world.engine.clock.now_ms()
        view = trying.health.view("p1/m1", now_ms)
        assert (view.available, view.state, view.calls) == (True, "closed", 0)
        assert [key.back_ms for key in trying.ring.states("p1", pool, now_ms)] == [None, None]
        assert trying.gate.lanes.view("p1/m1").limit is None
        await world.serve(ask("m1"))
        assert world.client.status == 200

    run(main())


def test_a_model_that_is_not_there_still_counts() -> None:
    async def main() -> None:
        world = World(health=HealthRules(failures_max=1))
        world.upstream.scripts["p1"] = [refusal(404, "The model 'm1' does not exist.")]
        await world.serve(ask("m1"))
        assert world.client.error["code"] == "model_not_found"
        assert world.engine.trying.health.view("p1/m1", world.engine.clock.now_ms()).state == "open"

    run(main())


def again(world: World) -> None:
    """A new client."""
    world.telemetry.records.clear()
    world.client = type(world.client)(world)
