"""The official Mistral client, whose API is nearly OpenAI's."""

from __future__ import annotations

import json
from typing import Any

import kit

try:
    from mistralai.client import Mistral, errors, models
except ImportError:  # before 2.0
    from mistralai import Mistral, models

    errors = models

row = kit.Client("mistralai", "mistralai")
client = Mistral(api_key=kit.KEY, server_url=kit.ROOT)
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": kit.WEATHER_SCHEMA,
    },
}


def user(content: object) -> Any:
    return [{"role": "user", "content": content}]


def ask(model: str, messages: Any, **options: Any) -> Any:
    return client.chat.complete(model=model, messages=messages, **options)


@row.each
def whole(model: str) -> None:
    reply = ask(model, user("Reply with exactly: pong"))
    kit.has(reply.choices[0].message.content, "pong")
    assert reply.usage.total_tokens > 0


@row.each
def stream(model: str) -> None:
    text = ""
    for event in client.chat.stream(model=model, messages=user("Reply with exactly: pong")):
        text += "".join(choice.delta.content or "" for choice in event.data.choices)
    kit.has(text, "pong")


@row.each
def tools(model: str) -> None:
    messages = user(kit.WEATHER_ASKED)
    said = ask(model, messages, tools=[TOOL]).choices[0]
    call = said.message.tool_calls[0]
    found = call.function.arguments
    assert (json.loads(found) if isinstance(found, str) else found) == {"city": "Paris"}
    messages += [
        said.message,
        {"role": "tool", "tool_call_id": call.id, "name": "get_weather", "content": "sunny"},
    ]
    kit.has(ask(model, messages, tools=[TOOL]).choices[0].message.content, "sunny")


@row.each
def vision(model: str) -> None:
    picture = {"type": "image_url", "image_url": kit.PNG_URL}
    reply = ask(model, user([{"type": "text", "text": "What is this?"}, picture]))
    kit.has(reply.choices[0].message.content, "1 image")


@row.each
def structured(model: str) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
    reply = ask(model, user(kit.PERSON_TOLD), response_format=wanted)
    assert json.loads(reply.choices[0].message.content) == {"name": "Ada Lovelace", "age": 36}


@row.each
def turns(model: str) -> None:
    messages = user(kit.NAME_TOLD)
    messages += [ask(model, messages).choices[0].message, *user(kit.NAME_ASKED)]
    kit.has(ask(model, messages).choices[0].message.content, "Your name is Ada")


@row.once
def wrong_key() -> str:
    other = Mistral(api_key=kit.WRONG_KEY, server_url=kit.ROOT)
    call = lambda: other.chat.complete(model="gpt-4o", messages=user("hi"))  # noqa: E731
    return kit.raises(errors.SDKError, call, status=401)


@row.once
def unknown_model() -> str:
    return kit.raises(errors.SDKError, lambda: ask(kit.UNKNOWN, user("hi")), status=404)


kit.report(row)
