"""The OpenAI Agents SDK: over responses, its default, and over chat completions."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import kit

os.environ |= {
    "OPENAI_BASE_URL": f"{kit.ROOT}/v1",
    "OPENAI_API_KEY": kit.KEY,
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
)
from openai.types.shared import Reasoning
from pydantic import BaseModel

asked_for: list[str] = []


@function_tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    asked_for.append(city)
    return "sunny"


class Person(BaseModel):
    name: str
    age: int


def agent(kind: str, model: str, *, client: Any = None, **options: Any) -> Any:
    client = client or openai.AsyncOpenAI()
    made = (OpenAIResponsesModel if kind == "responses" else OpenAIChatCompletionsModel)(model, client)
    return Agent(name="Helper", instructions="Be brief.", model=made, **options)


def add(row: kit.Client, kind: str) -> None:
    each, once = row.each, row.once

    @each
    def whole(model: str) -> None:
        kit.has(Runner.run_sync(agent(kind, model), "Reply with exactly: pong").final_output, "pong")

    @each
    def stream(model: str) -> None:
        async def read() -> tuple[str, str]:
            result = Runner.run_streamed(agent(kind, model), "Reply with exactly: pong")
            text = ""
            async for event in result.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    text += event.data.delta
            return text, result.final_output

        text, final = asyncio.run(read())
        kit.has(text, "pong")
        assert text == final

    @each
    def tools_automatic(model: str) -> None:
        asked_for.clear()
        result = Runner.run_sync(agent(kind, model, tools=[get_weather]), kit.WEATHER_ASKED)
        kit.has(result.final_output, "sunny")
        assert asked_for == ["Paris"], asked_for

    @each
    def tools_streamed(model: str) -> None:
        asked_for.clear()

        async def read() -> str:
            made = agent(kind, model, tools=[get_weather])
            result = Runner.run_streamed(made, "The weather in Paris and in Rome?")
            async for _ in result.stream_events():
                pass
            return result.final_output

        kit.has(asyncio.run(read()), "sunny")
        assert sorted(asked_for) == ["Paris", "Rome"], asked_for

    @each
    def vision(model: str) -> None:
        content = [
            {"type": "input_image", "image_url": kit.PNG_URL, "detail": "auto"},
            {"type": "input_text", "text": "What is this?"},
        ]
        result = Runner.run_sync(agent(kind, model), [{"role": "user", "content": content}])
        kit.has(result.final_output, "1 image")

    @each
    def structured(model: str) -> None:
        found = Runner.run_sync(agent(kind, model, output_type=Person), kit.PERSON_TOLD).final_output
        assert found == Person(name="Ada Lovelace", age=36), found

    @each
    def turns(model: str) -> None:
        made = agent(kind, model)
        first = Runner.run_sync(made, kit.NAME_TOLD)
        then = Runner.run_sync(made, [*first.to_input_list(), {"role": "user", "content": kit.NAME_ASKED}])
        kit.has(then.final_output, "Your name is Ada")

    @each
    def reasoning(model: str) -> None:
        settings = ModelSettings(reasoning=Reasoning(effort="high", summary="auto"))
        made = agent(kind, model, model_settings=settings, tools=[get_weather])
        kit.has(Runner.run_sync(made, kit.WEATHER_ASKED).final_output, "sunny")

    @each
    def retry(model: str) -> None:
        asked = kit.ordered_retry(row.name, model)
        kit.has(kit.waited(lambda: Runner.run_sync(agent(kind, model), asked).final_output), "pong")

    @once
    def wrong_key() -> str:
        client = openai.AsyncOpenAI(api_key=kit.WRONG_KEY)
        made = agent(kind, "gpt-4o", client=client)
        return kit.raises(openai.AuthenticationError, lambda: Runner.run_sync(made, "hi"))

    @once
    def unknown_model() -> str:
        return kit.raises(openai.NotFoundError, lambda: Runner.run_sync(agent(kind, kit.UNKNOWN), "hi"))

    @once
    def bad_request() -> str:
        made = agent(kind, "gpt-4o", model_settings=ModelSettings(temperature=7))
        return kit.raises(openai.BadRequestError, lambda: Runner.run_sync(made, "hi"))


rows = []
for kind in ("responses", "chat"):
    row = kit.Client(f"openai-agents ({kind})", "openai-agents")
    add(row, kind)
    rows.append(row)
kit.report(*rows)
