"""LangChain's chat models: whichever of its three packages is installed here."""

from __future__ import annotations

import os
from typing import Any

import kit
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

os.environ |= {
    "OPENAI_BASE_URL": f"{kit.ROOT}/v1",
    "OPENAI_API_KEY": kit.KEY,
    "ANTHROPIC_BASE_URL": kit.ROOT,
    "ANTHROPIC_API_KEY": kit.KEY,
    "GOOGLE_API_KEY": kit.KEY,
}
WHICH = os.environ["LLM_ROUTER_CLIENT"]


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return "sunny"


def make(kind: str, model: str, **options: Any) -> Any:
    """A chat model of one of the packages, as its users make it."""
    match kind:
        case "chat" | "responses":
            from langchain_openai import ChatOpenAI

            return ChatOpenAI(model=model, use_responses_api=kind == "responses", **options)
        case "messages":
            from langchain_anthropic import ChatAnthropic

            return ChatAnthropic(model=model, max_tokens=4000, **options)
        case _:
            from langchain_google_genai import ChatGoogleGenerativeAI

            return ChatGoogleGenerativeAI(model=model, base_url=kit.ROOT, **options)


def add(row: kit.Client, kind: str) -> None:
    each, once = row.each, row.once

    @each
    def whole(model: str) -> None:
        reply = make(kind, model).invoke(
            [SystemMessage("Be brief."), HumanMessage("Reply with exactly: pong")]
        )
        kit.has(reply.text, "pong")
        assert reply.usage_metadata["total_tokens"] > 0

    @each
    def stream(model: str) -> None:
        total: Any = None
        for chunk in make(kind, model).stream("Reply with exactly: pong"):
            total = chunk if total is None else total + chunk
        kit.has(total.text, "pong")
        assert total.usage_metadata["total_tokens"] > 0

    @each
    def tools(model: str) -> None:
        chat = make(kind, model).bind_tools([get_weather])
        messages: list[Any] = [HumanMessage(kit.WEATHER_ASKED)]
        said = chat.invoke(messages)
        call = said.tool_calls[0]
        assert call["args"] == {"city": "Paris"}, call
        messages += [said, ToolMessage("sunny", tool_call_id=call["id"], name=call["name"])]
        kit.has(chat.invoke(messages).text, "sunny")

    @each
    def tools_streamed(model: str) -> None:
        total: Any = None
        chat = make(kind, model).bind_tools([get_weather])
        for chunk in chat.stream("The weather in Paris and in Rome?"):
            total = chunk if total is None else total + chunk
        found = [call["args"] for call in total.tool_calls]
        assert found == [{"city": "Paris"}, {"city": "Rome"}], found

    @each
    def vision(model: str) -> None:
        picture = {"type": "image", "base64": kit.PNG_BASE64, "mime_type": "image/png"}
        asked = HumanMessage([{"type": "text", "text": "What is this?"}, picture])
        kit.has(make(kind, model).invoke([asked]).text, "1 image")

    @each
    def structured(model: str) -> None:
        chat = make(kind, model).with_structured_output(Person, method="json_schema")
        found = chat.invoke(kit.PERSON_TOLD)
        assert found == Person(name="Ada Lovelace", age=36), found

    @each
    def turns(model: str) -> None:
        chat = make(kind, model)
        messages: list[Any] = [HumanMessage(kit.NAME_TOLD)]
        messages += [chat.invoke(messages), HumanMessage(kit.NAME_ASKED)]
        kit.has(chat.invoke(messages).text, "Your name is Ada")

    @each
    def reasoning(model: str) -> str:
        options: dict[str, dict[str, Any]] = {
            "chat": {"reasoning_effort": "high"},
            "responses": {"reasoning": {"effort": "high", "summary": "auto"}},
            "messages": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            "gemini": {"include_thoughts": True, "thinking_budget": 2048},
        }
        chat = make(kind, model, **options[kind]).bind_tools([get_weather])
        messages: list[Any] = [HumanMessage(kit.WEATHER_ASKED)]
        said = chat.invoke(messages)
        call = said.tool_calls[0]
        messages += [said, ToolMessage("sunny", tool_call_id=call["id"], name=call["name"])]
        kit.has(chat.invoke(messages).text, "sunny")
        return " ".join(block["type"] for block in said.content_blocks)

    @each
    def retry(model: str) -> None:
        chat = make(kind, model, max_retries=3)
        kit.has(kit.waited(lambda: chat.invoke(kit.ordered_retry(row.name, model)).text), "pong")

    @once
    def wrong_key() -> str:
        chat = make(kind, "gpt-4o", api_key=kit.WRONG_KEY, max_retries=1)
        return kit.raises(error_of(kind, 401), lambda: chat.invoke("hi"), status=401)

    @once
    def unknown_model() -> str:
        return kit.raises(error_of(kind, 404), lambda: make(kind, kit.UNKNOWN).invoke("hi"))

    @once
    def bad_request() -> str:
        if kind == "gemini":  # the package itself refuses a temperature above 2
            chat = make(kind, "gpt-4o", max_output_tokens=-5)
        else:
            chat = make(kind, "gpt-4o", temperature=7)
        return kit.raises(error_of(kind, 400), lambda: chat.invoke("hi"))


def error_of(kind: str, status: int) -> type[Exception]:
    names = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError"}
    if kind == "gemini":
        from langchain_google_genai.chat_models import ChatGoogleGenerativeAIError

        return ChatGoogleGenerativeAIError
    if kind == "messages":
        import anthropic

        return getattr(anthropic, names[status])
    import openai

    return getattr(openai, names[status])


KINDS = {
    "langchain-openai": {"chat": " (chat)", "responses": " (responses)"},
    "langchain-anthropic": {"messages": ""},
    "langchain-google-genai": {"gemini": ""},
}
rows = []
for kind, suffix in KINDS[WHICH].items():
    row = kit.Client(WHICH + suffix, WHICH)
    add(row, kind)
    rows.append(row)
if WHICH == "langchain-openai":

    @rows[0].once
    def embeddings() -> None:
        from langchain_openai import OpenAIEmbeddings

        found = OpenAIEmbeddings(model=kit.EMBEDDING_MODEL, check_embedding_ctx_length=False).embed_documents(
            ["one", "two"]
        )
        assert len(found) == 2


kit.report(*rows)
