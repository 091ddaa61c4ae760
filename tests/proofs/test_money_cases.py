"""Attacks on money that need no gateway."""

from __future__ import annotations

from llm_router.billing.ledger import Ledger
from llm_router.domain.budget import Payer
from llm_router.domain.price import Price, Rates, cost_lines
from llm_router.domain.usage import Usage


def test_very_many_tiny_requests_cost_exactly_what_one_of_all_their_tokens_does() -> None:
    """Where each is rounded, somebody gains by cutting a request into pieces."""
    price = Price(version="v1", rates=Rates(input=37_500, output=150_000))
    payer, count, credit = Payer(account="a"), 100_000, 10**12
    ledger = Ledger([("a", credit)])
    cost = sum(line.amount_pusd for line in cost_lines(price, Usage(input_tokens=20, output_tokens=3)))
    for number in range(count):
        ledger.hold(f"e{number}", payer, 2 * cost, 1)
        assert ledger.settle(f"e{number}", payer, cost, 1).charged_pusd == cost
    at_once = cost_lines(price, Usage(input_tokens=20 * count, output_tokens=3 * count))
    assert credit - ledger.available("a") == sum(line.amount_pusd for line in at_once) == count * 1_200_000
