"""The sum of each account's entries, carried along with the entries, so that no start adds up all of them."""

from __future__ import annotations

import sqlite3

_PROVED = "UPDATE accounts SET proved = proved + ? WHERE id = ?"
SUMS = (
    "SELECT account, sum(amount >> 32), sum(amount & 4294967295) FROM entries WHERE seq > ? GROUP BY +account"
)
"""With a plain ``GROUP BY account`` SQLite walks through the index of all entries ever made, in that order."""

_TO = "SELECT value FROM meta WHERE name = 'proved_seq'"


def move_proof(connection: sqlite3.Connection) -> int:
    """Add up the entries that came since the last time. Inside the caller's transaction.

    Return the number of the last entry.
    """
    (proved_seq,) = connection.execute(_TO).fetchone()
    (seq,) = connection.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()
    if seq > proved_seq:
        sums = entry_sums(connection, proved_seq)
        connection.executemany(_PROVED, [(total, account) for account, total in sums.items()])
        connection.execute("UPDATE meta SET value = ? WHERE name = 'proved_seq'", (seq,))
    return int(seq)


def entry_sums(connection: sqlite3.Connection, after_seq: int) -> dict[str, int]:
    """The sum of each account's entries after ``after_seq``, exact: in two halves, since SQLite's
    own sum refuses to pass 63 bits on the way."""
    rows = connection.execute(SUMS, (after_seq,))
    return {account: (high << 32) + low for account, high, low in rows}
