"""Three times what a provider can serve: what is served stays fast, the rest is told at once when to come back.

On virtual time: a minute of overload takes a second or two, and every run is the same.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "engine"))

from overload import SERVICE_S, Overload, Reply, Upstream, quantile

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.routing.concurrency import ConcurrencyRules
from llm_router.routing.retry import RetryRules

CAPACITY = 10
RATE = CAPACITY / SERVICE_S
"""Requests a second that the upstream can serve."""

PHASES = ((RATE / 2, 5.0), (3 * RATE, 15.0), (RATE / 2, 10.0))
FROM_S, TO_S = 5.0, 20.0


def took(answers: list[object], part: float) -> float:
    return quantile([each.took_s for each in answers], part)  # type: ignore[attr-defined]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("refuses", [False, True], ids=["queues", "refuses"])
def test_what_is_too_much_is_turned_away_before_anything_gets_slow(stream: bool, refuses: bool) -> None:
    upstream = Upstream(CAPACITY, refuses=refuses)
    world = Overload(p1=upstream)
    world.run(*PHASES, stream=stream)
    served = world.of(200, FROM_S, TO_S)
    shed = [each for each in world.answered if FROM_S <= each.at_s < TO_S and each.status != 200]
    assert len(served) >= 0.85 * RATE * (TO_S - FROM_S), "goodput stays near the capacity"
    assert len(served) + len(shed) == pytest.approx(3 * RATE * (TO_S - FROM_S), abs=2)
    settled = world.of(200, FROM_S + 5, TO_S)
    assert took(settled, 0.5) < 4 * SERVICE_S
    assert took(settled, 0.99) < 6 * SERVICE_S
    assert took(served, 1.0) < 12 * SERVICE_S, "while the limit is being learned"
    assert {each.status for each in shed} <= {429, 503}
    assert all(
        each.retry_after_s is not None and each.retry_after_s >= 1 for each in shed if each.status == 503
    )
    assert took(shed, 0.9) < 0.1
    assert took(shed, 1.0) <= 1.0 + 12 * SERVICE_S
    if refuses:
        assert upstream.refused < 0.05 * 3 * RATE * (TO_S - FROM_S), "the provider is not asked in vain"


@pytest.mark.parametrize("trouble", ["429", "late"])
def test_after_one_refusal_at_a_quiet_time_a_burst_is_served(trouble: str) -> None:
    upstream = Upstream(1000)
    world = Overload(p1=upstream)
    send, asked = upstream.send, 0

    async def refusing_once(*args: object) -> object:
        nonlocal asked
        asked += 1
        if asked == 4 and trouble == "429":
            return Reply(429, [b'{"error": {"message": "too many", "type": "t", "code": null}}'])
        if asked == 4:
            raise UpstreamError("late", kind=UpstreamKind.TIMEOUT)
        return await send(*args)  # type: ignore[arg-type]

    upstream.send = refusing_once  # type: ignore[assignment, method-assign]
    world.run((1.0, 6.0), (400.0, 0.5))
    assert len(world.answered) > 200
    assert [each.status for each in world.answered if each.status != 200] == [
        429 if trouble == "429" else 504
    ]


def test_without_it_every_answer_comes_too_late() -> None:
    upstream = Upstream(CAPACITY)
    world = Overload(p1=upstream)
    world.rules = ConcurrencyRules(enabled=False)
    world.run(*PHASES)
    assert took(world.of(200, FROM_S + 10, TO_S), 0.5) > 20 * SERVICE_S


def test_when_it_is_over_everything_is_soon_as_before() -> None:
    world = Overload(p1=Upstream(CAPACITY))
    world.run(*PHASES)
    after = [each for each in world.answered if each.at_s >= TO_S + 3]
    assert all(each.status == 200 for each in after)
    assert took(after, 0.95) < 2 * SERVICE_S


def test_what_one_deployment_does_not_take_another_does() -> None:
    small, large = Upstream(5), Upstream(60)
    world = Overload(p1=small, p2=large)
    world.run((10 / SERVICE_S / 2, 5.0), (20 / SERVICE_S, 20.0))
    late = [each for each in world.answered if each.at_s >= 10.0]
    assert all(each.status == 200 for each in late)
    assert took(late, 0.99) < 5 * SERVICE_S
    assert {each.model for each in late} == {"p1", "p2"}


def test_a_ceiling_of_the_configuration_is_never_exceeded() -> None:
    upstream = Upstream(60)
    world = Overload(p1=upstream)
    world.rules = ConcurrencyRules(enabled=False, most=(("p1/*", 4),))
    world.retries = RetryRules()
    busiest = 0
    send = upstream.send

    async def watched(*args: object) -> object:
        nonlocal busiest
        busiest = max(busiest, upstream.busy + 1)
        return await send(*args)  # type: ignore[arg-type]

    upstream.send = watched  # type: ignore[assignment, method-assign]
    world.run((40.0, 10.0))
    assert busiest == 4
    assert len(world.of(200)) >= 0.9 * 10.0 * 4 / SERVICE_S


def test_batches_are_turned_away_before_those_who_wait_for_an_answer() -> None:
    world = Overload(p1=Upstream(CAPACITY))
    world.rules = ConcurrencyRules(enabled=False, most=(("*", CAPACITY),))
    world.run((0.9 * 2 * RATE, 20.0), batch_every=2)
    parts = {}
    for batch in (False, True):
        of_it = [each for each in world.answered if each.batch is batch]
        parts[batch] = sum(each.status == 200 for each in of_it) / len(of_it)
    assert parts[False] > 0.85
    assert parts[True] < 0.4
    assert all(each.status == 503 for each in world.answered if each.status != 200)


def test_a_provider_that_became_slower_for_its_own_reasons_is_not_throttled_for_good() -> None:
    upstream = Upstream(1000)
    world = Overload(p1=upstream)

    send = upstream.send

    async def slower(*args: object) -> object:
        upstream.service_s = 0.5 if asyncio.get_running_loop().time() < 10 else 2.0
        return await send(*args)  # type: ignore[arg-type]

    upstream.send = slower  # type: ignore[assignment, method-assign]
    world.run((20.0, 10.0), (20.0, 30.0))
    late = [each for each in world.answered if each.at_s >= 20.0]
    assert sum(each.status == 200 for each in late) >= 0.98 * len(late)


def test_a_run_is_the_same_each_time() -> None:
    runs = []
    for _ in range(2):
        world = Overload(p1=Upstream(CAPACITY))
        world.run((RATE / 2, 5.0), (3 * RATE, 10.0))
        runs.append([(each.status, each.took_s) for each in world.answered])
    assert runs[0] == runs[1]
