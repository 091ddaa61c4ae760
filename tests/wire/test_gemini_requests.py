"""Requests: what Google's API refuses is refused, what a client says reaches the provider."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from gemini_kit import TARGET
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest, UnsupportedContent
from llm_router.domain.model import Capabilities, Quirk
from llm_router.wire import chat
from llm_router.wire.chat import ChatRequest, Media, Message, Raw, Text, Thinking, Tool, ToolCall, ToolResult
from llm_router.wire.dialect import Fetched, Inspected, Target
from llm_router.wire.dialects.gemini_generate import DIALECT

NAME = "gemini_generate"
OLD = msgspec.structs.replace(TARGET, model="gemini-2.5-flash")


def inspected(body: object, model: str | None = "gemini-x", stream: bool | None = False) -> Inspected:
    return DIALECT.inspect(json.dumps(body).encode(), model, stream)


def decoded(body: dict[str, Any]) -> ChatRequest:
    return DIALECT.decode_request(inspected(body))


def encoded(request: ChatRequest, target: Target = TARGET) -> tuple[dict[str, Any], list[str]]:
    body, losses = DIALECT.encode_request(request, target)
    return json.loads(body), [loss.field for loss in losses]


def asked(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(model="m", dialect="openai_chat", messages=messages or (user("hi"),), **fields)


def user(text: str) -> Message:
    return Message(role="user", parts=(Text(text=text),))


def said(*parts: chat.Part) -> Message:
    return Message(role="assistant", parts=parts)


def results(*parts: ToolResult) -> Message:
    return Message(role="tool", parts=parts)


# in front


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": ["x"]}, "contents[0]"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": []}]}, "contents[0].parts"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"inlineData": {"data": "aGk="}}]}]}, "contents[0].parts[0].inlineData.mimeType"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": {"parts": {"text": "x"}}, "generationConfig": 5}, "generationConfig"),
        ({"contents": {"parts": {"text": "x"}}, "generationConfig": {"temperature": 3}}, "generationConfig.temperature"),
        ({"contents": {"parts": {"text": "x"}}, "generation_config": {"max_output_tokens": 0}},
         "generationConfig.maxOutputTokens"),
        ({"contents": {"parts": {"text": "x"}}, "generationConfig": {"stopSequences": ["a"] * 6}},
         "generationConfig.stopSequences"),
        ({"contents": {"parts": {"text": "x"}}, "generationConfig": {"candidateCount": 99}},
         "generationConfig.candidateCount"),
        ({"contents": {"parts": {"text": "x"}}, "tools": [{"functionDeclarations": [{}]}]},
         "tools[0].functionDeclarations[0].name"),
        ({"contents": {"parts": {"text": "x"}}, "systemInstruction": 5}, "systemInstruction"),
    ],
)  # fmt: skip
def test_what_google_refuses_is_refused(body: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        inspected(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b"{" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000]
)
def test_bodies_that_are_no_object_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        DIALECT.inspect(body, "m", None)


def test_measures() -> None:
    found = inspected(
        {
            "contents": [
                {"parts": [{"text": "héllo"}, {"inline_data": {"mime_type": "image/png", "data": "aGkh"}},
                           {"fileData": {"mimeType": "application/pdf", "fileUri": "https://a.example/x.pdf"}},
                           {"fileData": {"mimeType": "video/mp4", "fileUri": "https://www.youtube.com/watch?v=1"}}]},
            ],
            "generationConfig": {"maxOutputTokens": 100.0, "candidateCount": 2, "responseSchema": {"type": "STRING"}},
            "tools": {"function_declarations": [{"name": "f"}]},
            "serviceTier": "flex",
        },
        "models/gemini-x", True,
    )  # fmt: skip
    assert (found.model, found.stream, found.output_tokens, found.n) == ("gemini-x", True, 100, 2)
    assert found.needs == {"stream", "image", "file", "video", "json_schema", "tools"}
    assert found.images == 1
    assert found.text_bytes >= 6
    assert found.media_urls == (("file", "https://a.example/x.pdf"),)
    assert found.service_tier == "flex"


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("gemini-x", {}, "gemini-x"),
        ("models/gemini-x", {"model": "models/other"}, "gemini-x"),
        (None, {"model": "models/gemini-y"}, "gemini-y"),
        ("publishers/google/models/g", {}, "g"),
        ("anthropic/claude", {}, "anthropic/claude"),
    ],
)
def test_the_model_comes_from_the_path(path: str | None, body: dict[str, Any], model: str) -> None:
    assert inspected({"contents": [{"parts": [{"text": "x"}]}], **body}, path).model == model


def test_a_request_without_a_model_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        inspected({"contents": [{"parts": [{"text": "x"}]}]}, None)
    assert caught.value.param == "model"


FULL = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "Look"}, {"inlineData": {"mimeType": "image/png", "data": "aGkh"}}]},
        {"role": "model", "parts": [
            {"text": "Hm.", "thought": True},
            {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "f", "args": {"x": 2}}},
            {"executableCode": {"language": "PYTHON", "code": "1"}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "f", "response": {"result": "one"}}},
            {"functionResponse": {"name": "f", "response": {"error": "no"}}},
            {"text": "go on"}]},
    ],
    "tools": [{"functionDeclarations": [
        {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"x": {"type": "INTEGER"}}}}]},
        {"googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]},
                   "retrievalConfig": {"languageCode": "de"}},
    "generationConfig": {"temperature": 0.5, "topP": 0.9, "topK": 7, "maxOutputTokens": 50, "stopSequences": ["END"],
                         "seed": 3, "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
                         "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
                         "speechConfig": {"languageCode": "de-DE"}, "responseModalities": ["TEXT"]},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "cachedContent": "cachedContents/1",
    "novelty": [1],
}  # fmt: skip


def test_a_full_request_becomes_canonical() -> None:
    request = decoded(FULL)
    roles = [message.role for message in request.messages]
    assert roles == ["system", "user", "assistant", "tool", "user"]
    assert request.messages[1].parts[1] == Media(form="image", data="aGkh", media_type="image/png")
    thought, first, second, code = request.messages[2].parts
    assert isinstance(thought, Thinking)
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert isinstance(code, chat.Opaque)
    assert (first.signature, first.origin, second.signature) == ("c2ln", NAME, None)
    assert first.id != second.id
    one, two = request.messages[3].parts
    assert isinstance(one, ToolResult)
    assert isinstance(two, ToolResult)
    assert (one.call_id, one.name, one.content, one.is_error) == (first.id, "f", (Text(text="one"),), False)
    assert (two.call_id, two.is_error) == (second.id, True)
    assert request.tool_choice == chat.ToolChoice(mode="tool", name="f")
    assert request.tools[0].parameters is not None
    schema = json.loads(bytes(request.tools[0].parameters))
    assert schema == {"type": "object", "properties": {"x": {"type": "integer"}}}
    assert request.tools[1].name == "googleSearch"
    assert request.response_format is not None
    assert request.response_format.mode == "json_schema"
    assert request.reasoning == chat.Reasoning(effort="low", show=True)
    assert (request.temperature, request.top_k, request.max_tokens, request.stop) == (0.5, 7, 50, ("END",))
    assert set(request.extras) == {
        "safetySettings",
        "cachedContent",
        "novelty",
        "generationConfig",
        "toolConfig",
    }


def snaked(value: Any) -> Any:
    """The same request with snake_case members wherever they are Google's own."""

    def name(key: str) -> str:
        return "".join("_" + c.lower() if c.isupper() else c for c in key)

    if isinstance(value, list):
        return [snaked(v) for v in value]
    return {name(k): snaked(v) for k, v in value.items()} if isinstance(value, dict) else value


def test_both_spellings_mean_the_same() -> None:
    ours, theirs = decoded(FULL), decoded(snaked(FULL))
    assert theirs.messages[:2] == ours.messages[:2]
    assert theirs.messages[3:] == ours.messages[3:]
    assert msgspec.structs.replace(theirs, messages=(), extras={}) == msgspec.structs.replace(
        ours, messages=(), extras={}
    )
    assert set(theirs.extras) == set(ours.extras)


def test_a_full_request_survives_the_bridge_to_its_own_dialect() -> None:
    body, losses = encoded(decoded(FULL))
    assert losses == []
    for name in ("safetySettings", "cachedContent", "novelty", "toolConfig", "systemInstruction"):
        assert body[name] == FULL[name]
    assert body["generationConfig"] == FULL["generationConfig"]
    assert body["tools"][1] == {"googleSearch": {}}
    again = decoded(body)
    assert again.messages == decoded(FULL).messages
    assert msgspec.structs.replace(again, messages=()) == msgspec.structs.replace(decoded(FULL), messages=())


def test_results_find_their_calls_by_id_and_by_order() -> None:
    def call(id_: str | None) -> dict[str, Any]:
        return {"functionCall": {"name": "f", "args": {}} | ({"id": id_} if id_ else {})}

    def answer(id_: str | None, text: str) -> dict[str, Any]:
        return {
            "functionResponse": {"name": "f", "response": {"output": text}} | ({"id": id_} if id_ else {})
        }

    request = decoded({"contents": [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": [call("a"), call("b")]},
        {"role": "user", "parts": [answer("b", "B"), answer("a", "A")]},
        {"role": "model", "parts": [call(None), call(None)]},
        {"role": "function", "parts": [answer(None, "1"), answer(None, "2")]},
    ]})  # fmt: skip
    assert [part.call_id for part in request.messages[2].parts if isinstance(part, ToolResult)] == ["b", "a"]
    calls = [part.id for part in request.messages[3].parts if isinstance(part, ToolCall)]
    assert [part.call_id for part in request.messages[4].parts if isinstance(part, ToolResult)] == calls
    body, _ = encoded(request)
    sent = [part["functionResponse"]["id"] for part in body["contents"][2]["parts"]]
    assert sent == ["a", "b"], "in the order of the calls"


json_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
request_parts = st.one_of(
    st.builds(Text, text=json_texts, signature=st.none() | st.just("c2ln")).map(
        lambda p: p if p.signature is None else msgspec.structs.replace(p, origin=NAME)
    ),
    st.builds(Media, form=st.just("image"), data=st.just("aGkh"), media_type=st.just("image/png")),
    st.builds(Media, form=st.just("file"), url=st.just("https://a.example/d.pdf"), media_type=st.just("application/pdf")),
    st.builds(Media, form=st.just("video"), file_id=st.just("gs://b/v"), media_type=st.just("video/mp4"), origin=st.just(NAME)),
)  # fmt: skip


@settings(max_examples=80)
@given(
    st.lists(st.lists(request_parts, min_size=1, max_size=3), min_size=1, max_size=3),
    st.lists(json_texts | st.just('{"a":1}') | st.just(""), max_size=3),
    st.booleans(),
)
def test_round_trip_of_requests(turns: list[list[Any]], answers: list[str], failed: bool) -> None:
    messages: list[Message] = []
    for number, parts in enumerate(turns):
        messages.append(Message(role="user", parts=tuple(parts)))
        calls = tuple(
            ToolCall(id=f"c{number}_{n}", name="f", arguments='{"x":[1,"é"]}', origin=NAME, signature="c2ln")
            for n in range(len(answers))
        )
        messages.append(said(Text(text="ok"), *calls))
        if calls:
            found = (
                ToolResult(
                    call_id=call.id, name="f", is_error=failed and bool(text),
                    content=(Text(text=text),) if text else (Text(text=""),),
                )
                for call, text in zip(calls, answers, strict=True)
            )  # fmt: skip
            messages.append(results(*found))
            messages.append(said(Text(text="done")))
    request = ChatRequest(
        model="gemini-x",
        dialect=NAME,
        messages=tuple(messages),
        tools=(Tool(name="f"),),
        temperature=0.25,
        n=2,
    )
    body, losses = DIALECT.encode_request(request, TARGET)
    assert losses == ()
    back = DIALECT.decode_request(DIALECT.inspect(body, "gemini-x", False))
    joined: list[Message] = []
    for message in request.messages:  # neighbours of one role become one turn
        if joined and joined[-1].role == message.role:
            joined[-1] = msgspec.structs.replace(joined[-1], parts=(*joined[-1].parts, *message.parts))
        else:
            joined.append(message)
    assert back.messages == tuple(joined)
    assert (back.temperature, back.n, back.tools) == (0.25, 2, request.tools)


# behind


def test_roles_and_neighbours() -> None:
    body, losses = encoded(
        asked(
            Message(role="system", parts=(Text(text="A"),)), Message(role="developer", parts=(Text(text="B"),)),
            user("1"), user("2"), said(Text(text="3")), user("4"),
        )
    )  # fmt: skip
    assert body["systemInstruction"] == {"parts": [{"text": "A"}, {"text": "B"}]}
    assert [c["role"] for c in body["contents"]] == ["user", "model", "user"]
    assert body["contents"][0]["parts"] == [{"text": "1"}, {"text": "2"}]
    assert losses == []


def test_system_text_alone_becomes_a_turn() -> None:
    body, losses = encoded(asked(Message(role="system", parts=(Text(text="A"),))))
    assert body["contents"] == [{"role": "user", "parts": [{"text": "A"}]}]
    assert "systemInstruction" not in body
    assert losses == ["messages[].role"]


def test_foreign_calls_carry_the_documented_placeholder_once() -> None:
    calls = (ToolCall(id="a", name="f", arguments=""), ToolCall(id="b", name="f", arguments="{}"))
    answers = results(ToolResult(call_id="b", content=(Text(text="B"),)), ToolResult(call_id="a"))
    body, losses = encoded(asked(user("x"), said(*calls), answers))
    first, second = body["contents"][1]["parts"]
    assert first["thoughtSignature"] == "skip_thought_signature_validator"
    assert first["functionCall"] == {"id": "a", "name": "f", "args": {}}
    assert "thoughtSignature" not in second
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"id": "a", "name": "f", "response": {}}},
        {"functionResponse": {"id": "b", "name": "f", "response": {"result": "B"}}},
    ]
    assert losses == []
    body, _ = encoded(asked(user("x"), said(*calls), answers), OLD)
    assert all("thoughtSignature" not in part for part in body["contents"][1]["parts"])


def test_own_signatures_go_back_on_their_parts_and_foreign_ones_do_not() -> None:
    parts = (
        Thinking(text="t", signature="own", origin=NAME),
        Thinking(text="claude", signature="c", origin="anthropic_messages"),
        Text(text="x", signature="s1", origin=NAME),
        Text(text="", signature="s2", origin=NAME),
        ToolCall(id="a", name="f", arguments="{}", signature="s3", origin=NAME),
        ToolCall(id="b", name="f", arguments="{}", signature="s4", origin="openai_responses"),
    )
    body, losses = encoded(asked(user("x"), said(*parts)))
    sent = body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in sent] == ["own", "s1", "s2", "s3", None]
    assert sent[0]["thought"] is True
    assert losses == ["messages[].reasoning", "messages[].content[].signature"]


def test_media_in_results_goes_inside_or_behind() -> None:
    image = Media(form="image", data="aGkh", media_type="image/png")
    answers = results(
        ToolResult(call_id="a", content=(Text(text="see"), image)),
        ToolResult(call_id="b", content=(Text(text="-"),)),
    )
    calls = said(ToolCall(id="a", name="f", arguments="{}"), ToolCall(id="b", name="g", arguments="{}"))
    body, _ = encoded(asked(user("x"), calls, answers))
    blob = {"inlineData": {"mimeType": "image/png", "data": "aGkh"}}
    assert body["contents"][2]["parts"][0]["functionResponse"]["parts"] == [blob]
    body, _ = encoded(asked(user("x"), calls, answers), OLD)
    kinds = [next(iter(part)) for part in body["contents"][2]["parts"]]
    assert kinds == ["functionResponse", "functionResponse", "inlineData"]


def test_urls_only_where_they_are_taken() -> None:
    message = Message(role="user", parts=(Media(form="image", url="https://a.example/x.png"),))
    body, _ = encoded(asked(message))
    assert body["contents"][0]["parts"] == [
        {"fileData": {"mimeType": "image/png", "fileUri": "https://a.example/x.png"}}
    ]
    with pytest.raises(UnsupportedContent):
        encoded(asked(message), msgspec.structs.replace(TARGET, takes_urls=("file",)))
    stored = Message(role="user", parts=(Media(form="file", file_id="file-1", origin="openai_chat"),))
    with pytest.raises(UnsupportedContent):
        encoded(asked(stored))


def test_a_result_without_its_call_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="answers no earlier tool call"):
        encoded(asked(user("x"), results(ToolResult(call_id="gone"))))


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (chat.ToolChoice(mode="auto"), {"mode": "AUTO"}),
        (chat.ToolChoice(mode="none"), {"mode": "NONE"}),
        (chat.ToolChoice(mode="required"), {"mode": "ANY"}),
        (
            chat.ToolChoice(mode="required", allowed=("f", "g")),
            {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
        ),
        (chat.ToolChoice(mode="tool", name="f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (chat.ToolChoice(mode="auto", allowed=("f",)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: chat.ToolChoice, config: dict[str, Any]) -> None:
    body, _ = encoded(asked(tools=(Tool(name="f"), Tool(name="g")), tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": config}


SCHEMA = Raw(b'{"type":"object","properties":{"a":{"type":["string","null"]}},"additionalProperties":false}')


def test_schemas_go_verbatim_unless_a_quirk_asks_for_the_reduced_form() -> None:
    request = asked(
        tools=(Tool(name="f", parameters=SCHEMA, strict=True), Tool(name="empty", parameters=Raw(b"{}"))),
        response_format=chat.ResponseFormat(mode="json_schema", name="n", schema=SCHEMA, strict=True),
    )
    body, losses = encoded(request)
    declared, empty = body["tools"][0]["functionDeclarations"]
    assert declared["parametersJsonSchema"] == json.loads(bytes(SCHEMA))
    assert empty == {"name": "empty"}
    assert body["generationConfig"]["responseJsonSchema"] == json.loads(bytes(SCHEMA))
    assert body["generationConfig"]["responseMimeType"] == "application/json"
    assert losses == ["tools[].function.strict"]
    quirks = (
        Quirk(edit="rename", field="tools.functionDeclarations.parametersJsonSchema", to="tools.functionDeclarations.parameters", why="old"),
        Quirk(edit="rename", field="generationConfig.responseJsonSchema", to="generationConfig.responseSchema", why="old",
              models=("other-*",)),
    )  # fmt: skip
    body, losses = encoded(request, msgspec.structs.replace(TARGET, quirks=quirks))
    (declared, _) = body["tools"][0]["functionDeclarations"]
    assert declared["parameters"] == {
        "type": "object",
        "properties": {"a": {"type": "string", "nullable": True}},
    }
    assert "parametersJsonSchema" not in declared
    assert "responseJsonSchema" in body["generationConfig"]
    assert losses == ["tools[].function.strict", "tools[].function.parameters.additionalProperties"]


def test_free_text_tools_become_functions() -> None:
    tool = Tool(name="sql", custom=True, format=Raw(b'{"type":"grammar"}'))
    call = ToolCall(id="c", name="sql", arguments="select 1", custom=True)
    body, losses = encoded(asked(user("x"), said(call), results(ToolResult(call_id="c")), tools=(tool,)))
    declared = body["tools"][0]["functionDeclarations"][0]
    assert declared["parametersJsonSchema"]["required"] == ["input"]
    assert body["contents"][1]["parts"][0]["functionCall"]["args"] == {"input": "select 1"}
    assert losses == ["tools[].custom.format"]


def test_generation_config_and_declared_losses() -> None:
    body, losses = encoded(
        asked(
            Message(role="user", name="bob", parts=(Text(text="x", cache=chat.CacheMark()),)),
            temperature=0.3, top_p=0.4, top_k=5, max_tokens=99_999, stop=tuple("abcdefg"), n=2, seed=1, logprobs=True,
            top_logprobs=3, frequency_penalty=0.1, presence_penalty=0.2, modalities=("text", "audio"),
            response_format=chat.ResponseFormat(mode="json_object"), user="u", verbosity="low", metadata=Raw(b"{}"),
            prompt_cache_key="k", service_tier="flex", parallel_tool_calls=False, tools=(Tool(name="f"),),
            extras={"logit_bias": Raw(b"{}")},
        ),
        msgspec.structs.replace(TARGET, output_tokens_max=8192),
    )  # fmt: skip
    assert body["generationConfig"] == {
        "temperature": 0.3, "topP": 0.4, "topK": 5, "maxOutputTokens": 8192, "stopSequences": list("abcde"),
        "candidateCount": 2, "seed": 1, "responseLogprobs": True, "logprobs": 3, "frequencyPenalty": 0.1,
        "presencePenalty": 0.2, "responseModalities": ["TEXT", "AUDIO"], "responseMimeType": "application/json",
        "thinkingConfig": {"includeThoughts": True},
    }  # fmt: skip
    assert body["serviceTier"] == "flex"
    assert set(losses) == {
        "messages[].name", "cache_control", "parallel_tool_calls", "max_tokens", "stop", "user", "verbosity",
        "metadata", "prompt_cache_key", "logit_bias",
    }  # fmt: skip


def test_caps_and_sampling() -> None:
    target = msgspec.structs.replace(TARGET, output_tokens_cap=500, output_tokens_max=300)
    body, losses = encoded(asked(), target)
    assert body["generationConfig"]["maxOutputTokens"] == 300
    assert losses == []
    fixed = msgspec.structs.replace(TARGET, capabilities=Capabilities(sampling=False))
    body, losses = encoded(asked(temperature=0.1, top_k=1), fixed)
    assert "generationConfig" not in body
    assert losses == ["temperature", "top_k"]


LEVELS = ("low", "medium", "high")


@pytest.mark.parametrize(
    ("model", "levels", "wish", "config", "lost"),
    [
        ("gemini-3-flash-preview", (), {"effort": "minimal"}, {"thinkingLevel": "MINIMAL"}, False),
        ("gemini-3-pro-preview", ("low", "high"), {"effort": "medium"}, {"thinkingLevel": "HIGH"}, True),
        ("gemini-3.1-pro", LEVELS, {"effort": "none"}, {"thinkingLevel": "LOW"}, True),
        ("gemini-3.5-flash", (*LEVELS, "xhigh"), {"effort": "max"}, {"thinkingLevel": "XHIGH"}, True),
        ("gemini-flash-latest", (), {"effort": "high"}, {"thinkingLevel": "HIGH"}, False),
        ("gemini-3-flash", (), {"budget_tokens": 2000}, {"thinkingBudget": 2000}, False),
        ("gemini-2.5-flash", (), {"effort": "none"}, {"thinkingBudget": 0}, False),
        ("gemini-2.5-flash", (), {"enabled": False}, {"thinkingBudget": 0}, False),
        ("gemini-2.5-pro", (), {"effort": "none"}, {"thinkingBudget": 128}, True),
        ("gemini-2.5-pro", (), {"effort": "low"}, {"thinkingBudget": 1024}, False),
        ("gemini-2.5-pro", (), {"effort": "medium"}, {"thinkingBudget": 8192}, False),
        ("gemini-2.5-flash", (), {"effort": "xhigh"}, {"thinkingBudget": 24576}, False),
        ("gemini-2.5-flash", (), {"budget_tokens": 99999}, {"thinkingBudget": 24576}, True),
        ("gemini-2.5-flash-lite", (), {"budget_tokens": 10}, {"thinkingBudget": 512}, True),
        ("gemini-2.5-flash", (), {"adaptive": True}, {"thinkingBudget": -1}, False),
        ("gemini-2.5-flash", (), {"budget_tokens": -1}, {"thinkingBudget": -1}, False),
    ],
)
def test_thinking(
    model: str, levels: tuple[str, ...], wish: dict[str, Any], config: dict[str, Any], lost: bool
) -> None:
    target = msgspec.structs.replace(
        TARGET, model=model, capabilities=Capabilities(reasoning=True, reasoning_levels=levels)
    )
    body, losses = encoded(asked(reasoning=chat.Reasoning(show=False, **wish)), target)
    assert body["generationConfig"]["thinkingConfig"] == config
    assert bool(losses) == lost
    body, _ = encoded(asked(reasoning=chat.Reasoning(**wish)), target)
    shows = config.get("thinkingBudget") != 0
    assert body["generationConfig"]["thinkingConfig"].get("includeThoughts", False) == shows


def test_models_that_do_not_think_get_no_thinking_config() -> None:
    target = msgspec.structs.replace(TARGET, capabilities=Capabilities())
    body, losses = encoded(asked(reasoning=chat.Reasoning(effort="high")), target)
    assert "generationConfig" not in body
    assert losses == ["reasoning_effort"]
    assert encoded(asked(reasoning=chat.Reasoning(effort="none")), target)[1] == []


# the same dialect on both sides


def edited(raw: bytes, target: Target, fetched: dict[str, Fetched] | None = None) -> tuple[bytes, list[str]]:
    body, losses = DIALECT.edit_request(DIALECT.inspect(raw, "gemini-x", False), target, fetched or {})
    return body, [loss.field for loss in losses]


def test_identity_of_requests() -> None:
    for raw in (json.dumps(FULL, indent=1).encode(), json.dumps(snaked(FULL)).encode()):
        assert edited(raw, TARGET) == (raw, [])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (
            b'{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{},"generation_config":{}}',
            "generationConfig",
        ),
        (
            b'{"contents":[{"parts":[{"text":"x"}]}],'
            b'"generationConfig":{"maxOutputTokens":5,"max_output_tokens":30000}}',
            "generationConfig.maxOutputTokens",
        ),
    ],
)
def test_a_member_in_both_spellings_is_refused(body: bytes, param: str) -> None:
    """The provider might obey the one that was not held for."""
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.inspect(body, "m", False)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        b'{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":30000},'
        b'"generationConfig":{"maxOutputTokens":5}}',
        b'{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":30000,"maxOutputTokens":5}}',
        b'{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":30000,'
        b'"maxOutput\\u0054okens":5}}',
    ],
)
def test_a_doubled_member_goes_out_once(body: bytes) -> None:
    found = DIALECT.inspect(body, "m", False)
    assert found.output_tokens == 5
    passed, _ = DIALECT.edit_request(found, TARGET, {})
    assert b"30000" not in passed
    assert json.loads(passed)["generationConfig"] == {"maxOutputTokens": 5}


def test_only_the_named_members_change() -> None:
    raw = (
        b'{"contents": [ {"parts": [{"text": "x"}]} ], "model":"models/a", "generation_config": {"temperature": 1.0},'
        b' "big": 123456789012345678901234567890}'
    )
    quirk = Quirk(edit="set", field="generationConfig.topP", value=Raw(b"0.5"), why="w")
    body, losses = edited(raw, msgspec.structs.replace(TARGET, output_tokens_cap=77, quirks=(quirk,)))
    assert losses == []
    assert json.loads(body) == {
        "contents": [{"parts": [{"text": "x"}]}], "model": "models/" + TARGET.model,
        "generationConfig": {"temperature": 1.0, "maxOutputTokens": 77, "topP": 0.5},
        "big": 123456789012345678901234567890,
    }  # fmt: skip
    assert b'[ {"parts": [{"text": "x"}]} ]' in body
    body, _ = edited(raw, msgspec.structs.replace(TARGET, output_tokens_cap=77))
    assert b'"generation_config":{"temperature":1.0,"maxOutputTokens":77}' in body
    unheard = Quirk(edit="drop", field="generationConfig.topK", why="w")
    named = raw.replace(b"models/a", b"models/" + TARGET.model.encode())
    assert edited(named, msgspec.structs.replace(TARGET, quirks=(unheard,))) == (named, [])


def test_limits_above_the_models_are_lowered() -> None:
    raw = b'{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":9000}}'
    body, losses = edited(raw, msgspec.structs.replace(TARGET, output_tokens_max=8192, output_tokens_cap=5))
    assert json.loads(body)["generationConfig"] == {"maxOutputTokens": 8192}
    assert losses == ["generationConfig.maxOutputTokens"]


def test_fetched_media_takes_the_place_of_its_url() -> None:
    raw = json.dumps(
        {
            "contents": {
                "parts": [
                    {"file_data": {"file_uri": "https://a.example/x", "mime_type": "image/png"}},
                    {"text": "?"},
                ]
            }
        }
    ).encode()
    body, _ = edited(raw, TARGET, {"https://a.example/x": Fetched(media_type="image/png", data="aGk=")})
    assert json.loads(body)["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}}, {"text": "?"},
    ]  # fmt: skip


NAMES = [
    "contents", "parts", "role", "text", "thought", "thoughtSignature", "inlineData", "inline_data", "fileData",
    "mimeType", "data", "fileUri", "functionCall", "functionResponse", "name", "args", "id", "response", "result",
    "error", "tools", "functionDeclarations", "parameters", "parametersJsonSchema", "googleSearch", "toolConfig",
    "functionCallingConfig", "mode", "allowedFunctionNames", "generationConfig", "temperature", "thinkingConfig",
    "thinkingBudget", "thinkingLevel", "responseSchema", "responseMimeType", "stopSequences", "systemInstruction",
    "responseModalities", "seed", "logprobs", "topK", "type", "properties", "novelty",
]  # fmt: skip
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False, width=16)
    | st.sampled_from(["", "x", "user", "model", "system", "function", "ANY", "aGkh", "image/png", "application/json"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip
likely_part = st.one_of(
    st.fixed_dictionaries({"text": st.just("x")}, optional={"thought": junk, "thoughtSignature": junk}),
    st.fixed_dictionaries(
        {"functionCall": st.fixed_dictionaries({"name": st.just("f")}, optional={"args": junk, "id": junk})}
    ),
    st.fixed_dictionaries(
        {
            "functionResponse": st.fixed_dictionaries(
                {"name": st.just("f")}, optional={"response": junk, "id": junk, "parts": junk}
            )
        }
    ),
    st.fixed_dictionaries(
        {"inlineData": st.fixed_dictionaries({"mimeType": st.just("a/b"), "data": st.just("é")})}
    ),
    st.dictionaries(st.sampled_from(NAMES), junk, min_size=1, max_size=3),
)
likely = st.fixed_dictionaries(
    {
        "contents": st.lists(
            st.fixed_dictionaries(
                {"parts": st.lists(likely_part, min_size=1, max_size=3)},
                optional={"role": st.sampled_from(["user", "model", "system", "function"])},
            ),
            min_size=1,
            max_size=3,
        )
    },
    optional=dict.fromkeys(
        ("tools", "toolConfig", "generationConfig", "systemInstruction", "novelty", "serviceTier"), junk
    ),
)


@settings(max_examples=300)
@given(likely | st.dictionaries(st.sampled_from(NAMES), junk, max_size=5))
def test_any_body_is_refused_or_decoded_and_encoded(body: object) -> None:
    raw = json.dumps(body).encode()
    try:
        found = DIALECT.inspect(raw, "m", False)
    except InvalidRequest:
        return
    passed, losses = DIALECT.edit_request(found, TARGET, {})
    assert (json.loads(passed), losses) == (body, ())
    request = DIALECT.decode_request(found)
    with contextlib.suppress(InvalidRequest, UnsupportedContent):
        DIALECT.encode_request(request, TARGET)
