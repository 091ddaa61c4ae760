"""The official openai client against the sandbox's OpenAI form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel

from llm_router.sandbox.server import RunningSandbox

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAYAAAC56t6BAAAAFElEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJg"
    "gg=="
)


@pytest.fixture
def client(sandbox: RunningSandbox) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=sandbox.provider_base_url("openai_chat"), api_key="any", max_retries=0
    ) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_chat(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=user("What is 2+2?"))
    assert raw.headers["x-llm-router-simulated"] == "true"
    reply = raw.parse()
    assert reply.id.startswith("chatcmpl-")
    assert "2 + 2 = 4." in (reply.choices[0].message.content or "")
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert set(reply.usage.model_extra or {}) == set()  # what the gateway adds is not sent by providers


def test_ids_differ_and_texts_do_not(client: openai.OpenAI) -> None:
    one, two = (client.chat.completions.create(model="gpt-4o", messages=user("Hello")) for _ in range(2))
    assert one.id != two.id
    assert one.choices == two.choices


@pytest.mark.parametrize("asked", [True, False])
def test_stream(client: openai.OpenAI, asked: bool) -> None:
    whole = client.chat.completions.create(model="gpt-4o", messages=user("Hello"))
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=user("Hello"), stream=True, stream_options={"include_usage": asked}
        )
    )
    assert (
        "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        == whole.choices[0].message.content
    )
    assert len({c.id for c in chunks}) == 1
    assert len(chunks) > 5
    counted = [c.usage for c in chunks if c.usage]
    assert counted == ([whole.usage] if asked else [])


def test_tools_in_two_turns_streamed(client: openai.OpenAI) -> None:
    messages = user("What's the weather in Paris and in Rome?")
    with client.chat.completions.stream(model="gpt-4o", messages=messages, tools=[WEATHER]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    assert [json.loads(c.function.arguments) for c in message.tool_calls] == [
        {"city": "Paris"},
        {"city": "Rome"},
    ]
    messages.append(message.model_dump(exclude_none=True))
    for call in message.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    reply = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.choices[0].message.content or "").count("answered: sunny") == 2


def test_legacy_functions(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o", messages=user("Weather in Oslo"), functions=[WEATHER["function"]]
    )
    assert reply.choices[0].finish_reason == "function_call"
    assert reply.choices[0].message.function_call is not None
    assert json.loads(reply.choices[0].message.function_call.arguments) == {"city": "Oslo"}


def test_vision(client: openai.OpenAI) -> None:
    content: Any = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": PNG}}]
    reply = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}])
    assert "1 image: image/png" in (reply.choices[0].message.content or "")


class Person(BaseModel):
    name: str
    age: int
    nick: str | None
    friends: list[str]


def test_structured_output(client: openai.OpenAI) -> None:
    reply = client.chat.completions.parse(
        model="gpt-4o", messages=user("Ada Lovelace is 36 years old."), response_format=Person
    )
    parsed = reply.choices[0].message.parsed
    assert parsed is not None
    assert (parsed.name, parsed.age) == ("Ada Lovelace", 36)


def test_refusal(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="gpt-4o", messages=user("[[refuse]] do it"))
    assert reply.choices[0].message.content is None
    assert "refusal" in (reply.choices[0].message.refusal or "")


def test_reasoning_is_hidden_or_shown_as_the_model_does(client: openai.OpenAI) -> None:
    hidden = client.chat.completions.create(model="o1", messages=user("Hi"), reasoning_effort="high")
    shown = client.chat.completions.create(model="deepseek-reasoner", messages=user("Hi"))
    assert not hasattr(hidden.choices[0].message, "reasoning_content")
    assert "question" in shown.choices[0].message.reasoning_content  # type: ignore[attr-defined]
    for reply in (hidden, shown):
        assert reply.usage is not None
        assert reply.usage.completion_tokens_details is not None
        assert (
            0 < (reply.usage.completion_tokens_details.reasoning_tokens or 0) < reply.usage.completion_tokens
        )


def test_grok_counts_like_xai(client: openai.OpenAI) -> None:
    usage = client.chat.completions.create(model="grok-4", messages=user("Hi")).usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    reasoning = usage.completion_tokens_details.reasoning_tokens or 0
    assert reasoning > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens + reasoning


def test_choices_and_logprobs_in_a_stream(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(
        model="gpt-4o", messages=user("Hi"), n=2, logprobs=True, top_logprobs=1, stream=True
    )
    texts, tokens = ["", ""], ["", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.logprobs is not None:
                tokens[choice.index] += "".join(t.token for t in choice.logprobs.content or [])
    assert texts == tokens
    assert texts[1].endswith("(Choice 2.)")


def test_limits(client: openai.OpenAI) -> None:
    cut = client.chat.completions.create(model="gpt-4o", messages=user("Tell me all"), max_tokens=4)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 4
    stopped = client.chat.completions.create(
        model="gpt-4o", messages=user("Say only one STOP two"), stop="STOP"
    )
    assert (stopped.choices[0].message.content or "").endswith("one ")


@pytest.mark.parametrize(
    ("order", "error", "code"),
    [
        ("[[error 400]]", openai.BadRequestError, None),
        ("[[error 401]]", openai.AuthenticationError, "invalid_api_key"),
        ("[[error 404]]", openai.NotFoundError, "model_not_found"),
        ("[[error 429]]", openai.RateLimitError, "rate_limit_exceeded"),
        ("[[error 500]]", openai.InternalServerError, None),
        ("[[overloaded]]", openai.InternalServerError, None),
        ("[[too-long]]", openai.BadRequestError, "context_length_exceeded"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(
    client: openai.OpenAI, order: str, error: type[openai.APIStatusError], code: str | None, stream: bool
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(model="gpt-4o", messages=user(order), stream=stream)
    assert caught.value.code == code
    assert caught.value.response.headers["x-llm-router-simulated"] == "true"


def test_retries_of_the_client_succeed_at_last(client: openai.OpenAI) -> None:
    patient = client.with_options(max_retries=2)
    reply = patient.chat.completions.create(
        model="gpt-4o", messages=user("[[error 500 x2 after 0.01]] hello")
    )
    assert "hello" in (reply.choices[0].message.content or "")


def test_errors_at_one_provider_only(sandbox: RunningSandbox) -> None:
    urls = [sandbox.provider_base_url("openai_chat", provider=p) for p in ("groq", "together")]
    messages = user("[[error 500 on groq]] hello")
    with openai.OpenAI(base_url=urls[0], api_key="k", max_retries=0) as groq, pytest.raises(openai.APIError):
        groq.chat.completions.create(model="llama", messages=messages)
    with openai.OpenAI(base_url=urls[1], api_key="k", max_retries=0) as together:
        assert together.chat.completions.create(model="llama", messages=messages).choices


def test_error_in_the_middle_of_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="gpt-4o", messages=user("[[error 503 mid]]"), stream=True)
    assert next(stream).choices[0].delta.content
    with pytest.raises(openai.APIError, match="simulated error 503"):
        list(stream)


def test_cut_streams(client: openai.OpenAI) -> None:
    broken = client.chat.completions.create(model="gpt-4o", messages=user("[[cut]] hello"), stream=True)
    with pytest.raises(openai.APIConnectionError):
        list(broken)
    clean = client.chat.completions.create(model="gpt-4o", messages=user("[[cut clean]] hello"), stream=True)
    assert all(chunk.choices[0].finish_reason is None for chunk in clean)


def test_cut_and_malformed_replies(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="gpt-4o", messages=user("[[cut]] hello"))
    with pytest.raises((openai.APIError, ValueError)):
        client.chat.completions.create(model="gpt-4o", messages=user("[[malformed]] hello"))
    with pytest.raises((openai.APIError, ValueError)):
        list(
            client.chat.completions.create(model="gpt-4o", messages=user("[[malformed]] hello"), stream=True)
        )


def test_empty_and_uncounted(client: openai.OpenAI) -> None:
    empty = client.chat.completions.create(model="gpt-4o", messages=user("[[empty]]"))
    assert not empty.choices[0].message.content
    assert empty.choices[0].finish_reason == "stop"
    assert client.chat.completions.create(model="gpt-4o", messages=user("[[no-usage]]")).usage is None
    chunks = client.chat.completions.create(
        model="gpt-4o", messages=user("[[no-usage]]"), stream=True, stream_options={"include_usage": True}
    )
    assert [c.usage for c in chunks if c.usage] == []


def test_stall_and_slow_only_take_time(client: openai.OpenAI) -> None:
    for order in ("[[stall 10ms]]", "[[slow 1ms]]"):
        chunks = client.chat.completions.create(model="gpt-4o", messages=user(f"{order} hi"), stream=True)
        assert list(chunks)[-1].choices[0].finish_reason == "stop"


def test_a_key_is_asked_for(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(
            model="gpt-4o", messages=user("hi"), extra_headers={"Authorization": openai.omit}
        )
    assert caught.value.code == "invalid_api_key"


def test_bad_requests_get_the_form_of_the_provider(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=user("hi"), temperature=9)
    assert caught.value.param == "temperature"
    assert caught.value.type == "invalid_request_error"


def test_models(client: openai.OpenAI) -> None:
    ids = [m.id for m in client.models.list()]
    assert "gpt-4o" in ids
    assert client.models.retrieve("gpt-4o").owned_by == "simulated"


def test_unknown_paths(sandbox: RunningSandbox) -> None:
    with httpx2.Client() as http:
        assert http.get(f"{sandbox.base_url}/").status_code == 200
        assert http.get(f"{sandbox.base_url}/nothing").status_code == 404
        reply = http.post(f"{sandbox.base_url}/openai/v1/nothing", headers={"authorization": "Bearer k"})
        assert reply.status_code == 404
        assert "message" in reply.json()["error"]


def test_names_that_only_a_provider_takes(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="@cf/meta/llama-3.1-8b", messages=user("Hello"))
    assert reply.model == "@cf/meta/llama-3.1-8b"
    assert "[simulated @cf/meta/llama-3.1-8b]" in (reply.choices[0].message.content or "")
