""" "Cache the prompt up to here": how many marks a provider takes, and in which order of lifetimes.

At most four stand in one request, at Anthropic, AWS and OpenAI alike. Of more, the last ones count:
each covers the prompt up to itself, so they cover what the earlier ones did. Anthropic also wants
longer lifetimes before shorter ones, in the order of the prompt: tools, instructions, conversation.

https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching,
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html,
https://platform.openai.com/docs/guides/prompt-caching
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from llm_router.wire import chat
from llm_router.wire.loss import Losses

MARKS_MAX: Final = 4

_FIELD: Final = "cache_control"


def fit_marks(request: chat.ChatRequest, losses: Losses, *, most: int = MARKS_MAX) -> chat.ChatRequest:
    """The request with at most ``most`` marks, none of an hour behind a shorter one."""
    marks = list(_marks(request))
    kept = _kept(marks, losses, most)
    if kept == marks:
        return request
    left = iter(kept)

    def next_mark(part: Any) -> Any:
        if part.cache is None:
            return part
        return msgspec.structs.replace(part, cache=next(left))

    # the prompt's order: tools, then instructions and conversation as they come
    tools = tuple(next_mark(tool) for tool in request.tools)
    first = tuple(_remarked(m, next_mark) if _instructs(m) else m for m in request.messages)
    rest = tuple(m if _instructs(m) else _remarked(m, next_mark) for m in first)
    return msgspec.structs.replace(request, tools=tools, messages=rest)


def _kept(marks: list[chat.CacheMark], losses: Losses, most: int) -> list[chat.CacheMark | None]:
    kept: list[chat.CacheMark | None] = [None] * len(marks)
    shorter = False
    for at in range(max(0, len(marks) - most), len(marks)):
        mark = marks[at]
        if mark.ttl == "1h" and shorter:
            losses.add(_FIELD, "an hour cannot follow a shorter lifetime: it is made a short one too")
            mark = chat.CacheMark(ttl="5m")
        shorter = shorter or mark.ttl != "1h"
        kept[at] = mark
    if len(marks) > most:
        losses.add(_FIELD, f"at most {most} marks are taken; the last ones, which cover the others, are kept")
    return kept


def _instructs(message: chat.Message) -> bool:
    return message.role in ("system", "developer")


def _marks(request: chat.ChatRequest) -> Iterable[chat.CacheMark]:
    ordered = sorted(request.messages, key=lambda message: not _instructs(message))
    parts: list[Any] = [part for message in ordered for part in message.parts]
    for holder in (*request.tools, *(inner for part in parts for inner in _inner(part))):
        mark = getattr(holder, "cache", None)
        if mark is not None:
            yield mark


def _inner(part: Any) -> tuple[Any, ...]:
    """What of a part can be marked: of a tool's answer, its content before itself."""
    return (*part.content, part) if isinstance(part, chat.ToolResult) else (part,)


def _remarked(message: chat.Message, next_mark: Callable[[Any], Any]) -> chat.Message:
    parts: list[Any] = []
    for part in message.parts:
        if isinstance(part, chat.ToolResult):
            part = msgspec.structs.replace(part, content=tuple(next_mark(inner) for inner in part.content))
        parts.append(next_mark(part) if hasattr(part, "cache") else part)
    return msgspec.structs.replace(message, parts=tuple(parts))
