"""Who there is: accounts, the people in them, how they sign in, and what was done by whom.

Each noun is one row of the directory: it has an id, and a version that goes up by one with each change.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What a person is in an account."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    BILLING = "billing"
    VIEWER = "viewer"


class KeyScope(StrEnum):
    """What an API key is for."""

    INFERENCE = "inference"
    MODELS = "models"
    USAGE = "usage"
    KEYS = "keys"
    ADMIN = "admin"


class Account(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="account"):
    """A workspace: what credit, keys and members belong to.

    Attributes:
        id: its name in the books, chosen once; title: for people.
        closed_ms: nobody may use it any more.
    """

    id: str
    title: str
    created_ms: int
    closed_ms: int | None = None
    version: int = 1


class Person(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="person"):
    """Somebody who signs in.

    Attributes:
        email: in small letters; nobody else has the same.
        operator: runs the gateway, and so sees every account. operator_groups: because groups at the issuer say so.
        disabled_ms: may not sign in any more.
        proven: whoever signs in has the mail of that address: an issuer, a link that was mailed to it, or the
            operator said so.
    """

    id: str
    email: str
    title: str
    created_ms: int
    operator: bool = False
    operator_groups: bool = False
    disabled_ms: int | None = None
    proven: bool = False
    version: int = 1


class Member(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="member"):
    """A person in an account. Its id is :func:`member_id`.

    Attributes:
        role: what holds: the greater one of what people here gave and what groups at the issuer gave.
        groups: what groups gave when the person signed in last; None: nothing. here: what people here gave, where
            groups gave something too; None: nothing.
    """

    id: str
    account: str
    person: str
    role: Role
    created_ms: int
    teams: tuple[str, ...] = ()
    groups: Role | None = None
    here: Role | None = None
    version: int = 1


class Team(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="team"):
    """A part of an account. Its title is what keys, budgets and reports know it by."""

    id: str
    account: str
    title: str
    created_ms: int
    version: int = 1


class Invitation(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="invitation"):
    """An offer of membership to whoever has the link and that e-mail address.

    Attributes:
        digest: SHA-256 of the link's token, in hexadecimal digits.
        by: who made it: their role bounds what it gives when it is taken up, too.
        mailed: the link was mailed to that address, and nobody else has seen it.
    """

    id: str
    account: str
    email: str
    role: Role
    digest: str
    by: str
    created_ms: int
    expires_ms: int
    teams: tuple[str, ...] = ()
    mailed: bool = False
    version: int = 1


class SignIn(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="sign_in"):
    """A session of a person in a browser.

    Attributes:
        digest: SHA-256 of the cookie's token, in hexadecimal digits.
        ip, agent: where it began.
        how: "password", "link" or the issuer's name.
        pending: a second factor is asked for, and not yet given: it is good for nothing else.
    """

    id: str
    person: str
    digest: str
    created_ms: int
    seen_ms: int
    expires_ms: int
    ip: str
    agent: str
    how: str
    pending: bool = False
    version: int = 1


class Credentials(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="credentials"):
    """How a person proves who they are. Its id is the person's. Never shown to anybody.

    Attributes:
        password: its argon2id hash; None: they have none.
        totp: the secret of their second factor, sealed; None: they have none. totp_new: one that is
            not confirmed yet.
        totp_step: the step of time of the last code that was taken: no code is taken twice.
        recovery: SHA-256 of the codes that are left, in hexadecimal digits.
    """

    id: str
    password: str | None = None
    totp: str | None = None
    totp_new: str | None = None
    totp_step: int = 0
    recovery: tuple[str, ...] = ()
    version: int = 1

    def __repr__(self) -> str:
        return f"Credentials({self.id!r})"


class Tries(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="tries"):
    """Wrong passwords or codes in a row, for an e-mail address whether anybody has it or not, for a second
    factor, or from an address of the network.

    Attributes:
        locked_until_ms: none is looked at before.
        known_until_ms: until then it is known that somebody signed in from there; 0: nobody did.
    """

    id: str
    failures: int
    locked_until_ms: int
    expires_ms: int
    known_until_ms: int = 0
    version: int = 1


class Repeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="repeat"):
    """A request with an Idempotency-Key: its answer is given again to who sends it again.

    Attributes:
        id: digest of who asked and the key; request: digest of what was asked.
        status: of the answer; 0 while there is none yet. body: the answer, sealed.
    """

    id: str
    request: str
    expires_ms: int
    status: int = 0
    body: str = ""
    version: int = 1


class Link(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="link"):
    """A link that can be used once: for the first operator, for who forgot a password, or for who signs up.

    Attributes:
        purpose: "setup", "reset" or "sign_up"; person: whose password it sets, of a reset.
        email, account: of who signs up.
        mailed: nobody but who reads the mail of that address has seen it.
    """

    id: str
    purpose: str
    digest: str
    created_ms: int
    expires_ms: int
    person: str | None = None
    email: str = ""
    account: str = ""
    mailed: bool = False
    version: int = 1


class Identity(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="identity"):
    """A person as an issuer of OpenID Connect knows them. Its id is made of both."""

    id: str
    person: str
    issuer: str
    subject: str
    created_ms: int
    version: int = 1


class Handshake(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="handshake"):
    """A sign-in at an issuer that has begun.

    Attributes:
        id: SHA-256 of the state, in hexadecimal digits. nonce, verifier: what the issuer must know.
        back: where the browser goes afterwards, a path of the gateway's own.
    """

    id: str
    nonce: str
    verifier: str
    back: str
    expires_ms: int
    version: int = 1


class House(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="house"):
    """What the operator has decided for the whole gateway. There is one, with the id "house".

    Attributes:
        sign_up: strangers may make themselves an account.
        public_pages: anybody may see the prices and the status of the models.
    """

    id: str = "house"
    sign_up: bool = False
    public_pages: bool = False
    version: int = 1


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who does something, and from where.

    Attributes:
        id: of a person or key; name: what people know it by. ip: empty on the machine itself.
    """

    id: str
    name: str
    ip: str = ""


COMMAND_LINE = Actor(id="operator", name="command line")
"""Whoever may run commands on the gateway's own machine."""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody did, before it has its place in the audit log.

    Attributes:
        account: whom it concerns; empty: the gateway.
        actor: id of a person or key, or a word for who has none ("operator").
        actor_name: what people know it by.
        action: such as ``keys.create``; object: the id of what it was done to.
        before, after: JSON of what the object was and became, without secrets.
        ip: where it was asked from; empty: on the machine itself.
    """

    at_ms: int
    account: str
    actor: str
    actor_name: str
    action: str
    object: str
    before: str | None = None
    after: str | None = None
    ip: str = ""


class Intent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="intent"):
    """Something that is being done where one write cannot hold both it and its act: whoever finds it later
    knows that it was begun, and not how it ended.

    Attributes:
        act: as far as it is known before.
    """

    id: str
    act: Act
    version: int = 1


Noun = (
    Account
    | Person
    | Member
    | Team
    | Invitation
    | SignIn
    | Credentials
    | Link
    | Identity
    | Handshake
    | House
    | Tries
    | Repeat
    | Intent
)
"""What the directory keeps."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An act in its place. ``hash`` is the link to the entry before, in hexadecimal digits."""

    seq: int
    act: Act
    hash: str


def member_id(account: str, person: str) -> str:
    """The id of a membership. No name of an account has a slash."""
    return f"{account}/{person}"


def given_here(member: Member) -> Role | None:
    """The role that people here gave; None: groups at the issuer alone gave one."""
    return member.role if member.groups is None else member.here
