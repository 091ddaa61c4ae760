"""Canonical messages as input items."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from llm_router.wire.chat import (
    ChatRequest,
    Media,
    Message,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.openai_responses.content import CONTENT, input_part
from llm_router.wire.dialects.openai_responses.seal import kept_members, phase_of, reasoning_item
from llm_router.wire.dialects.openai_responses.words import NAME, call_id_of
from llm_router.wire.loss import Losses

BREAKPOINTS_MAX: Final = 4
"""Cache breakpoints in one request (https://platform.openai.com/docs/guides/prompt-caching)."""

_CACHES: Final = re.compile(r"(openai[./])?gpt-(5\.[6-9]|[6-9])")
"""Models that know explicit cache breakpoints."""

_FOREIGN_REASONING: Final = "reasoning goes back only to the provider it came from"


def marks_known(target: Target) -> bool:
    """Whether the model takes explicit cache breakpoints; the others cache by themselves."""
    return _CACHES.match(target.base) is not None


class ItemWriter:
    """Writes the items of one request and notes what is lost.

    ``stateless``: the provider keeps nothing, so that reasoning must bring all of itself.
    """

    def __init__(self, request: ChatRequest, target: Target, losses: Losses, *, stateless: bool) -> None:
        self._own = request.dialect == NAME
        self._marks = BREAKPOINTS_MAX if self._own or marks_known(target) else 0
        self._developer = "developer" in target.knows
        self._stateless = stateless
        self._losses = losses
        self._items: list[Any] = []
        self._said = 0

    def items(self, messages: Iterable[Message]) -> list[Any]:
        for message in messages:
            if message.name is not None:
                self._losses.add("messages[].name", "input items have no author's name")
            if message.role == "assistant":
                self._assistant(message.parts)
            else:
                self._turn(message)
        return self._items

    def _turn(self, message: Message) -> None:
        """A message of the client's: runs of content, with whole items and tool results between them."""
        role: str = message.role
        if role == "tool":
            role = "user"
        elif role == "developer" and not self._developer:
            role = "system"
        content: list[dict[str, Any]] = []
        for part in message.parts:
            match part:
                case Text() | Media():
                    content.append(self._content(part))
                case Refusal():
                    content.append({"type": "input_text", "text": part.text})
                case Opaque() if part.dialect == NAME and part.name.startswith(CONTENT):
                    content.append(_verbatim(part))
                case _:
                    self._message(role, content)
                    content = []
                    self._item(part)
        self._message(role, content)

    def _content(self, part: Text | Media) -> dict[str, Any]:
        """Content; a mark "cache up to here" is written for models that know it, others cache by themselves."""
        found = input_part(part, own=self._own)
        if part.cache is not None and self._marks:
            self._marks -= 1
            ttl = {"ttl": part.cache.ttl} if self._own and part.cache.ttl is not None else {}
            found["prompt_cache_breakpoint"] = {"mode": "explicit", **ttl}
        return found

    def _message(self, role: str, content: list[dict[str, Any]]) -> None:
        if not content:
            return
        said: Any = content
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            said = content[0]["text"]
        self._items.append({"type": "message", "role": role, "content": said})

    def _item(self, part: Part) -> None:
        match part:
            case ToolResult():
                self._result(part)
            case Opaque() if part.dialect == NAME:
                self._items.append(part.raw)
            case Opaque():
                self._losses.add(part.name, "only the provider's own API has a form for it")
            case _:
                self._losses.add(
                    f"messages.{type(part).__name__}", "it has no place in a message of this role"
                )

    def _result(self, result: ToolResult) -> None:
        if result.is_error:
            self._losses.add("tool_result.is_error", "the provider has no such mark; the text says it")
        content = [self._content(part) for part in result.content]
        output: Any = content
        if all(part.keys() == {"type", "text"} for part in content) and len(content) < 2:
            output = content[0]["text"] if content else ""
        kind = "custom_tool_call_output" if result.custom else "function_call_output"
        self._items.append({"type": kind, "call_id": call_id_of(result.call_id), "output": output})

    # -- the model's turns -------------------------------------------------------------------------

    def _assistant(self, parts: tuple[Part, ...]) -> None:
        for number, part in enumerate(parts):
            match part:
                case Text():
                    self._text(part)
                case Refusal():
                    self._refusal(part)
                case ToolCall():
                    self._call(part)
                case Thinking():
                    self._thinking(part, followed=number + 1 < len(parts))
                case Media():
                    self._losses.add(
                        f"messages.{part.form}", "the provider takes no media in the model's turns"
                    )
                case Opaque() if part.dialect == NAME and part.name.startswith(CONTENT):
                    self._output_message([_verbatim(part)])
                case Opaque() | ToolResult():
                    self._item(part)

    def _text(self, part: Text) -> None:
        if not part.text:
            return
        item: dict[str, Any] = {"type": "message", "role": "assistant", "content": part.text}
        if (phase := phase_of(part)) is not None:
            item["phase"] = phase
        self._items.append(item)

    def _refusal(self, part: Refusal) -> None:
        self._output_message([{"type": "refusal", "refusal": part.text}])

    def _output_message(self, content: list[dict[str, Any]]) -> None:
        """Output content needs the item's form with an id; any id of the right form is taken."""
        self._said += 1
        self._items.append(
            {
                "type": "message",
                "id": f"msg_turn{self._said}",
                "role": "assistant",
                "status": "completed",
                "content": content,
            }
        )

    def _call(self, part: ToolCall) -> None:
        kind, text = ("custom_tool_call", "input") if part.custom else ("function_call", "arguments")
        item = {"type": kind, "call_id": call_id_of(part.id), "name": part.name, text: part.arguments}
        self._items.append({**item, **kept_members(part.origin, part.signature)})

    def _thinking(self, part: Thinking, *, followed: bool) -> None:
        """Reasoning of this dialect goes back as it came, if it is whole and something follows it."""
        if part.origin != NAME:
            self._losses.add("messages[].reasoning", _FOREIGN_REASONING)
            return
        item = reasoning_item(part)
        if self._stateless and "encrypted_content" not in item and "content" not in item:
            self._losses.add("messages[].reasoning", "it came without the state that can be sent back")
            return
        if not followed:
            self._losses.add("messages[].reasoning", "reasoning with nothing behind it is refused")
            return
        self._items.append(item)


def _verbatim(part: Opaque) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(part.raw)
    return found
