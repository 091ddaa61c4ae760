"""A decision in one header, for who asks with ``x-llm-router-explain: 1``: bounded, ASCII, on errors too.

strategy=cheapest; plan=p2/m,p1/m; left_out=3; tried=p2/m:timeout:2000ms,p1/m; hold=0.0012
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from llm_router.domain.decision import Named, key_of
from llm_router.domain.money import format_usd
from llm_router.routing.health import spread
from llm_router.routing.plan import Plan

if TYPE_CHECKING:
    from llm_router.engine.tracks import Stances, Track

HEADER = "x-llm-router-explain"

CHARS_MAX = 1_000
"""Proxies and clients bound headers; the whole of it is told by ``/v1/generations/{id}/explain``."""

SHOWN_MAX = 8
"""Deployments in one list."""

_NO = ("", "0", "false", "off", "no")


def explain_header(track: Track) -> bytes | None:
    """What was decided so far; None if the request did not ask."""
    wish = track.call.headers.get(HEADER)
    if wish is None or wish.strip().lower() in _NO:
        return None
    text = "; ".join(f"{name}={value}" for name, value in _parts(track))
    shown = "".join(c if " " <= c <= "~" else "?" for c in text)
    return (shown if len(shown) <= CHARS_MAX else shown[: CHARS_MAX - 3] + "...").encode("ascii")


def _parts(track: Track) -> Iterable[tuple[str, str]]:
    plan = track.plan if track.admitted is None else track.admitted.plan
    if plan is not None:
        yield "strategy", plan.strategy
        if plan.auto is not None:
            yield "dial", f"{plan.auto.dial:g}"
        for named in plan.named:
            yield from _name(named)
        yield "plan", _listed([key_of(c.deployment.id, c.own_key) for c in plan.candidates])
        if track.stood is not None and (order := _order(plan, track.stood)) is not None:
            yield "order", order
        if plan.stuck is not None:
            yield "session", plan.stuck
    rejected = [] if track.error is None else track.error.details.get("rejected")
    left_out = (
        len(plan.rejections) if plan is not None else len(rejected) if isinstance(rejected, list) else 0
    )
    if left_out:
        yield "left_out", str(left_out)
    if tried := [*_failures(track), *_under_way(track)]:
        yield "tried", _listed(tried)
    if track.stopped_for is not None:
        yield "stopped", track.stopped_for
    for limit in () if track.admission is None else track.admission.limits:
        yield limit.kind, f"{limit.remaining}/{limit.limit}"
    if track.admitted is not None:
        yield "hold", format_usd(track.admitted.estimate.amount_pusd)
    if track.error is not None:
        yield "error", track.error.code


def _order(plan: Plan, stood: Stances) -> str | None:
    """The order of trying, where the health of the deployments made it another one than the plan's."""
    places = spread(stood.views, stood.thrown)
    if places == sorted(places) or len(places) != len(plan.candidates):
        return None
    return _listed([key_of(c.deployment.id, c.own_key) for c in (plan.candidates[at] for at in places)])


def _name(named: Named) -> Iterable[tuple[str, str]]:
    """What a name did that its text does not show."""
    if named.via == "successor":
        yield "successor_of", named.asked
    elif named.via == "provider":
        yield "provider", str(named.provider)
    elif named.via == "developer":
        yield "developer", named.asked.partition("/")[0]


def _failures(track: Track) -> Iterable[str]:
    for attempt in track.attempts:
        if attempt.outcome == "delivered":
            yield attempt.deployment
        else:
            cause = attempt.outcome if attempt.error_kind is None else attempt.error_kind
            yield f"{attempt.deployment}:{cause}:{attempt.duration_ms}ms"


def _under_way(track: Track) -> Iterable[str]:
    """Who answers a stream now: its attempt is over only with it."""
    if track.error is None and track.candidate is not None:
        last = track.attempts[-1] if track.attempts else None
        if last is None or last.outcome != "delivered":
            yield track.candidate.deployment.id


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN_MAX
    return ",".join(names[:SHOWN_MAX]) + (f",+{more}" if more > 0 else "")
