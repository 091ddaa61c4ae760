"""Data URLs, media types and magic bytes: all that dialects share about images, audio and files.

Sources: https://datatracker.ietf.org/doc/html/rfc2397 (data URLs) and
https://mimesniff.spec.whatwg.org/#matching-a-mime-type-pattern (magic bytes).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Literal
from urllib.parse import unquote, unquote_to_bytes

MediaForm = Literal["image", "audio", "video", "file"]

SNIFF_CHARS = 88
"""Base64 characters that are decoded to look for magic bytes: 66 bytes, more than any pattern needs."""

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")
_HTTP = re.compile(r"https?://[^/\s?#]", re.IGNORECASE)
_BLANK = re.compile(r"\s+")
_URL_SAFE = str.maketrans("-_", "+/")


def is_http_url(url: str) -> bool:
    """Whether ``url`` is an http or https URL that names a host."""
    return _HTTP.match(url) is not None


def is_data_url(url: str) -> bool:
    """Whether ``url`` has the scheme ``data``; it may still be malformed."""
    return url[:5].lower() == "data:"


def media_form(media_type: str) -> MediaForm:
    """The part kind of a MIME type: images, audio and video by their first word, all else is a file."""
    match media_type.partition("/")[0].strip().lower():
        case "image":
            return "image"
        case "audio":
            return "audio"
        case "video":
            return "video"
        case _:
            return "file"


def clean_base64(text: str) -> str:
    """Standard, padded base64 without white space, from what clients call base64.

    White space, the URL-safe alphabet and missing padding are mended; bytes are not decoded.

    Raises:
        ValueError: a character of no base64 alphabet, wrong padding, or no data at all.
    """
    if not (_BASE64.fullmatch(text) and len(text) % 4 == 0):
        text = _BLANK.sub("", text).translate(_URL_SAFE).rstrip("=")
        text += "=" * (-len(text) % 4)
        if not _BASE64.fullmatch(text):
            raise ValueError("the data is not valid base64")
    if not text:
        raise ValueError("the data is empty")
    return text


def parse_data_url(url: str) -> tuple[str, str]:
    """Split a data URL into its media type (lower case, no parameters) and standard base64 text.

    ``data:;base64,...`` has no media type: then it is told by the data's first bytes, or else is
    ``text/plain``, as the RFC says. Percent-encoded data URLs come back as base64 of their bytes.

    Raises:
        ValueError: not a data URL, or its media type or data is malformed.
    """
    head, comma, data = url.partition(",")
    if not is_data_url(head):
        raise ValueError("the URL is not a data URL (data:image/png;base64,...)")
    if not comma:
        raise ValueError("the data URL has no comma between its media type and its data")
    media_type, *parameters = (piece.strip() for piece in head[5:].split(";"))
    if media_type and not _TYPE.fullmatch(media_type):
        raise ValueError(f"the data URL's media type {media_type[:80]!r} is malformed")
    if parameters and parameters[-1].lower() == "base64":
        text = clean_base64(unquote(data) if "%" in data else data)
    else:
        text = base64.b64encode(unquote_to_bytes(data)).decode()
        if not text:
            raise ValueError("the data is empty")
    return media_type.lower() or sniff(text) or "text/plain", text


def data_url(media_type: str, data: str) -> str:
    """The data URL of base64 text."""
    return f"data:{media_type};base64,{data}"


def decode_text(data: str) -> str:
    """The UTF-8 text in base64 ``data``.

    Raises:
        ValueError: not base64, or not UTF-8.
    """
    try:
        return base64.b64decode(data, validate=True).decode("utf-8-sig")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("the document is not UTF-8 text in base64") from error


def encode_text(text: str) -> str:
    """Base64 of ``text`` as UTF-8."""
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


def sniff(base64_text: str) -> str | None:
    """The media type that the first bytes tell, or None if they tell none."""
    sample = base64_text[:SNIFF_CHARS]
    try:
        head = base64.b64decode(sample[: len(sample) // 4 * 4])
    except (binascii.Error, ValueError):
        return None
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return media_type
    return _riff(head) or _iso_media(head) or _mpeg_audio(head)


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"PK\x03\x04", "application/zip"),
)
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
}
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}


def _riff(head: bytes) -> str | None:
    return _RIFF.get(head[8:12]) if head[:4] == b"RIFF" else None


def _iso_media(head: bytes) -> str | None:
    return _BRANDS.get(head[8:12], "video/mp4") if head[4:8] == b"ftyp" else None


def _mpeg_audio(head: bytes) -> str | None:
    """Frame sync of eleven set bits; layer 0 there is ADTS, which is AAC."""
    if len(head) < 2 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    return "audio/aac" if head[1] & 0x06 == 0 else "audio/mpeg"
