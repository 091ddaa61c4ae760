"""Canonical parts as Google's parts. Used for replies (in front) and for requests (behind)."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire import chat
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.gemini_generate.members import NAME, UNREADABLE, object_of
from llm_router.wire.dialects.gemini_generate.signatures import Carried, wrap
from llm_router.wire.loss import Loss
from llm_router.wire.media import sniff

CUSTOM_INPUT = "input"
"""The one argument of a function that stands for a free-text tool."""


class PartWriter:
    """Writes parts and collects what was lost.

    ``foreign`` says what becomes of another provider's reasoning state: carried to a client, which
    brings it back, or dropped, since Google could not read it.
    """

    def __init__(
        self, *, foreign: bool, takes_urls: tuple[str, ...] = ("image", "file", "audio", "video")
    ) -> None:
        self._foreign = foreign
        self._takes_urls = takes_urls
        self.losses: list[Loss] = []

    def lose(self, field: str, why: str) -> None:
        loss = Loss(field=field, why=why)
        if loss not in self.losses:
            self.losses.append(loss)

    def write(self, part: chat.Part) -> dict[str, Any] | Raw | None:
        """One part; None if it cannot be said (the loss is noted)."""
        match part:
            case chat.Text():
                return self._text(part)
            case chat.Thinking():
                return self._thinking(part)
            case chat.ToolCall():
                return self._call(part)
            case chat.Media():
                return self.media(part)
            case chat.Refusal():
                return {"text": part.text} if part.text else None
            case chat.Opaque():
                if part.dialect == NAME:
                    return part.raw
                self.lose(f"messages[].{part.name}", f"only {part.dialect} has this kind of part")
                return None
            case chat.ToolResult():
                raise TypeError("tool results are written by the request encoder")

    def _text(self, part: chat.Text) -> dict[str, Any] | None:
        signature = self._signature(part.signature, part.origin)
        if not part.text and signature is None:
            return None
        written: dict[str, Any] = {"text": part.text}
        return written if signature is None else written | {"thoughtSignature": signature}

    def _thinking(self, part: chat.Thinking) -> dict[str, Any] | None:
        if (part.origin or NAME) != NAME and not self._foreign:
            if part.signature is not None or part.redacted is not None:  # plain text is never wanted back
                self.lose(
                    "messages[].reasoning", "reasoning of another provider's model is not sent to Gemini"
                )
            return None
        carried = Carried(
            origin=part.origin or NAME, signature=part.signature, redacted=part.redacted, id=part.id
        )
        signature = wrap(carried) if part.signature or part.redacted else None
        if not part.text and signature is None:
            return None
        written: dict[str, Any] = {"text": part.text, "thought": True}
        return written if signature is None else written | {"thoughtSignature": signature}

    def _call(self, part: chat.ToolCall) -> dict[str, Any]:
        call: dict[str, Any] = {"id": part.id} if part.id else {}
        call |= {"name": part.name, "args": self._arguments(part)}
        written: dict[str, Any] = {"functionCall": call}
        signature = self._signature(part.signature, part.origin)
        return written if signature is None else written | {"thoughtSignature": signature}

    def _arguments(self, part: chat.ToolCall) -> object:
        if part.custom:
            return {CUSTOM_INPUT: part.arguments}
        text = part.arguments.strip()
        if not text:
            return {}
        data = text.encode("utf-8", "replace")
        if object_of(data) is not None:
            try:
                msgspec.json.decode(data)
                return Raw(data)
            except UNREADABLE:
                pass
        self.lose("tool_calls[].function.arguments", "the arguments are no JSON object; sent as text")
        return {CUSTOM_INPUT: part.arguments}

    def _signature(self, signature: str | None, origin: str | None) -> str | None:
        if signature is None:
            return None
        if (origin or NAME) == NAME or self._foreign:
            return wrap(Carried(origin=origin or NAME, signature=signature))
        self.lose("messages[].content[].signature", "the signature belongs to another provider's model")
        return None

    def media(self, part: chat.Media) -> dict[str, Any] | None:
        """``inlineData``, or ``fileData`` for what Google fetches or stores itself.

        Raises:
            UnsupportedContent: a URL that the target does not fetch, or another provider's file.
        """
        if part.detail not in (None, "auto"):
            self.lose("image_url.detail", "Gemini sets the resolution for all media at once")
        written: dict[str, Any]
        if part.data is not None:
            media_type = part.media_type or sniff(part.data) or _DEFAULTS[part.form]
            written = {"inlineData": {"mimeType": media_type, "data": part.data}}
        else:
            written = {"fileData": self._file(part)}
        signature = self._signature(part.signature, part.origin)
        return written if signature is None else written | {"thoughtSignature": signature}

    def _file(self, part: chat.Media) -> dict[str, Any]:
        if part.file_id is not None:
            if part.origin != NAME:
                raise UnsupportedContent(
                    f"The file {part.file_id!r} is stored at another provider; send its content or a URL.",
                    param="messages",
                )
            uri = part.file_id
        elif part.url is not None and part.form in self._takes_urls:
            uri = part.url
        else:
            raise UnsupportedContent(
                f"This provider takes no {part.form} by URL; send the {part.form} as base64 data.",
                param="messages",
            )
        media_type = part.media_type or _by_suffix(uri)
        return {"fileUri": uri} if media_type is None else {"mimeType": media_type, "fileUri": uri}


_DEFAULTS = {
    "image": "image/jpeg",
    "audio": "audio/wav",
    "video": "video/mp4",
    "file": "application/pdf",
}
"""For bytes that tell no type: the commonest of each kind."""

_SUFFIXES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "html": "text/html",
    "csv": "text/csv",
    "json": "application/json",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "mp4": "video/mp4",
    "webm": "video/webm",
}


def _by_suffix(uri: str) -> str | None:
    """The media type that a URL's last letters tell; None if they tell none."""
    name = uri.partition("?")[0].partition("#")[0].rpartition("/")[2]
    return _SUFFIXES.get(name.rpartition(".")[2].lower()) if "." in name else None
