"""The schema reducer: total, idempotent, never stricter than the original, silent only when exact."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.wire.jsonschema import GEMINI_SCHEMA, from_openapi, reduce_schema

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "bb", "2020-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)

KEYWORDS = [
    "type", "enum", "const", "anyOf", "oneOf", "allOf", "not", "$ref", "$defs", "properties", "required",
    "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minimum", "exclusiveMinimum",
    "maximum", "exclusiveMaximum", "minLength", "maxLength", "pattern", "format", "nullable", "description",
    "uniqueItems", "if", "then", "x-unheard-of", "default", "multipleOf", "propertyOrdering", "title",
]  # fmt: skip

anything = st.recursive(
    json_values | st.sampled_from(["string", "object", "#", "#/properties/a", "#/$defs/a", "NULL"]),
    lambda inner: (
        st.dictionaries(st.sampled_from([*KEYWORDS, "a", "b"]), inner, max_size=5)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=25,
)


def _merged(*pieces: dict[str, Any]) -> dict[str, Any]:
    return {key: value for piece in pieces for key, value in piece.items()}


def _schema(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from("abc")
    notes = st.fixed_dictionaries({}, optional={"description": st.just("d"), "title": st.just("t")})
    string = st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={
            "minLength": st.integers(0, 2),
            "maxLength": st.integers(0, 3),
            "enum": st.lists(st.sampled_from(["a", "bb", ""]), min_size=1, max_size=3),
            "pattern": st.sampled_from(["^a", "b+"]),
        },
    )
    number = st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number", ["integer", "null"]])},
        optional={
            "minimum": st.integers(-3, 3),
            "exclusiveMinimum": st.integers(-3, 3) | st.sampled_from([0.5, -1.5]),
            "maximum": st.integers(-3, 3),
            "exclusiveMaximum": st.integers(-3, 3),
            "enum": st.lists(st.integers(-2, 2), min_size=1, max_size=2),
        },
    )
    obj = st.fixed_dictionaries(
        {"type": st.just("object")},
        optional={
            "properties": st.dictionaries(names, inner, max_size=2),
            "required": st.lists(names, max_size=2, unique=True),
            "additionalProperties": st.booleans() | inner,
            "minProperties": st.integers(0, 2),
        },
    )
    array = st.fixed_dictionaries(
        {"type": st.just("array")},
        optional={
            "items": inner | st.booleans(),
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "minItems": st.integers(0, 2),
            "maxItems": st.integers(0, 3),
            "uniqueItems": st.booleans(),
        },
    )
    mixed = st.fixed_dictionaries(
        {"type": st.just(["string", "integer", "null"])},
        optional={
            "minimum": st.integers(-2, 2),
            "minLength": st.integers(0, 2),
            "enum": st.just(["a", 1, None]),
        },
    )
    unions = st.fixed_dictionaries(
        {},
        optional={
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "$ref": st.sampled_from(["#/$defs/a", "#/$defs/b", "#"]),
            "const": st.sampled_from(["a", 1, None, True]),
        },
    )
    one = string | number | obj | array | mixed | st.just({"type": "boolean"}) | st.just({"type": "null"})
    return st.builds(_merged, one, notes) | unions | st.builds(_merged, one, unions, notes)


schemas = st.builds(
    lambda body, defs: {**body, "$defs": defs} if isinstance(body, dict) else body,
    st.recursive(st.just({"type": "string"}) | st.just({"type": "integer"}), _schema, max_leaves=6),
    st.fixed_dictionaries(
        {
            "a": st.just({"type": "string", "minLength": 1}),
            "b": st.just({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "required": ["a"]})
            | st.just({"type": ["integer", "null"], "minimum": 0}),
        }
    ),
)


class TooDeep(Exception):
    pass


def is_type(value: object, type_: str) -> bool:
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    if type_ in kinds:
        return isinstance(value, kinds[type_])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return type_ == "number" or float(value).is_integer()


def same(a: object, b: object) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def valid(schema: Any, value: Any, root: Any, depth: int = 0) -> bool:
    """An independent validator of the keywords that the strategies use; null by OpenAPI's nullable too."""
    if depth > 30:
        raise TooDeep
    if isinstance(schema, bool):
        return schema

    def ok(inner: Any, v: Any) -> bool:
        return valid(inner, v, root, depth + 1)

    if schema.get("nullable") is True and value is None:
        return True
    if "$ref" in schema:
        target = root
        for step in schema["$ref"].split("/")[1:]:
            target = target[step]
        if not ok(target, value):
            return False
    types = schema.get("type")
    if types is not None and not any(
        is_type(value, t) for t in ([types] if isinstance(types, str) else types)
    ):
        return False
    if "enum" in schema and not any(same(value, v) for v in schema["enum"]):
        return False
    if "const" in schema and not same(value, schema["const"]):
        return False
    if "anyOf" in schema and not any(ok(s, value) for s in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(ok(s, value) for s in schema["oneOf"]) != 1:
        return False
    if not all(ok(s, value) for s in schema.get("allOf", ())):
        return False
    if isinstance(value, str):
        return (
            schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 99)
            and re.search(schema.get("pattern", ""), value) is not None
        )
    if is_type(value, "number"):
        return schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf) and schema.get(
            "exclusiveMinimum", -math.inf
        ) < value < schema.get("exclusiveMaximum", math.inf)
    if isinstance(value, list):
        prefix = schema.get("prefixItems", [])
        if schema.get("uniqueItems") and any(same(a, b) for i, a in enumerate(value) for b in value[:i]):
            return False
        return (
            schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 99)
            and all(ok(s, v) for s, v in zip(prefix, value, strict=False))
            and all(ok(schema.get("items", True), v) for v in value[len(prefix) :])
        )
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return (
            all(name in value for name in schema.get("required", ()))
            and len(value) >= schema.get("minProperties", 0)
            and all(ok(known[n], v) for n, v in value.items() if n in known)
            and all(
                ok(schema.get("additionalProperties", True), v) for n, v in value.items() if n not in known
            )
        )
    return True


@settings(max_examples=200)
@given(anything)
def test_every_json_value_is_taken(schema: object) -> None:
    reduced, losses = reduce_schema(schema, GEMINI_SCHEMA)
    assert isinstance(reduced, dict)
    msgspec.json.encode(reduced)
    assert all(loss.field and loss.why for loss in losses)


@settings(max_examples=200)
@given(anything | schemas)
def test_a_reduced_schema_stays_as_it_is(schema: object) -> None:
    reduced, _ = reduce_schema(schema, GEMINI_SCHEMA)
    again, losses = reduce_schema(reduced, GEMINI_SCHEMA)
    assert again == reduced
    assert losses == ()


def keywords_of(schema: Any) -> set[str]:
    if not isinstance(schema, dict):
        return set()
    found = set(schema)
    for name in ("anyOf",):
        for inner in schema.get(name, ()):
            found |= keywords_of(inner)
    for inner in schema.get("properties", {}).values():
        found |= keywords_of(inner)
    return found | keywords_of(schema.get("items"))


@settings(max_examples=200)
@given(anything | schemas)
def test_only_known_keywords_are_left(schema: object) -> None:
    reduced, _ = reduce_schema(schema, GEMINI_SCHEMA)
    assert keywords_of(reduced) <= GEMINI_SCHEMA.keywords


@settings(max_examples=700)
@given(schemas, st.lists(json_values, min_size=1, max_size=6))
def test_meaning_is_kept_or_weakened_and_weakening_is_reported(schema: Any, values: list[Any]) -> None:
    reduced, losses = reduce_schema(schema, GEMINI_SCHEMA)
    for value in values:
        try:
            before = valid(schema, value, schema)
        except TooDeep:
            continue
        after = valid(reduced, value, reduced)
        assert after or not before, "stricter than the original"
        assert before == after or losses, "weaker without a word"


CASES = [
    ({"type": ["string", "null"]}, {"type": "string", "nullable": True}, []),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"type": "integer", "nullable": True}, []),
    ({"type": "STRING", "nullable": True}, {"type": "string", "nullable": True}, []),
    ({"const": "cat"}, {"type": "string", "enum": ["cat"]}, []),
    ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}, []),
    ({"type": "number", "exclusiveMinimum": 0}, {"type": "number", "minimum": 0}, ["exclusiveMinimum"]),
    ({"type": "integer", "exclusiveMinimum": 0.5, "exclusiveMaximum": 7}, {"type": "integer", "minimum": 1, "maximum": 6}, []),
    ({"type": "array", "prefixItems": [{"type": "string"}]}, {"type": "array", "items": {}}, ["prefixItems"]),
    ({"type": "array", "prefixItems": [{"type": "string"}], "items": False},
     {"type": "array", "maxItems": 1, "items": {"type": "string"}}, []),
    ({"type": "string", "format": "uuid"}, {"type": "string"}, ["format"]),
    ({"type": "array", "items": {"type": "string"}, "uniqueItems": True},
     {"type": "array", "items": {"type": "string"}}, ["uniqueItems"]),
    ({"type": "object", "properties": {}, "additionalProperties": False}, {"type": "object"},
     ["additionalProperties"]),
    ({"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}], "minItems": 2, "maxItems": 2},
     {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}, []),
    ({"oneOf": [{"type": "string"}, {"type": "boolean"}], "description": "x"},
     {"anyOf": [{"type": "string", "description": "x"}, {"type": "boolean", "description": "x"}]}, ["oneOf"]),
    ({"allOf": [{"type": "integer", "minimum": 1}, {"minimum": 3, "maximum": 9}]},
     {"type": "integer", "minimum": 3, "maximum": 9}, []),
    ({"type": "integer", "enum": [1, 2]}, {"type": "integer", "description": "One of: 1, 2."}, ["enum"]),
    ({"type": "object", "required": ["gone"]}, {"type": "object"}, ["required"]),
    (True, {}, []),
    (False, {}, ["false"]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "expected", "lost"), CASES)
def test_single_rules(schema: object, expected: object, lost: list[str]) -> None:
    reduced, losses = reduce_schema(schema, GEMINI_SCHEMA)
    assert reduced == expected
    assert [loss.field for loss in losses] == lost


def test_references_are_written_out_and_recursive_ones_cut() -> None:
    schema = {
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/Node"}, "n": {"type": "integer"}},
            }
        },
        "$ref": "#/$defs/Node",
    }
    reduced, losses = reduce_schema(schema, GEMINI_SCHEMA)
    assert reduced == {"type": "object", "properties": {"next": {}, "n": {"type": "integer"}}}
    assert [loss.field for loss in losses] == ["$ref"]


def test_references_that_double_at_each_level_stay_bounded() -> None:
    defs = {f"d{n}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{n + 1}"}] * 4} for n in range(30)}
    reduced, losses = reduce_schema({"$defs": defs, "$ref": "#/$defs/d0"}, GEMINI_SCHEMA)
    assert len(msgspec.json.encode(reduced)) < 2_000_000
    assert any("too large" in loss.why for loss in losses)


def test_deep_nesting_is_cut() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    _, losses = reduce_schema(schema, GEMINI_SCHEMA)
    assert losses
    schema = {"type": "string"}
    for _ in range(300):
        schema = {"allOf": [schema]}
    _, losses = reduce_schema(schema, GEMINI_SCHEMA)
    assert losses


def test_openapi_becomes_json_schema() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "nullable": True, "enum": ["a"], "format": "enum"},
            "n": {
                "type": "ARRAY",
                "min_items": "1",
                "items": {"any_of": [{"type": "NUMBER"}], "nullable": True},
            },
        },
        "property_ordering": ["n", "type"],
        "required": ["n"],
    }
    assert from_openapi(schema) == {
        "type": "object",
        "properties": {
            "n": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            },
            "type": {"type": ["string", "null"], "enum": ["a", None]},
        },
        "required": ["n"],
    }
    assert list(from_openapi(schema)["properties"]) == ["n", "type"]
