"""Clients that leave, stall and overload. Afterwards no credit is held and the next request works."""

from __future__ import annotations

import asyncio
import socket
import threading
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import WAIT_S, Gateway, body_of, status_of
from scripted_upstream import (
    DIALECTS,
    LETTERS,
    Peer,
    ScriptedUpstream,
    answers,
    frames,
    head,
    http,
    stalls,
    whole,
)

GPT = "openai/gpt-4o-mini"
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=["openai", "anthropic", "gemini"])
both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


def record_of_log(gateway: Gateway, line: str) -> Any:
    return gateway.generation(line.split()[0])


def assert_alive(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """The next request works, at its price."""
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    assert gateway.chat("mo").status == 200


def test_leaving_before_the_body_is_whole(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    before = hostile.credits()
    body = body_of("mo")
    for size in range(0, len(body), 7):
        with socket.create_connection(("127.0.0.1", hostile.port), WAIT_S) as connection:
            connection.sendall(hostile.head(len(body)) + body[:size])
    assert_alive(hostile, upstream)
    assert len(upstream.requests) == 1
    assert before - hostile.credits() == Decimal("0.00002")


@every_dialect
@both_ways
def test_leaving_while_the_provider_thinks(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}1", stalls())
    before, mark = hostile.credits(), hostile.log.mark()
    with socket.create_connection(("127.0.0.1", hostile.port), WAIT_S) as connection:
        body = body_of(f"m{letter}", stream=streamed)
        connection.sendall(hostile.head(len(body)) + body)
        upstream.wait(1)
    assert upstream.requests[0].gone.wait(WAIT_S), "the call to the provider was not given up"
    (line,) = hostile.log.wait("client_gone", mark)
    record = record_of_log(hostile, line)
    assert record["status"] == 499
    assert record["client_gone"] is True
    assert record["cost_pusd"] == 0
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["aborted"]
    assert hostile.credits() == before


@every_dialect
def test_leaving_in_the_middle_of_a_stream(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    """The provider's work ends, and what was delivered is charged, marked as estimated."""
    letter = LETTERS[dialect]
    events = frames(dialect, "The quick brown fox ", "jumps over the lazy dog", "and so on")
    upstream.play(f"{letter}1", stalls(head(200), *events[: len(events) // 2 + 1]))
    before, mark = hostile.credits(), hostile.log.mark()
    hostile.hang_up(body_of(f"m{letter}", stream=True), b"quick brown")
    assert upstream.wait(1)[0].gone.wait(WAIT_S)
    (line,) = hostile.log.wait("client_gone", mark)
    record = record_of_log(hostile, line)
    assert record["usage"]["provenance"] == "estimated"
    assert record["usage"]["prompt_tokens"] > 0
    assert record["usage"]["completion_tokens"] >= 4
    assert 0 < record["cost_pusd"] < 100_000_000
    assert before - hostile.credits() == Decimal(record["cost_pusd"]) / 10**12
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["aborted"]


def test_two_hundred_clients_that_leave_at_once(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    """At all moments: in the request, in the wait, in the stream. Then the books add up to the last."""
    count = 200
    upstream.play("o1", _half_a_stream)
    before, mark = hostile.credits(), hostile.log.mark()

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", hostile.port)
        body = body_of("mo", stream=number % 5 != 0, text=f"request {number}")
        writer.write(hostile.head(len(body)) + body)
        await writer.drain()
        if number % 4 == 1:
            await reader.readuntil(b"\r\n\r\n")
        if number % 4 == 2:
            await reader.readuntil(b"one")
        if number % 4 == 3:
            await reader.readuntil(b"[DONE]")
        writer.close()

    async def main() -> None:
        results = await asyncio.gather(*(one(n) for n in range(count)), return_exceptions=True)
        assert [r for r in results if isinstance(r, Exception) and not isinstance(r, EOFError)] == []

    asyncio.run(main())
    lines = hostile.log.wait("gen-", mark, count)
    records = [record_of_log(hostile, line) for line in lines]
    assert len({record["id"] for record in records}) == count
    cost = sum(record["cost_pusd"] for record in records)
    assert before - hostile.credits() == Decimal(cost) / 10**12
    assert any(record.get("client_gone") for record in records)
    assert_alive(hostile, upstream)


async def _half_a_stream(peer: Peer) -> None:
    """One word, and the rest after a moment; whole replies likewise."""
    if peer.seen.json.get("stream"):
        events = frames("openai_chat", "one ", "two ", "three")
        await peer.send(head(200), *events[:2])
        await asyncio.sleep(0.05)
        await peer.send(*events[2:])
    else:
        await asyncio.sleep(0.05)
        await peer.send(http(200, whole("openai_chat", "one [DONE]")))


def test_a_slow_reader_slows_the_provider_and_loses_nothing(
    hostile: Gateway, upstream: ScriptedUpstream
) -> None:
    """The gateway does not store what the client does not read."""
    blocked = threading.Event()
    sent = 0
    piece = frames("openai_chat", "x" * 50_000)[1]
    count = 1200  # 60 MB

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.send(head(200), frames("openai_chat")[0])
        for _ in range(count):
            task = asyncio.ensure_future(peer.send(piece))
            done, _ = await asyncio.wait([task], timeout=1)
            if not done:
                blocked.set()
                await task
            sent += len(piece)
        await peer.send(*frames("openai_chat")[-3:])

    upstream.play("o1", script)
    with socket.create_connection(("127.0.0.1", hostile.port), WAIT_S) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        body = body_of("mo", stream=True)
        connection.sendall(hostile.head(len(body), "connection: close") + body)
        assert blocked.wait(WAIT_S), "the provider was never slowed down"
        # The kernel's buffers of two connections are in it; on a busy machine it lets one grow to 32 MB.
        assert sent < 45_000_000, f"{sent} bytes were taken from the provider and stored"
        received = 0
        tail = b""
        while data := connection.recv(1 << 20):
            received += len(data)
            tail = (tail + data)[-4096:]
    assert b"[DONE]" in tail
    assert received > count * 50_000


# Limits.


def held_open(
    gateway: Gateway, upstream: ScriptedUpstream, count: int, key: str | None = None
) -> list[socket.socket]:
    """So many requests that wait for their provider."""
    upstream.play("o1", stalls())
    body = body_of("mo")
    open_: list[socket.socket] = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", gateway.port), WAIT_S)
        connection.sendall(gateway.head(len(body), key=key) + body)
        open_.append(connection)
    upstream.wait(count)
    return open_


def test_too_many_requests_at_once_are_refused_at_once(small: Gateway, upstream: ScriptedUpstream) -> None:
    mark = small.log.mark()
    connections = held_open(small, upstream, 12)
    answer = small.chat("mo")
    assert answer.status == 503
    assert answer.error["code"] == "overloaded"
    assert answer.headers["retry-after"] == "1"
    assert small.get("/v1/models").status == 200, "only inference is limited"
    for connection in connections:
        connection.close()
    small.log.wait("client_gone", mark, 12)
    assert_alive(small, upstream)


def test_the_concurrency_of_a_key_is_limited(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    key = hostile.new_key("two", concurrency=2)
    mark = hostile.log.mark()
    connections = held_open(hostile, upstream, 2, key)
    answer = hostile.chat("mo", key=key)
    assert answer.status == 429
    assert answer.error["code"] == "rate_limit_exceeded"
    assert answer.headers["retry-after"] == "1"
    assert len(upstream.requests) == 2
    for connection in connections:
        connection.close()
    hostile.log.wait("client_gone", mark, 2)
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    assert [hostile.chat("mo", key=key).status for _ in range(5)] == [200] * 5


def test_requests_a_minute(sandbox: Gateway) -> None:
    key = sandbox.new_key("rpm", requests_per_minute=3)
    left = []
    for _ in range(3):
        answer = sandbox.chat(GPT, key=key)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        left.append(answer.headers["x-ratelimit-remaining-requests"])
    assert left == ["2", "1", "0"]
    refused = sandbox.chat(GPT, key=key)
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert "3 requests a minute" in refused.error["message"]
    assert sandbox.chat(GPT).status == 200, "another key has its own window"


def test_tokens_a_minute(sandbox: Gateway) -> None:
    key = sandbox.new_key("tpm", tokens_per_minute=500)
    assert sandbox.chat(GPT, key=key, max_tokens=400).status == 200
    answer = sandbox.chat(GPT, key=key, max_tokens=10_000)
    assert answer.status == 429
    assert answer.headers["x-ratelimit-limit-tokens"] == "500"
    # The first one gave back what it did not use.
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) > 300


def test_the_last_credit_is_taken_once(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    """Sixty requests at once, with credit for three: three pass."""
    release = asyncio.Event()

    async def script(peer: Peer) -> None:
        await release.wait()
        await peer.send(http(200, whole("openai_chat")))

    upstream.play("o1", script)
    account = "last"
    probe = hostile.new_key("empty", account="empty-one")
    needed = Decimal(hostile.chat("mo", key=probe, max_tokens=1000).error["needed"])
    hostile.command("credits.add", amount=str(needed * 3), account=account)
    key = hostile.new_key(account, account=account)
    body = body_of("mo", max_tokens=1000)
    statuses: list[int] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", hostile.port)
        writer.write(hostile.head(len(body), "connection: close", key=key) + body)
        reply = await reader.read()
        statuses.append(status_of(reply))
        if statuses.count(402) == 57:
            upstream._loop.call_soon_threadsafe(release.set)
        writer.close()

    async def main() -> None:
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*(one() for _ in range(60)))

    asyncio.run(main())
    assert sorted(statuses) == [200] * 3 + [402] * 57
    assert len(upstream.requests) == 3
    assert hostile.credits(account) == needed * 3 - 3 * Decimal("0.00002")


def test_402_says_what_would_fit(sandbox: Gateway) -> None:
    sandbox.command("credits.add", amount="0.001", account="thin")
    key = sandbox.new_key("thin", account="thin")
    answer = sandbox.chat(GPT, key=key, max_tokens=16_000)
    assert answer.status == 402
    error = answer.error
    assert Decimal(error["needed"]) > Decimal(error["available"]) == Decimal("0.001")
    affordable = error["affordable_max_tokens"]
    assert affordable > 0
    assert str(affordable) in error["message"]
    assert sandbox.chat(GPT, key=key, max_tokens=affordable + 1).status == 402
    assert sandbox.chat(GPT, key=key, max_tokens=affordable).status == 200


def test_a_request_without_a_limit_gets_the_one_it_can_afford(sandbox: Gateway) -> None:
    sandbox.command("credits.add", amount="0.001", account="clamped")
    key = sandbox.new_key("clamped", account="clamped")
    answer = sandbox.chat(GPT, "[[long 90000]] go on", key=key)
    assert answer.status == 200
    cap = int(answer.headers["x-llm-router-max-tokens"])
    assert answer.json["usage"]["completion_tokens"] == cap
    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert sandbox.credits("clamped") >= 0


# Heartbeats.


@every_dialect
def test_a_silent_stream_is_kept_alive_and_then_answered(
    small: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]

    async def script(peer: Peer) -> None:
        await asyncio.sleep(0.7)
        await peer.send(head(200), *frames(dialect))

    upstream.play(f"{letter}1", script)
    answer = small.stream(f"m{letter}")
    assert answer.status == 200
    assert answer.comments >= 2
    assert answer.text == "Hello there"
    assert answer.done


@every_dialect
def test_an_error_after_a_heartbeat_is_an_error_chunk(
    small: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]

    async def script(peer: Peer) -> None:
        await asyncio.sleep(0.5)
        await peer.send(http(400, b'{"error": {"message": "it is not so"}}'))

    upstream.play(f"{letter}1", script)
    before = small.credits()
    answer = small.stream(f"m{letter}")
    assert answer.status == 200
    assert answer.comments >= 1
    assert "it is not so" in answer.failure["message"]
    assert answer.failure["request_id"] == answer.id
    assert not answer.done
    assert small.credits() == before


def test_a_whole_reply_has_no_heartbeat(small: Gateway, upstream: ScriptedUpstream) -> None:
    async def script(peer: Peer) -> None:
        await asyncio.sleep(0.5)
        await peer.send(http(200, whole("openai_chat")))

    upstream.play("o1", script)
    answer = small.chat("mo")
    assert answer.json["choices"][0]["message"]["content"] == "Hello there"
