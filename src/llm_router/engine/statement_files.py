"""Statements as files: a page, a PDF, a table, data."""

from __future__ import annotations

from importlib.util import find_spec

import msgspec

from llm_router.billing.statement_rows import statement_json, statement_rows
from llm_router.billing.statements import Statement
from llm_router.billing.usage_rows import csv_text
from llm_router.engine.moments import iso_time

FORMATS = {
    "pdf": "application/pdf",
    "html": "text/html; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
}
"""Each with its media type."""

PDF_MISSING = (
    "PDF files need the extra [pdf]: pip install '.[pdf]' in the checkout, or pip install fpdf2 elsewhere; "
    "the format html works without"
)


def missing_formats() -> dict[str, str]:
    """The formats that statements cannot have here, each with the reason."""
    return {} if find_spec("fpdf") else {"pdf": PDF_MISSING}


def render(statement: Statement, format_: str) -> bytes:
    """The file. A PDF takes a while to make.

    Raises:
        ServerError: the library of PDF files is not installed, or no font has the letters.
    """
    if format_ == "html":
        from llm_router.engine.statement_html import statement_html

        return statement_html(statement).encode()
    if format_ == "pdf":
        from llm_router.engine.statement_pdf import statement_pdf

        return statement_pdf(statement)
    if format_ == "csv":
        return csv_text(statement_rows(statement, iso_time)).encode(errors="replace")
    return msgspec.json.format(msgspec.json.encode(statement_json(statement, iso_time)), indent=2) + b"\n"
