"""Readers of untrusted JSON that keep every value's bytes, and never raise.

Half of a surrogate pair, which a model may write, becomes U+FFFD, a number that no float holds null, a control
character is taken as it is; the answer around it is still good.
"""

from __future__ import annotations

import msgspec

from llm_router.wire.chat import Raw
from llm_router.wire.lenient import load

NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding untrusted bytes as JSON may raise."""

encode = msgspec.json.Encoder().encode
"""Compact JSON bytes."""

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
        found = _mended(raw)
        return {name: dump(inner) for name, inner in found.items()} if isinstance(found, dict) else None


def items(raw: Raw | bytes | None) -> list[Raw] | None:
    """The items of a JSON array, verbatim; None if it is no array."""
    if raw is None:
        return None
    try:
        return _ARRAY.decode(raw)
    except NOT_JSON:
        found = _mended(raw)
        return [dump(inner) for inner in found] if isinstance(found, list) else None


def value(raw: Raw | bytes | None) -> object:
    """The plain value; None also where it is absent or no JSON."""
    if raw is None:
        return None
    try:
        decoded: object = _ANY.decode(raw)
    except NOT_JSON:
        return _mended(raw)
    return decoded


def _mended(raw: Raw | bytes) -> object:
    """The value of JSON with something odd in it; None if it is no JSON."""
    return load(bytes(raw))


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
