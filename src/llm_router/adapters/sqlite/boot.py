"""What happens when a store is opened: the books are checked, and orphaned holds are voided."""

from __future__ import annotations

import sqlite3

import msgspec

from llm_router.adapters.sqlite.budgets import load
from llm_router.adapters.sqlite.journaling import begin_use
from llm_router.adapters.sqlite.proving import entry_sums, move_proof
from llm_router.adapters.sqlite.schema import GENESIS, StoreCorrupt, entry_hash
from llm_router.billing.budgets import Budgets


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What a store begins with.

    Attributes:
        epoch: counts the openings; holds of earlier ones are orphans.
        seq, head: number and hash of the last entry.
        orphans: how many holds were voided by this opening.
        budgets: with what is spent of them in their present windows.
    """

    epoch: int
    seq: int
    head: bytes
    orphans: int
    budgets: Budgets


def boot(connection: sqlite3.Connection, now_ms: int, *, journaled: bool = False) -> Boot:
    """Check the invariants, void the holds that a dead process left open, and begin a new epoch.

    Args:
        journaled: the journal has begun for this opening.

    Raises:
        StoreCorrupt: a balance is not the sum of its entries, or not covered by its holds.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = _boot(connection, now_ms, journaled=journaled)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return result


def _boot(connection: sqlite3.Connection, now_ms: int, *, journaled: bool) -> Boot:
    check_holds(connection)
    seq = _prove(connection)
    orphans = connection.execute(
        "UPDATE holds SET state = 'orphaned', voided_ms = ? WHERE state = 'open'", (now_ms,)
    ).rowcount
    connection.execute("UPDATE accounts SET held = 0 WHERE held <> 0")
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
    (epoch,) = connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
    if journaled:
        begin_use(connection, epoch)
    row = connection.execute("SELECT hash FROM entries WHERE seq = ?", (seq,)).fetchone()
    budgets = Budgets()
    load(connection, budgets, now_ms)
    return Boot(
        epoch=epoch,
        seq=seq,
        head=GENESIS if row is None else row[0],
        orphans=orphans,
        budgets=budgets,
    )


def check_holds(connection: sqlite3.Connection) -> None:
    """held = sum of the open holds, for every account.

    Raises:
        StoreCorrupt: it is not.
    """
    held: dict[str, int] = {}
    for account, amount in connection.execute("SELECT account, amount FROM holds WHERE state = 'open'"):
        held[account] = held.get(account, 0) + amount
    for account, amount in connection.execute("SELECT id, held FROM accounts WHERE held <> 0"):
        if held.pop(account, 0) != amount:
            raise StoreCorrupt(f"Account {account}: {amount} p$ are held, but its holds say otherwise.")
    for account, amount in held.items():
        if amount:
            raise StoreCorrupt(f"Account {account}: its holds come to {amount} p$, but nothing is held.")


def _prove(connection: sqlite3.Connection) -> int:
    """posted = sum of the entries. Only what came since the last proof is added up.

    Return the number of the last entry.
    """
    (proved_seq,) = connection.execute("SELECT value FROM meta WHERE name = 'proved_seq'").fetchone()
    for account in entry_sums(connection, proved_seq):
        if connection.execute("SELECT 1 FROM accounts WHERE id = ?", (account,)).fetchone() is None:
            raise StoreCorrupt(f"Account {account} has entries but no balance.")
    seq = move_proof(connection)
    wrong = connection.execute("SELECT id, posted FROM accounts WHERE posted <> proved LIMIT 1").fetchone()
    if wrong is not None:
        account, posted = wrong
        if entry_sums(connection, 0).get(account, 0) == posted:
            raise StoreCorrupt(
                f"Account {account}: its balance of {posted} p$ is the sum of its entries, but what is carried along "
                "of that sum (accounts.proved) is not: the file was changed by something else than llm-router."
            )
        raise StoreCorrupt(f"Account {account}: the balance of {posted} p$ is not the sum of its entries.")
    return seq


def check_rollups(connection: sqlite3.Connection) -> None:
    """The sums by the hour are those of the exchanges, for every account, key and model.

    Raises:
        StoreCorrupt: they are not.
    """
    doubts = connection.execute(
        "SELECT account, key, model, sum(n), sum(cost >> 32) * 4294967296 + sum(cost & 4294967295) FROM ("
        " SELECT account, key, model, requests AS n, cost FROM rollups UNION ALL"
        " SELECT account, key, coalesce(model, ''), -1, -cost FROM exchanges"
        ") GROUP BY account, key, model HAVING sum(n) <> 0 "
        "OR sum(cost >> 32) * 4294967296 + sum(cost & 4294967295) <> 0 LIMIT 1"  # in halves: no sum overflows
    ).fetchone()
    if doubts is not None:
        account, key, model, _, pusd = doubts
        raise StoreCorrupt(
            f"Account {account}: the sums of key {key} and model {model or '(none)'} are {pusd} p$ off "
            "from its exchanges."
        )


def audit(connection: sqlite3.Connection) -> int:
    """Check everything from the first entry on: sums, holds, numbering and the hash chain.

    Return the number of entries.

    Raises:
        StoreCorrupt: with the first thing that does not add up.
    """
    check_holds(connection)
    sums = entry_sums(connection, 0)
    for account, posted, held in connection.execute("SELECT id, posted, held FROM accounts"):
        if sums.pop(account, 0) != posted:
            raise StoreCorrupt(
                f"Account {account}: the balance of {posted} p$ is not the sum of its entries."
            )
        if posted - held < 0:
            raise StoreCorrupt(f"Account {account} is overdrawn by {held - posted} p$.")
    if sums:
        raise StoreCorrupt(f"Account {next(iter(sums))} has entries but no balance.")
    check_rollups(connection)
    head, expected = GENESIS, 0
    rows = connection.execute(
        "SELECT seq, ref, account, amount, kind, created_ms, note, proof, hash FROM entries ORDER BY seq"
    )
    for *row, link in rows:
        expected += 1
        head = entry_hash(head, *row)
        if row[0] != expected or link != head:
            raise StoreCorrupt(f"Entry {row[0]} was changed, or one before it is missing.")
    return expected
