"""What is asked while requests are served does not go through all that a store holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from llm_router.adapters.sqlite import documents, keys, replies, schema

PLANS = {
    "a reply that is not filed yet": (replies._NEW, 3, "USING INTEGER PRIMARY KEY (rowid>?)"),
    "a reply that is filed": (replies._OLD, 3, "USING PRIMARY KEY (part=? AND reply_id=?)"),
    "the keys of an account": (keys._OF_ACCOUNT, 3, "keys_account (account=?)"),
    "the keys behind one of them": (keys._BEHIND, 3, "keys_account (account=? AND "),
    "the documents of an account": (documents._OWN, 4, "documents_account (kind=? AND account=? AND id>?)"),
    "the open ones of an account": (
        documents._OWN_OPEN,
        4,
        "documents_account (kind=? AND account=? AND id>?)",
    ),
    "the open documents": (documents._OPEN, 3, "documents_open (kind=? AND id>?)"),
}


@pytest.mark.parametrize("name", PLANS)
def test_it_is_found_without_looking_at_the_rest(name: str) -> None:
    sql, size, expected = PLANS[name]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.create(connection)
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * size).fetchall()
    assert expected in rows[0][3]
    assert not any("TEMP B-TREE" in row[3] for row in rows)
