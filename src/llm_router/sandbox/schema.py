"""A small valid value for a JSON Schema, made of the words of a prompt.

The same schema and prompt give the same value. ``const``, ``enum``, ``default`` and ``examples`` win
over invention; strings and numbers are taken from the prompt where they fit the schema's bounds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llm_router.sandbox.pattern import shortest_match
from llm_router.sandbox.prompt import Words

DEPTH_SOFT = 6
"""Below this depth optional parts are left out, so that schemas that refer to themselves end."""

DEPTH_MAX = 40
"""Below this depth a schema can't be met any more; null stands for the rest."""

NODES_MAX = 20_000
"""How many schemas are looked at for one value; null stands for the rest. A small schema can ask for
a huge value ("at least 4,096 lists of at least 4,096 lists")."""

LENGTH_MAX = 4096
"""Bound of ``minLength`` and ``minItems`` that is followed."""

_REPEATED_GROUP = re.compile(r"\)[*+{]")

_FORMATS = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "ada@example.com",
    "idn-email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uri-reference": "/",
    "iri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "byte": "c2ltdWxhdGVk",
    "json-pointer": "/",
    "regex": ".*",
}

_PLACES = {"location", "city", "place", "town", "country", "destination", "origin", "region", "where"}
_WHOLES = {
    "query", "q", "question", "text", "prompt", "message", "input", "content", "search", "topic",
    "task", "request", "sentence", "answer", "summary", "description", "explanation", "reason",
    "reasoning", "thought", "body", "note", "comment", "output", "response",
}  # fmt: skip
_EXPRESSIONS = {"expression", "formula", "equation", "calculation"}


def instance(schema: object, words: Words, *, subject: int = 0) -> Any:
    """A value that the schema takes.

    Args:
        schema: the decoded schema; anything that is no object takes any value.
        words: of the prompt.
        subject: which of the prompt's subjects a string is about, for parallel calls.
    """
    return _Maker(schema, words, subject).value(schema, "", 0)


class _Maker:
    def __init__(self, root: object, words: Words, subject: int) -> None:
        self._root = root
        self._words = words
        self._subject = subject
        self._numbers = 0
        self._left = NODES_MAX

    def value(self, schema: object, name: str, depth: int) -> Any:
        self._left -= 1
        if depth > DEPTH_MAX or self._left < 0 or schema is False:
            return None
        if not isinstance(schema, Mapping):
            return self._words.short(self._subject)
        schema = self._merged(schema)
        for word in ("const", "default"):
            if word in schema:
                return schema[word]
        for word in ("enum", "examples"):
            listed = schema.get(word)
            if isinstance(listed, list) and listed:
                return self._pick(listed) if word == "enum" else listed[0]
        for word in ("anyOf", "oneOf"):
            options = schema.get(word)
            if isinstance(options, list) and options:
                rest = {k: v for k, v in schema.items() if k != word}
                return self.value(_joined(rest, self._option(options, depth)), name, depth + 1)
        match self._type(schema, depth):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer":
                return self._number(schema, whole=True)
            case "number":
                return self._number(schema, whole=False)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._string(schema, name)

    def _merged(self, schema: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any]:
        """The schema with ``$ref`` followed and ``allOf`` joined."""
        for _ in range(DEPTH_MAX):
            self._left -= 1
            if depth > DEPTH_MAX or self._left < 0:
                return {}
            ref = schema.get("$ref")
            if isinstance(ref, str):
                rest = {k: v for k, v in schema.items() if k != "$ref"}
                schema = _joined(rest, self._resolve(ref))
                continue
            parts = schema.get("allOf")
            if isinstance(parts, list):
                merged: Mapping[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
                for part in parts:
                    merged = _joined(
                        merged, self._merged(part, depth + 1) if isinstance(part, Mapping) else {}
                    )
                schema = merged
                continue
            break
        return schema

    def _resolve(self, ref: str) -> object:
        """What a reference inside the document points at; {} if there is no such place."""
        here: object = self._root
        for step in ref.removeprefix("#").strip("/").split("/"):
            if not step:
                continue
            step = step.replace("~1", "/").replace("~0", "~").replace("%24", "$")
            if isinstance(here, Mapping) and step in here:
                here = here[step]
            elif isinstance(here, list) and step.isdecimal() and int(step) < len(here):
                here = here[int(step)]
            else:
                return {}
        return here

    def _option(self, options: list[Any], depth: int) -> object:
        """The first option with content; null once the value is deep enough."""
        merged = [self._merged(o) if isinstance(o, Mapping) else o for o in options]
        nulls = [o for o in merged if isinstance(o, Mapping) and _is_null(o)]
        if depth >= DEPTH_SOFT:
            if nulls:
                return nulls[0]
            flat = [o for o in merged if isinstance(o, Mapping) and o.get("type") not in ("object", "array")]
            return flat[0] if flat else merged[-1]
        return next((o for o in merged if not (isinstance(o, Mapping) and _is_null(o))), merged[0])

    def _type(self, schema: Mapping[str, Any], depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            if depth >= DEPTH_SOFT and "null" in kind:
                return "null"
            kind = next((k for k in kind if k != "null"), "null")
        if isinstance(kind, str):
            return kind.lower()  # Gemini writes STRING, OBJECT
        if "properties" in schema or "required" in schema or "additionalProperties" in schema:
            return "object"
        if "items" in schema or "prefixItems" in schema:
            return "array"
        if "minimum" in schema or "maximum" in schema or "multipleOf" in schema:
            return "number"
        return "string"

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        required = schema.get("required")
        names = [n for n in required if isinstance(n, str)] if isinstance(required, list) else None
        if names is None or (not names and depth == 0):
            names = [] if depth >= DEPTH_SOFT else list(properties)
        made = {name: self.value(properties.get(name, {}), name, depth + 1) for name in names}
        least = _bound(schema, "minProperties")
        for name in properties:
            if len(made) >= least:
                break
            made.setdefault(name, self.value(properties[name], name, depth + 1))
        extra = schema.get("additionalProperties", {})
        while len(made) < least and extra is not False and self._left > 0:
            made[f"key{len(made)}"] = self.value(extra if extra is not True else {}, "", depth + 1)
        return made

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        prefix = schema.get("prefixItems")
        made = [self.value(s, name, depth + 1) for s in prefix] if isinstance(prefix, list) else []
        items = schema.get("items", {})
        least = _bound(schema, "minItems")
        wanted = max(least, len(made))
        if not wanted and depth < DEPTH_SOFT and _bound(schema, "maxItems", LENGTH_MAX):
            wanted = 1
        before = self._subject
        while len(made) < wanted and items is not False and self._left > 0:
            made.append(self.value(items, name, depth + 1))
            self._subject += 1
            if schema.get("uniqueItems") is True and made[-1] in made[:-1]:
                made[-1] = _different(made[-1], made[:-1])
        self._subject = before
        return made

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> int | float:
        """The prompt's next number if it fits, else the first of a few likely ones that does."""
        said = [n for n in self._words.numbers if isinstance(n, int) or not whole]
        if self._numbers < len(said) and _fits(said[self._numbers], schema, whole=whole):
            self._numbers += 1
            return said[self._numbers - 1]
        likely = _likely(schema, whole=whole)
        return next((n for n in likely if _fits(n, schema, whole=whole)), likely[-1])

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        made = _FORMATS.get(str(schema.get("format")), "") or self._text(name)
        pattern = schema.get("pattern")
        if isinstance(pattern, str):
            made = _matching(pattern, [made, *self._words.subjects])
        least, most = _bound(schema, "minLength"), _bound(schema, "maxLength", LENGTH_MAX)
        if len(made) < least:
            made += (made[-1:] if made and isinstance(pattern, str) else ".") * (least - len(made))
        return made[:most] if len(made) > most else made

    def _text(self, name: str) -> str:
        parts = set(re.findall(r"[a-z]+", re.sub(r"([A-Z])", r" \1", name).lower()))
        if parts & _EXPRESSIONS and self._words.sum:
            return self._words.sum
        if parts & _WHOLES:
            return self._words.whole()
        if parts & _PLACES or len(self._words.subjects) > 0:
            return self._words.short(self._subject)
        return self._words.whole()

    def _pick(self, listed: list[Any]) -> Any:
        """The listed value that the prompt names, else the first."""
        lower = self._words.text.lower()
        for value in listed:
            if isinstance(value, str) and value and re.search(rf"\b{re.escape(value.lower())}\b", lower):
                return value
        return listed[0]


def _joined(first: Mapping[str, Any], second: object) -> Mapping[str, Any]:
    """Both schemas at once, as far as a join of their members tells."""
    if not isinstance(second, Mapping):
        return first
    joined = {**second, **first}
    if isinstance(first.get("properties"), Mapping) and isinstance(second.get("properties"), Mapping):
        joined["properties"] = {**second["properties"], **first["properties"]}
    if isinstance(first.get("required"), list) and isinstance(second.get("required"), list):
        joined["required"] = list(dict.fromkeys([*second["required"], *first["required"]]))
    return joined


def _is_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") in ("null", "NULL") or ("const" in schema and schema["const"] is None)


def _bound(schema: Mapping[str, Any], name: str, default: int = 0) -> int:
    value = schema.get(name)
    if isinstance(value, bool):
        return default
    if isinstance(value, str) and value.isdecimal():
        value = int(value[:9])  # Gemini's int64 as text
    if isinstance(value, int | float) and value >= 0:
        return min(int(value), LENGTH_MAX)
    return default


def _fits(value: int | float, schema: Mapping[str, Any], *, whole: bool) -> bool:
    """Whether the number keeps the schema's bounds."""
    step = _limit(schema, "multipleOf")
    low, high = _limit(schema, "minimum"), _limit(schema, "maximum")
    above, below = _limit(schema, "exclusiveMinimum"), _limit(schema, "exclusiveMaximum")
    return (
        not (whole and value != int(value))
        and (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
        and (below is None or value < below)
        and (step is None or step <= 0 or value % step == 0)
    )


def _likely(schema: Mapping[str, Any], *, whole: bool) -> list[int | float]:
    """Numbers at and near the bounds, plain ones first."""
    step = _limit(schema, "multipleOf")
    near = step if step is not None and step > 0 else 1
    low, high = _limit(schema, "minimum"), _limit(schema, "maximum")
    above, below = _limit(schema, "exclusiveMinimum"), _limit(schema, "exclusiveMaximum")
    found: list[int | float] = [1, 0]
    for edge in (low, high, above, below):
        if edge is not None:
            down = edge - edge % near
            found += [edge, down, down + near, down - near]
    bottom, top = low if low is not None else above, high if high is not None else below
    if bottom is not None and top is not None:
        found.append((bottom + top) / 2)
    found.append(near)
    return [int(n) for n in found] if whole else found


def _limit(schema: Mapping[str, Any], name: str) -> int | float | None:
    value = schema.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _matching(pattern: str, candidates: list[str]) -> str:
    """The first candidate that the pattern takes, else a text built from the pattern."""
    if _REPEATED_GROUP.search(pattern):  # matching it may take for ever: believe what is built
        candidates = []
    try:
        wanted = re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return candidates[0] if candidates else ""
    try:
        built = shortest_match(pattern)
    except RecursionError:
        built = ""
    for candidate in candidates:
        if len(candidate) <= LENGTH_MAX and wanted.search(candidate):
            return candidate
    return built


def _different(value: Any, taken: list[Any]) -> Any:
    """A neighbour of ``value`` that is not among ``taken``, where its type has one."""
    number = 2
    while True:
        other: Any = value + number if isinstance(value, int | float) else f"{value} {number}"
        if other not in taken:
            return other
        number += 1
