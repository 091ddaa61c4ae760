"""The plan of an exchange: the deployments to try, in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from llm_router.domain.decision import Named
from llm_router.domain.model import Deployment, Model, OnUnpricedTools, Provider
from llm_router.domain.price import TOOL
from llm_router.routing.arrange import Arrangement
from llm_router.routing.auto.choose import Choice
from llm_router.routing.speaking import Spoken, speak

NOT_CONFIGURED = "provider not configured"
UNPRICED = "unpriced"
NO_OPERATION = "not offered by the API that is spoken there"

UNPRICED_TOOL = "has no price here for the tool"

NO_OUTPUT = frozenset({"anthropic_messages"})
"""Formats in which an output limit of 0 means no output: elsewhere it is refused, or means no limit at all."""

NAME_CHARS_MAX = 200
"""Of a name that is kept as it was written."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment with what it takes to call it. Of the provider's dialects one is chosen.

    Attributes:
        model: what it answers as; a plan may hold several models.
        asked: the name that led to it, as the client wrote it; via: in which way (``Resolved.via``).
        own_key: it is called with the account's own key.
    """

    model: Model
    deployment: Deployment
    provider: Provider
    dialect: str
    same_dialect: bool
    own_key: bool = False
    asked: str = ""
    via: str = "id"


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that may not be called now, and why."""

    deployment: str
    reason: str


class Judged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a candidate was ordered by.

    Attributes:
        cost_pusd: expected of this request; ttft_ms, tokens_per_s, in_flight, error_rate: as they stood.
        score: of the strategy, less is better; None where it needs none.
        doubt: why it comes behind the others.
    """

    deployment: str
    cost_pusd: int | None = None
    ttft_ms: float | None = None
    tokens_per_s: float | None = None
    in_flight: int = 0
    error_rate: float | None = None
    score: float | None = None
    doubt: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The deployments to try, in order, and why the others are none of them: a decision with all that it
    was made of.

    Attributes:
        model: the public id of what was asked for first.
        named: what the names came to, but for those that are ids of models.
        strategy: by which the candidates of a model were ordered.
        judged: what by, if it was by anything; in the order of the candidates.
        notes: what was asked for and could not be heeded, in words.
        session: under which it is remembered who served the request; None if it is not.
        stuck: the deployment that comes first because it served the session before.
        exact: nothing of the request's parameters may be lost on the way.
        auto: how ``auto`` chose the models.
        weighed: the candidates before they were ordered; arranged: how they were, group by group. Empty if
            nothing asked for an order.
        version: of a plan that is the same for all requests of a kind: a digest of all that it says.
    """

    candidates: tuple[Candidate, ...]
    rejections: tuple[Rejection, ...] = ()
    model: str = ""
    named: tuple[Named, ...] = ()
    strategy: str = "priority"
    judged: tuple[Judged, ...] = ()
    notes: tuple[str, ...] = ()
    session: str | None = None
    stuck: str | None = None
    exact: bool = False
    auto: Choice | None = None
    weighed: tuple[Candidate, ...] = ()
    arranged: tuple[Arrangement, ...] = ()
    version: str = ""

    def without(self, rejections: tuple[Rejection, ...]) -> Plan:
        """The same plan, with further rejections to tell."""
        if not rejections:
            return self
        return msgspec.structs.replace(self, rejections=(*self.rejections, *rejections))

    @property
    def models(self) -> tuple[str, ...]:
        """Public ids of the models, in the order of their first candidates."""
        return tuple(dict.fromkeys(c.model.id for c in self.candidates))

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """What may be called, in order."""
        return tuple(c.deployment for c in self.candidates)


def make_plan(
    model: Model,
    deployments: Sequence[Deployment],
    *,
    providers: Mapping[str, Provider],
    active: Collection[str],
    front: str,
    needs: frozenset[str],
    formats: Mapping[str, str] | None = None,
    asked: str = "",
    via: str = "id",
    unpriced_tools: OnUnpricedTools = "flag",
    own: Collection[str] = (),
) -> Plan:
    """Order the deployments that can be called.

    ``unpriced_tools``: what becomes of tools that a provider runs and that have no price there; ``own``: providers
    that bill somebody else.

    ``formats``: the wire format of the operation by the provider's dialect, where it is another one
    (embeddings); a deployment whose dialect has none is rejected.

    Deployments whose model lacks a capability the request needs come last (the catalogue may be behind
    the provider, so they are not excluded); one that itself declares that it lacks it is rejected. The model's own developer comes before resellers. Of the
    rest, those that speak the client's own dialect come first, since nothing can be lost there (a
    provider of several dialects is spoken to in the client's, see :mod:`routing.speaking`); else the
    catalogue's order is kept. Unpriced deployments are rejected: never free.
    """
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    for deployment in deployments:
        provider = providers[deployment.provider]
        if deployment.price is None:
            rejections.append(Rejection(deployment=deployment.id, reason=UNPRICED))
        elif provider.id not in active:
            rejections.append(Rejection(deployment=deployment.id, reason=NOT_CONFIGURED))
        elif (way := speak(deployment, provider, front, needs, formats)) is None:
            rejections.append(Rejection(deployment=deployment.id, reason=NO_OPERATION))
        elif (lacking := _declared_lack(way, needs)) is not None:
            rejections.append(Rejection(deployment=deployment.id, reason=lacking))
        elif way.format == front and (
            unpriced := _unpriced_tools(way, needs, "flag" if provider.id in own else unpriced_tools)
        ):
            rejections.append(Rejection(deployment=deployment.id, reason=unpriced))
        else:
            candidates.append(
                Candidate(
                    model=model,
                    asked=asked,
                    via=via,
                    deployment=way.deployment,
                    provider=way.provider,
                    dialect=way.format,
                    same_dialect=way.format == front,
                )
            )
    if len(candidates) > 1:
        candidates.sort(
            key=lambda c: (
                _missing(model, c.deployment, needs),
                c.provider.developer != model.developer,
                not c.same_dialect,
            )
        )
    return Plan(
        candidates=tuple(candidates),
        rejections=tuple(rejections),
        model=model.id,
        named=_named(model, deployments, asked, via),
    )


def _named(model: Model, deployments: Sequence[Deployment], asked: str, via: str) -> tuple[Named, ...]:
    if via == "id":
        return ()
    provider = deployments[0].provider if via == "provider" else None
    return (Named(asked=asked[:NAME_CHARS_MAX], model=model.id, via=via, provider=provider),)


def _declared_lack(way: Spoken, needs: frozenset[str]) -> str | None:
    """What the deployment, or the API that is spoken there, cannot do, though the request needs it."""
    if "no_output" in needs and way.format not in NO_OUTPUT:
        return "takes no max_tokens of 0"
    can = way.deployment.capabilities
    if can is None:
        return None
    for form in ("image", "audio", "video", "file"):
        if form in needs and not can.sees(form):
            return f"takes no {form} input"
    return "calls no tools" if "tools" in needs and not can.tools else None


def _unpriced_tools(way: Spoken, needs: frozenset[str], rule: OnUnpricedTools) -> str | None:
    """Which tools of a request the provider would run at nobody knows what price; None if that is no matter."""
    if rule == "flag":
        return None
    names = sorted(need.removeprefix(TOOL) for need in needs if need.startswith(TOOL))
    names = [name for name in names if name not in way.deployment.tools]
    price = way.deployment.operator_price
    if not names or (rule == "auto" and price is not None and price.source == "configuration"):
        return None
    return (
        f"{UNPRICED_TOOL} {', '.join(names)!r} that {way.provider.name} would run (the operator can set one at "
        f"providers.{way.provider.id}.tools, or settlement.unpriced_tools)"
    )


def _missing(model: Model, deployment: Deployment, needs: frozenset[str]) -> int:
    """How many of the needs the deployment's capabilities do not name."""
    can = deployment.capabilities or model.capabilities
    missing = 0
    for need in needs:
        match need:
            case "image" | "audio" | "video" | "file":
                missing += not can.sees(need)
            case "tools":
                missing += not can.tools
            case "json_schema":
                missing += not can.json_schema
            case "json_object":
                missing += not (can.json_object or can.json_schema)
    return missing
