"""The operator's commands on API keys."""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from llm_router.catalog.snapshot import Snapshot
from llm_router.domain.errors import InvalidRequest, ModelNotFound, NotFound
from llm_router.domain.key import Key, Limits, Priority, key_digest
from llm_router.engine.moments import iso_time, parse_expiry
from llm_router.engine.operator import (
    DEFAULT_ACCOUNT,
    Arguments,
    Context,
    Nothing,
    Result,
    account_name,
    label,
    limit_of,
    remaining,
)

FIRST_KEY_NAME = "first key"
STARTING_REF = "starting-credit"
"""The starting credit is booked once under this reference, however often a start is interrupted."""

PREFIX_CHARS = 12
"""How much of a key is kept to recognise it by: ``sk-lr-`` and six characters."""

PATTERNS_MAX = 200


class CreateKey(Arguments, frozen=True, kw_only=True):
    """``keys.create``. ``expires`` is a span ("30d") or an ISO 8601 time; ``models`` are globs."""

    name: str
    account: str = DEFAULT_ACCOUNT
    team: str | None = None
    user: str | None = None
    expires: str | None = None
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    usage_chunk: bool = True
    strict: bool = False
    priority: Priority = "interactive"


class RevokeKey(Arguments, frozen=True, kw_only=True):
    """``keys.revoke``."""

    id: str


class FirstKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key that the very first start makes. ``text`` is shown once and stored nowhere."""

    text: str
    key: Key
    credits_remaining_pusd: int


async def first_run(context: Context) -> FirstKey | None:
    """On an empty store make the default account with its starting credit, and a first key.

    None if there are keys already.
    """
    if await context.keyring.list():
        return None
    text, key = await _make_key(CreateKey(name=FIRST_KEY_NAME), context)
    return FirstKey(text=text, key=key, credits_remaining_pusd=await context.books.balance(DEFAULT_ACCOUNT))


async def create_key(arguments: CreateKey, context: Context) -> Result:
    """Make a key. The answer holds its text, this once.

    Raises:
        InvalidRequest: an argument is out of its range.
    """
    text, key = await _make_key(arguments, context)
    shown = _describe(key, context.clock.now_ms())
    return {"id": key.id, "key": text, **shown, "credits_remaining": await remaining(key.account, context)}


async def list_keys(arguments: Nothing, context: Context) -> Result:
    """All keys, revoked and expired ones too, the oldest first."""
    now_ms = context.clock.now_ms()
    keys = sorted(await context.keyring.list(), key=lambda key: (key.created_ms, key.id))
    return {"keys": [_describe(key, now_ms) for key in keys]}


async def revoke_key(arguments: RevokeKey, context: Context) -> Result:
    """Refuse a key from now on.

    Raises:
        NotFound: there is no key with that id.
    """
    now_ms = context.clock.now_ms()
    key = await context.keyring.revoke(arguments.id, now_ms)
    if key is None:
        raise NotFound(f"there is no key with the id '{arguments.id[:100]}'; llm-router keys list shows them")
    return _describe(key, now_ms)


async def _make_key(arguments: CreateKey, context: Context) -> tuple[str, Key]:
    """Check everything, then write; the very first key brings its account the starting credit."""
    text, key = _new_key(arguments, context)
    if context.starting_pusd > 0 and not await context.keyring.list():
        await context.books.credit(
            key.account, context.starting_pusd, STARTING_REF, "starting credit", key.created_ms
        )
    await context.keyring.create(key, key_digest(text.encode()))
    return text, key


def _new_key(arguments: CreateKey, context: Context) -> tuple[str, Key]:
    now_ms = context.clock.now_ms()
    text = context.new_key_text()
    key = Key(
        id=context.new_id("key"),
        account=account_name(arguments.account),
        team=None if arguments.team is None else label(arguments.team, "team"),
        user=None if arguments.user is None else label(arguments.user, "user"),
        name=label(arguments.name, "name"),
        prefix=text[:PREFIX_CHARS],
        created_ms=now_ms,
        expires_ms=None if arguments.expires is None else parse_expiry(arguments.expires, now_ms),
        models=None if arguments.models is None else _allowed(arguments.models, context.snapshot()),
        limits=Limits(
            requests_per_minute=limit_of(arguments.requests_per_minute, "requests_per_minute"),
            tokens_per_minute=limit_of(arguments.tokens_per_minute, "tokens_per_minute"),
            concurrency=limit_of(arguments.concurrency, "concurrency"),
        ),
        usage_chunk=arguments.usage_chunk,
        strict=arguments.strict,
        priority=arguments.priority,
    )
    return text, key


def _allowed(patterns: tuple[str, ...], snapshot: Snapshot) -> tuple[str, ...]:
    """Names as public ids (rights hold for these, not for aliases), globs as they are.

    Raises:
        InvalidRequest: one of them fits no model, so that it was mistyped.
    """
    if not 0 < len(patterns) <= PATTERNS_MAX:
        raise InvalidRequest(f"models must name 1 to {PATTERNS_MAX} models or patterns", param="models")
    return tuple(dict.fromkeys(model_pattern(pattern, snapshot, "models") for pattern in patterns))


def model_pattern(pattern: str, snapshot: Snapshot, param: str) -> str:
    """A name as the public id of its model, a glob as it is.

    Raises:
        InvalidRequest: it fits no model, so that it was mistyped.
    """
    if any(c in pattern for c in "*?["):
        if any(fnmatchcase(id_, pattern) for id_ in snapshot.models):
            return pattern
        raise InvalidRequest(
            f"no model fits the pattern '{pattern[:100]}'; llm-router models lists them", param=param
        )
    try:
        return snapshot.resolve(pattern).model.id
    except ModelNotFound as error:
        raise InvalidRequest(f"{param}: {error.message}", param=param, details=error.details) from None


def _describe(key: Key, now_ms: int) -> Result:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "account": key.account,
        "team": key.team,
        "user": key.user,
        "status": _status(key, now_ms),
        "created": iso_time(key.created_ms),
        "expires": None if key.expires_ms is None else iso_time(key.expires_ms),
        "revoked": None if key.revoked_ms is None else iso_time(key.revoked_ms),
        "models": None if key.models is None else list(key.models),
        "limits": msgspec.to_builtins(key.limits),
        "usage_chunk": key.usage_chunk,
        "strict": key.strict,
        "priority": key.priority,
    }


def _status(key: Key, now_ms: int) -> str:
    if key.revoked_ms is not None:
        return "revoked"
    return "expired" if key.expires_ms is not None and key.expires_ms <= now_ms else "active"
