"""Limits: how many requests and tokens a part of an account may have in a time, and how many at once.

Dollars in a time are budgets (see :mod:`llm_router.domain.budget`), not limits.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from llm_router.domain.budget import Scope, Window

WINDOWS_MS = {Window.MINUTE: 60_000, Window.HOUR: 3_600_000, Window.DAY: 86_400_000}
"""The windows that limits have, in milliseconds. They slide: each moment ends one."""

SCOPES = (Scope.ACCOUNT, Scope.TEAM, Scope.USER, Scope.KEY)
"""Whom limits bound."""


class LimitKind(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """An upper bound of what is admitted.

    Attributes:
        id: public handle (``lim_...``); what is counted is counted under it.
        account: to whom it belongs.
        scope, scope_id: whom it bounds, all of its requests together: the account, a team, a user or a key.
        amount: at most so many requests or tokens in any stretch of the window's length, or at once.
        window: minute, hour or day; None for concurrency.
        model: a glob of public model ids: only requests for such models count, all of them together.
            None: all requests.
    """

    id: str
    account: str
    scope: Scope
    scope_id: str
    kind: LimitKind
    amount: int
    window: Window | None = None
    model: str | None = None
    created_ms: int = 0


class LimitState(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a caller stands with one of the limits. Records keep it as a list, in this order.

    Attributes:
        kind: "requests", "tokens" or "concurrency".
        reset_ms: until the window is empty, if nothing more comes; None for concurrency.
        window, scope: of the limit; for concurrency the window is None.
    """

    kind: str
    limit: int
    remaining: int
    reset_ms: int | None
    window: str | None = "minute"
    scope: str = "key"


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a request fits into all limits that it concerns.

    Attributes:
        refused: None, or the limit that stands in its way longest.
        remaining: what that limit has left; retry_after_s: when the request would fit, if nothing more
            comes (a whole window for one that never fits).
        limits: the tightest limit of each kind as it stands now, for the reply's headers.
    """

    refused: Limit | None = None
    remaining: int = 0
    retry_after_s: float = 0.0
    limits: tuple[LimitState, ...] = ()


UNLIMITED = Admission()
"""The answer where there is no limit."""


def check_limit(limit: Limit) -> None:
    """
    Raises:
        ValueError: a negative amount, a scope or window that limits do not have, or concurrency with a window.
    """
    if limit.amount < 0:
        raise ValueError("the amount of a limit cannot be negative")
    if limit.scope not in SCOPES:
        raise ValueError("a limit is for the account, a team, a user or a key")
    if limit.kind is LimitKind.CONCURRENCY:
        if limit.window is not None:
            raise ValueError("a limit of concurrency has no window: it bounds every moment")
    elif limit.window not in WINDOWS_MS:
        raise ValueError("the window of a limit is a minute, an hour or a day")
