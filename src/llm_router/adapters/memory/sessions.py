"""Sessions counted in this process's memory."""

from __future__ import annotations

from llm_router.billing.sessions import SESSIONS_MAX, Calls, Granted, Sessions
from llm_router.domain.session import SessionLimits


class MemorySessions:
    """Implements the port SessionBook. A restart forgets them."""

    def __init__(self, sessions_max: int = SESSIONS_MAX) -> None:
        self._sessions = Sessions(sessions_max)

    async def begin(
        self,
        step: str,
        account: str,
        name: str,
        limits: SessionLimits,
        tokens: int,
        calls: Calls | None,
        worst_pusd: int,
        now_ms: int,
    ) -> Granted:
        session = self._sessions.session(account, name, now_ms)
        return session.begin(step, limits, tokens, calls, worst_pusd, now_ms)

    def end(self, step: str, account: str, name: str, counted: bool, tokens: int, cost_pusd: int) -> None:
        session = self._sessions.known(account, name)
        if session is not None:
            session.end(step, counted=counted, tokens=tokens, cost_pusd=cost_pusd)
