"""Prices as they were: every change of the list and of the rules is told, from when on."""

from __future__ import annotations

import msgspec
from test_pricing import BASE, deployment, rule

from llm_router.billing.price_history import ENTRIES_MAX, Noted, noted, steps_of
from llm_router.billing.pricing import PriceList
from llm_router.domain.budget import Payer
from llm_router.domain.price import OffPeak, Price, Rates
from llm_router.domain.price_rule import For

DEARER = msgspec.structs.replace(BASE, version="p/m@2", rates=Rates(input=2_000_000, output=9))
PAYER = Payer(account="acme", key="k")


def priced(price):
    return deployment(price=price)


def test_only_what_is_new_is_noted():
    first = noted({}, [priced(BASE), deployment("n", price=None)], 5)
    assert first == {"p/m": (Noted(from_ms=5, price=BASE),)}
    assert noted(first, [priced(msgspec.structs.replace(BASE, source="another page"))], 6) == first
    second = noted(first, [priced(DEARER)], 7)
    assert [entry.from_ms for entry in second["p/m"]] == [5, 7]
    gone = noted(second, [priced(None)], 9)
    assert gone["p/m"][-1] == Noted(from_ms=9, price=None)
    assert noted(gone, [], 10) == gone
    back = noted(gone, [priced(BASE)], 11)
    assert [entry.price for entry in back["p/m"]] == [BASE, DEARER, None, BASE]


def test_what_an_operator_pays_is_noted_and_not_what_customers_do():
    sold = msgspec.structs.replace(priced(DEARER), cost=BASE)
    assert noted({}, [sold], 5)["p/m"][0].price == BASE


def test_the_history_of_one_is_bounded():
    history = {}
    for n in range(ENTRIES_MAX + 5):
        price = Price(version=f"v{n}", rates=Rates(input=n, output=n))
        history = noted(history, [priced(price)], n)
    assert len(history["p/m"]) == ENTRIES_MAX
    assert history["p/m"][-1].from_ms == ENTRIES_MAX + 4


def test_steps_are_made_by_the_list_and_the_rules_of_their_time():
    entries = noted(noted({}, [priced(BASE)], 100), [priced(DEARER)], 300)["p/m"]
    rules = PriceList(
        [
            rule(1, factor_bp=12_000, valid_from_ms=50),
            rule(2, factor_bp=15_000, valid_from_ms=200),
            rule(3, factor_bp=20_000, valid_from_ms=250, scope=For.ACCOUNT, account="other"),
            rule(4, factor_bp=30_000, valid_from_ms=900),
        ]
    )
    steps = steps_of(priced(DEARER), entries, rules, PAYER, 400)
    assert [(step.from_ms, step.price.version, step.cost.version) for step in steps] == [
        (300, "p/m@2~rule_2", "p/m@2"),
        (200, "p/m@1~rule_2", "p/m@1"),
        (100, "p/m@1~rule_1", "p/m@1"),
    ]
    assert steps_of(priced(DEARER), (), rules, PAYER, 400) == []


def test_quiet_hours_are_no_change_of_a_price():
    quiet = msgspec.structs.replace(
        BASE, off_peak=OffPeak(windows=((0, 1440),), rates=Rates(input=1, output=1))
    )
    entries = noted({}, [priced(quiet)], 100)["p/m"]
    (step,) = steps_of(priced(quiet), entries, PriceList(), PAYER, 400)
    assert step.price.version == BASE.version
    assert step.cost.off_peak == quiet.off_peak
