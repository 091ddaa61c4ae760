"""An order of credit as data: what is known of its payment, and what follows for the account's books.

What Stripe tells comes in any order and more than once. So an order keeps *facts*, and joining a fact to
it is commutative, associative and idempotent: whatever the order and repetition of events, the same
facts stand there in the end. What the order is worth follows from the facts alone:

    net = paid - refunded - what disputes hold, and at least 0

The books are brought to that by numbered bookings (``pay:ORDER:1``, ``pay:ORDER:2``, ...), each written
down before it is booked, so that a crash between the two repeats it under the same reference, which the
ledger books once. More than an account has available is never taken: the rest is *owed* by the order.
"""

from __future__ import annotations

import msgspec

from llm_router.domain.money import PUSD_PER_USD

PUSD_PER_CENT = PUSD_PER_USD // 100
CURRENCY = "usd"
EVENTS_MAX = 200
"""Ids of events that an order remembers; facts need none of them."""

_HOLDING = frozenset({"needs_response", "under_review", "lost", "charge_refunded"})
"""States of a dispute in which the money is gone. Inquiries (``warning_...``), won and prevented ones
take none: https://docs.stripe.com/disputes/how-disputes-work"""

_STATUS_RANK = (
    "warning_needs_response", "warning_under_review", "warning_closed", "prevented", "needs_response",
    "under_review", "won", "lost",
)  # fmt: skip


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes: dead: it failed or was cancelled, which is for good."""

    cents: int
    dead: bool = False


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes: at_s: when Stripe said so; of two reports the later one counts."""

    cents: int
    status: str
    at_s: int


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the books. ``done``: it is known to be booked. ``why``: what it follows from, where that
    is no payment: ``refund`` or ``dispute``."""

    number: int
    amount_pusd: int
    done: bool = False
    why: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a payment, or what one event says of it.

    Attributes:
        paid_cents: what the customer paid.
        refunded_cents: the most that the charge was ever said to have given back.
        ended: why nothing was paid, where nothing will be: ``canceled`` or ``expired``.
        failed: the last try was declined.
    """

    paid_cents: int = 0
    refunded_cents: int = 0
    refunds: dict[str, Refund] = {}
    disputes: dict[str, Dispute] = {}
    ended: str = ""
    failed: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Credit that an account is to get for a payment.

    Attributes:
        via: ``checkout``, ``intent`` or ``auto``.
        payment: Stripe's id of the PaymentIntent; session: of the Checkout session.
        refused: why a payment that was reported for this order is not credited.
        events: ids of events that were taken in.
    """

    id: str
    account: str
    amount_cents: int
    livemode: bool
    via: str
    created_ms: int
    payment: str | None = None
    session: str | None = None
    facts: Facts = Facts()
    refused: str | None = None
    events: tuple[str, ...] = ()
    bookings: tuple[Booking, ...] = ()

    @property
    def status(self) -> str:
        """In one word, for people."""
        facts = self.facts
        if not facts.paid_cents:
            return self.refused or facts.ended or ("failed" if facts.failed else "pending")
        if any(d.status in _HOLDING for d in facts.disputes.values()):
            return "disputed"
        refunded = refunded_cents(facts)
        if refunded >= facts.paid_cents:
            return "refunded"
        return "partly refunded" if refunded else "paid"

    @property
    def pending(self) -> Booking | None:
        """The booking that is written down and not yet known to be booked."""
        return next((b for b in self.bookings if not b.done), None)

    @property
    def booked_pusd(self) -> int:
        return sum(b.amount_pusd for b in self.bookings if b.done)

    @property
    def net_pusd(self) -> int:
        """What the account is to have of it: at least 0."""
        return sum(self.parts_pusd.values())

    @property
    def parts_pusd(self) -> dict[str, int]:
        """The net worth by what it follows from: the payment, refunds, disputes."""
        facts = self.facts
        held = sum(d.cents for d in facts.disputes.values() if d.status in _HOLDING)
        refunded = min(facts.paid_cents, refunded_cents(facts))
        disputed = min(held, facts.paid_cents - refunded)
        cents = {"": facts.paid_cents, "refund": -refunded, "dispute": -disputed}
        return {why: amount * PUSD_PER_CENT for why, amount in cents.items()}

    @property
    def owed_pusd(self) -> int:
        """What was taken back of the payment and could not be taken from the account."""
        return max(0, self.booked_pusd - self.net_pusd)


def refunded_cents(facts: Facts) -> int:
    """What went back. Single refunds are told of with their failure, the charge's sum is not, so that
    of the sum what failed is taken off."""
    live = sum(r.cents for r in facts.refunds.values() if not r.dead)
    dead = sum(r.cents for r in facts.refunds.values() if r.dead)
    return max(live, facts.refunded_cents - dead)


def join(known: Facts, told: Facts) -> Facts:
    """Both together."""
    refunds = dict(known.refunds)
    for id_, refund in told.refunds.items():
        old = refunds.get(id_, refund)
        refunds[id_] = Refund(cents=max(old.cents, refund.cents), dead=old.dead or refund.dead)
    disputes = dict(known.disputes)
    for id_, dispute in told.disputes.items():
        disputes[id_] = max(disputes.get(id_, dispute), dispute, key=_age)
    return Facts(
        paid_cents=max(known.paid_cents, told.paid_cents),
        refunded_cents=max(known.refunded_cents, told.refunded_cents),
        refunds=refunds,
        disputes=disputes,
        ended=max(known.ended, told.ended),
        failed=known.failed or told.failed,
    )


def _age(dispute: Dispute) -> tuple[int, int, str, int]:
    status = dispute.status
    rank = _STATUS_RANK.index(status) if status in _STATUS_RANK else len(_STATUS_RANK)
    return dispute.at_s, rank, status, dispute.cents


def with_event(order: Order, event_id: str, told: Facts, payment: str | None) -> Order:
    """The order after an event."""
    events = order.events if event_id in order.events else (*order.events, event_id)[-EVENTS_MAX:]
    return msgspec.structs.replace(
        order,
        facts=join(order.facts, told),
        payment=payment if order.payment is None else order.payment,
        events=events,
    )


def mismatch(
    order: Order, told: Facts, currency: str | None, livemode: bool, payment: str | None
) -> str | None:
    """Why an event is not believed to be about this order; None if it is."""
    if livemode != order.livemode:
        return "another mode (test or live)"
    if payment is not None and order.payment is not None and payment != order.payment:
        return "another payment"
    if told.paid_cents and told.paid_cents != order.amount_cents:
        return "another amount"
    if told.paid_cents and currency != CURRENCY:
        return "another currency"
    return None


def in_order_currency(order: Order, told: Facts, currency: str | None) -> Facts:
    """Facts whose amounts count in cents of the order. What was taken back in another currency counts
    as all of the payment, until somebody looks."""
    if currency in (None, CURRENCY):
        return told
    whole = order.amount_cents
    return msgspec.structs.replace(
        told,
        refunded_cents=whole if told.refunded_cents else 0,
        refunds={id_: Refund(cents=whole, dead=r.dead) for id_, r in told.refunds.items()},
        disputes={id_: msgspec.structs.replace(d, cents=whole) for id_, d in told.disputes.items()},
    )


def due(order: Order, available_pusd: int) -> Booking | None:
    """The next booking: what brings the books to the net worth, as far as the account has it.

    Each is of one cause; if refunds and disputes are to be booked, that takes one of each.
    """
    if order.pending is not None:
        return None
    missing = order.net_pusd - order.booked_pusd
    if missing == 0:
        return None
    why, part = _cause(order, missing)
    amount = min(missing, part) if missing > 0 else -min(-missing, -part, max(0, available_pusd))
    return Booking(number=len(order.bookings) + 1, amount_pusd=amount, why=why) if amount else None


def _cause(order: Order, missing_pusd: int) -> tuple[str, int]:
    """What the books lack most of all in that direction, and how much."""
    lacks = order.parts_pusd
    for booking in order.bookings:
        lacks[booking.why] -= booking.amount_pusd
    return (max if missing_pusd > 0 else min)(lacks.items(), key=lambda item: item[1])


def ref_of(order: Order, booking: Booking) -> str:
    """Under which the ledger books it, once."""
    name = f"pay:{order.id}:{booking.number}"
    return f"{name}:{booking.why}" if booking.why else name


def note_of(order: Order, booking: Booking) -> str:
    """What the entry says."""
    what = f"{booking.why} of payment" if booking.why else "payment"
    taken_back = booking.why and booking.amount_pusd > 0
    return f"{what} {order.id}{', given back' if taken_back else ''}"


def planned(order: Order, booking: Booking) -> Order:
    """With a booking written down."""
    return msgspec.structs.replace(order, bookings=(*order.bookings, booking))


def lessened(order: Order, available_pusd: int) -> Order:
    """After the ledger refused to take the pending amount: with what it has, or without the booking."""
    *earlier, last = order.bookings
    amount = -min(-last.amount_pusd, max(0, available_pusd))
    if amount == last.amount_pusd:
        amount = 0  # between the two it had less: try again later
    left = (msgspec.structs.replace(last, amount_pusd=amount),) if amount else ()
    return msgspec.structs.replace(order, bookings=(*earlier, *left))


def done(order: Order) -> Order:
    """With the pending booking booked."""
    bookings = tuple(msgspec.structs.replace(b, done=True) for b in order.bookings)
    return msgspec.structs.replace(order, bookings=bookings)
