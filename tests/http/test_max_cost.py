"""``x-max-cost``: what a request may cost, by its own word, in every API."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Answer, Gateway

MODEL = "gpt-6-luna"
TEXT = "[[long 900]] go on"
APIS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 1000}),
    "completion-tokens": ("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": TEXT}], "max_completion_tokens": 1000}),
    "completions": ("/v1/completions", {"model": MODEL, "prompt": TEXT, "max_tokens": 1000}),
    "messages": ("/v1/messages", {"model": MODEL, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 1000}),
    "responses": ("/v1/responses", {"model": MODEL, "input": TEXT, "max_output_tokens": 1000}),
    "gemini": (f"/v1beta/models/{MODEL}:generateContent", {"contents": [{"parts": [{"text": TEXT}]}], "generationConfig": {"maxOutputTokens": 1000}}),
}  # fmt: skip


def ask(gateway: Gateway, api: str, key: str, body: dict[str, Any] | None = None, **headers: str) -> Answer:
    path, usual = APIS[api]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.send("POST", path, json.dumps(usual if body is None else body).encode(), named, key)


def facts(api: str, answer: Answer) -> dict[str, Any]:
    """The members of an error, wherever the API has its place for them."""
    if api != "gemini":
        return answer.error
    (info,) = [d for d in answer.error["details"] if d["@type"].endswith("ErrorInfo")]
    return {**info["metadata"], "message": answer.error["message"]}


def needed(gateway: Gateway, api: str, key: str) -> Decimal:
    refused = ask(gateway, api, key, x_max_cost="0")
    assert refused.status == 402
    return Decimal(facts(api, refused)["needed"])


@pytest.fixture(scope="module")
def rich(sandbox: Gateway) -> str:
    sandbox.command("credits.add", amount="100", account="max-cost")
    return sandbox.new_key("max-cost", account="max-cost")


@pytest.mark.parametrize("api", APIS)
def test_a_dearer_request_is_refused_and_told_what_would_fit(sandbox: Gateway, rich: str, api: str) -> None:
    before = sandbox.credits("max-cost")
    worst = needed(sandbox, api, rich)
    refused = ask(sandbox, api, rich, x_max_cost=str(worst - Decimal("0.000000000001")))
    assert refused.status == 402
    error = facts(api, refused)
    assert error["code"] == "max_cost_exceeded"
    assert Decimal(error["max_cost"]) < Decimal(error["needed"]) == worst
    assert 0 < int(error["affordable_max_tokens"]) < 1000
    assert "x-max-cost" in error["message"]
    assert sandbox.credits("max-cost") == before
    allowed = ask(sandbox, api, rich, x_max_cost=str(worst))
    assert allowed.status == 200
    assert "x-llm-router-max-tokens" not in allowed.headers
    assert before - worst <= sandbox.credits("max-cost") < before


@pytest.mark.parametrize("action", ["clamp", "downgrade"])
@pytest.mark.parametrize("api", APIS)
def test_a_limit_is_lowered_if_that_is_asked_for(sandbox: Gateway, rich: str, api: str, action: str) -> None:
    most = needed(sandbox, api, rich) / 2
    before = sandbox.credits("max-cost")
    answer = ask(sandbox, api, rich, x_max_cost=str(most), x_max_cost_action=action)
    assert answer.status == 200, answer.body
    limit = int(answer.headers["x-llm-router-max-tokens"])
    assert 16 <= limit < 1000
    record = sandbox.generation(answer.id, rich)
    assert record["usage"]["completion_tokens"] == limit
    assert record["finish"] == "length"
    assert 0 < record["cost_usd"] == before - sandbox.credits("max-cost") <= most


@pytest.mark.parametrize("api", ["chat", "responses", "gemini"])
def test_what_names_no_limit_is_held_to_the_cost_too(sandbox: Gateway, rich: str, api: str) -> None:
    left_out = ("max_tokens", "max_output_tokens", "generationConfig")
    body = {name: value for name, value in APIS[api][1].items() if name not in left_out}
    asked = json.loads(json.dumps(body).replace("[[long 900]]", "[[long 30000]]"))
    assert ask(sandbox, api, rich, asked, x_max_cost="0.001").status == 402
    answer = ask(sandbox, api, rich, asked, x_max_cost="0.001", x_max_cost_action="clamp")
    assert answer.status == 200
    assert sandbox.generation(answer.id, rich)["cost_usd"] <= Decimal("0.001")
    assert int(answer.headers["x-llm-router-max-tokens"]) > 16


def test_thinking_is_lowered_with_the_limit_or_the_request_refused(sandbox: Gateway, rich: str) -> None:
    thinking = {"type": "enabled", "budget_tokens": 6000}
    body = {**APIS["messages"][1], "model": "claude-haiku-4-5", "max_tokens": 8000, "thinking": thinking}
    worst = Decimal(ask(sandbox, "messages", rich, body, x_max_cost="0").error["needed"])
    lower = ask(sandbox, "messages", rich, body, x_max_cost=str(worst / 2), x_max_cost_action="clamp")
    assert lower.status == 200, lower.body
    lowest = ask(sandbox, "messages", rich, body, x_max_cost=str(worst / 20), x_max_cost_action="clamp")
    assert lowest.status == 402, lowest.body


def test_an_embedding_is_bounded_by_its_input(sandbox: Gateway, rich: str) -> None:
    body = json.dumps({"model": "text-embedding-3-small", "input": "hi"}).encode()
    refused = sandbox.send("POST", "/v1/embeddings", body, {"x-max-cost": "0"}, rich)
    assert (refused.status, refused.error["code"]) == (402, "max_cost_exceeded")
    assert refused.error["affordable_max_tokens"] == 0
    allowed = sandbox.send("POST", "/v1/embeddings", body, {"x-max-cost": "0.1"}, rich)
    assert allowed.status == 200
    assert "x-llm-router-max-tokens" not in allowed.headers


@pytest.mark.parametrize("value", ["", "-1", "1e9", "abc", "NaN", "0x10", "1_000", "9" * 400, "0,05"])
def test_what_is_no_amount_is_refused(sandbox: Gateway, rich: str, value: str) -> None:
    answer = ask(sandbox, "chat", rich, x_max_cost=value)
    assert (answer.status, answer.error["param"]) == (400, "x-max-cost")


def test_an_unknown_action_is_refused(sandbox: Gateway, rich: str) -> None:
    answer = ask(sandbox, "chat", rich, x_max_cost="1", x_max_cost_action="ignore")
    assert (answer.status, answer.error["param"]) == (400, "x-max-cost-action")
