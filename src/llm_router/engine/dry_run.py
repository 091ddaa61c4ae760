"""Requests planned under a configuration without being sent: where they would go, at what cost, or why not.

A case is the body of a request, or what was kept of one that was served (:class:`~llm_router.domain.decision.Asks`).
The latter has no text: it is planned by its size, and by what was known of the deployments then
(:mod:`engine.remembering`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from llm_router.billing.estimate import estimate
from llm_router.billing.interval import interval
from llm_router.billing.pricing import PriceList
from llm_router.domain.decision import Asks, KeyBounds, Named
from llm_router.domain.errors import InvalidRequest, RouterError
from llm_router.domain.key import Key
from llm_router.domain.model import Deployment
from llm_router.domain.money import format_usd
from llm_router.domain.price import cost_lines
from llm_router.domain.usage import Usage
from llm_router.engine.admit import SESSION_HEADERS, Call, payer_of
from llm_router.engine.autos import Autos
from llm_router.engine.deciding import inspected_of
from llm_router.engine.estimating import preview_inspected
from llm_router.engine.planning import Occasion, Planner
from llm_router.engine.presets import applied
from llm_router.engine.remembering import (
    NOTHING,
    Remembered,
    RememberedHealth,
    RememberedOutputs,
    thrown,
)
from llm_router.engine.state import State
from llm_router.routing.auto.choose import Choice
from llm_router.routing.plan import Plan, Rejection
from llm_router.wire.dialect import Inspected, Spoken

NEEDS_TEXT = "auto reads the prompt, which is not kept"


class _NeedsText(Exception):
    """What decides is the prompt."""


class _Unread(Autos):
    """Offers models, and cannot choose by a prompt."""

    def choose(self, *_: object) -> Choice:
        raise _NeedsText


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes.

    Attributes:
        plan: deployments in order; () if it fails.
        expected_pusd: charged, or expected to be at the first of them; None where nobody knows. max_pusd: what would be held.
        error: code of the error; message: what it says.
        rejected: who was left out, with reasons.
        named: what the names came to, but for those that are ids of models.
    """

    model: str | None = None
    plan: tuple[str, ...] = ()
    strategy: str = ""
    expected_pusd: int | None = None
    max_pusd: int | None = None
    error: str | None = None
    message: str | None = None
    rejected: tuple[Rejection, ...] = ()
    named: tuple[Named, ...] = ()

    @property
    def first(self) -> str | None:
        """The deployment that is asked first."""
        return self.plan[0] if self.plan else None


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a dry run.

    Attributes:
        asked: the model string, for people; planned: the same with its preset put in, where that differs.
        body: of a request; None of one that is known by its numbers.
        asks, routing: those numbers, and its members that speak to the gateway.
        untold: why nothing can be said of it.
        known: what was known when it was served.
        usage: what it came to when it was served.
        key: id of the key, for rules by key; "" of nobody in particular. may: what it may use.
        was: where it went when it was served; None of a body.
    """

    asked: str
    planned: str | None = None
    operation: str
    dialect: str
    path_model: str | None = None
    body: bytes | None = None
    asks: Asks | None = None
    routing: Mapping[str, Any] | None = None
    stream: bool = False
    untold: str | None = None
    known: Remembered = NOTHING
    usage: Usage | None = None
    key: str = ""
    may: KeyBounds = KeyBounds()
    was: Route | None = None


class DryRun:
    """Plans requests under one configuration."""

    def __init__(self, state: State, dialects: Mapping[str, Spoken], now_ms: int) -> None:
        self._state = state
        self._dialects = dialects
        self._now_ms = now_ms
        self._reading, self._unread = Autos(), _Unread()

    async def route(self, case: Case) -> Route | None:
        """Where a case would go; None if that cannot be said without its text."""
        try:
            return await self._planned(case)
        except _NeedsText:
            return None
        except RouterError as error:
            found = error.details.get("rejected")
            rejected = [Rejection(**each) for each in found] if isinstance(found, list) else []
            return Route(error=error.code, message=error.message, rejected=tuple(rejected))

    async def _planned(self, case: Case) -> Route | None:
        call = Call(
            operation=case.operation,
            dialect=self._dialects[case.dialect],
            body=b"" if case.body is None else case.body,
            credential=None,
            headers={} if case.known.stuck is None else {SESSION_HEADERS[0]: "replayed"},
            started_us=0,
            path_model=case.path_model,
        )
        preset = None
        if case.body is not None:
            found = await applied(self._state, None, call, preview_inspected(call), call.dialect.inspect)
            call, inspected, preset = found.call, found.inspected, found.preset
        elif case.untold is not None:
            return None
        elif case.asks is None:
            raise InvalidRequest("The request has neither a body nor what was kept of one.")
        else:
            inspected = inspected_of(
                case.asks,
                model=case.planned or case.asked,
                stream=case.stream,
                routing=_without_preset(case.routing),
            )
        key = Key(
            id=case.key, account="", name="", prefix="", created_ms=0,
            models=case.may.models, providers=case.may.providers,
        )  # fmt: skip
        occasion = Occasion(
            state=self._state,
            call=call,
            key=key,
            payer=payer_of(key, call),
            inspected=inspected,
            own_keys={},
            price_list=PriceList(),
            now_ms=self._now_ms,
            preset=preset,
        )
        plan = self._plan(case, occasion)
        default = self._state.hold_output_tokens
        first = plan.candidates[0].deployment
        return Route(
            model=plan.candidates[0].model.id,
            plan=tuple(c.deployment.id for c in plan.candidates),
            strategy=plan.strategy,
            expected_pusd=_expected(case, inspected, first, default),
            max_pusd=estimate(inspected, plan.deployments, output_tokens_default=default).amount_pusd,
            rejected=plan.rejections,
            named=plan.named,
        )

    def _plan(self, case: Case, occasion: Occasion) -> Plan:
        """The plan of a planner that knows what was known when the case was served."""
        state, known = self._state, case.known
        health = RememberedHealth(state.health, known.views)
        outputs = RememberedOutputs(known.lengths, occasion.inspected.n)
        autos = self._unread if case.body is None else self._reading
        first = Planner(health, outputs, thrown(known.dice), autos)
        plan = first.plan(occasion)
        before = next((c for c in plan.weighed if c.deployment.id == known.stuck), None)
        if before is None:
            return plan
        again = Planner(health, outputs, thrown(known.dice), autos)
        again.served(plan, before, 0, state, self._now_ms)
        return again.plan(occasion)


def _expected(case: Case, inspected: Inspected, deployment: Deployment, default: int) -> int | None:
    """What a case costs at a deployment: by the tokens that it came to then, else by what is expected."""
    if deployment.price is None:
        return None
    if case.usage is not None and case.usage.total_tokens:
        return sum(line.amount_pusd for line in cost_lines(deployment.price, case.usage))
    return interval(inspected, deployment, learned=None, output_tokens_default=default).expected_pusd


def _without_preset(routing: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was kept has its preset written into it already."""
    return {name: value for name, value in (routing or {}).items() if name != "preset"}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A case under two configurations; None: it cannot be said."""

    case: Case
    before: Route | None
    after: Route | None

    @property
    def fails(self) -> bool:
        """It fails, and did not."""
        return (
            self.after is not None
            and self.after.error is not None
            and (self.before is None or self.before.error is None)
        )

    @property
    def moved(self) -> bool:
        """Another deployment is asked first, or it fails where it did not, or the other way round."""
        before, after = self.before, self.after
        return (
            before is not None
            and after is not None
            and (before.first, before.error) != (after.first, after.error)
        )

    @property
    def dearer_pusd(self) -> int | None:
        """What it is expected to cost more; None where nobody knows."""
        if self.before is None or self.after is None:
            return None
        if self.before.expected_pusd is None or self.after.expected_pusd is None:
            return None
        return self.after.expected_pusd - self.before.expected_pusd

    @property
    def tells(self) -> bool:
        """Whether there is something to tell: without a comparison always."""
        return self.before is None or self.moved or self.fails or self.after is None

    @property
    def untold(self) -> str:
        """Why it cannot be said."""
        return self.case.untold or NEEDS_TEXT


def counts_of(found: Sequence[Difference]) -> dict[str, int]:
    """How many there are of each kind."""
    return {
        "all": len(found),
        "moved": sum(each.moved and not each.fails for each in found),
        "failing": sum(each.fails for each in found),
        "mended": sum(
            each.after is not None
            and each.after.error is None
            and each.before is not None
            and each.before.error is not None
            for each in found
        ),
        "unknown": sum(each.after is None for each in found),
    }


def entry_of(each: Difference) -> dict[str, object]:
    """A difference as JSON tells it."""
    dearer = each.dearer_pusd
    return {
        "asked_model": each.case.asked,
        "api": each.case.dialect,
        "moved": each.moved,
        "fails": each.fails,
        "change": None if dearer is None else _dollars(dearer),
        "before": _route(each.before),
        "after": _route(each.after),
        "unknown": each.untold if each.after is None else None,
    }


def _route(route: Route | None) -> dict[str, object] | None:
    if route is None:
        return None
    return {
        "model": route.model,
        "plan": list(route.plan),
        "strategy": route.strategy,
        "expected_cost": None if route.expected_pusd is None else _dollars(route.expected_pusd),
        "max_cost": None if route.max_pusd is None else _dollars(route.max_pusd),
        "error": None if route.error is None else {"code": route.error, "message": route.message},
        "names": [msgspec.structs.asdict(each) for each in route.named],
        "rejected": [{"deployment": r.deployment, "reason": r.reason} for r in route.rejected],
    }


def _dollars(pusd: int) -> msgspec.Raw:
    return msgspec.Raw(_usd(pusd).encode())


def _usd(pusd: int) -> str:
    return f"-{format_usd(-pusd)}" if pusd < 0 else format_usd(pusd)
