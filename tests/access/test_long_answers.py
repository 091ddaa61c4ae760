"""A long answer ends when who asked for it may read it no more."""

from __future__ import annotations

import asyncio

import pytest
from api_kit import ACCOUNTS, World

from llm_router.edge.api.table import ApiRoute, Stream
from llm_router.edge.guard import LOOK_US
from llm_router.edge.http import Request

PERSON = f"{ACCOUNTS[0]}-admin"


class Watched:
    """In place of the gateway: a client that stays."""

    async def watched(self, request, work):
        await work


def told(tmp_path, over, *, ends, step_us=LOOK_US):
    """What of three pieces comes to somebody whose session ``ends`` behind the first; each look at the clock takes a
    step."""
    sent = []

    async def send(message):
        sent.append(message)

    async def main():
        world = await World.open(tmp_path)
        await world.fill()
        steps = iter(range(0, 1000 * step_us, step_us))
        world.clock.monotonic_us = lambda: next(steps)

        async def pieces():
            yield b"one "
            if ends:
                assert await world.directory.write([], [("sign_in", f"ses_{PERSON}")], [])
            yield b"two "
            yield b"three"

        async def handler(ask):
            return Stream(pieces=pieces(), content_type="text/plain", over=over)

        route = ApiRoute(
            method="GET", path="/api/v1/x", handler=handler, summary="x", permission="usage:read"
        )
        scope = {
            "method": "GET", "path": "/api/v1/x", "raw_path": b"/api/v1/x", "query_string": b"",
            "headers": [(b"cookie", f"llm_router_session={PERSON}".encode())], "client": ("127.0.0.1", 1),
        }  # fmt: skip
        try:
            await world.api((route,)).serve(Watched(), Request(scope, send), send, "/api/v1/x")
        finally:
            await world.close()

    try:
        asyncio.run(main())
    except ConnectionError:
        sent.append({"body": b"CUT"})
    return b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize("over", [None, b"end"])
def test_who_may_read_it_gets_all_of_it(tmp_path, over):
    assert told(tmp_path, over, ends=False) == b"one two three"


def test_an_export_breaks_off(tmp_path):
    assert told(tmp_path, None, ends=True) == b"one CUT"


def test_what_is_watched_ends_at_the_next_piece_however_soon_it_comes(tmp_path):
    assert told(tmp_path, b"end", ends=True, step_us=1) == b"one end"


def test_the_session_is_not_looked_for_with_each_piece_of_an_export(tmp_path):
    assert told(tmp_path, None, ends=True, step_us=1) == b"one two three"
