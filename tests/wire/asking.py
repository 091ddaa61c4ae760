"""Any canonical request: the strategies for what every dialect must be able to write."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from llm_router.wire import chat
from llm_router.wire.chat import Raw

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQK"
TEXT = "aGVsbG8="

NAMES = ("tide", "wind.speed", "google:search", "naïve tool", "x" * 90, "7up", "a" * 64, "_a-b")
"""Names of functions: what one API takes, another refuses."""

texts = st.sampled_from(["", " ", "Ahoy", "Answer as JSON, please.", "two\nlines", "é" * 3])
marks = st.none() | st.builds(chat.CacheMark, ttl=st.sampled_from([None, "5m", "30m", "1h"]))
dialects = st.sampled_from(["openai_chat", "openai_responses", "anthropic_messages", "gemini_generate"])
text_parts = st.builds(chat.Text, text=texts, cache=marks)
media_parts = st.one_of(
    st.builds(
        chat.Media,
        form=st.just("image"),
        data=st.just(PNG),
        media_type=st.sampled_from([None, "image/png"]),
        detail=st.sampled_from([None, "auto", "low", "high"]),
        cache=marks,
    ),
    st.builds(
        chat.Media,
        form=st.just("image"),
        url=st.just("https://example.org/a.png"),
        detail=st.sampled_from([None, "high"]),
    ),
    st.builds(
        chat.Media,
        form=st.just("file"),
        data=st.just(PDF),
        media_type=st.just("application/pdf"),
        filename=st.sampled_from([None, "a.pdf", "a [1]; b.pdf"]),
    ),
    st.builds(
        chat.Media,
        form=st.just("file"),
        data=st.just(TEXT),
        media_type=st.just("text/plain"),
        filename=st.none(),
    ),
    st.builds(
        chat.Media,
        form=st.sampled_from(["audio", "video"]),
        data=st.just(TEXT),
        media_type=st.none(),
    ),
)
thoughts = st.builds(
    chat.Thinking,
    text=texts,
    signature=st.none() | st.just("c2ln"),
    redacted=st.none() | st.just("AAEC"),
    origin=st.none() | dialects,
)
opaques = st.builds(
    chat.Opaque,
    dialect=st.just("elsewhere"),
    name=st.just("odd_block"),
    raw=st.just(Raw(b'{"type":"odd_block"}')),
)

SCHEMAS: tuple[Any, ...] = (
    None,
    {},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    {"properties": {"a": {"$ref": "#/$defs/N"}}, "$defs": {"N": {"type": "integer", "exclusiveMinimum": 0}}},
    {"anyOf": [{"type": "object", "properties": {"a": {"const": 1}}}, {"type": "object"}]},
    {"type": ["object", "null"], "properties": {"t": {"type": "array", "prefixItems": [{"type": "number"}]}}},
    {"type": "object", "properties": {"n": {"$ref": "#"}}, "patternProperties": {"^x": {"type": "string"}}},
    {"type": "string"},
    True,
)
schemas = st.sampled_from(SCHEMAS).map(
    lambda schema: None if schema is None else Raw(msgspec.json.encode(schema))
)


@st.composite
def offers(draw: st.DrawFn) -> tuple[chat.Tool, ...]:
    """Tools of different names; some of free text, some that only their own provider runs."""
    names = draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True))
    tools: list[chat.Tool] = []
    for name in names:
        custom = draw(st.integers(0, 4)) == 0
        tools.append(
            chat.Tool(
                name=name,
                description=draw(st.none() | texts),
                parameters=None if custom else draw(schemas),
                strict=None if custom else draw(st.sampled_from([None, True, False])),
                custom=custom,
                format=draw(st.none() | st.just(Raw(b'{"type":"text"}'))) if custom else None,
                cache=draw(marks),
            )
        )
    if draw(st.integers(0, 5)) == 0:
        raw = Raw(b'{"type":"odd_search"}')
        tools.append(chat.Tool(name="odd_search", dialect="elsewhere", raw=raw))
    return tuple(tools)


def choices(tools: tuple[chat.Tool, ...]) -> st.SearchStrategy[chat.ToolChoice | None]:
    names = [tool.name for tool in tools if tool.raw is None]
    plain = st.none() | st.builds(chat.ToolChoice, mode=st.sampled_from(["auto", "none", "required"]))
    if not names:
        return plain
    named = st.builds(chat.ToolChoice, mode=st.just("tool"), name=st.sampled_from(names))
    narrowed = st.builds(
        chat.ToolChoice,
        mode=st.sampled_from(["auto", "required"]),
        allowed=st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True).map(tuple),
    )
    return plain | named | narrowed


@st.composite
def rounds(draw: st.DrawFn, tools: tuple[chat.Tool, ...], number: int) -> list[chat.Message]:
    """Calls of tools, perhaps with thoughts and text before them, and a result for each."""
    known = [(tool.name, tool.custom) for tool in tools if tool.raw is None] or [("forgotten", False)]
    picked = draw(st.lists(st.sampled_from(known), min_size=1, max_size=2))
    calls = tuple(
        chat.ToolCall(
            id=f"call_{number}_{at}",
            name=name,
            custom=custom,
            arguments="free text" if custom else draw(st.sampled_from(['{"a":"b"}', "{}", "", "[1]", "no"])),
        )
        for at, (name, custom) in enumerate(picked)
    )
    results = tuple(
        chat.ToolResult(
            call_id=call.id,
            name=draw(st.sampled_from([None, call.name])),
            content=tuple(draw(st.lists(text_parts | media_parts, max_size=2))),
            is_error=draw(st.booleans()),
            custom=call.custom,
            cache=draw(marks),
        )
        for call in calls
    )
    before = tuple(draw(st.lists(thoughts | text_parts, max_size=2)))
    return [
        chat.Message(role="assistant", parts=(*before, *calls)),
        chat.Message(role="tool", parts=results),
    ]


@st.composite
def conversations(draw: st.DrawFn, tools: tuple[chat.Tool, ...]) -> tuple[chat.Message, ...]:
    out: list[chat.Message] = []
    for number in range(draw(st.integers(1, 4))):
        role = draw(st.sampled_from(["system", "developer", "user", "user", "assistant", "tools"]))
        if role == "tools":
            out += draw(rounds(tools, number))
            continue
        kinds = {
            "assistant": text_parts | thoughts | opaques | st.builds(chat.Refusal, text=texts),
            "user": text_parts | media_parts | opaques,
        }.get(role, text_parts)
        parts = tuple(draw(st.lists(kinds, max_size=4)))
        out.append(chat.Message(role=role, parts=parts, name=draw(st.sampled_from([None, None, "ann"]))))  # type: ignore[arg-type]
    return tuple(out)


reasonings = st.none() | st.builds(
    chat.Reasoning,
    effort=st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max"]),
    budget_tokens=st.sampled_from([None, None, -1, 0, 100, 5000, 60_000]),
    adaptive=st.booleans(),
    enabled=st.sampled_from([None, True, False]),
    show=st.sampled_from([None, True, False]),
    summary=st.sampled_from([None, "auto", "detailed"]),
)
formats = st.none() | st.builds(
    chat.ResponseFormat,
    mode=st.sampled_from(["text", "json_object", "json_schema"]),
    name=st.sampled_from([None, "answer", "odd name!", "n" * 80]),
    description=st.none() | texts,
    schema=schemas,
    strict=st.sampled_from([None, True, False]),
)


@st.composite
def requests(draw: st.DrawFn) -> chat.ChatRequest:
    """A request as any front dialect may have decoded it."""
    tools = draw(offers())

    def maybe(value: st.SearchStrategy[Any]) -> Any:
        return draw(value) if draw(st.integers(0, 3)) == 0 else None

    logprobs = maybe(st.booleans())
    return chat.ChatRequest(
        model="public",
        dialect=draw(dialects),
        messages=draw(conversations(tools)),
        stream=draw(st.booleans()),
        tools=tools,
        tool_choice=draw(choices(tools)),
        parallel_tool_calls=maybe(st.booleans()),
        max_tokens=maybe(st.sampled_from([1, 10, 1500, 3000, 100_000])),
        temperature=maybe(st.sampled_from([0, 0.3, 1, 1.7, 2])),
        top_p=maybe(st.sampled_from([0, 0.5, 1])),
        top_k=maybe(st.sampled_from([1, 40, 900])),
        frequency_penalty=maybe(st.sampled_from([-2, 0, 1.5])),
        presence_penalty=maybe(st.sampled_from([-2, 0, 1.5])),
        stop=tuple(maybe(st.lists(st.sampled_from(["", "\n", "a", "b", "c", "d", "e"]), max_size=7)) or ()),
        seed=maybe(st.sampled_from([-3, 0, 7, 2**40])),
        n=maybe(st.sampled_from([1, 2])) or 1,
        logprobs=logprobs,
        top_logprobs=maybe(st.sampled_from([0, 3, 20])),
        response_format=draw(formats),
        reasoning=draw(reasonings),
        verbosity=maybe(st.sampled_from(["low", "high"])),
        user=maybe(st.sampled_from(["u", "u" * 600])),
        metadata=maybe(st.just(Raw(b'{"a":"b"}'))),
        service_tier=maybe(
            st.sampled_from(["auto", "default", "flex", "priority", "scale", "standard_only"])
        ),
        modalities=maybe(st.sampled_from([("text",), ("text", "audio"), ("text", "image")])) or (),
        prompt_cache_key=maybe(st.just("key")),
    )
