"""What the keywords of JSON Schema mean, as far as the reducer and the converters need it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

Schema = dict[str, Any]

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")

NOTES = ("title", "description", "default", "example")
SILENT = frozenset(
    {
        "$schema", "$id", "id", "$comment", "$defs", "definitions", "$anchor", "$vocabulary", "examples",
        "deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding", "title",
        "description", "default", "example", "propertyOrdering", "type", "nullable",
    }
)  # fmt: skip
"""Keywords that constrain nothing, or are read by other means."""

_NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format")
OWN: Mapping[str, tuple[str, ...]] = {
    "object": (
        "properties", "required", "minProperties", "maxProperties", "additionalProperties",
        "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas", "dependencies",
        "unevaluatedProperties",
    ),
    "array": (
        "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains",
        "minContains", "maxContains", "unevaluatedItems",
    ),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": _NUMERIC,
    "integer": _NUMERIC,
}  # fmt: skip
"""Keywords that concern one type alone: beside another type they say nothing."""

SPECIFIC = {keyword for keywords in OWN.values() for keyword in keywords}
LEAST = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"})
MOST = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"})


def normal(schema: Schema) -> Schema:
    """One spelling: small letters, ``const`` as ``enum``, ``nullable`` as a type or an alternative."""
    node = dict(schema)
    types = types_of(node)
    if types is None:
        node.pop("type", None)
    else:
        node["type"] = types
    if "const" in node:
        value = node.pop("const")
        node["enum"] = [v for v in node["enum"] if same(v, value)] if _listing(node) else [value]
    elif "enum" in node and not _listing(node):
        del node["enum"]
    if node.pop("nullable", None) is True:
        if "type" in node:
            node["type"] = list(dict.fromkeys([*node["type"], "null"]))
        if "enum" in node:
            node["enum"] = [*node["enum"], *([] if None in node["enum"] else [None])]
        if isinstance(node.get("anyOf"), list):
            node["anyOf"] = [*node["anyOf"], {"type": "null"}]
    return node


def _listing(node: Schema) -> bool:
    return isinstance(node.get("enum"), list)


def types_of(node: Schema) -> list[str] | None:
    """The types a node names, in small letters; None if it names none that exist."""
    said = node.get("type")
    names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    types = [name.lower() for name in names if isinstance(name, str) and name.lower() in TYPES]
    return list(dict.fromkeys(types)) or None


def is_type(value: object, type_: str) -> bool:
    """Whether a value is of a JSON Schema type. 1.0 is an integer, True is no number."""
    match type_:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return type_ == "number" or isinstance(value, int) or value.is_integer()


def same(a: object, b: object) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def both(key: str, a: Any, b: Any) -> Any:
    """One value that means both; None if there is none."""
    if key in LEAST or key in MOST:
        if not (is_type(a, "number") and is_type(b, "number")):
            return None
        return max(a, b) if key in LEAST else min(a, b)
    match key:
        case "type":
            kept = [t for t in a if t in b or (t == "integer" and "number" in b)]
            return kept + [t for t in b if t == "integer" and "number" in a and t not in kept] or None
        case "enum":
            return [value for value in a if any(same(value, other) for other in b)] or None
        case "required" if isinstance(a, list) and isinstance(b, list):
            return [*a, *(name for name in b if name not in a)]
        case "properties" if isinstance(a, dict) and isinstance(b, dict):
            shared = {name: {"allOf": [a[name], b[name]]} for name in a if name in b}
            return {**a, **b, **shared}
        case "items" if not isinstance(a, list) and not isinstance(b, list):
            return {"allOf": [a, b]}
        case "additionalProperties" | "uniqueItems":
            return a if b is True or b == {} else b if a is True or a == {} else None
    return None


def says_nothing(keyword: str, value: object) -> bool:
    """Whether a keyword that the subset lacks constrains nothing here."""
    match keyword:
        case "uniqueItems":
            return value is False
        case "additionalItems":
            return True  # read together with items
        case "prefixItems" | "exclusiveMinimum" | "exclusiveMaximum":
            return True  # reported where they are read
        case "minContains" | "maxContains":
            return False
        case "patternProperties" | "dependentRequired" | "dependentSchemas" | "dependencies":
            return value == {}
    return value is True or value == {}


def notes_of(node: Schema) -> Schema:
    return {key: node[key] for key in NOTES if key in node}


def resolve(root: object, ref: str) -> object | None:
    """What a local reference points to; None if that is no schema."""
    if ref != "#" and not ref.startswith("#/"):
        return None
    found: Any = root
    for step in ref[2:].split("/") if ref != "#" else []:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isascii() and name.isdigit() and int(name[:9]) < len(found):
            found = found[int(name[:9])]
        else:
            return None
    return found if isinstance(found, dict | bool) else None
