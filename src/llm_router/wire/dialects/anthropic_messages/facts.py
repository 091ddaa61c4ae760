"""Words of the Messages API.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.wire.chat import CacheMark, Raw
from llm_router.wire.events import Finish
from llm_router.wire.verbatim import value

NAME = "anthropic_messages"

JSON_TOOL = "reply_with_json"
"""The tool that a model without structured outputs is made to call when a JSON schema was asked for.

The decoder turns its call back into text: the client never sees it.
"""

FINISH: Mapping[str, Finish] = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "tool_use": Finish.TOOL_CALLS,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "pause_turn": Finish.LENGTH,  # the turn is not over: the client may send it back to go on
    "compaction": Finish.LENGTH,  # likewise
    "refusal": Finish.CONTENT_FILTER,
}
"""https://docs.anthropic.com/en/api/handling-stop-reasons"""

_FOREIGN_FINISH: Mapping[str, Finish] = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
}
"""Words of the chat form, which some hosts of this API let through."""

_STOP_REASON: Mapping[Finish, str] = {
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "refusal",
}


def finish_of(native: str | None, *, calls: bool) -> Finish:
    """The canonical finish. ``calls``: the reply holds a call of a client's tool.

    A plain end with calls means tool calls, and "tool_use" without one is a plain end.
    """
    word = native or ""
    finish = FINISH.get(word) or _FOREIGN_FINISH.get(word) or Finish.STOP
    if finish in (Finish.STOP, Finish.TOOL_CALLS) and word != "stop_sequence":
        return Finish.TOOL_CALLS if calls else Finish.STOP
    return finish


def stop_reason_of(finish: Finish, native: str | None, stop_sequence: str | None) -> str:
    """The word for a canonical finish; the provider's own where it is one of this API's."""
    if native == "stop_sequence" and stop_sequence is None:
        native = None
    if native is not None and FINISH.get(native) is finish:
        return native
    if finish is Finish.STOP and stop_sequence is not None:
        return "stop_sequence"
    return _STOP_REASON[finish]


def stop_message(details: object) -> str | None:
    """What ``stop_details`` says about a refusal."""
    if not isinstance(details, dict):
        return None
    explanation, category = details.get("explanation"), details.get("category")
    if isinstance(explanation, str) and explanation:
        return explanation
    if isinstance(category, str) and category:
        return f"The model declined to answer (policy category: {category})."
    return None


def cache_mark(raw: Raw | None) -> CacheMark | None:
    """``cache_control`` as a mark; anything but an object is none."""
    control = value(raw)
    if not isinstance(control, dict):
        return None
    ttl = control.get("ttl")
    return CacheMark(ttl=ttl if isinstance(ttl, str) else None)


def cache_control(mark: CacheMark) -> dict[str, str]:
    """A mark as ``cache_control``. Lifetimes between 5 minutes and an hour become the default of 5 minutes."""
    if mark.ttl in ("5m", "1h"):
        return {"type": "ephemeral", "ttl": mark.ttl}
    return {"type": "ephemeral"}
