"""Which store a gateway uses: one SQLite file of its own, or a PostgreSQL database shared with other nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.adapters.store_errors import StoreError
from llm_router.ports import Clock

if TYPE_CHECKING:
    from llm_router.adapters.postgres.store import PostgresStore

    Store: TypeAlias = SqliteStore | PostgresStore


async def open_store(path: Path, *, clock: Clock, url: str | None, password: str | None) -> Store:
    """Open the database at ``url``, or without one the file at ``path``.

    Raises:
        StoreError: it cannot be used, for the reason given.
    """
    if url is None:
        return await SqliteStore.open(path, clock=clock)
    try:
        from llm_router.adapters.postgres.link import Target
        from llm_router.adapters.postgres.store import PostgresStore
    except ImportError:
        raise _not_installed() from None
    return await PostgresStore.open(Target(url=url, password=password), clock=clock)


async def migrate_database(url: str, password: str | None) -> tuple[int, list[int]]:
    """Bring the tables of a database up to date; return their version and the steps that were taken.

    Raises:
        StoreError: it cannot be done, for the reason given.
    """
    try:
        from llm_router.adapters.postgres import link, schema
    except ImportError:
        raise _not_installed() from None
    target = link.Target(url=url, password=password)
    try:
        connection = await link.connect(target)
        try:
            steps = await schema.migrate(connection, target.place)
        finally:
            connection.terminate()
    except (*link.FAILURES, ValueError) as error:
        raise StoreError(f"The database {target.place} cannot be used ({error or 'no answer'}).") from error
    return max(schema.MIGRATIONS), steps


async def audit_database(url: str, password: str | None) -> int:
    """Check the books of a database from the first entry on; return how many entries there are.

    Raises:
        StoreCorrupt: something does not add up.
        StoreError: it cannot be read.
    """
    try:
        from llm_router.adapters.postgres import audit, link, schema
    except ImportError:
        raise _not_installed() from None
    target = link.Target(url=url, password=password)
    try:
        connection = await link.connect(target)
        try:
            await schema.prepare(connection, target.place)
            return await audit.audit(connection)
        finally:
            connection.terminate()
    except (*link.FAILURES, ValueError) as error:
        raise StoreError(f"The database {target.place} cannot be used ({error or 'no answer'}).") from error


def _not_installed() -> StoreError:
    return StoreError(
        "A store in PostgreSQL needs more: run  pip install '.[postgres]'  in the checkout of LLM Router, or  "
        "pip install asyncpg  elsewhere"
    )
