"""Requests of workers' fast lanes: they enter, are charged and leave, many in a frame, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from shared_kit import hub_of, linked, soon, unlink
from store_cases import ACME, FixedClock, record, run

from llm_router.adapters.memory.counters import MemoryCounters
from llm_router.adapters.shared import link as links
from llm_router.adapters.shared import moves
from llm_router.adapters.shared.link import Link
from llm_router.adapters.shared.remote import RemoteBooks, RemoteCounters, RemotePrices
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.budget import Payer, Scope, Window
from llm_router.domain.errors import InsufficientCredits, LedgerUnavailable
from llm_router.domain.limit import Limit, LimitKind
from llm_router.domain.price import Price, Rates
from llm_router.ports import Entered, Settled

NOW_MS = FixedClock().now_ms()


class Waits:
    """Hides what answers at once, as stores are that have to ask a server."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_now"):
            raise AttributeError(name)
        return getattr(self._store, name)


class Desk:
    """A store, and workers that are linked with it. ``waits``: what has to be waited for."""

    def __init__(self, store: SqliteStore, *, waits: str) -> None:
        self.store = store
        books: Any = Waits(store) if "books" in waits else store
        counters: Any = MemoryCounters()
        self.hub = hub_of(books, counters=Waits(counters) if "counters" in waits else counters)

    async def worker(self) -> Worker:
        session, link = await linked(self.hub)
        return Worker(session, link)


class Worker:
    def __init__(self, session: Any, link: Link) -> None:
        self.session, self.link = session, link
        self.books = RemoteBooks(link)
        self._loop = asyncio.get_running_loop()

    def enter(
        self, id_: str, amount_pusd: int, limits: Sequence[Limit] = (), tokens: int = 1, payer: Payer = ACME
    ) -> asyncio.Future[Entered]:
        future: asyncio.Future[Entered] = self._loop.create_future()
        self.books.enter_now(id_, payer, amount_pusd, "v1", tuple(limits), tokens, NOW_MS, future)
        return future

    def charge(self, id_: str, cost_pusd: int, **fields: Any) -> asyncio.Future[Settled]:
        future: asyncio.Future[Settled] = self._loop.create_future()
        self.books.settle_now(record(id_, cost_pusd, **fields), future)
        return future


def on_desk(folder: Path, waits: str, scenario: Any) -> None:
    async def main() -> None:
        store = await SqliteStore.open(folder / "books.db", clock=FixedClock())
        try:
            await store.credit("acme", 1000, "r", "", 1)
            await scenario(Desk(store, waits=waits))
            await unlink()
            await store.audit()
        finally:
            await unlink()
            await store.close()

    run(main())


def limit(kind: LimitKind, amount: int) -> Limit:
    window = None if kind is LimitKind.CONCURRENCY else Window.MINUTE
    return Limit(
        id=kind.value, account="acme", scope=Scope.KEY, scope_id="key_1", kind=kind, amount=amount, window=window
    )  # fmt: skip


def at_once(amount: int) -> tuple[Limit, ...]:
    return (limit(LimitKind.CONCURRENCY, amount),)


all_ways = pytest.mark.parametrize("waits", ["nothing", "books", "counters", "books and counters"])


@all_ways
def test_a_request_enters_is_charged_and_leaves(tmp_path: Path, waits: str) -> None:
    async def scenario(desk: Desk) -> None:
        worker = await desk.worker()
        entered = await worker.enter("e1", 300, at_once(1))
        assert (entered.admission.refused, entered.refusal) == (None, None)
        assert [(each.kind, each.remaining) for each in entered.admission.limits] == [("concurrency", 0)]
        assert desk.store.available("acme") == 700
        assert (await worker.enter("e2", 1, at_once(1))).admission.refused == at_once(1)[0]
        assert desk.store.available("acme") == 700  # what the limits refuse holds nothing
        settled = await worker.charge("e1", 120)
        assert settled == Settled(charged_pusd=120, remaining_pusd=880)
        assert (await worker.enter("e3", 0, at_once(1))).admission.refused is None
        kept = await desk.store.generation("acme", "e1")
        assert kept == record("e1", 120)

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_limits_and_credit_are_exact_over_four_workers(tmp_path: Path, waits: str) -> None:
    async def scenario(desk: Desk) -> None:
        workers = [await desk.worker() for _ in range(4)]
        answers = await asyncio.gather(
            *(workers[n % 4].enter(f"t{n}", 1, [limit(LimitKind.REQUESTS, 41)]) for n in range(200))
        )
        assert sum(each.admission.refused is None for each in answers) == 41
        assert all(each.refusal is None for each in answers)
        answers = await asyncio.gather(*(workers[n % 4].enter(f"c{n}", 10) for n in range(200)))
        assert sum(each.refusal is None for each in answers) == (1000 - 41) // 10
        refused = [each.refusal for each in answers if each.refusal is not None]
        assert all(isinstance(error, InsufficientCredits) for error in refused)

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_who_is_counted_and_has_no_credit_is_told_both(tmp_path: Path, waits: str) -> None:
    async def scenario(desk: Desk) -> None:
        worker = await desk.worker()
        entered = await worker.enter("dear", 5000, at_once(1))
        assert isinstance(entered.refusal, InsufficientCredits)
        assert entered.refusal.available_pusd == 1000
        assert entered.admission.limits[0].remaining == 0  # it may try again with less: it is counted
        assert (await worker.enter("more", 1, at_once(1))).admission.refused is not None
        worker.books.leave_now("dear", 0, NOW_MS)
        assert (await worker.enter("more", 1, at_once(1))).admission.refused is None

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_what_is_asked_behind_a_move_comes_behind_it(tmp_path: Path, waits: str) -> None:
    """A request that is given up while it enters is settled and leaves at once, by either way of asking."""

    async def scenario(desk: Desk) -> None:
        worker = await desk.worker()
        first = worker.enter("one", 300, at_once(1))
        charged = worker.charge("one", 0)
        worker.books.leave_now("one", 0, NOW_MS)
        second = worker.enter("two", 200, at_once(1))
        ordinary = asyncio.ensure_future(worker.books.settle(record("two", 0)))  # type: ignore[attr-defined]
        assert (await first).refusal is None
        assert (await charged).charged_pusd == 0
        assert (await second).refusal is None
        assert (await ordinary).charged_pusd == 0
        assert desk.store.available("acme") == 1000

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_who_enters_finds_the_place_that_was_given_back_before(tmp_path: Path, waits: str) -> None:
    """By the ordinary way: many of a connection's requests alternate between the two."""

    async def scenario(desk: Desk) -> None:
        worker = await desk.worker()
        counters: Any = RemoteCounters(worker.link)
        for number in range(3):
            assert (await counters.admit(f"t{number}", at_once(1), 1, NOW_MS)).refused is None
            await counters.release(f"t{number}", 0, NOW_MS)
            assert (await worker.enter(f"e{number}", 1, at_once(1))).admission.refused is None
            assert (await worker.charge(f"e{number}", 1)).charged_pusd == 1

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_what_a_worker_has_under_way_when_it_goes_is_resolved(tmp_path: Path, waits: str) -> None:
    async def scenario(desk: Desk) -> None:
        dying, other = await desk.worker(), await desk.worker()
        for number in range(3):
            assert (await dying.enter(f"dead{number}", 100, at_once(5))).refusal is None
        assert (await dying.charge("dead0", 40)).charged_pusd == 40
        assert (await other.enter("lives", 1, at_once(5))).admission.refused is None
        unheard = dying.enter("dead3", 100, at_once(5))
        dying.link.close()
        left = await dying.session.left
        with pytest.raises(LedgerUnavailable):
            await unheard
        assert (left.places, left.holds) in ((3, 3), (2, 2))  # the last one may not have come any more
        assert desk.store.available("acme") == 1000 - 40 - 1
        answers = await asyncio.gather(*(other.enter(f"next{n}", 1, at_once(5)) for n in range(4)))
        assert sum(each.admission.refused is None for each in answers) == 4
        with pytest.raises(LedgerUnavailable):
            dying.enter("late", 1)

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_a_hold_that_nobody_heard_of_in_time_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: str
) -> None:
    async def scenario(desk: Desk) -> None:
        worker = await desk.worker()
        monkeypatch.setattr(moves, "HOLD_S", 0.0)
        monkeypatch.setattr(links, "SWEEP_S", 0.0)
        with pytest.raises(LedgerUnavailable, match="in time"):
            await worker.enter("slow", 100)

        async def taken_back() -> bool:
            rows = await desk.store._read(lambda c: c.execute("SELECT * FROM holds").fetchall())
            return not rows and desk.store.available("acme") == 1000

        await soon(taken_back)

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_kinds_of_requests_are_said_once_and_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: str
) -> None:
    monkeypatch.setattr(moves, "KINDS_MAX", 3)  # so that numbers are given again

    async def scenario(desk: Desk) -> None:
        worker = await desk.worker()
        await desk.store.credit("other", 50, "o", "", 1)
        said: list[bytes] = []
        post = worker.link.post
        worker.link.post = lambda item: (said.append(item), post(item))[1]  # type: ignore[method-assign]
        payers = [ACME, Payer(account="other", key="key_2"), Payer(account="poor", key="key_3")]
        entering = [
            worker.enter(f"{payer.account}-{at}-{n}", 1, at_once(2), payer=payer)
            for at in (0, 1)
            for n, payer in enumerate(payers)
        ]
        assert len(said) == 3 + 6  # three kinds, six requests
        entering.append(worker.enter("more", 1, at_once(3)))  # a fourth one
        entering.append(worker.enter("again", 1, at_once(2), payer=payers[1]))
        assert len(said) == 9 + 4
        answers = await asyncio.gather(*entering)
        refused = [isinstance(each.refusal, InsufficientCredits) for each in answers]
        # The limit is one and the same: it has room for two, or three.
        assert [each.admission.refused is None for each in answers] == [True, True] + [False] * 4 + [
            True,
            False,
        ]
        assert refused == [False] * 8
        assert desk.store.available("other") == 49

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_nothing_is_held_by_a_price_that_could_not_be_published(tmp_path: Path, waits: str) -> None:
    async def scenario(desk: Desk) -> None:
        desk.store.publish(Price(version="v1", rates=Rates(input=1, output=1)), 1)
        worker = await desk.worker()
        RemotePrices(worker.link).publish(Price(version="v1", rates=Rates(input=2, output=1)), 1)
        refusal = (await worker.enter("e1", 10)).refusal
        assert isinstance(refusal, ValueError)
        assert desk.store.available("acme") == 1000

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_a_character_that_is_none_keeps_no_charge_back(tmp_path: Path, waits: str) -> None:
    async def scenario(desk: Desk) -> None:
        worker = await desk.worker()
        await worker.enter("odd", 100, at_once(1))
        assert (await worker.charge("odd", 60, asked_model="\ud800")).charged_pusd == 60
        assert (await worker.enter("next", 1, at_once(1))).admission.refused is None
        kept = await desk.store.generation("acme", "odd")
        assert kept is not None
        assert kept.asked_model == "?"

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_a_store_that_closes_says_so(tmp_path: Path, waits: str) -> None:
    async def scenario(desk: Desk) -> None:
        worker = await desk.worker()
        assert (await worker.enter("early", 100)).refusal is None
        desk.store._journal.close()
        assert isinstance((await worker.enter("late", 100)).refusal, LedgerUnavailable)
        with pytest.raises(LedgerUnavailable):
            await worker.charge("early", 60)
        worker.link.close()
        await worker.session.left

    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())
        await store.credit("acme", 1000, "r", "", 1)
        await scenario(Desk(store, waits=waits))
        await asyncio.get_running_loop().run_in_executor(None, store._shut)

    run(main())


class Slow:
    """Counters that let nobody in before a gate opens."""

    def __init__(self) -> None:
        self.counters = MemoryCounters()
        self.open = asyncio.Event()

    async def admit(self, *asked: Any) -> Any:
        await self.open.wait()
        return await self.counters.admit(*asked)

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_now") or name == "gauge":
            raise AttributeError(name)
        return getattr(self.counters, name)


def test_what_is_given_up_while_it_is_counted_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its credit nor its place, though both come after it was given up."""

    async def scenario(desk: Desk) -> None:
        slow = desk.hub.stores.counters
        assert isinstance(slow, Slow)
        worker = await desk.worker()
        with monkeypatch.context() as patch:
            patch.setattr(moves, "HOLD_S", 0.0)
            patch.setattr(links, "SWEEP_S", 0.0)
            with pytest.raises(LedgerUnavailable, match="in time"):
                await worker.enter("slow", 100, at_once(1))
        worker.books.leave_now("slow", 0, NOW_MS)
        await worker.link.ask("books.balance", moves.encode(("acme",)), 30)  # it has heard of all of this
        slow.open.set()

        async def given_back() -> bool:
            rows = await desk.store._read(lambda c: c.execute("SELECT * FROM holds").fetchall())
            return not rows and desk.store.available("acme") == 1000 and not worker.session._open

        await soon(given_back)
        assert (await worker.enter("next", 1, at_once(1))).admission.refused is None

    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "books.db", clock=FixedClock())
        try:
            await store.credit("acme", 1000, "r", "", 1)
            desk = Desk(store, waits="books")
            desk.hub = hub_of(Waits(store), counters=Slow())
            await scenario(desk)
        finally:
            await unlink()
            await store.close()

    run(main())


def test_who_leaves_while_it_is_counted_keeps_no_place(tmp_path: Path) -> None:
    """By the ordinary way: its client has gone before there was an answer."""

    async def scenario(desk: Desk) -> None:
        slow = Slow()
        desk.hub = hub_of(desk.store, counters=slow)
        worker = await desk.worker()
        counters: Any = RemoteCounters(worker.link)
        asked = asyncio.ensure_future(counters.admit("gone", at_once(1), 1, NOW_MS))
        await asyncio.sleep(0)
        await counters.release("gone", 0, NOW_MS)
        await worker.link.ask("books.balance", moves.encode(("acme",)), 30)  # it has heard of both
        slow.open.set()
        assert (await asked).refused is None
        assert (await counters.admit("next", at_once(1), 1, NOW_MS)).refused is None

    on_desk(tmp_path, "nothing", scenario)


@all_ways
def test_a_kind_that_cannot_be_said_is_refused_each_time(tmp_path: Path, waits: str) -> None:
    """Its requests fail; those of others go on."""

    async def scenario(desk: Desk) -> None:
        worker = await desk.worker()
        for number in range(2):
            with pytest.raises(OverflowError):
                worker.enter(f"odd{number}", 1, at_once(2**70))
        assert (await worker.enter("usual", 1, at_once(2))).refusal is None

    on_desk(tmp_path, waits, scenario)


@all_ways
def test_a_record_that_cannot_be_read_is_refused_alone(tmp_path: Path, waits: str) -> None:
    async def scenario(desk: Desk) -> None:
        worker = await desk.worker()
        for each in ("odd", "usual"):
            assert (await worker.enter(each, 100, at_once(2))).refusal is None
        odd = worker.charge("odd", 1, duration_ms=float("nan"))
        usual = worker.charge("usual", 60)
        with pytest.raises(ValueError, match="duration_ms"):
            await odd
        assert (await usual).charged_pusd == 60
        assert (await worker.charge("odd", 40)).charged_pusd == 40

    on_desk(tmp_path, waits, scenario)


def test_frames_may_come_in_any_pieces() -> None:
    async def main() -> None:
        heard: list[tuple[str, bytes]] = []

        async def answer(name: str, body: Any) -> bytes:
            heard.append((name, bytes(body)))
            return b"\xc0"

        written = bytearray()

        class Transport(asyncio.Transport):
            def write(self, data: Any) -> None:
                written.extend(data)

        sending, posted = Link(answer), list[bytes]()
        sending.connection_made(Transport())
        sending.tell("first", b"\xc0")
        sending.post(b"\x01")
        sending.post(b"\x02")
        sending.tell("second", moves.encode("x" * 3000))
        sending.post(b"\x03")
        await asyncio.sleep(0)
        for size in (1, 2, 3, 7, 50, 1000, len(written)):
            receiving = Link(answer)
            receiving.hear = lambda body: posted.append(bytes(body))
            heard.clear()
            posted.clear()
            for at in range(0, len(written), size):
                receiving.data_received(bytes(written[at : at + size]))
            await receiving.answered()
            assert [name for name, _ in heard] == ["first", "second"]
            assert posted == [b"\xdd\x00\x00\x00\x02\x01\x02", b"\xdd\x00\x00\x00\x01\x03"]

    run(main())
