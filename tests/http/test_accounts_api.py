"""The API of accounts over a real gateway, with one process and with two workers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
import threading
from decimal import Decimal

import jsonschema
import msgspec
import pytest
from gateway_kit import Gateway
from people_kit import PASSWORD, Browser, first_operator, invited

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def gateway(request, tmp_path_factory):
    pytest.importorskip("argon2")
    running = Gateway(
        tmp_path_factory.mktemp("accounts"), "--sandbox", config=f"[server]\nworkers = {request.param}\n"
    )
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ada(gateway):
    return first_operator(gateway)


@pytest.fixture(scope="module")
def team(gateway, ada):
    """An account with a member of each role."""
    assert ada.post("/accounts", {"id": "acme", "title": "Acme"}).status == 201
    return {
        role: invited(ada, "acme", role, f"{role}@example.com")
        for role in ("owner", "admin", "developer", "billing", "viewer")
    }


def chat(gateway, key):
    body = json.dumps({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}).encode()
    return gateway.send("POST", "/v1/chat/completions", body, JSON, key=key)


def test_a_key_from_its_making_to_its_end(gateway, ada):
    gateway.command("credits.add", account="life", amount="5", ref="life")
    made = ada.post("/keys?account=life", {"name": "k", "limit": 2.5, "limit_reset": "monthly"})
    assert made.status == 201
    text, entry = made.json["key"], made.json["data"]
    assert (entry["limit"], entry["limit_remaining"], entry["limit_reset"]) == (
        Decimal("2.5"),
        Decimal("2.5"),
        "monthly",
    )
    assert (entry["disabled"], entry["status"]) == (False, "active")
    assert chat(gateway, text).status == 200
    own = gateway.get("/api/v1/key", key=text).json["data"]
    assert own["usage"] > 0
    assert own["usage"] == own["usage_daily"] == own["usage_monthly"]
    assert own["limit_remaining"] == Decimal("2.5") - own["usage"]
    path = f"/keys/{entry['hash']}"
    assert ada.patch(path, {"disabled": True}).json["data"]["status"] == "disabled"
    assert chat(gateway, text).status == 401
    assert ada.patch(path, {"disabled": False, "limit": 0}).status == 200
    assert chat(gateway, text).status == 402
    lifted = ada.patch(path, {"limit": None}).json["data"]
    assert (lifted["limit"], lifted["limit_reset"]) == (None, None)
    turned = ada.post(f"{path}/rotate", {"overlap_s": 3600})
    assert turned.json["data"]["old_text_until"] is not None
    assert chat(gateway, text).status == 200
    ended = ada.patch(path, {"old_text_until": None})
    assert (ended.status, ended.json["data"]["old_text_until"]) == (200, None)
    assert ada.patch(path, {"old_text_until": "2999-01-01"}).status == 400
    assert chat(gateway, text).status == 401
    assert chat(gateway, turned.json["key"]).status == 200
    assert ada.delete(path).json == {"deleted": True}
    assert chat(gateway, turned.json["key"]).status == 401
    acts = [a["action"] for a in ada.get("/audit?account=life").json["data"]]
    for action in ("keys.create", "keys.change", "keys.rotate", "keys.revoke", "credits.add"):
        assert action in acts
    assert text not in ada.get("/audit?account=life").body.decode()


def test_what_a_key_is_tagged_with_all_its_requests_are_counted_by(gateway, ada):
    gateway.command("credits.add", account="tagged", amount="5", ref="tagged")
    made = ada.post("/keys?account=tagged", {"name": "shop", "tags": ["shop", "eu"]})
    assert (made.status, made.json["data"]["tags"], made.json["data"]["last_used_at"]) == (
        201,
        ["eu", "shop"],
        None,
    )
    key, path = made.json["key"], f"/keys/{made.json['data']['hash']}"
    body = json.dumps({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    for more in ({}, {"x-llm-router-tags": "batch,eu"}):
        assert gateway.send("POST", "/v1/chat/completions", body, {**JSON, **more}, key=key).status == 200
    rows = ada.get("/exchanges?account=tagged").json["data"]
    assert [row["tags"] for row in rows] == [["batch", "eu", "shop"], ["eu", "shop"]]
    sums = ada.get("/usage?account=tagged&by=tag").json["data"]
    assert {row["tag"]: row["requests"] for row in sums} == {"batch": 1, "eu": 2, "shop": 2}
    entry = ada.get(path).json["data"]
    assert rows[1]["created"][:10] == entry["last_used_at"][:10]
    assert entry["last_used_at"][13:] == ":00:00Z"
    assert entry["usage_daily"] == entry["usage"] > 0
    changed = ada.patch(path, {"tags": ["one"]}).json["data"]
    assert changed["tags"] == ["one"]
    assert ada.patch(path, {"tags": None}).json["data"]["tags"] == []
    for wrong in (["a b"], [f"t{n}" for n in range(9)], ["sk-" + "a1B2" * 12]):
        refused = ada.patch(path, {"tags": wrong})
        assert (refused.status, refused.error["param"]) == (400, "tags")


OF_KEYS = frozenset(
    re.findall(
        r"\w+",
        """byok_usage byok_usage_daily byok_usage_monthly byok_usage_weekly created_at creator_user_id disabled external_user
    hash include_byok_in_limit label last_used_at limit limit_remaining limit_reset name updated_at usage usage_daily
    usage_monthly usage_weekly workspace_id expires_at""",
    )
)
OF_THE_OWN_KEY = frozenset(
    re.findall(
        r"\w+",
        """allowed_data_regions budgets byok_usage byok_usage_daily byok_usage_monthly byok_usage_weekly creator_user_id
    effective_budget free_model_daily_requests include_byok_in_limit is_free_tier is_management_key
    is_provisioning_key label limit limit_remaining limit_reset organization_id rate_limit usage usage_daily
    usage_monthly usage_weekly workspace_id expires_at""",
    )
)
"""What OpenRouter's own client (1.3) takes no answer without."""


def test_keys_have_all_that_the_client_of_openrouter_needs(gateway, ada):
    gateway.command("credits.add", account="router", amount="5", ref="router")
    manager = ada.post("/keys?account=router", {"name": "m", "scopes": ["keys"]}).json["key"]
    body = {
        "name": "k",
        "limit": 2,
        "limit_reset": "daily",
        "include_byok_in_limit": False,
        "workspace_id": "router",
    }
    made = with_key(gateway, "POST", "/keys", manager, body)
    assert made.status == 201, made.body
    assert set(made.json["data"]) >= OF_KEYS
    assert all(set(each) >= OF_KEYS for each in with_key(gateway, "GET", "/keys", manager).json["data"])
    assert with_key(gateway, "POST", "/keys", manager, {**body, "workspace_id": "life"}).status == 400
    refused = with_key(gateway, "POST", "/keys", manager, {**body, "include_byok_in_limit": True})
    assert (refused.status, refused.error["param"]) == (400, "include_byok_in_limit")
    assert "can only be false" in refused.error["message"]
    path = f"/keys/{made.json['data']['hash']}"
    assert with_key(gateway, "PATCH", path, manager, {"include_byok_in_limit": True}).status == 400
    assert gateway.get("/v1/credits", key=manager).json["data"]["total_credits"] == 5
    assert gateway.get("/v1/credits/entries", key=manager).status == 403
    assert ada.post("/budgets?account=router", {"amount": 0.5, "window": "month"}).status == 201
    chat(gateway, made.json["key"])
    own = gateway.get("/api/v1/key", key=made.json["key"]).json["data"]
    assert set(own) >= OF_THE_OWN_KEY
    assert [(b["scope"], b["limit_usd"], b["reset_interval"]) for b in own["budgets"]] == [
        ("workspace", Decimal("0.5"), "monthly"),
        ("key_limit", 2, "daily"),
    ]
    wide = own["budgets"][0]
    assert wide["spend_usd"] == own["usage"] > 0
    assert own["effective_budget"] == wide
    assert wide["remaining_usd"] == Decimal("0.5") - own["usage"]
    use = ada.post("/keys?account=router", {"name": "i", "scopes": ["inference"]}).json["key"]
    assert gateway.get("/api/v1/key", key=use).json["data"]["budgets"] == []


def test_the_audit_log_is_exported_by_lines(gateway, ada):
    listed = ada.get("/gateway/audit?limit=200").json["data"]
    whole = ada.get("/gateway/audit/export")
    assert whole.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in whole.body.decode().splitlines()]
    assert [line["seq"] for line in lines[: len(listed)]] == [entry["seq"] for entry in listed]
    assert lines[-1]["seq"] == 1
    own = ada.get("/audit/export?account=life").body.decode().splitlines()
    assert own
    assert {json.loads(line)["account"] for line in own} == {"life"}
    assert ada.get("/audit/export?account=never-heard-of").body == b""


def test_a_key_and_its_limit_change_together_or_not_at_all(gateway, ada):
    made = ada.post("/keys?account=life", {"name": "both", "limit": 3, "limit_reset": "daily"}).json["data"]
    path = f"/keys/{made['hash']}"
    stale = ada.patch(
        path, {"name": "other", "limit": 9, "limit_reset": None, "version": made["version"] + 5}
    )
    assert (stale.status, stale.error["code"]) == (409, "overtaken")
    found = ada.get(path).json["data"]
    assert (found["name"], found["limit"], found["limit_reset"]) == ("both", 3, "daily")
    changed = ada.patch(
        path, {"name": "other", "limit": 9, "limit_reset": "weekly", "version": made["version"]}
    )
    found = changed.json["data"]
    assert (found["name"], found["limit"], found["limit_reset"]) == ("other", 9, "weekly")
    assert found["version"] == made["version"] + 1
    budgets = [b for b in ada.get("/budgets?account=life").json["data"] if b["scope_id"] == made["hash"]]
    assert [(b["window"], b["amount"]) for b in budgets] == [("week", 9)]


def test_a_management_key_provisions_keys_for_use_alone(gateway, ada):
    gateway.command("credits.add", account="made", amount="5", ref="made")
    manager = ada.post("/keys?account=made", {"name": "m", "scopes": ["keys"]}).json["key"]

    def ask(method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        return gateway.send(method, path, data, JSON if data else {}, key=manager)

    assert chat(gateway, manager).status == 403
    child = ask("POST", "/v1/keys", {"name": "child"})
    assert child.status == 201
    assert chat(gateway, child.json["key"]).status == 200
    assert ask("POST", "/api/v1/keys", {"name": "x", "scopes": ["admin"]}).status == 403
    assert ask("GET", "/api/v1/members").status == 403
    assert ask("POST", "/api/v1/budgets", {"amount": 1}).status == 400  # not the account's, nor its own
    listed = ask("GET", "/api/v1/keys?limit=1").json
    assert listed["has_more"]
    assert ask("GET", f"/api/v1/keys?limit=1&after={listed['next']}").json["data"][0]["name"] == "child"
    assert ask("GET", "/api/v1/keys?offset=1").json["data"][0]["name"] == "child"
    other = ada.post("/keys?account=default", {"name": "elsewhere"}).json["data"]["hash"]
    assert ask("GET", f"/api/v1/keys/{other}").status == 404
    assert ask("DELETE", f"/api/v1/keys/{other}").status == 404


def test_roles_hold_over_http(team):
    assert team["developer"].post("/keys", {"name": "mine"}).status == 201
    for role, status in (("owner", 201), ("admin", 201), ("billing", 403), ("viewer", 403)):
        assert team[role].post("/keys", {"name": role}).status == status, role
    for role, status in (
        ("owner", 201),
        ("admin", 201),
        ("billing", 201),
        ("developer", 403),
        ("viewer", 403),
    ):
        assert team[role].post("/budgets", {"amount": 3}).status == status, role
    admins = team["admin"].post("/keys", {"name": "secret", "scopes": ["admin"]}).json["data"]["hash"]
    for act in ("rotate", ""):
        path = f"/keys/{admins}/{act}".rstrip("/")
        refused = team["developer"].post(path) if act else team["developer"].patch(path, {"name": "x"})
        assert refused.status == 403
    assert team["developer"].post("/keys", {"name": "x", "scopes": ["keys"]}).status == 403


def test_nobody_gives_or_takes_more_than_they_have(team):
    people = {
        m["role"]: m["person"] for m in team["owner"].get("/members").json["data"] if m["name"] != "Ada"
    }
    admin, owner = team["admin"], team["owner"]
    assert admin.patch(f"/members/{people['owner']}", {"role": "viewer"}).status == 403
    assert admin.delete(f"/members/{people['owner']}").status == 403
    assert admin.patch(f"/members/{people['viewer']}", {"role": "owner"}).status == 403
    assert admin.post("/invitations", {"email": "new@example.com", "role": "owner"}).status == 403
    assert team["viewer"].patch(f"/members/{people['viewer']}", {"role": "owner"}).status == 403
    assert owner.patch(f"/members/{people['viewer']}", {"role": "developer"}).status == 200
    assert team["viewer"].get("/me").json["accounts"] == {"acme": "developer"}
    assert owner.patch(f"/members/{people['viewer']}", {"role": "viewer"}).status == 200


def test_an_account_keeps_an_owner(gateway, ada):
    ada.post("/accounts", {"id": "alone", "title": "Alone"})
    bea = invited(ada, "alone", "owner", "bea@example.com")
    people = [m["person"] for m in bea.get("/members").json["data"]]
    answers = []

    def leave(browser):
        answers.append(browser.post("/accounts/alone/leave").status)

    both = [threading.Thread(target=leave, args=(browser,)) for browser in (ada, bea)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(answers) in ([200, 400], [200, 409])
    assert len(people) == 2
    assert len(ada.get("/members?account=alone").json["data"]) == 1


def test_an_invitation_is_for_one_address_once(gateway, ada, team):
    made = ada.post("/invitations?account=acme", {"email": "Cy@Example.com", "role": "viewer"}).json
    assert made["email"] == "cy@example.com"
    token = made["url"].partition("#")[2]
    assert team["viewer"].post("/me/invitations", {"token": token}).status == 403
    cy = Browser(gateway)
    assert cy.post("/join", {"token": token, "name": "Cy", "password": PASSWORD}).status == 200
    assert Browser(gateway).post("/join", {"token": token, "name": "Cy", "password": PASSWORD}).status == 404
    ada.post("/accounts", {"id": "second", "title": "Second"})
    more = ada.post("/invitations?account=second", {"email": "cy@example.com", "role": "billing"}).json
    token = more["url"].partition("#")[2]
    assert Browser(gateway).post("/join", {"token": token, "name": "Cy", "password": PASSWORD}).status == 403
    assert cy.post("/me/invitations", {"token": token}).json == {"account": "second", "role": "billing"}
    assert cy.get("/keys").json["error"]["param"] == "account"


def test_a_write_that_comes_again_is_done_once(gateway, ada):
    body = {"name": "once"}
    first = ada.post("/keys?account=default", body, idempotency_key="make-1")
    again = ada.post("/keys?account=default", body, idempotency_key="make-1")
    assert (first.status, first.body) == (again.status, again.body)
    assert ada.post("/keys?account=default", {"name": "x"}, idempotency_key="make-1").status == 422
    names = [key["name"] for key in ada.get("/keys?account=default&limit=200").json["data"]]
    assert names.count("once") == 1


def test_nobody_finds_out_by_guessing_what_was_sent_once(gateway, ada, team):
    """What is remembered of a request tells nothing to who has the directory alone; of passwords there is nothing."""
    viewer, words = team["viewer"], {"current": PASSWORD, "password": PASSWORD}
    assert viewer.post("/me/password", words, idempotency_key="words").status == 200
    assert viewer.post("/me/password", {**words, "current": "wrong"}, idempotency_key="words").status == 401
    secret = {"key": "sk-of-a-provider-0123456789"}
    for _ in range(2):
        answer = ada.ask("PUT", "/gateway/providers/openai/key", secret, idempotency_key="secret")
        assert answer.status == 200, answer.body
    ada.delete("/gateway/providers/openai/key")
    with contextlib.closing(sqlite3.connect(gateway.data_dir / "directory.db")) as store:
        rows = [
            json.loads(row) for (row,) in store.execute("SELECT body FROM directory WHERE kind = 'repeat'")
        ]
    for path, body in (("/api/v1/me/password", words), ("/api/v1/gateway/providers/openai/key", secret)):
        for method in ("POST", "PUT"):
            for raw in (json.dumps(body), json.dumps(body).encode().hex()):
                guess = hashlib.sha256(msgspec.json.encode((method, path, "", raw))).hexdigest()
                assert guess not in {row["request"] for row in rows}
    assert rows


def test_bad_input_says_what_to_change(ada):
    for path, body, word in (
        ("/keys?account=default", {"name": ""}, "name"),
        ("/keys?account=default", {"nam": "x"}, "nam"),
        ("/keys?account=default", {"name": "x", "limit": -1}, "limit"),
        ("/keys?account=default", {"name": "x", "models": ["no-such-model"]}, "models"),
        ("/keys?account=default", {"name": "x", "providers": ["nobody"]}, "nobody"),
        ("/keys?account=default", {"name": "x", "ip_ranges": ["10.0.0.1/8"]}, "ip_ranges"),
        ("/keys?account=default", {"name": "x", "expires": "yesterday"}, "expires"),
        ("/budgets?account=default", {"amount": "much"}, "amount"),
        ("/limits?account=default", {"kind": "requests", "amount": -1}, "amount"),
        ("/accounts", {"id": "no good", "title": "x"}, "account"),
    ):
        answer = ada.post(path, body)
        assert answer.status == 400, (path, body, answer.body)
        assert word in answer.error["message"]
    for path in (
        "/keys?account=default&limit=0",
        "/keys?account=default&offset=x",
        "/audit?account=default&after=x",
    ):
        assert ada.get(path).status == 400
    assert ada.ask("PUT", "/keys").status == 405
    assert ada.get("/nothing").status == 404


def test_openrouters_clients_find_what_they_look_for(gateway):
    key = gateway.get("/api/v1/key").json["data"]
    for member in (
        "label",
        "usage",
        "limit",
        "limit_remaining",
        "is_free_tier",
        "is_provisioning_key",
        "rate_limit",
    ):
        assert member in key
    assert gateway.get("/v1/key").json["data"]["hash"] == key["hash"]
    for path in ("/api/v1/credits", "/v1/credits"):
        assert {"total_credits", "total_usage"} <= set(gateway.get(path).json["data"])
    assert gateway.get("/api/v1/models").status == 200
    body = json.dumps({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}).encode()
    assert gateway.send("POST", "/api/v1/chat/completions", body, JSON).status == 200


def test_the_description_describes_what_is_answered(ada):
    document = ada.get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    schemas = {"components": document["components"]}
    for path in (
        "/me",
        "/keys",
        "/members",
        "/teams",
        "/invitations",
        "/audit",
        "/credits",
        "/me/sessions",
        "/sign-in",
    ):
        named = "" if path.startswith(("/me", "/sign")) and path != "/members" else "?account=default"
        answer = json.loads(ada.get(path + named).body)
        described = document["paths"][f"/api/v1{path}"]["get"]["responses"]["200"]
        schema = described["content"]["application/json"]["schema"]
        jsonschema.validate(answer, json.loads(json.dumps({**schema, **schemas}, default=float)))


def test_answers_are_kept_by_nobody_and_framed_by_nobody(ada):
    headers = ada.get("/me").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def with_key(gateway, method, path, key, body=None):
    data = None if body is None else json.dumps(body).encode()
    return gateway.send(method, f"/api/v1{path}", data, {"authorization": f"Bearer {key}", **JSON}, key="")


def test_a_management_key_does_not_get_around_its_own_bounds(gateway, ada):
    def made(**bounds):
        answer = ada.post("/keys?account=bounded", {"name": "m", "scopes": ["keys"], **bounds})
        return answer.json["key"], answer.json["data"]["hash"]

    gateway.command("credits.add", account="bounded", amount="5", ref="bounded")
    plain = made()[1]
    slow, slow_id = made(requests_per_minute=600, team="red", user="bot")
    child = {"name": "c", "requests_per_minute": 60, "team": "red", "user": "bot"}
    assert with_key(gateway, "POST", "/keys", slow, child).status == 201
    for more in (
        {"requests_per_minute": 601},
        {"requests_per_minute": None},
        {"team": "blue"},
        {"user": None},
    ):
        assert with_key(gateway, "POST", "/keys", slow, {**child, **more}).status == 403, more
        assert with_key(gateway, "PATCH", f"/keys/{slow_id}", slow, more).status == 403, more
    assert with_key(gateway, "PATCH", f"/keys/{plain}", slow, {"name": "x"}).status == 403

    poor, poor_id = made(limit=1, limit_reset="daily")
    for body in ({"limit": None}, {"limit": 9}, {"limit_reset": "weekly"}):
        assert with_key(gateway, "PATCH", f"/keys/{poor_id}", poor, body).status == 403, body
    for body in ({}, {"limit": 1}, {"scopes": ["keys"]}):
        assert with_key(gateway, "POST", "/keys", poor, {"name": "c", **body}).status == 403, body
    assert (
        with_key(gateway, "POST", "/keys", poor, {"name": "c", "scopes": ["models", "usage"]}).status == 201
    )
    assert with_key(gateway, "PATCH", f"/keys/{plain}", poor, {"name": "x"}).status == 403
    assert with_key(gateway, "POST", f"/keys/{plain}/rotate", poor, {}).status == 403
    for scope_id, status in ((poor_id, 400), (plain, 403)):
        wanted = {"amount": 9, "scope": "key", "scope_id": scope_id, "window": "day"}
        assert with_key(gateway, "POST", "/budgets", poor, wanted).status == status
    found = ada.get(f"/keys/{poor_id}").json["data"]
    assert (found["limit"], found["limit_reset"]) == (1, "daily")
    rows = ada.get("/budgets?account=bounded").json["data"]
    (own,) = [row["id"] for row in rows if row["scope_id"] == poor_id]
    assert with_key(gateway, "DELETE", f"/budgets/{own}", poor).status == 400
    admin = ada.post("/keys?account=bounded", {"name": "a", "scopes": ["admin"], "limit": 1}).json
    assert with_key(gateway, "POST", "/keys", admin["key"], {"name": "c"}).status == 403
    (own,) = [
        row["id"]
        for row in ada.get("/budgets?account=bounded").json["data"]
        if row["scope_id"] == admin["data"]["hash"]
    ]
    assert with_key(gateway, "DELETE", f"/budgets/{own}", admin["key"]).status == 400


def test_who_makes_keys_for_themselves_is_bounded_by_their_teams_and_name(gateway, ada, team):
    developer = team["developer"]
    who = developer.get("/me").json
    for title in ("red", "green", "blue"):
        assert ada.post("/teams?account=acme", {"title": title}).status in (201, 400)
    own = developer.post("/keys", {"name": "own"}).json["data"]
    assert (own["user"], own["team"]) == (who["email"], None)
    assert developer.post("/keys", {"name": "own", "user": "other@example.com"}).status == 403
    assert developer.post("/keys", {"name": "own", "team": "blue"}).status == 403
    assert developer.patch(f"/keys/{own['hash']}", {"user": "other@example.com"}).status == 403
    assert developer.patch(f"/keys/{own['hash']}", {"team": "blue"}).status == 403
    assert developer.patch(f"/keys/{own['hash']}", {"user": None}).json["data"]["user"] == who["email"]
    assert ada.patch(f"/members/{who['id']}?account=acme", {"teams": ["red"]}).status == 200
    assert developer.post("/keys", {"name": "own"}).json["data"]["team"] == "red"
    assert ada.patch(f"/members/{who['id']}?account=acme", {"teams": ["red", "green"]}).status == 200
    assert developer.post("/keys", {"name": "own"}).error["param"] == "team"
    assert developer.post("/keys", {"name": "own", "team": "green"}).json["data"]["team"] == "green"
    assert ada.patch(f"/members/{who['id']}?account=acme", {"teams": []}).status == 200


def test_keys_of_a_closed_account_are_refused_until_it_is_opened(gateway, ada):
    ada.post("/accounts", {"id": "shut", "title": "Shut"})
    gateway.command("credits.add", account="shut", amount="5", ref="shut")
    used = ada.post("/keys?account=shut", {"name": "used"}).json
    off = ada.post("/keys?account=shut", {"name": "off"}).json["data"]["hash"]
    assert ada.patch(f"/keys/{off}", {"disabled": True}).status == 200
    assert chat(gateway, used["key"]).status == 200
    assert ada.patch("/accounts/shut", {"closed": True}).json["closed"] is not None
    assert chat(gateway, used["key"]).status == 401
    assert gateway.get("/api/v1/key", key=used["key"]).status == 401
    path = f"/keys/{used['data']['hash']}"
    assert ada.patch(path, {"disabled": False}).error["code"] == "account_closed"
    assert ada.post("/keys?account=shut", {"name": "new"}).error["code"] == "account_closed"
    assert ada.patch("/accounts/shut", {"closed": True}).status == 200  # again: nothing more
    assert ada.patch("/accounts/shut", {"closed": False}).json["closed"] is None
    assert chat(gateway, used["key"]).status == 200
    assert ada.get(f"/keys/{off}").json["data"]["disabled"] is True
    acts = [a for a in ada.get("/audit?account=shut").json["data"] if a["action"] == "accounts.change"]
    assert len(acts) == 3
    assert {a["actor_name"] for a in acts} == {"ada@example.com"}


def test_teams_are_known_by_title_or_id_and_kept_by_title(gateway, ada):
    ada.post("/accounts", {"id": "groups", "title": "Groups"})
    gateway.command("credits.add", account="groups", amount="1", ref="groups")
    free = ada.post("/keys?account=groups", {"name": "free", "team": "as one likes"}).json["data"]
    assert free["team"] == "as one likes"  # there is no team yet
    id_ = ada.post("/teams?account=groups", {"title": "red"}).json["id"]
    elsewhere = ada.post("/teams?account=default", {"title": "elsewhere"}).json["id"]
    for named in ("red", id_):
        key = ada.post("/keys?account=groups", {"name": "k", "team": named}).json["data"]
        assert key["team"] == "red"
        assert ada.patch(f"/keys/{free['hash']}", {"team": named}).json["data"]["team"] == "red"
        for path, more in (("budgets", {}), ("limits", {"kind": "requests"})):
            body = {"scope": "team", "scope_id": named, "amount": 3, **more}
            assert ada.post(f"/{path}?account=groups", body).json["scope_id"] == "red"
        who = {"email": f"{named}@example.com", "role": "viewer", "teams": [named]}
        assert ada.post("/invitations?account=groups", who).json["teams"] == ["red"]
        me = ada.get("/me").json["id"]
        assert ada.patch(f"/members/{me}?account=groups", {"teams": [named]}).json["teams"] == ["red"]
        assert gateway.command("keys.create", name="c", account="groups", team=named)["team"] == "red"
    assert len(ada.get("/budgets?account=groups").json["data"]) == 1
    for named in ("rde", elsewhere, "elsewhere"):
        for path, param, body in (
            ("/keys?account=groups", "team", {"name": "k", "team": named}),
            ("/budgets?account=groups", "scope_id", {"scope": "team", "scope_id": named, "amount": 3}),
            (
                "/limits?account=groups",
                "scope_id",
                {"scope": "team", "scope_id": named, "amount": 3, "kind": "requests"},
            ),
        ):
            refused = ada.post(path, body)
            assert (refused.status, refused.error["param"]) == (400, param), path
            assert f"no team '{named}'" in refused.error["message"]
        assert ada.patch(f"/keys/{free['hash']}", {"team": named}).status == 400


def test_an_account_that_is_not_there_is_not_made_by_a_write(gateway, ada):
    for method, path, body in (
        ("POST", "/keys?account=nosuch", {"name": "k"}),
        ("POST", "/budgets?account=nosuch", {"amount": 1}),
        ("POST", "/limits?account=nosuch", {"amount": 1, "kind": "requests"}),
        ("POST", "/teams?account=nosuch", {"title": "red"}),
        ("POST", "/invitations?account=nosuch", {"email": "x@example.com", "role": "viewer"}),
        ("PATCH", "/accounts/nosuch", {"title": "x"}),
    ):
        answer = ada.ask(method, path, body)
        assert answer.status == 404, path
        assert "There is no account 'nosuch'" in answer.error["message"]
    assert "nosuch" not in [each["id"] for each in ada.get("/accounts?limit=200").json["data"]]
    assert ada.post("/accounts", {"id": "nosuch", "title": "Now"}).json["role"] == "owner"
    assert ada.post("/keys?account=nosuch", {"name": "k"}).status == 201
