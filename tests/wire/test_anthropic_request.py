"""Requests of the Anthropic dialect: inspected, decoded, and written from any canonical request."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import anthropic_kit as kit
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest, UnsupportedContent
from llm_router.domain.model import Capabilities, Quirk
from llm_router.wire import chat
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.anthropic_messages import DIALECT, inspect_count_tokens

NAME = DIALECT.name
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
PDF = base64.b64encode(b"%PDF-1.7\n" + bytes(40)).decode()


def decode(body: dict[str, Any]) -> chat.ChatRequest:
    return DIALECT.decode_request(DIALECT.inspect(json.dumps(body).encode(), None, None))


def encode(request: chat.ChatRequest, at: Target | None = None) -> tuple[dict[str, Any], list[str]]:
    data, losses = DIALECT.encode_request(request, at or kit.target())
    return json.loads(data), [loss.field for loss in losses]


def ask(*messages: chat.Message, **options: Any) -> chat.ChatRequest:
    """A request as the chat form's dialect would decode it."""
    return chat.ChatRequest(model="m", messages=messages or (user("hi"),), dialect="openai_chat", **options)


def user(*parts: str | chat.Part) -> chat.Message:
    return _message("user", parts)


def assistant(*parts: str | chat.Part) -> chat.Message:
    return _message("assistant", parts)


def system(*parts: str | chat.Part) -> chat.Message:
    return _message("system", parts)


def tool(*parts: chat.Part) -> chat.Message:
    return _message("tool", parts)


def _message(role: Any, parts: tuple[str | chat.Part, ...]) -> chat.Message:
    return chat.Message(role=role, parts=tuple(chat.Text(text=p) if isinstance(p, str) else p for p in parts))


def result(call_id: str, *content: str | chat.Text | chat.Media, **more: Any) -> chat.ToolResult:
    parts = tuple(chat.Text(text=c) if isinstance(c, str) else c for c in content)
    return chat.ToolResult(call_id=call_id, content=parts, **more)


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


# --- inspect ---------------------------------------------------------------------------------


_GOOD: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"model": ""}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages.0.content.0.source"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "x"}]}]},
            "messages.0.content.0.tool_use_id",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b"}]}]},
            "messages.0.content.0.input",
        ),
        ({"system": 1}, "system"),
        ({"system": [{"type": "image"}]}, "system.0"),
        ({"tools": {}}, "tools"),
        ({"tools": [1]}, "tools.0"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
        ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
        ({"temperature": 1.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"stream": "yes"}, "stream"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stop_sequences": [1]}, "stop_sequences"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, "thinking.budget_tokens"),
        ({"thinking": "on"}, "thinking"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"output_config": 1}, "output_config"),
        ({"service_tier": 1}, "service_tier"),
    ],
)
def test_what_the_api_refuses_is_refused(change: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        DIALECT.inspect(json.dumps({**_GOOD, **change}).encode(), None, None)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 5000, b'{"a": NaN}'])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        DIALECT.inspect(body, None, None)


def test_inspect_measures() -> None:
    found = DIALECT.inspect(kit.request_bytes("turns"), None, None)
    assert (found.model, found.stream, found.output_tokens) == ("claude-opus-4-1", False, 2048)
    assert found.images == 4  # one of them in a tool result
    assert found.file_bytes == len(base64.b64encode(b"%PDF-1.4\n%tiny\n"))
    assert found.needs == {"image", "file"}
    assert found.media_urls == (("image", "https://img.example/a.jpg"), ("file", "https://doc.example/t.pdf"))
    full = DIALECT.inspect(kit.request_bytes("full"), None, None)
    assert full.needs == {"tools", "json_schema", "stream"}
    assert (full.session, full.service_tier) == ("sailor-7", "fast")  # it is priced by its speed
    plain = DIALECT.inspect(kit.request_bytes("plain"), None, None)
    assert plain.text_bytes == len("When is high water?")
    assert plain.needs == frozenset()


def test_text_is_measured_in_utf8_bytes() -> None:
    body = {**_GOOD, "system": "é", "messages": [{"role": "user", "content": [text("🌊")]}]}
    assert DIALECT.inspect(json.dumps(body).encode(), None, None).text_bytes == 2 + 4


def test_path_overrides_and_counting() -> None:
    body = json.dumps({k: v for k, v in _GOOD.items() if k != "max_tokens"}).encode()
    assert inspect_count_tokens(body, None, None).output_tokens is None
    found = DIALECT.inspect(json.dumps({**_GOOD, "model": None}).encode(), "from-path", True)
    assert (found.model, found.stream) == ("from-path", True)


# --- this dialect to itself, through the canonical form ------------------------------------------


@pytest.mark.parametrize("name", kit.REQUESTS)
def test_requests_round_trip(name: str) -> None:
    body = json.loads(kit.request_bytes(name))
    request = DIALECT.decode_request(DIALECT.inspect(kit.request_bytes(name), None, None))
    found, losses = encode(request, kit.target(body["model"]))
    assert losses == []
    assert _normal(found) == _normal(body)


def _normal(body: dict[str, Any]) -> dict[str, Any]:
    """Contents and results as lists of blocks."""
    out = dict(body)

    def blocks(content: Any) -> Any:
        if isinstance(content, str):
            return [text(content)]
        return [
            {**b, "content": blocks(b["content"])} if b.get("type") == "tool_result" else b for b in content
        ]

    out["messages"] = [{**m, "content": blocks(m["content"])} for m in body["messages"]]
    return out


def test_the_canonical_form_of_a_conversation() -> None:
    request = decode(json.loads(kit.request_bytes("turns")))
    assert [m.role for m in request.messages] == [
        "user",
        "assistant",
        "tool",
        "user",
        "assistant",
        "system",
        "user",
    ]
    results = request.messages[2].parts
    assert [(r.call_id, r.name, r.is_error) for r in results if isinstance(r, chat.ToolResult)] == [
        ("toolu_A", "tide_table", False), ("toolu_B", "screen", True),
    ]  # fmt: skip
    kinds = [type(part).__name__ for part in request.messages[0].parts]
    assert kinds == ["Text", "Media", "Media", "Media", "Media", "Media", "Text", "Text", "Media", "Opaque"]
    thinking, redacted, _, call, caller = request.messages[1].parts
    assert thinking == chat.Thinking(text="Look it up.", signature="c2ln", origin=NAME)
    assert redacted == chat.Thinking(redacted="cmVk", origin=NAME)
    assert isinstance(call, chat.ToolCall)
    assert json.loads(call.arguments) == {"harbour": "Brest"}
    assert call.cache == chat.CacheMark(ttl="5m")
    assert isinstance(caller, chat.ToolCall)
    assert caller.origin == NAME
    assert request.reasoning == chat.Reasoning(budget_tokens=1024, enabled=True, show=True)


def test_options_in_canonical_words() -> None:
    request = decode(json.loads(kit.request_bytes("full")))
    assert request.tool_choice == chat.ToolChoice(mode="required")
    assert request.parallel_tool_calls is False
    assert (request.stop, request.user, request.service_tier) == (("END",), "sailor-7", "default")
    assert request.response_format is not None
    assert request.response_format.mode == "json_schema"
    assert request.reasoning == chat.Reasoning(effort="high")
    assert [t.name for t in request.tools] == ["tide_table", "rare", "web_search_20250305"]
    assert request.tools[2].raw is not None
    assert set(request.extras) == {
        "speed",
        "output_config",
        "tools[].defer_loading",
        "tools[].input_examples",
    }


_WORDS = st.text(st.sampled_from("ab \n.é"), min_size=1, max_size=6).filter(lambda t: t.strip() == t)
_ARGS = st.dictionaries(_WORDS, st.integers() | _WORDS, max_size=2).map(
    lambda a: msgspec.json.encode(a).decode()
)


@st.composite
def _conversations(draw: st.DrawFn) -> chat.ChatRequest:
    messages: list[chat.Message] = []
    if draw(st.booleans()):
        messages.append(system(draw(_WORDS)))
    for turn in range(draw(st.integers(1, 3))):
        messages.append(user(*draw(st.lists(_WORDS, min_size=1, max_size=2))))
        ids = [f"call_{turn}_{n}" for n in range(draw(st.integers(0, 2)))]
        calls = [chat.ToolCall(id=i, name="f", arguments=draw(_ARGS)) for i in ids]
        messages.append(assistant(draw(_WORDS), *calls))
        if ids:
            messages.append(tool(*(result(i, draw(_WORDS), name="f") for i in ids)))
    if messages[-1].role != "user":
        messages.append(user("go on"))
    return chat.ChatRequest(
        model="claude-test",
        messages=tuple(messages),
        dialect=NAME,
        max_tokens=draw(st.integers(1, 99)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_k=draw(st.none() | st.integers(0, 9)),
        stop=tuple(draw(st.lists(_WORDS, max_size=2))),
        stream=draw(st.booleans()),
        user=draw(st.none() | _WORDS),
        tools=tuple(chat.Tool(name=f"f{n}", parameters=chat.Raw(b'{"type":"object"}')) for n in range(2)),
        tool_choice=draw(
            st.sampled_from([None, chat.ToolChoice(mode="tool", name="f1"), chat.ToolChoice(mode="none")])
        ),
        reasoning=draw(st.sampled_from([None, chat.Reasoning(effort="low"), chat.Reasoning(enabled=False)])),
    )


def _merged(request: chat.ChatRequest) -> list[tuple[str, list[Any]]]:
    """Turns by meaning: neighbours of one role together."""
    out: list[tuple[str, list[Any]]] = []
    for message in request.messages:
        parts = [kit.plain_part(part) for part in message.parts]
        for part in parts:
            part["content"] = [kit.plain_part(c) for c in part.get("content") or ()]
        if out and out[-1][0] == message.role:
            out[-1][1].extend(parts)
        else:
            out.append((message.role, parts))
    return out


@given(_conversations())
@settings(max_examples=80, deadline=None)
def test_canonical_requests_round_trip(request_: chat.ChatRequest) -> None:
    data, losses = DIALECT.encode_request(request_, kit.target())
    assert losses == ()
    found = DIALECT.decode_request(DIALECT.inspect(data, None, None))
    assert _merged(found) == _merged(request_)
    rest = {name: getattr(request_, name) for name in request_.__struct_fields__ if name != "messages"}
    assert {name: getattr(found, name) for name in rest} == rest


# --- what the API demands of a conversation --------------------------------------------------------


def test_instructions_and_alternation() -> None:
    body, losses = encode(
        ask(
            system("One."),
            chat.Message(role="developer", parts=(chat.Text(text="Two."),)),
            user("a"),
            user("b"),
            assistant("c"),
            assistant("d"),
            system("Three."),
            user("e"),
        )
    )
    assert body["system"] == [text("One."), text("Two.")]
    assert body["messages"] == [
        {"role": "user", "content": [text("a"), text("b")]},
        {"role": "assistant", "content": [text("c"), text("d")]},
        {"role": "user", "content": [text("Three."), text("e")]},
    ]
    assert losses == []


def test_instructions_alone_and_an_assistant_that_opens() -> None:
    body, _ = encode(ask(system("Say hello.")))
    assert body["messages"] == [{"role": "user", "content": [text("Say hello.")]}]
    assert "system" not in body
    body, _ = encode(ask(assistant("Welcome!"), user("hi")))
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]


def test_results_come_first_and_together() -> None:
    calls = (chat.ToolCall(id="a", name="f", arguments="{}"), chat.ToolCall(id="b", name="g", arguments=""))
    body, _ = encode(
        ask(user("x"), assistant(*calls), tool(result("b", "2")), system("note"), tool(result("a", "1")))
    )
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {}},
    ]
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "b", "content": "2"},
        {"type": "tool_result", "tool_use_id": "a", "content": "1"},
        text("note"),
    ]


def test_forms_of_results() -> None:
    image = chat.Media(form="image", data=PNG, media_type="image/png")
    body, _ = encode(
        ask(user("x"), assistant(chat.ToolCall(id="a", name="f", arguments="{}")),
            tool(result("a"), result("a", "w", is_error=True), result("a", "see", image)))
    )  # fmt: skip
    empty, failed, shown = body["messages"][2]["content"]
    assert empty == {"type": "tool_result", "tool_use_id": "a"}
    assert failed == {"type": "tool_result", "tool_use_id": "a", "content": "w", "is_error": True}
    assert [b["type"] for b in shown["content"]] == ["text", "image"]


def test_empty_text_is_left_out_and_empty_turns_with_it() -> None:
    body, losses = encode(ask(user("a", "", " \n"), assistant(""), user("b")))
    assert body["messages"] == [{"role": "user", "content": [text("a"), text("b")]}]
    assert losses == []
    with pytest.raises(UnsupportedContent):
        encode(ask(user("")))


def test_prefill_ends_without_white_space() -> None:
    body, _ = encode(ask(user("a"), assistant("So: \n")))
    assert body["messages"][-1] == {"role": "assistant", "content": [text("So:")]}
    body, _ = encode(ask(user("a"), assistant("So: \n"), user("b")))
    assert body["messages"][1]["content"] == [text("So: \n")]


def test_call_ids_fit_the_alphabet_and_are_unique() -> None:
    odd, same = "functions.add:0", "call_0"
    messages: list[chat.Message] = [user("x")]
    for call_id in (odd, same, same, "", ""):
        messages += [
            assistant(chat.ToolCall(id=call_id, name="f", arguments="{}")),
            tool(result(call_id, "r")),
        ]
    body, _ = encode(ask(*messages))
    calls = [m["content"][0]["id"] for m in body["messages"] if m["role"] == "assistant"]
    results = [m["content"][0]["tool_use_id"] for m in body["messages"][2:] if m["role"] == "user"]
    assert calls == results
    assert len(set(calls)) == len(calls)
    assert calls[1] == same
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", call_id) for call_id in calls)
    assert encode(ask(*messages))[0] == body


@pytest.mark.parametrize(
    ("arguments", "custom", "found", "lost"),
    [
        ("", False, {}, False),
        (" ", False, {}, False),
        ('{"a": 1.0}', False, {"a": 1.0}, False),
        ('{"cut', False, {"_raw": '{"cut'}, True),
        ("[1]", False, {"_raw": "[1]"}, True),
        ("free", True, {"input": "free"}, False),
    ],
)
def test_arguments_become_an_object(arguments: str, custom: bool, found: Any, lost: bool) -> None:
    call = chat.ToolCall(id="a", name="f", arguments=arguments, custom=custom)
    body, losses = encode(ask(user("x"), assistant(call), tool(result("a", "r"))))
    assert body["messages"][1]["content"][0]["input"] == found
    assert bool(losses) == lost


def test_signed_thinking_goes_back_exactly_and_foreign_thinking_is_a_loss() -> None:
    signed = chat.Thinking(text="hm", signature="a+/=", origin=NAME)
    redacted = chat.Thinking(redacted="ZZ==", origin=NAME)
    call = chat.ToolCall(id="a", name="f", arguments="{}")
    body, losses = encode(ask(user("x"), assistant(signed, redacted, call), tool(result("a", "r"))))
    assert body["messages"][1]["content"][:2] == [
        {"type": "thinking", "thinking": "hm", "signature": "a+/="},
        {"type": "redacted_thinking", "data": "ZZ=="},
    ]
    assert losses == []
    foreign = (chat.Thinking(text="hm"), chat.Thinking(text="hm", signature="x", origin="gemini_generate"))
    body, losses = encode(ask(user("x"), assistant(*foreign, "y"), user("z")))
    assert body["messages"][1]["content"] == [text("y")]
    assert losses == ["messages[].reasoning"]


def test_names_and_foreign_parts_are_losses() -> None:
    opaque = chat.Opaque(dialect="gemini_generate", name="executableCode", raw=chat.Raw(b"{}"))
    cited = chat.Text(text="y", citations=(chat.Citation(url="https://x.example"),))
    body, losses = encode(
        ask(
            chat.Message(role="user", parts=(chat.Text(text="x"), opaque), name="ann"),
            assistant(cited),
            user("z"),
        )
    )
    assert losses == ["messages[].name", "executableCode", "messages[].annotations"]
    assert body["messages"][0]["content"] == [text("x")]


# --- media ------------------------------------------------------------------------------------------


def _media(**fields: Any) -> dict[str, Any]:
    body, _ = encode(ask(user("see", chat.Media(**fields))))
    found: dict[str, Any] = body["messages"][0]["content"][1]
    return found


@pytest.mark.parametrize(
    ("fields", "block"),
    [
        ({"form": "image", "url": "https://x.example/a"},
         {"type": "image", "source": {"type": "url", "url": "https://x.example/a"}}),
        ({"form": "image", "data": PNG, "media_type": "image/jpeg"},
         {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}),
        ({"form": "image", "url": f"data:image/png;base64,{PNG}"},
         {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}),
        ({"form": "image", "data": "AAAA", "media_type": "image/jpg"},
         {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}}),
        ({"form": "file", "data": PDF, "media_type": "application/pdf", "filename": "t.pdf"},
         {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
          "title": "t.pdf"}),
        ({"form": "file", "data": PDF, "media_type": None},
         {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}),
        ({"form": "file", "data": "YSxi", "media_type": "text/csv"},
         {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}}),
        ({"form": "file", "data": "e30=", "media_type": "application/json"},
         {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "{}"}}),
        ({"form": "file", "url": "https://x.example/t.pdf"},
         {"type": "document", "source": {"type": "url", "url": "https://x.example/t.pdf"}}),
        ({"form": "file", "data": PNG, "media_type": "image/png"},
         {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}),
        ({"form": "image", "file_id": "file_1", "origin": NAME},
         {"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
    ],
)  # fmt: skip
def test_media(fields: dict[str, Any], block: dict[str, Any]) -> None:
    assert _media(**fields) == block


@pytest.mark.parametrize(
    "fields",
    [
        {"form": "audio", "data": "AAAA", "media_type": "audio/wav"},
        {"form": "video", "url": "https://x.example/v.mp4"},
        {"form": "image", "data": "PHN2Zz4=", "media_type": "image/svg+xml"},
        {"form": "image", "url": "data:image/png;base64,%%%"},
        {"form": "file", "data": "UEsDBAAA", "media_type": "application/zip"},
        {"form": "file", "data": "//8A", "media_type": "text/plain"},
        {"form": "file", "file_id": "file-9", "origin": "openai_chat"},
    ],
)
def test_media_that_the_api_does_not_take(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedContent) as caught:
        _media(**fields)
    assert caught.value.param == "messages"


def test_detail_is_a_loss_unless_automatic() -> None:
    image = chat.Media(form="image", url="https://x.example/a", detail="auto")
    assert encode(ask(user(image)))[1] == []
    assert encode(ask(user(msgspec.structs.replace(image, detail="low"))))[1] == [
        "messages[].content[].image_url.detail"
    ]


def test_cache_marks() -> None:
    marked = chat.Text(text="a", cache=chat.CacheMark(ttl="1h"))
    other = chat.Text(text="b", cache=chat.CacheMark(ttl="30m"))
    tool = chat.Tool(name="f", cache=chat.CacheMark(ttl="1h"))
    body, lost = encode(ask(system(marked), user(other), tools=(tool,)))
    assert body["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert lost == []


def test_an_hour_is_not_cached_behind_five_minutes() -> None:
    hour, short = chat.CacheMark(ttl="1h"), chat.CacheMark(ttl="5m")
    said = ask(system(chat.Text(text="a", cache=hour)), tools=(chat.Tool(name="f", cache=short),))
    body, lost = encode(said)
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert lost == ["cache_control"]


def test_the_last_four_marks_are_kept() -> None:
    texts = [chat.Text(text=str(n), cache=chat.CacheMark()) for n in range(6)]
    body, lost = encode(ask(user(*texts)))
    marked = [block["text"] for block in body["messages"][0]["content"] if "cache_control" in block]
    assert marked == ["2", "3", "4", "5"]
    assert lost == ["cache_control"]


# --- options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "most", "cap", "sent", "lost"),
    [
        (None, None, None, 4096, []),
        (None, 8192, None, 8192, []),
        (None, 8192, 500, 500, []),
        (None, 100, 500, 100, []),
        (700, 8192, 500, 700, []),
        (9000, 8192, None, 8192, ["max_tokens"]),
        (0, 8192, None, 0, []),
    ],
)
def test_max_tokens(asked: int | None, most: int | None, cap: int | None, sent: int, lost: list[str]) -> None:
    body, losses = encode(ask(max_tokens=asked), kit.target(output_tokens_max=most, output_tokens_cap=cap))
    assert body["max_tokens"] == sent
    assert losses == lost


@pytest.mark.parametrize(
    ("asked", "sent", "lost"),
    [
        ({"temperature": 1.7}, {"temperature": 1.0}, ["temperature"]),
        ({"temperature": 0.0}, {"temperature": 0.0}, []),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ["top_p"]),
        ({"temperature": 1.0, "top_p": 0.9}, {"top_p": 0.9}, []),
        ({"temperature": 0.5, "top_p": 1.0}, {"temperature": 0.5}, []),
        ({"top_k": 5}, {"top_k": 5}, []),
    ],
)
def test_sampling(asked: dict[str, Any], sent: dict[str, Any], lost: list[str]) -> None:
    body, losses = encode(ask(**asked))
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == sent
    assert losses == lost


def test_sampling_of_older_and_of_fixed_models() -> None:
    both = ask(temperature=0.5, top_p=0.9)
    body, losses = encode(both, kit.target("claude-3-5-haiku-latest"))
    assert (body["temperature"], body["top_p"], losses) == (0.5, 0.9, [])
    body, losses = encode(both, kit.target(capabilities=Capabilities(sampling=False)))
    assert "temperature" not in body
    assert losses == ["temperature", "top_p"]


def test_stops_and_user_and_tier() -> None:
    body, losses = encode(ask(stop=("END", "\n\n"), user="u", service_tier="auto", stream=True))
    assert (body["stop_sequences"], body["metadata"], body["service_tier"]) == (
        ["END"],
        {"user_id": "u"},
        "auto",
    )
    assert body["stream"] is True
    assert losses == ["stop"]
    body, losses = encode(ask(service_tier="flex"))
    assert "service_tier" not in body
    assert losses == ["service_tier"]


def test_options_without_a_counterpart_are_losses() -> None:
    body, losses = encode(
        ask(
            n=2, logprobs=True, top_logprobs=3, seed=0, frequency_penalty=0.5, presence_penalty=0.0, verbosity="low",
            metadata=chat.Raw(b"{}"), modalities=("text", "audio"), prompt_cache_key="k",
            extras={"logit_bias": chat.Raw(b'{"1":2}'), "store": chat.Raw(b"true"), "prediction": chat.Raw(b"null")},
        )
    )  # fmt: skip
    assert sorted(losses) == sorted(
        ["n", "logprobs", "top_logprobs", "seed", "frequency_penalty", "verbosity", "metadata", "modalities",
         "prompt_cache_key", "logit_bias"]
    )  # fmt: skip
    assert set(body) == {"model", "max_tokens", "messages"}
    assert encode(ask(n=1, logprobs=False, verbosity="medium", modalities=("text",)))[1] == []


_SCHEMA = chat.Raw(b'{"type":"object","properties":{"a":{"type":"integer","minimum":3}},"required":["a"]}')


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (chat.ToolChoice(mode="auto"), True, {"type": "auto"}),
        (chat.ToolChoice(mode="none"), False, {"type": "none"}),
        (chat.ToolChoice(mode="required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (chat.ToolChoice(mode="tool", name="f"), None, {"type": "tool", "name": "f"}),
    ],
)
def test_tool_choice(choice: chat.ToolChoice | None, parallel: bool | None, sent: Any) -> None:
    tools = (chat.Tool(name="f", parameters=_SCHEMA),)
    body, losses = encode(ask(tools=tools, tool_choice=choice, parallel_tool_calls=parallel))
    assert body.get("tool_choice") == sent
    assert losses == []
    assert "tool_choice" not in encode(ask(tool_choice=choice, parallel_tool_calls=parallel))[0]


def test_tools() -> None:
    foreign = chat.Tool(name="googleSearch", dialect="gemini_generate", raw=chat.Raw(b"{}"))
    tools = (
        chat.Tool(name="f", description="d", parameters=_SCHEMA, strict=False),
        chat.Tool(name="g"),
        chat.Tool(name="h", parameters=chat.Raw(b'{"properties":{}}')),
        chat.Tool(name="p", custom=True),
        chat.Tool(name="q", parameters=_SCHEMA, strict=True),
        foreign,
    )
    body, losses = encode(ask(tools=tools))
    f, g, h, p, q = body["tools"]
    assert f == {"name": "f", "description": "d", "input_schema": json.loads(bytes(_SCHEMA))}
    assert g["input_schema"] == {"type": "object", "properties": {}}
    assert h["input_schema"] == {"type": "object", "properties": {}}
    assert p["input_schema"]["required"] == ["input"]
    assert q["strict"] is True
    assert q["input_schema"]["additionalProperties"] is False
    assert losses == ["tools[].function.parameters", "tools[googleSearch]"]
    body, losses = encode(ask(tools=tools[4:5]), kit.target(capabilities=Capabilities(tools=True)))
    assert "strict" not in body["tools"][0]
    assert losses == ["tools[].function.strict"]
    body, _ = encode(ask(tools=tools[:3], tool_choice=chat.ToolChoice(mode="auto", allowed=("g",))))
    assert [t["name"] for t in body["tools"]] == ["g"]


_FORMAT = chat.ResponseFormat(mode="json_schema", name="n", schema=_SCHEMA, strict=True)
_OLD = kit.target(capabilities=Capabilities(tools=True, reasoning=True))


def test_structured_output_closes_the_schema_and_tells_what_it_cannot_hold() -> None:
    body, losses = encode(ask(response_format=_FORMAT))
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"a": {"type": "integer", "description": "(minimum: 3)"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    }
    assert losses == ["response_format.json_schema.schema"]


def test_structured_output_by_a_forced_tool() -> None:
    body, losses = encode(ask(response_format=_FORMAT), _OLD)
    assert body["tools"][0]["input_schema"] == json.loads(bytes(_SCHEMA))
    assert body["tool_choice"]["name"] == body["tools"][0]["name"] == "reply_with_json"
    assert losses == ["response_format.json_schema.strict"]


@pytest.mark.parametrize(
    "options",
    [
        {"tools": (chat.Tool(name="f"),)},
        {"reasoning": chat.Reasoning(effort="low")},
        {"response_format": chat.ResponseFormat(mode="json_schema", schema=chat.Raw(b'{"type":"array"}'))},
    ],
)
def test_structured_output_in_the_instructions(options: dict[str, Any]) -> None:
    body, losses = encode(
        ask(system("Be brief."), user("x"), **{"response_format": _FORMAT, **options}), _OLD
    )
    assert "JSON schema" in body["system"][-1]["text"]
    assert body["system"][0] == text("Be brief.")
    assert losses == ["response_format"]


def test_open_schemas_are_not_closed_to_nothing() -> None:
    schema = chat.Raw(b'{"type":"object","additionalProperties":{"type":"integer"}}')
    body, _ = encode(ask(response_format=chat.ResponseFormat(mode="json_schema", schema=schema)))
    assert body["tools"][0]["input_schema"] == json.loads(bytes(schema))


def test_json_object() -> None:
    body, losses = encode(ask(response_format=chat.ResponseFormat(mode="json_object")))
    assert "JSON object" in body["system"][0]["text"]
    assert losses == ["response_format"]
    assert encode(ask(response_format=chat.ResponseFormat(mode="text")))[1] == []


# --- reasoning -----------------------------------------------------------------------------------------

_LEVELS = kit.target(
    capabilities=Capabilities(reasoning=True, reasoning_levels=("low", "medium", "high", "max"))
)
_BUDGET = kit.target(capabilities=Capabilities(reasoning=True), output_tokens_max=64000)


@pytest.mark.parametrize(
    ("effort", "sent", "lost"),
    [
        ("high", "high", []),
        ("max", "max", []),
        ("minimal", "low", ["reasoning_effort"]),
        ("xhigh", "high", ["reasoning_effort"]),
    ],
)
def test_effort_levels(effort: str, sent: str, lost: list[str]) -> None:
    body, losses = encode(ask(reasoning=chat.Reasoning(effort=effort)), _LEVELS)
    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": sent}
    assert losses == lost


def test_adaptive_with_a_budget_and_with_nothing() -> None:
    body, losses = encode(ask(reasoning=chat.Reasoning(budget_tokens=9000)), _LEVELS)
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    assert losses == ["reasoning.budget_tokens"]
    body, losses = encode(ask(reasoning=chat.Reasoning(budget_tokens=-1, show=False)), _LEVELS)
    assert body["thinking"] == {"type": "adaptive", "display": "omitted"}
    assert "output_config" not in body
    assert losses == []


@pytest.mark.parametrize(
    ("reasoning", "asked", "budget", "limit", "lost"),
    [
        ({"effort": "low"}, None, 2048, 64000, []),
        ({"effort": "high"}, None, 16384, 64000, []),
        ({"effort": "high"}, 10000, 8000, 10000, []),
        ({"effort": "minimal"}, 500, 1024, 1524, ["max_tokens"]),
        ({"effort": "high"}, 1500, 2019, 2524, ["max_tokens"]),
        ({"budget_tokens": 5000}, 8000, 5000, 8000, []),
        ({"budget_tokens": 10}, 8000, 1024, 8000, []),
        ({"enabled": True}, None, 8192, 64000, []),
    ],
)
def test_budgets(
    reasoning: dict[str, Any], asked: int | None, budget: int, limit: int, lost: list[str]
) -> None:
    body, losses = encode(ask(reasoning=chat.Reasoning(**reasoning), max_tokens=asked), _BUDGET)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] == limit
    assert 1024 <= budget < limit
    assert losses == lost


def test_a_budget_that_cannot_fit_is_left_out() -> None:
    tight = kit.target(
        capabilities=Capabilities(reasoning=True), output_tokens_max=64000, output_tokens_cap=900
    )
    body, losses = encode(ask(reasoning=chat.Reasoning(effort="low")), tight)
    assert "thinking" not in body
    assert body["max_tokens"] == 900
    assert losses == ["reasoning_effort"]


@pytest.mark.parametrize("off", [{"effort": "none"}, {"enabled": False}, {"budget_tokens": 0}])
def test_reasoning_off(off: dict[str, Any]) -> None:
    assert encode(ask(reasoning=chat.Reasoning(**off)), _BUDGET)[0]["thinking"] == {"type": "disabled"}
    body, losses = encode(ask(reasoning=chat.Reasoning(**off)), kit.target(capabilities=Capabilities()))
    assert "thinking" not in body
    assert losses == []


def test_a_model_that_does_not_reason() -> None:
    body, losses = encode(
        ask(reasoning=chat.Reasoning(effort="low")), kit.target(capabilities=Capabilities())
    )
    assert "thinking" not in body
    assert losses == ["reasoning_effort"]


def test_what_thinking_excludes() -> None:
    low = chat.Reasoning(effort="low")
    body, losses = encode(ask(reasoning=low, temperature=0.3, top_k=5), _BUDGET)
    assert "temperature" not in body
    assert losses == ["temperature", "top_k"]
    forced = ask(reasoning=low, tools=(chat.Tool(name="f"),), tool_choice=chat.ToolChoice(mode="required"))
    body, losses = encode(forced, _BUDGET)
    assert body["tool_choice"] == {"type": "any"}
    assert "thinking" not in body
    assert losses == ["reasoning_effort"]
    body, losses = encode(ask(user("x"), assistant("So"), reasoning=low), _BUDGET)
    assert "thinking" not in body
    assert losses == ["reasoning_effort"]


def test_thinking_needs_the_reasoning_before_unanswered_calls() -> None:
    low = chat.Reasoning(effort="low")
    call = chat.ToolCall(id="a", name="f", arguments="{}")
    signed = chat.Thinking(text="hm", signature="s", origin=NAME)
    bare = (user("x"), assistant(call), tool(result("a", "r")))
    body, losses = encode(ask(*bare, reasoning=low), _BUDGET)
    assert "thinking" not in body
    assert losses == ["reasoning_effort"]
    assert encode(ask(*bare, reasoning=low), _LEVELS)[0]["thinking"] == {"type": "adaptive"}
    body, losses = encode(
        ask(user("x"), assistant(signed, call), tool(result("a", "r")), reasoning=low), _BUDGET
    )
    assert body["thinking"]["type"] == "enabled"
    assert losses == []
    done = (*bare, assistant("done"), user("next"))
    assert encode(ask(*done, reasoning=low), _BUDGET)[1] == []


# --- where it goes ---------------------------------------------------------------------------------------


def test_quirks() -> None:
    quirk = Quirk(edit="drop", field="top_k", why="not here")
    body, losses = encode(ask(top_k=3), kit.target(quirks=(quirk,)))
    assert "top_k" not in body
    assert losses == ["top_k"]


@pytest.mark.parametrize(
    ("base", "operation", "stream", "url"),
    [
        ("https://api.anthropic.com", "chat", False, "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/", "chat", True, "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1", "chat", False, "https://api.anthropic.com/v1/messages"),
        ("https://x.example/anthropic", "chat", False, "https://x.example/anthropic/v1/messages"),
        ("https://x.example/anthropic/v1/messages", "chat", False, "https://x.example/anthropic/v1/messages"),
        ("https://api.anthropic.com", "count_tokens", False, "https://api.anthropic.com/v1/messages/count_tokens"),
        ("https://x.example/v1/messages", "count_tokens", False, "https://x.example/v1/messages/count_tokens"),
    ],
)  # fmt: skip
def test_urls(base: str, operation: str, stream: bool, url: str) -> None:
    assert DIALECT.upstream_url(base, operation, "claude-x", stream) == url


def test_headers_and_unknown_operations() -> None:
    assert ("anthropic-version", "2023-06-01") in DIALECT.upstream_headers(True)
    with pytest.raises(ValueError, match="embed"):
        DIALECT.upstream_url("https://api.anthropic.com", "embed", "m", False)
