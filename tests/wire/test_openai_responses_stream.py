"""Streams of the Responses API as events: cases, framings, cuts, truncation, fuzz."""

from __future__ import annotations

import json
from typing import Any

import pytest
import responses_kit as kit
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamKind
from llm_router.wire import chat, events
from llm_router.wire.dialects.openai_responses import DIALECT

DONE_EARLY = {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"}


@pytest.mark.parametrize("case", kit.params(failing=False))
def test_a_stream_is_read(case: dict[str, Any]) -> None:
    folder = kit.folded(kit.decode(kit.stream_bytes(case)))
    assert folder.ended
    reply = folder.reply()
    choice = reply.choices[0]
    assert kit.view(choice.parts) == case["parts"]
    assert (choice.finish, choice.native_finish) == (case["finish"], case["native"])
    assert reply.usage == kit.usage_of(case["usage"])
    assert (reply.id, reply.model, reply.created_s) == ("resp_tide", "harbor-1", 1751000000)
    if "logprobs" in case:
        assert choice.logprobs is not None
        assert json.loads(bytes(choice.logprobs)) == case["logprobs"]


@pytest.mark.parametrize("case", kit.params(failing=True))
def test_a_failing_stream_is_an_error(case: dict[str, Any]) -> None:
    found = kit.decode(kit.stream_bytes(case))
    assert isinstance(found[-1], events.Failed)
    assert found[-1].error.kind == case["error"]
    assert found[-1].error.message
    assert not any(isinstance(event, events.Ended | events.Finished) for event in found)


@pytest.mark.parametrize("case", kit.params())
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("named", [True, False])
def test_the_framing_does_not_matter(case: dict[str, Any], newline: str, named: bool) -> None:
    whole = kit.plain(kit.decode(kit.stream_bytes(case)))
    assert kit.plain(kit.decode(kit.stream_bytes(case, newline, named=named))) == whole


@pytest.mark.parametrize("case", kit.params(failing=False))
def test_a_stream_says_what_the_whole_reply_says(case: dict[str, Any]) -> None:
    streamed = kit.folded(kit.decode(kit.stream_bytes(case))).reply()
    whole = DIALECT.decode_reply(json.dumps(kit.last_response(case)).encode())
    if case["name"] == "changing_ids":
        assert kit.view(streamed.choices[0].parts) == kit.view(whole.choices[0].parts)
        return
    assert streamed.choices == whole.choices
    assert streamed.usage == whole.usage


@given(case=st.sampled_from(kit.CASES), cuts=st.lists(st.integers(0, 6000), max_size=20))
def test_no_cut_changes_the_events(case: dict[str, Any], cuts: list[int]) -> None:
    data = kit.stream_bytes(case)
    assert kit.plain(kit.decode(data, cuts)) == kit.plain(kit.decode(data))


@pytest.mark.parametrize("case", kit.params())
def test_byte_by_byte(case: dict[str, Any]) -> None:
    data = kit.stream_bytes(case)
    assert kit.plain(kit.decode(data, range(len(data)))) == kit.plain(kit.decode(data))


@pytest.mark.parametrize("case", kit.params(failing=False))
def test_truncation_is_seen_at_every_byte(case: dict[str, Any]) -> None:
    data = kit.stream_bytes(case)
    start = data.rindex(b'{"type":"response.')  # of the last event's data
    last = data.index(b"\n\n", start)
    decoder = DIALECT.stream_decoder()
    assert not any(isinstance(e, events.Ended) for e in decoder.feed(data[:start]))
    for cut in [*range(0, start, 97), *range(start, last)]:
        found = kit.decode(data[:cut])
        assert isinstance(found[-1], events.Failed)
        assert found[-1].error.kind is UpstreamKind.TRUNCATED
    assert isinstance(kit.decode(data[:last])[-1], events.Ended)


def test_nothing_comes_after_the_end() -> None:
    decoder = DIALECT.stream_decoder()
    data = kit.stream_bytes(kit.BY_NAME["text"])
    assert isinstance(decoder.feed(data)[-1], events.Ended)
    assert decoder.feed(data) == []
    assert decoder.close() == []


def test_one_broken_line_is_skipped_and_a_second_ends_the_stream() -> None:
    parts = kit.stream_bytes(kit.BY_NAME["text"]).split(b"\n\n")
    once = b"\n\n".join([*parts[:4], b"data: {oops", *parts[4:]])
    assert kit.view(kit.folded(kit.decode(once)).reply().choices[0].parts) == [["text", "The tide turns."]]
    twice = b"\n\n".join([*parts[:4], b"data: {oops", b"data: nope", *parts[4:]])
    last = kit.decode(twice)[-1]
    assert isinstance(last, events.Failed)
    assert last.error.kind is UpstreamKind.MALFORMED


def test_halves_of_characters_do_not_break_a_stream() -> None:
    data = kit.stream_bytes(kit.BY_NAME["text"]).replace(b"The tide ", b"The \\ud83d tide ", 1)
    reply = kit.folded(kit.decode(data)).reply()
    assert reply.choices[0].parts[0].text.startswith("The � tide")  # type: ignore[union-attr]


def test_an_error_without_a_type_is_an_error() -> None:
    data = b'data: {"error":{"message":"Too many requests","code":"429"}}\n\n'
    last = kit.decode(data)[-1]
    assert isinstance(last, events.Failed)
    assert last.error.kind is UpstreamKind.RATE_LIMIT
    assert last.error.message == "Too many requests"


def test_the_end_marker_alone_proves_nothing() -> None:
    case = {"events": [*kit.BY_NAME["text"]["events"][:-1], "[DONE]"]}
    last = kit.decode(kit.stream_bytes(case))[-1]
    assert isinstance(last, events.Failed)
    assert last.error.kind is UpstreamKind.TRUNCATED


def test_an_event_that_never_ends_is_given_up() -> None:
    decoder = DIALECT.stream_decoder()
    found: list[events.Event] = []
    for _ in range(40):
        found += decoder.feed(b"data: " + b"x" * 1024 * 1024)
    assert isinstance(found[-1], events.Failed)
    assert found[-1].error.kind is UpstreamKind.MALFORMED


# -- hostile streams -------------------------------------------------------------------------------

NUMBERS = st.sampled_from([0, 1, -1, 10**20, True, None, "0", 1.5])
TYPES = sorted({e["type"] for c in kit.CASES for e in c["events"] if e != "[DONE]"})
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "function_call", "reasoning", "custom_tool_call", "moon", 7, None]),
        "id": st.sampled_from(["a", "b", 3, None]),
        "name": st.sampled_from(["f", "", None, []]),
        "call_id": st.sampled_from(["c", None, 1]),
        "arguments": st.sampled_from(["{}", "", None, {"a": 1}, "nul"]),
        "input": st.sampled_from(["x", None, 3]),
        "content": st.sampled_from([[], None, "x", [{"type": "output_text", "text": "t"}], [None, {"type": "z"}]]),
        "summary": st.sampled_from([[], None, "x", [{"text": "s"}, {"text": ""}, {"text": None}]]),
        "encrypted_content": st.sampled_from(["e", "{", None, 1]),
        "phase": st.sampled_from(["commentary", None, 4]),
        "status": st.sampled_from(["completed", "incomplete", None, 0]),
        "result": st.sampled_from([None, "iVBORw0KGgo=", 5]),
    },
)  # fmt: skip
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from([*TYPES, "response.new", "error", 5])},
    optional={
        "output_index": NUMBERS,
        "content_index": NUMBERS,
        "summary_index": NUMBERS,
        "item_id": st.sampled_from(["a", "b", 3, None]),
        "delta": st.sampled_from(["d", "", None, 5, {"a": 1}]),
        "text": st.sampled_from(["dd", "", None, 5]),
        "refusal": st.sampled_from(["r", None]),
        "arguments": st.sampled_from(["{}", None, 7]),
        "input": st.sampled_from(["i", None]),
        "logprobs": st.sampled_from([[], None, [{"token": "d"}], "x"]),
        "annotation": st.sampled_from([{"type": "url_citation", "url": "https://a.example"}, None, "x", {}]),
        "item": st.one_of(ITEMS, st.sampled_from([None, "x", []])),
        "part": st.sampled_from([None, {"type": "output_text", "text": "p"}, {"type": "refusal"}, "x"]),
        "response": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "id": st.sampled_from(["resp_1", None, 5]),
                    "model": st.sampled_from(["m", None, []]),
                    "created_at": NUMBERS,
                    "status": st.sampled_from(["completed", "failed", "odd", None, 3]),
                    "output": st.one_of(st.none(), st.lists(ITEMS, max_size=3), st.just("x")),
                    "usage": st.sampled_from([None, {}, {"input_tokens": -1}, {"input_tokens": 1, "output_tokens": 2}, "x"]),
                    "error": st.sampled_from([None, {"code": "server_error", "message": "x"}, "text", {}]),
                    "incomplete_details": st.sampled_from([None, {"reason": "max_output_tokens"}, {"reason": 3}, "x"]),
                },
            ),
        ),
    },
)  # fmt: skip


@settings(max_examples=400)
@given(bodies=st.lists(EVENTS, max_size=12), cut=st.integers(1, 400))
def test_no_stream_breaks_the_decoder(bodies: list[dict[str, Any]], cut: int) -> None:
    data = "".join(f"data: {json.dumps(body)}\n\n" for body in bodies).encode()
    found = kit.decode(data, range(cut, len(data), cut))
    ends = [event for event in found if isinstance(event, events.Failed | events.Ended)]
    assert len(ends) == 1
    assert found[-1] is ends[0]
    assert kit.plain(kit.decode(data)) == kit.plain(found)
    folder = kit.folded(found)  # a delta of a part that was never opened would raise
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    for event in found:
        encoder.encode(event)
    if folder.ended:
        for part in folder.reply().choices[0].parts:
            assert not isinstance(part, chat.ToolCall) or part.name


@given(data=st.binary(max_size=300))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    found = kit.decode(data)
    assert isinstance(found[-1], events.Failed)
