"""The stores against a model of a few lines over very many steps: money, budgets, sessions, reopenings, failures.

The model adds up what every exchange cost each time it is asked; it shares nothing with the product. The
SQLite store runs with its real writer in virtual time (no thread, no sync), so that a step costs little.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from sim_disk import FULL, Disk, SimWriter, simulated, snapshot
from store_cases import record
from virtual import VirtualLoop

from llm_router.adapters.memory.books import MemoryBooks
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.budget import Budget, Payer, Scope, Window
from llm_router.domain.errors import ClientError, InsufficientCredits, LedgerUnavailable
from llm_router.domain.money import MAX_PUSD

HOUR_MS = 3_600_000
LENGTHS = {Window.MINUTE: 60_000, Window.HOUR: HOUR_MS, Window.DAY: 24 * HOUR_MS}
START_MS = 20_000 * 24 * HOUR_MS

PAYERS = (
    Payer(account="a", key="k1", team="t", user="u1", session="s1"),
    Payer(account="a", key="k1", team="t", user="u1", session="s2"),
    Payer(account="a", key="k2", team="t", user="u2"),
    Payer(account="b", key="k3"),
    Payer(account="c", key="k4", user="r"),
)


def _budget(
    id_: str, scope: Scope, scope_id: str, amount: int, window: Window, account: str = "a", **more: Any
) -> Budget:
    return Budget(
        id=id_, account=account, scope=scope, scope_id=scope_id, amount_pusd=amount, window=window,
        created_ms=0, **more,
    )  # fmt: skip


BUDGETS = (
    _budget("team", Scope.TEAM, "t", 150, Window.HOUR),
    _budget("key", Scope.KEY, "k1", 90, Window.MINUTE),
    _budget("day", Scope.ACCOUNT, "a", 700, Window.DAY),
    _budget("user", Scope.USER, "u2", 300, Window.LIFETIME),
    _budget("session", Scope.SESSION, "k1", 60, Window.LIFETIME),
    _budget("rolls", Scope.USER, "r", 80, Window.MINUTE, "c", rolling=True),
)


class Clock:
    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_us(self) -> int:
        return self.ms * 1000


class Model:
    """What must be true. ``uses``: everything that counts against budgets: (payer, admitted, amount) by id."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[str, int]] = {}
        self.posted: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.holds: dict[str, tuple[Payer, int, int]] = {}
        self.settled: dict[str, tuple[str, int, int]] = {}
        self.uses: dict[str, tuple[Payer, int, int]] = {}
        self.amounts = {budget.id: budget.amount_pusd for budget in BUDGETS}

    def available(self, account: str) -> int:
        return self.posted[account] - self.held[account]

    def used(self, budget: Budget, payer: Payer, now_ms: int) -> int:
        """What counts in the window of a moment."""
        total = 0
        for other, at_ms, amount in self.uses.values():
            if _concerns(budget, other) and (
                budget.scope is not Scope.SESSION or other.session == payer.session
            ):
                total += amount if _same_window(budget, at_ms, now_ms) else 0
        return total

    def room(self, payer: Payer, now_ms: int) -> int | None:
        """What the budgets leave, but for the rolling one, which may give back a little late."""
        rooms = [
            self.amounts[budget.id] - self.used(budget, payer, now_ms)
            for budget in BUDGETS
            if _concerns(budget, payer) and not budget.rolling
        ]
        return min(rooms, default=None)

    def forget(self, now_ms: int) -> None:
        """What no window holds any more."""
        over = [
            id_ for id_, (payer, at_ms, _) in self.uses.items()
            if id_ not in self.holds and payer.account in ("b", "c") and at_ms < now_ms - 2 * HOUR_MS
        ]  # fmt: skip
        for id_ in over:
            del self.uses[id_]


def _concerns(budget: Budget, payer: Payer) -> bool:
    if budget.account != payer.account:
        return False
    if budget.scope is Scope.SESSION:
        return payer.session is not None and budget.scope_id in (payer.key, payer.account)
    owner = {
        Scope.TEAM: payer.team,
        Scope.KEY: payer.key,
        Scope.USER: payer.user,
        Scope.ACCOUNT: payer.account,
    }
    return owner[budget.scope] == budget.scope_id


def _same_window(budget: Budget, at_ms: int, now_ms: int) -> bool:
    if budget.window is Window.LIFETIME:
        return True
    length = LENGTHS[budget.window]
    return now_ms - length < at_ms <= now_ms if budget.rolling else at_ms // length == now_ms // length


class Walk:
    """Random steps of one store beside the model."""

    def __init__(self, seed: int, folder: Path | None) -> None:
        self.dice = random.Random(seed)
        self.folder = folder
        self.loop = VirtualLoop(lambda: 0.0003)
        self.clock = Clock()
        self.model = Model()
        self.disk = Disk(self)  # type: ignore[arg-type]
        self.writer: SimWriter = None  # type: ignore[assignment]
        self.number = 0
        self.steps: Counter[str] = Counter()
        self.store: Any = None

    # what the disk asks of a simulation

    def committed(self, connection: Any) -> None:
        broken = connection.execute("SELECT id FROM accounts WHERE posted - held < 0").fetchall()
        assert not broken, f"overdrawn: {broken}"

    def crash(self, why: str) -> None:
        raise AssertionError(why)

    # steps

    async def run(self, steps: int) -> None:
        await self.open()
        for budget in BUDGETS:
            await self.store.set_budget(budget, self.clock.ms)
        kinds = ["hold"] * 8 + ["settle"] * 7 + ["credit"] * 2 + ["many", "wait", "wait", "amount", "free"]
        kinds += ["restart", "crash", "full"] if self.folder is not None else []
        rare = ("restart", "crash", "full")
        for at in range(steps):
            kind = self.dice.choice(kinds)
            if kind in rare and self.dice.random() < 0.9:
                kind = "hold"
            self.steps[kind] += 1
            await getattr(self, f"do_{kind}")()
            self.balances()
            if at % 100 == 0:
                await self.everything()
                self.model.forget(self.clock.ms)
        await self.everything()
        await self.store.close()

    async def open(self) -> None:
        if self.folder is None:
            self.store = MemoryBooks()
        else:
            path = self.folder / str(self.number) / "books.db"
            path.parent.mkdir(exist_ok=True)
            self.store = await SqliteStore.open(path, clock=self.clock)

    def new_id(self) -> str:
        return f"e{len(self.model.settled) + len(self.model.holds)}-{self.steps.total()}"

    async def outcome(self, awaitable: Any) -> Any:
        try:
            return await awaitable
        except InsufficientCredits:
            return "insufficient"
        except LedgerUnavailable:
            return "unavailable"
        except (ClientError, ValueError):
            return "refused"

    def expected_hold(self, id_: str, payer: Payer, amount: int) -> Any:
        model, now_ms = self.model, self.clock.ms
        if amount < 0 or id_ in model.holds:
            return "refused"
        room = model.room(payer, now_ms)
        if amount > model.available(payer.account) or (room is not None and amount > room):
            return "insufficient"
        model.held[payer.account] += amount
        model.holds[id_] = model.uses[id_] = (payer, now_ms, amount)
        return model.available(payer.account)

    async def do_hold(self) -> None:
        payer, amount = self.dice.choice(PAYERS), self.dice.choice((0, 1, 7, 20, 33, 60, -1))
        id_ = (
            self.dice.choice(tuple(self.model.holds))
            if self.model.holds and self.dice.random() < 0.1
            else self.new_id()
        )
        got = await self.outcome(self.store.hold(id_, payer, amount, "v1", self.clock.ms))
        if payer.account == "c" and got == "insufficient" and amount >= 0 and id_ not in self.model.holds:
            self.rolled(payer, amount)
            return
        assert got == self.expected_hold(id_, payer, amount), ("hold", id_, payer, amount)
        if payer.account == "c":
            (rolls,) = (budget for budget in BUDGETS if budget.rolling)
            assert self.model.used(rolls, payer, self.clock.ms) <= self.model.amounts["rolls"]

    def rolled(self, payer: Payer, amount: int) -> None:
        """A refusal by the rolling budget is right if a window of a sixtieth more is full."""
        length = LENGTHS[Window.MINUTE] * 61 // 60 + 1000
        used = sum(
            held for other, at_ms, held in self.model.uses.values()
            if other.account == "c" and at_ms > self.clock.ms - length
        )  # fmt: skip
        assert amount > self.model.available("c") or used + amount > self.model.amounts["rolls"], (
            "refused too much"
        )

    def expected_settle(self, id_: str, payer: Payer, cost: int, at_ms: int) -> Any:
        model = self.model
        if id_ in model.settled:
            return model.settled[id_][1]
        if not 0 <= cost <= MAX_PUSD:
            return "refused"
        hold = model.holds.pop(id_, None)
        if hold is not None:
            payer, at_ms, amount = hold
            model.held[payer.account] -= amount
            del model.uses[id_]
        charged = min(cost, model.available(payer.account))
        room = model.room(payer, at_ms)
        charged = charged if room is None else max(0, min(charged, room))
        return charged

    def take(self, id_: str, payer: Payer, charged: int, cost: int, at_ms: int) -> None:
        model = self.model
        model.settled[id_] = (payer.account, charged, cost - charged)
        if charged:
            model.entries[f"use:{id_}"] = (payer.account, -charged)
            model.posted[payer.account] -= charged
            model.uses[id_] = (payer, at_ms, charged)

    async def do_settle(self) -> None:
        model, dice = self.model, self.dice
        what = dice.random()
        cost = dice.choice((0, 0, 1, 5, 19, 20, 40, 90, -1, MAX_PUSD + 1, MAX_PUSD))
        if model.holds and what < 0.85:
            id_ = dice.choice(tuple(model.holds))
            payer, at_ms, _ = model.holds[id_]
        elif model.settled and what < 0.95:
            id_ = dice.choice(tuple(model.settled)[-50:])
            payer, at_ms = Payer(account=model.settled[id_][0]), self.clock.ms
        else:
            id_, payer, at_ms = self.new_id(), dice.choice(PAYERS), self.clock.ms
        await self.settle(id_, payer, cost, at_ms)

    async def settle(self, id_: str, payer: Payer, cost: int, at_ms: int) -> None:
        known = id_ in self.model.settled
        got = await self.outcome(
            self.store.settle(
                record(
                    id_, cost, account=payer.account, key=payer.key, team=payer.team, user=payer.user,
                    session=payer.session, created_ms=at_ms,
                )
            )
        )  # fmt: skip
        charged = got if isinstance(got, str) else got.charged_pusd
        bounded = payer.account != "c"
        expected = self.expected_settle(id_, payer, cost, at_ms)
        if bounded or known or isinstance(expected, str):
            assert charged == expected, ("settle", id_, payer, cost)
        else:
            assert 0 <= charged <= expected
        if not known and not isinstance(charged, str):
            self.take(id_, payer, charged, cost, at_ms)
            assert got.remaining_pusd == self.model.available(payer.account)

    async def do_free(self) -> None:
        """Everything that is held comes back."""
        for id_, (payer, at_ms, _) in list(self.model.holds.items()):
            await self.settle(id_, payer, 0, at_ms)

    async def do_credit(self) -> None:
        model, dice = self.model, self.dice
        account, amount = dice.choice("abc"), dice.choice((0, 30, 100, 400, -5, -300, MAX_PUSD))
        if amount == MAX_PUSD and (account, MAX_PUSD) in model.entries.values():
            amount = 500  # the sums of an hour end at nine million dollars
        booked = [ref for ref in model.entries if ref.startswith("credit:")][-20:]
        ref = dice.choice(booked)[7:] if booked and dice.random() < 0.2 else f"r{self.steps.total()}"
        got = await self.outcome(self.store.credit(account, amount, ref, "why", self.clock.ms))
        known = model.entries.get(f"credit:{ref}")
        if known is not None:
            assert got == (model.available(account) if known == (account, amount) else "refused")
        elif amount == 0 or model.posted[account] + amount > MAX_PUSD:
            assert got == "refused"
        elif -amount > model.available(account):
            assert got == "insufficient"
        else:
            model.entries[f"credit:{ref}"] = (account, amount)
            model.posted[account] += amount
            assert got == model.available(account)

    async def do_many(self) -> None:
        """Holds at the same time: they move in the order in which they were asked for."""
        moves = [
            (f"m{self.steps.total()}-{n}", PAYERS[self.dice.randrange(4)], self.dice.choice((5, 40)))
            for n in range(6)
        ]
        holds = (
            self.outcome(self.store.hold(id_, payer, amount, "v1", self.clock.ms))
            for id_, payer, amount in moves
        )
        got = await asyncio.gather(*holds)
        assert got == [self.expected_hold(*move) for move in moves]

    async def do_wait(self) -> None:
        self.clock.ms += self.dice.choice((1, 900, 1000, 20_000, 61_000, HOUR_MS // 2))

    async def do_amount(self) -> None:
        """Another amount of a budget, also below what is used of it."""
        budget = self.dice.choice(BUDGETS[:5])
        amount = self.dice.choice((0, 50, 150, 400, 10_000)) if budget.id != "user" else 10**9
        self.model.amounts[budget.id] = amount
        changed = Budget(
            **{**{f: getattr(budget, f) for f in budget.__struct_fields__}, "amount_pusd": amount}
        )
        await self.store.set_budget(changed, self.clock.ms)

    def void(self) -> None:
        """A start finds the holds of the process before, and voids them."""
        for id_, (payer, _, amount) in self.model.holds.items():
            self.model.held[payer.account] -= amount
            del self.model.uses[id_]
        self.model.holds.clear()

    async def do_restart(self) -> None:
        await self.store.close()
        self.void()
        await self.open()

    async def do_crash(self) -> None:
        """Go on with a copy of the files as they are."""
        assert self.folder is not None
        before, old = self.folder / str(self.number), self.store
        self.number += 1
        snapshot(before, self.folder / str(self.number))
        await old.close()
        self.void()
        await self.open()

    async def do_full(self) -> None:
        """The disk is full: nothing new is held, but charges whose hold is safe are taken; then it recovers."""
        self.disk.mode = FULL
        assert await self.outcome(self.store.remove_document("no", "such")) == "unavailable"
        id_ = f"f{self.steps.total()}"
        payer = PAYERS[3]
        got = await self.outcome(self.store.hold(id_, payer, 0, "v1", self.clock.ms))
        assert got == "unavailable"
        for open_, (owner, at_ms, amount) in list(self.model.holds.items())[:3]:
            if amount and owner.account == "b":
                await self.settle(open_, owner, 1, at_ms)
        if self.dice.random() < 0.5:
            await self.do_crash_full()
        self.disk.mode = None
        for _ in range(100):
            if self.store.trouble is None:
                return
            await asyncio.sleep(0.5)
        raise AssertionError("the store did not recover")

    async def do_crash_full(self) -> None:
        """It dies before it recovers: the journal is read by the next start."""
        self.disk.mode = None
        await self.do_crash()

    # what must agree

    def balances(self) -> None:
        for account in "abc":
            assert self.store.available(account) == self.model.available(account) >= 0, account

    async def everything(self) -> None:
        for account in "abc":
            stored = await self.store.entries(account, 10**6)
            mine = {ref: amount for ref, (owner, amount) in self.model.entries.items() if owner == account}
            assert {entry.ref: entry.amount_pusd for entry in stored} == mine
            assert len(stored) == len(mine)
        for budget in BUDGETS[:4]:
            (spend,) = (s for s in await self.store.budgets("a", self.clock.ms) if s.budget.id == budget.id)
            payer = next(payer for payer in PAYERS if _concerns(budget, payer))
            used = self.model.used(budget, payer, self.clock.ms)
            assert spend.spent_pusd + spend.held_pusd == used, budget.id
        if self.folder is not None:
            assert await self.store.audit() == len(self.model.entries)


def walk(seed: int, steps: int, *, sqlite: bool) -> Counter[str]:
    """
    Raises:
        AssertionError: where store and model differ.
    """
    with tempfile.TemporaryDirectory(prefix="model-", dir=_memory()) as name:
        walker = Walk(seed, Path(name) if sqlite else None)
        asyncio.set_event_loop(walker.loop)
        try:
            with simulated(walker.disk, 64_000):
                walker.loop.run_until_complete(walker.run(steps))
            assert not walker.loop.problems, walker.loop.problems
        finally:
            asyncio.set_event_loop(None)
            walker.loop.close()
    return walker.steps


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
