"""The operator's commands that change a key: its members, or its text."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from llm_router.access.grants import held_after
from llm_router.domain.account import KeyScope
from llm_router.domain.errors import IdempotencyConflict, InvalidRequest
from llm_router.domain.key import Key, Limits, Priority, key_digest
from llm_router.engine.key_limits import Bound, Reset, bound_of, key_limit
from llm_router.engine.keys import (
    PREFIX_CHARS,
    allowed_models,
    allowed_providers,
    describe_key,
    describe_whole,
    in_its_team,
    key_tags,
    ranges_of,
    scopes_of,
    stored_key,
)
from llm_router.engine.moments import parse_expiry
from llm_router.engine.operator import Arguments, Context, Result, label, limit_of

OVERLAP_S_DEFAULT = 24 * 3600
OVERLAP_S_MAX = 90 * 24 * 3600


class ChangeKey(Arguments, frozen=True, kw_only=True):
    """``keys.change``. What is left out stays; None takes a bound away.

    Attributes:
        limit: plain decimal dollars that it may spend, in all or in each ``limit_reset``.
        old_text_until: None: the text before the last rotation works no more.
        version: of the key that is to be changed, as it was read; None: whatever it is.
    """

    id: str
    version: int | None = None
    name: str | UnsetType = UNSET
    team: str | UnsetType | None = UNSET
    user: str | UnsetType | None = UNSET
    expires: str | UnsetType | None = UNSET
    models: tuple[str, ...] | UnsetType | None = UNSET
    providers: tuple[str, ...] | UnsetType | None = UNSET
    scopes: tuple[KeyScope, ...] | UnsetType | None = UNSET
    ip_ranges: tuple[str, ...] | UnsetType | None = UNSET
    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET
    concurrency: int | UnsetType | None = UNSET
    usage_chunk: bool | UnsetType = UNSET
    strict: bool | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    limit: str | UnsetType | None = UNSET
    limit_reset: Reset | UnsetType | None = UNSET
    tags: tuple[str, ...] | UnsetType | None = UNSET
    old_text_until: UnsetType | None = UNSET


class RotateKey(Arguments, frozen=True, kw_only=True):
    """``keys.rotate``. ``overlap_s``: how long the text that it has works on; 0: not at all."""

    id: str
    overlap_s: int = OVERLAP_S_DEFAULT
    version: int | None = None


async def change_key(arguments: ChangeKey, context: Context) -> Result:
    """Change what a key may do; it holds for the next request.

    Raises:
        NotFound, InvalidRequest: there is no such key, or an argument is out of its range.
        IdempotencyConflict: somebody else changed it meanwhile.
    """
    before = await _current(arguments.id, arguments.version, context)
    if before.disabled_before is not None and arguments.disabled is not UNSET:
        raise InvalidRequest(
            f"the account '{before.account}' is closed: open it first", code="account_closed"
        )
    key = changed_key(before, arguments, context)
    if key.team != before.team:
        key = await in_its_team(key, context)
    now_ms = context.clock.now_ms()
    bound = await bound_of(key, arguments.limit, arguments.limit_reset, context)
    if context.by.id != before.by:
        key = msgspec.structs.replace(key, held=await _held(before, key, bound, context))
    if not await context.books.write_key(key, None, bound.budget, bound.removed, now_ms):
        raise _overtaken(key)
    return await describe_whole(key, context)


async def _held(before: Key, after: Key, bound: Bound, context: Context) -> tuple[str, ...]:
    """What is held of the key, the limit in dollars included."""
    held = held_after(before, after)
    if bound.budget is None:
        return tuple(name for name in held if name != "limit") if bound.removed is not None else held
    spend = await key_limit(before, context)
    old = None if spend is None else spend.budget
    same = old is not None and (old.amount_pusd, old.window) == (
        bound.budget.amount_pusd,
        bound.budget.window,
    )
    return held if same else tuple(dict.fromkeys([*held, "limit"]))


async def rotate_key(arguments: RotateKey, context: Context) -> Result:
    """Give a key another text. The answer holds it, this once; the one before works on for a while.

    Raises:
        NotFound, InvalidRequest: there is no such key, or the overlap is too long.
        IdempotencyConflict: somebody else changed it meanwhile.
    """
    if not 0 <= arguments.overlap_s <= OVERLAP_S_MAX:
        raise InvalidRequest(f"overlap_s must be from 0 to {OVERLAP_S_MAX}", param="overlap_s")
    before = await _current(arguments.id, arguments.version, context)
    now_ms, text = context.clock.now_ms(), context.new_key_text()
    key = msgspec.structs.replace(
        before,
        prefix=text[:PREFIX_CHARS],
        rotated_ms=now_ms,
        old_until_ms=now_ms + 1000 * arguments.overlap_s if arguments.overlap_s else None,
        version=before.version + 1,
    )
    if not await context.keyring.rotate(key, key_digest(text.encode())):
        raise _overtaken(key)
    return {"id": key.id, "key": text, **describe_key(key, now_ms)}


async def _current(id_: str, version: int | None, context: Context) -> Key:
    key = await stored_key(id_, context)
    if key.revoked_ms is not None:
        raise InvalidRequest(f"the key '{key.id}' is revoked, and stays as it is; make another")
    if version not in (None, key.version):
        raise _overtaken(key)
    return key


def changed_key(key: Key, wanted: ChangeKey, context: Context) -> Key:
    """The key as it becomes.

    Raises:
        InvalidRequest: an argument is out of its range.
    """
    new: dict[str, object] = {}
    for name in ("usage_chunk", "strict", "priority", "disabled"):
        if (value := getattr(wanted, name)) is not UNSET:
            new[name] = value
    if wanted.name is not UNSET:
        new["name"] = label(wanted.name, "name")
    for name in ("team", "user"):
        if (value := getattr(wanted, name)) is not UNSET:
            new[name] = None if value is None else label(value, name)
    if wanted.expires is not UNSET:
        new["expires_ms"] = (
            None if wanted.expires is None else parse_expiry(wanted.expires, context.clock.now_ms())
        )
    if wanted.models is not UNSET:
        new["models"] = None if wanted.models is None else allowed_models(wanted.models, context.snapshot())
    if wanted.providers is not UNSET:
        new["providers"] = (
            None if wanted.providers is None else allowed_providers(wanted.providers, context.snapshot())
        )
    if wanted.scopes is not UNSET:
        new["scopes"] = None if wanted.scopes is None else scopes_of(wanted.scopes)
    if wanted.ip_ranges is not UNSET:
        new["ip_ranges"] = None if wanted.ip_ranges is None else ranges_of(wanted.ip_ranges)
    if wanted.old_text_until is None:
        new["old_until_ms"] = None
    if wanted.tags is not UNSET:
        new["tags"] = key_tags(wanted.tags or ())
    return msgspec.structs.replace(key, limits=_limits(key.limits, wanted), version=key.version + 1, **new)


def _limits(limits: Limits, wanted: ChangeKey) -> Limits:
    new = {
        name: limit_of(value, name)
        for name in ("requests_per_minute", "tokens_per_minute", "concurrency")
        if (value := getattr(wanted, name)) is not UNSET
    }
    return msgspec.structs.replace(limits, **new)


def _overtaken(key: Key) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"the key '{key.id}' was changed meanwhile: read it again, and repeat the change", code="overtaken"
    )
