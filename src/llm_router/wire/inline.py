"""Put fetched media into a canonical request, for providers that take only bytes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_router.wire.chat import ChatRequest, Media, Message, Part, ToolResult
from llm_router.wire.dialect import Fetched


def inline_media(request: ChatRequest, fetched: Mapping[str, Fetched]) -> ChatRequest:
    """The request with every media URL that was fetched replaced by its bytes."""
    if not fetched:
        return request
    messages = tuple(_message(message, fetched) for message in request.messages)
    return msgspec.structs.replace(request, messages=messages)


def _message(message: Message, fetched: Mapping[str, Fetched]) -> Message:
    return msgspec.structs.replace(message, parts=tuple(_part(part, fetched) for part in message.parts))


def _part(part: Part, fetched: Mapping[str, Fetched]) -> Part:
    if isinstance(part, Media):
        return _media(part, fetched)
    if isinstance(part, ToolResult):
        content = tuple(_media(c, fetched) if isinstance(c, Media) else c for c in part.content)
        return msgspec.structs.replace(part, content=content)
    return part


def _media(part: Media, fetched: Mapping[str, Fetched]) -> Media:
    found = fetched.get(part.url) if part.url is not None else None
    if found is None:
        return part
    return msgspec.structs.replace(part, url=None, data=found.data, media_type=found.media_type)
