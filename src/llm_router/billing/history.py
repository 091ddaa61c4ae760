"""What was spent before a budget was made, from the sums by the hour."""

from __future__ import annotations

from collections.abc import Iterable

from llm_router.billing.budgets import Budgets
from llm_router.billing.rollups import HOUR_MS
from llm_router.billing.spans import SLICES
from llm_router.domain.budget import Budget


def spent_before(
    budgets: Budgets, budget: Budget, hours: Iterable[tuple[int, int]], now_ms: int
) -> list[tuple[int, int]]:
    """(bucket, spent) of the budget's present window.

    Of an hour that the window cuts, nothing counts at its beginning.

    Args:
        hours: (Unix hour, what the budget's scope spent in it).
    """
    live = budgets.bucket_of(budget, now_ms)
    oldest = live - SLICES if budget.rolling else live
    spent: dict[int, int] = {}
    for hour, cost_pusd in hours:
        moment_ms = min((hour + 1) * HOUR_MS - 1, now_ms) if budget.rolling else hour * HOUR_MS
        bucket = budgets.bucket_of(budget, moment_ms)
        if cost_pusd and bucket >= oldest:
            spent[bucket] = spent.get(bucket, 0) + cost_pusd
    return list(spent.items())
