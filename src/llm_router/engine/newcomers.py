"""People who were not here before: by an invitation, or by signing up where the operator lets strangers."""

from __future__ import annotations

from llm_router.domain.account import Account, Actor, Credentials, Link, Member, Person
from llm_router.domain.errors import Forbidden, InvalidRequest
from llm_router.engine.operator import label
from llm_router.engine.people import email_of
from llm_router.engine.rolls import act, digest, named
from llm_router.engine.sign_in import (
    FREE_MAILS,
    SETUP_MS,
    Opened,
    SignIns,
    check_password,
    owner_of,
    self_of,
)
from llm_router.ports import Turn


class Newcomers:
    """What people who have no session do over the sign-ins of a process; it keeps nothing."""

    def __init__(self, sign_ins: SignIns) -> None:
        self._sign_ins = sign_ins
        self._people = sign_ins.people
        self._directory = sign_ins.people.directory
        self._clock = sign_ins.people.clock

    async def join(
        self, token: str, title: str, password: str, by: Actor, agent: str
    ) -> tuple[Opened, Member]:
        """Take an invitation up as somebody who never signed in before.

        Raises:
            NotFound: the invitation is not valid any more.
            Forbidden: there is somebody of that address, who has to sign in for it.
        """
        asked = await named(self._directory, Link, digest(token))
        if asked is not None and asked.purpose == "sign_up":
            return await self._join_own(
                await self._sign_ins.link(token, "sign_up"), title, password, by, agent
            )
        invitation = await self._people.invitation(token)
        if await named(self._directory, Person, invitation.email) is not None:
            raise Forbidden("There is somebody of this e-mail address: sign in, then take the invitation up.")
        person, credentials = await self._new_person(
            invitation.email, title, password, Turn.NEXT, proven=invitation.mailed
        )
        member = await self._people.accept(invitation, person, [person, credentials], self_of(person, by))
        return await self._sign_ins.open(person, by, agent, "link"), member

    async def _join_own(
        self, link: Link, title: str, password: str, by: Actor, agent: str
    ) -> tuple[Opened, Member]:
        """Take up the link that was mailed to who signs up."""
        if await named(self._directory, Person, link.email) is not None:
            raise Forbidden("There is somebody of this e-mail address: sign in.")
        person, credentials = await self._new_person(link.email, title, password, Turn.NEXT, proven=True)
        member = await self._found(link.account, person, credentials, by, [("link", link.id)])
        return await self._sign_ins.open(person, by, agent, "link"), member

    async def check_sign_up(self, by: Actor) -> None:
        """
        Raises:
            Forbidden: the operator lets no strangers in.
            RateLimitExceeded: too many came from there.
        """
        if not (await self._people.house()).sign_up:
            raise Forbidden(
                "Nobody can sign up here: ask the operator for an invitation.", code="sign_up_closed"
            )
        await self._sign_ins.doors.sign_up(by.ip)

    async def sign_up(
        self, email: str, title: str, account: str, password: str, by: Actor, agent: str
    ) -> Opened:
        """Make oneself a person with an account of one's own. Nobody has proven that the address is theirs.

        Raises:
            InvalidRequest: something of it will not do, or is taken.
        """
        account = await self._people.new_name(account)
        address = email_of(email)
        check_password(password)
        if await named(self._directory, Person, address) is not None:
            raise InvalidRequest("This e-mail address is taken.", param="email", code="taken")
        person, credentials = await self._new_person(address, title, password, Turn.LAST, proven=False)
        await self._found(account, person, credentials, by, [])
        return await self._sign_ins.open(person, by, agent, "password")

    async def sign_up_link(self, email: str, account: str) -> str | None:
        """The token of a link by which the owner of an address makes themselves an account; None where they are
        somebody already.

        Raises:
            RateLimitExceeded: too many were mailed to that address.
        """
        await self._sign_ins.doors.charge(digest(f"sign-up {email}"), FREE_MAILS)
        if await named(self._directory, Person, email) is not None:
            return None
        now_ms, token = self._clock.now_ms(), self._sign_ins.new_token()
        link = Link(
            id=self._people.new_id("lnk"), purpose="sign_up", digest=digest(token), created_ms=now_ms,
            expires_ms=now_ms + SETUP_MS, email=email, account=account, mailed=True,
        )  # fmt: skip
        await self._directory.write([link], [], [])
        return token

    async def _found(
        self,
        account: str,
        person: Person,
        credentials: Credentials,
        by: Actor,
        removes: list[tuple[str, str]],
    ) -> Member:
        """Write somebody new with an account of theirs.

        Raises:
            InvalidRequest: its name is taken, or somebody of that address was faster.
        """
        name = await self._people.new_name(account)
        new = Account(id=name, title=label(name, "account"), created_ms=person.created_ms)
        owner = owner_of(name, person)
        acts = [act(self_of(person, by), person.created_ms, "accounts.create", account=name, after=new)]
        if not await self._directory.write([person, credentials, new, owner], removes, acts):
            raise InvalidRequest("This was taken meanwhile: begin again.", code="taken")
        return owner

    async def _new_person(
        self, email: str, title: str, password: str, turn: Turn, *, proven: bool
    ) -> tuple[Person, Credentials]:
        check_password(password)
        person = Person(
            id=self._people.new_id("usr"),
            email=email,
            title=label(title, "name"),
            created_ms=self._clock.now_ms(),
            proven=proven,
        )
        hashed = await self._sign_ins.passwords.hash(password, turn)
        return person, Credentials(id=person.id, password=hashed)
