"""Media parts to ``image`` and ``document`` blocks.

https://docs.anthropic.com/en/docs/build-with-claude/vision and .../pdf-support: images are jpeg,
png, gif or webp, and their declared type must be the true one; documents are PDF or plain text.
"""

from __future__ import annotations

import msgspec

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire import media
from llm_router.wire.chat import Media
from llm_router.wire.dialects.anthropic_messages.facts import NAME, cache_control
from llm_router.wire.loss import Losses
from llm_router.wire.verbatim import members

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF = "application/pdf"
_TEXTS = ("application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml",
          "application/javascript", "application/x-sh", "application/sql", "application/x-ndjson")  # fmt: skip
_UNSTATED = (None, "application/octet-stream")


def media_block(part: Media, losses: Losses) -> dict[str, object]:
    """The block that shows ``part`` to the model.

    Raises:
        UnsupportedContent: the API takes no media of that kind.
    """
    if part.url is not None and media.is_data_url(part.url):
        part = _inline(part)
    if part.detail not in (None, "auto"):
        losses.add("messages[].content[].image_url.detail", "the provider chooses the resolution by itself")
    block = _block(part)
    if part.origin == NAME and part.signature is not None:
        block.update(members(part.signature.encode()) or {})
    if part.cache is not None:
        block["cache_control"] = cache_control(part.cache)
    return block


def _inline(part: Media) -> Media:
    try:
        media_type, data = media.parse_data_url(part.url or "")
    except ValueError as error:
        raise UnsupportedContent(f"A data URL cannot be read: {error}.", param="messages") from None
    return msgspec.structs.replace(part, url=None, data=data, media_type=media_type)


def _block(part: Media) -> dict[str, object]:
    if part.form in ("audio", "video"):
        raise _refused(part.form)
    if part.file_id is not None:
        if part.origin != NAME:
            raise UnsupportedContent(
                "A file that is stored at another provider cannot be used; send its content instead.",
                param="messages",
            )
        return _of(part, part.form == "image", {"type": "file", "file_id": part.file_id})
    if part.data is None:
        shows = part.form == "image" or (part.media_type or "").startswith("image/")
        return _of(part, shows, {"type": "url", "url": part.url or ""})
    return _of_data(part, part.data)


def _of_data(part: Media, data: str) -> dict[str, object]:
    declared = "image/jpeg" if part.media_type == "image/jpg" else part.media_type
    found = media.sniff(data)
    media_type = found if found in (*IMAGES, PDF) else declared
    if media_type in IMAGES:
        return _of(part, True, {"type": "base64", "media_type": media_type, "data": data})
    if media_type == PDF:
        return _of(part, False, {"type": "base64", "media_type": PDF, "data": data})
    if part.form == "file" and (_is_text(media_type) or (media_type in _UNSTATED and found is None)):
        try:
            text = media.decode_text(data)
        except ValueError:
            raise _refused(media_type or "unknown content") from None
        return _of(part, False, {"type": "text", "media_type": "text/plain", "data": text})
    raise _refused(found or media_type or part.form)


def _of(part: Media, shows: bool, source: dict[str, object]) -> dict[str, object]:
    if shows:
        return {"type": "image", "source": source}
    block: dict[str, object] = {"type": "document", "source": source}
    if part.filename:
        block["title"] = part.filename
    return block


def _is_text(media_type: str | None) -> bool:
    if media_type is None:
        return False
    return media_type.startswith("text/") or media_type in _TEXTS or media_type.endswith(("+json", "+xml"))


def _refused(kind: str) -> UnsupportedContent:
    return UnsupportedContent(
        f"This model takes no {kind}: send an image (jpeg, png, gif, webp), a PDF or plain text.",
        param="messages",
    )
