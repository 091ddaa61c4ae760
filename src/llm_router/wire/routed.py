"""Members of a request that speak to the gateway and not to a model, whatever API it is asked in.

They are OpenRouter's: ``models``, ``route``, ``provider``, ``session_id``, ``preset``; and the gateway's own
``dial``, of ``auto``. What they mean is read by :mod:`llm_router.routing.query`; here they are found in the one parse that a dialect makes, and kept
from providers. https://openrouter.ai/docs/guides/routing/provider-selection
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, Final

from llm_router.wire.chat import Raw
from llm_router.wire.verbatim import value

MEMBERS: Final = ("models", "route", "provider", "session_id", "preset", "dial")

_NAMES = frozenset(MEMBERS)
_LISTS = ("order", "only", "ignore")

NONE: Mapping[str, Any] = MappingProxyType({})
"""Of a request that says nothing to the gateway, as most."""


def routing_of(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of the members of a request speaks to the gateway; null is as if it were not there."""
    if _NAMES.isdisjoint(members):
        return NONE
    return {name: found for name in MEMBERS if (found := members.get(name)) is not None}


def routing_in(members: Mapping[str, Raw]) -> Mapping[str, Any]:
    """The same of members that are still verbatim."""
    if _NAMES.isdisjoint(members):
        return NONE
    return routing_of({name: value(members[name]) for name in MEMBERS if name in members})


def strip(body: MutableMapping[str, Any], *, router: str | None = None) -> None:
    """Take out of a body what no provider is told.

    ``router``: the id of a provider that is a router itself and knows these members. It gets its session, and
    the wishes that it can meet, but no other models: it must not answer with one that has another price.
    """
    if _NAMES.isdisjoint(body):
        return
    wishes = value(body["provider"]) if router is not None and "provider" in body else None
    for name in MEMBERS:
        if name != "session_id" or router is None:
            body.pop(name, None)
    if isinstance(wishes, dict) and (onward := _onward(wishes, router)):
        body["provider"] = onward


def _onward(wishes: dict[str, Any], router: str | None) -> dict[str, Any]:
    """The wishes about providers as the next router is told them: lists of names without its own."""
    told: dict[str, Any] = {}
    for name, wish in wishes.items():
        if name in _LISTS and isinstance(wish, list):
            wish = [slug for slug in wish if not isinstance(slug, str) or slug.lower() != router]
            if not wish:
                continue
        if name != "regions":  # the gateway's own
            told[name] = wish
    return told
