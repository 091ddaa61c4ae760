"""What Claude's structured outputs cannot be told is declared: unenforced words, and schemas that refer to themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_router.domain.model import Capabilities
from llm_router.wire.chat import ChatRequest, Message, Raw, ResponseFormat, Text, Tool
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.jsonschema.closed import closed_schema, unenforced

ABLE = Capabilities(tools=True, json_object=True, json_schema=True)
CLAUDES = {"anthropic_messages": "claude-sonnet-4-5", "bedrock_converse": "anthropic.claude-sonnet-4-5"}


def schema(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": [*properties], "additionalProperties": False,
    }  # fmt: skip


NODE = schema(next={"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]})
RECURSIVE = {**schema(first={"$ref": "#/$defs/N"}), "$defs": {"N": NODE}}
TWICE = {
    **schema(a={"$ref": "#/$defs/N"}, b={"$ref": "#/$defs/N"}),
    "$defs": {"N": schema(c={"type": "string"})},
}
BOUNDED = schema(
    n={"type": "integer", "minimum": 1, "exclusiveMaximum": 9}, pair={"type": "array", "prefixItems": [{}]}
)


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


def encoded(behind: str, **members: Any) -> tuple[dict[str, Any], dict[str, str]]:
    messages = (Message(role="user", parts=(Text(text="q"),)),)
    request = ChatRequest(model="m", dialect="openai_chat", messages=messages, **members)
    target = Target(provider="p", model=CLAUDES[behind], dialect=behind, capabilities=ABLE)
    body, losses = DIALECTS[behind].encode_request(request, target)
    return json.loads(body), {loss.field: loss.why for loss in losses}


@pytest.mark.parametrize(
    "recursive",
    [RECURSIVE, schema(self={"$ref": "#"}), schema(a={"type": "array", "items": {"$ref": "#/properties/a"}})],
)
def test_a_schema_that_refers_to_itself_is_none_of_the_subset(recursive: dict[str, Any]) -> None:
    assert closed_schema(raw(recursive)) is None


def test_a_schema_may_be_referred_to_twice() -> None:
    assert closed_schema(raw(TWICE)) is not None
    chain: dict[str, Any] = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(2000)}
    chain["d2000"] = {"type": "string"}
    assert closed_schema(raw({**schema(a={"$ref": "#/$defs/d0"}), "$defs": chain})) is not None


@pytest.mark.parametrize("behind", CLAUDES)
def test_a_recursive_answer_is_not_enforced_and_declared(behind: str) -> None:
    wish = ResponseFormat(mode="json_schema", schema=raw(RECURSIVE), strict=True)
    body, lost = encoded(behind, response_format=wish)
    assert "output_config" not in body
    assert "outputConfig" not in body
    assert list(lost) == ["response_format.json_schema.strict"]


@pytest.mark.parametrize("behind", CLAUDES)
def test_words_that_are_told_alone_are_declared_where_a_guarantee_was_asked_for(behind: str) -> None:
    def wish(strict: bool | None) -> ResponseFormat:
        return ResponseFormat(mode="json_schema", schema=raw(BOUNDED), strict=strict)

    body, lost = encoded(behind, response_format=wish(True))
    assert b"exclusiveMaximum: 9" in json.dumps(body).encode()
    why = "told to the model, not enforced: exclusiveMaximum, minimum, prefixItems"
    assert lost == {"response_format.json_schema.schema": why}
    assert encoded(behind, response_format=wish(None))[1] == {}
    tool = Tool(name="f", description="d", parameters=raw(BOUNDED), strict=True)
    assert encoded(behind, tools=(tool,))[1] == {"tools[].function.parameters": why}


def test_only_words_that_bind_are_unenforced() -> None:
    assert unenforced(raw(TWICE)) == ""
    assert unenforced(raw(schema(minimum={"type": "string", "format": "date"}))) == ""
    assert unenforced(raw({"type": "array", "items": {"type": "string", "maxLength": 3}})) == "maxLength"
