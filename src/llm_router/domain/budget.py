"""Budgets: how much of its account's credit a part of it may spend within a window of time."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """What a budget bounds."""

    ACCOUNT = "account"
    TEAM = "team"
    USER = "user"
    KEY = "key"
    SESSION = "session"  # each session of the key or account that the budget names


class Window(StrEnum):
    """The time that a budget covers before it begins anew."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"  # from Monday
    MONTH = "month"  # rolling: 30 days
    LIFETIME = "lifetime"


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A hard upper bound of what is spent.

    Attributes:
        id: public handle (``bud_...``).
        account: whose credits it is about.
        scope, scope_id: what is bounded. A team, a user, a key or the account itself, by its id. For
            sessions the id of a key or of the account: each session of it has the whole amount.
        amount_pusd: at most so much is spent and held in one window.
        rolling: no stretch of time of the window's length holds more than the amount. Else windows
            follow the calendar of ``time_zone`` (an IANA name).
    """

    id: str
    account: str
    scope: Scope
    scope_id: str
    amount_pusd: int
    window: Window
    rolling: bool = False
    time_zone: str = "UTC"
    created_ms: int


class Payer(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf an exchange spends: the path from the session up to the account."""

    account: str
    key: str = ""
    team: str | None = None
    user: str | None = None
    session: str | None = None
