"""Members of a request that speak to the gateway and not to a model, whatever API it is asked in.

They are OpenRouter's: ``models``, ``route``, ``provider``, ``session_id``, ``preset``. What they mean is
read by :mod:`llm_router.routing.query`; here they are found in the one parse that a dialect makes, and kept
from providers. https://openrouter.ai/docs/guides/routing/provider-selection
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, Final

from llm_router.wire.chat import Raw
from llm_router.wire.verbatim import value

MEMBERS: Final = ("models", "route", "provider", "session_id", "preset")

_NAMES = frozenset(MEMBERS)

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


def strip(body: MutableMapping[str, Any]) -> None:
    """Take out of a body what no provider is told."""
    if not _NAMES.isdisjoint(body):
        for name in MEMBERS:
            body.pop(name, None)
