"""Canonical messages to Ollama's. https://docs.ollama.com/api/chat

A message has one text and, beside it, images as base64; the order between them is not told. A tool
answers with text, under the tool's name; images of its answer follow in a user message.
"""

from __future__ import annotations

from typing import Any

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire import chat
from llm_router.wire.dialects.ollama_chat.facts import NAME
from llm_router.wire.encoding import arguments_object, document_text, inlined, is_plain_thought, result_text
from llm_router.wire.loss import Losses

Wire = dict[str, Any]


class Turns:
    """Writes the messages of one request."""

    def __init__(self, request: chat.ChatRequest, losses: Losses) -> None:
        self._losses = losses
        self._names: dict[str, str] = {}
        self.messages: list[Wire] = []
        shown: list[str] = []
        for message in request.messages:
            results = [part for part in message.parts if isinstance(part, chat.ToolResult)]
            if shown and not results:
                self._show(shown)
                shown = []
            self.messages += [self._result(result, shown) for result in results]
            self._message(message, [part for part in message.parts if not isinstance(part, chat.ToolResult)])
        if shown:
            self._show(shown)

    def instruct(self, text: str) -> None:
        """Add an instruction behind the client's own, at the start of the conversation."""
        at = next((n for n, m in enumerate(self.messages) if m["role"] != "system"), len(self.messages))
        self.messages.insert(at, {"role": "system", "content": text})

    def _show(self, images: list[str]) -> None:
        self.messages.append({"role": "user", "content": "", "images": images})

    def _message(self, message: chat.Message, parts: list[chat.Part]) -> None:
        role = {"developer": "system", "tool": "user"}.get(message.role, message.role)
        texts: list[str] = []
        thoughts: list[str] = []
        images: list[str] = []
        calls: list[Wire] = []
        for part in parts:
            match part:
                case chat.Text() | chat.Refusal():
                    texts.append(part.text)
                case chat.Media():
                    self._media(part, texts, images)
                case chat.Thinking():
                    self._thought(part, thoughts)
                case chat.ToolCall():
                    calls.append(self._call(part))
                case chat.Opaque():
                    self._losses.add(part.name, f"only {part.dialect} has this kind of content")
        members = {"thinking": "\n".join(thoughts), "images": images, "tool_calls": calls}
        said = {name: value for name, value in members.items() if value}
        text = "\n".join(text for text in texts if text)
        if text or said:
            self.messages.append({"role": role, "content": text, **said})

    def _media(self, part: chat.Media, texts: list[str], images: list[str]) -> None:
        part = inlined(part)
        if part.form == "file" and part.data is not None and not (part.media_type or "").startswith("image/"):
            texts.append(document_text(part))
        elif part.form in ("image", "file") and part.data is not None:
            images.append(part.data)
            if part.detail not in (None, "auto"):
                self._losses.add(
                    "messages[].content[].image_url.detail", "the model sets the resolution itself"
                )
        elif part.url is not None and part.form in ("image", "file"):
            raise UnsupportedContent(
                "This model takes images as data alone: send a data URL instead of an address.",
                param="messages",
            )
        else:
            what = part.form if part.file_id is None else "file that is stored elsewhere"
            raise UnsupportedContent(f"This model takes no {what}: send text or images.", param="messages")

    def _thought(self, part: chat.Thinking, thoughts: list[str]) -> None:
        if is_plain_thought(part, NAME):
            thoughts.append(part.text)
        else:
            self._losses.add("messages[].reasoning", "reasoning that another provider signed is not sent on")

    def _call(self, call: chat.ToolCall) -> Wire:
        self._names[call.id] = call.name
        function = {"name": call.name, "arguments": arguments_object(call, self._losses)}
        return {"id": call.id, "function": function} if call.id else {"function": function}

    def _result(self, result: chat.ToolResult, shown: list[str]) -> Wire:
        texts: list[str] = []
        for part in result.content:
            if isinstance(part, chat.Media):
                self._media(part, texts, shown)
        text = "\n".join(text for text in (result_text(result), *texts) if text)
        written: Wire = {"role": "tool", "content": text}
        name = self._names.get(result.call_id) or result.name
        if name is not None:
            written["tool_name"] = name
        if result.call_id:
            written["tool_call_id"] = result.call_id
        return written
