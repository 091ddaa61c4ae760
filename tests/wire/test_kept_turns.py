"""Turns of the model: by what they are known, what they lack, and how it is put back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.wire import kept as kept_turns
from llm_router.wire.chat import (
    CacheMark,
    ChatRequest,
    Message,
    Opaque,
    Raw,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llm_router.wire.kept import (
    MEMBERS,
    Kept,
    holds_state,
    lacks,
    merged,
    pack,
    replaced,
    turns_of,
    unpack,
    without_state,
)
from llm_router.wire.makers import maker_of

CLAUDE = "anthropic_messages"


def names_of(parts, before, maker="m"):
    return kept_turns.names_of(parts, before, maker)


def call(id_="call_9sd8f7sd98f7", name="f", arguments='{"a": 1}', **more):
    return ToolCall(id=id_, name=name, arguments=arguments, **more)


def kept(*parts, dialect=CLAUDE, members=None):
    return Kept(maker="m", dialect=dialect, model="x", parts=parts, members=members)


SIGNED = Thinking(text="hm", signature="s1", origin=CLAUDE)
REDACTED = Thinking(redacted="r1", origin=CLAUDE)
SERVER = Opaque(dialect=CLAUDE, name="server_tool_use", raw=Raw(b'{"type":"server_tool_use","id":"s"}'))


# -- makers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("anthropic", CLAUDE, "claude-opus-4-1"), ("vertex", CLAUDE, "claude-haiku-4-5@20251001"), True),
        (
            ("anthropic", CLAUDE, "claude-x"),
            ("bedrock", "bedrock_converse", "us.anthropic.claude-x-v1:0"),
            True,
        ),
        (("anthropic", CLAUDE, "claude-x"), ("openrouter", "openai_chat", "anthropic/claude-x"), False),
        (("minimax", CLAUDE, "MiniMax-M2"), ("anthropic", CLAUDE, "claude-x"), False),
        (("openai", "openai_responses", "gpt-5"), ("openai", "openai_responses", "o4-mini"), True),
        (("openai", "openai_responses", "gpt-5"), ("azure", "openai_responses", "gpt-5"), False),
        (
            ("openrouter", "openai_chat", "openai/gpt-5"),
            ("openrouter", "openai_chat", "google/gemini-3"),
            False,
        ),
        (("my", "openai_chat", "foo-1"), ("my", "openai_chat", "foo-2"), True),
        (("my", "openai_chat", "foo-1"), ("my", "openai_chat", "bar-1"), False),
    ],
)
def test_who_reads_whose_state(one, other, same):
    assert (maker_of(*one) == maker_of(*other)) is same


# -- names -----------------------------------------------------------------------------------------


def test_random_ids_name_a_turn_whatever_else_was_changed():
    one = names_of((Text(text="a"), call()), "q")
    other = names_of((Text(text="edited"), call(arguments="{}")), "other q")
    assert set(one) & set(other) == {b"call call_9sd8f7sd98f7"}


@pytest.mark.parametrize(
    "id_",
    [
        "functions.weather:0",
        "call_0",
        "call_00000012",
        "weather",
        "call_weather_1",
        "call_legacy3_0",
        "",
        "1",
    ],
)
def test_ids_that_say_little_name_no_turn_alone(id_):
    one = names_of((call(id_=id_, name="weather"),), "q")
    other = names_of((call(id_=id_, name="weather"),), "another question")
    assert not set(one) & set(other)
    assert names_of((call(id_="changed", name="weather"),), "q") == one


def test_white_space_and_spelling_of_json_do_not_count():
    parts = (Text(text="Let me\n\n see. "), Text(text="Now."), call("1", arguments='{"a":1,"b":2}'))
    again = (Text(text="Let me see.Now."), call("2", arguments='{ "b" : 2, "a": 1 }'))
    assert names_of(parts, " q\n") == names_of(again, " q\n")
    assert names_of(parts, "q") != names_of((*again, call("3", arguments='{"b":2,"a":1}')), "q")
    assert names_of(parts, "q") != names_of((again[0], call("2", arguments='{"b":1,"a":2}')), "q")


def test_the_same_words_of_two_makers_are_two_turns():
    assert not set(names_of((Text(text="a"),), "q", "x")) & set(names_of((Text(text="a"),), "q", "y"))


def test_turn_that_shows_nothing_has_no_name():
    assert names_of((SIGNED, REDACTED), "q") == []


def test_turns_are_runs_of_the_assistant_with_what_the_user_said_last():
    request = ChatRequest(
        model="m",
        dialect="openai_chat",
        messages=(
            Message(role="system", parts=(Text(text="s"),)),
            Message(role="user", parts=(Text(text="q1"),)),
            Message(role="assistant", parts=(Text(text="a"),)),
            Message(role="assistant", parts=(call(),)),
            Message(role="tool", parts=(ToolResult(call_id="x"),)),
            Message(role="assistant", parts=(Text(text="b"),)),
            Message(role="user", parts=(Text(text="q2"),)),
        ),
    )
    found = list(turns_of(request))
    assert [(t.first, t.end, t.before, len(t.parts)) for t in found] == [(2, 4, "q1", 2), (5, 6, "q1", 1)]
    changed = replaced(request, {2: (found[0], (SIGNED, *found[0].parts))})
    assert [len(message.parts) for message in changed.messages] == [1, 1, 3, 1, 1, 1]


# -- what is missing, and putting it back ----------------------------------------------------------


def test_a_turn_gets_back_what_it_lacks_in_the_order_in_which_it_was_made():
    made = kept(
        SIGNED, Text(text="One."), SERVER, REDACTED, Text(text=" Two."), call(), call("call_2xyzxyzabc")
    )
    sent = (Text(text="One. Two."), call(), call("call_2xyzxyzabc"))
    assert lacks(sent, made)
    assert merged(sent, made, CLAUDE) == made.parts
    assert not lacks(made.parts, made)


def test_what_the_client_changed_stays_changed():
    made = kept(SIGNED, Text(text="One."), call(signature="s", origin="g"), call("call_2xyzxyzabc"))
    added = call("call_3mnomnomno", "g")
    sent = (Text(text="Edited."), added, call(arguments='{"a":2}'))
    assert merged(sent, made, CLAUDE) == (
        SIGNED,
        Text(text="Edited."),
        call(arguments='{"a":2}', signature="s", origin="g"),
        added,
    )


def test_calls_with_ids_of_the_clients_own_are_found_by_name():
    made = kept(
        call("m1", "f", signature="s1", origin="g"),
        call("m2", "f"),
        call("m3", "g", signature="s3", origin="g"),
    )
    sent = (call("a", "f"), call("b", "f"), call("c", "g"))
    assert [
        (p.id, p.signature) for p in merged(sent, made, "gemini_generate") if isinstance(p, ToolCall)
    ] == [
        ("a", "s1"),
        ("b", None),
        ("c", "s3"),
    ]


def test_cache_mark_of_the_client_survives():
    made = kept(SIGNED, Text(text="One."), Text(text="Two."))
    sent = (Text(text="One.Two.", cache=CacheMark(ttl="1h")),)
    assert merged(sent, made, CLAUDE) == (
        SIGNED,
        Text(text="One."),
        Text(text="Two.", cache=CacheMark(ttl="1h")),
    )


def test_signed_text_goes_to_another_dialect_of_the_same_maker_and_nothing_else_does():
    made = kept(SIGNED, REDACTED, SERVER, Text(text="One."))
    assert merged((Text(text="One."),), made, "bedrock_converse") == (
        Thinking(text="hm", signature="s1", origin="bedrock_converse"),
        Text(text="One."),
    )


def test_plain_reasoning_is_wanted_with_calls_where_nobody_signs():
    plain = Thinking(text="hm", origin="openai_chat")
    told = {"reasoning_content": Raw(b'"hm"')}
    with_call = kept(plain, call(), dialect="openai_chat", members=told)
    assert holds_state(with_call)
    assert lacks((call(),), with_call)
    assert not lacks((Thinking(text="h m", origin="openai_chat"), call()), with_call)
    (state, _) = merged((call(),), with_call, "openai_chat")
    assert (state.name, bytes(state.raw)) == (MEMBERS, b'{"reasoning_content":"hm"}')
    assert not holds_state(kept(plain, Text(text="a"), dialect="openai_chat", members={}))
    assert not holds_state(kept(plain, call(), dialect="openai_chat", members={}))
    assert not holds_state(kept(Thinking(text="hm", origin=CLAUDE), call()))
    assert holds_state(kept(Thinking(text="hm", origin="ollama_chat"), call(), dialect="ollama_chat"))


def test_state_of_another_maker_is_taken_out():
    mine = Thinking(text="x", signature="s", origin="gemini_generate")
    parts = (SIGNED, REDACTED, mine, SERVER, Text(text="a", signature="t", origin=CLAUDE), call())
    assert without_state(parts, CLAUDE) == (mine, Text(text="a"), call())


TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
PARTS = st.lists(
    st.one_of(
        st.builds(Text, text=TEXTS),
        st.builds(Thinking, text=TEXTS, signature=st.none() | TEXTS, redacted=st.none() | TEXTS),
        st.builds(ToolCall, id=TEXTS, name=TEXTS, arguments=TEXTS, signature=st.none() | TEXTS),
        st.builds(Opaque, dialect=TEXTS, name=TEXTS, raw=st.just(Raw(b'{ "a" : "\\u00e9" }'))),
    ),
    max_size=6,
).map(tuple)


@given(PARTS, TEXTS)
def test_any_turn_is_named_packed_and_unpacked(parts, before):
    names_of(parts, before)
    made = kept(*parts)
    data = pack(made)
    if data is not None:
        assert unpack(data) == made
    else:
        with pytest.raises(UnicodeEncodeError):
            msgspec.json.encode(made)


@given(PARTS, PARTS)
def test_merging_loses_no_part_of_the_client(sent, made):
    out = merged(sent, kept(*made), CLAUDE)
    assert sorted(p.id for p in out if isinstance(p, ToolCall)) == sorted(
        p.id for p in sent if isinstance(p, ToolCall)
    )
    shown = ["".join("".join(p.text for p in ps if isinstance(p, Text)).split()) for ps in (out, sent)]
    assert shown[0] == shown[1]


@given(PARTS)
def test_a_turn_that_came_back_whole_stays_as_it_is(parts):
    made = kept(*parts)
    assert not lacks(parts, made)


def test_bytes_of_another_version_are_no_turn():
    assert unpack(b"{}") is None
    assert unpack(b"\x00") is None
