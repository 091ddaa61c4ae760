"""Ids for tool calls of providers that give none: the same for the same reply, different within it.

Replies may be alike to the byte, and yet the calls of a conversation must differ: whoever knows the
exchange puts its own mark in place of ours (:func:`marked`).
"""

from __future__ import annotations

import hashlib

MINTED = "call_gw_"
"""What our ids begin with, and those of no provider."""


def marked(id_: str, mark: str, number: int) -> str:
    """The id; a minted one with the mark of its exchange instead. ``number`` counts the reply's calls."""
    return f"call_{mark}_{number}" if id_.startswith(MINTED) else id_


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
            id_ = f"{MINTED}{self._seed}_{number}"
        self._given.add(id_)
        return id_
