"""Where chance comes from: ids that nobody can guess and that sort by time."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that is mistaken for a digit (https://www.crockford.com/base32.html)."""


_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


class ExchangeIds:
    """``gen-`` and 26 characters: 48 bits of Unix milliseconds, then 80 random bits, which are drawn by the
    hundred. One for each process: those that share what was drawn would give the same ids."""

    def __init__(self) -> None:
        self._ms = -1
        self._prefix = ""
        self._random = b""
        self._at = 0

    def __call__(self) -> str:
        ms = time.time_ns() // 1_000_000
        if ms != self._ms:
            self._ms, pairs = ms, _PAIRS
            self._prefix = "gen-" + "".join([pairs[(ms >> shift) & 1023] for shift in (40, 30, 20, 10, 0)])
        at = self._at
        if at >= len(self._random):
            self._random, at = os.urandom(10 * DRAWN), 0
        self._at = at + 10
        value = int.from_bytes(self._random[at : at + 10], "big")
        return self._prefix + "".join([_PAIRS[(value >> shift) & 1023] for shift in _SHIFTS])


DRAWN = 100
"""Ids whose random bits are drawn at once."""

_SHIFTS = (70, 60, 50, 40, 30, 20, 10, 0)
