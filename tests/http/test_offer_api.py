"""What the operator decides by the API and by commands, in a running gateway: providers' keys, presets, prices,
experiments, credit; accounts and who is in them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Gateway, until
from people_kit import Browser, first_operator, invited
from scripted_upstream import SECRETS, ScriptedUpstream, config_for, good

from llm_router.domain.errors import RouterError

O = "openai_chat"  # noqa: E741
OWN = "gateway-canary-0a91bb37c2"


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = Gateway(tmp_path_factory.mktemp("offer"), config=config_for(scripted, {"total_s": 60}, ""))
    yield found
    assert found.stop() == 0
    assert OWN not in found.log.text
    kept = [path for path in found.folder.rglob("*") if path.is_file()]
    assert all(OWN.encode() not in path.read_bytes() for path in kept)


@pytest.fixture(scope="module")
def operator(gateway: Gateway) -> Browser:
    return first_operator(gateway)


def test_lists_and_the_description_are_packed_and_answers_of_models_are_not(
    gateway: Gateway, operator: Browser, scripted: ScriptedUpstream
) -> None:
    packed = {"accept-encoding": "gzip"}
    for path in ("/v1/models", "/v1beta/models", "/api/v1/openapi.json"):
        plain, small = gateway.get(path), gateway.send("GET", path, headers=packed)
        assert (plain.status, small.status, small.headers["content-encoding"]) == (200, 200, "gzip")
        assert plain.headers["vary"] == small.headers["vary"] == "accept-encoding"
        assert "content-encoding" not in plain.headers
        assert gzip.decompress(small.body) == plain.body
    scripted.reset()
    scripted.play("o1", good(O, False))
    answer = gateway.chat("mo", headers=packed)
    assert answer.status == 200
    assert "content-encoding" not in answer.headers


def test_health_tells_only_of_what_is_not_well(operator: Browser) -> None:
    whole, unwell = operator.get("/health").json, operator.get("/health?only=unwell").json
    assert whole["deployments"] == unwell["deployments"] == len(whole["data"]) > 0
    assert whole["providers"] == len({row["provider"] for row in whole["data"]})
    assert unwell["data"] == [row for row in whole["data"] if not row["available"]]
    assert operator.get("/health?only=ill").status == 400


def sent(upstream: ScriptedUpstream) -> list[str]:
    return [seen.headers["authorization"] for seen in upstream.at("o1")]


def called(gateway: Gateway, upstream: ScriptedUpstream) -> list[str]:
    upstream.reset()
    upstream.play("o1", good(O, False))
    assert gateway.chat("mo").status == 200
    return sent(upstream)


def test_a_key_of_a_provider_holds_at_once_is_sealed_and_never_shown(
    gateway: Gateway, upstream: ScriptedUpstream, operator: Browser
) -> None:
    put = operator.ask("PUT", "/gateway/providers/o1/key", {"key": f"{OWN}\n"})
    assert (put.status, put.json["active"]) == (200, True)
    assert called(gateway, upstream) == [f"Bearer {OWN}"]
    listed = operator.get("/gateway/providers")
    row = next(each for each in listed.json["data"] if each["id"] == "o1")
    assert (row["key"], row["key_mark"]) == ("stored", "...37c2")
    gateway.command("config.reload")  # which reads file and environment alone
    assert called(gateway, upstream) == [f"Bearer {OWN}"]
    assert gateway.stop() == 0
    gateway.start()
    assert called(gateway, upstream) == [f"Bearer {OWN}"]
    audit = operator.get("/gateway/audit")
    assert any(each["action"] == "providers.set_key" for each in audit.json["data"])
    assert OWN.encode() not in listed.body + audit.body + put.body
    assert operator.delete("/gateway/providers/o1/key").status == 200
    assert called(gateway, upstream) == [f"Bearer {SECRETS['o1']}"]
    assert operator.delete("/gateway/providers/o1/key").status == 404


def test_a_provider_without_a_key_can_be_called_when_it_has_one(gateway: Gateway, operator: Browser) -> None:
    def row() -> dict[str, object]:
        found: list[dict[str, object]] = operator.get("/gateway/providers").json["data"]
        return next(each for each in found if each["id"] == "groq")

    assert (row()["active"], row()["key"]) == (False, None)
    assert operator.ask("PUT", "/gateway/providers/groq/key", {"key": OWN}).json["active"] is True
    assert (row()["active"], row()["key"]) == (True, "stored")
    assert gateway.command("providers.remove_key", provider="groq")["active"] is False
    for id_, key in (("nobody", OWN), ("groq", ""), ("groq", "a b"), ("bedrock", OWN)):
        assert operator.ask("PUT", f"/gateway/providers/{id_}/key", {"key": key}).status in (400, 404)


def test_members_see_that_there_are_presets_and_not_what_they_tell(
    gateway: Gateway, operator: Browser
) -> None:
    made = operator.post("/presets", {"name": "mail", "models": ["mo"], "system": "secret words"})
    assert (made.status, made.json["version"]) == (201, 1)
    assert operator.post("/presets", {"name": "mail", "models": ["mo"]}).json["version"] == 2
    gateway.command("accounts.create", id="offer-acme", owner="ada@example.com")
    member = invited(operator, "offer-acme", "developer", "dev@example.com")
    seen = member.get("/presets").json["data"]
    assert [each["name"] for each in seen] == ["mail"]
    assert "system" not in seen[0]
    assert operator.get("/presets/mail").json["versions"][1]["system"] == "secret words"
    for method, path, body in (
        ("POST", "/presets", {"name": "x", "models": ["mo"]}),
        ("DELETE", "/presets/mail", None),
        ("GET", "/presets/mail", None),
        ("GET", "/gateway/providers", None),
        ("PUT", "/gateway/providers/o1/key", {"key": OWN}),
        ("POST", "/gateway/credits", {"account": "offer-acme", "amount": "1"}),
        ("GET", "/experiments", None),
    ):
        assert member.ask(method, path, body).status == 403, path
    assert operator.delete("/presets/mail").status == 200
    assert operator.get("/presets/mail").json["versions"][0]["deleted"] is True
    assert operator.get("/presets?account=offer-acme").json["data"] == []


def test_credit_is_adjusted_by_hand_and_the_log_is_proved(gateway: Gateway, operator: Browser) -> None:
    gateway.command("credits.add", account="by-hand", amount="3")
    wanted = {"account": "by-hand", "amount": "-1.25", "reason": "a mistake", "ref": "mistake-1"}
    assert operator.post("/gateway/credits/adjust", wanted).status == 201
    assert operator.post("/gateway/credits/adjust", wanted).status == 201
    assert str(gateway.credits("by-hand")) == "1.75"
    act = operator.get("/audit?account=by-hand").json["data"][0]
    assert (act["action"], act["actor_name"], act["object"]) == (
        "credits.adjust", "ada@example.com", "by-hand",
    )  # fmt: skip
    proved = operator.get("/gateway/audit/check").json
    newest = operator.get("/gateway/audit?limit=1").json["data"][0]
    assert proved == {"ok": True, "acts": newest["seq"], "hash": newest["hash"]}


def test_experiments_prices_credit_and_vouchers(gateway: Gateway, operator: Browser) -> None:
    arms = [{"name": "a"}, {"name": "b", "model": "mo"}]
    made = operator.post("/experiments", {"name": "try", "of": "mo", "arms": arms})
    assert made.status == 201, made.body
    assert operator.get("/experiments").json["data"][0]["name"] == "try"
    assert operator.get("/experiments/try").json["state"] == "running"
    assert operator.post("/experiments/try/stop", {"reason": "enough"}).status == 200
    rule = operator.post("/gateway/prices", {"percent": "20", "account": "offer-*"})
    assert (rule.status, rule.json["percent"]) == (201, 20)
    assert (rule.json["scope"], rule.json["account"]) == ("account", "offer-*")
    for wrong in (
        {"scope": "all", "account": "offer-*"},
        {"scope_id": "team_1"},
        {"scope": "account", "account": "offer-*", "scope_id": "key_1"},
    ):
        assert operator.post("/gateway/prices", {"percent": "1", **wrong}).status == 400
    assert operator.get("/gateway/prices").json["data"][-1]["id"] == rule.json["id"]
    given = operator.post("/gateway/credits", {"account": "offer-two", "amount": "2.5", "ref": "inv-1"})
    assert (given.status, given.json["credits_remaining"]) == (201, Decimal("2.5"))
    vouchers = operator.post("/gateway/vouchers", {"amount": "1", "count": 2}).json["vouchers"]
    listed = operator.get("/gateway/vouchers").json["data"]
    assert {each["id"] for each in listed} == {each["id"] for each in vouchers}  # of one moment: in any order
    assert operator.get("/gateway/audit?limit=1").json["data"][0]["object"] == "2 vouchers"
    assert operator.delete(f"/gateway/vouchers/{vouchers[0]['id']}").status == 200


def test_accounts_and_who_is_in_them_by_command(gateway: Gateway, operator: Browser) -> None:
    gateway.command("accounts.create", id="cmd", title="By command", owner="ada@example.com")
    gateway.command("accounts.change", id="cmd", title="Renamed")
    found = {each["id"]: each for each in gateway.command("accounts.list")["accounts"]}
    assert found["cmd"]["title"] == "Renamed"
    team = gateway.command("teams.create", account="cmd", title="red")
    offered = gateway.command("members.invite", account="cmd", email="bo@example.com", role="viewer")
    assert offered["path"].startswith("/join#")
    assert len(gateway.command("invitations.list", account="cmd")["invitations"]) == 1
    gateway.command("invitations.remove", id=offered["id"])
    changed = gateway.command("members.change", account="cmd", email="ada@example.com", teams=["red"])
    assert (changed["role"], changed["teams"]) == ("owner", ["red"])
    gateway.command("teams.remove", id=team["id"])
    assert gateway.command("members.list", account="cmd")["members"][0]["teams"] == []
    with pytest.raises(RouterError, match="An account has an owner"):
        gateway.command("members.remove", account="cmd", email="ada@example.com")
    assert gateway.command("settings.change", sign_up=True) == {"sign_up": True, "public_pages": False}
    assert gateway.command("settings.show") == {"sign_up": True, "public_pages": False}
    acts = gateway.command("audit.list", account="cmd")["acts"]
    assert [each["action"] for each in reversed(acts)] == [
        "accounts.create", "accounts.change", "teams.create", "invitations.create", "invitations.remove",
        "members.change", "teams.remove",
    ]  # fmt: skip
    assert gateway.command("audit.check")["ok"] is True


def test_what_a_model_cost_before_is_told(gateway: Gateway, operator: Browser) -> None:
    path = "/models/gpt-5-mini/prices?account=history"
    gateway.new_key("k", account="history")

    def steps() -> list[dict[str, Any]]:
        answer = operator.get(path)
        assert answer.status == 200, answer.body
        found: list[dict[str, Any]] = answer.json["providers"][0]["history"]
        return found

    until(lambda: bool(steps()))  # the gateway writes its list down in the background
    before = steps()
    rule = operator.post("/gateway/prices", {"percent": "50", "scope": "account", "account": "history"})
    assert rule.status == 201, rule.body
    now, *rest = steps()
    assert rest == before
    assert now["from"] >= before[0]["from"]
    assert now["price"]["version"].endswith(rule.json["id"])
    assert "cost" not in now
    command = gateway.command("prices.history", model="gpt-5-mini", account="history")
    newest = command["providers"][0]["history"][0]
    assert newest["price"]["input"] == Decimal("1.5") * newest["cost"]["input"]
    assert operator.get("/models/no-such-model/prices?account=history").status == 404
