"""Which store a gateway uses: one SQLite file of its own, or a PostgreSQL database shared with other nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from llm_router.adapters.body_seals import BodySeals
from llm_router.adapters.data_dir import BODIES_NAME, DIRECTORY_NAME
from llm_router.adapters.orphan import Orphan
from llm_router.adapters.recount import Verdict
from llm_router.adapters.sqlite.bodies import SqliteBodies
from llm_router.adapters.sqlite.directory import SqliteDirectory
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.adapters.store_errors import StoreError
from llm_router.ports import Clock

if TYPE_CHECKING:
    from llm_router.adapters.postgres.bodies import PostgresBodies
    from llm_router.adapters.postgres.directory import PostgresDirectory
    from llm_router.adapters.postgres.store import PostgresStore

    OpenBodies: TypeAlias = SqliteBodies | PostgresBodies
    OpenDirectory: TypeAlias = SqliteDirectory | PostgresDirectory
    Store: TypeAlias = SqliteStore | PostgresStore

_T = TypeVar("_T")


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


async def open_directory(data_dir: Path, *, url: str | None, password: str | None) -> OpenDirectory:
    """The directory that goes with that store, which is open already.

    Raises:
        StoreError: it cannot be used, for the reason given.
    """
    if url is None:
        return await SqliteDirectory.open(data_dir / DIRECTORY_NAME)
    from llm_router.adapters.postgres.directory import PostgresDirectory
    from llm_router.adapters.postgres.link import Target

    return PostgresDirectory(Target(url=url, password=password))


async def open_bodies(
    data_dir: Path, seals: BodySeals, *, url: str | None, password: str | None
) -> OpenBodies:
    """The store of bodies that goes with that store, which is open already.

    Raises:
        StoreError: it cannot be used, for the reason given.
    """
    if url is None:
        return await SqliteBodies.open(data_dir / BODIES_NAME, seals)
    from llm_router.adapters.postgres.bodies import PostgresBodies
    from llm_router.adapters.postgres.link import Target

    return PostgresBodies(Target(url=url, password=password), seals)


async def migrate_database(url: str, password: str | None) -> tuple[int, list[int]]:
    """Bring the tables of a database up to date; return their version and the steps that were taken.

    Raises:
        StoreError: it cannot be done, for the reason given.
    """
    schema = _adapters()
    steps = await _connected(url, password, schema.migrate)
    return max(schema.MIGRATIONS), steps


async def verify_database(
    url: str, password: str | None, now_ms: int, heads: Mapping[int, tuple[int, str]]
) -> tuple[Verdict, dict[int, tuple[int, str]]]:
    """Prove the books of a database; return the verdict, and number and hash of the last entry of each node.

    Raises:
        StoreError: it cannot be read, or is of another version.
    """
    schema = _adapters()
    from llm_router.adapters.postgres.verify import verify

    async def work(connection: Any, place: str) -> tuple[Verdict, dict[int, tuple[int, str]]]:
        await schema.check(connection, place)
        return await verify(connection, now_ms, heads)

    return await _connected(url, password, work)


async def orphans_of_database(url: str, password: str | None, limit: int) -> list[Orphan]:
    """The newest orphans in a database.

    Raises:
        StoreError: it cannot be read, or is of another version.
    """
    schema = _adapters()
    from llm_router.adapters.postgres.nodes import read_orphans

    async def work(connection: Any, place: str) -> list[Orphan]:
        await schema.check(connection, place)
        return await read_orphans(connection, limit)

    return await _connected(url, password, work)


def _adapters() -> Any:
    """The module of the tables.

    Raises:
        StoreError: what it needs is not installed.
    """
    try:
        from llm_router.adapters.postgres import schema
    except ImportError:
        raise _not_installed() from None
    return schema


async def _connected(url: str, password: str | None, work: Callable[[Any, str], Awaitable[_T]]) -> _T:
    """Do something with a connection of its own.

    Raises:
        StoreError: the database cannot be used.
    """
    from llm_router.adapters.postgres import link

    target = link.Target(url=url, password=password)
    try:
        connection = await link.connect(target)
        try:
            return await work(connection, target.place)
        finally:
            connection.terminate()
    except (*link.FAILURES, ValueError) as error:
        raise StoreError(f"The database {target.place} cannot be used ({error or 'no answer'}).") from error


def _not_installed() -> StoreError:
    return StoreError(
        "A store in PostgreSQL needs more: run  pip install '.[postgres]'  in the checkout of LLM Router, or  "
        "pip install asyncpg  elsewhere"
    )
