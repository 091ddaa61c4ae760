"""What connections may take of a gateway: bytes, fields, time and places, and who is told what."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import WAIT_S, Gateway, body_of, status_of, until
from scripted_upstream import Peer, ScriptedUpstream, answers, config_for, frames, head, http, whole

from llm_router.edge.bounds import EXCESS_MAX, Bounds, Guards, Place

NORMAL = {"connect_s": 5, "first_byte_s": 30, "idle_s": 30, "total_s": 60}
STRICT = """[server]
header_bytes_max = 8192
headers_max = 50
unread_s = 0.5
"""
HASTY = """[server]
head_s = 1
body_s = 1
keep_alive_s = 1
"""
CHAT, MESSAGES, GEMINI = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n",
    b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n",
    b"POST /v1beta/models/mg:generateContent HTTP/1.1\r\nhost: x\r\n",
)
APIS = pytest.mark.parametrize("begin", [CHAT, MESSAGES, GEMINI], ids=["chat", "messages", "gemini"])


@pytest.fixture(scope="module")
def strict(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that takes little, and waits for nobody who does not read."""
    config = config_for(scripted, NORMAL).replace("[server]\n", STRICT, 1)
    gateway = Gateway(tmp_path_factory.mktemp("strict"), config=config)
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def hasty(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that gives little time."""
    config = config_for(scripted, NORMAL).replace("[server]\n", HASTY, 1)
    gateway = Gateway(tmp_path_factory.mktemp("hasty"), config=config)
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def small(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with room for six connections, four of one address."""
    places = "[server]\nconnections_max = 6\nconnections_per_address_max = 4\n"
    config = config_for(scripted, NORMAL).replace("[server]\n", places, 1)
    gateway = Gateway(tmp_path_factory.mktemp("small"), config=config)
    yield gateway
    assert gateway.stop() == 0


def said(reply: bytes, begin: bytes, code: str, status: int) -> str:
    """The message of an error, checked to be in the words of the API that was spoken to."""
    assert status_of(reply) == status
    top = json.loads(reply.split(b"\r\n\r\n", 1)[1])
    if begin is GEMINI:
        assert top["error"]["code"] == status
        assert {"reason"} <= set(top["error"]["details"][0])
    elif begin is MESSAGES:
        assert top["type"] == "error"
    else:
        assert top["error"]["code"] == code
        assert top["error"]["request_id"].startswith("gen-")
    return str(top["error"]["message"])


@APIS
def test_a_head_of_100_kilobytes(strict: Gateway, begin: bytes) -> None:
    whole_head = begin + b"x-much: " + b"a" * 100_000 + b"\r\n\r\n"
    assert "8192 bytes" in said(strict.raw(whole_head), begin, "headers_too_large", 431)
    assert "8192 bytes" in said(strict.raw(whole_head[:-4]), begin, "headers_too_large", 431)


@APIS
def test_10000_headers(strict: Gateway, begin: bytes) -> None:
    assert "8192" in said(strict.raw(begin + b"a: b\r\n" * 10_000), begin, "headers_too_large", 431)
    few = begin + b"a: b\r\n" * 60 + b"\r\n"
    assert "more than 50 headers" in said(strict.raw(few), begin, "headers_too_large", 431)


def test_headers_within_the_bounds(strict: Gateway) -> None:
    reply = strict.raw(b"GET /healthz HTTP/1.1\r\nconnection: close\r\n" + b"a: b\r\n" * 49 + b"\r\n")
    assert status_of(reply) == 200
    assert strict.get("/healthz").status == 200


def test_a_body_that_comes_with_its_head_is_no_part_of_it(strict: Gateway) -> None:
    body = body_of("nowhere", padding="x" * 20_000)
    assert status_of(strict.raw(strict.head(len(body), "connection: close") + body)) == 404


@APIS
def test_a_head_that_never_ends(hasty: Gateway, begin: bytes) -> None:
    assert "within 1 s" in said(hasty.raw(begin), begin, "request_timeout", 408)


def test_one_byte_at_a_time(hasty: Gateway) -> None:
    """Each byte is progress, and yet the whole must come in time."""
    with socket.create_connection(("127.0.0.1", hasty.port), WAIT_S) as slow:
        slow.settimeout(0.05)
        slow.sendall(CHAT)
        reply = b""
        while True:
            with suppress(OSError):
                slow.sendall(b"a")
            with suppress(TimeoutError):
                try:
                    data = slow.recv(65536)
                except ConnectionResetError:
                    break
                if not data:
                    break
                reply += data
    said(reply, CHAT, "request_timeout", 408)


def test_a_connection_that_says_nothing_is_closed(hasty: Gateway) -> None:
    assert hasty.raw() == b""
    assert hasty.raw(b"\r\n").startswith(b"HTTP/1.1 408")


def test_a_connection_without_a_next_request_is_closed(hasty: Gateway) -> None:
    reply = hasty.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status_of(reply) == 200
    assert b"connection: close" not in reply


@pytest.mark.parametrize(
    "model", ["/v1/chat/completions", "/v1/messages", "/v1beta/models/mg:generateContent"]
)
def test_a_body_that_never_ends(hasty: Gateway, model: str) -> None:
    lines = hasty.head(1000).replace(b"/v1/chat/completions", model.encode())
    reply = hasty.raw(lines + b'{"model": ')
    assert status_of(reply) == 408
    assert b"within 1 s" in reply


def test_a_body_that_nobody_reads_does_not_keep_the_connection(hasty: Gateway) -> None:
    reply = hasty.raw(hasty.head(1000, key="wrong") + b"x")
    assert status_of(reply) == 401


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/healthz"])
def test_trailers_are_bounded(strict: Gateway, path: bytes) -> None:
    begin = strict.head(None, "transfer-encoding: chunked").replace(b"/v1/chat/completions", path)
    reply = strict.raw(begin + b"1\r\n{\r\n0\r\n", b"a: b\r\n" * 200_000)
    assert b"HTTP/1.1 431" in reply
    assert strict.get("/healthz").status == 200


def test_chunks_as_they_may_be(strict: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    body = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in body_of("mo")) + b"0\r\nx-sum: 1\r\n\r\n"
    begin = strict.head(None, "transfer-encoding: chunked", "connection: close")
    assert status_of(strict.raw(begin, body)) == 200


def test_garbage_after_a_request_does_not_spoil_its_answer(
    strict: Gateway, upstream: ScriptedUpstream
) -> None:
    spoken = threading.Event()

    async def begin(peer: Peer) -> None:
        first, one, *rest = frames("openai_chat", "one", "two")
        await peer.send(head(200), first, one)
        await asyncio.to_thread(spoken.wait, WAIT_S)
        await peer.send(*rest)

    upstream.play("o1", begin)
    body = body_of("mo", stream=True)
    with socket.create_connection(("127.0.0.1", strict.port), WAIT_S) as connection:
        connection.sendall(strict.head(len(body)) + body)
        reply = b""
        while b"one" not in reply:
            data = connection.recv(65536)
            assert data, reply
            reply += data
        connection.sendall(b"\x00\x01 this is no request\r\n\r\n")
        spoken.set()
        while data := connection.recv(65536):
            reply += data
    answer, _, refusal = reply.partition(b"0\r\n\r\nHTTP/1.1 400 ")
    assert answer.rstrip().endswith(b"data: [DONE]")
    assert b"invalid_request" not in answer
    assert b"invalid_request" in refusal


FLOOD_BYTES = 64 * 1024 * 1024


def flood(total: list[int]) -> Any:
    async def script(peer: Peer) -> None:
        first, piece, *_ = frames("openai_chat", "z" * 16_000, "end")
        await peer.send(head(200), first)
        while total[0] < FLOOD_BYTES:
            await peer.send(piece)
            total[0] += len(piece)
        await peer.gone()

    return script


def test_who_reads_nothing_stops_the_provider_and_loses_the_connection(
    strict: Gateway, upstream: ScriptedUpstream
) -> None:
    """What is on the way is in the kernel's buffers, and little in the gateway's."""
    total = [0]
    upstream.play("o1", flood(total))
    mark, body = strict.log.mark(), body_of("mo", stream=True)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", strict.port))
        deaf.sendall(strict.head(len(body)) + body)
        assert upstream.wait()[0].gone.wait(WAIT_S)
        (line,) = strict.log.wait("gen-", mark)
    assert total[0] < FLOOD_BYTES
    assert strict.generation(line.split()[0])["client_gone"] is True


def idle(stack: ExitStack, gateway: Gateway, count: int) -> list[socket.socket]:
    """Connections that were served once and stay."""
    made = []
    for _ in range(count):
        one = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), WAIT_S))
        one.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert one.recv(65536).startswith(b"HTTP/1.1 200")
        made.append(one)
    return made


@APIS
def test_more_connections_than_one_address_may_have(small: Gateway, begin: bytes) -> None:
    with ExitStack() as stack:
        first, *_ = idle(stack, small, 4)
        reply = small.raw(begin[:20], begin[20:] + b"content-length: 2\r\n\r\n{}")
        assert "connections" in said(reply, begin, "overloaded", 503)
        assert b"\r\nretry-after: 1\r\n" in reply
        first.close()
        until(lambda: status_of(small.raw(b"GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n")) == 200)
    until(lambda: small.get("/healthz").status == 200)


def test_places_are_counted() -> None:
    guards = Guards(Bounds(connections_max=3, connections_per_address_max=2))
    assert [guards.enter("10.0.0.1") for _ in range(3)] == [Place.SERVED, Place.SERVED, Place.EXCESS]
    assert guards.enter("10.0.0.2") is Place.EXCESS  # of all, four
    for address in ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"):
        guards.leave(address)
    assert guards.connections == 0
    assert not guards._by_network
    assert [guards.enter(None) for _ in range(4)].count(Place.SERVED) == 3
    assert [guards.enter(None) for _ in range(EXCESS_MAX)][-1] is Place.NONE


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_whose_address_it_is(one: str, other: str, same: bool) -> None:
    guards = Guards(Bounds(connections_per_address_max=1))
    guards.enter(one)
    assert (guards.enter(other) is Place.EXCESS) is same


def test_workers_share_the_places(scripted: ScriptedUpstream, tmp_path: Path) -> None:
    """All that are open together, whichever worker has them."""
    places = "[server]\nworkers = 2\nconnections_max = 2\n"
    gateway = Gateway(tmp_path, config=config_for(scripted, NORMAL).replace("[server]\n", places, 1))
    try:
        with ExitStack() as stack:
            refused = 0
            while not refused:
                one = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), WAIT_S))
                one.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                refused += one.recv(65536).startswith(b"HTTP/1.1 503")
    finally:
        assert gateway.stop() == 0
