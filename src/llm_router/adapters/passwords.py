"""Passwords as argon2id hashes, made and checked off the event loop, a few at a time.

The parameters are the second choice of RFC 9106 (64 MiB, three passes), which argon2-cffi has as its default:
https://www.rfc-editor.org/rfc/rfc9106#section-4
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

AT_ONCE = 2
"""Each takes 64 MiB and a core while it lasts: who guesses passwords must not take the machine."""


class Argon2Passwords:
    """Implements the port Passwords."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)
        self._decoy: str | None = None

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher  # loaded by those who sign in

        return PasswordHasher()

    async def hash(self, password: str) -> str:
        async with self._places:
            return await asyncio.to_thread(lambda: self._hasher.hash(password))

    async def verify(self, hash_: str | None, password: str) -> bool:
        """Whether it is the password. Without a hash the answer is no, and takes as long."""
        async with self._places:
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
