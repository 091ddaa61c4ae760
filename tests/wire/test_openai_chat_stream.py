"""Streams of the chat form: provider habits put right, and the laws that hold for any stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from chat_kit import bridge, corpus, cut, known_id, pass_relay, run, sse
from chat_reader import Read, frames, parsed, read_stream
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamKind
from llm_router.domain.usage import Provenance, Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, Relay, ReplyContext
from llm_router.wire.dialects.openai_chat import DIALECT
from llm_router.wire.fold import fold

CASES = corpus("streams")
GOOD = [pytest.param(case, id=case["name"]) for case in CASES if "expect" in case]
BAD = [pytest.param(case, id=case["name"]) for case in CASES if "error" in case]
RELAYS = [pytest.param(pass_relay, id="pass"), pytest.param(bridge, id="bridge")]


def _stream(case: dict[str, Any]) -> bytes:
    return sse(case["chunks"], comments=case.get("comments", False))


def _check(read: Read, expect: dict[str, Any], *, passed: bool) -> None:
    count = len(expect["text"])
    assert read.text == dict(enumerate(expect["text"]))
    assert read.reasoning == dict(enumerate(expect.get("reasoning", [""] * count)))
    if "function" in expect and passed:
        assert [read.function[0]["name"], parsed(read.function[0]["arguments"])] == expect["function"]
    elif "function" in expect:
        assert [read.calls[0][0]["name"], parsed(read.calls[0][0]["arguments"])] == expect["function"]
        return
    else:
        for number, calls in enumerate(expect.get("calls", [[]] * count)):
            shown = [[known_id(c["id"]), c["name"], parsed(c["arguments"])] for c in read.calls[number]]
            assert shown == calls
    assert read.finish == dict(enumerate(expect["finish"]))
    assert read.usage is not None
    if expect["usage"] is None:
        assert read.usage["prompt_tokens"] is None
    else:
        prompt, completion, cached, reasoning = expect["usage"]
        assert read.usage["prompt_tokens"] == prompt
        assert read.usage["completion_tokens"] == completion
        assert read.usage["total_tokens"] == prompt + completion
        if cached is not None:
            assert read.usage["prompt_tokens_details"]["cached_tokens"] == cached
        if reasoning is not None:
            assert read.usage["completion_tokens_details"]["reasoning_tokens"] == reasoning
    assert read.usage["cost"] == 0.0000015
    assert read.usage["credits_remaining"] == 2
    if passed:
        assert read.usage.get("upstream_cost") == expect.get("upstream_cost")
    assert read.model == expect.get("model", read.model)
    assert read.id == expect.get("id", read.id)
    assert read.members.items() >= expect.get("members", {}).items()


@pytest.mark.parametrize("make", RELAYS)
@pytest.mark.parametrize("case", GOOD)
def test_habits_are_put_right(case: dict[str, Any], make: Callable[[], Relay]) -> None:
    data = _stream(case)
    for size in (1, 5, 10**6):
        relay = make()
        read = read_stream(run(relay, cut(data, size)))
        _check(read, case["expect"], passed=make is pass_relay)
        assert relay.observed.native_finish == case["expect"]["native"][0] or make is bridge
        if make is pass_relay:
            assert relay.observed.flags == case["expect"].get("flags", [])
        assert relay.observed.finish is not None


@pytest.mark.parametrize("make", RELAYS)
@pytest.mark.parametrize("case", BAD)
def test_errors_inside_a_stream(case: dict[str, Any], make: Callable[[], Relay]) -> None:
    data = _stream(case)
    for size in (1, 5, 10**6):
        relay = make()
        out = run(relay, cut(data, size))
        error = relay.observed.error
        assert error is not None
        assert not relay.observed.ended
        assert {"kind": error.kind.value, "status": error.status, "code": error.native_code} == case["error"]
        assert b"[DONE]" not in out
        assert b'"finish_reason":"' not in out
        last = json.loads(frames(out)[-1])
        assert last["choices"] == []
        assert last["error"]["code"] == error.code
        assert last["error"]["request_id"] == "gen-1"


@pytest.mark.parametrize("make", RELAYS)
@pytest.mark.parametrize("case", GOOD)
def test_no_cut_changes_what_the_client_gets(case: dict[str, Any], make: Callable[[], Relay]) -> None:
    data = _stream(case)
    whole = read_stream(run(make(), [data])).__dict__
    for position in range(1, len(data)):
        assert read_stream(run(make(), [data[:position], data[position:]])).__dict__ == whole


@pytest.mark.parametrize("make", RELAYS)
@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
@pytest.mark.parametrize("case", GOOD)
def test_line_ends_do_not_matter(case: dict[str, Any], make: Callable[[], Relay], newline: bytes) -> None:
    data = _stream(case)
    whole = read_stream(run(make(), [data])).__dict__
    assert read_stream(run(make(), cut(data.replace(b"\n", newline), 3))).__dict__ == whole


def _proof(data: bytes) -> int:
    """Where the line ends that gives the last choice its finish; else where the end marker begins."""
    begun, ended, position = set(), set(), 0
    for line in data.split(b"\n"):
        position += len(line) + 1
        try:
            chunk = json.loads(line.removeprefix(b"data: "))
        except ValueError:
            continue
        for choice in chunk["choices"] if isinstance(chunk, dict) else []:
            begun.add(choice["index"])
            if choice.get("finish_reason"):
                ended.add(choice["index"])
        if begun and begun == ended == _choices(data):
            return position - 1
    return data.index(b"[DONE]")


def _choices(data: bytes) -> set[int]:
    return {0, 1} if b'"index": 1, "delta": {"role"' in data else {0}


@pytest.mark.parametrize("make", RELAYS)
@pytest.mark.parametrize("case", GOOD)
def test_truncation_is_seen(case: dict[str, Any], make: Callable[[], Relay]) -> None:
    """A stream cut before its last finish, or inside a chunk, never looks finished."""
    data = _stream(case)
    proof = _proof(data)
    for position in range(proof):
        relay = make()
        relay.feed(data[:position])
        assert not relay.observed.ended
        out = relay.close()
        assert not relay.observed.ended, position
        assert relay.observed.error is not None
        assert relay.observed.error.kind in (UpstreamKind.TRUNCATED, UpstreamKind.MALFORMED)
        assert b"[DONE]" not in out
        assert b'"finish_reason":"' not in out


def test_a_stream_cut_inside_its_usage_is_truncated() -> None:
    data = _stream(CASES[0])
    start = data.index(b'"choices": []')
    for position in range(start, data.index(b"data: [DONE]") - 2):
        relay = pass_relay()
        relay.feed(data[:position])
        relay.close()
        assert relay.observed.error is not None, position


def test_a_stream_cut_inside_its_end_marker_is_whole() -> None:
    data = _stream(CASES[0])
    for position in range(data.index(b"data: [DONE]"), len(data)):
        read = read_stream(run(pass_relay(), [data[:position]]))
        assert read.done


def test_a_clean_stream_passes_byte_for_byte() -> None:
    data = _stream(CASES[0])
    out = run(pass_relay(), cut(data, 100))
    before, after = frames(data), frames(out)
    assert before[:-2] == after[:-2]
    usage = json.loads(after[-2])["usage"]
    assert usage.pop("cost") == 0.0000015
    assert usage.pop("credits_remaining") == 2
    assert usage == json.loads(before[-2])["usage"]
    assert after[-1] == b"[DONE]"


@pytest.mark.parametrize("make", RELAYS)
def test_nothing_is_sent_before_content(make: Callable[[], Relay]) -> None:
    chunks = CASES[0]["chunks"]
    relay = make()
    assert relay.feed(sse(chunks[:1])) == b""
    assert not relay.observed.content_started
    assert relay.feed(sse(chunks[1:2]))
    assert relay.observed.content_started
    assert relay.observed.output_chars == 2


@pytest.mark.parametrize("make", RELAYS)
@pytest.mark.parametrize("case", GOOD)
def test_without_the_usage_chunk(case: dict[str, Any], make: Callable[..., Relay]) -> None:
    read = read_stream(run(make(usage_chunk=False), [_stream(case)]), usage_chunk=False)
    assert read.done
    assert read.usage is None


def test_the_clients_error_raises_in_the_official_client() -> None:
    """Its stream raises on a chunk with a truthy ``error`` and reads ``error.message``."""
    relay = pass_relay()
    out = run(relay, [sse(CASES[0]["chunks"][:2])])
    last = json.loads(frames(out)[-1])
    assert last["error"]["message"]
    assert last["object"] == "chat.completion.chunk"


def test_estimated_usage_is_marked() -> None:
    relay = pass_relay()
    relay.feed(sse([*CASES[0]["chunks"][:4], "[DONE]"]))
    usage = Usage(input_tokens=7, output_tokens=3, provenance=Provenance.ESTIMATED)
    last = frames(relay.finish(Bill(usage=usage, cost_pusd=0, credits_remaining_pusd=0)))[-2]
    assert json.loads(last)["usage"] == {
        "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "estimated": True,
        "cost": 0, "credits_remaining": 0,
    }  # fmt: skip


def test_members_of_empty_chunks_travel_with_the_next_one() -> None:
    case = next(c for c in CASES if c["name"].startswith("azure"))
    relay = pass_relay()
    first = json.loads(frames(run(relay, [_stream(case)]))[0])
    assert first["prompt_filter_results"] == [{"prompt_index": 0}]
    assert first["choices"][0]["delta"]["role"] == "assistant"


def test_events_without_blank_lines_between_them() -> None:
    data = _stream(CASES[0]).replace(b"\n\n", b"\n")
    read = read_stream(run(pass_relay(), cut(data, 50)))
    assert read.text == {0: "Héllo 🌍"}
    assert read.done


def test_a_signature_of_a_call_says_where_it_is_from() -> None:
    call = {
        "index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "s"}},
    }  # fmt: skip
    decoder = DIALECT.stream_decoder()
    delta = {"role": "assistant", "tool_calls": [call]}
    seen = decoder.feed(sse([{"choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}, "[DONE]"]))
    (part,) = fold(seen).choices[0].parts
    assert part == chat.ToolCall(id="c", name="f", arguments="{}", signature="s", origin="gemini_generate")


def test_service_tiers_in_the_clients_words() -> None:
    chunks = [dict(chunk) if isinstance(chunk, dict) else chunk for chunk in CASES[0]["chunks"]]
    for chunk in chunks[:4]:
        chunk["service_tier"] = "on_demand"
    chunks[4]["service_tier"] = "turbo"
    relay = pass_relay()
    out = [json.loads(frame) for frame in frames(run(relay, [sse(chunks)]))[:-1]]
    assert [chunk.get("service_tier") for chunk in out] == ["default"] * 4 + [None]
    assert relay.observed.usage is not None
    assert relay.observed.usage.service_tier == "turbo"


# -- the encoder alone -----------------------------------------------------------------------------


def _encoded(*happened: events.Event, **changes: Any) -> tuple[Read, list[str]]:
    encoder = DIALECT.stream_encoder(
        ReplyContext(**({"reply_id": "chatcmpl-e", "model": "m", "created_s": 1} | changes))
    )
    data = b"".join(encoder.encode(event) for event in happened)
    bill = Bill(usage=Usage(), cost_pusd=0, credits_remaining_pusd=0)
    return read_stream(data + encoder.finish(bill)), [loss.field for loss in encoder.losses]


def test_calls_without_arguments_and_a_stop_that_is_a_call() -> None:
    read, losses = _encoded(
        events.PartOpened(part=0, form="tool_call", id="c", name="f"),
        events.PartClosed(part=0),
        events.Finished(reason=events.Finish.STOP, native="STOP"),
    )
    assert read.shown_calls() == [("f", {})]
    assert read.finish == {0: "tool_calls"}
    assert losses == []


def test_interleaved_calls_keep_their_numbers() -> None:
    read, _ = _encoded(
        events.PartOpened(part=3, form="tool_call", id="c", name="f"),
        events.PartOpened(part=7, form="tool_call", id="d", name="sh", custom=True),
        events.PartDelta(part=3, text='{"a"'),
        events.PartDelta(part=7, text="ls"),
        events.PartDelta(part=3, text=":1}"),
        events.PartClosed(part=7),
        events.PartClosed(part=3),
        events.Finished(reason=events.Finish.TOOL_CALLS),
    )
    assert read.shown_calls() == [("f", {"a": 1}), ("sh", "ls")]
    assert [call["type"] for call in read.calls[0]] == ["function", "custom"]


def test_what_has_no_form_is_declared_and_not_shown() -> None:
    read, losses = _encoded(
        events.Started(id="msg_1", model="claude", created_s=5),
        events.PartOpened(part=0, form="opaque", name="server_tool_use", dialect="anthropic_messages"),
        events.PartClosed(part=0),
        events.PartOpened(part=1, form="media", media_type="video/mp4", data="AAAA"),
        events.PartClosed(part=1),
        events.OpaqueSeen(dialect="gemini_generate", name="groundingMetadata", raw=chat.Raw(b"{}")),
        events.PartOpened(part=2, form="text"),
        events.PartDelta(part=2, text="a", citation=chat.Citation(title="no url")),
        events.PartDelta(part=2, citation=chat.Citation(url="https://x.example", title="X", start=0, end=1)),
        events.PartClosed(part=2),
        events.Finished(reason=events.Finish.STOP),
    )
    assert read.text == {0: "a"}
    assert read.calls == {0: []}
    assert (read.id, read.model) == ("chatcmpl-e", "claude")
    assert losses == ["server_tool_use", "video", "groundingMetadata", "citations"]
    assert read.annotations[0] == [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 0, "end_index": 1, "url": "https://x.example", "title": "X"},
        }
    ]


def test_an_empty_answer_and_a_refusal_with_a_reason() -> None:
    read, _ = _encoded(events.Finished(reason=events.Finish.STOP))
    assert (read.text, read.finish) == ({0: ""}, {0: "stop"})
    blocked = events.Finished(reason=events.Finish.CONTENT_FILTER, native="SAFETY", message="Blocked.")
    read, _ = _encoded(blocked)
    assert (read.refusal, read.finish) == ({0: "Blocked."}, {0: "content_filter"})


# -- the legacy style ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", RELAYS)
def test_calls_become_the_legacy_style(make: Callable[..., Relay]) -> None:
    case = next(c for c in CASES if c["name"].startswith("parallel calls"))
    relay = make(legacy_functions=True)
    read = read_stream(run(relay, cut(_stream(case), 9)))
    assert [loss.field for loss in relay.observed.losses] == ["tool_calls"]
    assert read.finish == {0: "function_call"}
    assert read.calls == {0: []}
    assert (read.function[0]["name"], parsed(read.function[0]["arguments"])) == ("a", {"x": 1})


# -- stream = whole --------------------------------------------------------------------------------


def _whole(case: dict[str, Any]) -> bytes:
    """The reply that the clean form of a case would be without streaming."""
    read = read_stream(run(pass_relay(), [_stream(case)]))
    choices = []
    for index, text in read.text.items():
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if read.reasoning[index]:
            message["reasoning_content"] = read.reasoning[index]
        if read.calls[index]:
            message["tool_calls"] = [
                {
                    "id": c["id"],
                    "type": "function",
                    "function": {"name": c["name"], "arguments": c["arguments"]},
                }
                for c in read.calls[index]
            ]
        if index in read.function:
            message["function_call"] = read.function[index]
        native = case["expect"]["native"][index]
        choices.append({"index": index, "message": message, "finish_reason": native})
    return json.dumps({"id": read.id, "model": read.model, "choices": choices}).encode()


@pytest.mark.parametrize("case", GOOD)
def test_a_stream_tells_what_a_whole_reply_tells(case: dict[str, Any]) -> None:
    decoder = DIALECT.stream_decoder()
    streamed, whole = fold(decoder.feed(_stream(case)) + decoder.close()), DIALECT.decode_reply(_whole(case))
    assert len(streamed.choices) == len(whole.choices)
    for one, other in zip(streamed.choices, whole.choices, strict=True):
        assert [_bare(p) for p in one.parts] == [_bare(p) for p in other.parts]
        assert (one.index, one.finish) == (other.index, other.finish)


def _bare(part: Any) -> tuple[Any, ...]:
    text = getattr(part, "text", None)
    return (type(part), text, getattr(part, "name", None), getattr(part, "arguments", None))


# -- hostile streams -------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            [
                "id", "choices", "delta", "index", "content", "role", "tool_calls", "function", "name",
                "arguments", "finish_reason", "usage", "prompt_tokens", "completion_tokens", "error",
                "message", "reasoning", "reasoning_details", "type", "text", "model", "created", "logprobs",
                "x_groq", "custom", "input", "function_call", "refusal", "audio", "images", "annotations",
            ]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
CHUNKS = st.lists(
    st.fixed_dictionaries(
        {
            "choices": st.lists(
                st.fixed_dictionaries(
                    {
                        "index": st.integers(0, 2) | JSON,
                        "delta": JSON | st.fixed_dictionaries({"content": JSON, "tool_calls": JSON}),
                    },
                    optional={
                        "finish_reason": st.sampled_from(["stop", "length", "", 2, None, "tool_calls"])
                        | JSON,
                        "logprobs": JSON,
                    },
                ),
                max_size=2,
            )
            | JSON
        },
        optional={
            "usage": JSON,
            "id": JSON,
            "error": JSON,
            "model": JSON,
            "x_groq": JSON,
            "service_tier": JSON,
        },
    )
    | JSON,
    max_size=6,
)


@settings(deadline=None)
@given(CHUNKS, st.booleans(), st.integers(1, 40))
def test_any_stream_becomes_a_right_one_or_an_error(chunks: list[Any], done: bool, size: int) -> None:
    data = sse([*chunks, *(["[DONE]"] if done else [])])
    for make in (pass_relay, bridge):
        relay = make()
        out = run(relay, cut(data, size))
        if relay.observed.error is None:
            read_stream(out)
        else:
            assert b"[DONE]" not in out


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_survived(data: bytes, size: int) -> None:
    for make in (pass_relay, bridge):
        relay = make()
        run(relay, cut(data, size))
        assert relay.observed.error is not None
