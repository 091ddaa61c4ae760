"""The log, the newest first: every filter finds what a reading of everything finds, however it is cut into pages."""

from __future__ import annotations

import random
from typing import Any

import pytest
from store_cases import Open, openers, record, run

from llm_router.billing.rollups import COUNTS, HOUR_MS
from llm_router.billing.search import ANY, Filter
from llm_router.domain.budget import Payer

HOURS = "llm_router.adapters.{}.papers.HOURS_MAX"
LOOK = "llm_router.adapters.{}.papers.WALK_MAX"


@pytest.fixture(params=["sqlite", "postgres", "remote"])
def open_store(request, tmp_path, monkeypatch) -> Open:
    for name in ("sqlite", "postgres"):
        monkeypatch.setattr(LOOK.format(name), 7)
        monkeypatch.setattr(HOURS.format(name), 3)
    return openers(tmp_path)[request.param]


def made(count: int) -> list[Any]:
    dice = random.Random(5)
    return [
        record(
            f"gen-{number:03}",
            created_ms=dice.randrange(6) * 3 * HOUR_MS + dice.choice((0, 7, 7, 9, HOUR_MS - 1)),
            key=dice.choice(("k1", "k2")),
            team=dice.choice((None, "red", 'r"\x01ä')),
            user=dice.choice((None, "ann")),
            session=dice.choice((None, "s")),
            model=dice.choice(("m1", "m2", None)),
            provider=dice.choice(("p1", None)),
            tags=dice.choice(((), ("a",), ("a", "b"), ("ab",))),
            error_code=dice.choice((None, None, None, "x")),
            account=dice.choice(("acme", "acme", "acme", "bolt")),
        )
        for number in range(count)
    ]


FILTERS = [
    ANY,
    Filter(key="k1"),
    Filter(failed=True),
    Filter(failed=False, model="m2"),
    Filter(model="", provider="p1"),
    Filter(team='r"\x01ä'),
    Filter(team=""),
    Filter(user="ann", session="s"),
    Filter(session=""),
    Filter(tag="a"),
    Filter(tag="b", model="m1"),
    Filter(tag=""),
    Filter(tag="o'x,%"),
    Filter(key="nobody"),
    Filter(user="a\x00"),
]


async def pages(store: Any, wanted: Filter, from_ms: int, to_ms: int, limit: int) -> list[str]:
    found: list[str] = []
    place = None
    for _ in range(1000):
        look = await store.newest("acme", wanted, from_ms, to_ms, place, limit)
        assert len(look.records) <= limit
        found += [each.id for each in look.records]
        if look.next is None:
            return found
        place = look.next
    raise AssertionError("it does not end")


def test_every_filter_finds_what_there_is(open_store):
    async def main():
        store = await open_store()
        try:
            rows = made(120)
            for row in rows:
                await store.hold(row.id, Payer(account=row.account, key=row.key), 0, "v1", row.created_ms)
                await store.settle(row)
            rows.sort(key=lambda row: (row.created_ms, row.id), reverse=True)
            for wanted in FILTERS:
                for from_ms, to_ms, limit in ((0, 99 * HOUR_MS, 4), (7, 9 * HOUR_MS + 8, 50), (9, 9, 1)):
                    expected = [
                        row.id
                        for row in rows
                        if row.account == "acme" and from_ms <= row.created_ms < to_ms and wanted.matches(row)
                    ]
                    assert await pages(store, wanted, from_ms, to_ms, limit) == expected, wanted
            assert not (await store.newest("nobody", ANY, 0, 99 * HOUR_MS, None, 9)).records
        finally:
            await store.close()

    run(main())


def test_sums_count_what_the_filter_lets_through(open_store):
    async def main():
        store = await open_store()
        try:
            rows = made(60)
            for row in rows:
                await store.hold(row.id, Payer(account=row.account, key=row.key), 0, "v1", row.created_ms)
                await store.settle(row)
            for wanted in FILTERS:
                if wanted.session is not None or wanted.failed is not None:
                    continue
                found = await store.sums(("model",), 0, 99, "acme", wanted)
                counted = {of[0]: counts[COUNTS.index("requests")] for of, counts in found}
                expected: dict[str, int] = {}
                for row in rows:
                    if row.account == "acme" and wanted.matches(row):
                        expected[row.model or ""] = expected.get(row.model or "", 0) + 1
                assert counted == expected, wanted
                total = await store.sums((), 0, 99, None, wanted)
                assert sum(counts[0] for _, counts in total) == sum(wanted.matches(row) for row in rows)
        finally:
            await store.close()

    run(main())


def test_the_log_finds_by_its_tags_what_sums_count_under_others(open_store):
    async def main():
        store = await open_store()
        try:
            for number, tags in enumerate((("a",), ("b",), ())):
                row = record(f"gen-{number}", created_ms=HOUR_MS, tags=tags, tags_over=bool(tags))
                await store.hold(row.id, Payer(account=row.account, key=row.key), 0, "v1", row.created_ms)
                await store.settle(row)
            assert await pages(store, Filter(tag="b"), 0, 9 * HOUR_MS, 5) == ["gen-1"]
            found = await store.sums(("tags",), 0, 9, "acme")
            assert [(of, counts[0]) for of, counts in found] == [(("",), 1), (("(other)",), 2)]
        finally:
            await store.close()

    run(main())
