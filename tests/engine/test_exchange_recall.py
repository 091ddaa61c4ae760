"""What an exchange remembers of its reply, and what it asks of what was remembered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from engine_kit import World, answer, ask, model, run

from llm_router.engine import recall

CALL = {"id": "call_a8sd7f6as", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURN = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": CALL["id"], "content": "r"}
THOUGHT = "Let me call f."


def stream() -> list[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        common = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "up"}
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return b"data: " + json.dumps({**common, "choices": choices}).encode() + b"\n\n"

    return [
        chunk({"role": "assistant", "reasoning_content": THOUGHT}),
        chunk({"tool_calls": [{"index": 0, **CALL}]}),
        chunk({}, "tool_calls"),
        b"data: [DONE]\n\n",
    ]


def follow_up() -> dict[str, Any]:
    question = ask("m1")["messages"]
    return ask("m1") | {"messages": [*question, TURN, RESULT]}


async def remembered(first: World) -> bool:
    """Whether a second exchange of the account sends what the first one heard."""
    second = World()
    second.engine.trying._attempts._recall = first.engine.recall
    second.upstream.scripts["p1"] = [answer(*stream())]
    await second.serve(follow_up())
    (request,) = second.upstream.requests
    message = json.loads(request.body)["messages"][-2]
    assert message == TURN | ({"reasoning_content": THOUGHT} if "reasoning_content" in message else {})
    return "reasoning_content" in message


def first_world(*pieces: bytes) -> World:
    world = World(model("m1", "p1", reasoning=True))
    world.upstream.scripts["p1"] = [answer(*pieces)]
    return world


def test_it_is_remembered_before_the_client_has_the_end() -> None:
    async def main() -> None:
        world = first_world(*stream())
        known: list[bool] = []
        finish = world.client.finish

        async def watched(data: bytes = b"") -> None:
            known.append(world.side_car.owns("acme"))
            await finish(data)

        world.client.finish = watched  # type: ignore[method-assign]
        await world.serve(ask("m1", stream=True))
        world.check()
        assert known == [True]
        assert await remembered(world)

    run(main())


@pytest.mark.parametrize("leave_at", [1, 2])
def test_a_client_that_left_a_whole_turn_finds_it_again(leave_at: int) -> None:
    async def main() -> None:
        first, *rest = stream()
        world = first_world(*([first, b"".join(rest)] if leave_at == 2 else [b"".join(stream())]))
        world.client.leave_at = leave_at
        await world.serve(ask("m1", stream=True))
        world.check()
        assert world.record.client_gone
        assert await remembered(world)

    run(main())


def test_a_turn_that_was_not_whole_is_not_remembered() -> None:
    async def main() -> None:
        cut = first_world(*stream()[:2])
        await cut.serve(ask("m1", stream=True))
        left = first_world(*stream())
        left.client.leave_at = 1
        await left.serve(ask("m1", stream=True))
        for world in (cut, left):
            assert not world.side_car.owns("acme")

    run(main())


def test_an_exchange_that_is_struck_at_any_await_leaves_all_in_order() -> None:
    async def main() -> None:
        calm = first_world(*stream())
        await calm.serve(ask("m1", stream=True))
        for number in range(1, len(calm.steps) + 1):
            world = first_world(*stream())

            def strike(at: int, task: asyncio.Task[Any], number: int = number) -> None:
                if at == number:
                    task.cancel()

            world.strike = strike
            await world.serve(ask("m1", stream=True))
            await world.until(lambda world=world: world.books.ledger.open_holds() == 0)  # type: ignore[misc]
            await world.engine.close()
            world.check()

    run(main())


def test_a_model_that_neither_reasons_nor_may_call_is_not_listened_to() -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [answer(*stream())]
        await world.serve(ask("m1", stream=True))
        assert not world.side_car.owns("acme")

    run(main())


def test_what_is_too_large_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        world = first_world(*stream())
        await world.serve(ask("m1", stream=True))
        assert not world.side_car.owns("acme")

    monkeypatch.setattr(recall, "KEPT_BYTES_MAX", 10)
    run(main())
