"""Values made from JSON Schemas: each must be valid, which an independent check proves."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.sandbox.pattern import shortest_match
from llm_router.sandbox.prompt import Words
from llm_router.sandbox.schema import instance

WORDS = Words("What is the weather in Paris and Rome for 3 days at 40.5 degrees in celsius?")


def problems(value: Any, schema: Any, root: Any) -> list[str]:
    """What is wrong with the value: a small validator of its own, apart from the maker."""
    if schema is True or schema == {}:
        return []
    while "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step] if step != "#" else target
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    found: list[str] = []
    for part in schema.get("allOf", []):
        found += problems(value, part, root)
    for word in ("anyOf", "oneOf"):
        if word in schema and all(problems(value, option, root) for option in schema[word]):
            found.append(f"{value!r} is none of {word}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{value!r} is not listed")
    if "const" in schema and value != schema["const"]:
        found.append(f"{value!r} is not the constant")
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [*found, f"{value!r} is not {kinds}"]
    if isinstance(value, str):
        found += [f"length of {value!r}"] * (
            not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9)
        )
        found += [f"pattern of {value!r}"] * ("pattern" in schema and not re.search(schema["pattern"], value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        found += [f"bounds of {value}"] * (
            not schema.get("minimum", value) <= value <= schema.get("maximum", value)
            or not schema.get("exclusiveMinimum", value - 1)
            < value
            < schema.get("exclusiveMaximum", value + 1)
            or ("multipleOf" in schema and value % schema["multipleOf"] != 0)
        )
    if isinstance(value, list):
        found += ["size of array"] * (
            not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9)
        )
        found += ["not unique"] * (
            bool(schema.get("uniqueItems")) and len(set(map(str, value))) != len(value)
        )
        prefix = schema.get("prefixItems", [])
        for item, inner in zip(value, prefix, strict=False):
            found += problems(item, inner, root)
        for item in value[len(prefix) :]:
            found += problems(item, schema.get("items", {}), root)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{name} is missing" for name in schema.get("required", []) if name not in value]
        found += ["too few members"] * (len(value) < schema.get("minProperties", 0))
        for name, item in value.items():
            inner = properties.get(name, schema.get("additionalProperties", {}))
            found += [f"{name} is not allowed"] if inner is False else problems(item, inner, root)
    return found


def _is(value: Any, kind: str) -> bool:
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    if kind in ("integer", "number"):
        good = isinstance(value, int | float) and not isinstance(value, bool)
        return good and (kind == "number" or float(value).is_integer())
    return isinstance(value, types[kind])


TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value", "left", "children"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number"}}},
        {"type": "object"},
        {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 0},
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
        {"type": "integer", "minimum": 10, "maximum": 12},
        {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.25},
        {"type": "integer", "multipleOf": 7, "minimum": 1},
        {"type": "integer", "maximum": -5},
        {"type": "string", "minLength": 100},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
        {"type": "string", "pattern": r"^(foo|bar)\d+\.(txt|md)?$"},
        {"type": "string", "pattern": r"^\+?[1-9]\d{1,14}$"},
        {"type": "string", "pattern": r"^#(?:[0-9a-fA-F]{3}){1,2}$"},
        {"type": ["string", "null"]},
        {"type": ["null", "integer"], "minimum": 2},
        {"enum": ["x", "y"]},
        {"const": {"a": 1}},
        {
            "anyOf": [
                {"type": "null"},
                {"type": "object", "properties": {"k": {"type": "boolean"}}, "required": ["k"]},
            ]
        },
        {"oneOf": [{"type": "string", "enum": ["celsius"]}, {"type": "integer"}]},
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "string"}}, "required": ["b"]},
            ]
        },
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
        TREE,
    ],
)
def test_made_values_are_valid(schema: Any) -> None:
    value = instance(schema, WORDS)
    assert problems(value, schema, schema) == []
    assert instance(schema, WORDS) == value


_numbers = st.one_of(
    st.builds(
        lambda a, b: {"type": "integer", "minimum": min(a, b), "maximum": max(a, b)},
        st.integers(-50, 50),
        st.integers(-50, 50),
    ),
    st.builds(lambda a: {"type": "number", "exclusiveMinimum": a}, st.integers(-5, 50)),
    st.builds(
        lambda m, low: {"type": "integer", "multipleOf": m, "minimum": low},
        st.integers(1, 9),
        st.integers(-20, 60),
    ),
)
_patterns = (r"^\d{3}$", r"^[a-f0-9]{8}-[a-f]{2}$", r"^(a|b)+c?$", r"\.txt$", r"^[^x]{2,4}$", r"^\S+@\S+$")
_strings = st.one_of(
    st.builds(
        lambda a, b: {"type": "string", "minLength": a, "maxLength": a + b},
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    st.sampled_from([{"type": "string", "pattern": p} for p in _patterns]),
)
_names = st.sampled_from("abcdef")
_schemas = st.recursive(
    st.one_of(_numbers, _strings, st.sampled_from([{}, {"type": "boolean"}, {"type": ["null", "string"]}])),
    lambda inner: st.one_of(
        st.builds(
            lambda p, r: {
                "type": "object",
                "properties": p,
                "required": [n for n in p if n in r],
                "additionalProperties": False,
            },
            st.dictionaries(_names, inner, max_size=4),
            st.sets(_names),
        ),
        st.builds(
            lambda i, n, m: {"type": "array", "items": i, "minItems": n, "maxItems": n + m},
            inner,
            st.integers(0, 3),
            st.integers(0, 3),
        ),
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
    ),
    max_leaves=8,
)


@given(_schemas, st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_schema_gets_a_valid_value(schema: Any, text: str) -> None:
    assert problems(instance(schema, Words(text)), schema, schema) == []


def test_words_of_the_prompt_are_used() -> None:
    schema = {
        "type": "object",
        "properties": {
            "location": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"enum": ["kelvin", "celsius"]},
            "query": {"type": "string"},
        },
        "required": ["location", "days", "unit", "query"],
    }
    made = instance(schema, WORDS)
    assert made == {"location": "Paris", "days": 3, "unit": "celsius", "query": WORDS.text}
    assert instance(schema, WORDS, subject=1)["location"] == "Rome"


def test_defaults_and_examples_win() -> None:
    assert instance({"type": "string", "default": "d", "enum": ["e"]}, WORDS) == "d"
    assert instance({"type": "string", "examples": ["x"]}, WORDS) == "x"


HUGE: Any = {
    "type": "array",
    "minItems": 4000,
    "items": {"type": "array", "minItems": 4000, "items": {"type": "object"}},
}


@pytest.mark.parametrize(
    "schema",
    [
        HUGE,
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "object", "minProperties": 4000, "additionalProperties": {"$ref": "#"}},
        {"type": "string", "pattern": "((((a{999}){999}){999}){999}){999}"},
        {"type": "string", "pattern": "^(a+)+$"},
    ],
)
def test_monstrous_schemas_end_soon(schema: Any) -> None:
    words = Words("a" * 2000 + "!")
    assert len(str(instance(schema, words))) < 2_000_000


@pytest.mark.parametrize("schema", [True, None, "text", {"$ref": "#/nowhere"}, {"$ref": "#"}, {"allOf": 3}])
def test_odd_schemas_do_not_fail(schema: Any) -> None:
    instance(schema, WORDS)


@pytest.mark.parametrize("pattern", ["(", "[", "a{", "\\", "(?P<x", "[^", "(?=a)b", "a{99999999999}"])
def test_odd_patterns_do_not_fail(pattern: str) -> None:
    shortest_match(pattern)
    instance({"type": "string", "pattern": pattern}, WORDS)


def test_gemini_spelling() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {"n": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "2"}},
    }
    assert instance(schema, WORDS) == {"n": [3, 1]}  # 40.5 is no integer
