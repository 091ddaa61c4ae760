"""Ids for tool calls of providers that give none: the same for the same reply, different within it."""

from __future__ import annotations

import hashlib


class MintedIds:
    """Hands out ids. ``seed`` it with what only this reply holds before the first one."""

    def __init__(self) -> None:
        self._seed = ""
        self._count = 0
        self._given: set[str] = set()

    def seed(self, data: bytes) -> None:
        """Fix the reply's own part of the ids; only the first call counts."""
        self._seed = self._seed or hashlib.sha256(data).hexdigest()[:20]

    def take(self, id_: object) -> str:
        """The provider's id, or a minted one where that is missing or was given before."""
        number, self._count = self._count, self._count + 1
        if not isinstance(id_, str) or not id_ or id_ in self._given:
            id_ = f"call_{self._seed}_{number}"
        self._given.add(id_)
        return id_
