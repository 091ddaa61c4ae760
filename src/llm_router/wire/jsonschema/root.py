"""The schema of a function's arguments: one of an object, with no unions at its root.

OpenAI, Anthropic and others refuse ``anyOf``, ``oneOf``, ``allOf``, ``enum`` and ``not`` beside
``"type": "object"`` at the root of a function's parameters
(https://platform.openai.com/docs/guides/structured-outputs#root-objects-must-not-be-anyof-and-must-be-an-object,
https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use). The alternatives are
written as one object that has the properties of all and requires what all require.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_router.wire.chat import Raw
from llm_router.wire.jsonschema.words import Schema, resolve
from llm_router.wire.loss import Loss
from llm_router.wire.verbatim import dump, value

NO_ARGUMENTS = Raw(b'{"type":"object","properties":{}}')

_UNIONS = ("anyOf", "oneOf")
_REFUSED = ("enum", "const", "not", "if", "then", "else")
_DEPTH_MAX = 20


def object_root(raw: Raw | None) -> tuple[Raw, tuple[Loss, ...]]:
    """A function's parameters as an object's schema; verbatim where they are one already.

    ``field`` of a loss is the keyword. Every object that the original takes is taken, but where a
    loss says that the alternatives are told apart no longer.
    """
    schema = value(raw) if raw is not None else None
    if raw is None or not isinstance(schema, dict) or not schema:
        lost = () if schema in (None, True, {}) else (Loss(field="schema", why="it is no object's schema"),)
        return NO_ARGUMENTS, lost
    if schema.get("type") == "object" and not any(
        word in schema for word in (*_UNIONS, *_REFUSED, "allOf", "$ref")
    ):
        return raw, ()
    root = _Root(schema)
    found = root.flat(schema, 0)
    kind = found.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        root.lose("type", "arguments are always an object")
        found = {name: found[name] for name in ("description", "title", "$defs") if name in found}
    return dump({**found, "type": "object", "properties": found.get("properties", {})}), tuple(
        dict.fromkeys(root.losses)
    )


class _Root:
    def __init__(self, schema: Schema) -> None:
        self._root = schema
        self.losses: list[Loss] = []

    def lose(self, keyword: str, why: str) -> None:
        self.losses.append(Loss(field=keyword, why=why))

    def flat(self, node: Schema, depth: int) -> Schema:
        """The node without what is refused at a root."""
        out = {name: part for name, part in node.items() if name not in _REFUSED}
        for word in _REFUSED:
            if word in node:
                self.lose(word, "it cannot stand at the root of a function's schema")
        ref, parts = out.pop("$ref", None), out.pop("allOf", None)
        found = [resolve(self._root, ref)] if isinstance(ref, str) else []
        found += parts if isinstance(parts, list) else []
        for part in found:
            if not isinstance(part, dict) or depth >= _DEPTH_MAX:
                self.lose("$ref" if ref is not None else "allOf", "it cannot be written out")
                continue
            out = self._both(out, self.flat(part, depth + 1))
        for word in _UNIONS:
            options = out.pop(word, None)
            if options is not None:
                out = self._union(out, options, word, depth)
        return out

    def _both(self, a: Schema, b: Schema) -> Schema:
        """An object that is both: properties of both, required what either requires."""
        out = {**b, **a}
        ours, theirs = _properties(a), _properties(b)
        shared = {
            name: ours[name] if ours[name] == theirs[name] else {"allOf": [ours[name], theirs[name]]}
            for name in ours
            if name in theirs
        }
        if ours or theirs:
            out["properties"] = {**ours, **theirs, **shared}
        required = dict.fromkeys([*_required(a), *_required(b)])
        if required:
            out["required"] = [*required]
        if "additionalProperties" in out and a.get("additionalProperties") != b.get("additionalProperties"):
            del out["additionalProperties"]  # it closes a part, which knows not all of the properties
            self.lose("additionalProperties", "it cannot be kept for a part of the object")
        if not (_is_object(a) and _is_object(b)):
            self.lose("type", "arguments are always an object")
        for word in a.keys() & b.keys() - {"properties", "required", "additionalProperties", *_NOTES}:
            if a[word] != b[word]:
                self.lose("allOf", f"two {word} at once cannot be said at the root")
        return out

    def _union(self, base: Schema, options: Any, word: str, depth: int) -> Schema:
        """One object in place of alternatives."""
        self.lose(word, "the alternatives at the root are written as one object")
        found = [self.flat(option, depth + 1) for option in _objects(options) if depth < _DEPTH_MAX]
        objects = [option for option in found if option.get("type", "object") == "object"]
        if not objects:
            return base
        merged: dict[str, list[Any]] = {}
        for option in objects:
            for name, part in _properties(option).items():
                said = merged.setdefault(name, [])
                if part not in said:
                    said.append(part)
        ours = _properties(base)
        told = {name: said[0] if len(said) == 1 else {"anyOf": said} for name, said in merged.items()}
        out = dict(base)
        if ours or told:
            out["properties"] = {**told, **ours}
        always = set.intersection(*(set(_required(option)) for option in objects))
        required = [*_required(base), *(name for name in _required(objects[0]) if name in always)]
        if required:
            out["required"] = [*dict.fromkeys(required)]
        closed = all(option.get("additionalProperties") is False for option in objects)
        if closed and "additionalProperties" not in base and not ours:
            out["additionalProperties"] = False
        return out


_NOTES = ("title", "description", "default", "examples", "type", "$schema", "$id", "$defs", "definitions")


def _objects(values: Any) -> Iterable[Schema]:
    return (part for part in values if isinstance(part, dict)) if isinstance(values, list) else ()


def _is_object(node: Schema) -> bool:
    """Whether the node's type, if it has one, takes objects."""
    kind = node.get("type", "object")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _properties(node: Schema) -> Schema:
    found = node.get("properties")
    return found if isinstance(found, dict) else {}


def _required(node: Schema) -> list[str]:
    found = node.get("required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
