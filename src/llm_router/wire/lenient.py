"""Read JSON of providers whose values may be odd: strictly and fast first, forgiving where that fails.

A model may write half of a surrogate pair, a server ``NaN`` as a log probability. The answer around
it is still good.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

_decode = msgspec.json.Decoder().decode


def load(data: bytes) -> object:
    """Any JSON value, odd values in it mended; None if there is none to be read."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return _sayable(json.loads(data.decode("utf-8-sig", "replace"), strict=False))
    except (ValueError, RecursionError):
        return None


def load_exact(data: bytes) -> tuple[dict[str, Any] | None, bool]:
    """The JSON object in ``data``, and whether strict readers would read the same."""
    try:
        found = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return load_object(data), False
    return (found if isinstance(found, dict) else None), True


def load_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object in ``data``; None if there is none to be read."""
    found = load(data)
    return found if isinstance(found, dict) else None


def mapping(value: object) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listing(value: object) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text_of(value: object) -> str:
    """``value`` if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def _sayable(value: object) -> object:
    """The value without what JSON or UTF-8 cannot say."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [_sayable(item) for item in value]
        case dict():
            return {str(_sayable(name)): _sayable(item) for name, item in value.items()}
    return value
