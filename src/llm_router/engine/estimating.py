"""The cost of a request before it is sent. Nothing is sent, held, charged or counted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llm_router.billing.estimate import affordable_output_tokens, estimate
from llm_router.billing.interval import Interval, interval
from llm_router.billing.outputs import Learned
from llm_router.domain.errors import RouterError
from llm_router.domain.key import Key
from llm_router.domain.model import Model
from llm_router.engine import admit
from llm_router.engine.exchange import Engine
from llm_router.engine.holding import max_cost
from llm_router.engine.planning import Occasion
from llm_router.engine.presets import applied
from llm_router.routing.plan import Candidate, Plan, Rejection
from llm_router.wire.dialect import Inspected


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment of the plan with what the request would cost there."""

    candidate: Candidate
    cost: Interval


class Estimated(msgspec.Struct, frozen=True, kw_only=True):
    """What a request would cost.

    Attributes:
        priced: the plan, in its order.
        hold_pusd: what would be held.
        available_pusd: what the key may spend now.
        affordable_output_tokens: the largest limit of a choice that is covered.
        max_cost_pusd: what the request says it may cost.
        learned: of earlier answers; None if too few were seen.
    """

    model: Model
    inspected: Inspected
    priced: tuple[Priced, ...]
    rejections: tuple[Rejection, ...]
    hold_pusd: int
    available_pusd: int
    affordable_output_tokens: int
    max_cost_pusd: int | None
    learned: Learned | None


class Unpriced(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a list for which the request is refused."""

    asked: str
    error: RouterError


async def estimate_call(engine: Engine, call: admit.Call) -> Estimated:
    """What a call would cost.

    Raises:
        RouterError: as for the request itself, up to the plan.
    """
    key = await admit.key_of(engine.keyring, call, engine.clock.now_ms())
    return await _estimated(engine, call, key, preview_inspected(call))


async def estimate_calls(
    engine: Engine, call: admit.Call, models: Sequence[str]
) -> list[Estimated | Unpriced]:
    """The same for several models; one that is refused does not concern the others.

    Raises:
        RouterError: the request itself is wrong, or its key.
    """
    key = await admit.key_of(engine.keyring, call, engine.clock.now_ms())
    inspected = preview_inspected(call)
    found: list[Estimated | Unpriced] = []
    for model in models:
        try:
            asked = msgspec.structs.replace(inspected, model=model)
            found.append(await _estimated(engine, call, key, asked))
        except RouterError as error:
            found.append(Unpriced(asked=model, error=error))
    return found


async def planned(engine: Engine, call: admit.Call, key: Key, inspected: Inspected) -> tuple[Occasion, Plan]:
    """A call as it would be planned now.

    Raises:
        RouterError: as for the request itself.
    """
    state, now_ms, payer = engine.state, engine.clock.now_ms(), admit.payer_of(key, call)
    own_keys = await engine.own_keys_of(key.account)
    found = await applied(state, engine.presets, call, inspected, call.dialect.inspect)
    occasion = Occasion(
        state=state,
        call=found.call,
        key=key,
        payer=payer,
        inspected=found.inspected,
        own_keys=own_keys,
        price_list=engine.price_list,
        now_ms=now_ms,
        preset=found.preset,
    )
    return occasion, engine.planner.plan(occasion)


async def _estimated(engine: Engine, call: admit.Call, key: Key, inspected: Inspected) -> Estimated:
    occasion, plan = await planned(engine, call, key, inspected)
    state, now_ms, payer = occasion.state, occasion.now_ms, occasion.payer
    call, inspected = occasion.call, occasion.inspected
    model = plan.candidates[0].model
    ceiling = max_cost(call)
    deployments = plan.deployments
    learned = engine.holding.outputs.expect(key.id, model.id)
    default = state.hold_output_tokens
    available = await engine.books.affordable(payer, now_ms)
    return Estimated(
        model=model,
        inspected=inspected,
        priced=tuple(
            Priced(
                candidate=c,
                cost=interval(inspected, c.deployment, learned=learned, output_tokens_default=default),
            )
            for c in plan.candidates
        ),
        rejections=plan.rejections,
        hold_pusd=estimate(inspected, deployments, output_tokens_default=default).amount_pusd,
        available_pusd=available,
        affordable_output_tokens=affordable_output_tokens(inspected, deployments, available),
        max_cost_pusd=None if ceiling is None else ceiling.amount_pusd,
        learned=learned,
    )


def preview_inspected(call: admit.Call) -> Inspected:
    """The request measured. Where the API insists on an output limit, one without is taken all the same."""
    dialect = call.dialect
    count = dialect.inspect_count_tokens
    if dialect.name == "anthropic_messages" and count is not None:
        members = msgspec.json.decode(call.body)
        if isinstance(members, dict) and members.get("max_tokens") is None:
            return count(call.body, call.path_model, False)
    return dialect.inspect(call.body, call.path_model, call.path_stream)
