"""Connections of the lean client: reuse, resending, turns, warming, names."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

import pytest
from scripted_server import CHUNKED, OK, Peer, always, sized
from upstream_world import World, failure, request

from llm_router.adapters.upstream.deadline import GRAIN_S, Deadline
from llm_router.adapters.upstream.pool import Pool
from llm_router.adapters.upstream.protocol import Connection
from llm_router.adapters.upstream.reply import LeanReply
from llm_router.domain.errors import UpstreamKind
from llm_router.ports import Deadlines

LEAN_ONLY = True


async def first_call(world: World, server, client) -> None:
    """Make one connection that has served."""
    assert await (await world.send(server, client)).read(5) == b"hello"


@pytest.mark.parametrize("how", ["eof", "reset", "eof after the head of the request"])
async def test_stale_connection_is_replaced_once(world: World, how: str) -> None:
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(sized(b"hello"))
        if peer.number == 1:
            if how == "eof after the head of the request":
                await peer.reader.readuntil(b"\r\n\r\n")
            else:
                await peer.reader.read(1)
                if how == "reset":
                    peer.reset()
            return
        seen.append(await peer.request())
        await peer.send(sized(b"hello"))

    server = await world.server(script)
    client = world.client()
    await first_call(world, server, client)
    await first_call(world, server, client)
    assert server.accepted == 2
    assert [body for _, body in seen] == [b'{"model":"m"}'] * 2


async def test_a_fresh_connection_that_closes_is_an_error(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    server = await world.server(script)
    error = await failure(world.send(server))
    assert (error.kind, error.sent) == (UpstreamKind.UNAVAILABLE, True)
    assert server.accepted == 1


async def test_only_one_second_try(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            await peer.send(sized(b"hello"))
            await peer.request()

    server = await world.server(script)
    client = world.client()
    await first_call(world, server, client)
    error = await failure(world.send(server, client))
    assert (error.kind, server.accepted) == (UpstreamKind.UNAVAILABLE, 2)


@pytest.mark.parametrize("said", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", OK])
async def test_one_byte_of_a_reply_forbids_the_second_try(world: World, said: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(b"hello"))
        await peer.request()
        await peer.send(said)

    server = await world.server(script)
    client = world.client()
    await first_call(world, server, client)
    error = await failure(world.send(server, client))
    assert (error.kind, error.sent, server.accepted) == (UpstreamKind.UNAVAILABLE, True, 1)


async def test_a_timeout_forbids_the_second_try(world: World) -> None:
    server = await world.server(_hello_once_then_silence)
    client = world.client()
    await first_call(world, server, client)
    error = await failure(world.send(server, client, deadlines=Deadlines(first_byte_s=0.03, total_s=2)))
    assert (error.kind, server.accepted) == (UpstreamKind.TIMEOUT, 1)


async def _hello_once_then_silence(peer: Peer) -> None:
    await peer.request()
    await peer.send(sized(b"hello"))
    await peer.gone()


async def test_the_second_try_is_on_a_fresh_connection(world: World) -> None:
    """Several stale connections in the pool must not use up the one retry."""
    three, proceed = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 3:
            three.set()
        if peer.number <= 3:
            await proceed.wait()
            await peer.send(sized(b"hello"))
            await peer.reader.read(1)
            peer.reset()
        else:
            await peer.send(sized(b"hello"))

    server = await world.server(script)
    client = world.client(connections_per_origin_max=3)
    calls = [asyncio.ensure_future(first_call(world, server, client)) for _ in range(3)]
    await three.wait()
    proceed.set()
    await asyncio.gather(*calls)
    await first_call(world, server, client)
    assert server.accepted == 4


async def test_idle_connections_are_closed_in_time(world: World) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(b"hello"))
        await peer.gone()
        gone.set()

    server = await world.server(script)
    await first_call(world, server, world.client(idle_s=0.03))
    await gone.wait()


async def test_the_servers_own_keep_alive_time_counts(world: World) -> None:
    server = await world.server(always(sized(b"hello", b"keep-alive: timeout=1, max=100")))
    client = world.client()
    await first_call(world, server, client)
    await first_call(world, server, client)
    assert server.accepted == 2


async def test_the_connection_used_last_is_used_next(world: World) -> None:
    numbers = []
    both = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            numbers.append(peer.number)
            if len(numbers) == 2:
                both.set()
            await both.wait()
            await peer.send(sized(b"hello"))

    server = await world.server(script)
    client = world.client()
    calls = [asyncio.ensure_future(first_call(world, server, client)) for _ in range(2)]
    await both.wait()
    await asyncio.gather(*calls)
    for _ in range(3):
        await first_call(world, server, client)
    assert len(set(numbers[2:])) == 1


async def test_turns_are_first_come_first_served(world: World) -> None:
    order = []

    async def script(peer: Peer) -> None:
        while True:
            order.append((await peer.request())[1])
            await peer.send(sized(b"hello"))

    server = await world.server(script)
    client = world.client(connections_per_origin_max=2)
    bodies = [b"%02d" % number for number in range(20)]

    async def call(body: bytes) -> None:
        await (await world.send(server, client, body=body)).read(5)

    await asyncio.gather(*(call(body) for body in bodies))
    assert order[2:] == sorted(order[2:])
    assert sorted(order) == bodies


async def test_a_full_queue_refuses_at_once(world: World) -> None:
    server = await world.server(always(CHUNKED))
    client = world.client(connections_per_origin_max=1, waiters_per_origin_max=1)
    held = await world.send(server, client)
    waiting = asyncio.ensure_future(world.send(server, client))
    await asyncio.sleep(0)
    error = await failure(world.send(server, client))
    assert (error.kind, error.sent) == (UpstreamKind.UNAVAILABLE, False)
    assert "1 calls already wait" in error.message
    await held.close()
    await (await waiting).close()


async def test_failed_calls_give_their_slot_back(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        match peer.number % 4:
            case 0:
                await peer.send(b"nonsense")
            case 1:
                await peer.send(OK + b"content-length: 5\r\n\r\nhel")
            case 2:
                peer.reset()
            case 3:
                await peer.gone()

    server = await world.server(script)
    client = world.client(connections_per_origin_max=1)
    for _ in range(12):
        with pytest.raises(Exception, match=r"127\.0\.0\.1"):
            await (await world.send(server, client, deadlines=Deadlines(first_byte_s=0.02, total_s=2))).read(
                5
            )
    assert server.accepted == 12
    assert server.open_max <= 2  # the old one may not have been told yet


async def test_warm_connection_is_ready(world: World) -> None:
    server = await world.server(always(sized(b"hello")))
    client = world.client()
    assert not client.is_warm(server.url())
    await client.warm(server.url())
    assert client.is_warm(server.url())
    await client.warm(server.url())
    await first_call(world, server, client)
    assert server.accepted == 1


async def test_a_call_takes_the_connection_being_warmed(world: World) -> None:
    server = await world.server(always(sized(b"hello")))
    client = world.client()
    warming = asyncio.ensure_future(client.warm(server.url()))
    await asyncio.sleep(0)
    await first_call(world, server, client)
    await warming
    assert server.accepted == 1


async def test_a_failed_warming_is_silent_and_the_call_tells(world: World) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    client = world.client()
    warming = asyncio.ensure_future(client.warm(url))
    await asyncio.sleep(0)
    error = await failure(client.send(request(url), Deadlines()))
    assert "refused" in error.message
    await warming


async def test_names_are_resolved_once_for_a_while(world: World) -> None:
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        await asyncio.sleep(0)
        return ["127.0.0.1"]

    server = await world.server(always(sized(b"hello", b"connection: close")))
    client = world.client(resolve=resolve)
    url = f"http://provider.test:{server.port}/"
    for _ in range(3):
        await asyncio.gather(*(client.send(request(url), Deadlines()) for _ in range(4)))
    assert asked == [("provider.test", server.port)]


async def test_the_next_address_is_tried(world: World) -> None:
    server = await world.server(always(sized(b"hello", b"connection: close")))
    tried = []

    async def resolve(host: str, port: int) -> list[str]:
        tried.append(host)
        return ["127.0.0.2", "127.0.0.1"]  # nobody listens on the first

    client = world.client(resolve=resolve)
    for _ in range(2):
        reply = await client.send(request(f"http://provider.test:{server.port}/"), Deadlines())
        assert await reply.read(5) == b"hello"
    assert tried == ["provider.test"]


async def test_a_name_that_hangs_is_bounded(world: World) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    client = world.client(resolve=resolve)
    error = await failure(client.send(request("http://provider.test/"), Deadlines(connect_s=0.02)))
    assert (error.kind, error.sent) == (UpstreamKind.TIMEOUT, False)
    assert "name" in error.message
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_nothing_is_left_over(world: World) -> None:
    """No task, no timer's owner, no reply once calls have ended."""

    def alive() -> list[object]:
        gc.collect()
        return [o for o in gc.get_objects() if type(o) in (LeanReply, Connection)]

    earlier = alive()  # of other tests
    server = await world.server(always(sized(b"hello", b"connection: close")))
    client = world.client()
    before = asyncio.all_tasks()
    for _ in range(5):
        await first_call(world, server, client)
    await client.close()
    assert [o for o in alive() if not any(o is old for old in earlier)] == []
    assert {task for task in asyncio.all_tasks() - before if "Server" not in repr(task)} == set()


# Turns that go wrong at the worst moment.


class FakeConnection:
    """What a pool needs of a connection."""

    def __init__(self) -> None:
        self.owner: object = None
        self.keep_s = None
        self.lost = False
        self.usable = True

    def park(self, until: float) -> None:
        pass

    def close(self) -> None:
        self.usable = False


def small_pool(made: list[FakeConnection]) -> Pool:
    async def connect(until: float) -> FakeConnection:
        made.append(FakeConnection())
        return made[-1]

    loop = asyncio.get_running_loop()
    return Pool(loop, "host:1", connect, size=1, waiters_max=9, idle_s=9.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("gone", [False, True])
async def test_who_is_cancelled_while_being_served_passes_it_on(world: World, gone: bool) -> None:
    made: list[FakeConnection] = []
    pool = small_pool(made)
    until = asyncio.get_running_loop().time() + 5
    first: Any = await pool.acquire(until)
    waiting = [asyncio.ensure_future(pool.acquire(until)) for _ in range(2)]
    await asyncio.sleep(0)
    if gone:
        first.lost, first.usable = True, False
        pool.lost(first)
    else:
        pool.freed(first)
    waiting[0].cancel()
    second: Any = await waiting[1]
    assert waiting[0].cancelled()
    assert (second is first, len(made)) == (not gone, 2 if gone else 1)


async def test_who_needs_a_fresh_one_replaces_an_idle_one(world: World) -> None:
    made: list[FakeConnection] = []
    pool = small_pool(made)
    until = asyncio.get_running_loop().time() + 5
    first: Any = await pool.acquire(until)
    pool.freed(first)
    asking = asyncio.ensure_future(pool.acquire(until, fresh=True))
    await asyncio.sleep(0)
    assert not first.usable
    first.lost = True
    pool.lost(first)  # as the transport would tell
    assert (await asking) is made[1]


async def test_who_needs_a_fresh_one_is_not_given_a_used_one(world: World) -> None:
    made: list[FakeConnection] = []
    pool = small_pool(made)
    until = asyncio.get_running_loop().time() + 5
    first: Any = await pool.acquire(until)
    asking = asyncio.ensure_future(pool.acquire(until, fresh=True))
    await asyncio.sleep(0)
    pool.freed(first)
    assert (await asking) is made[1]
    assert not first.usable


async def test_a_connection_that_dies_on_the_way_is_not_given(world: World) -> None:
    made: list[FakeConnection] = []
    pool = small_pool(made)
    until = asyncio.get_running_loop().time() + 5
    first: Any = await pool.acquire(until)
    asking = asyncio.ensure_future(pool.acquire(until))
    await asyncio.sleep(0)
    pool.freed(first)
    first.lost, first.usable = True, False
    pool.lost(first)
    assert (await asking) is made[1]


# The lazy timer.


async def test_deadline_fires_at_the_time_last_set(world: World) -> None:
    loop = asyncio.get_running_loop()
    fired = asyncio.Event()
    deadline = Deadline(loop, fired.set)
    start = loop.time()
    deadline.move(start + 9)
    deadline.move(start + 0.02)  # earlier: the timer is moved
    deadline.move(start + 0.06)  # later: only a number
    await fired.wait()
    assert 0.055 <= loop.time() - start < 1


class CountingLoop:
    """Counts timers; time stands where it is put."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, object]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, callback, *args):
        self.timers.append((at, callback))
        return self

    def cancel(self) -> None:
        self.timers.pop()


def test_a_deadline_to_and_fro_costs_one_timer() -> None:
    loop, fired = CountingLoop(), []
    deadline = Deadline(loop, lambda: fired.append(loop.now))  # type: ignore[arg-type]
    for _ in range(100):
        deadline.move(60.0)
        deadline.move(30.0)
    assert [at for at, _ in loop.timers] == [GRAIN_S]
    deadline.move(7.0)
    for _ in range(2):
        loop.now, callback = loop.timers.pop()
        callback()  # type: ignore[operator]
    assert fired == [7.0]
    assert loop.timers == []
