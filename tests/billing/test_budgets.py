"""Budgets against a model that remembers every exchange and adds them up each time."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llm_router.billing.budgets import SESSION_IDLE_MS, Budgets, Spend, kept_buckets, room_left
from llm_router.billing.ledger import Ledger
from llm_router.billing.spans import calendar_span
from llm_router.domain.budget import Budget, Payer, Scope, Window
from llm_router.domain.errors import InsufficientCredits

HOUR_MS = 3_600_000
ACME = Payer(account="acme", key="k1", team="red", user="ann", session="s1")


def budget(scope: Scope, scope_id: str, amount: int, window: Window = Window.DAY, **more: object) -> Budget:
    fields = {"id": f"{scope}-{scope_id}-{window}", "account": "acme", "created_ms": 0, **more}
    return Budget(scope=scope, scope_id=scope_id, amount_pusd=amount, window=window, **fields)


def ledger(*budgets: Budget) -> Ledger:
    made = Ledger([("acme", 10_000), ("other", 10_000)])
    for each in budgets:
        made.budgets.put(each)
    return made


@pytest.mark.parametrize(
    ("scope", "id_"),
    [
        (Scope.ACCOUNT, "acme"),
        (Scope.TEAM, "red"),
        (Scope.USER, "ann"),
        (Scope.KEY, "k1"),
        (Scope.SESSION, "k1"),
        (Scope.SESSION, "acme"),
    ],
)
def test_each_scope_bounds_its_own(scope: Scope, id_: str) -> None:
    books = ledger(budget(scope, id_, 100))
    assert books.affordable(ACME, 5) == 100
    books.hold("e1", ACME, 60, 5)
    with pytest.raises(InsufficientCredits) as caught:
        books.hold("e2", ACME, 41, 5)
    error = msgspec.json.decode(msgspec.json.encode(caught.value.details))
    assert error["budget"]["scope"] == scope.value
    assert caught.value.status == 402
    books.hold("e3", ACME, 40, 5)
    assert books.affordable(ACME, 5) == 0
    assert books.settle("e1", ACME, 10, 5).charged_pusd == 10
    assert books.affordable(ACME, 5) == 50
    stranger = Payer(account="other", key="k1", team="red", user="ann", session="s1")
    assert books.affordable(stranger, 5) == 10_000  # the same names in another account


def test_all_scopes_move_or_none() -> None:
    books = ledger(budget(Scope.TEAM, "red", 100), budget(Scope.KEY, "k1", 30))
    with pytest.raises(InsufficientCredits):
        books.hold("e1", ACME, 31, 5)
    assert books.available("acme") == 10_000
    other_key = Payer(account="acme", key="k2", team="red")
    books.hold("e2", other_key, 100, 5)  # nothing of the refused one stayed with the team
    with pytest.raises(InsufficientCredits):
        books.hold("e3", ACME, 1, 5)


def test_an_amount_belongs_to_the_window_of_its_admission() -> None:
    books = ledger(budget(Scope.KEY, "k1", 100, Window.HOUR))
    books.hold("e1", ACME, 100, HOUR_MS - 1)
    books.hold("e2", ACME, 100, HOUR_MS)
    books.settle("e1", ACME, 70, HOUR_MS - 1)
    assert books.affordable(ACME, HOUR_MS) == 0
    books.settle("e2", ACME, 30, HOUR_MS)
    assert books.affordable(ACME, HOUR_MS) == 70


@pytest.mark.parametrize("rolling", [False, True])
@pytest.mark.parametrize("by_ms", [24 * HOUR_MS, -24 * HOUR_MS, 400 * 24 * HOUR_MS])
def test_a_clock_that_jumps_and_is_set_back_begins_no_window_anew(rolling: bool, by_ms: int) -> None:
    books = ledger(budget(Scope.TEAM, "red", 100, Window.HOUR, rolling=rolling))
    now_ms = 500 * 24 * HOUR_MS

    def spend(id_: str, pusd: int, at_ms: int) -> None:
        books.hold(id_, ACME, pusd, at_ms)
        books.settle(id_, ACME, pusd, at_ms)

    spend("e1", 60, now_ms)
    for minute in range(50):
        spend(f"j{minute}", 1, now_ms + by_ms + minute * 60_000)
    with pytest.raises(InsufficientCredits):
        books.hold("e2", ACME, 41, now_ms + 51 * 60_000)
    books.hold("e3", ACME, 40, now_ms + 51 * 60_000)


def test_what_no_window_can_hold_is_forgotten() -> None:
    for rolling in (False, True):
        bound = budget(Scope.TEAM, "red", 10**6, Window.MINUTE, rolling=rolling)
        books = ledger(bound)
        for second in range(1000):
            books.hold(f"e{second}", ACME, 1, second * 1000 * (1 if rolling else 60))
            books.settle(f"e{second}", ACME, 1, 0)
        (meter,) = books.budgets._meters.values()
        assert len(meter.cells) <= kept_buckets(bound) + 1


def test_a_cost_above_the_hold_stays_within_the_budget() -> None:
    books = ledger(budget(Scope.KEY, "k1", 100))
    books.hold("e1", ACME, 50, 5)
    books.hold("e2", ACME, 30, 5)
    settlement = books.settle("e1", ACME, 90, 5)
    assert (settlement.charged_pusd, settlement.absorbed_pusd) == (70, 20)
    books.undo_settlement(settlement)
    assert books.affordable(ACME, 5) == 20
    assert books.settle("e1", ACME, 50, 5).charged_pusd == 50


def test_an_undone_hold_leaves_the_budget() -> None:
    books = ledger(budget(Scope.KEY, "k1", 100))
    books.undo_hold(books.hold("e1", ACME, 50, 5))
    assert books.affordable(ACME, 5) == 100


def test_sessions_have_an_amount_each_and_end() -> None:
    books = ledger(budget(Scope.SESSION, "k1", 100, Window.LIFETIME))
    books.hold("e1", ACME, 100, 5)
    books.settle("e1", ACME, 100, 5)
    second = msgspec.structs.replace(ACME, session="s2")
    assert (books.affordable(ACME, 5), books.affordable(second, 5)) == (0, 100)
    books.hold("e2", second, 1, 5 + SESSION_IDLE_MS)
    assert books.affordable(ACME, 5 + SESSION_IDLE_MS) == 100
    assert [spend.session for spend in books.budgets.spends("session-k1-lifetime", 5)] == ["s2", "s1"]


def test_a_session_that_was_charged_without_a_hold_is_not_over() -> None:
    books = ledger(budget(Scope.SESSION, "acme", 100, Window.LIFETIME))
    now_ms = 500 * 24 * HOUR_MS
    assert books.settle("e1", ACME, 70, now_ms).charged_pusd == 70
    books.hold("e2", msgspec.structs.replace(ACME, session="other"), 1, now_ms + HOUR_MS)
    with pytest.raises(InsufficientCredits):
        books.hold("e3", ACME, 31, now_ms + 2 * HOUR_MS)


def test_a_removed_budget_bounds_nothing() -> None:
    books = ledger(budget(Scope.KEY, "k1", 100))
    books.hold("e1", ACME, 100, 5)
    books.budgets.remove("key-k1-day")
    assert books.affordable(ACME, 5) == 9_900
    assert books.settle("e1", ACME, 200, 5).charged_pusd == 200


def test_another_amount_keeps_what_was_spent() -> None:
    books = ledger(budget(Scope.KEY, "k1", 100))
    books.hold("e1", ACME, 100, 5)
    books.budgets.put(budget(Scope.KEY, "k1", 150))
    assert books.affordable(ACME, 5) == 50
    books.budgets.put(budget(Scope.KEY, "k1", 20))
    assert books.affordable(ACME, 5) == 0


@pytest.mark.parametrize(
    "bad",
    [
        budget(Scope.KEY, "k", -1),
        budget(Scope.KEY, "k", 1, Window.LIFETIME, rolling=True),
        budget(Scope.KEY, "k", 1, time_zone="Mars/Olympus"),
        budget(Scope.KEY, "k1", 1, rolling=True, id="key-k1-day"),
    ],
)
def test_budgets_that_cannot_be(bad: Budget) -> None:
    books = ledger(budget(Scope.KEY, "k1", 100))
    with pytest.raises(ValueError, match=r"budget|roll|time zone"):
        books.budgets.put(bad)
    assert len(books.budgets.all()) == 1


class BudgetModel(RuleBasedStateMachine):
    """Random exchanges of two keys of a team, under budgets of every window."""

    def __init__(self) -> None:
        super().__init__()
        self.budgets = [
            budget(Scope.KEY, "k1", 50, Window.HOUR),
            budget(Scope.KEY, "k2", 60, Window.HOUR, rolling=True),
            budget(Scope.TEAM, "red", 90, Window.DAY, time_zone="America/New_York"),
            budget(Scope.ACCOUNT, "acme", 200, Window.WEEK, rolling=True),
            budget(Scope.SESSION, "acme", 40, Window.LIFETIME),
        ]
        self.ledger = ledger(*self.budgets)
        self.began_ms = self.now_ms = 1_700_000_000_000
        self.uses: dict[str, tuple[Payer, int, int]] = {}  # admitted_ms, amount held or charged
        self.open: list[str] = []

    def used(self, each: Budget, end_ms: int, session: str | None) -> int:
        """What counts in the window of a budget that ends with (or holds) a moment."""
        total = 0
        for payer, at_ms, amount in self.uses.values():
            if not self.concerns(each, payer, session):
                continue
            if each.rolling:
                length = {Window.HOUR: HOUR_MS, Window.WEEK: 7 * 24 * HOUR_MS}[each.window]
                inside = end_ms - length < at_ms <= end_ms
            else:
                begin, end = calendar_span(each.window, each.time_zone, end_ms)
                inside = begin <= at_ms < end
            total += amount if inside else 0
        return total

    def may_have_ended(self, each: Budget, session: str | None) -> bool:
        idle = self.now_ms - self.began_ms >= SESSION_IDLE_MS
        return each.scope is Scope.SESSION and (session is None or idle)

    @staticmethod
    def concerns(each: Budget, payer: Payer, session: str | None) -> bool:
        match each.scope:
            case Scope.KEY:
                return payer.key == each.scope_id
            case Scope.SESSION:
                return payer.session == session
            case _:
                return True

    @rule(
        key=st.sampled_from(["k1", "k2"]),
        session=st.sampled_from(["s1", "s2", None]),
        amount=st.integers(0, 30),
    )
    def hold(self, key: str, session: str | None, amount: int) -> None:
        payer = Payer(account="acme", key=key, team="red", session=session)
        id_ = f"e{len(self.uses)}"
        affordable = self.ledger.affordable(payer, self.now_ms)
        for each in self.budgets:
            if self.concerns(each, payer, session) and not self.may_have_ended(each, session):
                assert affordable <= max(0, each.amount_pusd - self.used(each, self.now_ms, session))
        try:
            self.ledger.hold(id_, payer, amount, self.now_ms)
        except InsufficientCredits:
            assert amount > affordable
            return
        assert amount <= affordable
        self.uses[id_] = (payer, self.now_ms, amount)
        self.open.append(id_)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), cost=st.integers(0, 60))
    def settle(self, data: st.DataObject, cost: int) -> None:
        id_ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        payer, at_ms, held = self.uses[id_]
        settlement = self.ledger.settle(id_, payer, cost, at_ms)
        assert settlement.charged_pusd + settlement.absorbed_pusd == cost
        assert settlement.charged_pusd >= min(cost, held)
        self.uses[id_] = (payer, at_ms, settlement.charged_pusd)

    @rule(pass_ms=st.sampled_from([1, 59_000, 60_000, HOUR_MS // 2, HOUR_MS, 9 * HOUR_MS]))
    def wait(self, pass_ms: int) -> None:
        self.now_ms += pass_ms

    @invariant()
    def no_window_holds_more_than_its_amount(self) -> None:
        ends = {at_ms for _, at_ms, _ in self.uses.values()}
        for each in self.budgets:
            sessions = ("s1", "s2") if each.scope is Scope.SESSION else (None,)
            for session in sessions:
                if self.may_have_ended(each, session):
                    continue
                assert all(self.used(each, end, session) <= each.amount_pusd for end in ends)

    @invariant()
    def what_is_told_is_what_is_used(self) -> None:
        for each in self.budgets[:1] + self.budgets[2:3]:
            (spend,) = self.ledger.budgets.spends(each.id, self.now_ms)
            assert spend.spent_pusd + spend.held_pusd == self.used(each, self.now_ms, None)


TestBudgets = BudgetModel.TestCase
TestBudgets.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_nothing_is_counted_without_budgets() -> None:
    assert not Budgets()
    assert ledger().hold("e1", ACME, 5, 0).shares == ()


def test_the_room_left_by_budgets_as_they_stand() -> None:
    def stands(scope: Scope, scope_id: str, amount: int, spent: int = 0, session: str = "") -> Spend:
        made = Budget(
            id=f"{scope}-{scope_id}-{amount}", account="a", scope=scope, scope_id=scope_id, amount_pusd=amount,
            window=Window.LIFETIME, created_ms=0,
        )  # fmt: skip
        return Spend(budget=made, session=session, spent_pusd=spent, held_pusd=1, ends_ms=None)

    payer = Payer(account="a", key="k", team="t", session="s")
    assert room_left([], payer) is None
    assert room_left([stands(Scope.USER, "u", 5)], payer) is None
    assert room_left([stands(Scope.ACCOUNT, "a", 9, 3), stands(Scope.KEY, "k", 50, 2)], payer) == 5
    own = stands(Scope.SESSION, "k", 7, 2, "s")
    other = stands(Scope.SESSION, "k", 7, 6, "other")
    assert room_left([other], payer) == 7
    assert room_left([own, other], payer) == 4
    assert room_left([own, other], Payer(account="a", key="k")) is None
