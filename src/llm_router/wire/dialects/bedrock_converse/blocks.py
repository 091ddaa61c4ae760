"""Content blocks of a reply to parts.

A block is an object of one member, which names its kind. What the provider ran itself (server
tools and their results), unknown kinds, and known ones that are malformed are Opaque.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
"""

from __future__ import annotations

from collections.abc import Callable

from llm_router.wire import media
from llm_router.wire.chat import Citation, Media, Opaque, Part, Raw, Text, Thinking, ToolCall
from llm_router.wire.dialects.bedrock_converse.facts import JSON_TOOL, NAME
from llm_router.wire.verbatim import is_object, items, members, string, value

Block = dict[str, Raw]


def decode_block(raw: Raw) -> Part:
    """The part that a block is."""
    block = members(raw) or {}
    kind = next((name for name in block if name in _READERS), next(iter(block), ""))
    part = _READERS[kind](block[kind]) if kind in _READERS else None
    return part if part is not None else Opaque(dialect=NAME, name=kind or "unknown", raw=raw)


def _text(raw: Raw) -> Part | None:
    text = string(raw)
    return Text(text=text) if text is not None else None


def _tool_use(raw: Raw) -> Part | None:
    call = members(raw) or {}
    name = string(call.get("name"))
    if not name or not is_client_call(value(call.get("type"))):
        return None
    given = bytes(call.get("input", b"null"))
    arguments = "{}" if given == b"null" else given.decode("utf-8", "replace")
    if name == JSON_TOOL:
        return Text(text=arguments)
    return ToolCall(id=string(call.get("toolUseId")) or "", name=name, arguments=arguments)


def is_client_call(kind: object) -> bool:
    """Whether a call is for the client: other types are of tools that the provider runs."""
    return kind in (None, "tool_use")


def _reasoning(raw: Raw) -> Part | None:
    block = members(raw) or {}
    redacted = string(block.get("redactedContent"))
    if redacted is not None:
        return Thinking(redacted=redacted, origin=NAME)
    shown = members(block.get("reasoningText")) or {}
    text = string(shown.get("text"))
    if text is None:
        return None
    return Thinking(text=text, signature=string(shown.get("signature")) or None, origin=NAME)


def _cited(raw: Raw) -> Part | None:
    block = members(raw) or {}
    pieces = [string((members(piece) or {}).get("text")) for piece in items(block.get("content")) or ()]
    if None in pieces:
        return None
    return Text(
        text="".join(piece for piece in pieces if piece is not None),
        citations=tuple(citation(found) for found in items(block.get("citations")) or ()),
    )


def citation(raw: Raw) -> Citation:
    """A citation; its offsets count in the cited document, and are kept in ``raw`` only."""
    found = value(raw)
    body = found if isinstance(found, dict) else {}
    location, title, source = body.get("location"), body.get("title"), body.get("source")
    web = location.get("web") if isinstance(location, dict) else None
    url = web.get("url") if isinstance(web, dict) else source
    content = body.get("sourceContent")
    texts = (
        [piece.get("text") for piece in content if isinstance(piece, dict)]
        if isinstance(content, list)
        else []
    )
    return Citation(
        url=url if isinstance(url, str) and media.is_http_url(url) else None,
        title=title if isinstance(title, str) else None,
        cited_text="".join(text for text in texts if isinstance(text, str)) or None,
        dialect=NAME,
        raw=raw,
    )


def _image(raw: Raw) -> Part | None:
    image = members(raw) or {}
    data = string((members(image.get("source")) or {}).get("bytes"))
    if data is None or not is_object(raw):
        return None
    return Media(
        form="image", data=data, media_type=f"image/{string(image.get('format')) or 'png'}", origin=NAME
    )


_READERS: dict[str, Callable[[Raw], Part | None]] = {
    "text": _text,
    "toolUse": _tool_use,
    "reasoningContent": _reasoning,
    "citationsContent": _cited,
    "image": _image,
}
