"""The ``response`` object around an answer: what the API always says, with what the client asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm_router.wire.dialect import ReplyContext
from llm_router.wire.dialects.openai_responses.words import is_reply_id
from llm_router.wire.events import Started
from llm_router.wire.verbatim import value as value_of

_DEFAULTS: Final[Mapping[str, Any]] = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""Members that official clients expect, and what they are when the request does not say."""


_REQUIRED: Final = ("error", "incomplete_details", "parallel_tool_calls", "tool_choice", "tools")
"""Members without which official clients refuse a response; hosts of the API leave some of them out."""

_NOT_NULL: Final = frozenset(("parallel_tool_calls", "tool_choice", "tools"))

SERVICE_TIERS: Final = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
"""The tiers that official clients know; other providers' words for theirs are left out."""


def keeps_id(id_: str, context: ReplyContext) -> bool:
    """Whether a provider's id stands as the reply's own. Not where the gateway keeps the reply by its id."""
    return not context.state and is_reply_id(id_)


def head_of(started: Started, context: ReplyContext) -> dict[str, Any]:
    """The members of a response that stay the same from its first event to its last."""
    head: dict[str, Any] = {
        "id": started.id if keeps_id(started.id, context) else context.reply_id,
        "object": "response",
        "created_at": started.created_s or context.created_s,
        "model": started.model or context.model,
        **_DEFAULTS,
        **context.echo,
        **context.state,
    }
    tier = value_of(started.extras.get("service_tier"))
    if tier in SERVICE_TIERS:
        head["service_tier"] = tier
    return head


def absent_members(response: Mapping[str, Any], context: ReplyContext) -> dict[str, Any]:
    """What a passed response must have and has not: as the client asked, or as the API says by default.

    A response's own ``reasoning`` is what was asked for: a text there (mistral.rs) is none.
    """
    known = {**_DEFAULTS, **context.echo}
    found = {
        name: known[name]
        for name in _REQUIRED
        if name not in response or (response[name] is None and name in _NOT_NULL)
    }
    if response.get("status") == "complete":
        found["status"] = "completed"
    if isinstance(response.get("reasoning"), str):
        found["reasoning"] = known["reasoning"]
    return found


def told_beside(response: Mapping[str, Any], seed: str) -> list[dict[str, Any]]:
    """Reasoning that stands beside the output, as the item that a client looks for."""
    told = response.get("reasoning")
    if not isinstance(told, str) or not told.strip():
        return []
    content = [{"type": "reasoning_text", "text": told}]
    return [{"type": "reasoning", "id": f"rs_{seed}told", "summary": [], "content": content}]
