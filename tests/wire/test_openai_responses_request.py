"""Requests of the Responses API: validated, measured, decoded, written and edited."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import responses_kit as kit
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest, UnsupportedContent
from llm_router.domain.model import Capabilities, Quirk
from llm_router.wire import chat
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Fetched, Target
from llm_router.wire.dialects.openai_responses import DIALECT

PIXEL = "data:image/png;base64,iVBORw0KGgo="
HELLO: dict[str, Any] = {"input": "Hello"}
FUNCTION = {
    "type": "function",
    "name": "f",
    "description": "d",
    "parameters": {"type": "object"},
    "strict": True,
}


# -- validation ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"type": 7}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": {"url": "x"}}]}]},
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "input[0].content[0].input_audio",
        ),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "", "arguments": ""}]},
            "input[0].name",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
            "input[0].arguments",
        ),
        ({"input": [{"type": "custom_tool_call", "call_id": "c", "name": "f"}]}, "input[0].input"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"input": [{"type": "reasoning", "summary": "x"}]}, "input[0].summary"),
        ({"input": [{"type": "reasoning", "summary": [{}]}]}, "input[0].summary[0]"),
        ({"input": [{"type": "reasoning", "encrypted_content": 1}]}, "input[0].encrypted_content"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({**HELLO, "temperature": 3}, "temperature"),
        ({**HELLO, "max_output_tokens": 0}, "max_output_tokens"),
        ({**HELLO, "stream": "yes"}, "stream"),
        ({**HELLO, "include": "x"}, "include"),
        ({**HELLO, "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name"),
        ({**HELLO, "tools": [{"name": "f"}]}, "tools[0]"),
        ({**HELLO, "tool_choice": "any"}, "tool_choice"),
        ({**HELLO, "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({**HELLO, "text": {"format": {"type": "json_schema", "name": "s"}}}, "text.format.schema"),
        ({**HELLO, "reasoning": {"effort": 3}}, "reasoning.effort"),
        ({**HELLO, "previous_response_id": "resp_1", "conversation": "conv_1"}, "previous_response_id"),
        ({**HELLO, "model": "not a model"}, "model"),
        ({**HELLO, "model": None}, "model"),
    ],
)
def test_what_openai_refuses_is_refused_with_its_place(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.inspect(kit.body(asked), None, None)
    assert caught.value.param == param
    assert caught.value.message.endswith((".", ")."))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"input":', b'{"input":"\xff"}', b"[" * 200 + b"]" * 200])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        DIALECT.inspect(data, None, None)


def test_input_may_stand_elsewhere() -> None:
    for name, value in (
        ("prompt", {"id": "p"}),
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
    ):
        request = kit.decoded({name: value})
        assert request.messages == ()
        assert json.loads(bytes(request.extras[name])) == value
        body, lost = kit.encoded(request)
        assert body[name] == value
        assert lost == set()


def test_a_request_is_measured() -> None:
    asked = {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "Schön"},
                {"type": "input_image", "image_url": "https://a.example/i.png"},
                {"type": "input_image", "image_url": PIXEL},
                {"type": "input_file", "file_url": "https://a.example/f.pdf"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERg=="},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            ]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "done"},
        ],
        "tools": [FUNCTION, {"type": "custom", "name": "patch"}],
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {}}},
        "stream": True,
        "max_output_tokens": 77,
        "prompt_cache_key": "k",
        "service_tier": "flex",
    }  # fmt: skip
    found = DIALECT.inspect(kit.body(asked), None, None)
    assert found.needs == {"image", "file", "audio", "tools", "json_schema", "stream"}
    assert (found.images, found.file_bytes, found.audio_bytes) == (2, 36, 8)
    assert found.media_urls == (("image", "https://a.example/i.png"), ("file", "https://a.example/f.pdf"))
    tools, text = len(json.dumps(asked["tools"])), len(json.dumps(asked["text"]))
    assert found.text_bytes == 9 + 6 + 3 + 3 + 4 + tools + text
    assert (found.output_tokens, found.stream, found.session, found.service_tier) == (77, True, "k", "flex")
    assert found.custom_tools == ("patch",)


# -- decoding --------------------------------------------------------------------------------------


def test_a_conversation_is_grouped_into_turns() -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": ""}
    custom = {"type": "custom_tool_call", "call_id": "c2", "name": "p", "input": "+ x"}
    request = kit.decoded(
        {
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": "Hi"},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Well."}]},
                call, custom,
                {"type": "function_call_output", "call_id": "c1", "output": "1"},
                {"type": "custom_tool_call_output", "call_id": "c2", "output": [
                    {"type": "input_text", "text": "2"}, {"type": "input_image", "image_url": PIXEL}]},
                {"role": "developer", "content": "Shout."},
            ],
        }
    )  # fmt: skip
    assert [message.role for message in request.messages] == [
        "system", "user", "assistant", "tool", "developer",
    ]  # fmt: skip
    assert request.messages[2].parts == (
        chat.Thinking(signature="gAAA", id="rs_1", origin="openai_responses"),
        chat.Text(text="Well."),
        chat.ToolCall(id="c1", name="f", arguments="{}"),
        chat.ToolCall(id="c2", name="p", arguments="+ x", custom=True),
    )
    first, second = request.messages[3].parts
    assert first == chat.ToolResult(call_id="c1", name="f", content=(chat.Text(text="1"),))
    assert isinstance(second, chat.ToolResult)
    assert (second.name, second.custom, len(second.content)) == ("p", True, 2)


def test_items_of_this_api_alone_stay_in_place() -> None:
    items = [
        {"type": "item_reference", "id": "msg_1"},
        {"role": "user", "content": "Hi"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "message", "role": "assistant", "content": "Found."},
        {"type": "shell_call", "call_id": "s", "action": {}},
        {"type": "shell_call_output", "call_id": "s", "output": []},
        {"type": "moon_call", "x": 1},
    ]
    request = kit.decoded({"input": items})
    assert [message.role for message in request.messages] == ["user", "assistant", "user", "assistant"]
    body, lost = kit.encoded(request)
    assert lost == set()
    assert [item.get("type") for item in body["input"]] == [item.get("type", "message") for item in items]
    assert body["input"][4] == items[4]


def test_content_of_all_kinds() -> None:
    content = [
        {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": "https://a.example/i.png", "detail": "low"},
        {"type": "input_image", "file_id": "file_1", "detail": "auto"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://a.example/f.pdf"},
        {"type": "input_file", "file_id": "file_2"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "input_moon", "phase": 1},
    ]
    request = kit.decoded({"input": [{"role": "user", "content": content}]})
    forms = [getattr(part, "form", type(part).__name__) for part in request.messages[0].parts]
    assert forms == ["Text", "image", "image", "file", "file", "file", "audio", "Opaque"]
    body, lost = kit.encoded(request)
    assert lost == set()
    assert body["input"][0]["content"] == content


def test_options() -> None:
    request = kit.decoded(
        HELLO,
        tools=[
            {**FUNCTION, "defer_loading": True},
            {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
            {"type": "web_search", "search_context_size": "low"},
        ],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        parallel_tool_calls=False,
        max_output_tokens=100, temperature=0.5, top_p=0.9, top_logprobs=2,
        include=["message.output_text.logprobs", "reasoning.encrypted_content", "web_search_call.results"],
        text={"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": True},
              "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto", "context": "all_turns"},
        metadata={"a": "b"}, user="u", service_tier="flex", prompt_cache_key="k",
        store=True, truncation="auto", previous_response_id="resp_1", a_new_member=[1],
    )  # fmt: skip
    assert request.tool_choice == chat.ToolChoice(mode="required", allowed=("f",))
    assert request.tools[1].format is not None
    assert json.loads(bytes(request.tools[1].format)) == {
        "type": "grammar", "grammar": {"syntax": "lark", "definition": "x"},
    }  # fmt: skip
    assert (request.tools[2].name, request.tools[2].dialect) == ("web_search", "openai_responses")
    assert request.reasoning == chat.Reasoning(effort="low", summary="auto", show=True)
    assert request.extras.keys() == {
        "include", "reasoning", "store", "truncation", "previous_response_id", "a_new_member",
        "tools[].defer_loading",
    }  # fmt: skip
    body, lost = kit.encoded(request)
    assert lost == set()
    assert body["store"] is True
    assert body["tools"][0]["defer_loading"] is True
    assert body["tools"][1]["format"] == {"type": "grammar", "syntax": "lark", "definition": "x"}
    assert set(body["include"]) == {"message.output_text.logprobs", "web_search_call.results"}
    assert body["reasoning"] == {"effort": "low", "summary": "auto", "context": "all_turns"}
    assert body["tool_choice"]["type"] == "allowed_tools"
    assert body["previous_response_id"] == "resp_1"


def test_what_asks_for_nothing_is_no_extra() -> None:
    request = kit.decoded(
        HELLO, store=False, background=False, truncation="disabled", stream_options={"include_obfuscation": False},
        include=["reasoning.encrypted_content"], top_logprobs=0, metadata={}, reasoning={},
    )  # fmt: skip
    assert request.extras == {}
    assert (request.metadata, request.top_logprobs, request.reasoning) == (None, None, None)


def test_a_tool_choice_of_a_hosted_tool_stays_as_it_is() -> None:
    choice = {"type": "web_search"}
    request = kit.decoded(HELLO, tools=[choice], tool_choice=choice)
    assert request.tool_choice is None
    assert kit.encoded(request)[0]["tool_choice"] == choice


# -- writing ---------------------------------------------------------------------------------------


def request(*messages: chat.Message, **more: Any) -> chat.ChatRequest:
    shown = messages or (chat.Message(role="user", parts=(chat.Text(text="Hi"),)),)
    return chat.ChatRequest(model="m", messages=shown, dialect=more.pop("dialect", "openai_chat"), **more)


def said(role: Any, *parts: chat.Part, **more: Any) -> chat.Message:
    return chat.Message(role=role, parts=parts, **more)


USER = said("user", chat.Text(text="Hi"))


def test_nothing_is_stored_and_reasoning_can_come_back() -> None:
    body, lost = kit.encoded(request(stream=True))
    assert lost == set()
    assert body == {
        "model": "harbor-1",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    plain = msgspec.structs.replace(kit.TARGET, capabilities=Capabilities())
    assert "include" not in kit.encoded(request(), plain)[0]


def test_system_messages() -> None:
    system, later = (
        said("system", chat.Text(text="A"), chat.Text(text="B")),
        said("developer", chat.Text(text="C")),
    )
    body, _ = kit.encoded(request(system, USER, later))
    assert body["instructions"] == "A\n\nB"
    assert [item["role"] for item in body["input"]] == ["user", "developer"]
    other = msgspec.structs.replace(kit.TARGET, knows=())
    assert [item["role"] for item in kit.encoded(request(system, USER, later), other)[0]["input"]] == [
        "user", "system",
    ]  # fmt: skip
    alone, _ = kit.encoded(request(system))
    assert "instructions" not in alone
    assert alone["input"][0]["role"] == "system"


def test_an_empty_conversation_is_refused() -> None:
    with pytest.raises(UnsupportedContent):
        kit.encoded(request(said("user")))


def test_turns_of_the_model() -> None:
    own = chat.Thinking(text="Hm.", signature="gAAA", id="rs_1", origin="openai_responses")
    body, lost = kit.encoded(
        request(
            USER,
            said("assistant", own, chat.Text(text="Well."), chat.Refusal(text="No."),
                 chat.ToolCall(id="c1", name="f", arguments="{}"),
                 chat.ToolCall(id="c2", name="p", arguments="+ x", custom=True)),
            said("tool", chat.ToolResult(call_id="c1", content=(chat.Text(text="1"),)),
                 chat.ToolResult(call_id="c2", custom=True)),
        )
    )  # fmt: skip
    assert lost == set()
    assert body["input"][1:] == [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}],
         "encrypted_content": "gAAA"},
        {"type": "message", "role": "assistant", "content": "Well."},
        {"type": "message", "id": "msg_turn1", "role": "assistant", "status": "completed",
         "content": [{"type": "refusal", "refusal": "No."}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "p", "input": "+ x"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": ""},
    ]  # fmt: skip


def test_reasoning_that_cannot_go_back_is_a_loss() -> None:
    foreign = chat.Thinking(text="Hm.", signature="s", origin="anthropic_messages")
    stateless = chat.Thinking(text="Hm.", id="rs_1", origin="openai_responses")
    alone = chat.Thinking(signature="gAAA", id="rs_2", origin="openai_responses")
    for parts in (
        (foreign, chat.Text(text="x")),
        (stateless, chat.Text(text="x")),
        (chat.Text(text="x"), alone),
    ):
        body, lost = kit.encoded(request(USER, said("assistant", *parts)))
        assert lost == {"messages[].reasoning"}
        assert [item["type"] for item in body["input"]] == ["message", "message"]


def test_reasoning_goes_back_in_its_own_parts() -> None:
    item = {
        "type": "reasoning", "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b\n\nc"}],
        "content": [{"type": "reasoning_text", "text": "d"}], "encrypted_content": "gAAA",
    }  # fmt: skip
    items = [{"role": "user", "content": "Hi"}, item, {"role": "assistant", "content": "Yes"}]
    asked = kit.decoded({"input": items})
    assert asked.messages[1].parts[0].text == "a\n\nb\n\nc\n\nd"  # type: ignore[union-attr]
    assert kit.encoded(asked)[0]["input"][1] == item


def test_phases_go_back_while_the_text_is_the_same() -> None:
    items = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Let me look.", "phase": "commentary"},
        {"role": "user", "content": "And?"},
    ]
    asked = kit.decoded({"input": items})
    assert kit.encoded(asked)[0]["input"][1]["phase"] == "commentary"
    part = msgspec.structs.replace(asked.messages[1].parts[0], text="Let me look. Found it.")  # type: ignore[type-var]
    changed = request(USER, said("assistant", part), USER)  # type: ignore[arg-type]
    assert "phase" not in kit.encoded(changed)[0]["input"][1]


def test_what_the_api_has_no_word_for_is_lost() -> None:
    body, lost = kit.encoded(
        request(
            said("user", chat.Text(text="Hi"), name="ann"),
            said("assistant", chat.Media(form="image", data="iVBORw0KGgo=", media_type="image/png")),
            said("tool", chat.ToolResult(call_id="c", is_error=True, content=(chat.Text(text="bad"),))),
            n=2, stop=("x",), seed=1, top_k=3, frequency_penalty=0.5, presence_penalty=0.5,
            modalities=("text", "audio"), max_tokens=5,
            tools=(chat.Tool(name="google_search", dialect="gemini_generate", raw=Raw(b"{}")),),
            extras={"logit_bias": Raw(b'{"1":2}'), "store": Raw(b"true"), "safety_identifier": Raw(b'"u"')},
        )
    )  # fmt: skip
    assert lost == {
        "n", "stop", "seed", "top_k", "frequency_penalty", "presence_penalty", "modalities", "max_tokens",
        "tools.google_search", "logit_bias", "messages[].name", "messages.image", "tool_result.is_error",
    }  # fmt: skip
    assert (body["max_output_tokens"], body["safety_identifier"], body["store"]) == (16, "u", False)


@pytest.mark.parametrize(
    "part",
    [
        chat.Media(form="video", url="https://a.example/v.mp4"),
        chat.Media(form="audio", data="UklGRg==", media_type="audio/wav"),
        chat.Media(form="image", file_id="f", origin="anthropic_messages"),
        chat.Media(form="file", data="/w==", media_type="text/plain"),
    ],
)
def test_content_without_a_form_is_refused(part: chat.Media) -> None:
    with pytest.raises(UnsupportedContent):
        kit.encoded(request(said("user", part)))


def test_plain_documents_become_text() -> None:
    part = chat.Media(form="file", data="SGk=", media_type="text/plain", filename="a.txt")
    assert kit.encoded(request(said("user", part)))[0]["input"][0]["content"] == "a.txt:\n\nHi"


def test_tools_of_other_dialects() -> None:
    tools = (
        chat.Tool(name="f"),
        chat.Tool(name="g", parameters=Raw(b'{"type":"object"}'), strict=True, description="d"),
        chat.Tool(name="p", custom=True, format=Raw(b'{"type":"grammar","grammar":{"syntax":"lark"}}')),
    )
    body, lost = kit.encoded(request(tools=tools, tool_choice=chat.ToolChoice(mode="tool", name="p")))
    assert lost == set()
    assert body["tools"] == [
        {
            "type": "function",
            "name": "f",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
        {
            "type": "function",
            "name": "g",
            "description": "d",
            "parameters": {
                "type": "object",
                "properties": {},
                "required": [],
                "additionalProperties": False,
            },
            "strict": True,
        },
        {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "lark"}},
    ]
    assert body["tool_choice"] == {"type": "custom", "name": "p"}


@pytest.mark.parametrize(
    ("asked", "written", "lost"),
    [
        (chat.Reasoning(effort="low"), {"effort": "low"}, set()),
        (chat.Reasoning(effort="max"), {"effort": "high"}, {"reasoning.effort"}),
        (chat.Reasoning(enabled=False), {"effort": "minimal"}, {"reasoning.effort"}),
        (
            chat.Reasoning(budget_tokens=2000, enabled=True),
            {"effort": "low", "summary": "auto"},
            {"reasoning.budget_tokens"},
        ),
        (chat.Reasoning(adaptive=True), {"summary": "auto"}, set()),
        (chat.Reasoning(show=True), {"summary": "auto"}, set()),
        (chat.Reasoning(adaptive=True, show=False), None, set()),
        (chat.Reasoning(summary="concise"), {"summary": "concise"}, set()),
    ],
)
def test_how_much_to_think(asked: chat.Reasoning, written: dict[str, str] | None, lost: set[str]) -> None:
    body, found = kit.encoded(request(reasoning=asked))
    assert (body.get("reasoning"), found) == (written, lost)


def test_json_mode_is_mentioned_since_it_must_be() -> None:
    wanted = chat.ResponseFormat(mode="json_object")
    first = kit.encoded(request(response_format=wanted))[0]["input"][0]
    assert (first["role"], "JSON" in first["content"]) == ("system", True)
    told = said("user", chat.Text(text="As Json, please."))
    assert len(kit.encoded(request(told, response_format=wanted))[0]["input"]) == 1
    assert len(kit.encoded(request(response_format=wanted, dialect="openai_responses"))[0]["input"]) == 1


def test_cache_marks_go_to_models_that_know_them() -> None:
    marked = [chat.Text(text=str(n), cache=chat.CacheMark(ttl="1h")) for n in range(6)]
    for model, count in (("gpt-5.2", 0), ("gpt-5.6-sol", 4), ("openai/gpt-6-luna", 4)):
        target = msgspec.structs.replace(kit.TARGET, model=model)
        body, lost = kit.encoded(request(said("user", *marked)), target)
        content = body["input"][0]["content"]
        assert [part["prompt_cache_breakpoint"] for part in content if len(part) > 2] == [
            {"mode": "explicit"}
        ] * count
        assert lost == ({"cache_control"} if count else set())


def test_ids_that_are_too_long_are_shortened_alike() -> None:
    long = "call_" + "x" * 100
    call, result = chat.ToolCall(id=long, name="f", arguments="{}"), chat.ToolResult(call_id=long)
    items = kit.encoded(request(USER, said("assistant", call), said("tool", result)))[0]["input"]
    assert items[1]["call_id"] == items[2]["call_id"]
    assert len(items[1]["call_id"]) <= 64


def test_formats() -> None:
    schema = chat.ResponseFormat(mode="json_schema", schema=Raw(b'{"type":"object"}'), strict=True)
    assert kit.encoded(request(response_format=schema))[0]["text"]["format"] == {
        "type": "json_schema", "name": "response", "strict": True,
        "schema": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
    }  # fmt: skip
    able = Capabilities(json_object=True)
    body, lost = kit.encoded(
        request(response_format=schema), msgspec.structs.replace(kit.TARGET, capabilities=able)
    )
    assert (body["text"]["format"], lost) == ({"type": "json_object"}, {"response_format.json_schema"})
    assert kit.encoded(request(verbosity="low"))[0]["text"] == {"verbosity": "low"}


def test_limits_sampling_and_quirks() -> None:
    target = Target(
        provider="openai", model="o", dialect="openai_responses", output_tokens_cap=50,
        capabilities=Capabilities(sampling=False),
        quirks=(Quirk(edit="drop", field="user", why="none"), Quirk(edit="set", field="store", value=Raw(b"true"), why="x")),
    )  # fmt: skip
    asked = {**HELLO, "temperature": 0.3, "top_p": 1, "user": "u"}
    ways = (
        DIALECT.edit_request(DIALECT.inspect(kit.body(asked), None, None), target, {}),
        DIALECT.encode_request(kit.decoded(asked), target),
    )
    for data, losses in ways:
        body = json.loads(data)
        assert {"temperature", "user"} <= {loss.field for loss in losses}
        assert (body["max_output_tokens"], body["store"]) == (50, True)
        assert not body.keys() & {"temperature", "top_p", "user"}
    limited, _ = DIALECT.encode_request(kit.decoded({**HELLO, "max_output_tokens": 20}), target)
    assert json.loads(limited)["max_output_tokens"] == 20


# -- editing ---------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
others = st.dictionaries(st.text(min_size=1, max_size=8).map(lambda name: f"x_{name}"), values, max_size=4)


@given(more=others, indent=st.sampled_from([None, 2]), stream=st.booleans())
def test_an_edit_changes_only_the_model(more: dict[str, Any], indent: int | None, stream: bool) -> None:
    asked = {"model": "m", "input": [{"role": "user", "content": "Hé"}], "stream": stream, **more}
    inspected = DIALECT.inspect(json.dumps(asked, indent=indent).encode(), None, None)
    data, losses = DIALECT.edit_request(inspected, kit.TARGET, {})
    assert losses == ()
    assert json.loads(data) == {**asked, "model": "harbor-1"}
    raw = msgspec.json.decode(data, type=dict[str, Raw])
    assert all(bytes(raw[name]) == json.dumps(asked, indent=indent)[0:0].encode() + bytes(
        msgspec.json.decode(json.dumps(asked, indent=indent), type=dict[str, Raw])[name]
    ) for name in asked if name not in ("model", "stream"))  # fmt: skip


@given(more=others)
def test_unknown_members_survive_decoding(more: dict[str, Any]) -> None:
    body, lost = kit.encoded(kit.decoded({"input": "Hi"}, **more))
    assert lost == set()
    assert {name: value for name, value in body.items() if name.startswith("x_")} == {
        name: value for name, value in more.items() if value is not None
    }


def test_fetched_media_are_put_in_place() -> None:
    image, file = "https://a.example/i.png", "https://a.example/f.pdf"
    content = [
        {"type": "input_image", "image_url": image, "detail": "low"},
        {"type": "input_file", "file_url": file},
    ]
    asked = {"input": [
        {"role": "user", "content": content},
        {"type": "function_call_output", "call_id": "c", "output": content[:1]},
        {"role": "user", "content": "text"},
    ]}  # fmt: skip
    fetched = {
        image: Fetched(media_type="image/png", data="iVBORw0KGgo="),
        file: Fetched(media_type="application/pdf", data="JVBERg=="),
    }
    data, _ = DIALECT.edit_request(DIALECT.inspect(kit.body(asked), None, None), kit.TARGET, fetched)
    first, second, third = json.loads(data)["input"]
    assert first["content"] == [
        {"type": "input_image", "detail": "low", "image_url": PIXEL},
        {
            "type": "input_file",
            "filename": "document.pdf",
            "file_data": "data:application/pdf;base64,JVBERg==",
        },
    ]
    assert second["output"][0]["image_url"] == PIXEL
    assert third == asked["input"][2]


# -- round trip ------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
texts = st.builds(chat.Text, text=words)
images = st.just(chat.Media(form="image", data="iVBORw0KGgo=", media_type="image/png", detail="auto"))
thoughts = st.builds(
    chat.Thinking, text=st.just("") | words, signature=words.map(lambda t: "g" + t),
    id=st.integers(0, 99).map(lambda n: f"rs_{n}"), origin=st.just("openai_responses"),
)  # fmt: skip


@st.composite
def conversations(draw: st.DrawFn) -> tuple[chat.Message, ...]:
    out: list[chat.Message] = []
    if draw(st.booleans()):
        out.append(said("system", draw(texts)))
    for turn in range(draw(st.integers(1, 3))):
        out.append(said("user", *draw(st.lists(texts | images, min_size=1, max_size=3))))
        calls = [
            chat.ToolCall(id=f"c{turn}{n}", name="f", arguments=json.dumps({"w": draw(words)}))
            for n in range(draw(st.integers(0, 2)))
        ]
        answer: list[chat.Part] = [
            *draw(st.lists(thoughts, max_size=1)),
            *draw(st.lists(texts, max_size=2)),
            *calls,
        ]
        if len(answer) == 0 or isinstance(answer[-1], chat.Thinking):
            answer.append(draw(texts))
        out.append(said("assistant", *answer))
        if calls:
            results = (
                chat.ToolResult(
                    call_id=call.id, name="f", content=tuple(draw(st.lists(texts, min_size=1, max_size=2)))
                )
                for call in calls
            )
            out.append(said("tool", *results))
    out.append(said("user", draw(texts)))
    return tuple(out)


@given(messages=conversations())
def test_a_conversation_survives_the_wire(messages: tuple[chat.Message, ...]) -> None:
    data, losses = DIALECT.encode_request(request(*messages, dialect="openai_responses"), kit.TARGET)
    assert losses == ()
    again = DIALECT.decode_request(DIALECT.inspect(data, None, None))
    assert again.messages == messages
