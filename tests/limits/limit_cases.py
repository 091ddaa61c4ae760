"""What the tests of limits share: limits of all kinds, and a model so plain that it cannot be wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

from llm_router.domain.budget import Scope, Window
from llm_router.domain.limit import WINDOWS_MS, Limit, LimitKind


def now(coroutine: Any) -> Any:
    """What it returns without ever waiting."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waited")


def limit(kind: str, amount: int, window: str | None = "minute", **members: Any) -> Limit:
    if kind == "concurrency":
        window = None
    defaults = {
        "id": f"{kind}-{window}-{members.get('scope_id', 'k')}",
        "account": "acme",
        "scope": Scope.KEY,
        "scope_id": "k",
        "created_ms": 0,
    }
    return Limit(
        **(defaults | members),
        kind=LimitKind(kind),
        amount=amount,
        window=None if window is None else Window(window),
    )


@dataclasses.dataclass
class _Asked:
    at_ms: int
    limits: list[Limit]
    tokens: int
    open: bool = True


class BruteForce:
    """Everything that was ever admitted, added up anew for every question. The clock must not run back.

    ``exact`` counts what a window of exactly its length held, which must never be above an amount.
    """

    def __init__(self) -> None:
        self.asked: dict[str, _Asked] = {}
        self.later: list[tuple[int, Limit, int]] = []  # tokens used beyond the estimate, when that was known

    def admitted(self, ticket: str, limits: list[Limit], tokens: int, now_ms: int) -> None:
        self.asked[ticket] = _Asked(now_ms, limits, tokens)

    def released(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        asked = self.asked[ticket]
        if asked.open:
            asked.open = False
            more = tokens_used - asked.tokens
            if more > 0:
                self.later += [(now_ms, one, more) for one in asked.limits if one.kind is LimitKind.TOKENS]
            else:
                asked.tokens = tokens_used

    def used(self, one: Limit, now_ms: int, *, slices: int = 0) -> int:
        """What counts against a limit now; with so many sixtieths of the window more."""
        mine = [a for a in self.asked.values() if any(other.id == one.id for other in a.limits)]
        if one.window is None:
            return sum(a.open for a in mine)
        length_ms = WINDOWS_MS[one.window]
        since_ms = now_ms - length_ms - slices * length_ms // 60
        live = [a for a in mine if a.at_ms > since_ms]
        if one.kind is LimitKind.REQUESTS:
            return len(live)
        later = sum(n for at_ms, other, n in self.later if other.id == one.id and at_ms > since_ms)
        return sum(a.tokens for a in live) + later

    def room(self, one: Limit, tokens: int, now_ms: int, *, slices: int = 0) -> bool:
        units = tokens if one.kind is LimitKind.TOKENS else 1
        return self.used(one, now_ms, slices=slices) + units <= one.amount
