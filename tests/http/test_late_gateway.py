"""A gateway with more to do than it can: who is turned away, and what /readyz says of it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "engine"))

from engine_kit import KEY, World, answer, ask, whole

from llm_router.domain.key import Key, key_digest
from llm_router.edge.bounds import Bounds, Guards
from llm_router.edge.gateway import Gateway
from llm_router.edge.handlers import ROUTES
from llm_router.engine.background import Background

BATCH = b"sk-lr-batch"


def gateway_of(world: World, exchanges_max: int) -> Gateway:
    batch = Key(id="key_b", account="acme", name="b", prefix="sk", created_ms=0, priority="batch")
    world.keyring.keys[key_digest(BATCH)] = batch
    world.upstream.scripts["p1"] = [answer(whole())]
    responses: Any = Background.__new__(Background)  # no test of this file keeps a response
    return Gateway(
        world.engine,
        responses,
        ROUTES,
        body_bytes_max=10**6,
        exchanges_max=exchanges_max,
        ready=lambda: None,
        guards=Guards(Bounds()),
    )


async def ask_over(gateway: Gateway, path: str, key: bytes = KEY) -> tuple[int, dict[str, str], Any]:
    """One request by ASGI: its status, headers and JSON."""
    post, sent = path.startswith("/v1/"), list[dict[str, Any]]()
    body = json.dumps(ask("m1")).encode() if post else b""
    told = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in told:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer " + key), (b"content-type", b"application/json")]
    headers.append((b"content-length", b"%d" % len(body)))
    method = "POST" if post else "GET"
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    await gateway({**scope, "headers": headers}, receive, send)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, json.loads(b"".join(m.get("body", b"") for m in sent[1:]))


@pytest.mark.parametrize(("key", "status"), [(KEY, 200), (BATCH, 503)])
def test_the_last_places_are_not_for_batches(key: bytes, status: int) -> None:
    async def main() -> None:
        gateway = gateway_of(World(), 1)
        found, headers, body = await ask_over(gateway, "/v1/chat/completions", key)
        assert found == status
        if status == 503:
            assert body["error"]["code"] == "overloaded"
            assert headers["retry-after"] == "2"

    asyncio.run(main())


def test_a_process_that_is_late_turns_away_a_part_and_says_so() -> None:
    async def main() -> None:
        world = World()
        gateway = gateway_of(world, 100)
        for _ in range(20):
            world.engine.watch.pressure.look(9.0, 1.0)
        statuses = [(await ask_over(gateway, "/v1/chat/completions"))[0] for _ in range(10)]
        assert statuses.count(503) in (8, 9)
        assert (await ask_over(gateway, "/v1/chat/completions", BATCH))[0] == 503
        _, _, ready = await ask_over(gateway, "/readyz")
        assert ready["load"]["refused_percent"] == 90
        assert ready["load"]["late_ms"] == 9000
        assert ready["load"]["shed"] >= 9

    asyncio.run(main())
