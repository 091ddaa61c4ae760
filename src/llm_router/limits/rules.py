"""What a key's limits say about a request: all its windows move, or none, and where it stands then."""

from __future__ import annotations

import msgspec

from llm_router.domain.key import Limits, LimitState
from llm_router.limits.windows import Window

CONCURRENCY_RETRY_S = 1.0
"""When a slot will be free cannot be known; a second is soon, yet no busy loop."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes: as of :class:`~llm_router.ports.Admission`."""

    refused: str | None
    retry_after_s: float = 0.0
    limits: tuple[LimitState, ...] = ()


class KeyState:
    """What one key has used of its limits."""

    __slots__ = ("active", "requests", "seen_ms", "tokens")

    def __init__(self) -> None:
        self.requests = Window()
        self.tokens = Window()
        self.active = 0
        self.seen_ms = 0

    @property
    def idle(self) -> bool:
        return self.active == 0 and self.requests.empty and self.tokens.empty

    def advance(self, now_ms: int) -> None:
        self.requests.advance(now_ms)
        self.tokens.advance(now_ms)
        self.seen_ms = now_ms


def unlimited(limits: Limits) -> bool:
    return (
        limits.requests_per_minute is None and limits.tokens_per_minute is None and limits.concurrency is None
    )


def admit(state: KeyState, limits: Limits, tokens: int, now_ms: int) -> Verdict:
    """Count a request of so many tokens in every window, if all have room; else in none.

    A request larger than the whole token limit is refused like any other; it is told to wait a
    full minute, since no shorter time can help.
    """
    state.advance(now_ms)
    refused, wait_ms = _refusal(state, limits, tokens, now_ms)
    if refused is None:
        if limits.requests_per_minute is not None:
            state.requests.add(1, now_ms)
        if limits.tokens_per_minute is not None:
            state.tokens.add(tokens, now_ms)
        state.active += 1
    return Verdict(
        refused=refused,
        retry_after_s=wait_ms / 1000,
        limits=_standing(state, limits, now_ms),
    )


def release(state: KeyState, limits: Limits, tokens_estimated: int, tokens_used: int) -> None:
    """The request ended: free its slot, and correct its tokens to what it really used."""
    state.active = max(0, state.active - 1)
    if limits.tokens_per_minute is not None:
        state.tokens.correct(tokens_used - tokens_estimated)


def _refusal(state: KeyState, limits: Limits, tokens: int, now_ms: int) -> tuple[str | None, int]:
    """What stands in the way longest, and for how many milliseconds."""
    refused, wait_ms = None, 0
    if limits.concurrency is not None and state.active >= limits.concurrency:
        refused, wait_ms = "concurrency", int(CONCURRENCY_RETRY_S * 1000)
    asks = (
        ("requests", limits.requests_per_minute, state.requests, 1),
        ("tokens", limits.tokens_per_minute, state.tokens, tokens),
    )
    for name, limit, window, units in asks:
        if limit is None or window.total + units <= limit:
            continue
        wait = window.free_in_ms(window.total + units - limit, now_ms)
        if wait > wait_ms:
            refused, wait_ms = name, wait
    return refused, wait_ms


def _standing(state: KeyState, limits: Limits, now_ms: int) -> tuple[LimitState, ...]:
    kinds = (
        ("requests", limits.requests_per_minute, state.requests),
        ("tokens", limits.tokens_per_minute, state.tokens),
    )
    return tuple(
        LimitState(
            kind=kind,
            limit=limit,
            remaining=max(0, limit - window.total),
            reset_ms=window.empty_in_ms(now_ms),
        )
        for kind, limit, window in kinds
        if limit is not None
    )
