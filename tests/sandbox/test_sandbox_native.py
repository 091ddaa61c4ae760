"""The simulated providers of Responses, Bedrock, Cohere and Ollama, asked as the gateway asks the real ones."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from llm_router.domain.errors import UpstreamKind
from llm_router.domain.model import Capabilities
from llm_router.sandbox.server import RunningSandbox
from llm_router.wire import chat, events
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import fold

MODELS = {
    "openai_responses": "gpt-5-mini",
    "bedrock_converse": "arn:aws:bedrock:eu-west-1:1:inference-profile/anthropic.claude-sonnet-4-5",
    "cohere_chat": "command-a-reasoning-08-2025",
    "ollama_chat": "qwen3:8b",
}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8) + (2).to_bytes(4) + (3).to_bytes(4)).decode()
WEATHER = chat.Tool(
    name="get_weather",
    description="Get the weather of a city",
    parameters=chat.Raw(b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'),
)
every = pytest.mark.parametrize("dialect", MODELS)
both = pytest.mark.parametrize("streamed", [False, True])


def send(
    sandbox: RunningSandbox, dialect: str, request: chat.ChatRequest, key: str = "Bearer any"
) -> tuple[int, dict[str, str], bytes]:
    behind = DIALECTS[dialect]
    able = Capabilities(
        input_modalities=frozenset({"text", "image"}), tools=True, json_schema=True, reasoning=True
    )
    target = Target(provider="p", model=MODELS[dialect], dialect=dialect, capabilities=able)
    body, _ = behind.encode_request(request, target)
    base = sandbox.provider_base_url(dialect, provider="acme")
    url = urlsplit(behind.upstream_url(base, "chat", MODELS[dialect], request.stream))
    connection = http.client.HTTPConnection(url.netloc, timeout=20)
    try:
        headers = {"content-type": "application/json", **({"authorization": key} if key else {})}
        connection.request("POST", url.path, body, headers)
        reply = connection.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def ask(sandbox: RunningSandbox, dialect: str, *messages: chat.Message, **options: Any) -> events.Reply:
    request = chat.ChatRequest(
        **{"model": "m", "dialect": "openai_chat", "max_tokens": 4000, **options}, messages=messages
    )
    status, headers, body = send(sandbox, dialect, request)
    assert status == 200, body
    assert headers["x-llm-router-simulated"] == "true"
    if not request.stream:
        return DIALECTS[dialect].decode_reply(body)
    decoder = DIALECTS[dialect].stream_decoder()
    return fold([event for byte in body for event in decoder.feed(bytes([byte]))] + decoder.close())


def user(text: str, *more: chat.Part) -> chat.Message:
    return chat.Message(role="user", parts=(chat.Text(text=text), *more))


def text_of(reply: events.Reply) -> str:
    return "".join(part.text for part in reply.choices[0].parts if isinstance(part, chat.Text))


@every
def test_a_stream_says_the_same_as_the_whole_reply(sandbox: RunningSandbox, dialect: str) -> None:
    whole, streamed = (ask(sandbox, dialect, user("What is 2+2?"), stream=stream) for stream in (False, True))
    assert "2 + 2 = 4." in text_of(whole)
    assert text_of(streamed) == text_of(whole)
    assert whole.choices[0].finish is events.Finish.STOP
    assert streamed.usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.input_tokens > 0
    assert whole.usage.output_tokens > 0


@every
@both
def test_tools_in_two_turns(sandbox: RunningSandbox, dialect: str, streamed: bool) -> None:
    """With reasoning, which goes back with the result, and is checked where it is signed."""
    asked = user("Weather in Paris and Rome?")
    options: Any = {"tools": (WEATHER,), "stream": streamed, "max_tokens": 9000}
    options["reasoning"] = chat.Reasoning(enabled=True, budget_tokens=2048, summary="auto")
    said = ask(sandbox, dialect, asked, **options)
    calls = [part for part in said.choices[0].parts if isinstance(part, chat.ToolCall)]
    assert [json.loads(call.arguments) for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]
    assert said.choices[0].finish is events.Finish.TOOL_CALLS
    assert any(isinstance(part, chat.Thinking) and part.text for part in said.choices[0].parts)
    results = tuple(
        chat.ToolResult(call_id=c.id, name=c.name, content=(chat.Text(text="sunny"),)) for c in calls
    )
    turns = (
        chat.Message(role="assistant", parts=said.choices[0].parts),
        chat.Message(role="tool", parts=results),
    )
    assert text_of(ask(sandbox, dialect, asked, *turns, **options)).count("answered: sunny") == 2


@pytest.mark.parametrize("dialect", ["bedrock_converse", "openai_responses"])
def test_changed_reasoning_is_refused(sandbox: RunningSandbox, dialect: str) -> None:
    forged = chat.Thinking(text="Hm.", signature="Zm9yZ2Vk", id="rs_1", origin=dialect)
    call = chat.ToolCall(id="call_1", name="get_weather", arguments="{}")
    messages = (
        user("Hi"),
        chat.Message(role="assistant", parts=(forged, call)),
        chat.Message(role="tool", parts=(chat.ToolResult(call_id="call_1"),)),
    )
    thinks = chat.Reasoning(enabled=True, budget_tokens=1024)
    request = chat.ChatRequest(
        model="m", dialect=dialect, messages=messages, tools=(WEATHER,), reasoning=thinks, max_tokens=4000
    )
    status, headers, body = send(sandbox, dialect, request)
    assert status == 400
    assert DIALECTS[dialect].decode_error(status, headers, body).kind is UpstreamKind.INVALID_REQUEST


@every
def test_images_instructions_and_schemas(sandbox: RunningSandbox, dialect: str) -> None:
    picture = chat.Media(form="image", data=PNG, media_type="image/png")
    system = chat.Message(role="system", parts=(chat.Text(text="Be kind."),))
    said = text_of(ask(sandbox, dialect, system, user("What is it?", picture)))
    assert "1 image" in said
    assert "Be kind." in said
    schema = chat.Raw(
        b'{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"],"additionalProperties":false}'
    )
    wanted = chat.ResponseFormat(mode="json_schema", name="person", schema=schema, strict=True)
    assert json.loads(
        text_of(ask(sandbox, dialect, user("Ada is 36 years old."), response_format=wanted))
    ) == {"age": 36}


@every
def test_limits_and_stops(sandbox: RunningSandbox, dialect: str) -> None:
    cut = ask(
        sandbox,
        dialect,
        user("Tell me all"),
        max_tokens=20,
        reasoning=chat.Reasoning(enabled=False, effort="none"),
    )
    assert cut.choices[0].finish is events.Finish.LENGTH


@every
def test_errors_in_the_providers_own_form(sandbox: RunningSandbox, dialect: str) -> None:
    def error(text: str) -> Any:
        request = chat.ChatRequest(model="m", dialect="openai_chat", messages=(user(text),), max_tokens=4000)
        status, headers, body = send(sandbox, dialect, request)
        return DIALECTS[dialect].decode_error(status, headers, body)

    limited = error("[[error 429 after 7]] hi")
    assert limited.kind is UpstreamKind.RATE_LIMIT
    assert limited.retry_after_s == 7
    assert error("[[overloaded on acme]] hi").retryable
    assert error("[[too-long]] hi").kind is UpstreamKind.CONTEXT_LENGTH
    request = chat.ChatRequest(model="m", dialect="openai_chat", messages=(user("hi"),), max_tokens=9)
    if dialect != "ollama_chat":  # which asks nobody for a key
        status, headers, body = send(sandbox, dialect, request, key="")
        assert DIALECTS[dialect].decode_error(status, headers, body).kind is UpstreamKind.AUTHENTICATION


@every
@pytest.mark.parametrize("order", ["error 500 mid", "cut clean", "malformed", "overloaded mid"])
def test_a_broken_stream_is_seen_as_one(sandbox: RunningSandbox, dialect: str, order: str) -> None:
    request = chat.ChatRequest(
        model="m", dialect="openai_chat", messages=(user(f"[[{order}]] Hello"),), stream=True, max_tokens=4000
    )
    status, _, body = send(sandbox, dialect, request)
    assert status == 200
    decoder = DIALECTS[dialect].stream_decoder()
    last = [*decoder.feed(body), *decoder.close()][-1]
    passed_over = order == "malformed" and dialect != "bedrock_converse"  # one broken event is
    assert isinstance(last, events.Ended if passed_over else events.Failed)


@every
def test_without_usage(sandbox: RunningSandbox, dialect: str) -> None:
    for stream in (False, True):
        assert ask(sandbox, dialect, user("[[no-usage]] Hello"), stream=stream).usage is None
