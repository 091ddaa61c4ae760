"""How people prove who they are: password and second factor, links that work once, and the sessions that follow.

What is kept of tokens, links and recovery codes is their digest; passwords are argon2id hashes; the secrets of second
factors are sealed. Wrong tries are counted by address of e-mail, known or not, so that answers and waits tell nobody
whether there is such a person.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

import msgspec

from llm_router.access import totp
from llm_router.access.subject import Subject
from llm_router.access.tries import FREE
from llm_router.domain.account import (
    COMMAND_LINE,
    Account,
    Act,
    Actor,
    Credentials,
    Link,
    Member,
    Noun,
    Person,
    Role,
    SignIn,
    member_id,
)
from llm_router.domain.errors import InvalidRequest, NotFound, SignInRefused
from llm_router.engine.doors import Doors
from llm_router.engine.operator import DEFAULT_ACCOUNT, label
from llm_router.engine.people import People, email_of
from llm_router.engine.rolls import act, digest, every, find, named, overtaken
from llm_router.ports import Passwords, Turn

HOUR_MS = 3_600_000
SESSION_MS = 14 * 24 * HOUR_MS
"""How long a session lasts in all."""

IDLE_MS = 3 * 24 * HOUR_MS
"""Unused for so long, it has ended."""

SEEN_MS = 10 * 60_000
"""How exactly it is known when a session was last used."""

PENDING_MS = 10 * 60_000
"""How long a second factor may take."""

SETUP_MS = 24 * HOUR_MS
RESET_MS = HOUR_MS

FREE_MAILS = 3
"""Links for a new password before the first wait."""

PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX = 12, 256
AGENT_CHARS_MAX = 200
RECOVERY_CODES = 10

Seal = Callable[[str, bytes], str]
Open = Callable[[str, str], bytes | None]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A session that has begun, and its token, which is told once."""

    token: str
    sign_in: SignIn


class SignIns:
    """One per process.

    Attributes:
        seal, unseal: bind a secret to a person's id; from :mod:`llm_router.adapters.sealing`.
        new_code: recovery codes. new_secret: so many random bytes.
    """

    def __init__(
        self,
        people: People,
        passwords: Passwords,
        *,
        new_token: Callable[[], str],
        new_code: Callable[[], str],
        new_secret: Callable[[int], bytes],
        seal: Seal,
        unseal: Open,
    ) -> None:
        self.people = people
        self.doors = Doors(people.directory, people.clock)
        self._directory = people.directory
        self._clock = people.clock
        self.passwords = passwords
        self.new_token = new_token
        self._new_code = new_code
        self._new_secret = new_secret
        self._seal = seal
        self._unseal = unseal

    # Sessions

    async def subject(self, token: str) -> tuple[Subject, SignIn] | None:
        """Whose session a token opens; None if nobody's."""
        now_ms = self._clock.now_ms()
        found = await named(self._directory, SignIn, digest(token))
        if found is None or found.expires_ms <= now_ms or found.seen_ms + IDLE_MS <= now_ms:
            return None
        person = await find(self._directory, Person, found.person)
        if person is None or person.disabled_ms is not None:
            return None
        if now_ms - found.seen_ms >= SEEN_MS:  # of two requests at once one notes it
            seen = msgspec.structs.replace(found, seen_ms=now_ms, version=found.version + 1)
            await self._directory.write([seen], [], [])
        return await self.people.subject_of(person, found.id), found

    async def open(
        self,
        person: Person,
        by: Actor,
        agent: str,
        how: str,
        *,
        old: SignIn | None = None,
        pending: bool = False,
    ) -> Opened:
        """Begin a session with a token of its own; the one that the browser had ends."""
        token, now_ms = self.new_token(), self._clock.now_ms()
        sign_in = SignIn(
            id=self.people.new_id("ses"),
            person=person.id,
            digest=digest(token),
            created_ms=now_ms,
            seen_ms=now_ms,
            expires_ms=now_ms + (PENDING_MS if pending else SESSION_MS),
            ip=by.ip,
            agent=_printable(agent),
            how=how,
            pending=pending,
        )
        acts = (
            [] if pending else [self._act(person, by, "sessions.begin", {"how": how, "session": sign_in.id})]
        )
        if old is None or not await self._directory.write([sign_in], [("sign_in", old.id)], acts):
            await self._directory.write([sign_in], [], acts)
        if not pending:
            await self.doors.remember(person.email, by.ip)
        return Opened(token=token, sign_in=sign_in)

    async def sessions(self, person: str) -> list[SignIn]:
        """Those that are open, the newest first."""
        now_ms = self._clock.now_ms()
        found = [s for s in await every(self._directory, SignIn, person=person) if not s.pending]
        living = [s for s in found if s.expires_ms > now_ms and s.seen_ms + IDLE_MS > now_ms]
        return sorted(living, key=lambda s: (-s.created_ms, s.id))

    async def end(self, sign_in: SignIn, by: Actor) -> None:
        """End a session, for good."""
        note = act(by, self._clock.now_ms(), "sessions.end", object_=sign_in.id, before=sign_in)
        await self._directory.write([], [("sign_in", sign_in.id)], [note])

    # Password

    async def with_password(
        self, email: str, password: str, by: Actor, agent: str, old: SignIn | None
    ) -> tuple[Opened, Person]:
        """Begin a session; it is pending where a second factor is to follow.

        Raises:
            SignInRefused: e-mail address and password do not belong together.
            RateLimitExceeded: there were too many wrong tries.
        """
        address = email.strip().lower()[:300]
        door = await self.doors.of(address, by.ip)
        await self.doors.knock(door)
        person = await named(self._directory, Person, address)
        known = None if person is None else await find(self._directory, Credentials, person.id)
        right = await self.passwords.verify(
            None if known is None else known.password,
            password[: PASSWORD_CHARS_MAX + 1],
            Turn.FIRST if door.known else Turn.NEXT,
        )
        if not right or person is None or person.disabled_ms is not None:
            await self._refused(person, by)
            raise SignInRefused("This e-mail address and password do not belong together.")
        await self.doors.right(door)
        pending = known is not None and known.totp is not None
        opened = await self.open(person, by, agent, "password", old=old, pending=pending)
        await self._check_still(opened, known)
        return opened, person

    async def _check_still(self, opened: Opened, known: Credentials | None) -> None:
        """End a session that began while the password was taken from who had it (:meth:`reclaimed`).

        Raises:
            SignInRefused
        """
        now = await find(self._directory, Credentials, opened.sign_in.person)
        if known is None or now is None or now.password != known.password:
            await self._directory.write([], [("sign_in", opened.sign_in.id)], [])
            raise SignInRefused("This e-mail address and password do not belong together.")

    async def second_factor(self, person: Person, code: str, by: Actor, agent: str, old: SignIn) -> Opened:
        """Turn a pending session into one that is good for something, with a token of its own.

        Raises:
            SignInRefused: the code is wrong, too old or used already.
            RateLimitExceeded: there were too many wrong ones.
        """
        door = await self.doors.of(person.email, by.ip, "second")
        await self.doors.charge(door.id, FREE)
        if not await self._take_code(person, code):
            await self._refused(person, by)
            raise SignInRefused("This code is wrong, too old or used already.")
        await self.doors.forget(door.id)
        opened = await self.open(person, by, agent, old.how, old=old)
        if (await self._credentials(person)).totp is None:  # it was taken from who had it meanwhile
            await self._directory.write([], [("sign_in", opened.sign_in.id)], [])
            raise SignInRefused("This session has ended: sign in again.", code="session_ended")
        return opened

    async def _take_code(self, person: Person, code: str) -> bool:
        """Use a code up, of the authenticator or of those for recovery. Of two at once one is taken."""
        known = await self._credentials(person)
        plain = code.strip().replace(" ", "").upper()
        secret = None if known.totp is None else self._unseal(person.id, known.totp)
        if secret is not None:
            step = totp.step_of(secret, plain, self._clock.now_ms(), known.totp_step)
            if step is not None:
                used = msgspec.structs.replace(known, totp_step=step, version=known.version + 1)
                return await self._directory.write([used], [], [])
        kept = tuple(each for each in known.recovery if not hmac.compare_digest(each, digest(plain)))
        if len(kept) == len(known.recovery):
            return False
        return await self._directory.write(
            [msgspec.structs.replace(known, recovery=kept, version=known.version + 1)], [], []
        )

    async def change_password(self, person: Person, current: str, new: str, by: Actor, keep: str) -> None:
        """Set another password; all other sessions end.

        Raises:
            SignInRefused, RateLimitExceeded: the current one is wrong.
            InvalidRequest: the new one will not do.
        """
        check_password(new)
        place = digest(f"session {keep}")  # what strangers try elsewhere keeps nobody out here
        await self.doors.charge(place, FREE)
        known = await self._credentials(person)
        if not await self.passwords.verify(known.password, current[: PASSWORD_CHARS_MAX + 1], Turn.FIRST):
            await self._refused(person, by)
            raise SignInRefused("The current password is wrong.")
        await self.doors.forget(place)
        await self._set_password(person, new, by, "password.change", keep=keep)

    async def _set_password(
        self,
        person: Person,
        password: str,
        by: Actor,
        action: str,
        *,
        keep: str = "",
        link: Link | None = None,
    ) -> None:
        hashed = await self.passwords.hash(password, Turn.FIRST)
        known = await self._credentials(person)
        after = msgspec.structs.replace(known, password=hashed, version=known.version + 1)
        note: dict[str, object] = {}
        puts: list[Noun] = []
        if link is not None and not person.proven:
            if link.mailed and known.totp is not None:  # by whom is not known
                after = msgspec.structs.replace(after, totp=None, totp_new=None, recovery=())
                note["second_factor_ended"] = True
            if after.totp is None:
                puts.append(msgspec.structs.replace(person, proven=True, version=person.version + 1))
        ended = [s for s in await every(self._directory, SignIn, person=person.id) if s.id != keep]
        removes = [("sign_in", s.id) for s in ended] + ([] if link is None else [("link", link.id)])
        entry = self._act(person, by, action, {"sessions_ended": len(ended), **note})
        if not await self._directory.write([after, *puts], removes, [entry]):
            raise overtaken("The password")
        await self.sweep(person, keep)

    async def sweep(self, person: Person, keep: str = "") -> None:
        """End the sessions that began while a password was taken away or changed."""
        for late in await every(self._directory, SignIn, person=person.id):
            if late.id != keep:
                await self._directory.write([], [("sign_in", late.id)], [])

    async def reclaimed(
        self, person: Person, by: Actor, how: str
    ) -> tuple[Person, list[tuple[str, str]], list[Act]]:
        """What to write when it is proven whose address somebody has, who had not proven it: whatever was set before
        goes (password, second factor, sessions, links), so that nobody but the owner of the address goes on. Call
        :meth:`sweep` when it is written.
        """
        known = await find(self._directory, Credentials, person.id)
        sessions = await every(self._directory, SignIn, person=person.id)
        links = await every(self._directory, Link, person=person.id)
        gone = [("sign_in", each.id) for each in sessions] + [("link", each.id) for each in links]
        if known is not None:
            gone.append(("credentials", known.id))
        note = {
            "how": how,
            "password": known is not None and known.password is not None,
            "second_factor": known is not None and known.totp is not None,
            "sessions_ended": len(sessions),
        }
        after = msgspec.structs.replace(person, proven=True, version=person.version + 1)
        return after, gone, [self._act(person, by, "people.reclaim", note)]

    # Links that work once

    async def is_new(self) -> bool:
        """Whether nobody runs the gateway yet."""
        return not any(p.operator for p in await every(self._directory, Person))

    async def setup_link(self) -> str | None:
        """The token of a link by which the first operator is made; None if there is one already.

        Each start makes another; those before stop working.
        """
        if not await self.is_new():
            return None
        now_ms, token = self._clock.now_ms(), self.new_token()
        before = [link for link in await every(self._directory, Link) if link.purpose == "setup"]
        link = Link(
            id=self.people.new_id("lnk"), purpose="setup", digest=digest(token), created_ms=now_ms,
            expires_ms=now_ms + SETUP_MS,
        )  # fmt: skip
        await self._directory.write([link], [("link", old.id) for old in before], [])
        return token

    async def set_up(
        self, token: str, email: str, title: str, password: str, by: Actor, agent: str
    ) -> Opened:
        """Make the first operator, who owns the default account.

        Raises:
            NotFound: the link is not valid any more.
            InvalidRequest: something of it will not do.
        """
        link = await self.link(token, "setup")
        check_password(password)
        person = Person(
            id=self.people.new_id("usr"), email=email_of(email), title=label(title, "name"),
            created_ms=self._clock.now_ms(), operator=True, proven=True,
        )  # fmt: skip
        puts: list[Noun] = [
            person,
            Credentials(id=person.id, password=await self.passwords.hash(password, Turn.FIRST)),
            owner_of(DEFAULT_ACCOUNT, person),
        ]
        if await find(self._directory, Account, DEFAULT_ACCOUNT) is None:
            puts.append(Account(id=DEFAULT_ACCOUNT, title=DEFAULT_ACCOUNT, created_ms=person.created_ms))
        entry = act(self_of(person, by), person.created_ms, "people.create", after=person)
        if not await self._directory.write(puts, [("link", link.id)], [entry]):
            raise overtaken("The link")
        return await self.open(person, by, agent, "link")

    async def reset_link(self, email: str, by: Actor) -> tuple[Person, str] | None:
        """The token of a link by which somebody sets a new password; None if there is nobody of that address.

        One that they had before stops working.
        """
        person = await named(self._directory, Person, email.strip().lower()[:300])
        if person is None or person.disabled_ms is not None:
            return None
        if by != COMMAND_LINE:  # nobody's mailbox is filled by strangers
            await self.doors.charge(digest(f"reset {person.id}"), FREE_MAILS)
        now_ms, token = self._clock.now_ms(), self.new_token()
        before = await every(self._directory, Link, person=person.id)
        link = Link(
            id=self.people.new_id("lnk"), purpose="reset", digest=digest(token), created_ms=now_ms,
            expires_ms=now_ms + RESET_MS, person=person.id, mailed=by != COMMAND_LINE,
        )  # fmt: skip
        entry = act(by, now_ms, "password.reset_link", object_=person.id, note={"link": link.id})
        await self._directory.write([link], [("link", old.id) for old in before], [entry])
        return person, token

    async def reset(self, token: str, password: str, by: Actor) -> None:
        """Set a password by a link; all sessions end, and a second factor stays, but for one that was set by somebody
        who had not proven that the address is theirs, where the link was mailed to it.

        Raises:
            NotFound: the link is not valid any more.
            InvalidRequest: the password will not do.
        """
        link = await self.link(token, "reset")
        check_password(password)
        person = None if link.person is None else await find(self._directory, Person, link.person)
        if person is None or person.disabled_ms is not None:
            raise NotFound(_STALE)
        await self._set_password(person, password, by, "password.reset", link=link)
        await self.doors.forget(digest(f"email {person.email}"))

    async def link(self, token: str, purpose: str) -> Link:
        """
        Raises:
            NotFound: it is not valid any more.
        """
        found = await named(self._directory, Link, digest(token))
        if found is None or found.purpose != purpose or found.expires_ms <= self._clock.now_ms():
            raise NotFound(_STALE)
        return found

    # Second factor

    async def begin_totp(self, person: Person, issuer: str) -> tuple[str, str]:
        """A new secret, not in use yet: as text, and as what an authenticator's camera reads."""
        known, secret = await self._credentials(person), self._new_secret(totp.SECRET_BYTES)
        sealed = self._seal(person.id, secret)
        after = msgspec.structs.replace(known, totp_new=sealed, version=known.version + 1)
        if not await self._directory.write([after], [], []):
            raise overtaken("The second factor")
        return totp.secret_text(secret), totp.provisioning_uri(secret, person.email, issuer)

    async def confirm_totp(self, person: Person, code: str, by: Actor) -> tuple[str, ...]:
        """Put the new secret in use by a code of it; return codes for recovery, this once.

        Raises:
            SignInRefused: the code is wrong.
        """
        known = await self._credentials(person)
        secret = None if known.totp_new is None else self._unseal(person.id, known.totp_new)
        step = None if secret is None else totp.step_of(secret, code.strip(), self._clock.now_ms(), 0)
        if step is None:
            raise SignInRefused("This code is wrong: look whether the clock of the device is right.")
        codes = tuple(self._new_code() for _ in range(RECOVERY_CODES))
        after = msgspec.structs.replace(
            known,
            totp=known.totp_new,
            totp_new=None,
            totp_step=step,
            recovery=tuple(digest(code) for code in codes),
            version=known.version + 1,
        )
        if not await self._directory.write([after], [], [self._act(person, by, "second_factor.begin", {})]):
            raise overtaken("The second factor")
        return codes

    async def end_totp(self, person: Person, code: str, by: Actor, session: str) -> None:
        """Do without a second factor; a code of it is needed for that.

        Raises:
            SignInRefused, RateLimitExceeded: the code is wrong.
        """
        place = digest(f"session {session}")
        await self.doors.charge(place, FREE)
        if not await self._take_code(person, code):
            await self._refused(person, by)
            raise SignInRefused("This code is wrong, too old or used already.")
        await self.doors.forget(place)
        known = await self._credentials(person)
        after = msgspec.structs.replace(
            known, totp=None, totp_new=None, recovery=(), version=known.version + 1
        )
        if not await self._directory.write([after], [], [self._act(person, by, "second_factor.end", {})]):
            raise overtaken("The second factor")

    async def has_totp(self, person: Person) -> bool:
        return (await self._credentials(person)).totp is not None

    async def _refused(self, person: Person | None, by: Actor) -> None:
        """Log a wrong try at somebody's door."""
        if person is not None:
            await self._directory.write([], [], [self._act(person, by, "sessions.refused", {})])

    async def _credentials(self, person: Person) -> Credentials:
        found = await find(self._directory, Credentials, person.id)
        return Credentials(id=person.id, version=0) if found is None else found

    def _act(self, person: Person, by: Actor, action: str, note: dict[str, object]) -> Act:
        return act(self_of(person, by), self._clock.now_ms(), action, object_=person.id, note=note)


_STALE = "This link is not valid any more: ask for another."


def check_password(password: str) -> None:
    """
    Raises:
        InvalidRequest: it is too short or too long.
    """
    if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
        raise InvalidRequest(
            f"password must have {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters", param="password"
        )


def owner_of(account: str, person: Person) -> Member:
    return Member(
        id=member_id(account, person.id), account=account, person=person.id, role=Role.OWNER,
        created_ms=person.created_ms,
    )  # fmt: skip


def self_of(person: Person, by: Actor) -> Actor:
    """Somebody who does something for themselves, before they have a session."""
    return Actor(id=person.id, name=person.email, ip=by.ip)


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:AGENT_CHARS_MAX]
