"""Content blocks to parts, for requests and replies alike.

Members of a block that the canonical form has no word for are kept as JSON text in the part's
``signature`` (its opaque state, which only this dialect reads): a document's ``citations`` and
``context``, a call's ``caller``. A block kind that is unknown, or known but malformed, is Opaque.

https://docs.anthropic.com/en/api/messages#body-messages-content
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from llm_router.wire import media
from llm_router.wire.chat import Citation, Media, Opaque, Part, Raw, Text, Thinking, ToolCall, ToolResult
from llm_router.wire.dialects.anthropic_messages import seal
from llm_router.wire.dialects.anthropic_messages.facts import NAME, cache_mark
from llm_router.wire.verbatim import is_object, items, members, string, value

Block = dict[str, Raw]


def decode_block(raw: Raw, names: dict[str, str] | None = None) -> Part:
    """The part that a block is.

    ``names`` maps ids of earlier calls to tool names; calls are added to it, results look there.
    """
    block = members(raw) or {}
    kind = string(block.get("type")) or ""
    part: Part | None = None
    if kind == "tool_result":
        part = _tool_result(block, names or {})
    elif kind in _READERS:
        part = _READERS[kind](block)
    if isinstance(part, ToolCall) and names is not None:
        names[part.id] = part.name
    return part if part is not None else Opaque(dialect=NAME, name=kind or "unknown", raw=raw)


def _text(block: Block) -> Part | None:
    text = string(block.get("text"))
    if text is None:
        return None
    citations = tuple(citation(raw) for raw in items(block.get("citations")) or ())
    return Text(text=text, citations=citations, cache=cache_mark(block.get("cache_control")))


def citation(raw: Raw) -> Citation:
    """A citation; its offsets in the cited document are kept in ``raw`` only."""
    body = value(raw)
    if not isinstance(body, dict):
        return Citation(dialect=NAME, raw=raw)

    def text(*names: str) -> str | None:
        return next((body[name] for name in names if isinstance(body.get(name), str)), None)

    own = not seal.is_sealed(body.get("encrypted_index"))
    source = text("source")
    url = text("url") or (source if source is not None and media.is_http_url(source) else None)
    return Citation(
        url=url,
        title=text("title", "document_title"),
        cited_text=text("cited_text") or None,
        dialect=NAME if own else None,
        raw=raw if own else None,
    )


def _thinking(block: Block) -> Part | None:
    text = string(block.get("thinking"))
    if text is None:
        return None
    return Thinking(text=text, signature=string(block.get("signature")) or None, origin=NAME)


def _redacted(block: Block) -> Part | None:
    data = string(block.get("data"))
    if data is None:
        return None
    return Thinking(redacted=data, origin=NAME)


def _tool_use(block: Block) -> Part | None:
    name = string(block.get("name"))
    if name is None:
        return None
    raw = block.get("input")
    state = call_state(block)
    return ToolCall(
        id=string(block.get("id")) or "",
        name=name,
        arguments=arguments_text(raw),
        signature=state,
        origin=NAME if state is not None else None,
        cache=cache_mark(block.get("cache_control")),
    )


def arguments_text(raw: Raw | None) -> str:
    """The JSON text of a call's input; "{}" where there is none."""
    if raw is None or bytes(raw) == b"null":
        return "{}"
    return bytes(raw).decode("utf-8", "replace")


def call_state(block: Block) -> str | None:
    """The members of a call that only this dialect has: who called it if not the model itself."""
    state = {name: block[name] for name in ("caller", "toolset_name") if name in block}
    state = {name: raw for name, raw in state.items() if bytes(raw) != b"null"}
    if "caller" in state and value(state["caller"]) == {"type": "direct"}:
        del state["caller"]
    return msgspec.json.encode(state).decode() if state else None


def _tool_result(block: Block, names: dict[str, str]) -> Part | None:
    call_id = string(block.get("tool_use_id"))
    if call_id is None:
        return None
    return ToolResult(
        call_id=call_id,
        name=names.get(call_id),
        content=_result_content(block.get("content")),
        is_error=value(block.get("is_error")) is True,
        cache=cache_mark(block.get("cache_control")),
    )


def _result_content(raw: Raw | None) -> tuple[Text | Media, ...]:
    text = string(raw)
    if text is not None:
        return (Text(text=text),)
    return tuple(_result_part(item) for item in items(raw) or ())


def _result_part(raw: Raw) -> Text | Media:
    """Text or media; another kind stays readable as its JSON and is put back by this dialect."""
    part = decode_block(raw)
    if isinstance(part, Text | Media):
        return part
    text = bytes(raw).decode("utf-8", "replace")
    return Text(text=text, signature=text, origin=NAME)


def _image(block: Block) -> Part | None:
    found = _source(block, "image", "image/")
    return _with_state(found, block, ("type", "source", "cache_control"))


def _document(block: Block) -> Part | None:
    source = members(block.get("source")) or {}
    if string(source.get("type")) == "content":
        return _readable(block, source.get("content"))
    found = _source(block, "file", None)
    title = string(block.get("title"))
    if found is not None and title is not None:
        found = msgspec.structs.replace(found, filename=title)
    return _with_state(found, block, ("type", "source", "cache_control", "title"))


def _search_result(block: Block) -> Part | None:
    return _readable(block, block.get("content"))


def _readable(block: Block, content: Raw | None) -> Part | None:
    """A block made of texts: readable by all, restored whole by this dialect. None if it has other blocks."""
    plain = string(content)
    texts = [plain] if plain is not None else [_block_text(raw) for raw in items(content) or ()]
    known = [text for text in texts if text is not None]
    if not known or len(known) != len(texts):
        return None
    heads = [string(block.get(name)) for name in ("title", "source")]
    text = "\n".join([*(head for head in heads if head), *known])
    return Text(text=text, signature=msgspec.json.encode(block).decode(), origin=NAME)


def _block_text(raw: Raw) -> str | None:
    block = members(raw) or {}
    return string(block.get("text")) if string(block.get("type")) == "text" else None


def _source(block: Block, form: Literal["image", "file"], needs: str | None) -> Media | None:
    """The media that ``source`` holds; None if it is of no known kind."""
    source = members(block.get("source")) or {}
    cache = cache_mark(block.get("cache_control"))
    media_type, data = string(source.get("media_type")), string(source.get("data"))
    match string(source.get("type")):
        case "base64" if data is not None and (needs is None or (media_type or needs).startswith(needs)):
            return Media(form=form, data=data, media_type=media_type, cache=cache)
        case "text" if data is not None:
            return Media(form=form, data=media.encode_text(data), media_type="text/plain", cache=cache)
        case "url" if (url := string(source.get("url"))) is not None:
            return Media(form=form, url=url, media_type=media_type, cache=cache)
        case "file" if (file_id := string(source.get("file_id"))) is not None:
            return Media(form=form, file_id=file_id, cache=cache, origin=NAME)
    return None


def _with_state(found: Media | None, block: Block, known: tuple[str, ...]) -> Media | None:
    state = {name: raw for name, raw in block.items() if name not in known and bytes(raw) != b"null"}
    if found is None or not state:
        return found
    return msgspec.structs.replace(found, signature=msgspec.json.encode(state).decode(), origin=NAME)


_READERS: dict[str, Callable[[Block], Part | None]] = {
    "text": _text,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
}


def object_text(text: str) -> Raw | None:
    """``text`` as verbatim JSON if it is one whole object, else None."""
    raw = text.encode("utf-8", "replace")
    return Raw(raw) if is_object(raw) and members(raw) is not None else None
