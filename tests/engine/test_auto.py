"""``auto`` in the engine: its pool, the reading of a request, the dial, and what is kept over a restart."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from llm_router.adapters.memory.books import MemoryBooks
from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.domain.errors import InvalidRequest, ModelNotFound
from llm_router.engine.admit import Call
from llm_router.engine.auto import DIAL_HEADER, KIND, PLACE, Auto, AutoKeeper, read_dial
from llm_router.engine.state import State
from llm_router.routing.auto.pool import PER_TIER
from llm_router.routing.auto.tasks import Task
from llm_router.routing.plan import Candidate
from llm_router.wire.dialect import Inspected
from llm_router.wire.dialects.registry import DIALECTS

ACTIVE = frozenset({"openai", "anthropic", "google", "mistral", "groq"})
NONE: frozenset[str] = frozenset()

BODIES: dict[str, dict[str, Any]] = {
    "openai_chat": {"messages": [{"role": "user", "content": "Prove that 2 is prime."}]},
    "anthropic_messages": {
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "Prove that 2 is prime."}],
    },
    "openai_responses": {"input": "Prove that 2 is prime."},
}


@pytest.fixture(scope="module")
def state() -> State:
    return State(snapshot=compile_snapshot(load_builtin()), provider_keys={}, active=ACTIVE)


def a_call(
    dialect: str = "openai_chat", headers: dict[str, str] | None = None, **members: Any
) -> tuple[Call, Inspected]:
    body = json.dumps({"model": "auto", **BODIES[dialect], **members}).encode()
    spoken = DIALECTS[dialect]
    call = Call(
        operation="chat", dialect=spoken, body=body, credential=None, headers=headers or {}, started_us=0
    )
    return call, spoken.inspect(body, None, None)


def candidates(state: State, *names: str) -> list[Candidate]:
    found = []
    for name in names:
        model = state.snapshot.models[name]
        deployment = next(d for d in model.deployments if d.price is not None)
        found.append(
            Candidate(
                deployment=deployment,
                model=model,
                provider=state.snapshot.providers[deployment.provider],
                dialect="openai_chat",
                same_dialect=True,
                asked=name,
                via="id",
            )
        )
    return found


def test_the_pool_holds_the_cheapest_of_each_tier_that_can_be_called(state: State) -> None:
    pool = Auto().pool(state, "auto", NONE, ACTIVE)
    models = [state.snapshot.models[name] for name in pool]
    tiers = [model.quality_tier for model in models]
    assert tiers == sorted(tiers, key=lambda tier: tier or 0)
    assert set(tiers) == {1, 2, 3, 4, 5}
    assert max(tiers.count(tier) for tier in set(tiers)) <= PER_TIER
    assert all(any(d.provider in ACTIVE and d.price for d in m.deployments) for m in models)
    assert Auto().pool(state, "auto", NONE, NONE) == ()


def test_the_pool_takes_what_the_request_needs_and_the_task_asks(state: State) -> None:
    auto = Auto(tasks={"mine": Task(models=("claude-*",)), "code": Task(strengths=("code",))})
    seeing = auto.pool(state, "auto", frozenset({"image", "tools"}), ACTIVE)
    assert seeing
    assert all(state.snapshot.models[m].capabilities.sees("image") for m in seeing)
    assert all(
        "code" in state.snapshot.models[m].strengths for m in auto.pool(state, "auto:code", NONE, ACTIVE)
    )
    mine = auto.pool(state, "auto:mine", NONE, ACTIVE)
    assert len(mine) > PER_TIER
    assert all(name.startswith("claude-") for name in mine)
    with pytest.raises(ModelNotFound, match="'auto:code'"):
        auto.pool(state, "auto:cod", NONE, ACTIVE)


@pytest.mark.parametrize("dialect", sorted(BODIES))
def test_the_same_prompt_reads_the_same_in_every_api(dialect: str, state: State) -> None:
    auto = Auto()
    assert not auto.used
    assert auto.read(*a_call(dialect)) == auto.read(*a_call("openai_chat"))
    assert auto.used


def test_candidates_come_back_in_the_order_of_the_choice(state: State) -> None:
    auto = Auto()
    found = candidates(state, "claude-opus-4-1", "gpt-4o-mini", "gpt-4o")
    read = auto.read(*a_call())
    cheap, choice = auto.order(read, found, [900, 10, 300], dial=0)
    assert cheap == (1, 2, 0)
    assert [s.model for s in choice.ranked] == ["gpt-4o-mini", "gpt-4o", "claude-opus-4-1"]
    assert auto.order(read, found, [900, 10, 300], dial=10)[0][0] == 0
    assert choice.sample is not None
    auto.router.made(choice)
    assert auto.router.traffic.samples == (choice.sample,)


@pytest.mark.parametrize(("given", "meant"), [("0", 0.0), ("7.5", 7.5), ("10", 10.0)])
def test_the_dial_of_a_request(given: str, meant: float) -> None:
    assert read_dial(*a_call(headers={DIAL_HEADER: given})) == meant
    assert read_dial(*a_call(dial=float(given))) == meant
    assert read_dial(*a_call(headers={DIAL_HEADER: given}, dial=1)) == meant
    assert read_dial(*a_call()) is None


@pytest.mark.parametrize("wrong", ["11", "-1", "nan", "inf", "high", ""])
def test_a_dial_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidRequest, match="from 0 \\(cheapest\\) to 10"):
        read_dial(*a_call(headers={DIAL_HEADER: wrong}))
    with pytest.raises(InvalidRequest, match="'dial'"):
        read_dial(*a_call(dial=wrong))
    with pytest.raises(InvalidRequest):
        read_dial(*a_call(dial=True))


class Clock:
    def now_ms(self) -> int:
        return 1_800_000_000_000

    def monotonic_us(self) -> int:
        return 0


def test_what_was_learned_outlives_a_restart(state: State) -> None:
    async def go() -> None:
        books = MemoryBooks()
        auto = Auto()
        keeper = AutoKeeper(auto, books, Clock())
        await keeper.begin()
        assert not auto.used
        await keeper.close()
        assert await books.document(KIND, PLACE) is None
        found = candidates(state, "claude-opus-4-1", "gpt-4o-mini")
        for _ in range(2):  # the second time over what was there
            auto.router.made(auto.order(auto.read(*a_call()), found, [900, 10], dial=5)[1])
            await keeper.save()
            await keeper.save()
        document = await books.document(KIND, PLACE)
        assert document is not None
        assert document.version == 2
        assert b"prime" not in document.body
        again = Auto()
        other = AutoKeeper(again, books, Clock())
        await other.begin()
        assert again.router.traffic.samples == auto.router.traffic.samples
        await other.close()

    asyncio.run(go())
