"""Two calls for one answer: who wins, what the client gets, what is charged and recorded, and that nothing stays open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest
from engine_kit import (
    CUT,
    GRANT,
    FakeClient,
    FakeReply,
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

from llm_router.billing.policy import SettlementPolicy
from llm_router.domain.errors import UpstreamError
from llm_router.routing.continuing import Continuing
from llm_router.routing.hedging import HedgeRules, kind_of
from llm_router.routing.retry import RetryRules
from llm_router.routing.rules import RoutingRules

PROVIDERS = (provider("p1"), provider("p2"), provider("p3", bills_abandoned=True))
ON = HedgeRules(mode="on")
WHOLE = kind_of(stream=False, input_tokens=1, output_tokens_max=None)


class Gates:
    """Places in replies where a provider waits until it is told to go on."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self.reached: set[str] = set()

    async def wait(self, name: str) -> None:
        self.reached.add(name)
        await self._events.setdefault(name, asyncio.Event()).wait()

    def open(self, name: str) -> None:
        self._events.setdefault(name, asyncio.Event()).set()


class GatedReply(FakeReply):
    """A reply in which the name of a gate may stand between the pieces."""

    def __init__(
        self, world: World, gates: Gates, parts: Sequence[bytes | str], error: UpstreamError | None
    ) -> None:
        super().__init__(world, 200, [], error)
        self._gates = gates
        self._parts = parts

    async def chunks(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, str):
                await self._gates.wait(part)
            else:
                await self._world.step("reply.chunk")
                yield part
        if self._error is not None:
            raise self._error

    async def read(self, bytes_max: int) -> bytes:
        return b"".join([piece async for piece in self.chunks()])


class Strikes(World):
    """A world in which every await of either call may be struck, not only those of the exchange's own task."""

    async def step(self, name: str) -> None:
        if self.task is not None:
            self.steps.append(name)
            self.strike(len(self.steps), self.task)
        await asyncio.sleep(0)


def world_of(
    *providers: str,
    rules: HedgeRules = ON,
    known: int = 40,
    saved: int = 10,
    **state: Any,
) -> World:
    """A world whose first deployment is known to be quick, and whose budget holds so many second calls."""
    found = model("m", deployments=tuple(deployment("m", each) for each in providers or ("p1", "p2")))
    world = Strikes(
        found,
        providers=PROVIDERS,
        **{"retries": RetryRules(), "routing": RoutingRules(hedging=rules), **state},
    )
    hedges = world.engine.trying.hedges
    for _ in range(known):
        for kind in (0, WHOLE):
            hedges.tails.add(f"{(providers or ('p1',))[0]}/m", kind, 100.0)
    hedges.budget.earn(10_000 * saved, 10**9)
    return world


def gated(gates: Gates, *parts: bytes | str, error: UpstreamError | None = None) -> Callable[[World], Any]:
    return lambda world: GatedReply(world, gates, parts, error)


def said(world: World) -> str:
    return "".join(
        choice["delta"].get("content") or "" for chunk in world.client.chunks for choice in chunk["choices"]
    )


def outcomes(world: World) -> list[tuple[str, str]]:
    return [(attempt.provider, attempt.outcome) for attempt in world.record.attempts]


def in_flight(world: World) -> list[int]:
    health, now_ms = world.engine.trying.health, world.engine.clock.now_ms()
    return [health.view(f"{each}/m", now_ms).in_flight for each in ("p1", "p2", "p3")]


def check(world: World) -> None:
    world.check()
    assert in_flight(world) == [0, 0, 0]


def test_the_second_call_answers_when_the_first_is_late() -> None:
    async def main() -> None:
        gates, world = Gates(), world_of()
        world.upstream.scripts |= {"p1": [gated(gates, "never")], "p2": [answer(*events("from two"))]}
        await world.serve(ask("m", stream=True))
        check(world)
        assert world.pauses == [0.1]
        assert world.upstream.asked == ["p1", "p2"]
        assert said(world) == "from two"
        assert outcomes(world) == [("p1", "outrun"), ("p2", "delivered")]
        record = world.record
        assert (record.provider, record.deployment, record.cost_pusd) == ("p2", "p2/m", 20_000_000)
        assert world.client.headers["x-llm-router-provider"] == "p2"
        health = world.engine.trying.health.view("p1/m", world.engine.clock.now_ms())
        assert (health.calls, health.error_rate) == (0, None)  # late is not sick

    run(main())


def test_a_first_call_that_still_comes_first_wins() -> None:
    async def main() -> None:
        gates, world = Gates(), world_of()
        world.upstream.scripts |= {
            "p1": [gated(gates, "first", *events("from one"))],
            "p2": [gated(gates, "second", *events("from two"))],
        }
        serving = asyncio.ensure_future(world.serve(ask("m", stream=True)))
        await world.until(lambda: gates.reached == {"first", "second"})
        gates.open("first")
        await serving
        check(world)
        assert said(world) == "from one"
        assert outcomes(world) == [("p2", "outrun"), ("p1", "delivered")]
        assert world.record.cost_pusd == 20_000_000

    run(main())


def test_when_both_have_content_at_once_one_is_told_and_charged() -> None:
    async def main() -> None:
        for order in (("first", "second"), ("second", "first")):
            gates, world = Gates(), world_of()
            world.upstream.scripts |= {
                "p1": [gated(gates, "first", *events("from one"))],
                "p2": [gated(gates, "second", *events("from two"))],
            }
            serving = asyncio.ensure_future(world.serve(ask("m", stream=True)))
            await world.until(lambda gates=gates: gates.reached == {"first", "second"})  # type: ignore[misc]
            for name in order:
                gates.open(name)
            await serving
            check(world)
            assert said(world) in ("from one", "from two")
            assert sorted(outcome for _, outcome in outcomes(world)) == ["delivered", "outrun"]
            assert world.record.cost_pusd == 20_000_000
            assert world.books.available("acme") == GRANT - 20_000_000

    run(main())


def test_one_that_fails_leaves_it_to_the_other() -> None:
    async def main() -> None:
        gates, world = Gates(), world_of()
        world.upstream.scripts |= {
            "p1": [gated(gates, "first", *events("from one"))],
            "p2": [refusal(500)],
        }
        serving = asyncio.ensure_future(world.serve(ask("m", stream=True)))
        await world.until(lambda: len(world.upstream.replies) == 2)
        gates.open("first")
        await serving
        check(world)
        assert said(world) == "from one"
        assert outcomes(world) == [("p2", "failed"), ("p1", "delivered")]
        health = world.engine.trying.health.view("p2/m", world.engine.clock.now_ms())
        assert (health.calls, health.error_rate) == (1, 1.0)

    run(main())


def test_both_fail_and_what_follows_is_as_ever() -> None:
    async def main() -> None:
        gates, world = Gates(), world_of("p1", "p2", "p3")
        world.upstream.scripts |= {
            "p1": [gated(gates, "first", error=CUT)],
            "p2": [refusal(500)],
            "p3": [answer(*events("from three"))],
        }
        serving = asyncio.ensure_future(world.serve(ask("m", stream=True)))
        await world.until(lambda: [reply.closed for reply in world.upstream.replies] == [0, 1])
        gates.open("first")
        await serving
        check(world)
        assert said(world) == "from three"
        assert outcomes(world) == [("p2", "failed"), ("p1", "failed"), ("p3", "delivered")]
        assert world.record.cost_pusd == 20_000_000

    run(main())


def test_a_first_call_that_fails_before_it_is_late_needs_no_second_beside_it() -> None:
    async def main() -> None:
        world = world_of("p1", "p3", "p2")
        world.upstream.scripts |= {"p1": [refusal(500)], "p3": [answer(*events("three"))]}
        begun: list[asyncio.Task[Any]] = []

        async def pause(seconds: float) -> None:
            begun.append(asyncio.current_task())  # type: ignore[arg-type]
            await asyncio.Event().wait()

        world.engine.trying._pause = pause
        await world.serve(ask("m", stream=True))
        check(world)
        assert world.upstream.asked == ["p1", "p3"]
        assert len(begun) == 1
        assert outcomes(world) == [("p1", "failed"), ("p3", "delivered")]

    run(main())


def test_a_winner_that_breaks_off_later_is_gone_on_with_or_told() -> None:
    async def main() -> None:
        for mode, status in (("off", "failed"), ("on", "delivered")):
            gates = Gates()
            world = world_of("p1", "p2", "p3", continuing=Continuing(mode=mode))  # type: ignore[arg-type]
            world.upstream.scripts |= {
                "p1": [gated(gates, "never")],
                "p2": [answer(*events("Half of the answer ", "is")[:2], error=CUT)],
                "p3": [answer(*events("Half of the answer is told here."))],
            }
            await world.serve(ask("m", stream=True))
            check(world)
            found = outcomes(world)
            assert found[:2] == [("p1", "outrun"), ("p2", "failed")]
            if mode == "off":
                assert len(found) == 2
                assert world.client.error["code"] == "upstream_truncated"
                assert world.record.cost_pusd == 0
            else:
                assert found[2][1] == status
                assert world.record.seams[0].cause == "truncated"
                assert said(world).startswith("Half of the answer ")

    run(main())


@pytest.mark.parametrize("stream", [True, False])
def test_who_may_not_be_hedged_is_not(stream: bool) -> None:
    async def asked(world: World, headers: dict[str, str] | None = None) -> list[str]:
        gates = Gates()
        one, two = (events("from one"), events("from two")) if stream else ([whole("one")], [whole("two")])
        world.upstream.scripts |= {"p1": [gated(gates, "first", *one)], "p2": [answer(*two)]}
        call = {} if headers is None else {"headers": headers}
        serving = asyncio.ensure_future(world.serve(ask("m", stream=stream), **call))
        await world.until(lambda: bool(gates.reached))
        for _ in range(20):
            await asyncio.sleep(0)
        gates.open("first")
        await serving
        check(world)
        return world.upstream.asked

    hedge = "x-llm-router-hedge"

    async def main() -> None:
        both, one = ["p1", "p2"], ["p1"]
        assert await asked(world_of()) == both
        assert await asked(world_of(rules=HedgeRules())) == one
        assert await asked(world_of(rules=HedgeRules()), {hedge: "on"}) == one
        assert await asked(world_of(rules=HedgeRules(mode="asked"))) == one
        assert await asked(world_of(rules=HedgeRules(mode="asked")), {hedge: "on"}) == both
        assert await asked(world_of(), {hedge: "off"}) == one
        assert await asked(world_of(rules=HedgeRules(models=(("m*", "on"),)))) == both
        assert await asked(world_of(rules=HedgeRules(models=(("m*", "on"),), keys={"key_1": "off"}))) == one
        assert await asked(world_of(known=39)) == one  # nobody knows yet what is late
        assert await asked(world_of(saved=0)) == one  # nothing saved up
        assert await asked(world_of(retries=RetryRules(attempts_max=1))) == one

    run(main())


def test_the_header_must_be_readable() -> None:
    async def main() -> None:
        world = world_of()
        await world.serve(ask("m"), headers={"x-llm-router-hedge": "maybe"})
        world.check()
        assert world.client.status == 400
        assert world.client.error["param"] == "x-llm-router-hedge"

    run(main())


def content(world: World) -> str:
    """The text of a whole answer."""
    text = json.loads(bytes(world.client.data))["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def test_a_whole_answer_that_is_late_is_asked_for_again() -> None:
    async def main() -> None:
        gates, world = Gates(), world_of()
        world.upstream.scripts |= {"p1": [gated(gates, "never")], "p2": [answer(whole("from two"))]}
        await world.serve(ask("m"))
        check(world)
        assert world.pauses == [0.1]
        assert world.upstream.asked == ["p1", "p2"]
        assert content(world) == "from two"
        assert outcomes(world) == [("p1", "outrun"), ("p2", "delivered")]
        assert (world.record.deployment, world.record.cost_pusd) == ("p2/m", 20_000_000)
        assert world.client.headers["x-llm-router-provider"] == "p2"
        assert world.books.available("acme") == GRANT - 20_000_000
        tails = world.engine.trying.hedges.tails
        assert len(tails._known["p1/m", WHOLE].latest) == 41  # it had the time that it had
        assert len(tails._known["p2/m", WHOLE].latest) == 1

    run(main())


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first"), ("first",), ("second",)])
def test_of_two_whole_answers_one_is_told_and_charged(order: tuple[str, ...]) -> None:
    async def main() -> None:
        gates, world = Gates(), world_of()
        world.upstream.scripts |= {
            "p1": [gated(gates, "first", whole("from one"))],
            "p2": [gated(gates, "second", whole("from two"))],
        }
        serving = asyncio.ensure_future(world.serve(ask("m")))
        await world.until(lambda: gates.reached == {"first", "second"})
        for name in order:
            gates.open(name)
        await serving
        check(world)
        won = {"from one": "p1", "from two": "p2"}[content(world)]
        if len(order) == 1:
            assert won == {"first": "p1", "second": "p2"}[order[0]]
        assert (world.record.provider, world.record.cost_pusd) == (won, 20_000_000)
        assert sorted(outcome for _, outcome in outcomes(world)) == ["delivered", "outrun"]
        assert world.books.available("acme") == GRANT - 20_000_000

    run(main())


def test_a_whole_answer_that_fails_leaves_it_to_the_other() -> None:
    async def main() -> None:
        gates, world = Gates(), world_of("p1", "p2", "p3")
        world.upstream.scripts |= {"p1": [gated(gates, "first", whole("one"))], "p2": [refusal(500)]}
        serving = asyncio.ensure_future(world.serve(ask("m")))
        await world.until(lambda: [reply.closed for reply in world.upstream.replies] == [0, 1])
        gates.open("first")
        await serving
        check(world)
        assert content(world) == "one"
        assert outcomes(world) == [("p2", "failed"), ("p1", "delivered")]

        gates, world = Gates(), world_of("p1", "p2", "p3")
        world.upstream.scripts |= {
            "p1": [gated(gates, "first", error=CUT)],
            "p2": [refusal(500)],
            "p3": [answer(whole("three"))],
        }
        serving = asyncio.ensure_future(world.serve(ask("m")))
        await world.until(lambda: [reply.closed for reply in world.upstream.replies] == [0, 1])
        gates.open("first")
        await serving
        check(world)
        assert content(world) == "three"
        assert outcomes(world) == [("p2", "failed"), ("p1", "failed"), ("p3", "delivered")]

    run(main())


def test_what_a_whole_answer_costs_that_was_not_used_stands_in_the_record() -> None:
    async def main() -> None:
        costs = {}
        for late in ("p1", "p3"):  # p3 bills to the end what nobody reads
            gates, world = Gates(), world_of(late, "p2")
            world.upstream.scripts |= {late: [gated(gates, "never")], "p2": [answer(whole())]}
            await world.serve(ask("m"))
            check(world)
            lost, won = world.record.attempts
            assert (lost.operator_cost_estimated, won.operator_cost_estimated) == (True, False)
            assert (won.operator_cost_pusd, world.record.cost_pusd) == (20_000_000, 20_000_000)
            costs[late] = lost.operator_cost_pusd
        assert costs["p1"] is not None
        assert costs["p3"] == costs["p1"] + 5 * 2_000_000 > 5 * 2_000_000

    run(main())


def test_whole_answers_that_may_be_longer_are_later_later() -> None:
    """What a request may write is a part of its kind: nobody knows yet how long such answers take."""

    async def main() -> None:
        world = world_of()
        world.upstream.scripts |= {"p1": [answer(whole())]}
        await world.serve(ask("m", max_tokens=4000))
        assert (world.pauses, world.upstream.asked) == ([], ["p1"])
        longer = kind_of(stream=False, input_tokens=1, output_tokens_max=4000)
        tails = world.engine.trying.hedges.tails
        assert len(tails._known["p1/m", longer].latest) == 1
        assert kind_of(stream=False, input_tokens=1, output_tokens_max=4090) == longer
        assert kind_of(stream=False, input_tokens=1, output_tokens_max=200) not in (longer, WHOLE)
        assert kind_of(stream=True, input_tokens=1, output_tokens_max=4000) == 0

    run(main())


def test_who_shares_a_call_gets_the_answer_that_won() -> None:
    async def main() -> None:
        gates = Gates()
        world = world_of()
        rules = RoutingRules(hedging=ON, single_flight="on")
        world.engine.state = msgspec.structs.replace(world.engine.state, routing=rules)
        world.upstream.scripts |= {"p1": [gated(gates, "never")], "p2": [gated(gates, "go", whole("two"))]}
        other = FakeClient(world)
        first = asyncio.ensure_future(world.serve(ask("m")))
        await world.until(lambda: gates.reached == {"never", "go"})
        second = asyncio.ensure_future(world.engine.serve(world.call(ask("m")), other))
        for _ in range(20):
            await asyncio.sleep(0)
        gates.open("go")
        await asyncio.gather(first, second)
        assert world.upstream.asked == ["p1", "p2"]
        assert content(world) == "two"
        assert json.loads(bytes(other.data))["choices"][0]["message"]["content"] == "two"

    run(main())


def test_with_one_deployment_it_is_asked_twice() -> None:
    async def main() -> None:
        gates, world = Gates(), world_of("p1")
        world.upstream.scripts["p1"] = [gated(gates, "never"), answer(*events("again"))]
        await world.serve(ask("m", stream=True))
        check(world)
        assert said(world) == "again"
        assert outcomes(world) == [("p1", "outrun"), ("p1", "delivered")]

    run(main())


def test_what_the_loser_costs_stands_in_the_record() -> None:
    async def main() -> None:
        costs = {}
        for late in ("p1", "p3"):  # p3 bills to the end what nobody reads
            gates, world = Gates(), world_of(late, "p2")
            world.upstream.scripts |= {late: [gated(gates, "never")], "p2": [answer(*events("two"))]}
            await world.serve(ask("m", stream=True))
            check(world)
            lost, won = world.record.attempts
            assert lost.operator_cost_estimated
            assert not won.operator_cost_estimated
            assert won.operator_cost_pusd == 20_000_000
            assert world.record.cost_pusd == 20_000_000  # the client pays for one answer
            costs[late] = lost.operator_cost_pusd
        assert costs["p1"] is not None
        assert costs["p1"] > 0  # its input
        assert costs["p3"] == costs["p1"] + 5 * 2_000_000  # and an answer as long as that of the other

    run(main())


def test_that_it_was_late_is_learned_of_the_first_call() -> None:
    async def main() -> None:
        gates, world = Gates(), world_of()
        world.upstream.scripts |= {"p1": [gated(gates, "never")], "p2": [answer(*events("two"))]}
        tails = world.engine.trying.hedges.tails
        assert len(tails._known["p1/m", 0].latest) == 40
        await world.serve(ask("m", stream=True))
        assert len(tails._known["p1/m", 0].latest) == 41
        assert len(tails._known["p2/m", 0].latest) == 1

    run(main())


def _late() -> World:
    gates, world = Gates(), world_of()
    world.upstream.scripts |= {"p1": [gated(gates, "never")], "p2": [answer(*events("a", "b"))]}
    return world


def _both_late() -> World:
    gates, world = Gates(), world_of()
    world.upstream.scripts |= {
        "p1": [gated(gates, *events("a")[:1], "first", *events("a")[1:])],
        "p2": [answer(*events("b")[:2], error=CUT)],
    }
    gates.open("first")
    return world


def _failing() -> World:
    world = world_of()
    world.upstream.scripts |= {"p1": [refusal(500)], "p2": [refusal(503)]}
    return world


def _drained() -> World:
    gates, world = Gates(), world_of(settlement=SettlementPolicy(drain="always"))
    world.upstream.scripts |= {"p1": [gated(gates, "never")], "p2": [answer(*events("a", "b", "c"))]}
    return world


def _late_whole() -> World:
    gates, world = Gates(), world_of()
    world.upstream.scripts |= {"p1": [gated(gates, "never")], "p2": [answer(whole("b"))]}
    return world


def _both_whole() -> World:
    gates, world = Gates(), world_of()
    world.upstream.scripts |= {"p1": [gated(gates, "first", whole("a"))], "p2": [answer(whole("b"))]}
    gates.open("first")
    return world


SCENES = {"late": _late, "both": _both_late, "failing": _failing, "drained": _drained}
WHOLE_SCENES = {"late": _late_whole, "both": _both_whole, "failing": _failing}


async def _served(
    make: Callable[[], World],
    number: int,
    how: Callable[[World, asyncio.Task[Any]], None],
    *,
    stream: bool = True,
) -> World:
    world = make()
    count = [0]

    def strike(at: int, task: asyncio.Task[Any]) -> None:
        count[0] = at
        if at == number:
            how(world, task)

    world.strike = strike
    await world.serve(ask("m", stream=stream))
    for _ in range(10):
        await asyncio.sleep(0)
    await world.engine.close()
    check(world)
    return world


def _cancel(world: World, task: asyncio.Task[Any]) -> None:
    task.cancel()


def _stop(world: World, task: asyncio.Task[Any]) -> None:
    world.engine.stop()


def _leave(world: World, task: asyncio.Task[Any]) -> None:
    if world.engine.left(task):
        task.cancel()


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("how", [_cancel, _stop, _leave])
def test_struck_at_every_await_of_either_call(
    scene: str, how: Callable[[World, asyncio.Task[Any]], None]
) -> None:
    """Nothing is held, called or counted any more afterwards, and one settlement was made."""

    async def main() -> None:
        unstruck = await _served(SCENES[scene], 0, how)
        for number in range(1, len(unstruck.steps) + 1):
            world = await _served(SCENES[scene], number, how)
            assert len(world.books.settlements) <= 1
            if how is _stop:
                assert world.client.finished

    run(main())


@pytest.mark.parametrize("scene", WHOLE_SCENES)
@pytest.mark.parametrize("how", [_cancel, _stop, _leave])
def test_whole_answers_struck_at_every_await_of_either_call(
    scene: str, how: Callable[[World, asyncio.Task[Any]], None]
) -> None:
    async def main() -> None:
        unstruck = await _served(WHOLE_SCENES[scene], 0, how, stream=False)
        for number in range(1, len(unstruck.steps) + 1):
            world = await _served(WHOLE_SCENES[scene], number, how, stream=False)
            assert len(world.books.settlements) <= 1
            if how is _stop:
                assert world.client.finished

    run(main())


@pytest.mark.parametrize("scene", SCENES)
def test_a_connection_that_breaks_at_any_write(scene: str) -> None:
    async def main() -> None:
        for number in range(1, 6):
            world = SCENES[scene]()
            world.client.leave_at = number
            await world.serve(ask("m", stream=True))
            check(world)

    run(main())
