"""Bring the data of an earlier version up to date."""

from __future__ import annotations

import argparse
import sqlite3
from contextlib import closing

from llm_router.cli.output import print_json
from llm_router.domain.errors import NotFound, ServerError


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

    path = find_place(arguments).server.data_dir / STORE_NAME
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
    if arguments.json:
        print_json({"data": str(path), "schema": schema.SCHEMA_VERSION, "applied": steps})
    elif steps:
        print(f"{path} is of schema {schema.SCHEMA_VERSION} now.")
    else:
        print(f"{path} is up to date (schema {schema.SCHEMA_VERSION}).")
    return 0
