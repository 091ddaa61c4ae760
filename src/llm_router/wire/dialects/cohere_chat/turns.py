"""Canonical messages to Cohere's. https://docs.cohere.com/v2/reference/chat#request.body.messages

Roles are system, user, assistant and tool. Users send text and images; tools answer with text, so
images of a tool's answer follow in a user message. Messages without content are refused, and are
left out. Reasoning goes back as it came: plans as ``tool_plan``, other thoughts as content.
"""

from __future__ import annotations

from typing import Any

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire import chat, media
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.cohere_chat.citations import own_citations
from llm_router.wire.dialects.cohere_chat.facts import NAME, PLAN
from llm_router.wire.encoding import arguments_object, document_text, inlined, is_plain_thought, result_text
from llm_router.wire.loss import Losses

Wire = dict[str, Any]

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
NOTHING = "{}"
"""The answer of a tool that gave none: Cohere takes a JSON object, and nothing empty."""


class Turns:
    """Writes the messages of one request."""

    def __init__(self, request: chat.ChatRequest, target: Target, losses: Losses) -> None:
        self._thinks = target.capabilities.reasoning
        self._losses = losses
        self.messages: list[Wire] = []
        shown: list[Wire | Raw] = []
        for message in request.messages:
            results = [part for part in message.parts if isinstance(part, chat.ToolResult)]
            if shown and not results:
                self._add("user", shown)
                shown = []
            self.messages += [self._result(result, shown) for result in results]
            self._message(message, [part for part in message.parts if not isinstance(part, chat.ToolResult)])
        self._add("user", shown)

    def instruct(self, text: str) -> None:
        """Add an instruction behind the client's own, at the start of the conversation."""
        at = next((n for n, m in enumerate(self.messages) if m["role"] != "system"), len(self.messages))
        self.messages.insert(at, {"role": "system", "content": text})

    def _message(self, message: chat.Message, parts: list[chat.Part]) -> None:
        match message.role:
            case "assistant":
                self._assistant(parts)
            case "system" | "developer":
                self._add("system", self._content(parts))
            case _:
                self._add("user", self._content(parts))

    def _add(self, role: str, content: list[Wire | Raw]) -> None:
        if not content:
            return
        only = content[0] if len(content) == 1 else None
        plain = only["text"] if isinstance(only, dict) and only["type"] == "text" else None
        self.messages.append({"role": role, "content": content if plain is None else plain})

    def _content(self, parts: list[chat.Part]) -> list[Wire | Raw]:
        return [member for part in parts if (member := self._member(part)) is not None]

    def _member(self, part: chat.Part) -> Wire | Raw | None:
        match part:
            case chat.Text() | chat.Refusal():
                return {"type": "text", "text": part.text} if part.text else None
            case chat.Media():
                return self._media(part)
            case chat.Opaque() if part.dialect == NAME:
                return part.raw
            case chat.Opaque():
                self._losses.add(part.name, f"only {part.dialect} has this kind of content")
            case chat.Thinking() | chat.ToolCall() | chat.ToolResult():
                self._losses.add(f"messages[].{part.__class__.__name__}", "it has no place in this role")
        return None

    def _media(self, part: chat.Media) -> Wire:
        part = inlined(part)
        if part.form == "file" and part.file_id is None:
            return {"type": "text", "text": document_text(part)}
        if part.form != "image" or part.file_id is not None:
            what = part.form if part.file_id is None else "file that is stored elsewhere"
            raise UnsupportedContent(f"This model takes no {what}: send text or images.", param="messages")
        image: Wire = {"url": part.url}
        if part.data is not None:
            found = media.sniff(part.data)
            media_type = found if found in _IMAGES else part.media_type or "image/png"
            image["url"] = media.data_url(media_type, part.data)
        if part.detail in ("low", "high", "auto"):
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}

    # -- assistant and tools -----------------------------------------------------------------------

    def _assistant(self, parts: list[chat.Part]) -> None:
        calls = [part for part in parts if isinstance(part, chat.ToolCall)]
        plan: list[str] = []
        content: list[Wire | Raw] = []
        cited: list[Wire] = []
        for part in parts:
            match part:
                case chat.ToolCall():
                    continue
                case chat.Thinking():
                    self._thought(part, bool(calls), plan, content)
                    continue
                case chat.Text() if part.citations:
                    cited += own_citations(part.citations, len(content))
                    if any(cite.dialect != NAME for cite in part.citations):
                        self._losses.add("messages[].annotations", "citations of others cannot be sent back")
            member = self._member(part)
            if member is not None:
                content.append(member)
        self._add("assistant", content)
        if not content and not calls:
            return
        if not content:
            self.messages.append({"role": "assistant"})
        written = self.messages[-1]
        members = {
            "tool_calls": [self._call(call) for call in calls],
            "tool_plan": "\n".join(plan),
            "citations": cited,
        }
        written.update({name: value for name, value in members.items() if value})

    def _thought(self, part: chat.Thinking, calls: bool, plan: list[str], content: list[Wire | Raw]) -> None:
        """A plan is one if it was one; text that nobody signed is a plan where the model cannot think."""
        if not is_plain_thought(part, NAME):
            self._losses.add("messages[].reasoning", "reasoning that another provider signed is not sent on")
            return
        if not part.text:
            return
        is_plan = part.id == PLAN and part.origin == NAME
        if calls and (is_plan or not self._thinks):
            plan.append(part.text)
        elif self._thinks or (part.origin == NAME and not is_plan):
            content.append({"type": "thinking", "thinking": part.text})
        else:
            self._losses.add("messages[].reasoning", "the model does not reason")

    def _call(self, call: chat.ToolCall) -> Wire:
        arguments = bytes(arguments_object(call, self._losses)).decode()
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}

    def _result(self, result: chat.ToolResult, shown: list[Wire | Raw]) -> Wire:
        shown += [self._media(part) for part in result.content if isinstance(part, chat.Media)]
        text = result_text(result)
        return {"role": "tool", "tool_call_id": result.call_id, "content": text if text.strip() else NOTHING}
