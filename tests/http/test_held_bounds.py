"""What somebody who manages the keys of others set on a key, who made it takes not back."""

from __future__ import annotations

import pytest
from gateway_kit import Gateway
from people_kit import first_operator, invited

HELD = [
    ({"disabled": True}, {"disabled": False}, None),
    ({"limit": 1}, {"limit": None}, {"limit": 0.5}),
    ({"limit": 1}, {"limit": 2}, {"limit": 1}),
    ({"limit": 1, "limit_reset": "weekly"}, {"limit_reset": "daily"}, {"limit": 0, "limit_reset": "weekly"}),
    ({"requests_per_minute": 3}, {"requests_per_minute": None}, {"requests_per_minute": 2}),
    ({"tokens_per_minute": 3}, {"tokens_per_minute": 4}, {"tokens_per_minute": 3}),
    ({"concurrency": 3}, {"concurrency": None}, {"concurrency": 1}),
    ({"expires": "1h"}, {"expires": None}, {"expires": "1m"}),
    ({"expires": "1h"}, {"expires": "2h"}, {"expires": "30m"}),
    ({"models": ["gpt-5-mini"]}, {"models": None}, {"models": ["gpt-5-mini"]}),
    ({"models": ["gpt-5*"]}, {"models": ["gpt-*"]}, {"models": ["gpt-5-mini"]}),
    ({"providers": ["openai"]}, {"providers": ["openai", "anthropic"]}, {"providers": ["openai"]}),
    ({"ip_ranges": ["10.0.0.0/8"]}, {"ip_ranges": ["0.0.0.0/0"]}, {"ip_ranges": ["10.1.0.0/16"]}),
    ({"scopes": ["models", "usage"]}, {"scopes": None}, {"scopes": ["models"]}),
    ({"priority": "batch"}, {"priority": "interactive"}, {"priority": "batch"}),
    ({"user": "bot"}, {"user": None}, None),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    pytest.importorskip("argon2")
    running = Gateway(tmp_path_factory.mktemp("held"), "--sandbox")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ada(gateway):
    browser = first_operator(gateway)
    assert browser.post("/accounts", {"id": "acme", "title": "Acme"}).status == 201
    return browser


@pytest.fixture(scope="module")
def admin(ada):
    return invited(ada, "acme", "admin", "admin@example.com")


@pytest.fixture(scope="module")
def dev(ada):
    return invited(ada, "acme", "developer", "dev@example.com")


def made(by, **members):
    answer = by.post("/keys", {"name": "k", **members})
    assert answer.status == 201, answer.body
    return f"/keys/{answer.json['data']['hash']}"


@pytest.mark.parametrize(("bound", "wider", "narrower"), HELD, ids=lambda body: str(body))
def test_a_bound_that_somebody_else_set_gets_no_wider(admin, dev, bound, wider, narrower):
    path = made(dev)
    assert admin.patch(path, bound).status == 200
    shown = dev.get(path).json["data"]
    refused = dev.patch(path, wider)
    assert (refused.status, refused.error["code"]) == (403, "bound_held"), refused.body
    assert refused.error["param"] in wider
    assert dev.get(path).json["data"] == shown
    if narrower is not None:
        assert dev.patch(path, narrower).status == 200
        assert dev.patch(path, wider).status == 403
    assert dev.patch(path, {"name": "other"}).status == 200
    assert admin.patch(path, wider).status == 200
    assert dev.patch(path, {"name": "again"}).status == 200


def test_what_one_set_oneself_one_takes_back(admin, dev):
    path = made(dev, limit=1, requests_per_minute=3, models=["gpt-5-mini"])
    assert admin.patch(path, {"name": "k", "limit": 1, "requests_per_minute": 3}).status == 200  # as it was
    change = {"limit": None, "requests_per_minute": None, "models": None, "disabled": True}
    assert dev.patch(path, change).status == 200
    assert dev.patch(path, {"disabled": False, "limit": 5}).json["data"]["limit"] == 5


def test_what_was_let_go_is_free_again(admin, dev):
    path = made(dev)
    assert admin.patch(path, {"requests_per_minute": 3, "limit": 1}).json["data"]["held"] == [
        "requests_per_minute",
        "limit",
    ]
    assert admin.patch(path, {"requests_per_minute": None, "limit": None}).json["data"]["held"] == []
    assert dev.patch(path, {"requests_per_minute": 3}).status == 200
    assert dev.patch(path, {"requests_per_minute": 4}).status == 200


@pytest.mark.parametrize("how", ["api", "command line"])
def test_a_budget_of_the_key_is_held_too(gateway, admin, dev, how):
    path = made(dev, limit=5)
    id_ = path.removeprefix("/keys/")
    wanted = {"scope": "key", "scope_id": id_, "window": "lifetime"}
    if how == "api":
        budget = admin.post("/budgets", {**wanted, "amount": 1})
        assert budget.status == 201, budget.body
        budget_id = budget.json["id"]
    else:
        budget_id = gateway.command("budgets.set", account="acme", amount="1", **wanted)["id"]
    assert dev.get(path).json["data"]["limit"] == 1
    for wider in ({"limit": 5}, {"limit": None}, {"limit": 1, "limit_reset": "monthly"}):
        assert dev.patch(path, wider).error["code"] == "bound_held"
    assert dev.patch(path, {"limit": 0.5}).json["data"]["limit"] == 0.5
    assert admin.delete(f"/budgets/{budget_id}").status == 200
    assert dev.get(path).json["data"]["held"] == []
    assert dev.patch(path, {"limit": 7}).status == 200
    assert dev.patch(path, {"limit": 8}).status == 200


def test_a_form_that_says_all_again_changes_nothing(admin, dev):
    """The dashboard sends all members of a key."""
    path = made(dev, limit=1, limit_reset="monthly")
    plain = ["inference", "models", "usage"]
    whole = {
        "name": "k", "limit": 1, "limit_reset": "monthly", "expires": None, "scopes": plain, "models": None,
        "providers": None, "ip_ranges": None, "tags": None, "requests_per_minute": None, "tokens_per_minute": None,
        "concurrency": None,
    }  # fmt: skip
    assert admin.patch(path, whole).json["data"]["held"] == []
    assert admin.patch(path, {**whole, "limit": 0.5}).json["data"]["held"] == ["limit"]
    assert dev.patch(path, {**whole, "limit": 0.5, "scopes": None, "name": "new"}).status == 200
    assert dev.patch(path, whole).error["param"] == "limit"


def test_the_command_line_holds_as_well(gateway, dev):
    path = made(dev)
    gateway.command("keys.change", id=path.removeprefix("/keys/"), disabled=True)
    assert dev.patch(path, {"disabled": False}).error["code"] == "bound_held"
