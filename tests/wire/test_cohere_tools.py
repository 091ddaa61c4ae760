"""Tools, JSON and reasoning in requests to Cohere."""

from __future__ import annotations

import json
from typing import Any

import behind_kit as kit
import pytest
from cohere_kit import ANSWER, sent
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.model import Capabilities
from llm_router.wire import chat
from llm_router.wire.dialects.cohere_chat.schema import enforced_schema

words = st.from_regex(r"[a-z]{1,8}", fullmatch=True)

# --- tools, JSON, reasoning -------------------------------------------------------------------------------------


def test_tools_are_functions_with_parameters() -> None:
    tools = (kit.tool("tide", ANSWER, description="When?"), kit.tool("noon"), kit.tool("say", custom=True))
    body, lost = sent(kit.request(tools=tools))
    assert body["tools"] == [
        {"type": "function", "function": {"name": "tide", "description": "When?", "parameters": ANSWER}},
        {"type": "function", "function": {"name": "noon", "parameters": {"type": "object", "properties": {}}}},
        {"type": "function", "function": {"name": "say", "parameters": {
            "type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}}},
    ]  # fmt: skip
    assert lost == set()


@pytest.mark.parametrize(
    ("choice", "names", "written"),
    [
        (chat.ToolChoice(mode="auto"), ["a", "b"], None),
        (chat.ToolChoice(mode="none"), ["a", "b"], "NONE"),
        (chat.ToolChoice(mode="required"), ["a", "b"], "REQUIRED"),
        (chat.ToolChoice(mode="tool", name="b"), ["b"], "REQUIRED"),
        (chat.ToolChoice(mode="required", allowed=("a",)), ["a"], "REQUIRED"),
        (chat.ToolChoice(mode="auto", allowed=("a",)), ["a"], None),
    ],
)
def test_a_tool_choice_is_kept(choice: chat.ToolChoice, names: list[str], written: str | None) -> None:
    body, lost = sent(kit.request(tools=(kit.tool("a"), kit.tool("b")), tool_choice=choice))
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body.get("tool_choice") == written
    assert lost == set()


def test_strict_tools_only_where_all_can_be_enforced() -> None:
    strict = kit.tool("a", ANSWER, strict=True)
    assert sent(kit.request(tools=(strict,)))[0]["strict_tools"] is True
    for others in ((strict, kit.tool("b", ANSWER)), (kit.tool("a", {"type": "object"}, strict=True),)):
        body, lost = sent(kit.request(tools=others))
        assert "strict_tools" not in body
        assert lost == {"tools[].function.strict"}


def test_tools_of_other_dialects_and_serial_calls_are_declared() -> None:
    search = chat.Tool(name="web_search", dialect="anthropic_messages", raw=chat.Raw(b"{}"))
    _, lost = sent(kit.request(tools=(search, kit.tool("a")), parallel_tool_calls=False))
    assert lost == {"tools[web_search]", "parallel_tool_calls"}


def json_format(schema: Any = None) -> chat.ResponseFormat:
    if schema is None:
        return chat.ResponseFormat(mode="json_object")
    return chat.ResponseFormat(mode="json_schema", name="x", schema=chat.Raw(json.dumps(schema).encode()))


def test_a_schema_is_enforced() -> None:
    body, lost = sent(kit.request(response_format=json_format(ANSWER)))
    assert body["response_format"] == {"type": "json_object", "json_schema": ANSWER}
    assert len(body["messages"]) == 1
    assert lost == set()


def test_json_is_spoken_of() -> None:
    body, lost = sent(kit.request(response_format=json_format()))
    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"][0]["role"] == "system"
    assert "JSON" in body["messages"][0]["content"]
    assert lost == set()
    asked = kit.request(kit.user("as Json please"), response_format=json_format())
    assert len(sent(asked)[0]["messages"]) == 1


@pytest.mark.parametrize(
    "extra", [{"tools": (kit.tool("a"),)}, {"extras": {"documents": chat.Raw(b'[{"data":{}}]')}}]
)
def test_beside_tools_and_documents_json_is_only_asked_for(extra: dict[str, Any]) -> None:
    system = chat.Message(role="system", parts=(chat.Text(text="Be brief."),))
    for wanted in (json_format(), json_format(ANSWER)):
        body, lost = sent(kit.request(system, kit.user("JSON!"), response_format=wanted, **extra))
        assert "response_format" not in body
        assert [m["role"] for m in body["messages"]] == ["system", "system", "user"]
        assert lost == {"response_format"}


def test_a_schema_that_cannot_be_enforced_is_told() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body, lost = sent(kit.request(response_format=json_format(schema)))
    assert body["response_format"] == {"type": "json_object"}
    assert json.dumps(schema) in body["messages"][0]["content"]
    assert lost == {"response_format"}
    listed, _ = sent(kit.request(response_format=json_format({"type": "array"})))
    assert "response_format" not in listed


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        (chat.Reasoning(effort="none"), {"type": "disabled"}),
        (chat.Reasoning(enabled=False), {"type": "disabled"}),
        (chat.Reasoning(budget_tokens=0), {"type": "disabled"}),
        (chat.Reasoning(effort="low"), {"type": "enabled", "token_budget": 2048}),
        (chat.Reasoning(effort="high"), {"type": "enabled"}),
        (chat.Reasoning(budget_tokens=5000, enabled=True), {"type": "enabled", "token_budget": 5000}),
        (chat.Reasoning(budget_tokens=-1), {"type": "enabled"}),
        (chat.Reasoning(adaptive=True), {"type": "enabled"}),
        (chat.Reasoning(summary="auto"), None),
        (None, None),
    ],
)
def test_how_much_to_think(asked: chat.Reasoning | None, written: dict[str, Any] | None) -> None:
    body, lost = sent(kit.request(reasoning=asked))
    assert body.get("thinking") == written
    assert lost == set()


def test_a_model_that_does_not_reason() -> None:
    plain_ = Capabilities()
    assert sent(kit.request(reasoning=chat.Reasoning(effort="high")), capabilities=plain_)[1] == {
        "reasoning_effort"
    }
    assert sent(kit.request(reasoning=chat.Reasoning(effort="none")), capabilities=plain_)[1] == set()


# --- schemas ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "written", "lost"),
    [
        ({"type": "integer", "minimum": 1}, {"type": "integer", "description": "(minimum: 1)"}, {"minimum"}),
        ({"type": "string", "description": "A", "maxLength": 3}, {"type": "string", "description": "A (maxLength: 3)"}, {"maxLength"}),
        ({"type": "string", "format": "uuid"}, {"type": "string", "format": "uuid"}, set()),
        ({"type": "string", "format": "email"}, {"type": "string", "description": '(format: "email")'}, {"format"}),
        ({"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "a+"}, set()),
        ({"type": "string", "pattern": "a+"}, {"type": "string", "pattern": "a+"}, {"pattern"}),
        ({"type": "string", "pattern": "^(?!x)y$"}, {"type": "string", "description": '(pattern: "^(?!x)y$")'}, {"pattern"}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}, {"oneOf"}),
        ({"allOf": [{"type": "string"}], "title": "T"}, {"type": "string", "title": "T"}, set()),
        ({"type": "array", "items": {"type": "number", "maximum": 2}}, {"type": "array", "items": {"type": "number", "description": "(maximum: 2)"}}, {"maximum"}),
        ({"$ref": "#/$defs/x"}, {"$ref": "#/$defs/x"}, set()),
        ({"const": 3, "examples": [3]}, {"const": 3}, set()),
    ],
)  # fmt: skip
def test_schemas_in_the_enforced_subset(schema: Any, written: Any, lost: set[str]) -> None:
    found = enforced_schema({"type": "object", "properties": {"a": schema}, "required": ["a"]})
    assert found is not None
    assert found[0]["properties"]["a"] == written
    assert set(found[1]) == lost


@pytest.mark.parametrize(
    "schema",
    [
        True, None, 3, {"type": "array"}, {}, {"type": "object"},
        {"type": "object", "properties": {"a": True}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "object"}}, "required": ["a"]},
    ],
)  # fmt: skip
def test_schemas_that_cannot_be_enforced(schema: Any) -> None:
    assert enforced_schema(schema) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "properties", "items", "anyOf", "allOf", "oneOf", "required", "pattern", "$ref", "not"]) | words,
        inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(schema=json_values, wanted=st.booleans())
def test_any_schema_gives_a_request(schema: Any, wanted: bool) -> None:
    members: dict[str, Any] = {"response_format": json_format(schema)} if wanted else {
        "tools": (kit.tool("f", schema, strict=True),)}  # fmt: skip
    body, _ = sent(kit.request(**members))
    for tool in body.get("tools", ()):
        assert tool["function"]["parameters"]["type"] == "object"
