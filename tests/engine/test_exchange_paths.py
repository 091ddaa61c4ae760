"""Every way through an exchange: held and settled once, attempts in order, counters given back once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_kit import (
    CUT,
    GRANT,
    KEY,
    SECRET,
    World,
    answer,
    anthropic_whole,
    ask,
    events,
    refusal,
    run,
    whole,
)

from llm_router.domain.errors import InvalidApiKey, UpstreamError, UpstreamKind
from llm_router.domain.key import Key, Limits, key_digest
from llm_router.engine import pump, upkeep
from llm_router.routing.continuing import Continuing
from llm_router.routing.retry import RetryRules
from llm_router.wire.dialects.registry import DIALECTS

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def good(stream: bool) -> Any:
    return answer(*events()) if stream else answer(whole())


@both_ways
def test_a_delivered_answer_is_charged_before_it_is_whole(stream: bool) -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [good(stream)]
        charged_at_end: list[int] = []
        finish = world.client.finish

        async def watched(data: bytes = b"") -> None:
            charged_at_end.append(len(world.books.settlements))
            await finish(data)

        world.client.finish = watched  # type: ignore[method-assign]
        await world.serve(ask("m1", stream=stream))
        world.check()
        assert charged_at_end == [1]
        assert world.client.status == 200
        usage = world.client.chunks[-1]["usage"] if stream else world.client.json["usage"]
        assert usage["cost"] == 0.00002
        assert usage["credits_remaining"] == 0.99998
        assert world.client.data.endswith(b"data: [DONE]\n\n") is stream
        record = world.books.settlements[0]
        assert (record.status, record.cost_pusd, record.finish) == (200, 20_000_000, "stop")
        assert [a.outcome for a in record.attempts] == ["delivered"]
        assert record == world.record

    run(main())


def _world_refused(case: str) -> tuple[World, dict[str, Any], dict[str, Any]]:
    world, body, call = World(), ask("m1", max_tokens=10), {}
    match case:
        case "no key":
            call = {"credential": None}
        case "wrong key":
            call = {"credential": b"sk-lr-other"}
        case "revoked key":
            _replace_key(world, revoked_ms=1)
        case "expired key":
            _replace_key(world, expires_ms=1)
        case "bad body":
            body = ask("m1", temperature=7)
        case "unknown model":
            body = ask("m-none")
        case "not allowed":
            _replace_key(world, models=("claude",))
        case "no credit":
            world.books.ledger.credit("acme", -GRANT + 100)
        case "rate limit":
            _replace_key(world, limits=Limits(tokens_per_minute=1))
        case "not configured":
            state = world.engine.state
            world.engine.state = type(state)(snapshot=state.snapshot, provider_keys={}, active=frozenset())
    return world, body, call


def _replace_key(world: World, **members: Any) -> None:
    key = Key(id="key_1", account="acme", name="k", prefix="sk", created_ms=0, **members)
    world.keyring.keys = {key_digest(b"sk-lr-test"): key}


@pytest.mark.parametrize(
    ("case", "status", "recorded"),
    [
        ("no key", 401, False),
        ("wrong key", 401, False),
        ("revoked key", 401, False),
        ("expired key", 401, False),
        ("bad body", 400, True),
        ("unknown model", 404, True),
        ("not allowed", 403, True),
        ("no credit", 402, True),
        ("rate limit", 429, False),
        ("not configured", 503, True),
    ],
)
def test_a_refusal_holds_nothing_and_calls_nobody(case: str, status: int, recorded: bool) -> None:
    async def main() -> None:
        world, body, call = _world_refused(case)
        before = world.books.available("acme")
        await world.serve(body, **call)
        assert world.client.status == status
        assert world.client.error["request_id"] == "gen-0000"
        assert world.books.holds == []
        assert world.upstream.requests == []
        assert len(world.books.settlements) == recorded
        assert world.books.available("acme") == before
        assert world.counters.admitted == world.counters.released
        assert world.record.status == status

    run(main())


# Attempts.


def test_at_most_so_many_calls_go_out_in_the_catalogue_s_order() -> None:
    async def main() -> None:
        world = World()
        for name in ("p1", "p2", "p3", "p4", "p5", "p6"):
            world.upstream.scripts[name] = [refusal(503, f"{name} is overloaded")]
        await world.serve(ask("m6"))
        world.check()
        assert world.upstream.asked == ["p1", "p2", "p3"]
        assert len(world.record.attempts) == RetryRules().attempts_max == 3
        assert world.client.status == 503
        assert "p3 is overloaded" in world.client.error["message"]

    run(main())


def test_the_client_s_own_dialect_comes_first() -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts["anth"] = [answer(anthropic_whole())]
        await world.serve(ask("mixed"))
        world.check()
        assert world.upstream.asked == ["p1", "anth"]
        assert world.client.headers["x-llm-router-provider"] == "anth"
        other = World()
        await other.serve({**ask("mixed"), "max_tokens": 5}, dialect=DIALECTS["anthropic_messages"])
        other.check()
        assert other.upstream.asked == ["anth", "gem", "p1"]

    run(main())


@pytest.mark.parametrize("status", [400, 422])
def test_an_error_of_the_request_itself_ends_the_plan(status: int) -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts |= {"p1": [refusal(status)], "p2": [good(False)]}
        await world.serve(ask("m2"))
        world.check()
        assert world.upstream.asked == ["p1"]
        assert world.client.status == status
        assert world.books.settlements[0].cost_pusd == 0

    run(main())


@both_ways
@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 413, 429, 500, 502, 503, 529])
def test_other_errors_go_to_the_next_one(stream: bool, status: int) -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts |= {"p1": [refusal(status)], "p2": [good(stream)]}
        await world.serve(ask("m2", stream=stream))
        world.check()
        assert world.upstream.asked == ["p1", "p2"]
        assert world.client.status == 200
        assert [a.outcome for a in world.record.attempts] == ["failed", "delivered"]
        assert [a.status for a in world.record.attempts] == [status, 200]
        assert world.record.error_code is None

    run(main())


def test_no_second_attempt_after_content_where_none_is_wanted() -> None:
    async def main() -> None:
        world = World(continuing=Continuing(mode="off"))
        world.upstream.scripts |= {"p1": [answer(*events()[:2], error=CUT)], "p2": [good(True)]}
        await world.serve(ask("m2", stream=True))
        world.check()
        assert world.upstream.asked == ["p1"]
        assert world.client.status == 200
        assert world.client.error["code"] == "upstream_truncated"
        assert b"[DONE]" not in world.client.data
        record = world.books.settlements[0]
        assert (record.cost_pusd, record.status, record.error_code) == (0, 200, "upstream_truncated")

    run(main())


def test_a_second_attempt_begins_from_the_client_s_own_request() -> None:
    async def main() -> None:
        world = World()
        world.upstream.scripts |= {"p1": [refusal(500)], "anth": [refusal(500)], "gem": [refusal(500)]}
        await world.serve(ask("mixed", stop=["x"], seed=3))
        bodies = [request.body for request in world.upstream.requests]
        assert [b"stop_sequences" in b for b in bodies] == [False, True, False]
        assert [b"stopSequences" in b for b in bodies] == [False, False, True]
        assert b'"seed":3' in bodies[0].replace(b" ", b"")
        assert world.record.losses == ()  # of the last attempt alone: Gemini takes both

    run(main())


def test_nothing_of_a_failed_attempt_is_said_of_the_next() -> None:
    async def main() -> None:
        world = World()
        preamble = events()[0]
        world.upstream.scripts["p1"] = [answer(preamble, error=CUT)]
        await world.serve(ask("m2", stream=True))
        world.check()
        first, second = world.record.attempts
        assert (first.upstream_id, second.upstream_id) == ("chatcmpl-up", None)
        assert world.record.reply_id is None
        assert world.client.status == 502

    run(main())


def test_media_are_fetched_once_for_all_attempts() -> None:
    async def main() -> None:
        image = [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]
        body = {**ask("sees"), "messages": [{"role": "user", "content": image}]}
        world = World()
        await world.serve(body)
        world.check()
        assert world.upstream.asked == ["anth", "gem"]
        assert world.fetcher.urls == ["https://x.test/a.png"]
        refused = World()
        refused.fetcher.refuse = True
        await refused.serve(body)
        refused.check()
        assert refused.fetcher.urls == ["https://x.test/a.png"]
        assert refused.upstream.requests == []
        assert refused.client.status == 400

    run(main())


def test_the_provider_s_credential_is_nowhere_in_what_comes_back() -> None:
    async def main() -> None:
        world = World()
        error = UpstreamError(
            f"key {SECRET}",
            kind=UpstreamKind.INVALID_REQUEST,
            param=SECRET,
            native_code=f"a-{SECRET}-b",
            native_type=SECRET,
            details={"a": [SECRET, {"b": SECRET, "n": 1}]},
        )
        world.upstream.scripts["p1"] = [answer(error=error)]
        await world.serve()
        assert SECRET.encode() not in world.client.data
        assert SECRET not in repr(world.record)
        assert world.client.error["a"] == ["[redacted]", {"b": "[redacted]", "n": 1}]

    run(main())


# A store that fails.


@both_ways
def test_without_a_hold_nothing_is_sent(stream: bool) -> None:
    async def main() -> None:
        world = World()
        world.books.down = True
        await world.serve(ask("m1", stream=stream))
        assert world.client.status == 503
        assert world.client.error["code"] == "ledger_unavailable"
        assert world.upstream.requests == []
        assert world.counters.admitted == world.counters.released == 1

    run(main())


@both_ways
def test_without_a_settlement_the_answer_is_an_error(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was charged, so the answer is not given; the hold is voided when the store is back."""
    monkeypatch.setattr(upkeep, "RETRY_S", 0)

    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [good(stream)]
        world.books.fail_settlements = 3
        await world.serve(ask("m1", stream=stream))
        assert world.client.status == (200 if stream else 503)
        assert world.client.error["code"] == "ledger_unavailable"
        assert b"[DONE]" not in world.client.data
        await world.upkeep_done()
        world.check()
        assert world.books.available("acme") == GRANT
        assert world.books.settlements[0].flags[-1] == upkeep.FLAG_VOIDED

    run(main())


def test_a_refusal_is_told_as_it_is_when_the_store_is_down() -> None:
    async def main() -> None:
        world = World()
        world.books.down = True
        await world.serve(ask("m-none"))
        assert world.client.status == 404
        assert world.engine.upkeep._task is None

    run(main())


def test_a_provider_s_error_is_told_as_it_is_when_the_store_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "RETRY_S", 0)

    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [refusal(400, "too hot")]
        world.books.fail_settlements = 1
        await world.serve(ask("m1"))
        assert world.client.status == 400
        await world.upkeep_done()
        world.check()

    run(main())


def test_a_client_that_leaves_during_a_failing_settlement_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The settlement is on its way, nobody waits for it, and then the store refuses it."""
    monkeypatch.setattr(upkeep, "RETRY_S", 0)

    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [good(False)]
        real = world.books.settle

        async def refused_later(record: Any) -> int:
            world.books.settle = real  # type: ignore[method-assign]
            world.task.cancel()
            await asyncio.sleep(0)
            raise AssertionError("nobody waits any more")

        world.books.settle = refused_later  # type: ignore[method-assign]
        await world.serve(ask("m1"))
        await world.upkeep_done()
        world.check()
        assert world.books.settlements[0].cost_pusd == 20_000_000

    run(main())


def test_a_bug_of_ours_costs_the_client_nothing() -> None:
    class Broken:
        def __init__(self, real: Any) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def feed(self, data: bytes) -> bytes:
            out: bytes = self._real.feed(data)
            if b"there" in data:
                raise KeyError("a bug")
            return out

    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [answer(*events())]
        dialect = world.call().dialect
        context = dialect.pass_relay
        changed = {name: getattr(dialect, name) for name in dialect.__struct_fields__}
        changed["pass_relay"] = lambda c: Broken(context(c))
        with pytest.raises(KeyError):
            await world.serve(ask("m1", stream=True), dialect=type(dialect)(**changed))
        world.check()
        record = world.books.settlements[0]
        assert (record.cost_pusd, record.error_code) == (0, "server_error")

    run(main())


# Heartbeats.


def test_heartbeats_until_the_first_content() -> None:
    async def main() -> None:
        world = World(heartbeat_s=0.005)
        enough = asyncio.Event()
        world.client.on_beat = lambda count: enough.set() if count == 3 else None
        send = world.upstream.send

        async def slow(*arguments: Any) -> Any:
            await enough.wait()
            return await send(*arguments)

        world.upstream.send = slow  # type: ignore[method-assign]
        world.upstream.scripts["p1"] = [good(True)]
        await world.serve(ask("m1", stream=True))
        world.check()
        assert world.client.beats >= 3
        assert world.client.data.startswith(b": heartbeat\n\n")
        assert world.client.data.endswith(b"data: [DONE]\n\n")

    run(main())


def test_an_error_after_a_heartbeat_is_told_within_the_stream() -> None:
    async def main() -> None:
        world = World(heartbeat_s=0.005)
        enough = asyncio.Event()
        world.client.on_beat = lambda count: enough.set()
        send = world.upstream.send

        async def slow(*arguments: Any) -> Any:
            await enough.wait()
            return await send(*arguments)

        world.upstream.send = slow  # type: ignore[method-assign]
        world.upstream.scripts["p1"] = [refusal(401, "who are you")]
        await world.serve(ask("m1", stream=True))
        world.check()
        assert world.client.status == 200
        assert world.client.error["code"] == "upstream_authentication"
        assert b"[DONE]" not in world.client.data

    run(main())


def test_no_heartbeat_after_the_end() -> None:
    """The timer has fired, its task has not run yet, and the answer is complete."""

    async def main() -> None:
        world = World(heartbeat_s=30)
        world.upstream.scripts["p1"] = [good(True)]
        await world.serve(ask("m1", stream=True))
        track: Any = type(
            "Track", (), {"client": world.client, "call": world.call(), "state": world.engine.state}
        )
        heart = pump._Heart(track, 30)
        world.client.last_sent_s = -1000.0
        heart._due()
        heart.stop()
        assert heart._timer.cancelled()
        assert heart._beat is not None
        await heart._beat
        assert world.client.beats == 0

    run(main())


# Stopping.


@both_ways
def test_stop_tells_the_client_and_settles(stream: bool) -> None:
    async def main() -> None:
        world = World()
        never = asyncio.Event()

        class Hanging:
            status = 200
            headers: dict[str, str] = {}
            closed = 0

            def expect_content(self, *, more: bool) -> None: ...

            async def chunks(self) -> Any:
                for piece in events()[:2]:
                    yield piece
                await never.wait()

            async def read(self, bytes_max: int) -> bytes:
                await never.wait()
                return b""

            async def close(self) -> None:
                self.closed += 1

        world.upstream.scripts["p1"] = [lambda w: Hanging()]  # type: ignore[list-item,return-value]
        world.task = asyncio.ensure_future(
            world.engine.serve(world.call(ask("m1", stream=stream)), world.client)
        )
        await world.until(lambda: bool(world.client.data if stream else world.upstream.replies))
        world.engine.stop()
        world.engine.stop()
        await world.task
        world.check()
        assert not world.task.cancelling()
        assert world.client.finished
        assert world.client.status == (200 if stream else 503)
        assert world.client.error["code"] == "overloaded"
        assert world.books.settlements[0].cost_pusd == 0
        assert world.books.settlements[0].client_gone is False

    run(main())


def test_the_key_is_looked_up_once() -> None:
    """The edge looks before it reads the body, and hands on what it found: a key, or why there is none."""

    async def main() -> None:
        world = World()
        world.upstream.scripts["p1"] = [answer(whole())]
        key = world.keyring.keys[key_digest(KEY)]
        await world.serve(ask("m1"), key=key)
        assert world.client.status == 200
        assert "keyring.find" not in world.steps
        world.check()
        other = World()
        await other.serve(ask("m1"), key=InvalidApiKey("no"))
        assert (other.client.status, other.steps.count("keyring.find")) == (401, 0)
        assert other.client.json["error"]["code"] == "invalid_api_key"

    run(main())
