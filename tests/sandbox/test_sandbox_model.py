"""The simulated model: deterministic, marked, obedient to limits, tools, formats and orders."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_router.sandbox.metering import PromptCache, meter, prompt_tokens
from llm_router.sandbox.model import simulate
from llm_router.sandbox.prompt import Prompt, Words
from llm_router.sandbox.stream import small_events
from llm_router.wire import chat
from llm_router.wire.dialects.anthropic_messages.encode import JSON_ONLY, JSON_SCHEMA
from llm_router.wire.events import Choice, Finish
from llm_router.wire.fold import fold

WEATHER = chat.Tool(
    name="get_weather",
    description="Current weather of a city",
    parameters=chat.Raw(
        b'{"type":"object","properties":{"city":{"type":"string"},'
        b'"unit":{"type":"string","enum":["celsius","fahrenheit"]}},"required":["city","unit"]}'
    ),
)


def ask(text: str, **fields: Any) -> chat.ChatRequest:
    message = chat.Message(role="user", parts=(chat.Text(text=text),))
    before = fields.pop("before", ())
    after = fields.pop("after", ())
    given = {"model": "gpt-4o", "dialect": "openai_chat", **fields}
    return chat.ChatRequest(messages=(*before, message, *after), **given)


def answered(request: chat.ChatRequest) -> Choice:
    return simulate(Prompt(request)).reply.choices[0]


def said(request: chat.ChatRequest) -> str:
    return "".join(p.text for p in answered(request).parts if isinstance(p, chat.Text))


def calls(request: chat.ChatRequest) -> list[tuple[str, Any]]:
    parts = answered(request).parts
    return [(p.name, msgspec.json.decode(p.arguments)) for p in parts if isinstance(p, chat.ToolCall)]


def test_answer_names_the_model_and_echoes() -> None:
    text = said(ask("Tell me a story about a cat."))
    assert text.startswith("[simulated gpt-4o] ")
    assert "Tell me a story about a cat." in text


def system(text: str) -> tuple[chat.Message, ...]:
    return (chat.Message(role="system", parts=(chat.Text(text=text),)),)


@pytest.mark.parametrize(
    "order",
    [
        JSON_ONLY,
        "You are a clerk. Respond only with valid JSON.",
        "Reply in JSON.",
        "Always return a JSON object with the schema {broken.",
    ],
)
def test_json_that_the_system_prompt_orders_is_valid(order: str) -> None:
    made = msgspec.json.decode(said(ask("What is 2+2?", before=system(order))))
    assert made["answer"].startswith("2 + 2 = 4.")


def test_json_of_a_schema_that_the_system_prompt_tells_is_of_it() -> None:
    schema = '{"type":"object","properties":{"city":{"type":"string"},"n":{"type":"integer"}},"required":["city","n"]}'
    made = msgspec.json.decode(
        said(ask("Is Paris large?", before=system(JSON_SCHEMA + schema + "\nBe brief.")))
    )
    assert isinstance(made["city"], str)
    assert set(made) == {"city", "n"}
    assert isinstance(made["n"], int)


@pytest.mark.parametrize(
    "order", ["Answer questions about JSON.", "Never write JSON.", "You return parcels."]
)
def test_a_word_of_json_is_no_order(order: str) -> None:
    text = said(ask("Hello", before=system(order)))
    assert text.startswith("[simulated gpt-4o]")


def test_same_request_same_answer_streamed_or_not() -> None:
    one = ask("Hello there", stream=True)
    other = ask("Hello there", stream=False)
    assert simulate(Prompt(one)) == simulate(Prompt(other))


@pytest.mark.parametrize(
    ("question", "result"),
    [
        ("What is 2+2?", "2 + 2 = 4."),
        ("what's 17 * 23", "17 * 23 = 391."),
        ("2 + 3 * 4 please", "2 + 3 * 4 = 14."),
        ("12 divided by 8", "12 / 8 = 1.5."),
        ("1 / 3 ?", "1 / 3 = about 0.333333."),
        ("7 / 0", "7 / 0 = undefined (division by zero)."),
        ("0.1 + 0.2", "0.1 + 0.2 = 0.3."),
    ],
)
def test_sums_are_right(question: str, result: str) -> None:
    assert result in said(ask(question))


@pytest.mark.parametrize("text", ["on 2024-05-01", "pages 3-5", "1/2/2024", "version 1.2.3"])
def test_what_only_looks_like_a_sum(text: str) -> None:
    assert " = " not in said(ask(text))


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("Reply with exactly: pong", "pong"),
        ('Say only "hello world".', "hello world"),
        ("Answer just yes.", "yes"),
    ],
)
def test_exact_words_are_repeated(text: str, reply: str) -> None:
    assert said(ask(text)) == f"[simulated gpt-4o] {reply}"


def test_system_prompt_is_obeyed_visibly() -> None:
    system = chat.Message(
        role="system", parts=(chat.Text(text='Begin every answer with "Ahoy" and use upper case.'),)
    )
    text = said(ask("hi", before=(system,)))
    assert text.startswith("Ahoy [simulated gpt-4o] YOU WROTE")


def test_names_are_remembered_in_the_conversation() -> None:
    before = (
        chat.Message(role="user", parts=(chat.Text(text="My name is Ada."),)),
        chat.Message(role="assistant", parts=(chat.Text(text="Hello."),)),
    )
    assert "Your name is Ada." in said(ask("What is my name?", before=before))


def test_weather_tool_is_called_with_words_of_the_prompt() -> None:
    request = ask("What's the weather in New York in fahrenheit?", tools=(WEATHER,))
    assert calls(request) == [("get_weather", {"city": "New York", "unit": "fahrenheit"})]
    assert answered(request).finish is Finish.TOOL_CALLS


def test_parallel_calls_and_their_switch() -> None:
    text = "Compare the weather in Paris and in London"
    found = calls(ask(text, tools=(WEATHER,)))
    assert [arguments["city"] for _, arguments in found] == ["Paris", "London"]
    assert len(calls(ask(text, tools=(WEATHER,), parallel_tool_calls=False))) == 1
    ids = [p.id for p in answered(ask(text, tools=(WEATHER,))).parts if isinstance(p, chat.ToolCall)]
    assert len(set(ids)) == 2


def test_tool_choice_is_obeyed() -> None:
    other = chat.Tool(name="shutdown_server", description="Ends it", parameters=None)
    tools = (WEATHER, other)
    assert calls(ask("Hello", tools=tools)) == []
    assert calls(ask("weather in Rome", tools=tools, tool_choice=chat.ToolChoice(mode="none"))) == []
    assert len(calls(ask("Hello", tools=tools, tool_choice=chat.ToolChoice(mode="required")))) == 1
    named = chat.ToolChoice(mode="tool", name="shutdown_server")
    assert calls(ask("Hello", tools=tools, tool_choice=named)) == [("shutdown_server", {})]


def test_ordered_calls() -> None:
    found = calls(ask("[[call get_weather x3]] now", tools=(WEATHER,)))
    assert [name for name, _ in found] == ["get_weather"] * 3


def test_results_are_used_in_the_answer() -> None:
    call = chat.ToolCall(id="call_1", name="get_weather", arguments='{"city":"Paris"}')
    result = chat.ToolResult(call_id="call_1", name="get_weather", content=(chat.Text(text="18 degrees"),))
    after = (
        chat.Message(role="assistant", parts=(call,)),
        chat.Message(role="tool", parts=(result,)),
    )
    request = ask("weather in Paris?", tools=(WEATHER,), after=after)
    assert "The tool get_weather answered: 18 degrees." in said(request)
    assert answered(request).finish is Finish.STOP


def test_structured_output() -> None:
    schema = chat.Raw(
        b'{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"]}'
    )
    request = ask(
        "Ada Lovelace is 36.",
        response_format=chat.ResponseFormat(mode="json_schema", name="p", schema=schema),
    )
    assert msgspec.json.decode(said(request)) == {"name": "Ada Lovelace", "age": 36}
    loose = ask("Give me JSON", response_format=chat.ResponseFormat(mode="json_object"))
    assert msgspec.json.decode(said(loose))["simulated"] is True


def test_images_are_described() -> None:
    png = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAYAAAC56t6BAAAAFElEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg=="
    image = chat.Media(form="image", data=png, media_type="image/png")
    linked = chat.Media(form="image", url="https://example.com/cat.jpg")
    message = chat.Message(role="user", parts=(chat.Text(text="What is this?"), image, linked))
    request = chat.ChatRequest(model="gpt-4o", messages=(message,), dialect="openai_chat")
    text = said(request)
    assert "2 images: image/png" in text
    assert "2x3 pixels" in text
    assert "URL https://example.com/cat.jpg" in text


def test_stop_and_limits() -> None:
    stopped = answered(ask("Say only alpha END omega", stop=("END",)))
    assert stopped.stop_sequence == "END"
    assert "omega" not in str(stopped.parts)
    cut = simulate(Prompt(ask("Tell me much", max_tokens=5)))
    assert cut.reply.choices[0].finish is Finish.LENGTH
    assert cut.output_tokens == 5


def test_reasoning_counts_against_the_limit() -> None:
    answer = simulate(Prompt(ask("Hello", model="gpt-5", max_tokens=5)))
    assert (answer.reasoning_tokens, answer.output_tokens) == (5, 0)
    assert answer.reply.choices[0].parts == ()
    assert answer.reply.choices[0].finish is Finish.LENGTH


def test_reasoning_by_dialect() -> None:
    hidden = simulate(Prompt(ask("Hello", model="o1")))
    assert hidden.reasoning_tokens > 0
    assert not any(isinstance(p, chat.Thinking) for p in hidden.reply.choices[0].parts)
    shown = answered(ask("Hello", model="deepseek-reasoner"))
    assert isinstance(shown.parts[0], chat.Thinking)
    plain = answered(ask("Hello", model="claude-sonnet-4-5", dialect="anthropic_messages"))
    assert not any(isinstance(p, chat.Thinking) for p in plain.parts)
    thinking = answered(
        ask(
            "Hello",
            model="claude-sonnet-4-5",
            dialect="anthropic_messages",
            reasoning=chat.Reasoning(enabled=True, budget_tokens=2000),
        )
    )
    assert isinstance(thinking.parts[0], chat.Thinking)
    assert thinking.parts[0].signature


def test_choices_and_logprobs() -> None:
    answer = simulate(Prompt(ask("Hello", n=3, logprobs=True, top_logprobs=2)))
    assert [c.index for c in answer.reply.choices] == [0, 1, 2]
    assert len({str(c.parts) for c in answer.reply.choices}) == 3
    items = msgspec.json.decode(answer.reply.choices[0].logprobs or b"null")
    text = said(ask("Hello", n=3, logprobs=True, top_logprobs=2))
    assert "".join(item["token"] for item in items) == text
    assert all(item["logprob"] < 0 and len(item["top_logprobs"]) == 2 for item in items)


def test_refusals_by_dialect() -> None:
    assert isinstance(answered(ask("[[refuse]] no")).parts[0], chat.Refusal)
    declined = answered(ask("[[refuse]] no", dialect="anthropic_messages"))
    assert (declined.parts, declined.finish) == ((), Finish.CONTENT_FILTER)


def test_long_answers_have_the_asked_length() -> None:
    assert simulate(Prompt(ask("[[long 500]]"))).output_tokens == 500


@pytest.mark.parametrize("fields", [{}, {"n": 3, "logprobs": True}, {"tools": (WEATHER,)}])
def test_stream_folds_to_the_whole_reply(fields: dict[str, Any]) -> None:
    request = ask("weather in Paris and Rome", **fields)
    reply = simulate(Prompt(request)).reply
    events = list(small_events(reply))
    assert fold(events) == reply
    assert len(events) > 8


def test_words_of_a_prompt() -> None:
    words = Words("What's the weather in Paris, New York and São Paulo at 7.5 or 12?")
    assert words.subjects == ("Paris", "New York", "São Paulo")
    assert words.numbers == (7.5, 12)
    assert Words("please add").subjects == ()


def test_usage_and_automatic_cache() -> None:
    request = ask("word " * 2000)
    cache = PromptCache()
    answer = simulate(Prompt(request))
    first = meter(request, answer, cache)
    second = meter(request, answer, cache)
    assert first.cache_read_tokens == 0
    assert second.cache_read_tokens >= 1024
    assert second.cache_read_tokens % 128 == 0
    assert first.prompt_tokens == second.prompt_tokens == prompt_tokens(request)
    other = meter(ask("word " * 2000, model="gpt-4o-mini"), answer, cache)
    assert other.cache_read_tokens == 0


def test_marked_cache_of_anthropic() -> None:
    system = chat.Message(role="system", parts=(chat.Text(text="rule " * 1500, cache=chat.CacheMark()),))
    request = ask("Hi", before=(system,), dialect="anthropic_messages")
    cache = PromptCache()
    answer = simulate(Prompt(request))
    first, second = meter(request, answer, cache), meter(request, answer, cache)
    assert first.cache_write_tokens > 1024
    assert (first.cache_read_tokens, second.cache_write_tokens) == (0, 0)
    assert second.cache_read_tokens == first.cache_write_tokens
    assert first.prompt_tokens == second.prompt_tokens


def test_short_prompts_are_not_cached() -> None:
    cache, request = PromptCache(), ask("short")
    answer = simulate(Prompt(request))
    assert meter(request, answer, cache) == meter(request, answer, cache)


def test_a_script_is_played_step_by_step() -> None:
    """As agents need it: one call after the other, with results and the agent's own words between them."""
    read = chat.Tool(name="Read", parameters=chat.Raw(b'{"type":"object"}'))
    patch = chat.Tool(name="patch", custom=True)
    script = 'Go. [[call Read {"path": "a]]b"}]] [[then call patch "x\\ny"]]'
    messages: list[chat.Message] = [chat.Message(role="user", parts=(chat.Text(text=script),))]
    said: list[tuple[str, str]] = []
    for _ in range(5):
        request = chat.ChatRequest(
            model="m", messages=tuple(messages), dialect="openai_chat", tools=(read, patch)
        )
        parts = simulate(Prompt(request)).reply.choices[0].parts
        calls = [part for part in parts if isinstance(part, chat.ToolCall)]
        if not calls:
            break
        said += [(call.name, call.arguments) for call in calls]
        results = tuple(chat.ToolResult(call_id=c.id, content=(chat.Text(text="done"),)) for c in calls)
        reminder = chat.Text(text="<reminder>Be kind.</reminder>")
        messages.append(chat.Message(role="assistant", parts=parts))
        messages.append(chat.Message(role="user", parts=(*results, reminder)))
    assert said == [("Read", '{"path": "a]]b"}'), ("patch", "x\ny")]
    assert isinstance(parts[0], chat.Text)
    assert "answered: done" in parts[0].text
