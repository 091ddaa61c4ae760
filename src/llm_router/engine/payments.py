"""Top-ups: orders, what Stripe tells of them, and the bookings that follow. See billing/payments.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from llm_router.billing import payments as rules
from llm_router.billing.payments import CURRENCY, PUSD_PER_CENT, Order
from llm_router.billing.stripe import (
    EventWrong,
    SignatureWrong,
    Told,
    read_event,
    told,
    told_of_intent,
    verify,
)
from llm_router.domain.errors import (
    InsufficientCredits,
    InvalidRequest,
    LedgerUnavailable,
    NotFound,
    PaymentUnavailable,
)
from llm_router.domain.money import MAX_PUSD, format_usd
from llm_router.engine.orders import KIND, ORDERS, block, describe, document_of
from llm_router.ports import Clock, Document, PaymentApi, TreasuryBooks

BY_PAYMENT = "payment"
"""Documents that lead from Stripe's payment to our order."""

CARD = "card"
"""Documents by account: whom and what to charge again."""

WRITE_TRIES = 5
"""Of one document, while others write it too."""


class PaymentRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator configures.

    Attributes:
        webhook_secrets: any of them may sign; without one no event is taken.
        livemode: whether the key is one for real money.
        by_keys: API keys may make payments.
    """

    webhook_secrets: tuple[str, ...]
    livemode: bool
    success_url: str
    cancel_url: str
    cents_min: int
    cents_max: int
    tolerance_s: int
    by_keys: bool


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Stripe's ids of a customer and of what they pay with; no number of any card."""

    customer: str
    method: str


class Payments:
    """One task at a time changes orders of this process; the store decides between processes."""

    def __init__(
        self,
        *,
        books: TreasuryBooks,
        api: PaymentApi,
        clock: Clock,
        new_id: Callable[[str], str],
        rules: PaymentRules,
    ) -> None:
        self._books = books
        self._api = api
        self._clock = clock
        self._new_id = new_id
        self.rules = rules
        self._turn = asyncio.Lock()

    # Orders

    async def checkout(self, account: str, cents: int, *, save_card: bool = False) -> dict[str, object]:
        """Make an order with a page of Stripe's where it can be paid.

        Raises:
            InvalidRequest: the amount is out of the limits.
            PaymentUnavailable: Stripe did not make it.
        """
        order = await self._order(account, cents, "checkout")
        metadata = {"order": order.id}
        intent: dict[str, object] = {"metadata": metadata}
        members: dict[str, object] = {
            "mode": "payment",
            "client_reference_id": order.id,
            "metadata": metadata,
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": CURRENCY,
                        "unit_amount": cents,
                        "product_data": {"name": "API credits"},
                    },
                }
            ],
            "payment_intent_data": intent,
            "success_url": self.rules.success_url,
            "cancel_url": self.rules.cancel_url,
        }
        if save_card:
            intent["setup_future_usage"] = "off_session"
            members["customer_creation"] = "always"
        session = await self._api.post("/v1/checkout/sessions", members, order.id)
        url, id_ = session.get("url"), session.get("id")
        if not (isinstance(url, str) and url.startswith(("https://", "http://")) and isinstance(id_, str)):
            raise PaymentUnavailable("The payment provider made no page to pay at.")
        order = await self._change(order.id, lambda held: msgspec.structs.replace(held, session=id_))
        return {**describe(order), "url": url}

    async def intent(self, account: str, cents: int) -> dict[str, object]:
        """Make an order with a PaymentIntent, to be paid by Stripe's elements in the caller's own page.

        Raises: as :meth:`checkout`.
        """
        order = await self._order(account, cents, "intent")
        members = {
            "amount": cents,
            "currency": CURRENCY,
            "metadata": {"order": order.id},
        }
        made = await self._api.post("/v1/payment_intents", members, order.id)
        order = await self._made(order, made)
        return {**describe(order), "client_secret": made.get("client_secret")}

    async def charge_card(self, account: str, cents: int, card: Card) -> Order:
        """Charge a saved card while the customer is not there.

        Raises:
            PaymentDeclined, PaymentUnavailable: nothing was paid, as far as is known; a later event
                may still say otherwise.
        """
        order = await self._order(account, cents, "auto")
        members = {
            "amount": cents,
            "currency": CURRENCY,
            "customer": card.customer,
            "payment_method": card.method,
            "off_session": True,
            "confirm": True,
            "metadata": {"order": order.id},
        }
        made = await self._api.post("/v1/payment_intents", members, order.id)
        order = await self._made(order, made)
        found = told_of_intent(made)
        if found is not None:
            order = await self._take_in(order.id, f"answer:{found.payment}", found) or order
        return order

    async def card(self, account: str) -> Card | None:
        """What an account agreed to be charged by."""
        document = await self._books.document(CARD, account)
        return None if document is None else msgspec.json.decode(document.body, type=Card)

    async def _order(self, account: str, cents: int, via: str) -> Order:
        rules_ = self.rules
        if not rules_.cents_min <= cents <= rules_.cents_max:
            low, high = (format_usd(c * PUSD_PER_CENT) for c in (rules_.cents_min, rules_.cents_max))
            raise InvalidRequest(f"The amount must be from ${low} to ${high}.", param="amount")
        standing = await self._books.standing(account)
        if standing.posted_pusd + cents * PUSD_PER_CENT > MAX_PUSD:
            raise InvalidRequest(
                f"The account would hold more than ${format_usd(MAX_PUSD)}, the most that one may.",
                param="amount",
            )
        order = Order(
            id=self._new_id("ord"),
            account=account,
            amount_cents=cents,
            livemode=rules_.livemode,
            via=via,
            created_ms=self._clock.now_ms(),
        )
        if not await self._books.put_document(document_of(order, 1)):
            raise AssertionError("two orders of one id")
        return order

    async def _made(self, order: Order, intent: dict[str, Any]) -> Order:
        id_ = intent.get("id")
        if not isinstance(id_, str):
            raise PaymentUnavailable("The payment provider made no payment.")
        await self._link(id_, order)
        return await self._change(order.id, lambda held: msgspec.structs.replace(held, payment=id_))

    # Events

    async def webhook(self, payload: bytes, signature: str | None) -> dict[str, object]:
        """Take in an event of Stripe.

        Raises:
            NotFound: no secret is configured.
            InvalidRequest: it is not signed as it must be, is no event, or of the other mode.
            LedgerUnavailable, PaymentUnavailable: Stripe is to send it again.
        """
        rules_ = self.rules
        if not rules_.webhook_secrets:
            raise NotFound("There is no such path.")
        now_s = self._clock.now_ms() // 1000
        try:
            verify(signature, payload, rules_.webhook_secrets, now_s, rules_.tolerance_s)
            event = read_event(payload)
            found = told(event)
        except SignatureWrong as error:
            raise InvalidRequest(str(error), code="signature_invalid") from None
        except EventWrong as error:
            raise InvalidRequest(str(error)) from None
        if event.livemode != rules_.livemode:
            raise InvalidRequest(
                "This gateway's key is for the other mode (test or live); nothing was booked.",
                code="wrong_mode",
            )
        if found is None:
            return {"received": True, "ignored": "not about a payment"}
        order_id = await self._order_of(found)
        if order_id is None:
            return {"received": True, "ignored": "not an order of this gateway"}
        order = await self._take_in(order_id, event.id, found, event.livemode)
        if order is None:
            return {"received": True, "ignored": "does not fit its order"}
        return {"received": True, "order": order.id, "status": order.status}

    async def _order_of(self, found: Told) -> str | None:
        """Our order: by what the object carries, by what we know, else by asking Stripe."""
        id_ = found.order
        if id_ is None and found.payment is not None:
            link = await self._books.document(BY_PAYMENT, found.payment)
            if link is not None:
                return msgspec.json.decode(link.body, type=str)
            id_ = await self._asked(found.payment)
        if id_ is None or await self._books.document(KIND, id_) is None:
            return None
        return id_

    async def _asked(self, payment: str) -> str | None:
        if not payment.replace("_", "").isalnum() or not payment.isascii():
            return None
        try:
            metadata = (await self._api.get(f"/v1/payment_intents/{payment}")).get("metadata")
        except NotFound:
            return None
        order = metadata.get("order") if isinstance(metadata, dict) else None
        return order if isinstance(order, str) else None

    async def _take_in(
        self, order_id: str, event_id: str, found: Told, livemode: bool | None = None
    ) -> Order | None:
        """Join what was told to the order and book what follows; None if it is not about that order."""
        async with self._turn:
            _, order = await self._load(order_id)
            mode = order.livemode if livemode is None else livemode
            why = rules.mismatch(order, found.facts, found.currency, mode, found.payment)
            if why is not None:
                await self._change(order_id, lambda held: msgspec.structs.replace(held, refused=why))
                return None
            facts = rules.in_order_currency(order, found.facts, found.currency)
            if found.payment is not None and order.payment is None:
                await self._link(found.payment, order)
            order = await self._change(
                order_id, lambda held: rules.with_event(held, event_id, facts, found.payment)
            )
            if found.customer is not None and found.method is not None and facts.paid_cents:
                await self._keep_card(order.account, Card(customer=found.customer, method=found.method))
            order = await self._book(order)
            await self._collect(order.account)
            return order

    # Bookings

    async def sweep(self) -> None:
        """Go on with every order that is not finished: bookings that were cut off, and what is owed."""
        async with self._turn:
            after = ""
            while page := await self._books.documents(KIND, open_only=True, after=after):
                for document in page:
                    await self._book(ORDERS.decode(document.body))
                after = page[-1].id

    async def _collect(self, account: str) -> None:
        """Take what an account owes of earlier orders from what it has now."""
        after = ""
        while page := await self._books.documents(KIND, account=account, open_only=True, after=after):
            for document in page:
                await self._book(ORDERS.decode(document.body))
            after = page[-1].id

    async def _book(self, order: Order) -> Order:
        """Bring the books to the order's net worth, as far as the account has it."""
        while True:
            if order.pending is None:
                booking = rules.due(order, await self._books.balance(order.account))
                if booking is None:
                    break
                order = await self._change(order.id, lambda held, b=booking: rules.planned(held, b))  # type: ignore[misc]
            order, booked = await self._book_pending(order)
            if not booked:
                break
        await block(self._books, order.account)
        return order

    async def _book_pending(self, order: Order) -> tuple[Order, bool]:
        """Book the one that is written down; False if that has to wait."""
        booking = order.pending
        assert booking is not None, "the caller looked"
        ref, note = rules.ref_of(order, booking), rules.note_of(order, booking)
        try:
            await self._books.credit(order.account, booking.amount_pusd, ref, note, self._clock.now_ms())
        except InsufficientCredits:
            left = await self._books.balance(order.account)
            order = await self._change(order.id, lambda held: rules.lessened(held, left))
            return order, order.pending is not None
        except InvalidRequest:
            return order, False  # the account is full: the booking waits for room
        return await self._change(order.id, rules.done), True

    # Documents

    async def _load(self, order_id: str) -> tuple[Document, Order]:
        document = await self._books.document(KIND, order_id)
        if document is None:
            raise NotFound(f"there is no order '{order_id[:100]}'")
        return document, ORDERS.decode(document.body)

    async def _change(self, order_id: str, change: Callable[[Order], Order]) -> Order:
        """Write what ``change`` makes of the order that is stored.

        Raises:
            LedgerUnavailable: others write it all the time, or the store cannot.
        """
        for _ in range(WRITE_TRIES):
            document, held = await self._load(order_id)
            order = change(held)
            if order == held or await self._books.put_document(document_of(order, document.version + 1)):
                return order
        raise LedgerUnavailable("The order is being changed by others. Try again shortly.", retry_after_s=1)

    async def _link(self, payment: str, order: Order) -> None:
        """Find the order by its payment from now on; a link that is there stays."""
        link = Document(
            kind=BY_PAYMENT,
            id=payment,
            account=order.account,
            version=1,
            open=False,
            created_ms=order.created_ms,
            body=msgspec.json.encode(order.id),
        )
        await self._books.put_document(link)

    async def _keep_card(self, account: str, card: Card) -> None:
        known = await self._books.document(CARD, account)
        document = Document(
            kind=CARD,
            id=account,
            account=account,
            version=1 if known is None else known.version + 1,
            open=False,
            created_ms=self._clock.now_ms(),
            body=msgspec.json.encode(card),
        )
        await self._books.put_document(document)
