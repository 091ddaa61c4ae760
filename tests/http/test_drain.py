"""Clients that leave a stream which its provider bills to the end: the gateway reads on in their place."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import WAIT_S, Gateway, body_of, until
from scripted_upstream import (
    Peer,
    Script,
    ScriptedUpstream,
    answers,
    config_for,
    frames,
    head,
    http,
    usage,
    whole,
)

NORMAL = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
LETTERS = {"openai_chat": "o", "anthropic_messages": "a", "gemini_generate": "g"}
EXACT = 10 * 1_000_000 + 500 * 2_000_000
TEXT = "y" * 1_000


def config(upstream: ScriptedUpstream, *lines: str) -> str:
    """All providers bill to the end."""
    text = config_for(upstream, NORMAL, "\n".join(["[settlement]", *lines]) + "\n")
    return text.replace("takes_urls = []", "takes_urls = []\nbills_abandoned = true")


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = Gateway(tmp_path_factory.mktemp("drain"), config=config(scripted))
    yield found
    assert found.stop() == 0


def choose(gateway: Gateway, upstream: ScriptedUpstream, *lines: str) -> None:
    gateway.config.write_text(config(upstream, *lines))
    gateway.command("config.reload")


def after(left: threading.Event, dialect: str, end: Script | None = None) -> Script:
    """The beginning of an answer, and when the client is gone the rest of it."""

    async def script(peer: Peer) -> None:
        events = frames(dialect, "beginning", TEXT, counted=usage(dialect, 10, 500))
        start = 3 if dialect == "anthropic_messages" else 2 if dialect == "openai_chat" else 1
        await peer.send(head(200), *events[:start])
        await asyncio.to_thread(left.wait, WAIT_S)
        if end is not None:
            await end(peer)
            return
        await peer.send(*events[start:])

    return script


def leave(
    gateway: Gateway,
    upstream: ScriptedUpstream,
    dialect: str,
    end: Script | None = None,
    goes_on: bool = True,
) -> Any:
    """The record of a client that left in the middle."""
    letter, left = LETTERS[dialect], threading.Event()
    upstream.play(f"{letter}1", after(left, dialect, end))
    before, mark = gateway.credits(), gateway.log.mark()
    gateway.hang_up(body_of(f"m{letter}", stream=True), b"beginning")
    if goes_on:
        until(lambda: gateway.get("/readyz").json["draining"] == 1)
    left.set()
    (line,) = gateway.log.wait("gen-", mark)
    record = gateway.generation(line.split()[0])
    assert record["client_gone"] is True
    assert before - gateway.credits() == Decimal(record["cost_pusd"]) / 10**12
    return record


@pytest.mark.parametrize("dialect", LETTERS)
def test_what_the_provider_bills_is_charged(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    choose(gateway, upstream)
    record = leave(gateway, upstream, dialect)
    assert record["cost_pusd"] == EXACT
    assert record["usage"]["provenance"] == "reported"
    assert record["flags"] == ["drained"]
    (attempt,) = record["attempts"]
    assert (attempt["outcome"], attempt["operator_cost_pusd"]) == ("delivered", EXACT)


async def nothing_more(peer: Peer) -> None:
    await peer.gone()


async def dies(peer: Peer) -> None:
    peer.reset()


async def much_more(peer: Peer) -> None:
    await peer.send(*frames("openai_chat", *["z" * 500] * 8)[1:-3])
    await peer.gone()


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        (("drain_max = 0",), nothing_more),
        (('drain = "never"',), nothing_more),
        (("drain_s = 0.2",), nothing_more),
        (("drain_bytes_max = 1024",), much_more),
        ((), dies),
    ],
    ids=["too many", "never", "too long", "too much", "provider fails"],
)
def test_beyond_its_bounds_what_was_delivered_is_charged(
    gateway: Gateway, upstream: ScriptedUpstream, lines: tuple[str, ...], end: Script
) -> None:
    choose(gateway, upstream, *lines)
    goes_on = not {"drain_max = 0", 'drain = "never"', "drain_s = 0.2"} & set(lines)
    record = leave(gateway, upstream, "openai_chat", end, goes_on)
    assert "usage_estimated" in record["flags"]
    tokens = record["usage"]
    assert tokens["completion_tokens"] == 3  # "beginning": what came later reached nobody
    assert record["cost_pusd"] == tokens["prompt_tokens"] * 1_000_000 + 3 * 2_000_000
    assert record["attempts"][0].get("operator_cost_pusd") is None  # it bills more, nobody knows how much
    assert ("drained" in record["flags"]) is (not {"drain_max = 0", 'drain = "never"'} & set(lines))


def test_a_provider_that_stops_is_told_to(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    gateway.config.write_text(config_for(upstream, NORMAL))
    gateway.command("config.reload")
    record = leave(gateway, upstream, "openai_chat", nothing_more, goes_on=False)
    assert upstream.requests[-1].gone.wait(WAIT_S)
    assert record["flags"] == ["usage_estimated"]
    assert record["attempts"][0]["operator_cost_pusd"] == record["cost_pusd"]


def test_before_content_nothing_goes_on(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    choose(gateway, upstream)
    upstream.play("o1", nothing_more)
    mark = gateway.log.mark()
    body = body_of("mo", stream=True)
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        connection.sendall(gateway.head(len(body)) + body)
        upstream.wait(1)
    assert upstream.requests[0].gone.wait(WAIT_S)
    (line,) = gateway.log.wait("gen-", mark)
    assert gateway.generation(line.split()[0])["cost_pusd"] == 0


def test_the_gateway_stops_meanwhile(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Open holds are resolved: what was delivered is charged."""
    text = config(upstream).replace("[server]", "[server]\ndrain_s = 0.2")
    gateway = Gateway(tmp_path, config=text)
    try:
        left = threading.Event()
        upstream.play("o1", after(left, "openai_chat", nothing_more))
        gateway.hang_up(body_of("mo", stream=True), b"beginning")
        until(lambda: gateway.get("/readyz").json["draining"] == 1)
    finally:
        assert gateway.stop() == 0
    left.set()
    (line,) = [line for line in gateway.log.lines if "gen-" in line]
    gateway.start()
    try:
        record = gateway.generation(line.split()[0])
        assert record["cost_pusd"] > 0
        assert "usage_estimated" in record["flags"]
        assert gateway.credits() == 1000 - Decimal(record["cost_pusd"]) / 10**12
        upstream.play("o1", answers(http(200, whole("openai_chat"))))
        assert gateway.chat("mo").status == 200
    finally:
        assert gateway.stop() == 0
