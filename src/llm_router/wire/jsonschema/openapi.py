"""Google's ``Schema`` message (a part of OpenAPI 3.0) to JSON Schema."""

from __future__ import annotations

import re
from typing import Any

from llm_router.wire.jsonschema.words import LEAST, MOST, Schema, types_of

DEPTH_MAX = 40
"""How deep a schema may be nested."""

_SNAKE = re.compile(r"_([a-z])")


def from_openapi(schema: object, depth: int = 0) -> Any:
    """JSON Schema of Google's ``Schema``: types in small letters, null as a type, standard keywords."""
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return schema if isinstance(schema, bool) else {}
    node = {_SNAKE.sub(lambda m: m[1].upper(), key): value for key, value in schema.items()}
    out: Schema = {}
    for key, value in node.items():
        match key:
            case "properties" if isinstance(value, dict):
                names = [n for n in node.get("propertyOrdering") or [] if isinstance(n, str) and n in value]
                ordered = dict.fromkeys([*names, *value])
                out[key] = {name: from_openapi(value[name], depth + 1) for name in ordered}
            case "items" | "additionalProperties":
                out[key] = from_openapi(value, depth + 1)
            case "anyOf" if isinstance(value, list):
                out[key] = [from_openapi(option, depth + 1) for option in value]
            case "defs" | "$defs" if isinstance(value, dict):
                out["$defs"] = {name: from_openapi(option, depth + 1) for name, option in value.items()}
            case "ref" | "$ref" if isinstance(value, str):
                out["$ref"] = value.replace("#/defs/", "#/$defs/")
            case "example":
                out["examples"] = [value]
            case "propertyOrdering" | "nullable" | "type":
                pass
            case "format" if value == "enum":
                pass
            case _ if key in LEAST | MOST and isinstance(value, str) and value.isdigit():
                out[key] = int(value[:18])
            case _:
                out[key] = value
    types = types_of(node)
    if types is not None:
        out = {"type": types[0] if len(types) == 1 else types, **out}
    return _with_null(out) if node.get("nullable") is True else out


def _with_null(out: Schema) -> Schema:
    if "anyOf" in out:
        return {**out, "anyOf": [*out["anyOf"], {"type": "null"}]}
    if "type" not in out:
        return out
    types = out["type"] if isinstance(out["type"], list) else [out["type"]]
    out = {**out, "type": list(dict.fromkeys([*types, "null"]))}
    if isinstance(out.get("enum"), list) and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    return out
