"""How often somebody may guess: after some wrong tries each further one has to wait longer."""

from __future__ import annotations

from llm_router.domain.account import Tries

FREE = 5
"""Wrong tries for one address of e-mail before the first wait."""

FREE_PLACE = 30
"""The same for one address of the network, behind which there may be many people."""

FREE_NEW = 10
"""People who may sign up from one address of the network before the first wait."""

PAUSE_MS = 15_000
PAUSE_MS_MAX = 15 * 60_000
FORGET_MS = 24 * 3_600_000

KNOWN_MS = 90 * 24 * 3_600_000
"""How long a place is known from which somebody signed in."""


def failed(tries: Tries | None, id_: str, now_ms: int, free: int) -> Tries:
    """The tries after one more that was wrong."""
    stale = tries is None or tries.locked_until_ms + FORGET_MS <= now_ms
    failures = 1 if tries is None or stale else tries.failures + 1
    over = failures - free
    pause_ms = 0 if over < 0 else min(PAUSE_MS * 2 ** min(over, 20), PAUSE_MS_MAX)
    known_until_ms = 0 if tries is None else tries.known_until_ms
    return Tries(
        id=id_,
        failures=failures,
        locked_until_ms=now_ms + pause_ms,
        expires_ms=max(now_ms + FORGET_MS, known_until_ms),
        known_until_ms=known_until_ms,
        version=1 if tries is None else tries.version + 1,
    )


def known(tries: Tries | None, id_: str, now_ms: int) -> Tries:
    """The tries where somebody has signed in: none is counted, and it is known for a while."""
    until_ms = now_ms + KNOWN_MS
    return Tries(
        id=id_,
        failures=0,
        locked_until_ms=0,
        expires_ms=until_ms,
        known_until_ms=until_ms,
        version=1 if tries is None else tries.version + 1,
    )


def is_known(tries: Tries | None, now_ms: int) -> bool:
    """Whether somebody has signed in from there."""
    return tries is not None and tries.known_until_ms > now_ms


def wait_ms(tries: Tries | None, now_ms: int) -> int:
    """How long the next try has to wait."""
    return 0 if tries is None else max(0, tries.locked_until_ms - now_ms)
