"""``POST /v1/estimate``: what a request will cost, against what it then does cost."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Answer, Gateway

MODEL = "gpt-6-luna"
TEXT = "[[long 120]] Say something of any length about the sea, and of ships that cross it."
TOOL = {"name": "f", "input_schema": {"type": "object"}}
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 200}),
    "messages": ("/v1/messages", {"model": MODEL, "system": "brief", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 200}),
    "responses": ("/v1/responses", {"model": MODEL, "input": TEXT, "max_output_tokens": 200}),
    "completions": ("/v1/completions", {"model": MODEL, "prompt": TEXT, "max_tokens": 200}),
    "gemini": (f"/v1beta/models/{MODEL}:generateContent", {"contents": [{"parts": [{"text": TEXT}]}], "generationConfig": {"maxOutputTokens": 200}}),
    "embeddings": ("/v1/embeddings", {"model": "text-embedding-3-small", "input": [TEXT, "b"]}),
}  # fmt: skip


def post(gateway: Gateway, path: str, body: object, key: str | None = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.send("POST", path, json.dumps(body).encode(), named, key)


def estimated(gateway: Gateway, body: object, key: str | None = None, query: str = "", **headers: str) -> Any:
    answer = post(gateway, f"/v1/estimate{query}", body, key, **headers)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.mark.parametrize("api", BODIES)
def test_what_it_costs_lies_within_what_was_said(sandbox: Gateway, api: str) -> None:
    path, body = BODIES[api]
    asked = body if api != "gemini" else {**body, "model": MODEL}
    before = sandbox.credits()
    found = estimated(sandbox, asked)
    assert sandbox.credits() == before
    assert found["api"] == api
    cost = found["cost"]
    assert 0 < cost["min"] <= cost["expected"] <= cost["max"]
    assert (found["output_tokens"]["max"] == 0) == (api == "embeddings")
    paid = sandbox.generation(post(sandbox, path, body).id)
    assert cost["min"] <= paid["cost_usd"] <= cost["max"]
    assert paid["usage"]["prompt_tokens"] <= found["input_tokens"]["max"]
    refused = post(sandbox, path, body, x_max_cost="0")
    held = refused.error.get("needed") if api != "gemini" else None
    assert held in (None, cost["max"])
    (first,) = [d for d in found["deployments"] if d["first"]]
    assert first is not None
    assert first["provider"] == paid["provider"]
    assert sum(line["amount"] for line in first["lines"]) == first["cost"]["expected"]
    for line in first["lines"]:
        assert line["quantity"] * line["rate_per_mtok"] / 1_000_000 == line["amount"]


@pytest.mark.parametrize(
    ("body", "query", "headers", "api"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, "", {}, "chat"),
        ({"messages": [{"role": "user", "content": "a"}]}, "?api=messages", {}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}], "api": "messages"}, "", {}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}]}, "", {"anthropic_version": "1"}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}], "tools": [TOOL]}, "", {}, "messages"),
        ({"input": "a"}, "", {}, "responses"),
        ({"contents": [{"parts": [{"text": "a"}]}]}, "", {}, "gemini"),
        ({"prompt": "a"}, "", {}, "completions"),
    ],
)
def test_the_api_is_told_or_recognised(
    sandbox: Gateway, body: dict[str, Any], query: str, headers: dict[str, str], api: str
) -> None:
    assert estimated(sandbox, {**body, "model": MODEL}, query=query, **headers)["api"] == api


def test_several_models_and_what_is_wrong_with_some(sandbox: Gateway) -> None:
    key = sandbox.new_key("few", models=["gpt-6-*", "claude-*", "text-*"])
    names = [MODEL, "claude-haiku-4-5", "gemini-3.5-flash-lite", "no-such-model", "text-embedding-3-small"]
    body = {"messages": [{"role": "user", "content": "hi"}], "models": names}
    data = estimated(sandbox, body, key)["data"]
    assert [entry["asked_model"] for entry in data] == names
    assert [entry["allowed"] for entry in data] == [True, True, False, None, None]
    codes = [entry.get("error", {}).get("code") for entry in data]
    assert codes == [None, None, "model_not_allowed", "model_not_found", "unsupported_operation"]
    assert data[0]["cost"]["max"] != data[1]["cost"]["max"]
    gemini = estimated(sandbox, {"contents": [{"parts": [{"text": "hi"}]}], "models": names[:2]}, key)
    assert [entry["model"] for entry in gemini["data"]] == names[:2]


def test_whether_the_key_can_afford_it(sandbox: Gateway) -> None:
    sandbox.command("credits.add", amount="0.001", account="poor-est")
    key = sandbox.new_key("poor-est", account="poor-est")
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 16_000}
    found = estimated(sandbox, body, key, x_max_cost="0.0001")
    assert found["affordable"] is False
    assert found["within_max_cost"] is False
    assert found["available"] == Decimal("0.001")
    fits = {**body, "max_tokens": found["affordable_max_tokens"]}
    assert estimated(sandbox, fits, key)["affordable"] is True
    assert (
        estimated(sandbox, {**body, "max_tokens": found["affordable_max_tokens"] + 1}, key)["affordable"]
        is False
    )
    made = sandbox.command("keys.create", name="bounded", account="default")
    sandbox.command("budgets.set", amount="0.0005", scope="key", scope_id=made["id"])
    assert estimated(sandbox, body, made["key"])["available"] == Decimal("0.0005")


def test_answers_teach_what_to_expect(sandbox: Gateway) -> None:
    key = sandbox.new_key("taught")
    body = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "[[long 77]] hi"}]}
    for _ in range(20):
        assert post(sandbox, "/v1/chat/completions", body, key).status == 200
    found = estimated(sandbox, body, key)["output_tokens"]
    assert (found["expected"], found["learned_from"]) == (77, 20)


def test_turns_before_a_response_count(sandbox: Gateway) -> None:
    first = post(sandbox, "/v1/responses", {"model": MODEL, "input": "long " * 500}).json
    alone = estimated(sandbox, {"model": MODEL, "input": "go on"})
    after = estimated(sandbox, {"model": MODEL, "input": "go on", "previous_response_id": first["id"]})
    assert after["input_tokens"]["max"] > alone["input_tokens"]["max"] + 2000


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": MODEL}, 400, None),
        ({"model": MODEL, "messages": []}, 400, "messages"),
        (
            {"model": MODEL, "messages": [{"role": "user", "content": "a"}], "max_tokens": -1},
            400,
            "max_tokens",
        ),
        ({"messages": [{"role": "user", "content": "a"}], "models": []}, 400, "models"),
        ({"messages": [{"role": "user", "content": "a"}], "models": ["m"] * 2 + [5]}, 400, "models"),
        (
            {"messages": [{"role": "user", "content": "a"}], "models": [f"m{n}" for n in range(51)]},
            400,
            "models",
        ),
        ({"contents": [{"parts": [{"text": "a"}]}]}, 400, "model"),
        ({"model": "nope-nope", "messages": [{"role": "user", "content": "a"}]}, 404, "model"),
        ({"model": MODEL, "api": "soap", "messages": []}, 400, "api"),
        ([], 400, None),
    ],
)
def test_what_is_no_request_is_refused(
    sandbox: Gateway, body: object, status: int, param: str | None
) -> None:
    answer = post(sandbox, "/v1/estimate", body)
    assert (answer.status, answer.error["param"]) == (status, param)


def test_it_needs_a_key(sandbox: Gateway) -> None:
    assert post(sandbox, "/v1/estimate", BODIES["chat"][1], "sk-lr-no").status == 401
