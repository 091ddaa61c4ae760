"""Credentials of providers: where they are named, how they are read, how they stay hidden."""

from __future__ import annotations

import hmac
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from llm_router.settings.problems import closest

_KEY_BYTES_MAX = 64 * 1024
_VISIBLE = re.compile(r"[!-~]+")
_FOREIGN = re.compile(r"\$\{?[A-Za-z_]|os\.environ/|\{\{")
_PLACEHOLDER = re.compile(r"\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


class Secret:
    """A credential. Its text appears in no ``repr``, ``str``, format, JSON or pickle."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The credential itself, to be sent to its provider and nowhere else."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be stored")


class SecretError(Exception):
    """A reference that leads to no usable credential. The message holds no part of it."""


def read_reference(reference: str, environ: Mapping[str, str], folder: Path) -> Secret:
    """Resolve ``env:NAME``, ``file:PATH`` (relative to ``folder``) or a literal credential.

    Raises:
        SecretError: the variable or file is not there, is empty, or holds no credential.
    """
    if reference.startswith("env:"):
        return _from_environment(reference.removeprefix("env:").strip(), environ)
    if reference.startswith("file:"):
        return _from_file(_path(reference.removeprefix("file:").strip(), environ, folder))
    if _FOREIGN.match(reference):
        raise SecretError('looks like a reference of another tool; write "env:NAME" or "file:PATH"')
    return usable(reference, "it")


def usable(text: str, what: str) -> Secret:
    """A credential of visible ASCII characters, stripped.

    Raises:
        SecretError: it is empty or could not stand in a header.
    """
    stripped = text.strip()
    if not stripped:
        raise SecretError(f"{what} is empty")
    if not _VISIBLE.fullmatch(stripped):
        raise SecretError(f"{what} holds spaces, line breaks or other characters that no key has")
    return Secret(stripped)


def is_literal(reference: str) -> bool:
    return not reference.startswith(("env:", "file:"))


def open_to_others(path: Path) -> bool:
    """Whether users other than the owner may read the file."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def fill_placeholders(text: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Replace each ``{env:NAME}``; return the text and the names that are not set."""
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        found = environ.get(match[1], "").strip().rstrip("/")
        if not found:
            missing.append(match[1])
            return match[0]
        return found

    filled = _PLACEHOLDER.sub(value, text)
    return filled, tuple(dict.fromkeys(missing))


def _from_environment(name: str, environ: Mapping[str, str]) -> Secret:
    return usable(variable_text(name, environ), f"the environment variable {name}")


def variable_text(name: str, environ: Mapping[str, str]) -> str:
    """The value of an environment variable that a reference names.

    Raises:
        SecretError: there is no such variable.
    """
    if not name:
        raise SecretError('names no variable; write it like "env:OPENAI_API_KEY"')
    if name not in environ:
        close = closest(name, environ)
        hint = f'; did you mean "{close}"?' if close is not None else ""
        raise SecretError(f"the environment variable {name} is not set{hint}")
    return environ[name]


def _from_file(path: Path) -> Secret:
    return usable(file_text(path), f"the file {path}")


def file_text(path: Path) -> str:
    """The text of a file that holds a credential.

    Raises:
        SecretError: it cannot be read, or is too large or no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_KEY_BYTES_MAX + 1)
    except OSError as error:
        raise SecretError(f"the file {path} cannot be read: {error.strerror or error}") from None
    if len(content) > _KEY_BYTES_MAX:
        raise SecretError(f"the file {path} is too large for a key")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SecretError(f"the file {path} is not text") from None


def _path(text: str, environ: Mapping[str, str], folder: Path) -> Path:
    if not text:
        raise SecretError('names no file; write it like "file:/run/secrets/openai"')
    return folder / expand_home(text, environ)


def expand_home(text: str, environ: Mapping[str, str]) -> Path:
    """A path with a leading ``~`` replaced by the home folder of the environment given."""
    home = environ.get("HOME")
    if home and (text == "~" or text.startswith("~/")):
        return Path(home + text[1:])
    return Path(text)
