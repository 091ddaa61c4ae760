"""The shortest text that a regular expression of JSON Schema takes, for the usual constructs.

Anchors, literals, classes, groups, alternatives and counts are understood. What is not (look
arounds, back references) gives a text that the caller checks and may drop.
"""

from __future__ import annotations

import string

REPEAT_MAX = 256
"""Counts in patterns are followed up to here."""

BUILT_CHARS_MAX = 8192
"""No text grows longer, however counts are nested."""

_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a", "n": "\n", "t": "\t", "r": "\r"}


def shortest_match(pattern: str) -> str:
    """A text built by the pattern; the caller must check it, since not all constructs are known."""
    return _Reader(pattern).alternatives()


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def alternatives(self) -> str:
        """The first alternative; the others are read and dropped."""
        first = self._sequence()
        while self._peek() == "|":
            self._at += 1
            self._sequence()
        return first

    def _sequence(self) -> str:
        out: list[str] = []
        while (char := self._peek()) not in ("", "|", ")"):
            self._at += 1
            if char in "^$":
                continue
            atom = self._atom(char)
            least = self._least()
            out.append((atom * min(least, REPEAT_MAX))[:BUILT_CHARS_MAX])
        return "".join(out)[:BUILT_CHARS_MAX]

    def _atom(self, char: str) -> str:
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        return "a" if char == "." else char

    def _escape(self) -> str:
        char = self._next()
        if char in "bB":
            return ""
        if char in "xu":
            digits = self._text[self._at : self._at + (2 if char == "x" else 4)]
            if digits and all(d in string.hexdigits for d in digits):
                self._at += len(digits)
                return chr(int(digits, 16))
        return _CLASSES.get(char, char)

    def _group(self) -> str:
        if self._peek() == "?":
            self._at += 1
            mark = self._next()
            if mark in "P<" and self._peek() not in ("=", "!"):
                self._at = self._text.find(">", self._at) + 1 or len(self._text)
        inner = self.alternatives()
        self._next()  # the closing bracket
        return inner

    def _class(self) -> str:
        negated = self._peek() == "^"
        if negated:
            self._at += 1
        members: list[str] = []
        while (char := self._next()) not in ("", "]") or (char == "]" and not members):
            member = self._escape() if char == "\\" else char
            if member == "-" and members and self._peek() not in ("]", ""):
                upper = self._next()
                upper = self._escape() if upper == "\\" else upper
                low, high = ord(members[-1]), min(ord(upper), ord(members[-1]) + 0x400)
                members.extend(chr(code) for code in range(low, high + 1))
            elif member:
                members.append(member)
        if not negated:
            return members[0] if members else ""
        taken = set(members)
        return next((c for c in string.ascii_letters + string.digits + " -_" if c not in taken), "")

    def _least(self) -> int:
        """The least count that the quantifier behind an atom asks for."""
        char = self._peek()
        least = 1
        if char and char in "*+?":
            self._at += 1
            least = 1 if char == "+" else 0
        elif char == "{":
            end = self._text.find("}", self._at)
            first = self._text[self._at + 1 : end].partition(",")[0] if end > 0 else ""
            if not first.isdecimal():
                return 1  # a literal brace: read as an atom next
            least, self._at = int(first[:6]), end + 1
        else:
            return 1
        if self._peek() in ("?", "+"):  # lazy or possessive
            self._at += 1
        return least

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char
