"""Messages and options to Cohere: what is sent means what was asked."""

from __future__ import annotations

import base64
import json
from typing import Any

import behind_kit as kit
import pytest
from cohere_kit import PNG, sent, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UnsupportedContent
from llm_router.domain.model import Capabilities, Quirk
from llm_router.wire import chat
from llm_router.wire.dialects.cohere_chat import DIALECT

# --- messages ---------------------------------------------------------------------------------------------

words = st.from_regex(r"[a-z]{1,8}", fullmatch=True)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[chat.Message, ...]:
    out = [
        chat.Message(
            role=draw(st.sampled_from(["system", "developer"])), parts=(chat.Text(text=draw(texts)),)
        )
    ]
    for turn in range(draw(st.integers(1, 3))):
        out.append(kit.user(*draw(st.lists(texts, min_size=1, max_size=2))))
        calls = [
            chat.ToolCall(id=f"c{turn}{n}", name=name, arguments=json.dumps(draw(st.dictionaries(words, texts, max_size=2))))
            for n, name in enumerate(draw(st.lists(words, max_size=2)))
        ]  # fmt: skip
        said: list[chat.Part] = []
        if draw(st.booleans()):
            said.append(chat.Thinking(text=draw(texts), origin="cohere_chat"))
        if draw(st.booleans()) or not (calls or said):
            said.append(chat.Text(text=draw(texts)))
        out.append(kit.assistant(*said, *calls))
        out += [kit.result(call.id, draw(texts)) for call in calls]
    return tuple(out)


def plain(messages: tuple[chat.Message, ...]) -> list[tuple[Any, ...]]:
    """A conversation by meaning, from the canonical form."""
    out: list[tuple[Any, ...]] = []
    for message in messages:
        role = "system" if message.role == "developer" else message.role
        texts_ = [p.text for p in message.parts if isinstance(p, chat.Text)]
        thoughts = [p.text for p in message.parts if isinstance(p, chat.Thinking)]
        calls = [
            (p.id, p.name, json.loads(p.arguments)) for p in message.parts if isinstance(p, chat.ToolCall)
        ]
        for part in message.parts:
            if isinstance(part, chat.ToolResult):
                texts_ = [t.text for t in part.content if isinstance(t, chat.Text)]
                role = f"tool {part.call_id}"
        out.append((role, texts_, thoughts, calls))
    return out


def naive(body: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The same from what is sent, read by a reader of its own."""
    out = []
    for message in body["messages"]:
        content = message.get("content", [])
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        role = message["role"] if message["role"] != "tool" else f"tool {message['tool_call_id']}"
        calls = [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", [])
        ]
        out.append(
            (
                role,
                [b["text"] for b in blocks if b["type"] == "text"],
                [b["thinking"] for b in blocks if b["type"] == "thinking"],
                calls,
            )
        )
    return out


@settings(max_examples=80)
@given(messages=conversations())
def test_a_conversation_keeps_its_meaning(messages: tuple[chat.Message, ...]) -> None:
    body, lost = sent(kit.request(*messages))
    told, asked = naive(body), plain(messages)
    blank = [n for n, (role, said, *_) in enumerate(asked) if role.startswith("tool") and not said[0].strip()]
    for n in blank:  # Cohere takes no empty answer of a tool
        asked[n] = (asked[n][0], ["{}"], [], [])
    assert told == asked
    assert lost == set()


def test_reasoning_goes_back_as_it_came() -> None:
    plan = chat.Thinking(text="First the tide.", id="tool_plan", origin="cohere_chat")
    thought = chat.Thinking(text="Hm.", origin="cohere_chat")
    call = chat.ToolCall(id="c", name="tide", arguments="")
    body, lost = sent(
        kit.request(kit.user("?"), kit.assistant(thought, plan, call), kit.result("c", "06:12"))
    )
    assert body["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm."}],
        "tool_plan": "First the tide.",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "tide", "arguments": "{}"}}],
    }
    assert lost == set()


@pytest.mark.parametrize(
    ("reasons", "calls", "member", "lost"),
    [
        (True, True, "content", set()),
        (False, True, "tool_plan", set()),
        (True, False, "content", set()),
        (False, False, None, {"messages[].reasoning"}),
    ],
)
def test_reasoning_that_a_chat_client_brings_back(
    reasons: bool, calls: bool, member: str | None, lost: set[str]
) -> None:
    """A client of the chat form returns bare text, whose maker is not told."""
    parts: list[chat.Part] = [chat.Thinking(text="Hm.", origin="openai_chat")]
    parts += [chat.ToolCall(id="c", name="f", arguments="{}")] if calls else [chat.Text(text="So.")]
    body, told = sent(kit.request(kit.assistant(*parts)), capabilities=Capabilities(reasoning=reasons))
    assert told == lost
    written = json.dumps(body["messages"][0].get(member)) if member else json.dumps(body)
    assert ("Hm." in written) == (member is not None)


def test_signed_reasoning_of_others_is_not_sent() -> None:
    signed = chat.Thinking(text="secret", signature="s", origin="anthropic_messages")
    body, lost = sent(kit.request(kit.assistant(signed, "So.")))
    assert "secret" not in json.dumps(body)
    assert lost == {"messages[].reasoning"}


def test_images_documents_and_what_cannot_be_sent() -> None:
    image = chat.Media(form="image", data=PNG, media_type="image/jpeg", detail="low")
    linked = chat.Media(form="image", url="https://pictures.example/a.png")
    note = chat.Media(
        form="file", data=base64.b64encode(b"ebb").decode(), media_type="text/plain", filename="a.txt"
    )
    body, lost = sent(kit.request(kit.user("See", image, linked, note)))
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}},
        {"type": "text", "text": "a.txt:\n\nebb"},
    ]
    assert lost == set()


@pytest.mark.parametrize(
    "part",
    [
        chat.Media(form="audio", data="UklGRg==", media_type="audio/wav"),
        chat.Media(form="video", url="https://v.example/a.mp4"),
        chat.Media(form="file", data="JVBERi0=", media_type="application/pdf"),
        chat.Media(form="file", data="/w==", media_type="text/plain"),
        chat.Media(form="file", file_id="file-1", origin="openai_chat"),
        chat.Media(form="image", url="data:broken"),
    ],
)
def test_other_media_are_refused_with_a_reason(part: chat.Media) -> None:
    with pytest.raises(UnsupportedContent, match=r"send|read"):
        kit.encoded(DIALECT, kit.request(kit.user("See", part)))


def test_tool_results_with_images_errors_and_nothing() -> None:
    shot = chat.ToolResult(
        call_id="a",
        content=(chat.Text(text="done"), chat.Media(form="image", data=PNG, media_type="image/png")),
    )
    broken = chat.ToolResult(call_id="b", content=(chat.Text(text="no such port"),), is_error=True)
    called = kit.assistant(*(chat.ToolCall(id=i, name="f", arguments="{}") for i in "abc"))
    tools = chat.Message(role="tool", parts=(shot, broken, chat.ToolResult(call_id="c")))
    body, _ = sent(kit.request(kit.user("?"), called, tools, kit.user("And?")))
    assert [(m["role"], m.get("tool_call_id"), m["content"]) for m in body["messages"][2:5]] == [
        ("tool", "a", "done"),
        ("tool", "b", '{"error":"no such port"}'),
        ("tool", "c", "{}"),
    ]
    assert body["messages"][5]["content"][0]["type"] == "image_url"
    assert body["messages"][6]["content"] == "And?"


def test_empty_messages_are_left_out_and_an_empty_conversation_refused() -> None:
    body, _ = sent(kit.request(kit.user(""), kit.assistant(), kit.user("Hi")))
    assert [m["content"] for m in body["messages"]] == ["Hi"]
    with pytest.raises(UnsupportedContent, match="empty"):
        kit.encoded(DIALECT, kit.request(kit.user("")))


def test_own_citations_and_blocks_go_back() -> None:
    raw = {
        "start": 0,
        "end": 2,
        "text": "So",
        "content_index": 7,
        "sources": [{"type": "document", "id": "d"}],
    }
    cited = chat.Citation(dialect="cohere_chat", raw=chat.Raw(json.dumps(raw).encode()))
    chart = chat.Opaque(dialect="cohere_chat", name="chart", raw=chat.Raw(b'{"type":"chart"}'))
    asked = kit.request(kit.user("?"), kit.assistant(chart, chat.Text(text="So.", citations=(cited,))))
    body, lost = kit.encoded(DIALECT, asked)
    assert body["messages"][1]["content"] == [{"type": "chart"}, {"type": "text", "text": "So."}]
    assert body["messages"][1]["citations"] == [{**raw, "content_index": 1}]
    assert lost == set()


def test_arguments_that_are_no_object_are_sent_as_text() -> None:
    call = chat.ToolCall(id="c", name="f", arguments='{"cut')
    body, lost = sent(kit.request(kit.assistant(call)))
    assert json.loads(body["messages"][0]["tool_calls"][0]["function"]["arguments"]) == {"_raw": '{"cut'}
    assert lost == {"messages[].tool_calls[].function.arguments"}


# --- options ------------------------------------------------------------------------------------------------


def test_the_model_and_the_stream() -> None:
    body, _ = sent(kit.request())
    assert body == {"model": "upstream-model", "messages": [{"role": "user", "content": "Hi"}]}
    assert sent(kit.request(stream=True))[0]["stream"] is True


def test_options_have_other_names() -> None:
    body, lost = sent(kit.request(temperature=0.5, top_p=0.9, top_k=40, frequency_penalty=0.1, presence_penalty=0.2,
                                  seed=7, max_tokens=99, stop=("a", "b"), logprobs=True))  # fmt: skip
    assert {name: body[name] for name in body if name not in ("model", "messages")} == {
        "temperature": 0.5, "p": 0.9, "k": 40, "frequency_penalty": 0.1, "presence_penalty": 0.2, "seed": 7,
        "max_tokens": 99, "stop_sequences": ["a", "b"], "logprobs": True,
    }  # fmt: skip
    assert lost == set()


@pytest.mark.parametrize(
    ("members", "name", "value", "lost"),
    [
        ({"top_p": 1.0}, "p", 0.99, "top_p"),
        ({"top_p": 0.0}, "p", 0.01, "top_p"),
        ({"top_k": 1000}, "k", 500, "top_k"),
        ({"frequency_penalty": -1.0}, "frequency_penalty", 0.0, "frequency_penalty"),
        ({"presence_penalty": 2.0}, "presence_penalty", 1.0, "presence_penalty"),
        ({"seed": -1}, "seed", None, "seed"),
        ({"stop": tuple("abcdefg")}, "stop_sequences", list("abcde"), "stop"),
        ({"max_tokens": 9000}, "max_tokens", 8000, "max_tokens"),
    ],
)
def test_what_is_out_of_range_is_bounded_and_declared(
    members: dict[str, Any], name: str, value: Any, lost: str
) -> None:
    body, told = sent(kit.request(**members), output_tokens_max=8000)
    assert body.get(name) == value
    assert told == {lost}


def test_the_cap_is_written_only_where_no_limit_is_asked_for() -> None:
    assert sent(kit.request(), output_tokens_cap=50, output_tokens_max=80)[0]["max_tokens"] == 50
    assert sent(kit.request(max_tokens=60), output_tokens_cap=50)[0]["max_tokens"] == 60
    assert "max_tokens" not in sent(kit.request(), output_tokens_max=80)[0]


def test_options_without_a_word_are_declared() -> None:
    _, lost = sent(kit.request(n=2, top_logprobs=2, user="u", verbosity="low", service_tier="flex",
                               prompt_cache_key="k", modalities=("text", "audio"), metadata=chat.Raw(b"{}"),
                               extras={"logit_bias": chat.Raw(b"{}"), "store": chat.Raw(b"true"), "x": chat.Raw(b"null")}))  # fmt: skip
    assert lost == {"n", "top_logprobs", "user", "verbosity", "service_tier", "prompt_cache_key", "modalities",
                    "metadata", "logit_bias"}  # fmt: skip


def test_names_and_cache_marks_are_declared() -> None:
    mark = chat.CacheMark()
    message = chat.Message(role="user", name="ann", parts=(chat.Text(text="Hi", cache=mark),))
    assert sent(kit.request(message))[1] == {"messages[].name", "cache_control"}


def test_own_members_of_other_clients_go_through() -> None:
    documents = chat.Raw(b'[{"id":"d","data":{"text":"ebb"}}]')
    body, lost = sent(kit.request(extras={"documents": documents, "safety_mode": chat.Raw(b'"OFF"')}))
    assert (body["documents"], body["safety_mode"]) == ([{"id": "d", "data": {"text": "ebb"}}], "OFF")
    assert lost == set()


def test_quirks_have_the_last_word() -> None:
    quirk = Quirk(edit="clamp", field="temperature", why="so", max=1.0)
    body, lost = sent(kit.request(temperature=1.5), quirks=(quirk,))
    assert (body["temperature"], lost) == (1.0, {"temperature"})


def test_a_model_whose_sampling_is_fixed() -> None:
    body, lost = sent(kit.request(temperature=0.5, top_k=3), capabilities=Capabilities(sampling=False))
    assert "temperature" not in body
    assert lost == {"temperature", "top_k"}
