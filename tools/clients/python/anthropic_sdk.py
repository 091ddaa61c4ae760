"""The official Anthropic client."""

from __future__ import annotations

import os
from typing import Any

import anthropic
import kit
from pydantic import BaseModel

row = kit.Client("anthropic", "anthropic")
os.environ["ANTHROPIC_BASE_URL"] = kit.ROOT
os.environ["ANTHROPIC_API_KEY"] = kit.KEY
client = anthropic.Anthropic(max_retries=0)
TOOL: Any = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "input_schema": kit.WEATHER_SCHEMA,
}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}


class Person(BaseModel):
    name: str
    age: int


def user(content: object) -> Any:
    return [{"role": "user", "content": content}]


def create(model: str, messages: Any, **options: Any) -> Any:
    return client.messages.create(model=model, messages=messages, max_tokens=4000, **options)


def text_of(reply: Any) -> str:
    return "".join(block.text for block in reply.content if block.type == "text")


@row.each
def whole(model: str) -> None:
    reply = create(model, user("Reply with exactly: pong"), system="Be brief.")
    kit.has(text_of(reply), "pong")
    assert reply.stop_reason == "end_turn"
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0


@row.each
def stream(model: str) -> None:
    with client.messages.stream(
        model=model, max_tokens=4000, messages=user("Reply with exactly: pong")
    ) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    kit.has(text, "pong")
    assert text_of(final) == text
    assert final.usage.output_tokens > 0


@row.each
def tools(model: str) -> None:
    messages = user(kit.WEATHER_ASKED)
    said = create(model, messages, tools=[TOOL])
    assert said.stop_reason == "tool_use"
    call = next(block for block in said.content if block.type == "tool_use")
    assert call.input == {"city": "Paris"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    messages += [{"role": "assistant", "content": said.content}, *user([result])]
    kit.has(text_of(create(model, messages, tools=[TOOL])), "sunny")


@row.each
def tools_streamed(model: str) -> None:
    with client.messages.stream(
        model=model, max_tokens=4000, messages=user("The weather in Paris and in Rome?"), tools=[TOOL]
    ) as events:
        final = events.get_final_message()
    found = [block.input for block in final.content if block.type == "tool_use"]
    assert found == [{"city": "Paris"}, {"city": "Rome"}], found


@row.each
def vision(model: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": kit.PNG_BASE64}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    kit.has(text_of(create(model, user(content))), "1 image")


@row.each
def structured(model: str) -> None:
    reply = client.messages.parse(
        model=model, max_tokens=4000, messages=user(kit.PERSON_TOLD), output_format=Person
    )
    assert reply.parsed_output == Person(name="Ada Lovelace", age=36)


@row.each
def turns(model: str) -> None:
    messages = user(kit.NAME_TOLD)
    said = create(model, messages)
    messages += [{"role": "assistant", "content": said.content}, *user(kit.NAME_ASKED)]
    kit.has(text_of(create(model, messages)), "Your name is Ada")


@row.each
def reasoning(model: str) -> str:
    """Reasoning with a tool call: what was thought goes back with the result."""
    messages = user(kit.WEATHER_ASKED)
    said = create(model, messages, tools=[TOOL], thinking=THINKING)
    kinds = [block.type for block in said.content]
    call = next(block for block in said.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    messages += [{"role": "assistant", "content": said.content}, *user([result])]
    kit.has(text_of(create(model, messages, tools=[TOOL], thinking=THINKING)), "sunny")
    return " ".join(kinds)


@row.each
def retry(model: str) -> None:
    asked = user(kit.ordered_retry(row.name, model))
    again = client.with_options(max_retries=2).messages
    kit.has(text_of(kit.waited(lambda: again.create(model=model, max_tokens=900, messages=asked))), "pong")


@row.each
def count(model: str) -> None:
    assert client.messages.count_tokens(model=model, messages=user("Hello there")).input_tokens > 0


@row.once
def wrong_key() -> str:
    other = client.with_options(api_key=kit.WRONG_KEY)
    return kit.raises(
        anthropic.AuthenticationError,
        lambda: other.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=user("hi")),
    )


@row.once
def unknown_model() -> str:
    return kit.raises(anthropic.NotFoundError, lambda: create(kit.UNKNOWN, user("hi")))


@row.once
def bad_request() -> str:
    return kit.raises(
        anthropic.BadRequestError,
        lambda: create("claude-sonnet-4-5", user("hi"), extra_body={"temperature": 7}),
    )


@row.once
def models() -> str:
    listed = list(client.models.list(limit=100))
    assert client.models.retrieve(listed[0].id).id == listed[0].id
    return f"{len(listed)} models"


kit.report(row)
