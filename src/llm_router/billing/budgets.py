"""What is spent and held against budgets. In memory, one step each, all budgets of a payer or none.

An amount belongs to the window in which its exchange was admitted, whenever it is settled, so that
a recount from the records comes to the same. For every budget and window, at every moment:

    spent + held <= amount
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from llm_router.billing.spans import SLICES, calendar_span, iso_second, slice_ms
from llm_router.domain.budget import Budget, Payer, Scope
from llm_router.domain.errors import InsufficientCredits
from llm_router.domain.money import format_usd

SESSION_IDLE_MS = 24 * 3_600_000
"""A session that has spent nothing for so long is over; its budget begins anew."""


def kept_buckets(budget: Budget) -> int:
    """How many buckets of a budget are kept before the oldest are forgotten.

    A clock that jumps and is set back within a window has used so few others meanwhile that what was
    spent in that window is still there: it does not begin anew.
    """
    return 2 * SLICES + 4 if budget.rolling else 4


class Share(msgspec.Struct, frozen=True):
    """Where an amount is counted: a budget, the session it is for ("" if none), a bucket of time."""

    budget: str
    session: str
    bucket: int


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """How a budget stands in its present window. Amounts are picodollars; ``ends_ms`` is when the
    window ends (of a rolling one: when the oldest spending leaves it), None if never."""

    budget: Budget
    session: str
    spent_pusd: int
    held_pusd: int
    ends_ms: int | None


class _Cell:
    __slots__ = ("held", "open", "spent")

    def __init__(self) -> None:
        self.spent = 0
        self.held = 0
        self.open = 0  # holds that are counted here, those of nothing too


class _Meter:
    """One budget (or one session's copy of it): cells by bucket."""

    __slots__ = ("_begin", "_end", "_slice_ms", "budget", "cells", "touched_ms")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.cells: dict[int, _Cell] = {}
        self.touched_ms = 0
        self._slice_ms = slice_ms(budget.window) if budget.rolling else 0
        self._begin = self._end = 0

    def bucket(self, now_ms: int) -> int:
        """The bucket of a moment."""
        if self._slice_ms:
            return now_ms // self._slice_ms
        if not self._begin <= now_ms < self._end:
            self._begin, self._end = calendar_span(self.budget.window, self.budget.time_zone, now_ms)
        return self._begin

    def room(self, bucket: int, *, holds: bool = True) -> int:
        """What may still be added to a bucket without any window exceeding the amount.

        Without ``holds`` what is held counts for nothing, as if it had all come back.
        """
        if not self._slice_ms:
            cell = self.cells.get(bucket)
            used = 0 if cell is None else cell.spent + (cell.held if holds else 0)
        else:
            ends = [end for end in self.cells if bucket < end <= bucket + SLICES]
            used = max(self._total(end, holds) for end in (bucket, *ends))
        return self.budget.amount_pusd - used

    def _total(self, end: int, holds: bool) -> int:
        cells = self.cells
        return sum(c.spent + (c.held if holds else 0) for b, c in cells.items() if end - SLICES <= b <= end)

    def live(self, bucket: int) -> list[int]:
        """The buckets that the window ending with ``bucket`` covers, oldest first."""
        first = bucket - SLICES if self._slice_ms else bucket
        return sorted(b for b in self.cells if first <= b <= bucket)

    def add(self, bucket: int, *, spent: int = 0, held: int = 0, opened: int = 0) -> None:
        cell = self.cells.get(bucket)
        if cell is None:
            cell = self.cells[bucket] = _Cell()
        cell.spent += spent
        cell.held += held
        cell.open += opened

    def prune(self, bucket: int) -> None:
        """Forget what no window from now on can hold, unless the clock was set meanwhile and is set back."""
        excess = len(self.cells) - kept_buckets(self.budget)
        if excess <= 0:
            return
        oldest = bucket - 2 * SLICES if self._slice_ms else bucket
        over = sorted(b for b, cell in self.cells.items() if b < oldest and not cell.open)
        for old in over[:excess]:
            del self.cells[old]

    def ends_ms(self, bucket: int) -> int | None:
        if self.budget.window.value == "lifetime":
            return None
        if not self._slice_ms:
            return self._end
        live = self.live(bucket)
        return (live[0] + SLICES + 1) * self._slice_ms if live else None


class Budgets:
    """All budgets, and what is spent and held against each."""

    def __init__(self) -> None:
        self._budgets: dict[str, Budget] = {}
        self._by_scope: dict[tuple[Scope, str], list[str]] = {}
        self._meters: dict[tuple[str, str], _Meter] = {}
        self._swept_ms = 0

    def __bool__(self) -> bool:
        return bool(self._budgets)

    def put(self, budget: Budget) -> None:
        """Add a budget, or give the one of that id another amount.

        Raises:
            ValueError: a negative amount, a rolling lifetime, no such time zone, or a budget of that id
                that differs in more than the amount.
        """
        check(budget)
        old = self._budgets.get(budget.id)
        if old is not None and msgspec.structs.replace(old, amount_pusd=budget.amount_pusd) != budget:
            raise ValueError(f"the budget {budget.id} is another one")
        self._budgets[budget.id] = budget
        if old is None:
            self._by_scope.setdefault((budget.scope, budget.scope_id), []).append(budget.id)
        for (id_, _), meter in self._meters.items():
            if id_ == budget.id:
                meter.budget = budget

    def recall(
        self,
        budget_id: str,
        session: str,
        bucket: int,
        spent_pusd: int,
        seen_ms: int,
        *,
        held_pusd: int = 0,
        opened: int = 0,
    ) -> None:
        """Count what was spent, and is held by so many open holds, before this ledger was there to count it."""
        budget = self._budgets.get(budget_id)
        if budget is not None:
            meter = self._meter(budget, session)
            meter.add(bucket, spent=spent_pusd, held=held_pusd, opened=opened)
            meter.touched_ms = max(meter.touched_ms, seen_ms)

    def counted(self, share: Share) -> tuple[int, int, int] | None:
        """(spent, held, open holds) where a share is counted; None if nothing is, or not any more."""
        meter = self._meters.get((share.budget, share.session))
        cell = None if meter is None else meter.cells.get(share.bucket)
        return None if cell is None else (cell.spent, cell.held, cell.open)

    def remove(self, budget_id: str) -> None:
        """Forget a budget; what is held against it resolves without it."""
        budget = self._budgets.pop(budget_id, None)
        if budget is None:
            return
        self._by_scope[budget.scope, budget.scope_id].remove(budget_id)
        for place in [place for place in self._meters if place[0] == budget_id]:
            del self._meters[place]

    def get(self, budget_id: str) -> Budget | None:
        return self._budgets.get(budget_id)

    def all(self) -> list[Budget]:
        return list(self._budgets.values())

    def bucket_of(self, budget: Budget, now_ms: int) -> int:
        """The bucket in which that budget counts what is admitted at a moment."""
        return _Meter(budget).bucket(now_ms)

    def spends(self, budget_id: str, now_ms: int) -> Iterator[Spend]:
        """How a budget stands: once, or once for each session that spent of it."""
        budget = self._budgets[budget_id]
        found = [(s, m) for (id_, s), m in self._meters.items() if id_ == budget_id]
        if not found:
            found = [("", _Meter(budget))]
        for session, meter in found:
            bucket = meter.bucket(now_ms)
            cells = [meter.cells[b] for b in meter.live(bucket)]
            yield Spend(
                budget=budget,
                session=session,
                spent_pusd=sum(c.spent for c in cells),
                held_pusd=sum(c.held for c in cells),
                ends_ms=meter.ends_ms(bucket),
            )

    def available(self, payer: Payer, now_ms: int) -> int | None:
        """What the tightest budget of a payer leaves; None if no budget bounds it."""
        rooms = [meter.room(meter.bucket(now_ms)) for _, meter in self._meters_of(payer)]
        return min(rooms) if rooms else None

    def reachable(self, payer: Payer, now_ms: int) -> int | None:
        """What the tightest budget would leave if nothing were held; None if no budget bounds it."""
        rooms = [meter.room(meter.bucket(now_ms), holds=False) for _, meter in self._meters_of(payer)]
        return min(rooms) if rooms else None

    def reserve(self, payer: Payer, amount_pusd: int, now_ms: int) -> tuple[Share, ...]:
        """Hold an amount against every budget of a payer, or against none.

        Raises:
            InsufficientCredits: naming the budget that leaves the least.
        """
        if not self._budgets:
            return ()
        shares: list[tuple[Share, _Meter]] = []
        tightest: tuple[int, _Meter, int] | None = None
        for session, meter in self._meters_of(payer):
            bucket = meter.bucket(now_ms)
            room = meter.room(bucket)
            if tightest is None or room < tightest[0]:
                tightest = room, meter, bucket
            shares.append((Share(meter.budget.id, session, bucket), meter))
        if tightest is not None and amount_pusd > tightest[0]:
            raise _exceeded(amount_pusd, *tightest)
        for share, meter in shares:
            meter.prune(share.bucket)
            meter.add(share.bucket, held=amount_pusd, opened=1)
            meter.touched_ms = now_ms
        self._sweep(now_ms)
        return tuple(share for share, _ in shares)

    def shares(self, payer: Payer, now_ms: int) -> tuple[Share, ...]:
        """Where an amount of that payer and moment is counted."""
        return tuple(
            Share(meter.budget.id, session, meter.bucket(now_ms)) for session, meter in self._meters_of(payer)
        )

    def share_of(self, budget: Budget, payer: Payer, now_ms: int) -> Share | None:
        """Where that budget counts an amount of that payer and moment; None if it does not."""
        shares = self.shares(payer, now_ms)
        return next((share for share in shares if share.budget == budget.id), None)

    def room(self, shares: tuple[Share, ...]) -> int | None:
        """What may be added where the shares are, in every one of them; None if there are none."""
        rooms = [meter.room(bucket) for meter, bucket in self._places(shares)]
        return min(rooms) if rooms else None

    def hold(self, shares: tuple[Share, ...], amount_pusd: int) -> None:
        """Hold an amount where the shares are, whether there is room or not."""
        for meter, bucket in self._places(shares):
            meter.add(bucket, held=amount_pusd, opened=1)

    def release(self, shares: tuple[Share, ...], amount_pusd: int) -> None:
        """Undo :meth:`reserve` or :meth:`hold`."""
        for meter, bucket in self._places(shares):
            meter.add(bucket, held=-amount_pusd, opened=-1)

    def spend(self, shares: tuple[Share, ...], amount_pusd: int, admitted_ms: int = 0) -> None:
        """Count what is spent where the shares are; negative to undo. A session that has spent is not over."""
        for meter, bucket in self._places(shares):
            meter.add(bucket, spent=amount_pusd)
            meter.touched_ms = max(meter.touched_ms, admitted_ms)

    def _places(self, shares: tuple[Share, ...]) -> Iterator[tuple[_Meter, int]]:
        for share in shares:
            meter = self._meters.get((share.budget, share.session))
            if meter is not None:  # else the budget was removed meanwhile
                yield meter, share.bucket

    def _meters_of(self, payer: Payer) -> list[tuple[str, _Meter]]:
        found: list[tuple[str, _Meter]] = []
        for scope, id_ in (
            (Scope.ACCOUNT, payer.account),
            (Scope.TEAM, payer.team),
            (Scope.USER, payer.user),
            (Scope.KEY, payer.key),
        ):
            if id_:
                found += [("", self._meter(b, "")) for b in self._of(scope, id_, payer.account)]
        if payer.session:
            for id_ in (payer.account, payer.key):
                found += [
                    (payer.session, self._meter(b, payer.session))
                    for b in self._of(Scope.SESSION, id_, payer.account)
                ]
        return found

    def _of(self, scope: Scope, id_: str, account: str) -> list[Budget]:
        ids = self._by_scope.get((scope, id_), ())
        return [b for b in map(self._budgets.__getitem__, ids) if b.account == account]

    def _meter(self, budget: Budget, session: str) -> _Meter:
        place = (budget.id, session)
        meter = self._meters.get(place)
        if meter is None:
            meter = self._meters[place] = _Meter(budget)
        return meter

    def _sweep(self, now_ms: int) -> None:
        """Forget sessions that are over. Looks at them all, but once an hour only."""
        if now_ms - self._swept_ms < SESSION_IDLE_MS // 24:
            return
        self._swept_ms = now_ms
        for place, meter in list(self._meters.items()):
            idle = now_ms - meter.touched_ms >= SESSION_IDLE_MS
            if place[1] and idle and not any(cell.open for cell in meter.cells.values()):
                del self._meters[place]


def room_left(spends: Iterable[Spend], payer: Payer) -> int | None:
    """What the tightest budget of a payer leaves, of how budgets stand; None if none bounds it."""
    ids = {
        Scope.ACCOUNT: (payer.account,),
        Scope.TEAM: (payer.team,),
        Scope.USER: (payer.user,),
        Scope.KEY: (payer.key,),
        Scope.SESSION: (payer.account, payer.key) if payer.session else (),
    }
    rooms: dict[str, int] = {}
    for spend in spends:
        budget = spend.budget
        if budget.account != payer.account or budget.scope_id not in ids[budget.scope]:
            continue
        rooms.setdefault(budget.id, budget.amount_pusd)
        if budget.scope is not Scope.SESSION or spend.session == payer.session:
            rooms[budget.id] = budget.amount_pusd - spend.spent_pusd - spend.held_pusd
    return min(rooms.values()) if rooms else None


def check(budget: Budget) -> None:
    """
    Raises:
        ValueError: the amount is negative, the lifetime rolls, or there is no such time zone.
    """
    if budget.amount_pusd < 0:
        raise ValueError("the amount of a budget cannot be negative")
    if budget.rolling and budget.window.value == "lifetime":
        raise ValueError("a lifetime does not roll: it never ends")
    calendar_span(budget.window, budget.time_zone, 0)


def _exceeded(needed_pusd: int, room_pusd: int, meter: _Meter, bucket: int) -> InsufficientCredits:
    budget = meter.budget
    needed, available = format_usd(needed_pusd), format_usd(max(0, room_pusd))
    kind = Scope.KEY if budget.scope is Scope.SESSION else budget.scope
    whose = "the account" if budget.scope_id == budget.account else f"{kind} {budget.scope_id}"
    each = "each session of " if budget.scope is Scope.SESSION else ""
    ends_ms = meter.ends_ms(bucket)
    window = "in all" if budget.window.value == "lifetime" else f"a {budget.window}"
    return InsufficientCredits(
        f"The request may cost up to ${needed}, but the budget of {each}{whose} (${format_usd(budget.amount_pusd)} "
        f"{window}) leaves ${available}.",
        details={
            "needed": msgspec.Raw(needed.encode()),
            "available": msgspec.Raw(available.encode()),
            "budget": {
                "id": budget.id,
                "scope": budget.scope.value,
                "scope_id": budget.scope_id,
                "amount": msgspec.Raw(format_usd(budget.amount_pusd).encode()),
                "window": budget.window.value,
                "resets_at": None if ends_ms is None else iso_second(ends_ms),
            },
        },
    )
