"""The proof of books, wherever they are stored: what follows from something else is calculated again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from llm_router.adapters.spending import Spending
from llm_router.adapters.sqlite.prices import decode_price, figures
from llm_router.billing.folds import FOLDS, folded_key
from llm_router.billing.own_keys import FEE_MARK
from llm_router.billing.payments import Order, ref_of
from llm_router.billing.pricing import MARK, sold
from llm_router.billing.rerate import lines_doubt, rerated
from llm_router.billing.rollups import COUNTS, RollupKey, add_counts, rollup_counts, rollup_key
from llm_router.domain.budget import Budget
from llm_router.domain.price import Price
from llm_router.domain.price_rule import PriceRule
from llm_router.domain.record import ExchangeRecord

_records = msgspec.json.Decoder(ExchangeRecord)


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing that does not agree.

    Attributes:
        check: of what: file, prices, entries, exchanges, accounts, holds, rollups, folds, budgets, limits, orders,
            papers, head, journal.
        where: the row in question.
    """

    check: str
    where: str
    what: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was proven.

    Attributes:
        rerated: exchanges whose cost was calculated again from the stored prices.
        unproven: charged by a version that stored no prices: their lines were added up, no more.
        seq, head: number and hash of the last entry, to be kept elsewhere.
        journal: of a SQLite store: "checked", "in use" by a process and not looked at, or "absent".
        journaled: moves in it that the next start books.
    """

    entries: int = 0
    exchanges: int = 0
    rerated: int = 0
    unproven: int = 0
    accounts: int = 0
    rollups: int = 0
    budgets: int = 0
    papers: int = 0
    seq: int = 0
    head: str = ""
    journal: str | None = None
    journaled: int | None = None
    doubt: Doubt | None = None


class Doubted(Exception):
    """Ends the proof."""

    def __init__(self, check: str, where: str, what: str) -> None:
        super().__init__(what)
        self.doubt = Doubt(check=check, where=where, what=what)


class Recount:
    """Takes the rows of a store one by one, and raises :class:`Doubted` at the first that does not agree.

    Attributes:
        texts: the prices by version, as they are stored.
    """

    def __init__(self, budgets: Iterable[Budget], now_ms: int, *, exact: bool = False) -> None:
        self.texts: dict[str, str] = {}
        self._decoded: dict[str, Price] = {}
        self._sums: dict[str, int] = {}
        self._rollups: dict[RollupKey, tuple[int, ...]] = {}
        self._spending = Spending(budgets, now_ms, exact=exact)
        self.entries = self.exchanges = self.rerated = self.unproven = self.accounts = 0
        self.papers = 0
        self.journal: str | None = None
        self.journaled: int | None = None

    def verdict(self, doubt: Doubt | None, head: str, seq: int) -> Verdict:
        return Verdict(
            entries=self.entries,
            exchanges=self.exchanges,
            rerated=self.rerated,
            unproven=self.unproven,
            accounts=self.accounts,
            rollups=len(self._rollups),
            budgets=self._spending.budgets,
            papers=self.papers,
            seq=seq,
            head=head if doubt is None else "",
            journal=self.journal,
            journaled=self.journaled,
            doubt=doubt,
        )

    def price(self, version: str, body: str) -> None:
        try:
            self._decoded[version] = decode_price(body)
        except msgspec.DecodeError as error:
            raise Doubted("prices", version, f"it cannot be read: {error}") from None
        if self._decoded[version].version != version:
            raise Doubted("prices", version, "it is the price of another version")
        self.texts[version] = body

    def rules(self, published: Iterable[PriceRule]) -> None:
        """Prices that a rule made come out again. After all prices."""
        rules = {rule.id: rule for rule in published}
        for version, price in self._decoded.items():
            base, mark, id_ = version.rpartition(MARK)
            if not mark or FEE_MARK in id_:  # that of an own key is made of a price that is not kept
                continue
            if id_ not in rules:
                raise Doubted("prices", version, f"the rule {id_} that made it is missing")
            made = None if base not in self._decoded else sold(self._decoded[base], rules[id_])
            if made is None or figures(made) != figures(price):
                raise Doubted("prices", version, f"it is not what the rule {id_} makes of {base}")

    def entry(self, where: str, ref: str, account: str, amount_pusd: int, kind: str) -> None:
        """An entry in itself; its hash and its exchange are the store's to check."""
        if (amount_pusd < 0) != (kind in ("use", "adjust")) or amount_pusd == 0:
            raise Doubted("entries", where, f"an amount of {amount_pusd} p$ is none of its kind")
        if (kind == "use") != ref.startswith("use:"):
            raise Doubted("entries", where, "its kind is not that of its reference")
        self.entries += 1
        self._sums[account] = self._sums.get(account, 0) + amount_pusd

    def exchange(
        self, id_: str, columns: Sequence[object], hold: int | None, text: str, *, booked: bool, proven: bool
    ) -> None:
        """An exchange.

        Args:
            columns: account, key, reply_id, created_ms, model, status, cost.
            booked: there is an entry for it.
            proven: it is younger than the stored prices.
        """
        where = f"exchange {id_}"
        record = _row_record(where, id_, columns, text)
        if (record.cost_pusd != 0) != booked:
            raise Doubted("exchanges", where, f"it cost {record.cost_pusd} p$, which is not booked")
        if hold is not None and hold < 0:
            raise Doubted("exchanges", where, "its hold is negative")
        self._rerate(record, where, proven)
        self.exchanges += 1
        key = rollup_key(record)
        sums = self._rollups.get(key)
        counts = rollup_counts(record)
        self._rollups[key] = counts if sums is None else add_counts(sums, counts)
        self._spending.add(record)

    def order(self, id_: str, account: str, order: Order, entries: dict[str, tuple[str, int]]) -> None:
        """An order of a payment, and the bookings of payments (account and amount by reference) that no order has
        named yet: those of this one are taken out."""
        where = f"order {id_}"
        if (order.id, order.account) != (id_, account):
            raise Doubted("orders", where, "its columns are not those of its body")
        for booking in order.bookings:
            booked = entries.pop(ref_of(order, booking), None)
            if booked is None and booking.done:
                raise Doubted("orders", where, f"its booking {booking.number} is not in the books")
            if booked is not None and booked != (account, booking.amount_pusd):
                raise Doubted("orders", where, f"its booking {booking.number} is another one in the books")

    def journaled_exchange(
        self, where: str, id_: str, columns: Sequence[object], text: str
    ) -> ExchangeRecord:
        """An exchange that is in no table yet: its record, whose cost was calculated again."""
        record = _row_record(where, id_, columns, text)
        doubt = rerated(record, self._decoded)
        if doubt is not None:
            raise Doubted("exchanges", where, doubt)
        return record

    def _rerate(self, record: ExchangeRecord, where: str, proven: bool) -> None:
        """An exchange that predates stored prices has its lines added up; all others are rated again."""
        if proven or record.price_version in self._decoded:
            doubt = rerated(record, self._decoded)
            self.rerated += bool(record.cost)
        else:
            doubt = lines_doubt(record)
            self.unproven += 1
        if doubt is not None:
            raise Doubted("exchanges", where, doubt)

    def balances(self, accounts: Iterable[tuple[str, int, int]], open_pusd: Mapping[str, int]) -> None:
        """Accounts as (id, posted, held), and what the open holds of each come to. After all entries."""
        held = dict(open_pusd)
        for account, posted, holds in accounts:
            where = f"account {account}"
            total = self._sums.pop(account, 0)
            if posted != total:
                raise Doubted("accounts", where, f"its balance is {posted} p$, its entries come to {total}")
            open_now = held.pop(account, 0)
            if holds != open_now:
                raise Doubted("accounts", where, f"{holds} p$ are held, its holds come to {open_now}")
            if posted - holds < 0:
                raise Doubted("accounts", where, f"it is overdrawn by {holds - posted} p$")
            self.accounts += 1
        for account in sorted(self._sums.keys() | {name for name, pusd in held.items() if pusd}):
            raise Doubted("accounts", f"account {account}", "it has entries or holds but no balance")

    def rollups(self, rows: Iterable[Sequence[object]]) -> None:
        """Sums as the columns of RollupKey and COUNTS. After all exchanges."""
        left = dict(self._rollups)
        size = len(RollupKey._fields)
        for row in rows:
            place = RollupKey._make(row[:size])
            wanted = left.pop(place, None)
            if wanted is None:
                raise Doubted("rollups", _place(place), "no exchange belongs to it")
            for name, one, other in zip(COUNTS, row[size:], wanted, strict=True):
                if one != other:
                    raise Doubted("rollups", _place(place), f"{name} is {one}, its exchanges come to {other}")
        for place in left:
            raise Doubted("rollups", _place(place), "it is missing")

    def folds(self, folded_to: int, rows: Callable[[str], Iterable[Sequence[object]]]) -> None:
        """The sums of the hours before ``folded_to``; ``rows``: those of a fold, as for :meth:`rollups`. After
        all exchanges."""
        size = len(RollupKey._fields)
        for fold in FOLDS:
            wanted: dict[RollupKey, tuple[int, ...]] = {}
            for key, counts in self._rollups.items():
                if key.hour < folded_to:
                    place = folded_key(fold, key)
                    wanted[place] = add_counts(wanted[place], counts) if place in wanted else counts
            for row in rows(fold.name):
                place = RollupKey._make(row[:size])
                if (sums := wanted.pop(place, None)) != tuple(row[size:]):
                    raise Doubted("folds", f"{fold.name}, {_place(place)}", f"its hours come to {sums}")
            for place in wanted:
                raise Doubted("folds", f"{fold.name}, {_place(place)}", "it is missing")

    def spends(self, rows: Iterable[tuple[str, str, int, int]]) -> None:
        """What budgets say is spent, as (budget, session, bucket, spent). After all exchanges."""
        for where, what in self._spending.doubts(rows):
            raise Doubted("budgets", where, what)


def _row_record(where: str, id_: str, columns: Sequence[object], text: str) -> ExchangeRecord:
    record = record_of(text, where)
    said = (record.account, record.key, record.reply_id, record.created_ms, record.model)
    if record.id != id_ or (*said, record.status, record.cost_pusd) != tuple(columns):
        raise Doubted("exchanges", where, "its columns are not those of its record")
    return record


def record_of(text: str, where: str) -> ExchangeRecord:
    """
    Raises:
        Doubted: it is no record.
    """
    try:
        return _records.decode(text)
    except msgspec.DecodeError as error:
        raise Doubted("exchanges", where, f"its record cannot be read: {error}") from None


def _place(key: RollupKey) -> str:
    return f"hour {key.hour}, account {key.account}, key {key.key}, model {key.model or '(none)'}"
