"""Replies written in the Anthropic dialect: whole and as streams, from any canonical reply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic_kit as kit
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import Overloaded, UpstreamError, UpstreamKind
from llm_router.domain.usage import Provenance, Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill
from llm_router.wire.dialects.anthropic_messages import DIALECT
from llm_router.wire.fold import unfold

NAME = DIALECT.name
_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
_RAW = st.dictionaries(_TEXT, st.integers() | _TEXT | st.booleans(), max_size=3).map(
    lambda found: chat.Raw(msgspec.json.encode(found))
)
_ARGUMENTS = _RAW.map(lambda raw: bytes(raw).decode())
_CITATION = _RAW.map(lambda raw: chat.Citation(dialect=NAME, raw=raw))
_PARTS = (
    st.builds(chat.Text, text=_TEXT)
    | st.builds(chat.Thinking, text=_TEXT, signature=st.none() | st.just("c2ln"), origin=st.just(NAME))
    | st.builds(chat.Thinking, redacted=st.just("cmVk"), origin=st.just(NAME))
    | st.builds(chat.ToolCall, id=st.just("toolu_1"), name=st.just("f"), arguments=_ARGUMENTS)
    | st.builds(
        chat.Opaque,
        dialect=st.just(NAME),
        name=st.just("beam"),
        raw=_RAW.map(lambda r: chat.Raw(msgspec.json.encode({**json.loads(bytes(r)), "type": "beam"}))),
    )
)
_USAGE = st.builds(
    Usage,
    input_tokens=st.integers(0, 999),
    cache_read_tokens=st.integers(0, 999),
    cache_write_tokens=st.integers(1, 999),
    cache_write_1h_tokens=st.integers(0, 999),
    output_tokens=st.integers(0, 999),
    reasoning_tokens=st.integers(0, 999),
    web_searches=st.integers(0, 3),
    service_tier=st.sampled_from([None, "standard", "priority"]),
    others=st.just(()) | st.just((("claude-other", Usage(input_tokens=3, output_tokens=4)),)),
)


@st.composite
def _replies(draw: st.DrawFn) -> events.Reply:
    parts = tuple(draw(st.lists(_PARTS, max_size=5)))
    calls = any(isinstance(part, chat.ToolCall) for part in parts)
    native = draw(
        st.sampled_from(["tool_use" if calls else "end_turn", "max_tokens", "pause_turn", "stop_sequence"])
    )
    finish = {"end_turn": "stop", "tool_use": "tool_calls", "stop_sequence": "stop"}.get(native, "length")
    return events.Reply(
        id="msg_1",
        model="claude-x",
        usage=draw(_USAGE),
        choices=(
            events.Choice(
                parts=parts,
                finish=events.Finish(finish),
                native_finish=native,
                stop_sequence="END" if native == "stop_sequence" else None,
            ),
        ),
    )


def _bill(reply: events.Reply) -> Bill:
    return Bill(usage=reply.usage, cost_pusd=1, credits_remaining_pusd=-5)


def _stream(stream: Iterator[events.Event], bill: Bill) -> bytes:
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    out = b"".join([encoder.encode(event) for event in stream])
    assert encoder.losses == []
    return out + encoder.finish(bill)


@given(_replies())
@settings(max_examples=80, deadline=None)
def test_whole_replies_round_trip(reply: events.Reply) -> None:
    data, losses = DIALECT.encode_reply(reply, kit.CONTEXT, _bill(reply))
    assert losses == ()
    assert kit.plain(DIALECT.decode_reply(data)) == kit.plain(reply)


@given(_replies())
@settings(max_examples=80, deadline=None)
def test_streamed_replies_round_trip(reply: events.Reply) -> None:
    data = _stream(unfold(reply), _bill(reply))
    kit.grammar(data)
    assert kit.plain(kit.decode_stream(data)) == kit.plain(reply)


@given(_replies(), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_interleaved_parts_become_strictly_sequential_blocks(reply: events.Reply, dice: Any) -> None:
    told = list(unfold(reply))
    queues: dict[int, list[events.Event]] = {}
    before: list[events.Event] = []
    after: list[events.Event] = []
    for event in told:
        if isinstance(event, events.PartOpened | events.PartDelta | events.PartClosed):
            queues.setdefault(event.part, []).append(event)
        else:
            (after if queues else before).append(event)
    mixed: list[events.Event] = []
    waiting = sorted(queues)  # parts open in order; their deltas then interleave as chance has it
    live: list[int] = []
    while waiting or live:
        number = waiting[0] if waiting and (not live or dice.random() < 0.4) else dice.choice(live)
        if waiting and number == waiting[0]:
            live.append(waiting.pop(0))
        mixed.append(queues[number].pop(0))
        live = [n for n in live if queues[n]]
    data = _stream(iter([*before, *mixed, *after]), _bill(reply))
    kit.grammar(data)
    assert kit.plain(kit.decode_stream(data)) == kit.plain(reply)


@pytest.mark.parametrize("name", kit.REPLIES)
def test_the_corpus_round_trips(name: str) -> None:
    reply = DIALECT.decode_reply(kit.reply_bytes(name))
    if name == "unheard":  # a finish that nobody has heard of becomes a plain one
        reply = msgspec.structs.replace(
            reply, choices=(msgspec.structs.replace(reply.choices[0], native_finish="end_turn"),)
        )
    data, losses = DIALECT.encode_reply(reply, kit.CONTEXT, _bill(reply))
    assert losses == ()
    assert kit.plain(DIALECT.decode_reply(data)) == kit.plain(reply)
    streamed = _stream(unfold(reply), _bill(reply))
    kit.grammar(streamed)
    assert kit.plain(kit.decode_stream(streamed)) == kit.plain(reply)


def test_parts_left_open_are_closed_by_finish() -> None:
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    out = b"".join(
        encoder.encode(event)
        for event in (
            events.PartOpened(part=0, form="text"),
            events.PartDelta(part=0, text="a"),
            events.PartOpened(part=1, form="tool_call", id="c", name="f"),
            events.PartDelta(part=1, text="{}"),
        )
    )
    out += encoder.finish(kit.BILL)
    kit.grammar(out)
    assert len(kit.decode_stream(out).choices[0].parts) == 2


def test_text_goes_out_at_once_and_the_ping_behind_the_first_start() -> None:
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    assert encoder.encode(events.Started(id="chatcmpl-1", model="gpt-x")) == b""
    first = kit.frames(encoder.encode(events.PartOpened(part=0, form="text")))
    assert [event for event, _ in first] == ["message_start", "content_block_start", "ping"]
    message = first[0][1]["message"]
    assert (message["id"], message["model"]) == ("msg_minted", "gpt-x")
    assert message["usage"]["input_tokens"] == 33
    assert b"hello" in encoder.encode(events.PartDelta(part=0, text="hello"))


def test_known_input_tokens_stand_in_message_start() -> None:
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    encoder.encode(events.UsageSeen(usage=Usage(input_tokens=5, cache_read_tokens=2, output_tokens=1)))
    body = kit.frames(encoder.encode(events.PartOpened(part=0, form="text")))[0][1]
    assert body["message"]["usage"] == {
        "input_tokens": 5, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 0, "output_tokens": 1,
    }  # fmt: skip


def test_an_empty_reply_is_a_whole_stream() -> None:
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    out = encoder.encode(events.Finished(reason=events.Finish.STOP)) + encoder.finish(kit.BILL)
    kit.grammar(out)
    assert [event for event, _ in kit.frames(out)] == ["message_start", "message_delta", "message_stop"]


def test_minted_ids_are_of_this_form() -> None:
    context = msgspec.structs.replace(kit.CONTEXT, reply_id="chatcmpl-7")
    for own, seen in (("msg_own", "msg_own"), ("chatcmpl-9", "msg_7"), ("", "msg_7")):
        data, _ = DIALECT.encode_reply(events.Reply(id=own, choices=(events.Choice(),)), context, kit.BILL)
        assert json.loads(data)["id"] == seen


def test_the_bill_stands_in_the_usage_exactly() -> None:
    reply = DIALECT.decode_reply(kit.reply_bytes("text"))
    data, _ = DIALECT.encode_reply(reply, kit.CONTEXT, kit.BILL)
    assert b'"cost":0.0000345,"credits_remaining":9.000000000001}' in data
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    assert b'"cost":0.0000345,"credits_remaining":9.000000000001}' in encoder.finish(kit.BILL)


def test_counts_of_our_own_are_marked_as_estimates() -> None:
    reply = events.Reply(choices=(events.Choice(),))
    bill = Bill(
        usage=Usage(input_tokens=1, output_tokens=2, provenance=Provenance.ESTIMATED),
        cost_pusd=0, credits_remaining_pusd=0,
    )  # fmt: skip
    data, _ = DIALECT.encode_reply(reply, kit.CONTEXT, bill)
    assert json.loads(data)["usage"]["estimated"] is True
    data, _ = DIALECT.encode_reply(reply, kit.CONTEXT, kit.BILL)
    assert "estimated" not in json.loads(data)["usage"]


def test_a_refusal_in_words_is_a_refusal() -> None:
    reply = events.Reply(choices=(events.Choice(parts=(chat.Refusal(text="No."),)),))
    data, _ = DIALECT.encode_reply(reply, kit.CONTEXT, kit.BILL)
    body = json.loads(data)
    assert body["content"] == [{"type": "text", "text": "No."}]
    assert body["stop_reason"] == "refusal"
    assert body["stop_details"]["type"] == "refusal"
    streamed = kit.frames(_stream(unfold(reply), kit.BILL))
    assert streamed[-2][1]["delta"]["stop_reason"] == "refusal"


@pytest.mark.parametrize(
    ("finish", "native", "sequence", "reason"),
    [
        ("stop", "stop", None, "end_turn"),
        ("stop", "STOP", "END", "stop_sequence"),
        ("length", "length", None, "max_tokens"),
        ("length", "model_context_window_exceeded", None, "model_context_window_exceeded"),
        ("tool_calls", "stop", None, "tool_use"),
        ("content_filter", "SAFETY", None, "refusal"),
        ("stop", None, None, "end_turn"),
    ],
)
def test_stop_reasons(finish: str, native: str | None, sequence: str | None, reason: str) -> None:
    choice = events.Choice(finish=events.Finish(finish), native_finish=native, stop_sequence=sequence)
    data, _ = DIALECT.encode_reply(events.Reply(choices=(choice,)), kit.CONTEXT, kit.BILL)
    assert json.loads(data)["stop_reason"] == reason
    assert json.loads(data)["stop_sequence"] == sequence


def test_what_cannot_be_said_is_a_declared_loss() -> None:
    parts = (
        chat.Text(text="a", citations=(chat.Citation(title="a book"),)),
        chat.Media(form="image", data="AAAA", media_type="image/png"),
        chat.Opaque(dialect="gemini_generate", name="executableCode", raw=chat.Raw(b"{}")),
        chat.ToolCall(id="", name="f", arguments='{"cut'),
    )
    choice = events.Choice(parts=parts, logprobs=chat.Raw(b"[]"))
    reply = events.Reply(
        choices=(choice, events.Choice(index=1)),
        opaque=(events.OpaqueSeen(dialect="openai_chat", name="moderation", raw=chat.Raw(b"{}")),),
    )
    data, losses = DIALECT.encode_reply(reply, kit.CONTEXT, kit.BILL)
    whole = {loss.field for loss in losses}
    assert whole == {
        "n", "logprobs", "annotations", "content.image", "executableCode", "moderation",
        "tool_calls[].function.arguments",
    }  # fmt: skip
    call = json.loads(data)["content"][-1]
    assert call["input"] == {"_raw": '{"cut'}
    assert call["id"].startswith("toolu_")
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    for event in unfold(reply):
        encoder.encode(event)
    kit.frames(encoder.finish(kit.BILL))
    assert {loss.field for loss in encoder.losses} >= {
        "n",
        "logprobs",
        "annotations",
        "executableCode",
        "moderation",
    }


_FOREIGN = (
    chat.Thinking(text="hm", signature="AbC+/=", id="rs_1", origin="openai_responses"),
    chat.Thinking(redacted="gAAA", id="rs_2", origin="openai_responses"),
    chat.ToolCall(id="c1", name="f", arguments="{}", signature="thought==", origin="gemini_generate"),
    chat.Text(text="Hello", signature="more==", origin="gemini_generate"),
    chat.Thinking(text="unsigned", origin="openai_chat"),
    chat.Text(text="Bye", citations=(chat.Citation(url="https://x.example", title="X", cited_text="bye"),)),
)


@pytest.mark.parametrize("streamed", [False, True])
def test_foreign_state_comes_back_through_a_client_unharmed(streamed: bool) -> None:
    reply = events.Reply(choices=(events.Choice(parts=_FOREIGN, finish=events.Finish.TOOL_CALLS),))
    if streamed:
        data = _stream(unfold(reply), kit.BILL)
        kit.grammar(data)
        content = _accumulated(data)
    else:
        content = json.loads(DIALECT.encode_reply(reply, kit.CONTEXT, kit.BILL)[0])["content"]
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": content}],
    }
    inspected = DIALECT.inspect(json.dumps(body).encode(), None, None)
    assert DIALECT.decode_request(inspected).messages[-1].parts == _FOREIGN
    # on the way to a provider of this API, which would refuse it, nothing of it is left
    passed, losses = DIALECT.edit_request(inspected, kit.target(), {})
    assert b"llmr1." not in passed
    assert [loss.field for loss in losses] == ["messages[].reasoning"]
    blocks = json.loads(passed)["messages"][1]["content"]
    assert [(block["type"], block.get("text")) for block in blocks] == [
        ("tool_use", None), ("text", "Hello"), ("text", "Bye"),
    ]  # fmt: skip
    assert "citations" not in blocks[-1]


def test_foreign_state_that_is_known_early_goes_before_its_call() -> None:
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    opened = events.PartOpened(
        part=0, form="tool_call", id="c", name="f", signature="thought==", dialect="gemini_generate"
    )
    data = encoder.encode(opened) + encoder.encode(events.PartClosed(part=0, signature="thought=="))
    data += encoder.finish(kit.BILL)
    kit.grammar(data)
    content = _accumulated(data)
    assert [block["type"] for block in content] == ["redacted_thinking", "tool_use"]
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "assistant", "content": content}]}
    request = DIALECT.decode_request(DIALECT.inspect(json.dumps(body).encode(), None, None))
    call = chat.ToolCall(id="c", name="f", arguments="{}", signature="thought==", origin="gemini_generate")
    assert request.messages[0].parts == (call,)


def test_a_forged_seal_is_taken_as_it_is() -> None:
    for data in ("llmr1.", "llmr1.e30=", "llmr1.AAAA", "llmr1.%%"):
        content = [{"type": "redacted_thinking", "data": data}, {"type": "text", "text": "a"}]
        body = {"model": "m", "max_tokens": 5, "messages": [{"role": "assistant", "content": content}]}
        request = DIALECT.decode_request(DIALECT.inspect(json.dumps(body).encode(), None, None))
        assert len(request.messages[0].parts) == 2


def _accumulated(data: bytes) -> list[dict[str, Any]]:
    """The content that a client collects from a stream."""
    content: list[dict[str, Any]] = []
    for event, body in kit.frames(data):
        if event == "content_block_start":
            content.append(dict(body["content_block"]))
        elif event == "content_block_delta":
            block, delta = content[body["index"]], body["delta"]
            if delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            elif delta["type"] == "citations_delta":
                block.setdefault("citations", []).append(delta["citation"])
            elif delta["type"] == "input_json_delta":
                block["json"] = block.get("json", "") + delta["partial_json"]
            else:
                name = delta["type"].removesuffix("_delta")
                block[name] += delta[name]
    for block in content:
        if "json" in block:
            block["input"] = json.loads(block.pop("json") or "{}")
    return content


def test_custom_calls_are_wrapped_in_an_object() -> None:
    call = chat.ToolCall(id="c", name="patch", arguments='free "text"', custom=True)
    reply = events.Reply(choices=(events.Choice(parts=(call,)),))
    data, _ = DIALECT.encode_reply(reply, kit.CONTEXT, kit.BILL)
    assert json.loads(data)["content"][0]["input"] == {"input": 'free "text"'}
    assert _accumulated(_stream(unfold(reply), kit.BILL))[0]["input"] == {"input": 'free "text"'}


def test_json_tool_calls_come_back_as_text() -> None:
    block = {"type": "tool_use", "id": "t", "name": "reply_with_json", "input": {"a": [1, 2]}}
    body = {"id": "msg_1", "content": [block], "stop_reason": "tool_use", "usage": {}}
    whole = DIALECT.decode_reply(json.dumps(body).encode())
    choice = whole.choices[0]
    assert choice.finish is events.Finish.STOP
    (text,) = choice.parts
    assert isinstance(text, chat.Text)
    assert json.loads(text.text) == {"a": [1, 2]}
    start = {**block, "input": {}}
    streamed = kit.decode_stream(
        kit.sse(
            {"type": "message_start", "message": {}},
            {"type": "content_block_start", "index": 0, "content_block": start},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": '{"a": '},
            },
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": "[1, 2]}"},
            },
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
            {"type": "message_stop"},
        )
    )
    assert streamed.choices == choice_with_text(choice, text.text)


def choice_with_text(choice: events.Choice, text: str) -> tuple[events.Choice, ...]:
    return (msgspec.structs.replace(choice, parts=(chat.Text(text=text),)),)


def test_errors_in_mid_stream() -> None:
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    ((event, body),) = kit.frames(encoder.fail(Overloaded("Too much."), "req_1"))
    assert event == "error"
    assert body == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Too much.", "code": "overloaded"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", UpstreamKind.MALFORMED),
        (b"<html>", UpstreamKind.MALFORMED),
        (b"[]", UpstreamKind.MALFORMED),
        (b"{}", UpstreamKind.MALFORMED),
        (b'{"content": {"a": 1}}', UpstreamKind.MALFORMED),
        (
            b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
            UpstreamKind.OVERLOADED,
        ),
        (b'{"error":{"code":404,"message":"model not found"}}', UpstreamKind.NOT_FOUND),
    ],
)
def test_what_is_no_reply(body: bytes, kind: UpstreamKind) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_reply(body)
    assert caught.value.kind is kind
    with pytest.raises(UpstreamError) as caught:
        DIALECT.pass_reply(body, kit.CONTEXT)
    assert caught.value.kind is kind


def test_content_as_null_or_text_is_understood() -> None:
    assert DIALECT.decode_reply(b'{"content":null}').choices[0].parts == ()
    assert DIALECT.decode_reply(b'{"content":"hi"}').choices[0].parts == (chat.Text(text="hi"),)


@pytest.mark.parametrize(
    ("usage", "flags"),
    [
        (None, ()),
        ({}, ()),
        ({"output_tokens": 3}, ()),
        ({"input_tokens": None, "output_tokens": 3}, ()),
        ({"input_tokens": -1, "output_tokens": 3}, ("usage_invalid",)),
        ({"input_tokens": "7", "output_tokens": 3}, ("usage_invalid",)),
        ({"input_tokens": 10**9, "output_tokens": 3}, ("usage_invalid",)),
        ({"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 0.5}, ("usage_invalid",)),
    ],
)
def test_no_usage_is_not_zero_usage(usage: Any, flags: tuple[str, ...]) -> None:
    reply = DIALECT.decode_reply(json.dumps({"content": [], "usage": usage}).encode())
    assert reply.usage is None
    assert reply.flags == flags


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_an_answer_ends_with_its_text_not_with_state_of_another_dialect(streamed: bool, empty: bool) -> None:
    """Agents take the last block for the answer."""
    signed = chat.Text(text="" if empty else "Hello", signature="more==", origin="gemini_generate")
    parts = (chat.Text(text="Hello"), signed) if empty else (signed,)
    reply = events.Reply(choices=(events.Choice(parts=parts, finish=events.Finish.STOP),))
    if streamed:
        data = _stream(unfold(reply), kit.BILL)
        kit.grammar(data)
        content = _accumulated(data)
    else:
        content = json.loads(DIALECT.encode_reply(reply, kit.CONTEXT, kit.BILL)[0])["content"]
    assert content == [{"type": "text", "text": "Hello"}]
