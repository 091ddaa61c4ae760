"""Rate limits in this process's memory."""

from __future__ import annotations

from collections import OrderedDict

from llm_router.domain.key import Limits
from llm_router.limits import rules
from llm_router.limits.windows import WINDOW_S
from llm_router.ports import Admission

_IDLE_MS = (WINDOW_S + 1) * 1000
_SWEEP = 2  # keys looked at per admission: more than can be added, so that idle ones cannot pile up


class MemoryCounters:
    """Implements the port Counters. Holds the keys of the last minute and those with open requests."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, rules.KeyState] = OrderedDict()  # least recently admitted first

    def __len__(self) -> int:
        return len(self._states)

    async def admit(self, key_id: str, limits: Limits, tokens: int, now_ms: int) -> Admission:
        """Admit or refuse a request of about ``tokens`` tokens, at a time that does not run backwards."""
        if rules.unlimited(limits):
            return _UNLIMITED
        state = self._states.get(key_id)
        if state is None:
            state = self._states[key_id] = rules.KeyState()
        else:
            self._states.move_to_end(key_id)
        verdict = rules.admit(state, limits, tokens, now_ms)
        self._sweep(now_ms)
        return Admission(refused=verdict.refused, retry_after_s=verdict.retry_after_s, limits=verdict.limits)

    async def release(self, key_id: str, limits: Limits, tokens_estimated: int, tokens_used: int) -> None:
        """Call once for every admitted request, with the limits and the estimate of its admission."""
        state = self._states.get(key_id)
        if state is not None:
            rules.release(state, limits, tokens_estimated, tokens_used)

    def _sweep(self, now_ms: int) -> None:
        """Drop keys that have been idle for a minute; put those with open requests to the back."""
        for _ in range(_SWEEP):
            if not self._states:
                return
            key_id, state = next(iter(self._states.items()))
            if 0 <= now_ms - state.seen_ms < _IDLE_MS:
                return
            state.advance(now_ms)
            if state.idle:
                del self._states[key_id]
            else:
                self._states.move_to_end(key_id)


_UNLIMITED = Admission(refused=None)
