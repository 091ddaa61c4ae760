"""When the same deployment is asked once more: how often, after how long, and how much of it in all."""

from __future__ import annotations

import msgspec

DOUBLINGS_MAX = 16
"""Backoff grows no further than this many doublings, whatever its bound."""


class RetryRules(msgspec.Struct, frozen=True, kw_only=True):
    """How hard an exchange is tried.

    Attributes:
        attempts_max: calls that go upstream for one exchange, of all deployments together.
        repeats_max: calls of one deployment after its first; 0: what failed is not asked again.
        budget: repeats per exchange, of all that this process serves: 0.2 is a fifth.
        reserve: repeats that may be made before there was any traffic, and saved up at most.
        backoff_s, backoff_s_max: the first wait is a random part of the former; it doubles up to the latter.
        wait_s_max: a provider that wants a longer wait than this is not waited for.
    """

    attempts_max: int = 3
    repeats_max: int = 2
    budget: float = 0.2
    reserve: int = 10
    backoff_s: float = 0.5
    backoff_s_max: float = 8.0
    wait_s_max: float = 10.0


class RetryBudget:
    """Repeats that may still be made, saved up by traffic: so that a provider in trouble does not get
    a multiple of its usual calls. One per process.

    Attributes:
        full: no more is saved; to be set to False with other rules.
    """

    def __init__(self, rules: RetryRules | None = None) -> None:
        self.rules = RetryRules() if rules is None else rules
        self._saved = float(self.rules.reserve)
        self.full = False

    @property
    def saved(self) -> float:
        return self._saved

    def earn(self) -> None:
        """An exchange begins."""
        rules = self.rules
        if self._saved < rules.reserve:
            self._saved = min(float(rules.reserve), self._saved + rules.budget)
        self.full = self._saved >= rules.reserve

    def spend(self) -> bool:
        """Take one repeat; False if there is none left."""
        if self._saved < 1.0:
            return False
        self.full = False
        self._saved -= 1.0
        return True


def backoff_ms(rules: RetryRules, repeat: int, dice: float) -> int:
    """How long to wait before the so-many-th repeat (from 0): a random part of a bound that doubles.

    Full jitter, so that clients which failed together do not come back together:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Args:
        dice: from 0 to 1.
    """
    bound_s = min(rules.backoff_s_max, rules.backoff_s * (1 << min(repeat, DOUBLINGS_MAX)))
    return round(bound_s * 1000 * dice)
