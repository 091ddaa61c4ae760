"""Who asks, and what they may do where: the one place in which access is decided."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from llm_router.access.permissions import (
    OPERATOR,
    ROLES,
    Permissions,
    of_scopes,
)
from llm_router.domain.account import Account, Member, Person, Role
from llm_router.domain.errors import Forbidden, NotFound
from llm_router.domain.key import Key

NO_ROLES: Mapping[str, Role] = MappingProxyType({})
NO_TEAMS: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever a request is made by: a person with the roles they have, or a key of one account.

    Attributes:
        id: of the person or key; name: what people know it by.
        roles: of a person, by account.
        operator: runs the gateway.
        key: None for a person. person: None for a key.
        sign_in: the session's id, of a person.
        teams: titles of those that a person is in, by account.
        closed: accounts among those of ``roles`` that are closed.
    """

    id: str
    name: str
    roles: Mapping[str, Role] = NO_ROLES
    operator: bool = False
    key: Key | None = None
    person: Person | None = None
    sign_in: str | None = None
    teams: Mapping[str, tuple[str, ...]] = NO_TEAMS

    def permissions(self, account: str) -> Permissions:
        """What they may do with the objects of an account; nothing where it is not theirs."""
        if self.key is not None:
            return of_scopes(self.key.scopes) if self.key.account == account else frozenset()
        if self.operator:
            return OPERATOR
        role = self.roles.get(account)
        return frozenset() if role is None else ROLES[role]

    def house(self) -> Permissions:
        """What they may do with what belongs to nobody's account."""
        return OPERATOR if self.operator and self.key is None else frozenset()

    def accounts(self) -> tuple[str, ...]:
        """Those that they belong to, by name."""
        return (self.key.account,) if self.key is not None else tuple(sorted(self.roles))


def subject_of_key(key: Key) -> Subject:
    return Subject(id=key.id, name=key.name, key=key)


def subject_of_person(
    person: Person, members: list[Member], closed: Mapping[str, Account], sign_in: str
) -> Subject:
    """A person with the roles that they have now; those in accounts that are closed count for nothing."""
    roles = {m.account: m.role for m in members if m.account not in closed}
    return Subject(
        id=person.id,
        name=person.email,
        roles=MappingProxyType(roles),
        operator=person.operator,
        person=person,
        sign_in=sign_in,
        teams=MappingProxyType({m.account: m.teams for m in members if m.teams and m.account in roles}),
    )


def check(subject: Subject, permission: str, account: str, what: str | None = None) -> None:
    """Refuse what a subject may not do in an account.

    What one may not see does not exist: another's account and all that is in it, and an object of the
    own account of a kind that one may not read. What one sees but may not do is forbidden.

    Args:
        what: the object that was named, "key 'key_1'"; None: none was, and only its kind is asked for.

    Raises:
        NotFound, Forbidden
    """
    has = subject.permissions(account)
    if permission in has:
        return
    if not has:
        raise NotFound(missing(what or f"account '{account[:100]}'"))
    kind = permission.partition(":")[0]
    if what is not None and f"{kind}:read" not in has:
        raise NotFound(missing(what))
    raise Forbidden(
        f"{_named(subject, account)} may not do this: it takes the permission {permission}.",
        details={"permission": permission},
    )


def check_house(subject: Subject, permission: str, what: str | None = None) -> None:
    """Refuse what only the operator may do.

    Raises:
        NotFound, Forbidden: as :func:`check`; what belongs to the gateway is seen by the operator alone.
    """
    if permission in subject.house():
        return
    if what is not None:
        raise NotFound(missing(what))
    raise Forbidden(
        "Only who runs this gateway may do this: it takes a person with the operator's rights.",
        details={"permission": permission},
    )


def missing(what: str) -> str:
    """What is said of something that is not there, or not for the asker."""
    return f"There is no {what}."


def _named(subject: Subject, account: str) -> str:
    if subject.key is not None:
        scopes = (
            ", ".join(subject.key.scopes) if subject.key.scopes is not None else "inference, models, usage"
        )
        return f"This API key (scopes: {scopes})"
    return f"The role {subject.roles[account].value} in '{account}'"
