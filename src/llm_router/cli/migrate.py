"""Bring the data of an earlier version up to date."""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from contextlib import closing

from llm_router.cli.output import print_json
from llm_router.domain.errors import NotFound, ServerError
from llm_router.settings.result import StoreSettings


def migrate(arguments: argparse.Namespace) -> int:
    """Take the store through the versions between its own and ours, each one wholly or not at all.

    Raises:
        NotFound: there is no store yet.
        ServerError: it is in use, is none of ours, or its disk refuses.
    """
    from llm_router.adapters.data_dir import STORE_NAME
    from llm_router.adapters.sqlite import schema
    from llm_router.adapters.sqlite.lock import StoreLock
    from llm_router.cli.world import find_place

    place = find_place(arguments)
    if place.store is not None:
        return _migrate_database(place.store, arguments)
    path = place.server.data_dir / STORE_NAME
    if not path.exists():
        raise NotFound(f"there is no gateway data in {path.parent} yet", code="no_data")
    try:
        lock = StoreLock(path)
        try:
            with closing(schema.connect(path)) as connection:
                schema.check_ours(connection, path)
                steps = schema.migrate(connection)
        finally:
            lock.release()
    except (schema.StoreError, sqlite3.Error) as error:
        raise ServerError(str(error), code="store_unusable") from None
    _say(str(path), schema.SCHEMA_VERSION, steps, arguments)
    return 0


def _migrate_database(store: StoreSettings, arguments: argparse.Namespace) -> int:
    from llm_router.adapters.store_errors import StoreError
    from llm_router.adapters.stores import migrate_database

    password = None if store.password is None else store.password.reveal()
    try:
        version, steps = asyncio.run(migrate_database(store.url, password))
    except StoreError as error:
        raise ServerError(str(error), code="store_unusable") from None
    _say(store.url.partition("?")[0], version, steps, arguments)
    return 0


def _say(place: str, version: int, steps: list[int], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json({"data": place, "schema": version, "applied": steps})
    elif steps:
        print(f"{place} is of schema {version} now.")
    else:
        print(f"{place} is up to date (schema {version}).")
