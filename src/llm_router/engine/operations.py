"""The operator's commands: keys, credits, models, reload. The same whether a gateway runs or not.

A running gateway answers them through its control socket, the command line by itself when none
runs; both call :func:`dispatch`. Results are JSON objects; amounts in them are exact JSON numbers
of US dollars, times ISO 8601 in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

import msgspec

from llm_router.catalog.listing import models_page
from llm_router.catalog.snapshot import Snapshot
from llm_router.domain.errors import InvalidRequest, ModelNotFound, NotFound
from llm_router.domain.key import Key, Limits, key_digest
from llm_router.domain.money import MAX_PUSD, format_usd, parse_usd
from llm_router.engine.moments import iso_time, parse_expiry
from llm_router.ports import Books, Clock, Keyring, SideCar

DEFAULT_ACCOUNT = "default"
FIRST_KEY_NAME = "first key"
STARTING_REF = "starting-credit"
"""The starting credit is booked once under this reference, however often a start is interrupted."""

PREFIX_CHARS = 12
"""How much of a key is kept to recognise it by: ``sk-lr-`` and six characters."""

NAME_CHARS_MAX = 100
LIMIT_MAX = 10**9
PATTERNS_MAX = 200

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_REF = re.compile(r"[!-~]{1,200}")


class OperatorBooks(Books, Protocol):
    """Books that an operator can ask more of than an exchange has to."""

    async def credited(self, ref: str) -> bool:
        """Whether a grant or adjustment was booked under that reference."""
        ...


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the commands work on.

    Attributes:
        snapshot: the catalogue of now; active: ids of the providers that can be called now.
        new_key_text, new_id: from :mod:`llm_router.adapters.keymaker`.
        starting_pusd: credit of the account of the very first key.
        side_car: what is kept of conversations; None where that is switched off.
        reload: reads the configuration again and says what came of it; None where no gateway runs.
    """

    keyring: Keyring
    books: OperatorBooks
    clock: Clock
    snapshot: Callable[[], Snapshot]
    active: Callable[[], Collection[str]]
    new_key_text: Callable[[], str]
    new_id: Callable[[str], str]
    starting_pusd: int
    reload: Callable[[], Awaitable[Mapping[str, object]]] | None = None
    side_car: SideCar | None = None


class _Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


_T = TypeVar("_T", bound=_Arguments)


class CreateKey(_Arguments, frozen=True, kw_only=True):
    """``keys.create``. ``expires`` is a span ("30d") or an ISO 8601 time; ``models`` are globs."""

    name: str
    account: str = DEFAULT_ACCOUNT
    expires: str | None = None
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    usage_chunk: bool = True
    strict: bool = False


class RevokeKey(_Arguments, frozen=True, kw_only=True):
    """``keys.revoke``."""

    id: str


class AddCredits(_Arguments, frozen=True, kw_only=True):
    """``credits.add``. ``amount`` is plain decimal dollars; a ``ref`` books once, however often sent."""

    amount: str
    account: str = DEFAULT_ACCOUNT
    reason: str = "added by the operator"
    ref: str | None = None


class ShowCredits(_Arguments, frozen=True, kw_only=True):
    """``credits.show``."""

    account: str = DEFAULT_ACCOUNT


class Forget(_Arguments, frozen=True, kw_only=True):
    """``forget``."""

    account: str


class Nothing(_Arguments, frozen=True, kw_only=True):
    """A command without arguments."""


class FirstKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key that the very first start makes. ``text`` is shown once and stored nowhere."""

    text: str
    key: Key
    credits_remaining_pusd: int


Result = dict[str, object]


async def dispatch(command: str, arguments: Mapping[str, object], context: Context) -> Result:
    """Run a command by its name.

    Raises:
        InvalidRequest: there is no such command, or its arguments are wrong.
        RouterError: what the command itself raises.
    """
    match command:
        case "keys.create":
            return await create_key(_read(CreateKey, arguments), context)
        case "keys.list":
            _read(Nothing, arguments)
            return await list_keys(context)
        case "keys.revoke":
            return await revoke_key(_read(RevokeKey, arguments), context)
        case "credits.add":
            return await add_credits(_read(AddCredits, arguments), context)
        case "credits.show":
            return await show_credits(_read(ShowCredits, arguments), context)
        case "forget":
            return await forget(_read(Forget, arguments), context)
        case "models":
            _read(Nothing, arguments)
            return list_models(context)
        case "config.reload":
            _read(Nothing, arguments)
            return await reload_config(context)
        case _:
            raise InvalidRequest(
                f"this gateway knows no command '{command[:100]}'; is it of another version?"
            )


async def first_run(context: Context) -> FirstKey | None:
    """On an empty store make the default account with its starting credit, and a first key.

    None if there are keys already.
    """
    if await context.keyring.list():
        return None
    text, key = await _make_key(CreateKey(name=FIRST_KEY_NAME), context)
    return FirstKey(text=text, key=key, credits_remaining_pusd=context.books.available(DEFAULT_ACCOUNT))


async def create_key(arguments: CreateKey, context: Context) -> Result:
    """Make a key. The answer holds its text, this once.

    Raises:
        InvalidRequest: an argument is out of its range.
    """
    text, key = await _make_key(arguments, context)
    shown = _describe(key, context.clock.now_ms())
    return {"id": key.id, "key": text, **shown, "credits_remaining": _remaining(key.account, context)}


async def list_keys(context: Context) -> Result:
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


async def add_credits(arguments: AddCredits, context: Context) -> Result:
    """Book credits to an account, once per reference. ``booked`` is false where it was done before.

    Raises:
        InvalidRequest: the amount is no positive number of dollars, or an argument is malformed.
    """
    account = _account(arguments.account)
    amount_pusd = _amount(arguments.amount)
    reason = _name(arguments.reason, "reason")
    ref = context.new_id("adj") if arguments.ref is None else arguments.ref
    if not _REF.fullmatch(ref):
        raise InvalidRequest("ref must be 1 to 200 visible ASCII characters", param="ref")
    before_pusd = context.books.available(account)
    if before_pusd + amount_pusd > MAX_PUSD:
        raise InvalidRequest(
            f"an account holds at most {format_usd(MAX_PUSD)} dollars; '{account}' has {format_usd(before_pusd)}",
            param="amount",
        )
    known = await context.books.credited(ref)
    await context.books.credit(account, amount_pusd, ref, reason, context.clock.now_ms())
    result: Result = {
        "account": account,
        "amount": _dollars(amount_pusd),
        "ref": ref,
        "booked": not known,
        "credits_remaining": _remaining(account, context),
    }
    if not any(key.account == account for key in await context.keyring.list()):
        result["warnings"] = [
            f"no key spends from the account '{account}' yet; "
            f"llm-router keys create --name NAME --account {account} makes one"
        ]
    return result


async def show_credits(arguments: ShowCredits, context: Context) -> Result:
    """What an account has left.

    Raises:
        NotFound: no key belongs to it and nothing was ever left in it.
    """
    account = _account(arguments.account)
    keys = [key for key in await context.keyring.list() if key.account == account]
    if not keys and context.books.available(account) == 0:
        raise NotFound(f"there is no account '{account}': it has neither a key nor credits")
    return {"account": account, "credits_remaining": _remaining(account, context), "keys": len(keys)}


async def forget(arguments: Forget, context: Context) -> Result:
    """Delete what is kept of an account's conversations. Keys, credits and records stay.

    Raises:
        InvalidRequest: nothing is kept by this gateway.
        ServerError: it could not be deleted.
    """
    account = _account(arguments.account)
    if context.side_car is None:
        raise InvalidRequest(
            "this gateway keeps nothing (side_car.enabled is false); what it kept before is the file "
            "side-car.db of its data folder, which you can delete",
            code="side_car_disabled",
        )
    await context.side_car.forget(account)
    return {"account": account, "forgotten": True}


def list_models(context: Context) -> Result:
    """The body of ``GET /v1/models``."""
    return models_page(context.snapshot(), context.active(), context.clock.now_ms() // 1000)


async def reload_config(context: Context) -> Result:
    """Have the running gateway read its configuration again.

    Raises:
        InvalidRequest: no gateway runs, or the configuration has problems (the old one stays).
    """
    if context.reload is None:
        raise InvalidRequest(
            "no gateway runs on this data folder; it reads its configuration when it starts",
            code="not_running",
        )
    return dict(await context.reload())


def _read(kind: type[_T], arguments: Mapping[str, object]) -> _T:
    try:
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the arguments are wrong: {error}") from None


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
        account=_account(arguments.account),
        name=_name(arguments.name, "name"),
        prefix=text[:PREFIX_CHARS],
        created_ms=now_ms,
        expires_ms=None if arguments.expires is None else parse_expiry(arguments.expires, now_ms),
        models=None if arguments.models is None else _allowed(arguments.models, context.snapshot()),
        limits=Limits(
            requests_per_minute=_limit(arguments.requests_per_minute, "requests_per_minute"),
            tokens_per_minute=_limit(arguments.tokens_per_minute, "tokens_per_minute"),
            concurrency=_limit(arguments.concurrency, "concurrency"),
        ),
        usage_chunk=arguments.usage_chunk,
        strict=arguments.strict,
    )
    return text, key


def _allowed(patterns: tuple[str, ...], snapshot: Snapshot) -> tuple[str, ...]:
    """Names as public ids (rights hold for these, not for aliases), globs as they are.

    Raises:
        InvalidRequest: one of them fits no model, so that it was mistyped.
    """
    if not 0 < len(patterns) <= PATTERNS_MAX:
        raise InvalidRequest(f"models must name 1 to {PATTERNS_MAX} models or patterns", param="models")
    return tuple(dict.fromkeys(_pattern(pattern, snapshot) for pattern in patterns))


def _pattern(pattern: str, snapshot: Snapshot) -> str:
    if any(c in pattern for c in "*?["):
        if any(fnmatchcase(id_, pattern) for id_ in snapshot.models):
            return pattern
        raise InvalidRequest(
            f"no model fits the pattern '{pattern[:100]}'; llm-router models lists them", param="models"
        )
    try:
        return snapshot.resolve(pattern).model.id
    except ModelNotFound as error:
        raise InvalidRequest(f"models: {error.message}", param="models", details=error.details) from None


def _account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise InvalidRequest(
            "account must be 1 to 64 letters, digits and . _ @ - and begin with a letter or digit",
            param="account",
        )
    return text


def _name(text: str, param: str) -> str:
    name = text.strip()
    if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise InvalidRequest(f"{param} must be 1 to {NAME_CHARS_MAX} printable characters", param=param)
    return name


def _limit(value: int | None, param: str) -> int | None:
    if value is not None and not 1 <= value <= LIMIT_MAX:
        raise InvalidRequest(f"{param} must be from 1 to {LIMIT_MAX}", param=param)
    return value


def _amount(text: str) -> int:
    try:
        amount_pusd = parse_usd(text.strip().removeprefix("$"))
    except ValueError:
        raise InvalidRequest("amount must be dollars such as 5 or 12.50", param="amount") from None
    if not 0 < amount_pusd <= MAX_PUSD:
        raise InvalidRequest(
            f"amount must be more than 0 and at most {format_usd(MAX_PUSD)} dollars", param="amount"
        )
    return amount_pusd


def _describe(key: Key, now_ms: int) -> Result:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "account": key.account,
        "status": _status(key, now_ms),
        "created": iso_time(key.created_ms),
        "expires": None if key.expires_ms is None else iso_time(key.expires_ms),
        "revoked": None if key.revoked_ms is None else iso_time(key.revoked_ms),
        "models": None if key.models is None else list(key.models),
        "limits": msgspec.to_builtins(key.limits),
        "usage_chunk": key.usage_chunk,
        "strict": key.strict,
    }


def _status(key: Key, now_ms: int) -> str:
    if key.revoked_ms is not None:
        return "revoked"
    return "expired" if key.expires_ms is not None and key.expires_ms <= now_ms else "active"


def _remaining(account: str, context: Context) -> msgspec.Raw:
    return _dollars(context.books.available(account))


def _dollars(pusd: int) -> msgspec.Raw:
    return msgspec.Raw(format_usd(pusd).encode())
