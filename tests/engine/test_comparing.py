"""Comparisons: several exchanges under one hold, each with its own lane, record and charge."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from engine_kit import (
    CUT,
    GRANT,
    FakeBooks,
    FakeClient,
    World,
    answer,
    anthropic_whole,
    events,
    model,
    refusal,
    run,
    whole,
)

from llm_router.domain.budget import Payer
from llm_router.domain.errors import InvalidRequest, MissingApiKey
from llm_router.domain.key import Key, Limits, key_digest
from llm_router.engine import upkeep
from llm_router.engine.comparing import MODELS_MAX, Comparing

KEY = b"sk-lr-test"
IN, OUT = 1_000_000, 2_000_000


def world_of(**state: Any) -> World:
    world = World(model("a", "p1"), model("b", "p2"), model("c", "p3"), model("claude", "anth"), **state)
    for name, texts in (("p1", ("One", " a")), ("p2", ("Two", " b")), ("p3", ("Three", " c"))):
        world.upstream.scripts[name] = [answer(*events(*texts))]
    world.upstream.scripts["anth"] = [answer(anthropic_whole())]
    return world


def body_of(*models: str, **members: Any) -> dict[str, Any]:
    return {"models": list(models), "messages": [{"role": "user", "content": "hi"}], **members}


async def compare(world: World, *models: str, headers: dict[str, str] | None = None, **members: Any) -> Any:
    """Run a comparison to its end; its JSON."""
    call = world.call(body_of(*models, **members), headers=headers or {})
    await Comparing(world.engine).serve(call, world.client)
    return world.client.json if not members.get("stream") else None


def check(world: World, lanes: int | None = None) -> None:
    """What holds after every comparison: all is settled, once, and the balance is what is left of it."""
    books = world.books
    assert books.ledger.open_holds() == 0, "a hold stayed open"
    ids = [record.id for record in books.settlements]
    assert len(ids) == len(set(ids))
    assert set(books.holds) <= set(ids)
    assert world.counters.admitted == world.counters.released
    assert world.counters.busy == 0
    assert all(reply.closed for reply in world.upstream.replies)
    assert books.available("acme") == GRANT - sum(r.cost_pusd for r in books.records.values())
    assert world.engine._running == {}
    if lanes is not None:
        assert len(books.records) == lanes
        assert len({record.comparison for record in books.records.values()}) == 1


def told(world: World) -> list[tuple[str, Any]]:
    """The events of a streamed comparison."""
    found = []
    for frame in world.client.data.decode().split("\n\n"):
        if not frame or frame.startswith(":"):
            continue
        name, _, data = frame.partition("\ndata: ")
        if not data:
            name, data = "", name.removeprefix("data: ")
        found.append((name.removeprefix("event: "), data if data == "[DONE]" else json.loads(data)))
    return found


def test_each_model_answers_in_its_lane_and_is_charged_for() -> None:
    async def main() -> None:
        world = world_of()
        got = await compare(world, "a", "b", "claude", max_tokens=100)
        lanes = got["lanes"]
        assert [(lane["lane"], lane["model"], lane["success"]) for lane in lanes] == [
            (0, "a", True),
            (1, "b", True),
            (2, "claude", True),
        ]
        assert [lane["response"]["choices"][0]["message"]["content"] for lane in lanes] == [
            "One a", "Two b", "Hello there",
        ]  # fmt: skip
        for lane in lanes:
            reply = lane["response"]
            assert reply["object"] == "chat.completion"
            assert reply["choices"][0]["finish_reason"] == "stop"
            assert reply["usage"]["total_tokens"] == 15
            assert reply["usage"]["cost"] == lane["cost"]
            assert "credits_remaining" in reply["usage"]
            assert lane["tokens"] == {"prompt": 10, "completion": 5, "total": 15}
            assert lane["first_token_ms"] <= lane["latency_ms"]
            record = world.books.records[lane["id"]]
            assert record.comparison == got["id"]
            assert record.cost_pusd == 10 * IN + 5 * OUT
        assert lanes[2]["answered_by"] == {"model": "claude", "provider": "anth"}
        each = Decimal(10 * IN + 5 * OUT) / 10**12
        assert Decimal(str(got["cost"])) == 3 * each
        assert Decimal(str(got["credits_remaining"])) == Decimal(GRANT) / 10**12 - 3 * each
        assert (got["object"], got["succeeded"], got["failed"]) == ("comparison", 3, 0)
        assert got["fastest"] in ("a", "b", "claude")
        assert got["cheapest"] == "a"  # of equals the first
        assert world.client.headers["x-comparison-id"] == got["id"]
        assert [json.loads(request.body).get("stream") for request in world.upstream.requests] == [True] * 3
        assert world.steps == []
        check(world, lanes=3)

    run(main())


def test_a_stream_tells_the_lanes_as_they_come_and_then_the_sum() -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p2"] = [refusal(400, "not like this")]
        await compare(world, "a", "b", "c", "nobody", stream=True)
        assert world.client.status == 200
        assert world.client.headers["content-type"].startswith("text/event-stream")
        seen = told(world)
        assert [name for name, _ in seen][-2:] == ["end", ""]
        assert seen[-1][1] == "[DONE]"
        for number, name, text in ((0, "a", "One a"), (2, "c", "Three c")):
            mine = [
                (event, value) for event, value in seen if event != "end" and value != "[DONE]"
                and value["lane"] == number
            ]  # fmt: skip
            assert all(value["model"] == name for _, value in mine)
            said = [
                choice["delta"].get("content") or ""
                for event, value in mine
                if event == "lane"
                for choice in value["chunk"]["choices"]
            ]
            assert "".join(said) == text
            assert mine[-1][0] == "lane_end"
            assert mine[-1][1]["success"]
            assert mine[-2][1]["chunk"]["usage"]["cost"] == mine[-1][1]["cost"]
        failed = {value["lane"]: value for name, value in seen if name == "lane_end" and not value["success"]}
        assert sorted(failed) == [1, 3]
        assert failed[1]["error"]["message"].endswith("not like this")
        assert (failed[3]["status"], failed[3]["error"]["code"]) == (404, "model_not_found")
        summary = seen[-2][1]
        assert (summary["succeeded"], summary["failed"]) == (2, 2)
        check(world)

    run(main())


def test_what_fails_in_one_lane_stays_in_it() -> None:
    async def main() -> None:
        world = world_of()
        world.keyring.keys[key_digest(KEY)] = Key(
            id="key_1", account="acme", name="k", prefix="sk", created_ms=0, models=("a", "b", "c")
        )
        world.upstream.scripts["p2"] = [answer(*events("Half", " of it")[:2], error=CUT)]
        got = await compare(world, "a", "b", "claude", "nobody")
        good, cut, forbidden, unknown = got["lanes"]
        assert good["success"]
        assert good["response"]["choices"][0]["message"]["content"] == "One a"
        assert not cut["success"]
        assert cut["error"]["code"]
        assert cut["cost"] == 0
        assert (forbidden["status"], forbidden["error"]["code"]) == (403, "model_not_allowed")
        assert (unknown["status"], unknown["error"]["code"]) == (404, "model_not_found")
        assert forbidden["id"] in world.books.records
        assert (got["succeeded"], got["failed"], got["fastest"], got["cheapest"]) == (1, 3, "a", "a")
        check(world, lanes=4)

    run(main())


@pytest.mark.parametrize(
    "body",
    [
        {},
        body_of(),
        body_of("a"),
        body_of("a", " a", "a"),
        body_of(*(f"m{n}" for n in range(100))),
        body_of(*(f"m{n}" for n in range(MODELS_MAX + 1))),
        {**body_of("a", "b"), "models": "a,b"},
        {**body_of("a", "b"), "models": ["a", 7]},
        {**body_of("a", "b"), "models": ["a", " "]},
        body_of("a", "b", model="c"),
        {"models": ["a", "b"]},
        body_of("a", "b", stream="yes"),
        body_of("a", "b", max_tokens=-1),
        b"[]",
        b"{",
    ],
)
def test_a_request_that_is_none_is_refused_before_anything_is_done(body: Any) -> None:
    async def main() -> None:
        world = world_of()
        with pytest.raises(InvalidRequest) as caught:
            await Comparing(world.engine).serve(world.call(body), world.client)
        assert str(caught.value)
        assert not world.client.started
        assert (world.books.records, world.upstream.requests) == ({}, [])
        check(world)

    run(main())


def test_who_has_no_key_hears_of_that_first() -> None:
    async def main() -> None:
        world = world_of()
        with pytest.raises(MissingApiKey):
            await Comparing(world.engine).serve(world.call(b"{", credential=None), world.client)

    run(main())


def test_a_model_that_is_named_twice_is_asked_once() -> None:
    async def main() -> None:
        world = world_of()
        got = await compare(world, "b", "a", "b", " a")
        assert [lane["model"] for lane in got["lanes"]] == ["b", "a"]
        check(world, lanes=2)

    run(main())


def test_credit_for_some_of_the_lanes_is_refused_as_a_whole_and_says_what_is_needed() -> None:
    async def main() -> None:
        held: list[int] = []
        first = world_of()
        before = first.books.available("acme")
        books = first.books

        async def noting(wanted: Any, payer: Payer, now_ms: int) -> int:
            held.append(sum(each.amount_pusd for each in wanted))
            return await FakeBooks.hold_all(books, wanted, payer, now_ms)

        books.hold_all = noting  # type: ignore[method-assign]
        await compare(first, "a", "b", "c", max_tokens=1000)
        (needed,) = held

        world = world_of(hold_wait_s=0.0)
        world.books.ledger.credit("acme", -(before - needed + 1))
        got = await compare(world, "a", "b", "c", max_tokens=1000)
        error = got["error"]
        assert (world.client.status, error["code"]) == (402, "insufficient_credits")
        assert Decimal(str(error["needed"])) == Decimal(needed) / 10**12
        assert Decimal(str(error["available"])) == Decimal(needed - 1) / 10**12
        assert error["affordable_max_tokens"] == 999
        assert world.upstream.requests == []
        assert world.books.ledger.open_holds() == 0
        assert world.books.available("acme") == needed - 1
        assert {record.error_code for record in world.books.records.values()} == {"insufficient_credits"}

        exact = world_of(hold_wait_s=0.0)
        exact.books.ledger.credit("acme", -(before - needed))
        assert (await compare(exact, "a", "b", "c", max_tokens=1000))["succeeded"] == 3

    run(main())


def test_without_a_limit_scarce_credit_is_shared_by_one_limit_for_all() -> None:
    async def main() -> None:
        world = world_of(hold_wait_s=0.0)
        left = 3 * 2000 * OUT
        world.books.ledger.credit("acme", left - GRANT)
        got = await compare(world, "a", "b", "c")
        assert got["succeeded"] == 3
        caps = {json.loads(request.body)["max_tokens"] for request in world.upstream.requests}
        assert len(caps) == 1
        assert caps.pop() == 1024
        assert [lane["max_tokens"] for lane in got["lanes"]] == [1024] * 3
        assert world.books.ledger.open_holds() == 0

        poor = world_of(hold_wait_s=0.0)
        poor.books.ledger.credit("acme", 3 * 300 * IN + 3 * 100 * OUT - GRANT)
        assert (await compare(poor, "a", "b", "c"))["succeeded"] == 3
        (cap,) = {json.loads(request.body)["max_tokens"] for request in poor.upstream.requests}
        assert 16 <= cap < 1024

        broke = world_of(hold_wait_s=0.0)
        broke.books.ledger.credit("acme", 100 - GRANT)
        assert (await compare(broke, "a", "b", "c"))["error"]["code"] == "insufficient_credits"
        assert broke.upstream.requests == []

    run(main())


def test_a_comparison_waits_for_credit_that_others_give_back() -> None:
    async def main() -> None:
        world = world_of(hold_wait_s=20.0)
        payer = Payer(account="acme", key="key_1")
        await world.books.hold("other", payer, GRANT - 1000, "v", 1)
        task = asyncio.ensure_future(compare(world, "a", "b", max_tokens=10))
        await world.until(lambda: not world.engine.holding.waiting.empty())
        assert world.upstream.requests == []
        world.books.ledger.settle("other", payer, 0, 1)
        world.books.holds.remove("other")
        world.engine.holding.waiting.freed("acme")
        assert (await task)["succeeded"] == 2
        check(world, lanes=2)

    run(main())


def test_the_maximum_of_a_request_bounds_all_its_lanes_together() -> None:
    async def main() -> None:
        world = world_of()
        dollars = Decimal(2 * 1000 * OUT) / 10**12  # of two lanes, but not of three
        headers = {"x-max-cost": format(dollars, "f")}
        got = await compare(world, "a", "b", "c", max_tokens=1000, headers=headers)
        assert (world.client.status, got["error"]["code"]) == (402, "max_cost_exceeded")
        assert Decimal(str(got["error"]["needed"])) > 3 * 1000 * OUT / Decimal(10**12)
        fit = got["error"]["affordable_max_tokens"]
        assert 0 < fit < 1000
        assert world.upstream.requests == []

        clamped = world_of()
        for name in ("p1", "p2", "p3"):  # bills more than was allowed
            clamped.upstream.scripts[name] = [answer(*events("x", tokens=(10, fit + 500)))]
        headers["x-max-cost-action"] = "clamp"
        got = await compare(clamped, "a", "b", "c", max_tokens=1000, headers=headers)
        sent = [json.loads(request.body)["max_tokens"] for request in clamped.upstream.requests]
        assert sent == [fit] * 3
        assert got["succeeded"] == 3
        assert 0 < Decimal(str(got["cost"])) <= dollars
        check(clamped, lanes=3)

    run(main())


@pytest.mark.parametrize("tenths", [1, 5, 12, 29])
def test_a_maximum_below_single_lanes_tells_what_all_of_them_need(tenths: int) -> None:
    """Also where a lane alone is above it: before, that lane's cost was told as if it were the sum."""

    async def main() -> None:
        asked = Decimal(1000 * OUT * tenths) / 10**13
        needed = {}
        for dollars in (Decimal("0.000000000001"), asked):
            world = world_of()
            headers = {"x-max-cost": format(dollars, "f")}
            got = await compare(world, "a", "b", "c", max_tokens=1000, headers=headers)
            assert got["error"]["code"] == "max_cost_exceeded"
            needed[dollars] = Decimal(str(got["error"]["needed"]))
        assert len(set(needed.values())) == 1
        assert needed[asked] > 3 * 1000 * OUT / Decimal(10**12)

        fit = got["error"]["affordable_max_tokens"]
        followed = world_of()
        headers = {"x-max-cost": format(asked, "f")}
        again = await compare(followed, "a", "b", "c", max_tokens=max(1, fit), headers=headers)
        assert (again.get("succeeded") == 3) == (fit > 0)

        clamped = world_of()
        headers["x-max-cost-action"] = "clamp"
        again = await compare(clamped, "a", "b", "c", max_tokens=1000, headers=headers)
        assert (again.get("succeeded") == 3) == (fit >= 16)
        if fit >= 16:
            sent = [json.loads(request.body)["max_tokens"] for request in clamped.upstream.requests]
            assert sent == [fit] * 3

    run(main())


def test_limits_count_each_lane_and_refuse_all_of_them() -> None:
    async def main() -> None:
        world = world_of()
        world.keyring.keys[key_digest(KEY)] = Key(
            id="key_1", account="acme", name="k", prefix="sk", created_ms=0, limits=Limits(concurrency=2)
        )
        got = await compare(world, "a", "b", "c")
        assert (world.client.status, got["error"]["code"]) == (429, "rate_limit_exceeded")
        assert "each of its models, here 3" in got["error"]["message"]
        assert "retry-after" in world.client.headers
        assert world.upstream.requests == []
        assert world.books.records == {}, "a flood of refusals leaves no record"
        check(world)

    run(main())


def test_a_session_that_is_used_up_refuses_the_comparison() -> None:
    async def main() -> None:
        world = world_of()
        headers = {"x-session-id": "s", "x-session-max-steps": "2"}
        got = await compare(world, "a", "b", "c", headers=headers)
        assert (world.client.status, got["error"]["code"]) == (409, "session_brake")
        assert world.upstream.requests == []
        world.client = FakeClient(world)
        assert (await compare(world, "a", "b", headers=headers))["succeeded"] == 2
        world.client = FakeClient(world)
        assert (await compare(world, "a", "b", headers=headers))["error"]["code"] == "session_brake"
        check(world)

    run(main())


def test_a_ledger_that_is_down_refuses_all_and_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "RETRY_S", 0)

    async def main() -> None:
        world = world_of()
        world.books.down = True
        got = await compare(world, "a", "b")
        assert (world.client.status, got["error"]["code"]) == (503, "ledger_unavailable")
        assert world.upstream.requests == []
        world.books.down = False
        await world.upkeep_done()
        check(world)

    run(main())


def test_a_client_that_leaves_ends_all_lanes_and_pays_for_what_came() -> None:
    async def main() -> None:
        world = world_of()
        hangs = asyncio.Event()
        step = world.step

        async def stuck(name: str) -> None:
            if name == "reply.chunk" and len(world.upstream.replies) == 2 and world.books.records:
                await hangs.wait()
            await step(name)

        world.step = stuck  # type: ignore[method-assign]
        world.upstream.scripts["p2"] = [answer(*(events(*("word",) * 50)))]
        call = world.call(body_of("a", "b", stream=True))
        task = asyncio.ensure_future(Comparing(world.engine).serve(call, world.client))
        await world.until(lambda: len(world.books.records) == 1 and world.client.data.count(b'"b"') > 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        paid, left = world.books.records.values()
        assert paid.cost_pusd == 10 * IN + 5 * OUT
        assert left.client_gone
        assert 0 < left.cost_pusd < 200 * OUT
        check(world, lanes=2)

    run(main())


@pytest.mark.parametrize("streamed", [False, True])
def test_struck_at_any_await_every_lane_is_settled_once(
    streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "RETRY_S", 0)

    async def main() -> None:
        number = struck = 0
        while True:
            world, task, seen = world_of(), None, 0
            number += 1

            async def step(name: str) -> None:
                nonlocal seen, struck
                seen += 1
                if seen == number and task is not None:  # noqa: B023 - of this round
                    task.cancel()  # noqa: B023
                    struck += 1
                await asyncio.sleep(0)

            world.step = step  # type: ignore[method-assign]
            call = world.call(body_of("a", "b", "nobody", stream=streamed))
            task = asyncio.ensure_future(Comparing(world.engine).serve(call, world.client))
            await asyncio.wait([task])
            if not task.cancelled():
                assert task.exception() is None
            await world.upkeep_done()
            check(world)
            if seen < number:
                break
        assert struck > 20

    run(main())


def test_a_gateway_that_stops_tells_every_lane() -> None:
    async def main() -> None:
        world = world_of()
        hangs = asyncio.Event()
        step = world.step

        async def stuck(name: str) -> None:
            await step(name)
            if name == "reply.chunk":
                await hangs.wait()

        world.step = stuck  # type: ignore[method-assign]
        task = asyncio.ensure_future(compare(world, "a", "b", stream=True))
        await world.until(lambda: len(world.upstream.replies) == 2)
        world.engine.stop()
        await task
        ends = [value for name, value in told(world) if name == "lane_end"]
        assert [end["success"] for end in ends] == [False, False]
        assert all(end["error"]["code"] == "overloaded" for end in ends)
        check(world, lanes=2)

    run(main())


def test_a_whole_reply_where_a_stream_was_asked_for_has_its_lane_too() -> None:
    async def main() -> None:
        world = world_of()
        world.upstream.scripts["p1"] = [answer(whole("All at once"))]
        got = await compare(world, "a", "b", stream_options={"include_usage": False}, n=1)
        assert got["lanes"][0]["response"]["choices"][0]["message"]["content"] == "All at once"
        check(world, lanes=2)

    run(main())


def test_silence_is_filled_while_lanes_wait() -> None:
    async def main() -> None:
        world = world_of(heartbeat_s=0.01)
        go = asyncio.Event()
        step = world.step

        async def stuck(name: str) -> None:
            await step(name)
            if name == "upstream.send":
                await go.wait()

        world.step = stuck  # type: ignore[method-assign]
        world.client.on_beat = lambda count: go.set() if count == 3 else None
        await compare(world, "a", "b", stream=True)
        assert world.client.beats >= 3
        assert world.client.data.startswith(b": heartbeat\n\n")
        assert told(world)[-1][1] == "[DONE]"
        check(world, lanes=2)

    run(main())


@pytest.mark.parametrize("legacy", [False, True])
def test_a_lane_has_the_reply_that_a_chat_of_its_own_would_have(legacy: bool) -> None:
    async def main() -> None:
        call = {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": "look", "arguments": '{"at":'},
        }
        more = {"index": 0, "function": {"arguments": '"x"}'}}

        def chunk(delta: dict[str, Any], finish: str | None = None, **members: Any) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            head = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "up"}
            return b"data: " + json.dumps({**head, "choices": [choice], **members}).encode() + b"\n\n"

        pieces = [
            chunk({"role": "assistant", "content": None}),
            chunk({"tool_calls": [call]}),
            chunk({"tool_calls": [more]}),
            chunk({}, "tool_calls"),
            *events()[-2:],
        ]
        message = {
            "role": "assistant", "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"x"}'}}],
        }  # fmt: skip
        full = json.loads(whole())
        full["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
        function = {"name": "look", "parameters": {"type": "object"}}
        tools: dict[str, Any] = (
            {"functions": [function]} if legacy else {"tools": [{"type": "function", "function": function}]}
        )

        world = world_of()
        world.upstream.scripts["p1"] = [answer(*pieces)]
        lane = (await compare(world, "a", "b", **tools))["lanes"][0]
        alone = world_of()
        alone.upstream.scripts["p1"] = [answer(json.dumps(full).encode())]
        await alone.serve({**body_of(**tools), "model": "a", "models": ["a"]})
        wanted = alone.client.json
        assert [lane["response"][name] for name in ("object", "model")] == [
            wanted[name] for name in ("object", "model")
        ]
        mine, theirs = lane["response"]["choices"][0], wanted["choices"][0]
        assert (
            mine["finish_reason"] == theirs["finish_reason"] == ("function_call" if legacy else "tool_calls")
        )
        kind = "function_call" if legacy else "tool_calls"
        assert mine["message"][kind] == theirs["message"][kind]

    run(main())
