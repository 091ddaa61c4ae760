"""JSON schemas in the subset that Cohere enforces, for structured outputs and strict tools.

https://docs.cohere.com/docs/structured-outputs#parameter-types-support: no composition but
``anyOf``, no ranges of numbers, lengths and counts, four formats, patterns without anchors and
look-ahead, and every object must require at least one of its properties. What cannot be said is
told to the model in the description and declared.
"""

from __future__ import annotations

from typing import Any

import msgspec

_FORMATS = ("date-time", "uuid", "date", "time")
_KEPT = (
    "type",
    "enum",
    "const",
    "title",
    "description",
    "default",
    "$ref",
    "required",
    "additionalProperties",
)
_HOLDERS = ("properties", "$defs", "definitions")
_IGNORED = ("$schema", "$id", "$comment", "examples", "deprecated", "readOnly", "writeOnly", "nullable")
_DEPTH_MAX = 60
_ANCHORS = ("^", "$", "?=", "?!")

Schema = dict[str, Any]


def enforced_schema(schema: object) -> tuple[Schema, tuple[str, ...]] | None:
    """The schema in the subset, and the keywords it lost; None if it cannot be enforced at all."""
    if not isinstance(schema, dict):
        return None
    writer = _Writer()
    out = writer.write(schema)
    if out.get("type") != "object" or not writer.possible:
        return None
    return out, tuple(dict.fromkeys(writer.lost))


class _Writer:
    def __init__(self) -> None:
        self.lost: list[str] = []
        self.possible = True

    def write(self, node: Any, depth: int = 0) -> Any:
        if not isinstance(node, dict) or depth > _DEPTH_MAX:
            self.possible = False  # true and false are schemas, but not here
            return node
        node = self._merged(node)
        out: Schema = {}
        told: list[str] = []
        for name, value in node.items():
            if not self._word(name, value, out, depth) and name not in _IGNORED:
                self.lost.append(name)
                told.append(f"{name}: {msgspec.json.encode(value).decode()}")
        if told:
            out["description"] = f"{out.get('description', '')} ({', '.join(told)})".strip()
        if out.get("type") == "object" and not out.get("required"):
            self.possible = False
        return out

    def _word(self, name: str, value: Any, out: Schema, depth: int) -> bool:
        """Write one keyword; False if the subset lacks it."""
        if name in _HOLDERS and isinstance(value, dict):
            out[name] = {key: self.write(inner, depth + 1) for key, inner in value.items()}
        elif name in ("anyOf", "oneOf") and isinstance(value, list):
            out["anyOf"] = [self.write(inner, depth + 1) for inner in value]
            if name == "oneOf" and len(value) > 1:
                self.lost.append(name)  # exactly one becomes at least one
        elif name == "items":
            out[name] = self.write(value, depth + 1)
        elif name == "pattern" and isinstance(value, str):
            return self._pattern(value, out)
        elif name in _KEPT or (name == "format" and value in _FORMATS):
            out[name] = value
        else:
            return False
        return True

    def _pattern(self, value: str, out: Schema) -> bool:
        """A pattern is always of the whole text here, so its outer anchors say nothing."""
        inner = value.removeprefix("^").removesuffix("$")
        if any(word in inner for word in _ANCHORS) or inner.endswith("\\"):
            return False
        out["pattern"] = inner
        return value == f"^{inner}$" or self._note("pattern")

    def _note(self, name: str) -> bool:
        self.lost.append(name)
        return True

    def _merged(self, node: Schema) -> Schema:
        """The node with its ``allOf`` written into it where the parts do not contradict each other."""
        for _ in range(_DEPTH_MAX):
            parts = node.get("allOf")
            if not isinstance(parts, list):
                return node
            merged = {name: value for name, value in node.items() if name != "allOf"}
            for part in parts:
                if not isinstance(part, dict) or any(name in merged for name in part):
                    return node
                merged |= part
            node = merged
        return node
