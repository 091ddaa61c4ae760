"""Why a request is not served at all: what is said when a model may not be used, or nobody is left to serve it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from llm_router.catalog.resolve import NAME_CHARS_SHOWN
from llm_router.catalog.snapshot import Resolved, Snapshot
from llm_router.domain.errors import (
    InvalidRequest,
    ModelNotAllowed,
    NoEligibleDeployment,
    Overloaded,
    ProviderNotConfigured,
    RouterError,
    UnsupportedContent,
)
from llm_router.domain.key import Key
from llm_router.engine.admit import Call
from llm_router.engine.own_keys import ELSEWHERE
from llm_router.routing.plan import NO_OPERATION, NOT_CONFIGURED, UNPRICED, UNPRICED_TOOL, Plan, Rejection
from llm_router.wire.operations import ENDPOINTS

NOT_OF_KEY = "this API key may not use its provider"

_AT_FAULT = {"calls no tools": "tools", "takes no max_tokens of 0": "max_tokens"}
"""The member of a request that a deployment cannot take, by its reason."""

SHOWN_MAX = 5
"""Reasons in the message of an error; more stand in its details."""

DETAILS_MAX = 50


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


def only_allowed(key: Key, plan: Plan) -> Plan:
    """The plan without providers that the key's allow-list does not name.

    Raises:
        NoEligibleDeployment: nobody is left.
    """
    assert key.providers is not None
    kept, out = [], list(plan.rejections)
    for candidate in plan.candidates:
        if candidate.provider.id in key.providers:
            kept.append(candidate)
        else:
            out.append(Rejection(deployment=candidate.deployment.id, reason=NOT_OF_KEY))
    if not kept:
        raise none_eligible(plan.model, out)
    return msgspec.structs.replace(plan, candidates=tuple(kept), rejections=tuple(out), version="")


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


def nothing_serves(plan: Plan, snapshot: Snapshot) -> RouterError:
    """Why no deployment of a model can be called for the request."""
    providers = snapshot.providers
    astray = dict.fromkeys(r.deployment.split("/", 1)[0] for r in plan.rejections if r.reason == ELSEWHERE)
    if astray:
        return ProviderNotConfigured(
            f"The account's own key at {' and '.join(providers[id_].name for id_ in astray)} was set when the provider "
            "had another address on this gateway, and is sent nowhere else. Its operator must set it again: "
            "llm-router byok set.",
            param="model",
        )
    known = (NOT_CONFIGURED, UNPRICED, NO_OPERATION)
    lacking = [r.reason for r in plan.rejections if r.reason not in known]
    if lacking:
        return UnsupportedContent(
            f"'{plan.model}' {' and '.join(dict.fromkeys(lacking))}. Choose another model.",
            param="tools" if lacking[0].startswith(UNPRICED_TOOL) else _AT_FAULT.get(lacking[0], "messages"),
        )
    names = dict.fromkeys(r.deployment.split("/", 1)[0] for r in plan.rejections)
    hints = [
        f"{providers[n].name} ({' or '.join(providers[n].env) or 'config file'})"
        for n in names
        if n in providers
    ]
    return ProviderNotConfigured(
        f"No provider of '{plan.model}' is configured on this gateway. "
        f"It is served by: {', '.join(hints)}. Its operator must set that provider's key and start again."
        f"{narrowed(plan)}",
        param="model",
    )


def narrowed(plan: Plan) -> str:
    """What the name of a provider in front of a model's did, where it did: others who serve the model were not asked."""
    return "".join(
        f" '{each.asked[:NAME_CHARS_SHOWN]}' asks for {each.model} at {each.provider} alone; "
        f"'{each.model}' asks for it wherever it is served."
        for each in plan.named
        if each.via == "provider"
    )


def none_eligible(model: str, rejections: Sequence[Rejection], hint: str = "") -> RouterError:
    """The error of a request that nobody who serves the model may or can serve, with the first few reasons."""
    told = [f"{each.deployment}: {each.reason}" for each in rejections[:SHOWN_MAX]]
    if len(rejections) > SHOWN_MAX:
        told.append(f"and {len(rejections) - SHOWN_MAX} more")
    return NoEligibleDeployment(
        f"Nobody who serves '{model}' here may serve this request. {'; '.join(told)}.{hint}",
        param="model",
        details={
            "rejected": [
                {"deployment": each.deployment, "reason": each.reason} for each in rejections[:DETAILS_MAX]
            ]
        },
    )


def ended() -> Overloaded:
    """What a client is told whose request the operator ended."""
    return Overloaded("The operator of this gateway ended this request.", code="ended_by_operator")


def stopping() -> Overloaded:
    """What clients are told of requests that a stopping gateway ends."""
    return Overloaded("This gateway is stopping. Send the request again.", retry_after_s=1.0)
