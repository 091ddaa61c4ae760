"""A statement as data for programs and as rows for spreadsheets."""

from __future__ import annotations

from typing import Any

from llm_router.billing.statements import Invoice, Statement
from llm_router.domain.money import format_usd

HEADER = (
    "section", "item", "date", "requests", "failed_requests", "input_tokens", "cached_tokens", "output_tokens", "amount",
)  # fmt: skip


def statement_json(s: Statement, iso: Any) -> dict[str, object]:
    """The statement with amounts as exact decimal dollars. ``iso`` writes Unix milliseconds."""
    return {
        "object": "statement",
        "account": s.account,
        "month": s.month,
        "from": iso(s.from_ms),
        "to": iso(s.to_ms),
        "issued": None if s.issued_ms is None else iso(s.issued_ms),
        "invoice_number": s.number,
        "currency": "USD",
        "opening": format_usd(s.opening_pusd),
        "late_credits": format_usd(s.late_credits_pusd),
        "late_usage": format_usd(-s.late_used_pusd),
        "credits": [
            {"kind": c.kind, "ref": c.ref, "created": iso(c.created_ms), "note": c.note, "amount": format_usd(c.amount_pusd)}
            for c in s.credits
        ],
        "usage": [
            {
                "model": u.model or None,
                "requests": u.requests,
                "failed_requests": u.failed,
                "input_tokens": u.input_tokens,
                "cached_tokens": u.cached_tokens,
                "output_tokens": u.output_tokens,
                "cost": format_usd(u.cost_pusd),
            }
            for u in s.usage
        ],
        "used": format_usd(s.month_used_pusd),
        "closing": format_usd(s.closing_pusd),
        "invoice": None if s.invoice is None else invoice_json(s.invoice),
    }  # fmt: skip


def invoice_json(i: Invoice) -> dict[str, object]:
    return {
        "issuer": list(i.issuer),
        "issuer_tax_id": i.issuer_tax_id,
        "customer": list(i.customer),
        "customer_tax_id": i.customer_tax_id,
        "exact": format_usd(i.exact_pusd),
        "net": cents(i.net_cents),
        "taxes": [
            {"name": t.name, "percent": percent(t.ppm), "amount": cents(t.amount_cents)} for t in i.taxes
        ],
        "total": cents(i.total_cents),
        "paid": cents(i.paid_cents),
        "due": cents(i.due_cents),
        "notes": list(i.notes),
    }


def statement_rows(s: Statement, iso: Any) -> list[tuple[object, ...]]:
    """Rows under HEADER: the amounts of a section add up, and all of them to the closing balance."""

    def line(section: str, item: str, pusd: int, at_ms: int | None = None) -> tuple[object, ...]:
        date = None if at_ms is None else iso(at_ms)
        return (section, item, date, None, None, None, None, None, format_usd(pusd))

    rows: list[tuple[object, ...]] = [HEADER, line("opening", "opening balance", s.opening_pusd, s.from_ms)]
    if s.late_credits_pusd:
        rows.append(line("late", "credits of earlier months, booked late", s.late_credits_pusd))
    if s.late_used_pusd:
        rows.append(line("late", "usage of earlier months, booked late", -s.late_used_pusd))
    rows += [line(c.kind, c.note or c.ref, c.amount_pusd, c.created_ms) for c in s.credits]
    for u in s.usage:
        tokens = (u.requests, u.failed, u.input_tokens, u.cached_tokens, u.output_tokens)
        rows.append(("usage", u.model or "(no model)", None, *tokens, format_usd(-u.cost_pusd)))
    rows.append(line("closing", "closing balance", s.closing_pusd, s.to_ms))
    return rows


def cents(amount: int) -> str:
    """Whole cents as dollars with two digits."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d}"


def percent(ppm: int) -> str:
    whole, part = divmod(ppm, 10_000)
    return f"{whole}.{part:04d}".rstrip("0").rstrip(".")


def shown(pusd: int) -> str:
    """An amount for people: exact, with separators and cents at least."""
    text = format_usd(abs(pusd))
    whole, _, part = text.partition(".")
    return f"{'-' if pusd < 0 else ''}${int(whole):,}.{part.ljust(2, '0')}"
