"""The official OpenAI client against the gateway, with all three dialects behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from gateway_kit import Gateway
from pydantic import BaseModel

GPT, CLAUDE, GEMINI = "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash"
MODELS = {GPT: "openai_chat", CLAUDE: "anthropic_messages", GEMINI: "gemini_generate"}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    "DwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}

every_dialect = pytest.mark.parametrize("model", MODELS)


def user(text: object) -> Any:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def client(sandbox: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=sandbox.url, api_key=sandbox.key, max_retries=0) as client:
        yield client


# Plain chat.


@every_dialect
def test_chat_answers_with_usage_and_cost(client: openai.OpenAI, model: str) -> None:
    reply = client.chat.completions.create(model=model, messages=user("Say hello."))
    name = model.split("/")[1]
    assert reply.choices[0].message.content.startswith(f"[simulated {name}] You wrote: “Say hello.”")
    assert reply.choices[0].finish_reason == "stop"
    assert reply.object == "chat.completion"
    assert reply.id.startswith("chatcmpl-")
    assert reply.model == name
    usage = reply.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert usage.model_extra["cost"] > 0
    assert usage.model_extra["credits_remaining"] > 0


@every_dialect
def test_each_model_is_asked_in_its_own_dialect(client: openai.OpenAI, sandbox: Gateway, model: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, messages=user("hi"))
    provider = {GPT: "openai", CLAUDE: "anthropic", GEMINI: "google"}[model]
    assert raw.headers["x-llm-router-provider"] == provider
    assert raw.headers["x-llm-router-simulated"] == "true"
    assert raw.headers["x-llm-router-model"] == model.split("/")[1]
    assert raw.headers["x-request-id"] == raw.headers["x-generation-id"]
    assert sandbox.generation(raw.headers["x-generation-id"])["attempts"][0]["provider"] == provider


@every_dialect
def test_a_stream_says_the_same_as_the_whole_reply(client: openai.OpenAI, model: str) -> None:
    messages = user("Tell me a story of three words.")
    whole = client.chat.completions.create(model=model, messages=messages)
    text, finish, chunks = "", [], []
    with client.chat.completions.create(
        model=model, messages=messages, stream=True, stream_options={"include_usage": True}
    ) as stream:
        for chunk in stream:
            chunks.append(chunk)
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish += [choice.finish_reason] if choice.finish_reason else []
    assert text == whole.choices[0].message.content
    assert finish == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk for chunk in chunks if chunk.usage] == chunks[-1:]
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.model_extra["cost"] == whole.usage.model_extra["cost"]


def test_a_stream_without_include_usage_has_no_usage_chunk(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model=GPT, messages=user("hi"), stream=True, stream_options={"include_usage": False}
    ) as stream:
        assert all(chunk.choices and chunk.usage is None for chunk in stream)


@every_dialect
def test_the_stream_helper_accumulates(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.stream(
        model=model,
        messages=user("Weather in Paris?"),
        tools=[WEATHER],
        stream_options={"include_usage": True},
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    call = final.choices[0].message.tool_calls[0]
    assert call.function.parsed_arguments == {"city": "Paris"}
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.usage.total_tokens > 0


def test_many_at_once_through_the_async_client(sandbox: Gateway) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=sandbox.url, api_key=sandbox.key, max_retries=0) as client:

            async def one(number: int) -> None:
                model = list(MODELS)[number % 3]
                messages = user(f"Reply with exactly: word{number}")
                if number % 2:
                    stream = await client.chat.completions.create(model=model, messages=messages, stream=True)
                    text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
                else:
                    reply = await client.chat.completions.create(model=model, messages=messages)
                    text = reply.choices[0].message.content
                assert text.endswith(f"word{number}"), text

            await asyncio.gather(*(one(number) for number in range(30)))

    asyncio.run(main())


# What can be asked for.


class Item(BaseModel):
    name: str
    count: int


class Order(BaseModel):
    kind: Literal["sale", "return"]
    items: list[Item]
    note: str | None


@every_dialect
def test_structured_output_is_parsed(client: openai.OpenAI, model: str) -> None:
    reply = client.chat.completions.parse(
        model=model, messages=user("An order of 3 apples"), response_format=Order
    )
    parsed = reply.choices[0].message.parsed
    assert isinstance(parsed, Order)
    with client.chat.completions.stream(
        model=model, messages=user("An order of 3 apples"), response_format=Order
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed


@pytest.mark.parametrize("model", [GPT, GEMINI])
def test_json_mode(client: openai.OpenAI, model: str) -> None:
    reply = client.chat.completions.create(
        model=model, messages=user("Answer in JSON"), response_format={"type": "json_object"}
    )
    assert json.loads(reply.choices[0].message.content)["simulated"] is True


@every_dialect
def test_two_turns_with_parallel_tool_calls(client: openai.OpenAI, model: str) -> None:
    messages = user("What is the weather in Paris and in Rome?")
    first = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert [json.loads(c.function.arguments)["city"] for c in message.tool_calls] == ["Paris", "Rome"]
    assert len({call.id for call in message.tool_calls}) == 2
    messages.append(message.model_dump(exclude_none=True))
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": f"{number + 20} degrees"}
        for number, call in enumerate(message.tool_calls)
    ]
    second = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    text = second.choices[0].message.content
    assert "20 degrees" in text
    assert "21 degrees" in text
    assert second.choices[0].finish_reason == "stop"


@every_dialect
def test_parallel_calls_in_a_stream_keep_their_indices(client: openai.OpenAI, model: str) -> None:
    calls: dict[int, dict[str, str]] = {}
    with client.chat.completions.create(
        model=model, messages=user("What is the weather in Paris and in Rome?"), tools=[WEATHER], stream=True
    ) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                for call in choice.delta.tool_calls or ():
                    known = calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                    known["id"] += call.id or ""
                    known["name"] += call.function.name or ""
                    known["arguments"] += call.function.arguments or ""
    assert [json.loads(c["arguments"]) for c in calls.values()] == [{"city": "Paris"}, {"city": "Rome"}]
    assert {c["name"] for c in calls.values()} == {"get_weather"}
    assert len({c["id"] for c in calls.values()}) == 2


@every_dialect
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_legacy_functions(client: openai.OpenAI, model: str, streamed: bool) -> None:
    function = WEATHER["function"]
    options: Any = {"model": model, "functions": [function], "function_call": {"name": "get_weather"}}
    messages = user("What is the weather in Paris?")
    if streamed:
        name = arguments = finish = ""
        with client.chat.completions.create(messages=messages, stream=True, **options) as stream:
            for chunk in stream:
                for choice in chunk.choices:
                    assert choice.delta.tool_calls is None
                    called = choice.delta.function_call
                    name += (called.name or "") if called else ""
                    arguments += (called.arguments or "") if called else ""
                    finish += choice.finish_reason or ""
    else:
        choice = client.chat.completions.create(messages=messages, **options).choices[0]
        assert choice.message.tool_calls is None
        name, arguments = choice.message.function_call.name, choice.message.function_call.arguments
        finish = choice.finish_reason
    assert (name, json.loads(arguments), finish) == ("get_weather", {"city": "Paris"}, "function_call")
    called = {"name": name, "arguments": arguments}
    messages += [
        {"role": "assistant", "content": None, "function_call": called},
        {"role": "function", "name": "get_weather", "content": "warm"},
    ]
    after = client.chat.completions.create(model=model, messages=messages, functions=[function])
    assert "warm" in after.choices[0].message.content


@every_dialect
def test_vision_by_data_url(client: openai.OpenAI, model: str) -> None:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    reply = client.chat.completions.create(model=model, messages=user(parts))
    assert "1 image: image/png, 70 bytes, 1x1 pixels" in reply.choices[0].message.content


def test_an_image_url_goes_to_providers_that_fetch_it(client: openai.OpenAI) -> None:
    parts = [{"type": "image_url", "image_url": {"url": "https://images.example/cat.png"}}]
    for model in (GPT, CLAUDE):
        reply = client.chat.completions.create(model=model, messages=user(parts))
        assert "image by URL https://images.example/cat.png" in reply.choices[0].message.content


@every_dialect
def test_stop_sequences(client: openai.OpenAI, model: str) -> None:
    reply = client.chat.completions.create(
        model=model, messages=user("Reply with exactly: one two three"), stop=["two"]
    )
    assert reply.choices[0].message.content.rstrip().endswith("one")
    assert reply.choices[0].finish_reason == "stop"


@every_dialect
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_output_limit_holds(client: openai.OpenAI, model: str, name: str) -> None:
    limit: Any = {name: 60}
    reply = client.chat.completions.create(model=model, messages=user("[[long 500]] Go on"), **limit)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens <= 60


@pytest.mark.parametrize("model", [GPT, GEMINI])
def test_several_choices(client: openai.OpenAI, model: str) -> None:
    reply = client.chat.completions.create(model=model, messages=user("hi"), n=2)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert len({choice.message.content for choice in reply.choices}) == 2


def test_what_a_model_cannot_do_is_a_declared_loss(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=CLAUDE, messages=user("hi"), n=2, seed=1)
    assert len(raw.parse().choices) == 1
    assert "n" in raw.headers["x-llm-router-losses"]
    assert "seed" in raw.headers["x-llm-router-losses"]


@pytest.mark.parametrize("model", [GPT, GEMINI])
def test_logprobs(client: openai.OpenAI, model: str) -> None:
    reply = client.chat.completions.create(model=model, messages=user("hi"), logprobs=True, top_logprobs=2)
    tokens = reply.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == reply.choices[0].message.content
    assert all(len(token.top_logprobs) == 2 for token in tokens)


@pytest.mark.parametrize("model", [CLAUDE, GEMINI])
def test_reasoning_text_and_tokens(client: openai.OpenAI, model: str) -> None:
    reply = client.chat.completions.create(model=model, messages=user("Why?"), reasoning_effort="high")
    message = reply.choices[0].message
    assert message.model_extra["reasoning_content"]
    assert reply.usage.completion_tokens_details.reasoning_tokens > 0
    assert reply.usage.completion_tokens > reply.usage.completion_tokens_details.reasoning_tokens
    thought = ""
    with client.chat.completions.create(
        model=model, messages=user("Why?"), reasoning_effort="high", stream=True
    ) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                thought += (choice.delta.model_extra or {}).get("reasoning_content") or ""
    assert thought == message.model_extra["reasoning_content"]


def test_members_unknown_to_the_gateway_pass_and_are_declared(client: openai.OpenAI) -> None:
    more = {"frobnicate": {"deep": [1]}}
    plain = client.chat.completions.with_raw_response.create(model=GPT, messages=user("hi"), extra_body=more)
    assert "x-llm-router-losses" not in plain.headers
    bridged = client.chat.completions.with_raw_response.create(
        model=CLAUDE, messages=user("hi"), extra_body=more
    )
    assert "frobnicate" in bridged.headers["x-llm-router-losses"]
