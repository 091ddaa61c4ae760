"""Values made from JSON Schemas: each must be valid, which an independent check proves."""

from __future__ import annotations

import re
from typing import Any

import pytest

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
