"""Balances in the SQLite store: read when an account is first asked for, forgotten when it has been idle.

In memory are the accounts of the moment, however many there are in all. What is in memory is the truth;
an account is read from the file only while nothing of it is under way to the file, so that both agree.
"""

from __future__ import annotations

import asyncio
import sqlite3

from llm_router.adapters.sqlite.journal import Journal
from llm_router.adapters.sqlite.rows import Op
from llm_router.billing.ledger import Ledger
from llm_router.domain.errors import LedgerUnavailable

ACCOUNTS_MAX = 32_768
"""Accounts in memory, before idle ones are looked for; some 250 bytes each."""

LOOK = 1024
"""Accounts that are looked at, in one step, to find idle ones."""

CACHE_KB = 512
"""Pages of the file that the connection keeps: each read is of one row."""

_POSTED = "SELECT posted FROM accounts WHERE id = ?"
_ALL = "SELECT id, posted, held FROM accounts ORDER BY id"


class Accounts:
    """Reads the balances that the ledger asks for, in the event loop: one row, by its key, a few
    microseconds; the write-ahead log lets nobody wait for the writer."""

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        self._connection = connection
        self._loop = loop
        self._ledger: Ledger | None = None
        self._journal: Journal | None = None
        self._thinning = False

    def watch(self, ledger: Ledger, journal: Journal) -> None:
        """Keep that ledger small, whose moves that journal makes durable."""
        self._ledger, self._journal = ledger, journal

    def posted(self, account: str) -> int:
        """What the file says is posted of an account; 0 if it knows none of that name.

        Raises:
            LedgerUnavailable: the file cannot be read.
        """
        try:
            row = self._connection.execute(_POSTED, (account,)).fetchone()
        except UnicodeEncodeError:  # a lone surrogate: no account has one
            return 0
        except sqlite3.Error as error:
            raise LedgerUnavailable(
                "The ledger cannot read its disk. Try again shortly.", retry_after_s=5
            ) from error
        if self._ledger is not None and len(self._ledger) >= ACCOUNTS_MAX and not self._thinning:
            self._thinning = True
            self._loop.call_soon(self._thin)
        return 0 if row is None else int(row[0])

    def _thin(self) -> None:
        """Forget idle accounts, once all that was under way when they were found idle is in the file."""
        assert self._ledger is not None, "it is watched"
        assert self._journal is not None, "it is watched"
        ledger = self._ledger
        if self._journal.trouble is not None:  # the next account that comes looks again
            self._thinning = False
            return
        idle = ledger.idle(LOOK)

        def durable(done: asyncio.Future[object]) -> None:
            self._thinning = False
            if not done.cancelled() and done.exception() is None:
                ledger.forget(idle)

        self._journal.submit(Op(future=self._journal.future())).add_done_callback(durable)


def read_all(connection: sqlite3.Connection) -> list[tuple[str, int, int]]:
    """(account, posted, held) of every account."""
    return connection.execute(_ALL).fetchall()
