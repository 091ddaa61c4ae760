"""Keys of accounts of their own at providers, in a running gateway before scripted upstreams."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Gateway
from scripted_upstream import SECRETS, ScriptedUpstream, answers, config_for, error_body, good, http

O = "openai_chat"  # noqa: E741
OWN = "own-canary-51f0c9d2e7"
FEE = "[byok]\nfee_percent = 5\nfee_request = 0.000001\n"


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = Gateway(tmp_path_factory.mktemp("own"), config=config_for(scripted, {"total_s": 60}, FEE))
    yield found
    assert found.stop() == 0
    assert OWN not in found.log.text
    kept = [path for path in found.folder.rglob("*") if path.is_file()]
    assert all(OWN.encode() not in path.read_bytes() for path in kept)


@pytest.fixture
def key(gateway: Gateway, request: pytest.FixtureRequest) -> str:
    """A key of an account of the test's own, which has its own key at o1."""
    account = account_of(request)
    gateway.command("credits.add", account=account, amount="1")
    set_ = gateway.command("byok.set", account=account, provider="o1", secret=OWN + "\n")
    assert set_["warnings"] == [
        f"the account '{account}' has no API key yet; llm-router keys list shows who has"
    ]
    return gateway.new_key(account=account)


def account_of(request: pytest.FixtureRequest) -> str:
    return f"own-{abs(hash(request.node.name))}"


def sent(upstream: ScriptedUpstream, place: str) -> list[str]:
    return [seen.headers["authorization"] for seen in upstream.at(place)]


def verified(gateway: Gateway) -> bool:
    words = ["ledger", "verify", "--data-dir", str(gateway.data_dir), "--config", str(gateway.config)]
    command = [sys.executable, "-m", "llm_router.cli", *words]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def test_it_is_used_in_place_of_the_gateways_and_charged_by_the_fee(
    gateway: Gateway, upstream: ScriptedUpstream, key: str
) -> None:
    upstream.play("o1", good(O, False))
    answer = gateway.chat("mo", key=key)
    assert sent(upstream, "o1") == [f"Bearer {OWN}"]
    # 10 tokens at 50,000 and 5 at 100,000 picodollars (5 % of $1 and $2 a million), and $0.000001
    assert answer.json["usage"]["cost"] == Decimal("0.000002")
    record = gateway.generation(answer.id, key=key)
    assert "byok" in record["flags"]
    assert [(a["byok"], a["operator_cost_pusd"]) for a in record["attempts"]] == [(True, 0)]
    assert verified(gateway)
    upstream.reset()
    upstream.play("o1", good(O, False))
    other = gateway.chat("mo")  # another account
    assert sent(upstream, "o1") == [f"Bearer {SECRETS['o1']}"]
    assert other.json["usage"]["cost"] == Decimal("0.00002")
    assert "byok" not in gateway.generation(other.id)["flags"]


def test_without_leave_the_gateways_key_is_never_used(
    gateway: Gateway, upstream: ScriptedUpstream, key: str
) -> None:
    upstream.play("o1", answers(http(401, error_body(O, 401, f"Incorrect API key: {OWN}"))))
    upstream.play("o2", good(O, False))
    for model in ("mo", "fo"):
        answer = gateway.chat(model, key=key)
        assert answer.status == 401
        assert "your account's own key" in answer.error["message"]
        assert OWN.encode() not in answer.body
        assert OWN not in json.dumps(gateway.generation(answer.id, key=key), default=str)
    assert set(sent(upstream, "o1")) == {f"Bearer {OWN}"}
    assert sent(upstream, "o2") == []


def test_with_leave_the_gateways_keys_follow_at_the_full_price(
    gateway: Gateway, upstream: ScriptedUpstream, key: str, request: pytest.FixtureRequest
) -> None:
    gateway.command("byok.set", account=account_of(request), provider="o1", secret=OWN, fallback=True)
    upstream.play("o1", answers(http(401, error_body(O, 401, "no"))), good(O, False))
    answer = gateway.chat("mo", key=key)
    assert sent(upstream, "o1") == [f"Bearer {OWN}", f"Bearer {SECRETS['o1']}"]
    assert answer.json["usage"]["cost"] == Decimal("0.00002")
    record = gateway.generation(answer.id, key=key)
    assert [a.get("byok", False) for a in record["attempts"]] == [True, False]
    assert "byok" not in record["flags"]


def test_it_goes_nowhere_but_where_it_was_set_for(
    gateway: Gateway, upstream: ScriptedUpstream, key: str
) -> None:
    before = gateway.config.read_text()
    moved = before.replace(f"127.0.0.1:{upstream.port}/o1", f"localhost:{upstream.port}/o1")
    assert moved != before
    try:
        gateway.config.write_text(moved)
        gateway.command("config.reload")
        refused = gateway.chat("mo", key=key).error
        assert refused["code"] == "provider_not_configured"
        assert "llm-router byok set" in refused["message"]
    finally:
        gateway.config.write_text(before)
        gateway.command("config.reload")
    assert upstream.at("o1") == []


def test_it_is_listed_without_its_text_survives_a_restart_and_can_be_deleted(
    gateway: Gateway, upstream: ScriptedUpstream, key: str, request: pytest.FixtureRequest
) -> None:
    account = account_of(request)
    listed = gateway.command("byok.list", account=account)
    assert OWN not in json.dumps(listed, default=str)
    assert [(row["provider"], row["readable"]) for row in listed["byok"]] == [("o1", True)]
    gateway.stop()
    gateway.start()
    upstream.play("o1", good(O, True), good(O, False))
    gateway.stream("mo", key=key)
    gateway.command("byok.remove", account=account, provider="o1")
    gateway.chat("mo", key=key)
    assert sent(upstream, "o1") == [f"Bearer {OWN}", f"Bearer {SECRETS['o1']}"]
    with pytest.raises(Exception, match="has no key of its own"):
        gateway.command("byok.remove", account=account, provider="o1")


@pytest.mark.parametrize("secret", ["", " ", "a b", "a\nb", "ключ", "x" * 20_000])
def test_what_can_be_no_key_is_refused_without_being_repeated(gateway: Gateway, secret: str) -> None:
    with pytest.raises(Exception, match="the key") as refused:
        gateway.command("byok.set", provider="o1", secret=secret)
    assert not secret.strip() or secret not in str(refused.value)
    with pytest.raises(Exception, match="no provider"):
        gateway.command("byok.set", provider="nowhere", secret="k")


def test_of_a_short_key_it_is_said_where_it_may_come_back(
    gateway: Gateway, upstream: ScriptedUpstream, key: str, request: pytest.FixtureRequest
) -> None:
    short = "own-key-xyz"
    set_ = gateway.command("byok.set", account=account_of(request), provider="o1", secret=short)
    assert [warning for warning in set_["warnings"] if "short" in warning] == set_["warnings"]
    assert short not in json.dumps(set_)
    upstream.play("o1", answers(http(401, error_body(O, 401, f"bad key {short} given"))))
    refused = gateway.chat("mo", key=key)
    assert "bad key [redacted] given" in refused.error["message"]
    assert short.encode() not in refused.body


def test_machine_credentials_and_foreign_token_servers_are_no_key(gateway: Gateway) -> None:
    foreign: dict[str, Any] = {"type": "service_account", "token_uri": "http://169.254.169.254/token"}
    for secret in ("metadata", json.dumps(foreign), json.dumps({"type": "external_account"})):
        with pytest.raises(Exception, match="service account"):
            gateway.command("byok.set", provider="vertex", secret=secret)


def test_the_fee_is_a_price_rounded_once() -> None:
    from llm_router.billing.own_keys import OwnKeyFee, fee_price
    from llm_router.domain.price import Price, Rates

    price = Price(version="v", rates=Rates(input=5, output=15, cache_read=25, request=7))
    half = fee_price(price, OwnKeyFee(ppm=100_000, request_pusd=3))
    assert half.rates == Rates(input=0, output=2, cache_read=2, request=4)  # 0.5, 1.5, 2.5 half to even
    assert fee_price(price, OwnKeyFee()).rates == Rates(input=0, output=0, cache_read=0)
    assert half.version != fee_price(price, OwnKeyFee()).version != price.version
