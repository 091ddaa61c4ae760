"""Orders: whatever the order and repetition of events, the same balance; signatures; forms."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.billing import payments, stripe
from llm_router.billing.payments import Booking, Dispute, Facts, Order, Refund
from llm_router.billing.statements import credit_line
from llm_router.billing.stripe import EventWrong, SignatureWrong, read_event, told, verify

CENT = payments.PUSD_PER_CENT


def order(**members: Any) -> Order:
    values: dict[str, Any] = {
        "id": "ord_1", "account": "acme", "amount_cents": 1000, "livemode": False, "via": "intent",
        "created_ms": 1,
    }  # fmt: skip
    return Order(**{**values, **members})


STATUSES = ("warning_needs_response", "needs_response", "under_review", "won", "lost")
FACTS = st.one_of(
    st.just(Facts(paid_cents=1000)),
    st.integers(1, 1000).map(lambda cents: Facts(refunded_cents=cents)),
    st.builds(
        lambda id_, dead: Facts(refunds={f"re_{id_}": Refund(cents=100 * id_, dead=dead)}),
        st.integers(1, 3),
        st.booleans(),
    ),
    st.builds(
        lambda id_, status, at_s: Facts(
            disputes={f"dp_{id_}": Dispute(cents=1000, status=status, at_s=at_s)}
        ),
        st.integers(1, 2),
        st.sampled_from(STATUSES),
        st.integers(1, 4),
    ),
    st.sampled_from([Facts(ended="expired"), Facts(ended="canceled"), Facts(failed=True)]),
)


class Books:
    """An account that spends, and the ledger's law: nothing below zero, each reference once."""

    def __init__(self) -> None:
        self.available = 0
        self.refs: dict[str, int] = {}

    def book(self, ref: str, amount: int) -> bool:
        if ref not in self.refs:
            if self.available + amount < 0:
                return False
            self.available += amount
            self.refs[ref] = amount
        assert self.refs[ref] == amount
        return True


def bring(held: Order, books: Books, crash: bool = False) -> Order:
    """Book what is due, as the engine does; with ``crash`` forget that the last one was booked."""
    while True:
        booking = held.pending
        if booking is None:
            booking = payments.due(held, books.available)
            if booking is None:
                return held
            held = payments.planned(held, booking)
        if not books.book(payments.ref_of(held, booking), booking.amount_pusd):
            held = payments.lessened(held, books.available)
            continue
        if crash:
            return held
        held = payments.done(held)


@given(events=st.lists(FACTS, max_size=7), data=st.data())
def test_any_order_and_repetition_leads_to_the_same_balance(events: list[Facts], data: st.DataObject) -> None:
    def run(told_facts: list[Facts], crashes: list[bool]) -> tuple[int, Facts]:
        held, books = order(), Books()
        for number, (facts, crash) in enumerate(zip(told_facts, crashes, strict=True)):
            held = payments.with_event(held, f"evt_{number}", facts, "pi_1")
            held = bring(held, books, crash)
        held = bring(held, books)
        assert books.available == held.booked_pusd == held.net_pusd
        assert held.owed_pusd == 0
        return books.available, held.facts

    straight = run(events, [False] * len(events))
    mixed = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events or [Facts()])))))
    crashes = data.draw(st.lists(st.booleans(), min_size=len(mixed), max_size=len(mixed)))
    assert run(list(mixed), crashes) == straight


@given(
    steps=st.lists(st.one_of(FACTS, st.integers(1, 1000)), max_size=12),
    crashes=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_what_was_spent_is_owed_and_no_balance_is_negative(
    steps: list[Facts | int], crashes: list[bool]
) -> None:
    held, books, spent = order(), Books(), 0
    for number, step in enumerate(steps):
        if isinstance(step, int):  # the account spends
            taken = min(step * CENT, books.available)
            books.available -= taken
            spent += taken
            continue
        held = payments.with_event(held, f"evt_{number}", step, "pi_1")
        held = bring(held, books, crashes[number])
        assert books.available >= 0
    held = bring(held, books)
    assert held.booked_pusd == books.available + spent
    assert held.owed_pusd == max(0, books.available + spent - held.net_pusd)
    assert held.owed_pusd == 0 or books.available == 0
    books.available += held.owed_pusd  # the next top-up pays
    assert bring(held, books).owed_pusd == 0


def test_a_dispute_that_is_won_gives_back_what_was_taken() -> None:
    held, books = order(), Books()
    steps = (
        (Facts(paid_cents=1000), 1000),
        (Facts(disputes={"dp": Dispute(cents=1000, status="needs_response", at_s=5)}), 0),
        (Facts(disputes={"dp": Dispute(cents=1000, status="won", at_s=9)}), 1000),
        (Facts(disputes={"dp": Dispute(cents=1000, status="under_review", at_s=7)}), 1000),  # late
        (Facts(refunds={"re": Refund(cents=300)}), 700),
        (Facts(refunded_cents=300), 700),
        (Facts(refunds={"re": Refund(cents=300, dead=True)}), 1000),
    )
    for number, (facts, cents) in enumerate(steps):
        held = bring(payments.with_event(held, f"e{number}", facts, "pi"), books)
        assert books.available == cents * CENT, held.status
    refs = [payments.ref_of(held, b) for b in held.bookings]
    whys = ("", ":dispute", ":dispute", ":refund", ":refund")
    assert refs == [f"pay:ord_1:{n}{why}" for n, why in enumerate(whys, 1)]
    kinds = [
        credit_line(f"credit:{ref}", b.amount_pusd, 1, "").kind
        for ref, b in zip(refs, held.bookings, strict=True)
    ]
    assert kinds == ["topup", "dispute", "dispute", "refund", "refund"]
    notes = [payments.note_of(held, b) for b in held.bookings[:3]]
    assert notes == ["payment ord_1", "dispute of payment ord_1", "dispute of payment ord_1, given back"]


def test_a_refund_and_a_dispute_at_once_are_an_entry_each() -> None:
    held = bring(payments.with_event(order(), "e0", Facts(paid_cents=1000), "pi"), books := Books())
    both = Facts(
        refunds={"re": Refund(cents=300)}, disputes={"dp": Dispute(cents=900, status="lost", at_s=1)}
    )
    held = bring(payments.with_event(held, "e1", both, "pi"), books)
    found = {payments.ref_of(held, b): b.amount_pusd for b in held.bookings[1:]}
    assert found == {"pay:ord_1:2:dispute": -700 * CENT, "pay:ord_1:3:refund": -300 * CENT}


def test_bookings_of_before_kinds_go_on() -> None:
    """Refunds were booked without a word once; their references stay as they were."""
    old = order(
        facts=Facts(paid_cents=1000, refunded_cents=300),
        bookings=(
            Booking(number=1, amount_pusd=1000 * CENT, done=True),
            Booking(number=2, amount_pusd=-300 * CENT),
        ),
    )
    assert payments.ref_of(old, old.bookings[1]) == "pay:ord_1:2"
    assert credit_line("credit:pay:ord_1:2", -300 * CENT, 1, "").kind == "refund"
    old = payments.done(old)
    assert payments.due(old, 700 * CENT) is None
    more = payments.with_event(old, "e1", Facts(refunded_cents=500), "pi")
    booking = payments.due(more, 700 * CENT)
    assert booking is not None
    assert (booking.amount_pusd, booking.why) == (-200 * CENT, "refund")


def test_what_is_not_of_the_order_is_not_credited() -> None:
    paid = Facts(paid_cents=1000)
    known = order(payment="pi_1")
    assert payments.mismatch(known, paid, "usd", False, "pi_1") is None
    assert payments.mismatch(known, paid, "usd", True, "pi_1") == "another mode (test or live)"
    assert payments.mismatch(known, paid, "usd", False, "pi_2") == "another payment"
    assert payments.mismatch(known, paid, "jpy", False, "pi_1") == "another currency"
    for cents in (999, 1001, 10**12):
        assert payments.mismatch(known, Facts(paid_cents=cents), "usd", False, "pi_1") == "another amount"
    foreign = Facts(disputes={"dp": Dispute(cents=1, status="lost", at_s=1)})
    assert payments.in_order_currency(known, foreign, "eur").disputes["dp"].cents == 1000


PAYLOAD = b'{"id": "evt_1", "type": "x"}'
NOW = 1_800_000_000


def header(*secrets: str, at: int = NOW, payload: bytes = PAYLOAD, scheme: str = "v1") -> str:
    signed = ",".join(f"{scheme}={stripe.signature(payload, secret, at)}" for secret in secrets)
    return f"t={at},{signed}"


def test_signatures_that_are_right() -> None:
    for text in (
        header("new"),
        header("old"),
        header("other", "old"),
        header("new", at=NOW - 300),
        header("new", at=NOW + 300),
        header("new") + ",v0=abc",
    ):
        verify(text, PAYLOAD, ["new", "old"], NOW, 300)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "t=1",
        "v1=" + "0" * 64,
        header(""),
        header("other"),
        header("new", at=NOW - 301),
        header("new", at=NOW + 301),
        header("new", scheme="v0"),
        header("new", payload=PAYLOAD.replace(b" ", b"")),
        header("new", payload=PAYLOAD[:-1] + b"]"),
        header("new") + f",t={NOW}",
        header("new").replace("t=", "t=+"),
        "t=①,v1=é",
        f"t={NOW},v1=é",
    ],
)
def test_signatures_that_are_wrong(text: str | None) -> None:
    with pytest.raises(SignatureWrong):
        verify(text, PAYLOAD, ["new", "old", ""], NOW, 300)


def test_without_a_secret_nothing_is_right() -> None:
    for text in (header(""), header("new")):
        with pytest.raises(SignatureWrong):
            verify(text, PAYLOAD, [], NOW, 300)


def test_forms_are_stripes() -> None:
    body = stripe.form({"a": 1, "b": {"c": ["x y", {"d": True}]}, "u": "é&="})
    assert body == b"a=1&b[c][0]=x+y&b[c][1][d]=true&u=%C3%A9%26%3D"


def event(kind: str, **seen: Any) -> stripe.Event:
    whole = {"id": "evt", "type": kind, "created": 7, "livemode": False, "data": {"object": seen}}
    return read_event(json.dumps(whole).encode())


def test_events_say_what_they_say() -> None:
    common: dict[str, Any] = {"currency": "usd", "metadata": {"order": "ord_1"}}
    paid = told(event("payment_intent.succeeded", id="pi_1", amount_received=1000, **common))
    assert paid is not None
    assert (paid.facts.paid_cents, paid.order, paid.payment) == (1000, "ord_1", "pi_1")
    session = told(
        event(
            "checkout.session.completed", id="cs", payment_intent="pi_1", payment_status="paid",
            amount_total=1000, currency="usd", client_reference_id="ord_1",
        )
    )  # fmt: skip
    assert session is not None
    assert (session.facts, session.order, session.payment) == (paid.facts, "ord_1", "pi_1")
    assert told(event("checkout.session.completed", id="cs", payment_status="unpaid", **common)) is None
    lost = told(
        event("charge.dispute.closed", id="dp", amount=5, status="lost", payment_intent={"id": "pi_1"})
    )
    assert lost is not None
    assert lost.facts.disputes["dp"] == Dispute(cents=5, status="lost", at_s=7)
    assert told(event("customer.created", id="cus")) is None


@pytest.mark.parametrize("amount", [-1, 1.5, "1000", True, None, 10**13])
def test_amounts_that_are_none_are_refused(amount: object) -> None:
    with pytest.raises(EventWrong):
        told(event("payment_intent.succeeded", id="pi", amount_received=amount))
    for body in (b"", b"[]", b'{"id":1}', b"\xff", b"[" * 100_000):
        with pytest.raises(EventWrong):
            read_event(body)


def test_joining_is_the_same_in_every_order() -> None:
    told_facts = [
        Facts(refunds={"a": Refund(cents=1)}),
        Facts(refunds={"a": Refund(cents=1, dead=True)}),
        Facts(disputes={"d": Dispute(cents=1, status="lost", at_s=3)}),
        Facts(disputes={"d": Dispute(cents=1, status="won", at_s=3)}),
        Facts(paid_cents=5),
    ]
    results = set()
    for order_ in permutations(told_facts):
        joined = Facts()
        for facts in order_:
            joined = payments.join(joined, facts)
        results.add(repr(joined))
    assert len({r.count("dead=True") for r in results}) == 1
    assert len(results) == 1 or all("lost" in r for r in results)


def test_a_pending_booking_is_repeated_not_doubled() -> None:
    held = payments.planned(
        payments.with_event(order(), "e", Facts(paid_cents=1000), None),
        Booking(number=1, amount_pusd=1000 * CENT),
    )
    assert payments.due(held, 0) is None
    assert payments.due(payments.done(held), 0) is None
