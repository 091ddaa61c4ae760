"""What both clients do alike, against a server that follows a script."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest
from scripted_server import CHUNKED, OK, Peer, always, chunk, sized
from upstream_world import World, failure, request

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.ports import Deadlines

MIB = 1024 * 1024


async def collect(reply) -> list[bytes]:
    return [piece async for piece in reply.chunks()]


# What goes out.


async def test_request_is_written_once_and_whole(world: World) -> None:
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(sized(b"{}"))

    server = await world.server(script)
    reply = await world.client().send(request(server.url("/v1/x?key=a%2Fb&c")), Deadlines())
    assert await reply.read(10) == b"{}"
    head, body = seen[0]
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/x?key=a%2Fb&c HTTP/1.1"
    fields = [line.partition(": ") for line in lines[1:-2]]
    values = {name.lower(): value for name, _, value in fields}
    assert len(values) == len(fields)
    assert values["host"] == f"127.0.0.1:{server.port}"
    assert values["content-length"] == "13"
    assert values["authorization"] == "Bearer sk-canary-1"
    assert values["accept-encoding"] == "identity"
    assert values["user-agent"] == "llm-router"
    assert body == b'{"model":"m"}'


async def test_the_callers_own_headers_win(world: World) -> None:
    seen = []

    async def script(peer: Peer) -> None:
        seen.append((await peer.request())[0].lower())
        await peer.send(sized(b""))

    server = await world.server(script)
    headers = (("Accept-Encoding", "gzip"), ("User-Agent", "mine"))
    reply = await world.send(server, headers=headers)
    await reply.close()
    assert b"accept-encoding: gzip" in seen[0]
    assert b"identity" not in seen[0]
    assert b"user-agent: mine" in seen[0]


async def test_large_body_goes_out_whole(world: World) -> None:
    body = bytes(range(256)) * 16 * 1024  # 4 MiB
    seen = []

    async def script(peer: Peer) -> None:
        seen.append((await peer.request())[1])
        await peer.send(sized(b"ok"))
        seen.append((await peer.request())[1])
        await peer.send(sized(b"ok"))

    server = await world.server(script)
    client = world.client()
    for _ in range(2):
        reply = await world.send(server, client, body=body)
        assert await reply.read(2) == b"ok"
    assert seen == [body, body]
    assert server.accepted == 1


@pytest.mark.parametrize(
    "header",
    [
        ("x-key", "sk-canary\r\nhost: evil"),
        ("x-key", "sk-canary\n"),
        ("x-key", "sk-canary\0"),
        ("x key", "sk-canary"),
        ("x-key\r\nhost", "sk-canary"),
        ("x-key:", "sk-canary"),
        ("", "sk-canary"),
        ("x-key", "sk-canary ☃"),
        ("Host", "evil"),
        ("Content-Length", "1"),
        ("Transfer-Encoding", "chunked"),
    ],
)
async def test_bad_headers_are_refused_before_connect(world: World, header: tuple[str, str]) -> None:
    server = await world.server(always(sized(b"")))
    error = await failure(world.send(server, headers=(("accept", "*/*"), header)))
    assert (error.kind, error.sent) == (UpstreamKind.UNAVAILABLE, False)
    assert server.accepted == 0


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "/v1",
        "http://",
        "http://user:sk-canary@a/",
        "http://a/\r\nx: sk-canary",
        "http://a b/",
        "http://a:99999/",
        "http://a:0/",
        "http://a\\b/",
        "http://a/#@b",
    ],
)
async def test_bad_urls_are_refused(world: World, url: str) -> None:
    error = await failure(world.client().send(request(url), Deadlines()))
    assert (error.kind, error.sent) == (UpstreamKind.UNAVAILABLE, False)


async def test_unknown_method_is_refused(world: World) -> None:
    server = await world.server(always(sized(b"")))
    error = await failure(world.send(server, method="GET / HTTP/1.1\r\nx:"))
    assert (error.kind, server.accepted) == (UpstreamKind.UNAVAILABLE, 0)


# Bodies that are whole.

BODIES = {
    "sized": ([sized(b"hello")], b"hello"),
    "sized, cut": ([sized(b"hello")[:-2], b"lo"], b"hello"),
    "empty": ([sized(b"")], b""),
    "chunked": ([CHUNKED + chunk(b"hel") + chunk(b"lo") + b"0\r\n\r\n"], b"hello"),
    "chunk extensions": (
        [CHUNKED + chunk(b"hel", b";a=b") + chunk(b"lo", b';c="d"') + b"0;e\r\n\r\n"],
        b"hello",
    ),
    "trailers": ([CHUNKED + chunk(b"hello") + b"0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n"], b"hello"),
    "upper-case hex": ([CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n"], b"0123456789"),
    "100 before": ([b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"hello")], b"hello"),
    "103 before": ([b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", sized(b"hello")], b"hello"),
    "no reason": ([b"HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello"], b"hello"),
    "gzip": ([sized(gzip.compress(b"hello" * 99), b"content-encoding: gzip")], b"hello" * 99),
    "x-gzip": ([sized(gzip.compress(b"hello"), b"Content-Encoding: GZIP")], b"hello"),
    "deflate": ([sized(zlib.compress(b"hello"), b"content-encoding: deflate")], b"hello"),
    "raw deflate": (
        [sized(zlib.compress(b"hello", wbits=-15), b"content-encoding: deflate")],
        b"hello",
    ),
    "gzip, chunked": (
        [
            OK + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
            chunk(gzip.compress(b"hello")[:9]),
            chunk(gzip.compress(b"hello")[9:]) + b"0\r\n\r\n",
        ],
        b"hello",
    ),
    "identity": ([sized(b"hello", b"content-encoding: identity")], b"hello"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_whole_bodies(world: World, case: str) -> None:
    pieces, body = BODIES[case]
    server = await world.server(always(*pieces))
    client = world.client()
    for _ in range(2):
        reply = await world.send(server, client)
        assert reply.status == 200
        assert b"".join(await collect(reply)) == body
        await reply.close()
    reply = await world.send(server, client)
    assert await reply.read(len(body)) == body
    await reply.close()
    assert server.accepted == 1, "the connection is used again"


@pytest.mark.parametrize("case", BODIES)
async def test_whole_bodies_byte_by_byte(world: World, case: str) -> None:
    pieces, body = BODIES[case]
    raw = b"".join(pieces)
    server = await world.server(always(*(raw[at : at + 1] for at in range(len(raw)))))
    reply = await world.send(server)
    assert await reply.read(len(body)) == body


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
    ],
)
async def test_replies_without_body(world: World, head: bytes) -> None:
    server = await world.server(always(head))
    client = world.client()
    for _ in range(2):
        reply = await world.send(server, client)
        assert await reply.read(0) == b""
        await reply.close()
    assert server.accepted == 1


async def test_head_request(world: World) -> None:
    server = await world.server(always(OK + b"content-length: 1000\r\n\r\n"))
    reply = await world.send(server, method="HEAD", body=b"")
    assert reply.headers["content-length"] == "1000"
    assert await reply.read(0) == b""


async def test_body_until_close(world: World) -> None:
    server = await world.server(always(OK + b"\r\nhel", b"lo", close=True))
    client = world.client()
    for number in (1, 2):
        reply = await world.send(server, client)
        assert b"".join(await collect(reply)) == b"hello"
        assert server.accepted == number


async def test_status_and_headers(world: World) -> None:
    head = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7 \r\nX-A: 1\r\nx-a: 2\r\nX-Empty:\r\nX-L: \xe9\r\n"
    server = await world.server(always(head + b"content-length: 2\r\n\r\n{}"))
    reply = await world.send(server)
    assert reply.status == 429
    assert reply.headers["retry-after"] == "7"
    assert reply.headers["x-a"] == "1, 2"
    assert reply.headers["x-empty"] == ""
    assert await reply.read(2) == b"{}"


async def test_redirects_are_not_followed_and_cookies_not_kept(world: World) -> None:
    seen = []

    async def script(peer: Peer) -> None:
        while True:
            seen.append((await peer.request())[0])
            await peer.send(
                b"HTTP/1.1 307 T\r\nlocation: /evil\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"
            )

    server = await world.server(script)
    client = world.client()
    for _ in range(2):
        reply = await world.send(server, client)
        assert reply.status == 307
        assert await reply.read(0) == b""
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


async def test_proxies_of_the_environment_are_ignored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = await world.server(always(sized(b"ok")))
    assert await (await world.send(server)).read(2) == b"ok"


async def test_read_refuses_what_is_too_large(world: World) -> None:
    declared = await world.server(always(sized(b"x" * 101)))
    error = await failure((await world.send(declared)).read(100))
    assert error.kind is UpstreamKind.MALFORMED

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(chunk(b"x" * 1000))

    endless = await world.server(script)
    error = await failure((await world.send(endless)).read(100_000))
    assert error.kind is UpstreamKind.MALFORMED
    assert "100000 bytes" in error.message


async def test_many_calls_share_few_connections(world: World) -> None:
    server = await world.server(always(CHUNKED, chunk(b"a"), chunk(b"b"), b"0\r\n\r\n"))
    client = world.client(connections_per_origin_max=8)

    async def call() -> bytes:
        return await (await world.send(server, client)).read(10)

    assert await asyncio.gather(*(call() for _ in range(200))) == [b"ab"] * 200
    assert server.accepted <= 8
    assert server.open_max <= 8


async def test_no_free_connection_says_so(world: World) -> None:
    server = await world.server(always(CHUNKED))
    client = world.client(connections_per_origin_max=1)
    held = await world.send(server, client)
    error = await failure(world.send(server, client, deadlines=Deadlines(connect_s=0.05, total_s=3)))
    assert (error.kind, error.sent) == (UpstreamKind.UNAVAILABLE, False)
    assert "overloaded here" in error.message
    await held.close()
    await (await world.send(server, client)).close()


async def test_close_before_the_end_closes_the_connection(world: World) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"hello"))
        await peer.gone()
        gone.set()

    server = await world.server(script)
    reply = await world.send(server)
    assert await anext(reply.chunks()) == b"hello"
    await reply.close()
    await gone.wait()
    with pytest.raises(UpstreamError):  # never looks like an end
        await anext(reply.chunks())
    await reply.close()


@pytest.mark.parametrize("sent_first", [b"", OK, CHUNKED, CHUNKED + chunk(b"hello")])
async def test_cancelling_closes_the_connection(world: World, sent_first: bytes) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent_first)
        asked.set()
        await peer.gone()
        gone.set()

    server = await world.server(script)

    async def call() -> None:
        await (await world.send(server)).read(100)

    task = asyncio.ensure_future(call())
    await asked.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone.wait()


async def test_cancelling_who_waits_for_a_connection_frees_its_place(world: World) -> None:
    server = await world.server(always(CHUNKED))
    client = world.client(connections_per_origin_max=1)
    held = await world.send(server, client)
    waiting = [asyncio.ensure_future(world.send(server, client)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    await held.close()
    await (await waiting[2]).close()
    assert all(task.cancelled() for task in waiting[:2])
    await (await world.send(server, client)).close()


async def test_a_reader_that_does_not_read_stops_the_server(world: World) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(OK + b"content-length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            await peer.send(b"x" * MIB)
            sent += 1

    server = await world.server(script)
    reply = await world.send(server, world.client(buffer_bytes_max=64 * 1024))
    before = -1
    while sent != before:  # until the kernel's buffers are full
        before = sent
        await asyncio.sleep(0.1)
    assert sent < 32
    assert len(await reply.read(64 * MIB)) == 64 * MIB


async def test_a_compressed_body_grows_only_as_it_is_read(world: World) -> None:
    packed = gzip.compress(b"x" * (4 * MIB), 9) + gzip.compress(b"y" * 10)
    noise = gzip.compress(bytes(range(256)) * 400)
    server = await world.server(always(sized(noise, b"content-encoding: gzip")))
    pieces = await collect(await world.send(server))
    assert b"".join(pieces) == bytes(range(256)) * 400
    bomb = await world.server(always(sized(packed, b"content-encoding: gzip")))
    reply = await world.send(bomb)
    error = await failure(reply.read(MIB))
    assert error.kind is UpstreamKind.MALFORMED


async def test_close_of_the_client_ends_what_is_open(world: World) -> None:
    server = await world.server(always(CHUNKED))
    client = world.client()
    reply = await world.send(server, client)
    waiting = asyncio.ensure_future(reply.read(10))
    await asyncio.sleep(0)
    await client.close()
    await failure(waiting)
    await failure(world.send(server, client))
