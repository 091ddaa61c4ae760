"""Lenient access to JSON that others wrote: verbatim members, both spellings, no surprises.

Google's JSON is proto3 JSON: members are camelCase, a parser takes snake_case too, a single value
may stand for a list of one, and enums may come as numbers
(https://protobuf.dev/programming-guides/json/).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import msgspec

NAME = "gemini_generate"
"""This dialect's registered name, and the ``origin`` of what only it understands."""

Raw = msgspec.Raw

_UPPER = re.compile(r"[A-Z]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])
_ANY = msgspec.json.Decoder()

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding hostile JSON may raise."""


def value_of(raw: bytes | Raw | None) -> Any:
    """The decoded value; None if it is absent or no JSON. Half surrogate pairs become U+FFFD."""
    if raw is None:
        return None
    try:
        return _ANY.decode(raw)
    except UNREADABLE:
        pass
    try:
        return _mend(json.loads(bytes(raw)))
    except UNREADABLE:
        return None


def object_of(raw: bytes | Raw | None) -> dict[str, Raw] | None:
    """The members of an object, each verbatim; None if it is no object."""
    if raw is None:
        return None
    try:
        return _OBJECT.decode(raw)
    except UNREADABLE:
        value = value_of(raw)
        if not isinstance(value, dict):
            return None
        return {name: raw_of(member) for name, member in value.items()}


def list_of(raw: bytes | Raw | None) -> list[Raw]:
    """The elements of a list, each verbatim; [] if it is no list."""
    if raw is None:
        return []
    try:
        return _LIST.decode(raw)
    except UNREADABLE:
        value = value_of(raw)
        return [raw_of(element) for element in value] if isinstance(value, list) else []


def text_of(raw: Raw | None) -> str | None:
    """A string; None if it is absent or of another type."""
    value = value_of(raw)
    return value if isinstance(value, str) else None


def raw_of(value: object) -> Raw:
    """A value as JSON."""
    return Raw(msgspec.json.encode(value))


def compact(raw: bytes | Raw) -> str:
    """JSON text without white space between its tokens, every number spelled as it came."""
    try:
        return msgspec.json.format(bytes(raw), indent=-1).decode()
    except UNREADABLE:
        return msgspec.json.encode(value_of(raw)).decode()


def _mend(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mend(element) for element in value]
    if isinstance(value, dict):
        return {_mend(name): _mend(member) for name, member in value.items()}
    return value


@lru_cache(maxsize=512)
def snake(name: str) -> str:
    """The snake_case spelling of a camelCase member."""
    return _UPPER.sub(lambda match: "_" + match[0].lower(), name)


@lru_cache(maxsize=512)
def camel(name: str) -> str:
    """The camelCase spelling of a snake_case member; a leading underscore stays."""
    head, *rest = name.lstrip("_").split("_")
    return name[: len(name) - len(name.lstrip("_"))] + head + "".join(w[:1].upper() + w[1:] for w in rest)


def member(holder: dict[str, Any], name: str) -> Any:
    """A member by its camelCase name, in either spelling; None if absent or null."""
    value = holder.get(name)
    return value if value is not None else holder.get(snake(name))


def listed(value: object) -> list[Any]:
    """A repeated field: a single value stands for a list of one, null for none."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
