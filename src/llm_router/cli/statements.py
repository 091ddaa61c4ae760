"""The commands on statements and invoices."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import msgspec

from llm_router.billing.statement_rows import shown, statement_json, statement_rows
from llm_router.billing.statements import Statement
from llm_router.cli.output import note, print_json, print_table, printable
from llm_router.engine.moments import iso_time
from llm_router.engine.statement_files import render


def show(arguments: argparse.Namespace) -> int:
    """A month as lines that add up."""
    statement = _read(arguments)
    if arguments.json:
        print_json(statement_json(statement, iso_time))
        return 0
    state = "not issued" if statement.issued_ms is None else f"issued {iso_time(statement.issued_ms)[:10]}"
    number = "" if statement.number is None else f", invoice {statement.number}"
    print(f"{printable(statement.account)}, {statement.month} ({state}{number})\n")
    rows = [
        (
            str(row[0]),
            printable(str(row[1])),
            "" if row[2] is None else str(row[2])[:10],
            _dollars(str(row[-1])),
        )
        for row in statement_rows(statement, iso_time)[1:]
    ]
    print_table(("", "WHAT", "WHEN", "AMOUNT"), rows, frozenset({"AMOUNT"}))
    return 0


def _dollars(text: str) -> str:
    return f"-${text[1:]}" if text.startswith("-") else f"${text}"


def export(arguments: argparse.Namespace) -> int:
    """Write a month as a page, a PDF, a table or data."""
    statement = _read(arguments)
    data = render(statement, arguments.format)
    if arguments.output is None:
        sys.stdout.buffer.write(data)
        return 0
    handle = os.open(arguments.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    note(f"{arguments.output}: {len(data)} bytes.")
    return 0


def issue(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result: Any = run_command(
        arguments, "statements.issue", {"month": arguments.month, "account": arguments.account}
    )
    if arguments.json:
        print_json(result)
        return 0
    _print_rows(result["statements"])
    for row in result["statements"]:
        if row["pdf_doubt"] is not None:
            note(
                f"{printable(row['account'])}, {row['month']} cannot be a PDF here: {printable(row['pdf_doubt'])}."
            )
    for row in result["skipped"]:
        note(f"{printable(row['account'])} was left out: {row['why']}")
    return 0


def list_issued(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result: Any = run_command(arguments, "statements.list", {"account": arguments.account})
    if arguments.json:
        print_json(result)
    else:
        _print_rows(result["statements"])
    return 0


def _print_rows(rows: list[dict[str, Any]]) -> None:
    if not rows:
        note("Nothing was issued.")
        return
    cells = [
        (
            printable(row["account"]),
            row["month"],
            row["number"] or "-",
            shown(row["used_pusd"]),
            shown(row["closing_pusd"]),
            iso_time(row["issued_ms"])[:10],
        )
        for row in rows
    ]
    columns = ("ACCOUNT", "MONTH", "INVOICE", "USED", "CLOSING", "ISSUED")
    print_table(columns, cells, frozenset({"USED", "CLOSING"}))


def _read(arguments: argparse.Namespace) -> Statement:
    from llm_router.cli.world import run_command

    values = {"month": arguments.month, "account": arguments.account}
    result = run_command(arguments, "statements.show", values)
    return msgspec.convert(result["statement"], Statement)
