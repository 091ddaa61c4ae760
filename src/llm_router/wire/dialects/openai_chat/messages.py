"""Canonical messages as this dialect's messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire.chat import (
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
from llm_router.wire.dialects.openai_chat.cachemarks import Marks
from llm_router.wire.dialects.openai_chat.kept import members_of
from llm_router.wire.dialects.openai_chat.parts import (
    NAME,
    call_extra,
    call_member,
    detail_of,
    is_own,
    text_signature_detail,
)
from llm_router.wire.kept import MEMBERS
from llm_router.wire.lenient import load_object
from llm_router.wire.loss import Loss
from llm_router.wire.media import data_url, decode_text

_SAYS: Final = ("content", "tool_calls", "refusal", "audio", "reasoning_details")
"""Members of which a turn must have one: providers refuse turns that say nothing."""

_AUDIO_FORMATS: Final = {
    "audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav",
    "audio/mp4": "m4a", "audio/x-m4a": "m4a", "audio/pcm": "pcm16",
}  # fmt: skip


class Writer:
    """Writes messages for one target and notes what is lost."""

    def __init__(self, target: Target, losses: list[Loss], *, own: bool = False) -> None:
        """``own``: the request came in this dialect: turns that say nothing stay, as the client sent them."""
        self._own = own
        self._target = target
        self._losses = losses
        self._marks = Marks(target)

    def messages(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        """Media in tool results follow in a user message: tool messages hold text alone."""
        out: list[dict[str, Any]] = []
        shown: list[dict[str, Any]] = []
        for message in messages:
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            if shown and not results:
                out.append({"role": "user", "content": shown})
                shown = []
            out += [self._result(result, shown) for result in results]
            if len(results) < len(message.parts) or not message.parts:
                rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
                written = self._message(message, rest)
                if written is not None:
                    out.append(written)
        if shown:
            out.append({"role": "user", "content": shown})
        return out

    def _message(self, message: Message, parts: tuple[Part, ...]) -> dict[str, Any] | None:
        """A turn; None if nothing is left of it."""
        role: str = message.role
        if role == "assistant":
            written = self._assistant(parts)
        else:
            if role == "developer" and "developer" not in self._target.knows:
                role = "system"
            written = {"role": role, "content": self._content(parts)}
        if not self._own and not any(written.get(name) for name in _SAYS):
            return None
        if message.name is not None:
            written["name"] = message.name
        return written

    def _content(self, parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
        members = [member for part in parts if (member := self._member(part)) is not None]
        if not members:
            return ""
        if len(members) == 1 and members[0].keys() == {"type", "text"}:
            return str(members[0]["text"])
        return members

    def _member(self, part: Part) -> dict[str, Any] | None:
        match part:
            case Text() | Refusal() if not part.text and not self._own:
                return None
            case Text():
                return self._marks.written(part, {"type": "text", "text": part.text})
            case Refusal():
                return {"type": "text", "text": part.text}
            case Media():
                return self._marks.written(part, self._media(part))
            case Opaque():
                if part.dialect == NAME:
                    return _raw_member(part)
                self._lose(part.name, "only the provider's own API has a form for it")
            case Thinking() | ToolCall() | ToolResult():
                self._lose(f"messages.{type(part).__name__}", "it has no place in a message of this role")
        return None

    # -- media -------------------------------------------------------------------------------------

    def _media(self, part: Media) -> dict[str, Any]:
        match part.form:
            case "image":
                image: dict[str, Any] = {"url": self._url(part, "image")}
                if part.detail is not None:
                    image["detail"] = part.detail
                return {"type": "image_url", "image_url": image}
            case "audio":
                return self._audio(part)
            case "video":
                if "developer" in self._target.knows:
                    raise UnsupportedContent(
                        "The provider's API takes no video: send images of it.", param="messages"
                    )
                return {"type": "video_url", "video_url": {"url": self._url(part, "video")}}
        return self._file(part)

    def _url(self, part: Media, what: str) -> str:
        if part.data is not None:
            return data_url(part.media_type or "application/octet-stream", part.data)
        if part.url is None:
            raise UnsupportedContent(f"This {what} is stored at another provider: send it as data or URL.")
        return part.url

    def _audio(self, part: Media) -> dict[str, Any]:
        if part.data is None:
            raise UnsupportedContent("Audio must be sent as base64 data to this provider.")
        media_type = (part.media_type or "audio/wav").lower()
        format_ = _AUDIO_FORMATS.get(media_type, media_type.partition("/")[2])
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": format_}}

    def _file(self, part: Media) -> dict[str, Any]:
        if part.data is not None and (part.media_type or "").startswith("text/"):
            return self._document(part, part.data)
        if part.file_id is not None:
            if part.origin != NAME:
                raise UnsupportedContent("This file is stored at another provider: send its data.")
            return {"type": "file", "file": {"file_id": part.file_id}}
        if "document_url" in self._target.knows:
            name = {} if part.filename is None else {"document_name": part.filename}
            return {"type": "document_url", "document_url": self._url(part, "file"), **name}
        return {
            "type": "file",
            "file": {"filename": part.filename or "document.pdf", "file_data": self._url(part, "file")},
        }

    def _document(self, part: Media, data: str) -> dict[str, Any]:
        """A plain-text document as text: providers take no files but PDF."""
        try:
            text = decode_text(data)
        except ValueError as error:
            raise UnsupportedContent(f"The document cannot be read: {error}.") from None
        title = f"{part.filename}:\n\n" if part.filename else ""
        return {"type": "text", "text": title + text}

    # -- turns -------------------------------------------------------------------------------------

    def _result(self, result: ToolResult, shown: list[dict[str, Any]]) -> dict[str, Any]:
        texts = [part.text for part in result.content if isinstance(part, Text) and part.text]
        media = [part for part in result.content if isinstance(part, Media)]
        if media:
            texts.append("(The media of this result follow in the next user message.)")
            shown.append({"type": "text", "text": f"Media of the tool result {result.call_id}:"})
            shown += (self._media(part) for part in media)
        if result.is_error:
            self._lose("tool_result.is_error", "the provider has no such mark; the text says it")
        content: Any = texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]
        return {"role": "tool", "tool_call_id": result.call_id, "content": content or ""}

    def _assistant(self, parts: tuple[Part, ...]) -> dict[str, Any]:
        texts: list[str] = []
        refusals: list[str] = []
        thoughts: list[str] = []
        calls: list[dict[str, Any]] = []
        details: list[dict[str, Any]] = []
        kept: dict[str, Any] = {}
        message: dict[str, Any] = {"role": "assistant"}
        for part in parts:
            match part:
                case Text():
                    texts.append(part.text)
                    if part.signature is not None and is_own(part.origin):
                        details.append(text_signature_detail(part.signature, part.origin, len(details)))
                case Refusal():
                    refusals.append(part.text)
                case ToolCall():
                    calls.append(self._call(part))
                case Thinking() if is_own(part.origin):
                    thoughts.append(part.text)
                    if part.signature is not None or part.redacted is not None:
                        details.append(detail_of(part, len(details)))
                case Thinking():
                    self._lose("messages.thinking", "reasoning goes back only to the provider it came from")
                case Media() if part.form == "audio" and part.file_id is not None and part.origin == NAME:
                    message["audio"] = {"id": part.file_id}
                case Media():
                    self._lose(f"messages.{part.form}", "the provider takes no media in the model's turns")
                case Opaque() if part.dialect != NAME:
                    self._lose(part.name, "only the provider's own API has a form for it")
                case Opaque() if part.name == MEMBERS:
                    kept |= members_of(part)
        text = "".join(texts)
        message["content"] = text if text or (self._own and not (calls or refusals)) else None
        if text and any(self._marks.wanted(part) for part in parts):
            message["content"] = self._content(tuple(p for p in parts if isinstance(p, Text)))
        if refusals:
            message["refusal"] = "".join(refusals)
        if any(thoughts) and "developer" not in self._target.knows:
            message["reasoning_content"] = "".join(thoughts)
        if details and "developer" not in self._target.knows:
            message["reasoning_details"] = details
        elif details:
            self._lose("messages[].reasoning_details", "the API takes no reasoning back")
        if calls:
            message["tool_calls"] = calls
        return message | kept

    def _call(self, part: ToolCall) -> dict[str, Any]:
        """A call; a signature of Gemini only for those who know it in OpenAI's form."""
        call = call_member(part)
        if "signatures" not in self._target.knows:
            for name in call_extra(part.signature):
                call.pop(name, None)
        return call

    def _lose(self, field: str, why: str) -> None:
        loss = Loss(field=field, why=why)
        if loss not in self._losses:
            self._losses.append(loss)


def _raw_member(part: Opaque) -> dict[str, Any] | None:
    return load_object(bytes(part.raw))
