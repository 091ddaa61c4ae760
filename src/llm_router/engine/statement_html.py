"""A statement as one page of HTML: light, printable on A4, without scripts or anything from elsewhere."""

from __future__ import annotations

from html import escape

from llm_router.billing.statement_rows import cents, percent, shown
from llm_router.billing.statements import CENT_PUSD, Invoice, Statement
from llm_router.engine.moments import iso_time

KINDS = {
    "topup": "Top-up",
    "refund": "Refund",
    "dispute": "Dispute",
    "voucher": "Voucher",
    "credit": "Credit",
    "adjustment": "Adjustment",
}

_STYLE = """
:root { color-scheme: light; --ink: #16202c; --soft: #5d6b7a; --line: #e3e8ee; --tint: #f5f7fa; --accent: #2f5bea; }
* { box-sizing: border-box; margin: 0; }
body { font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: var(--ink); background: #eef1f5; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
main { max-width: 210mm; margin: 32px auto; padding: 18mm 18mm 14mm; background: #fff; border-top: 5px solid var(--accent);
  border-radius: 4px; box-shadow: 0 1px 3px rgb(22 32 44 / .08), 0 12px 32px rgb(22 32 44 / .08); }
header { display: flex; justify-content: space-between; gap: 24px; align-items: flex-start; margin-bottom: 30px; }
h1 { font-size: 28px; line-height: 1.15; letter-spacing: -.02em; font-weight: 650; }
h2 { font-size: 11px; letter-spacing: .09em; text-transform: uppercase; color: var(--soft); font-weight: 600; margin: 28px 0 8px; }
.soft { color: var(--soft); }
.right { text-align: right; }
dl { display: grid; grid-template-columns: auto auto; gap: 2px 18px; font-size: 13px; }
dt { color: var(--soft); } dd { text-align: right; font-weight: 500; font-variant-numeric: tabular-nums; }
.parties { display: grid; grid-template-columns: 1fr 1fr; gap: 32px; }
.parties h2 { margin-top: 0; }
.parties p:first-of-type { font-weight: 600; }
.figures { display: grid; grid-template-columns: repeat(4, auto); margin: 30px 0 6px; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.figures div { padding: 13px 16px; border-left: 1px solid var(--line); }
.figures div:first-child { border-left: 0; }
.figures div:last-child { background: var(--tint); }
.figures span { display: block; font-size: 12px; color: var(--soft); }
.figures b { font-size: 17px; font-weight: 620; letter-spacing: -.01em; font-variant-numeric: tabular-nums; white-space: nowrap; }
.figures.long b { font-size: 13px; } .figures.long div { padding: 13px 10px; }
table { width: 100%; border-collapse: collapse; font-size: 13px; }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: 12px; padding: 6px 10px 6px 0; border-bottom: 1px solid var(--ink); }
td { padding: 8px 10px 8px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th:last-child, td:last-child { padding-right: 0; }
tfoot td { border-bottom: 0; font-weight: 600; }
tr { break-inside: avoid; }
.bar { height: 3px; margin-top: 5px; background: var(--tint); border-radius: 2px; }
.bar i { display: block; height: 100%; border-radius: 2px; background: var(--accent); }
.totals { width: 58%; margin: 22px 0 0 auto; break-inside: avoid; }
.d { white-space: nowrap; font-variant-numeric: tabular-nums; }
.totals td { padding: 6px 0; }
.totals .due td { border-bottom: 0; border-top: 1.5px solid var(--ink); font-size: 17px; font-weight: 650; padding-top: 10px; }
footer { margin-top: 34px; padding-top: 12px; border-top: 1px solid var(--line); font-size: 11.5px; color: var(--soft); }
footer p + p { margin-top: 4px; }
.draft { display: inline-block; margin-top: 6px; padding: 2px 9px; border-radius: 99px; font-size: 12px; background: #fff4d6; color: #7a5200; }
@page { size: A4; margin: 12mm 15mm 10mm; }
@media print { body { background: #fff; font-size: 12.5px; } table { font-size: 11.5px; } header, .figures { margin-bottom: 18px; } h2 { margin-top: 20px; }
  td { padding-top: 5px; padding-bottom: 5px; } .totals td { padding: 4px 0; } footer { margin-top: 14px; padding-top: 8px; font-size: 10px; break-inside: avoid; }
  main { margin: 0; padding: 0; max-width: none; box-shadow: none; border: 0; border-radius: 0; } thead { display: table-header-group; } }
@media (max-width: 640px) { main { margin: 0; padding: 24px 18px; } header, .parties { display: block; } header .right { text-align: left; margin-top: 14px; }
  .parties div + div { margin-top: 20px; } .figures { grid-template-columns: 1fr 1fr; } .totals { width: 100%; } .wide { display: none; } }
"""

GLANCE_CHARS = 11
"""Headline figures with more digits are written smaller: they are exact, as the lines that they sum up."""

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def statement_html(s: Statement) -> str:
    """The page. All text of others is escaped."""
    title = "Statement" if s.invoice is None else "Invoice"
    named = title if s.number is None else f"{title} {s.number}"
    parts = [
        _head(s, title),
        "" if s.invoice is None else _parties(s.invoice),
        _figures(s),
        _usage(s),
        _credits(s),
        "" if s.invoice is None else _totals(s.invoice),
        _foot(s),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(named)}, {month_name(s.month)}'
        f'</title><meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" '
        f'content="{policy}"><style>{_STYLE}</style></head><body><main>{"".join(parts)}</main></body></html>\n'
    )


def month_name(month: str) -> str:
    """``2026-11`` in words."""
    year, number = month.split("-")
    return f"{MONTHS[int(number) - 1]} {year}"


def last_day(s: Statement) -> str:
    return iso_time(s.to_ms - 1)[:10]


def _head(s: Statement, title: str) -> str:
    facts = [("Account", s.account), ("Period", f"{s.month}-01 to {last_day(s)}")]
    if s.number is not None:
        facts.insert(0, ("Number", s.number))
    if s.issued_ms is not None:
        facts.append(("Issued", iso_time(s.issued_ms)[:10]))
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    draft = '<p class="draft">Not issued: figures may still change</p>' if s.issued_ms is None else ""
    return (
        f'<header><div><h1>{title}</h1><p class="soft">{month_name(s.month)}</p>{draft}</div>'
        f"<dl>{rows}</dl></header>"
    )


def _parties(i: Invoice) -> str:
    def party(name: str, lines: tuple[str, ...], tax_id: str | None) -> str:
        text = "".join(f"<p>{escape(line)}</p>" for line in lines)
        number = "" if tax_id is None else f'<p class="soft">Tax number {escape(tax_id)}</p>'
        return f"<div><h2>{name}</h2>{text}{number}</div>"

    issuer = party("From", i.issuer, i.issuer_tax_id) if i.issuer else "<div></div>"
    return f'<section class="parties">{party("Billed to", i.customer, i.customer_tax_id)}{issuer}</section>'


def _figures(s: Statement) -> str:
    added = sum(c.amount_pusd for c in s.credits) + s.late_credits_pusd
    figures = (
        ("Opening balance", s.opening_pusd),
        ("Added" if added >= 0 else "Taken back", added),
        ("Used", -s.charged_pusd),
        ("Closing balance", s.closing_pusd),
    )
    cells = "".join(f"<div><span>{name}</span><b>{shown(pusd)}</b></div>" for name, pusd in figures)
    longest = max(len(shown(pusd)) for _, pusd in figures)
    return f'<section class="figures{" long" if longest > GLANCE_CHARS else ""}">{cells}</section>'


def _usage(s: Statement) -> str:
    if not s.bought and not s.late_used_pusd:
        return f'<h2>Usage</h2><p class="soft">Nothing was used.</p>{_failed(s)}'
    top = max((u.cost_pusd for u in s.usage), default=0)
    rows = "".join(
        f"<tr><td>{escape(u.model) if u.model else '<span class=soft>no model</span>'}"
        f'<div class="bar"><i style="width:{_share(u.cost_pusd, top)}%"></i></div></td>'
        f'<td class="n">{u.requests:,}</td><td class="n wide">{u.input_tokens:,}</td><td class="n wide">{u.cached_tokens:,}</td>'
        f'<td class="n wide">{u.output_tokens:,}</td><td class="n">{shown(u.cost_pusd)}</td></tr>'
        for u in s.bought
    )
    if s.late_used_pusd:
        rows += (
            '<tr><td>Usage of earlier months, booked late</td><td></td><td class="wide"></td><td class="wide"></td>'
            f'<td class="wide"></td><td class="n">{shown(s.late_used_pusd)}</td></tr>'
        )
    return (
        '<h2>Usage by model</h2><table><thead><tr><th>Model</th><th class="n">Requests</th><th class="n wide">Input tokens</th>'
        '<th class="n wide">of them cached</th><th class="n wide">Output tokens</th><th class="n">Cost</th></tr></thead>'
        f'<tbody>{rows}</tbody><tfoot><tr><td>Total</td><td></td><td class="wide"></td><td class="wide"></td>'
        f'<td class="wide"></td><td class="n">{shown(s.charged_pusd)}</td></tr></tfoot></table>{_failed(s)}'
    )


def _failed(s: Statement) -> str:
    return "".join(f'<p class="soft">{line}</p>' for line in failed_lines(s))


def failed_lines(s: Statement) -> list[str]:
    """What is said of requests that bought nothing."""
    if not s.failed:
        return []
    words = "1 request that was" if s.failed == 1 else f"{s.failed:,} requests that were"
    return [f"Not counted: {words} refused or failed."]


def _share(part: int, whole: int) -> str:
    """In percent, to a tenth."""
    tenths = 0 if whole <= 0 else part * 1000 // whole
    return f"{tenths // 10}.{tenths % 10}"


def _credits(s: Statement) -> str:
    if not s.credits and not s.late_credits_pusd:
        return ""
    rows = "".join(
        f'<tr><td class="d">{iso_time(c.created_ms)[:10]}</td><td>{KINDS[c.kind]}</td><td>{escape(c.note or c.ref)}</td>'
        f'<td class="n">{shown(c.amount_pusd)}</td></tr>'
        for c in s.credits
    )
    if s.late_credits_pusd:
        rows += (
            f"<tr><td></td><td>Late</td><td>Credits of earlier months, booked late</td>"
            f'<td class="n">{shown(s.late_credits_pusd)}</td></tr>'
        )
    return (
        '<h2>Credits and adjustments</h2><table><thead><tr><th style="width:92px">Date</th><th style="width:96px">Kind</th>'
        f'<th>Note</th><th class="n">Amount</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _totals(i: Invoice) -> str:
    lines = [("Net, rounded to cents" if i.exact_pusd % CENT_PUSD else "Net", cents(i.net_cents))]
    lines += [(f"{tax.name} {percent(tax.ppm)} %", cents(tax.amount_cents)) for tax in i.taxes]
    lines += [("Total", cents(i.total_cents)), ("Paid from credit", cents(-i.paid_cents))]
    rows = f'<tr><td>Usage, exact</td><td class="n">{shown(i.exact_pusd)}</td></tr>'
    rows += "".join(f'<tr><td>{escape(name)}</td><td class="n">{usd(text)}</td></tr>' for name, text in lines)
    return (
        f'<table class="totals"><tbody>{rows}<tr class="due"><td>Due</td><td class="n">{usd(cents(i.due_cents))}'
        "</td></tr></tbody></table>"
    )


def usd(text: str) -> str:
    """Cents as text with the currency."""
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, _, part = digits.partition(".")
    return f"{sign}${int(whole):,}.{part}"


def foot_lines(s: Statement) -> list[str]:
    """What stands at the end: the notes, and how the figures come about."""
    lines = [] if s.invoice is None else list(s.invoice.notes)
    if s.invoice is not None and s.invoice.taxes_included and s.invoice.taxes:
        lines.append("Prices include the taxes.")
    lines.append(
        "All amounts are US dollars. Costs are exact; opening, late and added amounts less usage make the closing "
        "balance." + ("" if s.invoice is None else ROUNDING)
        + " Requests count in the month, UTC, in which they were admitted."
    )  # fmt: skip
    return lines


ROUNDING = (
    " What is to be paid is whole cents: the exact usage is rounded once, to the net, and each tax once, half to even. "
    "Credit is never rounded."
)


def _foot(s: Statement) -> str:
    return f"<footer>{''.join(f'<p>{escape(line)}</p>' for line in foot_lines(s))}</footer>"
