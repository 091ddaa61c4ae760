"""Signing in at an issuer of OpenID Connect: the code flow with PKCE, state and nonce; groups become roles."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from llm_router.access.permissions import ROLES
from llm_router.domain.account import (
    Account,
    Act,
    Actor,
    Handshake,
    Identity,
    Member,
    Noun,
    Person,
    Role,
    given_here,
    member_id,
)
from llm_router.domain.errors import Forbidden, InvalidRequest, SignInRefused
from llm_router.engine.people import email_of
from llm_router.engine.rolls import act, digest, every, find, named, overtaken
from llm_router.engine.sign_in import Opened, SignIns
from llm_router.ports import Issuer

HANDSHAKE_MS = 600_000


class OidcRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says of the issuer.

    Attributes:
        roles: of a group, in ``account``; default_role: of who is in none of them; None lets nobody new in.
        operators: groups whose people run the gateway.
        groups_claim: where the token names groups.
        domains: of the e-mail addresses that may sign in; () is any.
        emails_verified: the issuer has verified all addresses, though its tokens do not say so.
    """

    name: str
    issuer: str
    client_id: str
    scopes: str = "openid email profile"
    account: str = "default"
    groups_claim: str = "groups"
    roles: Mapping[str, Role] = msgspec.field(default_factory=dict)
    default_role: Role | None = None
    operators: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    emails_verified: bool = False


class _Change:
    """What a sign-in writes, in one step."""

    def __init__(self) -> None:
        self.puts: list[Noun] = []
        self.removes: list[tuple[str, str]] = []
        self.acts: list[Act] = []


class Oidc:
    """One per process."""

    def __init__(
        self, sign_ins: SignIns, issuer: Issuer, rules: OidcRules, *, new_token: Callable[[], str]
    ) -> None:
        self.rules = rules
        self._sign_ins = sign_ins
        self._people = sign_ins.people
        self._directory = sign_ins.people.directory
        self._clock = sign_ins.people.clock
        self._issuer = issuer
        self._new_token = new_token

    async def begin(self, redirect_uri: str, back: str) -> tuple[str, str]:
        """Where the browser is to go, and the state that it has to bring back."""
        state, nonce, verifier = self._new_token(), self._new_token(), self._new_token()
        expires_ms = self._clock.now_ms() + HANDSHAKE_MS
        handshake = Handshake(
            id=digest(state), nonce=nonce, verifier=verifier, back=back, expires_ms=expires_ms
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        endpoint = await self._issuer.authorization_url()
        await self._directory.write([handshake], [], [])
        query = {
            "response_type": "code",
            "client_id": self.rules.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.rules.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", state

    async def finish(
        self, state: str, code: str, redirect_uri: str, by: Actor, agent: str
    ) -> tuple[Opened, str]:
        """Begin a session of who the issuer says has signed in; and where the browser goes then.

        Raises:
            SignInRefused: the issuer does not say so, or this sign-in was not begun here, or is used up.
            Forbidden: they may not sign in here.
        """
        handshake = await find(self._directory, Handshake, digest(state))
        if handshake is None or handshake.expires_ms <= self._clock.now_ms():
            raise SignInRefused("This sign-in took too long: begin again.", code="sign_in_stale")
        if not await self._directory.write([], [("handshake", handshake.id)], []):
            raise SignInRefused("This sign-in is used up: begin again.", code="sign_in_stale")
        claims = await self._issuer.claims(code, handshake.verifier, redirect_uri, handshake.nonce)
        person = await self._person(claims, by)
        return await self._sign_ins.open(person, by, agent, self.rules.name), handshake.back

    async def _person(self, claims: Mapping[str, Any], by: Actor) -> Person:
        """Who that is here, made anew if need be, in the roles that their groups give.

        Raises:
            Forbidden: they may not sign in here.
        """
        self._check_domain(claims)
        subject, change = str(claims["sub"]), _Change()
        id_ = digest(f"{self.rules.issuer} {subject}")
        identity = await find(self._directory, Identity, id_)
        stored = None if identity is None else await find(self._directory, Person, identity.person)
        linked = stored is not None
        if stored is None:
            stored = await self._known_by_email(claims)
        person = self._new_person(claims) if stored is None else stored
        if person.disabled_ms is not None:
            raise Forbidden("You may not sign in here any more.")
        if not linked:
            change.puts.append(
                Identity(
                    id=id_, person=person.id, issuer=self.rules.issuer, subject=subject,
                    created_ms=self._clock.now_ms(), version=1 if identity is None else identity.version + 1,
                )
            )  # fmt: skip
        if not person.proven:
            person, gone, acts = await self._sign_ins.reclaimed(person, by, self.rules.name)
            change.removes += gone
            change.acts += acts
        person, may = await self._in_roles(stored, person, claims, change, by)
        if stored is not None or may:
            await self._write(stored, person, change, by)
        if not may:
            raise Forbidden("None of your groups may use this gateway: ask its operator.")
        return person

    async def _write(self, stored: Person | None, person: Person, change: _Change, by: Actor) -> None:
        """Write all of it in one step, with the person as they become.

        Raises:
            IdempotencyConflict: somebody else was faster.
        """
        if person != stored:
            version = 1 if stored is None else stored.version + 1
            after = msgspec.structs.replace(person, version=version)
            action = "people.create" if stored is None else "people.change"
            change.puts.append(after)
            change.acts.append(self._act(person, by, action, before=stored, after=after))
        if not (change.puts or change.removes):
            return
        if not await self._directory.write(change.puts, change.removes, change.acts):
            raise overtaken("The person")
        if stored is not None and not stored.proven:
            await self._sign_ins.sweep(person)

    def _check_domain(self, claims: Mapping[str, Any]) -> None:
        """
        Raises:
            Forbidden: only addresses of some domains may sign in, and this is none of them.
        """
        if self.rules.domains and self._email(claims).rpartition("@")[2] not in self.rules.domains:
            raise Forbidden(
                "Addresses of that domain may not sign in here: ask the operator of this gateway."
            )

    async def _known_by_email(self, claims: Mapping[str, Any]) -> Person | None:
        return await named(self._directory, Person, self._email(claims))

    def _email(self, claims: Mapping[str, Any]) -> str:
        """
        Raises:
            Forbidden: the issuer does not vouch for an address.
        """
        if claims.get("email_verified") is not True and not (
            self.rules.emails_verified and "email_verified" not in claims
        ):
            raise Forbidden("The issuer has not verified your e-mail address.")
        try:
            return email_of(str(claims.get("email", "")))
        except InvalidRequest:
            raise Forbidden("The issuer names no e-mail address of yours.") from None

    def _new_person(self, claims: Mapping[str, Any]) -> Person:
        email = self._email(claims)
        title = "".join(c for c in str(claims.get("name") or email) if c.isprintable()).strip()[:100]
        return Person(
            id=self._people.new_id("usr"), email=email, title=title or email, created_ms=self._clock.now_ms(),
            proven=True,
        )  # fmt: skip

    def _groups(self, claims: Mapping[str, Any]) -> set[str] | None:
        """The groups that a token names; None: it says that they are to be asked for elsewhere
        (https://openid.net/specs/openid-connect-core-1_0.html#AggregatedDistributedClaims)."""
        claim = self.rules.groups_claim
        groups, elsewhere = claims.get(claim), claims.get("_claim_names")
        if groups is None:
            return None if isinstance(elsewhere, dict) and claim in elsewhere else set()
        return {str(group) for group in groups} if isinstance(groups, list) else {str(groups)}

    async def _in_roles(
        self, stored: Person | None, person: Person, claims: Mapping[str, Any], change: _Change, by: Actor
    ) -> tuple[Person, bool]:
        """The person as their groups have them run the gateway or not, and whether they may do anything here; what
        becomes of their memberships is added to the change."""
        groups = self._groups(claims)
        members = {each.account: each for each in await every(self._directory, Member, person=person.id)}
        if groups is None and stored is not None:
            return person, bool(members) or person.operator
        named = groups or set()
        person = await self._as_operator(person, not named.isdisjoint(self.rules.operators), change)
        given = [role for group, role in self.rules.roles.items() if group in named]
        role = max(given, key=_weight, default=self.rules.default_role)
        own = self.rules.account
        left = 0
        for account in dict.fromkeys([own, *members]):
            gives = role if account == own else None
            left += await self._membership(members.get(account), account, person, gives, change, by)
        return person, bool(left) or person.operator

    async def _as_operator(self, person: Person, said: bool, change: _Change) -> Person:
        """Groups make an operator, and end that of whom they made one; the last one stays."""
        if said and not person.operator:
            return msgspec.structs.replace(person, operator=True, operator_groups=True)
        if said or not person.operator_groups:
            return person
        after = msgspec.structs.replace(person, operator=False, operator_groups=False)
        try:
            change.puts += await self._people.without_operator(person, after)
        except InvalidRequest:
            return person
        return after

    async def _membership(
        self,
        member: Member | None,
        account: str,
        person: Person,
        groups: Role | None,
        change: _Change,
        by: Actor,
    ) -> bool:
        """Add what a membership becomes to the change; whether there is one then. What people here gave stays, and the
        last owner, too."""
        here = None if member is None else given_here(member)
        roles = [each for each in (here, groups) if each is not None]
        role = max(roles, key=_weight, default=None)
        after = self._member(member, account, person, role, groups, None if groups is None else here)
        if after == member:
            return after is not None
        if member is not None:
            try:
                change.puts += await self._people.without_owner(member, role)
            except InvalidRequest:
                return True
        if after is not None:
            change.puts.append(after)
            if member is None and await find(self._directory, Account, account) is None:
                change.puts.append(Account(id=account, title=account, created_ms=self._clock.now_ms()))
        elif member is not None:
            change.removes.append(("member", member.id))
        if member is None or after is None or member.role is not after.role:
            action = "members.remove" if after is None else "members.change"
            change.acts.append(self._act(person, by, action, account=account, before=member, after=after))
        return after is not None

    def _member(
        self,
        member: Member | None,
        account: str,
        person: Person,
        role: Role | None,
        groups: Role | None,
        here: Role | None,
    ) -> Member | None:
        if role is None:
            return None
        if member is None:
            return Member(
                id=member_id(account, person.id), account=account, person=person.id, role=role, groups=groups,
                created_ms=self._clock.now_ms(),
            )  # fmt: skip
        if (member.role, member.groups, member.here) == (role, groups, here):
            return member
        return msgspec.structs.replace(
            member, role=role, groups=groups, here=here, version=member.version + 1
        )

    def _act(
        self,
        person: Person,
        by: Actor,
        action: str,
        *,
        account: str = "",
        before: Noun | None,
        after: Noun | None,
    ) -> Act:
        self_ = Actor(id=person.id, name=person.email, ip=by.ip)
        return act(self_, self._clock.now_ms(), action, account=account, before=before, after=after)


def _weight(role: Role) -> int:
    """How much a role holds."""
    return len(ROLES[role])
