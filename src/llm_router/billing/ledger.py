"""The ledger's arithmetic: balances, holds and what each move does to them. In memory, one step each.

Every store keeps one :class:`Ledger` as the truth of the moment and makes its moves durable. A move
that could not be made durable is undone; moves commute, so undoing one does not disturb the rest.

Invariants, for every account at every moment:

    posted = sum of its entries          held = sum of its open holds          posted - held >= 0
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from llm_router.domain.errors import InsufficientCredits, InvalidRequest
from llm_router.domain.money import MAX_PUSD, format_usd
from llm_router.domain.record import ExchangeRecord


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Credits reserved for an exchange."""

    exchange_id: str
    account: str
    amount_pusd: int
    available_pusd: int  # after it


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How a hold was resolved.

    Attributes:
        hold: the hold it resolves; None for an exchange that never held anything.
        charged_pusd: what the account pays; absorbed_pusd: the part of the cost above hold and
            balance, which the operator bears. Their sum is the metered cost.
        remaining_pusd: posted minus held after it.
    """

    hold: Hold | None
    account: str
    charged_pusd: int
    absorbed_pusd: int
    remaining_pusd: int


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
        record, cost_pusd=settlement.charged_pusd, absorbed_pusd=settlement.absorbed_pusd
    )


class _Balance:
    __slots__ = ("held", "posted")

    def __init__(self, posted: int, held: int) -> None:
        self.posted = posted
        self.held = held

    @property
    def available(self) -> int:
        return self.posted - self.held


class Ledger:
    """Balances and open holds."""

    def __init__(self, balances: Iterable[tuple[str, int]] = ()) -> None:
        """Begin with the posted amounts of the accounts and no hold."""
        self._balances = {account: _Balance(posted, 0) for account, posted in balances}
        self._open: dict[str, Hold] = {}
        self._undone: set[str] = set()  # holds undone after their settlement, itself to be undone

    def available(self, account: str) -> int:
        """Posted minus held; 0 for an account that was never credited."""
        balance = self._balances.get(account)
        return 0 if balance is None else balance.available

    def balances(self) -> Iterator[tuple[str, int, int]]:
        """(account, posted, held) of every account."""
        for account, balance in self._balances.items():
            yield account, balance.posted, balance.held

    def is_open(self, exchange_id: str) -> bool:
        return exchange_id in self._open

    def open_holds(self) -> int:
        return len(self._open)

    def hold(self, exchange_id: str, account: str, amount_pusd: int) -> Hold:
        """Reserve credits.

        Raises:
            InsufficientCredits: the account has less available.
            ValueError: the amount is negative, or the exchange holds already.
        """
        if amount_pusd < 0:
            raise ValueError(f"a hold of {amount_pusd} p$ would be a credit")
        if exchange_id in self._open:
            raise ValueError(f"exchange {exchange_id} holds credits already")
        balance = self._balance(account)
        if amount_pusd > balance.available:
            raise insufficient(amount_pusd, balance.available)
        balance.held += amount_pusd
        hold = Hold(
            exchange_id=exchange_id,
            account=account,
            amount_pusd=amount_pusd,
            available_pusd=balance.available,
        )
        self._open[exchange_id] = hold
        return hold

    def settle(self, exchange_id: str, account: str, cost_pusd: int) -> Settlement:
        """Resolve the hold of an exchange, or charge one that held nothing.

        Never takes more than the hold and what else is available, so that no balance becomes
        negative; the rest is absorbed.

        Raises:
            ValueError: the cost is negative or more than an account can hold, or the hold belongs
                to another account.
        """
        if not 0 <= cost_pusd <= MAX_PUSD:
            raise ValueError(f"a cost of {cost_pusd} p$ cannot be booked")
        hold = self._open.get(exchange_id)
        if hold is not None and hold.account != account:
            raise ValueError(f"the hold of exchange {exchange_id} belongs to another account")
        balance = self._balance(account)
        if hold is not None:
            del self._open[exchange_id]
            balance.held -= hold.amount_pusd
        charged = min(cost_pusd, balance.available)
        balance.posted -= charged
        return Settlement(
            hold=hold,
            account=account,
            charged_pusd=charged,
            absorbed_pusd=cost_pusd - charged,
            remaining_pusd=balance.available,
        )

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
            raise insufficient(-amount_pusd, balance.available)
        balance.posted += amount_pusd
        return Credit(account=account, amount_pusd=amount_pusd, remaining_pusd=balance.available)

    def undo_hold(self, hold: Hold) -> None:
        """Forget a hold that could not be made durable, and was perhaps settled in the meantime."""
        if self._open.pop(hold.exchange_id, None) is None:
            self._undone.add(hold.exchange_id)
        else:
            self._balance(hold.account).held -= hold.amount_pusd

    def undo_settlement(self, settlement: Settlement) -> None:
        """Open the hold again, as it was before a settlement that could not be made durable."""
        balance = self._balance(settlement.account)
        balance.posted += settlement.charged_pusd
        hold = settlement.hold
        if hold is None:
            return
        if hold.exchange_id in self._undone:
            self._undone.discard(hold.exchange_id)
        else:
            balance.held += hold.amount_pusd
            self._open[hold.exchange_id] = hold

    def undo_credit(self, credit: Credit) -> None:
        self._balance(credit.account).posted -= credit.amount_pusd

    def _balance(self, account: str) -> _Balance:
        balance = self._balances.get(account)
        if balance is None:
            balance = self._balances[account] = _Balance(0, 0)
        return balance


def insufficient(needed_pusd: int, available_pusd: int) -> InsufficientCredits:
    """The 402: what was needed and what is there, in exact dollars."""
    needed, available = format_usd(needed_pusd), format_usd(available_pusd)
    return InsufficientCredits(
        f"This may cost up to ${needed}, but only ${available} of credit is available. "
        "Add credits, lower max_tokens, or choose a cheaper model.",
        details={"needed": needed, "available": available},
    )
