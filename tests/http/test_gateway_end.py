"""How a gateway ends: drained, told to hurry, killed, with a full disk. The books are right afterwards."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest
from gateway_kit import WAIT_S, Gateway, chat_body, read_stream, until
from scripted_upstream import Peer, ScriptedUpstream, answers, config_for, frames, head, http, whole

from llm_router.app import bind

pytestmark = pytest.mark.slow

TIMEOUTS = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}

Start = Callable[[float], Gateway]


@pytest.fixture
def start(scripted: ScriptedUpstream, tmp_path: Path) -> Iterator[Start]:
    """Starts a gateway with so many seconds to drain; it is killed if the test leaves it running."""
    started: list[Gateway] = []

    def begin(drain_s: float) -> Gateway:
        server = f"[server]\ndrain_s = {drain_s}\n"
        gateway = Gateway(tmp_path, config=config_for(scripted, TIMEOUTS).replace("[server]\n", server, 1))
        started.append(gateway)
        return gateway

    yield begin
    while Open.all:
        Open.all.pop().close()
    for gateway in started:
        if gateway.process.poll() is None:
            gateway.stop(signal.SIGKILL)


class Open:
    """A request under way: the head is sent, the reply is read when it is asked for."""

    all: ClassVar[list[Open]] = []

    def __init__(self, gateway: Gateway, *, streamed: bool, until: bytes = b"") -> None:
        body = json.dumps(chat_body("mo", stream=streamed)).encode()
        self._socket = socket.create_connection(("127.0.0.1", gateway.port), WAIT_S)
        self._socket.sendall(gateway.head(len(body), "connection: close") + body)
        self.all.append(self)
        self._received = b""
        while until not in self._received:
            self._received += self._socket.recv(65536)

    def rest(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body, read until the gateway closes the connection."""
        with self._socket as connection:
            try:
                while data := connection.recv(65536):
                    self._received += data
            except ConnectionError:
                pass
        top, _, body = self._received.partition(b"\r\n\r\n")
        lines = top.decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:])}
        if headers.get("transfer-encoding") == "chunked":
            body, whole_ = _dechunked(body)
            headers["cut"] = "" if whole_ else "yes"
        return int(lines[0].split()[1]), headers, body

    def read_until(self, words: bytes) -> bytes:
        while words not in self._received:
            data = self._socket.recv(65536)
            assert data, self._received
            self._received += data
        return self._received

    def close(self) -> None:
        self._socket.close()


def _dechunked(data: bytes) -> tuple[bytes, bool]:
    out = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return out, True
        out += rest[:length]
        data = rest[length + 2 :]
    return out, False


class Gate:
    """A provider that begins at once and goes on when it is let."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self, peer: Peer) -> None:
        streamed = peer.seen.json.get("stream")
        events = frames("openai_chat", "one ", "two ", "three")
        if streamed:
            await peer.send(head(200), *events[:2])
        gone = asyncio.ensure_future(peer.gone())
        while not self._open.is_set() and not gone.done():
            await asyncio.wait([gone], timeout=0.02)
        if gone.done():
            return
        gone.cancel()
        await peer.send(*events[2:]) if streamed else await peer.send(http(200, whole("openai_chat")))


def test_open_requests_may_finish(start: Start, upstream: ScriptedUpstream) -> None:
    gateway, gate = start(20), Gate()
    upstream.play("o1", gate)
    stream, plain = Open(gateway, streamed=True, until=b"one"), Open(gateway, streamed=False)
    upstream.wait(2)
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as idle:
        gateway.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b"", "an idle connection is closed at once"
        until(lambda: _refuses(gateway))
    gate.open()
    status, headers, body = stream.rest()
    answer = read_stream(status, headers, body, broken=headers["cut"] == "yes")
    assert (answer.text, answer.done, answer.failure) == ("one two three", True, None)
    assert plain.rest()[0] == 200
    assert gateway.stop() == 0
    gateway.start()
    assert gateway.credits() == 1000 - 2 * Decimal("0.00002")
    assert gateway.stop() == 0


def _refuses(gateway: Gateway) -> bool:
    try:
        socket.create_connection(("127.0.0.1", gateway.port), WAIT_S).close()
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("signals", [1, 2], ids=["drain is over", "told twice"])
def test_what_does_not_finish_is_told_and_settled(
    start: Start, upstream: ScriptedUpstream, signals: int
) -> None:
    gateway = start(1 if signals == 1 else 30)
    upstream.play("o1", Gate())
    streams = [Open(gateway, streamed=True, until=b"one") for _ in range(20)]
    plains = [Open(gateway, streamed=False) for _ in range(20)]
    upstream.wait(40)
    gateway.process.send_signal(signal.SIGTERM)
    if signals == 2:
        until(lambda: _refuses(gateway))
        gateway.process.send_signal(signal.SIGTERM)
    for stream in streams:
        status, headers, body = stream.rest()
        answer = read_stream(status, headers, body, broken=headers["cut"] == "yes")
        assert answer.text == "one "
        assert not answer.done
        assert not answer.broken
        assert answer.failure["code"] == "overloaded"
        assert answer.failure["request_id"] == headers["x-request-id"]
    for plain in plains:
        status, headers, body = plain.rest()
        assert status == 503
        assert json.loads(body)["error"]["code"] == "overloaded"
        assert headers["retry-after"] == "1"
    assert gateway.stop() == 0
    assert all(seen.gone.wait(WAIT_S) for seen in upstream.requests)
    gateway.start()
    assert gateway.credits() == 1000
    record = gateway.generation(headers["x-request-id"])
    assert (record["status"], record["cost_pusd"], record["error_code"]) == (503, 0, "overloaded")
    assert gateway.stop() == 0


def test_a_body_that_is_still_coming_does_not_hold_up_the_end(start: Start) -> None:
    gateway = start(1)
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        connection.sendall(gateway.head(1000, "expect: 100-continue"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 "), "the body is being read"
        gateway.process.send_signal(signal.SIGTERM)
        reply = b""
        while data := connection.recv(65536):
            reply += data
    assert reply.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"overloaded"' in reply
    assert gateway.stop() == 0


def test_a_reload_leaves_what_runs_as_it_began(start: Start, upstream: ScriptedUpstream) -> None:
    """With the price that its hold was made for."""
    gateway, gate = start(5), Gate()
    upstream.play("o1", gate)
    stream = Open(gateway, streamed=True, until=b"one")
    upstream.wait(1)
    dearer = gateway.config.read_text().replace("output_per_mtok = 2", "output_per_mtok = 20")
    gateway.config.write_text(dearer)
    assert gateway.command("config.reload")["reloaded"] is True
    gate.open()
    status, headers, _ = stream.rest()
    assert status == 200
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    after = gateway.chat("mo")
    assert gateway.generation(headers["x-generation-id"])["cost_pusd"] == 20_000_000
    assert gateway.generation(after.id)["cost_pusd"] == 110_000_000
    assert gateway.stop() == 0


def test_a_killed_gateway_leaves_no_hold(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = start(5)
    upstream.play("o1", answers(http(200, whole("openai_chat"))), Gate())
    first = gateway.chat("mo")
    assert first.status == 200
    open_ = [Open(gateway, streamed=True, until=b"one") for _ in range(10)]
    assert gateway.credits() < Decimal("999.9"), "nothing is held"
    gateway.process.send_signal(signal.SIGKILL)
    for stream in open_:
        status, headers, body = stream.rest()
        assert headers["cut"] == "yes"
        assert not read_stream(status, headers, body, broken=True).done
    gateway.stop()
    gateway.start()
    assert gateway.credits() == 1000 - Decimal("0.00002")
    assert gateway.generation(first.id)["cost_pusd"] == 20_000_000
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    assert gateway.chat("mo").status == 200
    assert gateway.stop() == 0


@pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="a full disk is simulated with prlimit, of Linux"
)
def test_a_full_disk_refuses_and_recovers(start: Start, upstream: ScriptedUpstream) -> None:
    """What runs when the disk fills is answered with an error and costs nothing, nor stays held."""
    gateway, gate = start(5), Gate()
    upstream.play("o1", gate)
    stream, plain = Open(gateway, streamed=True, until=b"one"), Open(gateway, streamed=False)
    upstream.wait(2)
    pid = gateway.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, limits[1]))
    gate.open()
    assert b"[DONE]" not in stream.read_until(b"ledger_unavailable")
    assert b" 503 " in plain.read_until(b"ledger_unavailable").split(b"\r\n", 1)[0]
    refused = gateway.chat("mo")
    assert refused.status == 503
    assert refused.error["code"] == "ledger_unavailable"
    assert gateway.chat("no-such-model").status == 404, "errors that cost nothing are told as they are"
    assert gateway.get("/v1/models").status == 200
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    until(lambda: gateway.credits() == 1000)
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    assert gateway.chat("mo").status == 200
    assert gateway.credits() == 1000 - Decimal("0.00002")
    assert gateway.stop() == 0


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the option is Linux's")
def test_who_leaves_what_was_sent_unread_counts_as_gone() -> None:
    """The kernel ends the connection; accepted sockets inherit that from the listening one."""
    with bind("127.0.0.1", 0, unread_s=7) as listener:
        listener.setblocking(True)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            option = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert option == 7000
