"""``auto`` in the engine: which models it chooses among, the choice, and what is kept of what it learned.

pool ─── models that can do what is asked               routing/auto/pool.py, tasks.py
  read ─── the prompt, off the request that was parsed   routing/auto/features.py, scoring.py
    order ── candidates that passed the filters          routing/auto/choose.py
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from math import isfinite

from llm_router.catalog.resolve import nearest
from llm_router.domain.errors import InvalidRequest, LedgerUnavailable, ModelNotFound
from llm_router.engine.admit import Call
from llm_router.engine.state import State
from llm_router.ports import Clock, Document, TreasuryBooks
from llm_router.routing.auto.artefact import decode_artefact, shipped
from llm_router.routing.auto.choose import Choice, Offer
from llm_router.routing.auto.features import prompt_of
from llm_router.routing.auto.pool import auto_pool
from llm_router.routing.auto.router import AutoRouter, Read
from llm_router.routing.auto.tasks import TASKS, Task, fits
from llm_router.routing.auto.traffic import DIAL_MAX
from llm_router.routing.plan import Candidate
from llm_router.wire.dialect import Inspected

DIAL_HEADER = "x-llm-router-dial"

DIAL_MEMBER = "dial"

KIND, PLACE = "auto_router", "state"
"""Where the state is kept among the documents."""

SAVE_S = 300.0
"""Between two times that it is stored."""

POOLS_MAX = 1024


class Auto:
    """The auto router of a process. The artefact is read when it is first needed."""

    def __init__(self, tasks: Mapping[str, Task] = TASKS) -> None:
        self.tasks = tasks
        self._router: AutoRouter | None = None
        self._state: State | None = None
        self._pools: dict[tuple[str | None, frozenset[str], frozenset[str]], tuple[str, ...]] = {}

    @property
    def router(self) -> AutoRouter:
        if self._router is None:
            self._router = AutoRouter(decode_artefact(shipped()))
        return self._router

    @property
    def used(self) -> bool:
        """Whether anybody needed it yet."""
        return self._router is not None

    def task(self, name: str) -> Task | None:
        """The task of ``auto:TASK``; None for ``auto``.

        Raises:
            ModelNotFound: there is no such task.
        """
        _, colon, asked = name.partition(":")
        if not colon:
            return None
        found = self.tasks.get(asked)
        if found is None:
            near = nearest(self.tasks, asked, 1)
            hint = f" Did you mean 'auto:{near[0]}'?" if near else ""
            raise ModelNotFound(
                f"There is no task '{asked[:64]}'.{hint} There are: {', '.join(sorted(self.tasks))}.",
                param="model",
            )
        return found

    def pool(self, state: State, name: str, needs: frozenset[str], active: frozenset[str]) -> tuple[str, ...]:
        """Public ids of the models that ``auto`` or ``auto:TASK`` chooses among; empty if there is none.

        Args:
            active: ids of the providers that can be called, the account's own among them.

        Raises:
            ModelNotFound: there is no such task.
        """
        task = self.task(name)
        if self._state is not state:
            self._state, self._pools = state, {}
        place = (None if task is None else name, needs, active)
        found = self._pools.get(place)
        if found is None:
            found = auto_pool(state.snapshot.models.values(), task, needs, active)
            if len(self._pools) < POOLS_MAX:
                self._pools[place] = found
        return found

    def read(self, call: Call, inspected: Inspected) -> Read:
        """Read the prompt of a request."""
        return self.router.read(*prompt_of(call.dialect.decode_request(inspected).messages))

    def order(
        self,
        read: Read,
        candidates: Sequence[Candidate],
        costs_pusd: Sequence[int],
        *,
        dial: float,
        task: Task | None = None,
        needs: frozenset[str] = frozenset(),
    ) -> tuple[tuple[int, ...], Choice]:
        """Places of the candidates in the order in which they are to be tried, and what that was decided by.

        Args:
            costs_pusd: expected of this very request, by candidate; what is warm at the cache's rate.
        """
        offers = [
            Offer(
                id=str(place),
                model=candidate.model.id,
                cost_pusd=cost,
                quality_tier=candidate.model.quality_tier,
                fits=fits(task, candidate.model, needs),
            )
            for place, (candidate, cost) in enumerate(zip(candidates, costs_pusd, strict=True))
        ]
        choice = self.router.choose(read, offers, dial)
        return tuple(int(scored.id) for scored in choice.ranked), choice


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

    def __init__(self, auto: Auto, books: TreasuryBooks, clock: Clock) -> None:
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
        while True:
            await asyncio.sleep(SAVE_S)
            await self.save()
