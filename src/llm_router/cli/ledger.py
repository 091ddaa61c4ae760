"""The command that proves the books."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3

import msgspec

from llm_router.cli.output import print_json
from llm_router.domain.errors import InvalidRequest, NotFound, ServerError
from llm_router.settings.result import StoreSettings


def verify_ledger(arguments: argparse.Namespace) -> int:
    """Check everything in the books; 1 at the first doubt.

    Raises:
        InvalidRequest: the expected head is malformed.
        NotFound: there is no store.
        ServerError: it cannot be read.
    """
    from llm_router.adapters.clock import SystemClock
    from llm_router.adapters.data_dir import STORE_NAME
    from llm_router.adapters.sqlite.schema import StoreError
    from llm_router.adapters.sqlite.verify import verify
    from llm_router.cli.world import find_place

    path = arguments.file
    if path is None:
        place = find_place(arguments)
        if place.store is not None:
            return _verify_database(place.store, arguments)
        path = place.server.data_dir / STORE_NAME
    if not path.is_file():
        raise NotFound(f"there is no ledger at {path}", code="no_data")
    try:
        verdict = verify(path, SystemClock().now_ms(), _head(arguments.head))
    except (StoreError, sqlite3.Error) as error:
        raise ServerError(str(error), code="store_unusable") from None
    doubt = verdict.doubt
    if arguments.json:
        print_json({"file": str(path), "ok": doubt is None, **msgspec.to_builtins(verdict)})
    elif doubt is not None:
        print(f"DOUBT in {doubt.check}: {doubt.where}: {doubt.what}.")
    else:
        print(
            f"{path}: every figure agrees. {verdict.entries} entries chained, {verdict.exchanges} exchanges "
            f"({verdict.rerated} rated again), {verdict.accounts} accounts, {verdict.rollups} hourly sums, "
            f"{verdict.budgets} budgets."
        )
        if verdict.unproven:
            print(f"{verdict.unproven} exchanges are older than stored prices: their lines were added up.")
        print(f"Head: {verdict.seq}:{verdict.head}")
    return 0 if doubt is None else 1


def _verify_database(store: StoreSettings, arguments: argparse.Namespace) -> int:
    """Check the books of a database that nodes may be using.

    Raises:
        InvalidRequest: an expected head was named: each node has one of its own there.
        ServerError: it cannot be read.
    """
    from llm_router.adapters.store_errors import StoreCorrupt, StoreError
    from llm_router.adapters.stores import audit_database

    if arguments.head is not None:
        raise InvalidRequest("--head is for a ledger in one file", param="head")
    password = None if store.password is None else store.password.reveal()
    place, doubt, entries = store.url.partition("?")[0], None, 0
    try:
        entries = asyncio.run(audit_database(store.url, password))
    except StoreCorrupt as error:
        doubt = str(error)
    except StoreError as error:
        raise ServerError(str(error), code="store_unusable") from None
    if arguments.json:
        print_json({"database": place, "ok": doubt is None, "entries": entries, "doubt": doubt})
    else:
        print(f"{place}: every figure agrees. {entries} entries." if doubt is None else f"DOUBT: {doubt}")
    return 0 if doubt is None else 1


def _head(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    number, _, digest = text.partition(":")
    if not (number.isascii() and number.isdigit() and len(number) < 19 and len(digest) == 64):
        raise InvalidRequest(
            "--head must be NUMBER:HASH as 'llm-router ledger verify' prints it", param="head"
        )
    return int(number), digest
