"""Nobody can give more than they have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from llm_router.access.addresses import within
from llm_router.access.permissions import GRANTS, PLAIN_SCOPES, ROLE_GRANTS, ROLES, of_scopes
from llm_router.access.subject import Subject
from llm_router.domain.account import KeyScope, Person, Role
from llm_router.domain.errors import Forbidden, InvalidRequest
from llm_router.domain.key import Key, Limits

HELD = (
    "models", "providers", "ip_ranges", "scopes", "team", "user", "expires", "disabled", "priority",
    *Limits.__struct_fields__,
)  # fmt: skip
"""Bounds of a key that are its own; that in dollars ("limit") is a budget."""


def grantable_scopes(subject: Subject, account: str) -> frozenset[KeyScope]:
    """What scopes a subject may give to a key of that account."""
    if subject.key is not None:
        if subject.key.account != account:
            return frozenset()
        found: frozenset[KeyScope] = frozenset()
        for scope in PLAIN_SCOPES if subject.key.scopes is None else subject.key.scopes:
            found |= GRANTS.get(scope, frozenset())
        return found
    if subject.operator:
        return frozenset(KeyScope)
    role = subject.roles.get(account)
    return frozenset() if role is None else ROLE_GRANTS.get(role, frozenset())


def check_role_grant(subject: Subject, account: str, role: Role) -> None:
    """Refuse to give, change or take a role that holds more than the subject has, or may give to keys: a key with the
    scope ``admin`` asks no models, and still provides others with what does. A key that is bounded gives no role at
    all: people are bound by nothing that binds it.

    Raises:
        Forbidden
    """
    if subject.key is not None and (bounds := bounds_of(subject.key)):
        raise unbounded_only(bounds, "gives, changes and takes no roles")
    lacking = (
        ROLES[role] - subject.permissions(account) - of_scopes(tuple(grantable_scopes(subject, account)))
    )
    if lacking:
        raise Forbidden(
            f"You may not give or take the role {role.value}: it holds more than you have "
            f"({', '.join(sorted(lacking)[:5])}).",
            param="role",
        )


def bounds_of(key: Key) -> tuple[str, ...]:
    """The names of what a key is bound to, beside its account and scopes; budgets and limits are kept elsewhere."""
    own = ("models", "providers", "ip_ranges", "team", "user")
    found = [name for name in own if getattr(key, name) is not None]
    if key.expires_ms is not None:
        found.append("expires")
    rates = Limits.__struct_fields__
    return (*found, *(name for name in rates if getattr(key.limits, name) is not None))


def unbounded_only(bounds: Sequence[str], what: str) -> Forbidden:
    """What is said to a key that is bounded and may not do something for that."""
    return Forbidden(
        f"This API key is bounded ({', '.join(bounds)}), and so it {what}: use one without bounds.",
        code="key_bounded",
    )


def bound_of(key: Key, name: str) -> object:
    """A bound of a key by the name that the API has for it; None: it is not bound by it."""
    match name:
        case "expires":
            return key.expires_ms
        case "disabled":
            return key.disabled or None
        case "priority":
            return None if key.priority == "interactive" else key.priority
        case "scopes":
            plain = key.scopes is None or set(key.scopes) == set(PLAIN_SCOPES)
            return None if plain else key.scopes
    return getattr(key.limits if name in Limits.__struct_fields__ else key, name)


def held_after(before: Key, after: Key) -> tuple[str, ...]:
    """What is held of a key when somebody else than who made it has changed it."""
    held = dict.fromkeys(before.held)
    for name in HELD:
        if bound_of(after, name) is None:
            held.pop(name, None)
        elif bound_of(after, name) != bound_of(before, name):
            held[name] = None
    return tuple(held)


def check_held(before: Key, after: Key) -> None:
    """Refuse that who made a key takes back what somebody who manages the keys of others set on it.

    Raises:
        Forbidden: names the bound.
    """
    for name in before.held:
        if name in HELD and not _as_narrow(name, bound_of(before, name), bound_of(after, name)):
            raise held_bound(name)


def held_bound(name: str) -> Forbidden:
    """What is said of a bound that may not be made wider."""
    return Forbidden(
        f"{name} was set by somebody who manages the keys of others: you may make it narrower, and they wider.",
        param=name,
        code="bound_held",
    )


def _as_narrow(name: str, was: Any, is_: Any) -> bool:
    """Whether a bound leaves no more than it did."""
    if was is None or was == is_:
        return True
    match name:
        case "models" | "providers":
            return _narrower(was, is_)
        case "ip_ranges":
            return within(was, is_)
        case "scopes":
            return is_ is not None and set(is_) <= set(was)
        case "expires" | "requests_per_minute" | "tokens_per_minute" | "concurrency":
            return is_ is not None and is_ <= was
    return False


def check_key_grant(subject: Subject, key: Key) -> None:
    """Refuse a key that may do more than who makes or changes it.

    Raises:
        Forbidden: names what is too much.
    """
    scopes = PLAIN_SCOPES if key.scopes is None else key.scopes
    lacking = set(scopes) - grantable_scopes(subject, key.account)
    if lacking:
        raise Forbidden(f"You may not give the scopes {', '.join(sorted(lacking))}.", param="scopes")
    maker = subject.key
    if maker is None:
        return
    if not _narrower(maker.models, key.models):
        raise Forbidden("The key may use models that its maker may not.", param="models")
    if not _narrower(maker.providers, key.providers):
        raise Forbidden("The key may use providers that its maker may not.", param="providers")
    if not within(maker.ip_ranges, key.ip_ranges):
        raise Forbidden("The key may be used from addresses that its maker may not.", param="ip_ranges")
    if maker.expires_ms is not None and (key.expires_ms is None or key.expires_ms > maker.expires_ms):
        raise Forbidden("The key lives longer than its maker.", param="expires")
    for name in ("requests_per_minute", "tokens_per_minute", "concurrency"):
        own, given = getattr(maker.limits, name), getattr(key.limits, name)
        if own is not None and (given is None or given > own):
            raise Forbidden(
                f"The key may do more at a time than its maker: {name} is {own} at most.", param=name
            )
    for name in ("team", "user"):
        own = getattr(maker, name)
        if own not in (None, getattr(key, name)):
            raise Forbidden(
                f"The key's {name} must be that of its maker, whose budgets bound it.", param=name
            )


def check_spending_grant(maker: Key, key: Key) -> None:
    """Refuse that a key with a limit in dollars makes or changes another that could spend: whatever that one spends
    is not counted as its maker's, so that even a smaller limit, given often enough, would be more than it has.

    Raises:
        Forbidden
    """
    scopes = PLAIN_SCOPES if key.scopes is None else key.scopes
    if key.id != maker.id and not set(scopes) <= {KeyScope.MODELS, KeyScope.USAGE}:
        raise Forbidden(
            "This API key has a limit in dollars of its own, and so it makes and changes no keys that may spend: "
            "use one without such a limit.",
            param="scopes",
        )


def own_place(
    person: Person, teams: Sequence[str], team: str | None, user: str | None
) -> tuple[str | None, str]:
    """The team and user of a key that somebody makes for their own use: their budgets bound it, too.

    Args:
        teams: those that the person is in. team, user: as they are wished for.

    Raises:
        Forbidden: another's were named.
        InvalidRequest: the person is in several teams, and named none.
    """
    if user not in (None, person.email):
        raise Forbidden(f"Your role makes keys for yourself: user is {person.email}.", param="user")
    if team is None and len(teams) > 1:
        raise InvalidRequest(f"Say for which of your teams: {', '.join(teams[:20])}.", param="team")
    if team is not None and team not in teams:
        raise Forbidden("Your role makes keys for the teams that you are in.", param="team")
    return (teams[0] if team is None and teams else team), person.email


def _narrower(own: Iterable[str] | None, given: Iterable[str] | None) -> bool:
    """Whether each name or pattern that is given falls under one that is there."""
    if own is None:
        return True
    patterns = tuple(own)
    return given is not None and all(
        name in patterns
        or (not any(c in name for c in "*?[") and any(fnmatchcase(name, p) for p in patterns))
        for name in given
    )
