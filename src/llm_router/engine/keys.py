"""The operator's commands on API keys."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec
from msgspec import UNSET

from llm_router.access.addresses import parse_range
from llm_router.catalog.snapshot import Snapshot
from llm_router.domain.account import KeyScope
from llm_router.domain.errors import InvalidRequest, ModelNotFound, NotFound
from llm_router.domain.key import Key, Limits, Priority, key_digest
from llm_router.engine.closing import check_open
from llm_router.engine.key_limits import Reset, bound_of, describe_limit, key_limit, limit_amount
from llm_router.engine.moments import iso_time, parse_expiry
from llm_router.engine.operator import (
    DEFAULT_ACCOUNT,
    Arguments,
    Context,
    Result,
    account_name,
    label,
    limit_of,
    remaining,
)
from llm_router.engine.tagging import tags_named
from llm_router.engine.teams import team_title
from llm_router.privacy.redact import holds_credential

FIRST_KEY_NAME = "first key"
STARTING_REF = "starting-credit"
"""The starting credit is booked once under this reference, however often a start is interrupted."""

PREFIX_CHARS = 12
"""How much of a key is kept to recognise it by: ``sk-lr-`` and six characters."""

PATTERNS_MAX = 200

RANGE_CHARS_MAX = 60
"""Of a range of addresses. The longest has fewer, so that what is cut is none."""

PATTERN_CHARS_MAX = 200
"""Of the name of a model, or a pattern of such names."""

RANGES_MAX = 100


class CreateKey(Arguments, frozen=True, kw_only=True):
    """``keys.create``. ``expires`` is a span ("30d") or an ISO 8601 time; ``models`` are globs; ``limit`` is plain
    decimal dollars that it may spend, in all or in each ``limit_reset``."""

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
    scopes: tuple[KeyScope, ...] | None = None
    providers: tuple[str, ...] | None = None
    ip_ranges: tuple[str, ...] | None = None
    by: str | None = None
    disabled: bool = False
    limit: str | None = None
    limit_reset: Reset | None = None
    tags: tuple[str, ...] = ()


class ListKeys(Arguments, frozen=True, kw_only=True):
    """``keys.list``: of one account by pages, or all of them."""

    account: str | None = None
    after: str = ""
    limit: int = 100


class NamedKey(Arguments, frozen=True, kw_only=True):
    """``keys.show``."""

    id: str


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
    if await context.keyring.some(1):
        return None
    text, key = await _make_key(CreateKey(name=FIRST_KEY_NAME), context)
    return FirstKey(text=text, key=key, credits_remaining_pusd=await context.books.balance(DEFAULT_ACCOUNT))


async def create_key(arguments: CreateKey, context: Context) -> Result:
    """Make a key. The answer holds its text, this once.

    Raises:
        InvalidRequest: an argument is out of its range.
    """
    text, key = await _make_key(arguments, context)
    return {
        "id": key.id,
        "key": text,
        **await describe_whole(key, context),
        "credits_remaining": await remaining(key.account, context),
    }


async def show_key(arguments: NamedKey, context: Context) -> Result:
    """A key by its id, whatever its state.

    Raises:
        NotFound: there is no key with that id.
    """
    return await describe_whole(await stored_key(arguments.id, context), context)


async def describe_whole(key: Key, context: Context) -> Result:
    """A key with its limit."""
    spend = await key_limit(key, context)
    limit = describe_limit(None if spend is None else spend.budget)
    return {**describe_key(key, context.clock.now_ms()), **limit}


async def stored_key(id_: str, context: Context) -> Key:
    """
    Raises:
        NotFound: there is no key with that id.
    """
    key = await context.keyring.get(id_)
    if key is None:
        raise NotFound(f"there is no key with the id '{id_[:100]}'; llm-router keys list shows them")
    return key


async def list_keys(arguments: ListKeys, context: Context) -> Result:
    """All keys, revoked and expired ones too, the oldest first; of one account a page of them."""
    now_ms = context.clock.now_ms()
    if arguments.account is not None:
        limit = max(1, min(arguments.limit, 1000))
        page = await context.keyring.of_account(account_name(arguments.account), arguments.after, limit + 1)
        return {"keys": [describe_key(key, now_ms) for key in page[:limit]], "more": len(page) > limit}
    keys = sorted(await context.keyring.list(), key=lambda key: (key.created_ms, key.id))
    return {"keys": [describe_key(key, now_ms) for key in keys]}


async def revoke_key(arguments: RevokeKey, context: Context) -> Result:
    """Refuse a key from now on.

    Raises:
        NotFound: there is no key with that id.
    """
    now_ms = context.clock.now_ms()
    key = await context.keyring.revoke(arguments.id, now_ms)
    if key is None:
        raise NotFound(f"there is no key with the id '{arguments.id[:100]}'; llm-router keys list shows them")
    return describe_key(key, now_ms)


async def _make_key(arguments: CreateKey, context: Context) -> tuple[str, Key]:
    """Check everything, then write; the very first key brings its account the starting credit."""
    text, key = _new_key(arguments, context)
    key = await in_its_team(key, context)
    await check_open(key.account, context)
    if arguments.limit is not None:
        limit_amount(arguments.limit)
    if context.starting_pusd > 0 and not await context.keyring.some(1):
        await context.books.credit(
            key.account, context.starting_pusd, STARTING_REF, "starting credit", key.created_ms
        )
    limit = UNSET if arguments.limit is None else arguments.limit
    bound = await bound_of(key, limit, arguments.limit_reset, context)
    await context.books.write_key(key, key_digest(text.encode()), bound.budget, None, key.created_ms)
    return text, key


async def in_its_team(key: Key, context: Context) -> Key:
    """The key with the title of its team, which may have been named by its id.

    Raises:
        InvalidRequest: its account has teams, and this is none of them.
    """
    if key.team is None:
        return key
    title = await team_title(context.directory, key.account, key.team, "team")
    return msgspec.structs.replace(key, team=title)


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
        models=None if arguments.models is None else allowed_models(arguments.models, context.snapshot()),
        scopes=None if arguments.scopes is None else scopes_of(arguments.scopes),
        providers=None
        if arguments.providers is None
        else allowed_providers(arguments.providers, context.snapshot()),
        ip_ranges=None if arguments.ip_ranges is None else ranges_of(arguments.ip_ranges),
        by=arguments.by,
        disabled=arguments.disabled,
        limits=Limits(
            requests_per_minute=limit_of(arguments.requests_per_minute, "requests_per_minute"),
            tokens_per_minute=limit_of(arguments.tokens_per_minute, "tokens_per_minute"),
            concurrency=limit_of(arguments.concurrency, "concurrency"),
        ),
        usage_chunk=arguments.usage_chunk,
        strict=arguments.strict,
        priority=arguments.priority,
        tags=key_tags(arguments.tags),
    )
    return text, key


def key_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """What the requests of a key are called.

    Raises:
        InvalidRequest: they are too many, or not what a tag may be, or hold what looks like a key.
    """
    if holds_credential(" ".join(tags)):
        raise InvalidRequest("tags hold what looks like a key; it was not kept", param="tags")
    return tags_named(tags, "tags")


def scopes_of(scopes: Sequence[KeyScope]) -> tuple[KeyScope, ...]:
    """Scopes, each once.

    Raises:
        InvalidRequest: there is none.
    """
    if not scopes:
        raise InvalidRequest(f"scopes must name one of {', '.join(KeyScope)} at least", param="scopes")
    return tuple(scope for scope in KeyScope if scope in scopes)


def allowed_providers(names: Sequence[str], snapshot: Snapshot) -> tuple[str, ...]:
    """Ids of providers.

    Raises:
        InvalidRequest: one of them is none, or there is none.
    """
    if not 0 < len(names) <= PATTERNS_MAX:
        raise InvalidRequest(f"providers must name 1 to {PATTERNS_MAX} providers", param="providers")
    found = []
    for name in names:
        id_ = snapshot.provider_named(name)
        if id_ is None:
            raise InvalidRequest(f"there is no provider '{name[:100]}'", param="providers")
        found.append(id_)
    return tuple(dict.fromkeys(found))


def ranges_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Ranges of addresses in their usual form.

    Raises:
        InvalidRequest: one of them is none, or there is none.
    """
    if not 0 < len(texts) <= RANGES_MAX:
        raise InvalidRequest(f"ip_ranges must name 1 to {RANGES_MAX} ranges of addresses", param="ip_ranges")
    try:
        return tuple(dict.fromkeys(parse_range(text[:RANGE_CHARS_MAX]) for text in texts))
    except ValueError as error:
        raise InvalidRequest(
            f"ip_ranges must be addresses or ranges such as 10.0.0.0/8 or 2001:db8::/32: {error}",
            param="ip_ranges",
        ) from None


def allowed_models(patterns: tuple[str, ...], snapshot: Snapshot) -> tuple[str, ...]:
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
    if len(pattern) > PATTERN_CHARS_MAX:  # a long one takes minutes to be read
        raise InvalidRequest(f"{param} must have at most {PATTERN_CHARS_MAX} characters each", param=param)
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


def describe_key(key: Key, now_ms: int) -> Result:
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
        "tags": list(key.tags),
        "scopes": None if key.scopes is None else list(key.scopes),
        "providers": None if key.providers is None else list(key.providers),
        "ip_ranges": None if key.ip_ranges is None else list(key.ip_ranges),
        "by": key.by,
        "held": list(key.held),
        "rotated": None if key.rotated_ms is None else iso_time(key.rotated_ms),
        "old_text_until": None if key.old_until_ms is None else iso_time(key.old_until_ms),
        "version": key.version,
    }


def _status(key: Key, now_ms: int) -> str:
    if key.revoked_ms is not None:
        return "revoked"
    if key.disabled:
        return "disabled"
    return "expired" if key.expires_ms is not None and key.expires_ms <= now_ms else "active"
