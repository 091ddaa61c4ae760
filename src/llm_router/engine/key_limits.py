"""What a key may spend, in all or in each period: a budget of the key, written in one step with the key itself."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from llm_router.billing.budgets import Spend
from llm_router.domain.budget import Budget, Scope, Window
from llm_router.domain.errors import InvalidRequest
from llm_router.domain.key import Key
from llm_router.domain.money import MAX_PUSD, format_usd, parse_usd
from llm_router.engine.operator import Context, Result, dollars

Reset = Literal["daily", "weekly", "monthly"]
"""When what was spent of a limit is forgotten; None: never."""

WINDOWS: dict[str | None, Window] = {
    None: Window.LIFETIME,
    "daily": Window.DAY,
    "weekly": Window.WEEK,
    "monthly": Window.MONTH,
}
RESETS = {window: reset for reset, window in WINDOWS.items()}


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a key's limit. ``budget``: to be written; ``removed``: id of the one that goes."""

    budget: Budget | None = None
    removed: str | None = None


def limit_amount(text: str) -> int:
    """Picodollars of a limit.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        amount_pusd = parse_usd(text.strip().removeprefix("$"))
    except ValueError:
        raise InvalidRequest("limit must be dollars such as 0, 5 or 12.50", param="limit") from None
    if not 0 <= amount_pusd <= MAX_PUSD:
        raise InvalidRequest(f"limit must be from 0 to {format_usd(MAX_PUSD)} dollars", param="limit")
    return amount_pusd


async def key_limit(key: Key, context: Context) -> Spend | None:
    """How the limit of a key stands; None if it has none. Of several the one that was made first."""
    return limits_by_key(await context.books.budgets(key.account, context.clock.now_ms())).get(key.id)


def limits_by_key(spends: list[Spend]) -> dict[str, Spend]:
    """The limits among budgets, by the key's id."""
    found: dict[str, Spend] = {}
    for spend in spends:
        budget = spend.budget
        if budget.scope is Scope.KEY and budget.window in RESETS:
            found.setdefault(budget.scope_id, spend)
    return found


async def bound_of(
    key: Key, limit: str | UnsetType | None, reset: Reset | UnsetType | None, context: Context
) -> Bound:
    """What is to be written for a limit that is wished for; what is left out stays.

    Raises:
        InvalidRequest: the limit is no amount of dollars.
    """
    spends = await context.books.budgets(key.account, context.clock.now_ms())
    held = limits_by_key(spends).get(key.id)
    old = None if held is None else held.budget
    if limit is UNSET and (reset is UNSET or old is None):
        return Bound()
    if limit is None:
        return Bound(removed=None if old is None else old.id)
    if limit is not UNSET:
        amount_pusd = limit_amount(limit)
    else:
        assert old is not None, "asked for above"
        amount_pusd = old.amount_pusd
    if old is not None and (reset is UNSET or WINDOWS[reset] is old.window):
        return Bound(budget=msgspec.structs.replace(old, amount_pusd=amount_pusd))
    window = Window.LIFETIME if reset is UNSET else WINDOWS[reset]
    other = _there(key, window, spends)
    budget = Budget(
        id=context.new_id("bud") if other is None else other.id,
        account=key.account,
        scope=Scope.KEY,
        scope_id=key.id,
        amount_pusd=amount_pusd,
        window=window,
        created_ms=context.clock.now_ms() if other is None else other.created_ms,
    )
    return Bound(budget=budget, removed=None if old is None else old.id)


def _there(key: Key, window: Window, spends: list[Spend]) -> Budget | None:
    """The key's budget of that window that is none of its limit, but would be the same one."""
    for spend in spends:
        budget = spend.budget
        same = (budget.scope, budget.scope_id, budget.window) == (Scope.KEY, key.id, window)
        if same and not budget.rolling and budget.time_zone == "UTC":
            return budget
    return None


def describe_limit(budget: Budget | None) -> Result:
    """A key's limit as commands tell it, beside what they tell of the key."""
    return {
        "limit": None if budget is None else dollars(budget.amount_pusd),
        "limit_reset": None if budget is None else RESETS[budget.window],
    }
