"""Collect what is wrong with a configuration, all of it, each with its place and a way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count
from typing import TypeVar

from llm_router.domain.errors import InvalidRequest

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NAMES_SHOWN = 12
_QUOTED_CHARS = 40

_T = TypeVar("_T")

VARIABLES = "LLM_ROUTER_"
"""How the names of the gateway's own environment variables begin."""

KeyPath = tuple[str | int, ...]
"""Where in the file: table names, keys, and 0-based indices of arrays."""


class ConfigError(InvalidRequest):
    """A configuration that cannot be used.

    Attributes:
        problems: one line each: file, key, what is wrong, what to write instead. No secrets.
    """

    code = "invalid_configuration"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems), details={"problems": list(problems)})
        self.problems = problems


class Problems:
    """The problems of one file, in the order they were found.

    Attributes:
        places: where they are, and the keys that were meant by misspelt ones.
        dropped: elements of arrays that are so wrong that they were left out.
        warnings: what is allowed but probably not meant.
    """

    def __init__(self) -> None:
        self._found: list[tuple[KeyPath, str]] = []
        self.places: set[KeyPath] = set()
        self.dropped: set[KeyPath] = set()
        self.warnings: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: KeyPath, text: str) -> None:
        self._found.append((path, text))
        self.places.add(path)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def touch(self, *path: str | int) -> bool:
        """Whether that very key is known to be wrong, so that nothing more need be said of it."""
        return path in self.places

    def inside(self, *path: str | int) -> bool:
        """Whether something at or below that key is known to be wrong."""
        return any(place[: len(path)] == path for place in self.places)

    def lost(self, *path: str | int) -> bool:
        """Whether that key, or a table that it may have stood in, is known to be wrong."""
        return any(path[:length] in self.places for length in range(1, len(path) + 1))

    def numbered(self, path: KeyPath, items: Iterable[_T]) -> Iterator[tuple[KeyPath, _T]]:
        """The elements that are left of an array, each with its place in the file."""
        places = ((*path, i) for i in count())
        return zip((place for place in places if place not in self.dropped), items, strict=False)

    def lines(self, file: str) -> tuple[str, ...]:
        """One line a problem. What is wrong with a variable is not laid to the file."""
        return tuple(
            f"environment: {path[0]}: {text}"
            if str(path[0] if path else "").startswith(VARIABLES)
            else f"{file}: {dotted(path)}: {text}"
            for path, text in self._found
        )


def dotted(path: KeyPath) -> str:
    """Write a path as TOML would: ``models."gpt-5.2".deployments[0].provider``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        name = step if _BARE.fullmatch(step) else f'"{step}"'
        text += f".{name}" if text else name
    return text


def closest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that was probably meant."""
    from difflib import get_close_matches  # costs start-up time and is needed for errors only

    folded = {candidate.lower(): candidate for candidate in valid}
    close = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def unknown(kind: str, name: str, valid: Iterable[str]) -> str:
    """Say that a name leads nowhere, and which was probably meant. What may be a key is not quoted."""
    what = f'{kind} "{name}"' if len(name) <= _QUOTED_CHARS and name.isprintable() else f"such {kind}"
    return f"there is no {what}; {nearest(name, valid)}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """Say which valid name was probably meant, or which there are."""
    names = sorted(valid)
    close = closest(name, names)
    if close is not None:
        return f'did you mean "{close}"?'
    if not names:
        return "there are none"
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"valid names: {shown}" + (", ..." if len(names) > _NAMES_SHOWN else "")
