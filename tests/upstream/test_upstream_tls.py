"""TLS: verified always, with SNI, in both clients."""

from __future__ import annotations

import asyncio
import ssl
from types import SimpleNamespace
from typing import cast

import pytest
from scripted_server import OK, Peer, Script, always, sized
from upstream_world import Authority, World, failure, lean_only, request

from llm_router.adapters.upstream import tls
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


def resumed(taken_up: list[bool]) -> Script:
    """One answer a connection; notes of each whether its session was taken up."""

    async def script(peer: Peer) -> None:
        taken_up.append(peer.writer.get_extra_info("ssl_object").session_reused)
        await peer.request()
        await peer.send(OK + b"content-length: 5\r\nconnection: close\r\n\r\nhello")

    return script


@lean_only("aiohttp begins anew each time")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_taken_up(world: World, authority: Authority, version: ssl.TLSVersion) -> None:
    context, taken_up = authority.server_context("127.0.0.1"), list[bool]()
    context.minimum_version = context.maximum_version = version
    server = await world.server(resumed(taken_up), context)
    client = world.client(ssl_context=authority.client_context())
    for _ in range(4):
        reply = await world.send(server, client)
        assert await reply.read(5) == b"hello"
    assert taken_up == [False, True, True, True]


@lean_only("aiohttp begins anew each time")
async def test_a_session_does_not_stand_in_for_another_certificate(
    world: World, authority: Authority
) -> None:
    """Another server under the same address has to show its own."""
    taken_up: list[bool] = []
    client = world.client(ssl_context=authority.client_context())
    first = await world.server(resumed(taken_up), authority.server_context("127.0.0.1"))
    await (await world.send(first, client)).read(5)
    impostor = await world.server(resumed(taken_up), authority.server_context("127.0.0.1", days=-1))
    error = await failure(world.send(impostor, client))
    assert (error.kind, error.sent) == (UpstreamKind.UNAVAILABLE, False)
    assert "certificate" in error.message
    await (await world.send(first, client)).read(5)
    assert taken_up == [False, False]  # what failed is not offered again


@lean_only("aiohttp begins anew each time")
async def test_certificates_are_looked_at_again_after_a_while(
    world: World, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_up: list[bool] = []
    server = await world.server(resumed(taken_up), authority.server_context("127.0.0.1"))
    client = world.client(ssl_context=authority.client_context())
    for verified_s in (3600.0, -1.0, 3600.0, 3600.0):
        monkeypatch.setattr(tls, "VERIFIED_S", verified_s)
        await (await world.send(server, client)).read(5)
    assert taken_up == [False, True, True, True]
    for verified_s in (-1.0, 3600.0, 3600.0):
        monkeypatch.setattr(tls, "VERIFIED_S", verified_s)
        fresh = world.client(ssl_context=authority.client_context())
        await (await world.send(server, fresh)).read(5)
        await (await world.send(server, fresh)).read(5)
    assert taken_up[4:] == [False, False, False, True, False, True]


def test_only_so_many_hosts_are_known(authority: Authority) -> None:
    sessions = tls.Sessions(lambda: 0.0)
    for number in range(tls.HOSTS_MAX + 9):
        sessions.keep(
            cast(
                ssl.SSLObject,
                SimpleNamespace(server_hostname=str(number), session=object(), session_reused=False),
            )
        )
    assert len(sessions._known) == tls.HOSTS_MAX


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


@lean_only("aiohttp begins anew each time")
async def test_a_session_that_a_server_cuts_off_is_not_offered_again(
    world: World, authority: Authority
) -> None:
    """A server, or what is before it, may close where it does not know a session, and says nothing of it."""
    taken_up, cut = list[bool](), list[bytes]()

    async def cutting(peer: Peer) -> None:
        cut.append(await peer.reader.readexactly(1))
        peer.writer.transport.abort()

    context = authority.server_context("127.0.0.1")
    first = await world.server(resumed(taken_up), context)
    breaker = await world.server(cutting)
    client = world.client(ssl_context=authority.client_context())
    for _ in range(2):
        await (await world.send(first, client)).read(5)
    error = await failure(client.send(request(f"https://127.0.0.1:{breaker.port}/"), Deadlines()))
    assert (error.kind, error.sent) == (UpstreamKind.UNAVAILABLE, False)
    assert cut == [b"\x16"]
    for _ in range(2):
        await (await world.send(first, client)).read(5)
    assert taken_up == [False, True, False, True]


def test_what_was_taken_up_is_no_look_at_a_certificate() -> None:
    """Not even where its answer comes behind the time of the next look."""
    now_s = 0.0
    sessions = tls.Sessions(lambda: now_s)

    def connection(*, reused: bool = False) -> ssl.SSLObject:
        return cast(
            ssl.SSLObject, SimpleNamespace(server_hostname="a.test", session=None, session_reused=reused)
        )

    def ended(tls_: ssl.SSLObject) -> None:
        cast(SimpleNamespace, tls_).session = object()
        sessions.keep(tls_)

    def offered() -> bool:
        tls_ = connection()
        sessions._offer(tls_)
        return tls_.session is not None

    ended(connection())
    assert offered()
    now_s = tls.VERIFIED_S + 1
    assert not offered()
    ended(connection(reused=True))
    assert not offered()
    ended(connection())
    assert offered()
