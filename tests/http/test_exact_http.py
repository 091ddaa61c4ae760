"""What HTTP leaves no doubt about is answered, and what it does is refused: heads that two servers could read in two
ways, garbage behind a request, and clients that end their sending side while they wait."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import WAIT_S, Gateway, body_of
from scripted_upstream import Peer, ScriptedUpstream, answers, frames, head, http, stalls, whole

ORDINARY = "x-llm-router-strict: false"
"""Keeps a request off the fast lane, and changes nothing else."""

both_lanes = pytest.mark.parametrize("more", [(), (ORDINARY,)], ids=["fast", "ordinary"])
both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


def replies(data: bytes) -> list[tuple[int, bytes]]:
    """The replies in what a connection gave, interim ones left out: their status and the rest of their bytes."""
    pieces = re.split(rb"HTTP/1\.1 ([0-9]{3}) ", data)[1:]
    found = zip(map(int, pieces[::2]), pieces[1::2], strict=True)
    return [(status, reply) for status, reply in found if status != 100]


def error_of(reply: bytes) -> Any:
    return json.loads(reply.split(b"\r\n\r\n", 1)[1])["error"]


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("host: elsewhere", "Host"),
        ("transfer-encoding: gzip, chunked", "gzip, chunked"),
        ("transfer-encoding: gzip\r\ntransfer-encoding: chunked", "gzip, chunked"),
        ("transfer-encoding: gzip", "gzip"),
        ("transfer-encoding: identity", "identity"),
        ("transfer-encoding: xchunked", "xchunked"),
        ("transfer-encoding: chunked, chunked", "Transfer-Encoding"),
        ("transfer-encoding: chunked\r\ncontent-length: 5", "Content-Length"),
        ("content-length: 5\r\ntransfer-encoding: chunked", "Transfer-Encoding"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_what_could_be_read_in_two_ways_is_refused(sandbox: Gateway, path: str, line: str, says: str) -> None:
    body, before = body_of("gpt-4o-mini", max_tokens=20), sandbox.credits()
    named = "transfer-encoding" in line
    sent = sandbox.head(None if named else len(body), line).replace(b"/v1/chat/completions", path.encode())
    behind = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    (found,) = replies(sandbox.raw(sent + (chunked(body) if named else body) + behind))
    assert found[0] == 400
    error = error_of(found[1])
    assert error["type"] == "invalid_request_error"
    assert says in error["message"]
    assert ("request_id" in error) == (path == "/v1/chat/completions")  # each API has its own form
    assert sandbox.credits() == before


def test_a_chunked_body_is_taken(sandbox: Gateway) -> None:
    body = body_of("gpt-4o-mini")
    sent = sandbox.head(None, "transfer-encoding: Chunked", "connection: close") + chunked(body)
    assert [status for status, _ in replies(sandbox.raw(sent))] == [200]


@both_lanes
@both_ways
def test_garbage_behind_a_request_takes_nothing_from_it(
    sandbox: Gateway, streamed: bool, more: tuple[str, ...]
) -> None:
    body = body_of("gpt-4o-mini", stream=streamed)
    found = replies(sandbox.raw(sandbox.head(len(body), *more) + body + b"no HTTP at all\r\n\r\n"))
    assert [status for status, _ in found] == [200, 400]
    assert b'"credits_remaining"' in found[0][1]
    assert error_of(found[1][1])["code"] == "invalid_request"


@both_lanes
def test_all_that_was_sent_before_garbage_is_answered(sandbox: Gateway, more: tuple[str, ...]) -> None:
    body = body_of("gpt-4o-mini")
    one = sandbox.head(len(body), *more) + body
    found = replies(sandbox.raw(one * 3 + b"\x00\x01\x02"))
    assert [status for status, _ in found] == [200, 200, 200, 400]


def test_a_broken_body_behind_a_request_takes_nothing_from_it(sandbox: Gateway) -> None:
    body = body_of("gpt-4o-mini")
    one = sandbox.head(len(body)) + body
    broken = sandbox.head(None, "transfer-encoding: chunked") + b'5\r\n{"a"xnope\r\n'
    assert [status for status, _ in replies(sandbox.raw(one + broken))] == [200, 400]
    assert [status for status, _ in replies(sandbox.raw(one + one + broken))] == [200, 200, 400]


def test_garbage_is_refused_in_the_words_of_the_request_before_it(sandbox: Gateway) -> None:
    body = body_of("claude-sonnet-4.5", max_tokens=20)
    for more in ((), (ORDINARY,)):
        sent = sandbox.head(len(body), *more).replace(b"/v1/chat/completions", b"/v1/messages") + body
        found = replies(sandbox.raw(sent + b"no HTTP at all\r\n\r\n"))
        assert [status for status, _ in found] == [200, 400]
        assert json.loads(found[1][1].split(b"\r\n\r\n", 1)[1])["type"] == "error"


def half_closed(gateway: Gateway, *pieces: bytes) -> bytes:
    """Send, end the sending side, and read to the end."""
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while data := connection.recv(65536):
            received += data
        return received


@both_lanes
@both_ways
def test_who_ends_its_sending_side_is_answered(
    hostile: Gateway, upstream: ScriptedUpstream, streamed: bool, more: tuple[str, ...]
) -> None:
    """After a while in which the provider says nothing, and within the answer."""
    asked, go_on = asyncio.Event(), asyncio.Event()
    loop = upstream._loop

    async def waits(peer: Peer) -> None:
        events = frames("openai_chat", "one ", "two ", "three") if streamed else []
        await peer.send(*([head(200), *events[:2]] if streamed else []))
        asked.set()
        await go_on.wait()
        await peer.send(*(events[2:] if streamed else [http(200, whole("openai_chat", "one two three"))]))

    upstream.play("o1", waits)
    body = body_of("mo", stream=streamed)
    with socket.create_connection(("127.0.0.1", hostile.port), WAIT_S) as connection:
        connection.sendall(hostile.head(len(body), *more) + body)
        connection.shutdown(socket.SHUT_WR)
        asyncio.run_coroutine_threadsafe(asked.wait(), loop).result(WAIT_S)
        received = b""
        while (b"one " if streamed else b"HTTP/1.1 100 Continue") not in received:
            data = connection.recv(65536)
            assert data, received
            received += data
        if streamed:
            while b"0" not in received.rpartition(b"\r\n")[2]:  # the first digit of the next chunk's size
                received += connection.recv(65536)
        loop.call_soon_threadsafe(go_on.set)
        while data := connection.recv(65536):
            received += data
    ((status, reply),) = replies(received)
    assert status == 200
    if streamed:
        assert dechunked(reply).rstrip().endswith(b"data: [DONE]")
        assert b"three" in dechunked(reply)
    else:
        assert (
            json.loads(reply.split(b"\r\n\r\n", 1)[1])["choices"][0]["message"]["content"] == "one two three"
        )


def dechunked(reply: bytes) -> bytes:
    """The body of a chunked reply, read as the standard says, to its last chunk."""
    rest, body = reply.split(b"\r\n\r\n", 1)[1], b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        assert size.isalnum(), size
        length = int(size, 16)
        if length == 0:
            assert rest == b"\r\n"
            return body
        assert rest[length : length + 2] == b"\r\n"
        body, rest = body + rest[:length], rest[length + 2 :]


@both_lanes
def test_several_requests_before_the_sending_side_ends(sandbox: Gateway, more: tuple[str, ...]) -> None:
    body = body_of("gpt-4o-mini")
    one = sandbox.head(len(body), *more) + body
    assert [status for status, _ in replies(half_closed(sandbox, one * 3))] == [200] * 3
    assert [status for status, _ in replies(half_closed(sandbox, one + one[:-9]))] == [200]
    assert [status for status, _ in replies(half_closed(sandbox, one + b"no HTTP\r\n\r\n"))] == [200, 400]


def test_a_request_that_is_not_whole_is_none(sandbox: Gateway) -> None:
    body, before = body_of("gpt-4o-mini"), sandbox.credits()
    one = sandbox.head(len(body)) + body
    for size in (1, 30, len(one) - len(body), len(one) - 1):
        assert replies(half_closed(sandbox, one[:size])) == []
    assert sandbox.credits() == before


@pytest.fixture
def thinking(upstream: ScriptedUpstream) -> ScriptedUpstream:
    """A provider that never answers, and then one that does."""
    upstream.play("o1", stalls(), answers(http(200, whole("openai_chat"))))
    return upstream


@both_lanes
def test_who_ends_its_sending_side_and_then_leaves_has_left(
    hostile: Gateway, thinking: ScriptedUpstream, more: tuple[str, ...]
) -> None:
    before, mark, body = hostile.credits(), hostile.log.mark(), body_of("mo")
    with socket.create_connection(("127.0.0.1", hostile.port), WAIT_S) as connection:
        connection.sendall(hostile.head(len(body), *more) + body)
        connection.shutdown(socket.SHUT_WR)
        thinking.wait(1)
    assert thinking.requests[0].gone.wait(WAIT_S), "the call to the provider was not given up"
    (line,) = hostile.log.wait("client_gone", mark)
    assert hostile.generation(line.split()[0])["cost_pusd"] == 0
    assert hostile.credits() == before
    assert hostile.chat("mo").status == 200
    assert before - hostile.credits() == Decimal("0.00002")


async def _on_and_on(peer: Peer) -> None:
    """A stream that ends when the gateway gives it up."""
    events = frames("openai_chat", "The quick brown fox ", *("jumps over the lazy dog ",) * 10_000)
    await peer.send(head(200), *events[:4])
    for event in events[4:-2]:
        if peer.closing:
            break
        await peer.send(event)
        await asyncio.sleep(0.005)
    await peer.gone()


@both_lanes
def test_who_leaves_with_a_request_behind_another_has_left_both(
    hostile: Gateway, upstream: ScriptedUpstream, more: tuple[str, ...]
) -> None:
    """What was delivered of the first is charged; the second never begins."""
    upstream.play("o1", _on_and_on, answers(http(200, whole("openai_chat"))))
    before, mark, body = hostile.credits(), hostile.log.mark(), body_of("mo", stream=True)
    one = hostile.head(len(body), *more) + body
    with socket.create_connection(("127.0.0.1", hostile.port), WAIT_S) as connection:
        connection.sendall(one + one)
        received = b""
        while b"quick brown" not in received:
            received += connection.recv(65536)
    assert upstream.wait(1)[0].gone.wait(WAIT_S), "the call to the provider was not given up"
    (line,) = hostile.log.wait("client_gone", mark)
    record = hostile.generation(line.split()[0])
    assert record["usage"]["provenance"] == "estimated"
    assert before - hostile.credits() == Decimal(record["cost_pusd"]) / 10**12 > 0
    assert hostile.chat("mo").status == 200
    assert len(upstream.requests) == 2
