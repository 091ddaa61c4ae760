"""What would be decided about a request before it is sent, and what was decided about one that was.

Nothing is sent, held or charged, and nothing counts against the limits of the request itself. How often a key may
ask is bounded apart (:func:`admit_preview`).
"""

from __future__ import annotations

import msgspec

from llm_router.billing.estimate import estimate
from llm_router.billing.interval import interval
from llm_router.domain.budget import Scope, Window
from llm_router.domain.decision import Decision, Stood
from llm_router.domain.errors import RateLimitExceeded, RouterError
from llm_router.domain.key import Key
from llm_router.domain.limit import Limit, LimitKind
from llm_router.engine import admit, flights, hedging
from llm_router.engine.continuing import check_wish
from llm_router.engine.deadlines import wish_of
from llm_router.engine.deciding import asks_of, routing_of, shown_view, unusual, with_plan
from llm_router.engine.estimating import planned, preview_inspected
from llm_router.engine.exchange import Engine
from llm_router.engine.explanation import Shown, shown_decision
from llm_router.engine.fallbacks import fallbacks_of
from llm_router.engine.limits import limits_for
from llm_router.engine.operator import dollars
from llm_router.routing.plan import Candidate

AS_MOST = 0.5
"""In place of dice, which are not thrown: who gets less than half of its requests is passed by, as by most of them."""

PREVIEWS_A_MINUTE = 600
"""Estimates and explanations that a key may ask for, where it has no limit of requests of its own."""


async def admit_preview(engine: Engine, key: Key) -> None:
    """Count a question about a request that is not sent: as many a minute as the key may send requests.

    Raises:
        RateLimitExceeded: they were too many.
        LedgerUnavailable: nobody can say now.
    """
    own = key.limits.requests_per_minute
    own = engine.state.default_limits.requests_per_minute if own is None else own
    amount = PREVIEWS_A_MINUTE if own is None else own
    limit = Limit(
        id=f"{key.id}:previews",
        account=key.account,
        scope=Scope.KEY,
        scope_id=key.id,
        kind=LimitKind.REQUESTS,
        amount=amount,
        window=Window.MINUTE,
    )
    ticket, now_ms = engine.new_id(), engine.clock.now_ms()
    admission = await engine.counters.admit(ticket, [limit], 0, now_ms)
    await engine.counters.release(ticket, 0, now_ms)
    if admission.refused is not None:
        raise RateLimitExceeded(
            f"This API key may ask for {amount} estimates and explanations a minute. Retry in a moment.",
            retry_after_s=admission.retry_after_s,
        )


async def explain_call(engine: Engine, call: admit.Call, api: str) -> Shown:
    """What would be decided about a call, and why; if it would be refused, with what error.

    Raises:
        RouterError: the key is wrong, or the request cannot be read.
    """
    key = await admit.key_of(engine.keyring, call, engine.clock.now_ms())
    inspected = preview_inspected(call)
    asked = inspected.model
    shown: Shown = {"object": "explanation", "id": None, "api": api, "asked_model": asked}
    try:
        occasion, plan = await planned(engine, call, key, inspected)
        check_wishes(call)
    except RouterError as error:
        decision = Decision(asks=asks_of(inspected), routing=routing_of(inspected))
        rejected = error.details.get("rejected")
        shown |= {"model": None, **shown_decision(decision, engine.state.snapshot, {}, [])}
        return shown | {"rejected": rejected or [], "error": _error(error), "hold": None}
    inspected = occasion.inspected
    fallbacks = fallbacks_of(engine.planner, occasion, plan)
    decision = with_plan(
        Decision(asks=asks_of(inspected), routing=routing_of(inspected)),
        plan.without(fallbacks.rejections),
        most=engine.state.routing.candidates_max,
        fallbacks=fallbacks.chains,
    )
    stood = _stood(engine, plan.candidates)
    returning = [each for each in stood if each.available and each.share < 1]
    decision = msgspec.structs.replace(
        decision,
        stood=stood,
        dice=(AS_MOST,) * sum(each.share < 1 for each in stood),
        notes=(*decision.notes, *map(_returning, returning)),
    )
    prices = {
        c.deployment.id: c.deployment.price
        for c in (*plan.weighed, *plan.candidates)
        if c.deployment.price is not None
    }
    further = (*plan.deployments, *fallbacks.deployments)
    default, now_ms = engine.state.hold_output_tokens, engine.clock.now_ms()
    most = estimate(inspected, further, output_tokens_default=default).amount_pusd
    available = await engine.books.affordable(occasion.payer, now_ms)
    limits = await limits_for(engine.rules, occasion.payer, key, engine.state.default_limits, plan.models)
    learned = engine.holding.outputs.expect(key.id, plan.candidates[0].model.id)
    first = interval(inspected, plan.candidates[0].deployment, learned=learned, output_tokens_default=default)
    shown |= {
        "model": plan.candidates[0].model.id,
        **shown_decision(decision, engine.state.snapshot, prices, []),
    }
    return shown | {
        "limits": [_limit(limit) for limit in limits],
        "cache": {"session": decision.session, "stayed_with": decision.stuck},
        "forecast": {
            "input_tokens": first.input_tokens,
            "output_tokens": first.output_tokens,
            "min": dollars(first.min_pusd),
            "expected": dollars(first.expected_pusd),
            "max": dollars(most),
        },
        "hold": {"amount": dollars(most), "available": dollars(available), "covered": most <= available},
        "error": None,
    }


def check_wishes(call: admit.Call) -> None:
    """Refuse what sending the request would refuse of its headers.

    Raises:
        InvalidRequest: one of the gateway's own cannot be read.
    """
    wish_of(call.headers)
    check_wish(call.headers)
    hedging.wish_of(call.headers)
    flights.wish_of(call.headers)


def _stood(engine: Engine, candidates: tuple[Candidate, ...]) -> tuple[Stood, ...]:
    """Those of the candidates that are not as usual now."""
    views = engine.trying.health.views([c.deployment.id for c in candidates], engine.clock.now_ms())
    return tuple(
        shown_view(c.deployment.id, view) for c, view in zip(candidates, views, strict=True) if unusual(view)
    )


def _returning(stood: Stood) -> str:
    """How many requests try first one that comes back from an outage: no single order says it."""
    return (
        f"{stood.deployment} comes back from an outage: about {stood.share:.0%} of the requests that would go to it "
        "first do, the others pass it by"
    )


def _limit(limit: Limit) -> Shown:
    """A limit that the request would count against. How much of it is left is told by sending."""
    return {
        "kind": limit.kind.value,
        "limit": limit.amount,
        "window": None if limit.window is None else limit.window.value,
        "scope": limit.scope.value,
        "model": limit.model,
    }


def _error(error: RouterError) -> Shown:
    return {"code": error.code, "type": error.type, "status": error.status, "message": error.message}
