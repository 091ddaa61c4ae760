"""Why an answer ended: the many words of OpenAI-like servers in OpenAI's five.

A failure is never a finish: ``ERROR`` stands for words that say so, and becomes an error.
"""

from __future__ import annotations

from typing import Final

from llm_router.domain.errors import UpstreamKind

ERROR: Final = "error"

_WORDS = {
    "stop": (
        "stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "complete", "completed",
        "finished", "finish", "end", "done", "normal","finish_reason_unspecified",
    ),
    "length": (
        "length", "max_tokens", "model_length", "max_output_tokens", "max_length", "token_limit",
        "max_completion_tokens", "incomplete", "model_context_window_exceeded", "context_length",
        "pause_turn", "continuation",
    ),
    "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_calls"),
    "function_call": ("function_call",),
    "content_filter": (
        "content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content",
        "spii", "language", "refusal", "refused", "sensitive", "guardrail_intervened", "model_armor",
        "image_safety", "moderation", "blocked",
    ),
    ERROR: (
        "error", "failed", "network_error", "insufficient_system_resource", "malformed_function_call",
        "malformed_response", "unexpected_tool_call", "too_many_tool_calls", "missing_thought_signature",
        "internal_error", "server_error", "timeout", "cancelled", "abort", "aborted",
    ),
}  # fmt: skip
_MEANING = {word: meaning for meaning, words in _WORDS.items() for word in words}

_NUMBERS = {
    1: "stop", 2: "length", 3: "content_filter", 4: "content_filter", 6: "content_filter",
    7: "content_filter", 8: "content_filter", 9: "content_filter", 10: ERROR,
}  # fmt: skip
"""Gemini's enum as integers (https://ai.google.dev/api/generate-content#FinishReason)."""


def native_word(choice: dict[str, object]) -> str | None:
    """The provider's own word for the end of a choice; None if it gave none, "" if it gave that.

    Early vision models of OpenAI put it in ``finish_details``.
    """
    word = choice.get("finish_reason")
    if word is None:
        details = choice.get("finish_details")
        word = details.get("type") if isinstance(details, dict) else None
    if word is None or isinstance(word, str):
        return word
    return str(word)


def meaning(native: str | None, *, tools: bool, legacy: bool = False) -> str:
    """OpenAI's word for it, or ``ERROR``.

    ``tools``: the choice holds tool calls; ``legacy``: it holds a function_call. A normal end with
    calls is a call, whatever the provider says; "tool_calls" without any call is a normal end.
    """
    word = (native or "").strip().lower()
    found = _MEANING.get(word)
    if found is None:
        found = _NUMBERS.get(int(word), "stop") if word.isdecimal() and len(word) < 4 else "stop"
    if found in ("stop", "tool_calls", "function_call"):
        return "tool_calls" if tools else "function_call" if legacy else "stop"
    return found


def failure_kind(native: str) -> UpstreamKind:
    """What kind of failure an ``ERROR`` word means."""
    word = native.lower()
    if "resource" in word:
        return UpstreamKind.OVERLOADED
    if "timeout" in word:
        return UpstreamKind.TIMEOUT
    if "function" in word or "tool" in word or word.startswith(("malformed", "missing")):
        return UpstreamKind.MALFORMED
    return UpstreamKind.SERVER
