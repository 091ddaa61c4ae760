"""The proof of papers: each follows from the one before it and from the books, and is made again.

receipts      one for each entry of the account from its first on, the same bytes as the entry, its
              record and the receipt before it make
statements    lines that add up, each continuing the one before it; and the books as they were after
              some entry: credits, charges by model, balances. Requests and tokens, of which the free
              ones have no entry, are no more than the hourly sums have
invoices      the statement of their number, and the arithmetic of it
all           numbered in their series without a gap
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec

from llm_router.adapters.recount import Doubted, record_of
from llm_router.billing.ledger import Entry
from llm_router.billing.receipts import Link, digest_of, receipt_text
from llm_router.billing.statements import CENT_PUSD, CreditLine, Invoice, Statement, credit_line, divide
from llm_router.domain.record import ExchangeRecord

RECEIPTS, STATEMENTS, INVOICES = "receipts/", "statements/", "invoices/"

_statements = msgspec.json.Decoder(Statement)


class PaperProof:
    """Takes the papers of a store, by series and number, and raises Doubted at the first that does not agree.

    Attributes:
        papers: how many were proven.
    """

    def __init__(self) -> None:
        self.papers = 0
        self._numbers: dict[str, int] = {}
        self._links: dict[str, tuple[Link, int]] = {}
        self._invoices: dict[str, tuple[str, str]] = {}
        self._numbered: set[str] = set()
        self.statements: dict[str, list[Statement]] = {}

    def receipt(
        self, paper: tuple[str, int, str, str, str], entry: Entry | None, link: bytes, record: str | None
    ) -> None:
        """A receipt (series, number, id, account, body), and its entry with its hash and its record."""
        series, number, id_, account, body = paper
        where = self._next(series, number)
        if series != f"{RECEIPTS}{account}":
            raise Doubted("papers", where, "it is in another account's series")
        if entry is None or entry.account != account:
            raise Doubted("papers", where, f"its entry {id_} is missing")
        before, seq = self._links.get(series, (Link(), 0))
        if entry.seq <= seq:
            raise Doubted("papers", where, "its entry was booked before that of the receipt before it")
        if body != receipt_text(before, entry, link, _record(record, where)):
            raise Doubted("papers", where, "it is not what its entry and the receipt before it make")
        after = Link(
            number=number,
            ref=id_,
            digest=digest_of(body),
            balance_pusd=before.balance_pusd + entry.amount_pusd,
        )
        self._links[series] = (after, entry.seq)

    def other(self, paper: tuple[str, int, str, str, str], created_ms: int | None = None) -> None:
        """A paper that is no receipt; ``created_ms``: when the store says that it was issued."""
        series, number, id_, account, body = paper
        where = self._next(series, number)
        if created_ms is not None and _statement(where, body).issued_ms != created_ms:
            raise Doubted("papers", where, "it was issued at another time")
        if series.startswith(INVOICES):
            self._invoices[id_] = (where, body)
            self._check_invoice(where, paper, _statement(where, body))
        elif series.startswith(STATEMENTS):
            statement = _statement(where, body)
            if (f"{STATEMENTS}{statement.account}", statement.month) != (
                series,
                id_,
            ) or account != statement.account:
                raise Doubted("papers", where, "it is in the place of another one")
            self._check_statement(where, statement)
            if statement.number is not None:
                self._check_numbered(where, body, statement)

    def end(self) -> None:
        """After all papers."""
        for id_, (where, _) in self._invoices.items():
            if id_ not in self._numbered:
                raise Doubted("papers", where, "the statement that it is of is missing")

    def skipped(self, account: str) -> None:
        """The store found entries without a receipt between others that have one."""
        raise Doubted("papers", f"{RECEIPTS}{account}", "an entry between two others has no receipt")

    def _next(self, series: str, number: int) -> str:
        where = f"{series} {number}"
        wanted = self._numbers.get(series, 0) + 1
        if number != wanted:
            raise Doubted("papers", where, f"number {wanted} of its series is missing")
        self._numbers[series] = number
        self.papers += 1
        return where

    def _check_numbered(self, where: str, body: str, statement: Statement) -> None:
        id_ = f"{statement.account}/{statement.month}"
        self._numbered.add(id_)
        # 'invoices/' comes before 'statements/': all of them are known by now.
        if self._invoices.get(id_, ("", ""))[1] != body:
            raise Doubted("papers", where, f"its invoice {statement.number} is missing, or another one")

    def _check_invoice(self, where: str, paper: tuple[str, int, str, str, str], statement: Statement) -> None:
        series, number, id_, account, _ = paper
        prefix = series.removeprefix(INVOICES)
        if statement.number != f"{prefix}{number:06d}" or id_ != f"{account}/{statement.month}":
            raise Doubted("papers", where, f"it says that it is {statement.number}")
        if statement.invoice is None or not _adds_up(statement.invoice, statement.charged_pusd):
            raise Doubted("papers", where, "its figures do not add up")

    def _check_statement(self, where: str, s: Statement) -> None:
        known = self.statements.setdefault(s.account, [])
        is_month = _month(s.from_ms) == s.month == _month(s.to_ms - 1) and _month(s.from_ms - 1) < s.month
        if not is_month or _month(s.to_ms) == s.month or (known and known[-1].to_ms > s.from_ms):
            raise Doubted("papers", where, "its month is none, or not behind the one before it")
        credited = sum(line.amount_pusd for line in s.credits)
        moved = s.late_credits_pusd - s.late_used_pusd + credited - s.month_used_pusd
        if s.opening_pusd + moved != s.closing_pusd or s.credited_pusd - s.used_pusd != s.closing_pusd:
            raise Doubted("papers", where, "its lines do not add up to its closing balance")
        if known and known[-1].to_ms == s.from_ms and s.opening_pusd != known[-1].closing_pusd:
            raise Doubted("papers", where, "it does not begin with the closing balance before it")
        known.append(s)


class AccountBooks:
    """An account's entries one after the other, beside its statements: each must be what the books were
    after some of them."""

    def __init__(self, statements: list[Statement]) -> None:
        self._open = [
            _Month(s, earlier)
            for s, earlier in zip(statements, [None, *statements[:-1]], strict=True)
        ]  # fmt: skip
        self._look()

    def entry(self, entry: Entry, admitted_ms: int, model: str) -> None:
        """The next entry. ``admitted_ms``, ``model``: of the exchange, if it charges one."""
        for month in self._open:
            month.book(entry, admitted_ms, model)
        self._look()

    def _look(self) -> None:
        self._open = [month for month in self._open if not month.agrees()]

    def end(self) -> None:
        if self._open:
            s = self._open[0].statement
            raise Doubted(
                "papers",
                f"{STATEMENTS}{s.account} {s.month}",
                "the books were never as it says: its figures are others",
            )


class _Month:
    """What the books have for a statement so far."""

    def __init__(self, statement: Statement, before: Statement | None) -> None:
        self.statement = statement
        self._before = before
        self._credits: dict[str, CreditLine] = {}
        self._used: Counter[str] = Counter()
        self._credited_pusd = self._used_pusd = 0
        self._late_pusd = [0, 0] if before is None else [-before.credited_pusd, -before.used_pusd]

    def book(self, entry: Entry, admitted_ms: int, model: str) -> None:
        s, is_use = self.statement, entry.kind == "use"
        at_ms = admitted_ms if is_use else entry.created_ms
        if at_ms >= s.to_ms:
            return
        if self._before is not None and at_ms < self._before.to_ms:
            self._late_pusd[is_use] += -entry.amount_pusd if is_use else entry.amount_pusd
        if is_use:
            self._used_pusd -= entry.amount_pusd
        else:
            self._credited_pusd += entry.amount_pusd
        if at_ms < s.from_ms:
            return
        if is_use:
            self._used[model] -= entry.amount_pusd
        else:
            line = credit_line(entry.ref, entry.amount_pusd, entry.created_ms, entry.note)
            self._credits[line.ref] = line

    def agrees(self) -> bool:
        s = self.statement
        if (self._credited_pusd, self._used_pusd) != (s.credited_pusd, s.used_pusd):
            return False
        if self._late_pusd != [s.late_credits_pusd, s.late_used_pusd]:
            return False
        costs = {line.model: line.cost_pusd for line in s.usage if line.cost_pusd}
        same_credits = [(c.ref, c.created_ms, c.note, c.amount_pusd) for c in s.credits]
        booked = sorted(self._credits.values(), key=lambda c: c.created_ms)
        return costs == dict(self._used) and same_credits == [
            (c.ref, c.created_ms, c.note, c.amount_pusd) for c in booked
        ]


def check_counts(statement: Statement, sums: dict[str, tuple[int, ...]]) -> None:
    """Requests and tokens by model are no more than the hourly sums of its month: (answered and failed,
    input, cached, output)."""
    for line in statement.usage:
        said = (line.requests + line.failed, line.input_tokens, line.cached_tokens, line.output_tokens)
        have = sums.get(line.model, (0, 0, 0, 0))
        if any(one > other for one, other in zip(said, have, strict=True)) or min(said) < 0:
            where = f"{STATEMENTS}{statement.account} {statement.month}"
            raise Doubted("papers", where, f"it counts more of {line.model or '(no model)'} than there was")


def _month(at_ms: int) -> str:
    """The month (UTC) of a moment; empty for one that has none."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).strftime("%Y-%m")
    except OverflowError:
        return ""


def _adds_up(i: Invoice, charged_pusd: int) -> bool:
    gross_cents = divide(charged_pusd, CENT_PUSD)
    return (
        i.exact_pusd == charged_pusd
        and i.paid_cents == gross_cents
        and i.total_cents == i.net_cents + sum(tax.amount_cents for tax in i.taxes)
        and i.due_cents == i.total_cents - i.paid_cents
        and (i.due_cents == 0 if i.taxes_included else i.net_cents == gross_cents)
    )


def _statement(where: str, body: str) -> Statement:
    try:
        return _statements.decode(body)
    except msgspec.DecodeError as error:
        raise Doubted("papers", where, f"it cannot be read: {error}") from None


def _record(text: str | None, where: str) -> ExchangeRecord | None:
    return None if text is None else record_of(text, where)
