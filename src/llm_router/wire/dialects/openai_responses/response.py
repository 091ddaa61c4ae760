"""The ``response`` object around an answer: what the API always says, with what the client asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm_router.wire.dialect import ReplyContext
from llm_router.wire.dialects.openai_responses.words import is_reply_id, value_of
from llm_router.wire.events import Started

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


SERVICE_TIERS: Final = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
"""The tiers that official clients know; other providers' words for theirs are left out."""


def head_of(started: Started, context: ReplyContext) -> dict[str, Any]:
    """The members of a response that stay the same from its first event to its last."""
    head: dict[str, Any] = {
        "id": started.id if is_reply_id(started.id) else context.reply_id,
        "object": "response",
        "created_at": started.created_s or context.created_s,
        "model": started.model or context.model,
        **_DEFAULTS,
        **context.echo,
    }
    tier = value_of(started.extras.get("service_tier"))
    if tier in SERVICE_TIERS:
        head["service_tier"] = tier
    return head
