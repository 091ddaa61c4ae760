"""The endpoints of an account's money: what it has, what was booked, vouchers."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest, NotFound, RouterError
from llm_router.edge.gateway import Gateway
from llm_router.edge.guard import CREDIT, USAGE
from llm_router.edge.http import Request, Send, answer_json
from llm_router.edge.responses import account_of
from llm_router.edge.routes import Handler, Route
from llm_router.engine.paging import PAGE_DEFAULT, PAGE_MAX
from llm_router.engine.payments import Payments
from llm_router.engine.treasury import Treasury, dollars

DIALECT = "openai_chat"

EVENT_BYTES_MAX = 256 * 1024
"""Of an event of Stripe."""

_AMOUNT = re.compile(r"([0-9]{1,7})(?:\.([0-9]{1,2}))?", re.ASCII)


def _treasury(gateway: Gateway) -> Treasury:
    if gateway.treasury is None:
        raise NotFound("The store of this gateway does not tell of credits.")
    return gateway.treasury


async def _body(gateway: Gateway, request: Request) -> tuple[dict[str, Any], str]:
    """The members of the body, as raw JSON, and whose request it is.

    Raises:
        MissingApiKey, InvalidApiKey, PayloadTooLarge, InvalidRequest: as their names say.
    """
    body, key = await gateway.read(request, DIALECT, USAGE)
    if isinstance(key, RouterError):
        raise key
    try:
        msgspec.json.decode(body or b"{}")  # what is kept as raw JSON is not looked at
        members = msgspec.json.decode(body or b"{}", type=dict[str, msgspec.Raw])
    except (RecursionError, ValueError):
        raise InvalidRequest("The request body is not a JSON object.") from None
    return members, key.account


async def show(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/credits: a key that manages others may see what they spend from, as at OpenRouter.

    https://openrouter.ai/docs/api/api-reference/credits/get-credits
    """
    account = await account_of(gateway, request, CREDIT)
    await answer_json(send, 200, await _treasury(gateway).credits(account))


async def entries(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/credits/entries."""
    account = await account_of(gateway, request, USAGE)
    page = await _treasury(gateway).entries(account, _limit(request), request.parameter("after"))
    await answer_json(send, 200, page)


async def redeem(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/credits/redeem."""
    members, account = await _body(gateway, request)
    code = _text(members, "code")
    redeemed = await _treasury(gateway).vouchers.redeem(account, code)
    body = {
        "object": "credit.redemption",
        "voucher": redeemed.voucher.id,
        "amount": dollars(redeemed.voucher.amount_pusd),
        "credits_remaining": dollars(redeemed.available_pusd),
    }
    await answer_json(send, 200, body)


async def checkout(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/credits/checkout."""
    payments = _payments(gateway)
    members, account = await _body(gateway, request)
    save = msgspec.json.decode(members.get("save_card", b"false"))
    if not isinstance(save, bool):
        raise InvalidRequest("'save_card' must be true or false.", param="save_card")
    await answer_json(send, 200, await payments.checkout(account, _cents(members), save_card=save))


async def intent(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/credits/payment-intents."""
    payments = _payments(gateway)
    members, account = await _body(gateway, request)
    await answer_json(send, 200, await payments.intent(account, _cents(members)))


async def stripe_event(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /webhooks/stripe: signed by Stripe, so that no key is asked for."""
    payments = None if gateway.treasury is None else gateway.treasury.payments
    if payments is None or not payments.rules.webhook_secrets:
        raise NotFound("There is no such path: no webhook secret of Stripe is configured.")
    request.check_head(EVENT_BYTES_MAX)
    payload = await request.body(EVENT_BYTES_MAX, gateway.guards.bounds.body_s)
    await answer_json(send, 200, await payments.webhook(payload, request.headers.get("stripe-signature")))


def _payments(gateway: Gateway) -> Payments:
    """What makes payments, if keys may ask for them.

    Raises:
        NotFound: they may not.
    """
    payments = None if gateway.treasury is None else gateway.treasury.payments
    if payments is None or not payments.rules.by_keys:
        raise NotFound("This gateway takes no payments by its API.", code="payments_disabled")
    return payments


def _cents(members: dict[str, Any]) -> int:
    """The amount in cents: plain decimal dollars, as text or number, exactly as written.

    Raises:
        InvalidRequest: it is missing, or no amount.
    """
    text = bytes(members.get("amount", b"")).decode("ascii", "replace").strip()
    quoted = len(text) > 1 and text.startswith('"') and text.endswith('"')
    found = _AMOUNT.fullmatch(text[1:-1] if quoted else text)
    if found is None:
        raise InvalidRequest(
            "'amount' must be US dollars such as 10 or 12.50, with at most two digits behind the point.",
            param="amount",
        )
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))


def _text(members: dict[str, Any], name: str) -> str:
    """A member that must be there, as text.

    Raises:
        InvalidRequest: it is missing, or no text.
    """
    try:
        return msgspec.json.decode(members.get(name, b"null"), type=str)
    except msgspec.DecodeError:
        raise InvalidRequest(f"'{name}' must be given, as text.", param=name) from None


def _limit(request: Request) -> int:
    text = request.parameter("limit")
    if text is None:
        return PAGE_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= PAGE_MAX):
        raise InvalidRequest(f"'limit' must be from 1 to {PAGE_MAX}.", param="limit")
    return int(text)


def _row(method: str, path: str, handler: Handler, summary: str) -> Route:
    return Route(method=method, path=f"/v1/credits{path}", handler=handler, summary=summary)


CREDIT_ROUTES = (
    _row("GET", "", show, "What the account was given, what it used, what it has left."),
    _row("GET", "/entries", entries, "The account's books, by pages."),
    _row("POST", "/redeem", redeem, "Redeem a voucher."),
    _row("POST", "/checkout", checkout, "A page of Stripe's to buy credit at."),
    _row("POST", "/payment-intents", intent, "A PaymentIntent of Stripe's to buy credit with."),
    Route(method="POST", path="/webhooks/stripe", handler=stripe_event, summary="Stripe's events."),
)
