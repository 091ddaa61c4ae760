"""Cancellation at every await of every kind of exchange: no hold stays open, nothing is settled twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from engine_kit import CUT, World, answer, anthropic_whole, ask, events, refusal, run, whole

from llm_router.billing.policy import SettlementPolicy
from llm_router.routing.chains import Chains, FallbackRules
from llm_router.routing.key_ring import pool_of
from llm_router.routing.retry import RetryRules

IMAGE: Any = [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]


def _delivered_whole() -> tuple[World, dict[str, Any]]:
    world = World()
    world.upstream.scripts["p1"] = [answer(whole())]
    return world, ask("m1")


def _delivered_stream() -> tuple[World, dict[str, Any]]:
    world = World()
    world.upstream.scripts["p1"] = [answer(*events("a", "b", "c"))]
    return world, ask("m1", stream=True)


def _fallback_stream() -> tuple[World, dict[str, Any]]:
    world = World()
    world.upstream.scripts |= {"p1": [refusal(500)], "p2": [answer(*events())]}
    return world, ask("m2", stream=True)


def _all_fail() -> tuple[World, dict[str, Any]]:
    return World(), ask("m6")


def _cut() -> tuple[World, dict[str, Any]]:
    world = World()
    world.upstream.scripts["p1"] = [answer(*events()[:3], error=CUT)]
    return world, ask("m1", stream=True)


def _bridged_with_media() -> tuple[World, dict[str, Any]]:
    world = World()
    world.upstream.scripts["anth"] = [answer(anthropic_whole())]
    return world, {**ask("sees"), "messages": [{"role": "user", "content": IMAGE}]}


def _repeated() -> tuple[World, dict[str, Any]]:
    """Another key at once, the same deployment after a pause, then a fallback to another model."""
    world = World(
        retries=RetryRules(attempts_max=4, repeats_max=1),
        key_pools={"p1": pool_of(["sk-first-of-two-keys", "sk-second-of-two-keys"])},
        fallbacks=FallbackRules(every=Chains(general=("claude",), context=("claude",))),
    )
    world.upstream.scripts |= {
        "p1": [refusal(401), refusal(400, "context_length_exceeded")],
        "anth": [refusal(500), answer(anthropic_whole())],
    }
    return world, ask("m1")


def _refused() -> tuple[World, dict[str, Any]]:
    return World(), ask("m-none")


def _no_credit() -> tuple[World, dict[str, Any]]:
    world = World()
    return world, ask("m1", max_tokens=10**8, n=100)


def _drained_stream() -> tuple[World, dict[str, Any]]:
    world = World(settlement=SettlementPolicy(drain="always"))
    world.upstream.scripts["p1"] = [answer(*events("a", "b", "c"))]
    return world, ask("m1", stream=True)


SCENES: dict[str, Callable[[], tuple[World, dict[str, Any]]]] = {
    "whole": _delivered_whole,
    "stream": _delivered_stream,
    "fallback": _fallback_stream,
    "all fail": _all_fail,
    "cut": _cut,
    "repeated": _repeated,
    "bridged with media": _bridged_with_media,
    "refused": _refused,
    "no credit": _no_credit,
}
MORE_SCENES = {**SCENES, "drained": _drained_stream}
every_scene = pytest.mark.parametrize("scene", SCENES)


def awaits_of(scene: str) -> list[str]:
    """The names of the awaits of an exchange that nobody strikes."""
    found: list[str] = []

    async def main() -> None:
        world, body = MORE_SCENES[scene]()
        await world.serve(body)
        world.check()
        found.extend(world.steps)

    run(main())
    return found


def test_the_scenes_reach_every_port() -> None:
    seen = {name for scene in SCENES for name in awaits_of(scene)}
    assert seen == {
        "keyring.find", "counters.admit", "books.hold", "fetcher.fetch", "upstream.send", "reply.chunk", "reply.read",
        "client.write", "books.settle", "pause",
    }  # fmt: skip


def struck(scene: str, numbers: set[int], how: Callable[[World, asyncio.Task[Any]], None]) -> World:
    """Run a scene and strike at these awaits."""
    worlds: list[World] = []

    async def main() -> None:
        world, body = MORE_SCENES[scene]()
        worlds.append(world)

        def strike(number: int, task: asyncio.Task[Any]) -> None:
            if number in numbers:
                how(world, task)

        world.strike = strike
        await world.serve(body)
        for _ in range(5):  # what was left to others
            await asyncio.sleep(0)
        await world.engine.close()
        world.check()

    run(main())
    return worlds[0]


def cancel(world: World, task: asyncio.Task[Any]) -> None:
    task.cancel()


def stop(world: World, task: asyncio.Task[Any]) -> None:
    world.engine.stop()


@every_scene
def test_a_client_that_leaves_at_any_await(scene: str) -> None:
    for number, name in enumerate(awaits_of(scene), 1):
        world = struck(scene, {number}, cancel)
        assert world.task is not None
        assert world.task.cancelled(), f"{name} ({number}) swallowed the cancellation"
        if name not in ("client.write", "books.settle"):
            assert world.record.client_gone
            assert not world.client.finished


@every_scene
def test_cancelled_twice_in_a_row(scene: str) -> None:
    """The second strikes whatever the exchange does to end."""
    count = len(awaits_of(scene))
    for number in range(1, count + 1):
        struck(scene, {number, number + 1}, cancel)
        struck(scene, {number, number + 1, number + 2}, cancel)


@every_scene
def test_a_gateway_that_stops_at_any_await(scene: str) -> None:
    for number, name in enumerate(awaits_of(scene), 1):
        world = struck(scene, {number}, stop)
        assert world.task is not None
        assert not world.task.cancelled()
        assert world.client.finished, f"{name} ({number}) left the client without an answer"
        if name in ("upstream.send", "reply.read", "reply.chunk", "fetcher.fetch", "keyring.find"):
            assert world.client.error["code"] == "overloaded"


@every_scene
def test_a_client_that_leaves_while_the_gateway_stops(scene: str) -> None:
    def both(world: World, task: asyncio.Task[Any]) -> None:
        world.engine.stop()
        task.cancel()

    for number in range(1, len(awaits_of(scene)) + 1):
        struck(scene, {number}, both)


@every_scene
def test_a_client_whose_connection_breaks_at_any_write(scene: str) -> None:
    async def main() -> None:
        for number in range(1, 8):
            world, body = MORE_SCENES[scene]()
            world.client.leave_at = number
            await world.serve(body)
            world.check()

    run(main())


@every_scene
def test_the_store_fails_at_any_settlement(scene: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm_router.engine import upkeep

    monkeypatch.setattr(upkeep, "RETRY_S", 0)

    async def main(number: int) -> None:
        world, body = MORE_SCENES[scene]()
        world.books.fail_settlements = 1

        def strike(at: int, task: asyncio.Task[Any]) -> None:
            if at == number:
                task.cancel()

        world.strike = strike
        await world.serve(body)
        await world.upkeep_done()
        assert world.books.ledger.open_holds() == 0
        assert world.counters.admitted == world.counters.released
        ids = [record.id for record in world.books.settlements]
        assert len(ids) == len(set(ids))

    for number in range(len(awaits_of(scene)) + 1):
        run(main(number))


def leave(world: World, task: asyncio.Task[Any]) -> None:
    """What the edge does when the client has left."""
    if world.engine.left(task):
        task.cancel()


def test_a_client_that_leaves_at_any_await_of_a_stream_that_goes_on() -> None:
    """Before content and in the settlement the exchange ends; in between it is charged to the last token."""
    went_on = 0
    for number, name in enumerate(awaits_of("drained"), 1):
        world = struck("drained", {number}, leave)
        assert world.task is not None
        assert world.engine.draining == 0
        if world.task.cancelled():
            assert not world.client.finished or name == "client.write"
            continue
        went_on += 1
        assert world.record.client_gone
        assert world.record.cost_pusd == 20_000_000
        assert world.record.flags == ("drained",)
        assert not world.client.finished
        for following in range(number + 1, number + 4):  # and then the gateway stops, or time is up
            for how in (stop, cancel):

                def strike(w: World, task: asyncio.Task[Any], first: str = name, then: Any = how) -> None:
                    leave(w, task) if w.steps[-1] == first and w.engine.draining == 0 else then(w, task)

                struck("drained", {number, following}, strike)
    assert went_on >= 3


def test_what_comes_for_nobody_is_not_charged() -> None:
    """The first words were delivered, the second read on, the third are too much."""

    async def main() -> None:
        texts = ("a" * 40, "b" * 40, "c" * 40)
        size = len(events(*texts)[2])
        world = World(settlement=SettlementPolicy(drain="always", drain_bytes_max=size + 10))
        world.upstream.scripts["p1"] = [answer(*events(*texts))]
        world.strike = lambda number, task: leave(world, task) if world.client.writes == 1 else None
        await world.serve(ask("m1", stream=True))
        world.check()
        assert world.record.flags == ("usage_estimated", "drained")
        assert world.record.usage.completion_tokens == 10
        assert world.record.attempts[0].outcome == "aborted"

    run(main())


def test_only_so_many_go_on() -> None:
    async def main() -> None:
        world = World(settlement=SettlementPolicy(drain="always", drain_max=0))
        world.upstream.scripts["p1"] = [answer(*events("a", "b", "c"))]
        world.strike = lambda number, task: leave(world, task) if world.steps[-1] == "client.write" else None
        await world.serve(ask("m1", stream=True))
        world.check()
        assert world.record.flags == ("usage_estimated",)
        assert world.record.usage.completion_tokens == 1

    run(main())
