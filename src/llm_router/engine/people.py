"""Accounts and who is in them: members, teams, invitations. Each change and its act are one write.

Whoever calls has checked that the asker may do such things in the account (:mod:`llm_router.access.subject`);
here it is checked that they give no more than they have, and that every account keeps an owner.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import msgspec

from llm_router.access.grants import check_role_grant
from llm_router.access.subject import Subject, missing, subject_of_key, subject_of_person
from llm_router.domain.account import (
    COMMAND_LINE,
    Account,
    Act,
    Actor,
    House,
    Invitation,
    Member,
    Noun,
    Person,
    Role,
    Team,
    member_id,
)
from llm_router.domain.errors import Forbidden, InvalidRequest, NotFound
from llm_router.domain.key import Key
from llm_router.engine.operator import account_name, label
from llm_router.engine.rolls import act, digest, every, find, named, overtaken, some
from llm_router.engine.teams import team_of
from llm_router.ports import Clock, Directory

EMAIL_CHARS_MAX = 254
INVITED_MS = 7 * 86_400_000
"""How long an invitation can be taken up."""

_EMAIL = re.compile(r"[^@\s\x00-\x1f\"<>]{1,64}@[^@\s\x00-\x1f\"<>.]+(\.[^@\s\x00-\x1f\"<>.]+)*")


def email_of(text: str) -> str:
    """An address of e-mail in small letters.

    Raises:
        InvalidRequest: it is none.
    """
    email = text.strip().lower()
    if len(email) > EMAIL_CHARS_MAX or not email.isprintable() or not _EMAIL.fullmatch(email):
        raise InvalidRequest("email must be an address such as ada@example.com", param="email")
    return email


class People:
    """One per process.

    Attributes:
        new_id, new_token: from :mod:`llm_router.adapters.keymaker`.
        taken: whether keys or credit belong to a name already. key_of: a key by its id.
    """

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        *,
        new_id: Callable[[str], str],
        new_token: Callable[[], str],
        taken: Callable[[str], Awaitable[bool]],
        key_of: Callable[[str], Awaitable[Key | None]],
    ) -> None:
        self.directory = directory
        self.clock = clock
        self.new_id = new_id
        self._new_token = new_token
        self._taken = taken
        self._key_of = key_of

    async def subject_of(self, person: Person, sign_in: str) -> Subject:
        """A person with the roles that they have now."""
        members = await every(self.directory, Member, person=person.id)
        closed = {}
        for member in members:
            account = await find(self.directory, Account, member.account)
            if account is not None and account.closed_ms is not None:
                closed[account.id] = account
        return subject_of_person(person, members, closed, sign_in)

    # Accounts

    async def is_there(self, id_: str) -> bool:
        """Whether an account was described, or is known by its members, keys or credit."""
        return (
            await find(self.directory, Account, id_) is not None
            or bool(await some(self.directory, Member, account=id_, limit=1))
            or await self._taken(id_)
        )

    async def account(self, id_: str) -> Account:
        """An account, as it was described or as keys and credit alone know it."""
        found = await find(self.directory, Account, id_)
        return Account(id=id_, title=id_, created_ms=0, version=0) if found is None else found

    async def new_name(self, id_: str) -> str:
        """A name that a new account can have: there is none of it, and nothing belongs to it yet.

        Raises:
            InvalidRequest: it is none, or taken.
        """
        name = account_name(id_)
        if await find(self.directory, Account, name) is not None or await self._taken(name):
            raise InvalidRequest(f"the account '{name}' is there already", param="id", code="taken")
        return name

    async def create_account(self, id_: str, title: str, owner: Person | None, by: Actor) -> Account:
        """Make an account with its first member.

        Raises:
            InvalidRequest: the name is none, or taken.
        """
        account = Account(id=account_name(id_), title=label(title, "title"), created_ms=self.clock.now_ms())
        puts: list[Noun] = [account]
        if owner is not None:
            puts.append(self._member(account.id, owner.id, Role.OWNER, ()))
        written = await self.directory.write(
            puts, [], [self._act(by, "accounts.create", account.id, after=account)]
        )
        if not written:
            raise InvalidRequest(f"the account '{account.id}' is there already", param="id", code="taken")
        return account

    async def change_account(
        self, id_: str, by: Actor, *, title: str | None = None, closed: bool | None = None
    ) -> Account:
        """Rename, close or open an account. A closed one keeps everything; its members see it no more.

        Raises:
            IdempotencyConflict: somebody else was faster.
        """
        before, now_ms = await self.account(id_), self.clock.now_ms()
        after = msgspec.structs.replace(
            before,
            title=before.title if title is None else label(title, "title"),
            closed_ms=before.closed_ms if closed is None else now_ms if closed else None,
            created_ms=before.created_ms if before.version else now_ms,
            version=before.version + 1,
        )
        await self._write(
            [after], [], [self._act(by, "accounts.change", id_, before=before, after=after)], "The account"
        )
        return after

    # Members

    async def member(self, account: str, person: str) -> Member:
        """
        Raises:
            NotFound: they are none.
        """
        found = await find(self.directory, Member, member_id(account, person))
        if found is None:
            raise NotFound(missing(f"member '{person[:100]}'"))
        return found

    async def change_member(
        self,
        subject: Subject,
        member: Member,
        by: Actor,
        *,
        role: Role | None = None,
        teams: tuple[str, ...] | None = None,
    ) -> Member:
        """Give a member another role or other teams.

        Raises:
            Forbidden: the old or the new role holds more than the subject has.
            InvalidRequest: it is the last owner, or there is no such team.
        """
        check_role_grant(subject, member.account, member.role)
        check_role_grant(subject, member.account, member.role if role is None else role)
        after = msgspec.structs.replace(
            member,
            role=member.role if role is None else role,
            here=member.here if role is None or member.groups is None else role,
            teams=member.teams if teams is None else await self._teams(member.account, teams),
            version=member.version + 1,
        )
        puts: list[Noun] = [after, *await self.without_owner(member, after.role)]
        entry = self._act(by, "members.change", member.account, before=member, after=after)
        await self._write(puts, [], [entry], "The member")
        return after

    async def remove_member(self, subject: Subject, member: Member, by: Actor) -> None:
        """Take somebody out of an account; oneself, too. Their keys stay, as they are the account's.

        Raises:
            Forbidden: they have more than the subject.
            InvalidRequest: it is the last owner.
        """
        if subject.id != member.person:
            check_role_grant(subject, member.account, member.role)
        entry = self._act(by, "members.remove", member.account, before=member)
        await self._write(
            list(await self.without_owner(member, None)), [("member", member.id)], [entry], "The member"
        )

    async def without_owner(self, member: Member, role: Role | None) -> tuple[Account, ...]:
        """What else to write when an owner becomes none. The account's version goes up, so that of two
        owners who remove each other at the same time one is refused.

        Raises:
            InvalidRequest: it is the last one.
        """
        if member.role is not Role.OWNER or role is Role.OWNER:
            return ()
        account = await self.account(member.account)  # before the members: who changes them writes it too
        others = [m for m in await every(self.directory, Member, account=member.account) if m.id != member.id]
        if not any(other.role is Role.OWNER for other in others):
            raise InvalidRequest(
                "An account has an owner: make somebody else one first.", param="role", code="last_owner"
            )
        return (msgspec.structs.replace(account, version=account.version + 1),)

    def _member(self, account: str, person: str, role: Role, teams: tuple[str, ...]) -> Member:
        return Member(
            id=member_id(account, person),
            account=account,
            person=person,
            role=role,
            teams=teams,
            created_ms=self.clock.now_ms(),
        )

    # Teams

    async def _teams(self, account: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """Titles of teams that are named by title or id."""
        titles = []
        for name in names:
            team = await team_of(self.directory, account, name)
            if team is None:
                raise InvalidRequest(f"there is no team '{name[:100]}'", param="teams")
            titles.append(team.title)
        return tuple(dict.fromkeys(titles))

    async def create_team(self, account: str, title: str, by: Actor) -> Team:
        """
        Raises:
            InvalidRequest: the title is taken.
        """
        team = Team(
            id=self.new_id("team"),
            account=account,
            title=label(title, "title"),
            created_ms=self.clock.now_ms(),
        )
        if not await self.directory.write([team], [], [self._act(by, "teams.create", account, after=team)]):
            raise InvalidRequest(f"there is a team '{team.title}' already", param="title", code="taken")
        return team

    async def remove_team(self, team: Team, by: Actor) -> None:
        """Remove a team, and its members from it. Keys, budgets and records that name it go on doing so."""
        puts: list[Noun] = []
        for member in await every(self.directory, Member, account=team.account):
            if team.title in member.teams:
                left = tuple(title for title in member.teams if title != team.title)
                puts.append(msgspec.structs.replace(member, teams=left, version=member.version + 1))
        entry = self._act(by, "teams.remove", team.account, before=team)
        await self._write(puts, [("team", team.id)], [entry], "The team")

    # Invitations

    async def invite(
        self, subject: Subject, account: str, email: str, role: Role, teams: tuple[str, ...], by: Actor
    ) -> tuple[Invitation, str]:
        """Offer somebody a membership; return the token of the link, this once.

        Raises:
            Forbidden: the role holds more than the subject has.
            InvalidRequest: they are a member already, or an argument is wrong.
        """
        check_role_grant(subject, account, role)
        address = email_of(email)
        known = await named(self.directory, Person, address)
        if known is not None and await find(self.directory, Member, member_id(account, known.id)) is not None:
            raise InvalidRequest(f"'{address}' is a member already", param="email", code="taken")
        token, now_ms = self._new_token(), self.clock.now_ms()
        invitation = Invitation(
            id=self.new_id("inv"),
            account=account,
            email=address,
            role=role,
            teams=await self._teams(account, teams),
            digest=digest(token),
            by=subject.id,
            created_ms=now_ms,
            expires_ms=now_ms + INVITED_MS,
        )
        entry = self._act(by, "invitations.create", account, after=invitation)
        await self._write([invitation], [], [entry], "The invitation")
        return invitation, token

    async def mailed(self, invitation: Invitation) -> None:
        """The link was mailed, and is shown to nobody else: who opens it has the mail of that address. One that was
        taken up meanwhile stays as it is."""
        after = msgspec.structs.replace(invitation, mailed=True, version=invitation.version + 1)
        await self.directory.write([after], [], [])

    async def withdraw(self, invitation: Invitation, by: Actor) -> None:
        """Take an invitation back."""
        entry = self._act(by, "invitations.remove", invitation.account, before=invitation)
        await self._write([], [("invitation", invitation.id)], [entry], "The invitation")

    async def invitation(self, token: str) -> Invitation:
        """What a link offers.

        Raises:
            NotFound: nothing, or nothing any more.
        """
        found = await named(self.directory, Invitation, digest(token))
        if found is None or found.expires_ms <= self.clock.now_ms():
            raise NotFound("This invitation is not valid any more: ask for another.")
        return found

    async def accept(self, invitation: Invitation, person: Person, more: list[Noun], by: Actor) -> Member:
        """Make somebody the member that an invitation offers, if who made it still may.

        Args:
            more: what else is written with it: a person who did not sign in before.

        Raises:
            Forbidden: it is for another address, or its maker has lost the rights that it gives.
            IdempotencyConflict: it was taken up already.
        """
        if person.email != invitation.email:
            raise Forbidden("This invitation is for another address of e-mail: sign in with that one.")
        await self._check_maker(invitation)
        if invitation.mailed and not person.proven:
            more = [msgspec.structs.replace(person, proven=True, version=person.version + 1)]
        member = self._member(invitation.account, person.id, invitation.role, invitation.teams)
        entry = self._act(by, "invitations.accept", invitation.account, before=invitation, after=member)
        await self._write([*more, member], [("invitation", invitation.id)], [entry], "The invitation")
        return member

    async def _check_maker(self, invitation: Invitation) -> None:
        """
        Raises:
            Forbidden
        """
        if invitation.by == COMMAND_LINE.id:
            return
        maker = await find(self.directory, Person, invitation.by)
        if maker is not None and maker.disabled_ms is not None:
            raise Forbidden("Who made this invitation may not sign in any more: ask for another.")
        if maker is not None:
            subject = await self.subject_of(maker, "")
        else:
            key = await self._key_of(invitation.by)
            if key is None or not _works(key, self.clock.now_ms()):
                raise Forbidden("The API key that made this invitation works no more: ask for another.")
            subject = subject_of_key(key)
        check_role_grant(subject, invitation.account, invitation.role)

    # The house

    async def house(self) -> House:
        """What the operator has decided for all."""
        found = await find(self.directory, House, "house")
        return House(version=0) if found is None else found

    async def change_house(
        self, by: Actor, *, sign_up: bool | None = None, public_pages: bool | None = None
    ) -> House:
        """
        Raises:
            IdempotencyConflict: somebody else was faster.
        """
        before = await self.house()
        after = msgspec.structs.replace(
            before,
            sign_up=before.sign_up if sign_up is None else sign_up,
            public_pages=before.public_pages if public_pages is None else public_pages,
            version=before.version + 1,
        )
        await self._write(
            [after], [], [self._act(by, "house.change", "", before=before, after=after)], "The house"
        )
        return after

    async def person(self, id_: str) -> Person:
        """
        Raises:
            NotFound: there is none.
        """
        found = await find(self.directory, Person, id_)
        if found is None:
            raise NotFound(missing(f"person '{id_[:100]}'"))
        return found

    async def change_person(
        self,
        person: Person,
        by: Actor,
        *,
        title: str | None = None,
        operator: bool | None = None,
        disabled: bool | None = None,
    ) -> Person:
        """Rename somebody, make them an operator or not, let them sign in or not.

        Raises:
            InvalidRequest: nobody would be operator any more.
        """
        now_ms = self.clock.now_ms()
        after = msgspec.structs.replace(
            person,
            title=person.title if title is None else label(title, "title"),
            operator=person.operator if operator is None else operator,
            operator_groups=person.operator_groups and operator is None,
            disabled_ms=person.disabled_ms if disabled is None else now_ms if disabled else None,
            version=person.version + 1,
        )
        puts: list[Noun] = [after, *await self.without_operator(person, after)]
        await self._write(
            puts, [], [self._act(by, "people.change", "", before=person, after=after)], "The person"
        )
        return after

    async def without_operator(self, person: Person, after: Person) -> tuple[House, ...]:
        """What else to write when somebody does not run the gateway any more.

        Raises:
            InvalidRequest: nobody would.
        """
        if not _runs(person) or _runs(after):
            return ()
        house = await self.house()  # of two operators who remove each other at once one is refused
        others = [p for p in await every(self.directory, Person) if p.id != person.id]
        if not any(_runs(other) for other in others):
            raise InvalidRequest(
                "The gateway has an operator: make somebody else one first.", code="last_operator"
            )
        return (msgspec.structs.replace(house, version=house.version + 1),)

    async def _write(
        self, puts: list[Noun], removes: list[tuple[str, str]], acts: list[Act], what: str
    ) -> None:
        if not await self.directory.write(puts, removes, acts):
            raise overtaken(what)

    def _act(
        self, by: Actor, action: str, account: str, *, before: Noun | None = None, after: Noun | None = None
    ) -> Act:
        return act(by, self.clock.now_ms(), action, account=account, before=before, after=after)


def _runs(person: Person) -> bool:
    """Whether somebody can run the gateway."""
    return person.operator and person.disabled_ms is None


def _works(key: Key, now_ms: int) -> bool:
    """Whether a key may be used."""
    ended = key.expires_ms is not None and key.expires_ms <= now_ms
    return key.revoked_ms is None and not key.disabled and not ended
