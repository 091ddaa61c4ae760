"""The official anthropic client against the sandbox's messages form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest

from llm_router.sandbox.server import RunningSandbox

MODEL = "claude-of-the-sandbox"  # the client warns of the age of names that it knows
WEATHER: Any = {
    "name": "get_weather",
    "description": "Current weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture
def client(sandbox: RunningSandbox) -> Iterator[anthropic.Anthropic]:
    url = sandbox.provider_base_url("anthropic_messages")
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def text_of(message: anthropic.types.Message) -> str:
    return "".join(b.text for b in message.content if b.type == "text")


def test_message(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=100, messages=user("What is 3*4?"))
    assert raw.headers["x-llm-router-simulated"] == "true"
    assert raw.headers["request-id"].startswith("req_")
    message = raw.parse()
    assert message.id.startswith("msg_")
    assert "3 * 4 = 12." in text_of(message)
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0
    assert "cost" not in (message.usage.model_extra or {})


def test_stream_equals_whole(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(model=MODEL, max_tokens=100, system="Be short.", messages=user("Hello"))
    with client.messages.stream(
        model=MODEL, max_tokens=100, system="Be short.", messages=user("Hello")
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert text_of(final) == text_of(whole)
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens == whole.usage.input_tokens
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_and_tools_in_two_turns(client: anthropic.Anthropic, stream: bool) -> None:
    asked: Any = {"model": MODEL, "max_tokens": 3000, "thinking": THINKING, "tools": [WEATHER]}
    messages = user("What's the weather in Paris and in Rome?")
    if stream:
        with client.messages.stream(messages=messages, **asked) as events:
            first = events.get_final_message()
    else:
        first = client.messages.create(messages=messages, **asked)
    assert first.stop_reason == "tool_use"
    assert [b.type for b in first.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert first.usage.output_tokens_details is not None
    assert first.usage.output_tokens_details.thinking_tokens > 0
    calls = [b for b in first.content if b.type == "tool_use"]
    assert [c.input for c in calls] == [{"city": "Paris"}, {"city": "Rome"}]
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": "sunny"} for c in calls]
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second = client.messages.create(messages=messages, **asked)
    assert text_of(second).count("answered: sunny") == 2


@pytest.mark.parametrize("harm", ["text", "signature", "missing", "redacted"])
def test_changed_thinking_is_refused(client: anthropic.Anthropic, harm: str) -> None:
    asked: Any = {"model": MODEL, "max_tokens": 3000, "thinking": THINKING, "tools": [WEATHER]}
    order = "[[redacted]] " if harm == "redacted" else ""
    messages = user(f"{order}What's the weather in Paris?")
    first = client.messages.create(messages=messages, **asked)
    content = [b.model_dump(exclude_none=True) for b in first.content]
    if harm == "text":
        content[0]["thinking"] += " "
    elif harm == "signature":
        content[0]["signature"] = "A" + content[0]["signature"][1:]
    elif harm == "redacted":
        assert content[0]["type"] == "redacted_thinking"
        content[0]["data"] = "AAAA"
    else:
        del content[0]
    call = content[-1]
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "sunny"}]
    messages += [{"role": "assistant", "content": content}, {"role": "user", "content": results}]
    with pytest.raises(anthropic.BadRequestError, match="thinking"):
        client.messages.create(messages=messages, **asked)


def test_omitted_thinking_keeps_its_signature(client: anthropic.Anthropic) -> None:
    thinking: Any = {"type": "adaptive", "display": "omitted"}
    first = client.messages.create(model=MODEL, max_tokens=3000, thinking=thinking, messages=user("Hi"))
    block = first.content[0]
    assert block.type == "thinking"
    assert (block.thinking, bool(block.signature)) == ("", True)
    messages = [*user("Hi"), {"role": "assistant", "content": first.content}, *user("And now?")]
    assert client.messages.create(model=MODEL, max_tokens=3000, thinking=thinking, messages=messages).content


def test_vision(client: anthropic.Anthropic) -> None:
    source = {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs="}
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    message = client.messages.create(
        model=MODEL, max_tokens=200, messages=[{"role": "user", "content": content}]
    )
    assert "1 image: image/gif" in text_of(message)
    assert "1x1 pixels" in text_of(message)


def test_prompt_cache(client: anthropic.Anthropic) -> None:
    system: Any = [
        {"type": "text", "text": "rule of the test " * 600, "cache_control": {"type": "ephemeral"}}
    ]
    one, two = (
        client.messages.create(model=MODEL, max_tokens=50, system=system, messages=user("Hi"))
        for _ in range(2)
    )
    assert (one.usage.cache_creation_input_tokens or 0) > 1024
    assert two.usage.cache_read_input_tokens == one.usage.cache_creation_input_tokens
    assert two.usage.cache_creation_input_tokens == 0


def test_structured_output(client: anthropic.Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    message = client.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=user("I live in Lisbon."),
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert text_of(message) == '{"city":"Lisbon"}'


def test_stop_reasons(client: anthropic.Anthropic) -> None:
    cut = client.messages.create(model=MODEL, max_tokens=3, messages=user("Hello"))
    assert cut.stop_reason == "max_tokens"
    stopped = client.messages.create(
        model=MODEL, max_tokens=99, messages=user("Say only one STOP two"), stop_sequences=["STOP"]
    )
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "STOP")
    refused = client.messages.create(model=MODEL, max_tokens=99, messages=user("[[refuse]]"))
    assert refused.stop_reason == "refusal"
    empty = client.messages.create(model=MODEL, max_tokens=99, messages=user("[[empty]]"))
    assert (empty.content, empty.stop_reason) == ([], "end_turn")


@pytest.mark.parametrize(
    ("order", "status", "kind"),
    [
        ("[[error 400]]", 400, "invalid_request_error"),
        ("[[error 402]]", 402, "billing_error"),
        ("[[error 413]]", 413, "request_too_large"),
        ("[[error 429]]", 429, "rate_limit_error"),
        ("[[error 500]]", 500, "api_error"),
        ("[[overloaded]]", 529, "overloaded_error"),
        ("[[too-long]]", 400, "invalid_request_error"),
    ],
)
def test_errors(client: anthropic.Anthropic, order: str, status: int, kind: str) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model=MODEL, max_tokens=99, messages=user(order))
    body: Any = caught.value.body
    assert caught.value.status_code == status
    assert body["error"]["type"] == kind
    assert body["request_id"] == caught.value.response.headers["request-id"]
    assert ("retry-after" in caught.value.response.headers) == (status == 429)


def test_error_in_the_middle_of_a_stream(client: anthropic.Anthropic) -> None:
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(model=MODEL, max_tokens=99, messages=user("[[overloaded mid]]")) as stream,
    ):
        list(stream)
    body: Any = caught.value.body
    assert body["error"]["type"] == "overloaded_error"


def test_cut_stream(client: anthropic.Anthropic) -> None:
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        client.messages.stream(model=MODEL, max_tokens=99, messages=user("[[cut]] hello")) as stream,
    ):
        list(stream)


def test_counting(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=user("Hello there"), tools=[WEATHER])
    real = client.messages.create(model=MODEL, max_tokens=9, messages=user("Hello there"), tools=[WEATHER])
    assert counted.input_tokens == real.usage.input_tokens


def test_models_and_keys(sandbox: RunningSandbox, client: anthropic.Anthropic) -> None:
    assert "claude-haiku-4-5" in [m.id for m in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL
    url = sandbox.provider_base_url("anthropic_messages")
    with httpx2.Client() as http:
        reply = http.post(f"{url}/v1/messages", json={"model": MODEL})
    assert reply.status_code == 401
    assert reply.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_tokens": 1024}, "max_tokens"),
        ({"tools": [WEATHER], "tool_choice": {"type": "any"}}, "tool_choice"),
        ({"extra_body": {"temperature": 0.5}}, "temperature"),
        ({"extra_body": {"top_k": 5}}, "top_k"),
    ],
)
def test_what_goes_badly_with_thinking(client: anthropic.Anthropic, fields: Any, said: str) -> None:
    asked: Any = {"model": MODEL, "max_tokens": 3000, "thinking": THINKING, "messages": user("hi"), **fields}
    with pytest.raises(anthropic.BadRequestError, match=said):
        client.messages.create(**asked)
