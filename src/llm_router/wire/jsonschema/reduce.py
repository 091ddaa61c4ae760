"""The reducer: one walk over a schema, with its losses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.wire.jsonschema.words import (
    NOTES,
    OWN,
    SILENT,
    SPECIFIC,
    TYPES,
    Schema,
    both,
    is_type,
    normal,
    notes_of,
    resolve,
    says_nothing,
    types_of,
)
from llm_router.wire.loss import Loss

NODES_MAX = 5_000
"""How many nodes a schema may have once its references are written out."""

DEPTH_MAX = 40
"""How deep it may be nested."""


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
        types = types_of(node)
        if types is None:
            types = self._guess(node, path)
        nullable = "null" in types and (None in node["enum"] if "enum" in node else True)
        if types == ["null"] and not nullable:
            self.lose("enum", path, "no value is possible")
        types = [t for t in types if t != "null"]
        if types == list(TYPES[:6]) or not types:  # anything, or nothing but null
            out = self._any(node, path, bool(types))
        elif len(types) > 1:
            alternatives = [{**node, "type": t} for t in types]
            return self._union(
                notes_of(node) | ({"type": "null"} if nullable else {}), alternatives, path, refs, depth
            )
        else:
            out = self._typed(node, types[0], path, refs, depth)
            if nullable:
                out["nullable"] = True
        self._unknown(node, path)
        return self._noted(out, node)

    # references and allOf

    def flatten(
        self, schema: object, path: str, refs: frozenset[str], depth: int = 0
    ) -> tuple[Schema, frozenset[str]]:
        """The node without ``$ref`` and ``allOf``, normalised; with the references it went through."""
        if schema is True or schema == {}:
            return {}, refs
        if not isinstance(schema, dict):
            self.lose("false" if schema is False else "schema", path, "forbids everything or is no schema")
            return {}, refs
        node = normal(schema)
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
            if self._nodes > NODES_MAX or depth > DEPTH_MAX:
                self.lose("allOf", path, "the schema is too large when its references are written out")
                break
            found, refs = self.flatten(part, path, refs, depth + 1)
            node = self._merge(node, found, path)
        return node, refs

    def _target(self, ref: object, path: str, refs: frozenset[str]) -> object | None:
        if isinstance(ref, str) and ref in refs:
            self.lose("$ref", path, "the reference is recursive and is cut here")
            return None
        found = resolve(self._root, ref) if isinstance(ref, str) else None
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
                merged = both(key, out[key], value)
                if merged is not None:
                    out[key] = merged
                elif key not in SILENT or key == "type":
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
        siblings = {key: value for key, value in node.items() if key not in NOTES}
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
        noted = [self._noted(option, node, texts_only=True) for option in options]
        distinct = [option for n, option in enumerate(noted) if option not in noted[:n]]
        return {"anyOf": distinct} if len(distinct) > 1 else self._noted(distinct[0], node)

    # one type

    def _guess(self, node: Schema, path: str) -> list[str]:
        """The types of a node that names none: all, unless its keywords or values tell."""
        if "enum" in node:
            present = [t for t in TYPES if any(is_type(value, t) for value in node["enum"])]
            return [t for t in present if t != "integer" or "number" not in present]
        for guess, keywords in OWN.items():
            if any(keyword in node for keyword in keywords if keyword != "format"):
                self.lose("type", path, f"no type is named; {guess} is taken for it")
                return [guess]
        return list(TYPES)

    def _any(self, node: Schema, path: str, anything: bool) -> Schema:
        for keyword in sorted(SPECIFIC & set(node)) if anything else ():
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
            if isinstance(node["format"], str) and node["format"] in self._subset.formats.get(type_, ()):
                out["format"] = node["format"]
            else:
                self.lose("format", path, f"the format {node['format']!r} is not known")
        for keyword in sorted((set(OWN.get(type_, ())) & set(node)) - self._subset.keywords):
            if not says_nothing(keyword, node[keyword]):
                self.lose(keyword, path)
        return out

    def _enum(self, node: Schema, type_: str, out: Schema, path: str) -> None:
        if "enum" not in node:
            return
        values = [value for value in node["enum"] if is_type(value, type_)]
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
                if value is not None and not is_type(value, "number"):
                    self.lose(keyword, path)
            if is_type(beyond, "number"):
                if type_ == "integer":
                    beyond = math.floor(beyond) + 1 if sign > 0 else math.ceil(beyond) - 1
                elif not is_type(bound, "number") or (beyond - bound) * sign >= 0:
                    self.lose(exclusive, path, "the bound itself is allowed too")
            known = [value for value in (bound, beyond) if is_type(value, "number")]
            if known:
                out[plain] = max(known) if sign > 0 else min(known)

    def _counts(self, node: Schema, keywords: tuple[str, ...], out: Schema, path: str) -> None:
        for keyword in keywords:
            value: Any = node.get(keyword)
            if isinstance(value, str) and value.isascii() and value.isdigit():
                value = int(value[:18])  # proto3 JSON writes int64 as text
            if is_type(value, "integer") and value >= 0:
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
            known = keyword in SILENT or keyword in SPECIFIC or keyword in self._subset.keywords
            if not known and not says_nothing(keyword, value):
                self.lose(keyword, path)

    def _noted(self, out: Schema, node: Schema, *, texts_only: bool = False) -> Schema:
        """With the node's title and description where the schema has none of its own."""
        notes = {key: node[key] for key in NOTES if key in node and key in self._subset.keywords}
        for key in ("title", "description"):
            if key in notes and not isinstance(notes[key], str):
                del notes[key]
        if texts_only:
            notes = {key: note for key, note in notes.items() if key in ("title", "description")}
        return {**out, **{key: note for key, note in notes.items() if key not in out}}
