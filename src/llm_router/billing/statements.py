"""What an account's month comes to: balances, credits, use by model, and the invoice of it.

Everything is counted in the month in which it was admitted (UTC), as the ledger and its sums have it. A
month that was issued stays as it was issued: what is booked for it later (an exchange that was running at
midnight, a charge that waited for a full disk) stands in the next one under its own name, so that

    opening + late + credits - use = closing,   and each opening is the closing before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from llm_router.domain.money import PUSD_PER_USD

CENT_PUSD = PUSD_PER_USD // 100
PPM = 1_000_000


class TaxRate(msgspec.Struct, frozen=True, kw_only=True):
    """A tax in millionths of the net amount."""

    name: str
    ppm: int


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets an invoice. ``note`` stands on it, such as why there is no tax."""

    address: tuple[str, ...] = ()
    tax_id: str | None = None
    note: str | None = None
    taxes: tuple[TaxRate, ...] = ()


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Who issues invoices, and to whom.

    Attributes:
        taxes_included: the prices that customers paid hold the taxes already.
        taxes: of those who have no others.
        customers: by account.
    """

    address: tuple[str, ...] = ()
    tax_id: str | None = None
    prefix: str = "INV-"
    taxes_included: bool = False
    note: str | None = None
    taxes: tuple[TaxRate, ...] = ()
    customers: Mapping[str, Party] = {}

    def party(self, account: str) -> Party:
        found = self.customers.get(account)
        return Party(taxes=self.taxes) if found is None else found


class UsageLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one model was used for, and what it cost.

    Attributes:
        requests: that were answered; failed: that were refused or failed.
    """

    model: str
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_pusd: int
    failed: int = 0

    @property
    def bought(self) -> bool:
        """Something was answered or charged: a line that only tells of refusals is none of the bill."""
        return bool(self.requests or self.cost_pusd)


CreditKind = Literal["topup", "refund", "dispute", "voucher", "credit", "adjustment"]


class CreditLine(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was booked and is no use; negative takes away."""

    kind: CreditKind
    ref: str
    created_ms: int
    note: str
    amount_pusd: int


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """An account's month.

    Attributes:
        month: such as ``2026-11``.
        issued_ms: when it became final; None while it is not.
        number: of its invoice; None where none is issued.
        late_credits_pusd, late_used_pusd: booked for an issued month after it was issued.
        credited_pusd, used_pusd: of the account in all, up to the end of the month.
    """

    account: str
    month: str
    from_ms: int
    to_ms: int
    opening_pusd: int
    late_credits_pusd: int
    late_used_pusd: int
    credits: tuple[CreditLine, ...]
    usage: tuple[UsageLine, ...]
    closing_pusd: int
    credited_pusd: int
    used_pusd: int
    issued_ms: int | None = None
    number: str | None = None
    invoice: Invoice | None = None

    @property
    def month_used_pusd(self) -> int:
        return sum(line.cost_pusd for line in self.usage)

    @property
    def charged_pusd(self) -> int:
        """What the invoice is about: the use of the month, and what came late."""
        return self.month_used_pusd + self.late_used_pusd

    @property
    def bought(self) -> tuple[UsageLine, ...]:
        """The lines of its bill."""
        return tuple(line for line in self.usage if line.bought)

    @property
    def failed(self) -> int:
        """Requests that were refused or failed."""
        return sum(line.failed for line in self.usage)

    def total_pusd(self, kind: CreditKind) -> int:
        return sum(line.amount_pusd for line in self.credits if line.kind == kind)


class TaxLine(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    ppm: int
    amount_cents: int


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """The legal side of a statement: whole cents, rounded once each, half to even.

    Attributes:
        exact_pusd: the use that it is about, before rounding.
        paid_cents: taken from the credit that was paid before; due_cents: the rest.
    """

    issuer: tuple[str, ...]
    issuer_tax_id: str | None
    customer: tuple[str, ...]
    customer_tax_id: str | None
    exact_pusd: int
    net_cents: int
    taxes: tuple[TaxLine, ...]
    total_cents: int
    paid_cents: int
    due_cents: int
    taxes_included: bool
    notes: tuple[str, ...] = ()


def credit_line(ref: str, amount_pusd: int, created_ms: int, note: str) -> CreditLine:
    """An entry of the ledger, named by what it was for (its reference tells)."""
    name = ref.removeprefix("credit:")
    return CreditLine(
        kind=_kind(name, amount_pusd), ref=name, created_ms=created_ms, note=note, amount_pusd=amount_pusd
    )


def _kind(name: str, amount_pusd: int) -> CreditKind:
    if name.startswith("pay:"):
        _, *parts = name.split(":")
        match parts:
            case [_, _, "refund" | "dispute" as why]:
                return "refund" if why == "refund" else "dispute"
            case _:
                return "topup" if amount_pusd > 0 else "refund"
    if name.startswith("voucher:"):
        return "voucher"
    return "credit" if amount_pusd > 0 else "adjustment"


def invoice_of(charged_pusd: int, issuer: Issuer, account: str) -> Invoice:
    """The invoice of what was charged."""
    party = issuer.party(account)
    gross_cents = divide(charged_pusd, CENT_PUSD)
    rate = sum(tax.ppm for tax in party.taxes)
    net_cents = divide(gross_cents * PPM, PPM + rate) if issuer.taxes_included else gross_cents
    taxes = _tax_lines(net_cents, gross_cents if issuer.taxes_included else None, party.taxes)
    total_cents = net_cents + sum(tax.amount_cents for tax in taxes)
    return Invoice(
        issuer=issuer.address,
        issuer_tax_id=issuer.tax_id,
        customer=party.address or (account,),
        customer_tax_id=party.tax_id,
        exact_pusd=charged_pusd,
        net_cents=net_cents,
        taxes=taxes,
        total_cents=total_cents,
        paid_cents=gross_cents,
        due_cents=total_cents - gross_cents,
        taxes_included=issuer.taxes_included,
        notes=tuple(note for note in (party.note, issuer.note) if note),
    )


def _tax_lines(net_cents: int, gross_cents: int | None, taxes: Sequence[TaxRate]) -> tuple[TaxLine, ...]:
    """Each rounded; of prices that hold the taxes, the last takes up what rounding left."""
    lines = [
        TaxLine(name=tax.name, ppm=tax.ppm, amount_cents=divide(net_cents * tax.ppm, PPM)) for tax in taxes
    ]
    if gross_cents is not None and lines:
        rest = gross_cents - net_cents - sum(line.amount_cents for line in lines)
        lines[-1] = msgspec.structs.replace(lines[-1], amount_cents=lines[-1].amount_cents + rest)
    return tuple(lines)


def divide(amount: int, by: int) -> int:
    """The quotient, rounded half to even."""
    whole, rest = divmod(amount, by)
    if rest * 2 > by or (rest * 2 == by and whole % 2):
        return whole + 1
    return whole
