"""What an account has kept of its requests and answers: nothing, unless it says so."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

Redactable = Literal["email", "phone", "card", "iban", "ip"]
"""What can be taken out on top of credentials, which always are."""

KINDS: tuple[Redactable, ...] = ("email", "phone", "card", "iban", "ip")

BYTES_MAX = 4 * 1024 * 1024
BYTES_DEFAULT = 256 * 1024
BYTES_MIN = 1024
DAYS_MAX = 3650
DAYS_DEFAULT = 30
PATTERNS_MAX = 20


class BodyRule(msgspec.Struct, frozen=True, kw_only=True):
    """How the bodies of an account's, or a key's, exchanges are kept.

    Attributes:
        share: the part of the exchanges that is kept, from 0 (none) to 1 (each).
        redact: what is taken out besides credentials. patterns: regular expressions of more of it.
        files: pictures, sounds and other files are kept too; else their type and size alone.
        bytes_max: of a request and of an answer, each; what is longer is cut off.
        retention_days: after that it is deleted.
    """

    share: float = 1.0
    redact: tuple[Redactable, ...] = ()
    patterns: tuple[str, ...] = ()
    files: bool = False
    bytes_max: int = BYTES_DEFAULT
    retention_days: int = DAYS_DEFAULT


class BodyRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of an account: its own, and those of keys that differ."""

    account: BodyRule | None = None
    keys: Mapping[str, BodyRule] = {}

    def of(self, key: str) -> BodyRule | None:
        """What holds for a key; None: nothing is kept."""
        return self.keys.get(key, self.account)


class StoredBody(msgspec.Struct, frozen=True, kw_only=True):
    """The bodies of one exchange, as they are kept.

    Attributes:
        id: of the exchange. key: that it was made with.
        users: who it was made for: the user of the key, and the one that the request names.
        content: JSON.
    """

    account: str
    id: str
    key: str
    users: tuple[str, ...]
    created_ms: int
    expires_ms: int
    content: bytes


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """Whose bodies are to be deleted: of those of an account, those to which all that is named applies.

    Attributes:
        before_ms: exchanges that began before; also such as are still under way are not kept any more.
    """

    account: str
    before_ms: int
    id: str | None = None
    key: str | None = None
    user: str | None = None


class BodiesHeld(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an account. ``size_bytes``: on the disk. ``oldest_ms``: None where there is none."""

    count: int
    size_bytes: int
    oldest_ms: int | None = None


def is_sampled(id_: str, share: float) -> bool:
    """Whether an exchange belongs to the part that is kept. The same for the same id, always."""
    lot = int.from_bytes(hashlib.sha256(id_.encode(errors="replace")).digest()[:8], "big")
    return lot < share * 2**64
