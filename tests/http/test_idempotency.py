"""``Idempotency-Key``: however often a request is sent, it is made and charged once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import WAIT_S, Answer, Gateway
from scripted_upstream import (
    Peer,
    Script,
    ScriptedUpstream,
    chunk,
    config_for,
    error_body,
    frames,
    good,
    head,
    http,
    sends_then_resets,
)
from test_workers import workers_of

TIMES = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module", params=[(), ("--workers", "2")], ids=["alone", "workers"])
def gateway(
    request: pytest.FixtureRequest, scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    found = Gateway(
        tmp_path_factory.mktemp("idempotency"), *request.param, config=config_for(scripted, TIMES)
    )
    yield found
    assert found.stop() == 0


def body(text: str = "Hi", *, stream: bool = False) -> bytes:
    return json.dumps(
        {"model": "mo", "stream": stream, "messages": [{"role": "user", "content": text}]}
    ).encode()


def ask(
    gateway: Gateway, name: str, sent: bytes | None = None, *, path: str = CHAT, key: str | None = None
) -> Answer:
    return gateway.send("POST", path, body() if sent is None else sent, {"idempotency-key": name}, key)


def charged(gateway: Gateway, before: Any) -> Any:
    return before - gateway.credits()


@pytest.mark.parametrize("streamed", [False, True])
def test_the_same_request_is_answered_the_same_and_charged_once(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    upstream.play("o1", good("openai_chat", streamed))
    name, sent, before = f"same-{streamed}", body(stream=streamed), gateway.credits()
    first = ask(gateway, name, sent)
    cost = charged(gateway, before)
    assert first.status == 200
    assert cost > 0
    for _ in range(3):
        again = ask(gateway, name, sent)
        assert (again.status, again.body) == (200, first.body)
        assert again.headers["x-llm-router-replayed"] == "true"
        assert again.id == first.id
        assert again.headers["content-type"] == first.headers["content-type"]
    assert charged(gateway, before) == cost
    assert len(upstream.at("o1")) == 1


def test_a_restart_changes_nothing(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", good("openai_chat", False))
    first = ask(gateway, "restarted")
    assert gateway.stop() == 0
    gateway.start()
    before = gateway.credits()
    assert ask(gateway, "restarted").body == first.body
    assert charged(gateway, before) == 0


def test_another_request_under_the_same_key_is_refused(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", good("openai_chat", False))
    assert ask(gateway, "mixed").status == 200
    before = gateway.credits()
    refused = ask(gateway, "mixed", body("Something else"))
    assert (refused.status, refused.error["code"]) == (422, "idempotency_mismatch")
    other_api = json.dumps({"model": "mo", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})
    refused = ask(gateway, "mixed", other_api.encode(), path="/v1/messages")
    assert refused.status == 422
    assert refused.json["type"] == "error"  # in Anthropic's form
    assert charged(gateway, before) == 0


def test_accounts_have_keys_of_their_own(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", good("openai_chat", False))
    gateway.command("credits.add", amount="1", account="neighbour")
    theirs = gateway.new_key("neighbour", account="neighbour")
    mine = ask(gateway, "shared-name")
    other = ask(gateway, "shared-name", key=theirs)
    assert other.status == 200
    assert "x-llm-router-replayed" not in other.headers
    assert other.id != mine.id


@pytest.mark.parametrize("name", ["", " ", "x" * 256, "é"])
def test_keys_that_are_none(gateway: Gateway, upstream: ScriptedUpstream, name: str) -> None:
    upstream.play("o1", good("openai_chat", False))
    refused = ask(gateway, name)
    assert (refused.status, refused.error["param"]) == (400, "idempotency-key")
    assert upstream.at("o1") == []


@pytest.mark.parametrize("streamed", [False, True])
def test_what_failed_may_be_tried_again(gateway: Gateway, upstream: ScriptedUpstream, streamed: bool) -> None:
    failing = http(400, error_body("openai_chat", 400, "no"))
    broken = sends_then_resets(head(200), chunk(frames("openai_chat", "Hel", "lo")[0]))

    async def refuse(peer: Peer) -> None:
        await peer.send(failing)

    script: Script = broken if streamed else refuse
    upstream.play("o1", script, good("openai_chat", streamed))
    name, sent = f"failing-{streamed}", body(stream=streamed)
    first = ask(gateway, name, sent)
    assert first.status == 400 or b"[DONE]" not in first.body
    second = ask(gateway, name, sent)
    assert second.status == 200
    assert "x-llm-router-replayed" not in second.headers
    assert ask(gateway, name, sent).body == second.body


def test_fifty_at_once_are_one(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    release = threading.Event()
    answer = good("openai_chat", False)

    async def late(peer: Peer) -> None:
        await asyncio.to_thread(release.wait, WAIT_S)
        await answer(peer)

    upstream.play("o1", late)
    before = gateway.credits()
    with ThreadPoolExecutor(50) as pool:
        waiting = [pool.submit(ask, gateway, "fifty") for _ in range(50)]
        upstream.wait(1)
        refused = set(islice(as_completed(waiting, timeout=WAIT_S), 49))  # all but the one being answered
        assert len(refused) == 49
        release.set()
        found = [future.result() for future in waiting]
    assert sorted(answer.status for answer in found) == [200] + [409] * 49
    told = next(answer for answer in found if answer.status == 409)
    assert told.error["code"] == "idempotency_conflict"
    assert "retry-after" in told.headers
    assert len(upstream.at("o1")) == 1
    assert charged(gateway, before) > 0
    (first,) = [answer for answer in found if answer.status == 200]
    assert ask(gateway, "fifty").body == first.body


def test_a_client_that_left_takes_its_claim_along(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    hang = threading.Event()

    async def silent(peer: Peer) -> None:
        await peer.gone()
        hang.set()

    upstream.play("o1", silent, good("openai_chat", False))
    connection = gateway.connect()
    connection.request(
        "POST", CHAT, body(), {"authorization": f"Bearer {gateway.key}", "idempotency-key": "left"}
    )
    upstream.wait(1)
    connection.sock.close()
    connection.close()
    assert hang.wait(WAIT_S)
    answer = ask(gateway, "left")
    while answer.status == 409:  # the claim goes with the exchange, a moment later
        answer = ask(gateway, "left")
    assert answer.status == 200


def test_the_claim_of_a_killed_gateway_holds_nobody_up(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, config=config_for(upstream, TIMES))

    async def silent(peer: Peer) -> None:
        await peer.gone()

    upstream.play("o1", silent, good("openai_chat", False))
    connection = gateway.connect()
    connection.request(
        "POST", CHAT, body(), {"authorization": f"Bearer {gateway.key}", "idempotency-key": "killed"}
    )
    upstream.wait(1)
    key = gateway.key
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL
    connection.close()
    gateway.start()
    answer = ask(gateway, "killed", key=key)
    assert (answer.status, answer.headers["x-llm-router-earlier-attempt"]) == (200, "unknown")
    again = ask(gateway, "killed", key=key)
    assert again.headers["x-llm-router-replayed"] == "true"
    assert "x-llm-router-earlier-attempt" not in again.headers
    assert gateway.stop() == 0


def test_the_claim_of_a_killed_worker_holds_nobody_up(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Long before its request's longest time is over."""
    times = {**TIMES, "total_s": 6000, "first_byte_s": 6000}
    gateway = Gateway(tmp_path, "--workers", "2", config=config_for(upstream, times))

    async def silent(peer: Peer) -> None:
        await peer.gone()

    upstream.play("o1", silent, good("openai_chat", False))
    connection = gateway.connect()
    connection.request(
        "POST", CHAT, body(), {"authorization": f"Bearer {gateway.key}", "idempotency-key": "killed"}
    )
    upstream.wait(1)
    for worker in workers_of(gateway):
        os.kill(worker, signal.SIGKILL)
    connection.close()
    until_s = time.monotonic() + WAIT_S
    while (answer := asked(gateway, "killed")) is None or answer.status == 409:
        assert time.monotonic() < until_s, "the key was not freed"
    assert (answer.status, answer.headers["x-llm-router-earlier-attempt"]) == (200, "unknown")
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL


def asked(gateway: Gateway, name: str) -> Answer | None:
    """None while no worker is there."""
    try:
        return ask(gateway, name)
    except (OSError, HTTPException):
        return None
