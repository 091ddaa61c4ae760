"""The rule for moving on: what follows an attempt that failed.

    what a failure means ── VERDICTS, by the kind that the wire gave it (wire/judging.py)
    what is tried next ──── :func:`following`: another deployment first, at once; else what comes after the
                            plan; else the same one again, after a pause; else nothing, and why

Pure: the time, chance and what is known of deployments are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from llm_router.domain.errors import (
    ClientError,
    ProviderNotConfigured,
    RouterError,
    UpstreamError,
    UpstreamKind,
)
from llm_router.routing.health import Fared, HealthView
from llm_router.routing.plan import Candidate
from llm_router.routing.retry import RetryBudget, RetryRules, backoff_ms

_K = UpstreamKind


class Reach(StrEnum):
    """Who else may still answer."""

    ANY = "any"  # every other deployment
    ABLE = "able"  # those with a larger context window
    MODEL = "model"  # another model only
    NONE = "none"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a failure means.

    Attributes:
        again: the same deployment may well answer the next time.
        reach: which others may.
        chain: the fallbacks of the configuration that are meant for it; None: there are none.
        fared: how it counts for the deployment's health.
        operators: the operator's to mend: the last thing that a client is told.
    """

    again: bool
    reach: Reach
    chain: str | None = "general"
    fared: Fared
    operators: bool = False


_BROKEN = Verdict(again=True, reach=Reach.ANY, fared=Fared.BADLY)
_REFUSED = Verdict(again=False, reach=Reach.ANY, fared=Fared.BADLY, operators=True)

VERDICTS: dict[UpstreamKind, Verdict] = {
    _K.INVALID_REQUEST: Verdict(again=False, reach=Reach.MODEL, chain=None, fared=Fared.NEITHER),
    _K.CONTEXT_LENGTH: Verdict(again=False, reach=Reach.ABLE, chain="context", fared=Fared.NEITHER),
    _K.CONTENT_POLICY: Verdict(again=False, reach=Reach.MODEL, chain="content_policy", fared=Fared.NEITHER),
    _K.PAYLOAD: Verdict(again=False, reach=Reach.ANY, chain="context", fared=Fared.NEITHER),
    _K.AUTHENTICATION: _REFUSED,
    _K.PERMISSION: _REFUSED,
    _K.PAYMENT: _REFUSED,
    _K.NOT_FOUND: _REFUSED,
    _K.ADDRESS: _REFUSED,
    _K.OBJECT: Verdict(again=False, reach=Reach.ANY, fared=Fared.NEITHER),
    _K.RATE_LIMIT: Verdict(again=True, reach=Reach.ANY, fared=Fared.LIMITED),
    _K.OVERLOADED: _BROKEN,
    _K.SERVER: _BROKEN,
    _K.UNAVAILABLE: _BROKEN,
    _K.TRUNCATED: _BROKEN,
    _K.MALFORMED: _BROKEN,
    _K.TIMEOUT: Verdict(again=False, reach=Reach.ANY, fared=Fared.BADLY),  # it may work on, and bill
}
"""What follows from each kind of failure; docs/reliability.md shows it."""

_UNFIT = Verdict(again=False, reach=Reach.ANY, fared=Fared.NEITHER)
"""A deployment that cannot be asked at all: it has no form for the request."""

_OPEN_TO_ALL = tuple(
    Verdict(again=False, reach=Reach.ANY, fared=Fared.NEITHER, operators=operators)
    for operators in (False, True)
)
"""Where it cannot be told whether the request or the deployment is at fault."""

_UNSIGNED = Verdict(again=False, reach=Reach.ANY, fared=Fared.NEITHER, operators=True)

KEYS_FAULT = {_K.AUTHENTICATION, _K.PERMISSION, _K.PAYMENT, _K.RATE_LIMIT}
"""What is held against a key, not against the deployment."""

CHAINED = {Reach.ABLE, Reach.MODEL}


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that failed.

    Attributes:
        called: it went upstream.
        other_key: its provider can be asked again with another key, at once.
    """

    candidate: Candidate
    error: RouterError
    called: bool = True
    other_key: bool = False

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.error)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What to try next, after how long a wait. ``why``: ``next``, ``fallback``, ``key`` or ``repeat``."""

    candidate: Candidate
    wait_ms: int = 0
    why: str = "next"


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing is tried any more, and why: ``request``, ``attempts``, ``exhausted``, ``budget``,
    ``deadline`` or ``wait``."""

    why: str


def verdict_of(error: RouterError) -> Verdict:
    """What a failure means."""
    if isinstance(error, UpstreamError):
        usual = VERDICTS[error.kind]
        return usual if error.suspected is None else _OPEN_TO_ALL[usual.operators]
    return _UNSIGNED if isinstance(error, ProviderNotConfigured) else _UNFIT


def fared(error: RouterError, *, own_key: bool) -> Fared:
    """How a failed attempt counts for its deployment. A customer's own key says nothing of it, nor does one
    of several (``own_key`` for both)."""
    if own_key and isinstance(error, UpstreamError) and error.kind in KEYS_FAULT:
        return Fared.NEITHER
    return verdict_of(error).fared


def moves_on(error: RouterError) -> bool:
    """Whether something else may be tried after the failure at all."""
    return isinstance(error, UpstreamError | ClientError | ProviderNotConfigured)


def following(
    rules: RetryRules,
    candidates: Sequence[Candidate],
    tried: Sequence[Tried],
    *,
    now_ms: int,
    due_ms: int | None,
    budget: RetryBudget,
    dice: float,
    views: Callable[[Sequence[str]], Sequence[HealthView]] | None = None,
    chain: Sequence[Candidate] = (),
) -> Step | Stop:
    """What follows the last of the failed attempts.

    Args:
        candidates: of the plan, in the order in which they are to be tried.
        due_ms: when the client stops waiting.
        dice: from 0 to 1, for the pause before a repeat.
        views: how deployments stand now; None if all may be called as usual.
        chain: what the configuration falls back to after such a failure, behind the plan.
    """
    last = tried[-1]
    left = rules.attempts_max - sum(each.called for each in tried)
    if left <= 0:
        return Stop(why="attempts")
    if due_ms is not None and now_ms >= due_ms:
        return Stop(why="deadline")
    if last.other_key:
        return Step(candidate=last.candidate, why="key")
    groups = [open_to(candidates, tried), open_to(chain, tried)]
    unheard = _models(*groups) - _models([each.candidate for each in tried])
    for why, open_ in zip(("next", "fallback"), groups, strict=True):
        if left <= len(unheard):  # the calls that are left are for the models that nobody has asked yet
            open_ = [each for each in open_ if each.deployment.model in unheard]
        if open_:
            return Step(candidate=_fittest(open_, views), why=why)
    return _again(rules, tried, now_ms=now_ms, due_ms=due_ms, budget=budget, dice=dice)


def _models(*groups: Sequence[Candidate]) -> set[str]:
    return {each.deployment.model for group in groups for each in group}


def open_to(candidates: Sequence[Candidate], tried: Sequence[Tried]) -> list[Candidate]:
    """Those of the candidates that were not tried, and that none of the failures speaks against."""
    return [each for each in candidates if _may(each, tried)]


def _may(candidate: Candidate, tried: Sequence[Tried]) -> bool:
    """Whether a candidate was not tried, and none of the failures speaks against it."""
    return not any(_same(candidate, each.candidate) or _excluded(candidate, each) for each in tried)


def _same(one: Candidate, other: Candidate) -> bool:
    return one.deployment.id == other.deployment.id and one.own_key == other.own_key


def _excluded(candidate: Candidate, failed: Tried) -> bool:
    reach = failed.verdict.reach
    if reach is Reach.ANY:
        return False
    was = failed.candidate.deployment
    other_model = candidate.deployment.model != was.model
    if reach is Reach.ABLE:
        had, has = was.context_tokens, candidate.deployment.context_tokens
        return not other_model if had is None or has is None else has <= had
    return reach is Reach.NONE or not other_model


def _fittest(
    candidates: Sequence[Candidate], views: Callable[[Sequence[str]], Sequence[HealthView]] | None
) -> Candidate:
    """The first that may be called as usual, else the first."""
    if views is not None and len(candidates) > 1:
        standing = views([each.deployment.id for each in candidates])
        for candidate, view in zip(candidates, standing, strict=True):
            if view.available:
                return candidate
    return candidates[0]


def _again(
    rules: RetryRules,
    tried: Sequence[Tried],
    *,
    now_ms: int,
    due_ms: int | None,
    budget: RetryBudget,
    dice: float,
) -> Step | Stop:
    """A repeat of what failed in passing: that which may come back first."""
    if not any(each.verdict.again for each in tried):
        return Stop(why="request" if tried[-1].verdict.reach in CHAINED else "exhausted")
    best: tuple[int, Candidate] | None = None
    for each in tried:
        calls = sum(_same(each.candidate, other.candidate) for other in tried)
        if not each.verdict.again or not _newest(each, tried) or calls > rules.repeats_max:
            continue
        wait_ms = max(backoff_ms(rules, calls - 1, dice), round(1000 * (each.error.retry_after_s or 0)))
        if best is None or wait_ms < best[0]:
            best = wait_ms, each.candidate
    if best is None:
        return Stop(why="exhausted")
    wait_ms, candidate = best
    if wait_ms > rules.wait_s_max * 1000:
        return Stop(why="wait")
    if due_ms is not None and now_ms + wait_ms >= due_ms:
        return Stop(why="deadline")
    if not budget.spend():
        return Stop(why="budget")
    return Step(candidate=candidate, wait_ms=wait_ms, why="repeat")


def _newest(each: Tried, tried: Sequence[Tried]) -> bool:
    """Whether it is the last word of its deployment."""
    return next(other for other in reversed(tried) if _same(other.candidate, each.candidate)) is each


def telling(tried: Sequence[Tried]) -> RouterError:
    """The error that the client is told: the last one, but what the operator has to mend only if there is
    nothing else."""
    return next((each for each in reversed(tried) if not each.verdict.operators), tried[-1]).error
