"""Regular expressions that are compiled when they are first used.

Most patterns are for what seldom happens: what providers say when they fail, what is taken out of kept bodies, where
an answer that broke off goes on. Compiling all of them took a tenth of a start.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast

_MEMBERS = (
    "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer", "pattern", "flags", "groups", "groupindex"
)  # fmt: skip


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
