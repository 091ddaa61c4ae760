"""Words of Cohere's v2 chat. https://docs.cohere.com/v2/reference/chat"""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.domain.errors import UpstreamKind
from llm_router.wire.events import Finish

NAME = "cohere_chat"

PLAN = "tool_plan"
"""``id`` of a Thinking part that is a tool plan.

Cohere calls it "a chain-of-thought style reflection and plan that the model generates when working
with Tools": reasoning, not an answer. Models that think in content blocks write none.
"""

FINISH: Mapping[str, Finish] = {
    "COMPLETE": Finish.STOP,
    "STOP_SEQUENCE": Finish.STOP,
    "TOOL_CALL": Finish.TOOL_CALLS,
    "MAX_TOKENS": Finish.LENGTH,
    "ERROR_LIMIT": Finish.LENGTH,
    "ERROR_TOXIC": Finish.CONTENT_FILTER,
}
"""The last two are v1's, which hosts of older models still send."""

FAILURES: Mapping[str, UpstreamKind] = {
    "ERROR": UpstreamKind.SERVER,
    "TIMEOUT": UpstreamKind.TIMEOUT,
    "USER_CANCEL": UpstreamKind.UNAVAILABLE,
}
"""Finish words that are no end but a failure."""


def finish_of(native: str | None, *, calls: bool) -> Finish:
    """The canonical finish. ``calls``: the reply holds tool calls, which a plain end then means."""
    finish = FINISH.get((native or "").upper(), Finish.STOP)
    if finish in (Finish.STOP, Finish.TOOL_CALLS):
        return Finish.TOOL_CALLS if calls else Finish.STOP
    return finish
