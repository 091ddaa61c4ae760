"""The operator's commands on kept bodies: what is to be kept, what is, and its deletion on request."""

from __future__ import annotations

import msgspec

from llm_router.domain.bodies import (
    BYTES_DEFAULT,
    BYTES_MAX,
    BYTES_MIN,
    DAYS_DEFAULT,
    DAYS_MAX,
    PATTERNS_MAX,
    BodyRule,
    BodyRules,
    Redactable,
    Withdrawal,
)
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.engine.bodies import BodyPolicy
from llm_router.engine.moments import iso_time, parse_moment
from llm_router.engine.operator import (
    DEFAULT_ACCOUNT,
    Arguments,
    Context,
    Result,
    account_name,
    has_key,
)
from llm_router.ports import BodyStore, Clock, ResponseStore
from llm_router.privacy.linear import PatternError, Patterns

NOT_KEPT = "content_not_kept"


class BodyDesk(msgspec.Struct, frozen=True, kw_only=True):
    """What the commands work on. ``responses``: those that clients have kept; deletion reaches them too."""

    store: BodyStore
    policy: BodyPolicy
    responses: ResponseStore


class ShowBodies(Arguments, frozen=True, kw_only=True):
    """``bodies.show``."""

    account: str = DEFAULT_ACCOUNT


class SetBodies(Arguments, frozen=True, kw_only=True):
    """``bodies.set``: of an account, or of one ``key``. What is left out is as by default. See :class:`BodyRule`."""

    account: str = DEFAULT_ACCOUNT
    key: str | None = None
    share: float = 1.0
    redact: tuple[Redactable, ...] = ()
    patterns: tuple[str, ...] = ()
    files: bool = False
    bytes_max: int = BYTES_DEFAULT
    retention_days: int = DAYS_DEFAULT


class UnsetBodies(Arguments, frozen=True, kw_only=True):
    """``bodies.unset``: nothing is kept any more; of a ``key``, what its account says holds again."""

    account: str = DEFAULT_ACCOUNT
    key: str | None = None


class ReadBody(Arguments, frozen=True, kw_only=True):
    """``bodies.read``."""

    id: str
    account: str = DEFAULT_ACCOUNT


class DeleteBodies(Arguments, frozen=True, kw_only=True):
    """``bodies.delete``: of an account, what all that is named applies to; ``everything`` where nothing is named.

    Attributes:
        responses: kept responses and conversations too, as far as they can be told by what is named.
    """

    account: str = DEFAULT_ACCOUNT
    id: str | None = None
    key: str | None = None
    user: str | None = None
    before: str | None = None
    everything: bool = False
    responses: bool = True


class RotateBodies(Arguments, frozen=True, kw_only=True):
    """``bodies.rotate``."""


async def show_bodies(arguments: ShowBodies, context: Context) -> Result:
    """What an account has kept, and by which rules."""
    account = account_name(arguments.account)
    desk = _desk(context)
    rules = await desk.policy.of(account)
    held = await desk.store.held(account, context.clock.now_ms())
    return {
        "account": account,
        "rule": None if rules.account is None else msgspec.to_builtins(rules.account),
        "keys": {key: msgspec.to_builtins(rule) for key, rule in rules.keys.items()},
        "kept": held.count,
        "size_bytes": held.size_bytes,
        "oldest": None if held.oldest_ms is None else iso_time(held.oldest_ms),
    }


async def set_bodies(arguments: SetBodies, context: Context) -> Result:
    """Have bodies kept from the next request on.

    Raises:
        InvalidRequest: an argument is out of its range.
        NotFound: the account has no such key.
    """
    account = account_name(arguments.account)
    rule = _rule(arguments)
    key = arguments.key
    if key is not None and not await has_key(account, key, context):
        raise NotFound(f"the account '{account}' has no key with the id '{key[:100]}'", param="key")

    def changed(rules: BodyRules) -> BodyRules:
        if key is None:
            return msgspec.structs.replace(rules, account=rule)
        return msgspec.structs.replace(rules, keys={**rules.keys, key: rule})

    await _desk(context).policy.change(account, changed)
    return {"account": account, "key": key, "rule": msgspec.to_builtins(rule)}


async def unset_bodies(arguments: UnsetBodies, context: Context) -> Result:
    """Take a rule away. What is kept stays until it expires, or is deleted."""
    account, key = account_name(arguments.account), arguments.key

    def changed(rules: BodyRules) -> BodyRules:
        if key is None:
            return msgspec.structs.replace(rules, account=None)
        return msgspec.structs.replace(rules, keys={k: r for k, r in rules.keys.items() if k != key})

    await _desk(context).policy.change(account, changed)
    return {"account": account, "key": key, "rule": None}


async def read_body(arguments: ReadBody, context: Context) -> Result:
    """The bodies of an exchange, as they are kept.

    Raises:
        NotFound: there is no such exchange, or nothing is kept of it.
    """
    account = account_name(arguments.account)
    record = await context.books.generation(account, arguments.id)
    if record is None:
        raise NotFound(f"the account '{account}' has no exchange '{arguments.id[:100]}'")
    return await kept_content(_desk(context).store, account, record.id, context.clock)


async def kept_content(store: BodyStore, account: str, id_: str, clock: Clock) -> Result:
    """
    Raises:
        NotFound: nothing is kept of that exchange.
    """
    found = await store.get(account, id_, clock.now_ms())
    if found is None:
        raise NotFound(
            "Nothing is kept of what was said in this exchange: the account or the key had not asked for it, it was "
            "not in the share that is kept, its time is over, or it was deleted.",
            code=NOT_KEPT,
        )
    content: dict[str, object] = msgspec.json.decode(found.content)
    return {
        "object": "generation.content",
        "id": id_,
        "key": found.key,
        "created": iso_time(found.created_ms),
        "expires": iso_time(found.expires_ms),
        **content,
    }


async def delete_bodies(arguments: DeleteBodies, context: Context) -> Result:
    """Delete what is kept, for good; also what is still under way when this is asked is not kept.

    Kept responses go too where only an account, a user or a time is named: nothing else is known of them. So does the
    state of earlier turns, where everything goes.

    Raises:
        InvalidRequest: nothing is named.
    """
    account, named = (
        account_name(arguments.account),
        (arguments.id, arguments.key, arguments.user, arguments.before),
    )
    if all(each is None for each in named) and not arguments.everything:
        raise InvalidRequest(
            "say what is to be deleted: id, key, user, before, or everything of the account",
            param="everything",
        )
    if arguments.everything and any(each is not None for each in named):
        raise InvalidRequest("everything cannot be bounded by anything else", param="everything")
    desk, now_ms = _desk(context), context.clock.now_ms()
    before_ms = now_ms + 1 if arguments.before is None else parse_moment(arguments.before, "before")
    before_ms = min(before_ms, now_ms + 1)
    id_ = arguments.id
    if id_ is not None and (record := await context.books.generation(account, id_)) is not None:
        id_ = record.id
    gone = await desk.store.withdraw(
        Withdrawal(account=account, before_ms=before_ms, id=id_, key=arguments.key, user=arguments.user)
    )
    responses: int | None = None
    if arguments.responses and id_ is None and arguments.key is None:
        responses = await desk.responses.withdraw(account, arguments.user, before_ms)
    if arguments.everything and context.side_car is not None:
        await context.side_car.forget(account)
    return {"account": account, "deleted": gone, "responses_deleted": responses}


async def rotate_bodies(arguments: RotateBodies, context: Context) -> Result:
    """Seal with a new key from now on. What is there stays readable, by the key that it names."""
    return {"sealed_with": await _desk(context).store.rotate()}


def _rule(wanted: SetBodies) -> BodyRule:
    """
    Raises:
        InvalidRequest
    """
    if not 0 <= wanted.share <= 1:
        raise InvalidRequest("share must be from 0 (none) to 1 (each exchange)", param="share")
    if not BYTES_MIN <= wanted.bytes_max <= BYTES_MAX:
        raise InvalidRequest(f"bytes_max must be from {BYTES_MIN} to {BYTES_MAX}", param="bytes_max")
    if not 1 <= wanted.retention_days <= DAYS_MAX:
        raise InvalidRequest(f"retention_days must be from 1 to {DAYS_MAX}", param="retention_days")
    if len(wanted.patterns) > PATTERNS_MAX:
        raise InvalidRequest(f"there may be {PATTERNS_MAX} patterns at most", param="patterns")
    for number, pattern in enumerate(wanted.patterns):
        try:
            Patterns([pattern])
        except PatternError as error:
            raise InvalidRequest(
                f"the pattern {pattern[:100]!r}: {error}", param=f"patterns[{number}]"
            ) from None
    try:
        Patterns(wanted.patterns)
    except PatternError as error:
        raise InvalidRequest(f"the patterns: {error}", param="patterns") from None
    return BodyRule(
        share=wanted.share,
        redact=tuple(dict.fromkeys(wanted.redact)),
        patterns=tuple(dict.fromkeys(wanted.patterns)),
        files=wanted.files,
        bytes_max=wanted.bytes_max,
        retention_days=wanted.retention_days,
    )


def _desk(context: Context) -> BodyDesk:
    if context.bodies is None:
        raise NotFound("this gateway has no store of bodies", code="not_running")
    return context.bodies
