"""The table of rights: what each role and each scope of a key permits, by kind of object.

A permission is ``kind:read`` or ``kind:write``. Those of an account hold for its own objects alone; those
of the house are the operator's, and no role of an account has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llm_router.domain.account import KeyScope, Role

Permissions = frozenset[str]

OBJECTS = (
    "account",  # its title and whether it is closed
    "member",
    "team",
    "key",
    "budget",
    "limit",
    "credit",  # balance, entries, vouchers, top-ups, statements
    "usage",
    "exchange",  # the log of requests
    "content",  # what was said in them, where it is kept
    "preset",  # those that requests may name; the operator makes them
    "provider_key",  # the account's own keys at providers
    "audit",
    "settings",
)
"""Kinds of objects that belong to an account."""

HOUSE = ("house", "people", "provider", "model", "health", "accounts", "experiment")
"""Kinds of objects that belong to the gateway."""

_OWN_ACTIONS = ("inference:use", "model:read")


def _reads(*kinds: str) -> Permissions:
    return frozenset(f"{kind}:read" for kind in kinds)


def _writes(*kinds: str) -> Permissions:
    return _reads(*kinds) | frozenset(f"{kind}:write" for kind in kinds)


_USE = frozenset(_OWN_ACTIONS)

_ALL = _writes(*OBJECTS) | _USE

OWNER = _ALL - {"preset:write"}
ADMIN = OWNER - {"account:write"}

ROLES: Mapping[Role, Permissions] = MappingProxyType(
    {
        Role.OWNER: OWNER,
        Role.ADMIN: ADMIN,
        Role.DEVELOPER: _USE
        | _reads(
            "account",
            "member",
            "team",
            "budget",
            "limit",
            "credit",
            "usage",
            "exchange",
            "content",
            "settings",
            "preset",
        )
        | _writes("key"),
        Role.BILLING: _reads("account", "member", "team", "key", "limit", "usage", "settings")
        | _writes("credit", "budget")
        | {"model:read"},
        Role.VIEWER: _reads("account", "member", "team", "key", "budget", "limit", "usage", "preset")
        | {"model:read"},
    }
)
"""What members may do in their account."""

SCOPES: Mapping[KeyScope, Permissions] = MappingProxyType(
    {
        KeyScope.INFERENCE: frozenset({"inference:use"}),
        KeyScope.MODELS: frozenset({"model:read"}),
        KeyScope.USAGE: _reads("usage", "exchange", "credit", "budget", "limit"),
        KeyScope.KEYS: _writes("key", "limit", "budget") | {"credit:read"},
        KeyScope.ADMIN: ADMIN - {"inference:use"},
    }
)
"""What keys may do in their account."""

PLAIN_SCOPES = (KeyScope.INFERENCE, KeyScope.MODELS, KeyScope.USAGE)
"""Of a key that names none."""

OPERATOR: Permissions = _ALL | _writes(*HOUSE)
"""What the operator may do, in every account."""

GRANTS: Mapping[KeyScope, frozenset[KeyScope]] = MappingProxyType(
    {
        KeyScope.KEYS: frozenset({*PLAIN_SCOPES, KeyScope.KEYS}),
        KeyScope.ADMIN: frozenset(KeyScope),
    }
)
"""What scopes a key may give to keys that it makes: to provision keys for use is what ``keys`` is for."""

ROLE_GRANTS: Mapping[Role, frozenset[KeyScope]] = MappingProxyType(
    {
        Role.OWNER: frozenset(KeyScope),
        Role.ADMIN: frozenset(KeyScope),
        Role.DEVELOPER: frozenset(PLAIN_SCOPES),
    }
)
"""What scopes a member may give to keys; roles that may make no keys give none."""


def of_scopes(scopes: tuple[KeyScope, ...] | None) -> Permissions:
    """What a key with these scopes may do in its account."""
    found: Permissions = frozenset()
    for scope in PLAIN_SCOPES if scopes is None else scopes:
        found |= SCOPES[scope]
    return found
