"""A strict reader of ``TypedDict`` trees: what of a JSON value a provider's own types do not take.

Stricter than pydantic on the same types: a member that the types do not name is a fault.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from functools import cache
from typing import Any, Literal, Union

import typing_extensions
from pydantic import BaseModel

_SEQUENCES = (list, collections.abc.Iterable, collections.abc.Sequence, tuple)
_MAPPINGS = (dict, collections.abc.Mapping)
_WRAPPERS = (
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing.Annotated,
)
_OPTIONAL = (typing.NotRequired, typing_extensions.NotRequired)
_TAGS = ("type", "role", "mode")


def faults(kind: Any, value: Any, at: str = "$") -> list[str]:
    """Where and why ``value`` is none of ``kind``; empty if it is one."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object or isinstance(kind, typing.TypeVar):
        return []
    if type(kind).__name__ == "TypeAliasType":
        return faults(kind.__value__, value, at)
    if type(origin).__name__ == "TypeAliasType":
        return faults(origin.__value__[args], value, at)
    if origin in _WRAPPERS:
        return faults(args[0], value, at)
    if origin in (Union, types.UnionType):
        return _union(args, value, at)
    if origin is Literal:
        return [] if value in args else [f"{at}: {value!r} is none of {args}"]
    if typing_extensions.is_typeddict(kind):
        return _members(kind, value, at)
    if origin in _MAPPINGS or kind in _MAPPINGS:
        return _mapping(args, value, at)
    if origin in _SEQUENCES or (isinstance(origin, type) and origin.__name__ == "SequenceNotStr"):
        if not isinstance(value, list):
            return [f"{at}: no list"]
        return [fault for n, item in enumerate(value) for fault in faults(args[0], item, f"{at}[{n}]")]
    return _plain(kind, value, at)


def _plain(kind: Any, value: Any, at: str) -> list[str]:
    if kind is None or kind is type(None):
        fits = value is None
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        fits = False  # replies as they came: nothing that is sent by us
    else:
        fits = isinstance(kind, type) and isinstance(value, kind)
    return [] if fits else [f"{at}: {value!r:.60} is no {getattr(kind, '__name__', kind)}"]


def _mapping(args: tuple[Any, ...], value: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: no object"]
    inner = args[1] if args else Any
    return [fault for name, item in value.items() for fault in faults(inner, item, f"{at}.{name}")]


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing_extensions.get_type_hints(kind, include_extras=True)


def _members(kind: Any, value: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: no object"]
    hints = _hints(kind)
    needed = {name for name in kind.__required_keys__ if typing.get_origin(hints[name]) not in _OPTIONAL}
    found = [f"{at}.{name}: missing" for name in sorted(needed - value.keys())]
    for name, item in value.items():
        if name in hints:
            found += faults(hints[name], item, f"{at}.{name}")
        else:
            found.append(f"{at}.{name}: {kind.__name__} has no such member")
    return found


def _union(options: tuple[Any, ...], value: Any, at: str) -> list[str]:
    """The faults of the alternative that the value was meant for: that of its tag, else of fewest."""
    best: list[str] | None = None
    for option in options:
        found = faults(option, value, at)
        if not found:
            return []
        tagged = any(f"{at}.{tag}:" in fault for fault in found for tag in _TAGS)
        weight = (tagged, len(found))
        if best is None or weight < (any(f"{at}.{tag}:" in f for f in best for tag in _TAGS), len(best)):
            best = found
    return best or []
