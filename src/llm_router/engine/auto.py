"""``auto`` beside the choice itself: the dial of a request, and what is kept of what the router learned."""

from __future__ import annotations

import asyncio
import contextlib
from math import isfinite
from typing import Protocol

from llm_router.domain.errors import InvalidRequest, LedgerUnavailable
from llm_router.engine.admit import Call
from llm_router.ports import Clock, Document, TreasuryBooks
from llm_router.routing.auto.artefact import Artefact, decode_artefact, shipped
from llm_router.routing.auto.router import AutoRouter
from llm_router.routing.auto.traffic import DIAL_MAX
from llm_router.wire.dialect import Inspected

DIAL_HEADER = "x-llm-router-dial"

DIAL_MEMBER = "dial"

KIND, PLACE = "auto_router", "state"
"""Where the state is kept among the documents."""

PREPARE_S = 2.0
"""After the start the weights are read beside the work, so that the first request need not wait for them."""

SAVE_S = 300.0
"""Between two times that it is stored."""


class Holder(Protocol):
    """Who has the router of a process. It is read when it is first needed."""

    @property
    def router(self) -> AutoRouter: ...

    @property
    def used(self) -> bool:
        """Whether anybody needed it yet."""
        ...

    def prepare(self, artefact: Artefact) -> None:
        """Take the weights, if nobody needed them before."""
        ...


def read_dial(call: Call, inspected: Inspected) -> float | None:
    """The dial that a request sets, by its header or else its member; None if it sets none.

    Raises:
        InvalidRequest: it is no number from 0 to 10.
    """
    text: object = call.headers.get(DIAL_HEADER)
    where = f"The header {DIAL_HEADER}"
    if text is None:
        text, where = inspected.routing.get(DIAL_MEMBER), "'dial'"
        if text is None:
            return None
        if isinstance(text, str | bool):
            text = "wrong"
    try:
        dial = float(str(text))
    except ValueError:
        dial = -1.0
    if not isfinite(dial) or not 0 <= dial <= DIAL_MAX:
        raise InvalidRequest(f"{where} must be a number from 0 (cheapest) to 10 (best).", param=DIAL_MEMBER)
    return dial


class AutoKeeper:
    """Keeps what the router of a process learned: reads it at the start, stores it from time to time.

    Several processes write to the same place, each what it saw; the next start begins with the last.
    """

    def __init__(self, auto: Holder, books: TreasuryBooks, clock: Clock) -> None:
        self._auto = auto
        self._books = books
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Go on from what is stored, and store it again from time to time."""
        with contextlib.suppress(LedgerUnavailable):
            if (found := await self._books.document(KIND, PLACE)) is not None:
                self._auto.router.restore(found.body)
        self._task = asyncio.get_running_loop().create_task(self._work(), name="auto router")

    async def close(self) -> None:
        """Store it a last time."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.save()

    async def save(self) -> None:
        """Store what was learned since the last time. What the store does not take is tried again next time."""
        if not self._auto.used or not self._auto.router.changes:
            return
        with contextlib.suppress(LedgerUnavailable):
            known = await self._books.document(KIND, PLACE)
            changes = self._auto.router.changes
            document = Document(
                kind=KIND,
                id=PLACE,
                account="",
                version=1 if known is None else known.version + 1,
                open=False,
                created_ms=self._clock.now_ms() if known is None else known.created_ms,
                body=self._auto.router.dump(),
            )
            try:
                kept = await self._books.put_document(document)
            except LedgerUnavailable:
                kept = False
            if not kept:
                self._auto.router.changes += changes

    async def _work(self) -> None:
        await asyncio.sleep(PREPARE_S)
        if not self._auto.used:
            self._auto.prepare(await asyncio.to_thread(lambda: decode_artefact(shipped())))
        while True:
            await asyncio.sleep(SAVE_S)
            await self.save()
