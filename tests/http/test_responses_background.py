"""Background responses: they go on without their client, end once, are charged once, and can be read again."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import kept_kit as kit
import pytest
from gateway_kit import WAIT_S, Gateway, closing, until
from kept_kit import create, made, read_events, text_of
from scripted_upstream import (
    LETTERS,
    Peer,
    Script,
    ScriptedUpstream,
    answers,
    error_body,
    frames,
    head,
    http,
    stalls,
    whole,
)

every_provider = pytest.mark.parametrize("dialect", [*LETTERS, "openai_responses"])
COST = 20_000_000  # 10 tokens in at $1 a million, 5 out at $2


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(
        tmp_path_factory.mktemp("background"),
        config=kit.config(scripted, "[responses]\nbackground_max = 3\n"),
    )
    yield gateway
    assert gateway.stop() == 0


def told(dialect: str, *texts: str) -> list[bytes]:
    return kit.events(*texts) if dialect == "openai_responses" else frames(dialect, *texts)


def place(dialect: str) -> str:
    return LETTERS.get(dialect, "r") + "1"


class Gate:
    """Lets a provider say the rest when a test says so."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    def script(self, first: list[bytes], rest: list[bytes]) -> Script:
        async def play(peer: Peer) -> None:
            await peer.send(head(200), *first)
            await asyncio.to_thread(self._open.wait, WAIT_S)
            await peer.send(*rest)

        return play


def status(gateway: Gateway, id_: str) -> str:
    return str(gateway.get(f"/v1/responses/{id_}").json["status"])


def ended(gateway: Gateway, id_: str) -> Any:
    until(lambda: status(gateway, id_) not in ("queued", "in_progress"))
    return gateway.get(f"/v1/responses/{id_}").json


def charged(gateway: Gateway, before: Decimal) -> int:
    return int((before - gateway.credits()) * 10**12)


@every_provider
def test_it_is_polled_until_it_is_there(gateway: Gateway, upstream: ScriptedUpstream, dialect: str) -> None:
    gate, said = Gate(), told(dialect, "one ", "two ", "three")
    half = len(said) // 2
    upstream.play(place(dialect), gate.script(said[:half], said[half:]))
    before = gateway.credits()
    first = create(gateway, f"m{place(dialect)[0]}", background=True, metadata={"a": "b"})
    assert first.status == 200
    assert first.headers["content-type"] == "application/json"
    response = first.json
    assert (response["status"], response["background"], response["output"]) == ("queued", True, [])
    assert (response["store"], response["usage"], response["metadata"]) == (True, None, {"a": "b"})
    until(lambda: status(gateway, response["id"]) == "in_progress")
    early = create(gateway, "mo", previous_response_id=response["id"])
    assert (early.status, early.error["code"]) == (400, "previous_response_not_found")
    gate.open()
    done = ended(gateway, response["id"])
    assert (done["status"], text_of(done), done["background"]) == ("completed", "one two three", True)
    assert done["id"] == response["id"]
    assert done["usage"]["cost"] == Decimal(COST) / 10**12
    assert charged(gateway, before) == COST
    assert gateway.generation(first.id)["cost_pusd"] == COST
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    made(gateway, "mo", "and then", previous_response_id=response["id"])
    assert "one two three" in upstream.at("o1")[-1].body.decode()
    again = gateway.send("POST", f"/v1/responses/{response['id']}/cancel")
    assert (again.status, again.json["status"]) == (200, "completed")


@every_provider
def test_its_stream_goes_on_when_the_client_leaves_and_is_read_again(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    gate, said = Gate(), told(dialect, "one ", "two ", "three")
    upstream.play(place(dialect), gate.script(said[:-2], said[-2:]))
    body = {"model": f"m{place(dialect)[0]}", "input": "hi", "background": True, "stream": True}
    seen = _leave_after(gateway, body, b"output_text.delta")
    first = read_events(seen)
    assert [event["type"] for event in first[:2]] == ["response.created", "response.in_progress"]
    id_ = first[0]["response"]["id"]
    live: list[bytes] = []
    reader = threading.Thread(
        target=lambda: live.append(gateway.get(f"/v1/responses/{id_}?stream=true&starting_after=2").body)
    )
    reader.start()
    assert status(gateway, id_) == "in_progress"
    gate.open()
    reader.join(WAIT_S)
    done = ended(gateway, id_)
    followed = read_events(live[0], 3)
    assert followed[-1]["type"] == "response.completed"
    assert json.loads(json.dumps(followed[-1]["response"])) == json.loads(json.dumps(done, default=float))
    again = read_events(gateway.get(f"/v1/responses/{id_}?stream=true").body)
    assert again[3:] == followed
    assert again[: len(first)] == first
    deltas = [event["delta"] for event in again if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == text_of(done) == "one two three"
    assert read_events(gateway.get(f"/v1/responses/{id_}?stream=true&starting_after=999").body) == []
    wrong = gateway.get(f"/v1/responses/{id_}?stream=true&starting_after=x")
    assert (wrong.status, wrong.error["param"]) == (400, "starting_after")


def _leave_after(gateway: Gateway, body: dict[str, Any], words: bytes) -> bytes:
    """The whole events that came until these words did; then the client leaves."""
    connection = gateway.connect()
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    connection.request("POST", "/v1/responses", json.dumps(body).encode(), headers)
    reply = connection.getresponse()
    assert reply.headers["content-type"].startswith("text/event-stream")
    seen = b""
    while words not in seen:
        seen += reply.readline()
    while not seen.endswith(b"\n\n"):
        seen += reply.readline()
    connection.close()
    return seen


def test_what_was_not_streamed_in_the_background_cannot_be(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.play("r1", answers(head(200), *kit.events()))
    polled = made(gateway, "mr", background=True)
    ended(gateway, polled["id"])
    foreground = read_events(create(gateway, "mr", stream=True).body)[-1]["response"]
    for id_ in (polled["id"], foreground["id"]):
        answer = gateway.get(f"/v1/responses/{id_}?stream=true")
        assert (answer.status, answer.error["param"]) == (400, "stream")
    refused = gateway.send("POST", f"/v1/responses/{foreground['id']}/cancel")
    assert refused.status == 400
    assert "background" in refused.error["message"]


@every_provider
@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
def test_cancelling_ends_the_call_and_charges_what_was_delivered(
    gateway: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    said = told(dialect, "one ", "two ", "three")
    upstream.play(place(dialect), stalls(head(200), *said[: len(said) // 2]))
    before = gateway.credits()
    body = {"model": f"m{place(dialect)[0]}", "input": "hi " * 50, "background": True, "stream": streamed}
    if streamed:
        id_ = read_events(_leave_after(gateway, body, b"output_text.delta"))[0]["response"]["id"]
    else:
        answer = gateway.send("POST", "/v1/responses", json.dumps(body).encode())
        id_ = answer.json["id"]
        until(lambda: status(gateway, id_) == "in_progress")
    cancelled = gateway.send("POST", f"/v1/responses/{id_}/cancel")
    assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
    assert upstream.requests[0].gone.wait(WAIT_S)
    assert gateway.get(f"/v1/responses/{id_}").json == cancelled.json
    assert gateway.send("POST", f"/v1/responses/{id_}/cancel").json == cancelled.json
    record = gateway.generation("gen-" + id_.removeprefix("resp_"))
    assert record["cost_pusd"] == charged(gateway, before) > 0
    assert record["client_gone"]
    assert cancelled.json["usage"]["cost"] == Decimal(record["cost_pusd"]) / 10**12
    assert cancelled.json["usage"]["output_tokens"] > 0
    (item,) = cancelled.json["output"]
    assert item["status"] == "incomplete"
    assert item["content"][0]["text"].startswith("one ")
    if streamed:
        events = read_events(gateway.get(f"/v1/responses/{id_}?stream=true").body)
        assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.incomplete", "cancelled")


def test_cancelling_before_any_content_is_free(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", stalls())
    before = gateway.credits()
    id_ = made(gateway, "mo", background=True, stream=False)["id"]
    upstream.wait(1)
    cancelled = gateway.send("POST", f"/v1/responses/{id_}/cancel").json
    assert (cancelled["status"], cancelled["output"], cancelled["usage"]) == ("cancelled", [], None)
    assert gateway.credits() == before
    assert gateway.send("DELETE", f"/v1/responses/{id_}").status == 200


def test_deleting_ends_it_too(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", stalls(head(200), *frames("openai_chat")[:2]))
    id_ = made(gateway, "mo", background=True)["id"]
    upstream.wait(1)
    assert gateway.send("DELETE", f"/v1/responses/{id_}").json["deleted"]
    assert upstream.requests[0].gone.wait(WAIT_S)
    assert gateway.get(f"/v1/responses/{id_}").status == 404


@pytest.mark.parametrize("streamed", [False, True], ids=["polled", "streamed"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failure_of_the_provider_is_the_end(
    gateway: Gateway, upstream: ScriptedUpstream, streamed: bool, when: str
) -> None:
    cut = answers(head(200), *frames("openai_chat", "one ", "two ")[:2])
    refusal = answers(http(500, error_body("openai_chat", 500, "it failed")))
    upstream.play("o1", refusal if when == "before" else cut)
    before = gateway.credits()
    answer = create(gateway, "mo", background=True, stream=streamed)
    assert answer.status == 200
    if streamed:
        events = read_events(answer.body)
        assert [e["type"] for e in events[:2]] == ["response.created", "response.in_progress"]
        assert [e["type"] for e in events if e["type"] in ("response.failed", "response.completed")] == [
            "response.failed"
        ]
        assert events[-1]["type"] == "response.failed"
        id_ = events[0]["response"]["id"]
    else:
        id_ = answer.json["id"]
    done = ended(gateway, id_)
    assert (done["status"], done["error"]["code"]) == ("failed", "server_error")
    assert done["error"]["message"]
    assert gateway.credits() == before


def test_a_refused_one_is_refused_at_once(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    poor = gateway.new_key("poor", account="poor-background")
    for streamed in (False, True):
        for model, key, wanted in (("mo", poor, 402), ("mo-none", None, 404), ("mo", "sk-lr-no", 401)):
            answer = create(gateway, model, key=key, background=True, stream=streamed)
            assert answer.status == wanted, answer.body
            assert answer.headers["content-type"] == "application/json"
            assert answer.error["request_id"] == answer.headers["x-request-id"]


def test_their_number_is_bounded(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", stalls())
    ids = [made(gateway, "mo", background=True)["id"] for _ in range(3)]
    answer = create(gateway, "mo", background=True)
    assert (answer.status, answer.error["code"]) == (503, "overloaded")
    assert answer.headers["retry-after"]
    for id_ in ids:
        gateway.send("POST", f"/v1/responses/{id_}/cancel")
    upstream.play("o1", answers(head(200), *frames("openai_chat")))
    assert ended(gateway, made(gateway, "mo", background=True)["id"])["status"] == "completed"


# -- when the gateway ends -------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "crash"])
def test_what_is_unfinished_when_the_gateway_ends_has_failed(
    scripted: ScriptedUpstream, upstream: ScriptedUpstream, tmp_path: Path, number: int
) -> None:
    gateway = Gateway(tmp_path, config=kit.config(scripted).replace("[server]", "[server]\ndrain_s = 0.2"))
    try:
        upstream.play("o1", stalls(head(200), *frames("openai_chat", "one ", "two ")[:2]))
        before = gateway.credits()
        ids = [made(gateway, "mo", background=True)["id"], made(gateway, "mo", background=True)["id"]]
        for id_ in ids:
            until(lambda: status(gateway, id_) == "in_progress")  # noqa: B023 - asked at once
        assert gateway.stop(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        gateway.start()
        for id_ in ids:
            kept = gateway.get(f"/v1/responses/{id_}").json
            assert (kept["status"], kept["error"]["code"]) == ("failed", "server_error")
            words = "stopping" if number == signal.SIGTERM else "restarted"
            assert words in kept["error"]["message"]
        assert gateway.credits() == before
    finally:
        assert gateway.stop() == 0


def test_a_streamed_one_tells_its_id_before_the_model_says_anything(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    for model, place_ in (("mr", "r1"), ("mo", "o1")):
        upstream.play(place_, stalls())
        body = {"model": model, "input": "hi", "background": True, "stream": True}
        (created,) = read_events(_leave_after(gateway, body, b"response.created"))
        assert (created["type"], created["response"]["status"]) == ("response.created", "queued")
        id_ = created["response"]["id"]
        assert status(gateway, id_) == "queued"
        gateway.send("POST", f"/v1/responses/{id_}/cancel")
        events = read_events(gateway.get(f"/v1/responses/{id_}?stream=true").body)
        assert [e["type"] for e in events] == [
            "response.created",
            "response.in_progress",
            "response.incomplete",
        ]


def test_a_stopping_gateway_lets_them_finish(
    scripted: ScriptedUpstream, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path, config=kit.config(scripted))
    gate, said = Gate(), frames("openai_chat", "one ", "two")
    upstream.play("o1", gate.script(said[:2], said[2:]))
    id_ = made(gateway, "mo", background=True)["id"]
    until(lambda: status(gateway, id_) == "in_progress")
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: _refuses(gateway))
    gate.open()
    assert gateway.process.wait(WAIT_S) == 0  # a second signal would end it
    assert gateway.stop() == 0
    gateway.start()
    try:
        kept = gateway.get(f"/v1/responses/{id_}").json
        assert (kept["status"], text_of(kept)) == ("completed", "one two")
    finally:
        assert gateway.stop() == 0


def _refuses(gateway: Gateway) -> bool:
    try:
        with closing(gateway.connect()) as connection:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
    except OSError:
        return True
    return False
