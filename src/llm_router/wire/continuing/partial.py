"""JSON that is not whole yet: whether text can still become a JSON value, and how a begun one is completed.

https://www.rfc-editor.org/rfc/rfc8259
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from llm_router.domain import late

_BLANK = " \t\n\r"
_NUMBER = late.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_BEGUN = late.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?)?")
_LITERALS = ("true", "false", "null")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPE_OF = {char: letter for letter, char in _ESCAPES.items()}
_HEX = frozenset("0123456789abcdefABCDEF")
DEPTH_MAX = 500
"""Deeper values are taken for broken ones."""


class JsonText:
    """Reads text piece by piece.

    Attributes:
        broken: it is no beginning of a JSON value.
        whole: the value is complete; what follows it is not looked at.
    """

    def __init__(self) -> None:
        self.broken = self.whole = False
        self._open: list[str] = []
        self._expects = "value"  # value, first (member or end), key, colon, next (comma or end)
        self._token = ""  # of a number or literal
        self._string: str | None = None  # what a string is: key or value
        self._escape = ""

    def feed(self, text: str) -> int:
        """Take a piece; return how many of its characters belong to the value."""
        for place, char in enumerate(text):
            if self.whole or self.broken:
                return place
            if not self._take(char):
                self.broken = True
                return place
        return len(text)

    @property
    def in_string(self) -> bool:
        return self._string is not None

    def fork(self) -> JsonText:
        """A reader that has read the same, and goes on by itself."""
        other = JsonText()
        other.broken, other.whole, other._open = self.broken, self.whole, list(self._open)
        other._expects, other._token = self._expects, self._token
        other._string, other._escape = self._string, self._escape
        return other

    def close(self) -> None:
        """Nothing more comes: a number at the end is complete now."""
        if self._token and not self._open and not self.broken:
            self.whole = self._is_token_whole()

    def _take(self, char: str) -> bool:
        if self._string is not None:
            return self._in_string(char)
        if self._token:
            if char not in ",]}" + _BLANK:
                self._token += char
                return self._may_token()
            if not self._is_token_whole():
                return False
            self._token = ""
            self._value_done()
            if self.whole:
                return True
        return char in _BLANK or self._begin(char)

    def _begin(self, char: str) -> bool:
        expects = self._expects
        if expects == "colon":
            self._expects = "value"
            return char == ":"
        if expects == "next":
            return self._after(char)
        if char in "]}" and expects == "first":
            return self._end(char)
        if self._open and self._open[-1] == "{" and expects in ("first", "key"):
            self._string = "key"
            return char == '"'
        if expects == "key":
            return False
        if char == '"':
            self._string = "value"
        elif char in "[{":
            self._open.append(char)
            self._expects = "first"
            return len(self._open) <= DEPTH_MAX
        else:
            self._token = char
            return self._may_token()
        return True

    def _after(self, char: str) -> bool:
        if char == ",":
            self._expects = "key" if self._open[-1] == "{" else "value"
            return True
        return char in "]}" and self._end(char)

    def _end(self, char: str) -> bool:
        if {"[": "]", "{": "}"}[self._open.pop()] != char:
            return False
        self._value_done()
        return True

    def _value_done(self) -> None:
        self._expects = "next"
        self.whole = not self._open

    def _in_string(self, char: str) -> bool:
        if self._escape:
            self._escape += char
            if len(self._escape) == 2 and char in _ESCAPES:
                self._escape = ""
            elif len(self._escape) == 2:
                return char == "u"
            elif char not in _HEX:
                return False
            elif len(self._escape) == 6:
                self._escape = ""
            return True
        if char == "\\":
            self._escape = char
        elif char == '"':
            kind, self._string = self._string, None
            if kind == "key":
                self._expects = "colon"
            else:
                self._value_done()
        return char >= " "

    def _may_token(self) -> bool:
        token = self._token
        return any(word.startswith(token) for word in _LITERALS) or bool(_NUMBER_BEGUN.fullmatch(token))

    def _is_token_whole(self) -> bool:
        return self._token in _LITERALS or bool(_NUMBER.fullmatch(self._token))


class _Number(str):
    """A number as it was written."""


class _Rest(Exception):
    """The begun text ended: what completes it up to here, from the inside outwards."""

    def __init__(self, text: str) -> None:
        self.text = text


class _Differs(Exception):
    pass


def completion(begun: str, whole: str) -> str | None:
    """What completes the begun text so that it says what ``whole`` says; None if it says something else.

    The order of members, white space and the way characters are escaped may differ.
    """
    if whole.startswith(begun):
        return whole[len(begun) :]
    try:
        value = json.loads(whole, parse_int=_Number, parse_float=_Number)
        end = _walk(begun, 0, value, 0)
    except _Rest as rest:
        return rest.text
    except (_Differs, ValueError, RecursionError):
        return None
    return "" if not begun[end:].strip(_BLANK) else None


_BEHIND = late.compile(r"[ \t\n\r]*(?:(?:`{3,}|~{3,})[ \t\n\r]*)?")
"""What may stand behind a value: the end of a fence that a model put around it."""


def same_value(text: str) -> object:
    """What a whole JSON value says, white space aside: equal for two texts that say the same."""
    return _frozen(json.loads(text, parse_int=_Number, parse_float=_Number, object_pairs_hook=_Pairs))


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, in their order."""


def _frozen(value: Any) -> object:
    if isinstance(value, _Pairs):
        return ("object", *((name, _frozen(member)) for name, member in value))
    if isinstance(value, list):
        return ("array", *map(_frozen, value))
    return (type(value).__name__, value)


def only_rest(before: str, read: JsonText, said: str, cuts: Iterable[int]) -> list[str]:
    """All that can make the text before one JSON value by what was said then.

    Args:
        read: has read the text before.
        said: the rest, or the end of the text before and the rest, or the whole value once more.
        cuts: how many characters of it may repeat the end of the text before.
    """
    found = list[str]()
    for cut in cuts:
        size = _value_length(read.fork(), said[cut:])
        if size is not None:
            found.append(said[cut : cut + size])
    anew = _value_length(JsonText(), said)
    rest = None if anew is None else completion(before, said[:anew].strip(_BLANK))
    if rest is not None:
        found.append(rest)
    return found


def _value_length(read: JsonText, text: str) -> int | None:
    """How much of a text belongs to the value that is being read; None if it does not end it, or more follows."""
    size = 0 if read.whole else read.feed(text)
    if size == len(text):
        read.close()
    return size if read.whole and _BEHIND.fullmatch(text, size) else None


def _walk(text: str, at: int, value: Any, depth: int) -> int:
    """Read the value at a place of the begun text; return where it ends.

    Raises:
        _Rest: the text ended before.
        _Differs: it says something else.
    """
    if depth > DEPTH_MAX:
        raise _Differs
    at = _skip(text, at)
    if at == len(text):
        raise _Rest(_dump(value))
    if isinstance(value, dict):
        return _object(text, at, value, depth)
    if isinstance(value, list):
        return _array(text, at, value, depth)
    if isinstance(value, str) and not isinstance(value, _Number):
        return _string(text, at, value)
    return _scalar(text, at, value)


def _object(text: str, at: int, value: dict[str, Any], depth: int) -> int:
    _expect(text, at, "{")
    left, first = dict(value), True
    at += 1
    while True:
        at = _skip(text, at)
        if at == len(text):
            raise _Rest(_members(left, first=first) + "}")
        if text[at] == "}":
            if left:
                raise _Differs
            return at + 1
        if not first:
            _expect(text, at, ",")
            at = _skip(text, at + 1)
            if at == len(text):
                if not left:
                    raise _Differs
                raise _Rest(_members(left, first=True) + "}")
        key, at = _key(text, at, left)
        member = left.pop(key)
        try:
            at = _colon(text, at, member)
            at = _walk(text, at, member, depth + 1)
        except _Rest as rest:
            raise _Rest(rest.text + _members(left, first=False) + "}") from None
        first = False


def _key(text: str, at: int, left: dict[str, Any]) -> tuple[str, int]:
    """The member that stands at a place, and where its name ends."""
    _expect(text, at, '"')
    for name in left:
        try:
            return name, _string(text, at, name)
        except _Differs:
            continue
        except _Rest as rest:
            others = {key: value for key, value in left.items() if key != name}
            told = rest.text + ": " + _dump(left[name]) + _members(others, first=False) + "}"
            raise _Rest(told) from None
    raise _Differs


def _colon(text: str, at: int, member: Any) -> int:
    at = _skip(text, at)
    if at == len(text):
        raise _Rest(": " + _dump(member))
    _expect(text, at, ":")
    return at + 1


def _array(text: str, at: int, value: list[Any], depth: int) -> int:
    _expect(text, at, "[")
    at += 1
    for number in range(len(value) + 1):
        at = _skip(text, at)
        rest = value[number:]
        if at == len(text):
            raise _Rest(
                "".join((", " if number or place else "") + _dump(v) for place, v in enumerate(rest)) + "]"
            )
        if not rest:
            _expect(text, at, "]")
            return at + 1
        if number:
            _expect(text, at, ",")
            at += 1
        try:
            at = _walk(text, at, rest[0], depth + 1)
        except _Rest as inner:
            raise _Rest(inner.text + "".join(", " + _dump(v) for v in rest[1:]) + "]") from None
    raise _Differs


def _string(text: str, at: int, value: str) -> int:
    """Compare by UTF-16 units, since an escape may have been cut between two surrogates."""
    _expect(text, at, '"')
    at += 1
    units = _units(value)
    for number, unit in enumerate(units):
        if at == len(text):
            raise _Rest(_escaped(units[number:]) + '"')
        at = _unit(text, at, unit, units[number:])
    if at == len(text):
        raise _Rest('"')
    _expect(text, at, '"')
    return at + 1


def _unit(text: str, at: int, unit: int, rest: list[int]) -> int:
    """Read one unit of a string. A character beyond the first plane that is not escaped stands for its first
    unit; the second one is read in its turn from the place it left."""
    char = text[at]
    if char == "\\":
        escape = text[at : at + 6] if text[at + 1 : at + 2] == "u" else text[at : at + 2]
        if len(escape) == 1:
            letter = _ESCAPE_OF.get(chr(unit))
            raise _Rest((letter or f"u{unit:04x}") + _escaped(rest[1:]) + '"')
        if escape[1] != "u":
            if _ESCAPES.get(escape[1]) != chr(unit):
                raise _Differs
            return at + 2
        digits = f"{unit:04x}"
        if not digits.startswith(escape[2:].lower()):
            raise _Differs
        if len(escape) < 6:
            raise _Rest(digits[len(escape) - 2 :] + _escaped(rest[1:]) + '"')
        return at + 6
    units = _units(char)
    if len(units) == 1:
        if units[0] != unit or char == '"':
            raise _Differs
        return at + 1
    if unit == units[0] and rest[1:2] == units[1:]:
        return at  # its second unit comes next
    if unit == units[1]:
        return at + 1
    raise _Differs


def _scalar(text: str, at: int, value: Any) -> int:
    token = _dump(value)
    end = at
    while end < len(text) and text[end] not in ",]}" + _BLANK:
        end += 1
    said = text[at:end]
    if end == len(text):
        if not token.startswith(said):
            raise _Differs
        raise _Rest(token[len(said) :])
    if said != token and not (isinstance(value, _Number) and _same_number(said, token)):
        raise _Differs
    return end


def _same_number(one: str, other: str) -> bool:
    return bool(_NUMBER.fullmatch(one)) and json.loads(one) == json.loads(other)


def _expect(text: str, at: int, char: str) -> None:
    if text[at] != char:
        raise _Differs


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _units(text: str) -> list[int]:
    data = text.encode("utf-16-le", "surrogatepass")
    return [int.from_bytes(data[place : place + 2], "little") for place in range(0, len(data), 2)]


def _escaped(units: list[int]) -> str:
    """The units as the inside of a JSON string. A lone half of a pair is escaped."""
    data = b"".join(unit.to_bytes(2, "little") for unit in units)
    text = data.decode("utf-16-le", "surrogatepass")
    return "".join(
        f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else json.dumps(char, ensure_ascii=False)[1:-1]
        for char in text
    )


def _members(members: dict[str, Any], *, first: bool) -> str:
    out = "".join(
        ", " + json.dumps(name, ensure_ascii=False) + ": " + _dump(v) for name, v in members.items()
    )
    return out[2:] if first else out


def _dump(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + _members(value, first=True) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
