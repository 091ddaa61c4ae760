"""The command that lists exchanges whose outcome is unknown."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from llm_router.cli.output import note, print_json, print_table, printable
from llm_router.domain.errors import NotFound, ServerError
from llm_router.domain.money import format_usd
from llm_router.settings.result import StoreSettings

if TYPE_CHECKING:
    from llm_router.adapters.orphan import Orphan


def list_orphans(arguments: argparse.Namespace) -> int:
    """Show the holds that were voided because their process died.

    Raises:
        NotFound: there is no store.
        ServerError: it cannot be read.
    """
    from llm_router.cli.world import find_place
    from llm_router.engine.moments import iso_time
    from llm_router.engine.operator import dollars

    place = None if arguments.file is not None else find_place(arguments)
    if place is not None and place.store is not None:
        told = {"database": place.store.url.partition("?")[0]}
        orphans = _of_database(place.store, arguments.limit)
    else:
        from llm_router.adapters.data_dir import STORE_NAME

        path = arguments.file if place is None else place.server.data_dir / STORE_NAME
        told = {"file": str(path)}
        orphans = _of_file(path, arguments.limit)
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
        print_json({**told, "orphans": rows})
    elif not rows:
        note(
            "No hold was voided: no process is known to have died with an exchange open. One that died just now is "
            "noticed when the gateway starts again, on a database by another gateway."
        )
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


def _of_file(path: Path, limit: int) -> list[Orphan]:
    from llm_router.adapters.sqlite.orphans import read_orphans
    from llm_router.adapters.sqlite.schema import StoreError

    if not path.is_file():
        raise NotFound(f"there is no ledger at {path}", code="no_data")
    try:
        return read_orphans(path, limit)
    except (StoreError, sqlite3.Error) as error:
        raise ServerError(str(error), code="store_unusable") from None


def _of_database(store: StoreSettings, limit: int) -> list[Orphan]:
    from llm_router.adapters.store_errors import StoreError
    from llm_router.adapters.stores import orphans_of_database

    password = None if store.password is None else store.password.reveal()
    try:
        return asyncio.run(orphans_of_database(store.url, password, limit))
    except StoreError as error:
        raise ServerError(str(error), code="store_unusable") from None
