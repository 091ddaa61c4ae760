"""What the conformance tests of the stores do not reach: undoing moves that could not be saved."""

from __future__ import annotations

import pytest

from llm_router.billing.ledger import Ledger, booked
from llm_router.domain.budget import Payer
from llm_router.domain.record import ExchangeRecord

ACME = Payer(account="acme")


@pytest.fixture
def ledger():
    return Ledger([("acme", 1000)])


def state(ledger):
    return list(ledger.balances()), ledger.open_holds()


def test_an_undone_hold_was_never_there(ledger):
    before = state(ledger)
    ledger.undo_hold(ledger.hold("e1", ACME, 400, 0))
    assert state(ledger) == before
    assert not ledger.is_open("e1")


def test_an_undone_settlement_leaves_the_hold_open(ledger):
    ledger.hold("e1", ACME, 400, 0)
    before = state(ledger)
    ledger.undo_settlement(ledger.settle("e1", ACME, 700, 0))
    assert state(ledger) == before
    assert ledger.settle("e1", ACME, 5, 0).remaining_pusd == 995


def test_an_undone_credit_is_gone(ledger):
    before = state(ledger)
    ledger.undo_credit(ledger.credit("acme", 5))
    assert state(ledger) == before


@pytest.mark.parametrize("hold_first", [True, False])
def test_a_hold_and_its_settlement_are_undone_in_either_order(ledger, hold_first):
    before = state(ledger)
    hold = ledger.hold("e1", ACME, 400, 0)
    settlement = ledger.settle("e1", ACME, 700, 0)
    if hold_first:
        ledger.undo_hold(hold)
        ledger.undo_settlement(settlement)
    else:
        ledger.undo_settlement(settlement)
        ledger.undo_hold(hold)
    assert state(ledger) == before
    ledger.undo_hold(ledger.hold("e1", ACME, 400, 0))  # and no trace is left
    assert state(ledger) == before


def test_moves_of_others_do_not_mind_an_undone_one(ledger):
    first = ledger.hold("e1", ACME, 100, 0)
    ledger.hold("e2", ACME, 200, 0)
    settlement = ledger.settle("e2", ACME, 50, 0)
    ledger.undo_hold(first)
    assert (settlement.remaining_pusd, ledger.available("acme")) == (850, 950)


def test_the_record_says_what_was_charged_and_what_was_absorbed(ledger):
    record = ExchangeRecord(
        id="e1", account="acme", key="k", operation="chat", dialect="d", asked_model="m",
        created_ms=0, status=200, cost_pusd=1200,
    )  # fmt: skip
    written = booked(record, ledger.settle("e1", ACME, 1200, 0))
    assert (written.cost_pusd, written.absorbed_pusd) == (1000, 200)
    assert booked(record, ledger.settle("e2", ACME, 0, 0)) is record
