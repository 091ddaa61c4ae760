"""What the store tests share: how to open each store, and records to put into it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import postgres_server

from llm_router.adapters.memory.books import MemoryBooks
from llm_router.adapters.sqlite.store import SqliteStore
from llm_router.domain.budget import Payer
from llm_router.domain.key import Key, key_digest
from llm_router.domain.record import ExchangeRecord

_T = TypeVar("_T")

ACME = Payer(account="acme", key="key_1")


class FixedClock:
    """A clock that stands still."""

    def now_ms(self) -> int:
        return 1_800_000_000_000

    def monotonic_us(self) -> int:
        return 0


Open = Callable[[], Awaitable[Any]]


def openers(folder: Path) -> dict[str, Open]:
    async def memory() -> MemoryBooks:
        return MemoryBooks()

    async def sqlite() -> SqliteStore:
        return await SqliteStore.open(folder / "books.db", clock=FixedClock())

    async def postgres() -> Any:
        if "database" not in made:
            made["database"] = postgres_server.new_database()
        return await postgres_server.open_store(made["database"])

    async def remote() -> Any:
        from shared_kit import remote_store

        return await remote_store(await sqlite())

    made: dict[str, str] = {}
    return {"memory": memory, "sqlite": sqlite, "postgres": postgres, "remote": remote}


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end, but not for ever: a hung store must fail the test, not the suite."""

    async def bounded() -> _T:
        async with asyncio.timeout(60):
            return await main

    return asyncio.run(bounded())


def record(id_: str, cost_pusd: int = 0, **fields: Any) -> ExchangeRecord:
    values: dict[str, Any] = {
        "account": "acme",
        "key": "key_1",
        "operation": "chat",
        "dialect": "openai_chat",
        "asked_model": "m",
        "model": "m",
        "created_ms": 5,
        "status": 200,
        "price_version": "v1",
    }
    values.update(fields)
    return ExchangeRecord(id=id_, cost_pusd=cost_pusd, **values)


def make_key(number: int, **fields: Any) -> tuple[Key, bytes]:
    key = Key(
        id=f"key_{number}",
        account="acme",
        name=f"n{number}",
        prefix="sk-lr-abc",
        created_ms=number,
        **fields,
    )
    return key, key_digest(b"secret %d" % number)
