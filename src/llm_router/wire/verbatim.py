"""Readers of untrusted JSON that keep every value's bytes, and never raise."""

from __future__ import annotations

import msgspec

from llm_router.wire.chat import Raw

NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding untrusted bytes as JSON may raise."""

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_ARRAY = msgspec.json.Decoder(list[Raw])
_ANY = msgspec.json.Decoder()


def members(raw: Raw | bytes | None) -> dict[str, Raw] | None:
    """The members of a JSON object, verbatim; None if it is no object."""
    if raw is None:
        return None
    try:
        return _OBJECT.decode(raw)
    except NOT_JSON:
        return None


def items(raw: Raw | bytes | None) -> list[Raw] | None:
    """The items of a JSON array, verbatim; None if it is no array."""
    if raw is None:
        return None
    try:
        return _ARRAY.decode(raw)
    except NOT_JSON:
        return None


def value(raw: Raw | bytes | None) -> object:
    """The plain value; None also where it is absent or no JSON."""
    if raw is None:
        return None
    try:
        decoded: object = _ANY.decode(raw)
    except NOT_JSON:
        return None
    return decoded


def string(raw: Raw | bytes | None) -> str | None:
    """The text of a JSON string; None if it is none."""
    decoded = value(raw)
    return decoded if isinstance(decoded, str) else None


def is_object(raw: Raw | bytes) -> bool:
    """Whether verbatim JSON is an object."""
    return bytes(raw).lstrip()[:1] == b"{"


def dump(data: object) -> Raw:
    """``data`` as compact JSON."""
    return Raw(msgspec.json.encode(data))
