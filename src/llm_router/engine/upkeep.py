"""Settlements that the store could not take are tried again until it can, so that no hold stays open."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from llm_router.domain.errors import LedgerUnavailable
from llm_router.domain.record import ExchangeRecord
from llm_router.ports import Books

RETRY_S = 1.0
"""Pause between two rounds of tries."""

UNRESOLVED_MAX = 10_000
"""More holds than that wait for the next start, which voids what is left open."""

FLAG_VOIDED = "ledger_unavailable"


class Upkeep:
    """The exchanges whose hold may still be open because the store was down when they ended."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._unresolved: dict[str, ExchangeRecord] = {}
        self._task: asyncio.Task[None] | None = None

    def void_later(self, record: ExchangeRecord) -> None:
        """Resolve the hold of an exchange as soon as the store writes again. It costs nothing: that is
        what its client was told."""
        flags = (*record.flags, FLAG_VOIDED)
        self.settle_later(msgspec.structs.replace(record, cost_pusd=0, absorbed_pusd=0, cost=(), flags=flags))

    def settle_later(self, record: ExchangeRecord) -> None:
        """Settle again, which does nothing if it was settled."""
        if len(self._unresolved) >= UNRESOLVED_MAX:
            return
        self._unresolved[record.id] = record
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="upkeep")

    async def close(self) -> None:
        """Try no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        try:
            while self._unresolved:
                await asyncio.sleep(RETRY_S)
                await self._round()
        finally:
            self._task = None

    async def _round(self) -> None:
        """Try them all, until the store says no again."""
        for record in list(self._unresolved.values()):
            try:
                await self._books.settle(record)
            except LedgerUnavailable:
                return
            except ValueError:
                pass  # the store has another opinion of this exchange; no further try changes it
            del self._unresolved[record.id]
