"""Passwords as argon2id hashes, made and checked off the event loop, a few at a time, those of people who were here
before first.

The parameters are the second choice of RFC 9106 (64 MiB, three passes), which argon2-cffi has as its default:
https://www.rfc-editor.org/rfc/rfc9106#section-4
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from llm_router.domain.errors import Overloaded
from llm_router.ports import Turn

if TYPE_CHECKING:
    from argon2 import PasswordHasher

AT_ONCE = 2
"""Each takes 64 MiB and a core while it lasts: who guesses passwords must not take the machine."""

WAITING_MAX = {Turn.FIRST: 200, Turn.NEXT: 60, Turn.LAST: 12}
"""How many may wait already when one more comes."""


class Places:
    """So many may work at a time; who waits is let in by turn, and in the order of coming."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[Turn, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def taken(self, turn: Turn) -> AsyncGenerator[None, None]:
        """
        Raises:
            Overloaded: too many wait already.
        """
        await self._take(turn)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, turn: Turn) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= WAITING_MAX[turn]:
            raise Overloaded("Too many people sign in at the moment: try again shortly.", retry_after_s=5)
        place = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (turn, next(self._numbers), place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # let in, and gone
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            place = heapq.heappop(self._waiting)[2]
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


class Argon2Passwords:
    """Implements the port Passwords."""

    def __init__(self) -> None:
        self._places = Places(AT_ONCE)
        self._decoy: str | None = None

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher  # loaded by those who sign in

        return PasswordHasher()

    async def hash(self, password: str, turn: Turn) -> str:
        async with self._places.taken(turn):
            return await asyncio.to_thread(lambda: self._hasher.hash(password))

    async def verify(self, hash_: str | None, password: str, turn: Turn) -> bool:
        """Whether it is the password. Without a hash the answer is no, and takes as long."""
        async with self._places.taken(turn):
            return await asyncio.to_thread(self._verify, hash_, password)

    def _verify(self, hash_: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        if self._decoy is None:
            self._decoy = self._hasher.hash("nobody has this password")
        try:
            return (
                self._hasher.verify(self._decoy if hash_ is None else hash_, password) and hash_ is not None
            )
        except (VerificationError, InvalidHashError):
            return False
