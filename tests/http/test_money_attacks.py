"""Requests that would like to be held for less than they cost, in every API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway_kit import Answer, Gateway
from test_max_cost import APIS, facts

ABSURD = ("-1", "1.5", "true", '"5x"', "1e308", str(2**63), str(2**64), "1" + "0" * 400, "[]", "{}")
MEMBERS = {
    "chat": ('"max_tokens"',), "completion-tokens": ('"max_completion_tokens"',), "completions": ('"max_tokens"',),
    "messages": ('"max_tokens"',), "responses": ('"max_output_tokens"',), "gemini": ('"maxOutputTokens"',),
}  # fmt: skip
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def post(gateway: Gateway, path: str, body: bytes, key: str | None = None) -> Answer:
    return gateway.send("POST", path, body, None, key)


@pytest.mark.parametrize("value", ABSURD)
@pytest.mark.parametrize("api", APIS)
def test_an_absurd_limit_is_refused_and_moves_no_money(sandbox: Gateway, api: str, value: str) -> None:
    path, body = APIS[api]
    (member,) = MEMBERS[api]
    text = json.dumps(body).replace(f"{member}: 1000", f"{member}: {value}")
    before = sandbox.credits()
    assert post(sandbox, path, text.encode()).status == 400, value
    assert sandbox.credits() == before


@pytest.mark.parametrize("api", APIS)
def test_a_402_says_what_would_fit_in_every_api(sandbox: Gateway, api: str) -> None:
    sandbox.command("credits.add", amount="0.0005", account=f"poor-{api}")
    key = sandbox.new_key(f"poor-{api}", account=f"poor-{api}")
    path, body = APIS[api]
    refused = post(sandbox, path, json.dumps(body).replace(": 1000", ": 90000").encode(), key)
    assert refused.status == 402
    found = facts(api, refused)
    assert found["code"] == "insufficient_credits"
    assert float(found["needed"]) > float(found["available"]) > 0
    limit = int(found["affordable_max_tokens"])
    assert limit > 0
    fits = json.dumps(body).replace(": 1000", f": {limit}").replace("[[long 900]] ", "")
    assert post(sandbox, path, fits.encode(), key).status == 200


def estimated(gateway: Gateway, body: dict[str, Any]) -> Any:
    answer = post(gateway, "/v1/estimate", json.dumps(body).encode())
    assert answer.status == 200, answer.body
    return answer.json


def test_choices_multiply_what_is_held(sandbox: Gateway) -> None:
    chat = APIS["chat"][1]
    gemini = {**APIS["gemini"][1], "model": "gpt-6-luna"}
    counted = {"maxOutputTokens": 1000, "candidateCount": 4}
    assert estimated(sandbox, {**chat, "n": 4})["output_tokens"]["max"] == 4000
    assert estimated(sandbox, {**gemini, "generationConfig": counted})["output_tokens"]["max"] == 4000


def test_the_largest_of_contradictory_limits_is_held_or_they_are_refused(sandbox: Gateway) -> None:
    chat = APIS["chat"][1]
    both = {**chat, "max_completion_tokens": 100_000}
    assert post(sandbox, "/v1/estimate", json.dumps(both).encode()).status == 400
    thinking = {**chat, "reasoning": {"max_tokens": 9000}}
    assert estimated(sandbox, thinking)["output_tokens"]["max"] == 9000


def test_media_are_held_beside_tiny_text(sandbox: Gateway) -> None:
    def asked(*parts: dict[str, Any]) -> Any:
        said = [{"role": "user", "content": [{"type": "text", "text": "a"}, *parts]}]
        return estimated(sandbox, {"model": "gpt-6-luna", "messages": said})["input_tokens"]["max"]

    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    document = {
        "type": "file",
        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + "A" * 40_000},
    }
    plain = asked()
    assert asked(*[image] * 10) >= plain + 10 * 5000
    assert asked(document) >= plain + 20_000


def test_filling_a_cache_without_output_is_charged(sandbox: Gateway) -> None:
    kept = {
        "type": "text",
        "text": "It says a lot. " * 3000,
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }
    body = {
        "model": "claude-sonnet-5",
        "max_tokens": 0,
        "system": [kept],
        "messages": APIS["messages"][1]["messages"],
    }
    answer = post(sandbox, "/v1/messages", json.dumps(body).encode())
    assert answer.status == 200, answer.body
    usage = answer.json["usage"]
    assert usage["cache_creation_input_tokens"] > 10_000
    assert usage["cost"] > 0.01
    elsewhere = post(sandbox, "/v1/messages", json.dumps({**body, "model": "gpt-6-luna"}).encode())
    assert elsewhere.status == 400
    assert b"max_tokens" in elsewhere.body


def test_what_only_the_provider_sees_and_finds_is_estimated(sandbox: Gateway) -> None:
    video = {"fileData": {"fileUri": "https://www.youtube.com/watch?v=abc", "mimeType": "video/mp4"}}
    gemini = {
        "model": "gemini-2.5-flash",
        "contents": [{"role": "user", "parts": [video, {"text": "Sum up."}]}],
    }
    assert estimated(sandbox, gemini)["input_tokens"]["max"] > 900_000
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 50}
    asked = {**APIS["messages"][1], "model": "claude-sonnet-5", "max_tokens": 100}
    plain, searching = (estimated(sandbox, {**asked, **more}) for more in ({}, {"tools": [tool]}))
    assert searching["cost"]["max"] > 50 * plain["cost"]["max"]
