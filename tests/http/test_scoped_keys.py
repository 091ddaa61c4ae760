"""Keys with scopes, providers, address ranges, two texts: over a real gateway, with one process and with two."""

from __future__ import annotations

import json

import pytest
from gateway_kit import Gateway

CHAT = json.dumps({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}).encode()
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def gateway(request, tmp_path_factory):
    running = Gateway(
        tmp_path_factory.mktemp("scoped"),
        "--sandbox",
        config=f'[server]\nworkers = {request.param}\ntrusted_proxies = ["127.0.0.1"]\n',
    )
    yield running
    running.stop()


def chat(gateway, key, **headers):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.send("POST", "/v1/chat/completions", CHAT, {**JSON, **sent}, key=key)


def test_a_key_is_for_its_scopes_alone(gateway):
    keys = {
        scope: gateway.new_key(scope, scopes=[scope]) for scope in ("inference", "models", "usage", "admin")
    }
    asked = {
        "inference": lambda key: chat(gateway, key),
        "models": lambda key: gateway.get("/v1/models", key=key),
        "usage": lambda key: gateway.get("/v1/credits", key=key),
    }
    for scope, key in keys.items():
        for needed, ask in asked.items():
            answer = ask(key)
            allowed = scope == needed or (scope == "admin" and needed != "inference")
            assert answer.status == (200 if allowed else 403), (scope, needed, answer.body)
            if not allowed:
                assert answer.error["code"] == "forbidden"
                assert scope in answer.error["message"]
    for ask in asked.values():
        assert ask(gateway.key).status == 200


def test_a_key_is_used_from_its_ranges_alone(gateway):
    key = gateway.new_key("office", ip_ranges=["203.0.113.0/24"])
    refused = chat(gateway, key)
    assert refused.status == 403
    assert "127.0.0.1" in refused.error["message"]
    assert chat(gateway, key, x_forwarded_for="203.0.113.9").status == 200
    # what the client itself put in front of what its proxy wrote
    assert chat(gateway, key, x_forwarded_for="203.0.113.9, 198.51.100.1").status == 403
    assert gateway.get("/v1/models", key=key).status == 403


def test_a_key_is_served_by_its_providers_alone(gateway):
    own = gateway.new_key("own", providers=["openai"])
    answer = chat(gateway, own)
    assert answer.status == 200
    assert gateway.generation(answer.id, own)["provider"] == "openai"
    other = chat(gateway, gateway.new_key("other", providers=["mistral"]))
    assert other.status == 404
    assert other.error["code"] == "no_eligible_deployment"
    assert "may not use its provider" in other.error["message"]


def test_an_old_text_works_as_long_as_was_said(gateway):
    made = gateway.command("keys.create", name="turning")
    turned = gateway.command("keys.rotate", id=made["id"], overlap_s=3600)
    assert turned["key"] != made["key"]
    assert turned["id"] == made["id"]
    for text in (made["key"], turned["key"]):
        assert chat(gateway, text).status == 200
    again = gateway.command("keys.rotate", id=made["id"], overlap_s=0)
    assert chat(gateway, made["key"]).status == 401
    assert chat(gateway, turned["key"]).status == 401
    assert chat(gateway, again["key"]).status == 200


def test_a_change_holds_for_the_next_request(gateway):
    made = gateway.command("keys.create", name="changing")
    assert chat(gateway, made["key"]).status == 200
    gateway.command("keys.change", id=made["id"], disabled=True)
    off = chat(gateway, made["key"])
    assert off.status == 401
    assert "switched off" in off.error["message"]
    gateway.command("keys.change", id=made["id"], disabled=False, models=["claude-*"])
    assert chat(gateway, made["key"]).error["code"] == "model_not_allowed"
    shown = gateway.command("keys.change", id=made["id"], models=None, name="changed")
    assert (shown["name"], shown["version"]) == ("changed", 4)
    assert chat(gateway, made["key"]).status == 200
