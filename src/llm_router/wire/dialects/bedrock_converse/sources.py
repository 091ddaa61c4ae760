"""Media parts to ``image``, ``document``, ``video`` and ``audio`` blocks, always by their bytes.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html and its
neighbours: formats are named by short words, and a document needs a name of few characters.
"""

from __future__ import annotations

import re

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire import media
from llm_router.wire.chat import Media
from llm_router.wire.encoding import inlined
from llm_router.wire.loss import Losses

NAME_CHARS_MAX = 200

_IMAGES = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_VIDEOS = {
    "video/mp4": "mp4", "video/quicktime": "mov", "video/x-matroska": "mkv", "video/webm": "webm",
    "video/x-flv": "flv", "video/mpeg": "mpeg", "video/mpg": "mpg", "video/x-ms-wmv": "wmv",
    "video/wmv": "wmv", "video/3gpp": "three_gp", "video/mov": "mov",
}  # fmt: skip
_AUDIO = {
    "audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav",
    "audio/aac": "aac", "audio/flac": "flac", "audio/ogg": "ogg", "audio/opus": "opus", "audio/mp4": "mp4",
    "audio/x-m4a": "m4a", "audio/m4a": "m4a", "audio/webm": "webm", "audio/pcm": "pcm",
}  # fmt: skip
_DOCUMENTS = {
    "application/pdf": "pdf", "text/csv": "csv", "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html", "text/markdown": "md", "text/plain": "txt",
}  # fmt: skip
_SUFFIXES = {"pdf": "pdf", "csv": "csv", "doc": "doc", "docx": "docx", "xls": "xls", "xlsx": "xlsx", "html": "html",
             "htm": "html", "txt": "txt", "md": "md"}  # fmt: skip
_TEXTS = ("application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml",
          "application/javascript", "application/x-sh", "application/sql", "application/x-ndjson")  # fmt: skip
_FORBIDDEN = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_BLANKS = re.compile(r"\s+")


class DocumentNames:
    """Names as the API takes them (letters, digits, single blanks, ``- ( ) [ ]``), each used once."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def name(self, filename: str | None) -> str:
        """The name for a document; "document" where the file has none of such characters."""
        stem = (filename or "").rpartition("/")[2]
        stem = stem.rpartition(".")[0] or stem
        name = (
            _BLANKS.sub(" ", _FORBIDDEN.sub(" ", stem)).strip()[: NAME_CHARS_MAX - 10].strip() or "document"
        )
        free, number = name, 1
        while free in self._used:
            number += 1
            free = f"{name} ({number})"
        self._used.add(free)
        return free


def media_block(part: Media, names: DocumentNames, losses: Losses) -> dict[str, object]:
    """The block that shows ``part`` to the model.

    Raises:
        UnsupportedContent: the API takes no media of that kind.
    """
    part = inlined(part)
    if part.data is None:
        raise UnsupportedContent(
            "This provider takes the bytes of media only: send them as base64 (a data URL) instead of "
            f"{'the id of a stored file' if part.file_id is not None else 'a URL'}.",
            param="messages",
        )
    if part.detail not in (None, "auto"):
        losses.add("messages[].content[].image_url.detail", "the provider chooses the resolution by itself")
    declared = part.media_type.lower() if part.media_type is not None else None
    found = media.sniff(part.data)
    for kind, formats in (("image", _IMAGES), ("video", _VIDEOS), ("audio", _AUDIO)):
        if part.form == kind or (part.form == "file" and (declared or found or "") in formats):
            return _block(
                kind, formats.get(found or "") or formats.get(declared or ""), part, found or declared
            )
    format_ = _document_format(part, declared, found)
    source = {"bytes": part.data}
    if format_ is None:
        raise _refused(found or declared or "unknown content")
    return {"document": {"format": format_, "name": names.name(part.filename), "source": source}}


def _block(kind: str, format_: str | None, part: Media, known: str | None) -> dict[str, object]:
    if format_ is None:
        raise _refused(known or f"{kind} of unknown format")
    return {kind: {"format": format_, "source": {"bytes": part.data}}}


def _document_format(part: Media, declared: str | None, found: str | None) -> str | None:
    """The format's word: by the content where that is sure, else as declared, else by the file's name."""
    if found == "application/pdf":
        return "pdf"
    if declared in _DOCUMENTS:
        return _DOCUMENTS[declared]
    by_name = _SUFFIXES.get((part.filename or "").rpartition(".")[2].lower())
    if by_name is not None:
        return by_name
    readable = declared is not None and (
        declared.startswith("text/") or declared in _TEXTS or declared.endswith(("+json", "+xml"))
    )
    if not readable and not (declared in (None, "application/octet-stream") and found is None):
        return None
    try:
        media.decode_text(part.data or "")
    except ValueError:
        return None
    return "txt"


def _refused(kind: str) -> UnsupportedContent:
    return UnsupportedContent(
        f"This provider takes no {kind}: send an image (jpeg, png, gif, webp), a PDF, an Office or text "
        "document, or a common video or audio format.",
        param="messages",
    )
