"""How often somebody may guess: after some wrong tries each further one has to wait longer."""

from __future__ import annotations

import msgspec

from llm_router.domain.account import Tries

FREE = 5
"""Wrong tries for one address of e-mail before the first wait."""

FREE_PLACE = 30
"""The same for one address of the network, behind which there may be many people."""

PAUSE_MS = 15_000
PAUSE_MS_MAX = 15 * 60_000
FORGET_MS = 24 * 3_600_000


def failed(tries: Tries | None, id_: str, now_ms: int, free: int) -> Tries:
    """The tries after one more that was wrong."""
    failures = 1 if tries is None else tries.failures + 1
    over = failures - free
    pause_ms = 0 if over < 0 else min(PAUSE_MS * 2 ** min(over, 20), PAUSE_MS_MAX)
    new = Tries(id=id_, failures=failures, locked_until_ms=now_ms + pause_ms, expires_ms=now_ms + FORGET_MS)
    return new if tries is None else msgspec.structs.replace(new, version=tries.version + 1)


def wait_ms(tries: Tries | None, now_ms: int) -> int:
    """How long the next try has to wait."""
    return 0 if tries is None else max(0, tries.locked_until_ms - now_ms)
