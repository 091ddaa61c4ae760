"""Which limits concern a request: those of the payer's path whose model fits, the key's own included."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from llm_router.domain.budget import Payer, Scope, Window
from llm_router.domain.key import Limits
from llm_router.domain.limit import Limit, LimitKind, check_limit

_OWN = (
    ("requests_per_minute", LimitKind.REQUESTS, Window.MINUTE),
    ("tokens_per_minute", LimitKind.TOKENS, Window.MINUTE),
    ("concurrency", LimitKind.CONCURRENCY, None),
)

NO_LIMITS = Limits()


def own_limits(payer: Payer, own: Limits, default: Limits) -> list[Limit]:
    """The limits that a key was made with, and the configured ones where it has none of that kind.

    Whatever they amount to, they count in the same place.
    """
    if own == NO_LIMITS and default == NO_LIMITS:
        return []
    found: list[Limit] = []
    for name, kind, window in _OWN:
        amount: int | None = getattr(own, name)
        if amount is None:
            amount = getattr(default, name)
        if amount is not None:
            found.append(
                Limit(
                    id=f"{payer.key}.{kind}",
                    account=payer.account,
                    scope=Scope.KEY,
                    scope_id=payer.key,
                    kind=kind,
                    amount=amount,
                    window=window,
                )
            )
    return found


def concerning(limits: Iterable[Limit], model: str) -> list[Limit]:
    """Those of the limits that count a request for a model, by its public id."""
    return [limit for limit in limits if limit.model is None or fnmatchcase(model, limit.model)]


class LimitBook:
    """All limits that were made, found by whom they bound."""

    def __init__(self, limits: Iterable[Limit] = ()) -> None:
        self._limits: dict[str, Limit] = {}
        self._bound: dict[tuple[str, Scope, str], tuple[Limit, ...]] = {}
        for limit in limits:
            self.put(limit)

    def put(self, limit: Limit) -> None:
        """Add a limit, or replace the one of that id.

        Raises:
            ValueError: it cannot be.
        """
        check_limit(limit)
        self.remove(limit.id)
        self._limits[limit.id] = limit
        place = _place(limit)
        self._bound[place] = (*self._bound.get(place, ()), limit)

    def remove(self, limit_id: str) -> Limit | None:
        """Forget a limit; None if there is none of that id."""
        limit = self._limits.pop(limit_id, None)
        if limit is not None:
            place = _place(limit)
            rest = tuple(other for other in self._bound[place] if other.id != limit_id)
            if rest:
                self._bound[place] = rest
            else:
                del self._bound[place]
        return limit

    def get(self, limit_id: str) -> Limit | None:
        return self._limits.get(limit_id)

    def of_account(self, account: str) -> list[Limit]:
        """Those of an account, in the order in which they were made."""
        own = [limit for limit in self._limits.values() if limit.account == account]
        return sorted(own, key=lambda limit: (limit.created_ms, limit.id))

    def of_payer(self, payer: Payer) -> tuple[Limit, ...]:
        """Those on the way from a payer's key up to its account."""
        if not self._bound:
            return ()
        found: tuple[Limit, ...] = ()
        for scope, id_ in (
            (Scope.ACCOUNT, payer.account),
            (Scope.TEAM, payer.team),
            (Scope.USER, payer.user),
            (Scope.KEY, payer.key),
        ):
            if id_:
                found += self._bound.get((payer.account, scope, id_), ())
        return found


def _place(limit: Limit) -> tuple[str, Scope, str]:
    return limit.account, limit.scope, limit.scope_id
