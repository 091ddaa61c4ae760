"""JSON schemas in the subset that structured outputs take.

https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs#json-schema-limitations:
every object must be closed; recursion, bounds of numbers, lengths and counts, and most formats, are
refused. Words that are refused are told to the model in the description instead; they are not enforced
then, which is a loss where that was asked for (:func:`unenforced`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.wire.chat import Raw
from llm_router.wire.jsonschema.words import resolve
from llm_router.wire.verbatim import dump, value

DEPTH_MAX = 60
"""How deep a schema may be nested: deeper ones are not told in the subset."""

_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_KEPT = ("type", "enum", "const", "title", "description", "default", "$ref", "required")
_HOLDERS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf")
_DROPPED = ("$schema", "$id", "additionalProperties", "strict")


def closed_schema(raw: Raw) -> Raw | None:
    """The schema in the subset; None if it cannot be told there (open objects, recursion, no schema at all)."""
    schema = value(raw)
    if not isinstance(schema, dict) or not _closable(schema) or is_recursive(schema):
        return None
    return dump(_closed(schema))


def unenforced(raw: Raw) -> str:
    """The words of a schema that the subset only tells, for a loss's reason; "" if there are none."""
    words: dict[str, None] = {}
    stack = [value(raw)]
    while stack:
        schema = stack.pop()
        if not isinstance(schema, dict):
            continue
        words |= dict.fromkeys(name for name, part in schema.items() if _is_told(name, part))
        stack += [part for name in (*_LISTS, *_HOLDERS) for part in _values(schema.get(name))]
        stack.append(schema.get("items"))
    return ", ".join(sorted(words))


def is_recursive(schema: dict[str, Any]) -> bool:
    """Whether a reference leads back to itself."""
    edges: dict[str, list[str]] = {}
    waiting = _references(schema)
    while waiting:
        ref = waiting.pop()
        if ref not in edges:
            edges[ref] = [] if (found := resolve(schema, ref)) is None else _references(found)
            waiting += edges[ref]
    while edges:  # what leads nowhere any more is on no circle
        ends = [ref for ref, onward in edges.items() if not any(other in edges for other in onward)]
        if not ends:
            return True
        for ref in ends:
            del edges[ref]
    return False


def _references(schema: object) -> list[str]:
    """All references in a schema; definitions count only where they are referred to."""
    found: dict[str, None] = {}
    stack: list[object] = [schema]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack += part
        elif isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                found[part["$ref"]] = None
            stack += [inner for name, inner in part.items() if name not in ("$defs", "definitions")]
    return list(found)


def object_schema(raw: Raw | None) -> Raw:
    """A tool's parameters as the schema of an object, which the API demands."""
    if raw is None or bytes(raw) == b"null":
        return Raw(b'{"type":"object","properties":{}}')
    schema = value(raw)
    if not isinstance(schema, dict) or "type" in schema:
        return raw
    return dump({"type": "object", **({} if schema else {"properties": {}}), **schema})


def is_object_schema(raw: Raw) -> bool:
    """Whether the schema is one of an object, as a tool's input must be."""
    schema = value(raw)
    return isinstance(schema, dict) and schema.get("type", "object") == "object"


def _closable(schema: Any, depth: int = 0) -> bool:
    if isinstance(schema, bool) or depth > DEPTH_MAX:
        return False
    if not isinstance(schema, dict):
        return True
    more = schema.get("additionalProperties", False)
    if more is not False:
        return False
    if (
        schema.get("type") == "object"
        and not schema.get("properties")
        and "additionalProperties" not in schema
    ):
        return False
    inner = [schema[name] for name in ("items",) if name in schema]
    inner += [part for name in _LISTS for part in _values(schema.get(name))]
    inner += [part for name in _HOLDERS for part in _values(schema.get(name))]
    return all(_closable(part, depth + 1) for part in inner)


def _values(holder: Any) -> list[Any]:
    if isinstance(holder, dict):
        return list(holder.values())
    return holder if isinstance(holder, list) else []


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    told: list[str] = []
    for name, part in schema.items():
        if _is_kept(name, part):
            out[name] = part
        elif name in _HOLDERS and isinstance(part, dict):
            out[name] = {key: _closed(inner) for key, inner in part.items()}
        elif name in _LISTS and isinstance(part, list):
            out["anyOf" if name == "oneOf" else name] = [_closed(inner) for inner in part]
        elif name == "items":
            out[name] = _closed(part)
        elif _is_told(name, part):
            told.append(f"{name}: {msgspec.json.encode(part).decode()}")
    if "object" in _types(out):
        out["additionalProperties"] = False
    if told:
        out["description"] = f"{out.get('description', '')} ({', '.join(told)})".strip()
    return out


def _is_kept(name: str, part: Any) -> bool:
    return name in _KEPT or (name == "format" and part in _FORMATS) or (name == "minItems" and part in (0, 1))


def _is_told(name: str, part: Any) -> bool:
    """Whether a word goes to the description, since the subset does not have it."""
    if _is_kept(name, part) or name in _DROPPED or name == "items":
        return False
    return not (name in _HOLDERS and isinstance(part, dict)) and not (
        name in _LISTS and isinstance(part, list)
    )


def _types(schema: dict[str, Any]) -> list[Any]:
    kind = schema.get("type")
    return kind if isinstance(kind, list) else [kind]
