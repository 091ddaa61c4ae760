"""The ledger's arithmetic: balances, holds and what each move does to them. In memory, one step each.

Every store keeps one :class:`Ledger` as the truth of the moment and makes its moves durable. A move
that could not be made durable is undone; moves commute, so undoing one does not disturb the rest.

Invariants, for every account at every moment:

    posted = sum of its entries          held = sum of its open holds          posted - held >= 0

The budgets of whoever pays move in the same step as the account, or nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from llm_router.billing.budgets import Budgets, Share
from llm_router.domain.budget import Budget, Payer
from llm_router.domain.errors import InsufficientCredits, InvalidRequest
from llm_router.domain.money import MAX_PUSD, format_usd
from llm_router.domain.record import ExchangeRecord


class Hold(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Credits reserved for an exchange."""

    exchange_id: str
    payer: Payer
    amount_pusd: int
    available_pusd: int  # after it, of the account
    admitted_ms: int
    shares: tuple[Share, ...] = ()  # where budgets count it

    @property
    def account(self) -> str:
        return self.payer.account


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What an exchange is to hold.

    Attributes:
        price_version: of the dearest price that it may be charged by.
    """

    exchange_id: str
    amount_pusd: int
    price_version: str


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a hold was resolved.

    Attributes:
        hold: the hold it resolves; None for an exchange that never held anything.
        shares: where budgets count what is charged.
        charged_pusd: what the account pays; absorbed_pusd: the part of the cost above hold, balance
            and budgets, which the operator bears. Their sum is the metered cost.
        remaining_pusd: posted minus held after it.
    """

    hold: Hold | None
    account: str
    charged_pusd: int
    absorbed_pusd: int
    remaining_pusd: int
    shares: tuple[Share, ...] = ()


class Credit(msgspec.Struct, frozen=True, kw_only=True):
    account: str
    amount_pusd: int
    remaining_pusd: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the books; never changed, never removed.

    Attributes:
        seq: 1, 2, 3 and so on without a gap, over all accounts.
        ref: what it books, unique: ``use:`` and the exchange id, or ``credit:`` and the caller's ref.
        kind: ``use`` (negative), ``grant`` (positive) or ``adjust`` (negative).
        note: the price version of a use, the reason of the others.
    """

    seq: int
    ref: str
    account: str
    amount_pusd: int
    kind: str
    created_ms: int
    note: str


def credit_kind(amount_pusd: int) -> str:
    return "grant" if amount_pusd > 0 else "adjust"


def no_entry() -> InvalidRequest:
    """What is told of a place in an account's books that is not there."""
    return InvalidRequest(
        "'after' names no entry of this account's books: it takes the 'last_id' of the page before.",
        param="after",
    )


def same_credit(entry: Entry, account: str, amount_pusd: int) -> None:
    """Check that a credit booked under a ref is the one asked for again.

    Raises:
        InvalidRequest: the ref was used for another credit.
    """
    if (entry.account, entry.amount_pusd) != (account, amount_pusd):
        raise InvalidRequest(
            f"The reference {entry.ref.removeprefix('credit:')!r} was used for another booking. "
            "Choose a new one for a new booking.",
            param="ref",
        )


def booked(record: ExchangeRecord, settlement: Settlement) -> ExchangeRecord:
    """The record as it is to be written: what was charged, and what was absorbed."""
    if settlement.absorbed_pusd == 0:
        return record
    return msgspec.structs.replace(
        record,
        cost_pusd=settlement.charged_pusd,
        absorbed_pusd=record.absorbed_pusd + settlement.absorbed_pusd,
    )


class _Balance:
    __slots__ = ("held", "moved", "posted")

    def __init__(self, posted: int, held: int) -> None:
        self.posted = posted
        self.held = held
        self.moved = True  # since somebody looked for idle ones

    @property
    def available(self) -> int:
        return self.posted - self.held


class Ledger:
    """Balances and open holds.

    Attributes:
        budgets: what bounds the spending of parts of an account.
    """

    def __init__(
        self,
        balances: Iterable[tuple[str, int]] = (),
        budgets: Budgets | None = None,
        *,
        stored: Callable[[str], int] | None = None,
    ) -> None:
        """Begin with the posted amounts of the accounts, what is spent of budgets, and no hold.

        Args:
            stored: the posted amount of an account that this ledger does not know (yet, or any more), 0 of
                one that was never credited. What it raises, the asking method raises, and nothing moved.
        """
        self._stored = stored
        self._balances = {account: _Balance(posted, 0) for account, posted in balances}
        self._open: dict[str, Hold] = {}
        self._owed: dict[str, int] = {}
        self._undone: set[str] = set()  # holds undone after their settlement, itself to be undone
        self.budgets = Budgets() if budgets is None else budgets

    def recall(self, account: str, posted_pusd: int, held_pusd: int) -> None:
        """Take over where an account stands, as another ledger kept it."""
        self._balances[account] = _Balance(posted_pusd, held_pusd)

    def recall_hold(self, hold: Hold) -> None:
        """Take over an open hold, which the account's and the budgets' amounts count already."""
        self._open[hold.exchange_id] = hold

    def available(self, account: str) -> int:
        """Posted minus held; 0 for an account that was never credited."""
        balance = self._known(account)
        return 0 if balance is None else balance.available

    def affordable(self, payer: Payer, now_ms: int) -> int:
        """What a request of that payer may hold now: the account's credit within all budgets."""
        available = self.available(payer.account)
        room = self.budgets.available(payer, now_ms) if self.budgets else None
        return available if room is None else max(0, min(available, room))

    def reachable(self, payer: Payer, now_ms: int) -> int:
        """What a request of that payer could hold if all other holds came back whole."""
        balance = self._known(payer.account)
        posted = 0 if balance is None else balance.posted
        room = self.budgets.reachable(payer, now_ms) if self.budgets else None
        return max(0, posted if room is None else min(posted, room))

    def balances(self) -> Iterator[tuple[str, int, int]]:
        """(account, posted, held) of every account that is in memory."""
        for account, balance in self._balances.items():
            yield account, balance.posted, balance.held

    def __len__(self) -> int:
        """How many accounts are in memory."""
        return len(self._balances)

    def idle(self, limit: int) -> list[str]:
        """Accounts without holds that nothing has moved since they were looked at here, among those that
        were looked at longest ago: so many."""
        found: list[str] = []
        for account in list(islice(self._balances, limit)):
            balance = self._balances[account]
            if balance.held or balance.moved:
                balance.moved = False
                self._balances[account] = self._balances.pop(account)  # behind all others
            else:
                found.append(account)
        return found

    def forget(self, accounts: Iterable[str]) -> None:
        """Forget those that were :meth:`idle` and are still. To be called when everything that had moved them
        before is where ``stored`` reads it."""
        for account in accounts:
            balance = self._balances.get(account)
            if balance is not None and not (balance.held or balance.moved):
                del self._balances[account]

    def is_open(self, exchange_id: str) -> bool:
        return exchange_id in self._open

    def open_hold(self, exchange_id: str) -> Hold | None:
        """The open hold of an exchange."""
        return self._open.get(exchange_id)

    def open_holds(self) -> int:
        return len(self._open)

    def hold(self, exchange_id: str, payer: Payer, amount_pusd: int, now_ms: int) -> Hold:
        """Reserve credits, against the account and every budget of the payer.

        Raises:
            InsufficientCredits: the account has less available, or owes, or a budget leaves less.
            ValueError: the amount is negative, or the exchange holds already.
        """
        self._check_new(exchange_id, amount_pusd)
        balance, shares = self._reserve(amount_pusd, payer, now_ms)
        hold = self._open[exchange_id] = Hold(
            exchange_id=exchange_id,
            payer=payer,
            amount_pusd=amount_pusd,
            available_pusd=balance.posted - balance.held,
            admitted_ms=now_ms,
            shares=shares,
        )
        return hold

    def hold_all(self, wanted: Sequence[Wanted], payer: Payer, now_ms: int) -> list[Hold]:
        """Reserve credits for several exchanges: all of it or nothing.

        Raises:
            as :meth:`hold`, of the sum.
        """
        if len({each.exchange_id for each in wanted}) < len(wanted):
            raise ValueError("an exchange would hold twice")
        for each in wanted:
            self._check_new(each.exchange_id, each.amount_pusd)
        balance, shares = self._reserve(sum(each.amount_pusd for each in wanted), payer, now_ms)
        holds = [
            Hold(
                exchange_id=each.exchange_id,
                payer=payer,
                amount_pusd=each.amount_pusd,
                available_pusd=balance.available,
                admitted_ms=now_ms,
                shares=shares,
            )
            for each in wanted
        ]
        for hold in holds:
            self._open[hold.exchange_id] = hold
        return holds

    def _check_new(self, exchange_id: str, amount_pusd: int) -> None:
        if amount_pusd < 0:
            raise ValueError(f"a hold of {amount_pusd} p$ would be a credit")
        if exchange_id in self._open:
            raise ValueError(f"exchange {exchange_id} holds credits already")

    def _reserve(self, sum_pusd: int, payer: Payer, now_ms: int) -> tuple[_Balance, tuple[Share, ...]]:
        """Move the account and its payer's budgets; return where it stands then and where budgets count it."""
        account = payer.account
        balance = self._balances.get(account) or self._balance(account)
        if account in self._owed:
            raise self._indebted(account, sum_pusd)
        if sum_pusd > balance.posted - balance.held:
            raise self._refusal(insufficient(sum_pusd, balance.available), payer, now_ms)
        try:
            shares = self.budgets.reserve(payer, sum_pusd, now_ms)
        except InsufficientCredits as error:
            raise self._refusal(error, payer, now_ms) from None
        balance.held += sum_pusd
        balance.moved = True
        return balance, shares

    def settle(self, exchange_id: str, payer: Payer, cost_pusd: int, admitted_ms: int) -> Settlement:
        """Resolve the hold of an exchange, or charge one that held nothing.

        Never takes more than the hold and what else is available and budgeted, so that no balance
        becomes negative and no budget is exceeded; the rest is absorbed.

        Raises:
            ValueError: the cost is negative or more than an account can hold, or the hold belongs
                to another account.
        """
        if not 0 <= cost_pusd <= MAX_PUSD:
            raise ValueError(f"a cost of {cost_pusd} p$ cannot be booked")
        hold, account = self._open.get(exchange_id), payer.account
        if hold is not None and hold.payer.account != account:
            raise ValueError(f"the hold of exchange {exchange_id} belongs to another account")
        balance = self._balances.get(account) or self._balance(account)
        shares = self.budgets.shares(payer, admitted_ms) if hold is None else hold.shares
        if hold is not None:
            del self._open[exchange_id]
            balance.held -= hold.amount_pusd
        available = balance.posted - balance.held
        charged = available if cost_pusd > available else cost_pusd
        if shares:
            charged = self._spend(shares, hold, charged, admitted_ms)
        balance.posted -= charged
        balance.moved = True
        return Settlement(
            hold=hold,
            account=account,
            charged_pusd=charged,
            absorbed_pusd=cost_pusd - charged,
            remaining_pusd=available - charged,
            shares=shares,
        )

    def _spend(self, shares: tuple[Share, ...], hold: Hold | None, pusd: int, admitted_ms: int) -> int:
        """Resolve a hold where budgets count it, and charge what they leave of an amount; return that."""
        if hold is not None:
            self.budgets.release(shares, hold.amount_pusd)
        room = self.budgets.room(shares)
        charged = pusd if room is None else max(0, min(pusd, room))
        self.budgets.spend(shares, charged, admitted_ms)
        return charged

    def owe(self, account: str, owed_pusd: int) -> None:
        """Refuse holds of an account as long as it owes more than 0."""
        if owed_pusd > 0:
            self._owed[account] = owed_pusd
        else:
            self._owed.pop(account, None)

    def _indebted(self, account: str, needed_pusd: int) -> InsufficientCredits:
        owed = format_usd(self._owed[account])
        details = _amounts(needed_pusd, 0) | {"owed": msgspec.Raw(owed.encode())}
        return InsufficientCredits(
            f"The account owes ${owed} of payments that were taken back, and is blocked until that is paid.",
            code="account_blocked",
            details=details,
        )

    def _refusal(self, error: InsufficientCredits, payer: Payer, now_ms: int) -> InsufficientCredits:
        error.available_pusd = self.affordable(payer, now_ms)
        error.reachable_pusd = self.reachable(payer, now_ms)
        return error

    def credit(self, account: str, amount_pusd: int) -> Credit:
        """Add to an account, or with a negative amount take from what is available.

        Raises:
            InvalidRequest: the amount is 0, or the account would exceed its maximum.
            InsufficientCredits: less than that is available to take.
        """
        if amount_pusd == 0:
            raise InvalidRequest("The amount is 0: nothing would be booked.", param="amount")
        balance = self._balance(account)
        if balance.posted + amount_pusd > MAX_PUSD:
            raise InvalidRequest(
                f"The account would hold more than ${format_usd(MAX_PUSD)}, the most that one may hold.",
                param="amount",
            )
        if -amount_pusd > balance.available:
            raise InsufficientCredits(
                f"${format_usd(-amount_pusd)} cannot be taken: ${format_usd(balance.available)} is available.",
                details=_amounts(-amount_pusd, balance.available),
            )
        balance.posted += amount_pusd
        balance.moved = True
        return Credit(account=account, amount_pusd=amount_pusd, remaining_pusd=balance.available)

    def set_budget(self, budget: Budget) -> None:
        """Add a budget, or give the one of that id another amount. What is held counts against it too.

        Raises:
            ValueError: see :meth:`llm_router.billing.budgets.Budgets.put`.
        """
        known = self.budgets.get(budget.id) is not None
        self.budgets.put(budget)
        for hold in () if known else tuple(self._open.values()):
            share = self.budgets.share_of(budget, hold.payer, hold.admitted_ms)
            if share is not None:
                self.budgets.hold((share,), hold.amount_pusd)
                self._open[hold.exchange_id] = msgspec.structs.replace(hold, shares=(*hold.shares, share))

    def undo_budget(self, budget_id: str, old: Budget | None) -> None:
        """Forget a budget, or a change of it, that could not be made durable."""
        if old is None:
            self.budgets.remove(budget_id)
        else:
            self.budgets.put(old)

    def undo_hold(self, hold: Hold) -> None:
        """Forget a hold that could not be made durable, and was perhaps settled in the meantime."""
        current = self._open.pop(hold.exchange_id, None)
        if current is None:
            self._undone.add(hold.exchange_id)
        else:
            balance = self._balance(hold.account)
            balance.held -= hold.amount_pusd
            balance.moved = True
            self.budgets.release(current.shares, hold.amount_pusd)

    def undo_settlement(self, settlement: Settlement) -> None:
        """Open the hold again, as it was before a settlement that could not be made durable."""
        balance = self._balance(settlement.account)
        balance.posted += settlement.charged_pusd
        balance.moved = True
        self.budgets.spend(settlement.shares, -settlement.charged_pusd)
        hold = settlement.hold
        if hold is None:
            return
        if hold.exchange_id in self._undone:
            self._undone.discard(hold.exchange_id)
        else:
            balance.held += hold.amount_pusd
            self.budgets.hold(hold.shares, hold.amount_pusd)
            self._open[hold.exchange_id] = hold

    def undo_credit(self, credit: Credit) -> None:
        balance = self._balance(credit.account)
        balance.posted -= credit.amount_pusd
        balance.moved = True

    def _balance(self, account: str) -> _Balance:
        balance = self._balances.get(account)
        if balance is None:
            posted_pusd = 0 if self._stored is None else self._stored(account)
            balance = self._balances[account] = _Balance(posted_pusd, 0)
        return balance

    def _known(self, account: str) -> _Balance | None:
        return self._balances.get(account) if self._stored is None else self._balance(account)


def insufficient(needed_pusd: int, available_pusd: int) -> InsufficientCredits:
    """The 402: what was needed and what is there, in exact dollars."""
    needed, available = format_usd(needed_pusd), format_usd(max(0, available_pusd))
    return InsufficientCredits(
        f"The request may cost up to ${needed}, but ${available} is available.",
        details=_amounts(needed_pusd, available_pusd),
    )


def _amounts(needed_pusd: int, available_pusd: int) -> dict[str, object]:
    """Exact JSON numbers."""
    return {
        "needed": msgspec.Raw(format_usd(needed_pusd).encode()),
        "available": msgspec.Raw(format_usd(max(0, available_pusd)).encode()),
    }
