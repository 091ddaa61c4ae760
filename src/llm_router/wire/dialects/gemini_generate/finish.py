"""Why a candidate ended: Google's 24 words (and their numbers) and what they mean to a client.

https://ai.google.dev/api/generate-content#FinishReason; failures are never a finish: they are the
provider's to retry.
"""

from __future__ import annotations

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.events import Finish

_K = UpstreamKind

NUMBERS = {
    1: "STOP",
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    5: "OTHER",
    6: "LANGUAGE",
    7: "BLOCKLIST",
    8: "PROHIBITED_CONTENT",
    9: "SPII",
    10: "MALFORMED_FUNCTION_CALL",
    11: "IMAGE_SAFETY",
    12: "UNEXPECTED_TOOL_CALL",
    13: "TOO_MANY_TOOL_CALLS",
}
"""What ``$alt=json;enum-encoding=int`` sends. 0 (unspecified) means "not finished"."""

LENGTHS = frozenset({"MAX_TOKENS", "CONTINUATION"})
FILTERS = frozenset(
    {
        "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
        "ESCALATION", "PUP_LIMITED_DISABLED", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION", "IMAGE_OTHER",
    }
)  # fmt: skip
FAILURES = {
    "MALFORMED_FUNCTION_CALL": _K.MALFORMED,
    "MALFORMED_RESPONSE": _K.MALFORMED,
    "UNEXPECTED_TOOL_CALL": _K.MALFORMED,
    "TOO_MANY_TOOL_CALLS": _K.MALFORMED,
    "MISSING_THOUGHT_SIGNATURE": _K.INVALID_REQUEST,
    "NO_IMAGE": _K.SERVER,
    "OTHER": _K.SERVER,
}


def finish_name(value: object) -> str | None:
    """The reason's name from a name or a number; None if the candidate has not finished."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float) and abs(value) < 10**6:  # neither infinite nor NaN
        return NUMBERS.get(int(value), f"FINISH_REASON_{int(value)}") if value >= 1 else None
    if isinstance(value, str):
        name = value.strip().upper()
        if name.isascii() and name.isdigit():
            return finish_name(int(name[:6]))
        return None if name in ("", "FINISH_REASON_UNSPECIFIED", "UNSPECIFIED") else name
    return None


def finish_of(name: str | None, *, calls: bool) -> Finish:
    """The canonical reason. ``calls``: the candidate holds function calls (Google says STOP then)."""
    if name in LENGTHS:
        return Finish.LENGTH
    if name in FILTERS or (name or "").startswith("IMAGE_"):
        return Finish.CONTENT_FILTER
    return Finish.TOOL_CALLS if calls else Finish.STOP


def failure_of(name: str, message: str | None) -> UpstreamError | None:
    """The error that a finish reason reports; None if it is an ordinary end."""
    kind = FAILURES.get(name)
    if kind is None:
        return None
    text = message or f"The model ended its answer with {name}."
    return UpstreamError(text, kind=kind, native_code=name, details={"finish_reason": name})


def finish_word(reason: Finish, native: str | None) -> str:
    """Google's word for a canonical reason; the native one where it is Google's own."""
    match reason:
        case Finish.LENGTH:
            return native if native in LENGTHS else "MAX_TOKENS"
        case Finish.CONTENT_FILTER:
            if native in FILTERS or (native or "").startswith("IMAGE_"):
                return native or "SAFETY"
            return "SAFETY"
        case _:
            return "STOP"
