"""Top-ups before a Stripe that others wrote: localstripe, a stateful stand-in with signed events."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import WAIT_S, Gateway
from stripe_stub import SECRET

from llm_router.adapters.clock import SystemClock
from llm_router.adapters.keymaker import new_id
from llm_router.adapters.memory.books import MemoryBooks
from llm_router.adapters.stripe import StripeApi
from llm_router.adapters.upstream.client import LeanUpstream
from llm_router.billing.payments import PUSD_PER_CENT
from llm_router.domain.errors import PaymentDeclined
from llm_router.engine.payments import Card, PaymentRules, Payments

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("localstripe") is None,
    reason="localstripe is not installed (pip install localstripe)",
)

KEY = "sk_test_localstripe"
GOOD, DECLINED = "4242424242424242", "4000000000000341"


class LocalStripe:
    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "localstripe", "--port", "0", "--from-scratch"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder,
        )  # fmt: skip
        assert self.process.stdout is not None
        found = None
        for line in self.process.stdout:
            found = re.search(r"Running on http://\[::\]:(\d+)", line)
            if found is not None:
                break
        if found is None:
            self.close()
            pytest.skip("localstripe does not start here (it listens on IPv6)")
        self.url = f"http://127.0.0.1:{found[1]}"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def post(self, path: str, **form: object) -> Any:
        data = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(self.url + path, data, {"authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.loads(reply.read() or b"null")

    def card(self, number: str) -> Card:
        members = {"card[number]": number, "card[exp_month]": 12, "card[exp_year]": 2040, "card[cvc]": 123}
        method = self.post("/v1/payment_methods", type="card", **members)["id"]
        customer = self.post("/v1/customers", email="a@b.example")["id"]
        self.post(f"/v1/payment_methods/{method}/attach", customer=customer)
        return Card(customer=customer, method=method)


@pytest.fixture(scope="module")
def stripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStripe]:
    found = LocalStripe(tmp_path_factory.mktemp("localstripe"))
    yield found
    found.close()


CONFIG = """
[credits]
starting = 0
[stripe]
key = "env:STRIPE_SECRET_KEY"
webhook_secrets = ["env:HOOK"]
success_url = "https://shop.example/thanks"
base_url = "{url}"
"""


def test_an_intent_that_is_paid_arrives_by_a_signed_event(stripe: LocalStripe, tmp_path: Path) -> None:
    environ = {"STRIPE_SECRET_KEY": KEY, "HOOK": SECRET}
    gateway = Gateway(tmp_path, "--sandbox", config=CONFIG.format(url=stripe.url), environ=environ)
    try:
        hook = f"http://127.0.0.1:{gateway.port}/webhooks/stripe"
        stripe.post("/_config/webhooks/router", url=hook, secret=SECRET)
        made = gateway.send("POST", "/v1/credits/payment-intents", b'{"amount": "12.34"}').json
        card = stripe.card(GOOD)
        stripe.post(f"/v1/payment_intents/{made['payment']}", payment_method=card.method)
        stripe.post(f"/v1/payment_intents/{made['payment']}/confirm")
        _until_paid(gateway)
        [shown] = gateway.command("payments.list")["payments"]
        assert (shown["status"], str(shown["booked"])) == ("paid", "12.34")
    finally:
        assert gateway.stop() == 0


def _until_paid(gateway: Gateway) -> None:
    """Until the event has come and is booked: localstripe sends it a second after the payment."""
    due = time.monotonic() + WAIT_S
    while time.monotonic() < due:
        [shown] = gateway.command("payments.list")["payments"]
        if shown["booked"]:
            return
    raise AssertionError("no event came")


def test_a_saved_card_is_charged_and_a_bad_one_declined(stripe: LocalStripe) -> None:
    async def main() -> None:
        upstream, books = LeanUpstream(), MemoryBooks()
        payments = Payments(
            books=books,
            api=StripeApi(upstream=upstream, key=KEY, base_url=stripe.url),
            clock=SystemClock(),
            new_id=new_id,
            rules=PaymentRules(
                webhook_secrets=(), livemode=False, success_url="https://a.example", cancel_url="https://a.example",
                cents_min=50, cents_max=10_000, tolerance_s=300, by_keys=True,
            ),
        )  # fmt: skip
        try:
            order = await payments.charge_card("acme", 1500, await asyncio.to_thread(stripe.card, GOOD))
            assert order.status == "paid"
            assert await books.balance("acme") == 1500 * PUSD_PER_CENT
            with pytest.raises(PaymentDeclined):
                await payments.charge_card("acme", 1500, await asyncio.to_thread(stripe.card, DECLINED))
            assert await books.balance("acme") == 1500 * PUSD_PER_CENT
        finally:
            await upstream.close()

    asyncio.run(main())
