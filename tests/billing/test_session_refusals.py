"""What a session that reaches its ceiling is told: used is used, and held may come back."""

from __future__ import annotations

import pytest

from llm_router.billing.sessions import Session, cost_short
from llm_router.domain.errors import SessionBrake
from llm_router.domain.session import SessionLimits

LIMITS = SessionLimits(cost_pusd=1_000_000_000, repeats=0)


def begin(session: Session, step: str, worst_pusd: int) -> None:
    session.begin(step, LIMITS, 1, None, worst_pusd, 1)


def amounts(error: SessionBrake) -> list[bytes]:
    return [bytes(error.details[name]) for name in ("used", "held", "limit")]


def test_what_is_held_is_not_told_as_used_and_may_be_tried_again() -> None:
    session = Session()
    begin(session, "a", 476_000_000)
    session.end("a", counted=True, tokens=1, cost_pusd=200_000_000)
    begin(session, "b", 800_000_000)
    with pytest.raises(
        SessionBrake, match=r"\(\$0.0002 used, \$0.0008 held by requests that run\)"
    ) as refused:
        begin(session, "c", 1)
    assert amounts(refused.value) == [b"0.0002", b"0.0008", b"0.001"]
    assert (refused.value.headers, refused.value.retry_after_s) == ((("x-should-retry", "true"),), 1.0)
    session.end("b", counted=True, tokens=1, cost_pusd=800_000_000)
    with pytest.raises(SessionBrake, match=r"\(\$0.001 used\)") as refused:
        begin(session, "c", 1)
    assert (refused.value.headers, refused.value.retry_after_s) == ((("x-should-retry", "false"),), None)


@pytest.mark.parametrize(("needed", "again"), [(700_000_000, True), (900_000_000, False)])
def test_a_request_that_fits_when_others_are_done_may_be_tried_again(needed: int, again: bool) -> None:
    error = cost_short(needed, 300_000_000, 500_000_000, 1_000_000_000, 0)
    assert amounts(error) == [b"0.0002", b"0.0005", b"0.001"]
    assert (error.retry_after_s is not None) is again
    assert ("ry again when" in error.message) is again
