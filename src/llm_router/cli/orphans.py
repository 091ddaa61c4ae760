"""The command that lists exchanges whose outcome is unknown."""

from __future__ import annotations

import argparse
import sqlite3

from llm_router.cli.output import note, print_json, print_table, printable
from llm_router.domain.errors import NotFound, ServerError
from llm_router.domain.money import format_usd


def list_orphans(arguments: argparse.Namespace) -> int:
    """Show the holds that were voided because their process died.

    Raises:
        NotFound: there is no store.
        ServerError: it cannot be read.
    """
    from llm_router.adapters.data_dir import STORE_NAME
    from llm_router.adapters.sqlite.orphans import read_orphans
    from llm_router.adapters.sqlite.schema import StoreError
    from llm_router.cli.world import find_place
    from llm_router.engine.moments import iso_time
    from llm_router.engine.operator import dollars

    path = arguments.file
    if path is None:
        path = find_place(arguments).server.data_dir / STORE_NAME
    if not path.is_file():
        raise NotFound(f"there is no ledger at {path}", code="no_data")
    try:
        orphans = read_orphans(path, arguments.limit)
    except (StoreError, sqlite3.Error) as error:
        raise ServerError(str(error), code="store_unusable") from None
    rows = [
        {
            "id": orphan.exchange_id,
            "account": orphan.account,
            "held": dollars(orphan.amount_pusd),
            "price_version": orphan.price_version,
            "created": iso_time(orphan.created_ms),
            "voided": iso_time(orphan.voided_ms),
        }
        for orphan in orphans
    ]
    if arguments.json:
        print_json({"file": str(path), "orphans": rows})
    elif not rows:
        note("Every exchange was settled: no process died with one open.")
    else:
        columns = ("ID", "ACCOUNT", "HELD", "PRICE", "BEGUN", "VOIDED")
        shown = [
            (
                orphan.exchange_id,
                printable(orphan.account),
                f"${format_usd(orphan.amount_pusd)}",
                printable(orphan.price_version),
                str(row["created"])[:19].replace("T", " "),
                str(row["voided"])[:19].replace("T", " "),
            )
            for orphan, row in zip(orphans, rows, strict=True)
        ]
        print_table(columns, shown, frozenset({"HELD"}))
    return 0
