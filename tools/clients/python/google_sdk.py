"""The official Google Gen AI client."""

from __future__ import annotations

import os
from typing import Any

import kit
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

row = kit.Client("google-genai", "google-genai")
os.environ["GOOGLE_GEMINI_BASE_URL"] = kit.ROOT
os.environ["GEMINI_API_KEY"] = kit.KEY
client = genai.Client()
Config = types.GenerateContentConfig
TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            description="Get the weather of a city",
            parameters_json_schema=kit.WEATHER_SCHEMA,
        )
    ]
)


class Person(BaseModel):
    name: str
    age: int


def ask(model: str, contents: Any, **options: Any) -> Any:
    return client.models.generate_content(model=model, contents=contents, config=Config(**options))


@row.each
def whole(model: str) -> None:
    reply = ask(model, "Reply with exactly: pong", system_instruction="Be brief.")
    kit.has(reply.text, "pong")
    assert reply.usage_metadata.total_token_count > 0
    assert reply.candidates[0].finish_reason == types.FinishReason.STOP


@row.each
def stream(model: str) -> None:
    chunks = list(client.models.generate_content_stream(model=model, contents="Reply with exactly: pong"))
    kit.has("".join(chunk.text or "" for chunk in chunks), "pong")
    assert chunks[-1].usage_metadata.total_token_count > 0


@row.each
def tools(model: str) -> None:
    asked = types.UserContent(kit.WEATHER_ASKED)
    said = ask(model, [asked], tools=[TOOL])
    call = said.function_calls[0]
    assert call.args == {"city": "Paris"}, call
    part = types.Part.from_function_response(name=call.name, response={"result": "sunny"})
    part.function_response.id = call.id
    history = [asked, said.candidates[0].content, types.Content(role="user", parts=[part])]
    kit.has(ask(model, history, tools=[TOOL]).text, "sunny")


@row.each
def tools_automatic(model: str) -> None:
    """The client runs the function itself and sends the result."""
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return "sunny"

    kit.has(ask(model, kit.WEATHER_ASKED, tools=[get_weather]).text, "sunny")
    assert asked == ["Paris"], asked


@row.each
def tools_streamed(model: str) -> None:
    found = []
    for chunk in client.models.generate_content_stream(
        model=model, contents="The weather in Paris and in Rome?", config=Config(tools=[TOOL])
    ):
        found += [call.args for call in chunk.function_calls or []]
    assert found == [{"city": "Paris"}, {"city": "Rome"}], found


@row.each
def vision(model: str) -> None:
    picture = types.Part.from_bytes(data=kit.PNG, mime_type="image/png")
    kit.has(ask(model, [picture, "What is this?"]).text, "1 image")


@row.each
def structured(model: str) -> None:
    reply = ask(model, kit.PERSON_TOLD, response_mime_type="application/json", response_schema=Person)
    assert reply.parsed == Person(name="Ada Lovelace", age=36), reply.text


@row.each
def turns(model: str) -> None:
    chat = client.chats.create(model=model)
    chat.send_message(kit.NAME_TOLD)
    kit.has(chat.send_message(kit.NAME_ASKED).text, "Your name is Ada")


@row.each
def reasoning(model: str) -> str:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)
    reply = ask(model, "Hello", thinking_config=thinking)
    kit.has(reply.text, "simulated")
    shown = any(part.thought for part in reply.candidates[0].content.parts)
    return "thoughts shown" if shown else "no thoughts shown"


@row.each
def retry(model: str) -> None:
    options = types.HttpRetryOptions(attempts=3, initial_delay=1.0, jitter=0.0)
    again = genai.Client(http_options=types.HttpOptions(retry_options=options))
    asked = kit.ordered_retry(row.name, model)
    kit.has(kit.waited(lambda: again.models.generate_content(model=model, contents=asked)).text, "pong")


@row.each
def count(model: str) -> None:
    assert client.models.count_tokens(model=model, contents="Hello there").total_tokens > 0


@row.once
def wrong_key() -> str:
    other = genai.Client(api_key=kit.WRONG_KEY)
    call = lambda: other.models.generate_content(model="gemini-2.5-flash", contents="hi")  # noqa: E731
    return kit.raises(errors.ClientError, call, status=401)


@row.once
def unknown_model() -> str:
    return kit.raises(errors.ClientError, lambda: ask(kit.UNKNOWN, "hi"), status=404)


@row.once
def bad_request() -> str:
    return kit.raises(errors.ClientError, lambda: ask("gemini-2.5-flash", "hi", temperature=7), status=400)


@row.once
def models() -> str:
    listed = list(client.models.list())
    assert listed
    assert client.models.get(model=listed[0].name).name == listed[0].name
    return f"{len(listed)} models"


@row.once
def embeddings() -> None:
    reply = client.models.embed_content(model=kit.EMBEDDING_MODEL, contents=["one", "two"])
    assert len(reply.embeddings) == 2


kit.report(row)
