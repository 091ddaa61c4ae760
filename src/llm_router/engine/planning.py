"""From what is asked to a plan: the names resolved, what cannot serve left out, the rest in order, at prices.

    names ─── models and their deployments, at the payer's prices        catalog/resolve.py
      filter ── what may not or cannot serve the request, with reasons   routing/eligible.py
        order ─── which of the others is tried first                     routing/strategies.py

Everything that is the same for all requests of a kind is kept for as long as the configuration holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import msgspec

from llm_router.billing.pricing import PriceList
from llm_router.catalog.resolve import NAME_CHARS_SHOWN
from llm_router.catalog.snapshot import Resolved
from llm_router.domain.budget import Payer
from llm_router.domain.errors import (
    InvalidRequest,
    ModelNotAllowed,
    ProviderNotConfigured,
    RouterError,
    UnsupportedContent,
)
from llm_router.domain.key import Key
from llm_router.domain.own_key import OwnKey
from llm_router.engine.admit import Call
from llm_router.engine.own_keys import with_own_keys
from llm_router.engine.state import State
from llm_router.routing.plan import NO_OPERATION, NOT_CONFIGURED, UNPRICED, Plan, Rejection, make_plan
from llm_router.routing.query import read_query
from llm_router.wire.dialect import Inspected
from llm_router.wire.operations import ENDPOINTS, FORMATS

KEPT_MAX = 4096
"""Plans kept for requests of the same kind."""


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be planned: who asks what, when, and at which prices.

    Attributes:
        own_keys: those of the account, by provider.
    """

    state: State
    call: Call
    key: Key
    payer: Payer
    inspected: Inspected
    own_keys: Mapping[str, OwnKey]
    price_list: PriceList
    now_ms: int


class _Kept(msgspec.Struct, frozen=True):
    """A name with the plan that it comes to at the list's own prices."""

    resolved: Resolved
    plan: Plan


class Planner:
    """Makes plans. One per process."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._kept: dict[tuple[str, str, str, frozenset[str]], _Kept] = {}

    def plan(self, occasion: Occasion) -> Plan:
        """The plan of a request.

        Raises:
            ModelNotFound, ModelNotAllowed, InvalidRequest: a name is unknown, forbidden or of no use here.
            UnsupportedContent, ProviderNotConfigured: nothing can serve it.
        """
        query = read_query(occasion.inspected.model, occasion.inspected.routing)
        if len(query.names) == 1:
            resolved, plan = self._named(occasion, query.names[0].name)
            check_model_allowed(occasion.key, resolved)
            check_operation(occasion.call, resolved)
            return plan if plan.candidates else _nothing(occasion, plan)
        if occasion.call.operation == "embed":
            raise InvalidRequest(
                "Name one model: vectors of different models cannot be compared, so no other one may answer.",
                param="models",
            )
        return self._several(occasion, [asked.name for asked in query.names])

    def _several(self, occasion: Occasion, names: list[str]) -> Plan:
        """The plans of several models, one behind the other; those that are of no use are left out.

        Raises:
            RouterError: nothing is left; of what was asked for first.
        """
        found: dict[str, Plan] = {}
        rejections: list[Rejection] = []
        refusal: RouterError | None = None
        for name in names:
            resolved, plan = self._named(occasion, name)
            try:
                check_model_allowed(occasion.key, resolved)
                check_operation(occasion.call, resolved)
                if not plan.candidates:
                    _nothing(occasion, plan)
            except RouterError as error:
                refusal = refusal or error
                rejections += plan.rejections or (Rejection(deployment=resolved.model.id, reason=error.code),)
                continue
            found.setdefault(resolved.model.id, plan)
        if not found:
            assert refusal is not None, "every name comes to a plan or a refusal"
            raise refusal
        plans = list(found.values())
        return Plan(
            candidates=tuple(c for plan in plans for c in plan.candidates),
            rejections=(*(r for plan in plans for r in plan.rejections), *rejections),
            model=plans[0].model,
        )

    def _named(self, occasion: Occasion, name: str) -> tuple[Resolved, Plan]:
        """A name's model and the plan of its deployments at the payer's prices.

        Raises:
            ModelNotFound: there is none of that name.
        """
        state, call, inspected = occasion.state, occasion.call, occasion.inspected
        if occasion.own_keys:
            resolved = state.snapshot.resolve(name, active=state.active.union(occasion.own_keys))
            plan = _planned(occasion, resolved, self._sold(occasion, resolved))
            return resolved, with_own_keys(plan, occasion.own_keys, state.own_key_fee, state.active)
        if self._state is not state:
            self._state, self._kept = state, {}
        place = (name, call.dialect.name, call.operation, inspected.needs)
        kept = self._kept.get(place)
        if kept is None:
            resolved = state.snapshot.resolve(name, active=state.active)
            kept = _Kept(resolved, _planned(occasion, resolved, resolved))
            if len(self._kept) < KEPT_MAX:
                self._kept[place] = kept
        sold = self._sold(occasion, kept.resolved)
        return sold, kept.plan if sold is kept.resolved else _planned(occasion, sold, sold)

    def _sold(self, occasion: Occasion, resolved: Resolved) -> Resolved:
        """The deployments at the prices of the payer and hour; itself where these are the list's own."""
        sold = occasion.price_list.sell(resolved.deployments, occasion.payer, occasion.now_ms)
        if sold is resolved.deployments:
            return resolved
        return msgspec.structs.replace(resolved, deployments=sold)


def _planned(occasion: Occasion, resolved: Resolved, sold: Resolved) -> Plan:
    state, call = occasion.state, occasion.call
    return make_plan(
        resolved.model,
        sold.deployments,
        providers=state.snapshot.providers,
        active=state.active.union(occasion.own_keys) if occasion.own_keys else state.active,
        front=call.dialect.name,
        needs=occasion.inspected.needs,
        formats=FORMATS["chat" if call.operation == "count_tokens" else call.operation],
        asked=resolved.asked,
        via=resolved.via,
    )


def check_model_allowed(key: Key, resolved: Resolved) -> None:
    """Refuse a model that the key's allow-list does not name. The list is held against the resolved id."""
    if key.models is not None and not any(fnmatchcase(resolved.model.id, p) for p in key.models):
        asked = resolved.asked[:NAME_CHARS_SHOWN]
        retired = f" ('{asked}' is retired; that is its successor)" if resolved.via == "successor" else ""
        raise ModelNotAllowed(
            f"This API key may not use the model '{resolved.model.id}'{retired}. "
            f"It may use: {', '.join(key.models)}.",
            param="model",
        )


def check_operation(call: Call, resolved: Resolved) -> None:
    """Refuse a model that is not made for what is asked.

    Raises:
        InvalidRequest: says which endpoint the model is for.
    """
    model, asked = resolved.model, "chat" if call.operation == "count_tokens" else call.operation
    if asked not in model.operations:
        places = " or ".join(ENDPOINTS[name] for name in model.operations)
        raise InvalidRequest(
            f"'{model.id}' is no model for this endpoint. It is for {places}.",
            param="model",
            code="unsupported_operation",
        )


def _nothing(occasion: Occasion, plan: Plan) -> Plan:
    """Say why nothing can serve the request.

    Raises:
        UnsupportedContent, ProviderNotConfigured: always one of them.
    """
    known = (NOT_CONFIGURED, UNPRICED, NO_OPERATION)
    lacking = [r.reason for r in plan.rejections if r.reason not in known]
    if lacking:
        raise UnsupportedContent(
            f"'{plan.model}' {' and '.join(dict.fromkeys(lacking))}. Choose another model.",
            param="tools" if lacking[0] == "calls no tools" else "messages",
        )
    providers = occasion.state.snapshot.providers
    names = dict.fromkeys(r.deployment.split("/", 1)[0] for r in plan.rejections)
    hints = [
        f"{providers[n].name} ({' or '.join(providers[n].env) or 'config file'})"
        for n in names
        if n in providers
    ]
    raise ProviderNotConfigured(
        f"No provider of '{plan.model}' is configured on this gateway. "
        f"It is served by: {', '.join(hints)}. Its operator must set that provider's key and start again.",
        param="model",
    )
