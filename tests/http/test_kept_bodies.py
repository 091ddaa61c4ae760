"""Bodies of requests and answers, kept for an account that wants it, over a real gateway."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from gateway_kit import Gateway, until
from people_kit import first_operator, invited

MODEL = "gpt-5-mini"
SAID = "mail a@b.example, card 4111 1111 1111 1111, EMP-1234, key sk-lr-abcdefghijklmnop1234567890"
KEPT = "mail [redacted:email], card [redacted:card], [redacted:pattern], key [redacted:credential]"
RULE = {"redact": ["email", "card"], "patterns": [r"EMP-\d{4}"]}


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def gateway(request, tmp_path_factory):
    pytest.importorskip("argon2")
    running = Gateway(
        tmp_path_factory.mktemp("bodies"), "--sandbox", config=f"[server]\nworkers = {request.param}\n"
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ada(gateway):
    return first_operator(gateway)


def account(gateway, name):
    gateway.command("credits.add", account=name, amount="5", ref=name)
    return gateway.new_key("k", account=name)


def content(gateway, id_, key):
    """What is kept of an exchange, once it is."""
    found = {}

    def there():
        answer = gateway.get(f"/v1/generations/{id_}/content", key=key)
        found.update(answer.json)
        return answer.status == 200

    until(there)
    return found


def test_nothing_is_kept_unless_it_is_asked_for(gateway):
    answer = gateway.chat(MODEL, "hi")
    refused = gateway.get(f"/v1/generations/{answer.id}/content")
    assert (refused.status, refused.error["code"]) == (404, "content_not_kept")
    assert gateway.command("bodies.show")["kept"] == 0


def test_request_and_answer_are_kept_as_the_account_wants_them(gateway):
    key = account(gateway, "acme")
    gateway.command("bodies.set", account="acme", **RULE)
    answer = gateway.chat(MODEL, SAID, key=key)
    assert SAID in answer.json["choices"][0]["message"]["content"]  # the client gets what was said
    found = content(gateway, answer.id, key)
    assert found["request"]["body"] == {"model": MODEL, "messages": [{"role": "user", "content": KEPT}]}
    assert f"“{KEPT}”" in found["response"]["body"]["choices"][0]["message"]["content"]
    assert found["response"]["status"] == 200
    assert found["response"]["complete"] is True
    assert found["redacted"] == {"credential": 2, "email": 2, "card": 2, "pattern": 2}
    for side in ("request", "response"):
        assert found[side]["redacted"] == {"credential": 1, "email": 1, "card": 1, "pattern": 1}
        assert found[side]["files_left_out"] == 0
    load = gateway.get("/readyz").json["load"]
    assert load["bodies_dropped"] == 0


STREAMS = {
    "/v1/chat/completions": ({"messages": [{"role": "user", "content": SAID}]}, ("choices", 0, "message", "content")),
    "/v1/messages": (
        {"max_tokens": 500, "messages": [{"role": "user", "content": SAID}]}, ("content", 0, "text"),
    ),
    "/v1/responses": ({"input": SAID}, ("output", -1, "content", 0, "text")),
    "/v1/completions": ({"prompt": SAID, "max_tokens": 500}, ("choices", 0, "text")),
    f"/v1beta/models/{MODEL}:streamGenerateContent": (
        {"contents": [{"role": "user", "parts": [{"text": SAID}]}]}, ("candidates", 0, "content", "parts", 0, "text"),
    ),
    f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse": (
        {"contents": [{"role": "user", "parts": [{"text": SAID}]}]}, ("candidates", 0, "content", "parts", 0, "text"),
    ),
}  # fmt: skip


def test_a_stream_is_kept_as_the_answer_that_it_was(gateway):
    key = account(gateway, "streams")
    gateway.command("bodies.set", account="streams", **RULE)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    for path, (members, where) in STREAMS.items():
        asked = members if "models/" in path else {"model": MODEL, "stream": True, **members}
        answer = gateway.send("POST", path, json.dumps(asked).encode(), headers)
        assert answer.status == 200, answer.body
        found = content(gateway, answer.id, key)
        body = found["response"]["body"]
        for step in where:
            body = body[step]
        assert f"“{KEPT}”" in body, path
        assert found["response"]["streamed"] is True
        assert found["response"]["complete"] is True, path
        assert b"edits_remaining" not in json.dumps(found["response"]["body"], default=str).encode()


def test_openrouters_clients_find_a_generation_and_what_was_said_in_it(gateway):
    key = account(gateway, "router")
    gateway.command("bodies.set", account="router", **RULE)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    chat = [{"role": "user", "content": SAID}]
    for path, asked, given in (
        ("/v1/chat/completions", {"messages": chat, "stream": True}, {"messages": chat}),
        ("/v1/messages", {"messages": chat, "max_tokens": 500}, {"messages": chat}),
        ("/v1/responses", {"input": SAID}, {"prompt": SAID}),
        ("/v1/completions", {"prompt": SAID, "max_tokens": 500}, {"prompt": SAID}),
    ):
        body = json.dumps({"model": MODEL, **asked}).encode()
        answer = gateway.send("POST", path, body, headers)
        assert answer.status == 200, answer.body
        told = gateway.get(f"/api/v1/generation?id={answer.id}", key=key).json["data"]
        record = gateway.get(f"/v1/generations/{answer.id}", key=key).json
        assert (told["id"], told["model"], told["streamed"]) == (answer.id, MODEL, bool(asked.get("stream")))
        assert told["total_cost"] == told["usage"] == record["cost_usd"]
        assert told["native_tokens_prompt"] == record["usage"]["prompt_tokens"]
        assert told["provider_responses"][0]["status"] == 200
        content(gateway, answer.id, key)
        said = gateway.get(f"/v1/generation/content?id={answer.id}", key=key).json["data"]
        assert json.dumps(said["input"]) == json.dumps(given).replace(SAID, KEPT), path
        assert f"“{KEPT}”" in said["output"]["completion"], path
    for path in ("/v1/generation", "/v1/generation/content"):
        assert (gateway.get(path, key=key).status, gateway.get(f"{path}?id=gen-x", key=key).status) == (
            400,
            404,
        )
        assert (
            gateway.get(f"{path}?id={answer.id}", key=gateway.new_key("k", account="elsewhere")).status == 404
        )


def test_refusals_are_kept_too_and_share_and_key_decide(gateway):
    key = account(gateway, "keys")
    other = gateway.command("keys.create", name="other", account="keys")
    gateway.command("bodies.set", account="keys", share=0)
    gateway.command("bodies.set", account="keys", key=other["id"], retention_days=1)
    refused = gateway.chat(MODEL, [], key=other["key"], n=-1)
    assert refused.status == 400
    found = content(gateway, refused.id, other["key"])
    assert found["response"]["body"]["error"]["param"] == refused.error["param"]
    answer = gateway.chat(MODEL, "hi", key=key)
    last = gateway.chat(MODEL, "hi", key=other["key"])
    content(gateway, last.id, other["key"])  # it is worked on after the one before
    assert gateway.get(f"/v1/generations/{answer.id}/content", key=key).status == 404
    forbidden = gateway.get(f"/v1/generations/{last.id}/content", key=key)
    assert (forbidden.status, forbidden.error["code"]) == (403, "forbidden")
    admin = gateway.new_key("a", account="keys", scopes=["usage", "admin"])
    assert gateway.get(f"/v1/generations/{last.id}/content", key=admin).status == 200


def test_who_may_read_and_what_is_logged_of_it(gateway, ada):
    key = account(gateway, "people")
    assert ada.ask("PUT", "/content/rule?account=people", {"share": 1, "retention_days": 7}).status == 200
    answer = gateway.chat(MODEL, "a private word", key=key)
    content(gateway, answer.id, key)
    path = f"/exchanges/{answer.id}/content?account=people"
    seen = {}
    for role, status in (("admin", 200), ("developer", 200), ("billing", 403), ("viewer", 403)):
        member = invited(ada, "people", role, f"{role}@people.example")
        seen[role] = member.get(path).status
        assert seen[role] == status, role
        if role != "admin":
            assert member.delete(path).status == 403, role
    assert ada.get(path).json["request"]["body"]["messages"][0]["content"] == "a private word"
    assert ada.delete(path).json["deleted"] == 1
    audit = ada.get("/audit?account=people&limit=50").json["data"]
    read = [entry for entry in audit if entry["action"] == "bodies.read"]
    assert [entry["actor_name"] for entry in read] == [
        "ada@example.com", "developer@people.example", "admin@people.example",
    ]  # fmt: skip
    assert all("private" not in str(entry) for entry in audit)
    assert {entry["action"] for entry in audit} >= {"bodies.set", "bodies.delete", "bodies.read"}
    stranger = account(gateway, "stranger")
    assert gateway.get(f"/v1/generations/{answer.id}/content", key=stranger).status == 404


def test_deletion_on_request(gateway, ada):
    key = account(gateway, "gone")
    gateway.command("bodies.set", account="gone")
    first = gateway.chat(MODEL, "one", key=key, user="zoe")
    second = gateway.chat(MODEL, "two", key=key)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    made = gateway.send(
        "POST", "/v1/responses", json.dumps({"model": MODEL, "input": "x", "user": "zoe"}).encode(), headers
    )
    for answer in (first, second, made):
        content(gateway, answer.id, key)
    assert ada.post("/content/delete?account=gone", {}).status == 400
    assert ada.post("/content/delete?account=gone", {"user": "zoe", "everything": True}).status == 400
    gone = ada.post("/content/delete?account=gone", {"user": "zoe"}).json
    assert (gone["deleted"], gone["responses_deleted"]) == (2, 1)
    assert gateway.get(f"/v1/generations/{first.id}/content", key=key).status == 404
    assert gateway.get(f"/v1/responses/{made.json['id']}", key=key).status == 404
    assert gateway.get(f"/v1/generations/{second.id}/content", key=key).status == 200
    assert ada.post("/content/delete?account=gone", {"before": "2020-01-01"}).json["deleted"] == 0
    assert ada.post("/content/delete?account=gone", {"everything": True}).json["deleted"] == 1
    assert gateway.command("bodies.show", account="gone")["kept"] == 0
    assert gateway.generation(second.id, key)["id"] == second.id  # what was charged stays


def test_rules_are_checked_and_taken_away(gateway, ada):
    account(gateway, "rules")
    for body, param in (
        ({"share": 2}, "share"), ({"patterns": ["(a"]}, "patterns[0]"), ({"retention_days": 0}, "retention_days"),
        ({"bytes_max": 1}, "bytes_max"), ({"redact": ["name"]}, None), ({"key": "key_nobody"}, "key"),
    ):  # fmt: skip
        refused = ada.ask("PUT", "/content/rule?account=rules", body)
        assert refused.status in (400, 404), body
        assert param is None or refused.error["param"] == param
    assert ada.ask("PUT", "/content/rule?account=rules", {"share": 0.5}).json["rule"]["share"] == 0.5
    assert ada.get("/content?account=rules").json["rule"]["retention_days"] == 30
    assert ada.delete("/content/rule?account=rules").status == 200
    assert ada.get("/content?account=rules").json["rule"] is None


def cli(gateway, *words):
    return subprocess.run(
        [sys.executable, "-m", "llm_router.cli", *words, "--data-dir", str(gateway.data_dir), "--config", str(gateway.config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_command_line(gateway):
    key = account(gateway, "cli")
    done = cli(gateway, "bodies", "set", "--account", "cli", "--redact", "email", "--days", "5", "--sandbox")
    assert "100 % are kept for 5 days" in done.stdout, done
    answer = gateway.chat(MODEL, "mail a@b.example", key=key)
    content(gateway, answer.id, key)
    shown = cli(gateway, "logs", "show", answer.id, "--body", "--account", "cli", "--sandbox")
    assert '"content": "mail [redacted:email]"' in shown.stdout, shown
    assert "Kept: 1 exchanges" in cli(gateway, "bodies", "show", "--account", "cli", "--sandbox").stdout
    assert "sealed with the key" in cli(gateway, "bodies", "rotate", "--sandbox").stdout
    gone = cli(gateway, "bodies", "delete", "--account", "cli", "--id", answer.id, "--sandbox")
    assert "1 exchanges of cli" in gone.stdout, gone
