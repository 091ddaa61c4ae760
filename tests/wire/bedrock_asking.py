"""Canonical requests for the tests of the Bedrock dialect; each that is encoded is checked against AWS's model."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import bedrock_kit as kit
from bedrock_model import faults

from llm_router.wire import chat
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.bedrock_converse import DIALECT

BOTOCORE = importlib.util.find_spec("botocore") is not None
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
NOVA, LLAMA, GPT = (
    "us.amazon.nova-pro-v1:0",
    "us.meta.llama4-scout-17b-instruct-v1:0",
    "openai.gpt-oss-120b-1:0",
)
LEVELS = ("low", "medium", "high", "xhigh")
SCHEMA = Raw(
    b'{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}'
)
TOOL = chat.Tool(name="tide", description="Tells the tide.", parameters=SCHEMA)
CALL = chat.ToolCall(id="call_1", name="tide", arguments='{"a":"Kiel"}')
RESULT = chat.ToolResult(call_id="call_1", name="tide", content=(chat.Text(text="high"),))


def say(role: chat.Role, *parts: chat.Part | str) -> chat.Message:
    return chat.Message(
        role=role, parts=tuple(chat.Text(text=part) if isinstance(part, str) else part for part in parts)
    )


def ask(*messages: chat.Message, **changes: Any) -> chat.ChatRequest:
    return chat.ChatRequest(
        **{"model": "m", "messages": messages or (say("user", "Ahoy"),), "dialect": "openai_chat", **changes}
    )


def encode(
    request: chat.ChatRequest, model: str = kit.CLAUDE, **changes: Any
) -> tuple[dict[str, Any], list[str]]:
    """The body, and the fields that were lost; whatever is written, AWS's model takes it."""
    data, losses = DIALECT.encode_request(request, kit.target(model, **changes))
    body = json.loads(data)
    if BOTOCORE:
        assert faults(body, model) == []
    return body, [loss.field for loss in losses]


def messages(*given_: chat.Message, model: str = kit.CLAUDE, **changes: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = encode(ask(*given_, **changes), model)[0]["messages"]
    return found


def content(*parts: chat.Part | str, model: str = kit.CLAUDE) -> list[dict[str, Any]]:
    (message,) = messages(say("user", *parts), model=model)
    found: list[dict[str, Any]] = message["content"]
    return found
