"""People who have signed in ask models without a key: who may, who pays, and what other sites' pages can do."""

from __future__ import annotations

import json

import pytest
from gateway_kit import Gateway
from people_kit import Browser, first_operator, invited

CHAT = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    pytest.importorskip("argon2")
    running = Gateway(tmp_path_factory.mktemp("signed-in"), "--sandbox")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ada(gateway):
    return first_operator(gateway)


@pytest.fixture(scope="module")
def people(gateway, ada):
    assert ada.post("/accounts", {"id": "acme", "title": "Acme"}).status == 201
    gateway.command("credits.add", account="acme", amount="5", ref="begin")
    return {
        role: invited(ada, "acme", role, f"{role}@example.com") for role in ("developer", "billing", "viewer")
    }


def ask(browser: Browser, path: str, body=None, **headers: str):
    """As a page of the dashboard does; a header that is empty is left out."""
    sent = {
        "cookie": browser.cookie,
        "origin": f"http://127.0.0.1:{browser.gateway.port}",
        "x-llm-router-csrf": "1",
        "content-type": "application/json",
    }
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {name: value for name, value in sent.items() if value}
    data = None if body is None else json.dumps(body).encode()
    return browser.gateway.send("GET" if body is None else "POST", path, data, sent, key=sent.pop("key", ""))


def balance(gateway):
    return gateway.command("credits.show", account="acme")


def test_a_developer_asks_and_the_account_pays(gateway, people):
    before = balance(gateway)
    answer = ask(people["developer"], "/v1/chat/completions", CHAT)
    assert answer.status == 200, answer.body
    assert answer.json["usage"]["cost"] > 0
    rows = gateway.command("usage.export", account="acme")["rows"]
    assert [(row["user"], row["key"].startswith("session:")) for row in rows] == [
        ("developer@example.com", True)
    ]
    assert balance(gateway) != before


def test_streams_and_comparisons_are_served(people):
    streamed = ask(people["developer"], "/v1/chat/completions", {**CHAT, "stream": True})
    assert streamed.status == 200
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    models = ["gpt-5-mini", "claude-haiku-4-5"]
    compared = ask(
        people["developer"], "/v1/compare?account=acme", {"models": models, "messages": CHAT["messages"]}
    )
    assert (compared.status, compared.json["succeeded"]) == (200, 2), compared.body


def test_roles_without_inference_are_refused_and_see_the_models(people):
    for role in ("billing", "viewer"):
        refused = ask(people[role], "/v1/chat/completions", CHAT)
        assert (refused.status, refused.error["code"]) == (403, "forbidden")
        listed = ask(people[role], "/v1/models")
        assert listed.json["object"] == "list"
        assert len(listed.json["data"]) > 10
        assert ask(people[role], "/v1/credits").status == 401  # that is the API's, which knows the roles
        assert ask(people[role], "/v1/credits/redeem", {"code": "x"}).status == 401


def test_other_accounts_do_not_exist(ada, people):
    assert ask(people["developer"], "/v1/chat/completions?account=default", CHAT).status == 404
    assert ask(people["developer"], "/v1/chat/completions?account=ghost", CHAT).status == 404
    assert ask(ada, "/v1/chat/completions?account=ghost", CHAT).status == 404
    assert ask(ada, "/v1/chat/completions?account=acme", CHAT).status == 200


def test_a_page_of_another_site_gets_nothing_done(gateway, people):
    before = balance(gateway)
    for path in (
        "/v1/chat/completions",
        "/v1/compare",
        "/v1/messages",
        "/api/v1/chat/completions",
        "/v1/estimate",
    ):
        for headers in ({"x_llm_router_csrf": ""}, {"origin": "https://evil.example"}):
            refused = ask(people["developer"], path, CHAT, **headers)
            assert refused.status == 403, (path, headers, refused.body)
    assert balance(gateway) == before


def test_a_session_that_is_none_or_over_is_told(gateway, people):
    stale = Browser(gateway)
    stale.cookie = "llm_router_session=nobody"
    refused = ask(stale, "/v1/chat/completions", CHAT)
    assert (refused.status, refused.error["code"]) == (401, "session_ended")
    assert ask(stale, "/v1/models").status == 401
    nobody = ask(Browser(gateway), "/v1/chat/completions", CHAT)
    assert (nobody.status, nobody.error["code"]) == (401, "missing_api_key")


def test_a_key_goes_before_the_session(gateway, people):
    answer = ask(people["viewer"], "/v1/chat/completions", CHAT, key=gateway.key)
    assert answer.status == 200, answer.body
    assert ask(people["developer"], "/v1/chat/completions", CHAT, key="sk-lr-wrong").status == 401


def test_the_budget_of_a_person_bounds_what_they_try(ada, people):
    made = ada.post(
        "/budgets?account=acme",
        {"scope": "user", "scope_id": "developer@example.com", "amount": 0.0000001, "window": "day"},
    )
    assert made.status == 201, made.body
    refused = ask(people["developer"], "/v1/chat/completions", CHAT)
    assert refused.status == 402, refused.body
    assert ada.delete(f"/budgets/{made.json['id']}?account=acme").status in (200, 204)


def test_the_budget_of_a_team_bounds_what_its_members_try(ada, people):
    who = people["developer"].get("/me").json["id"]
    assert ada.post("/teams?account=acme", {"title": "red"}).status == 201
    assert ada.patch(f"/members/{who}?account=acme", {"teams": ["red"]}).status == 200
    made = ada.post(
        "/budgets?account=acme", {"scope": "team", "scope_id": "red", "amount": 0, "window": "day"}
    )
    assert ask(people["developer"], "/v1/chat/completions", CHAT).status == 402
    assert ada.patch(f"/members/{who}?account=acme", {"teams": []}).status == 200
    assert ask(people["developer"], "/v1/chat/completions", CHAT).status == 200
    assert ada.delete(f"/budgets/{made.json['id']}?account=acme").status == 200


def test_presets_are_made_by_the_operator_and_used_by_all(ada, people):
    body = {"name": "mail", "models": ["gpt-5-mini"], "system": "Be brief.", "description": "Letters"}
    assert people["developer"].post("/presets", body).status == 403
    made = ada.post("/presets", body)
    assert (made.status, made.json["version"], made.json["system"]) == (201, 1, "Be brief.")
    wrong = ada.post("/presets", {**body, "models": ["no-such-model"]})
    assert (wrong.status, wrong.error["param"]) == (400, "models")
    (whole,) = ada.get("/presets?account=acme").json["data"]
    assert (whole["name"], whole["system"]) == ("mail", "Be brief.")
    (seen,) = people["developer"].get("/presets").json["data"]
    assert seen == {name: whole[name] for name in ("name", "version", "models", "description", "created")}
    assert people["billing"].get("/presets").status == 403
    assert ask(people["developer"], "/v1/chat/completions", {**CHAT, "model": "@mail"}).status == 200
    assert people["developer"].delete("/presets/mail").status == 403
    assert ada.delete("/presets/mail").status == 200
    assert ada.get("/presets?account=acme").json["data"] == []
    acts = ada.get("/gateway/audit").json["data"]
    assert [act["action"] for act in acts if act["action"].startswith("presets.")] == [
        "presets.delete",
        "presets.create",
    ]


def test_prices_and_status_are_public_where_the_operator_says_so(gateway, ada, people):
    nobody = Browser(gateway)
    for path in ("/public/prices", "/public/status"):
        assert nobody.get(path).status == 404
    assert people["developer"].patch("/gateway/settings", {"public_pages": True}).status == 403
    assert ada.patch("/gateway/settings", {"public_pages": True}).json == {
        "sign_up": False,
        "public_pages": True,
    }
    gateway.command("prices.publish", percent="100", models=["gpt-5-mini"])
    prices = {row["id"]: row["price_per_mtok"] for row in nobody.get("/public/prices").json["data"]}
    own = {row["id"]: row for row in ask(people["developer"], "/v1/models").json["data"]}
    assert prices["gpt-5-mini"]["input"] == own["gpt-5-mini"]["price_per_mtok"]["input"]
    assert b"provider" not in nobody.get("/public/prices").body
    status = nobody.get("/public/status").json
    assert (status["status"], status["models"], status["unavailable"]) == ("up", len(prices), [])
    assert ada.patch("/gateway/settings", {"public_pages": False}).status == 200
    assert nobody.get("/public/status").status == 404


def test_who_is_in_several_teams_is_bound_by_the_one_that_asks(ada):
    assert ada.post("/accounts", {"id": "teams", "title": "Teams"}).status == 201
    assert ada.post("/gateway/credits", {"account": "teams", "amount": 5}).status == 201
    developer = invited(ada, "teams", "developer", "several@example.com")
    person = developer.get("/me").json["id"]
    for title in ("red", "blue", "green"):
        assert ada.post("/teams?account=teams", {"title": title}).status == 201
    empty = {"scope": "team", "scope_id": "red", "amount": 0}
    assert ada.post("/budgets?account=teams", empty).status == 201

    def into(*teams):
        assert ada.patch(f"/members/{person}?account=teams", {"teams": list(teams)}).status == 200
        assert developer.get("/me").json["teams"] == ({"teams": list(teams)} if teams else {})

    def asked(query=""):
        return ask(developer, f"/v1/chat/completions{query}", CHAT)

    into("red")
    assert asked().status == 402
    into("red", "blue")
    refused = asked()
    assert (refused.status, refused.error["param"]) == (400, "team")
    assert "red, blue" in refused.error["message"]
    assert ask(developer, "/v1/explain", CHAT).status == 400
    assert ask(developer, "/v1/models").status == 200
    assert asked("?team=red").status == 402
    answer = asked("?team=blue")
    assert answer.status == 200, answer.body
    shown = developer.get(f"/exchanges/{answer.headers['x-generation-id']}").json
    assert shown["team"] == "blue"
    assert asked("?team=green").status == 403
    assert asked("?team=ghost").status == 400
    into()
    assert asked().status == 200
    assert asked("?team=red").status == 403
    assert ask(ada, "/v1/chat/completions?account=teams&team=red", CHAT).status == 402
