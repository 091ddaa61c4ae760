"""Top-ups by Stripe in a running gateway, before a small Stripe of our own."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Gateway
from people_kit import first_operator
from stripe_stub import KEY, OLD_SECRET, SECRET, StripeStub, deliver

from llm_router.billing.stripe import signature

CONFIG = """
[credits]
starting = 0
[stripe]
key = "env:STRIPE_SECRET_KEY"
webhook_secrets = ["env:HOOK_NEW", "env:HOOK_OLD"]
success_url = "https://shop.example/thanks"
base_url = "{url}"
"""


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeStub]:
    stub = StripeStub()
    yield stub
    stub.close()


@pytest.fixture(scope="module")
def gateway(stripe: StripeStub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    environ = {"STRIPE_SECRET_KEY": KEY, "HOOK_NEW": SECRET, "HOOK_OLD": OLD_SECRET}
    folder = tmp_path_factory.mktemp("stripe")
    gateway = Gateway(folder, "--sandbox", config=CONFIG.format(url=stripe.url), environ=environ)
    yield gateway
    assert gateway.stop() == 0
    for secret in (KEY, SECRET, OLD_SECRET):
        assert secret not in gateway.log.text


@pytest.fixture
def key(gateway: Gateway, request: pytest.FixtureRequest) -> str:
    """A key of an account of the test's own, named as the test."""
    return gateway.new_key(account=account_of(request))


def account_of(request: pytest.FixtureRequest) -> str:
    return re.sub("[^a-z]", "", str(request.node.name))[:40] + str(abs(hash(request.node.name)))[:9]


def order(gateway: Gateway, key: str, amount: object = "10.50", path: str = "checkout") -> Any:
    answer = gateway.send("POST", f"/v1/credits/{path}", json.dumps({"amount": amount}).encode(), key=key)
    assert answer.status == 200, answer.body
    return answer.json


def left(gateway: Gateway, key: str) -> Any:
    return gateway.get("/v1/credits", key=key).json["data"]["credits_remaining"]


def paid_session(stripe: StripeStub, made: Any, payment: str, **members: Any) -> bytes:
    seen = {**stripe.objects[made["session"]], "payment_status": "paid", "payment_intent": payment}
    return stripe.event("checkout.session.completed", {**seen, **members})


def test_a_checkout_that_is_paid_is_booked_once(gateway: Gateway, stripe: StripeStub, key: str) -> None:
    made = order(gateway, key)
    assert made["url"].startswith("https://checkout.example/")
    _, path, form, headers = stripe.requests[-1]
    assert (path, form["success_url"], headers["idempotency-key"]) == (
        "/v1/checkout/sessions",
        "https://shop.example/thanks",
        made["id"],
    )
    assert left(gateway, key) == 0
    payload = paid_session(stripe, made, "pi_shop1")
    for _ in range(10):
        answer = deliver(gateway, payload)
        assert (answer.status, answer.json["order"]) == (200, made["id"])
        assert left(gateway, key) == Decimal("10.5")
    succeeded = {
        "id": "pi_shop1",
        "amount_received": 1050,
        "currency": "usd",
        "metadata": {"order": made["id"]},
    }
    assert deliver(gateway, stripe.event("payment_intent.succeeded", succeeded), OLD_SECRET).status == 200
    assert left(gateway, key) == Decimal("10.5")
    [entry] = gateway.get("/v1/credits/entries", key=key).json["data"]
    assert entry["id"] == f"credit:pay:{made['id']}:1"


def test_the_same_event_many_times_at_once(gateway: Gateway, stripe: StripeStub, key: str) -> None:
    payload = paid_session(stripe, order(gateway, key, 7), "pi_many")
    threads = [threading.Thread(target=deliver, args=(gateway, payload)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left(gateway, key) == 7


@pytest.mark.parametrize(
    "wrong",
    ["none", "secret", "empty secret", "v0", "old", "new", "reserialised", "one byte", "two times"],
)
def test_what_is_not_signed_right_books_nothing(
    gateway: Gateway, stripe: StripeStub, key: str, wrong: str
) -> None:
    payload = paid_session(stripe, order(gateway, key), f"pi_{wrong}".replace(" ", ""))
    now = int(time.time())
    good = f"t={now},v1=" + signature(payload, SECRET, now)
    match wrong:
        case "none":
            answer = deliver(gateway, payload, header="")
        case "secret":
            answer = deliver(gateway, payload, "whsec_other")
        case "empty secret":
            answer = deliver(gateway, payload, "")
        case "v0":
            answer = deliver(gateway, payload, header=good.replace("v1=", "v0="))
        case "old":
            answer = deliver(gateway, payload, at_s=now - 302)
        case "new":
            answer = deliver(gateway, payload, at_s=now + 310)
        case "reserialised":
            answer = deliver(gateway, json.dumps(json.loads(payload)).encode(), header=good)
        case "one byte":
            answer = deliver(gateway, payload.replace(b"1050", b"9050"), header=good)
        case _:
            answer = deliver(gateway, payload, header=f"t={now - 1}," + good)
    assert (answer.status, answer.error["code"]) == (400, "signature_invalid")
    assert left(gateway, key) == 0


@pytest.mark.parametrize(
    "members",
    [
        {"amount_total": 1051},
        {"amount_total": 105000},
        {"currency": "jpy"},
        {"metadata": {"order": "ord_none"}, "client_reference_id": "ord_none"},
        {"metadata": {}, "client_reference_id": None, "payment_intent": "pi_of_somebody_else"},
        {"payment_status": "unpaid"},
    ],
    ids=["more", "much-more", "yen", "no-order", "foreign", "unpaid"],
)
def test_what_does_not_fit_the_order_books_nothing(
    gateway: Gateway, stripe: StripeStub, key: str, members: dict[str, Any]
) -> None:
    made = order(gateway, key)
    answer = deliver(gateway, paid_session(stripe, made, "pi_unfit", **members))
    assert answer.status == 200
    assert "ignored" in answer.json
    assert left(gateway, key) == 0


def test_the_other_mode_books_nothing(gateway: Gateway, stripe: StripeStub, key: str) -> None:
    seen = {**stripe.objects[order(gateway, key)["session"]], "payment_status": "paid"}
    answer = deliver(gateway, stripe.event("checkout.session.completed", seen, livemode=True))
    assert (answer.status, answer.error["code"]) == (400, "wrong_mode")
    assert left(gateway, key) == 0


def test_refunds_and_disputes_in_any_order(gateway: Gateway, stripe: StripeStub, key: str) -> None:
    made = order(gateway, key, "10", "payment-intents")
    payment = made["payment"]
    assert made["client_secret"] == f"{payment}_secret"
    now = int(time.time())
    events = [
        stripe.event("payment_intent.succeeded", {**stripe.objects[payment], "amount_received": 1000}),
        stripe.event("refund.created", {"id": "re_1", "amount": 250, "currency": "usd", "payment_intent": payment, "status": "succeeded"}),
        stripe.event("charge.refunded", {"id": "ch_1", "amount_refunded": 250, "currency": "usd", "payment_intent": payment}),
        stripe.event("charge.dispute.created", {"id": "dp_1", "amount": 300, "currency": "usd", "status": "needs_response", "payment_intent": payment}, created=now - 9),
        stripe.event("charge.dispute.closed", {"id": "dp_1", "amount": 300, "currency": "usd", "status": "won", "payment_intent": payment}, created=now),
        stripe.event("charge.dispute.created", {"id": "dp_2", "amount": 100, "currency": "usd", "status": "lost", "payment_intent": payment}),
    ]  # fmt: skip
    shuffled = events * 2
    random.Random(5).shuffle(shuffled)
    for payload in shuffled:
        assert deliver(gateway, payload).status == 200
        assert left(gateway, key) >= 0
    assert left(gateway, key) == Decimal("6.5")


def test_what_was_spent_is_owed_and_blocks_until_it_is_paid(
    gateway: Gateway, stripe: StripeStub, key: str, request: pytest.FixtureRequest
) -> None:
    account = account_of(request)
    made = order(gateway, key, "5", "payment-intents")
    intent = {**stripe.objects[made["payment"]], "amount_received": 500}
    deliver(gateway, stripe.event("payment_intent.succeeded", intent))
    gateway.command("credits.adjust", account=account, amount="-3", reason="as if spent", actor="test")
    dispute = {
        "id": "dp_9",
        "amount": 500,
        "currency": "usd",
        "status": "lost",
        "payment_intent": made["payment"],
    }
    assert deliver(gateway, stripe.event("charge.dispute.created", dispute)).json["status"] == "disputed"
    assert left(gateway, key) == 0
    [shown] = gateway.command("payments.list", account=account)["payments"]
    assert (shown["owed"], shown["booked"]) == (3, 3)
    refused = gateway.chat("gpt-5-mini", key=key)
    assert (refused.status, refused.error["code"], refused.error["owed"]) == (402, "account_blocked", 3)
    assert gateway.get("/v1/credits", key=key).json["data"]["owed"] == 3
    assert gateway.command("credits.show", account=account)["owed"] == 3
    gateway.stop()  # it stays so
    gateway.start()
    assert gateway.chat("gpt-5-mini", key=key).error["code"] == "account_blocked"
    again = order(gateway, key, "8", "payment-intents")
    paid = {**stripe.objects[again["payment"]], "amount_received": 800}
    deliver(gateway, stripe.event("payment_intent.succeeded", paid))
    assert left(gateway, key) == 5
    assert gateway.get("/v1/credits", key=key).json["data"]["owed"] == 0
    assert "owed" not in gateway.command("credits.show", account=account)
    assert gateway.chat("gpt-5-mini", key=key).status == 200


def test_a_dispute_that_comes_first_finds_its_order_at_stripe(
    gateway: Gateway, stripe: StripeStub, key: str
) -> None:
    made = order(gateway, key, 6)
    stripe.objects["pi_early"] = {"id": "pi_early", "metadata": {"order": made["id"]}}
    dispute = {
        "id": "dp_e",
        "amount": 600,
        "currency": "usd",
        "status": "under_review",
        "payment_intent": "pi_early",
    }
    assert deliver(gateway, stripe.event("charge.dispute.created", dispute)).json["order"] == made["id"]
    deliver(gateway, paid_session(stripe, made, "pi_early"))
    assert left(gateway, key) == 0


@pytest.mark.parametrize(
    "amount",
    [
        "-10",
        "0",
        "0.001",
        "1e3",
        "10.505",
        "①⓪",
        "٣٠",
        10**15,
        -5,
        1e3,
        0.001,
        True,
        None,
        [],
        "",
        " 10",
        "4.99",
        1001,
    ],
)
def test_amounts_that_are_none_are_refused(
    gateway: Gateway, stripe: StripeStub, key: str, amount: object
) -> None:
    before = len(stripe.requests)
    for path in ("checkout", "payment-intents"):
        answer = gateway.send("POST", f"/v1/credits/{path}", json.dumps({"amount": amount}).encode(), key=key)
        if amount == 1e3 and answer.status == 200:
            continue  # json.dumps wrote 1000.0: an amount
        assert (answer.status, answer.error["param"]) == (400, "amount"), amount
    raw = gateway.send("POST", "/v1/credits/checkout", b'{"amount": 1e3}', key=key)
    assert raw.error["param"] == "amount"
    assert amount == 1e3 or len(stripe.requests) == before


def test_a_stripe_that_stumbles_is_asked_again_under_the_same_key(
    gateway: Gateway, stripe: StripeStub, key: str
) -> None:
    stripe.broken = 2
    made = order(gateway, key)
    keys = [headers["idempotency-key"] for _, _, _, headers in stripe.requests[-3:]]
    assert keys == [made["id"]] * 3
    stripe.broken = 3
    answer = gateway.send("POST", "/v1/credits/checkout", b'{"amount": 10}', key=key)
    assert (answer.status, answer.error["code"]) == (502, "payment_unavailable")


def test_without_a_secret_there_is_no_endpoint(sandbox: Gateway) -> None:
    stub = StripeStub()
    try:
        payload = stub.event("payment_intent.succeeded", {"id": "pi"})
        for secret in ("", SECRET):
            assert deliver(sandbox, payload, secret).status == 404
    finally:
        stub.close()
    assert (
        sandbox.send("POST", "/v1/credits/checkout", b'{"amount": 10}').error["code"] == "payments_disabled"
    )


def test_the_operator_sees_what_was_paid_and_sets_auto_top_up(
    gateway: Gateway, stripe: StripeStub, key: str, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("argon2")
    account, ada = account_of(request), first_operator(gateway)
    made = order(gateway, key)
    assert deliver(gateway, paid_session(stripe, made, "pi_seen")).status == 200
    (row,) = ada.get(f"/gateway/payments?account={account}").json["data"]
    assert (row["id"], row["account"]) == (made["id"], account)
    assert made["id"] in {each["id"] for each in ada.get("/gateway/payments").json["data"]}
    assert ada.get(f"/credits/auto?account={account}").json == {"account": account, "auto_topup": None}
    wish = {"account": account, "threshold": 5, "amount": 20, "every": "6h"}
    assert ada.ask("PUT", "/gateway/credits/auto", wish).error["code"] == "no_saved_card"
    for wrong, param in (
        ({"amount": None}, "amount"),
        ({"threshold": 0}, "amount"),
        ({"every": "1s"}, "every"),
    ):
        refused = ada.ask("PUT", "/gateway/credits/auto", {**wish, **wrong})
        assert (refused.status, refused.error["param"]) == (400, param), refused.json
    saved = {
        "amount_received": 1050,
        "currency": "usd",
        "metadata": {"order": made["id"]},
        "customer": "cus_1",
    }
    saved |= {"id": "pi_seen", "payment_method": "pm_1", "setup_future_usage": "off_session"}
    assert deliver(gateway, stripe.event("payment_intent.succeeded", saved)).status == 200
    made_auto = ada.ask("PUT", "/gateway/credits/auto", wish)
    assert made_auto.status == 200, made_auto.json
    shown = ada.get(f"/credits/auto?account={account}").json
    assert shown == made_auto.json
    assert (shown["auto_topup"]["threshold"], shown["auto_topup"]["every_s"]) == (5, 21600)
    ended = ada.ask("PUT", "/gateway/credits/auto", {"account": account, "off": True}).json["auto_topup"]
    assert (ended["enabled"], ended["disabled"]) == (False, "switched off")
    assert ada.post(f"/content/forget?account={account}").json == {"account": account, "forgotten": True}
