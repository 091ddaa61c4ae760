"""Keys that are bounded do not get around it by people, invitations, budgets or stronger keys."""

from __future__ import annotations

import json

import pytest
from gateway_kit import Gateway
from people_kit import PASSWORD, Browser, first_operator, invited

JSON = {"content-type": "application/json"}
ACCOUNT = "?account=acme"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    pytest.importorskip("argon2")
    running = Gateway(tmp_path_factory.mktemp("bounded"), "--sandbox")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ada(gateway):
    browser = first_operator(gateway)
    assert browser.post("/accounts", {"id": "acme", "title": "Acme"}).status == 201
    return browser


def made(ada, **members):
    answer = ada.post(f"/keys{ACCOUNT}", {"name": "k", **members})
    assert answer.status == 201, answer.body
    return answer.json["key"], answer.json["data"]["hash"]


def ask(gateway, key, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    return gateway.send(method, f"/api/v1{path}", data, {"authorization": f"Bearer {key}", **JSON}, key="")


@pytest.mark.parametrize(
    "bounds",
    [
        {"models": ["gpt-5-mini"]},
        {"providers": ["openai"]},
        {"expires": "1h"},
        {"limit": 1},
        {"ip_ranges": ["127.0.0.0/8"]},
        {"requests_per_minute": 60},
        {"user": "bot"},
    ],
    ids=lambda bounds: next(iter(bounds)),
)
def test_a_bounded_key_gives_changes_and_takes_no_roles(gateway, ada, bounds):
    key, _ = made(ada, scopes=["admin"], **bounds)
    name = next(iter(bounds))
    someone = invited(ada, "acme", "viewer", f"{name}@example.com").get("/me").json["id"]
    member = f"/members/{someone}"
    for method, path, body in (
        ("POST", "/invitations", {"email": "mal@example.com", "role": "viewer"}),
        ("PATCH", member, {"role": "admin"}),
        ("PATCH", member, {"teams": []}),
        ("DELETE", member, None),
    ):
        refused = ask(gateway, key, method, path, body)
        assert (refused.status, refused.error["code"]) == (403, "key_bounded"), (method, path)
        assert name in refused.error["message"]


def test_a_key_with_a_limit_of_requests_gives_no_roles(gateway, ada):
    key, id_ = made(ada, scopes=["admin"])
    wanted = {"email": "limits@example.com", "role": "viewer"}
    assert ask(gateway, key, "POST", "/invitations", wanted).status == 201
    limit = {"kind": "requests", "amount": 100, "scope": "key", "scope_id": id_}
    assert ada.post(f"/limits{ACCOUNT}", limit).status == 201
    assert ask(gateway, key, "POST", "/invitations", wanted).status == 403


@pytest.mark.parametrize("end", ["revoked", "disabled", "bounded"])
def test_invitations_of_a_key_that_works_no_more_are_void(gateway, ada, end):
    key, id_ = made(ada, scopes=["admin"])
    wanted = {"email": f"{end}-key@example.com", "role": "admin"}
    url = ask(gateway, key, "POST", "/invitations", wanted).json["url"]
    if end == "revoked":
        assert ada.delete(f"/keys/{id_}").status == 200
    else:
        change = {"disabled": True} if end == "disabled" else {"models": ["gpt-5-mini"]}
        assert ada.patch(f"/keys/{id_}", change).status == 200
    new = {"token": url.partition("#")[2], "name": "New", "password": PASSWORD}
    assert Browser(gateway).post("/join", new).status == 403
    if end == "disabled":
        assert ada.patch(f"/keys/{id_}", {"disabled": False}).status == 200
        assert Browser(gateway).post("/join", new).status == 200


def test_invitations_of_the_command_line_hold(gateway, ada):
    made_ = gateway.command("members.invite", account="acme", email="line@example.com", role="owner")
    new = {"token": made_["path"].partition("#")[2], "name": "New", "password": PASSWORD}
    assert Browser(gateway).post("/join", new).status == 200


def test_a_key_neither_bounds_nor_frees_nor_revokes_one_that_may_do_more(gateway, ada):
    narrow, _ = made(ada, scopes=["keys"], models=["gpt-5-mini"], user="bob")
    child = ask(gateway, narrow, "POST", "/keys", {"name": "c", "models": ["gpt-5-mini"], "user": "bob"})
    child_id = child.json["data"]["hash"]
    for stronger in (made(ada, scopes=["admin"], limit=1)[1], made(ada, limit=1)[1]):
        wanted = {"scope": "key", "scope_id": stronger, "amount": 1000, "window": "lifetime"}
        assert ask(gateway, narrow, "POST", "/budgets", wanted).status == 403
        rows = ask(gateway, narrow, "GET", "/budgets").json["data"]
        (budget,) = [row["id"] for row in rows if row["scope_id"] == stronger]
        assert ask(gateway, narrow, "DELETE", f"/budgets/{budget}").status == 403
        limit = {"kind": "requests", "amount": 0, "scope": "key", "scope_id": stronger}
        assert ask(gateway, narrow, "POST", "/limits", limit).status == 403
        set_ = ada.post(f"/limits{ACCOUNT}", limit).json["id"]
        assert ask(gateway, narrow, "DELETE", f"/limits/{set_}").status == 403
        assert ask(gateway, narrow, "DELETE", f"/keys/{stronger}").status == 403
        assert ada.get(f"/keys/{stronger}").json["data"]["limit"] == 1
    own = {"scope": "key", "scope_id": child_id, "amount": 1, "window": "lifetime"}
    budget = ask(gateway, narrow, "POST", "/budgets", own)
    assert budget.status == 201
    assert ask(gateway, narrow, "DELETE", f"/budgets/{budget.json['id']}").status == 200
    assert ask(gateway, narrow, "DELETE", f"/keys/{child_id}").status == 200
    away = {**own, "scope_id": "key_of_nobody"}
    assert ask(gateway, narrow, "POST", "/budgets", away).status == 404


def test_a_bounded_admin_key_bounds_keys_alone(gateway, ada):
    bounded, _ = made(ada, scopes=["admin"], user="bob")
    whole, _ = made(ada, scopes=["admin"])
    for scope, id_ in (("account", None), ("user", "bob"), ("user", "eve"), ("session", None)):
        wanted = {"scope": scope, "scope_id": id_, "amount": 9}
        refused = ask(gateway, bounded, "POST", "/budgets", wanted)
        assert (refused.status, refused.error["code"]) == (403, "key_bounded"), scope
        budget = ask(gateway, whole, "POST", "/budgets", wanted)
        assert budget.status == 201, budget.body
        assert ask(gateway, bounded, "DELETE", f"/budgets/{budget.json['id']}").status == 403


def test_a_key_may_end_itself(gateway, ada):
    key, id_ = made(ada, scopes=["keys"], limit=1)
    assert ask(gateway, key, "DELETE", f"/keys/{id_}").status == 200
    assert ask(gateway, key, "GET", "/keys").status == 401
