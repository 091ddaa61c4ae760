"""Each provider's part of JSON Schema: never more than it takes, never another meaning without a word.

What a provider takes is written down here again, from its documentation, apart from the reducers;
meaning is judged by the package jsonschema over values that are drawn along with the schema.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from judge_bodies import faults_of, missing
from test_jsonschema import json_values, schemas
from test_requests_judged import ABLE, MODELS, target

from llm_router.wire import chat
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.jsonschema import GEMINI_SCHEMA, reduce_schema
from llm_router.wire.jsonschema.closed import closed_schema
from llm_router.wire.jsonschema.root import object_root
from llm_router.wire.jsonschema.strict import strict_schema

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")

ODD: list[Any] = [
    {"type": "object", "properties": {"a": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}}},
    {"type": "object", "properties": {"a/b ~c": {"enum": ["x", 1, None]}}, "required": ["a/b ~c"]},
    {"if": {"type": "object"}, "then": {"required": ["a"]}, "type": "object"},
    {"type": "object", "patternProperties": {"^x": {"type": "string"}}, "additionalProperties": False},
    {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
    {"anyOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"type": "object", "properties": {"b": {}}}]},
    {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {}, "b": {}}},
    {"type": "object", "not": {"required": ["a"]}},
    {"oneOf": [{"const": 1}, {"type": "object"}]},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}, {"properties": {"b": {}}}]},
]  # fmt: skip


def raw(schema: Any) -> Raw:
    return Raw(json.dumps(schema).encode())


def accepts(schema: Any, value: Any) -> bool | None:
    """Whether the value is one of the schema's; None where the schema is none or never ends."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        return bool(jsonschema.Draft202012Validator(schema).is_valid(value))
    except (
        jsonschema.exceptions.SchemaError,
        jsonschema.exceptions._WrappedReferencingError,  # a reference that leads nowhere
        RecursionError,
    ):
        return None


def nodes(schema: Any) -> list[dict[str, Any]]:
    """The schema and all schemas in it."""
    if not isinstance(schema, dict):
        return []
    found = [schema]
    for holder in ("properties", "$defs", "definitions", "patternProperties"):
        for inner in schema.get(holder, {}).values():
            found += nodes(inner)
    for holder in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(holder, []):
            found += nodes(inner)
    return found + nodes(schema.get("items"))


OPENAI_STRICT = {
    "type", "title", "description", "enum", "const", "$ref", "$defs", "definitions", "properties", "required", "anyOf",
    "additionalProperties", "items", "pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "minItems", "maxItems",
}  # fmt: skip
CLAUDE = {
    "type", "enum", "const", "title", "description", "default", "$ref", "$defs", "definitions", "properties", "required",
    "additionalProperties", "items", "anyOf", "allOf", "format", "minItems",
}  # fmt: skip


def openai_strict_faults(schema: Any) -> list[str]:
    """https://platform.openai.com/docs/guides/structured-outputs#supported-schemas"""
    found = (
        [] if schema.get("type") == "object" and "anyOf" not in schema else ["the root is no plain object"]
    )
    for node in nodes(schema):
        found += [f"{word} is not supported" for word in node.keys() - OPENAI_STRICT]
        kind = node.get("type")
        if kind == "object" or (isinstance(kind, list) and "object" in kind):
            if node.get("additionalProperties") is not False:
                found.append("an open object")
            if set(node.get("required", ())) != set(node.get("properties", {})):
                found.append("not all properties are required")
        if kind == "array" and not isinstance(node.get("items"), dict):
            found.append("an array without items")
    return found


def claude_faults(schema: Any) -> list[str]:
    """https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs#json-schema-limitations"""
    found = []
    for node in nodes(schema):
        found += [f"{word} is not supported" for word in node.keys() - CLAUDE]
        kind = node.get("type")
        if (kind == "object" or (isinstance(kind, list) and "object" in kind)) and node.get(
            "additionalProperties"
        ) is not False:
            found.append("an open object")
        if node.get("minItems", 0) not in (0, 1):
            found.append("more than one item is demanded")
    return found


def _closed_objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects that are nearly as strict mode wants them: closed, with most properties required."""
    return st.builds(
        lambda properties, drop, closed: {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name not in drop],
            **({"additionalProperties": False} if closed else {}),
        },
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        st.sampled_from(["", "", "", "a"]),
        st.booleans(),
    )


def _arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda items, least: {"type": "array", "items": items, **({"minItems": least} if least else {})},
        inner,
        st.integers(0, 2),
    )


leaves = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "maxLength": 1},
        {"type": "integer", "minimum": 2},
        {"type": ["integer", "null"]},
        {"enum": ["a", 1]},
        {"const": "a", "description": "d"},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "string", "format": "uri"},
    ]
)
strictish = _closed_objects(
    st.recursive(leaves, lambda inner: _closed_objects(inner) | _arrays(inner), max_leaves=5)
)

values = st.lists(json_values | st.dictionaries(st.sampled_from("abc"), json_values, max_size=3), max_size=6)
given_schemas = schemas | st.sampled_from(ODD) | strictish


@settings(max_examples=300)
@given(schema=given_schemas, drawn=values)
@example(schema={"type": "object", "allOf": [{"type": "string"}]}, drawn=[{}])
def test_the_root_of_a_functions_schema(schema: Any, drawn: list[Any]) -> None:
    found, losses = object_root(raw(schema))
    rooted = json.loads(bytes(found))
    assert rooted["type"] == "object"
    assert isinstance(rooted.get("properties", {}), dict)
    assert not {"anyOf", "oneOf", "allOf", "not", "enum", "const", "if", "$ref"} & rooted.keys()
    for value in drawn:
        if isinstance(value, dict) and accepts(schema, value) and not accepts(rooted, value):
            assert losses, (schema, rooted, value)
        if not losses and accepts(rooted, value) and isinstance(value, dict):
            assert accepts(schema, value) is not False, (schema, rooted, value)


@settings(max_examples=300)
@given(schema=given_schemas, drawn=values)
def test_openais_strict_mode(schema: Any, drawn: list[Any]) -> None:
    found = strict_schema(raw(schema))
    if found is None:
        return
    strict = json.loads(bytes(found))
    assert openai_strict_faults(strict) == []
    assert strict_schema(found) == found
    for value in drawn:
        if accepts(strict, value):
            assert accepts(schema, value), "what strict mode gives is what was asked for"


@settings(max_examples=300)
@given(schema=given_schemas, drawn=values)
def test_claudes_structured_outputs(schema: Any, drawn: list[Any]) -> None:
    found = closed_schema(raw(schema))
    if found is None:
        return
    closed = json.loads(bytes(found))
    assert claude_faults(closed) == []
    told = json.dumps([node.get("description", "") for node in nodes(closed)])
    for value in drawn:
        if accepts(closed, value) and accepts(schema, value) is False:
            assert "(" in told or "oneOf" in json.dumps(schema), (schema, closed, value)


@settings(max_examples=200)
@given(schema=given_schemas)
def test_googles_schema_is_one_that_its_types_take(schema: Any) -> None:
    genai = pytest.importorskip("google.genai.types", reason="google-genai is not installed")
    reduced, _ = reduce_schema(schema, GEMINI_SCHEMA)
    genai.Schema.model_validate(reduced)
    for node in nodes(reduced):
        assert node.get("type") != "array" or "items" in node
        assert set(node.get("required", ())) <= set(node.get("properties", {}))
        assert "" not in node.get("enum", ())


@pytest.mark.parametrize("dialect", ["cohere_chat", "ollama_chat", "bedrock_converse", "anthropic_messages"])
@settings(max_examples=60)
@example(schema={"anyOf": [{"type": "object"}, {"type": "string"}]})
@given(schema=given_schemas)
def test_tools_of_any_schema(dialect: str, schema: Any) -> None:
    """Every tool is sent with an object's schema, or the request is refused with the reason."""
    if missing(dialect):
        pytest.skip(f"{missing(dialect)} is not installed")
    request = chat.ChatRequest(
        model="m",
        dialect="openai_chat",
        messages=(chat.Message(role="user", parts=(chat.Text(text="x"),)),),
        tools=(chat.Tool(name="f", parameters=raw(schema), strict=True),),
    )
    body, _ = DIALECTS[dialect].encode_request(request, target(dialect, MODELS[dialect][0], ABLE))
    assert faults_of(dialect, body) == []


def test_alternatives_at_the_root_become_one_object() -> None:
    schema = {
        "anyOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}, "k": {"type": "string"}}, "required": ["a", "k"]},
            {"type": "object", "properties": {"b": {"type": "string"}, "k": {"type": "integer"}}, "required": ["b", "k"]},
        ]
    }  # fmt: skip
    found, losses = object_root(raw(schema))
    assert json.loads(bytes(found)) == {
        "properties": {
            "a": {"type": "integer"},
            "k": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "b": {"type": "string"},
        },
        "required": ["k"],
        "type": "object",
    }
    assert [loss.field for loss in losses] == ["anyOf"]


def test_what_may_be_left_out_cannot_be_strict() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    assert strict_schema(raw(schema)) is None
    assert strict_schema(raw({**schema, "required": ["a"]})) == raw({**schema, "required": ["a"]})


def test_nothing_breaks_on_depth_size_and_odd_names() -> None:
    deep: Any = {"type": "string"}
    for _ in range(400):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"], "additionalProperties": False}
    names = {f"näme {n} $ref": {"type": "string"} for n in range(6000)}
    wide = {"type": "object", "properties": names, "required": list(names), "additionalProperties": False}
    loop = {"allOf": [{"$ref": "#"}], "type": "object"}
    assert strict_schema(raw(deep)) is None
    assert strict_schema(raw(wide)) is None
    for schema in (deep, wide, loop):
        assert json.loads(bytes(object_root(raw(schema))[0]))["type"] == "object"
        closed_schema(raw(schema))
        reduce_schema(schema, GEMINI_SCHEMA)


def test_what_is_an_objects_schema_stays_byte_for_byte() -> None:
    text = Raw(b'{ "type": "object", "properties": {"b": {}, "a": {"anyOf": [{}]}} }')
    assert object_root(text) == (text, ())
