"""Who gets a place at a deployment that takes only so many calls, who waits, and who is told to come back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_kit import FakeClient, World, answer, ask, deployment, model, provider, refusal, run, whole

from llm_router.domain.errors import Overloaded
from llm_router.domain.model import Deployment
from llm_router.engine.gate import Gate
from llm_router.routing.chains import Chains, FallbackRules
from llm_router.routing.concurrency import ConcurrencyRules, Place, Went
from llm_router.routing.retry import RetryRules

ONE = ConcurrencyRules(enabled=False, most=(("*", 1),), wait_s_max=30.0)
NO_WAIT = ConcurrencyRules(enabled=False, most=(("*", 1),), wait_s_max=0.0)


def gate(rules: ConcurrencyRules = ONE) -> Gate:
    found = Gate()
    found.lanes.rules = rules
    return found


def leave(found: Gate, place: Place, now_ms: int = 100) -> None:
    found.leave(place, now_ms, Went.WELL, 0, None)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_waits_gets_the_place_that_is_free_and_nobody_else() -> None:
    async def main() -> None:
        found = gate()
        place = found.lanes.enter("d", 0)
        waits = asyncio.ensure_future(found.place(["d"], 30, urgent=True))
        await turns()
        assert found.waiting == 1
        leave(found, place)
        assert not found.lanes.room("d"), "it is promised"
        assert await waits == "d"
        assert found.lanes.room("d"), "until the call begins, which is the next thing that happens"
        assert found.waiting == 0

    run(main())


def test_who_leaves_while_waiting_passes_the_place_on() -> None:
    async def main() -> None:
        found = gate()
        place = found.lanes.enter("d", 0)
        first = asyncio.ensure_future(found.place(["d"], 30, urgent=True))
        await turns()
        second = asyncio.ensure_future(found.place(["d"], 30, urgent=True))
        await turns()
        leave(found, place)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == "d"
        assert found.lanes.lane("d").promised == 0

    run(main())


def test_the_urgent_come_first_and_take_the_place_of_a_batch_in_a_full_queue() -> None:
    async def main() -> None:
        found = gate(ConcurrencyRules(enabled=False, most=(("*", 1),), wait_s_max=30.0, queue_max=2))
        place = found.lanes.enter("d", 0)
        batches = [asyncio.ensure_future(found.place(["d"], 30, urgent=False)) for _ in range(2)]
        await turns()
        with pytest.raises(Overloaded):
            await found.place(["d"], 30, urgent=False)
        urgent = asyncio.ensure_future(found.place(["d"], 30, urgent=True))
        with pytest.raises(Overloaded):
            await batches[1]
        leave(found, place)
        assert await urgent == "d"
        place = found.lanes.enter("d", 200)
        leave(found, place, 300)
        assert await batches[0] == "d"

    run(main())


def test_a_request_waits_for_all_that_may_answer_and_takes_the_first() -> None:
    async def main() -> None:
        found = gate()
        _, second = found.lanes.enter("a", 0), found.lanes.enter("b", 0)
        waits = asyncio.ensure_future(found.place(["a", "b"], 30, urgent=True))
        await turns()
        leave(found, second)
        assert await waits == "b"
        assert found.waiting == 0

    run(main())


def test_a_wait_that_would_be_too_long_is_not_begun() -> None:
    async def main() -> None:
        found = gate(ConcurrencyRules(enabled=False, most=(("*", 1),), wait_s_max=1.0))
        leave(found, found.lanes.enter("d", 0), 4_000)
        found.lanes.enter("d", 4_000)
        with pytest.raises(Overloaded) as told:
            await found.place(["d"], 30, urgent=True)
        assert told.value.retry_after_s == 4.0
        with pytest.raises(Overloaded):
            found.check(["d"], urgent=True)
        found.check(["d", "other"], urgent=True)

    run(main())


class Busy:
    """A world of which some deployments have a call under way."""

    def __init__(self, world: World, *deployments: str) -> None:
        gate = world.engine.trying.gate
        gate.lanes.rules = world.engine.state.concurrency
        self.places = [gate.lanes.enter(id_, 0) for id_ in deployments]
        self.gate = gate
        for id_ in ("p1", "p2"):
            world.upstream.scripts[id_] = [answer(whole())]


def test_another_deployment_answers_at_once_and_nothing_failed() -> None:
    async def main() -> None:
        world = World(concurrency=ONE)
        Busy(world, "p1/m2")
        await world.serve(ask("m2"))
        world.check()
        assert world.upstream.asked == ["p2"]
        assert world.client.status == 200
        assert len(world.record.attempts) == 1

    run(main())


def test_what_has_no_place_is_refused_before_anything_is_held() -> None:
    async def main() -> None:
        world = World(concurrency=NO_WAIT)
        busy = Busy(world, "p1/m2", "p2/m2")
        await world.serve(ask("m2"))
        world.check()
        assert world.upstream.asked == world.books.holds == []
        assert world.books.settlements == [], "turning away costs the ledger nothing"
        assert (world.client.status, world.client.error["code"]) == (503, "overloaded")
        assert world.client.headers["retry-after"] == "1"
        assert world.record.status == 503
        assert busy.gate.lanes.shed == 1

    run(main())


def test_who_waits_is_served_when_a_call_ends() -> None:
    async def main() -> None:
        world = World(concurrency=ONE)
        busy = Busy(world, "p1/m1")
        task = asyncio.ensure_future(world.serve(ask("m1")))
        await world.until(lambda: busy.gate.waiting == 1)
        leave(busy.gate, busy.places[0])
        await task
        world.check()
        assert world.client.status == 200

    run(main())


def test_a_client_that_leaves_while_waiting_costs_nothing_and_leaves_no_trace() -> None:
    async def main() -> None:
        world = World(concurrency=ONE)
        busy = Busy(world, "p1/m1")
        task = asyncio.ensure_future(world.serve(ask("m1")))
        await world.until(lambda: busy.gate.waiting == 1)
        assert world.task is not None
        world.task.cancel()
        await task
        world.check()
        assert world.record.cost_pusd == 0
        assert busy.gate.waiting == 0
        assert busy.gate.lanes.view("p1/m1").in_flight == 1

    run(main())


def test_nobody_waits_past_the_deadline_of_the_client() -> None:
    async def main() -> None:
        world = World(concurrency=ONE)
        Busy(world, "p1/m1")
        await world.serve(ask("m1"), headers={"x-request-timeout": "0.2"})
        world.check()
        assert world.client.status == 503

    run(main())


def test_a_failure_is_told_rather_than_that_the_rest_is_full() -> None:
    async def main() -> None:
        world = World(concurrency=NO_WAIT)
        Busy(world, "p2/m2")
        world.upstream.scripts["p1"] = [refusal(500, "broken")]
        await world.serve(ask("m2"))
        world.check()
        assert world.upstream.asked == ["p1"]
        assert "broken" in world.client.error["message"]

    run(main())


def test_a_general_fallback_answers_for_a_model_that_is_full() -> None:
    async def main() -> None:
        rules = FallbackRules(every=Chains(general=("small",)))
        models = (model("large", "p1"), model("small", "p2"))
        world = World(*models, concurrency=NO_WAIT, fallbacks=rules)
        Busy(world, "p1/large")
        await world.serve(ask("large"))
        world.check()
        assert world.upstream.asked == ["p2"]
        assert world.client.headers["x-llm-router-model"] == "small"

    run(main())


def test_refusals_lower_the_limit_and_a_key_of_ones_own_says_nothing() -> None:
    async def main() -> None:
        world = World()
        lanes = world.engine.trying.gate.lanes
        beside = [lanes.enter("p1/m1", world.engine.clock.now_ms()) for _ in range(9)]
        for limit in (None, None, 7):
            world.upstream.scripts["p1"] = [refusal(429)]
            await world.serve(ask("m1"))
            assert lanes.view("p1/m1").limit == limit
            world.telemetry.records.clear()
            world.client = FakeClient(world)
        for place in beside:
            lanes.leave(place, world.engine.clock.now_ms(), Went.NEITHER)
        other = World()
        other.upstream.scripts["p1"] = [refusal(400)]
        await other.serve(ask("m1"))
        assert other.engine.trying.gate.lanes.view("p1/m1").limit is None

    run(main())


def test_many_at_once_never_exceed_the_ceiling_and_all_are_served_or_told() -> None:
    async def main() -> None:
        deployments: tuple[Deployment, ...] = (deployment("m", "p1"), deployment("m", "p2"))
        rules = ConcurrencyRules(enabled=False, most=(("*", 3),), wait_s_max=30.0, queue_max=8)
        world = World(
            model("m", deployments=deployments),
            providers=(provider("p1"), provider("p2")),
            concurrency=rules,
            retries=RetryRules(),
        )
        lanes, most = world.engine.trying.gate.lanes, 0
        send = world.upstream.send

        async def watched(*args: Any) -> Any:
            nonlocal most
            most = max(most, *(lanes.view(f"{p}/m").in_flight for p in ("p1", "p2")))
            return await send(*args)

        world.upstream.send = watched  # type: ignore[method-assign]
        for id_ in ("p1", "p2"):
            world.upstream.scripts[id_] = [answer(whole())]
        clients = [FakeClient(world) for _ in range(40)]
        await asyncio.gather(*(world.engine.serve(world.call(ask("m")), client) for client in clients))
        statuses = [client.status for client in clients]
        assert most == 3
        assert set(statuses) == {200, 503}
        assert statuses.count(200) >= 6
        assert world.engine.trying.gate.waiting == 0
        assert world.books.ledger.open_holds() == 0

    run(main())


def test_who_finds_no_room_after_all_is_told_of_no_limit_that_credit_set() -> None:
    async def main() -> None:
        body = ask("m1")
        headers = {"x-max-cost": "0.02", "x-max-cost-action": "clamp"}
        world = World(concurrency=NO_WAIT)
        world.upstream.scripts["p1"] = [answer(whole())]
        await world.serve(body, headers=headers)
        assert "x-llm-router-max-tokens" in world.client.headers
        world = World(concurrency=NO_WAIT)
        lanes = world.engine.trying.gate.lanes

        def taken(number: int, task: object) -> None:
            if world.steps[-1] == "books.hold":
                lanes.enter("p1/m1", 0)

        world.strike = taken
        await world.serve(body, headers=headers)
        world.check()
        assert world.client.status == 503
        assert world.client.error["code"] == "overloaded"
        assert "x-llm-router-max-tokens" not in world.client.headers

    run(main())
