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
    member_id,
)
from llm_router.domain.errors import Forbidden, InvalidRequest, SignInRefused
from llm_router.engine.people import email_of
from llm_router.engine.rolls import act, digest, find, named, overtaken
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
        """Who that is here, made anew if need be, in the roles that their groups give."""
        self._check_domain(claims)
        subject, now_ms = str(claims["sub"]), self._clock.now_ms()
        id_ = digest(f"{self.rules.issuer} {subject}")
        identity = await find(self._directory, Identity, id_)
        person = None if identity is None else await find(self._directory, Person, identity.person)
        puts: list[Noun] = []
        if person is None:
            person = await self._known_by_email(claims)
            if person is None:
                person = self._new_person(claims, now_ms)
                puts.append(person)
            puts.append(
                Identity(
                    id=id_, person=person.id, issuer=self.rules.issuer, subject=subject, created_ms=now_ms,
                    version=1 if identity is None else identity.version + 1,
                )
            )  # fmt: skip
        if person.disabled_ms is not None:
            raise Forbidden("You may not sign in here any more.")
        return await self._in_roles(person, claims, puts, by)

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

    def _new_person(self, claims: Mapping[str, Any], now_ms: int) -> Person:
        email = self._email(claims)
        title = "".join(c for c in str(claims.get("name") or email) if c.isprintable()).strip()[:100]
        return Person(id=self._people.new_id("usr"), email=email, title=title or email, created_ms=now_ms)

    async def _in_roles(
        self, person: Person, claims: Mapping[str, Any], puts: list[Noun], by: Actor
    ) -> Person:
        """Write the person, and the membership that their groups come to."""
        rules, self_ = self.rules, Actor(id=person.id, name=person.email, ip=by.ip)
        groups = claims.get(rules.groups_claim)
        mine = {str(group) for group in groups} if isinstance(groups, list) else {str(groups)}
        given = [role for group, role in rules.roles.items() if group in mine]
        role = max(given, key=lambda each: len(ROLES[each]), default=rules.default_role)
        member = await find(self._directory, Member, member_id(rules.account, person.id))
        operator = person.operator or bool(mine.intersection(rules.operators))
        if role is None and member is None and not operator:
            known = await self._directory.rows("member", person=person.id, limit=1)
            if not known:
                raise Forbidden("None of your groups may use this gateway: ask its operator.")
        acts: list[Act] = []
        new = any(noun.id == person.id for noun in puts)
        after = person
        if operator != person.operator:
            after = msgspec.structs.replace(person, operator=True, version=person.version + (0 if new else 1))
        if new or after is not person:
            puts = [noun for noun in puts if noun.id != person.id] + [after]
            action = "people.create" if new else "people.change"
            acts.append(act(self_, self._clock.now_ms(), action, before=None if new else person, after=after))
        if role is not None and (
            member is None or (member.role is not role and member.role is not Role.OWNER)
        ):
            puts += await self._membership(member, person, role)
            changed = puts[-1]
            acts.append(
                act(
                    self_,
                    self._clock.now_ms(),
                    "members.change",
                    account=rules.account,
                    before=member,
                    after=changed,
                )
            )
        if puts and not await self._directory.write(puts, [], acts):
            raise overtaken("The person")
        return after

    async def _membership(self, member: Member | None, person: Person, role: Role) -> list[Noun]:
        account, now_ms = self.rules.account, self._clock.now_ms()
        if member is not None:
            return [msgspec.structs.replace(member, role=role, version=member.version + 1)]
        made: list[Noun] = []
        if await find(self._directory, Account, account) is None:
            made.append(Account(id=account, title=account, created_ms=now_ms))
        new = Member(
            id=member_id(account, person.id), account=account, person=person.id, role=role, created_ms=now_ms
        )
        return [*made, new]
