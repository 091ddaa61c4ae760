"""A few bytes that mean very much: amounts with huge exponents, moments at the ends of the calendar."""

from __future__ import annotations

import json

import pytest
from gateway_kit import Gateway
from people_kit import Browser, first_operator

TINY, HUGE = "1e-200000000", "1e200000000"

NO_AMOUNTS = ('"NaN"', '"Infinity"', '"1_0"', '"\u0663"', '"1e1"', '" 5"', '"+5"', '""', "true", "[1]")
"""Other decimal numbers than an amount is written as: the same as on the command line."""

MOMENTS = (
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "1969-12-31T23:59:59",
    "10000-01-01",
)
"""Not within 1970 to 9999 in UTC."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    pytest.importorskip("argon2")
    running = Gateway(tmp_path_factory.mktemp("bounded"), "--sandbox")
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log.text


@pytest.fixture(scope="module")
def ada(gateway):
    return first_operator(gateway)


def raw(browser: Browser, method: str, path: str, body: str):
    """With a body that is sent as it is written here."""
    head = {
        "cookie": browser.cookie,
        "x-llm-router-csrf": "1",
        "origin": f"http://127.0.0.1:{browser.gateway.port}",
        "content-type": "application/json",
    }
    return browser.gateway.send(method, f"/api/v1{path}", body.encode(), head, key="")


def test_amounts_are_bounded_before_they_are_written_out(gateway, ada):
    own = ada.post("/keys?account=default", {"name": "k"}).json["data"]["hash"]
    for method, path, body in (
        ("POST", "/keys?account=default", '{"name": "d", "limit": %s}'),
        ("PATCH", f"/keys/{own}", '{"limit": %s}'),
        ("POST", "/budgets?account=default", '{"amount": %s}'),
        ("POST", "/credits/top-up?account=default", '{"amount": %s}'),
        ("POST", "/gateway/credits", '{"account": "default", "amount": %s}'),
        ("POST", "/gateway/credits/adjust", '{"account": "default", "amount": %s, "reason": "r"}'),
        ("PUT", "/gateway/credits/auto", '{"account": "default", "threshold": %s, "amount": 5}'),
        ("PUT", "/gateway/credits/auto", '{"account": "default", "threshold": 5, "amount": %s}'),
        ("POST", "/gateway/vouchers", '{"amount": %s}'),
    ):
        for amount in (TINY, HUGE, f'"{TINY}"', "1e-900000000000000000", "1e-13", *NO_AMOUNTS):
            answer = raw(ada, method, path, body % amount)
            expected = (400, 404) if "top-up" in path else (400,)  # it takes no payments
            assert answer.status in expected, (path, amount, answer.body)
            assert answer.status == 404 or answer.error["param"] in ("limit", "amount", "threshold")
    for amount in ("1e1", "10", '"10"', '"10.00"'):
        made = raw(ada, "POST", "/gateway/vouchers", f'{{"amount": {amount}}}').json
        assert made["amount"] == 10, made
    key = gateway.new_key("max price")
    for amount in (TINY, HUGE, f'"{TINY}"', f'"{HUGE}"', "1" * 5000):
        body = (
            f'{{"model": "gpt-5-mini", "messages": [], "provider": {{"max_price": {{"prompt": {amount}}}}}}}'
        )
        answer = gateway.send(
            "POST", "/v1/chat/completions", body.encode(), {"content-type": "application/json"}, key=key
        )
        assert answer.status < 500, answer.body
    for amount in (TINY, HUGE):
        assert gateway.chat("gpt-5-mini", key=key, headers={"x-max-cost": amount}).status == 400


def test_what_a_changed_configuration_says_is_bounded_too(ada):
    for toml in (
        f'[models."gpt-5-mini".price]\ninput_per_mtok = {TINY}\noutput_per_mtok = 1\n',
        f"[credits]\nstarting = {HUGE}\n",
        "[server]\nport = 1" + "0" * 5000,
        "[credits]\nstarting = 1e99999999999999999999\n",
    ):
        answer = ada.post("/gateway/routes/test", {"config": toml})
        assert answer.status == 400, (toml[:80], answer.body[:300])


def test_moments_are_bounded_and_nothing_is_kept_that_cannot_be_told(ada):
    for moment in MOMENTS:
        for path, body in (
            ("/keys?account=default", {"name": "q", "expires": moment}),
            ("/keys?account=default", {"name": "q", "expires_at": moment}),
            ("/gateway/vouchers", {"amount": 1, "expires": moment}),
            ("/gateway/prices", {"percent": "5", "start": moment}),
            ("/content/delete?account=default", {"before": moment}),
        ):
            answer = ada.post(path, body)
            assert answer.status == 400, (path, moment, answer.body)
        for path in ("/usage", "/exchanges", "/usage/export"):
            answer = ada.get(f"{path}?account=default&to={moment.replace('+', '%2B')}")
            assert answer.status == 400, (path, moment, answer.body)
    listed = ada.get("/keys?account=default")
    assert listed.status == 200
    assert "q" not in {key["name"] for key in listed.json["data"]}


def test_the_last_moment_of_all_is_one(gateway, ada):
    last = "9999-12-31T23:59:59.999999"
    assert ada.get(f"/usage?account=default&by=hour&to={last}").status == 200
    assert ada.post("/keys?account=default", {"name": "for ever", "expires": last}).status == 201
    found = {key["name"]: key for key in ada.get("/keys?account=default").json["data"]}
    assert found["for ever"]["expires_at"] == "9999-12-31T23:59:59Z"
    assert json.dumps(gateway.command("keys.list", account="default")["keys"], default=str)


def test_long_patterns_and_names_are_refused_unread(ada):
    for text in ("[" * 100_000, "*a" * 100_000, "a" * 500_000):
        for path, body in (
            ("/keys?account=default", {"name": "p", "models": [text]}),
            ("/keys?account=default", {"name": "p", "providers": [text]}),
            ("/keys?account=default", {"name": "p", "ip_ranges": [text]}),
            ("/limits?account=default", {"kind": "requests", "amount": 5, "model": text}),
            ("/gateway/prices", {"percent": "5", "account": text}),
            ("/gateway/prices", {"percent": "5", "models": [text]}),
            ("/budgets?account=default", {"amount": 5, "time_zone": text}),
        ):
            answer = ada.post(path, body)
            assert answer.status == 400, (path, text[:9], answer.body[:200])
            assert len(answer.body) < 2000


def test_names_that_a_request_says_are_bounded(gateway):
    long = "-" * 2_000_000
    for members in (
        {"models": [long]},
        {"models": ["a"] * 100_000},
        {"session_id": long},
        {"preset": long},
        {"provider": {"order": [long]}},
        {"provider": {"only": [long]}},
        {"provider": {"ignore": ["a"] * 100_000}},
    ):
        answer = gateway.chat("gpt-5-mini", **members)
        assert answer.status == 400, (list(members), answer.body[:200])
        assert len(answer.body) < 4000
