"""What one session of an agent may use in all."""

from __future__ import annotations

import msgspec

REPEATS_DEFAULT = 25
"""The same call so often in a row is a loop: what agents repeat on purpose, such as polling, is shorter."""


class SessionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Ceilings of one session; None means unbounded.

    Attributes:
        cost_pusd: picodollars held and charged, in all.
        steps: requests that were sent.
        tokens: input and output; a step begins only if its input is expected to fit.
        repeats: the same tool call so often in a row is refused; 0 never. Also without a session.
    """

    cost_pusd: int | None = None
    steps: int | None = None
    tokens: int | None = None
    repeats: int = REPEATS_DEFAULT


def lower(first: int | None, second: int | None) -> int | None:
    """The lower of two ceilings."""
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)
