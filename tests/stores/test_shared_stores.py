"""Stores shared by several workers: one truth, and what a worker leaves is resolved."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from shared_kit import hub_of, linked, soon, unlink
from store_cases import ACME, FixedClock, make_key, record, run

from llm_router.adapters.memory.side_car import MemorySideCar
from llm_router.adapters.sealing import Sealer
from llm_router.adapters.shared import link as links
from llm_router.adapters.shared import remote
from llm_router.adapters.shared.failures import raised, told
from llm_router.adapters.shared.hub import EXTRA
from llm_router.adapters.shared.remote import (
    RemoteBooks,
    RemoteCounters,
    RemoteKeyring,
    RemotePrices,
    RemoteResponses,
    RemoteRules,
    RemoteSideCar,
)
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.budget import Budget, Scope, Window
from llm_router.domain.errors import InsufficientCredits, InvalidRequest, LedgerUnavailable
from llm_router.domain.limit import Limit, LimitKind
from llm_router.domain.price import Price, Rates
from llm_router.domain.stored import StoredConversation, StoredItem, StoredResponse

NOW_MS = FixedClock().now_ms()


def on_store(folder: Path, scenario: Any) -> Any:
    async def main() -> Any:
        store = await SqliteStore.open(folder / "books.db", clock=FixedClock())
        try:
            return await scenario(store)
        finally:
            await unlink()
            await store.close()

    return run(main())


def test_credit_for_some_admits_exactly_so_many_over_four_workers(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.credit("acme", 370, "r", "", 1)
        hub = hub_of(store)
        workers = [RemoteBooks((await linked(hub))[1]) for _ in range(4)]
        answers = await asyncio.gather(
            *(workers[n % 4].hold(f"e{n}", ACME, 10, "v1", NOW_MS) for n in range(1000)),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, int) for answer in answers) == 37
        assert all(isinstance(answer, int | InsufficientCredits) for answer in answers)
        assert store.available("acme") == 0

    on_store(tmp_path, scenario)


def test_a_budget_is_exact_over_four_workers(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.credit("acme", 10**6, "r", "", 1)
        budget = Budget(
            id="b", account="acme", scope=Scope.KEY, scope_id="key_1", amount_pusd=250,
            window=Window.DAY, created_ms=1,
        )  # fmt: skip
        await store.set_budget(budget, NOW_MS)
        hub = hub_of(store)
        workers = [RemoteBooks((await linked(hub))[1]) for _ in range(4)]
        answers = await asyncio.gather(
            *(workers[n % 4].hold(f"e{n}", ACME, 10, "v1", NOW_MS) for n in range(200)),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, int) for answer in answers) == 25

    on_store(tmp_path, scenario)


def at_once(amount: int) -> Limit:
    return Limit(
        id="l", account="acme", scope=Scope.KEY, scope_id="key_1", kind=LimitKind.CONCURRENCY, amount=amount
    )


def test_a_limit_is_exact_over_four_workers(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        hub, limits = hub_of(store), [at_once(40)]
        workers: list[Any] = [RemoteCounters((await linked(hub))[1]) for _ in range(4)]
        answers = await asyncio.gather(
            *(workers[n % 4].admit(f"t{n}", limits, 1, NOW_MS) for n in range(200))
        )
        assert sum(answer.refused is None for answer in answers) == 40
        assert {answer.refused.id for answer in answers if answer.refused is not None} == {"l"}

    on_store(tmp_path, scenario)


def test_what_a_dead_worker_holds_is_voided_and_listed_and_nothing_of_others(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.credit("acme", 1000, "r", "", 1)
        hub, limits = hub_of(store), [at_once(3)]
        (dying, lost), (_, kept) = await linked(hub), await linked(hub)
        books, others = RemoteBooks(lost), RemoteBooks(kept)
        counters: Any = RemoteCounters(lost)
        rest: Any = RemoteCounters(kept)
        for number in (1, 2, 3):
            await books.hold(f"dead{number}", ACME, 100, "v1", NOW_MS)
            assert (await counters.admit(f"t{number}", limits, 5, NOW_MS)).refused is None
        assert (await rest.admit("more", limits, 5, NOW_MS)).refused is not None
        await books.settle(record("dead1", 40))
        await others.hold("alive", ACME, 10, "v1", NOW_MS)
        under_way = asyncio.ensure_future(books.hold("dead4", ACME, 100, "v1", NOW_MS))
        await asyncio.sleep(0)
        assert lost._transport is not None
        lost.close()
        left = await dying.left
        assert (left.places, left.holds) == (3, 3)
        with pytest.raises(LedgerUnavailable):
            await under_way
        assert store.available("acme") == 1000 - 40 - 10
        assert (await rest.admit("more", limits, 5, NOW_MS)).refused is None
        await others.settle(record("alive", 5))
        assert store.available("acme") == 955
        await store.audit()
        held = await store._read(lambda c: c.execute("SELECT exchange_id, state FROM holds").fetchall())
        assert sorted(held) == [(f"dead{n}", "orphaned") for n in (2, 3, 4)]
        with pytest.raises(LedgerUnavailable):
            await books.hold("late", ACME, 1, "v1", NOW_MS)

    on_store(tmp_path, scenario)


def test_a_hold_that_nobody_heard_of_in_time_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.credit("acme", 1000, "r", "", 1)
        _, link = await linked(hub_of(store))
        monkeypatch.setattr(remote, "HOLD_S", 0.0)
        monkeypatch.setattr(links, "SWEEP_S", 0.0)
        with pytest.raises(LedgerUnavailable, match="in time"):
            await RemoteBooks(link).hold("slow", ACME, 100, "v1", NOW_MS)

        async def taken_back() -> bool:
            rows = await store._read(lambda c: c.execute("SELECT * FROM holds").fetchall())
            return not rows and store.available("acme") == 1000

        await soon(taken_back)
        await store.audit()

    on_store(tmp_path, scenario)


def test_a_place_is_given_back_behind_a_cancelled_wait(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        hub, limits = hub_of(store), [at_once(1)]
        counters: Any = RemoteCounters((await linked(hub))[1])
        asked = asyncio.ensure_future(counters.admit("t1", limits, 1, NOW_MS))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await counters.release("t1", 0, NOW_MS)
        assert (await counters.admit("t2", limits, 1, NOW_MS)).refused is None

    on_store(tmp_path, scenario)


def test_what_workers_know_of_keys_and_limits_is_forgotten_when_told(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        hub = hub_of(store)
        known: list[Any] = []

        async def hear(name: str, body: msgspec.Raw) -> bytes:
            assert name == "forget"
            for one in known:
                one.forget()
            return b"\xc0"

        links_ = [(await linked(hub, hear))[1] for _ in range(3)]
        keyrings = [RemoteKeyring(link) for link in links_]
        rules = [RemoteRules(link) for link in links_]
        known += [*keyrings, *rules]
        key, digest = make_key(1)
        await store.create(key, digest)
        assert [await keyring.find(digest) for keyring in keyrings] == [key] * 3
        assert [list(await one.limits_of(ACME)) for one in rules] == [[], [], []]
        races = [asyncio.ensure_future(keyring.find(digest)) for keyring in keyrings]
        await store.revoke("key_1", 77)
        await store.set_limit(at_once(5))
        assert await hub.ask("forget", timeout_s=5) == []
        found = [await keyring.find(digest) for keyring in keyrings]
        assert [one.revoked_ms for one in found if one is not None] == [77] * 3
        assert [list(await one.limits_of(ACME)) for one in rules] == [[at_once(5)]] * 3
        await asyncio.gather(*races)

    on_store(tmp_path, scenario)


def test_a_worker_that_does_not_answer_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(store: SqliteStore) -> None:
        async def deaf(name: str, body: msgspec.Raw) -> bytes:
            await asyncio.get_running_loop().create_future()
            return b""

        monkeypatch.setattr(links, "SWEEP_S", 0.0)
        hub = hub_of(store)
        (session, link), _ = await linked(hub, deaf), await linked(hub)
        assert await hub.ask("forget", timeout_s=0.0) in ([session], list(hub.sessions))
        for task in link._answering:
            task.cancel()

    on_store(tmp_path, scenario)


def conversation(*texts: bytes) -> StoredConversation:
    items = tuple(StoredItem(id=f"i{n}", body=msgspec.Raw(text)) for n, text in enumerate(texts))
    return StoredConversation(account="acme", id="c", created_ms=1, expires_ms=10**15, items=items)


def test_conversations_change_in_one_step_over_workers(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        hub = hub_of(store)
        stores: list[Any] = [RemoteResponses((await linked(hub))[1]) for _ in range(3)]
        await stores[0].put_conversation(conversation(b'{"a":1.50}'))

        def add(name: str) -> Any:
            item = StoredItem(id=name, body=msgspec.Raw(b"{}"))
            return lambda found: msgspec.structs.replace(found, items=(*found.items, item))

        await asyncio.gather(
            *(stores[n % 3].change_conversation("acme", "c", NOW_MS, add(f"x{n}")) for n in range(30))
        )
        found = await stores[1].conversation("acme", "c", NOW_MS)
        assert sorted(item.id for item in found.items) == sorted(["i0", *(f"x{n}" for n in range(30))])
        assert bytes(found.items[0].body) == b'{"a":1.50}'
        assert await stores[2].change_conversation("acme", "none", NOW_MS, add("y")) is None

    on_store(tmp_path, scenario)


def test_a_response_whose_worker_died_has_failed(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        hub = hub_of(store)
        (session, link), (_, other) = await linked(hub), await linked(hub)
        mine: Any = RemoteResponses(link)
        row = StoredResponse(
            account="acme", id="r1", created_ms=1, expires_ms=10**15, status="in_progress", previous=None,
            body=b'{"id":"r1","status":"in_progress"}', input=b"[]", background=True,
        )  # fmt: skip
        await mine.put(row)
        await mine.put(msgspec.structs.replace(row, id="r2", status="completed"))
        link.close()
        assert (await session.left).responses == 1
        others: Any = RemoteResponses(other)
        assert (await others.get("acme", "r1", NOW_MS)).status == "failed"
        assert (await others.get("acme", "r2", NOW_MS)).status == "completed"

    on_store(tmp_path, scenario)


def test_the_side_car_is_one(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        hub = hub_of(store, side_car=MemorySideCar(Sealer(bytes(32), "t"), bytes_max=10**6, ttl_ms=10**9))
        one, two = [RemoteSideCar((await linked(hub))[1]) for _ in range(2)]
        one.put("acme", [b"n"], b"\x00value", NOW_MS)

        async def known() -> bool:
            return await two.get("acme", [b"n", b"m"], NOW_MS) == {b"n": b"\x00value"}

        await soon(known)
        assert one.owns("acme")
        one.link.close()
        assert await one.get("acme", [b"n"], NOW_MS) == {}

    on_store(tmp_path, scenario)


def test_a_price_with_other_rates_is_refused_with_its_hold(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.credit("acme", 1000, "r", "", 1)
        _, link = await linked(hub_of(store))
        books, prices = RemoteBooks(link), RemotePrices(link)
        prices.publish(Price(version="v1", rates=Rates(input=1, output=2)), NOW_MS)
        assert await books.hold("e1", ACME, 1, "v1", NOW_MS) == 999
        prices.publish(Price(version="v1", rates=Rates(input=1, output=3)), NOW_MS)
        with pytest.raises(ValueError, match="other rates"):
            await books.hold("e2", ACME, 1, "v1", NOW_MS)

    on_store(tmp_path, scenario)


def test_errors_arrive_as_they_were() -> None:
    error = InsufficientCredits("no", param="p", details={"needed": msgspec.Raw(b"1.000000000001")})
    error.available_pusd = 17
    back = raised(told(error))
    assert isinstance(back, InsufficientCredits)
    assert (back.message, back.param, back.code, back.available_pusd) == (
        "no",
        "p",
        "insufficient_credits",
        17,
    )
    assert msgspec.json.encode(back.details) == b'{"needed":1.000000000001}'
    assert raised(told(InvalidRequest("x", code="other"))).code == "other"  # type: ignore[attr-defined]
    assert isinstance(raised(told(ValueError("v"))), ValueError)


def test_calls_that_are_none_and_frames_that_are_none(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        session, link = await linked(hub_of(store))
        with pytest.raises(ValueError, match="no call"):
            await link.ask("books.burn", b"\x90", 5)
        with pytest.raises(ValueError, match="Expected"):
            await link.ask("books.balance", msgspec.msgpack.encode((1,)), 5)
        assert link._transport is not None
        link._transport.write(b"\xff\xff\xff\xff")
        assert (await session.left).holds == 0
        with pytest.raises(LedgerUnavailable):
            await EXTRA["begun"].ask(link, ())

    on_store(tmp_path, scenario)


def test_every_error_of_ours_arrives_as_it_was() -> None:
    from llm_router.adapters.shared.failures import _KINDS, raised, told

    for kind in _KINDS.values():
        error = kind("no", param="p", details={"brake": "steps", "used": msgspec.Raw(b"1.50")})
        seen = raised(told(error))
        assert type(seen) is kind
        assert (seen.message, seen.code, seen.headers) == (error.message, error.code, error.headers)
        assert msgspec.json.encode(seen.details) == msgspec.json.encode(error.details)
