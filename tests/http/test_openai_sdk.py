"""The official OpenAI client against the gateway, with all three dialects behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
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


# Signatures come back as they were given: the sandbox refuses any that changed.


def _accumulated(client: openai.OpenAI, options: dict[str, Any]) -> dict[str, Any]:
    """The assistant message put together from a stream, as a careful client does it."""
    message: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": ""}
    details: list[dict[str, Any]] = []
    calls: dict[int, dict[str, Any]] = {}
    with client.chat.completions.create(stream=True, **options) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                delta = choice.delta.model_dump(exclude_none=True)
                message["content"] += delta.get("content", "")
                message["reasoning_content"] += delta.get("reasoning_content", "")
                details += delta.get("reasoning_details", [])
                for piece in delta.get("tool_calls", []):
                    known = calls.setdefault(piece["index"], {"function": {"name": "", "arguments": ""}})
                    function = piece.get("function", {})
                    known["function"]["name"] += function.get("name", "")
                    known["function"]["arguments"] += function.get("arguments", "")
                    known |= {n: v for n, v in piece.items() if n not in ("function", "index")}
    if details:
        message["reasoning_details"] = details
    if calls:
        message["tool_calls"] = list(calls.values())
    return message


@pytest.mark.parametrize("model", [CLAUDE, GEMINI, "google/gemini-3-pro-preview"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_signatures_survive_a_tool_loop(client: openai.OpenAI, model: str, streamed: bool) -> None:
    messages = user("What is the weather in Paris and in Rome?")
    options: Any = {"model": model, "tools": [WEATHER], "reasoning_effort": "low"}
    for _ in range(2):
        if streamed:
            turn = _accumulated(client, {**options, "messages": messages})
        else:
            reply = client.chat.completions.create(messages=messages, **options)
            turn = reply.choices[0].message.model_dump(exclude_none=True)
        messages.append(turn)
        if "tool_calls" not in turn:
            break
        assert turn.get("reasoning_details") or any("extra_content" in c for c in turn["tool_calls"])
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": "warm"} for call in turn["tool_calls"]
        ]
    assert "warm" in messages[-1]["content"]
    messages += user("Thank you. And tomorrow?")
    raw = client.chat.completions.with_raw_response.create(messages=messages, **options)
    assert raw.headers["x-llm-router-provider"] == ("anthropic" if model == CLAUDE else "google")


def test_a_changed_signature_is_noticed(client: openai.OpenAI, sandbox: Gateway) -> None:
    """The test above could not fail if this did not."""
    messages = user("What is the weather in Paris?")
    options: Any = {"model": CLAUDE, "tools": [WEATHER], "reasoning_effort": "low"}
    reply = client.chat.completions.create(messages=messages, **options)
    turn = reply.choices[0].message.model_dump(exclude_none=True)
    for detail in turn["reasoning_details"]:
        detail["signature"] = "A" + detail["signature"][1:]
    messages += [turn, {"role": "tool", "tool_call_id": turn["tool_calls"][0]["id"], "content": "warm"}]
    with pytest.raises(openai.BadRequestError, match="signature"):
        client.chat.completions.create(messages=messages, **options)


@pytest.mark.parametrize("first", [CLAUDE, GEMINI])
def test_a_conversation_may_change_its_model(client: openai.OpenAI, first: str) -> None:
    messages = user("What is the weather in Paris?")
    options: Any = {"tools": [WEATHER], "reasoning_effort": "low"}
    turn = client.chat.completions.create(model=first, messages=messages, **options).choices[0].message
    messages.append(turn.model_dump(exclude_none=True))
    messages.append({"role": "tool", "tool_call_id": turn.tool_calls[0].id, "content": "warm"})
    for model in MODELS:
        reply = client.chat.completions.create(model=model, messages=messages, **options)
        assert "warm" in reply.choices[0].message.content


# Errors.


def test_a_malformed_request_names_its_member(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=GPT, messages=user("hi"), temperature=3)
    assert caught.value.param == "temperature"
    assert caught.value.code == "invalid_request"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id.startswith("gen-")
    assert caught.value.body["request_id"] == caught.value.request_id


def test_a_wrong_key_is_an_authentication_error(sandbox: Gateway) -> None:
    with (
        openai.OpenAI(base_url=sandbox.url, api_key="sk-lr-wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model=GPT, messages=user("hi"))
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id


def test_an_unknown_model_has_its_neighbours_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="claude-sonet-4-5", messages=user("hi"))
    assert caught.value.code == "model_not_found"
    assert "Model 'claude-sonet-4-5' is not available" in caught.value.message
    assert "claude-sonnet-4-5" in caught.value.message


def test_no_credit_is_402(sandbox: Gateway) -> None:
    key = sandbox.new_key("poor", account="poor")
    with (
        openai.OpenAI(base_url=sandbox.url, api_key=key, max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model=GPT, messages=user("hi"), max_tokens=100)
    assert caught.value.status_code == 402
    assert caught.value.code == "insufficient_credits"
    assert {"needed", "available", "affordable_max_tokens"} <= set(caught.value.body)


UPSTREAM = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
}


@every_dialect
@pytest.mark.parametrize("status", UPSTREAM)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_provider_s_status_keeps_its_exception(
    client: openai.OpenAI, model: str, status: int, streamed: bool
) -> None:
    with pytest.raises(UPSTREAM[status]) as caught:
        client.chat.completions.create(model=model, messages=user(f"[[error {status}]]"), stream=streamed)
    assert type(caught.value) is UPSTREAM[status]
    assert "simulated error" in caught.value.message
    assert caught.value.request_id.startswith("gen-")
    if status == 401:  # the client's own key is fine, and the code says so
        assert caught.value.code == "upstream_authentication"


@every_dialect
def test_a_rate_limit_says_when_to_retry(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=model, messages=user("[[error 429 after 7s]]"))
    assert caught.value.response.headers["retry-after"] == "7"


def _broken(client: openai.OpenAI, model: str, text: str) -> tuple[list[Any], openai.APIError | None]:
    """The choices of a stream, and the exception that ended it."""
    choices: list[Any] = []
    with client.chat.completions.create(model=model, messages=user(text), stream=True) as stream:
        try:
            for chunk in stream:
                choices += chunk.choices
        except openai.APIError as error:
            return choices, error
    return choices, None


@every_dialect
def test_an_error_within_a_stream_is_raised(client: openai.OpenAI, model: str) -> None:
    choices, error = _broken(client, model, "[[error 500 mid]] hello")
    assert choices[0].delta.role == "assistant"
    assert "simulated error" in str(error)


@every_dialect
@pytest.mark.parametrize("cut", ["[[cut]]", "[[cut clean]]"])
def test_a_cut_stream_is_an_error_and_no_whole_answer(client: openai.OpenAI, model: str, cut: str) -> None:
    choices, error = _broken(client, model, f"{cut} hi")
    assert error is not None
    assert {choice.finish_reason for choice in choices} == {None}


def test_the_client_s_own_retries_are_answered(sandbox: Gateway) -> None:
    """All providers of the model fail for the first request; the second is answered."""
    with openai.OpenAI(base_url=sandbox.url, api_key=sandbox.key, max_retries=2) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="claude-3-7-sonnet", messages=user("[[error 503 x1 after 0.01s]] retry please")
        )
    assert raw.status_code == 200
    assert raw.retries_taken == 1


def test_another_provider_answers_unseen(client: openai.OpenAI, sandbox: Gateway) -> None:
    create = client.chat.completions.with_raw_response.create
    first = create(model="llama-3.1-8b", messages=user("hi")).headers["x-llm-router-provider"]
    raw = create(model="llama-3.1-8b", messages=user(f"[[error 503 on {first}]] hi"))
    record = sandbox.generation(raw.headers["x-generation-id"])
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["failed", "delivered"]
    assert record["attempts"][0]["provider"] == first
    assert raw.headers["x-llm-router-provider"] == record["provider"] != first
    assert raw.parse().choices[0].message.content


# Models and records.


def test_models_are_listed_and_described(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert len(models) > 70
    assert {"gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-pro", "grok-4"} <= set(models)
    one = client.models.retrieve("claude-sonnet-4-5")
    assert (one.id, one.object, one.owned_by) == ("claude-sonnet-4-5", "model", models[one.id].owned_by)
    assert client.models.retrieve("anthropic/claude-sonnet-4-5").id == "claude-sonnet-4-5"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


@every_dialect
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_record_is_found_by_header_and_by_reply_id(
    client: openai.OpenAI, sandbox: Gateway, model: str, streamed: bool
) -> None:
    if streamed:
        with client.chat.completions.with_streaming_response.create(
            model=model, messages=user("hi"), stream=True
        ) as raw:
            header = raw.headers["x-generation-id"]
            reply_id = [chunk.id for chunk in raw.parse()][-1]
    else:
        whole = client.chat.completions.with_raw_response.create(model=model, messages=user("hi"))
        header, reply_id = whole.headers["x-generation-id"], whole.parse().id
    by_header, by_reply = sandbox.generation(header), sandbox.generation(reply_id)
    assert by_header == by_reply
    assert by_header["id"] == header
    assert by_header["reply_id"] == reply_id
    assert by_header["stream"] is streamed
    assert by_header["cost_pusd"] == sum(line["amount_pusd"] for line in by_header["cost"])


def test_a_foreign_record_is_not_found(client: openai.OpenAI, sandbox: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(model=GPT, messages=user("hi"))
    foreign = sandbox.new_key("foreign", account="foreign")
    answers = [
        sandbox.get(f"/v1/generations/{id_}", key=foreign)
        for id_ in (raw.headers["x-generation-id"], raw.parse().id, "gen-nothing")
    ]
    assert [answer.status for answer in answers] == [404] * 3
    assert len({json.dumps(dict(answer.error, request_id="")) for answer in answers}) == 1


def test_costs_add_up_to_the_last_picodollar(sandbox: Gateway) -> None:
    """Over replies of all dialects, whole and streamed, some with errors between them."""
    sandbox.command("credits.add", amount="1.000000000001", account="exact")
    key = sandbox.new_key("exact", account="exact")
    left = sandbox.credits("exact")
    for number in range(60):
        model = list(MODELS)[number % 3]
        answer = sandbox.ask(number % 2 == 1, model, f"number {number} [[long {20 + number * 7}]]", key=key)
        usage = answer.usage if number % 2 else answer.json["usage"]
        cost, now = Decimal(usage["cost"]), Decimal(usage["credits_remaining"])
        assert cost > 0
        assert now == left - cost
        record = sandbox.generation(answer.id, key=key)
        assert Decimal(record["cost_pusd"]) == cost * 10**12
        left = now
        if number % 10 == 0:
            assert sandbox.chat(model, "[[error 500]]", key=key).status == 500
    assert sandbox.credits("exact") == left
