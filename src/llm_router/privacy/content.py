"""The bodies of an exchange as they are kept: redacted, without files, cut to size, as one JSON document."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from llm_router.domain import late
from llm_router.domain.bodies import BodyRule
from llm_router.privacy.redact import Redactor

NUMBERS_MAX = 64
"""Longer arrays of nothing but numbers are vectors: they are told by their length."""

FILE_CHARS_MIN = 256
"""Shorter texts of base64 may be words."""

_DATA_URL = late.compile(
    r"data:([A-Za-z0-9.+\-]{1,60}/[A-Za-z0-9.+\-]{1,80})?(?:;[^,;]{1,100}){0,4};base64,([A-Za-z0-9+/=_\-\r\n]*)"
)
_BASE64 = late.compile(rf"[A-Za-z0-9+/_\-\r\n]{{{FILE_CHARS_MIN},}}={{0,2}}\s?")
_LONG_NUMBER = 10**11
"""Integers from here on may be cards and the like."""

_ESCAPE = late.compile(r"\\u([0-9A-Fa-f]{4})")

DEPTH_MAX = 150


class Side(msgspec.Struct, kw_only=True):
    """One body, as it is kept.

    Attributes:
        body: JSON, or a text where it is none or was cut.
        size_bytes: of the body as it came; truncated: it was cut off.
    """

    body: Any = None
    size_bytes: int = 0
    truncated: bool = False


def _plain(data: bytes) -> str:
    """A body that is no JSON as a text in which no escape hides anything."""
    text = data.decode(errors="replace")
    text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return text.encode(errors="replace").decode()


class Cleaner:
    """Goes through a body, and takes out what is not to be kept.

    Attributes:
        counts: what was taken out so far, by its kind. files: how many were left out.
    """

    def __init__(self, rule: BodyRule, redactor: Redactor) -> None:
        self._rule = rule
        self._redactor = redactor
        self.counts = redactor.counts
        self.files = 0

    def side(self, data: bytes) -> Side:
        """
        Raises:
            TooHard: see :class:`Redactor`.
        """
        value = self._cleaned(data)
        limit = self._rule.bytes_max
        written = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
        if len(written) <= limit:
            return Side(body=value, size_bytes=len(data))
        return Side(body=written[:limit].decode(errors="ignore"), size_bytes=len(data), truncated=True)

    def _cleaned(self, data: bytes) -> Any:
        for read in (msgspec.json.decode, json.loads):  # the latter reads numbers of any size
            try:
                return self._value(read(data), "", 0)
            except (ValueError, RecursionError):
                continue
        return self._redactor.text(_plain(data))

    def _value(self, value: Any, name: str, depth: int) -> Any:
        if depth > DEPTH_MAX:
            raise RecursionError
        match value:
            case str():
                return self._text(value.encode(errors="replace").decode(), name)
            case dict():
                return {
                    self._redactor.text(str(member)): self._value(part, str(member), depth + 1)
                    for member, part in value.items()
                }
            case list():
                if len(value) > NUMBERS_MAX and all(isinstance(part, int | float) for part in value):
                    return f"[{len(value)} numbers]"
                return [self._value(part, name, depth + 1) for part in value]
            case bool():
                return value
            case int() if abs(value) >= _LONG_NUMBER:
                text = self._redactor.text(str(value))
                return value if text == str(value) and abs(value) < 2**63 else text
            case float() if not math.isfinite(value):
                return str(value)
            case _:
                return value

    def _text(self, text: str, name: str) -> str:
        if len(text) >= FILE_CHARS_MIN:
            if _BASE64.fullmatch(text):
                return text if self._rule.files else self._dropped("", text)
            if "base64," in text:
                return self._with_files(text, name)
            if text[:1] in "{[":
                return self._nested(text, name)
        elif "base64," in text:
            return self._with_files(text, name)
        elif text[:1] in ("{", "["):
            return self._nested(text, name)
        return self._redactor.member(name, text)

    def _with_files(self, text: str, name: str) -> str:
        """A text with data URLs in it. What lies between them is redacted, they are not looked into."""
        parts, at = [], 0
        for match in _DATA_URL.finditer(text):
            parts.append(self._redactor.member(name, text[at : match.start()]))
            parts.append(match.group() if self._rule.files else self._dropped(match[1] or "", match[2]))
            at = match.end()
        return "".join((*parts, self._redactor.member(name, text[at:])))

    def _nested(self, text: str, name: str) -> str:
        """A text that is JSON itself, such as the arguments of a call: escapes in it hide nothing."""
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return self._redactor.member(name, text)
        before, files = dict(self._redactor.counts), self.files
        cleaned = self._value(value, "", 1)
        if before == self._redactor.counts and files == self.files:
            return text
        return msgspec.json.encode(cleaned).decode()

    def _dropped(self, form: str, text: str) -> str:
        self.files += 1
        size = len(text.rstrip("=\r\n ")) * 3 // 4
        return f"[file left out: {form + ', ' if form else ''}about {size} bytes]"
