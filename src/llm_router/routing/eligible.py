"""Hard filters: who may not serve a request, and why. What is merely doubtful only comes last.

    refused ── for certain: the request's own wishes, a window that the text cannot fit in
    doubted ── by what the catalogue says or by an estimate, either of which may be behind the truth

A doubt about one model's deployment filters it out if the plan holds another model's that is above doubt;
among deployments of one model it only puts it behind the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import msgspec

from llm_router.domain.model import Deployment, Model, Provider
from llm_router.domain.price import rates_for
from llm_router.routing.plan import Candidate
from llm_router.routing.query import NO_WISHES, Wishes

Named = Callable[[str], str | None]
"""The id of the provider that a name of OpenRouter's or ours stands for; None if there is none."""

_CONVERSATION = ("messages", "input", "contents", "system", "systemInstruction", "instructions", "prompt")

_WORDS = {
    "image": "takes no image input",
    "audio": "takes no audio input",
    "video": "takes no video input",
    "file": "takes no file input",
    "tools": "calls no tools",
    "json_schema": "enforces no JSON schema",
    "json_object": "has no JSON mode",
}


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """How large a request is.

    Attributes:
        input_least: tokens that its text comes to at the very least; input_expected: that it will come to.
        output_tokens: what it asks for; None leaves that open.
        service_tier: of the price.
    """

    input_least: int
    input_expected: int
    output_tokens: int | None
    needs: frozenset[str]
    service_tier: str | None = None


def refused(
    candidate: Candidate, wishes: Wishes, demand: Demand, named: Named, *, active: Collection[str] = ()
) -> str | None:
    """Why a candidate may not serve a request at all; None if it may. ``active``: providers that can be called."""
    window = candidate.deployment.context_tokens
    if window is not None and demand.input_least > window:
        return f"its context window of {window} tokens is too small for at least {demand.input_least}"
    if wishes is NO_WISHES:
        return None
    return (
        _by_name(candidate, wishes, named, active)
        or _by_policy(candidate, wishes)
        or _by_price(candidate, wishes, demand)
    )


def doubted(candidate: Candidate, demand: Demand) -> str | None:
    """What makes it unlikely that a candidate can serve a request; None if nothing does."""
    deployment = candidate.deployment
    can = deployment.capabilities or candidate.model.capabilities
    for need in demand.needs:
        if need in ("image", "audio", "video", "file"):
            lacks = not can.sees(need)
        elif need == "tools":
            lacks = not can.tools
        elif need == "json_schema":
            lacks = not can.json_schema
        else:
            lacks = need == "json_object" and not (can.json_object or can.json_schema)
        if lacks:
            return _WORDS[need]
    window, most = deployment.context_tokens, deployment.output_tokens_max
    asked = 0 if demand.output_tokens is None else demand.output_tokens
    if window is not None and demand.input_expected + asked > window:
        return f"its context window of {window} tokens is too small for about {demand.input_expected} and {asked} of output"
    if most is not None and asked > most:
        return f"it writes at most {most} tokens"
    return None


def is_parameter(field: str) -> bool:
    """Whether a member of a request, by its path, is a parameter of it and no part of the conversation."""
    return re.split(r"[.\[]", field, maxsplit=1)[0] not in _CONVERSATION


LONG_TOKENS = 16_384
"""A request of fewer is not long: what is offered to one is offered to all."""

ROOM_TOKENS = 8_192
"""Windows are asked for in steps, so that what was found for one long request holds for others."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Whose deployments a request may go to, whatever the model: the providers that its key may use (None: all),
    and its wishes about them; ``room``: tokens that their windows have at least, 0 for a request that is not long."""

    providers: tuple[str, ...] | None = None
    wishes: Wishes = NO_WISHES
    room: int = 0


def bounds_of(providers: tuple[str, ...] | None, wishes: Wishes, tokens: int) -> Bounds | None:
    """What a key and a request of so many expected tokens say of deployments; None if that is nothing."""
    room = 0 if tokens <= LONG_TOKENS else -(-tokens // ROOM_TOKENS) * ROOM_TOKENS
    if wishes is not NO_WISHES:
        wishes = Wishes(
            order=() if wishes.allow_fallbacks else wishes.order,
            only=wishes.only,
            ignore=wishes.ignore,
            allow_fallbacks=wishes.allow_fallbacks or not wishes.order,
            data_collection=wishes.data_collection,
            zdr=wishes.zdr,
            quantizations=wishes.quantizations,
            regions=wishes.regions,
        )
    if providers is None and not room and wishes == NO_WISHES:
        return None
    return Bounds(providers=providers, wishes=wishes, room=room)


def within(
    bounds: Bounds,
    model: Model,
    deployment: Deployment,
    provider: Provider,
    named: Named,
    active: Collection[str],
) -> bool:
    """Whether a deployment may be offered. A router that is told whom to ask is offered for what they serve."""
    if bounds.providers is not None and provider.id not in bounds.providers:
        return False
    if deployment.context_tokens is not None and deployment.context_tokens < bounds.room:
        return False
    wishes = bounds.wishes
    candidate = Candidate(
        model=model, deployment=deployment, provider=provider, dialect=provider.dialect, same_dialect=True
    )
    if _by_name(candidate, wishes, named, active) is not None or _by_policy(candidate, wishes) is not None:
        return False
    if wishes.only is None or not _told(candidate):
        return True
    asked = {named(slug.partition("/")[0]) for slug in wishes.only}
    return provider.id in asked or not asked.isdisjoint(each.provider for each in model.deployments)


def matches(candidate: Candidate, slug: str, named: Named) -> bool:
    """Whether a name of a provider means a candidate: ``provider``, or ``provider/variant`` with a precision
    or region."""
    head, slash, variant = slug.partition("/")
    if named(head) != candidate.provider.id:
        return False
    return not slash or variant in (candidate.deployment.quantization, *candidate.provider.regions)


def unknown_names(wishes: Wishes, named: Named) -> tuple[str, ...]:
    """Names of providers that this gateway has never heard of."""
    slugs = (*wishes.order, *(wishes.only or ()), *wishes.ignore)
    return tuple(dict.fromkeys(slug for slug in slugs if named(slug.partition("/")[0]) is None))


def _told(candidate: Candidate) -> bool:
    """Whether a candidate is a router that is told the wishes, and meets them by whom it asks in turn."""
    return candidate.same_dialect and "routing" in candidate.provider.knows


def _by_name(candidate: Candidate, wishes: Wishes, named: Named, active: Collection[str]) -> str | None:
    if any(matches(candidate, slug, named) for slug in wishes.ignore):
        return "provider.ignore names it"
    if _told(candidate) or _means_others(candidate, wishes, named, active):
        return None
    if wishes.only is not None and not any(matches(candidate, slug, named) for slug in wishes.only):
        return "provider.only does not name it"
    if not wishes.order or wishes.allow_fallbacks:
        return None
    if any(matches(candidate, slug, named) for slug in wishes.order):
        return None
    return "provider.order does not name it, and fallbacks are not allowed"


def _means_others(candidate: Candidate, wishes: Wishes, named: Named, active: Collection[str]) -> bool:
    """Whether a list names nobody who serves the model here or can be called for another one, and the candidate's
    provider is of the operator's own making: that may be a router, and nobody here can tell whom it asks in turn."""
    slugs = (*wishes.order, *(wishes.only or ()))
    if not slugs or candidate.provider.docs_url is not None:
        return False
    meant = {named(slug.partition("/")[0]) for slug in slugs}
    return meant.isdisjoint(active) and meant.isdisjoint(
        each.provider for each in candidate.model.deployments
    )


def _by_policy(candidate: Candidate, wishes: Wishes) -> str | None:
    """A strict demand is not met by what nobody knows. A router is told the demand itself."""
    provider = candidate.provider
    told = _told(candidate)
    if wishes.data_collection == "deny" and not told and provider.data_collection != "deny":
        known = "it may keep or train on what it is sent"
        return known if provider.data_collection == "allow" else "what it does with data is not known"
    if wishes.zdr and not told and provider.zero_retention is not True:
        return "it is not known to keep nothing"
    if wishes.quantizations and not told:
        quantization = candidate.deployment.quantization or "unknown"
        if quantization not in wishes.quantizations:
            return f"its precision is {quantization}"
    if wishes.regions and not set(wishes.regions).intersection(provider.regions):
        where = ", ".join(provider.regions) or "an unknown region"
        return f"it runs in {where}"
    return None


def _by_price(candidate: Candidate, wishes: Wishes, demand: Demand) -> str | None:
    cap, price = wishes.max_price, candidate.deployment.price
    if cap is None or price is None:
        return None
    rates = rates_for(price, demand.input_expected, demand.service_tier)
    for what, most, rate in (
        ("prompt", cap.prompt, rates.input),
        ("completion", cap.completion, rates.output),
        ("audio", cap.audio, rates.input if rates.input_audio is None else rates.input_audio),
        ("request", cap.request, rates.request),
    ):
        if most is not None and rate > most:
            return f"its price is above provider.max_price.{what}"
    return None
