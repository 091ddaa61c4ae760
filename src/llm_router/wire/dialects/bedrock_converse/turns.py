"""Canonical messages to system blocks and turns that alternate.

What the API demands and how it is met
(https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html): instructions at
the start are ``system``, later ones become text of the user's turn; neighbours of one role are
merged; results of tools come first in their turn; the first turn is the user's; blank text is left
out, and turns that become empty with it; a turn with a document holds text too; images and
documents are the user's alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from llm_router.domain.errors import InvalidRequest
from llm_router.wire import chat
from llm_router.wire.callids import CallIds
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.bedrock_converse.facts import AMAZON, ANTHROPIC, CLAUDE_API, NAME
from llm_router.wire.dialects.bedrock_converse.sources import DocumentNames, media_block
from llm_router.wire.encoding import arguments_object
from llm_router.wire.loss import Losses
from llm_router.wire.verbatim import members

OPENING = "."
"""The user's text where the API demands one and the client sent none."""

NO_RESULT = "(no output)"
"""The result of a tool that gave nothing: blank text is refused."""

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # points and colons are refused by Claude

Block = dict[str, object] | Raw
Group = list[Block]
"""A block and the cache point behind it, if there is one."""


class Turns:
    """The conversation as the API wants it. ``tools`` are the names of all tools called in it.

    Raises:
        UnsupportedContent: media that the API does not take.
        InvalidRequest: a tool result that answers no call.
    """

    def __init__(self, request: chat.ChatRequest, vendor: str, losses: Losses) -> None:
        self._vendor = vendor
        self._losses = losses
        self._ids = CallIds(_CALL_ID, "tooluse_")
        self._names = DocumentNames()
        self.tools: dict[str, None] = {}
        self._system: list[Group] = []
        self._turns: list[tuple[str, list[Group]]] = []
        for message in request.messages:
            self._message(message)
        self._finish()

    @property
    def system(self) -> list[Block]:
        return [block for group in self._system for block in group]

    @property
    def messages(self) -> list[dict[str, object]]:
        return [
            {"role": role, "content": [block for group in groups for block in group]}
            for role, groups in self._turns
        ]

    @property
    def prefilled(self) -> bool:
        """Whether the model is to continue a given answer."""
        return bool(self._turns) and self._turns[-1][0] == "assistant"

    @property
    def unsigned_calls(self) -> bool:
        """Whether the turn that awaits an answer continues calls which no reasoning precedes."""
        if len(self._turns) < 2 or self._turns[-2][0] != "assistant":
            return False
        kinds = [_kind(group[0]) for group in self._turns[-2][1]]
        return "toolUse" in kinds and kinds[0] != "reasoningContent"

    def instruct(self, text: str) -> None:
        """Add an instruction behind the client's own."""
        self._system.append([{"text": text}])

    def _message(self, message: chat.Message) -> None:
        if message.name is not None:
            self._losses.add("messages[].name", "messages have no author's name")
        role = "assistant" if message.role == "assistant" else "user"
        groups = list(self._groups(message.parts, role))
        if message.role in ("system", "developer") and not self._turns:
            self._system += groups
        else:
            self._add(role, groups)

    def _add(self, role: str, groups: list[Group]) -> None:
        if not groups:
            return
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(groups)
        else:
            self._turns.append((role, groups))

    def _finish(self) -> None:
        if not self._turns and self._system:  # instructions alone are no conversation here
            self._turns, self._system = [("user", self._system)], []
        if self._turns and self._turns[0][0] == "assistant":
            self._turns.insert(0, ("user", [[{"text": OPENING}]]))
        for role, groups in self._turns:
            if role == "user":
                groups.sort(key=lambda group: _kind(group[0]) != "toolResult")
                kinds = {_kind(group[0]) for group in groups}
                if "document" in kinds and "text" not in kinds:
                    groups.append([{"text": OPENING}])
        last = self._turns[-1][1][-1][0] if self.prefilled else None
        if isinstance(last, dict) and "text" in last:  # a given beginning may not end in white space
            last["text"] = str(last["text"]).rstrip()

    def _groups(self, parts: Iterable[chat.Part], role: str) -> Iterable[Group]:
        for part in parts:
            block = self._block(part, role)
            if block is not None:
                mark = getattr(part, "cache", None)
                yield [block, *self.cache_point(mark)]

    def cache_point(self, mark: chat.CacheMark | None) -> list[Block]:
        """The block that follows what is to be cached, for the models that cache.

        https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
        """
        if mark is None:
            return []
        if self._vendor not in (ANTHROPIC, AMAZON, ""):
            self._losses.add("cache_control", "the model has no prompt cache that can be marked")
            return []
        point = {"type": "default"}
        if mark.ttl == "1h" and self._vendor == ANTHROPIC:
            point["ttl"] = "1h"
        return [{"cachePoint": point}]

    def _block(self, part: chat.Part, role: str) -> Block | None:
        match part:
            case chat.Text():
                return self._text(part)
            case chat.Media():
                if role == "user":
                    return media_block(part, self._names, self._losses)
                self._losses.add("messages[].content", "the assistant's turns cannot hold media")
            case chat.Thinking():
                return self._thinking(part)
            case chat.ToolCall():
                return self._call(part)
            case chat.ToolResult():
                return self._result(part)
            case chat.Refusal():
                return {"text": part.text} if part.text.strip() else None
            case chat.Opaque():
                if part.dialect == NAME:
                    return part.raw
                self._losses.add(part.name, f"only {part.dialect} has this kind of content")
        return None

    def _text(self, part: chat.Text) -> Block | None:
        if not part.text.strip():
            return None
        cited = [cite.raw for cite in part.citations if cite.dialect == NAME and cite.raw is not None]
        if cited and len(cited) == len(part.citations):
            return {"citationsContent": {"content": [{"text": part.text}], "citations": cited}}
        if part.citations:
            self._losses.add("messages[].annotations", "citations of other providers cannot be sent back")
        return {"text": part.text}

    def _thinking(self, part: chat.Thinking) -> Block | None:
        if part.origin == NAME and part.redacted is not None:
            return {"reasoningContent": {"redactedContent": part.redacted}}
        signed = part.signature is not None and part.redacted is None and self._vendor in (ANTHROPIC, "")
        if signed and part.origin in (NAME, CLAUDE_API):
            return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}
        self._losses.add(
            "messages[].reasoning", "reasoning is only taken back with the model's own signature"
        )
        return None

    def _call(self, part: chat.ToolCall) -> Block:
        name = _NOT_IN_NAMES.sub("_", part.name)[:64] or "_"
        self.tools[name] = None
        given = arguments_object(part, self._losses)
        return {"toolUse": {"toolUseId": self._ids.of_call(part.id), "name": name, "input": given}}

    def _result(self, part: chat.ToolResult) -> Block:
        if not self._ids.knows(part.call_id):
            raise InvalidRequest(
                f"The tool result for {part.call_id[:80]!r} answers no earlier tool call; "
                "send the assistant message with that call before it.",
                param="messages",
            )
        content = [block for inner in part.content if (block := self._block(inner, "user")) is not None]
        result: dict[str, object] = {
            "toolUseId": self._ids.of_result(part.call_id),
            "content": content or [{"text": NO_RESULT}],
        }
        if part.is_error and self._vendor in (ANTHROPIC, AMAZON, ""):
            result["status"] = "error"
        elif part.is_error:
            self._losses.add("messages[].is_error", "the model is not told that a tool failed")
        return {"toolResult": result}


def _kind(block: Block) -> str:
    """The member that names what a block is."""
    return next(iter(block if isinstance(block, dict) else members(block) or {}), "")
