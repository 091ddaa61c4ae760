"""Replies to clients of the Responses API: whole and streamed, from any provider's events."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import responses_kit as kit
from hypothesis import given
from hypothesis import strategies as st
from responses_reader import Read, read_response, read_stream

from llm_router.domain.errors import RateLimitExceeded, UpstreamError, UpstreamKind
from llm_router.domain.usage import Provenance, Usage
from llm_router.wire import chat, events
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Bill
from llm_router.wire.dialects.openai_responses import DIALECT
from llm_router.wire.fold import unfold

Finish = events.Finish


def reply(*parts: chat.Part, finish: Finish = Finish.STOP, **more: Any) -> events.Reply:
    return events.Reply(
        id="msg_far", model="far-1", created_s=1_750_000_000,
        choices=(events.Choice(parts=parts, finish=finish, **more),),
        usage=Usage(input_tokens=9, output_tokens=4),
    )  # fmt: skip


def stream_of(found: events.Reply, context: Any = kit.CONTEXT) -> bytes:
    encoder = DIALECT.stream_encoder(context)
    return b"".join(encoder.encode(event) for event in unfold(found)) + encoder.finish(kit.BILL)


def streamed(*script: events.Event, context: Any = kit.CONTEXT) -> tuple[Read, set[str]]:
    """What a client reads of these events, and what was lost."""
    encoder = DIALECT.stream_encoder(context)
    data = b"".join(encoder.encode(event) for event in (events.Started(), *script))
    return read_stream(data + encoder.finish(kit.BILL)), {loss.field for loss in encoder.losses}


CALL = chat.ToolCall(id="call_1", name="tide_at", arguments='{"port":"Brest"}')
EVERYTHING = (
    chat.Thinking(text="Hm.", signature="sig", origin="anthropic_messages"),
    chat.Text(text="Well. ", citations=(chat.Citation(url="https://a.example", title="A", start=0, end=4),)),
    chat.Text(text="So."),
    CALL,
    chat.ToolCall(id="call_2", name="patch", arguments="+ x", custom=True),
    chat.Media(form="image", data="iVBORw0KGgo=", media_type="image/png"),
)


def test_a_whole_reply_has_all_that_clients_expect() -> None:
    data, losses = DIALECT.encode_reply(reply(*EVERYTHING, finish=Finish.TOOL_CALLS), kit.CONTEXT, kit.BILL)
    assert losses == ()
    read = read_response(data)
    assert (read.status, read.text, read.thoughts) == ("completed", "Well. So.", ["Hm."])
    assert read.shown_calls() == [("tide_at", {"port": "Brest"}), ("patch", "+ x")]
    assert read.images == ["iVBORw0KGgo="]
    assert read.notes == [
        {"type": "url_citation", "start_index": 0, "end_index": 4, "url": "https://a.example", "title": "A"}
    ]
    assert read.response["id"] == "resp_own1"
    assert read.response["model"] == "far-1"
    assert b'"cost":0.0015,"credits_remaining":2' in data
    assert read.usage["input_tokens"] == 9
    assert read.usage["total_tokens"] == 13
    assert read.usage["output_tokens_details"] == {"reasoning_tokens": 0}


def test_the_stream_ends_with_the_whole_reply() -> None:
    whole, _ = DIALECT.encode_reply(reply(*EVERYTHING, finish=Finish.TOOL_CALLS), kit.CONTEXT, kit.BILL)
    read = read_stream(stream_of(reply(*EVERYTHING, finish=Finish.TOOL_CALLS)))
    assert read.response == json.loads(whole)


def test_the_grammar_of_a_text() -> None:
    read = read_stream(stream_of(reply(chat.Text(text="Hi"))))
    assert [kind.removeprefix("response.") for kind in read.events] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip


def test_the_grammar_of_reasoning_and_a_call() -> None:
    read = read_stream(stream_of(reply(EVERYTHING[0], CALL, finish=Finish.TOOL_CALLS)))
    assert [kind.removeprefix("response.") for kind in read.events[2:]] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
        "output_item.done", "completed",
    ]  # fmt: skip


def test_a_call_without_arguments_has_an_empty_object() -> None:
    read, _ = streamed(
        events.PartOpened(part=0, form="tool_call", id="c", name="now"),
        events.PartClosed(part=0),
        events.Finished(reason=Finish.TOOL_CALLS),
    )
    assert read.shown_calls() == [("now", {})]


def test_a_cut_call_is_incomplete_and_stays_cut() -> None:
    cut = chat.ToolCall(id="c", name="now", arguments='{"a')
    read = read_stream(stream_of(reply(cut, finish=Finish.LENGTH)))
    assert read.status == "incomplete"
    assert read.response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (read.calls[0]["arguments"], read.calls[0]["status"]) == ('{"a', "incomplete")
    empty = chat.ToolCall(id="c", name="now", arguments="")
    assert read_stream(stream_of(reply(empty, finish=Finish.LENGTH))).calls[0]["arguments"] == ""


def test_a_filtered_answer_is_incomplete_and_says_why() -> None:
    found = reply(finish=Finish.CONTENT_FILTER, native_finish="SAFETY", finish_message="Blocked: harm.")
    read = read_stream(stream_of(found))
    assert read.response["incomplete_details"] == {"reason": "content_filter"}
    assert read.refusals == ["Blocked: harm."]
    assert read.response["native_finish_reason"] == "SAFETY"
    said = reply(chat.Refusal(text="No."), finish=Finish.CONTENT_FILTER, finish_message="Blocked.")
    assert read_stream(stream_of(said)).refusals == ["No."]


def test_interleaved_parts_are_put_in_order() -> None:
    """Two calls at once: the second waits until the first cannot go on any more."""
    read, _ = streamed(
        events.PartOpened(part=0, form="tool_call", id="a", name="f"),
        events.PartDelta(part=0, text='{"n":'),
        events.PartOpened(part=1, form="tool_call", id="b", name="g"),
        events.PartDelta(part=1, text="{}"),
        events.PartDelta(part=0, text="1}"),
        events.PartClosed(part=0),
        events.PartClosed(part=1),
        events.Finished(reason=Finish.TOOL_CALLS),
    )
    assert read.shown_calls() == [("f", {"n": 1}), ("g", {})]


def test_a_whole_call_and_an_open_text_do_not_hold_up_the_next_call() -> None:
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    script: list[events.Event] = [
        events.Started(),
        events.PartOpened(part=0, form="text"),
        events.PartDelta(part=0, text="Look: "),
        events.PartOpened(part=1, form="tool_call", id="a", name="f"),
        events.PartDelta(part=1, text='{"n":1}'),
        events.PartOpened(part=2, form="tool_call", id="b", name="g"),
    ]
    data = b"".join(encoder.encode(event) for event in script)
    live = encoder.encode(events.PartDelta(part=2, text='{"m":2}'))
    assert b"function_call_arguments.delta" in live
    late = encoder.encode(events.PartDelta(part=0, text="and more."))
    assert b"output_text.delta" in late
    rest = [events.PartClosed(part=n) for n in (0, 1, 2)]
    data += live + late + b"".join(encoder.encode(event) for event in rest)
    data += encoder.encode(events.Finished(reason=Finish.TOOL_CALLS)) + encoder.finish(kit.BILL)
    read = read_stream(data)
    assert read.texts == ["Look: ", "and more."]
    assert read.shown_calls() == [("f", {"n": 1}), ("g", {"m": 2})]


def test_an_empty_answer_is_legal() -> None:
    read = read_stream(stream_of(reply()))
    assert read.response["output"] == []
    assert read_stream(stream_of(reply(chat.Text(text="")))).response["output"] == []


def test_ids_are_unique_and_calls_without_one_get_one() -> None:
    twice = [chat.ToolCall(id="same", name="f", arguments="{}") for _ in range(2)]
    read = read_stream(stream_of(reply(*twice, chat.ToolCall(id="", name="f", arguments="{}"))))
    assert read.calls[0]["call_id"] == "same"
    same = [chat.Thinking(text=t, id="rs_1", origin="openai_responses") for t in "ab"]
    ids = [item["id"] for item in read_stream(stream_of(reply(*same, CALL))).response["output"]]
    assert ids[0] == "rs_1"
    assert len(set(ids)) == 3


def test_free_text_tools_of_providers_without_them() -> None:
    """A provider that knows only functions called the tool with JSON: the client gets the text."""
    context = msgspec.structs.replace(kit.CONTEXT, custom_tools=("patch",))
    for arguments, text in (
        ('{"input":"+ x"}', "+ x"),
        ('{"patch":"+ y"}', "+ y"),
        ("+ z", "+ z"),
        ('{"a":1,"b":2}', '{"a":1,"b":2}'),
    ):
        call = chat.ToolCall(id="c", name="patch", arguments=arguments)
        read = read_stream(stream_of(reply(call, finish=Finish.TOOL_CALLS), context))
        assert (read.calls[0]["type"], read.calls[0]["input"]) == ("custom_tool_call", text)


def test_the_request_is_echoed() -> None:
    asked = {
        "input": "Hi",
        "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "max_output_tokens": 100,
        "text": {"format": {"type": "text"}, "verbosity": "low"},
    }
    inspected = DIALECT.inspect(json.dumps({"model": "m", **asked}, indent=2).encode(), None, None)
    context = msgspec.structs.replace(kit.CONTEXT, echo=inspected.echo)
    read = read_stream(stream_of(reply(chat.Text(text="Hi")), context))
    for name, value in asked.items():
        assert name == "input" or read.response[name] == value


def test_losses_are_declared() -> None:
    opaque = chat.Opaque(dialect="anthropic_messages", name="server_tool_use", raw=Raw(b"{}"))
    audio = chat.Media(form="audio", data="UklGRg==", media_type="audio/wav")
    unlinked = chat.Text(text="x", citations=(chat.Citation(title="a book"),))
    found = events.Reply(
        choices=(
            events.Choice(parts=(opaque, audio, unlinked)),
            events.Choice(index=1, parts=(chat.Text(text="other"),)),
        ),
        opaque=(events.OpaqueSeen(dialect="openai_chat", name="x_groq", raw=Raw(b"{}")),),
    )
    data, losses = DIALECT.encode_reply(found, kit.CONTEXT, kit.BILL)
    assert {loss.field for loss in losses} == {
        "server_tool_use",
        "output.media",
        "annotations",
        "n",
        "x_groq",
    }
    assert read_response(data).texts == ["x"]


def test_a_source_behind_a_call_is_a_loss() -> None:
    read, lost = streamed(
        events.PartOpened(part=0, form="text"),
        events.PartDelta(part=0, text="a"),
        events.PartOpened(part=1, form="tool_call", id="c", name="f"),
        events.PartDelta(part=0, citation=chat.Citation(url="https://a.example")),
        events.PartClosed(part=0),
        events.PartClosed(part=1),
        events.Finished(reason=Finish.TOOL_CALLS),
    )
    assert lost == {"annotations"}
    assert read.text == "a"


# -- opaque state ----------------------------------------------------------------------------------

ORIGINS = st.sampled_from(["anthropic_messages", "gemini_generate", "openai_chat/other", "openai_responses"])
OPAQUE = st.text(st.characters(min_codepoint=33, max_codepoint=0x3FF), min_size=1, max_size=30)


@st.composite
def stateful(draw: st.DrawFn) -> chat.Part:
    """Parts with the state of any provider."""
    origin, state = draw(ORIGINS), draw(OPAQUE)
    word = draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
    foreign = None if origin == "openai_responses" else state
    match draw(st.integers(0, 3)):
        case 0:
            id_ = (
                draw(st.sampled_from([None, "rs_9", "x"])) if foreign else f"rs_{draw(st.integers(0, 10**9))}"
            )
            return chat.Thinking(text=word, signature=state.lstrip("{") or "s", id=id_, origin=origin)
        case 1 if foreign:
            return chat.Thinking(redacted=state, origin=origin)
        case 2:
            return chat.Text(text=word, signature=foreign, origin=origin if foreign else None)
    number = draw(st.integers(0, 10**9))
    return chat.ToolCall(
        id=f"call_{number}", name="f", arguments='{"a":1}',
        signature=foreign, origin=origin if foreign else None,
    )  # fmt: skip


@given(parts=st.lists(stateful(), min_size=1, max_size=5), stream=st.booleans())
def test_state_comes_back_byte_exact_through_a_client(parts: list[chat.Part], stream: bool) -> None:
    ids = [part.id for part in parts if isinstance(part, chat.ToolCall | chat.Thinking) and part.id]
    if len(set(ids)) < len(ids):
        return
    found = reply(*parts)
    data = stream_of(found) if stream else DIALECT.encode_reply(found, kit.CONTEXT, kit.BILL)[0]
    read = read_stream(data) if stream else read_response(data)
    asked = kit.decoded({"input": [{"role": "user", "content": "Hi"}, *read.response["output"]]})
    assert asked.messages[1].parts == tuple(parts)


def test_state_that_is_told_twice_is_sealed_once() -> None:
    read, _ = streamed(
        events.PartOpened(
            part=0, form="tool_call", id="c", name="f", signature="s", dialect="gemini_generate"
        ),
        events.PartClosed(part=0, signature="s"),
        events.Finished(reason=Finish.TOOL_CALLS),
    )
    assert [item["type"] for item in read.response["output"]] == ["reasoning", "function_call"]


def test_state_that_was_bound_is_no_reasoning_and_never_reaches_a_provider() -> None:
    signed = chat.ToolCall(id="c", name="f", arguments="{}", signature="thought", origin="gemini_generate")
    output = read_stream(stream_of(reply(signed, finish=Finish.TOOL_CALLS))).response["output"]
    sealed = [item for item in output if item["type"] == "reasoning"]
    assert len(sealed) == 1
    assert sealed[0]["summary"] == []
    body = kit.body({"input": [{"role": "user", "content": "Hi"}, *output]})
    data, losses = DIALECT.edit_request(DIALECT.inspect(body, None, None), kit.TARGET, {})
    assert b"llmr1." not in data
    assert {loss.field for loss in losses} == {"input[].reasoning"}


# -- whole replies of providers --------------------------------------------------------------------


@pytest.mark.parametrize("case", kit.params(failing=False))
def test_a_reply_of_a_provider_comes_out_the_same(case: dict[str, Any]) -> None:
    found = DIALECT.decode_reply(json.dumps(kit.last_response(case)).encode())
    data, losses = DIALECT.encode_reply(found, kit.CONTEXT, kit.BILL)
    assert losses == ()
    again = DIALECT.decode_reply(data)
    shown = [kit.view([p])[0] for p in again.choices[0].parts if not isinstance(p, chat.Thinking)]
    wanted = [row for row in case["parts"] if row[0] != "thinking"]
    if case["name"] == "phases":  # known only when the text is over
        wanted = [["text", "Let me look."], *wanted[1:]]
    assert shown == wanted
    assert again.choices[0].finish == case["finish"]


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"[]", UpstreamKind.MALFORMED, "not a JSON object"),
        (b"{}", UpstreamKind.MALFORMED, "without output"),
        (b'{"output":7}', UpstreamKind.MALFORMED, "without output"),
        (b'{"status":"queued","output":[]}', UpstreamKind.MALFORMED, "still queued"),
        (b'{"status":"cancelled","output":[]}', UpstreamKind.SERVER, "cancelled"),
        (b'{"error":{"message":"Bad key","code":"invalid_api_key"}}', UpstreamKind.AUTHENTICATION, "Bad key"),
        (
            b'{"object":"response","status":"failed","output":[],"error":{"code":"bio_policy","message":"No."}}',
            UpstreamKind.CONTENT_POLICY,
            "No.",
        ),
    ],
)
def test_what_is_no_reply_is_an_error(body: bytes, kind: UpstreamKind, message: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_reply(body)
    assert caught.value.kind is kind
    assert message in caught.value.message
    with pytest.raises(UpstreamError):
        DIALECT.pass_reply(body, kit.CONTEXT)


def test_reasoning_beside_the_output_is_heard() -> None:
    found = DIALECT.decode_reply(b'{"output":[],"reasoning":"Hm.","status":"completed"}')
    assert [(p.text, p.origin) for p in found.choices[0].parts if isinstance(p, chat.Thinking)] == [
        ("Hm.", "openai_responses")
    ]


# -- usage and failure -----------------------------------------------------------------------------


def test_counts_of_our_own_are_marked_and_unknown_ones_are_null() -> None:
    for usage, wanted in (
        (Usage(input_tokens=3, output_tokens=1, provenance=Provenance.COUNTED), (3, 1, True)),
        (None, (None, None, None)),
    ):
        bill = Bill(usage=usage, cost_pusd=5, credits_remaining_pusd=7)
        data, _ = DIALECT.encode_reply(reply(), kit.CONTEXT, bill)
        told = read_response(data).usage
        assert (told["input_tokens"], told["output_tokens"], told.get("estimated")) == wanted
        assert told["cost"] == 5e-12


def test_all_buckets_are_inside_the_totals() -> None:
    usage = Usage(
        input_tokens=1, cache_read_tokens=2, cache_write_tokens=4, cache_write_1h_tokens=8,
        input_audio_tokens=16, output_tokens=32, reasoning_tokens=64, output_audio_tokens=128,
        output_image_tokens=256,
    )  # fmt: skip
    data, _ = DIALECT.encode_reply(reply(), kit.CONTEXT, msgspec.structs.replace(kit.BILL, usage=usage))
    told = read_response(data).usage
    assert (told["input_tokens"], told["output_tokens"], told["total_tokens"]) == (31, 480, 511)
    assert told["input_tokens_details"] == {"cached_tokens": 2, "cache_write_tokens": 12, "audio_tokens": 16}


def test_a_failure_in_mid_stream_is_a_failed_response() -> None:
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    data = b"".join(
        encoder.encode(event)
        for event in (
            events.Started(),
            events.PartOpened(part=0, form="text"),
            events.PartDelta(part=0, text="So"),
        )
    )
    read = read_stream(data + encoder.fail(RateLimitExceeded("Too fast."), "req_1"))
    assert read.status == "failed"
    error = read.response["error"]
    assert (error["code"], error["message"]) == ("rate_limit_exceeded", "Too fast.")
    assert read.response["usage"] is None
    last = kit.decode(data + DIALECT.stream_encoder(kit.CONTEXT).fail(RateLimitExceeded("x"), "r"))[-1]
    assert isinstance(last, events.Failed)


def test_a_failure_before_anything_is_a_whole_stream_too() -> None:
    error = UpstreamError("Gone.", kind=UpstreamKind.UNAVAILABLE)
    read = read_stream(DIALECT.stream_encoder(kit.CONTEXT).fail(error, "req_1"))
    assert (read.response["error"]["code"], read.response["error"]["gateway_code"]) == (
        "server_error",
        "upstream_error",
    )
