"""Where the text of API keys comes from: the operating system's dice."""

from __future__ import annotations

import secrets

from llm_router.domain.key import KEY_PREFIX

KEY_BYTES = 32
"""256 random bits: enough that a plain hash of the key protects it."""

ID_CHARS = 16
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY_CHARS = 43  # 62**43 > 2**256


def new_key_text() -> str:
    """``sk-lr-`` and 43 letters and digits, which a double click selects whole."""
    number = int.from_bytes(secrets.token_bytes(KEY_BYTES), "big")
    digits = []
    for _ in range(_KEY_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return KEY_PREFIX + "".join(digits)


def new_id(kind: str) -> str:
    """A public handle such as ``key_8fHq2LxZc0Vt5RbN`` (95 random bits)."""
    return f"{kind}_" + "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))


def new_token() -> str:
    """What opens a session or a link: 256 random bits, fit for URLs and cookies."""
    return secrets.token_urlsafe(32)


def new_secret(size: int) -> bytes:
    """So many random bytes."""
    return secrets.token_bytes(size)


_CODE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # no I, L, O, U: nobody can misread them
CODE_CHARS = 25


def new_code() -> str:
    """A voucher's code such as ``7M2KD-...`` in five groups of five (125 random bits)."""
    chars = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(CODE_CHARS))
    return "-".join(chars[at : at + 5] for at in range(0, CODE_CHARS, 5))
