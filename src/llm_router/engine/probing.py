"""Small requests of the gateway's own to deployments that are named for it, to know how they fare.

A probe is an attempt like any other: it finds an open circuit's way back, and what it costs is the operator's.
Nothing is held or charged for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from llm_router.billing.estimate import Estimate
from llm_router.domain.errors import RouterError
from llm_router.domain.key import Key
from llm_router.domain.limit import UNLIMITED
from llm_router.domain.model import Deployment, Model
from llm_router.engine import settle
from llm_router.engine.admit import Admitted, Call
from llm_router.engine.state import State
from llm_router.engine.tracks import Track
from llm_router.engine.trying import Pause, Trying
from llm_router.ports import Clock, Telemetry
from llm_router.routing.plan import Candidate, Plan, make_plan
from llm_router.wire.dialect import Dialect
from llm_router.wire.operations import FORMATS

FRONT = "openai_chat"
PROMPT = "Say ok."
OUTPUT_TOKENS = 16
"""The least that every API takes: OpenAI's Responses refuses less."""

AT_ONCE_MAX = 16
"""Probes at the same time: they must not crowd out requests."""

NOBODY = Key(id="probe", account="", name="probe", prefix="", created_ms=0)

IDLE_S = 5.0
"""How often it is looked whether probes are wanted meanwhile."""


class Probed(msgspec.Struct, kw_only=True):
    """What the probes of a deployment came to. ``cost_pusd``: as far as providers told what was used."""

    calls: int = 0
    failed: int = 0
    cost_pusd: int = 0


class _Nobody:
    """The port Client: nobody listens."""

    started = False
    last_sent_s = 0.0

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    async def send(self, data: bytes) -> None: ...

    async def finish(self, data: bytes = b"") -> None: ...

    async def beat(self, status: int, headers: list[tuple[bytes, bytes]], data: bytes) -> None: ...


class Probes:
    """Those of this process.

    Attributes:
        probed: what they came to, by deployment.
    """

    def __init__(
        self,
        trying: Trying,
        front: Dialect[Any, Any],
        clock: Clock,
        telemetry: Telemetry,
        new_id: Callable[[], str],
        pause: Pause,
    ) -> None:
        self._trying = trying
        self._front = front
        self._clock = clock
        self._telemetry = telemetry
        self._new_id = new_id
        self._pause = pause
        self.probed: dict[str, Probed] = {}

    async def run(self, state: Callable[[], State]) -> None:
        """Probe until cancelled. ``state``: what the gateway works with now."""
        while True:
            rules = state().probes
            await self._pause(rules.interval_s if rules.deployments else IDLE_S)
            await self.round(state())

    async def round(self, state: State) -> None:
        """Probe once what is to be probed, at most AT_ONCE_MAX at the same time."""
        wanted = [candidate for candidate in map(self._candidate(state), self._named(state)) if candidate]
        for at in range(0, len(wanted), AT_ONCE_MAX):
            some = wanted[at : at + AT_ONCE_MAX]
            await asyncio.gather(*(self._probe(state, candidate) for candidate in some))

    def _named(self, state: State) -> list[tuple[Model, Deployment]]:
        patterns = state.probes.deployments
        return [
            (model, deployment)
            for model in (state.snapshot.models.values() if patterns else ())
            if "chat" in model.operations
            for deployment in model.deployments
            if any(fnmatchcase(deployment.id, pattern) for pattern in patterns)
        ]

    def _candidate(self, state: State) -> Callable[[tuple[Model, Deployment]], Candidate | None]:
        def find(named: tuple[Model, Deployment]) -> Candidate | None:
            model, deployment = named
            plan = make_plan(
                model,
                (deployment,),
                providers=state.snapshot.providers,
                active=state.active,
                front=FRONT,
                needs=frozenset(),
                formats=FORMATS["chat"],
            )
            return plan.candidates[0] if plan.candidates else None

        return find

    async def _probe(self, state: State, candidate: Candidate) -> None:
        track = self._track(state, candidate)
        try:
            await self._trying.one(track, candidate)
        except RouterError as error:
            track.error = error
        finally:
            self._note(track, candidate)

    def _note(self, track: Track, candidate: Candidate) -> None:
        """Count it, and tell the log."""
        record = settle.record_of(track, None, self._clock.monotonic_us())
        probed = self.probed.setdefault(candidate.deployment.id, Probed())
        probed.calls += 1
        probed.failed += track.error is not None
        for attempt in record.attempts:
            if attempt.operator_cost_pusd is not None:
                probed.cost_pusd += attempt.operator_cost_pusd
        self._telemetry.exchange(record)

    def _track(self, state: State, candidate: Candidate) -> Track:
        """A request of nobody's for one deployment."""
        body = {
            "model": candidate.model.id,
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": OUTPUT_TOKENS,
        }
        call = Call(
            operation="chat",
            dialect=self._front,
            body=msgspec.json.encode(body),
            credential=None,
            headers={},
            started_us=self._clock.monotonic_us(),
        )
        inspected = self._front.inspect(call.body, None, None)
        track = Track(
            id=self._new_id(),
            call=call,
            client=_Nobody(),
            state=state,
            clock=self._clock,
            created_ms=self._clock.now_ms(),
            key=NOBODY,
            inspected=inspected,
            asked_model=candidate.model.id,
            model=candidate.model,
        )
        track.admitted = Admitted(
            key=NOBODY,
            inspected=inspected,
            plan=Plan(candidates=(candidate,), model=candidate.model.id),
            estimate=Estimate(input_tokens=0, output_tokens=0, amount_pusd=0, price_version=""),
            admission=UNLIMITED,
            input_tokens_expected=0,
            output_tokens_cap=None,
            strict=False,
            usage_chunk=True,
        )
        return track
