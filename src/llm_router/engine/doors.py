"""How often somebody may guess at a door: by address of e-mail, by address of the network, and by both where the
person of that address signed in from there before.

So the wrong tries of strangers keep nobody out who comes from where they came from before, and strangers still have
no more tries for one person than before, from however many places.
"""

from __future__ import annotations

import msgspec

from llm_router.access.addresses import network_of
from llm_router.access.tries import FREE, FREE_NEW, FREE_PLACE, failed, is_known, known, wait_ms
from llm_router.domain.account import Tries
from llm_router.domain.errors import RateLimitExceeded
from llm_router.engine.rolls import digest, find
from llm_router.ports import Clock, Directory

TOO_MANY = "Too many wrong tries. Wait, then try again."


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """Where somebody stands who gives an address of e-mail.

    Attributes:
        id, place: what tries are counted under; place: that of the network, "" where only the first counts.
        known: the person of that address signed in from there before.
    """

    id: str
    place: str
    known: bool


class Doors:
    """One per process. Tries are counted as wrong before anybody looks at them, so that of many at a time all count."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    async def of(self, email: str, ip: str, what: str = "email") -> Door:
        """The door for who gives an address of e-mail. ``what``: of the password, or of the second factor."""
        if is_known(await find(self._directory, Tries, _known(email, ip)), self._clock.now_ms()):
            id_ = _known(email, ip) if what == "email" else digest(f"{what} {email} {network_of(ip)}")
            return Door(id=id_, place="", known=True)
        return Door(id=digest(f"{what} {email}"), place=digest(f"ip {network_of(ip)}"), known=False)

    async def knock(self, door: Door) -> None:
        """
        Raises:
            RateLimitExceeded: it has to wait.
        """
        if door.place:
            await self.charge(door.place, FREE_PLACE)
        await self.charge(door.id, FREE)

    async def right(self, door: Door) -> None:
        """It was right: tries before it are forgotten, but for those at other doors from the same place."""
        if not door.known:
            await self.forget(door.id)
        else:
            await self._amend(door.id, 0)
        if door.place:
            await self._amend(door.place, -1)

    async def remember(self, email: str, ip: str) -> None:
        """Somebody has signed in from there."""
        id_ = _known(email, ip)
        before = await find(self._directory, Tries, id_)
        await self._directory.write([known(before, id_, self._clock.now_ms())], [], [])

    async def sign_up(self, ip: str) -> None:
        """
        Raises:
            RateLimitExceeded: too many signed up from there.
        """
        told = "Too many accounts were asked for from your address. Wait, then try again."
        await self.charge(digest(f"sign-up {network_of(ip)}"), FREE_NEW, told)

    async def charge(self, id_: str, free: int, told: str = TOO_MANY) -> None:
        """
        Raises:
            RateLimitExceeded: it has to wait.
        """
        while True:
            now_ms = self._clock.now_ms()
            before = await find(self._directory, Tries, id_)
            if wait := wait_ms(before, now_ms):
                raise RateLimitExceeded(told, retry_after_s=-(-wait // 1000))
            if await self._directory.write([failed(before, id_, now_ms, free)], [], []):
                return

    async def forget(self, id_: str) -> None:
        await self._directory.write([], [("tries", id_)], [])

    async def _amend(self, id_: str, by: int) -> None:
        """Count ``by`` more wrong tries, none of them (0) at all; whoever waits there need not any more."""
        before = await find(self._directory, Tries, id_)
        if before is not None:
            failures = 0 if by == 0 else max(0, before.failures + by)
            after = msgspec.structs.replace(
                before, failures=failures, locked_until_ms=0, version=before.version + 1
            )
            await self._directory.write([after], [], [])


def _known(email: str, ip: str) -> str:
    return digest(f"known {email} {network_of(ip)}")
