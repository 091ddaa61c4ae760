"""Words of the Converse API. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.events import Finish

NAME = "bedrock_converse"

CLAUDE_API = "anthropic_messages"
"""The dialect of Claude's own API. Its signatures of reasoning hold here too, and vice versa.

https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#thinking-encryption
"""

JSON_TOOL = "reply_with_json"
"""The tool that a model without structured outputs is made to call when a JSON schema was asked for.

The decoder turns its call back into text: the client never sees it.
"""

ANTHROPIC = "anthropic"
AMAZON = "amazon"

_VENDORS = frozenset(
    (
        "ai21", AMAZON, ANTHROPIC, "cohere", "deepseek", "google", "luma", "meta", "minimax", "mistral", "moonshot",
        "moonshotai", "nvidia", "openai", "qwen", "stability", "twelvelabs", "writer", "zai",
    )
)  # fmt: skip

FINISH: Mapping[str, Finish] = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "tool_use": Finish.TOOL_CALLS,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "guardrail_intervened": Finish.CONTENT_FILTER,
    "content_filtered": Finish.CONTENT_FILTER,
}

_FAILURES = ("malformed_model_output", "malformed_tool_use")
"""Ends that are the provider's failure: what came is no answer."""


def vendor_of(model: str) -> str:
    """Who made a model, by its id, inference profile or ARN; "" where these do not tell.

    ``us.anthropic.claude-...``, ``arn:aws:bedrock:...:inference-profile/eu.amazon.nova-...``.
    """
    head = model.rpartition("/")[2].lower().split(".")[:2]
    return next((word for word in head if word in _VENDORS), "")


def finish_of(native: str | None, *, calls: bool) -> Finish:
    """The canonical finish. ``calls``: the reply holds a call of a client's tool."""
    finish = FINISH.get(native or "", Finish.STOP)
    if finish in (Finish.STOP, Finish.TOOL_CALLS) and native != "stop_sequence":
        return Finish.TOOL_CALLS if calls else Finish.STOP
    return finish


def failure_of(native: str | None) -> UpstreamError | None:
    """The error that a stop reason reports; None if it is an ordinary end."""
    if native not in _FAILURES:
        return None
    return UpstreamError(
        f"The model ended its answer with {native}.",
        kind=UpstreamKind.MALFORMED,
        native_code=native,
        details={"finish_reason": native},
    )
