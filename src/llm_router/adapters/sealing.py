"""Sealing of what is kept for an account: nobody reads it, moves it to another account or changes it.

Keys come from the secret of the installation by HKDF (RFC 5869), one for each use. A value is
encrypted with AES-256-GCM and bound, as associated data, to its account and to the key under which
it is kept. The library of the cipher takes several megabytes: it is loaded with the first value.
"""

from __future__ import annotations

import hmac
import os
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
KEY_BYTES = 16
"""Of the keys that name a kept value: enough that no two meet by chance."""


OWNERS_MAX = 10_000
"""Accounts whose digest is at hand."""


OWN_KEYS = "provider keys"
"""The purpose of sealing customers' own keys at providers."""

GATEWAY_KEYS = "gateway keys"
"""The purpose of sealing the gateway's own."""


ALERT_TARGETS = "alert targets"
"""The purpose of sealing where alerts go, and what they are signed with."""


SSO = "single sign-on"
"""The purpose of sealing the secret that an issuer gave the gateway."""


BODIES = "bodies"
"""The purpose of sealing the keys of kept bodies."""


class Sealer:
    """Names and seals the values of one store. ``purpose`` keeps stores of one secret apart."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._names = _derived(secret, f"{purpose} names")
        self._owners: dict[str, bytes] = {}
        self._values = _derived(secret, f"{purpose} values")

    @cached_property
    def _cipher(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._values)

    def owner(self, account: str) -> bytes:
        """What stands for the account beside its values. Asked for with every request."""
        known = self._owners.get(account)
        if known is None:
            if len(self._owners) >= OWNERS_MAX:
                self._owners.clear()
            known = self._owners[account] = self._digest(b"owner", account, b"")
        return known

    def key(self, account: str, name: bytes) -> bytes:
        """The key of a value that the account knows as ``name``."""
        return self._digest(b"value", account, name)

    def seal(self, account: str, key: bytes, value: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, _bound(account, key))

    def open(self, account: str, key: bytes, sealed: bytes) -> bytes | None:
        """The value; None if it is not one that was sealed for this account under this key."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(account, key))
        except (InvalidTag, ValueError):
            return None

    def _digest(self, use: bytes, account: str, name: bytes) -> bytes:
        return hmac.digest(self._names, use + _bound(account, name), "sha256")[:KEY_BYTES]


def _bound(account: str, rest: bytes) -> bytes:
    text = account.encode("utf-8", "surrogatepass")
    return len(text).to_bytes(4, "big") + text + rest


def _derived(secret: bytes, info: str) -> bytes:
    """32 bytes by HKDF with SHA-256 and no salt: one block (https://www.rfc-editor.org/rfc/rfc5869#section-2)."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, f"llm-router {info}".encode() + b"\x01", "sha256")
