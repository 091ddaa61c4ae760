"""Where chance comes from: ids that nobody can guess and that sort by time."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that is mistaken for a digit (https://www.crockford.com/base32.html)."""

_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_LETTERS = (_ALPHABET * 8).encode()
"""The letter of each byte: five of its bits."""

DRAWN = 100
"""Ids whose random bits are drawn at once."""


class ExchangeIds:
    """``gen-`` and 26 characters: 48 bits of Unix milliseconds, then 80 random bits, which are drawn by the
    hundred. One for each process: those that share what was drawn would give the same ids."""

    def __init__(self) -> None:
        self._turn = -1  # of 2**10 ms, about a second: what all ids of that time begin with
        self._prefix = ""
        self._random = ""
        self._at = self._drawn = 0

    def __call__(self) -> str:
        ms = time.time_ns() // 1_000_000
        turn = ms >> 10
        if turn != self._turn:
            self._turn = turn
            self._prefix = "gen-" + "".join([_PAIRS[(ms >> shift) & 1023] for shift in (40, 30, 20, 10)])
        at = self._at
        if at >= self._drawn:
            self._random, at = os.urandom(16 * DRAWN).translate(_LETTERS).decode("ascii"), 0
            self._drawn = 16 * DRAWN
        self._at = end = at + 16
        return f"{self._prefix}{_PAIRS[ms & 1023]}{self._random[at:end]}"
