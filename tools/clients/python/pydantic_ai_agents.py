"""Pydantic AI's agents with its models for OpenAI (chat, responses), Anthropic and Google."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import kit
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ModelHTTPError, NativeOutput

os.environ |= {
    "OPENAI_BASE_URL": f"{kit.ROOT}/v1",
    "OPENAI_API_KEY": kit.KEY,
    "ANTHROPIC_BASE_URL": kit.ROOT,
    "ANTHROPIC_API_KEY": kit.KEY,
    "GOOGLE_GEMINI_BASE_URL": kit.ROOT,
    "GOOGLE_API_KEY": kit.KEY,
}


class Person(BaseModel):
    name: str
    age: int


def make(kind: str, model: str) -> Any:
    match kind:
        case "chat":
            from pydantic_ai.models.openai import OpenAIChatModel

            return OpenAIChatModel(model)
        case "responses":
            from pydantic_ai.models.openai import OpenAIResponsesModel

            return OpenAIResponsesModel(model)
        case "messages":
            from pydantic_ai.models.anthropic import AnthropicModel

            return AnthropicModel(model)
        case _:
            from pydantic_ai.models.google import GoogleModel

            return GoogleModel(model)


def agent(kind: str, model: str, **options: Any) -> Any:
    return Agent(make(kind, model), **options)


def with_weather(kind: str, model: str, **options: Any) -> tuple[Any, list[str]]:
    asked: list[str] = []
    made = agent(kind, model, **options)

    @made.tool_plain
    def get_weather(city: str) -> str:
        """Get the weather of a city."""
        asked.append(city)
        return "sunny"

    return made, asked


def add(row: kit.Client, kind: str) -> None:
    each, once = row.each, row.once

    @each
    def whole(model: str) -> None:
        result = agent(kind, model, instructions="Be brief.").run_sync("Reply with exactly: pong")
        kit.has(result.output, "pong")
        assert result.usage.output_tokens > 0

    @each
    def stream(model: str) -> None:
        async def read() -> str:
            async with agent(kind, model).run_stream("Reply with exactly: pong") as result:
                return "".join([piece async for piece in result.stream_text(delta=True)])

        kit.has(asyncio.run(read()), "pong")

    @each
    def tools_automatic(model: str) -> None:
        made, asked = with_weather(kind, model)
        kit.has(made.run_sync(kit.WEATHER_ASKED).output, "sunny")
        assert asked == ["Paris"], asked

    @each
    def tools_streamed(model: str) -> None:
        made, asked = with_weather(kind, model)

        kinds: set[str] = set()

        async def watch(context: Any, events: Any) -> None:
            kinds.update([event.event_kind async for event in events])

        result = made.run_sync("The weather in Paris and in Rome?", event_stream_handler=watch)
        kit.has(result.output, "sunny")
        assert "part_delta" in kinds, kinds
        assert sorted(asked) == ["Paris", "Rome"], asked

    @each
    def vision(model: str) -> None:
        picture = BinaryContent(kit.PNG, media_type="image/png")
        kit.has(agent(kind, model).run_sync(["What is this?", picture]).output, "1 image")

    @each
    def structured(model: str) -> str:
        found = agent(kind, model, output_type=Person).run_sync(kit.PERSON_TOLD).output
        assert found == Person(name="Ada Lovelace", age=36), found
        native = agent(kind, model, output_type=NativeOutput(Person)) if kind != "messages" else None
        if native is not None:
            assert native.run_sync(kit.PERSON_TOLD).output == found
        return "by tool" if native is None else "by tool, by schema"

    @each
    def turns(model: str) -> None:
        made = agent(kind, model)
        first = made.run_sync(kit.NAME_TOLD)
        then = made.run_sync(kit.NAME_ASKED, message_history=first.all_messages())
        kit.has(then.output, "Your name is Ada")

    @each
    def reasoning(model: str) -> str:
        settings: dict[str, Any] = {
            "chat": {"openai_reasoning_effort": "high"},
            "responses": {"openai_reasoning_effort": "high", "openai_reasoning_summary": "auto"},
            "messages": {
                "anthropic_thinking": {"type": "enabled", "budget_tokens": 1024},
                "max_tokens": 4000,
            },
            "gemini": {"google_thinking_config": {"include_thoughts": True, "thinking_budget": 2048}},
        }[kind]
        made, _ = with_weather(kind, model, model_settings=settings)
        result = made.run_sync(kit.WEATHER_ASKED)
        kit.has(result.output, "sunny")
        parts = [part.part_kind for message in result.all_messages() for part in message.parts]
        return "thoughts shown" if "thinking" in parts else "no thoughts shown"

    @each
    def retry(model: str) -> None:
        if kind == "gemini":
            return  # its Google client does not try again unless a transport of one's own does
        result = kit.waited(lambda: agent(kind, model).run_sync(kit.ordered_retry(row.name, model)))
        kit.has(result.output, "pong")

    @once
    def wrong_key() -> str:
        name = {"messages": "ANTHROPIC_API_KEY", "gemini": "GOOGLE_API_KEY"}.get(kind, "OPENAI_API_KEY")
        kept, os.environ[name] = os.environ[name], kit.WRONG_KEY
        try:
            return kit.raises(ModelHTTPError, lambda: agent(kind, "gpt-4o").run_sync("hi"), status=401)
        finally:
            os.environ[name] = kept

    @once
    def unknown_model() -> str:
        return kit.raises(ModelHTTPError, lambda: agent(kind, kit.UNKNOWN).run_sync("hi"), status=404)

    @once
    def bad_request() -> str:
        made = agent(kind, "gpt-4.1", model_settings={"temperature": 7})
        return kit.raises(ModelHTTPError, lambda: made.run_sync("hi"), status=400)


rows = []
for kind in ("chat", "responses", "messages", "gemini"):
    row = kit.Client(f"pydantic-ai ({kind})", "pydantic-ai-slim")
    add(row, kind)
    rows.append(row)
kit.report(*rows)
