"""What budgets say is spent of them, held against the exchanges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llm_router.billing.budgets import Budgets, Share
from llm_router.domain.budget import Budget, Scope, Window
from llm_router.domain.record import ExchangeRecord

BIRTH_MS = 60_000
"""Around its making a budget counts by hours what was spent before, so that exchanges of that moment
may or may not be in its first window, or in which part of it."""


def _is_plain(budget: Budget) -> bool:
    """Whether a budget's windows are made of whole hours, so that nothing of them is lost when it is made."""
    return not budget.rolling and budget.scope is not Scope.SESSION and budget.window is not Window.MINUTE


class Spending:
    """The costs of exchanges, added up where the budgets of a store count them."""

    def __init__(self, budgets: Iterable[Budget], now_ms: int, *, exact: bool = False) -> None:
        """``exact``: what comes after a budget is counted from its first moment on: one process makes them all."""
        self._now_ms = now_ms
        self._budgets = Budgets()
        for budget in budgets:
            self._budgets.put(budget)
        self._by_id = {budget.id: budget for budget in self._budgets.all()}
        self._birth_ms = {
            budget.id: 0 if exact and _is_plain(budget) else BIRTH_MS for budget in self._budgets.all()
        }
        self._after: dict[Share, int] = {}
        self._before: dict[str, int] = {}
        self.budgets = len(self._by_id)

    def add(self, record: ExchangeRecord) -> None:
        """Count an exchange."""
        if not record.cost_pusd or not self._by_id:
            return
        for share in self._budgets.shares(record.payer, record.created_ms):
            if record.created_ms > self._by_id[share.budget].created_ms + self._birth_ms[share.budget]:
                self._after[share] = self._after.get(share, 0) + record.cost_pusd
            else:
                self._before[share.budget] = self._before.get(share.budget, 0) + record.cost_pusd

    def doubts(self, rows: Iterable[tuple[str, str, int, int]]) -> Iterator[tuple[str, str]]:
        """(where, what) of every figure that the exchanges do not bear out. The rows are what is said to be
        spent, as (budget, session, bucket, spent).

        Of a session only too much is one: it begins anew after a pause. A row of a window that is over
        may be gone.
        """
        after = dict(self._after)
        for id_, session, bucket, spent in rows:
            share = Share(id_, session, bucket)
            least = after.pop(share, 0)
            budget = self._by_id.get(id_)
            if budget is None:
                continue  # it was removed; its rows go with the next start
            most = least + (self._before.get(id_, 0) if self._is_first(budget, bucket) else 0)
            if spent > most or (spent < least and not session):
                yield (
                    f"budget {id_}, bucket {bucket}",
                    f"{spent} p$ are spent of it, its exchanges come to {least if spent < least else most} p$",
                )
        for share, pusd in after.items():
            budget = self._by_id[share.budget]
            if not share.session and share.bucket >= self._budgets.bucket_of(budget, self._now_ms):
                yield f"budget {share.budget}, bucket {share.bucket}", f"its row of {pusd} p$ is missing"

    def _is_first(self, budget: Budget, bucket: int) -> bool:
        """Whether the bucket may count what was spent before the budget was made."""
        return bucket <= self._budgets.bucket_of(budget, budget.created_ms + BIRTH_MS)
