"""Finding an exchange by the id of its reply.

The ids are random, so an index that is kept at every write touches a page for each of them, and the more the
larger it is. This one is filled by batches, in parts of PART exchanges each: few pages, each written full.
A search goes through the parts, the newest first, after a look at the exchanges that came since.
"""

from __future__ import annotations

import sqlite3

from llm_router.adapters.sqlite.proving import move_proof

BATCH = 4096
"""So many moves may come before their exchanges are filed: a search looks through these one by one. Each filing
writes nearly every page of a part anew, whether it adds many ids or few."""

PART_BITS = 14
"""The part of an exchange is its number without so many bits, as the schema says too."""

_FILE = (
    "INSERT INTO replies SELECT number >> 14, reply_id, number FROM exchanges "
    "WHERE number > (SELECT value FROM meta WHERE name = 'replies_to') AND reply_id IS NOT NULL ORDER BY 1, 2, 3"
)
_FILED = (
    "UPDATE meta SET value = (SELECT coalesce(max(number), 0) FROM exchanges) WHERE name = 'replies_to' "
    "AND value < (SELECT max(number) FROM exchanges)"
)
_TO = "SELECT value FROM meta WHERE name = 'replies_to'"
# By their numbers: an index would lead through all exchanges of the account.
_NEW = (
    "SELECT record FROM exchanges NOT INDEXED WHERE number > ? AND reply_id = ? AND account = ? "
    "ORDER BY number DESC LIMIT 1"
)
_OLD = (
    "SELECT x.record FROM replies r JOIN exchanges x ON x.number = r.number "
    "WHERE r.part = ? AND r.reply_id = ? AND x.account = ? ORDER BY r.number DESC LIMIT 1"
)


def file_replies(connection: sqlite3.Connection) -> None:
    """File what came since the last time, and add up its entries, in a transaction of its own."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_FILE)
    connection.execute(_FILED)
    move_proof(connection)
    connection.execute("COMMIT")


def find_reply(connection: sqlite3.Connection, reply_id: str, account: str) -> str | None:
    """The record of the newest exchange of an account whose reply had that id."""
    (to,) = connection.execute(_TO).fetchone()
    row = connection.execute(_NEW, (to, reply_id, account)).fetchone()
    part = to >> PART_BITS
    while row is None and part >= 0:
        row = connection.execute(_OLD, (part, reply_id, account)).fetchone()
        part -= 1
    return None if row is None else str(row[0])
