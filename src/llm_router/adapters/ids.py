"""Where chance comes from: ids that nobody can guess and that sort by time."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that is mistaken for a digit (https://www.crockford.com/base32.html)."""


_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def new_exchange_id() -> str:
    """``gen-`` and 26 characters: 48 bits of Unix milliseconds, then 80 random bits."""
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    return "gen-" + "".join([_PAIRS[(value >> shift) & 1023] for shift in _SHIFTS])


_SHIFTS = tuple(range(120, -1, -10))
