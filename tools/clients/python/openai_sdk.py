"""The official OpenAI client: chat completions, and responses."""

from __future__ import annotations

import json
import os
from typing import Any

import kit
import openai
from pydantic import BaseModel

chat = kit.Client("openai (chat)", "openai")
responses = kit.Client("openai (responses)", "openai")

os.environ["OPENAI_BASE_URL"] = f"{kit.ROOT}/v1"
os.environ["OPENAI_API_KEY"] = kit.KEY
client = openai.OpenAI(max_retries=0)
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": kit.WEATHER_SCHEMA,
        "strict": True,
    },
}
FLAT: Any = {"type": "function", **TOOL["function"]}


class Person(BaseModel):
    name: str
    age: int


def user(content: object) -> Any:
    return [{"role": "user", "content": content}]


def complete(model: str, messages: Any, **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=messages, **options)


def _chat() -> None:
    each, once = chat.each, chat.once

    @each
    def whole(model: str) -> None:
        reply = complete(model, user("Reply with exactly: pong"), temperature=0.5, max_tokens=400)
        kit.has(reply.choices[0].message.content, "pong")
        assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens

    @each
    def stream(model: str) -> None:
        text, usage = "", None
        with complete(
            model, user("Reply with exactly: pong"), stream=True, stream_options={"include_usage": True}
        ) as chunks:
            for chunk in chunks:
                usage = chunk.usage or usage
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
        kit.has(text, "pong")
        assert usage is not None

    @each
    def tools(model: str) -> None:
        messages = user(kit.WEATHER_ASKED)
        said = complete(model, messages, tools=[TOOL]).choices[0]
        assert said.finish_reason == "tool_calls"
        call = said.message.tool_calls[0]
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        messages += [said.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        kit.has(complete(model, messages, tools=[TOOL]).choices[0].message.content, "sunny")

    @each
    def tools_streamed(model: str) -> None:
        with client.chat.completions.stream(
            model=model, messages=user("The weather in Paris and in Rome?"), tools=[TOOL]
        ) as events:
            message = events.get_final_completion().choices[0].message
        found = [call.function.parsed_arguments for call in message.tool_calls]
        assert found == [{"city": "Paris"}, {"city": "Rome"}], found

    @each
    def vision(model: str) -> None:
        picture = {"type": "image_url", "image_url": {"url": kit.PNG_URL}}
        reply = complete(model, user([{"type": "text", "text": "What is this?"}, picture]))
        kit.has(reply.choices[0].message.content, "1 image")

    @each
    def structured(model: str) -> None:
        reply = client.chat.completions.parse(
            model=model, messages=user(kit.PERSON_TOLD), response_format=Person
        )
        assert reply.choices[0].message.parsed == Person(name="Ada Lovelace", age=36)

    @each
    def turns(model: str) -> None:
        messages = user(kit.NAME_TOLD)
        messages += [complete(model, messages).choices[0].message, *user(kit.NAME_ASKED)]
        kit.has(complete(model, messages).choices[0].message.content, "Your name is Ada")

    @each
    def reasoning(model: str) -> None:
        reply = complete(model, user("Hello"), reasoning_effort="high")
        assert reply.usage.completion_tokens_details is not None
        kit.has(reply.choices[0].message.content, "simulated")

    @each
    def retry(model: str) -> None:
        asked = user(kit.ordered_retry(chat.name, model))
        again = client.with_options(max_retries=2).chat.completions
        reply = kit.waited(lambda: again.create(model=model, messages=asked))
        kit.has(reply.choices[0].message.content, "pong")

    @once
    def wrong_key() -> str:
        other = client.with_options(api_key=kit.WRONG_KEY)
        return kit.raises(
            openai.AuthenticationError,
            lambda: other.chat.completions.create(model="gpt-4o", messages=user("hi")),
        )

    @once
    def unknown_model() -> str:
        return kit.raises(openai.NotFoundError, lambda: complete(kit.UNKNOWN, user("hi")))

    @once
    def bad_request() -> str:
        return kit.raises(openai.BadRequestError, lambda: complete("gpt-4o", user("hi"), temperature=7))

    @once
    def models() -> str:
        listed = list(client.models.list())
        assert client.models.retrieve(listed[0].id).id == listed[0].id
        return f"{len(listed)} models"

    @once
    def embeddings() -> None:
        reply = client.embeddings.create(model=kit.EMBEDDING_MODEL, input=["one", "two"])
        assert len(reply.data) == 2
        assert len(reply.data[0].embedding) > 1


def respond(model: str, **options: Any) -> Any:
    return client.responses.create(model=model, **options)


def _responses() -> None:
    each, once = responses.each, responses.once

    @each
    def whole(model: str) -> None:
        reply = respond(model, input="Reply with exactly: pong", instructions="Be brief.")
        kit.has(reply.output_text, "pong")
        assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens

    @each
    def stream(model: str) -> None:
        with client.responses.stream(model=model, input="Reply with exactly: pong") as events:
            text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
            final = events.get_final_response()
        kit.has(text, "pong")
        assert final.output_text == text
        assert final.status == "completed"

    @each
    def tools(model: str) -> None:
        asked: Any = user(kit.WEATHER_ASKED)
        said = respond(model, input=asked, tools=[FLAT])
        call = next(item for item in said.output if item.type == "function_call")
        assert json.loads(call.arguments) == {"city": "Paris"}
        asked += said.output
        asked.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
        kit.has(respond(model, input=asked, tools=[FLAT]).output_text, "sunny")

    @each
    def tools_streamed(model: str) -> None:
        with client.responses.stream(
            model=model, input="The weather in Paris and in Rome?", tools=[FLAT]
        ) as events:
            output = events.get_final_response().output
        found = [json.loads(item.arguments) for item in output if item.type == "function_call"]
        assert found == [{"city": "Paris"}, {"city": "Rome"}], found

    @each
    def vision(model: str) -> None:
        content = [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": kit.PNG_URL, "detail": "auto"},
        ]
        kit.has(respond(model, input=user(content)).output_text, "1 image")

    @each
    def structured(model: str) -> None:
        reply = client.responses.parse(model=model, input=kit.PERSON_TOLD, text_format=Person)
        assert reply.output_parsed == Person(name="Ada Lovelace", age=36)

    @each
    def turns(model: str) -> None:
        asked: Any = user(kit.NAME_TOLD)
        asked += [*respond(model, input=asked).output, *user(kit.NAME_ASKED)]
        kit.has(respond(model, input=asked).output_text, "Your name is Ada")

    @each
    def stored_turns(model: str) -> None:
        first = respond(model, input=kit.NAME_TOLD, store=True)
        then = respond(model, input=kit.NAME_ASKED, previous_response_id=first.id)
        kit.has(then.output_text, "Your name is Ada")
        assert client.responses.retrieve(first.id).output_text == first.output_text
        client.responses.delete(first.id)

    @each
    def reasoning(model: str) -> None:
        reply = respond(model, input="Hello", reasoning={"effort": "high", "summary": "auto"})
        kit.has(reply.output_text, "simulated")
        assert reply.usage.output_tokens_details is not None

    @each
    def retry(model: str) -> None:
        asked = kit.ordered_retry(responses.name, model)
        again = client.with_options(max_retries=2).responses
        kit.has(kit.waited(lambda: again.create(model=model, input=asked)).output_text, "pong")

    @once
    def wrong_key() -> str:
        other = client.with_options(api_key=kit.WRONG_KEY)
        return kit.raises(
            openai.AuthenticationError, lambda: other.responses.create(model="gpt-4o", input="hi")
        )

    @once
    def unknown_model() -> str:
        return kit.raises(openai.NotFoundError, lambda: respond(kit.UNKNOWN, input="hi"))

    @once
    def bad_request() -> str:
        return kit.raises(openai.BadRequestError, lambda: respond("gpt-4o", input="hi", temperature=7))


_chat()
_responses()
kit.report(chat, responses)
