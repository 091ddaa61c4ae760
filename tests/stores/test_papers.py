"""Papers in the stores: issued once, for good; and the books that they are made from, read rightly."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import pytest
from store_cases import Open, openers, record, run

from llm_router.billing.rollups import COUNTS, HOUR_MS, rollup_counts
from llm_router.domain.budget import Payer
from llm_router.domain.usage import Usage
from llm_router.ports import Paper


@pytest.fixture(params=["sqlite", "postgres", "remote"])
def open_store(request, tmp_path) -> Open:
    return openers(tmp_path)[request.param]


def paper(number: int, series: str = "s", **fields: Any) -> Paper:
    values = {"id": f"id{number}", "account": "acme", "created_ms": number, "body": f'{{"n":{number}}}'}
    return Paper(series=series, number=number, **{**values, **fields})


async def used(store: Any, id_: str, cost_pusd: int, hour: int, **fields: Any) -> None:
    usage = Usage(input_tokens=7, cache_read_tokens=2, output_tokens=3)
    made = record(id_, cost_pusd, created_ms=hour * HOUR_MS + 5, usage=usage, **fields)
    payer = Payer(account=made.account, key="key_1")
    await store.hold(id_, payer, cost_pusd, "v1", made.created_ms)
    await store.settle(made)


def test_papers_are_numbered_without_a_gap_and_stay(open_store):
    async def main():
        store = await open_store()
        try:
            assert await store.last_paper("s") is None
            assert not await store.add_papers([paper(2)])
            assert await store.add_papers([paper(1), paper(2)])
            assert not await store.add_papers([paper(2)])
            assert not await store.add_papers([paper(3), paper(4, id="id1")])  # all or none
            assert not await store.add_papers([paper(3, id="id2")])
            assert await store.add_papers([paper(n) for n in range(3, 703)])
            assert await store.add_papers([paper(1, "other", body='"ä\\u0000"')])
            assert await store.paper("s", "id2") == paper(2)
            assert await store.paper("s", "id9999") is None
            assert await store.paper("s", "x\x00") is None
            assert await store.last_paper("s") == paper(702)
            assert [p.number for p in await store.papers("s", 2, 3)] == [3, 4, 5]
            assert await store.papers("other", 0, 9) == [paper(1, "other", body='"ä\\u0000"')]
        finally:
            await store.close()

    run(main())


def test_nobody_changes_what_was_issued(tmp_path):
    async def main():
        store = await openers(tmp_path)["sqlite"]()
        await store.add_papers([paper(1)])
        await store.close()

    run(main())
    with contextlib.closing(sqlite3.connect(tmp_path / "books.db")) as file:
        for statement in ("UPDATE papers SET body = ''", "DELETE FROM papers"):
            with pytest.raises(sqlite3.IntegrityError, match="issued"):
                file.execute(statement)
        with pytest.raises(sqlite3.IntegrityError, match="gap"):
            file.execute("INSERT INTO papers VALUES ('s', 3, 'x', 'a', 1, '')")


def test_what_was_booked_comes_in_its_order(open_store):
    async def main():
        store = await open_store()
        try:
            await store.credit("acme", 1000, "r1", "why", 1)
            await store.credit("other", 1000, "r2", "", 1)
            await used(store, "e1", 10, 3)
            await used(store, "e2", 0, 3)
            await used(store, "e3", 5, 2, account="other")
            await used(store, "e4", 7, 1)
            await store.credit("acme", -3, "r3", "", 9)
            booked = await store.booked("acme", None, 10)
            assert [b.entry.ref for b in booked] == ["credit:r1", "use:e1", "use:e4", "credit:r3"]
            assert [None if b.record is None else b.record.id for b in booked] == [None, "e1", "e4", None]
            assert booked[1].record == await store.generation("acme", "e1")
            assert all(len(b.hash) == 32 for b in booked)
            assert await store.booked("acme", "use:e1", 1) == booked[2:3]
            assert await store.booked("acme", "credit:r3", 9) == []
        finally:
            await store.close()

    run(main())


def test_exchanges_come_by_time_in_pages(open_store):
    async def main():
        store = await open_store()
        try:
            await store.credit("acme", 1000, "r1", "", 1)
            for id_, hour in (("b", 5), ("a", 5), ("c", 4), ("d", 6), ("z", 3)):
                await used(store, id_, 1, hour)
            span = ("acme", 4 * HOUR_MS, 6 * HOUR_MS)
            page = await store.exchanges(*span, None, 2)
            assert [r.id for r in page] == ["c", "a"]
            rest = await store.exchanges(*span, (page[-1].created_ms, "a"), 5)
            assert [r.id for r in rest] == ["b"]
            assert await store.exchanges("nobody", 0, 9 * HOUR_MS, None, 5) == []
        finally:
            await store.close()

    run(main())


def test_sums_and_months_are_those_of_the_exchanges(open_store):
    big = 10**18

    async def main():
        store = await open_store()
        try:
            for n in range(4):
                await store.credit("acme", big, f"r{n}", "", n * 24 * HOUR_MS)
            await used(store, "e1", big, 1, user="ann")
            await used(store, "e2", 3, 30, user="bob", model="n")
            await used(store, "e3", 4, 50, account="acme", model="n")
            one = dict(
                zip(
                    COUNTS,
                    rollup_counts(record("x", usage=Usage(input_tokens=9, output_tokens=3))),
                    strict=True,
                )
            )
            [((), total)] = await store.sums((), 0, 100, "acme")
            sums = dict(zip(COUNTS, total, strict=True))
            assert (sums["requests"], sums["cost"]) == (3, big + 7)
            assert (sums["input_tokens"], sums["cached_tokens"]) == (27, 6)
            assert sums["output_tokens"] == 3 * one["output_tokens"]
            by_day = await store.sums(("day", "user", "model"), 0, 51, None)
            assert [names for names, _ in by_day] == [("0", "ann", "m"), ("1", "bob", "n"), ("2", "", "n")]
            assert await store.sums(("hour",), 2, 30, "acme") == []
            assert await store.sums((), 2, 30, "acme") == []
            books = await store.month("acme", 24 * HOUR_MS, 72 * HOUR_MS, 2 * HOUR_MS)
            assert (books.credited_pusd, books.used_pusd) == (big, big)
            assert (books.earlier_credited_pusd, books.earlier_used_pusd) == (big, big)
            assert [entry.ref for entry in books.credits] == ["credit:r1", "credit:r2"]
            [(names, counts)] = books.models
            assert (names, counts[COUNTS.index("cost")]) == (("n",), 7)
            edges = await store.month("acme", 30 * HOUR_MS, 50 * HOUR_MS, HOUR_MS)
            assert (edges.used_pusd, edges.earlier_used_pusd, edges.earlier_credited_pusd) == (big, 0, big)
            [(_, counts)] = edges.models
            assert counts[COUNTS.index("cost")] == 3
            empty = await store.month("nobody", 0, HOUR_MS, 0)
            assert (empty.credits, empty.models, empty.credited_pusd, empty.used_pusd) == ((), (), 0, 0)
        finally:
            await store.close()

    run(main())


def test_what_nobody_settled_is_told(open_store):
    async def main():
        store = await open_store()
        try:
            await store.credit("acme", 1000, "r1", "", 1)
            for n, id_ in enumerate(("e1", "e2", "e3")):
                await store.hold(id_, Payer(account="acme", key="key_1"), 10 + n, "openai/m", 5 + n)
            assert await store.unsettled(0, 100, 9) == []
            assert await store.release(["e1", "e3"], 50, orphaned=True) == 2
            assert [(u.id, u.held_pusd, u.created_ms) for u in await store.unsettled(0, 100, 9)] == [
                ("e1", 10, 5), ("e3", 12, 7),
            ]  # fmt: skip
            [one] = await store.unsettled(6, 8, 1)
            assert (one.account, one.price_version) == ("acme", "openai/m")
        finally:
            await store.close()

    run(main())
