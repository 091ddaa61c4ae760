"""``/v1/explain`` and ``/v1/generations/{id}/explain`` over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from gateway_kit import Answer, Gateway

MODEL = "gpt-6-luna"
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}),
    "messages": ("/v1/messages", {"model": MODEL, "system": "brief", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}),
    "responses": ("/v1/responses", {"model": MODEL, "input": "Hi"}),
    "gemini": (f"/v1beta/models/{MODEL}:generateContent", {"contents": [{"parts": [{"text": "Hi"}]}]}),
}  # fmt: skip


def post(gateway: Gateway, path: str, body: object, key: str | None = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.send("POST", path, json.dumps(body).encode(), named, key)


def explained(gateway: Gateway, id_: str, key: str | None = None) -> Any:
    answer = gateway.send("GET", f"/v1/generations/{id_}/explain", b"", {}, key)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.mark.parametrize("api", BODIES)
def test_what_is_said_before_is_what_is_done(sandbox: Gateway, api: str) -> None:
    path, body = BODIES[api]
    before = sandbox.credits()
    by_path = post(sandbox, f"/v1/explain{path}", body)
    assert by_path.status == 200, by_path.body
    named = post(sandbox, f"/v1/explain?api={api}", body if api != "gemini" else {**body, "model": MODEL})
    assert named.json["plan"] == by_path.json["plan"]
    assert sandbox.credits() == before
    told = by_path.json
    assert told["api"] == api
    done = explained(sandbox, post(sandbox, path, body).id)
    assert done["plan"] == told["plan"]
    assert done["served_by"] == told["order"][0]
    assert done["rejected"] == told["rejected"]
    assert done["hold"]["amount"] == told["hold"]["amount"]
    assert done["replayed"]["same"] is True
    assert told["forecast"]["min"] <= done["settlement"]["cost"] <= told["hold"]["amount"]


def test_wishes_and_several_models_are_explained(sandbox: Gateway) -> None:
    body = {
        "model": f"{MODEL}:floor", "models": ["claude-haiku-4-5"], "provider": {"ignore": ["openai"]},
        "messages": [{"role": "user", "content": "Hi"}],
    }  # fmt: skip
    told = post(sandbox, "/v1/explain", body).json
    reasons = {each["deployment"]: each["reason"] for each in told["rejected"]}
    assert reasons[f"openai/{MODEL}"] == "provider.ignore names it"
    assert any(each["deployment"].endswith("/claude-haiku-4-5") for each in told["candidates"])
    assert all(each["price_per_mtok"] is not None for each in told["candidates"])
    done = explained(sandbox, post(sandbox, "/v1/chat/completions", body).id)
    assert done["plan"] == told["plan"]
    assert {each["deployment"] for each in done["rejected"]} == set(reasons)


def test_auto_says_what_it_chose_by(sandbox: Gateway) -> None:
    body = {"model": "auto", "dial": 0, "messages": [{"role": "user", "content": "Hi"}]}
    told = post(sandbox, "/v1/explain", body).json
    assert told["strategy"] == "auto"
    offers = told["auto"]["offers"]
    assert offers[0]["forecast_cost"] == min(each["forecast_cost"] for each in offers)
    assert told["replayed"]["same"] is True


def test_a_request_that_would_be_refused_is_told_why(sandbox: Gateway) -> None:
    body = {"model": MODEL, "provider": {"max_price": {"completion": 0}}, "messages": []}
    found = post(sandbox, "/v1/explain", {**body, "messages": [{"role": "user", "content": "Hi"}]})
    assert found.status == 200
    assert found.json["error"]["code"] == "no_eligible_deployment"
    assert found.json["rejected"][0]["reason"] == "its price is above provider.max_price.completion"
    wrong = post(sandbox, "/v1/explain", {"model": MODEL, "messages": "x"})
    assert wrong.status == 400
    assert post(sandbox, "/v1/explain/v1/nowhere", body).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"x-llm-router-timeouts": "total=1,total=2"},
        {"x-request-timeout": "soon"},
        {"x-llm-router-hedge": "perhaps"},
        {"x-llm-router-continue": "perhaps"},
    ],
)
def test_headers_that_would_be_refused_are_told_in_the_same_words(
    sandbox: Gateway, headers: dict[str, str]
) -> None:
    body = json.dumps({"model": "gpt-6-luna", "messages": [{"role": "user", "content": "hi"}]}).encode()
    refused = sandbox.send("POST", "/v1/chat/completions", body, headers)
    assert refused.status == 400
    told = sandbox.send("POST", "/v1/explain", body, headers).json["error"]
    assert told["message"] == refused.error["message"]
    assert (told["code"], told["status"]) == (refused.error["code"], 400)


def test_only_the_owner_is_told(sandbox: Gateway) -> None:
    path, body = BODIES["chat"]
    id_ = post(sandbox, path, body).id
    sandbox.command("credits.add", amount="1", account="stranger")
    stranger = sandbox.new_key("stranger", account="stranger")
    assert sandbox.send("GET", f"/v1/generations/{id_}/explain", b"", {}, stranger).status == 404
    assert "decision" not in sandbox.generation(id_)


@pytest.mark.parametrize("path", ["/v1/explain", "/v1/estimate"])
def test_questions_are_bounded_by_the_key_and_consume_none_of_its_requests(
    sandbox: Gateway, path: str
) -> None:
    key = sandbox.new_key("few-questions", requests_per_minute=2)
    _, body = BODIES["chat"]
    assert [post(sandbox, path, body, key).status for _ in range(3)] == [200, 200, 429]
    refused = post(sandbox, path, body, key)
    assert int(refused.headers["retry-after"]) > 0
    statuses = [post(sandbox, "/v1/chat/completions", body, key).status for _ in range(3)]
    assert statuses == [200, 200, 429]


def _cli(gateway: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    where = ("--data-dir", str(gateway.data_dir), "--config", str(gateway.config), "--sandbox")
    command = [sys.executable, "-W", "error", "-m", "llm_router.cli", *words, *where]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_tells_it_to_people(sandbox: Gateway) -> None:
    body = {
        "model": f"auto|{MODEL}", "dial": 2, "provider": {"ignore": ["openrouter"]}, "max_tokens": 40,
        "messages": [{"role": "user", "content": "Hi"}],
    }  # fmt: skip
    id_ = post(sandbox, "/v1/chat/completions", body).id
    done = _cli(sandbox, "explain", id_)
    assert done.returncode == 0, done.stderr
    assert "Ordered by  auto at dial 2" in done.stdout
    assert "first of the plan" in done.stdout
    assert "the decision is the same" in done.stdout
    shown = json.loads(_cli(sandbox, "explain", id_, "--json").stdout)
    assert shown["id"] == id_
    missing = _cli(sandbox, "explain", "gen-nowhere")
    assert missing.returncode == 1
    assert "no exchange 'gen-nowhere'" in missing.stderr


LONG = "y" * 1_000_000
HUGE: dict[str, dict[str, Any]] = {
    "model": {"model": LONG},
    "models": {"models": [f"m{n}" for n in range(50_000)]},
    "a long model": {"models": [LONG]},
    "order": {"provider": {"order": [f"p{n}" for n in range(50_000)]}},
    "only": {"provider": {"only": [LONG]}},
    "a wish": {"provider": {LONG: 1}},
    "sort": {"provider": {"sort": LONG}},
    "max_price": {"provider": {"max_price": {LONG: 1}}},
    "session": {"session_id": LONG},
    "preset": {"preset": LONG},
    "route": {"route": LONG},
    "dial": {"dial": LONG},
    "plugins": {"plugins": [{"id": LONG}]},
    "user": {"user": LONG},
    "service_tier": {"service_tier": LONG},
    "api": {"api": LONG},
    "tools": {"tools": [{"type": LONG}]},
    "message": {"messages": [{"role": LONG, "content": "Hi"}]},
}


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("model", [MODEL, "nobody-knows-it"])
def test_huge_members_are_not_told_again(sandbox: Gateway, name: str, model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **HUGE[name]}
    answer = post(sandbox, "/v1/explain", body)
    assert answer.status in (200, 400, 404), answer.body[:300]
    assert len(answer.body) < 64_000, answer.body[:300]
