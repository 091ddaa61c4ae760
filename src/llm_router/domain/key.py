"""API keys and the limits they carry. The key text itself is never stored: only its digest."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from llm_router.domain.account import KeyScope

KEY_PREFIX = "sk-lr-"
"""Every key begins so, which lets secret scanners recognise it."""


Priority = Literal["interactive", "batch"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Upper bounds of one key; None means unbounded."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as the gateway knows it.

    Attributes:
        id: public handle (``key_...``); not a secret.
        account: whose credits it spends.
        team, user: on whose behalf, for budgets and reports.
        prefix: the first characters of the key text, to recognise it by.
        models: globs of public model ids that it may use; None means all.
        expires_ms, revoked_ms, created_ms: Unix time in milliseconds.
        usage_chunk: whether streams end with the chunk that carries usage and cost, when the
            request does not say.
        strict: refuse requests that would lose something in translation.
        scopes: what it is for; None: inference, models and usage, as keys always were.
        providers: ids of providers that may serve it; None means all.
        ip_ranges: where it may be used from (CIDR); None means anywhere.
        disabled: refused until it is switched on again.
        disabled_before: its account is closed, and that is why it is disabled: whether it was before. None: its
            account is open.
        by: who made it: the id of a person or key; None: the operator, by the command line.
        rotated_ms: when it last got another text. old_until_ms: until when the text before it works.
        version: 1, 2, 3 and so on, one more with each change.
        tags: what all its requests are called, beside what they say themselves.
        held: names of bounds that somebody else than who made it set: they who may not manage the keys of others make
            these narrower, and no wider.
        priority: "interactive", or "batch": the first to be refused when there is too much to do.
    """

    id: str
    account: str
    name: str
    prefix: str
    created_ms: int
    team: str | None = None
    user: str | None = None
    expires_ms: int | None = None
    revoked_ms: int | None = None
    models: tuple[str, ...] | None = None
    limits: Limits = Limits()
    usage_chunk: bool = True
    strict: bool = False
    priority: Priority = "interactive"
    scopes: tuple[KeyScope, ...] | None = None
    providers: tuple[str, ...] | None = None
    ip_ranges: tuple[str, ...] | None = None
    disabled: bool = False
    disabled_before: bool | None = None
    by: str | None = None
    rotated_ms: int | None = None
    old_until_ms: int | None = None
    version: int = 1
    tags: tuple[str, ...] = ()
    held: tuple[str, ...] = ()


def key_digest(text: bytes) -> bytes:
    """SHA-256 of a key's text: the only form in which a key reaches a store or a query.

    A plain hash is enough because a key holds 256 random bits.
    """
    return hashlib.sha256(text).digest()


def until(key: Key) -> Key | None:
    """The key as the text has it that it had before it was rotated: it ends with that time; None if it has ended."""
    if key.old_until_ms is None:
        return None
    ends_ms = key.old_until_ms if key.expires_ms is None else min(key.expires_ms, key.old_until_ms)
    return msgspec.structs.replace(key, expires_ms=ends_ms)
