"""LiteLLM's SDK, through its routes for OpenAI, Anthropic and Gemini."""

from __future__ import annotations

import json
import os
from typing import Any

import kit

os.environ |= {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_API_BASE": f"{kit.ROOT}/v1",
    "OPENAI_API_KEY": kit.KEY,
    "ANTHROPIC_API_BASE": kit.ROOT,
    "ANTHROPIC_API_KEY": kit.KEY,
    "GEMINI_API_BASE": f"{kit.ROOT}/v1beta",
    "GEMINI_API_KEY": kit.KEY,
}

import litellm
from pydantic import BaseModel

litellm.suppress_debug_info = True
litellm.register_model(
    {
        f"gemini/{model}": {"litellm_provider": "gemini", "mode": "chat", "supports_response_schema": True}
        for model in kit.MODELS.values()
    }
)
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": kit.WEATHER_SCHEMA,
    },
}


class Person(BaseModel):
    name: str
    age: int


def user(content: object) -> Any:
    return [{"role": "user", "content": content}]


def add(row: kit.Client, kind: str) -> None:
    each, once = row.each, row.once

    def ask(model: str, messages: Any, **options: Any) -> Any:
        if kind == "gemini":
            options.setdefault("api_base", f"{kit.ROOT}/v1beta")
        return litellm.completion(model=f"{kind}/{model}", messages=messages, **{"num_retries": 0, **options})

    @each
    def whole(model: str) -> None:
        reply = ask(model, user("Reply with exactly: pong"))
        kit.has(reply.choices[0].message.content, "pong")
        assert reply.usage.total_tokens > 0

    @each
    def stream(model: str) -> None:
        chunks = list(ask(model, user("Reply with exactly: pong"), stream=True))
        kit.has("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), "pong")

    @each
    def tools(model: str) -> None:
        messages = user(kit.WEATHER_ASKED)
        said = ask(model, messages, tools=[TOOL]).choices[0]
        call = said.message.tool_calls[0]
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        messages += [said.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        kit.has(ask(model, messages, tools=[TOOL]).choices[0].message.content, "sunny")

    @each
    def tools_streamed(model: str) -> None:
        asked = user("The weather in Paris and in Rome?")
        built = litellm.stream_chunk_builder(list(ask(model, asked, tools=[TOOL], stream=True)))
        found = [json.loads(call.function.arguments) for call in built.choices[0].message.tool_calls]
        assert found == [{"city": "Paris"}, {"city": "Rome"}], found

    @each
    def vision(model: str) -> None:
        picture = {"type": "image_url", "image_url": {"url": kit.PNG_URL}}
        reply = ask(model, user([{"type": "text", "text": "What is this?"}, picture]))
        kit.has(reply.choices[0].message.content, "1 image")

    @each
    def structured(model: str) -> None:
        reply = ask(model, user(kit.PERSON_TOLD), response_format=Person)
        found = Person.model_validate_json(reply.choices[0].message.content)
        assert found == Person(name="Ada Lovelace", age=36), found

    @each
    def turns(model: str) -> None:
        messages = user(kit.NAME_TOLD)
        messages += [ask(model, messages).choices[0].message, *user(kit.NAME_ASKED)]
        kit.has(ask(model, messages).choices[0].message.content, "Your name is Ada")

    @each
    def retry(model: str) -> None:
        asked = user(kit.ordered_retry(row.name, model))
        least_s = 0.9 if kind == "openai" else 0.0  # elsewhere it tries again at once
        reply = kit.waited(lambda: ask(model, asked, num_retries=2), least_s)
        kit.has(reply.choices[0].message.content, "pong")

    @once
    def wrong_key() -> str:
        call = lambda: ask("claude-sonnet-4-5", user("hi"), api_key=kit.WRONG_KEY)  # noqa: E731
        return kit.raises(litellm.AuthenticationError, call)

    @once
    def unknown_model() -> str:
        return kit.raises(litellm.NotFoundError, lambda: ask(kit.UNKNOWN, user("hi")))

    @once
    def bad_request() -> str:
        call = lambda: ask("claude-sonnet-4-5", user("hi"), temperature=7)  # noqa: E731
        return kit.raises(litellm.BadRequestError, call)


rows = []
for kind in ("openai", "anthropic", "gemini"):
    row = kit.Client(f"litellm ({kind})", "litellm")
    add(row, kind)
    rows.append(row)


@rows[0].once
def embeddings() -> None:
    reply = litellm.embedding(model=f"openai/{kit.EMBEDDING_MODEL}", input=["one", "two"])
    assert len(reply.data) == 2


kit.report(*rows)
