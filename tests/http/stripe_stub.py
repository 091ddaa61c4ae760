"""A small Stripe: makes Checkout sessions and PaymentIntents, remembers requests, signs events."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from gateway_kit import Answer, Gateway

from llm_router.billing.stripe import signature

SECRET = "whsec_new"
OLD_SECRET = "whsec_old"
KEY = "sk_test_51Hidden"


class StripeStub:
    """Attributes: requests: (method, path, form, headers); decline: cards are declined."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], dict[str, str]]] = []
        self.objects: dict[str, dict[str, Any]] = {}
        self.known: dict[str, dict[str, Any]] = {}  # by idempotency key
        self.decline = False
        self.broken = 0  # so many answers are 500
        self.events = 0
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                self._answer(
                    *stub.post(self.path, self.rfile.read(size).decode(), dict(self.headers.items()))
                )

            def do_GET(self) -> None:
                found = stub.objects.get(self.path.rpartition("/")[2])
                self._answer(404 if found is None else 200, found or {"error": {"code": "resource_missing"}})

            def _answer(self, status: int, value: dict[str, Any]) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def post(self, path: str, body: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        form = dict(parse_qsl(body, strict_parsing=True))
        names = {name.lower(): value for name, value in headers.items()}
        self.requests.append(("POST", path, form, names))
        if self.broken:
            self.broken -= 1
            return 500, {"error": {"code": "api_error"}}
        if names.get("authorization") != f"Bearer {KEY}":
            return 401, {"error": {"code": "invalid_api_key"}}
        if self.decline:
            return 402, {"error": {"code": "card_declined", "decline_code": "insufficient_funds"}}
        key = names["idempotency-key"]
        if key not in self.known:
            made = self._make(path, form)
            self.known[key] = self.objects[made["id"]] = made
        return 200, self.known[key]

    def _make(self, path: str, form: dict[str, str]) -> dict[str, Any]:
        number = len(self.objects) + 1
        if path == "/v1/checkout/sessions":
            amount = int(form["line_items[0][price_data][unit_amount]"])
            return {
                "id": f"cs_{number}", "url": f"https://checkout.example/{number}", "amount_total": amount,
                "currency": form["line_items[0][price_data][currency]"], "payment_status": "unpaid",
                "metadata": {"order": form["metadata[order]"]}, "payment_intent": None,
                "client_reference_id": form["client_reference_id"],
            }  # fmt: skip
        confirmed = form.get("confirm") == "true"
        return {
            "id": f"pi_{number}", "amount": int(form["amount"]), "currency": form["currency"],
            "amount_received": int(form["amount"]) if confirmed else 0, "client_secret": f"pi_{number}_secret",
            "status": "succeeded" if confirmed else "requires_payment_method",
            "metadata": {"order": form["metadata[order]"]},
        }  # fmt: skip

    def event(self, kind: str, seen: dict[str, Any], **members: Any) -> bytes:
        self.events += 1
        whole = {"id": f"evt_{self.events}", "object": "event", "type": kind, "created": int(time.time())}
        whole |= {"livemode": False, "data": {"object": seen}, **members}
        return json.dumps(whole, indent=1).encode()


def deliver(
    gateway: Gateway, payload: bytes, secret: str = SECRET, at_s: int | None = None, header: str | None = None
) -> Answer:
    """Send an event as Stripe does."""
    at_s = int(time.time()) if at_s is None else at_s
    signed = f"t={at_s},v1={signature(payload, secret, at_s)}" if header is None else header
    headers = {"stripe-signature": signed} if signed else {}
    return gateway.send("POST", "/webhooks/stripe", payload, headers, key="")
