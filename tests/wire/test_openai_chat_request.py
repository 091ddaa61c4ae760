"""Requests of the chat form: validated, measured, decoded, encoded and edited."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest, UnsupportedContent
from llm_router.domain.model import Capabilities, Quirk
from llm_router.wire import chat
from llm_router.wire.dialect import Fetched, Inspected, Target
from llm_router.wire.dialects.openai_chat import DIALECT

USER = {"role": "user", "content": "Hi"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}}
PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}},
}


def _body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [USER], **members}).encode()


def _inspect(**members: Any) -> Inspected:
    return DIALECT.inspect(_body(**members), None, None)


def _target(**changes: Any) -> Target:
    base = {"provider": "elsewhere", "model": "up-1", "dialect": "openai_chat"}
    return Target(**(base | changes))


# -- validation ------------------------------------------------------------------------------------

BAD = [
    ({"model": None}, "model"),
    ({"model": 5}, "model"),
    ({"model": ""}, "model"),
    ({"model": "a b"}, "model"),
    ({"model": "m\n"}, "model"),
    ({"model": "\uff4dodel"}, "model"),
    ({"model": "-m"}, "model"),
    ({"model": "m" * 1025}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": ["Hi"]}, "messages[0]"),
    ({"messages": [USER, {"content": "x"}]}, "messages[1].role"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": {"text": "x"}}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0]"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
        "messages[0].content[0].text",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0].image_url",
    ),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}
            ]
        },
        "messages[0].content[0].image_url.url",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}]},
        "messages[0].content[0].input_audio",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
        "messages[0].content[0].file",
    ),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "tool", "content": None, "tool_call_id": "c"}]}, "messages[0].content"),
    ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].name"),
    ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "messages[0].tool_calls[0].id"),
    (
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]}
            ]
        },
        "messages[0].tool_calls[0].function.arguments",
    ),
    (
        {"messages": [{"role": "assistant", "function_call": {"name": "f"}}]},
        "messages[0].function_call.arguments",
    ),
    ({"messages": [{"role": "user", "content": "x", "name": 5}]}, "messages[0].name"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"top_p": 1.01}, "top_p"),
    ({"frequency_penalty": -3}, "frequency_penalty"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"n": True}, "n"),
    ({"stop": 5}, "stop"),
    ({"stop": ["a", 1]}, "stop"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    *[
        ({name: value}, name)
        for name in ("max_tokens", "max_completion_tokens")
        for value in (0, -1, 1.5, 5.0, True, "5", 10**8 + 1, 2**63, 2**64, 10**400, [5])
    ],
    ({"max_tokens": 1, "max_completion_tokens": 100000}, "max_tokens"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": True}, "stream_options"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"seed": 1.5}, "seed"),
    ({"logprobs": 5}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"type": 5, "function": {"name": "f"}}]}, "tools[0]"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        "tools[0].function.parameters",
    ),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].custom.name"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tool_choice": {"name": "f"}}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"functions": [{}]}, "functions[0].name"),
    ({"function_call": "required"}, "function_call"),
    ({"function_call": {}}, "function_call"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": []}}},
        "response_format.json_schema.schema",
    ),
    ({"modalities": "text"}, "modalities"),
    ({"metadata": []}, "metadata"),
    ({"logit_bias": []}, "logit_bias"),
    *[({name: True}, name) for name in ("temperature", "top_p", "n", "seed", "top_k", "top_a", "min_p")],
    ({"repetition_penalty": False}, "repetition_penalty"),
    ({"logit_bias": {"50": 1, "51": True}}, "logit_bias.51"),
    ({"reasoning": {"max_tokens": True}}, "reasoning.max_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": False}}, "thinking.budget_tokens"),
    ({"reasoning_effort": 5}, "reasoning_effort"),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"user": 5}, "user"),
    ({"service_tier": []}, "service_tier"),
]


@pytest.mark.parametrize(("members", "param"), BAD)
def test_what_is_refused(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _inspect(**members)
    assert caught.value.param == param
    assert caught.value.status == 400
    assert len(caught.value.message) > 10


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"model":"m","messages":[{"role":"user","content":"a"}]} x',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"temperature":NaN}',
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"temperature":1e999}',
        b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud83d"}]}',
        b"\xef\xbb\xbf{}",
        '{"model":"m"}'.encode("utf-16"),
        b'{"model":"m","messages":' + b"[" * 100_000,
        _body()[:-1] + b',"x":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
        _body()[:-1] + b',"x":[' + b'{"a":"]}\\\\\\""},' * 100 + b"[" * 150 + b"]" * 151 + b"}",
    ],
)
def test_bodies_that_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.inspect(body, None, None)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "members",
    [
        {"model": "openai/gpt-4o-2024-11-20:free"},
        {"model": "gpt-4o,claude|x@y+z"},
        {"unknown_member": {"deep": [1, 2]}, "models": ["a"]},
        {"temperature": 0, "top_p": 1, "frequency_penalty": -2, "presence_penalty": 2.0},
        {"temperature": None, "stop": None, "tools": None, "n": None, "stream": None, "stream_options": None},
        {"max_tokens": 5, "max_completion_tokens": 5},
        {"max_tokens": 10**8},
        {"stop": ["a", "b", "c", "d"]},
        {"stop": []},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
        {"messages": [{"role": "assistant", "content": None}, {"role": "assistant"}]},
        {"messages": [{"role": "function", "name": "f", "content": None}]},
        {"messages": [{"role": "user", "content": [{"type": "something_new", "x": 1}]}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": "HTTPS://x.example"}]}
            ]
        },
        {"tools": [{"type": "web_search", "anything": True}]},
        {"response_format": {"type": "grammar", "grammar": "x"}},
        {"messages": [{"role": "user", "content": []}]},
        {"tools": [{"function": {"name": "f"}}]},
        {"x": ["[" * 5000]},
        {"x": [[]] * 500},
        {"x": [{"a": '\\"]}['}] * 500},
    ],
)
def test_what_is_taken(members: dict[str, Any]) -> None:
    inspected = _inspect(**members)
    assert inspected.model == members.get("model", "m")
    DIALECT.encode_request(DIALECT.decode_request(inspected), _target())
    DIALECT.edit_request(inspected, _target(), {})


@given(
    st.dictionaries(
        st.sampled_from(
            ["model", "messages", "tools", "functions", "tool_choice", "response_format", "stream_options", "stop", "n"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["role", "content", "type", "text", "function", "name", "arguments", "custom", "file",
                                 "image_url", "url", "tool_calls", "id", "input", "json_schema", "function_call"]),
                inner | st.sampled_from(["user", "assistant", "tool", "text", "file", "function", "custom", "image_url"]),
                max_size=4,
            ),
            max_leaves=15,
        ),
    )
)  # fmt: skip
def test_any_request_is_taken_or_refused(members: dict[str, Any]) -> None:
    try:
        inspected = _inspect(**members)
    except InvalidRequest:
        return
    request = DIALECT.decode_request(inspected)
    DIALECT.edit_request(inspected, _target(), {})
    try:
        DIALECT.encode_request(request, _target())
    except UnsupportedContent:
        return


# -- measurement -----------------------------------------------------------------------------------


def test_measures() -> None:
    found = _inspect(
        stream=True,
        stream_options={"include_usage": False},
        n=3,
        max_completion_tokens=77,
        reasoning={"max_tokens": 100},
        service_tier="flex",
        session_id="s-1",
        tools=[WEATHER, {"type": "custom", "custom": {"name": "shell"}}],
        response_format={"type": "json_schema", "json_schema": {"name": "r", "schema": {}}},
        messages=[
            {"role": "system", "content": "äö"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    IMAGE,
                    PIXEL,
                    {
                        "type": "file",
                        "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
                    },
                    {"type": "input_audio", "input_audio": {"data": "AAAAAAAA", "format": "wav"}},
                    {"type": "video_url", "video_url": {"url": "https://x.example/v.mp4"}},
                ],
            },
        ],
    )
    assert found.stream
    assert found.usage_chunk is False
    assert found.n == 3
    assert found.output_tokens == 100
    assert found.images == 2
    assert found.file_bytes == len("data:application/pdf;base64,AAAA")
    assert found.audio_bytes == 8
    assert found.needs == {"image", "file", "audio", "video", "tools", "json_schema", "stream"}
    assert found.media_urls == (("image", "https://x.example/a.png"), ("video", "https://x.example/v.mp4"))
    assert found.custom_tools == ("shell",)
    assert found.session == "s-1"
    assert found.service_tier == "flex"
    assert found.text_bytes > len("äölook".encode())


def test_text_is_counted_in_bytes() -> None:
    assert _inspect(messages=[{"role": "user", "content": "ä€🌍"}]).text_bytes == 9
    assert _inspect().output_tokens is None
    assert _inspect().usage_chunk is None


def test_the_path_stands_in_for_members() -> None:
    body = json.dumps({"messages": [USER]}).encode()
    assert DIALECT.inspect(body, "from-path", True).model == "from-path"
    assert DIALECT.inspect(body, "from-path", True).stream


# -- wire to canonical -----------------------------------------------------------------------------


def _decode(**members: Any) -> chat.ChatRequest:
    return DIALECT.decode_request(_inspect(**members))


def test_messages_become_canonical() -> None:
    request = _decode(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "See"}, IMAGE, PIXEL]},
            {
                "role": "assistant",
                "content": "Hm",
                "reasoning_content": "think",
                "reasoning_details": [{"type": "reasoning.text", "text": "think", "signature": "sig", "format": "anthropic_messages", "index": 0}],
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "ts"}}},
                    {"id": "c2", "type": "custom", "custom": {"name": "sh", "input": "ls"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c2", "content": "out"},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "42"}]},
        ]
    )  # fmt: skip
    assert request.messages == (
        chat.Message(role="developer", parts=(chat.Text(text="Be brief", cache=chat.CacheMark(ttl="1h")),)),
        chat.Message(
            role="user",
            name="ann",
            parts=(
                chat.Text(text="See"),
                chat.Media(form="image", url="https://x.example/a.png", detail="low"),
                chat.Media(form="image", data="iVBORw0KGgo=", media_type="image/png"),
            ),
        ),
        chat.Message(
            role="assistant",
            parts=(
                chat.Thinking(text="think", signature="sig", origin="anthropic_messages"),
                chat.Text(text="Hm"),
                chat.ToolCall(id="c1", name="f", arguments="{}", signature="ts", origin="gemini_generate"),
                chat.ToolCall(id="c2", name="sh", arguments="ls", custom=True),
            ),
        ),
        chat.Message(role="tool", parts=(chat.ToolResult(call_id="c2", name="sh", custom=True, content=(chat.Text(text="out"),)),)),
        chat.Message(role="tool", parts=(chat.ToolResult(call_id="c1", name="f", content=(chat.Text(text="42"),)),)),
    )  # fmt: skip


def test_legacy_messages_become_canonical() -> None:
    request = _decode(
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
        messages=[
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "7"},
        ],
    )
    call, result = request.messages[1].parts[0], request.messages[2].parts[0]
    assert isinstance(call, chat.ToolCall)
    assert isinstance(result, chat.ToolResult)
    assert call.id == result.call_id
    assert (call.name, result.name) == ("f", "f")
    assert request.tool_choice == chat.ToolChoice(mode="tool", name="f")
    assert request.parallel_tool_calls is False
    assert [tool.name for tool in request.tools] == ["f"]


def test_options_become_canonical() -> None:
    request = _decode(
        stream=True, temperature=0.5, top_p=0.9, top_k=40, frequency_penalty=1, presence_penalty=-1, stop="END",
        seed=7, n=2, logprobs=True, top_logprobs=3, verbosity="low", user="u", metadata={"a": "b"},
        service_tier="flex", modalities=["text", "audio"], prompt_cache_key="k", max_tokens=5,
        parallel_tool_calls=True, tools=[WEATHER, {"type": "web_search"}], logit_bias={"1": 2}, provider={"order": []},
        tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]}},
        response_format={"type": "json_schema", "json_schema": {"name": "r", "strict": True, "schema": {"type": "object"}}},
    )  # fmt: skip
    assert request.stop == ("END",)
    assert (request.temperature, request.top_p, request.top_k, request.seed, request.n) == (
        0.5,
        0.9,
        40,
        7,
        2,
    )
    assert request.tool_choice == chat.ToolChoice(mode="required", allowed=("weather",))
    assert request.tools[1] == chat.Tool(
        name="web_search", dialect="openai_chat", raw=chat.Raw(b'{"type":"web_search"}')
    )
    assert request.response_format is not None
    assert (request.response_format.mode, request.response_format.strict) == ("json_schema", True)
    assert bytes(request.response_format.schema or b"") == b'{"type":"object"}'
    assert bytes(request.metadata or b"") == b'{"a": "b"}'
    assert list(request.extras) == ["logit_bias"]
    assert request.max_tokens == 5


@pytest.mark.parametrize(
    ("members", "reasoning"),
    [
        ({"reasoning_effort": "low"}, chat.Reasoning(effort="low")),
        ({"reasoning_effort": "none"}, chat.Reasoning(effort="none", enabled=False)),
        ({"reasoning": {"effort": "high", "exclude": True}}, chat.Reasoning(effort="high", show=False)),
        (
            {"reasoning": {"max_tokens": 2000, "enabled": True}},
            chat.Reasoning(budget_tokens=2000, enabled=True),
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 4096}},
            chat.Reasoning(enabled=True, budget_tokens=4096),
        ),
        ({"thinking": {"type": "disabled"}}, chat.Reasoning(enabled=False)),
        ({"thinking": {"type": "adaptive"}}, chat.Reasoning(adaptive=True)),
        ({"enable_thinking": False}, chat.Reasoning(enabled=False)),
        ({"include_reasoning": True}, chat.Reasoning(show=True)),
        ({"reasoning": "yes"}, None),
        ({}, None),
    ],
)
def test_reasoning_in_all_its_forms(members: dict[str, Any], reasoning: chat.Reasoning | None) -> None:
    assert _decode(**members).reasoning == reasoning


@pytest.mark.parametrize(
    ("details", "text", "parts"),
    [
        (None, "a", (chat.Thinking(text="a", origin="openai_chat"),)),
        (
            [{"type": "reasoning.text", "text": "a", "index": 0}, {"type": "reasoning.text", "text": "b", "index": 0},
             {"type": "reasoning.text", "signature": "s", "index": 0, "format": "x-v1"}],
            "ab",
            (chat.Thinking(text="ab", signature="s", origin="openai_chat"),),
        ),
        (
            [{"type": "reasoning.encrypted", "data": "blob", "id": "rs", "format": "openai-responses-v1", "index": 0}],
            "short",
            (chat.Thinking(text="short", origin="openai_chat"),
             chat.Thinking(redacted="blob", id="rs", origin="openai_chat/openai-responses-v1")),
        ),
        (
            [{"type": "reasoning.text", "text": "", "signature": "s", "format": "anthropic_messages", "index": 0}],
            "all of it",
            (chat.Thinking(text="all of it", signature="s", origin="anthropic_messages"),),
        ),
    ],
)  # fmt: skip
def test_reasoning_comes_back(details: Any, text: str, parts: tuple[chat.Thinking, ...]) -> None:
    message: dict[str, Any] = {"role": "assistant", "content": None, "reasoning_content": text}
    if details is not None:
        message["reasoning_details"] = details
    assert _decode(messages=[message]).messages[0].parts == parts


# -- canonical to wire -----------------------------------------------------------------------------


def _encode(request: chat.ChatRequest, **changes: Any) -> tuple[dict[str, Any], list[str]]:
    data, losses = DIALECT.encode_request(request, _target(**changes))
    return json.loads(data), [loss.field for loss in losses]


def _request(*parts: chat.Part, role: Any = "user", **changes: Any) -> chat.ChatRequest:
    base: dict[str, Any] = {
        "model": "m", "dialect": "anthropic_messages", "messages": (chat.Message(role=role, parts=parts),)
    }  # fmt: skip
    return chat.ChatRequest(**(base | changes))


def test_streams_ask_for_usage() -> None:
    body, losses = _encode(_request(chat.Text(text="Hi"), stream=True))
    assert body == {
        "model": "up-1", "messages": [{"role": "user", "content": "Hi"}], "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert losses == []


REASONER = Capabilities(reasoning=True, reasoning_levels=("low", "medium", "high"), sampling=False)


def test_reasoning_models_take_no_sampling() -> None:
    request = _request(chat.Text(text="Hi"), temperature=0.2, top_p=1, frequency_penalty=0, max_tokens=9)
    rename = Quirk(edit="rename", field="max_tokens", to="max_completion_tokens", why="w")
    body, losses = _encode(request, capabilities=REASONER, quirks=(rename,))
    assert body == {
        "model": "up-1", "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 9
    }  # fmt: skip
    assert losses == ["temperature"]


@pytest.mark.parametrize(
    ("asked", "levels", "effort", "losses"),
    [
        (chat.Reasoning(effort="high"), ("low", "high"), "high", []),
        (chat.Reasoning(effort="xhigh"), ("low", "high"), "high", ["reasoning.effort"]),
        (chat.Reasoning(effort="medium"), ("low", "high"), "low", ["reasoning.effort"]),
        (chat.Reasoning(budget_tokens=1000), ("minimal", "low"), "minimal", ["reasoning.budget_tokens"]),
        (chat.Reasoning(budget_tokens=30000), ("low", "high"), "high", ["reasoning.budget_tokens"]),
        (chat.Reasoning(enabled=False), ("none", "low"), "none", []),
        (chat.Reasoning(enabled=False), ("low",), "low", ["reasoning.effort"]),
        (chat.Reasoning(effort="low"), (), None, ["reasoning"]),
        (chat.Reasoning(adaptive=True), ("low",), None, []),
        (chat.Reasoning(budget_tokens=-1), ("low",), None, []),
    ],
)
def test_efforts(
    asked: chat.Reasoning, levels: tuple[str, ...], effort: str | None, losses: list[str]
) -> None:
    able = Capabilities(reasoning=True, reasoning_levels=levels)
    body, lost = _encode(_request(chat.Text(text="x"), reasoning=asked), capabilities=able)
    assert (body.get("reasoning_effort"), lost) == (effort, losses)


def test_switching_off_what_is_not_there_loses_nothing() -> None:
    body, losses = _encode(_request(chat.Text(text="x"), reasoning=chat.Reasoning(enabled=False)))
    assert "reasoning_effort" not in body
    assert losses == []


def test_top_k_only_where_it_is_known() -> None:
    request = _request(chat.Text(text="x"), top_k=5)
    assert _encode(request) == ({"model": "up-1", "messages": [{"role": "user", "content": "x"}]}, ["top_k"])
    body, losses = _encode(request, quirks=(Quirk(edit="clamp", field="top_k", min=1, why="w"),))
    assert (body["top_k"], losses) == (5, [])


def test_tools_and_choices() -> None:
    tools = (
        chat.Tool(name="a", parameters=chat.Raw(b'{"type":"object"}'), strict=True),
        chat.Tool(name="b"),
        chat.Tool(name="web_search", dialect="anthropic_messages", raw=chat.Raw(b"{}")),
    )
    choice = chat.ToolChoice(mode="required", allowed=("b",))
    body, losses = _encode(
        _request(chat.Text(text="x"), tools=tools, tool_choice=choice, parallel_tool_calls=False)
    )
    assert [tool["function"]["name"] for tool in body["tools"]] == ["b"]
    assert body["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert body["tool_choice"] == "required"
    assert body["parallel_tool_calls"] is False
    assert losses == ["tools.web_search"]
    named, _ = _encode(
        _request(chat.Text(text="x"), tools=tools, tool_choice=chat.ToolChoice(mode="tool", name="a"))
    )
    assert named["tool_choice"] == {"type": "function", "function": {"name": "a"}}
    assert named["tools"][0]["function"] == {
        "name": "a",
        "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        "strict": True,
    }


def test_media_in_results_follow_in_a_user_message() -> None:
    image = chat.Media(form="image", data="AAAA", media_type="image/png")
    results = chat.Message(
        role="tool",
        parts=(
            chat.ToolResult(call_id="1", content=(chat.Text(text="a"), image)),
            chat.ToolResult(call_id="2", content=(chat.Text(text="b"),), is_error=True),
        ),
    )
    request = chat.ChatRequest(
        model="m", dialect="anthropic_messages",
        messages=(results, chat.Message(role="user", parts=(chat.Text(text="go on"),))),
    )  # fmt: skip
    body, losses = _encode(request)
    assert [m["role"] for m in body["messages"]] == ["tool", "tool", "user", "user"]
    assert body["messages"][1] == {"role": "tool", "tool_call_id": "2", "content": "b"}
    assert body["messages"][2]["content"][1]["image_url"]["url"] == "data:image/png;base64,AAAA"
    assert losses == ["tool_result.is_error"]


def test_reasoning_goes_back_only_home() -> None:
    foreign = chat.Thinking(text="t", signature="s", origin="anthropic_messages")
    own = chat.Thinking(text="u", signature="v", origin="openai_chat/x-v1")
    call = chat.ToolCall(id="c", name="f", arguments="{}", signature="g", origin="gemini_generate")
    request = _request(foreign, own, call, role="assistant")
    body, losses = _encode(request)
    assert body["messages"][0] == {
        "role": "assistant", "content": None, "reasoning_content": "u",
        "reasoning_details": [{"type": "reasoning.text", "text": "u", "signature": "v", "format": "x-v1", "index": 0}],
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }  # fmt: skip
    assert losses == ["messages.thinking"]
    google, _ = _encode(request, knows=("signatures",))
    assert google["messages"][0]["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "g"}}


@pytest.mark.parametrize(
    "part",
    [
        chat.Media(form="file", file_id="f", origin="anthropic_messages"),
        chat.Media(form="image", file_id="f", origin="gemini_generate"),
        chat.Media(form="audio", url="https://x.example/a.mp3"),
    ],
)
def test_content_that_cannot_be_said_is_refused(part: chat.Media) -> None:
    with pytest.raises(UnsupportedContent):
        _encode(_request(part))


def test_files_and_audio() -> None:
    body, _ = _encode(
        _request(
            chat.Media(form="file", data="AAAA", media_type="application/pdf", filename="a.pdf"),
            chat.Media(form="file", data="SGk=", media_type="text/plain", filename="b.txt"),
            chat.Media(form="audio", data="AAAA", media_type="audio/mpeg"),
            chat.Media(form="file", file_id="file-1", origin="openai_chat"),
        )
    )
    assert body["messages"][0]["content"] == [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "text", "text": "b.txt:\n\nHi"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]


def test_foreign_extras_are_losses_and_own_ones_pass() -> None:
    extras = {"min_p": chat.Raw(b"0.1")}
    assert _encode(_request(chat.Text(text="x"), extras=extras))[1] == ["min_p"]
    body, losses = _encode(_request(chat.Text(text="x"), extras=extras, dialect="openai_chat"))
    assert (body["min_p"], losses) == (0.1, [])


@pytest.mark.parametrize(
    ("able", "sent", "losses"),
    [
        (Capabilities(json_schema=True), "json_schema", []),
        (Capabilities(json_object=True), "json_object", ["response_format.json_schema"]),
        (Capabilities(), "json_schema", []),
    ],
)
def test_schemas(able: Capabilities, sent: str, losses: list[str]) -> None:
    asked = chat.ResponseFormat(mode="json_schema", schema=chat.Raw(b"{}"))
    body, lost = _encode(_request(chat.Text(text="x"), response_format=asked), capabilities=able)
    assert (body["response_format"]["type"], lost) == (sent, losses)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
CACHELESS = st.builds(chat.Text, text=TEXT)
MEDIA = st.sampled_from(
    [
        chat.Media(form="image", url="https://x.example/a.png", detail="high"),
        chat.Media(form="image", data="iVBORw0KGgo=", media_type="image/png"),
        chat.Media(form="file", data="JVBERi0=", media_type="application/pdf", filename="a.pdf"),
        chat.Media(form="audio", data="AAAA", media_type="audio/wav"),
        chat.Media(form="video", url="https://x.example/v.mp4"),
    ]
)
ASSISTANT = st.tuples(
    st.lists(st.builds(chat.Thinking, text=TEXT, signature=TEXT, origin=st.just("openai_chat/v1")), max_size=2),
    st.lists(CACHELESS, max_size=1),
    st.lists(
        st.builds(
            chat.ToolCall, id=st.uuids().map(str), name=st.just("f"),
            arguments=st.sampled_from(["{}", '{"a": 1}']), custom=st.just(False),
        ),
        max_size=2,
        unique_by=lambda call: call.id,
    ),
).map(lambda t: chat.Message(role="assistant", parts=(*t[0], *t[1], *t[2])))  # fmt: skip
MESSAGES = st.lists(
    st.builds(chat.Message, role=st.just("system"), parts=st.lists(CACHELESS, min_size=1, max_size=2).map(tuple))
    | st.builds(
        chat.Message, role=st.just("user"), parts=st.lists(CACHELESS | MEDIA, min_size=1, max_size=3).map(tuple),
        name=st.none() | st.just("ann"),
    )
    | ASSISTANT.filter(lambda m: bool(m.parts)),
    min_size=1, max_size=4,
).map(tuple)  # fmt: skip


def _with_results(messages: tuple[chat.Message, ...]) -> tuple[chat.Message, ...]:
    out: list[chat.Message] = []
    for message in messages:
        out.append(message)
        out += (
            chat.Message(
                role="tool", parts=(chat.ToolResult(call_id=p.id, name="f", content=(chat.Text(text="r"),)),)
            )
            for p in message.parts
            if isinstance(p, chat.ToolCall)
        )
    return tuple(out)


@given(
    st.builds(
        chat.ChatRequest,
        model=st.just("up-1"),
        dialect=st.just("openai_chat"),
        messages=MESSAGES.map(_with_results),
        stream=st.booleans(),
        tools=st.just(())
        | st.just((chat.Tool(name="f", description="d", parameters=chat.Raw(b'{"type":"object"}')),)),
        max_tokens=st.none() | st.integers(1, 10**8),
        temperature=st.none() | st.sampled_from([0, 0.5, 2]),
        top_p=st.none() | st.sampled_from([0.5, 1]),
        stop=st.lists(TEXT, max_size=4).map(tuple),
        seed=st.none() | st.integers(-5, 5),
        n=st.integers(1, 3),
        logprobs=st.none() | st.just(True),
        user=st.none() | st.just("u"),
        metadata=st.none() | st.just(chat.Raw(b'{"a":"b"}')),
        response_format=st.none()
        | st.just(chat.ResponseFormat(mode="json_object"))
        | st.just(
            chat.ResponseFormat(
                mode="json_schema", name="r", schema=chat.Raw(b'{"type":"object"}'), strict=True
            )
        ),
        reasoning=st.none() | st.sampled_from([chat.Reasoning(effort="low"), chat.Reasoning(effort="high")]),
        extras=st.just({}) | st.just({"logit_bias": chat.Raw(b'{"1":2}')}),
    )
)
def test_round_trip(request: chat.ChatRequest) -> None:
    able = Capabilities(json_object=True, json_schema=True, reasoning=True, reasoning_levels=("low", "high"))
    data, losses = DIALECT.encode_request(request, _target(capabilities=able))
    assert losses == ()
    assert DIALECT.decode_request(DIALECT.inspect(data, None, None)) == request


# -- editing ---------------------------------------------------------------------------------------


def _edit(data: bytes, fetched: dict[str, Fetched] | None = None, **changes: Any) -> tuple[bytes, list[str]]:
    out, losses = DIALECT.edit_request(DIALECT.inspect(data, None, None), _target(**changes), fetched or {})
    return out, [loss.field for loss in losses]


def test_only_the_model_changes() -> None:
    data = b'{"model":"m",  "messages":[{"role" : "user","content":"\\u00e9  x"}],"temperature":0.70, "new":{"a":[1.0,  2e5]}}'
    out, losses = _edit(data)
    assert out == (
        b'{"model":"up-1","messages":[{"role" : "user","content":"\\u00e9  x"}],"temperature":0.70,"new":{"a":[1.0,  2e5]}}'
    )
    assert losses == []


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False, "include_obfuscation": False}])
def test_streams_always_report_usage(options: Any) -> None:
    out = json.loads(_edit(_body(stream=True, stream_options=options))[0])
    assert out["stream_options"] == {**(options or {}), "include_usage": True}


def test_an_option_that_is_right_keeps_its_bytes() -> None:
    data = b'{"model":"m","stream":true,"stream_options":{"include_usage" :  true},"messages":[{"role":"user","content":"x"}]}'
    assert b'{"include_usage" :  true}' in _edit(data)[0]


def test_members_for_the_gateway_stay_here() -> None:
    data = _body(models=["a"], route="fallback", provider={"order": ["x"]}, session_id="s")
    assert set(json.loads(_edit(data)[0])) == {"model", "messages"}
    assert set(json.loads(_edit(data, knows=("routing",))[0])) == {
        "model",
        "messages",
        "provider",
        "session_id",
    }


def test_the_cap_is_written_only_without_a_limit() -> None:
    assert json.loads(_edit(_body(), output_tokens_cap=50)[0])["max_tokens"] == 50
    assert json.loads(_edit(_body(max_tokens=None), output_tokens_cap=50)[0])["max_tokens"] == 50
    assert json.loads(_edit(_body(max_tokens=5), output_tokens_cap=50)[0])["max_tokens"] == 5
    out = json.loads(_edit(_body(max_completion_tokens=5), output_tokens_cap=50)[0])
    assert "max_tokens" not in out
    rename = Quirk(edit="rename", field="max_tokens", to="max_completion_tokens", why="w")
    assert (
        json.loads(_edit(_body(), output_tokens_cap=50, quirks=(rename,))[0])["max_completion_tokens"] == 50
    )


def test_sampling_is_dropped_where_it_is_refused() -> None:
    out, losses = _edit(_body(temperature=0.5, top_p=1.0, presence_penalty=0), capabilities=REASONER)
    assert set(json.loads(out)) == {"model", "messages"}
    assert losses == ["temperature"]


def test_quirks_apply_to_the_clients_bytes() -> None:
    quirks = (
        Quirk(edit="drop", field="logit_bias", why="w"),
        Quirk(edit="drop", field="messages[].reasoning_content", why="w", lossless=True),
    )
    data = _body(
        logit_bias={"1": 1},
        messages=[USER, {"role": "assistant", "content": "x", "reasoning_content": "t"}],
    )
    out, losses = _edit(data, quirks=quirks)
    assert json.loads(out)["messages"] == [USER, {"role": "assistant", "content": "x"}]
    assert losses == ["logit_bias"]


def test_fetched_media_are_put_in() -> None:
    pdf = {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://x.example/a.pdf"}}
    data = _body(messages=[{"role": "user", "content": [{"type": "text", "text": "t"}, IMAGE, PIXEL, pdf]}])
    fetched = {
        "https://x.example/a.png": Fetched(media_type="image/png", data="AAAA"),
        "https://x.example/a.pdf": Fetched(media_type="application/pdf", data="BBBB"),
    }
    content = json.loads(_edit(data, fetched)[0])["messages"][0]["content"]
    assert content == [
        {"type": "text", "text": "t"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        PIXEL,
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
    ]


def test_developer_becomes_system_where_it_is_unknown() -> None:
    data = _body(messages=[{"role": "developer", "content": "d"}, USER])
    assert [m["role"] for m in json.loads(_edit(data)[0])["messages"]] == ["system", "user"]
    assert [m["role"] for m in json.loads(_edit(data, knows=("developer",))[0])["messages"]] == [
        "developer",
        "user",
    ]


def test_reasoning_of_another_dialect_is_taken_out() -> None:
    detail = {"type": "reasoning.text", "text": "t", "signature": "s", "index": 0}
    turns = [
        {"role": "assistant", "content": "a", "reasoning_content": "t", "reasoning_details": [{**detail, "format": "anthropic_messages"}]},
        {"role": "assistant", "content": "b", "reasoning_content": "t", "reasoning_details": [{**detail, "format": "anthropic-claude-v1"}]},
    ]  # fmt: skip
    out, losses = _edit(_body(messages=[USER, *turns]))
    assert json.loads(out)["messages"] == [USER, {"role": "assistant", "content": "a"}, turns[1]]
    assert losses == ["messages.reasoning_details"]


def test_signatures_of_calls_go_only_to_google() -> None:
    call = {
        "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "s"}},
    }  # fmt: skip
    data = _body(messages=[USER, {"role": "assistant", "content": None, "tool_calls": [call]}])
    assert (
        "extra_content" in json.loads(_edit(data, knows=("signatures",))[0])["messages"][1]["tool_calls"][0]
    )
    bare = json.loads(_edit(data)[0])["messages"][1]["tool_calls"][0]
    assert bare == {name: value for name, value in call.items() if name != "extra_content"}


def test_the_legacy_style_becomes_the_modern_one() -> None:
    data = _body(
        functions=[{"name": "f", "parameters": {"type": "object"}}, {"name": "g"}],
        function_call={"name": "f"},
        messages=[
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
            {"role": "function", "name": "f", "content": "7"},
        ],
    )
    out = json.loads(_edit(data)[0])
    assert "functions" not in out
    assert "function_call" not in out
    assert [tool["function"]["name"] for tool in out["tools"]] == ["f", "g"]
    assert out["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert out["parallel_tool_calls"] is False
    call = out["messages"][1]["tool_calls"][0]
    assert call["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert out["messages"][2] == {"role": "tool", "tool_call_id": call["id"], "content": "7"}
    same = json.loads(_edit(data, knows=("functions",))[0])
    assert same == json.loads(data) | {"model": "up-1"}


def test_legacy_words_without_functions() -> None:
    out = json.loads(_edit(_body(function_call="auto", tools=[WEATHER]))[0])
    assert out["tools"] == [WEATHER]
    assert "tool_choice" not in out


NAMES = st.text(st.characters(categories=["Ll"]), min_size=1, max_size=8).map(lambda name: f"x_{name}")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_an_edit_changes_only_what_is_named(members: dict[str, Any]) -> None:
    data = _body(**members)
    before = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    after = msgspec.json.decode(_edit(data)[0], type=dict[str, msgspec.Raw])
    assert bytes(after.pop("model")) == b'"up-1"'
    del before["model"]
    assert {name: bytes(value) for name, value in after.items()} == {
        name: bytes(value) for name, value in before.items()
    }


# -- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://h.example/v1", "https://h.example/v1/chat/completions"),
        ("https://h.example/v1/", "https://h.example/v1/chat/completions"),
        ("https://h.example/v1/chat/completions", "https://h.example/v1/chat/completions"),
        ("https://h.example/v1?api-version=1", "https://h.example/v1/chat/completions?api-version=1"),
    ],
)
def test_the_url_of_an_operation(base: str, url: str) -> None:
    assert DIALECT.upstream_url(base, "chat", "m", True) == url


def test_headers() -> None:
    assert DIALECT.upstream_headers(True) == (("accept", "text/event-stream"),)
    assert DIALECT.upstream_headers(False) == (("accept", "application/json"),)


def test_documents_in_mistrals_form() -> None:
    part = chat.Media(form="file", data="JVBERi0=", media_type="application/pdf", filename="a.pdf")
    body, losses = _encode(_request(part), knows=("document_url",))
    assert body["messages"][0]["content"] == [
        {
            "type": "document_url",
            "document_url": "data:application/pdf;base64,JVBERi0=",
            "document_name": "a.pdf",
        }
    ]
    assert losses == []
