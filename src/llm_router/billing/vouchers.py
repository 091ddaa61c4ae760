"""Vouchers: credit that whoever knows the code may have, once. The code itself is stored nowhere."""

from __future__ import annotations

import hashlib

import msgspec

CODE_CHARS = 25
_READ_AS = {**str.maketrans("ILO", "110"), **dict.fromkeys(map(ord, " -_."))}
"""What people misread, and what they add."""


class Voucher(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One voucher.

    Attributes:
        id: public handle (``vou_...``); names the booking too.
        expires_ms: from then on it is refused; None is never.
        redeemed_ms: when an account claimed it, which can happen once.
    """

    id: str
    amount_pusd: int
    created_ms: int
    note: str = ""
    expires_ms: int | None = None
    redeemed_ms: int | None = None
    revoked_ms: int | None = None

    @property
    def ref(self) -> str:
        """What its credit is booked under: unique in the books."""
        return f"voucher:{self.id}"


def code_digest(code: str) -> str | None:
    """The only form in which a code is stored or looked up; None if the text can be no code.

    Case, blanks and hyphens do not count, and letters that look like digits are read as those. A plain
    hash is enough because a code holds 125 random bits.
    """
    plain = code.upper().translate(_READ_AS)
    if len(plain) != CODE_CHARS or not plain.isascii() or not plain.isalnum():
        return None
    return hashlib.sha256(plain.encode()).hexdigest()


def refusal(voucher: Voucher, now_ms: int) -> str | None:
    """Why the voucher cannot be redeemed now; None if it can."""
    if voucher.revoked_ms is not None:
        return "This voucher was withdrawn."
    if voucher.redeemed_ms is not None:
        return "This voucher was redeemed before. Each can be redeemed once."
    if voucher.expires_ms is not None and voucher.expires_ms <= now_ms:
        return "This voucher has expired."
    return None
