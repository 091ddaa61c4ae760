"""The rule for moving on: what follows an attempt that failed."""

from __future__ import annotations

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.routing.plan import Candidate, Plan

ATTEMPTS_MAX = 3
"""At most this many calls go upstream for one exchange, whatever the plan holds."""

_MOVE_ON = {
    UpstreamKind.AUTHENTICATION,
    UpstreamKind.PERMISSION,
    UpstreamKind.PAYMENT,
    UpstreamKind.NOT_FOUND,
}
"""Not worth a retry at the same place, but another provider may well serve the request."""


def advance(plan: Plan, tried: int, error: UpstreamError) -> Candidate | None:
    """The next candidate after ``tried`` attempts of which the last ended in ``error``, or None.

    Errors that are the request's own (invalid, too long, refused by policy) stop the plan.
    """
    if tried >= min(len(plan.candidates), ATTEMPTS_MAX):
        return None
    if error.retryable or error.kind in _MOVE_ON:
        return plan.candidates[tried]
    return None
