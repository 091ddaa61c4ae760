"""The operator's commands on budgets."""

from __future__ import annotations

import msgspec

from llm_router.billing.budgets import Spend
from llm_router.domain.budget import Budget, Scope, Window
from llm_router.domain.errors import IdempotencyConflict, InvalidRequest, NotFound
from llm_router.domain.key import Key
from llm_router.domain.money import MAX_PUSD, format_usd, parse_usd
from llm_router.engine.moments import iso_time
from llm_router.engine.operator import (
    DEFAULT_ACCOUNT,
    Arguments,
    Context,
    Result,
    account_name,
    dollars,
    has_key,
    label,
)
from llm_router.engine.teams import team_title


class SetBudget(Arguments, frozen=True, kw_only=True):
    """``budgets.set``. ``amount`` is plain decimal dollars, 0 included. ``scope_id`` None is the account.

    A budget of the same scope and window gets the new amount, and keeps what was spent.
    """

    amount: str
    account: str = DEFAULT_ACCOUNT
    scope: Scope = Scope.ACCOUNT
    scope_id: str | None = None
    window: Window = Window.MONTH
    rolling: bool = False
    time_zone: str = "UTC"


class ListBudgets(Arguments, frozen=True, kw_only=True):
    """``budgets.list``."""

    account: str = DEFAULT_ACCOUNT


class RemoveBudget(Arguments, frozen=True, kw_only=True):
    """``budgets.remove``."""

    id: str


async def set_budget(arguments: SetBudget, context: Context) -> Result:
    """Make a budget, or give the one of that scope and window another amount.

    Raises:
        InvalidRequest: an argument is malformed, or names a key that the account has not.
    """
    now_ms = context.clock.now_ms()
    wanted = Budget(
        id=context.new_id("bud"),
        account=account_name(arguments.account),
        scope=arguments.scope,
        scope_id=await _scope_id(arguments, context),
        amount_pusd=_amount(arguments.amount),
        window=arguments.window,
        rolling=arguments.rolling,
        time_zone=arguments.time_zone,
        created_ms=now_ms,
    )
    spends = await context.books.budgets(wanted.account, now_ms)
    budget = next((_renewed(s.budget, wanted) for s in spends if _place(s.budget) == _place(wanted)), wanted)
    held = await _held(budget, context)
    try:
        if held is None:
            await context.books.set_budget(budget, now_ms)
        elif not await context.books.write_key(held, None, budget, None, now_ms):
            raise IdempotencyConflict(
                f"the key '{held.id}' was changed meanwhile: repeat the budget", code="overtaken"
            )
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    found = [s for s in await context.books.budgets(budget.account, now_ms) if s.budget.id == budget.id]
    return _describe(budget, found)


async def list_budgets(arguments: ListBudgets, context: Context) -> Result:
    """The budgets of an account, with what is spent and held of each in its present window."""
    account = account_name(arguments.account)
    spends: dict[str, list[Spend]] = {}
    for spend in await context.books.budgets(account, context.clock.now_ms()):
        spends.setdefault(spend.budget.id, []).append(spend)
    return {"account": account, "budgets": [_describe(found[0].budget, found) for found in spends.values()]}


async def remove_budget(arguments: RemoveBudget, context: Context) -> Result:
    """Bound nothing by it any more.

    Raises:
        NotFound: there is no budget with that id.
    """
    budget = await context.books.remove_budget(arguments.id)
    if budget is None:
        raise NotFound(
            f"there is no budget with the id '{arguments.id[:100]}'; llm-router budgets list shows them"
        )
    await _let_go(budget, context)
    return _describe(budget, [])


async def _held(budget: Budget, context: Context) -> Key | None:
    """The key that a budget bounds, to be written with it: who made it may not take back what somebody else set. None:
    nothing of it changes."""
    if budget.scope is not Scope.KEY:
        return None
    key = await context.keyring.get(budget.scope_id)
    if key is None or key.revoked_ms is not None or context.by.id == key.by or "limit" in key.held:
        return None
    return msgspec.structs.replace(key, held=(*key.held, "limit"), version=key.version + 1)


async def _let_go(budget: Budget, context: Context) -> None:
    """Nobody holds a limit any more that is gone. A key that is changed meanwhile stays as it is."""
    key = await context.keyring.get(budget.scope_id) if budget.scope is Scope.KEY else None
    if key is not None and key.revoked_ms is None and "limit" in key.held:
        left = tuple(name for name in key.held if name != "limit")
        await context.keyring.change(msgspec.structs.replace(key, held=left, version=key.version + 1))


def _place(budget: Budget) -> tuple[object, ...]:
    """What two budgets cannot have in common."""
    return (budget.scope, budget.scope_id, budget.window, budget.rolling, budget.time_zone)


def _renewed(old: Budget, wanted: Budget) -> Budget:
    return Budget(
        id=old.id,
        account=old.account,
        scope=old.scope,
        scope_id=old.scope_id,
        amount_pusd=wanted.amount_pusd,
        window=old.window,
        rolling=old.rolling,
        time_zone=old.time_zone,
        created_ms=old.created_ms,
    )


async def _scope_id(arguments: SetBudget, context: Context) -> str:
    account = account_name(arguments.account)
    scope, id_ = arguments.scope, arguments.scope_id
    if scope is Scope.ACCOUNT or (scope is Scope.SESSION and id_ is None):
        if id_ not in (None, account):
            raise InvalidRequest(f"the budget of an account is that of '{account}' itself", param="scope_id")
        return account
    if id_ is None:
        raise InvalidRequest(f"name the {scope.value} that the budget is for", param="scope_id")
    if scope in (Scope.KEY, Scope.SESSION) and id_ != account:
        if not await has_key(account, id_, context):
            raise InvalidRequest(
                f"the account '{account}' has no key '{id_[:100]}'; llm-router keys list shows them",
                param="scope_id",
            )
        return id_
    if scope is Scope.TEAM:
        return await team_title(context.directory, account, id_, "scope_id")
    return label(id_, "scope_id")


def _amount(text: str) -> int:
    try:
        amount_pusd = parse_usd(text.strip().removeprefix("$"))
    except ValueError:
        raise InvalidRequest("amount must be dollars such as 0, 5 or 12.50", param="amount") from None
    if not 0 <= amount_pusd <= MAX_PUSD:
        raise InvalidRequest(f"amount must be from 0 to {format_usd(MAX_PUSD)} dollars", param="amount")
    return amount_pusd


def _describe(budget: Budget, spends: list[Spend]) -> Result:
    return {
        "id": budget.id,
        "account": budget.account,
        "scope": budget.scope.value,
        "scope_id": budget.scope_id,
        "amount": dollars(budget.amount_pusd),
        "window": budget.window.value,
        "rolling": budget.rolling,
        "time_zone": budget.time_zone,
        "created": iso_time(budget.created_ms),
        "spends": [
            {
                "session": spend.session or None,
                "spent": dollars(spend.spent_pusd),
                "held": dollars(spend.held_pusd),
                "left": dollars(max(0, budget.amount_pusd - spend.spent_pusd - spend.held_pusd)),
                "resets": None if spend.ends_ms is None else iso_time(spend.ends_ms),
            }
            for spend in spends
        ],
    }
