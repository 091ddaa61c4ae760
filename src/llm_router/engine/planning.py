"""From what is asked to a plan: the names resolved, what cannot serve left out, the rest in order, at prices.

    names ─── models and their deployments, at the payer's prices        catalog/resolve.py
      filter ── what may not or cannot serve the request, with reasons   routing/eligible.py
        order ─── which of the others is tried first                     engine/ordering.py

Everything that is the same for all requests of a kind is kept for as long as the configuration holds. A request
that asks for nothing particular gets what was kept, as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b

import msgspec

from llm_router.billing.estimate import expected_input
from llm_router.billing.interval import least_tokens
from llm_router.billing.outputs import Outputs
from llm_router.billing.pricing import PriceList
from llm_router.catalog.snapshot import Resolved
from llm_router.catalog.successors import check_successor
from llm_router.domain.budget import Payer
from llm_router.domain.decision import Named
from llm_router.domain.errors import InvalidRequest, RouterError
from llm_router.domain.key import Key
from llm_router.domain.model import Deployment
from llm_router.domain.own_key import OwnKey
from llm_router.domain.preset import Preset
from llm_router.engine.admit import Call
from llm_router.engine.autos import Autos, dial_of, task_of
from llm_router.engine.ordering import Ordering
from llm_router.engine.own_keys import with_own_keys
from llm_router.engine.refusing import (
    check_model_allowed,
    check_operation,
    narrowed,
    none_eligible,
    nothing_serves,
    only_allowed,
)
from llm_router.engine.state import State
from llm_router.routing.arrange import kept
from llm_router.routing.auto.choose import Choice, in_turn
from llm_router.routing.eligible import Bounds, Demand, bounds_of, doubted, refused, unknown_names
from llm_router.routing.health import Health
from llm_router.routing.plan import Candidate, Judged, Plan, Rejection, make_plan
from llm_router.routing.query import NO_WISHES, Query, is_auto, read_query
from llm_router.routing.sticky import Sticky
from llm_router.routing.strategies import SORTS, Dice
from llm_router.wire.dialect import Inspected
from llm_router.wire.operations import FORMATS

OF_A_MODEL = 2
"""Deployments of one model that ``auto`` considers, where nothing orders them but the catalogue."""

STRANGERS_MAX = 8
"""Providers of a request's lists that are not known here and are told of. Such lists may be of any length."""

KEPT_MAX = 4096
"""Plans kept for requests of the same kind."""


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be planned: who asks what, when, and at which prices.

    Attributes:
        own_keys: those of the account, by provider.
        preset: the one that was written into the request (:mod:`engine.presets`).
    """

    state: State
    call: Call
    key: Key
    payer: Payer
    inspected: Inspected
    own_keys: Mapping[str, OwnKey]
    price_list: PriceList
    now_ms: int
    preset: Preset | None = None


class _Kept(msgspec.Struct, frozen=True):
    """A name with the plan that it comes to at the list's own prices."""

    resolved: Resolved
    plan: Plan


class _Pool(msgspec.Struct, frozen=True):
    """What ``auto`` chooses from at the list's own prices; ``timed``: deployments whose price has its hours."""

    plan: Plan
    timed: tuple[Deployment, ...]


_PoolPlace = tuple[
    tuple[str, str, str], tuple[str, ...] | None, tuple[str, ...] | None, frozenset[str], Bounds | None
]


def _bounds(occasion: Occasion, query: Query) -> Bounds | None:
    """Whom a request may be sent to; accounts with keys of their own reach others, and are bound by the filters."""
    if occasion.own_keys:
        return None
    inspected = occasion.inspected
    tokens = expected_input(inspected) + (inspected.output_tokens or 0)
    return bounds_of(occasion.key.providers, query.wishes, tokens)


def _steady(occasion: Occasion, timed: tuple[Deployment, ...]) -> bool:
    """Whether prices that have their hours are the list's own now."""
    return occasion.price_list.sell(timed, occasion.payer, occasion.now_ms) is timed


class Planner:
    """Makes plans. One per process.

    Attributes:
        sticky: where sessions were served.
        autos: what chooses models where the request leaves that open.
    """

    def __init__(self, health: Health, outputs: Outputs, dice: Dice, autos: Autos | None = None) -> None:
        self._state: State | None = None
        self._kept: dict[tuple[str, str, str, frozenset[str]], _Kept] = {}
        self._pools: dict[_PoolPlace, _Pool] = {}
        self.sticky = Sticky()
        self.autos = Autos() if autos is None else autos
        self._ordering = Ordering(health, outputs, self.sticky, dice)

    def plan(self, occasion: Occasion) -> Plan:
        """The plan of a request.

        Raises:
            ModelNotFound, ModelNotAllowed, InvalidRequest: a name is unknown, forbidden or of no use here.
            UnsupportedContent, ProviderNotConfigured, NoEligibleDeployment: nothing can serve it.
        """
        query = read_query(occasion.inspected.model, occasion.inspected.routing)
        if not query.names:
            raise InvalidRequest("A preset cannot stand here: name a model.", param="model")
        single = len(query.names) == 1 and not is_auto(query.names[0].name)
        plan = self._single(occasion, query.names[0].name) if single else self._several(occasion, query)
        session = self._ordering.session(occasion.call, occasion.payer, query, plan, occasion.state.routing)
        if single and session is None and _plain(occasion, query) and _roomy(occasion.inspected, plan):
            return bounded(plan, occasion.state.routing.candidates_max)
        return self._chosen(occasion, query, plan, session)

    def simple(self, occasion: Occasion) -> Plan | None:
        """The plan of a request that every request of its kind gets which is small enough; None where it takes
        more to come to one, or where there is none."""
        if not occasion.state.routing.plain:
            return None
        try:
            query = read_query(occasion.inspected.model, occasion.inspected.routing)
            asked = query.names[0] if len(query.names) == 1 else None
            if asked is None or is_auto(asked.name) or not _plain(occasion, query):
                return None
            plan = self._single(occasion, asked.name)
        except RouterError:
            return None
        if (
            self._ordering.session(occasion.call, occasion.payer, query, plan, occasion.state.routing)
            is not None
        ):
            return None
        return plan if _roomy(occasion.inspected, plan) else None

    def served(self, plan: Plan, candidate: Candidate, input_tokens: int, state: State, now_ms: int) -> None:
        """Remember who served a request of a session."""
        sticking = state.routing.sticky
        if plan.session is not None and sticking.ttl_s > 0:
            self.sticky.keep(
                plan.session,
                candidate.deployment.id,
                input_tokens,
                now_ms,
                ttl_s=sticking.ttl_s,
                entries_max=sticking.entries_max,
            )

    def _chosen(self, occasion: Occasion, query: Query, plan: Plan, session: str | None) -> Plan:
        """The plan without what may not serve the request, in the order that was asked for.

        Raises:
            NoEligibleDeployment: nothing is left.
            InvalidRequest: the text is longer than every window.
        """
        snapshot, rules, inspected = occasion.state.snapshot, occasion.state.routing, occasion.inspected
        chosen = next((asked for asked in query.names if is_auto(asked.name)), None)
        auto = None if chosen is None else chosen.name
        strategy = "auto" if auto is None else task_of(occasion.state, auto).strategy
        if chosen is not None and chosen.sort is not None:
            strategy = SORTS[chosen.sort]
        together = None if strategy == "auto" else strategy
        demand = demand_of(inspected)
        wishes, named = query.wishes, snapshot.provider_named
        rejections = list(plan.rejections)
        left: list[Candidate] = []
        active = (
            occasion.state.active.union(occasion.own_keys) if occasion.own_keys else occasion.state.active
        )
        for candidate in plan.candidates:
            reason = refused(candidate, wishes, demand, named, active=active)
            if reason is None:
                left.append(candidate)
            else:
                rejections.append(Rejection(deployment=candidate.deployment.id, reason=reason))
        before, after = ((), ()) if chosen is None else self._beside(occasion, query, chosen.name)
        if auto is not None and rules.plain:
            left = _first_of_each(left, {*before, *after})
        if not left:
            model = plan.model if len(query.names) == 1 else occasion.inspected.model
            raise none_eligible(model, rejections, narrowed(plan))
        doubts = {c.deployment.id: why for c in left if (why := doubted(c, demand)) is not None}
        if doubts and len(plan.models) > 1 and len(doubts) < len({c.deployment.id for c in left}):
            rejections += (Rejection(deployment=id_, reason=why) for id_, why in doubts.items())
            left = [c for c in left if c.deployment.id not in doubts]
            doubts = {}
        choice: Choice | None = None
        warm = session is not None and self.sticky.find(session, occasion.now_ms) is not None
        plain = rules.plain and wishes is NO_WISHES and not doubts and not warm
        if auto is not None and together is None and plain:
            # nothing but the catalogue orders what a model has: the model is chosen before its deployments
            choice = self._choice(occasion, auto, self._firsts(occasion, left), before, after)
            if choice is not None:
                models = in_turn(choice.ranked, before, after)
                left = [c for c in left if c.model.id in models]
        strangers = unknown_names(wishes, named)[:STRANGERS_MAX]
        notes = tuple(f"provider '{name[:64]}' is not known here" for name in strangers)
        ordered = self._ordering.order(
            msgspec.structs.replace(
                plan,
                candidates=tuple(left),
                notes=notes,
                session=session,
                exact=wishes.require_parameters,
            ),
            query,
            rules,
            inspected=inspected,
            key=occasion.key.id,
            doubts=doubts,
            named=named,
            now_ms=occasion.now_ms,
            together=together,
            ahead=before,
            costed=auto is not None,
        )
        if auto is not None and together is None:
            choice = choice or self._choice(occasion, auto, _firsts(ordered), before, after)
            ordered = ordered if choice is None else _chosen_models(ordered, choice)
        return bounded(msgspec.structs.replace(ordered, rejections=tuple(rejections)), rules.candidates_max)

    def _single(self, occasion: Occasion, name: str) -> Plan:
        """The plan of one model.

        Raises:
            RouterError: it may not be used, is for something else, or nobody can be called for it.
        """
        resolved, plan = self._named(occasion, name)
        check_model_allowed(occasion.key, resolved)
        check_operation(occasion.call, resolved)
        if not plan.candidates:
            raise nothing_serves(plan, occasion.state.snapshot)
        return plan if occasion.key.providers is None else only_allowed(occasion.key, plan)

    def _several(self, occasion: Occasion, query: Query) -> Plan:
        """The plans of several models, one behind the other; those that are of no use are left out.

        Raises:
            RouterError: nothing is left; of what was asked for first.
        """
        if occasion.call.operation == "embed":
            raise InvalidRequest(
                "Name one model: vectors of different models cannot be compared, so no other one may answer.",
                param="models",
            )
        place = self._pool_place(occasion, query)
        pool = None if place is None else self._pools.get(place)
        if pool is not None and _steady(occasion, pool.timed):
            return pool.plan
        found: dict[str, Plan] = {}
        named: list[Named] = []
        rejections: list[Rejection] = []
        refusal: RouterError | None = None
        for name in self._expanded(occasion, query):
            resolved, plan = self._named(occasion, name)
            named += plan.named
            try:
                check_model_allowed(occasion.key, resolved)
                check_operation(occasion.call, resolved)
                if occasion.key.providers is not None and plan.candidates:
                    plan = only_allowed(occasion.key, plan)
            except RouterError as error:
                refusal = refusal or error
                rejections.append(Rejection(deployment=resolved.model.id, reason=error.message))
                continue
            if plan.candidates:
                found.setdefault(resolved.model.id, plan)
            else:
                refusal = refusal or nothing_serves(plan, occasion.state.snapshot)
                rejections += plan.rejections
        if not found:
            assert refusal is not None, "every name comes to a plan or a refusal"
            raise refusal
        plans = list(found.values())
        together = Plan(
            candidates=tuple(c for plan in plans for c in plan.candidates),
            rejections=(*(r for plan in plans for r in plan.rejections), *rejections),
            model=plans[0].model,
            named=tuple(named),
        )
        if place is not None and len(self._pools) < KEPT_MAX:
            timed = tuple(
                d for d in together.deployments if d.price is not None and d.price.off_peak is not None
            )
            if _steady(occasion, timed):
                self._pools[place] = _Pool(together, timed)
        return together

    def _pool_place(self, occasion: Occasion, query: Query) -> _PoolPlace | None:
        """Where the candidates of a lone ``auto`` are kept, for a payer of the list's own prices; else None."""
        if len(query.names) > 1 or occasion.own_keys or occasion.price_list.rules:
            return None
        if self._state is not occasion.state:
            self._state, self._kept, self._pools = occasion.state, {}, {}
        call = occasion.call
        names = (query.names[0].name, call.dialect.name, call.operation)
        bounds = _bounds(occasion, query)
        return names, occasion.key.models, occasion.key.providers, occasion.inspected.needs, bounds

    def _expanded(self, occasion: Occasion, query: Query) -> Iterable[str]:
        """The names of a query, each ``auto`` as the models that it chooses from."""
        for asked in query.names:
            if is_auto(asked.name):
                yield from self.autos.pool(
                    occasion.state,
                    occasion.key,
                    asked.name,
                    occasion.inspected.needs,
                    _bounds(occasion, query),
                )
            else:
                yield asked.name

    def _firsts(self, occasion: Occasion, candidates: Sequence[Candidate]) -> list[tuple[Candidate, Judged]]:
        """The first candidate of each model with its expected cost."""
        found: dict[str, Candidate] = {}
        for candidate in candidates:
            found.setdefault(candidate.model.id, candidate)
        firsts = list(found.values())
        judged = self._ordering.costs(firsts, occasion.inspected, occasion.key.id)
        return list(zip(firsts, judged, strict=True))

    def _beside(self, occasion: Occasion, query: Query, auto: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of the models that stand in front of the first ``auto`` of a request, and of those behind it."""
        before, after = list[str](), list[str]()
        found = before
        for asked in query.names:
            if asked.name == auto:
                found = after
            elif not is_auto(asked.name):
                found.append(self._named(occasion, asked.name)[0].model.id)
        return tuple(before), tuple(each for each in after if each not in before)

    def _choice(
        self,
        occasion: Occasion,
        name: str,
        every: Sequence[tuple[Candidate, Judged]],
        before: tuple[str, ...],
        after: tuple[str, ...],
    ) -> Choice | None:
        """The models by what they are worth, each by its first deployment; those before are not to be chosen from.
        None: nothing else is left."""
        firsts = [pair for pair in every if pair[0].model.id not in before]
        if not firsts:
            return None
        state, task = occasion.state, task_of(occasion.state, name)
        preset_dial = None if occasion.preset is None else occasion.preset.dial
        dial = dial_of(state, occasion.call, occasion.inspected, occasion.key, task, preset_dial)
        choice = self.autos.choose(state, occasion.call, occasion.inspected, name, firsts, dial)
        return msgspec.structs.replace(choice, before=before, after=after) if before or after else choice

    def made(self, plan: Plan) -> None:
        """A planned request is really made: it belongs to the traffic that ``auto`` learns from."""
        if plan.auto is not None:
            self.autos.made(plan.auto)

    def _named(self, occasion: Occasion, name: str) -> tuple[Resolved, Plan]:
        """A name's model and the plan of its deployments at the payer's prices.

        Raises:
            ModelNotFound: there is none of that name.
        """
        state, call, inspected = occasion.state, occasion.call, occasion.inspected
        if occasion.own_keys:
            resolved = _resolved(state, name, state.active.union(occasion.own_keys))
            plan = _planned(occasion, resolved, self._sold(occasion, resolved))
            return resolved, with_own_keys(plan, occasion.own_keys, state.own_key_fee, state.active)
        if self._state is not state:
            self._state, self._kept, self._pools = state, {}, {}
        place = (name, call.dialect.name, call.operation, inspected.needs)
        kept = self._kept.get(place)
        if kept is None:
            resolved = _resolved(state, name, state.active)
            plan = _planned(occasion, resolved, resolved)
            kept = _Kept(resolved, msgspec.structs.replace(plan, version=version_of(plan)))
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


def _resolved(state: State, name: str, active: Collection[str]) -> Resolved:
    """What a name stands for.

    Raises:
        ModelNotFound: nothing, or a successor that the operator does not want.
    """
    resolved = state.snapshot.resolve(name, active=active)
    check_successor(state.routing.successors, state.snapshot, resolved)
    return resolved


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
        unpriced_tools=state.settlement.unpriced_tools,
        own=occasion.own_keys,
    )


def version_of(plan: Plan) -> str:
    """A digest of what a plan says: candidates in order, at which prices, and who was left out for what reason."""
    said = [
        *(
            f"{c.deployment.id} {c.dialect} {c.deployment.price and c.deployment.price.version}"
            for c in plan.candidates
        ),
        *(f"{r.deployment} {r.reason}" for r in plan.rejections),
    ]
    return blake2b("\n".join(said).encode(), digest_size=6).hexdigest()


def demand_of(inspected: Inspected) -> Demand:
    """How large a request is, as the filters see it. Of several inputs each has a window of its own."""
    inputs = max(1, inspected.inputs)
    return Demand(
        input_least=least_tokens(inspected) // inputs,
        input_expected=expected_input(inspected) // inputs,
        output_tokens=inspected.output_tokens,
        needs=inspected.needs,
        service_tier=inspected.service_tier,
    )


def _firsts(plan: Plan) -> list[tuple[Candidate, Judged]]:
    """The first candidate of each model in the order that was found, and what it was judged by."""
    firsts: dict[str, tuple[Candidate, Judged]] = {}
    for candidate, judged in zip(plan.candidates, plan.judged, strict=True):
        firsts.setdefault(candidate.model.id, (candidate, judged))
    return list(firsts.values())


def _chosen_models(plan: Plan, choice: Choice) -> Plan:
    """The plan of an ``auto``: the models that were named in front of it, the chosen one's deployments, those of the
    ones that may follow, and what was named behind it."""
    turns = in_turn(choice.ranked, choice.before, choice.after)
    rank = {model: at for at, model in enumerate(turns)}
    pairs = [p for p in zip(plan.candidates, plan.judged, strict=True) if p[0].model.id in rank]
    pairs.sort(key=lambda pair: rank[pair[0].model.id])
    first = pairs[0][0].model.id
    return msgspec.structs.replace(
        plan,
        candidates=tuple(c for c, _ in pairs),
        judged=tuple(j for _, j in pairs),
        model=first,
        strategy=plan.strategy if first in choice.before else "auto",
        auto=choice,
    )


def _first_of_each(candidates: list[Candidate], named: Collection[str]) -> list[Candidate]:
    """The first few candidates of each model: ``auto`` offers many models, and needs no more of one. All of those
    that the request names itself."""
    counts: Counter[str] = Counter()
    kept = []
    for candidate in candidates:
        counts[candidate.model.id] += 1
        if counts[candidate.model.id] <= OF_A_MODEL or candidate.model.id in named:
            kept.append(candidate)
    return kept


def bounded(plan: Plan, most: int) -> Plan:
    """The plan with no more candidates than a plan may hold."""
    if len(plan.candidates) <= most:
        return plan
    places = kept([each.model.id for each in plan.candidates], most)
    left = [plan.candidates[place] for place in places]
    why = f"behind as many others as a plan may hold (routing.candidates_max = {most})"
    cut = (
        Rejection(deployment=each.deployment.id, reason=why) for each in plan.candidates if each not in left
    )
    return msgspec.structs.replace(
        plan,
        candidates=tuple(left),
        judged=tuple(plan.judged[place] for place in places) if plan.judged else (),
        rejections=(*plan.rejections, *cut),
    )


def _plain(occasion: Occasion, query: Query) -> bool:
    """Whether the request asks for nothing but a model, and the configuration for no other order."""
    return query.wishes is NO_WISHES and query.names[0].sort is None and occasion.state.routing.plain


def _roomy(inspected: Inspected, plan: Plan) -> bool:
    """Whether the request fits every window and limit beyond doubt: no text has more tokens than bytes."""
    asked = inspected.output_tokens or 0
    most = inspected.text_bytes + inspected.input_tokens + asked
    for candidate in plan.candidates:
        deployment = candidate.deployment
        if deployment.context_tokens is not None and most > deployment.context_tokens:
            return False
        if deployment.output_tokens_max is not None and asked > deployment.output_tokens_max:
            return False
    return True
