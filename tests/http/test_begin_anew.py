"""A gateway that begins anew, or stops, while clients go on asking: nobody is refused, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from gateway_kit import WAIT_S, Gateway, body_of, status_of, until
from scripted_upstream import Peer, ScriptedUpstream, answers, config_for, frames, head, http, whole

from llm_router.app import bind
from llm_router.edge.bounds import Bounds, Guards
from llm_router.edge.server import GuardedProtocol
from llm_router.edge.serving import HttpServer, _waiting
from llm_router.workers import share_out

TIMEOUTS = {"connect_s": 5, "first_byte_s": 60, "idle_s": 60, "total_s": 60}
HELLO = answers(http(200, whole("openai_chat")))


class Hammer(threading.Thread):
    """Clients that ask one request after the other until they are told to stop, half of them over connections
    that they keep. As every client does, they ask again if a kept connection ends before an answer begins.

    Attributes:
        outcomes: statuses, or what became of those that were not answered.
    """

    def __init__(self, gateway: Gateway, count: int) -> None:
        super().__init__(daemon=True)
        self._gateway, self._count = gateway, count
        self._body = body_of("mo", max_tokens=5)
        self._ended = False
        self.outcomes: Counter[object] = Counter()
        self.start()

    def run(self) -> None:
        asyncio.run(self._all())

    def end(self) -> Counter[object]:
        self._ended = True
        self.join(2 * WAIT_S)
        assert not self.is_alive()
        return self.outcomes

    async def _all(self) -> None:
        await asyncio.gather(*(self._client(kept=number % 2 == 0) for number in range(self._count)))

    async def _client(self, kept: bool) -> None:
        while not self._ended:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._gateway.port)
            except OSError as error:
                self.outcomes[repr(error)] += 1
                continue
            try:
                await self._talk(reader, writer, kept)
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bool) -> None:
        """Ask until the connection ends."""
        asked, again = 0, kept
        while (again and not self._ended) or not asked:
            asked += 1
            reply = await self._ask(reader, writer, kept)
            if reply or asked == 1:
                self.outcomes[status_of(reply) if b"\r\n\r\n" in reply else reply] += 1
            again = kept and bool(reply) and b"connection: close" not in reply

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bool) -> bytes:
        """The whole reply; if it broke off, as far as it came."""
        more = () if kept else ("connection: close",)
        reply = b""
        with suppress(ConnectionError):
            try:
                writer.write(self._gateway.head(len(self._body), *more) + self._body)
                reply = await reader.readuntil(b"\r\n\r\n")
                sizes = (x[15:] for x in reply.lower().split(b"\r\n") if x.startswith(b"content-length:"))
                reply += await reader.readexactly(int(next(sizes)))
            except asyncio.IncompleteReadError as error:
                return error.partial if not reply else b"broken off"
        return reply


def stream_in_the_middle(upstream: ScriptedUpstream, goes_on: threading.Event) -> None:
    async def script(peer: Peer) -> None:
        first, one, *rest = frames("openai_chat", "one", "two")
        await peer.send(head(200), first, one)
        await asyncio.to_thread(goes_on.wait, WAIT_S)
        await peer.send(*rest)

    upstream.play("o1", script, HELLO)


def begun_anew(gateway: Gateway) -> bool:
    """Whether it is the program that took the sockets over."""
    return b"LISTEN_FDS=" in Path(f"/proc/{gateway.process.pid}/environ").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_restart_refuses_nobody_and_loses_nothing(
    upstream: ScriptedUpstream, tmp_path: Path, workers: int
) -> None:
    config = config_for(upstream, TIMEOUTS).replace("[server]\n", f"[server]\nworkers = {workers}\n", 1)
    gateway = Gateway(tmp_path, config=config)
    try:
        goes_on = threading.Event()
        stream_in_the_middle(upstream, goes_on)
        body = body_of("mo", stream=True)
        with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
            connection.sendall(gateway.head(len(body), "connection: close") + body)
            upstream.wait(1)
            hammer = Hammer(gateway, 8)
            until(lambda: hammer.outcomes[200] >= 20)
            gateway.process.send_signal(signal.SIGUSR2)
            gateway.log.wait("begins anew")
            assert not begun_anew(gateway)
            goes_on.set()
            reply = b""
            while data := connection.recv(65536):
                reply += data
            assert b"[DONE]" in reply
        until(lambda: begun_anew(gateway))
        before = hammer.outcomes[200]
        until(lambda: hammer.outcomes[200] >= before + 40)
        outcomes = hammer.end()
        assert set(outcomes) == {200}
        answered = 1 + outcomes[200]
        assert len(upstream.requests) == answered
        assert len(gateway.log.wait("gen-", count=answered)) == answered
    finally:
        assert gateway.stop() == 0


def test_a_wrong_configuration_is_no_reason_to_end(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    good = hostile.config.read_text()
    hostile.config.write_text(good + "\n[nonsense]\n")
    try:
        hostile.process.send_signal(signal.SIGUSR2)
        hostile.log.wait("goes on as it is")
    finally:
        hostile.config.write_text(good)
    upstream.play("o1", HELLO)
    assert hostile.chat("mo").status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are given as Linux does it")
def test_sockets_may_be_a_service_managers(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Who connects before the gateway runs waits for it."""
    config = tmp_path / "router.toml"
    config.write_text(config_for(upstream, TIMEOUTS))
    starter = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
        "os.execv(sys.executable, [sys.executable, '-m', 'llm_router.cli', 'serve', '--data-dir', sys.argv[2],"
        "'--config', sys.argv[3]])"
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        early = socket.create_connection(listener.getsockname(), WAIT_S)
        early.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        process = subprocess.Popen(
            [sys.executable, "-c", starter, str(listener.fileno()), str(tmp_path / "data"), str(config)],
            pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(tmp_path)},
        )
    with early:
        early.settimeout(WAIT_S)
        assert early.recv(65536).startswith(b"HTTP/1.1 200")
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == 0


class Hello:
    """An application that greets."""

    guards = Guards(Bounds())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


@pytest.mark.parametrize("handed_over", [False, True])
def test_who_has_connected_before_a_stop_is_served_unless_others_will(handed_over: bool) -> None:
    """Nobody has accepted them when the server stops."""

    async def run() -> list[bytes]:
        config = uvicorn.Config(Hello(), http=GuardedProtocol, lifespan="off", ws="none", log_config=None)
        config.load()
        server = HttpServer(config)
        server.servers, server.lifespan, server.handed_over = [], config.lifespan_class(config), handed_over
        listener = bind("127.0.0.1", 0, unread_s=30)
        heir = listener.dup()
        made = [await asyncio.open_connection(*listener.getsockname()) for _ in range(5)]
        for _, writer in made:
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await server.shutdown([listener])
        with heir:
            replies = [] if handed_over else [await reader.read() for reader, _ in made]
            waiting = _waiting(heir)
        for one in waiting:
            one.close()
        for _, writer in made:
            writer.close()
        assert len(waiting) == (5 if handed_over else 0)
        return replies

    for reply in asyncio.run(run()):
        assert reply.startswith(b"HTTP/1.1 200")


def test_all_sockets_are_served_whatever_the_number_of_workers() -> None:
    made = [socket.socket() for _ in range(3)]
    try:
        one, two = share_out(made, 2)
        assert one + two == [made[0], made[2], made[1]]
        groups = share_out(made[:1], 3)
        assert [len(group) for group in groups] == [1, 1, 1]
        for group in groups[1:]:
            assert group[0] is not made[0]
            group[0].close()
    finally:
        for each in made:
            each.close()
