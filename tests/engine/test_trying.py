"""Attempts of an exchange: what is asked how often, what the client got, what was charged, who was blamed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engine_kit import (
    CUT,
    SECRET,
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

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.engine.deadlines import NO_WISH, deadlines_of
from llm_router.ports import Deadlines
from llm_router.routing.health import HealthRules
from llm_router.routing.key_ring import pool_of
from llm_router.routing.retry import RetryRules

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
RETRIES = RetryRules()


def good(stream: bool) -> Any:
    return answer(*events()) if stream else answer(whole())


def world_of(*models: Any, **state: Any) -> World:
    return World(*models, **{"retries": RETRIES, **state})


@both_ways
@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
def test_what_failed_in_passing_is_asked_again(stream: bool, status: int) -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [refusal(status), good(stream)]
        await world.serve(ask("m1", stream=stream))
        world.check()
        assert world.upstream.asked == ["p1", "p1"]
        assert world.pauses == [0.25]
        assert world.client.status == 200
        assert world.record.cost_pusd == 20_000_000
        assert [a.outcome for a in world.record.attempts] == ["failed", "delivered"]
        first, second = world.upstream.requests
        assert first == second

    run(main())


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_what_would_fail_again_is_not(status: int) -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [refusal(status)]
        await world.serve(ask("m1"))
        world.check()
        assert world.upstream.asked == ["p1"]
        assert world.pauses == []
        assert world.client.status == status

    run(main())


def test_the_last_failure_is_told_after_so_many_tries() -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [refusal(500, "first"), refusal(500, "second"), refusal(500, "third")]
        await world.serve(ask("m1"))
        world.check()
        assert len(world.record.attempts) == 3
        assert world.pauses == [0.25, 0.5]
        assert "third" in world.client.error["message"]
        assert world.record.cost_pusd == 0

    run(main())


def test_a_word_of_when_to_come_back_is_kept_to() -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [refusal(429, **{"retry-after": "2"}), good(False)]
        await world.serve(ask("m1"))
        assert world.pauses == [2.0]
        assert world.client.status == 200
        other = world_of()
        other.upstream.scripts["p1"] = [refusal(429, **{"retry-after": "60"}), good(False)]
        await other.serve(ask("m1"))
        assert other.pauses == []
        assert other.client.status == 429
        assert other.client.headers["retry-after"] == "60"

    run(main())


def test_a_date_to_come_back_is_read_by_our_own_clock() -> None:
    async def main() -> None:
        world = world_of()  # it is 22:13:20
        when = "Tue, 14 Nov 2023 22:13:25 GMT"
        world.upstream.scripts["p1"] = [refusal(503, **{"retry-after": when}), good(False)]
        await world.serve(ask("m1"))
        (pause_s,) = world.pauses
        assert 4.5 < pause_s < 5

    run(main())


def test_with_another_deployment_nobody_waits_and_the_first_is_spared() -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts |= {
            "p1": [refusal(429, **{"retry-after": "30"}), good(False)],
            "p2": [good(False)],
        }
        await world.serve(ask("m2"))
        assert world.upstream.asked == ["p1", "p2"]
        assert world.pauses == []
        view = world.engine.trying.health.view("p1/m2", world.engine.clock.now_ms())
        assert (view.available, view.calls) == (False, 0)
        world.telemetry.records.clear()
        world.client = type(world.client)(world)
        await world.serve(ask("m2"))
        assert world.upstream.asked == ["p1", "p2", "p2"]
        assert world.client.status == 200

    run(main())


def test_no_pause_ends_after_the_client_s_deadline() -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [refusal(429, **{"retry-after": "5"}), good(False)]
        await world.serve(ask("m1"), headers={"x-request-timeout": "4"})
        world.check()
        assert world.pauses == []
        assert world.client.status == 429

    run(main())


def test_repeats_keep_to_their_budget() -> None:
    async def main() -> None:
        world = world_of(retries=RetryRules(reserve=1, budget=0.0))
        world.engine.trying.budget.spend()  # what a new process may use is less here
        world.engine.trying.budget._saved = 1.0
        world.upstream.scripts["p1"] = [refusal(500)]
        await world.serve(ask("m1"))
        assert world.upstream.asked == ["p1", "p1"]

    run(main())


class _Seen:
    """The deadlines that the upstream was called with."""

    def __init__(self, world: World) -> None:
        self.all: list[Deadlines] = []
        send = world.upstream.send

        async def watched(request: Any, deadlines: Deadlines) -> Any:
            self.all.append(deadlines)
            return await send(request, deadlines)

        world.upstream.send = watched  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("headers", "stream", "expected"),
    [
        ({}, True, (5, 60, 30, 600)),
        ({}, False, (5, 600, 600, 600)),
        ({"x-request-timeout": "20"}, True, (5, 60, 30, 20)),
        ({"x-request-timeout": "20s"}, False, (5, 20, 20, 20)),
        ({"x-request-timeout": "1500ms"}, False, (5, 1.5, 1.5, 1.5)),
        ({"x-stainless-timeout": "600"}, True, (5, 60, 30, 600)),
        ({"x-stainless-timeout": "12.5"}, True, (5, 60, 30, 12.5)),
        ({"x-stainless-timeout": "NOT_GIVEN"}, True, (5, 60, 30, 600)),
        ({"x-request-timeout": "9000"}, True, (5, 60, 30, 600)),
        ({"x-llm-router-timeouts": "connect=1, first-byte=2, idle=3, total=4"}, True, (1, 2, 3, 4)),
        ({"x-llm-router-timeouts": "first_byte=90"}, True, (5, 90, 30, 600)),
        ({"x-llm-router-timeouts": "whole=90"}, False, (5, 90, 90, 90)),
        ({"x-llm-router-timeouts": "whole=90"}, True, (5, 60, 30, 600)),
    ],
)
def test_deadlines_are_the_client_s_within_the_gateway_s(
    headers: dict[str, str], stream: bool, expected: tuple[float, ...]
) -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [good(stream)]
        seen = _Seen(world)
        await world.serve(ask("m1", stream=stream), headers=headers)
        (found,) = seen.all
        for got, want in zip(
            (found.connect_s, found.first_byte_s, found.idle_s, found.total_s), expected, strict=True
        ):
            assert want - 0.5 < got <= want  # what admission took is gone

    run(main())


@pytest.mark.parametrize(
    "headers",
    [
        {"x-request-timeout": "soon"},
        {"x-request-timeout": "0"},
        {"x-request-timeout": "-1"},
        {"x-llm-router-timeouts": "later=3"},
        {"x-llm-router-timeouts": "total"},
    ],
)
def test_a_deadline_that_cannot_be_read_is_refused(headers: dict[str, str]) -> None:
    async def main() -> None:
        world = world_of()
        await world.serve(ask("m1"), headers=headers)
        world.check()
        assert world.client.status == 400
        assert world.client.error["param"] in headers
        assert world.upstream.requests == []

    run(main())


def test_a_model_may_have_deadlines_of_its_own() -> None:
    async def main() -> None:
        own = Deadlines(connect_s=1, first_byte_s=2, idle_s=3, total_s=40)
        world = world_of(deadlines_by_model={"m1": own})
        world.upstream.scripts["p1"] = [good(True)]
        seen = _Seen(world)
        await world.serve(ask("m1", stream=True))
        (found,) = seen.all
        assert (found.connect_s, found.first_byte_s, found.idle_s) == (1, 2, 3)
        assert 39.5 < found.total_s <= 40

    run(main())


def test_a_whole_reply_leaves_time_for_the_next_deployment() -> None:
    async def main() -> None:
        world = world_of(deadlines=Deadlines(total_s=100))
        world.upstream.scripts["p1"] = [late()]
        world.upstream.scripts["p2"] = [good(False)]
        seen = _Seen(world)
        await world.serve(ask("m2"))
        assert world.client.status == 200
        first, last = seen.all
        assert 79 < first.total_s <= 80
        assert (
            99 < last.total_s <= 100
        )  # the clock stood still; nobody is left, so all that is left may be taken

    run(main())


@pytest.mark.parametrize(("name", "took"), [("m1", 7), ("m2", 7)])
def test_an_operator_says_what_a_whole_reply_may_take(name: str, took: float) -> None:
    async def main() -> None:
        world = world_of(deadlines=Deadlines(total_s=100, whole_s=7))
        world.upstream.scripts["p1"] = [good(False)]
        seen = _Seen(world)
        await world.serve(ask(name))
        assert [each.total_s for each in seen.all] == [took]

    run(main())


def test_what_stands_for_one_model_is_no_less_for_one_that_reasons() -> None:
    usual = Deadlines(first_byte_s=20, idle_s=10)
    own = Deadlines(first_byte_s=20, idle_s=10, own=("first_byte_s",))
    found = [deadlines_of(each, NO_WISH, 600, stream=True, reasons=True) for each in (usual, own)]
    assert [(each.first_byte_s, each.idle_s) for each in found] == [(300, 300), (20, 300)]


def late() -> Any:
    error = UpstreamError("late", kind=UpstreamKind.TIMEOUT)
    return answer(b"", error=error)


def test_a_timeout_of_the_client_s_own_making_is_nobody_s_fault() -> None:
    async def main() -> None:
        for headers, calls in (({"x-request-timeout": "3"}, 0), ({}, 1), ({"x-stainless-timeout": "600"}, 1)):
            world = world_of()
            world.upstream.scripts["p1"] = [late()]
            await world.serve(ask("m1"), headers=headers)
            world.check()
            assert world.client.status == 504
            view = world.engine.trying.health.view("p1/m1", world.engine.clock.now_ms())
            assert view.calls == calls

    run(main())


@both_ways
def test_a_deployment_that_keeps_failing_is_passed_over_until_a_trial_succeeds(stream: bool) -> None:
    async def main() -> None:
        rules = HealthRules(failures_max=2, open_s=10, slow_start_s=0)
        world = world_of(health=rules, retries=RetryRules(repeats_max=0))
        world.upstream.scripts |= {"p1": [refusal(500)], "p2": [good(stream)]}
        for _ in range(4):
            await again(world, stream)
        assert world.upstream.asked == ["p1", "p2", "p1", "p2", "p2", "p2"]
        world.upstream.scripts["p1"] = [good(stream)]
        for _ in range(11_000):  # the clock moves by a millisecond with each look
            world.engine.clock.now_ms()
        world.dice = 0.0  # it is its turn
        await again(world, stream)
        world.dice = 0.9
        await again(world, stream)
        assert world.upstream.asked[6:] == ["p1", "p1"]

    run(main())


async def again(world: World, stream: bool) -> None:
    world.telemetry.records.clear()
    world.client = type(world.client)(world)
    await world.serve(ask("m2", stream=stream))
    assert world.client.status == 200


def test_a_cut_after_content_counts_and_a_client_that_leaves_does_not() -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [answer(*events()[:3], error=CUT)]
        await world.serve(ask("m1", stream=True))
        health, clock = world.engine.trying.health, world.engine.clock
        assert health.view("p1/m1", clock.now_ms()).error_rate == 1.0
        other = world_of()
        other.upstream.scripts["p1"] = [good(True)]
        other.client.leave_at = 1
        await other.serve(ask("m1", stream=True))
        view = other.engine.trying.health.view("p1/m1", clock.now_ms())
        assert (view.calls, view.in_flight) == (0, 0)

    run(main())


def test_how_fast_it_was_is_known_afterwards() -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [good(True)]
        await world.serve(ask("m1", stream=True))
        view = world.engine.trying.health.view("p1/m1", world.engine.clock.now_ms())
        assert view.ttft_ms[0] is not None
        assert view.ttft_ms[0] > 0
        assert view.tokens_per_s is not None
        assert view.tokens_per_s > 0
        assert (view.calls, view.error_rate, view.in_flight) == (1, 0.0, 0)

    run(main())


# Several keys.

KEYS = [f"plain-words-{n}-that-look-like-no-key" for n in range(1, 4)]


def pooled(**state: Any) -> World:
    return world_of(key_pools={"p1": pool_of(KEYS)}, **state)


def sent(world: World) -> list[str]:
    return [
        dict(request.headers)["authorization"].removeprefix("Bearer ") for request in world.upstream.requests
    ]


@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_a_refused_key_is_followed_by_the_next_at_once(status: int) -> None:
    async def main() -> None:
        world = pooled()
        world.upstream.scripts["p1"] = [refusal(status), good(False)]
        await world.serve(ask("m1"))
        world.check()
        assert sent(world) == KEYS[:2]
        assert world.pauses == []
        assert world.client.status == 200
        marks = [attempt.key for attempt in world.record.attempts]
        assert [mark.split(":")[0] for mark in marks if mark is not None] == ["1", "2"]
        view = world.engine.trying.health.view("p1/m1", world.engine.clock.now_ms())
        assert (view.available, view.calls) == (True, 1)  # the deployment itself is well
        world.telemetry.records.clear()
        world.client = type(world.client)(world)
        await world.serve(ask("m1"))
        assert sent(world)[2] != KEYS[0]

    run(main())


def test_keys_take_turns() -> None:
    async def main() -> None:
        world = pooled()
        world.upstream.scripts["p1"] = [good(False)]
        for _ in range(6):
            world.telemetry.records.clear()
            world.client = type(world.client)(world)
            await world.serve(ask("m1"))
        assert sent(world) == KEYS * 2

    run(main())


def test_when_no_key_is_left_the_next_deployment_answers() -> None:
    async def main() -> None:
        world = world_of(
            model("m2", deployments=(deployment("m2", "p1"), deployment("m2", "p2"))),
            key_pools={"p1": pool_of(KEYS[:2])},
        )
        world.upstream.scripts |= {"p1": [refusal(401)], "p2": [good(False)]}
        await world.serve(ask("m2"))
        assert world.upstream.asked == ["p1", "p1", "p2"]
        assert sent(world) == [*KEYS[:2], SECRET]
        view = world.engine.trying.health.view("p1/m2", world.engine.clock.now_ms())
        assert view.error_rate == 1.0

    run(main())


def test_other_failures_change_no_key() -> None:
    async def main() -> None:
        world = pooled()
        world.upstream.scripts["p1"] = [refusal(400)]
        await world.serve(ask("m1"))
        assert len(world.upstream.requests) == 1
        assert world.client.status == 400

    run(main())


def test_no_key_of_the_provider_is_told() -> None:
    async def main() -> None:
        world = pooled()
        world.upstream.scripts["p1"] = [refusal(400, f"used {KEYS[0]}, better use {KEYS[2]}")]
        await world.serve(ask("m1"))
        told = json.dumps(world.client.json) + str(world.record)
        assert not any(key in told for key in KEYS)

    run(main())


def test_a_provider_that_takes_deadlines_is_told_of_the_client_s() -> None:
    async def main() -> None:
        for headers, said in (
            ({"x-request-timeout": "45"}, "45"),
            ({"x-request-timeout": "3"}, "10"),
            ({}, None),
        ):
            world = World(model("m1", "p1"), providers=(provider("p1", deadline_header="x-server-timeout"),))
            world.upstream.scripts["p1"] = [good(False)]
            await world.serve(ask("m1"), headers=headers)
            assert dict(world.upstream.requests[0].headers).get("x-server-timeout") == said

    run(main())
