"""Limits counted in this process's memory."""

from __future__ import annotations

from collections.abc import Sequence

from llm_router.domain.limit import Admission, Limit
from llm_router.limits.tally import Gauge, Tally


class MemoryCounters:
    """Implements the port Counters. Holds what the windows hold, and the open requests."""

    def __init__(self) -> None:
        self._tally = Tally()
        self.release_now = self._tally.release  # as the port PromptCounters says

    def __len__(self) -> int:
        return len(self._tally)

    async def admit(self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int) -> Admission:
        return self._tally.admit(ticket, limits, tokens, now_ms)

    def admit_now(self, ticket: str, limits: Sequence[Limit], tokens: int, now_ms: int) -> Admission:
        """As the port PromptCounters says."""
        return self._tally.admit(ticket, limits, tokens, now_ms)

    def gauge(self, limits: Sequence[Limit]) -> Gauge:
        """As the port PromptCounters says."""
        return Gauge(self._tally, limits)

    async def release(self, ticket: str, tokens_used: int, now_ms: int) -> None:
        self._tally.release(ticket, tokens_used, now_ms)

    def problem(self) -> str | None:
        """Memory is always there."""
        return None

    async def close(self) -> None: ...
