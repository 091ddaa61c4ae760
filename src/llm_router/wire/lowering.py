"""A request's own output limits, lowered in its body: the same bytes but for them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

Path = tuple[str, ...]

_THINKING: tuple[Path, ...] = (("reasoning", "max_tokens"), ("thinking", "budget_tokens"))

_LIMITS: Mapping[str, tuple[Path, ...]] = MappingProxyType(
    {
        "openai_chat": (("max_tokens",), ("max_completion_tokens",)),
        "openai_completions": (("max_tokens",),),
        "openai_responses": (("max_output_tokens",),),
        "anthropic_messages": (("max_tokens",),),
        "gemini_generate": (
            ("generationConfig", "maxOutputTokens"),
            ("generation_config", "max_output_tokens"),
            ("generationConfig", "max_output_tokens"),
            ("generation_config", "maxOutputTokens"),
        ),
    }
)
"""By the dialect of the client: where the limits of a request stand."""

_BUDGETS: Mapping[str, tuple[Path, ...]] = MappingProxyType(
    {"openai_chat": _THINKING, "anthropic_messages": _THINKING[1:]}
)
"""What may be spent on thinking, out of the limit: it must leave room for an answer."""


def lowered(dialect: str, body: bytes, most: int) -> bytes:
    """The body with every limit on output tokens at ``most``, and budgets of thinking at three quarters.

    ``body`` has been inspected: it is a JSON object. Limits that are lower stay.
    """
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for path in _LIMITS.get(dialect, ()):
        _lower(members, path, most)
    for path in _BUDGETS.get(dialect, ()):
        _lower(members, path, most * 3 // 4)
    return msgspec.json.encode(members)


def _lower(members: dict[str, msgspec.Raw], path: Path, most: int) -> None:
    name, *rest = path
    raw = members.get(name)
    if raw is None:
        return
    if rest:
        try:
            inner = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            return
        _lower(inner, tuple(rest), most)
        members[name] = msgspec.Raw(msgspec.json.encode(inner))
        return
    value = msgspec.json.decode(raw)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > most:
        members[name] = msgspec.Raw(b"%d" % most)
