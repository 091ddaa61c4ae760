"""TLS: verified always, with SNI, in both clients."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from scripted_server import OK, Peer, always, sized
from upstream_world import Authority, World, failure, lean_only, request

from llm_router.adapters.upstream.tls import verified_context
from llm_router.domain.errors import UpstreamKind
from llm_router.ports import Deadlines


async def test_right_certificate(world: World, authority: Authority) -> None:
    server = await world.server(always(sized(b"hello")), authority.server_context("127.0.0.1"))
    client = world.client(ssl_context=authority.client_context())
    for _ in range(2):
        reply = await world.send(server, client)
        assert await reply.read(5) == b"hello"
    assert server.accepted == 1


async def test_server_name_is_sent(world: World, authority: Authority) -> None:
    names = []
    context = authority.server_context("localhost")
    context.sni_callback = lambda _, name, __: names.append(name)
    server = await world.server(always(sized(b"hello")), context)
    client = world.client(ssl_context=authority.client_context())
    reply = await client.send(request(f"https://localhost.:{server.port}/"), Deadlines())
    assert await reply.read(5) == b"hello"
    assert names == ["localhost"]


@pytest.mark.parametrize("case", ["wrong host", "expired", "self-signed", "unknown authority"])
async def test_wrong_certificates_are_refused(world: World, authority: Authority, case: str) -> None:
    context = {
        "wrong host": lambda: authority.server_context("other.test"),
        "expired": lambda: authority.server_context("127.0.0.1", days=-1),
        "self-signed": lambda: authority.server_context("127.0.0.1", own=True),
        "unknown authority": lambda: authority.server_context("127.0.0.1"),
    }[case]()
    asked = []

    async def script(peer: Peer) -> None:
        asked.append(await peer.request())

    server = await world.server(script, context)
    trust = ssl.create_default_context() if case == "unknown authority" else authority.client_context()
    error = await failure(world.send(server, world.client(ssl_context=trust)))
    assert (error.kind, error.sent) == (UpstreamKind.UNAVAILABLE, False)
    assert "certificate" in error.message
    assert asked == []


async def test_plain_http_on_a_tls_port(world: World, authority: Authority) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    server = await world.server(script)
    client = world.client(ssl_context=authority.client_context())
    error = await failure(client.send(request(f"https://127.0.0.1:{server.port}/"), Deadlines()))
    assert (error.kind, error.sent) == (UpstreamKind.UNAVAILABLE, False)


async def test_large_bodies_both_ways(world: World, authority: Authority) -> None:
    seen = []

    async def script(peer: Peer) -> None:
        seen.append((await peer.request())[1])
        await peer.send(sized(seen[0]))

    server = await world.server(script, authority.server_context("127.0.0.1"))
    body = bytes(range(256)) * 8192
    reply = await world.send(server, world.client(ssl_context=authority.client_context()), body=body)
    assert await reply.read(len(body)) == body
    assert seen == [body]


async def test_body_until_close(world: World, authority: Authority) -> None:
    server = await world.server(
        always(OK + b"\r\nhel", b"lo", close=True), authority.server_context("127.0.0.1")
    )
    reply = await world.send(server, world.client(ssl_context=authority.client_context()))
    assert await reply.read(5) == b"hello"


def test_default_context_verifies() -> None:
    context = verified_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@lean_only("aiohttp takes it for whole")
async def test_body_until_a_close_without_goodbye_is_truncated(world: World, authority: Authority) -> None:
    """Anyone on the way can forge a FIN, but not TLS's close_notify."""
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"\r\nhello")
        await read.wait()
        peer.writer.transport.abort()

    server = await world.server(script, authority.server_context("127.0.0.1"))
    reply = await world.send(server, world.client(ssl_context=authority.client_context()))
    chunks = reply.chunks()
    assert await anext(chunks) == b"hello"
    read.set()
    error = await failure(anext(chunks))
    assert error.kind is UpstreamKind.TRUNCATED
