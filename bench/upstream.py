"""CPU of the upstream clients: microseconds a request, lean against aiohttp, in one interleaved run.

    python bench/upstream.py [--requests 3000] [--rounds 5] [--concurrency 32] [--loop uvloop]

An echo server runs in a second process, so that only the client's work is counted (user and system
time of this process). The absolute figures belong to the machine and the interpreter; the ratio
travels. Two kinds of call: ``plain`` (832-byte JSON reply) and ``stream`` (32 events, chunked, one
write each). No TLS: OpenSSL costs both the same.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import platform
import resource
import statistics
import sys
from multiprocessing.connection import Connection

import httptools
import uvloop

from llm_router.adapters.upstream.aiohttp_client import AiohttpUpstream
from llm_router.adapters.upstream.client import LeanUpstream
from llm_router.ports import Deadlines, Upstream, UpstreamRequest

HEADERS = (
    ("authorization", "Bearer sk-bench-0123456789abcdef0123456789abcdef"),
    ("content-type", "application/json"),
    ("accept", "application/json"),
    ("x-request-id", "req-0123456789"),
)
BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 480 + b'"}]}'
REPLY_BODY = b'{"id":"chatcmpl-1","choices":[{"message":{"content":"' + b"y" * 750 + b'"}}]}'
REPLY_HEAD = b"\r\n".join(
    [
        b"HTTP/1.1 200 OK",
        b"date: Mon, 01 Jan 2024 00:00:00 GMT",
        b"content-type: application/json",
        b"connection: keep-alive",
        b"x-request-id: req_0123456789abcdef",
        b"x-ratelimit-remaining-requests: 9999",
        b"x-ratelimit-remaining-tokens: 149999",
        b"server: bench",
    ]
)
PLAIN = REPLY_HEAD + b"\r\ncontent-length: %d\r\n\r\n" % len(REPLY_BODY) + REPLY_BODY
EVENT = b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n'
EVENTS = 32
STREAM_HEAD = REPLY_HEAD + b"\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)


class EchoServer(asyncio.Protocol):
    """Answer ``/plain`` at once, ``/stream`` event by event."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._stream = url == b"/stream"

    def on_message_complete(self) -> None:
        if not self._stream:
            self._transport.write(PLAIN)
            return
        self._transport.write(STREAM_HEAD)
        asyncio.get_running_loop().call_soon(self._next, EVENTS)

    def _next(self, left: int) -> None:
        if left:
            self._transport.write(CHUNK)
            asyncio.get_running_loop().call_soon(self._next, left - 1)
        else:
            self._transport.write(b"0\r\n\r\n")


def serve(pipe: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(EchoServer, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


def cpu_us() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


async def measure(client: Upstream, request: UpstreamRequest, count: int, concurrency: int) -> float:
    """CPU microseconds a request."""
    deadlines = Deadlines()
    left = count

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            reply = await client.send(request, deadlines)
            if request.url.endswith("/stream"):
                size = 0
                async for piece in reply.chunks():
                    size += len(piece)
                assert size == EVENTS * len(EVENT)
            else:
                assert len(await reply.read(1_000_000)) == len(REPLY_BODY)
            await reply.close()

    start = cpu_us()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return (cpu_us() - start) / count


async def compare(port: int, path: str, options: argparse.Namespace, count: int) -> None:
    request = UpstreamRequest(method="POST", url=f"http://127.0.0.1:{port}{path}", headers=HEADERS, body=BODY)
    clients: dict[str, Upstream] = {"lean": LeanUpstream(), "aiohttp": AiohttpUpstream()}
    figures: dict[str, list[float]] = {name: [] for name in clients}
    for client in clients.values():
        await measure(client, request, max(count // 5, 1), options.concurrency)  # warm up
    for _ in range(options.rounds):
        for name, client in clients.items():
            figures[name].append(await measure(client, request, count, options.concurrency))
    for client in clients.values():
        await client.close()
    ratios = [slow / fast for fast, slow in zip(figures["lean"], figures["aiohttp"], strict=True)]
    lean, other = (statistics.median(figures[name]) for name in ("lean", "aiohttp"))
    print(
        f"{path:8} lean {lean:7.1f} us  aiohttp {other:7.1f} us  "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--requests", type=int, default=3000, help="plain requests a round (a tenth as streams)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    options = parser.parse_args()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    port = ours.recv()
    print(
        f"{platform.python_implementation()} {sys.version.split()[0]}, {options.loop}, "
        f"{options.concurrency} concurrent, {options.rounds} rounds, medians"
    )
    factory = uvloop.new_event_loop if options.loop == "uvloop" else asyncio.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(compare(port, "/plain", options, options.requests))
            runner.run(compare(port, "/stream", options, max(options.requests // 10, 1)))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
