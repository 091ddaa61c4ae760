"""The same failures in front of clients of every API: each gets errors in its own form, and no false end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from gateway_kit import Gateway
from scripted_upstream import (
    DIALECTS,
    LETTERS,
    SECRETS,
    ScriptedUpstream,
    answers,
    frames,
    head,
    http,
    sse,
    whole,
)

from llm_router.edge.handlers import ROUTES

every_dialect = pytest.mark.parametrize(
    "dialect", DIALECTS, ids=["from-openai", "from-anthropic", "from-gemini"]
)


@dataclass(frozen=True)
class Front:
    """An API as its clients speak it.

    ``request``: path and body; ``error``: what an envelope or an error event says; ``ended``: whether a
    stream looks whole; ``text``: the text in it.
    """

    name: str
    request: Callable[[str, bool], tuple[str, dict[str, Any]]]
    error: Callable[[Any], tuple[str, str]]
    ended: Callable[[bytes], bool]
    text: Callable[[list[Any]], str]


def _anthropic(model: str, streamed: bool) -> tuple[str, dict[str, Any]]:
    body = {
        "model": model,
        "max_tokens": 50,
        "stream": streamed,
        "messages": [{"role": "user", "content": "hi"}],
    }
    return "/v1/messages", body


def _gemini(model: str, streamed: bool) -> tuple[str, dict[str, Any]]:
    verb = "streamGenerateContent?alt=sse" if streamed else "generateContent"
    return f"/v1beta/models/{model}:{verb}", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def _responses(model: str, streamed: bool) -> tuple[str, dict[str, Any]]:
    return "/v1/responses", {"model": model, "input": "hi", "stream": streamed}


def _anthropic_error(body: Any) -> tuple[str, str]:
    assert body["type"] == "error"
    assert body["request_id"].startswith("gen-")
    return body["error"]["type"], body["error"]["message"]


def _gemini_error(body: Any) -> tuple[str, str]:
    assert isinstance(body["error"]["code"], int)
    return body["error"]["status"], body["error"]["message"]


def _responses_error(body: Any) -> tuple[str, str]:
    found = body.get("error") or body.get("response", {}).get("error") or body
    return found["code"], found["message"]


def _completions(model: str, streamed: bool) -> tuple[str, dict[str, Any]]:
    return "/v1/completions", {"model": model, "prompt": "hi", "max_tokens": 50, "stream": streamed}


def _completions_error(body: Any) -> tuple[str, str]:
    error = body["error"]
    assert {"message", "type", "param", "code", "request_id"} <= set(error)
    return error["code"], error["message"]


FRONTS = {
    "completions": Front(
        "completions",
        _completions,
        _completions_error,
        lambda data: b"[DONE]" in data or b'"finish_reason":"stop"' in data,
        lambda events: "".join(choice["text"] for e in events for choice in e.get("choices", ())),
    ),
    "anthropic": Front(
        "anthropic",
        _anthropic,
        _anthropic_error,
        lambda data: b"message_stop" in data or b'"stop_reason":"end_turn"' in data,
        lambda events: "".join(
            e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta"
        ),
    ),
    "gemini": Front(
        "gemini",
        _gemini,
        _gemini_error,
        lambda data: b"finishReason" in data,
        lambda events: "".join(
            part.get("text", "")
            for e in events
            for candidate in e.get("candidates", ())
            for part in candidate.get("content", {}).get("parts", ())
        ),
    ),
    "responses": Front(
        "responses",
        _responses,
        _responses_error,
        lambda data: b"response.completed" in data,
        lambda events: "".join(e["delta"] for e in events if e.get("type") == "response.output_text.delta"),
    ),
}
ROUTED = {route.path for route in ROUTES.routes if route.operation == "chat"}
every_front = pytest.mark.parametrize(
    "front", [pytest.param(f, id=n) for n, f in FRONTS.items() if f.request("{model}", False)[0] in ROUTED]
)


def post(gateway: Gateway, front: Front, model: str, streamed: bool, key: str | None = None) -> Any:
    path, body = front.request(model, streamed)
    return gateway.send("POST", path, json.dumps(body).encode(), key=key)


def events_of(data: bytes) -> list[Any]:
    lines = [line for block in data.replace(b"\r\n", b"\n").split(b"\n\n") for line in block.split(b"\n")]
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def error_event(events: list[Any]) -> Any:
    found = [e for e in events if "error" in e or e.get("type") in ("error", "response.failed")]
    assert found, events
    return found[-1]


def test_every_api_in_front_is_tried() -> None:
    """A new one must be added here. Comparisons have tests of their own."""
    tried = {front.request("{model}", streamed)[0] for front in FRONTS.values() for streamed in (False, True)}
    known = {path.partition("?")[0] for path in tried} | {"/v1/chat/completions", "/v1/compare"}
    assert {path.replace("/v1/models/", "/v1beta/models/") for path in ROUTED} <= known


@every_front
@every_dialect
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_good_answer(
    hostile: Gateway, upstream: ScriptedUpstream, front: Front, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    script = answers(head(200), *frames(dialect)) if streamed else answers(http(200, whole(dialect)))
    upstream.play(f"{letter}1", script)
    before = hostile.credits()
    answer = post(hostile, front, f"m{letter}", streamed)
    assert answer.status == 200, answer.body
    assert b"Hello" in answer.body
    if streamed:
        assert front.text(events_of(answer.body)) == "Hello there"
        assert front.ended(answer.body)
    record = hostile.generation(answer.id)
    assert record["cost_pusd"] == 20_000_000 == int((before - hostile.credits()) * 10**12)


@every_front
@every_dialect
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_an_error_before_content_keeps_its_status(
    hostile: Gateway, upstream: ScriptedUpstream, front: Front, dialect: str, streamed: bool, status: int
) -> None:
    letter = LETTERS[dialect]
    secret = SECRETS[f"{letter}1"]
    body = json.dumps({"error": {"message": f"it failed, {secret}", "type": "x", "code": None}}).encode()
    upstream.play(f"{letter}1", answers(http(status, body, "retry-after: 3")))
    before = hostile.credits()
    answer = post(hostile, front, f"m{letter}", streamed)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    _, message = front.error(answer.json)
    assert "it failed" in message
    assert secret not in answer.body.decode() + repr(hostile.generation(answer.id))
    assert hostile.credits() == before
    if status in (429, 503):
        assert answer.headers["retry-after"] == "3"


@every_front
@every_dialect
@pytest.mark.parametrize("way", ["cut", "error event", "reset"])
def test_a_failure_after_content_never_looks_whole(
    hostile: Gateway, upstream: ScriptedUpstream, front: Front, dialect: str, way: str
) -> None:
    letter = LETTERS[dialect]
    events = frames(dialect, "one ", "two ", "three ")
    first = events[: len(events) // 2 + 1]
    match way:
        case "cut":
            script = answers(head(200), *first)
        case "reset":
            script = answers(head(200, "transfer-encoding: chunked"), b"%x\r\n" % 99999, *first)
        case _:
            error = {"error": {"type": "overloaded_error", "message": "the model is overloaded", "code": 503}}
            failed = {"type": "error", **error} if dialect == "anthropic_messages" else error
            script = answers(head(200), *first, sse(failed, "error" if "type" in failed else None))
    upstream.play(f"{letter}1", script)
    before = hostile.credits()
    answer = post(hostile, front, f"m{letter}", True)
    assert answer.status == 200
    events_seen = events_of(answer.body)
    text = front.text(events_seen)
    assert text
    assert "one two three ".startswith(text)
    assert not front.ended(answer.body), answer.body
    _, message = front.error(error_event(events_seen))
    assert message
    assert error_event(events_seen) == events_seen[-1], "something follows the error"
    assert hostile.generation(answer.id)["cost_pusd"] == 0
    assert hostile.credits() == before


@every_front
def test_refusals_of_the_gateway_have_the_form_of_the_api(hostile: Gateway, front: Front) -> None:
    cases = {
        401: post(hostile, front, "mo", False, key="sk-lr-wrong"),
        404: post(hostile, front, "mo-none", False),
    }
    path, body = front.request("mo", False)
    cases[400] = hostile.send("POST", path, b"[1, 2]")
    cases[413] = hostile.send("POST", path, None, {"content-length": str(10**9)})
    cases[415] = hostile.send("POST", path, json.dumps(body).encode(), {"content-encoding": "gzip"})
    poor = hostile.new_key("poor", account="poor-fronts")
    cases[402] = post(hostile, front, "mo", False, key=poor)
    for status, answer in cases.items():
        assert answer.status == status, (status, answer.body)
        word, message = front.error(answer.json)
        assert word
        assert message
        assert answer.headers["x-request-id"].startswith("gen-")
