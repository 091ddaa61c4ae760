"""What is made when it is first used: regular expressions, modules, and rows of tables that stand in modules of their own.

Most patterns are for what seldom happens: what providers say when they fail, what is taken out of kept bodies, where
an answer that broke off goes on. Compiling all of them took a tenth of a start. Of dialects most gateways speak a few.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, AnyStr, TypeVar, cast

_MEMBERS = (
    "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer", "pattern", "flags", "groups", "groupindex"
)  # fmt: skip

_Row = TypeVar("_Row")


def compile(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As :func:`re.compile`, but for when a mistake in it is found."""
    return cast("re.Pattern[AnyStr]", _Late(pattern, flags))


class _Late:
    """In the place of a pattern. What it is first asked for makes it, and all of its members its own."""

    def __init__(self, source: Any, flags: int) -> None:
        self._source = source
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        if name not in _MEMBERS:
            raise AttributeError(name)
        made = re.compile(self._source, self._flags)
        for each in _MEMBERS:
            setattr(self, each, getattr(made, each))
        return getattr(made, name)


def module(name: str) -> Any:
    """A module that is loaded when a member of it is first asked for."""
    return _LateModule(name)


class _LateModule:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, member: str) -> Any:
        found = getattr(import_module(self._name), member)
        setattr(self, member, found)
        return found


class Table(Mapping[str, _Row]):
    """Rows by their names. Each is loaded when it is first asked for.

    Args:
        places: where each stands, ``module:member``.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self.places = places
        self._rows: dict[str, _Row] = {}

    def __getitem__(self, name: str) -> _Row:
        row = self._rows.get(name)
        if row is None:
            module, _, member = self.places[name].partition(":")
            row = self._rows[name] = getattr(import_module(module), member)
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places
