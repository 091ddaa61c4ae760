"""The operator's commands on limits."""

from __future__ import annotations

import msgspec

from llm_router.domain.budget import Scope, Window
from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.limit import SCOPES, Limit, LimitKind
from llm_router.engine.keys import model_pattern
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import (
    DEFAULT_ACCOUNT,
    LIMIT_MAX,
    Arguments,
    Context,
    Result,
    account_name,
    has_key,
    label,
)
from llm_router.engine.teams import team_title


class SetLimit(Arguments, frozen=True, kw_only=True):
    """``limits.set``. ``scope_id`` None is the account; ``window`` None is a minute, and means nothing
    to concurrency. ``model`` is a name or a glob.

    A limit of the same scope, kind, window and model gets the new amount, and keeps what was counted.
    """

    kind: LimitKind
    amount: int
    account: str = DEFAULT_ACCOUNT
    scope: Scope = Scope.ACCOUNT
    scope_id: str | None = None
    window: Window | None = None
    model: str | None = None


class ListLimits(Arguments, frozen=True, kw_only=True):
    """``limits.list``."""

    account: str = DEFAULT_ACCOUNT


class RemoveLimit(Arguments, frozen=True, kw_only=True):
    """``limits.remove``."""

    id: str


async def set_limit(arguments: SetLimit, context: Context) -> Result:
    """Make a limit, or give the one of that scope, kind, window and model another amount.

    Raises:
        InvalidRequest: an argument is malformed, or names a key or model that is not there.
    """
    if not 0 <= arguments.amount <= LIMIT_MAX:
        raise InvalidRequest(f"amount must be from 0 to {LIMIT_MAX}", param="amount")
    window = arguments.window
    if window is None and arguments.kind is not LimitKind.CONCURRENCY:
        window = Window.MINUTE
    model = arguments.model
    wanted = Limit(
        id=context.new_id("lim"),
        account=account_name(arguments.account),
        scope=arguments.scope,
        scope_id=await _scope_id(arguments, context),
        kind=arguments.kind,
        amount=arguments.amount,
        window=window,
        model=None if model is None else model_pattern(model, context.snapshot(), "model"),
        created_ms=context.clock.now_ms(),
    )
    others = await context.books.limits(wanted.account)
    limit = next((_renewed(old, wanted) for old in others if _place(old) == _place(wanted)), wanted)
    try:
        await context.books.set_limit(limit)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    return _describe(limit)


async def list_limits(arguments: ListLimits, context: Context) -> Result:
    """The limits of an account."""
    account = account_name(arguments.account)
    return {"account": account, "limits": [_describe(limit) for limit in await context.books.limits(account)]}


async def remove_limit(arguments: RemoveLimit, context: Context) -> Result:
    """Bound nothing by it any more.

    Raises:
        NotFound: there is no limit with that id.
    """
    limit = await context.books.remove_limit(arguments.id)
    if limit is None:
        raise NotFound(
            f"there is no limit with the id '{arguments.id[:100]}'; llm-router limits list shows them"
        )
    return _describe(limit)


def _place(limit: Limit) -> tuple[object, ...]:
    """What two limits cannot have in common."""
    return (limit.scope, limit.scope_id, limit.kind, limit.window, limit.model)


def _renewed(old: Limit, wanted: Limit) -> Limit:
    return msgspec.structs.replace(old, amount=wanted.amount)


async def _scope_id(arguments: SetLimit, context: Context) -> str:
    account = account_name(arguments.account)
    scope, id_ = arguments.scope, arguments.scope_id
    if scope not in SCOPES:
        raise InvalidRequest("a limit is for the account, a team, a user or a key", param="scope")
    if scope is Scope.ACCOUNT:
        if id_ not in (None, account):
            raise InvalidRequest(f"the limit of an account is that of '{account}' itself", param="scope_id")
        return account
    if id_ is None:
        raise InvalidRequest(f"name the {scope.value} that the limit is for", param="scope_id")
    if scope is Scope.TEAM:
        return await team_title(context.directory, account, id_, "scope_id")
    if scope is not Scope.KEY:
        return label(id_, "scope_id")
    if not await has_key(account, id_, context):
        raise InvalidRequest(
            f"the account '{account}' has no key '{id_[:100]}'; llm-router keys list shows them",
            param="scope_id",
        )
    return id_


def _describe(limit: Limit) -> Result:
    return {
        "id": limit.id,
        "account": limit.account,
        "scope": limit.scope.value,
        "scope_id": limit.scope_id,
        "kind": limit.kind.value,
        "amount": limit.amount,
        "window": None if limit.window is None else limit.window.value,
        "model": limit.model,
        "created": iso_time(limit.created_ms),
    }
