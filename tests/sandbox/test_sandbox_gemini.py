"""The official google-genai client against the sandbox's generateContent form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from llm_router.sandbox.server import RunningSandbox

MODEL = "gemini-2.5-flash"
WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            description="Current weather of a city",
            parameters=types.Schema(
                type=types.Type.OBJECT,
                properties={"city": types.Schema(type=types.Type.STRING)},
                required=["city"],
            ),
        )
    ]
)
MANUAL = types.AutomaticFunctionCallingConfig(disable=True)


@pytest.fixture
def client(sandbox: RunningSandbox) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=sandbox.provider_base_url("gemini_generate"))
    with genai.Client(api_key="any", http_options=options) as made:
        yield made


def config(**fields: Any) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(automatic_function_calling=MANUAL, **fields)


def test_answer(client: genai.Client) -> None:
    reply = client.models.generate_content(model=MODEL, contents="What is 2+2?")
    assert "2 + 2 = 4." in (reply.text or "")
    usage = reply.usage_metadata
    assert usage is not None
    assert usage.total_token_count == (
        (usage.prompt_token_count or 0)
        + (usage.candidates_token_count or 0)
        + (usage.thoughts_token_count or 0)
    )
    assert (usage.thoughts_token_count or 0) > 0
    assert reply.sdk_http_response is not None
    assert reply.sdk_http_response.headers is not None
    assert reply.sdk_http_response.headers["x-llm-router-simulated"] == "true"


def test_stream_equals_whole(client: genai.Client) -> None:
    whole = client.models.generate_content(model=MODEL, contents="Hello")
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="Hello"))
    assert "".join(c.text or "" for c in chunks) == whole.text
    assert chunks[-1].usage_metadata == whole.usage_metadata
    assert len(chunks) > 5


def test_thoughts_are_shown_on_request(client: genai.Client) -> None:
    asked = config(thinking_config=types.ThinkingConfig(include_thoughts=True))
    reply = client.models.generate_content(model=MODEL, contents="Hello", config=asked)
    assert reply.parts is not None
    assert [bool(p.thought) for p in reply.parts] == [True, False]
    off = config(thinking_config=types.ThinkingConfig(thinking_budget=0))
    silent = client.models.generate_content(model=MODEL, contents="Hello", config=off)
    assert silent.usage_metadata is not None
    assert not silent.usage_metadata.thoughts_token_count


@pytest.mark.parametrize("model", [MODEL, "gemini-3-pro-preview"])
def test_tools_in_two_turns(client: genai.Client, model: str) -> None:
    contents: Any = [types.Content(role="user", parts=[types.Part(text="The weather in Paris and in Rome?")])]
    first = client.models.generate_content(model=model, contents=contents, config=config(tools=[WEATHER]))
    calls = first.function_calls or []
    assert [(c.id, c.args) for c in calls] == [(None, {"city": "Paris"}), (None, {"city": "Rome"})]
    assert first.candidates is not None
    assert first.candidates[0].finish_reason == types.FinishReason.STOP
    assert [bool(p.thought_signature) for p in first.parts or []] == [True, False]
    contents.append(first.candidates[0].content)
    answers = [types.Part.from_function_response(name=c.name or "", response={"sky": "sunny"}) for c in calls]
    contents.append(types.Content(role="user", parts=answers))
    second = client.models.generate_content(model=model, contents=contents, config=config(tools=[WEATHER]))
    assert (second.text or "").count("sunny") == 2


@pytest.mark.parametrize(
    ("model", "harm", "refused"),
    [
        (MODEL, "changed", True),
        (MODEL, "missing", False),
        ("gemini-3-pro-preview", "missing", True),
        ("gemini-3-pro-preview", "stand-in", False),
    ],
)
def test_thought_signatures_are_checked(client: genai.Client, model: str, harm: str, refused: bool) -> None:
    contents: Any = [types.Content(role="user", parts=[types.Part(text="The weather in Paris?")])]
    first = client.models.generate_content(model=model, contents=contents, config=config(tools=[WEATHER]))
    assert first.candidates is not None
    content = first.candidates[0].content
    assert content is not None
    assert content.parts is not None
    signatures = {"changed": b"\x00" * 36, "missing": None, "stand-in": b"skip_thought_signature_validator"}
    content.parts[0].thought_signature = signatures[harm]
    answer = types.Part.from_function_response(name="get_weather", response={"sky": "sunny"})
    contents += [content, types.Content(role="user", parts=[answer])]
    if refused:
        with pytest.raises(errors.ClientError, match=r"[tT]hought.signature"):
            client.models.generate_content(model=model, contents=contents, config=config(tools=[WEATHER]))
    else:
        client.models.generate_content(model=model, contents=contents, config=config(tools=[WEATHER]))


class City(BaseModel):
    name: str
    people: int


def test_structured_output(client: genai.Client) -> None:
    asked = config(response_mime_type="application/json", response_schema=City)
    reply = client.models.generate_content(
        model=MODEL, contents="In Lisbon live 500000 people.", config=asked
    )
    assert reply.parsed == City(name="Lisbon", people=500000)


def test_vision(client: genai.Client) -> None:
    gif = types.Part.from_bytes(
        data=b"GIF89a\x01\x00\x02\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;",
        mime_type="image/gif",
    )
    reply = client.models.generate_content(model=MODEL, contents=[gif, "What is it?"])
    assert "1 image: image/gif" in (reply.text or "")
    assert "1x2 pixels" in (reply.text or "")


def test_finish_reasons(client: genai.Client) -> None:
    cut = client.models.generate_content(
        model="gemini-2.0-flash", contents="Hello", config=config(max_output_tokens=3)
    )
    refused = client.models.generate_content(model=MODEL, contents="[[refuse]]")
    assert cut.candidates is not None
    assert refused.candidates is not None
    assert cut.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert refused.candidates[0].finish_reason == types.FinishReason.SAFETY


@pytest.mark.parametrize(
    ("order", "status", "name"),
    [
        ("[[error 400]]", 400, "INVALID_ARGUMENT"),
        ("[[error 404]]", 404, "NOT_FOUND"),
        ("[[error 429 after 7]]", 429, "RESOURCE_EXHAUSTED"),
        ("[[error 500]]", 500, "INTERNAL"),
        ("[[overloaded]]", 503, "UNAVAILABLE"),
        ("[[too-long]]", 400, "INVALID_ARGUMENT"),
    ],
)
def test_errors(client: genai.Client, order: str, status: int, name: str) -> None:
    with pytest.raises(errors.APIError) as caught:
        client.models.generate_content(model=MODEL, contents=order)
    assert (caught.value.code, caught.value.status) == (status, name)
    if status == 429:
        details = caught.value.details["error"]["details"]
        assert details[-1]["retryDelay"] == "7s"


def test_the_plain_stand_in_is_taken(sandbox: RunningSandbox) -> None:
    url = f"{sandbox.provider_base_url('gemini_generate')}/v1beta/models/gemini-3-pro:generateContent"
    call: dict[str, Any] = {"functionCall": {"name": "get_weather", "args": {}}}
    answer = {"functionResponse": {"name": "get_weather", "response": {"sky": "sunny"}}}
    contents = [
        {"role": "user", "parts": [{"text": "The weather?"}]},
        {"role": "model", "parts": [call]},
        {"role": "user", "parts": [answer]},
    ]
    with httpx2.Client(headers={"x-goog-api-key": "k"}) as http:
        assert http.post(url, json={"contents": contents}).status_code == 400
        call["thoughtSignature"] = "skip_thought_signature_validator"
        assert http.post(url, json={"contents": contents}).status_code == 200


def test_json_array_streams(sandbox: RunningSandbox) -> None:
    url = f"{sandbox.provider_base_url('gemini_generate')}/v1beta/models/{MODEL}:streamGenerateContent"
    with httpx2.Client(headers={"x-goog-api-key": "k"}) as http:
        whole = http.post(url, json={"contents": [{"parts": [{"text": "Hello"}]}]}).json()
        failed = http.post(url, json={"contents": [{"parts": [{"text": "[[error 500 mid]] Hello"}]}]}).json()
    assert whole[-1]["usageMetadata"]["totalTokenCount"] > 0
    assert "cost" not in whole[-1]["usageMetadata"]
    assert "creditsRemaining" not in whole[-1]["usageMetadata"]
    assert failed[-1]["error"]["status"] == "INTERNAL"


def test_counting_and_models(client: genai.Client) -> None:
    counted = client.models.count_tokens(model=MODEL, contents="Hello there")
    real = client.models.generate_content(model=MODEL, contents="Hello there")
    assert real.usage_metadata is not None
    assert counted.total_tokens == real.usage_metadata.prompt_token_count
    assert f"models/{MODEL}" in [m.name for m in client.models.list()]
    assert client.models.get(model=MODEL).name == f"models/{MODEL}"


def test_keys(sandbox: RunningSandbox) -> None:
    url = f"{sandbox.provider_base_url('gemini_generate')}/v1beta/models/{MODEL}:generateContent"
    body = {"contents": [{"parts": [{"text": "Hello"}]}]}
    with httpx2.Client() as http:
        missing = http.post(url, json=body)
        assert (missing.status_code, missing.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
        assert http.post(f"{url}?key=k", json=body).status_code == 200
        assert http.post(url, json=body, headers={"authorization": "Bearer k"}).status_code == 200
