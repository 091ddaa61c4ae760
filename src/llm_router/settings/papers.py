"""The tables ``[receipts]`` and ``[invoices]``, checked and resolved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llm_router.billing.statements import Issuer, Party, TaxRate
from llm_router.settings.problems import Problems
from llm_router.settings.result import PaperSettings
from llm_router.settings.schema import InvoicesTable, ReceiptsTable, TaxTable

LINES_MAX = 8
CHARS_MAX = 100


def paper_settings(
    receipts: ReceiptsTable, invoices: InvoicesTable, folder: Path, problems: Problems
) -> PaperSettings:
    """A key file is looked for beside the configuration."""
    taxes = _taxes(invoices.taxes, ("invoices", "taxes"), problems)
    customers = {}
    for account, table in invoices.customers.items():
        place: tuple[str | int, ...] = ("invoices", "customers", account)
        own = None if table.taxes is None else _taxes(table.taxes, (*place, "taxes"), problems)
        _check_lines(table.address, (*place, "address"), problems)
        customers[account] = Party(
            address=table.address, tax_id=table.tax_id, note=table.note, taxes=taxes if own is None else own
        )
    _check_lines(invoices.issuer, ("invoices", "issuer"), problems)
    if not (invoices.prefix.isascii() and invoices.prefix.isprintable() and len(invoices.prefix) <= 30):
        problems.add(("invoices", "prefix"), "must be at most 30 printable ASCII characters")
    return PaperSettings(
        receipt_keys=_key_file(receipts, folder, problems),
        issuer=Issuer(
            address=invoices.issuer,
            tax_id=invoices.tax_id,
            prefix=invoices.prefix,
            taxes_included=invoices.taxes_included,
            note=invoices.note,
            taxes=taxes,
            customers=customers,
        ),
    )


def _key_file(table: ReceiptsTable, folder: Path, problems: Problems) -> Path | None:
    if table.key_file is None:
        return None
    path = folder / Path(table.key_file).expanduser()
    if not path.is_file():
        problems.add(
            ("receipts", "key_file"), f"there is no file {path}; make one: openssl rand -base64 32 > {path}"
        )
    return path


def _taxes(
    tables: Sequence[TaxTable], place: tuple[str | int, ...], problems: Problems
) -> tuple[TaxRate, ...]:
    rates = []
    for number, table in enumerate(tables):
        ppm = table.percent * 10_000
        if ppm != int(ppm) or not 0 <= ppm <= 1_000_000:
            problems.add(
                (*place, number, "percent"), "must be from 0 to 100, with at most 4 digits behind the point"
            )
        rates.append(TaxRate(name=table.name, ppm=int(ppm)))
    return tuple(rates)


def _check_lines(lines: Sequence[str], place: tuple[str | int, ...], problems: Problems) -> None:
    if len(lines) > LINES_MAX or any(not text.isprintable() or len(text) > CHARS_MAX for text in lines):
        problems.add(place, f"must be at most {LINES_MAX} printable lines of {CHARS_MAX} characters")
