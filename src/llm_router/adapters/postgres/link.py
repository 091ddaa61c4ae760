"""A connection that is opened when it is needed, used by one task at a time, and dropped when in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import asyncpg
import msgspec

from llm_router.adapters.postgres.schema import SCHEMA
from llm_router.domain.errors import LedgerUnavailable

CONNECT_S = 1.0

LOCK_MS = 800
"""How long a statement waits for a row that another node is changing."""

IDLE_MS = 1000
"""How long a node may pause inside a transaction, in which others wait for it: the server ends it then."""

_T = TypeVar("_T")

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What a database that is down, slow or unwilling raises."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is.

    Attributes:
        url: ``postgresql://user@host:port/database``, without a password.
        password: None if none is needed.
    """

    url: str
    password: str | None = None

    @property
    def place(self) -> str:
        """The URL as it may be told; it holds no password."""
        return self.url.partition("?")[0]

    def __repr__(self) -> str:
        return f"Target({self.url!r})"


_SETTINGS = {
    "search_path": SCHEMA,
    "application_name": "llm-router",
    "lock_timeout": str(LOCK_MS),
    "idle_in_transaction_session_timeout": str(IDLE_MS),
    "synchronous_commit": "on",  # whatever the role's default is: an acknowledged charge is on the disk
    "default_transaction_isolation": "read committed",  # rows are read after their lock is had
    # Rows are looked up by their ids, however few of them the statistics may think there are.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}


async def connect(target: Target, settings: Mapping[str, str] = _SETTINGS) -> asyncpg.Connection:
    """Open a connection of its own.

    Raises:
        one of FAILURES.
    """
    return await asyncpg.connect(
        target.url,
        password=target.password,
        timeout=CONNECT_S,
        server_settings=dict(settings),
    )


class Link:
    """One connection. Whatever goes wrong in a use of it, the next use begins with a new one."""

    def __init__(self, target: Target, **settings: str) -> None:
        self._target = target
        self._settings = _SETTINGS | settings
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None

    async def run(self, work: Callable[[asyncpg.Connection], Awaitable[_T]], timeout_s: float) -> _T:
        """Do something with the connection, alone; ``timeout_s`` bounds the wait for it too.

        Raises:
            one of FAILURES, or what ``work`` raises.
        """
        async with asyncio.timeout(timeout_s), self._lock:
            connection = self._connection
            try:
                if connection is None or connection.is_closed():
                    connection = self._connection = await connect(self._target, self._settings)
                return await work(connection)
            except BaseException:
                self.drop()
                raise

    def drop(self) -> None:
        """Let go of the connection without a word to the server, which may not listen."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        async with self._lock:
            self.drop()


class Links:
    """Some connections for reads that change nothing, used in turn."""

    def __init__(self, target: Target, count: int, timeout_s: float) -> None:
        self._links = [Link(target) for _ in range(count)]
        self._timeout_s = timeout_s
        self._next = 0
        self._tasks: set[asyncio.Task[object]] = set()

    async def read(self, work: Callable[[asyncpg.Connection], Awaitable[_T]]) -> _T:
        """Query. A caller that leaves does not cost the connection.

        Raises:
            LedgerUnavailable: the database does not answer.
        """
        self._next = (self._next + 1) % len(self._links)
        task = asyncio.ensure_future(self._links[self._next].run(work, self._timeout_s))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except FAILURES as error:
            raise unavailable(error) from error

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # counts as seen: its caller may have left

    async def close(self) -> None:
        for link in self._links:
            await link.close()


def unavailable(error: BaseException) -> LedgerUnavailable:
    """The 503 for a database that does not do what it must. Names no statement and no row."""
    if isinstance(error, LedgerUnavailable):
        return error
    why = "does not answer" if isinstance(error, OSError | TimeoutError) else "refuses to work"
    refusal = LedgerUnavailable(f"The ledger's database {why}. Try again shortly.", retry_after_s=1)
    refusal.__cause__ = error
    return refusal
