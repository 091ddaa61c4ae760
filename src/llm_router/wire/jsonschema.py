"""Reduce any JSON Schema to what a provider's dialect of it can say, and report what that loses.

The reduced schema never forbids what the original allows, except where a loss says so: what cannot
be said is left out, reported, and checked by nobody. Total: every JSON value is taken, references
are written out, recursive ones are cut, size and depth are bounded.

Sources: https://json-schema.org/draft/2020-12 and, for Google's subset of OpenAPI 3.0,
https://ai.google.dev/api/caching#Schema.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from llm_router.wire.loss import Loss

NODES_MAX = 5_000
"""How many nodes a schema may have once its references are written out."""

DEPTH_MAX = 40
"""How deep it may be nested."""

Schema = dict[str, Any]


class Subset(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's schema language can say.

    Attributes:
        keywords: all that it knows; any other keyword is lost.
        formats: the formats it knows, by type.
        enum_types: types whose values may be enumerated.
    """

    keywords: frozenset[str]
    formats: Mapping[str, frozenset[str]]
    enum_types: frozenset[str]


GEMINI_SCHEMA = Subset(
    keywords=frozenset(
        {
            "type", "title", "description", "default", "example", "format", "nullable", "enum", "anyOf",
            "properties", "required", "minProperties", "maxProperties", "propertyOrdering", "items",
            "minItems", "maxItems", "minLength", "maxLength", "pattern", "minimum", "maximum",
        }
    ),
    formats={
        "string": frozenset({"date-time", "enum"}),
        "number": frozenset({"float", "double"}),
        "integer": frozenset({"int32", "int64"}),
    },
    enum_types=frozenset({"string"}),
)  # fmt: skip
"""The ``Schema`` message of Gemini's ``parameters`` and ``responseSchema``."""

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")

_NOTES = ("title", "description", "default", "example")
_SILENT = frozenset(
    {
        "$schema", "$id", "id", "$comment", "$defs", "definitions", "$anchor", "$vocabulary", "examples",
        "deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding", "title",
        "description", "default", "example", "propertyOrdering", "type", "nullable",
    }
)  # fmt: skip
"""Keywords that constrain nothing, or are read by other means."""

_OWN: dict[str, tuple[str, ...]] = {
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
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format"),
}  # fmt: skip
"""Keywords that concern one type alone: beside another type they say nothing."""

_OWN["integer"] = _OWN["number"]
_SPECIFIC = {keyword for keywords in _OWN.values() for keyword in keywords}
_LEAST = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"})
_MOST = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"})


def reduce_schema(schema: object, subset: Subset) -> tuple[Schema, tuple[Loss, ...]]:
    """The schema in the subset's words. ``field`` of a loss is the keyword, ``why`` says where."""
    reducer = _Reducer(schema, subset)
    reduced = reducer.reduce(schema, "#", frozenset(), 0)
    return reduced, tuple(dict.fromkeys(reducer.losses))


class _Reducer:
    def __init__(self, root: object, subset: Subset) -> None:
        self._root = root
        self._subset = subset
        self._nodes = 0
        self.losses: list[Loss] = []

    def lose(self, keyword: str, path: str, why: str = "cannot be said") -> None:
        self.losses.append(Loss(field=keyword, why=f"{why} ({path})"))

    def reduce(self, schema: object, path: str, refs: frozenset[str], depth: int) -> Schema:
        self._nodes += 1
        if depth > DEPTH_MAX or self._nodes > NODES_MAX:
            self.lose("$ref", path, "the schema is too large when its references are written out")
            return {}
        node, refs = self.flatten(schema, path, refs)
        branches = self._branches(node, path)
        if branches is not None:
            return self._union(node, branches, path, refs, depth)
        types = _types(node)
        if types is None:
            types = self._guess(node, path)
        nullable = "null" in types and (None in node["enum"] if "enum" in node else True)
        types = [t for t in types if t != "null"]
        if types == list(TYPES[:6]) or not types:  # anything, or nothing but null
            out = self._any(node, path, bool(types))
        elif len(types) > 1:
            alternatives = [{**node, "type": t} for t in types]
            return self._union(
                _notes(node) | ({"type": "null"} if nullable else {}), alternatives, path, refs, depth
            )
        else:
            out = self._typed(node, types[0], path, refs, depth)
            if nullable:
                out["nullable"] = True
        self._unknown(node, path)
        return self._noted(out, node)

    # references and allOf

    def flatten(self, schema: object, path: str, refs: frozenset[str]) -> tuple[Schema, frozenset[str]]:
        """The node without ``$ref`` and ``allOf``, normalised; with the references it went through."""
        if schema is True or schema == {}:
            return {}, refs
        if not isinstance(schema, dict):
            self.lose("false" if schema is False else "schema", path, "forbids everything or is no schema")
            return {}, refs
        node = _normal(schema)
        ref, parts = node.pop("$ref", None), node.pop("allOf", None)
        if parts is not None and not isinstance(parts, list):
            self.lose("allOf", path)
            parts = None
        if ref is not None:
            target = self._target(ref, path, refs)
            if target is not None:
                refs = refs | {ref}
                parts = [target, *(parts or [])]
        for part in parts or []:
            self._nodes += 1
            if self._nodes > NODES_MAX:
                self.lose("allOf", path, "the schema is too large when its references are written out")
                break
            found, refs = self.flatten(part, path, refs)
            node = self._merge(node, found, path)
        return node, refs

    def _target(self, ref: object, path: str, refs: frozenset[str]) -> object | None:
        if isinstance(ref, str) and ref in refs:
            self.lose("$ref", path, "the reference is recursive and is cut here")
            return None
        found = _resolve(self._root, ref) if isinstance(ref, str) else None
        if found is None:
            self.lose("$ref", path, "the reference leads nowhere")
        return found

    def _merge(self, a: Schema, b: Schema, path: str) -> Schema:
        """Both at once. Where that cannot be said, the first one's word stands and the other is lost."""
        out = dict(a)
        for key, value in b.items():
            if key not in out:
                out[key] = value
            elif out[key] != value or type(out[key]) is not type(value):
                merged = _both(key, out[key], value)
                if merged is not None:
                    out[key] = merged
                elif key not in _SILENT or key == "type":
                    self.lose("allOf", path, f"two {key} at once cannot be said")
        return out

    # unions

    def _branches(self, node: Schema, path: str) -> list[object] | None:
        """The alternatives of a node; None if it has none."""
        found: list[object] | None = None
        for keyword in ("anyOf", "oneOf"):
            branches = node.pop(keyword, None)
            if branches is None:
                continue
            if not isinstance(branches, list) or not branches:
                self.lose(keyword, path)
            elif found is not None:
                self.lose(keyword, path, "anyOf and oneOf at once cannot be said")
            else:
                found = branches
                if keyword == "oneOf" and len(branches) > 1:
                    self.lose(keyword, path, "exactly one becomes at least one")
        return found

    def _union(
        self, node: Schema, branches: list[Any], path: str, refs: frozenset[str], depth: int
    ) -> Schema:
        siblings = {key: value for key, value in node.items() if key not in _NOTES}
        # {"type": "null"} beside alternatives that are made here from a list of types
        nullable = siblings.get("type") == "null"
        if nullable:
            del siblings["type"]
        options: list[Schema] = []
        for number, branch in enumerate(branches):
            where = f"{path}/{number}"
            found, found_refs = self.flatten(branch, where, refs)
            option = self.reduce(self._merge(found, siblings, where), where, found_refs, depth + 1)
            for piece in option["anyOf"] if set(option) == {"anyOf"} else [option]:
                if piece == {"type": "null"}:
                    nullable = True
                elif piece not in options:
                    options.append(piece)
        if not options:
            return self._noted({"type": "null"} if nullable else {}, node)
        if nullable and not any(option.get("nullable") or not option for option in options):
            options[0] = {**options[0], "nullable": True}
        if len(options) == 1:
            return self._noted(options[0], node)
        return {"anyOf": [self._noted(option, node, texts_only=True) for option in options]}

    # one type

    def _guess(self, node: Schema, path: str) -> list[str]:
        """The types of a node that names none: all, unless its keywords or values tell."""
        if "enum" in node:
            present = [t for t in TYPES if any(_is(value, t) for value in node["enum"])]
            return [t for t in present if t != "integer" or "number" not in present]
        for guess, keywords in _OWN.items():
            if any(keyword in node for keyword in keywords if keyword != "format"):
                self.lose("type", path, f"no type is named; {guess} is taken for it")
                return [guess]
        return list(TYPES)

    def _any(self, node: Schema, path: str, anything: bool) -> Schema:
        for keyword in sorted(_SPECIFIC & set(node)) if anything else ():
            self.lose(keyword, path, "no type is named")
        return {} if anything else {"type": "null"}

    def _typed(self, node: Schema, type_: str, path: str, refs: frozenset[str], depth: int) -> Schema:
        out: Schema = {"type": type_}
        self._enum(node, type_, out, path)
        match type_:
            case "object":
                self._object(node, out, path, refs, depth)
            case "array":
                self._array(node, out, path, refs, depth)
            case "string":
                self._counts(node, ("minLength", "maxLength"), out, path)
                self._plain(node, "pattern", out, path)
            case "number" | "integer":
                self._bounds(node, type_, out, path)
        if "format" in node and type_ in ("string", "number", "integer"):
            if node["format"] in self._subset.formats.get(type_, ()):
                out["format"] = node["format"]
            else:
                self.lose("format", path, f"the format {node['format']!r} is not known")
        for keyword in sorted((set(_OWN.get(type_, ())) & set(node)) - self._subset.keywords):
            if not _says_nothing(keyword, node[keyword]):
                self.lose(keyword, path)
        return out

    def _enum(self, node: Schema, type_: str, out: Schema, path: str) -> None:
        if "enum" not in node:
            return
        values = [value for value in node["enum"] if _is(value, type_)]
        if type_ == "boolean" and len({*values}) == 2:
            return
        if values and type_ in self._subset.enum_types and "" not in values:
            out["enum"] = list(dict.fromkeys(values))
            return
        self.lose("enum", path, f"values of type {type_} cannot be listed")
        if values:
            said = ", ".join(json.dumps(value, ensure_ascii=False) for value in values[:50])
            note = node.get("description")
            head = f"{note} " if isinstance(note, str) and note else ""
            node["description"] = f"{head}One of: {said}."

    def _object(self, node: Schema, out: Schema, path: str, refs: frozenset[str], depth: int) -> None:
        properties = node.get("properties", {})
        if not isinstance(properties, dict):
            self.lose("properties", path)
            properties = {}
        written: Schema = {}
        for name, schema in properties.items():
            where = f"{path}/properties/{name}"
            if schema is False:
                self.lose("properties", where, "a forbidden property cannot be said")
                continue
            written[name] = self.reduce(schema, where, refs, depth + 1)
        if written:
            out["properties"] = written
        required = node.get("required", [])
        named = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        if required and [name for name in named if name in written] != required:
            self.lose("required", path, "only properties that are described can be required")
        kept = [name for name in dict.fromkeys(named) if name in written]
        if kept:
            out["required"] = kept
        ordering = node.get("propertyOrdering")
        if isinstance(ordering, list) and (
            names := [n for n in ordering if isinstance(n, str) and n in written]
        ):
            out["propertyOrdering"] = names
        self._counts(node, ("minProperties", "maxProperties"), out, path)

    def _array(self, node: Schema, out: Schema, path: str, refs: frozenset[str], depth: int) -> None:
        self._counts(node, ("minItems", "maxItems"), out, path)
        items, prefix, rest = node.get("items", True), node.get("prefixItems"), True
        if isinstance(items, list):  # the tuples of draft 7 and before
            prefix, items = items, node.get("additionalItems", True)
        if isinstance(prefix, list) and prefix:
            rest = items
            self._tuple(prefix, rest, out, path, refs, depth)
            return
        if items is False:
            out["maxItems"] = 0
            items = True
        out["items"] = self.reduce(items, f"{path}/items", refs, depth + 1)

    def _tuple(
        self, prefix: list[Any], rest: object, out: Schema, path: str, refs: frozenset[str], depth: int
    ) -> None:
        """Positions become one kind of item: any of those that a position may have."""
        if rest is False:
            out["maxItems"] = min(out.get("maxItems", len(prefix)), len(prefix))
        most = out.get("maxItems", math.inf)
        kinds = prefix[: int(min(most, len(prefix)))]
        if most > len(prefix):
            kinds = [*kinds, rest]
        where = f"{path}/prefixItems"
        options: list[Schema] = []
        for number, kind in enumerate(kinds):
            option = self.reduce(kind, f"{where}/{number}", refs, depth + 1)
            if option not in options:
                options.append(option)
        if len(options) > 1:
            self.lose("prefixItems", path, "which item stands where cannot be said")
        flat = [piece for o in options for piece in (o["anyOf"] if set(o) == {"anyOf"} else [o])]
        distinct = [piece for n, piece in enumerate(flat) if piece not in flat[:n]]
        if len(distinct) == 1:
            out["items"] = distinct[0]
        else:
            out["items"] = {} if {} in distinct or not distinct else {"anyOf": distinct}

    def _bounds(self, node: Schema, type_: str, out: Schema, path: str) -> None:
        for plain, exclusive, sign in (
            ("minimum", "exclusiveMinimum", 1),
            ("maximum", "exclusiveMaximum", -1),
        ):
            bound: Any = node.get(plain)
            beyond: Any = node.get(exclusive)
            if isinstance(beyond, bool):  # draft 4
                beyond, bound = (bound, None) if beyond else (None, bound)
            for keyword, value in ((plain, bound), (exclusive, beyond)):
                if value is not None and not _is(value, "number"):
                    self.lose(keyword, path)
            if _is(beyond, "number"):
                if type_ == "integer":
                    beyond = math.floor(beyond) + 1 if sign > 0 else math.ceil(beyond) - 1
                elif not _is(bound, "number") or (beyond - bound) * sign >= 0:
                    self.lose(exclusive, path, "the bound itself is allowed too")
            known = [value for value in (bound, beyond) if _is(value, "number")]
            if known:
                out[plain] = max(known) if sign > 0 else min(known)

    def _counts(self, node: Schema, keywords: tuple[str, ...], out: Schema, path: str) -> None:
        for keyword in keywords:
            value: Any = node.get(keyword)
            if isinstance(value, str) and value.isascii() and value.isdigit():
                value = int(value[:18])  # proto3 JSON writes int64 as text
            if _is(value, "integer") and value >= 0:
                out[keyword] = int(value)
            elif keyword in node:
                self.lose(keyword, path)

    def _plain(self, node: Schema, keyword: str, out: Schema, path: str) -> None:
        if isinstance(node.get(keyword), str):
            out[keyword] = node[keyword]
        elif keyword in node:
            self.lose(keyword, path)

    # the rest

    def _unknown(self, node: Schema, path: str) -> None:
        for keyword, value in node.items():
            known = keyword in _SILENT or keyword in _SPECIFIC or keyword in self._subset.keywords
            if not known and not _says_nothing(keyword, value):
                self.lose(keyword, path)

    def _noted(self, out: Schema, node: Schema, *, texts_only: bool = False) -> Schema:
        """With the node's title and description where the schema has none of its own."""
        notes = {key: node[key] for key in _NOTES if key in node and key in self._subset.keywords}
        for key in ("title", "description"):
            if key in notes and not isinstance(notes[key], str):
                del notes[key]
        if texts_only:
            notes = {key: note for key, note in notes.items() if key in ("title", "description")}
        return {**out, **{key: note for key, note in notes.items() if key not in out}}


def _normal(schema: Schema) -> Schema:
    """One spelling: small letters, ``const`` as ``enum``, ``nullable`` as a type or an alternative."""
    node = dict(schema)
    types = _types(node)
    if types is None:
        node.pop("type", None)
    else:
        node["type"] = types
    if "const" in node:
        value = node.pop("const")
        node["enum"] = [v for v in node["enum"] if _same(v, value)] if _listing(node) else [value]
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
    return isinstance(node.get("enum"), list) and bool(node["enum"])


def _types(node: Schema) -> list[str] | None:
    """The types a node names, in small letters; None if it names none that exist."""
    said = node.get("type")
    names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    types = [name.lower() for name in names if isinstance(name, str) and name.lower() in TYPES]
    return list(dict.fromkeys(types)) or None


def _is(value: object, type_: str) -> bool:
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


def _same(a: object, b: object) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _both(key: str, a: Any, b: Any) -> Any:
    """One value that means both; None if there is none."""
    if key in _LEAST or key in _MOST:
        if not (_is(a, "number") and _is(b, "number")):
            return None
        return max(a, b) if key in _LEAST else min(a, b)
    match key:
        case "type":
            kept = [t for t in a if t in b or (t == "integer" and "number" in b)]
            return kept + [t for t in b if t == "integer" and "number" in a and t not in kept] or None
        case "enum":
            return [value for value in a if any(_same(value, other) for other in b)] or None
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


def _says_nothing(keyword: str, value: object) -> bool:
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


def _notes(node: Schema) -> Schema:
    return {key: node[key] for key in _NOTES if key in node}


def _resolve(root: object, ref: str) -> object | None:
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
            case _ if key in _LEAST | _MOST and isinstance(value, str) and value.isdigit():
                out[key] = int(value[:18])
            case _:
                out[key] = value
    types = _types(node)
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
