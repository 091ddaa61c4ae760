"""In which order the candidates of a plan are tried: what the request, the key or the configuration says.

provider.order ── as it says
else a strategy ─ of the suffix, provider.sort, the key, the model or all   routing/strategies.py
  doubts last ─── what is likely not to do
  session first ─ who served the session before, for its cache              routing/sticky.py
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b

import msgspec

from llm_router.billing.interval import expected_tokens, forecast
from llm_router.billing.outputs import Outputs
from llm_router.domain.budget import Payer
from llm_router.engine.admit import Call
from llm_router.routing.arrange import Arrangement, arrange
from llm_router.routing.eligible import Named, matches
from llm_router.routing.health import Health, size_of
from llm_router.routing.plan import Candidate, Judged, Plan
from llm_router.routing.query import Query, Wishes
from llm_router.routing.rules import RoutingRules
from llm_router.routing.sticky import Sticky, Stuck
from llm_router.routing.strategies import SORTS, Dice, Facts, Given
from llm_router.wire.dialect import Inspected

PREFIX_BYTES = 4096
"""Requests that begin with the same bytes share their prompt's beginning: caches begin at 1,024 tokens, so
shorter ones have nothing to find there."""


_UNMEASURED = ("priority", "order")
"""Strategies that look at no number."""


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be ordered for."""

    plan: Plan
    query: Query
    rules: RoutingRules
    inspected: Inspected
    key: str
    doubts: Mapping[str, str]
    named: Named
    stuck: Stuck | None
    now_ms: int
    costed: bool


class Ordering:
    """Orders plans. One per process."""

    def __init__(self, health: Health, outputs: Outputs, sticky: Sticky, dice: Dice) -> None:
        self._health = health
        self._outputs = outputs
        self._sticky = sticky
        self._dice = dice

    def session(self, call: Call, payer: Payer, query: Query, plan: Plan, rules: RoutingRules) -> str | None:
        """Under which the deployment that serves the request is remembered; None if there is no choice.

        A session that the request or a header names; else, for strategies that do not always choose the same,
        the beginning of a long body.
        """
        if len(plan.candidates) < 2:
            return None
        named = query.session or payer.session
        if named is None and rules.strategy_of(plan.model, payer.key) == "priority":
            return None
        named = prefix_of(call) if named is None else named
        return None if named is None else f"{payer.account}\n{query.names[0].name}\n{named}"

    def order(
        self,
        plan: Plan,
        query: Query,
        rules: RoutingRules,
        *,
        inspected: Inspected,
        key: str,
        doubts: Mapping[str, str],
        named: Named,
        now_ms: int,
        together: str | None = None,
        ahead: Collection[str] = (),
        costed: bool = False,
    ) -> Plan:
        """The plan with its candidates in order, and what they were judged by.

        ``together``: a strategy over the candidates of all models but those that come ``ahead`` of them. ``costed``: their costs are asked for, even
        if their order needs none.
        """
        stuck = None
        if plan.session is not None and not query.wishes.order:
            stuck = self._sticky.find(plan.session, now_ms)
        request = _Request(
            plan=plan,
            query=query,
            rules=rules,
            inspected=inspected,
            key=key,
            doubts=doubts,
            named=named,
            stuck=stuck,
            now_ms=now_ms,
            costed=costed,
        )
        ordered: list[Candidate] = []
        judged: list[Judged] = []
        arranged: list[Arrangement] = []
        for group in _groups(plan.candidates, query.wishes, together, ahead):
            joint = None if group[0].model.id in ahead else together
            arrangement = self._arrangement(request, joint or _strategy(request, group[0]), group)
            arranged.append(arrangement)
            found = arrange(arrangement, self._dice)
            ordered += (group[place] for place in found.places)
            judged += (_judged(request, arrangement, place, found.scores[place]) for place in found.places)
        first = ordered[0].deployment.id
        return msgspec.structs.replace(
            plan,
            candidates=tuple(ordered),
            judged=tuple(judged),
            strategy=arranged[0].strategy,
            stuck=first if stuck is not None and stuck.deployment == first else None,
            weighed=plan.candidates,
            arranged=tuple(arranged),
        )

    def costs(self, candidates: Sequence[Candidate], inspected: Inspected, key: str) -> list[Judged]:
        """What a request is expected to cost at candidates, each of another model, that hold nothing of it yet."""
        found = []
        for candidate in candidates:
            deployment = candidate.deployment
            learned = self._outputs.expect(key, candidate.model.id)
            input_tokens, output_tokens = expected_tokens(inspected, learned)
            cost_pusd = forecast(
                inspected, deployment, input_tokens=input_tokens, output_tokens=output_tokens
            )
            found.append(Judged(deployment=deployment.id, cost_pusd=cost_pusd))
        return found

    def _arrangement(self, request: _Request, strategy: str, group: Sequence[Candidate]) -> Arrangement:
        """All that the order of a group follows from. What nothing asks for is not looked up."""
        wishes, doubts, stuck = request.query.wishes, request.doubts, request.stuck
        hurried = wishes.throughput_min is not None or wishes.latency_max_ms is not None
        facts, given, ids = None, None, tuple(c.deployment.id for c in group)
        if strategy not in _UNMEASURED or hurried or request.costed:
            facts, given = self._facts(request, group)
        own = tuple(c.own_key for c in group)
        return Arrangement(
            strategy=strategy,
            deployments=ids,
            facts=None if facts is None else tuple(facts),
            size=0 if given is None else given.size,
            output_tokens=0 if given is None else given.output_tokens,
            ranks=tuple(_rank(request, c) for c in group) if strategy == "order" else None,
            slow=None
            if facts is None or given is None or not hurried
            else tuple(not _meets(f, wishes, given.size) for f in facts),
            doubts=tuple(doubts.get(id_) for id_ in ids) if doubts else None,
            stuck=None if stuck is None else tuple(id_ == stuck.deployment for id_ in ids),
            own=own if True in own else None,
            first_only=not wishes.allow_fallbacks and not wishes.order,
            thrown=[],
        )

    def _facts(self, request: _Request, group: Sequence[Candidate]) -> tuple[list[Facts], Given]:
        inspected, stuck = request.inspected, request.stuck
        learned = self._outputs.expect(request.key, group[0].model.id)
        input_tokens, output_tokens = expected_tokens(inspected, learned)
        facts = []
        for candidate in group:
            deployment = candidate.deployment
            warm = stuck is not None and stuck.deployment == deployment.id
            facts.append(
                Facts(
                    cost_pusd=forecast(
                        inspected,
                        deployment,
                        input_tokens=input_tokens,
                        output_tokens=output_tokens,
                        warm_tokens=stuck.input_tokens if stuck is not None and warm else 0,
                    ),
                    weight=deployment.weight,
                    view=self._health.view(deployment.id, request.now_ms),
                    tools=_tools(candidate),
                )
            )
        return facts, Given(size=size_of(input_tokens), output_tokens=output_tokens, dice=self._dice)


def prefix_of(call: Call) -> str | None:
    """A digest of the beginning of a long body; None of a short one."""
    if len(call.body) < PREFIX_BYTES:
        return None
    return blake2b(call.body[:PREFIX_BYTES], digest_size=16).hexdigest()


def _groups(
    candidates: Sequence[Candidate], wishes: Wishes, together: str | None, ahead: Collection[str]
) -> list[list[Candidate]]:
    """The candidates of each model, or all of them together, but for models that come ahead of them."""
    if wishes.partition == "none":
        return [list(candidates)]
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        model = candidate.model.id
        groups.setdefault(model if together is None or model in ahead else "", []).append(candidate)
    return list(groups.values())


def _strategy(request: _Request, candidate: Candidate) -> str:
    query = request.query
    if query.wishes.order:
        return "order"
    suffix = next((asked.sort for asked in query.names if asked.name == candidate.asked), None)
    sort = suffix or query.wishes.sort
    if sort is not None:
        return SORTS[sort]
    return request.rules.strategy_of(candidate.model.id, request.key)


def _rank(request: _Request, candidate: Candidate) -> int:
    """The place of a candidate's provider in ``provider.order``; behind it if it is not there."""
    order = request.query.wishes.order
    return next((at for at, slug in enumerate(order) if matches(candidate, slug, request.named)), len(order))


def _meets(facts: Facts, wishes: Wishes, size: int) -> bool:
    """Whether a candidate is as fast as is preferred, as far as that is known."""
    speed, ttft = facts.view.tokens_per_s, facts.view.ttft_of(size)
    if wishes.throughput_min is not None and speed is not None and speed < wishes.throughput_min:
        return False
    return wishes.latency_max_ms is None or ttft is None or ttft <= wishes.latency_max_ms


def _tools(candidate: Candidate) -> int:
    """How well a deployment is known to call tools: declared abilities, the developer's own service, whole precision."""
    can = candidate.deployment.capabilities or candidate.model.capabilities
    own = (
        candidate.provider.developer is not None and candidate.provider.developer == candidate.model.developer
    )
    whole = candidate.deployment.quantization in (None, "bf16", "fp16", "fp32")
    return 8 * can.tools + 4 * can.json_schema + 2 * own + whole


def _judged(request: _Request, group: Arrangement, place: int, score: float | None) -> Judged:
    deployment = group.deployments[place]
    doubt = request.doubts.get(deployment)
    if group.facts is None:
        return Judged(deployment=deployment, doubt=doubt)
    facts = group.facts[place]
    return Judged(
        deployment=deployment,
        cost_pusd=facts.cost_pusd,
        ttft_ms=facts.view.ttft_of(group.size),
        tokens_per_s=facts.view.tokens_per_s,
        in_flight=facts.view.in_flight,
        error_rate=facts.view.error_rate,
        score=score,
        doubt=doubt,
    )
