"""Words of the Responses API, its ids, and readers of JSON.

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from llm_router.wire.events import Finish

NAME: Final = "openai_responses"
ID_PREFIX: Final = "resp_"
ID_CHARS_MAX: Final = 64
"""Longer ids are refused when they come back."""

ENCRYPTED: Final = "reasoning.encrypted_content"
"""The ``include`` that makes reasoning come with its encrypted state, so that it can be sent back."""

STATE: Final = ("background", "conversation", "previous_response_id", "store")
"""Members about what is kept between requests."""

LOGPROBS: Final = "message.output_text.logprobs"

SEPARATOR: Final = "\n\n"
"""What stands between the parts of a reasoning summary where they make one text."""

# -- values ----------------------------------------------------------------------------------------


def text_of(value: object) -> str:
    """The string, or "" for any other value."""
    return value if isinstance(value, str) else ""


def objects(value: object) -> list[dict[str, Any]]:
    """The objects in a list; nothing else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def kind_of(item: dict[str, Any]) -> str:
    """The type of an input item, which messages and references may leave out."""
    kind = item.get("type")
    if isinstance(kind, str):
        return kind
    return "message" if "role" in item or "content" in item else "item_reference"


def whole_seconds(value: object) -> int:
    """Unix seconds; 0 if the provider gave none that can be true."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 < value < 10**11 else 0


def is_reply_id(text: str) -> bool:
    """Whether a provider's id may stand as the reply's own."""
    return text.startswith(ID_PREFIX) and 5 < len(text) <= 256 and text.isascii() and text.isprintable()


def seed_of(reply_id: str) -> str:
    """What the ids of a reply's items are made of."""
    name = "".join(c for c in reply_id.removeprefix(ID_PREFIX) if c.isascii() and c.isalnum())
    return name[-40:] or "reply"


def call_id_of(id_: str) -> str:
    """A call's id that the API takes: a longer one is replaced by its digest, the same in every request."""
    if len(id_) <= ID_CHARS_MAX:
        return id_
    return "call_" + hashlib.sha256(id_.encode("utf-8", "surrogatepass")).hexdigest()[:40]


# -- why a reply ended -----------------------------------------------------------------------------

FINISHED: Final = ("completed", "complete", "incomplete")
"""Statuses of a reply that holds an answer ("complete": seen at a compatible host)."""

UNFINISHED: Final = ("queued", "in_progress")

_REASONS: Final = {
    "content_filter": Finish.CONTENT_FILTER,
    "max_output_tokens": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
}


def finish_of(status: str, reason: str, *, calls: bool) -> Finish:
    """The canonical finish. ``reason``: of ``incomplete_details``; ``calls``: a client's tool is called.

    An answer that is incomplete for a reason not known here was cut somehow: never a plain end.
    """
    if status == "incomplete":
        return _REASONS.get(reason, Finish.LENGTH)
    return Finish.TOOL_CALLS if calls else Finish.STOP


def status_of(finish: Finish) -> tuple[str, dict[str, str] | None]:
    """``status`` and ``incomplete_details`` for a canonical finish."""
    match finish:
        case Finish.LENGTH:
            return "incomplete", {"reason": "max_output_tokens"}
        case Finish.CONTENT_FILTER:
            return "incomplete", {"reason": "content_filter"}
    return "completed", None
