"""Keys that are wrong, ended, restricted or in the wrong place."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from gateway_kit import Answer, Gateway, body_of, status_of, until

GPT = "openai/gpt-4o-mini"


BAD_KEYS = {
    "short": "x",
    "as long as a head may be": "sk-lr-" + "a" * 65_000,
    "sql": "' OR 1=1--",
    "template": "{{7*7}}${7*7}",
    "latin": "sk-lr-\xe9\xff",
    "two words": "sk-lr-abc sk-lr-def",
    "well formed": "sk-lr-" + "A" * 43,
    "tab": "sk\tlr",
    "quotes": '"sk-lr-a"',
    "comma": "a, b",
}


def same_body(answer: Answer) -> str:
    return json.dumps({**answer.error, "request_id": None}, sort_keys=True)


def test_bad_keys_are_refused_all_alike(sandbox: Gateway) -> None:
    mark = sandbox.log.mark()
    bodies = set()
    body = body_of(GPT)
    for key in BAD_KEYS.values():
        headers = {"authorization": f"Bearer {key}".encode("latin-1").decode("latin-1")}
        answer = sandbox.send("POST", "/v1/chat/completions", body, headers, key="")
        assert answer.status == 401, key[:20]
        assert answer.error["code"] == "invalid_api_key"
        bodies.add(same_body(answer))
    for header in ("Basic c2s6", "bearer", "Bearer", "token abc"):
        answer = sandbox.send("POST", "/v1/chat/completions", body, {"authorization": header}, key="")
        assert answer.status == 401, header
        if answer.error["code"] == "invalid_api_key":
            bodies.add(same_body(answer))
    assert len(bodies) == 1
    shown = "".join(sandbox.log.lines[mark:])
    assert not any(key in shown for key in BAD_KEYS.values() if len(key) > 5)


def test_the_scheme_is_read_in_any_case(sandbox: Gateway) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        headers = {"authorization": f"{scheme} {sandbox.key}"}
        assert sandbox.send("GET", "/v1/models/gpt-4o-mini", None, headers, key="").status == 200
    for name in ("x-api-key", "x-goog-api-key", "api-key"):
        assert sandbox.send("GET", "/v1/models/gpt-4o-mini", None, {name: sandbox.key}, key="").status == 200


def test_a_second_authorization_header_is_no_second_chance(sandbox: Gateway) -> None:
    head = f"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer wrong\r\nauthorization: Bearer {sandbox.key}\r\n\r\n"
    assert status_of(sandbox.raw(head.encode())) == 401


def test_no_key_says_how_to_send_one(sandbox: Gateway) -> None:
    answer = sandbox.chat(GPT, key="")
    assert answer.status == 401
    assert answer.error["code"] == "missing_api_key"
    assert "Authorization: Bearer" in answer.error["message"]


def test_a_key_in_the_query_is_for_gemini_s_routes_alone_and_never_logged(sandbox: Gateway) -> None:
    key = sandbox.new_key("query")
    mark = sandbox.log.mark()
    body = json.dumps({"contents": [{"parts": [{"text": "hi"}]}]}).encode()
    good = sandbox.send("POST", f"/v1beta/models/gemini-2.5-flash:generateContent?key={key}", body, key="")
    assert good.status == 200
    wrong = sandbox.send("POST", f"/v1/chat/completions?key={key}", body_of(GPT), key="")
    assert wrong.status == 401
    sandbox.send("GET", f"/nowhere/{key}?key={key}", key="")
    answer = sandbox.send("POST", f"/v1beta/models/none:generateContent?key={key}", body, key="")
    assert key.encode() not in answer.body
    sandbox.log.wait("gen-", mark, 3)
    assert key not in sandbox.log.text


def test_a_revoked_key_is_refused_at_once(sandbox: Gateway) -> None:
    made = sandbox.command("keys.create", name="short-lived")
    assert sandbox.chat(GPT, key=made["key"]).status == 200
    sandbox.command("keys.revoke", id=made["id"])
    answer = sandbox.chat(GPT, key=made["key"])
    assert answer.status == 401
    assert answer.error["code"] == "invalid_api_key"


def test_an_expired_key_is_refused(sandbox: Gateway) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    made = sandbox.command("keys.create", name="expiring", expires=soon.isoformat(timespec="seconds"))
    assert sandbox.chat(GPT, key=made["key"]).status == 200
    until(lambda: sandbox.get("/v1/models/gpt-4o-mini", key=made["key"]).status == 401)
    assert sandbox.chat(GPT, key=made["key"]).error["code"] == "invalid_api_key"


def test_the_allow_list_holds_for_every_name_of_a_model(sandbox: Gateway) -> None:
    key = sandbox.new_key("only-mini", models=["gpt-4o-mini", "claude-haiku-*"])
    for name in ("gpt-4o-mini", "openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18", "claude-haiku-4-5"):
        assert sandbox.chat(name, key=key).status == 200, name
    for name in ("gpt-4o", "openai/gpt-4o", "gpt-4o-2024-08-06", "anthropic/claude-sonnet-4-5", "GPT-4O"):
        answer = sandbox.chat(name, key=key)
        assert answer.status == 403, name
        assert answer.error["code"] == "model_not_allowed"
        assert answer.error["param"] == "model"
    listed = {m["id"] for m in sandbox.get("/v1/models", key=key).json["data"]}
    assert "gpt-4o-mini" in listed
    assert "gpt-4o" not in listed
    assert sandbox.get("/v1/models/gpt-4o", key=key).status == 404
