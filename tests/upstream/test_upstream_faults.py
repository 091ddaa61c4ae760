"""Servers that break, stall, lie or attack: both clients end each call with the right kind of error."""

from __future__ import annotations

import asyncio
import gzip
import socket

import pytest
from scripted_server import CHUNKED, OK, Peer, always, chunk, sized
from upstream_world import World, failure, lean_only, request

from llm_router.domain.errors import UpstreamKind
from llm_router.ports import Deadlines

BRIEF = Deadlines(connect_s=2, first_byte_s=0.06, idle_s=0.06, total_s=2)


async def outcome(world: World, server, **changes):
    """The error of a call that must fail, at its head or in its body."""

    async def call() -> bytes:
        reply = await world.send(server, **changes)
        try:
            return await reply.read(10_000_000)
        finally:
            await reply.close()

    return await failure(call())


async def test_refused_connection(world: World) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await failure(world.client().send(request(f"http://127.0.0.1:{port}/"), Deadlines()))
    assert (error.kind, error.sent, error.status) == (UpstreamKind.UNAVAILABLE, False, 502)
    assert error.message == f"127.0.0.1:{port}: the connection was refused"


async def test_unknown_name(world: World) -> None:
    error = await failure(world.client().send(request("http://nowhere.invalid/"), Deadlines()))
    assert (error.kind, error.sent) == (UpstreamKind.UNAVAILABLE, False)
    assert "nowhere.invalid" in error.message


@pytest.mark.parametrize("how", ["eof", "reset"])
@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"", UpstreamKind.UNAVAILABLE),
        (b"HTTP/1.1 20", UpstreamKind.UNAVAILABLE),
        (OK, UpstreamKind.UNAVAILABLE),
        (OK + b"content-length: 10\r\n\r\n", UpstreamKind.TRUNCATED),
        (OK + b"content-length: 10\r\n\r\nhello", UpstreamKind.TRUNCATED),
        (CHUNKED, UpstreamKind.TRUNCATED),
        (CHUNKED + b"5\r\nhel", UpstreamKind.TRUNCATED),
        (CHUNKED + chunk(b"hello"), UpstreamKind.TRUNCATED),
        (CHUNKED + chunk(b"hello") + b"0\r\n", UpstreamKind.TRUNCATED),
        (CHUNKED + chunk(b"hello") + b"0\r\nx-sum: 1\r\n", UpstreamKind.TRUNCATED),
    ],
)
async def test_broken_connections(world: World, how: str, sent: bytes, kind: UpstreamKind) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        if how == "reset":
            peer.reset()

    error = await outcome(world, await world.server(script))
    assert error.kind is kind
    assert error.sent


async def test_pieces_before_the_break_are_delivered(world: World) -> None:
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"hello"))
        await read.wait()
        peer.reset()

    reply = await world.send(await world.server(script))
    chunks = reply.chunks()
    assert await anext(chunks) == b"hello"
    read.set()
    error = await failure(anext(chunks))
    assert error.kind is UpstreamKind.TRUNCATED


@lean_only("aiohttp takes it for whole")
async def test_body_until_close_that_is_reset_is_truncated(world: World) -> None:
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"\r\nhello")
        await read.wait()
        peer.reset()

    reply = await world.send(await world.server(script))
    chunks = reply.chunks()
    assert await anext(chunks) == b"hello"
    read.set()
    error = await failure(anext(chunks))
    assert error.kind is UpstreamKind.TRUNCATED


@lean_only("aiohttp takes it for whole")
async def test_cut_gzip(world: World) -> None:
    packed = gzip.compress(bytes(range(256)) * 10)
    for cut in (5, 30, len(packed) - 4):
        server = await world.server(always(sized(packed[:cut], b"content-encoding: gzip")))
        error = await outcome(world, server)
        assert error.kind is UpstreamKind.TRUNCATED


@pytest.mark.parametrize("coding", [b"br", b"gzip, gzip", b"zstd", b"nonsense"])
async def test_codings_nobody_asked_for(world: World, coding: bytes) -> None:
    server = await world.server(always(sized(b"whatever", b"content-encoding: " + coding)))
    error = await outcome(world, server)
    assert error.kind is UpstreamKind.MALFORMED


async def test_gzip_that_is_none(world: World) -> None:
    server = await world.server(always(sized(b"{}not gzip", b"content-encoding: gzip")))
    assert (await outcome(world, server)).kind is UpstreamKind.MALFORMED


SMUGGLING = {
    "length and chunked": OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": OK + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "two equal lengths": OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "listed lengths": OK + b"content-length: 5, 5\r\n\r\nhello",
    "signed length": OK + b"content-length: +5\r\n\r\nhello",
    "negative length": OK + b"content-length: -5\r\n\r\nhello",
    "hex length": OK + b"content-length: 0x5\r\n\r\nhello",
    "endless length": OK + b"content-length: 99999999999999999999\r\n\r\nhello",
    "gzip transfer": OK + b"transfer-encoding: gzip\r\n\r\nhello",
    "gzip, chunked transfer": OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "xchunked": OK + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked from 1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "no version": b"HTTP/ 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    "status 99": b"HTTP/1.1 99 OK\r\ncontent-length: 5\r\n\r\nhello",
    "status 600": b"HTTP/1.1 600 OK\r\ncontent-length: 5\r\n\r\nhello",
    "status 1000": b"HTTP/1.1 1000 OK\r\ncontent-length: 5\r\n\r\nhello",
    "101": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
    "NUL in a value": OK + b"x-a: b\0c\r\ncontent-length: 5\r\n\r\nhello",
    "no colon": OK + b"content-length 5\r\n\r\nhello",
    "empty name": OK + b": 5\r\n\r\nhello",
    "html": b"<html><body>captcha</body></html>",
    "binary": bytes(range(256)),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "giant chunk": CHUNKED + b"fffffffffffffffff\r\nhello",
    "negative chunk": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "chunk with 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "bad chunk end": CHUNKED + b"5\r\nhelloXX0\r\n\r\n",
}


LAX = {
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
    "bare LF in a head": OK + b"content-length: 5\n\r\nhello",
    "bare CR in a value": OK + b"x-a: b\rc\r\ncontent-length: 5\r\n\r\nhello",
    "folded line": OK + b"x-a: b\r\n c\r\ncontent-length: 5\r\n\r\nhello",
    "folded length": OK + b"content-length: 1\r\n 0\r\n\r\nhello12345",
    "space before colon": OK + b"content-length : 5\r\n\r\nhello",
    "bare LF chunk": CHUNKED + b"5\nhello\n0\n\n",
    "bare LF in an extension": CHUNKED + b"5;a\nhello\r\n0\r\n\r\n",
    "blank after a chunk size": CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    "length in the trailers": CHUNKED + b"0\r\ncontent-length: 5\r\n\r\n",
}


@lean_only("aiohttp's parser is lenient towards servers")
@pytest.mark.parametrize("case", LAX)
async def test_what_is_nearly_http_is_refused(world: World, case: str) -> None:
    server = await world.server(always(LAX[case]))
    error = await outcome(world, server, deadlines=Deadlines(first_byte_s=1, idle_s=1, total_s=2))
    assert error.kind is UpstreamKind.MALFORMED


@pytest.mark.parametrize("case", SMUGGLING)
async def test_what_is_not_http_is_refused(world: World, case: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(SMUGGLING[case])
        await peer.gone()

    server = await world.server(script)
    error = await outcome(world, server, deadlines=Deadlines(first_byte_s=1, idle_s=1, total_s=2))
    assert error.kind is UpstreamKind.MALFORMED


async def test_headers_without_end(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        while True:
            await peer.send(b"x-filler: " + b"x" * 1000 + b"\r\n")

    assert (await outcome(world, await world.server(script))).kind is UpstreamKind.MALFORMED


async def test_one_header_without_end(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"x-filler: ")
        while True:
            await peer.send(b"x" * 10_000)

    assert (await outcome(world, await world.server(script))).kind is UpstreamKind.MALFORMED


# Deadlines.


async def test_no_reply_in_time(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    error = await outcome(world, await world.server(script), deadlines=BRIEF)
    assert (error.kind, error.status, error.sent) == (UpstreamKind.TIMEOUT, 504, True)
    assert "first byte within 0.06 s" in error.message


async def test_a_head_that_trickles(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for byte in OK + b"x: " + b"x" * 10_000:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.005)

    error = await outcome(world, await world.server(script), deadlines=BRIEF)
    assert error.kind is UpstreamKind.TIMEOUT
    assert "first byte" in error.message


async def test_the_first_body_byte_is_due_like_the_first_byte(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.gone()

    deadlines = Deadlines(first_byte_s=0.1, idle_s=0.02, total_s=2)
    loop = asyncio.get_running_loop()
    start = loop.time()
    error = await outcome(world, await world.server(script), deadlines=deadlines)
    assert error.kind is UpstreamKind.TIMEOUT
    assert "first byte within 0.1 s" in error.message
    assert loop.time() - start >= 0.095


async def test_a_gap_in_the_body(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"hello"))
        await peer.gone()

    deadlines = Deadlines(first_byte_s=2, idle_s=0.05, total_s=2)
    error = await outcome(world, await world.server(script), deadlines=deadlines)
    assert error.kind is UpstreamKind.TIMEOUT
    assert "no further byte for 0.05 s" in error.message


async def test_a_stream_without_end(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(chunk(b": beat\n\n"))
            await asyncio.sleep(0.01)

    server = await world.server(script)
    for total_s in (0.15, 1.0, 6.0):  # connecting is a part of the call, and takes its time on a busy machine
        deadlines = Deadlines(connect_s=10, first_byte_s=10, idle_s=10, total_s=total_s)
        error = await outcome(world, server, deadlines=deadlines)
        assert error.kind is UpstreamKind.TIMEOUT
        if "connecting" not in error.message:
            break
    assert f"not over within {total_s:g} s" in error.message


@pytest.mark.parametrize("more", [False, True])
async def test_bytes_that_are_no_content_are_not_enough(world: World, more: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(chunk(b": beat\n\n"))
            await asyncio.sleep(0.01)

    deadlines = Deadlines(connect_s=10, first_byte_s=2 if more else 0.5, idle_s=9, silence_s=0.05, total_s=9)
    reply = await world.send(await world.server(script), deadlines=deadlines)
    reply.expect_content(more=more)
    error = await failure(reply.read(10**6))
    assert error.kind is UpstreamKind.TIMEOUT
    assert f"no content within {0.05 if more else 0.5:g} s" in error.message


async def test_a_slow_reader_is_not_the_servers_fault(world: World) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"hello"))
        await go_on.wait()
        await peer.send(chunk(b"you") + b"0\r\n\r\n")

    deadlines = Deadlines(first_byte_s=0.05, idle_s=0.05, total_s=5)
    reply = await world.send(await world.server(script), deadlines=deadlines)
    await asyncio.sleep(0.1)
    go_on.set()
    assert await reply.read(8) == b"helloyou"


async def test_total_bounds_the_connect(world: World) -> None:
    server = await world.server(always(CHUNKED))
    client = world.client(connections_per_origin_max=1)
    held = await world.send(server, client)
    loop = asyncio.get_running_loop()
    start = loop.time()
    await failure(world.send(server, client, deadlines=Deadlines(connect_s=3, total_s=0.05)))
    assert loop.time() - start < 1
    await held.close()


async def test_a_server_that_does_not_read(world: World) -> None:
    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()
        await asyncio.sleep(1)

    error = await outcome(world, await world.server(script), deadlines=BRIEF, body=b"x" * 30_000_000)
    assert error.kind is UpstreamKind.TIMEOUT


# Keep-alive.


async def test_an_early_reply_is_read_though_the_body_is_not_taken(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(sized(b"too large", status=b"413 Too Large"))
        await peer.gone()

    server = await world.server(script)
    client = world.client()
    reply = await world.send(server, client, body=b"x" * 30_000_000)
    assert reply.status == 413
    assert await reply.read(100) == b"too large"
    await reply.close()
    await (await world.send(server, client)).close()
    assert server.accepted == 2, "half of a body is still in the first connection"


@pytest.mark.parametrize(
    "raw",
    [
        sized(b"hello", b"connection: close"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ],
)
async def test_connections_that_end(world: World, raw: bytes) -> None:
    server = await world.server(always(raw))
    client = world.client()
    for number in (1, 2):
        reply = await world.send(server, client)
        assert await reply.read(5) == b"hello"
        assert server.accepted == number


async def test_bytes_after_the_reply_poison_the_connection(world: World) -> None:
    evil = sized(b"evil!")
    server = await world.server(always(sized(b"hello") + evil))
    client = world.client()
    for number in (1, 2):
        reply = await world.send(server, client)
        assert await reply.read(5) == b"hello"
        await reply.close()
        assert server.accepted == number


@lean_only("aiohttp takes them for the next reply")
async def test_bytes_sent_to_an_idle_connection_poison_it(world: World) -> None:
    read, said = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(b"hello"))
        if peer.number == 1:
            await read.wait()
            await peer.send(sized(b"evil!"))
            said.set()
            await peer.gone()

    server = await world.server(script)
    client = world.client()
    assert await (await world.send(server, client)).read(5) == b"hello"
    read.set()
    await said.wait()
    await asyncio.sleep(0.01)
    assert await (await world.send(server, client)).read(5) == b"hello"
    assert server.accepted == 2
