"""The official OpenAI client over responses: the sandbox behind three dialects, every way to call it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from gateway_kit import Gateway, until
from pydantic import BaseModel

GPT, CLAUDE, GEMINI = "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
every_model = pytest.mark.parametrize("model", [GPT, CLAUDE, GEMINI])


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture(scope="module")
def client(sandbox: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=sandbox.url, api_key=sandbox.key, max_retries=0) as client:
        yield client


@every_model
def test_whole_and_streamed(client: openai.OpenAI, model: str) -> None:
    whole = client.responses.create(
        model=model, input="Reply with exactly: pong", metadata={"a": "b"}, user="u"
    )
    assert whole.output_text.endswith(" pong")
    assert (whole.status, whole.metadata, whole.store) == ("completed", {"a": "b"}, True)
    assert whole.usage is not None
    assert whole.usage.cost > 0  # type: ignore[attr-defined]
    with client.responses.stream(model=model, input="Reply with exactly: pong") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text.endswith(" pong")
    assert [event.sequence_number for event in events if hasattr(event, "sequence_number")][:3] == [0, 1, 2]
    assert client.responses.retrieve(final.id).output_text.endswith(" pong")


@every_model
def test_a_tool_call_goes_on_by_its_id(client: openai.OpenAI, model: str) -> None:
    first = client.responses.create(model=model, input="What is the weather in Paris?", tools=[WEATHER])
    calls = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"city": "Paris"}]
    result: Any = {"type": "function_call_output", "call_id": calls[0].call_id, "output": "sunny"}
    second = client.responses.create(
        model=model, previous_response_id=first.id, input=[result], tools=[WEATHER]
    )
    assert "sunny" in second.output_text
    items = client.responses.input_items.list(second.id, order="asc", limit=2)
    assert {item.type for item in items} >= {"message", "function_call", "function_call_output"}
    assert len([item for item in items if item.type == "message" and item.role == "user"]) == 1


@every_model
def test_a_conversation_is_remembered(client: openai.OpenAI, model: str) -> None:
    first = client.responses.create(model=model, input="My name is Ada.")
    with client.responses.stream(
        model=model, input="What is my name?", previous_response_id=first.id
    ) as stream:
        second = stream.get_final_response()
    assert "Your name is Ada" in second.output_text
    assert second.previous_response_id == first.id
    third = client.responses.create(model=GPT, input="What is my name?", previous_response_id=second.id)
    assert "Ada" in third.output_text


@every_model
def test_structured_output_is_parsed(client: openai.OpenAI, model: str) -> None:
    parsed = client.responses.parse(
        model=model, input="Ada Lovelace is 36 years old. Who is it?", text_format=Person
    )
    assert isinstance(parsed.output_parsed, Person)


@every_model
def test_background(client: openai.OpenAI, model: str) -> None:
    queued = client.responses.create(model=model, input="Reply with exactly: pong", background=True)
    assert queued.status == "queued"
    until(lambda: client.responses.retrieve(queued.id).status not in ("queued", "in_progress"))
    assert client.responses.retrieve(queued.id).output_text.endswith(" pong")
    assert client.responses.cancel(queued.id).status == "completed"
    events = client.responses.create(
        model=model, input="Reply with exactly: pong", background=True, stream=True
    )
    told = list(events)
    id_ = told[0].response.id  # type: ignore[union-attr]
    again = list(client.responses.retrieve(id_, stream=True, starting_after=3))
    assert [event.sequence_number for event in again] == [event.sequence_number for event in told][4:]
    assert again[-1].type == "response.completed"


def test_deletion_and_errors(client: openai.OpenAI) -> None:
    response = client.responses.create(model=GPT, input="hi")
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError, match=f"Response with id '{response.id}' not found"):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=GPT, input="hi", previous_response_id=response.id)
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError, match="template"):
        client.responses.create(model=GPT, prompt={"id": "pmpt_1"})
    with pytest.raises(openai.NotFoundError, match="does not compact"):
        client.responses.compact(model=GPT, input="hi")


def test_tokens_are_counted(client: openai.OpenAI) -> None:
    counted = client.responses.input_tokens.count(model=GPT, input="one two three")
    assert (counted.object, counted.input_tokens > 0) == ("response.input_tokens", True)
