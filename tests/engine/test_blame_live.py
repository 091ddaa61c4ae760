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
        world.upstream.scripts["p1"] = [refused]
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
        world.upstream.scripts["p1"] = [answer(whole())]
        await world.serve(ask("m1"))
        assert world.client.status == 200

    run(main())


FORBIDDEN = (
    b'{"error": {"message": "Forbidden"}}',
    b'{"detail": "Not authorized"}',
    b'{"error": {"message": "Key limit exceeded", "code": 403}}',
    b'{"error": {"message": "Out of credits"}}',
    b'{"error": {"message": "Project p has no such thing", "type": "invalid_request_error"}}',
    b"<html><title>403 Forbidden</title><body>nginx</body></html>",
)


@pytest.mark.parametrize("body", FORBIDDEN)
def test_a_genuine_403_is_followed_by_others_though_the_prompt_has_its_words(body: bytes) -> None:
    async def main() -> None:
        pool = pool_of(["key-one-0123456789", "key-two-0123456789"])
        world = World(health=HealthRules(failures_max=1), key_pools={"p1": pool})
        world.upstream.scripts["p1"] = [answer(body, status=403)]
        world.upstream.scripts["p2"] = [answer(whole())]
        words = (
            "Forbidden? Not authorized! Key limit exceeded, out of credits; project p has no such thing: "
            "403 Forbidden nginx"
        )
        await world.serve(ask("m2", metadata={"said": words}))
        world.check()
        assert world.client.status == 200
        assert world.upstream.asked == ["p1", "p1", "p2"]
        now_ms = world.engine.clock.now_ms()
        assert world.engine.trying.health.view("p1/m2", now_ms).state == "closed"
        states = world.engine.trying.ring.states("p1", pool, now_ms)
        assert [key.back_ms for key in states] == [None, None]

    run(main())


@pytest.mark.parametrize(
    "parts",
    [
        ["Incorrect A", "PI key provided"],
        ["Incorrect <b>A</b>PI key provided"],
        ["Incor<i", ">rect</i> API key provided"],
        ["SW5jb3JyZWN0IEFQSSBrZXkgcHJvdmlkZWQ="],
    ],
)
def test_words_in_parts_are_the_clients_own(parts: list[str]) -> None:
    async def main() -> None:
        world = World(health=HealthRules(failures_max=1))
        said = {"error": {"message": "Incorrect API key provided", "type": None}}
        world.upstream.scripts["p1"] = [answer(json.dumps(said).encode(), status=400)]
        content = [{"type": "text", "text": part} for part in parts]
        await world.serve(ask("m1", messages=[{"role": "user", "content": content}]))
        world.check()
        assert (world.client.status, world.client.error["code"]) == (400, "invalid_request")
        view = world.engine.trying.health.view("p1/m1", world.engine.clock.now_ms())
        assert (view.state, view.calls) == ("closed", 0)

    run(main())


def test_words_of_a_400_that_the_prompt_holds_let_others_be_asked() -> None:
    async def main() -> None:
        world = World(health=HealthRules(failures_max=1))
        world.upstream.scripts["p1"] = [refusal(400, "Your credit balance is too low")]
        world.upstream.scripts["p2"] = [answer(whole())]
        await world.serve(ask("m2", metadata={"why": "Your credit balance is too low, it says."}))
        world.check()
        assert (world.client.status, world.upstream.asked) == (200, ["p1", "p2"])
        assert world.engine.trying.health.view("p1/m2", world.engine.clock.now_ms()).state == "closed"

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
