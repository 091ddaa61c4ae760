"""Read a decoded TOML document into the structs of :mod:`.schema`, strictly and to the end.

msgspec's own conversion stops at the first problem; an operator wants all of them at once, so the
types are walked here. Values are never quoted in messages, since any of them may be a secret; only
keys, choices and numbers are.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as types

from llm_router.settings.problems import KeyPath, Problems, closest, nearest

_T = TypeVar("_T", bound=msgspec.Struct)

_INVALID: Any = object()
SIZE_MAX = 30
"""Digits of a number before and behind its point."""

_PLAIN_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


def read_table(cls: type[_T], value: object, path: KeyPath, problems: Problems) -> _T | None:
    """The table as a struct. Keys that are wrong are reported and left at their defaults.

    Returns None when it is no table at all, or lacks a key that it must have.
    """
    if not isinstance(value, dict):
        problems.add(path, f"expected a table, found {_kind(value)}")
        return None
    fields = _fields(cls)
    found: dict[str, Any] = {}
    for key, item in value.items():
        if key not in fields:
            problems.add((*path, key), f"unknown key; {nearest(key, fields)}")
            if (meant := closest(key, fields)) is not None:
                problems.places.add((*path, meant))
            continue
        read = _read(fields[key].type, item, (*path, key), problems)
        if read is not _INVALID:
            found[key] = read
    complete = True
    for name, field in fields.items():
        if field.required and name not in found:
            complete = False
            if name not in value and not problems.touch(*path, name):
                problems.add((*path, name), "is missing")
    return cls(**found) if complete else None


@cache
def _fields(cls: type[msgspec.Struct]) -> dict[str, types.Field]:
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    return {field.name: field for field in info.fields}


def _read(kind: types.Type, value: object, path: KeyPath, problems: Problems) -> Any:
    extra: dict[str, Any] = {}
    if isinstance(kind, types.Metadata):
        extra = kind.extra or {}
        kind = kind.type
    match kind:
        case types.AnyType():
            return value
        case types.StructType():
            table = read_table(kind.cls, value, path, problems)
            return _INVALID if table is None else table
        case types.UnionType():
            return _read(_choose(kind, value), value, path, problems)
        case types.VarTupleType():
            return _read_array(kind, value, path, problems)
        case types.DictType():
            return _read_named(kind, value, path, problems)
        case _:
            return _read_scalar(kind, extra, value, path, problems)


def _choose(kind: types.UnionType, value: object) -> types.Type:
    """The member of a union that suits the value; the first one speaks for all where none does.

    Raises:
        TypeError: the schema holds a union of which the first would hide the others: of two sets of words.
    """
    members = [member for member in kind.types if not isinstance(member, types.NoneType)]
    if sum(isinstance(member, types.LiteralType) for member in members) > 1:
        raise TypeError(f"the schema holds a union of words that cannot be read: write one Literal: {kind}")
    for member in members:
        inner = member.type if isinstance(member, types.Metadata) else member
        if isinstance(inner, types.StructType) and isinstance(value, dict):
            return member
        if isinstance(inner, types.DecimalType) and isinstance(value, int | Decimal):
            return member
    return members[0]


def _read_array(kind: types.VarTupleType, value: object, path: KeyPath, problems: Problems) -> Any:
    if not isinstance(value, list):
        problems.add(path, f"expected an array, found {_kind(value)}")
        return _INVALID
    items: list[Any] = []
    for i, item in enumerate(value):
        read = _read(kind.item_type, item, (*path, i), problems)
        if read is _INVALID:
            problems.dropped.add((*path, i))
        else:
            items.append(read)
    return tuple(items)


def _read_named(kind: types.DictType, value: object, path: KeyPath, problems: Problems) -> Any:
    if not isinstance(value, dict):
        problems.add(path, f"expected a table, found {_kind(value)}")
        return _INVALID
    items = {name: _read(kind.value_type, item, (*path, name), problems) for name, item in value.items()}
    return {name: item for name, item in items.items() if item is not _INVALID}


def _read_scalar(
    kind: types.Type, extra: dict[str, Any], value: object, path: KeyPath, problems: Problems
) -> Any:
    wrong: str | None
    match kind:
        case types.BoolType():
            wrong = None if isinstance(value, bool) else f"expected true or false, found {_kind(value)}"
        case types.IntType():
            wrong = _wrong_whole(kind, value)
        case types.DecimalType():
            if extra.get("text") and isinstance(value, str):
                value = _typed_number(value)
            wrong = _wrong_number(extra, value)
            if wrong is None:
                return Decimal(value)  # type: ignore[arg-type]
        case types.StrType():
            wrong = _wrong_text(value)
        case types.LiteralType():
            wrong = _wrong_choice(kind, value)
        case _:  # pragma: no cover - a type that the schema does not use
            raise TypeError(f"the schema holds a type that cannot be read: {kind}")
    if wrong is None:
        return value
    problems.add(path, wrong)
    return _INVALID


def _wrong_whole(kind: types.IntType, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"expected a whole number, found {_kind(value)}"
    if (kind.ge is not None and value < kind.ge) or (kind.le is not None and value > kind.le):
        return f"must be from {kind.ge} to {kind.le}, found {value}"
    return None


def _wrong_number(extra: dict[str, Any], value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return f"expected a number, found {_kind(value)}"
    number = Decimal(value)
    if not number.is_finite():
        return "must be a finite number"
    if (
        number and abs(number.adjusted()) > SIZE_MAX
    ):  # whose digits would fill the memory when they are written out
        return f"must be a number of at most {SIZE_MAX} digits before and behind the point"
    if "above" in extra and number <= extra["above"]:
        return f"must be greater than {extra['above']}, found {number}"
    if "min" in extra and number < extra["min"]:
        return f"must be {extra['min']} or more, found {number}"
    if "max" in extra and number > extra["max"]:
        return f"must be at most {extra['max']}, found {number}"
    return None


def _typed_number(text: str) -> object:
    """A plain decimal number in quotes as if it stood without them; anything else as it is."""
    return Decimal(text) if _PLAIN_NUMBER.fullmatch(text) else text


def _wrong_text(value: object) -> str | None:
    if not isinstance(value, str):
        return f"expected text in quotes, found {_kind(value)}"
    if not value.strip():
        return "must not be empty"
    return None


def _wrong_choice(kind: types.LiteralType, value: object) -> str | None:
    if not isinstance(value, str):
        return f"expected text in quotes, found {_kind(value)}"
    if value in kind.values:
        return None
    choices = [str(choice) for choice in kind.values]
    close = closest(value, choices)
    choice_list = ", ".join(f'"{choice}"' for choice in choices)
    return f"must be one of {choice_list}" + (f'; did you mean "{close}"?' if close else "")


def _kind(value: object) -> str:
    """The type of a TOML value in words, without the value."""
    match value:
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case Decimal():
            return "a number with a fraction"
        case str():
            return "text"
        case list():
            return "an array"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def json_value(value: object) -> msgspec.Raw:
    """A TOML value as JSON, numbers exactly as typed.

    Raises:
        ValueError: it holds what JSON has no word for (inf, nan).
    """
    _refuse_special(value)
    return msgspec.Raw(msgspec.json.encode(_plain(value)))


def _refuse_special(value: object) -> None:
    match value:
        case Decimal() if not value.is_finite():
            raise ValueError("inf and nan do not exist in JSON")
        case dict():
            for item in value.values():
                _refuse_special(item)
        case list():
            for item in value:
                _refuse_special(item)


def _plain(value: object) -> object:
    match value:
        case Decimal():
            return msgspec.Raw(str(value).encode())
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value
