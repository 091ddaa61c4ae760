"""Statements and invoices of an account's months: made from the books, issued once, for good."""

from __future__ import annotations

import re

import msgspec

from llm_router.billing.ledger import Entry
from llm_router.billing.rollups import COUNTS
from llm_router.billing.statements import (
    CreditLine,
    Issuer,
    Statement,
    UsageLine,
    credit_line,
    invoice_of,
)
from llm_router.domain.errors import InvalidRequest, NotFound, Overloaded
from llm_router.engine.moments import parse_moment
from llm_router.ports import Clock, MonthBooks, Paper, PaperBooks, Sums

PAGE = 1000
TRIES = 20
"""How often others may be faster at taking an invoice number."""

OUT_OF_ORDER = "issued_out_of_order"

_MONTH = re.compile(r"(2[0-9]{3})-(0[1-9]|1[0-2])")
_decoder = msgspec.json.Decoder(Statement)


class Statements:
    def __init__(self, *, books: PaperBooks, clock: Clock, issuer: Issuer) -> None:
        self._books = books
        self._clock = clock
        self._issuer = issuer

    async def issued(self, account: str) -> list[Statement]:
        """What was issued for an account, the oldest first."""
        found: list[Statement] = []
        while True:
            page = await self._books.papers(_series(account), len(found), PAGE)
            found += [_decoder.decode(paper.body) for paper in page]
            if len(page) < PAGE:
                return found

    async def show(self, account: str, month: str) -> Statement:
        """A month as it was issued, else as it stands now.

        Raises:
            InvalidRequest: it is no month, or begins in the future.
        """
        from_ms, _ = bounds(month)
        if from_ms > self._clock.now_ms():
            raise InvalidRequest(f"{month} has not begun", param="month")
        issued = await self.issued(account)
        for statement in issued:
            if statement.month == month:
                return statement
        return await self._draft(account, month, issued)

    async def issue(self, account: str, month: str) -> Statement:
        """Make a month final, with an invoice if anything was used. The same again when it is asked for again.

        Raises:
            InvalidRequest: the month is not over, or a later one was issued before.
            NotFound: nothing was ever booked for the account.
        """
        from_ms, to_ms = bounds(month)
        if to_ms > self._clock.now_ms():
            raise InvalidRequest(f"{month} is not over: it can be issued when it is", param="month")
        for _ in range(TRIES):
            issued = await self.issued(account)
            done = next((statement for statement in issued if statement.month == month), None)
            if done is not None:
                return done
            if issued and issued[-1].to_ms > from_ms:
                raise InvalidRequest(
                    f"{issued[-1].month} of '{account}' was issued before: months are issued in their order",
                    code=OUT_OF_ORDER,
                    param="month",
                )
            draft = await self._draft(account, month, issued)
            if not draft.credited_pusd and not draft.used_pusd:
                raise NotFound(f"there is nothing in the books of '{account}' up to {month}")
            made = await self._numbered(draft)
            if await self._books.add_papers(self._papers(made, len(issued) + 1)):
                return made
        raise Overloaded("Others issue invoices at the same time. Try again.", retry_after_s=1.0)

    async def _draft(self, account: str, month: str, issued: list[Statement]) -> Statement:
        from_ms, to_ms = bounds(month)
        before = next((s for s in reversed(issued) if s.to_ms <= from_ms), None)
        earlier_ms = from_ms if before is None else before.to_ms
        books = await self._books.month(account, from_ms, to_ms, earlier_ms)
        return _statement(account, month, books, before)

    async def _numbered(self, draft: Statement) -> Statement:
        """The draft as it will be issued, with the next number if there is something to invoice."""
        now_ms = self._clock.now_ms()
        if not draft.charged_pusd:
            return msgspec.structs.replace(draft, issued_ms=now_ms)
        last = await self._books.last_paper(self._invoices)
        number = 1 if last is None else last.number + 1
        return msgspec.structs.replace(
            draft,
            issued_ms=now_ms,
            number=f"{self._issuer.prefix}{number:06d}",
            invoice=invoice_of(draft.charged_pusd, self._issuer, draft.account),
        )

    def _papers(self, made: Statement, place: int) -> list[Paper]:
        assert made.issued_ms is not None
        paper = Paper(
            series=_series(made.account),
            number=place,
            id=made.month,
            account=made.account,
            created_ms=made.issued_ms,
            body=msgspec.json.encode(made).decode(),
        )
        if made.number is None:
            return [paper]
        number = int(made.number.removeprefix(self._issuer.prefix))
        id_ = f"{made.account}/{made.month}"
        return [paper, msgspec.structs.replace(paper, series=self._invoices, number=number, id=id_)]

    @property
    def _invoices(self) -> str:
        return f"invoices/{self._issuer.prefix}"


def bounds(month: str) -> tuple[int, int]:
    """The begin of a month and of the next one, in Unix milliseconds (UTC).

    Raises:
        InvalidRequest: it is none.
    """
    found = _MONTH.fullmatch(month)
    if found is None:
        raise InvalidRequest("month must be like 2026-11", param="month")
    year, number = int(found[1]), int(found[2])
    after = f"{year + 1}-01-01" if number == 12 else f"{year}-{number + 1:02d}-01"
    return parse_moment(f"{month}-01", "month"), parse_moment(after, "month")


def _statement(account: str, month: str, books: MonthBooks, before: Statement | None) -> Statement:
    from_ms, to_ms = bounds(month)
    late_credits = late_used = 0
    if before is not None:
        late_credits = books.earlier_credited_pusd - before.credited_pusd
        late_used = books.earlier_used_pusd - before.used_pusd
    credits = tuple(_credit(entry) for entry in books.credits)
    usage = tuple(sorted((_usage(line) for line in books.models), key=lambda u: (-u.cost_pusd, u.model)))
    credited = books.credited_pusd + sum(line.amount_pusd for line in credits)
    used = books.used_pusd + sum(line.cost_pusd for line in usage)
    return Statement(
        account=account,
        month=month,
        from_ms=from_ms,
        to_ms=to_ms,
        opening_pusd=books.credited_pusd - books.used_pusd - late_credits + late_used,
        late_credits_pusd=late_credits,
        late_used_pusd=late_used,
        credits=credits,
        usage=usage,
        closing_pusd=credited - used,
        credited_pusd=credited,
        used_pusd=used,
    )


def _credit(entry: Entry) -> CreditLine:
    return credit_line(entry.ref, entry.amount_pusd, entry.created_ms, entry.note)


def _usage(line: Sums) -> UsageLine:
    (model,), counts = line
    sums = dict(zip(COUNTS, counts, strict=True))
    return UsageLine(
        model=model,
        requests=sums["requests"] - sums["errors"],
        input_tokens=sums["input_tokens"],
        cached_tokens=sums["cached_tokens"],
        output_tokens=sums["output_tokens"],
        cost_pusd=sums["cost"],
        failed=sums["errors"],
    )


def _series(account: str) -> str:
    return f"statements/{account}"
