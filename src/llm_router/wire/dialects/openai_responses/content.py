"""Content of messages and tool results: wire parts to canonical parts, and back.

https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from __future__ import annotations

from typing import Any, Final, Literal

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire.chat import CacheMark, Citation, Media, Opaque, Part, Refusal, Text
from llm_router.wire.dialects.openai_responses.words import NAME, objects, text_of
from llm_router.wire.lenient import load_object
from llm_router.wire.media import data_url, decode_text, is_data_url, media_form, parse_data_url, sniff
from llm_router.wire.verbatim import dump

CONTENT: Final = "content."
"""Prefix of the name of an Opaque that is a content part; any other is a whole item."""

_AUDIO: Final = {"mp3": "audio/mpeg", "wav": "audio/wav", "m4a": "audio/mp4", "pcm16": "audio/pcm"}
_AUDIO_FORMATS: Final = {
    "audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav",
    "audio/mp4": "m4a", "audio/x-m4a": "m4a", "audio/pcm": "pcm16",
}  # fmt: skip


# -- wire to parts ---------------------------------------------------------------------------------


def decode_content(content: object) -> list[Part]:
    """The parts of a checked ``content`` or ``output``: a string or a list."""
    if isinstance(content, str):
        return [Text(text=content)]
    return [decode_part(part) for part in objects(content)]


def decode_part(part: dict[str, Any]) -> Part:
    """One content part of a request. What is unknown or malformed is kept verbatim."""
    kind = text_of(part.get("type"))
    found: Part | None = None
    match kind:
        case "input_text" | "output_text" | "text":
            found = Text(text=part["text"], citations=citations(part.get("annotations")), cache=_cache(part))
        case "refusal":
            found = Refusal(text=part["refusal"])
        case "input_image":
            found = _image(part)
        case "input_file":
            found = _file(part)
        case "input_audio":
            audio = part["input_audio"]
            word = audio["format"].lower()
            found = Media(
                form="audio",
                data=audio["data"],
                media_type=_AUDIO.get(word, f"audio/{word}"),
                cache=_cache(part),
            )
    return found or Opaque(dialect=NAME, name=CONTENT + kind, raw=dump(part))


def _image(part: dict[str, Any]) -> Media | None:
    url, detail = part.get("image_url"), part.get("detail")
    detail = detail if isinstance(detail, str) else None
    if not isinstance(url, str):
        return Media(form="image", file_id=part["file_id"], detail=detail, origin=NAME, cache=_cache(part))
    if not is_data_url(url):
        return Media(form="image", url=url, detail=detail, cache=_cache(part))
    try:
        media_type, data = parse_data_url(url)
    except ValueError:
        return None
    return Media(
        form=media_form(media_type), data=data, media_type=media_type, detail=detail, cache=_cache(part)
    )


def _file(part: dict[str, Any]) -> Media | None:
    cache, name = _cache(part), part.get("filename")
    name = name if isinstance(name, str) else None
    data, url = text_of(part.get("file_data")), text_of(part.get("file_url"))
    if not data and url and not is_data_url(url):
        return Media(form="file", url=url, filename=name, cache=cache)
    if not data and not url:
        return Media(form="file", file_id=part["file_id"], filename=name, origin=NAME, cache=cache)
    data = data or url
    if not is_data_url(data):
        return Media(
            form="file", data=data, media_type=sniff(data) or "application/pdf", filename=name, cache=cache
        )
    try:
        media_type, data = parse_data_url(data)
    except ValueError:
        return None
    return Media(form="file", data=data, media_type=media_type, filename=name, cache=cache)


def _cache(part: dict[str, Any]) -> CacheMark | None:
    mark = part.get("prompt_cache_breakpoint")
    if not isinstance(mark, dict):
        return None
    ttl = mark.get("ttl")
    return CacheMark(ttl=ttl if isinstance(ttl, str) else None)


def citations(annotations: object) -> tuple[Citation, ...]:
    """All annotations of a text; those that name no page have only a title."""
    return tuple(citation(item) for item in objects(annotations))


def citation(item: dict[str, Any]) -> Citation:
    inner = item.get("url_citation")  # some hosts keep the chat form
    source = inner if isinstance(inner, dict) else item
    start, end = source.get("start_index"), source.get("end_index")
    title = source.get("title") or source.get("filename")
    return Citation(
        url=text_of(source.get("url")) or None,
        title=text_of(title) or None,
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        dialect=NAME,
        raw=dump(item),
    )


# -- parts to wire ---------------------------------------------------------------------------------


def annotation(source: Citation, at: int) -> dict[str, Any] | None:
    """A citation as an annotation; None for one without a URL. ``at``: where the text stands now."""
    own = load_object(bytes(source.raw)) if source.dialect == NAME and source.raw is not None else None
    if own is not None and own.get("type") != "url_citation" and "url_citation" not in own:
        return own
    if source.url is None:
        return None
    found = {
        "type": "url_citation",
        "start_index": at if source.start is None else source.start,
        "end_index": at if source.end is None else source.end,
        "url": source.url,
        "title": source.title or source.url,
    }
    return {**(own or {}), **found} if own is None or "url_citation" not in own else found


def complete_notes(value: object) -> bool:
    """Give texts their citations, and these the members that clients rely on; say if any lacked them.

    xAI leaves out all but the address, mistral.rs the list itself. ``value`` is an event or a part of
    one, and is changed in place.
    """
    if isinstance(value, list):
        return sum(complete_notes(item) for item in value) > 0
    if not isinstance(value, dict):
        return False
    if value.get("type") == "url_citation" and isinstance(value.get("url"), str):
        missing = {"start_index": 0, "end_index": 0, "title": value["url"]}
        missing = {name: found for name, found in missing.items() if value.get(name) is None}
        value.update(missing)
        return bool(missing)
    bare = value.get("type") == "output_text" and not isinstance(value.get("annotations"), list)
    if bare:
        value["annotations"] = []
    holders = ("annotation", "annotations", "part", "item", "content", "response", "output")
    return sum(complete_notes(value[name]) for name in holders if name in value) > 0 or bare


def input_part(part: Text | Media, *, own: bool) -> dict[str, Any]:
    """A canonical part as input content. ``own``: the request came in this dialect.

    Raises:
        UnsupportedContent: the API has no form for it.
    """
    return {"type": "input_text", "text": part.text} if isinstance(part, Text) else _media(part, own=own)


def _media(part: Media, *, own: bool) -> dict[str, Any]:
    match part.form:
        case "image":
            source = _source(part, "image_url", "image_url")
            return {"type": "input_image", **source, "detail": part.detail or "auto"}
        case "audio":
            if not own:
                raise UnsupportedContent("The provider's Responses API takes no audio.", param="input")
            return _audio(part)
        case "video":
            raise UnsupportedContent("The provider's API takes no video: send images of it.", param="input")
    if part.data is not None and (part.media_type or "").startswith("text/"):
        return _document(part, part.data)
    found = {"type": "input_file", **_source(part, "file_data", "file_url")}
    if "file_data" in found or part.filename is not None:
        found["filename"] = part.filename or "document.pdf"
    return found


def _source(part: Media, data: Literal["image_url", "file_data"], url: str) -> dict[str, Any]:
    if part.data is not None:
        media_type = part.media_type or ("image/png" if part.form == "image" else "application/pdf")
        return {data: data_url(media_type, part.data)}
    if part.url is not None:
        return {url: part.url}
    if part.origin != NAME:
        raise UnsupportedContent(
            f"This {part.form} is stored at another provider: send its data or a URL.", param="input"
        )
    return {"file_id": part.file_id}


def _audio(part: Media) -> dict[str, Any]:
    if part.data is None:
        raise UnsupportedContent("Audio must be sent as base64 data to this provider.", param="input")
    media_type = (part.media_type or "audio/wav").lower()
    word = _AUDIO_FORMATS.get(media_type, media_type.partition("/")[2])
    return {"type": "input_audio", "input_audio": {"data": part.data, "format": word}}


def _document(part: Media, data: str) -> dict[str, Any]:
    """A plain-text document as text: the API reads files page by page."""
    try:
        text = decode_text(data)
    except ValueError as error:
        raise UnsupportedContent(f"The document cannot be read: {error}.", param="input") from None
    title = f"{part.filename}:\n\n" if part.filename else ""
    return {"type": "input_text", "text": title + text}
