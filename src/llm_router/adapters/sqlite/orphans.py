"""Exchanges whose process died before it could settle them: what is known of each."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from llm_router.adapters.orphan import Orphan
from llm_router.adapters.sqlite.schema import check_ours

_READ = (
    "SELECT exchange_id, account, amount, price_version, epoch, created_ms, voided_ms FROM holds "
    "WHERE state = 'orphaned' ORDER BY created_ms DESC, exchange_id LIMIT ?"
)


def read_orphans(path: Path, limit: int) -> list[Orphan]:
    """The newest orphans in a store's file, which may be in use.

    Raises:
        StoreError, sqlite3.Error: it cannot be read.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
        check_ours(connection, path)
        return [
            Orphan(
                exchange_id=row[0],
                account=row[1],
                amount_pusd=row[2],
                price_version=row[3],
                epoch=row[4],
                created_ms=row[5],
                voided_ms=row[6],
            )
            for row in connection.execute(_READ, (limit,))
        ]
