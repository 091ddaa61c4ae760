"""POST /v1/compare over HTTP: lanes, their records and charges, clients that leave, gateways that die."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import WAIT_S, Answer, Gateway, until
from scripted_upstream import (
    ScriptedUpstream,
    answers,
    config_for,
    error_body,
    frames,
    good,
    head,
    http,
    stalls,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "stores"))
from postgres_server import binaries, new_database, server

NORMAL = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
ALL = ("mo", "ma", "mg")
COST = Decimal("0.00002")  # 10 tokens in and 5 out
DIALECTS = {"o1": "openai_chat", "a1": "anthropic_messages", "g1": "gemini_generate"}


def body_of(*models: str, **members: Any) -> bytes:
    said = {"models": models, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
    return json.dumps({**said, **members}).encode()


def compare(gateway: Gateway, *models: str, headers: dict[str, str] | None = None, **members: Any) -> Answer:
    return gateway.send("POST", "/v1/compare", body_of(*models, **members), headers)


def play_all(upstream: ScriptedUpstream) -> None:
    for place, dialect in DIALECTS.items():
        upstream.play(place, good(dialect, True, f"From {place}"))


def exact(answer: Answer) -> Any:
    return json.loads(answer.body, parse_float=Decimal)


def events_of(data: bytes) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for event in data.decode().split("\n\n")[:-1]:
        if event == "data: [DONE]":
            found.append(("", "[DONE]"))
        elif not event.startswith(":"):
            name, _, value = event.partition("\ndata: ")
            found.append((name.removeprefix("event: "), json.loads(value, parse_float=Decimal)))
    return found


def send_and_leave(gateway: Gateway, body: bytes, until_: bytes | None) -> None:
    """Ask and hang up: when these bytes have come, or at once."""
    head_ = gateway.head(len(body)).replace(b"/v1/chat/completions", b"/v1/compare", 1)
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        connection.sendall(head_ + body)
        received = b""
        while until_ is not None and until_ not in received:
            data = connection.recv(65536)
            assert data, received
            received += data


@pytest.mark.parametrize("streamed", [False, True])
def test_lanes_are_explained_in_short(hostile: Gateway, upstream: ScriptedUpstream, streamed: bool) -> None:
    play_all(upstream)
    asked = {"x-llm-router-explain": "1"}
    answer = compare(hostile, "mo", "nobody-knows-it", headers=asked, stream=streamed)
    told = (
        [e for name, e in events_of(answer.body) if name == "lane_end"]
        if streamed
        else exact(answer)["lanes"]
    )
    good_, unknown = sorted(told, key=lambda lane: lane["lane"])
    assert "strategy=priority; plan=o1/" in good_["explain"]
    assert "tried=o1/" in good_["explain"]
    assert unknown["explain"].endswith("error=model_not_found")
    plain = compare(hostile, "mo", "mg")
    assert all("explain" not in lane for lane in exact(plain)["lanes"])


def test_lanes_over_three_apis_have_records_and_charges(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    play_all(upstream)
    before = hostile.credits()
    answer = compare(hostile, *ALL)
    assert answer.status == 200
    got = exact(answer)
    assert [lane["response"]["choices"][0]["message"]["content"] for lane in got["lanes"]] == [
        "From o1", "From a1", "From g1",
    ]  # fmt: skip
    assert got["cost"] == 3 * COST
    assert got["credits_remaining"] == before - 3 * COST == hostile.credits()
    for lane in got["lanes"]:
        record = hostile.generation(lane["id"])
        assert record["comparison"] == got["id"] == answer.headers["x-comparison-id"]
        assert record["model"] == lane["model"]
        assert record["stream"]
        assert hostile.generation(lane["response"]["id"])["id"] == lane["id"]


def test_a_stream_has_one_lane_a_model(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    play_all(upstream)
    upstream.play("a1", answers(http(500, error_body("anthropic_messages", 500, "out of order"))))
    answer = compare(hostile, *ALL, "nobody", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = events_of(answer.body)
    texts = dict.fromkeys(range(4), "")
    for name, value in seen:
        if name == "lane":
            for choice in value["chunk"]["choices"]:
                texts[value["lane"]] += choice["delta"].get("content") or ""
    assert texts == {0: "From o1", 1: "", 2: "From g1", 3: ""}
    ends = {value["lane"]: value for name, value in seen if name == "lane_end"}
    assert [ends[n]["success"] for n in range(4)] == [True, False, True, False]
    assert "out of order" in ends[1]["error"]["message"]
    assert ends[3]["status"] == 404
    assert seen[-2][0] == "end"
    assert (seen[-2][1]["cost"], seen[-2][1]["succeeded"]) == (2 * COST, 2)
    assert seen[-1][1] == "[DONE]"


def test_a_lane_that_never_answers_keeps_the_others_from_nothing(
    impatient: Gateway, upstream: ScriptedUpstream
) -> None:
    play_all(upstream)
    upstream.play("g1", stalls())
    got = exact(compare(impatient, *ALL))
    assert [lane["success"] for lane in got["lanes"]] == [True, True, False]
    assert got["lanes"][2]["status"] == 504
    assert got["cost"] == 2 * COST


def test_a_client_that_leaves_ends_all_lanes(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    before = hostile.credits()
    play_all(upstream)
    upstream.play("a1", stalls(head(200), *frames("anthropic_messages", "one")[:3]))
    upstream.play("g1", stalls())
    send_and_leave(hostile, body_of(*ALL, stream=True), b"event: lane_end")
    # What was whole is paid, and what was said of the second; no hold is left.
    until(lambda: before - 3 * COST < hostile.credits() <= before - COST)


def test_what_is_refused_is_refused_as_a_whole(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    play_all(upstream)
    account = hostile.command("keys.create", name="poor", account="poor")
    hostile.command("credits.add", amount="0.0005", account="poor")
    poor = {"authorization": f"Bearer {account['key']}"}
    answer = compare(hostile, *ALL, headers=poor, max_tokens=1000)
    assert answer.status == 402
    assert answer.error["needed"] > 0.006
    assert 0 <= answer.error["affordable_max_tokens"] < 1000
    for models in (["mo"], ["mo", "mo"], [f"m{n}" for n in range(100)]):
        assert compare(hostile, *models).status == 400
    assert compare(hostile, *ALL, headers={"authorization": "Bearer sk-lr-wrong"}).status == 401
    assert upstream.requests == []


def test_the_sandbox_says_that_it_is_simulated(sandbox: Gateway) -> None:
    got = exact(compare(sandbox, "gpt-5-mini", "claude-haiku-4-5", "auto:code"))
    assert got["succeeded"] == 3, got
    assert all(lane["answered_by"]["simulated"] for lane in got["lanes"])
    assert got["lanes"][2]["answered_by"]["model"] != "auto:code"


@pytest.mark.slow
def test_a_gateway_that_is_killed_leaves_holds_that_the_next_start_voids(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    gateway = Gateway(tmp_path, config=config_for(upstream, NORMAL))
    before, body = gateway.credits(), body_of(*ALL)
    for place in DIALECTS:
        upstream.play(place, stalls())
    head_ = gateway.head(len(body)).replace(b"/v1/chat/completions", b"/v1/compare", 1)
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        connection.sendall(head_ + body)
        upstream.wait(3)
        held = before - gateway.credits()
        gateway.stop(signal.SIGKILL)
    assert held > 0
    key = gateway.key
    again = Gateway(tmp_path, config=config_for(upstream, NORMAL))
    try:
        again.key = key
        assert again.credits() == before
        words = ["ledger", "orphans", "--data-dir", str(again.data_dir), "--config", str(again.config)]
        listed = subprocess.run(
            [sys.executable, "-m", "llm_router.cli", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert listed.stdout.count("gen-") == 3, listed.stdout
    finally:
        assert again.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_over_workers_every_lane_is_paid_once(store: str, tmp_path: Path, upstream: ScriptedUpstream) -> None:
    more = ""
    if store == "postgres":
        if binaries() is None:
            pytest.skip("no PostgreSQL server is installed")
        more = f'[store]\nurl = "{server().url(new_database())}"\n'
    config = config_for(upstream, NORMAL, more)
    gateway = Gateway(tmp_path, "--workers", "2", config=config)
    try:
        play_all(upstream)
        before = gateway.credits()
        got = [exact(compare(gateway, *ALL)) for _ in range(6)]
        assert [each["succeeded"] for each in got] == [3] * 6
        assert gateway.credits() == before - 18 * COST
        for lane in got[0]["lanes"]:
            assert gateway.generation(lane["id"])["comparison"] == got[0]["id"]
    finally:
        assert gateway.stop() == 0
