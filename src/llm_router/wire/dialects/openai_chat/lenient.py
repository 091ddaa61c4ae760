"""Read JSON from providers: strictly and fast where it is right, forgiving where only a value is odd.

Some servers write ``-Infinity`` as a log probability, half of a surrogate pair at the end of a
chunk, or bytes that are no UTF-8. The answer around it is still good.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

_decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode
"""Compact JSON bytes."""


def load(data: bytes) -> object:
    """Any JSON value, odd values in it mended; None if there is none to be read."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _load_odd(data)


def load_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object in ``data``; None if there is none to be read."""
    value = load(data)
    return value if isinstance(value, dict) else None


def _load_odd(data: bytes) -> object:
    try:
        return _clean(json.loads(data.decode("utf-8-sig", "replace"), strict=False))
    except (ValueError, RecursionError):
        return None


def _clean(value: object) -> object:
    """The value without what JSON or UTF-8 cannot say: halves of surrogate pairs, infinities, NaN."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [_clean(item) for item in value]
        case dict():
            return {_clean(name): _clean(item) for name, item in value.items()}
    return value
