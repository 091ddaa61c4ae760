"""Requests that are the same at the same time: one call, an answer for each, one charge, and none waits for who left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from engine_kit import (
    FakeClient,
    FakeReply,
    World,
    answer,
    anthropic_whole,
    ask,
    refusal,
    run,
    whole,
)

from llm_router.domain.key import Key, key_digest
from llm_router.routing.hedging import HedgeMode
from llm_router.routing.rules import RoutingRules

HEADER = "x-llm-router-single-flight"


class Held(FakeReply):
    """A reply that is read only when the world says so."""

    async def read(self, bytes_max: int) -> bytes:
        await GO[self._world].wait()
        return await super().read(bytes_max)


GO: dict[World, asyncio.Event] = {}


def world_of(mode: HedgeMode = "on", *bodies: bytes, **state: Any) -> World:
    world = World(routing=RoutingRules(single_flight=mode), **state)
    GO[world] = asyncio.Event()
    held: Callable[[World], FakeReply] = lambda w: Held(w, 200, [bodies[0] if bodies else whole()])  # noqa: E731
    world.upstream.scripts |= {"p1": [held], "p2": [held], "anth": [held]}
    return world


class Asker:
    """One of several clients."""

    def __init__(self, world: World, body: dict[str, Any] | None = None, **call: Any) -> None:
        self.client = FakeClient(world)
        asked = world.call(ask("m1") if body is None else body, **call)
        self.task = asyncio.ensure_future(world.engine.serve(asked, self.client))


async def turns(world: World, count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def check(world: World) -> None:
    assert world.books.ledger.open_holds() == 0
    ids = [record.id for record in world.books.settlements]
    assert len(ids) == len(set(ids)), "settled twice"
    assert set(world.books.holds) <= set(ids)
    assert world.counters.admitted == world.counters.released
    assert world.engine._running == {}
    assert world.engine._flights._under_way == {}
    GO.pop(world, None)


async def served(world: World, *askers: Asker) -> None:
    await turns(world)
    GO[world].set()
    await asyncio.wait([asker.task for asker in askers])


@pytest.mark.parametrize(("model", "body"), [("m1", whole()), ("claude", anthropic_whole())])
def test_the_same_at_the_same_time_is_one_call_and_one_charge(model: str, body: bytes) -> None:
    async def main() -> None:
        world = world_of("on", body)
        askers = [Asker(world, ask(model)) for _ in range(4)]
        await served(world, *askers)
        assert len(world.upstream.requests) == 1
        told = [asker.client.json for asker in askers]
        assert {each["choices"][0]["message"]["content"] for each in told} == {"Hello there"}
        assert {each["usage"]["completion_tokens"] for each in told} == {5}
        assert [each["usage"]["cost"] for each in told] == [0.00002, 0, 0, 0]
        assert [asker.client.headers.get("x-llm-router-shared") for asker in askers] == [None, *["true"] * 3]
        leader, *others = sorted(world.telemetry.records, key=lambda record: record.id)
        assert leader.cost_pusd == 20_000_000
        assert len(leader.attempts) == 1
        for record in others:
            assert (record.cost_pusd, record.attempts, record.flags) == (0, (), ("shared",))
            assert record.provider == leader.provider
            assert record.usage.total_tokens == 0  # nothing was used for it
        check(world)

    run(main())


def test_what_differs_goes_on_its_own() -> None:
    async def count(mode: HedgeMode, *asked: tuple[dict[str, Any], dict[str, str]]) -> int:
        world = world_of(mode)
        other = Key(id="key_2", account="other", name="k", prefix="sk", created_ms=0)
        world.keyring.keys[key_digest(b"sk-other")] = other
        world.books.ledger.credit("other", 10**12)
        askers = []
        for body, headers in asked:
            secret = headers.pop("secret", "sk-lr-test").encode()
            askers.append(Asker(world, body, headers=headers, credential=secret))
        await served(world, *askers)
        assert all(asker.client.status == 200 for asker in askers)
        check(world)
        return len(world.upstream.requests)

    async def main() -> None:
        same: dict[str, Any] = ask("m1", temperature=0.5)
        turned = dict(reversed(same.items()))
        assert await count("on", (same, {}), (turned, {})) == 1
        assert await count("on", (same, {}), (ask("m1", temperature=0.6), {})) == 2
        assert await count("on", (same, {}), (ask("m2", temperature=0.5), {})) == 2
        assert await count("on", (same, {}), (same, {"x-llm-router-strict": "1"})) == 2
        assert await count("on", (same, {}), (same, {"x-session-id": "s"})) == 1
        assert await count("on", (same, {}), (same, {"secret": "sk-other"})) == 2  # never across accounts
        assert await count("on", (same, {}), (same, {HEADER: "off"})) == 2
        assert await count("off", (same, {}), (same, {})) == 2
        assert await count("off", (same, {HEADER: "on"}), (same, {HEADER: "on"})) == 2
        assert await count("asked", (same, {}), (same, {})) == 2
        assert await count("asked", (same, {HEADER: "on"}), (same, {HEADER: "on"})) == 1

    run(main())


def test_streams_are_not_shared() -> None:
    from engine_kit import events

    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [answer(*events())]
        askers = [Asker(world, ask("m1", stream=True)) for _ in range(2)]
        await served(world, *askers)
        assert len(world.upstream.requests) == 2
        check(world)

    run(main())


def test_a_first_one_that_leaves_does_not_take_the_others_with_it() -> None:
    async def main() -> None:
        world = world_of()
        leader, *others = (Asker(world) for _ in range(3))
        await turns(world)
        leader.task.cancel()
        await served(world, leader, *others)
        assert leader.task.cancelled()
        assert len(world.upstream.requests) == 2
        assert [each.client.status for each in others] == [200, 200]
        assert sorted(record.cost_pusd for record in world.telemetry.records) == [0, 0, 20_000_000]
        check(world)

    run(main())


def test_who_waits_may_leave() -> None:
    async def main() -> None:
        world = world_of()
        leader, follower, other = (Asker(world) for _ in range(3))
        await turns(world)
        follower.task.cancel()
        await served(world, leader, follower, other)
        assert follower.task.cancelled()
        assert [each.client.status for each in (leader, other)] == [200, 200]
        assert len(world.upstream.requests) == 1
        check(world)

    run(main())


@pytest.mark.parametrize(("status", "calls"), [(400, 1), (500, 3)])
def test_an_error_is_shared_only_if_asking_again_is_of_no_use(status: int, calls: int) -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [refusal(status)]
        askers = [Asker(world) for _ in range(3)]
        await served(world, *askers)
        assert len(world.upstream.requests) == calls
        assert [asker.client.status for asker in askers] == [status] * 3
        assert [record.cost_pusd for record in world.telemetry.records] == [0, 0, 0]
        check(world)

    run(main())


def test_a_stopping_gateway_ends_them_all() -> None:
    async def main() -> None:
        world = world_of()
        askers = [Asker(world) for _ in range(3)]
        await turns(world)
        world.engine.stop()
        await asyncio.wait([asker.task for asker in askers])
        assert all(asker.client.error["code"] == "overloaded" for asker in askers)
        check(world)

    run(main())


def test_the_client_s_deadline_holds_while_it_waits() -> None:
    async def main() -> None:
        world = world_of()
        leader = Asker(world)
        await turns(world)
        hurried = Asker(world, headers={"x-request-timeout": "1ms"})
        await asyncio.wait([hurried.task])
        assert hurried.client.status == 504
        await served(world, leader)
        assert leader.client.status == 200
        check(world)

    run(main())


def test_a_later_one_asks_anew() -> None:
    async def main() -> None:
        world = world_of()
        for _ in range(2):
            await served(world, Asker(world))
        assert len(world.upstream.requests) == 2
        check(world)

    run(main())


def test_the_header_must_be_readable() -> None:
    async def main() -> None:
        world = world_of()
        asker = Asker(world, headers={HEADER: "perhaps"})
        await served(world, asker)
        assert asker.client.status == 400
        assert asker.client.error["param"] == HEADER

    run(main())


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
def test_either_may_be_struck_at_any_await(which: int) -> None:
    """The other one gets its answer, and pays for it if nobody else does."""

    async def struck(number: int) -> int:
        world = world_of()
        GO[world].set()
        askers = [Asker(world) for _ in range(2)]
        world.task = askers[which].task

        def strike(at: int, task: asyncio.Task[Any]) -> None:
            if at == number:
                task.cancel()

        world.strike = strike
        await asyncio.wait([asker.task for asker in askers])
        await turns(world)
        await world.engine.close()
        other = askers[1 - which]
        assert other.client.status == 200
        assert other.client.json["usage"]["completion_tokens"] == 5
        charges = sorted(record.cost_pusd for record in world.books.records.values())
        assert charges[-1] == 20_000_000
        assert len(world.upstream.requests) <= 2
        check(world)
        return len(world.steps)

    async def main() -> None:
        count = await struck(0)
        assert count >= 5
        for number in range(1, count + 1):
            await struck(number)

    run(main())
