"""What the simulated model sees of images and files: kind, size and, for images, dimensions."""

from __future__ import annotations

import base64
import binascii
from collections import Counter

from llm_router.wire.chat import Media

HEAD_BYTES = 256 * 1024
"""How much of an image is read to find its dimensions."""


def describe(media: tuple[Media, ...]) -> str:
    """One sentence on what was seen; "" if there was nothing."""
    if not media:
        return ""
    counts = Counter(m.form for m in media)
    total = " and ".join(f"{n} {form}{'s' if n > 1 else ''}" for form, n in counts.items())
    return f"I was given {total}: {'; '.join(_one(m) for m in media[:16])}."


def data_bytes(media: Media) -> int:
    """Bytes of the decoded data; 0 where only a URL or id is known."""
    if media.data is None:
        return 0
    return len(media.data) * 3 // 4 - media.data[-2:].count("=")


def _one(media: Media) -> str:
    kind = media.media_type or media.form
    if media.data is None:
        where = media.url if media.url is not None else f"file {media.file_id}"
        return f"{kind} by {'URL ' if media.url is not None else ''}{where[:120]}"
    size = dimensions(media.data) if media.form == "image" else None
    pixels = f", {size[0]}x{size[1]} pixels" if size else ""
    name = f" {media.filename!r}" if media.filename else ""
    return f"{kind}{name}, {data_bytes(media)} bytes{pixels}"


def dimensions(data: str) -> tuple[int, int] | None:
    """Width and height of a base64 PNG, GIF or JPEG; None where they can't be read."""
    head = data[: HEAD_BYTES // 3 * 4]
    try:
        raw = base64.b64decode(head + "=" * (-len(head) % 4))
    except (binascii.Error, ValueError):
        return None
    if raw[:8] == b"\x89PNG\r\n\x1a\n" and len(raw) >= 24:
        return int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")
    if raw[:4] == b"GIF8" and len(raw) >= 10:
        return int.from_bytes(raw[6:8], "little"), int.from_bytes(raw[8:10], "little")
    return _jpeg(raw) if raw[:2] == b"\xff\xd8" else None


def _jpeg(raw: bytes) -> tuple[int, int] | None:
    """Read the segments up to the frame header (SOF), which holds height and width."""
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker = raw[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(raw[at + 7 : at + 9], "big"), int.from_bytes(raw[at + 5 : at + 7], "big")
        at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    return None
