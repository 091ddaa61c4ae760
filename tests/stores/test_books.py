"""The port Books, the same for every store."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from store_cases import ACME, Open, openers, record, run

from llm_router.billing.ledger import Wanted
from llm_router.domain.budget import Payer
from llm_router.domain.errors import InsufficientCredits, InvalidRequest
from llm_router.domain.money import MAX_PUSD


@pytest.fixture(params=["memory", "sqlite", "postgres", "remote"])
def open_store(request, tmp_path) -> Open:
    return openers(tmp_path)[request.param]


def with_store(open_store, scenario):
    async def main():
        store = await open_store()
        try:
            return await scenario(store)
        finally:
            await store.close()

    return run(main())


def test_hold_and_settle_move_the_balance(open_store):
    async def scenario(store):
        assert await store.balance("acme") == 0
        assert await store.credit("acme", 1000, "r1", "first", 1) == 1000
        assert await store.hold("e1", ACME, 300, "v1", 2) == 700
        assert await store.balance("acme") == 700
        assert (await store.settle(record("e1", 120))).remaining_pusd == 880
        assert await store.balance("acme") == 880
        assert await store.accounts() == [("acme", 880, 0)]

    with_store(open_store, scenario)


def test_hold_refuses_what_is_not_there_and_reserves_nothing(open_store):
    async def scenario(store):
        await store.credit("acme", 1_500_000_000_000, "r1", "", 1)
        with pytest.raises(InsufficientCredits) as caught:
            await store.hold("e1", ACME, 2_000_000_000_000, "v1", 2)
        assert msgspec.json.encode(caught.value.details) == b'{"needed":2,"available":1.5}'
        assert await store.balance("acme") == 1_500_000_000_000
        with pytest.raises(InsufficientCredits):
            await store.hold("e2", Payer(account="stranger"), 1, "v1", 2)
        assert await store.hold("e3", ACME, 1_500_000_000_000, "v1", 2) == 0  # all of it is fine

    with_store(open_store, scenario)


def wanted(*amounts: int) -> list[Wanted]:
    return [
        Wanted(exchange_id=f"e{n}", amount_pusd=amount, price_version="v1")
        for n, amount in enumerate(amounts)
    ]


def test_several_are_held_for_together_and_settled_one_by_one(open_store):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        assert await store.hold_all(wanted(300, 0, 500), ACME, 2) == 200
        assert await store.accounts() == [("acme", 1000, 800)]
        assert (await store.settle(record("e2", 120))).remaining_pusd == 580
        assert (await store.settle(record("e0", 0))).remaining_pusd == 880
        assert (await store.settle(record("e1", 0))).remaining_pusd == 880
        assert await store.accounts() == [("acme", 880, 0)]
        with pytest.raises(ValueError, match="settled already"):
            await store.hold_all(wanted(1, 1), ACME, 2)

    with_store(open_store, scenario)


def test_of_several_holds_that_are_not_covered_none_is_made(open_store):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        with pytest.raises(InsufficientCredits) as caught:
            await store.hold_all(wanted(400, 400, 400), ACME, 2)
        assert (caught.value.available_pusd, caught.value.reachable_pusd) == (1000, 1000)
        assert msgspec.json.encode(caught.value.details) == b'{"needed":0.0000000012,"available":0.000000001}'
        with pytest.raises(ValueError, match="twice"):
            await store.hold_all(wanted(1) + wanted(1), ACME, 2)
        with pytest.raises(ValueError, match="credit"):
            await store.hold_all(wanted(500, -100), ACME, 2)
        await store.hold("e1", ACME, 1, "v1", 2)
        with pytest.raises(ValueError, match="already"):
            await store.hold_all(wanted(1, 1), ACME, 2)
        assert await store.accounts() == [("acme", 1000, 1)]
        await store.settle(record("e1", 0))
        assert await store.accounts() == [("acme", 1000, 0)]

    with_store(open_store, scenario)


def test_many_sets_of_holds_at_once_are_each_whole_or_not_there(open_store):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)

        def part(n: int) -> list[Wanted]:
            return [
                Wanted(exchange_id=f"e{n}-{lane}", amount_pusd=30, price_version="v1") for lane in range(3)
            ]

        tries = await asyncio.gather(
            *(store.hold_all(part(n), ACME, 2) for n in range(40)), return_exceptions=True
        )
        assert sum(isinstance(each, int) for each in tries) == 11
        assert all(isinstance(each, int | InsufficientCredits) for each in tries)
        assert await store.accounts() == [("acme", 1000, 990)]

    with_store(open_store, scenario)


def test_free_exchange_needs_no_credit(open_store):
    async def scenario(store):
        assert await store.hold("e1", Payer(account="new"), 0, "v1", 2) == 0
        assert (await store.settle(record("e1", 0, account="new"))).remaining_pusd == 0
        assert (await store.generation("new", "e1")).cost_pusd == 0

    with_store(open_store, scenario)


def test_settling_twice_charges_once(open_store):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 300, "v1", 2)
        assert (await store.settle(record("e1", 100))).remaining_pusd == 900
        assert (await store.settle(record("e1", 250))).remaining_pusd == 900
        assert (await store.generation("acme", "e1")).cost_pusd == 100
        assert [e.amount_pusd for e in await store.entries("acme", 10)] == [-100, 1000]

    with_store(open_store, scenario)


def test_settling_at_the_same_moment_charges_once(open_store):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 300, "v1", 2)
        left = await asyncio.gather(*(store.settle(record("e1", 100)) for _ in range(20)))
        assert {(each.charged_pusd, each.remaining_pusd) for each in left} == {(100, 900)}
        without_hold = await asyncio.gather(*(store.settle(record("e2", 50)) for _ in range(20)))
        assert {(each.charged_pusd, each.remaining_pusd) for each in without_hold} == {(50, 850)}
        assert await store.balance("acme") == 850
        assert len(await store.entries("acme", 100)) == 3

    with_store(open_store, scenario)


def test_hold_cannot_be_repeated(open_store):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 300, "v1", 2)
        with pytest.raises(ValueError, match="already"):
            await store.hold("e1", ACME, 300, "v1", 2)
        await store.settle(record("e1", 100))
        with pytest.raises(ValueError, match="already"):
            await store.hold("e1", ACME, 300, "v1", 2)
        assert await store.accounts() == [("acme", 900, 0)]

    with_store(open_store, scenario)


def test_zero_cost_voids_the_hold(open_store):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 300, "v1", 2)
        assert (
            await store.settle(record("e1", 0, status=502, error_code="upstream_error"))
        ).remaining_pusd == 1000
        assert len(await store.entries("acme", 10)) == 1
        assert (await store.generation("acme", "e1")).error_code == "upstream_error"

    with_store(open_store, scenario)


def test_cost_above_the_hold_takes_what_is_there_and_absorbs_the_rest(open_store):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 300, "v1", 2)
        await store.hold("e2", ACME, 500, "v1", 2)  # not to be touched by e1
        assert (await store.settle(record("e1", 350))).remaining_pusd == 150
        assert await store.hold("e3", ACME, 100, "v1", 2) == 50
        assert (await store.settle(record("e3", 400))).remaining_pusd == 0
        written = await store.generation("acme", "e3")
        assert (written.cost_pusd, written.absorbed_pusd) == (150, 250)
        assert (await store.generation("acme", "e1")).absorbed_pusd == 0
        assert (await store.settle(record("e2", 500))).remaining_pusd == 0

    with_store(open_store, scenario)


@pytest.mark.parametrize("cost", [-1, MAX_PUSD + 1])
def test_costs_that_cannot_be_are_refused(open_store, cost):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 300, "v1", 2)
        with pytest.raises(ValueError, match="cannot be booked"):
            await store.settle(record("e1", cost))
        assert await store.accounts() == [("acme", 1000, 300)]  # the hold is still open
        assert (await store.settle(record("e1", 1))).remaining_pusd == 999

    with_store(open_store, scenario)


def test_negative_holds_and_foreign_holds_are_refused(open_store):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        with pytest.raises(ValueError, match="would be a credit"):
            await store.hold("e1", ACME, -300, "v1", 2)
        await store.hold("e2", ACME, 300, "v1", 2)
        with pytest.raises(ValueError, match="another account"):
            await store.settle(record("e2", 10, account="other"))
        assert await store.accounts() == [("acme", 1000, 300)]

    with_store(open_store, scenario)


def test_credit_books_once_per_reference(open_store):
    async def scenario(store):
        assert await store.credit("acme", 1000, "order-1", "paid", 1) == 1000
        assert await store.credit("acme", 1000, "order-1", "paid", 2) == 1000
        at_once = await asyncio.gather(*(store.credit("acme", 500, "order-2", "paid", 3) for _ in range(20)))
        assert set(at_once) == {1500}
        for account, amount in (("acme", 999), ("other", 1000)):
            with pytest.raises(InvalidRequest, match="order-1"):
                await store.credit(account, amount, "order-1", "", 3)
        assert await store.balance("acme") == 1500

    with_store(open_store, scenario)


def test_credit_bounds(open_store):
    async def scenario(store):
        with pytest.raises(InvalidRequest):
            await store.credit("acme", 0, "r0", "", 1)
        assert await store.credit("acme", MAX_PUSD, "r1", "", 1) == MAX_PUSD
        with pytest.raises(InvalidRequest, match="4600000"):
            await store.credit("acme", 1, "r2", "", 1)
        await store.hold("e1", ACME, MAX_PUSD - 10, "v1", 2)
        with pytest.raises(InsufficientCredits):
            await store.credit("acme", -11, "r3", "taken back", 1)
        assert await store.credit("acme", -10, "r4", "taken back", 1) == 0
        kinds = [(e.kind, e.ref, e.note) for e in await store.entries("acme", 10)]
        assert kinds == [("adjust", "credit:r4", "taken back"), ("grant", "credit:r1", "")]

    with_store(open_store, scenario)


def test_generation_is_found_by_both_ids_but_only_by_its_owner(open_store):
    async def scenario(store):
        await store.settle(record("e1", reply_id="chatcmpl-1", losses=("seed",)))
        await store.settle(record("e2", reply_id="chatcmpl-1", account="other"))
        assert (await store.generation("acme", "e1")).losses == ("seed",)
        assert (await store.generation("other", "chatcmpl-1")).id == "e2"
        assert await store.generation("other", "e1") is None
        assert await store.generation("acme", "e3") is None

    with_store(open_store, scenario)


def test_a_run_of_the_books_is_over_when_it_is_closed(open_store, tmp_path):
    async def main():
        store = await open_store()
        life = await store.life()
        assert not await store.is_over(life)
        await store.close()
        if life == "memory":
            return
        again = await open_store()
        try:
            assert await again.life() != life
            assert await again.is_over(life)
            assert not await again.is_over(await again.life())
        finally:
            await again.close()

    run(main())


def test_entries_are_the_newest_first(open_store):
    async def scenario(store):
        for number in range(5):
            await store.credit("acme", 10 + number, f"r{number}", "", 1)
        await store.credit("other", 1, "o", "", 1)
        last = await store.entries("acme", 3)
        assert [(e.seq, e.amount_pusd) for e in last] == [(5, 14), (4, 13), (3, 12)]
        assert [e.seq for e in await store.entries("acme", 9, last[-1].ref)] == [2, 1]
        assert await store.entries("acme", 9, "credit:r0") == []
        for unknown in ("credit:r9", "credit:o", "", "r1", "a\x00b"):
            with pytest.raises(InvalidRequest, match="names no entry"):
                await store.entries("acme", 9, unknown)

    with_store(open_store, scenario)


@pytest.mark.parametrize("covered", [0, 1, 7])
def test_a_thousand_holds_at_once_admit_exactly_what_is_covered(open_store, covered):
    async def scenario(store):
        await store.credit("acme", covered * 100 + 99, "r1", "", 1)
        results = await asyncio.gather(
            *(store.hold(f"e{n}", ACME, 100, "v1", 2) for n in range(1000)), return_exceptions=True
        )
        assert sum(isinstance(result, int) for result in results) == covered
        assert sum(isinstance(result, InsufficientCredits) for result in results) == 1000 - covered
        assert await store.balance("acme") == 99

    with_store(open_store, scenario)


def test_texts_that_are_not_unicode_do_not_stop_a_charge(open_store):
    async def scenario(store):
        await store.credit("acme", 1000, "r1", "", 1)
        await store.hold("e1", ACME, 300, "v1", 2)
        assert (
            await store.settle(record("e1", 100, error_message="bad \ud800 text\x00"))
        ).remaining_pusd == 900
        assert (await store.generation("acme", "e1")).error_message.startswith("bad ")

    with_store(open_store, scenario)


def test_small_charges_are_exact_in_the_sum(open_store):
    async def scenario(store):
        await store.credit("acme", 10**12, "r1", "", 1)
        for start in range(0, 500, 100):
            ids = [f"e{n}" for n in range(start, start + 100)]
            await asyncio.gather(*(store.hold(id_, ACME, 37_500, "v1", 2) for id_ in ids))
            await asyncio.gather(*(store.settle(record(id_, 37_501)) for id_ in ids))
        assert await store.balance("acme") == 10**12 - 500 * 37_501

    with_store(open_store, scenario)
