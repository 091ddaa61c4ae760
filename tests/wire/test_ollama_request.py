"""Requests to Ollama: what is sent means what was asked, and its own types take it."""

from __future__ import annotations

import base64
import json
from typing import Any

import behind_kit as kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UnsupportedContent
from llm_router.domain.model import Capabilities, Quirk
from llm_router.wire import chat
from llm_router.wire.dialects.ollama_chat import DIALECT

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 60).decode()
ANSWER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def sent(asked: chat.ChatRequest, **changes: Any) -> tuple[dict[str, Any], set[str]]:
    body, lost = kit.encoded(DIALECT, asked, **changes)
    accepted(body)
    return body, lost


def accepted(body: dict[str, Any]) -> None:
    """Assert that the client library's own types take the body. Does nothing where it is not installed."""
    try:
        from ollama._types import ChatRequest, Message, Options, Tool
    except ImportError:
        return
    ChatRequest.model_validate(body)
    for message in body["messages"]:
        held = {"images": [{"value": image} for image in message["images"]]} if "images" in message else {}
        assert Message.model_validate({**message, **held}).role in ("system", "user", "assistant", "tool")
    for tool in body.get("tools", ()):
        Tool.model_validate(tool)
    Options.model_validate(body.get("options", {}))


# --- messages ---------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
words = st.from_regex(r"[a-z]{1,8}", fullmatch=True)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[chat.Message, ...]:
    out = [
        chat.Message(
            role=draw(st.sampled_from(["system", "developer"])), parts=(chat.Text(text=draw(texts)),)
        )
    ]
    for turn in range(draw(st.integers(1, 3))):
        images = [chat.Media(form="image", data=PNG, media_type="image/png")] * draw(st.integers(0, 2))
        out.append(kit.user(draw(texts), *images))
        calls = [
            chat.ToolCall(id=f"c{turn}{n}", name=name, arguments=json.dumps(draw(st.dictionaries(words, texts, max_size=2))))
            for n, name in enumerate(draw(st.lists(words, max_size=2)))
        ]  # fmt: skip
        said: list[chat.Part] = []
        if draw(st.booleans()):
            said.append(
                chat.Thinking(text=draw(texts), origin=draw(st.sampled_from(["ollama_chat", "openai_chat"])))
            )
        if draw(st.booleans()) or not (calls or said):
            said.append(chat.Text(text=draw(texts)))
        out.append(kit.assistant(*said, *calls))
        out += [kit.result(call.id, draw(texts), name="elsewhere") for call in calls]
    return tuple(out)


def plain(messages: tuple[chat.Message, ...]) -> list[tuple[Any, ...]]:
    """A conversation by meaning, from the canonical form."""
    names = {p.id: p.name for m in messages for p in m.parts if isinstance(p, chat.ToolCall)}
    out: list[tuple[Any, ...]] = []
    for message in messages:
        role = "system" if message.role == "developer" else message.role
        said = [p.text for p in message.parts if isinstance(p, chat.Text)]
        thoughts = [p.text for p in message.parts if isinstance(p, chat.Thinking)]
        images = [p.data for p in message.parts if isinstance(p, chat.Media)]
        calls = [
            (p.id, p.name, json.loads(p.arguments)) for p in message.parts if isinstance(p, chat.ToolCall)
        ]
        for part in message.parts:
            if isinstance(part, chat.ToolResult):
                said = [t.text for t in part.content if isinstance(t, chat.Text)]
                role = f"tool {names[part.call_id]} {part.call_id}"
        out.append((role, "\n".join(said), "\n".join(thoughts), images, calls))
    return out


def naive(body: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The same from what is sent, read by a reader of its own."""
    out = []
    for message in body["messages"]:
        role = message["role"]
        if role == "tool":
            role = f"tool {message['tool_name']} {message['tool_call_id']}"
        calls = [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls", [])
        ]
        out.append((role, message["content"], message.get("thinking", ""), message.get("images", []), calls))
    return out


@settings(max_examples=80)
@given(messages=conversations())
def test_a_conversation_keeps_its_meaning(messages: tuple[chat.Message, ...]) -> None:
    body, lost = sent(kit.request(*messages))
    assert naive(body) == plain(messages)
    assert lost == set()


def test_images_go_as_bare_base64() -> None:
    parts = (
        "See",
        chat.Media(form="image", url=f"data:image/png;base64,{PNG}"),
        chat.Media(
            form="file", data=base64.b64encode(b"ebb").decode(), media_type="text/plain", filename="a.txt"
        ),
        chat.Media(form="image", data=PNG, media_type="image/png", detail="high"),
    )
    body, lost = sent(kit.request(kit.user(*parts)))
    assert body["messages"] == [{"role": "user", "content": "See\na.txt:\n\nebb", "images": [PNG, PNG]}]
    assert lost == {"messages[].content[].image_url.detail"}


@pytest.mark.parametrize(
    "part",
    [
        chat.Media(form="image", url="https://pictures.example/a.png"),
        chat.Media(form="audio", data="UklGRg==", media_type="audio/wav"),
        chat.Media(form="file", data="JVBERi0=", media_type="application/pdf"),
        chat.Media(form="file", file_id="file-1", origin="openai_chat"),
        chat.Media(form="image", url="data:broken"),
    ],
)
def test_other_media_are_refused_with_a_reason(part: chat.Media) -> None:
    with pytest.raises(UnsupportedContent, match=r"send|read"):
        kit.encoded(DIALECT, kit.request(kit.user("See", part)))


def test_signed_reasoning_of_others_is_not_sent() -> None:
    signed = chat.Thinking(text="secret", signature="s", origin="anthropic_messages")
    body, lost = sent(kit.request(kit.assistant(signed, "So.")))
    assert "secret" not in json.dumps(body)
    assert lost == {"messages[].reasoning"}


def test_tool_results_with_images_errors_and_nothing() -> None:
    shot = chat.ToolResult(
        call_id="a",
        content=(chat.Text(text="done"), chat.Media(form="image", data=PNG, media_type="image/png")),
    )
    broken = chat.ToolResult(call_id="b", content=(chat.Text(text="no such port"),), is_error=True)
    called = kit.assistant(*(chat.ToolCall(id=i, name=f"f{i}", arguments="") for i in "abc"))
    tools = chat.Message(role="tool", parts=(shot, broken, chat.ToolResult(call_id="c")))
    body, _ = sent(kit.request(kit.user("?"), called, tools))
    assert [(m["tool_name"], m["content"]) for m in body["messages"][2:5]] == [
        ("fa", "done"), ("fb", '{"error":"no such port"}'), ("fc", ""),
    ]  # fmt: skip
    assert body["messages"][5] == {"role": "user", "content": "", "images": [PNG]}


def test_what_only_others_have_is_declared() -> None:
    asked = kit.request(
        kit.user(chat.Opaque(dialect="gemini_generate", name="executableCode", raw=chat.Raw(b"{}")), "Hi"),
        kit.assistant(chat.Text(text="So.", citations=(chat.Citation(url="https://a.example"),))),
        chat.Message(role="user", name="ann", parts=(chat.Text(text="Hi", cache=chat.CacheMark()),)),
    )
    assert sent(asked)[1] == {"executableCode", "messages[].annotations", "messages[].name", "cache_control"}


def test_an_empty_conversation_is_refused() -> None:
    with pytest.raises(UnsupportedContent, match="empty"):
        kit.encoded(DIALECT, kit.request(kit.user("")))


def test_arguments_that_are_no_object_are_sent_as_text() -> None:
    body, lost = sent(kit.request(kit.assistant(chat.ToolCall(id="", name="f", arguments="[1"))))
    assert body["messages"][0]["tool_calls"] == [{"function": {"name": "f", "arguments": {"_raw": "[1"}}}]
    assert lost == {"messages[].tool_calls[].function.arguments"}


# --- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_a_stream_is_always_said(stream: bool) -> None:
    body, _ = sent(kit.request(stream=stream))
    assert body == {
        "model": "upstream-model", "messages": [{"role": "user", "content": "Hi"}], "stream": stream,
    }  # fmt: skip


def test_sampling_goes_into_the_options() -> None:
    body, lost = sent(kit.request(temperature=0.5, top_p=1.0, top_k=40, frequency_penalty=-1.0, presence_penalty=2.0,
                                  seed=-7, max_tokens=99, stop=("a", "b"), logprobs=True, top_logprobs=3))  # fmt: skip
    assert body["options"] == {
        "temperature": 0.5, "top_p": 1.0, "top_k": 40, "frequency_penalty": -1.0, "presence_penalty": 2.0,
        "seed": -7, "num_predict": 99, "stop": ["a", "b"],
    }  # fmt: skip
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)
    assert lost == set()


def test_limits() -> None:
    body, lost = sent(kit.request(max_tokens=9000), output_tokens_max=8000)
    assert (body["options"]["num_predict"], lost) == (8000, {"max_tokens"})
    assert sent(kit.request(), output_tokens_cap=50)[0]["options"] == {"num_predict": 50}


def test_own_members_of_other_clients_go_through_under_what_was_said() -> None:
    extras = {"options": chat.Raw(b'{"num_ctx":8192,"temperature":2}'), "keep_alive": chat.Raw(b'"5m"')}
    body, lost = sent(kit.request(temperature=0.5, extras=extras))
    assert (body["options"], body["keep_alive"]) == ({"num_ctx": 8192, "temperature": 0.5}, "5m")
    assert lost == set()


def test_options_without_a_word_are_declared() -> None:
    _, lost = sent(kit.request(n=2, user="u", service_tier="flex", extras={"logit_bias": chat.Raw(b"{}")}))
    assert lost == {"n", "user", "service_tier", "logit_bias"}


def test_a_model_whose_sampling_is_fixed_and_quirks() -> None:
    body, lost = sent(kit.request(temperature=0.5), capabilities=Capabilities(sampling=False))
    assert ("options" in body, lost) == (False, {"temperature"})
    quirk = Quirk(
        edit="default", field="options.num_ctx", why="long prompts are cut", value=chat.Raw(b"32768")
    )
    assert sent(kit.request(), quirks=(quirk,))[0]["options"] == {"num_ctx": 32768}


# --- tools, JSON, reasoning -------------------------------------------------------------------------------------


def test_tools_are_functions_with_parameters() -> None:
    tools = (kit.tool("tide", ANSWER, description="When?"), kit.tool("noon"), kit.tool("say", custom=True))
    body, lost = sent(kit.request(tools=tools))
    assert body["tools"] == [
        {"type": "function", "function": {"name": "tide", "description": "When?", "parameters": ANSWER}},
        {"type": "function", "function": {"name": "noon", "parameters": {"type": "object", "properties": {}}}},
        {"type": "function", "function": {"name": "say", "parameters": {
            "type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}}},
    ]  # fmt: skip
    assert lost == set()


@pytest.mark.parametrize(
    ("choice", "names", "lost"),
    [
        (chat.ToolChoice(mode="auto"), ["a", "b"], set()),
        (chat.ToolChoice(mode="none"), None, set()),
        (chat.ToolChoice(mode="required"), ["a", "b"], {"tool_choice"}),
        (chat.ToolChoice(mode="tool", name="b"), ["b"], {"tool_choice"}),
        (chat.ToolChoice(mode="auto", allowed=("a",)), ["a"], set()),
    ],
)
def test_a_tool_choice_narrows_but_forces_nothing(
    choice: chat.ToolChoice, names: list[str] | None, lost: set[str]
) -> None:
    body, told = sent(kit.request(tools=(kit.tool("a"), kit.tool("b")), tool_choice=choice))
    assert (names is None) == ("tools" not in body)
    assert [tool["function"]["name"] for tool in body.get("tools", [])] == (names or [])
    assert told == lost


def parameters(schema: Any) -> tuple[Any, set[str]]:
    body, lost = sent(kit.request(tools=(kit.tool("f", schema),)))
    return body["tools"][0]["function"]["parameters"], lost


def test_references_are_written_out_since_the_server_drops_them() -> None:
    port = {"type": "object", "properties": {"name": {"type": "string"}}}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/p"}, "b": {"$ref": "#/$defs/p"}},
              "required": ["a"], "$defs": {"p": port}, "additionalProperties": False}  # fmt: skip
    written, lost = parameters(schema)
    assert written == {"type": "object", "properties": {"a": port, "b": port}, "required": ["a"]}
    assert lost == set()


def test_null_is_a_type_and_bounds_are_declared() -> None:
    schema = {"type": "object", "properties": {
        "a": {"type": ["string", "null"], "maxLength": 3}, "b": {"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "B"}}}  # fmt: skip
    written, lost = parameters(schema)
    assert written["properties"]["a"] == {"type": ["string", "null"]}
    assert written["properties"]["b"]["type"] == ["integer", "null"]
    assert lost == {"tools[].function.parameters.maxLength"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "properties", "items", "anyOf", "allOf", "oneOf", "required", "enum", "$ref", "const",
                         "description"]) | words,
        inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(schema=json_values)
def test_any_schema_gives_a_tool_that_the_server_can_read(schema: Any) -> None:
    written, _ = parameters(schema)
    assert written["type"] == "object"
    _readable(written)


def _readable(node: Any) -> None:
    """What the server's own types demand of a schema."""
    assert isinstance(node, dict)
    kind = node.get("type", "string")
    assert isinstance(kind, str) or all(isinstance(name, str) for name in kind)
    assert isinstance(node.get("description", ""), str)
    assert all(isinstance(name, str) for name in node.get("required", []))
    assert isinstance(node.get("enum", []), list)
    for inner in [*node.get("properties", {}).values(), *node.get("anyOf", [])]:
        _readable(inner)


def test_strict_custom_grammar_and_foreign_tools_are_declared() -> None:
    tools = (
        kit.tool("a", ANSWER, strict=True),
        kit.tool("b", custom=True, format=chat.Raw(b'{"type":"grammar"}')),
        chat.Tool(name="web_search", dialect="anthropic_messages", raw=chat.Raw(b"{}")),
    )
    _, lost = sent(kit.request(tools=tools, parallel_tool_calls=False))
    assert lost == {
        "tools[].function.strict",
        "tools[].custom.format",
        "tools[web_search]",
        "parallel_tool_calls",
    }


def test_json() -> None:
    plain_ = chat.ResponseFormat(mode="json_object")
    body, lost = sent(kit.request(response_format=plain_))
    assert body["format"] == "json"
    assert "JSON" in body["messages"][0]["content"]
    assert lost == set()
    assert len(sent(kit.request(kit.user("as JSON"), response_format=plain_))[0]["messages"]) == 1
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "$defs": {}}
    wanted = chat.ResponseFormat(
        mode="json_schema", schema=chat.Raw(json.dumps(schema).encode()), strict=True
    )
    body, lost = sent(kit.request(response_format=wanted))
    assert (body["format"], lost, len(body["messages"])) == (schema, set(), 1)
    any_ = chat.ResponseFormat(mode="json_schema", schema=chat.Raw(b"true"))
    body, lost = sent(kit.request(response_format=any_))
    assert (body["format"], lost) == ("json", {"response_format"})


LEVELS = ("low", "medium", "high")


@pytest.mark.parametrize(
    ("asked", "levels", "written", "lost"),
    [
        (chat.Reasoning(effort="none"), (), False, set()),
        (chat.Reasoning(enabled=False), LEVELS, False, set()),
        (chat.Reasoning(effort="high"), LEVELS, "high", set()),
        (chat.Reasoning(effort="minimal"), LEVELS, "low", {"reasoning_effort"}),
        (chat.Reasoning(effort="max"), LEVELS, "high", {"reasoning_effort"}),
        (chat.Reasoning(effort="high"), (), True, {"reasoning_effort"}),
        (chat.Reasoning(enabled=True, budget_tokens=2000), (), True, {"thinking.budget_tokens"}),
        (chat.Reasoning(adaptive=True), LEVELS, True, set()),
        (chat.Reasoning(summary="auto"), (), None, set()),
        (None, (), None, set()),
    ],
)
def test_how_much_to_think(
    asked: chat.Reasoning | None, levels: tuple[str, ...], written: object, lost: set[str]
) -> None:
    able = Capabilities(reasoning=True, reasoning_levels=levels)
    body, told = sent(kit.request(reasoning=asked), capabilities=able)
    assert (body.get("think"), told) == (written, lost)


def test_a_model_that_does_not_reason() -> None:
    plain_ = Capabilities()
    assert sent(kit.request(reasoning=chat.Reasoning(effort="high")), capabilities=plain_)[1] == {
        "reasoning_effort"
    }
    assert sent(kit.request(reasoning=chat.Reasoning(effort="none")), capabilities=plain_)[1] == set()
