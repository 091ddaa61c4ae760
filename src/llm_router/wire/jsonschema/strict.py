"""JSON schemas that OpenAI's strict mode takes, for tools and for answers.

https://platform.openai.com/docs/guides/structured-outputs#supported-schemas: the root is an object;
every object is closed and requires all its properties; a small set of keywords; bounded size. Groq,
Cerebras, Mistral and xAI, which took over the API, took over these rules too.
"""

from __future__ import annotations

from typing import Any

from llm_router.wire.chat import Raw
from llm_router.wire.jsonschema.words import resolve
from llm_router.wire.verbatim import dump, value

DEPTH_MAX = 10
PROPERTIES_MAX = 5_000
ENUM_VALUES_MAX = 1_000
TEXT_CHARS_MAX = 120_000

_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
KEPT = frozenset(
    {
        "type", "title", "description", "enum", "const", "$ref", "$defs", "definitions", "properties", "required",
        "additionalProperties", "items", "anyOf", "pattern", "format", "multipleOf", "minimum", "maximum",
        "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
    }
)  # fmt: skip
_SAYS_NOTHING = frozenset({"$schema", "$id", "$comment", "examples", "strict"})


def strict_schema(raw: Raw) -> Raw | None:
    """The schema as strict mode takes it; None if it takes none of this meaning.

    Objects that do not say whether they are open are closed, as the official clients do; words that
    constrain nothing are left out.
    """
    schema = value(raw)
    if not isinstance(schema, dict) or schema.get("type") != "object" or "anyOf" in schema:
        return None
    found = _Strict(schema).closed(schema, 1)
    if found is None:
        return None
    return raw if found == schema else dump(found)


class _Strict:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._properties = 0
        self._values = 0
        self._chars = 0

    def closed(self, node: Any, depth: int) -> dict[str, Any] | None:
        """The node, closed; None if strict mode would refuse it."""
        if not isinstance(node, dict) or depth > DEPTH_MAX:
            return None
        out = {name: part for name, part in node.items() if name not in _SAYS_NOTHING}
        if not out.keys() <= KEPT or not self._plain(out):
            return None
        if "object" in _types(out) or "properties" in out:
            properties, required = out.get("properties", {}), _names(out.get("required", []))
            if out.get("additionalProperties", False) is not False or not isinstance(properties, dict):
                return None
            if set(properties) != required or not self._count(properties):
                return None
            out |= {"properties": properties, "required": [*properties], "additionalProperties": False}
        return self._inner(out, depth)

    def _plain(self, node: dict[str, Any]) -> bool:
        values = node.get("enum", [])
        ref = node.get("$ref")
        format_ = node.get("format", "uuid")
        if not isinstance(values, list) or not isinstance(format_, str) or format_ not in _FORMATS:
            return False
        if ref is not None and not (isinstance(ref, str) and resolve(self._root, ref) is not None):
            return False
        self._values += len(values)
        self._chars += sum(len(text) for text in [*values, node.get("const")] if isinstance(text, str))
        known = any(word in node for word in ("type", "enum", "const", "$ref", "anyOf"))
        return known and self._values <= ENUM_VALUES_MAX and self._chars <= TEXT_CHARS_MAX

    def _count(self, properties: dict[str, Any]) -> bool:
        self._properties += len(properties)
        self._chars += sum(map(len, properties))
        return self._properties <= PROPERTIES_MAX and self._chars <= TEXT_CHARS_MAX

    def _inner(self, out: dict[str, Any], depth: int) -> dict[str, Any] | None:
        for holder in ("properties", "$defs", "definitions"):
            if holder not in out:
                continue
            if not isinstance(out[holder], dict):
                return None
            deeper = depth + 1 if holder == "properties" else 1
            parts = {name: self.closed(part, deeper) for name, part in out[holder].items()}
            if None in parts.values():
                return None
            out[holder] = parts
        if "items" in out:
            out["items"] = self.closed(out["items"], depth + 1)
            if out["items"] is None:
                return None
        elif "array" in _types(out):
            return None
        if "anyOf" in out:
            options = out["anyOf"] if isinstance(out["anyOf"], list) else []
            out["anyOf"] = [self.closed(option, depth) for option in options]
            if not options or None in out["anyOf"]:
                return None
        return out


def _types(node: dict[str, Any]) -> list[Any]:
    kind = node.get("type")
    return kind if isinstance(kind, list) else [kind]


def _names(value: object) -> set[str] | None:
    """The names in a list of names; None if it is none."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return None
    return set(value)
