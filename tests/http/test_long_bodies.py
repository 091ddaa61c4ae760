"""Long bodies in the fast lane: whatever pieces they come in, the provider gets every byte, and nobody another's."""

from __future__ import annotations

import json
import random
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import WAIT_S, Gateway, body_of, until
from scripted_upstream import usage, whole

from llm_router.edge.long_body import LEAST_BYTES, LongBody

SLOW_S = 1.5
"""Longer than the fast lane waits for a body."""


class Provider(ThreadingHTTPServer):
    """A provider that keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.heard: list[bytes] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, Provider)
        self.server.heard.append(body)
        answer = whole("openai_chat", "one two", usage("openai_chat", 10, 500))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    found = Provider()
    yield found
    found.shutdown()
    found.server_close()


def config_of(provider: Provider) -> str:
    return (
        '[providers.up]\ndialect = "openai_chat"\nkey_required = false\nauth = "none"\n'
        f'base_url = "http://127.0.0.1:{provider.server_port}/v1"\n'
        "[models.mo]\nprice = { input_per_mtok = 1, output_per_mtok = 2 }\ncontext_tokens = 9000000\n"
        'capabilities = { input_modalities = ["text", "image"] }\n'
        '[[models.mo.deployments]]\nprovider = "up"\nupstream_model = "up"\n'
    )


@pytest.fixture(scope="module")
def gateway(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = Gateway(tmp_path_factory.mktemp("long"), config=config_of(provider))
    assert found.chat("mo").status == 200
    yield found
    assert found.stop() == 0


def picture(chance: random.Random, size: int) -> list[dict[str, Any]]:
    """What a user says about a picture of its own."""
    letters = "".join(chance.choices("ABCDEFGHabcdefgh0123+/", k=size))
    url = {"url": f"data:image/png;base64,{letters}"}
    return [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": url}]


def said(body: bytes) -> Any:
    return json.loads(body)["messages"]


def rides(gateway: Gateway) -> int:
    return int(gateway.get("/readyz").json["load"]["express"])


def answered(connection: socket.socket, answers: int = 1) -> bytes:
    received = b""
    while received.count(b"credits_remaining") + received.count(b'"error"') < answers:
        data = connection.recv(65536)
        assert data, received[-900:]
        received += data
    return received


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_any_size_are_one_body(gateway: Gateway, provider: Provider, seed: int) -> None:
    """Many requests on one connection, long and short, each sent whole or in pieces."""
    chance = random.Random(seed)
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for size in (LEAST_BYTES * 5, 10, 700_000, LEAST_BYTES, 90_000, 1_500_000, 1):
            body = body_of("mo", text=picture(chance, size))
            sent = gateway.head(len(body)) + body
            cuts = sorted(chance.sample(range(1, len(sent)), chance.randrange(6)))
            before = len(provider.heard)
            for at, to in pairwise([0, *cuts, len(sent)]):
                connection.sendall(sent[at:to])
                rides(gateway)  # it has read that much
            assert answered(connection).startswith(b"HTTP/1.1 200 OK")
            (heard,) = provider.heard[before:]
            assert said(heard) == said(body)


def test_requests_behind_a_long_one_have_their_turn(gateway: Gateway, provider: Provider) -> None:
    chance, short = random.Random(9), body_of("mo")
    long = body_of("mo", text=picture(chance, 400_000))
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        for _ in range(2):  # the second time the head is known
            before = len(provider.heard)
            connection.sendall(gateway.head(len(long)))
            rides(gateway)  # it has read that much
            connection.sendall(long + gateway.head(len(short)) + short + gateway.head(len(long)) + long)
            assert answered(connection, 3).count(b"HTTP/1.1 200 OK") == 3
            assert [said(each) for each in provider.heard[before:]] == [said(long), said(short), said(long)]


@pytest.mark.parametrize(
    ("known", "came"),
    [(False, 200_000), (True, 200_000), (False, 0), (True, 0)],
    ids=["new head", "known head", "new head alone", "known head alone"],
)
def test_a_slow_body_is_read_the_ordinary_way(
    gateway: Gateway, provider: Provider, known: bool, came: int
) -> None:
    """What has come goes there, and what comes later."""
    body = body_of("mo", text=picture(random.Random(7), 500_000))
    sent, short = gateway.head(len(body)) + body, body_of("mo")
    came += len(sent) - len(body)
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        if known:
            connection.sendall(gateway.head(len(short)) + short)
            answered(connection)
        taken, before = rides(gateway), len(provider.heard)
        connection.sendall(sent[:came])
        connection.settimeout(SLOW_S)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(WAIT_S)
        connection.sendall(sent[came:] + gateway.head(len(short)) + short)
        assert answered(connection, 2).count(b"HTTP/1.1 200 OK") == 2
    assert [said(each) for each in provider.heard[before:]] == [said(body), said(short)]
    assert rides(gateway) - taken <= 1


@pytest.mark.parametrize("size", [10, 300_000])
def test_what_the_lane_does_not_take_goes_on_as_it_was_asked(gateway: Gateway, size: int) -> None:
    """Whatever else the connection was asked before."""
    broken = body_of("mo", text=picture(random.Random(3), size))[:-1]
    get = gateway.head(None).replace(b"POST /v1/chat/completions", b"GET /v1/models")
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        for _ in range(3):
            connection.sendall(gateway.head(len(broken)))
            rides(gateway)  # it has read that much
            connection.sendall(broken)
            refused = answered(connection)
            assert refused.startswith(b"HTTP/1.1 400"), refused
            assert b"not valid JSON" in refused
            connection.sendall(get)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
            short = body_of("mo")
            connection.sendall(gateway.head(len(short)) + short)
            assert b"HTTP/1.1 200 OK" in answered(connection)


def test_who_leaves_in_the_middle_asks_for_nothing(gateway: Gateway, provider: Provider) -> None:
    body = body_of("mo", text=picture(random.Random(7), 500_000))
    credits, before = gateway.credits(), len(provider.heard)
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
            connection.sendall(gateway.head(len(body)) + body[:300_000])
    until(lambda: gateway.get("/readyz").json["load"]["exchanges"] == 0)
    assert gateway.credits() == credits
    assert len(provider.heard) == before


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_gateway_that_stops_answers_a_request_whose_body_is_on_its_way(
    provider: Provider, tmp_path: Path, size: int
) -> None:
    stopping = Gateway(tmp_path, config=config_of(provider))
    assert stopping.chat("mo").status == 200
    body = body_of("mo", text=picture(random.Random(7), size))
    with socket.create_connection(("127.0.0.1", stopping.port), WAIT_S) as connection:
        connection.sendall(stopping.head(len(body)) + body[:50])
        rides(stopping)  # it has read that much
        stopping.process.send_signal(signal.SIGTERM)
        connection.settimeout(SLOW_S)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(WAIT_S)
        connection.sendall(body[50:])
        assert answered(connection).startswith(b"HTTP/1.1 200 OK")
    assert stopping.stop() == 0
    assert said(provider.heard[-1]) == said(body)


@pytest.mark.parametrize("seed", range(20))
def test_what_has_come_is_there_at_any_moment(seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(chance.randrange(1, 300_000))
    first = chance.randrange(len(data))
    long, at = LongBody(len(data), data[:first]), first
    while at < len(data):
        size = chance.choice([1, 100, 10_000, 100_000])
        excess = long.take(data[at : at + size])
        assert excess == b""
        at += size
        assert long.missing == max(0, len(data) - at)
    assert long.so_far() == data
    other = LongBody(len(data), data[:first])
    assert other.so_far() == data[:first]
    last = LongBody(len(data), data[:first])
    assert last.take(data[first:] + b"next") == b"next"
    assert last.so_far() == data
