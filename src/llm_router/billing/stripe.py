"""Stripe's formats: forms, signed events, and what an event says of a payment. Pure.

https://docs.stripe.com/api · https://docs.stripe.com/webhooks#verify-manually
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

import msgspec

from llm_router.billing.payments import Dispute, Facts, Refund

CENTS_MAX = 10**12
_SIGNATURES_MAX = 16
_TIME = re.compile(r"[0-9]{1,12}")
_DEAD_REFUNDS = ("failed", "canceled")


class SignatureWrong(Exception):
    """The message says what is wrong, and nothing of what would be right."""


class EventWrong(Exception):
    """Signed, but no event."""


class _Data(msgspec.Struct):
    object: dict[str, Any]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """https://docs.stripe.com/api/events/object"""

    id: str
    type: str
    created: int
    livemode: bool
    data: _Data


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says, and of what.

    Attributes:
        order: our order's id, where the object carries it; payment: the PaymentIntent's id.
        currency: of the amounts; None where there are none.
        customer, method: whom and what to charge again, if the customer agreed to that.
    """

    facts: Facts
    order: str | None
    payment: str | None
    currency: str | None
    session: str | None = None
    customer: str | None = None
    method: str | None = None


def form(members: Mapping[str, object]) -> bytes:
    """A body as Stripe takes it: ``a[b][0]=c``, percent-encoded."""
    return "&".join(f"{quote_plus(k, safe='[]')}={quote_plus(v)}" for k, v in _pairs("", members)).encode()


def _pairs(prefix: str, value: object) -> list[tuple[str, str]]:
    match value:
        case bool():
            return [(prefix, "true" if value else "false")]
        case Mapping():
            return [
                pair
                for name, inner in value.items()
                for pair in _pairs(f"{prefix}[{name}]" if prefix else str(name), inner)
            ]
        case list() | tuple():
            return [pair for n, inner in enumerate(value) for pair in _pairs(f"{prefix}[{n}]", inner)]
        case _:
            return [(prefix, str(value))]


def signature(payload: bytes, secret: str, at_s: int) -> str:
    """``v1`` of a payload: HMAC-SHA256 of the time and the bytes as they were sent."""
    return hmac.new(secret.encode(), b"%d." % at_s + payload, hashlib.sha256).hexdigest()


def verify(header: str | None, payload: bytes, secrets: Sequence[str], now_s: int, tolerance_s: int) -> None:
    """Check a ``Stripe-Signature``. Any of the secrets may have made it, while one replaces another.

    Raises:
        SignatureWrong: it is missing, malformed, too old or too new, or made with another secret.
    """
    if not header:
        raise SignatureWrong("The header Stripe-Signature is missing.")
    items = [item.partition("=") for item in header.split(",")]
    times = [value for name, _, value in items if name.strip() == "t"]
    given = [value.strip() for name, _, value in items if name.strip() == "v1"][:_SIGNATURES_MAX]
    if len(times) != 1 or not _TIME.fullmatch(times[0]) or not given:
        raise SignatureWrong("The header Stripe-Signature needs one t and at least one v1.")
    at_s = int(times[0])
    right = [signature(payload, secret, at_s).encode() for secret in secrets if secret]
    found = False
    for theirs in given:
        for ours in right:  # all of them, so that the time taken says nothing
            found |= hmac.compare_digest(theirs.encode("utf-8", "replace"), ours)
    if not found:
        raise SignatureWrong("The signature does not fit the body and the secret.")
    if abs(now_s - at_s) > tolerance_s:
        raise SignatureWrong(
            f"The signature's time is more than {tolerance_s} s from the clock of this gateway."
        )


def read_event(payload: bytes) -> Event:
    """
    Raises:
        EventWrong: the body is no event.
    """
    try:
        return msgspec.json.decode(payload, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EventWrong("The body is no event of Stripe.") from None


def told(event: Event) -> Told | None:
    """What an event says of a payment; None for one that is about something else.

    Raises:
        EventWrong: its object is not what its type says.
    """
    seen, kind = event.data.object, event.type
    if kind.startswith("payment_intent."):
        return told_of_intent(seen, event.type)
    if kind.startswith("checkout.session."):
        return _told_of_session(seen, event.type)
    if kind == "charge.refunded":
        facts = Facts(refunded_cents=_cents(seen, "amount_refunded"))
        return _told(seen, facts, payment=_id(seen, "payment_intent"))
    if kind.startswith(("refund.", "charge.refund.")):
        refund = Refund(cents=_cents(seen, "amount"), dead=seen.get("status") in _DEAD_REFUNDS)
        return _told(seen, Facts(refunds={_own_id(seen): refund}), payment=_id(seen, "payment_intent"))
    if kind.startswith("charge.dispute."):
        status = seen.get("status")
        if not isinstance(status, str):
            raise EventWrong("The dispute has no status.")
        dispute = Dispute(cents=_cents(seen, "amount"), status=status, at_s=event.created)
        return _told(seen, Facts(disputes={_own_id(seen): dispute}), payment=_id(seen, "payment_intent"))
    return None


def told_of_intent(intent: dict[str, Any], kind: str | None = None) -> Told | None:
    """What a PaymentIntent says: one of an event of that ``kind``, or of an answer.

    https://docs.stripe.com/api/payment_intents/object
    """
    status = intent.get("status")
    if kind == "payment_intent.succeeded" or (kind is None and status == "succeeded"):
        facts = Facts(paid_cents=_cents(intent, "amount_received", "amount"))
    elif kind == "payment_intent.canceled" or (kind is None and status == "canceled"):
        facts = Facts(ended="canceled")
    elif kind == "payment_intent.payment_failed":
        facts = Facts(failed=True)
    else:
        return None
    return msgspec.structs.replace(
        _told(intent, facts, payment=_own_id(intent)),
        customer=_id(intent, "customer"),
        method=_id(intent, "payment_method") if intent.get("setup_future_usage") == "off_session" else None,
    )


def _told_of_session(session: dict[str, Any], kind: str) -> Told | None:
    """https://docs.stripe.com/api/checkout/sessions/object"""
    if kind == "checkout.session.expired":
        facts = Facts(ended="expired")
    elif session.get("payment_status") == "paid":
        facts = Facts(paid_cents=_cents(session, "amount_total"))
    else:
        return None
    found = _told(session, facts, payment=_id(session, "payment_intent"))
    order = found.order if found.order is not None else _text(session.get("client_reference_id"))
    return msgspec.structs.replace(found, order=order, session=_own_id(session))


def _told(seen: dict[str, Any], facts: Facts, *, payment: str | None) -> Told:
    metadata = seen.get("metadata")
    order = _text(metadata.get("order")) if isinstance(metadata, dict) else None
    return Told(facts=facts, order=order, payment=payment, currency=_text(seen.get("currency")))


def _cents(seen: dict[str, Any], *names: str) -> int:
    value = next((seen[name] for name in names if seen.get(name) is not None), None)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= CENTS_MAX:
        raise EventWrong(f"'{names[0]}' is no amount.")
    return value


def _own_id(seen: dict[str, Any]) -> str:
    id_ = _text(seen.get("id"))
    if id_ is None:
        raise EventWrong("The object has no id.")
    return id_


def _id(seen: dict[str, Any], name: str) -> str | None:
    """The id of another object, which may stand there whole."""
    value = seen.get(name)
    return _text(value.get("id")) if isinstance(value, dict) else _text(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= 255 else None
