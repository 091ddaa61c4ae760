"""Calls that are listened to: sent at once where a connection is ready, else as soon as one is made."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from scripted_server import CHUNKED, Peer, always, chunk, sized
from upstream_world import Authority, World, request

from llm_router.domain.errors import UpstreamKind
from llm_router.ports import Deadlines

LEAN_ONLY = True


class Ear:
    """A listener that can be waited for. ``taken``: what it took at once, if it does that."""

    def __init__(self, *, takes: bool = False) -> None:
        self.told = asyncio.Event()
        self.takes = takes
        self.taken: list[bytes] = []

    def on_upstream(self) -> None:
        self.told.set()

    def on_more(self, data: bytes) -> bool:
        if self.takes:
            self.taken.append(data)
            self.told.set()
        return self.takes


def launch(client: Any, url: str, ear: Ear, deadlines: Deadlines | None = None) -> Any:
    return client.prepare(request(url)).launch(b'{"model":"m"}', deadlines or Deadlines(), 30.0, ear)


async def whole(reply: Any, ear: Ear) -> bytes:
    """The body, by what the listener is told."""
    body = b""
    while not reply.complete:
        await ear.told.wait()
        ear.told.clear()
        assert reply.failure is None
        body += reply.take()
    return body + reply.take()


async def test_without_a_connection_it_is_sent_when_there_is_one(world: World) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def script(peer: Peer) -> None:
        while True:
            try:
                seen.append(await peer.request())
            except EOFError:
                return
            await peer.send(sized(b"hello"))

    server, client = await world.server(script), world.client()
    for _ in range(2):  # the second finds one ready
        ear = Ear()
        assert await whole(launch(client, server.url(), ear), ear) == b"hello"
    heads = [head for head, _ in seen]
    assert heads[0] == heads[1]
    assert [body for _, body in seen] == [b'{"model":"m"}'] * 2
    assert server.accepted == 1


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_a_body_in_pieces_comes_as_one(world: World, authority: Authority, secure: bool) -> None:
    """However large: a piece that the connection cannot take at once waits, and the next ones with it."""
    run = random.Random(5).randbytes(3_000_000)
    pieces = (b'{"a":"', memoryview(run)[:2_000_000], b'","b":"', memoryview(run)[1_000_000:], b'"}')
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            try:
                seen.append((await peer.request())[1])
            except EOFError:
                return
            await peer.send(sized(b"hello"))

    server = await world.server(script, authority.server_context("127.0.0.1") if secure else None)
    client, url = world.client(ssl_context=authority.client_context()), server.url()
    for _ in range(2):
        ear = Ear()
        reply = client.prepare(request(url)).launch(pieces, Deadlines(), 30.0, ear)
        assert await whole(reply, ear) == b"hello"
    assert seen == [b"".join(pieces)] * 2
    assert server.accepted == 1


async def test_many_at_once_get_a_connection_each(world: World) -> None:
    server, client = await world.server(always(sized(b"hello"))), world.client()
    ears = [Ear() for _ in range(5)]
    replies = [launch(client, server.url(), ear) for ear in ears]
    bodies = [await whole(reply, ear) for reply, ear in zip(replies, ears, strict=True)]
    assert (bodies, server.accepted) == ([b"hello"] * 5, 5)


async def test_a_connection_that_cannot_be_made_is_the_replys_failure(world: World) -> None:
    server = await world.server(always(sized(b"hello")))
    await server.close()
    ear = Ear()
    reply = launch(world.client(), server.url(), ear)
    await ear.told.wait()
    assert (reply.failure.kind, reply.failure.sent) == (UpstreamKind.UNAVAILABLE, False)
    assert (reply.complete, reply.stale, reply.status, reply.headers) == (False, False, 0, {})
    reply.abort()


async def test_no_connection_in_time_is_a_failure_too(world: World) -> None:
    asked = asyncio.Event()
    server, client = await world.server(silent(asked)), world.client(connections_per_origin_max=1)
    first = launch(client, server.url(), Ear())
    await asked.wait()
    ear = Ear()
    second = launch(client, server.url(), ear, Deadlines(connect_s=0.01))
    await ear.told.wait()
    assert (second.failure.kind, second.failure.sent) == (UpstreamKind.UNAVAILABLE, False)
    first.abort()


async def test_who_gives_up_before_there_is_a_connection_hears_no_more(world: World) -> None:
    answer, asked = asyncio.Event(), asyncio.Event()
    server, client = await world.server(silent(asked, answer)), world.client(connections_per_origin_max=1)
    first_ear, second_ear, third_ear = Ear(), Ear(), Ear()
    first = launch(client, server.url(), first_ear)
    await asked.wait()
    second = launch(client, server.url(), second_ear)
    third = launch(client, server.url(), third_ear)
    second.abort()
    answer.set()
    assert await whole(first, first_ear) == b"hello"
    assert await whole(third, third_ear) == b"hello"  # the turn went on to it
    assert not second_ear.told.is_set()
    assert server.accepted == 1


def silent(asked: asyncio.Event, answer: asyncio.Event | None = None) -> Any:
    """Answers when it may, else never."""

    async def script(peer: Peer) -> None:
        while True:
            try:
                await peer.request()
            except EOFError:
                return
            asked.set()
            if answer is None:
                await peer.gone()
                return
            await answer.wait()
            await peer.send(sized(b"hello"))

    return script


@pytest.mark.parametrize("takes", [False, True])
async def test_pieces_may_be_taken_as_they_come(world: World, takes: bool) -> None:
    pieces, go_on = [b"one", b"two", b"three"], asyncio.Queue[None]()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for piece in (*pieces, b""):
            await go_on.get()
            await peer.send(chunk(piece))

    server, ear = await world.server(script), Ear(takes=takes)
    reply = launch(world.client(), server.url(), ear)
    while not reply.status:
        await heard(ear)
    go_on.put_nowait(None)
    while (first := reply.take()) != b"one":
        assert first == b""
        await heard(ear)
    for number in range(1, 3):
        go_on.put_nowait(None)
        while (len(ear.taken) if takes else len(reply._pieces)) < number:
            await heard(ear)
    go_on.put_nowait(None)
    assert await whole(reply, ear) == (b"" if takes else b"twothree")
    assert ear.taken == (pieces[1:] if takes else [])  # the first waits for who takes it: it may be anything


async def test_what_waits_is_not_overtaken(world: World) -> None:
    go_on = asyncio.Queue[None]()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for piece in (b"one", b"two", b""):
            await go_on.get()
            await peer.send(chunk(piece))

    server, ear = await world.server(script), Ear()
    reply = launch(world.client(), server.url(), ear)
    go_on.put_nowait(None)
    while not reply._pieces:
        await heard(ear)
    ear.takes = True
    go_on.put_nowait(None)
    go_on.put_nowait(None)
    assert await whole(reply, ear) == b"onetwo"
    assert ear.taken == []


async def test_after_what_was_taken_at_once_more_is_due_in_time(world: World) -> None:
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await peer.send(chunk(b"one"))
        await read.wait()
        await peer.send(chunk(b"two"))
        await peer.request()

    server, ear = await world.server(script), Ear()
    reply = launch(world.client(), server.url(), ear, Deadlines(idle_s=0.05))
    while not reply.take():
        await heard(ear)
    reply.expect_content(more=True)
    reply.expect(0.05)
    ear.takes = True
    read.set()
    while reply.failure is None:
        await heard(ear)
    assert ear.taken in ([], [b"two"])  # if the machine was very busy, it came late
    assert reply.failure.kind == UpstreamKind.TIMEOUT
    assert "no further byte" in reply.failure.message


async def heard(ear: Ear) -> None:
    await ear.told.wait()
    ear.told.clear()
