"""Copies of requests that no user ever sees: made after the answer, so that nothing waits for them.

A copy shares nothing with the exchange that it copies but what was asked: it has an exchange of its own with an id
of its own, deployments are judged and repeats counted apart from those of real traffic, limits and sessions know
nothing of it, keys of customers are not used for it. There are at most so many at a time; further ones are not
made. What one costs the operator stands in its record, like that of any exchange.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable

import msgspec

from llm_router.billing.estimate import estimate, expected_input
from llm_router.billing.pricing import PriceList
from llm_router.domain.errors import LedgerUnavailable, RouterError
from llm_router.domain.experiment import Arm
from llm_router.domain.key import Key
from llm_router.domain.limit import UNLIMITED
from llm_router.domain.model import Deployment
from llm_router.domain.price import Price
from llm_router.domain.record import ExchangeRecord
from llm_router.engine import settle
from llm_router.engine.admit import Admitted, is_strict, payer_of
from llm_router.engine.experiments import Experiments, Trial, armed, with_dial
from llm_router.engine.holding import Asking, Held, Holding
from llm_router.engine.planning import Occasion, Planner
from llm_router.engine.presets import StoredPresets, applied
from llm_router.engine.state import State
from llm_router.engine.tracks import Track
from llm_router.engine.trying import Trying
from llm_router.engine.upkeep import Upkeep
from llm_router.ports import Books, Clock, Telemetry

ACCOUNT = "operator.shadow"
"""Whose the records of copies are that the operator pays for. It needs no credit."""

FLAG = "shadow"

REPLY_BYTES_MAX = 8 * 1024 * 1024
"""Of the answer to a copy, which nobody reads."""

BODY_BYTES_MAX = 4 * 1024 * 1024
"""Larger requests are not copied."""


class Nobody:
    """The client of a copy: takes everything, keeps nothing."""

    started = True
    last_sent_s = 0.0

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    async def send(self, data: bytes) -> None: ...

    async def finish(self, data: bytes = b"") -> None: ...

    async def beat(self, status: int, headers: list[tuple[bytes, bytes]], data: bytes) -> None: ...


class Shadows:
    """Makes copies. One per process."""

    def __init__(
        self,
        *,
        experiments: Experiments,
        planner: Planner,
        trying: Trying,
        holding: Holding,
        books: Books,
        upkeep: Upkeep,
        presets: StoredPresets | None,
        telemetry: Telemetry,
        clock: Clock,
        new_id: Callable[[], str],
        publish: Callable[[Price | None, int], None],
    ) -> None:
        self._experiments = experiments
        self._planner = planner
        self._trying = trying
        self._holding = holding
        self._books = books
        self._upkeep = upkeep
        self._presets = presets
        self._telemetry = telemetry
        self._clock = clock
        self._new_id = new_id
        self._publish = publish
        self._running: dict[asyncio.Task[None], str] = {}

    def begin(self, trial: Trial, state: State, prices: PriceList) -> None:
        """Begin the copies of a request that was answered, as far as there is room for them."""
        for arm in trial.experiment.arms[1:]:
            under_way = sum(run == trial.run for run in self._running.values())
            if under_way >= trial.experiment.concurrency or len(trial.call.body) > BODY_BYTES_MAX:
                self._experiments.skipped(trial, arm.name)
                continue
            copy = self._copy(trial, arm, state, prices)
            task = asyncio.get_running_loop().create_task(copy, name="shadow")
            self._running[task] = trial.run
            task.add_done_callback(self._over)

    async def close(self) -> None:
        """End the copies under way."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def idle(self) -> None:
        """Wait until no copy is under way."""
        while self._running:
            await asyncio.wait(list(self._running))

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            print("unforeseen error in a shadow", *traceback.format_exception(error), file=sys.stderr)

    async def _copy(self, trial: Trial, arm: Arm, state: State, prices: PriceList) -> None:
        track = self._track(trial, state, prices)
        try:
            await self._admit(track, trial, arm, state)
            await self._trying.deliver(track)
        except RouterError as error:
            track.error = error
        except asyncio.CancelledError:
            track.gone = True
            raise
        finally:
            if track.admitted is not None or track.held:
                await self._settle(track, trial, arm)
            else:  # nobody serves it, or there is no credit
                self._experiments.left(trial, arm.name)

    def _track(self, trial: Trial, state: State, prices: PriceList) -> Track:
        started_us = self._clock.monotonic_us()
        key = trial.key
        if trial.experiment.billed == "operator":
            key = Key(id=key.id, account=ACCOUNT, name=key.name, prefix=key.prefix, created_ms=key.created_ms)
        return Track(
            id=self._new_id(),
            call=msgspec.structs.replace(trial.call, started_us=started_us, state=None),
            client=Nobody(),
            state=msgspec.structs.replace(state, reply_bytes_max=min(state.reply_bytes_max, REPLY_BYTES_MAX)),
            clock=self._clock,
            created_ms=self._clock.now_ms(),
            key=key,
            asked_model=trial.inspected.model,
            price_list=prices,
        )

    async def _admit(self, track: Track, trial: Trial, arm: Arm, state: State) -> None:
        """Plan it as its customer's request, with the arm written into it; hold credit if he pays for it.

        Raises:
            RouterError: nobody can serve it, or there is no credit.
        """
        call, inspected = armed(trial.experiment, arm, track.call, trial.inspected)
        found = await applied(state, self._presets, call, inspected, call.dialect.inspect)
        track.call, track.inspected = found.call, found.inspected
        occasion = Occasion(
            state=state,
            call=found.call,
            key=trial.key,
            payer=payer_of(trial.key, found.call),
            inspected=found.inspected,
            own_keys={},
            price_list=track.price_list,
            now_ms=track.created_ms,
            preset=with_dial(arm, found.preset),
        )
        plan = self._planner.plan(occasion)
        track.model = plan.candidates[0].model
        for deployment in plan.deployments:
            self._publish(deployment.price, track.created_ms)
            self._publish(deployment.cost, track.created_ms)
        held = await self._hold(track, trial, occasion, plan.deployments)
        track.inspected = held.inspected
        track.admitted = Admitted(
            key=trial.key,
            inspected=held.inspected,
            plan=plan,
            estimate=held.estimate,
            admission=UNLIMITED,
            input_tokens_expected=expected_input(held.inspected),
            output_tokens_cap=held.cap,
            lowered_to=held.lowered,
            strict=is_strict(found.call, trial.key),
            usage_chunk=True,
        )

    async def _hold(
        self, track: Track, trial: Trial, occasion: Occasion, deployments: tuple[Deployment, ...]
    ) -> Held:
        inspected, default = occasion.inspected, occasion.state.hold_output_tokens
        if trial.experiment.billed == "operator":
            worst = estimate(inspected, deployments, output_tokens_default=default)
            return Held(inspected=inspected, estimate=worst, cap=None, lowered=None)
        assert track.model is not None
        track.held = True  # before the await: a cancelled hold must be resolved too
        try:
            return await self._holding.hold(
                Asking(
                    exchange_id=track.id,
                    payer=track.payer(),
                    call=occasion.call,
                    inspected=inspected,
                    deployments=deployments,
                    model=track.model.id,
                    output_tokens_default=default,
                    wait_s=0.0,
                    now_ms=track.created_ms,
                )
            )
        except LedgerUnavailable:
            raise
        except RouterError:
            track.held = False
            raise

    async def _settle(self, track: Track, trial: Trial, arm: Arm) -> None:
        """Record it, and charge it if the customer pays."""
        metered = settle.metered(track)
        record = settle.record_of(track, metered, self._clock.monotonic_us())
        worth_pusd = record.cost_pusd + record.absorbed_pusd
        record = msgspec.structs.replace(
            record, experiment=trial.experiment.name, arm=arm.name, flags=(*record.flags, FLAG)
        )
        if trial.experiment.billed == "operator":
            record = msgspec.structs.replace(record, cost_pusd=0, absorbed_pusd=0, cost=())
        await self._book(track, record)
        self._telemetry.exchange(record)
        if track.admitted is not None and not track.gone:
            self._experiments.copied(trial, arm.name, record, worth_pusd)

    async def _book(self, track: Track, record: ExchangeRecord) -> None:
        try:
            await self._books.settle(record)
        except LedgerUnavailable:
            if track.held:
                self._upkeep.void_later(record)
            else:
                self._upkeep.settle_later(record)
        except asyncio.CancelledError:
            self._upkeep.settle_later(record)
            raise
        finally:
            if track.held and track.key is not None:
                self._holding.waiting.freed(track.key.account)
