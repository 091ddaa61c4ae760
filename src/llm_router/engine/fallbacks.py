"""The fallbacks of a request: models of the configuration that may follow when those asked for have failed.

They are planned, priced and held for with the request, so that moving on needs no second decision about
money: what the credit does not cover is left out, with that reason, and never keeps the request from going.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

import msgspec

from llm_router.domain.errors import RouterError
from llm_router.domain.model import Deployment
from llm_router.engine.planning import Occasion, Planner
from llm_router.routing.chains import KINDS
from llm_router.routing.plan import Candidate, Plan, Rejection
from llm_router.routing.query import read_query

NOT_COVERED = "as a fallback: the credit does not cover it"
USED_UP = "as a fallback: a limit for its model is used up"

NONE: Mapping[str, tuple[Candidate, ...]] = MappingProxyType({})


class Fallbacks(msgspec.Struct, frozen=True, kw_only=True):
    """Candidates by the kind of failure that they are for, and what of the chains cannot serve."""

    chains: Mapping[str, tuple[Candidate, ...]] = NONE
    rejections: tuple[Rejection, ...] = ()

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """All of them, each once."""
        found = {each.deployment.id: each.deployment for chain in self.chains.values() for each in chain}
        return tuple(found.values())

    def within(self, covered: Sequence[Deployment]) -> Fallbacks:
        """Those that the hold covers; the others are rejected."""
        return self._only({each.id for each in covered}, NOT_COVERED)

    @property
    def models(self) -> tuple[str, ...]:
        """Of all of them, each once."""
        return tuple(dict.fromkeys(each.model.id for chain in self.chains.values() for each in chain))

    def beyond(self, pattern: str | None, asked: Collection[str]) -> Fallbacks:
        """Those whose model a limit is not for that has no room; all, if it is for a model that was asked for."""
        if pattern is None or any(fnmatchcase(model, pattern) for model in asked):
            return self
        chains = self.chains.values()
        fit = {c.deployment.id for chain in chains for c in chain if not fnmatchcase(c.model.id, pattern)}
        return self._only(fit, USED_UP)

    def _only(self, known: Collection[str], why: str) -> Fallbacks:
        left = [each.id for each in self.deployments if each.id not in known]
        if not left:
            return self
        return Fallbacks(
            chains={
                kind: tuple(each for each in chain if each.deployment.id in known)
                for kind, chain in self.chains.items()
            },
            rejections=(
                *self.rejections,
                *(Rejection(deployment=id_, reason=why) for id_ in left),
            ),
        )


NO_FALLBACKS = Fallbacks()


def fallbacks_of(planner: Planner, occasion: Occasion, plan: Plan) -> Fallbacks:
    """What may follow a plan. The request's own wishes about providers hold for it too, and so does the
    allow-list of its key; who allows no fallbacks gets none."""
    rules = occasion.state.fallbacks
    if rules.empty:
        return NO_FALLBACKS
    query = read_query(occasion.inspected.model, occasion.inspected.routing)
    if occasion.call.operation != "chat" or not query.wishes.allow_fallbacks:
        return NO_FALLBACKS
    preset = None if query.preset is None else query.preset.name
    found: dict[str, tuple[Candidate, ...]] = {}
    chains: dict[str, tuple[Candidate, ...]] = {}
    rejections: list[Rejection] = []
    for kind in KINDS:
        names = rules.chain(kind, model=plan.model, key=occasion.key.id, preset=preset)
        for name in names:
            if name not in found:
                found[name] = _planned(planner, occasion, name, rejections)
        known = set(plan.models)
        chains[kind] = tuple(c for name in names for c in found[name] if c.model.id not in known)
    return Fallbacks(chains=chains, rejections=tuple(rejections))


def _planned(
    planner: Planner, occasion: Occasion, name: str, rejections: list[Rejection]
) -> tuple[Candidate, ...]:
    """The candidates of one model of a chain; none if it cannot serve the request."""
    wishes = {n: value for n, value in occasion.inspected.routing.items() if n == "provider"}
    inspected = msgspec.structs.replace(occasion.inspected, model=name, routing=wishes)
    try:
        plan = planner.plan(msgspec.structs.replace(occasion, inspected=inspected))
    except RouterError as error:
        rejections.append(Rejection(deployment=name, reason=f"as a fallback: {error.code}"))
        return ()
    return plan.candidates
