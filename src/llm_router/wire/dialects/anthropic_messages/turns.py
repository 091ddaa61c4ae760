"""Canonical messages to system blocks and turns that alternate.

What the API demands and how it is met (https://docs.anthropic.com/en/api/messages#body-messages):
instructions at the start are ``system``, later ones become text of the user's turn; neighbours of
one role are merged; all tool results of a turn come first in it; the first turn is the user's;
empty text is left out, and turns that become empty with it; a trailing assistant turn is continued
by the model (prefill) and may not end in white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from llm_router.wire import chat
from llm_router.wire.callids import CallIds
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.anthropic_messages.blocks import object_text
from llm_router.wire.dialects.anthropic_messages.facts import NAME, cache_control
from llm_router.wire.dialects.anthropic_messages.sources import media_block
from llm_router.wire.loss import Losses
from llm_router.wire.verbatim import members

OPENING = "."
"""The user's turn that is put before a conversation which the assistant opened."""

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")

Wire = dict[str, object] | Raw
Turn = tuple[str, list[Wire]]


class Turns:
    """The conversation as the API wants it: ``system`` blocks and ``turns``."""

    def __init__(self, request: chat.ChatRequest, losses: Losses) -> None:
        self.system: list[Wire] = []
        self.turns: list[Turn] = []
        self._own = request.dialect == NAME
        self._losses = losses
        self._ids = CallIds(_ID, "toolu_")
        for message in request.messages:
            self._message(message)
        self._finish()

    def instruct(self, text: str) -> None:
        """Add an instruction behind the client's own."""
        self.system.append({"type": "text", "text": text})

    def _message(self, message: chat.Message) -> None:
        if message.name is not None:
            self._losses.add("messages[].name", "messages have no author's name")
        blocks = list(self._blocks(message.parts))
        if message.role not in ("system", "developer"):
            self._add("assistant" if message.role == "assistant" else "user", blocks)
        elif not self.turns:
            self.system += blocks
        else:
            self._add("system" if self._own else "user", blocks)

    def _add(self, role: str, blocks: list[Wire]) -> None:
        if not blocks:
            return
        if self.turns and self.turns[-1][0] == role:
            self.turns[-1][1].extend(blocks)
        else:
            self.turns.append((role, blocks))

    def _finish(self) -> None:
        if not self.turns and self.system:  # instructions alone are no conversation here
            self.turns, self.system = [("user", self.system)], []
        if self.turns and self.turns[0][0] == "assistant":
            self.turns.insert(0, ("user", [{"type": "text", "text": OPENING}]))
        for role, blocks in self.turns:
            if role == "user":
                blocks.sort(key=lambda block: not _is(block, "tool_result"))
        self._prefill()

    def _prefill(self) -> None:
        role, blocks = self.turns[-1] if self.turns else ("user", [])
        last = blocks[-1] if blocks else None
        if role == "assistant" and isinstance(last, dict) and last["type"] == "text":
            last["text"] = str(last["text"]).rstrip()

    def _blocks(self, parts: Iterable[chat.Part]) -> Iterable[Wire]:
        for part in parts:
            block = self._block(part)
            if block is not None:
                yield block

    def _block(self, part: chat.Part) -> Wire | None:
        match part:
            case chat.Text():
                return self._text(part)
            case chat.Media():
                return media_block(part, self._losses)
            case chat.Thinking():
                return self._thinking(part)
            case chat.ToolCall():
                return self._call(part)
            case chat.ToolResult():
                return self._result(part)
            case chat.Refusal():
                return {"type": "text", "text": part.text} if part.text.strip() else None
            case chat.Opaque():
                if part.dialect == NAME:
                    return part.raw
                self._losses.add(part.name, f"only {part.dialect} has this kind of content")
        return None

    def _text(self, part: chat.Text) -> Wire | None:
        if part.origin == NAME and part.signature is not None and members(part.signature.encode()):
            return Raw(part.signature.encode())
        if not part.text.strip():
            return None
        block: dict[str, object] = {"type": "text", "text": part.text}
        cited = [cite.raw for cite in part.citations if cite.dialect == NAME and cite.raw is not None]
        if cited:
            block["citations"] = cited
        if len(cited) < len(part.citations):
            self._losses.add("messages[].annotations", "citations of other providers cannot be sent back")
        return _marked(block, part.cache)

    def _thinking(self, part: chat.Thinking) -> Wire | None:
        if part.origin == NAME and part.redacted is not None:
            return {"type": "redacted_thinking", "data": part.redacted}
        if part.origin == NAME and part.signature is not None:
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        if part.signature is not None or part.redacted is not None:  # plain text is never wanted back
            self._losses.add(
                "messages[].reasoning", "reasoning is only taken back with this provider's own signature"
            )
        return None

    def _call(self, part: chat.ToolCall) -> Wire:
        block: dict[str, object] = {
            "type": "tool_use",
            "id": self._ids.of_call(part.id),
            "name": part.name,
            "input": self._input(part),
        }
        state = members(part.signature.encode()) if part.origin == NAME and part.signature else None
        return _marked({**block, **(state or {})}, part.cache)

    def _input(self, part: chat.ToolCall) -> object:
        if part.custom:
            return {"input": part.arguments}
        if not part.arguments.strip():
            return {}
        found = object_text(part.arguments)
        if found is not None:
            return found
        self._losses.add(
            "messages[].tool_calls[].function.arguments",
            'they are no JSON object and were sent as the text member "_raw" of one',
        )
        return {"_raw": part.arguments}

    def _result(self, part: chat.ToolResult) -> Wire:
        block: dict[str, object] = {"type": "tool_result", "tool_use_id": self._ids.of_result(part.call_id)}
        blocks = list(self._blocks(part.content))
        if len(blocks) == 1 and len(part.content) == 1 and _plain(blocks[0]):
            block["content"] = part.content[0].text  # type: ignore[union-attr]
        elif blocks:
            block["content"] = blocks
        if part.is_error:
            block["is_error"] = True
        return _marked(block, part.cache)


def _is(block: Wire, kind: str) -> bool:
    return isinstance(block, dict) and block.get("type") == kind


def _plain(block: Wire) -> bool:
    return isinstance(block, dict) and set(block) == {"type", "text"}


def _marked(block: dict[str, object], mark: chat.CacheMark | None) -> dict[str, object]:
    if mark is not None:
        block["cache_control"] = cache_control(mark)
    return block
