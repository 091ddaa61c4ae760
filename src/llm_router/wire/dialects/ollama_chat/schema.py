"""JSON schemas of tools as Ollama keeps them. https://docs.ollama.com/capabilities/tool-calling

The server reads a few words of a schema and shows the model only those: types, descriptions, enums,
items, properties, required and anyOf. References would vanish, so they are written out; what is lost
beyond that is declared, but for words that only tighten what nobody enforces anyway.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.wire.chat import Raw
from llm_router.wire.jsonschema import Subset, reduce_schema
from llm_router.wire.lenient import load
from llm_router.wire.loss import Losses

_WORDS = frozenset({"type", "description", "enum", "items", "properties", "required", "anyOf"})
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_ADVICE = ("additionalProperties", "unevaluatedProperties", "oneOf", "type", "required")
TOOL_SCHEMA = Subset(
    keywords=_WORDS, formats={}, enum_types=frozenset({"string", "number", "integer", "boolean"})
)


def tool_parameters(schema: Raw, losses: Losses) -> Raw:
    """The schema of an object in the words that the server keeps; verbatim if it has no others."""
    found = load(bytes(schema))
    if _is_plain(found):
        return schema
    reduced, lost = reduce_schema(found, TOOL_SCHEMA)
    for loss in lost:
        if loss.field not in _ADVICE:
            losses.add(f"tools[].function.parameters.{loss.field}", loss.why)
    written = _kept(reduced)
    if written.get("type") != "object":
        written = {"type": "object", "properties": {}}
    return Raw(msgspec.json.encode({"properties": {}, **written}))


def _is_plain(node: Any, depth: int = 0) -> bool:
    if not isinstance(node, dict) or depth > 60 or not node.keys() <= _WORDS | {"title", "default"}:
        return False
    kind = node.get("type", "object")
    kinds = kind if isinstance(kind, list) else [kind]
    well_typed = (
        all(name in _TYPES for name in kinds)
        and isinstance(node.get("description", ""), str)
        and isinstance(node.get("enum", []), list)
        and _are(node.get("required", []), str)
        and isinstance(node.get("properties", {}), dict)
        and isinstance(node.get("anyOf", []), list)
    )
    inner = [*node["properties"].values()] if well_typed and "properties" in node else []
    inner += [node["items"]] if "items" in node else []
    inner += node.get("anyOf", []) if well_typed else []
    return well_typed and all(_is_plain(part, depth + 1) for part in inner)


def _are(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _kept(node: dict[str, Any]) -> dict[str, Any]:
    """The node without words that the server does not keep; null is spelled as a type."""
    out = {name: value for name, value in node.items() if name in _WORDS}
    if "properties" in out:
        out["properties"] = {name: _kept(inner) for name, inner in out["properties"].items()}
    if "items" in out:
        out["items"] = _kept(out["items"])
    if "anyOf" in out:
        options = [_kept(option) for option in out["anyOf"]]
        nullable = any(option.get("nullable") for option in node["anyOf"])
        out["anyOf"] = [*options, {"type": "null"}] if nullable else options
    elif node.get("nullable") and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
        if "enum" in out:
            out["enum"] = [*out["enum"], None]
    return out
