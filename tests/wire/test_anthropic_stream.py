"""Streams of the Anthropic dialect, decoded: whole, in pieces, strange, broken and cut."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import anthropic_kit as kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamKind
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialects.anthropic_messages import DIALECT
from llm_router.wire.fold import fold


@pytest.mark.parametrize("name", kit.REPLIES)
def test_stream_says_what_the_whole_reply_says(name: str) -> None:
    assert kit.plain(kit.decode_stream(kit.stream_bytes(name))) == kit.plain(
        DIALECT.decode_reply(kit.reply_bytes(name))
    )


@pytest.mark.parametrize("name", kit.REPLIES)
def test_byte_by_byte(name: str) -> None:
    data = kit.stream_bytes(name)
    assert kit.decode(data[i : i + 1] for i in range(len(data))) == kit.decode([data])


@given(
    st.sampled_from(kit.REPLIES),
    st.lists(st.integers(0, 5000), max_size=12),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
@settings(max_examples=60, deadline=None)
def test_split_anywhere_with_any_line_end(name: str, cuts: list[int], end: str) -> None:
    whole = kit.stream_bytes(name)
    data = whole.replace(b"\n", end.encode())
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert kit.decode(pieces) == kit.decode([whole])


def _strange() -> st.SearchStrategy[bytes]:
    return st.sampled_from(
        [
            kit.sse({"type": "ping"}),
            kit.sse({"type": "ping"}, {"type": "ping"}),
            b": keep-alive\n\n",
            b"id: 7\nretry: 10\n\n",
            kit.sse({"type": "weather_report", "index": 0, "delta": {"type": "text_delta", "text": "no"}}),
            kit.sse(
                {"type": "content_block_delta", "index": 99, "delta": {"type": "aura_delta", "aura": "x"}}
            ),
            kit.sse({"type": "content_block_stop", "index": 99}),
            kit.sse({"type": "content_block_delta", "index": 98, "delta": {"type": "glow_delta", "glow": 1}}),
            kit.sse({"type": "content_block_delta", "index": "0", "delta": None}),
            kit.sse({"type": "message_delta"}),
            kit.sse([1, 2]),
            b"data:\n\n",
        ]
    )


@given(st.sampled_from([n for n in kit.REPLIES if n != "unheard"]), st.data())
@settings(max_examples=60, deadline=None)
def test_the_unknown_is_not_fatal(name: str, data: st.DataObject) -> None:
    pieces = kit.stream_bytes(name).split(b"\n\n")[:-1]
    out = b""
    for piece in pieces:
        out += piece + b"\n\n"
        if data.draw(st.booleans()):
            out += data.draw(_strange())
    assert kit.plain(kit.decode_stream(out)) == kit.plain(DIALECT.decode_reply(kit.reply_bytes(name)))


@pytest.mark.parametrize("name", kit.REPLIES)
def test_a_cut_is_seen(name: str) -> None:
    """At every byte before the reason to stop is whole: not ended. Behind it: ended, and nothing lacks."""
    data = kit.stream_bytes(name)
    proof = data.index(b"event: message_delta")
    proof = data.index(b"\n", data.index(b"data:", proof))
    full = kit.decode([data])
    step = 1 if name in ("tools", "thinking") else 11
    for cut in [*range(0, proof - 9, step), *range(proof - 9, len(data))]:
        got = kit.decode([data[:cut]])
        if cut < proof:
            last = got[-1]
            assert isinstance(last, events.Failed)
            assert last.error.kind is UpstreamKind.TRUNCATED
            assert not any(isinstance(event, events.Finished | events.Ended) for event in got)
        else:
            assert got == full


def test_missing_block_stop_and_message_stop() -> None:
    data = kit.stream_bytes("tools")
    bare = b"\n\n".join(p for p in data.split(b"\n\n") if b"content_block_stop" not in p)
    assert kit.plain(kit.decode_stream(bare)) == kit.plain(kit.decode_stream(data))
    headless = data[: data.index(b"event: message_stop")]
    assert kit.decode([headless])[-1] == events.Ended()


def test_blocks_that_were_never_announced() -> None:
    reply = kit.decode_stream(
        kit.sse(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "thinking_delta", "thinking": "hm"},
            },
            {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a"}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "b"}},
            {"type": "message_stop"},
        )
    )
    assert reply.choices[0].parts == (
        chat.Thinking(text="hm", origin=DIALECT.name),
        chat.Text(text="ab"),
    )


def test_names_only_in_the_framing_and_done_marker() -> None:
    text = kit.stream_bytes("text").decode()
    bodies = []
    for event, body in kit.frames(text.encode()):
        bodies.append((event, {k: v for k, v in body.items() if k != "type"}))
    out = "".join(f"event: {event}\ndata: {json.dumps(body)}\n\n" for event, body in bodies)
    assert kit.decode([out.encode()]) == kit.decode([text.encode()])
    unnamed = "".join(line + "\n" for line in text.split("\n") if not line.startswith("event:"))
    tail = "event: data\ndata: [DONE]\n\n"
    early = text[: text.index("event: message_delta")]
    assert isinstance(kit.decode([early.encode(), tail.encode()])[-1], events.Failed)
    assert kit.decode([unnamed.encode(), tail.encode()]) == kit.decode([text.encode()])


def test_one_line_of_garbage_is_skipped_but_a_broken_event_is_a_loss() -> None:
    data = kit.stream_bytes("text")
    head, rest = data.split(b"\n\n", 1)
    lost = b'data: {"type": "content_block_delta", "ind\n\n'
    last = kit.decode([head, b"\n\n", lost, rest])[-1]
    assert isinstance(last, events.Failed)
    assert last.error.kind is UpstreamKind.MALFORMED
    broken = b"data: still working on it\n\n"
    *got, end = kit.decode([head, b"\n\n", broken, rest])
    assert got == kit.decode([data])[:-1]
    assert end == events.Ended(flags=("malformed_chunk",))
    last = kit.decode([head, b"\n\n", broken, broken, rest])[-1]
    assert isinstance(last, events.Failed)
    assert last.error.kind is UpstreamKind.MALFORMED


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            UpstreamKind.OVERLOADED,
        ),
        (
            {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}},
            UpstreamKind.RATE_LIMIT,
        ),
        ({"type": "error", "error": {"type": "api_error", "message": "boom"}}, UpstreamKind.SERVER),
        (
            {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}},
            UpstreamKind.INVALID_REQUEST,
        ),
        ({"error": {"message": "Provider returned error", "code": 429}}, UpstreamKind.RATE_LIMIT),
        ({"error": "upstream fell over"}, UpstreamKind.SERVER),
        ({"type": "error"}, UpstreamKind.SERVER),
    ],
)
def test_errors_inside_the_stream(body: dict[str, Any], kind: UpstreamKind) -> None:
    pieces = kit.stream_bytes("text").split(b"\n\n")
    got = kit.decode([b"\n\n".join(pieces[:4]) + b"\n\n" + kit.sse(body) + b"\n\n".join(pieces[4:])])
    assert isinstance(got[-1], events.Failed)
    assert got[-1].error.kind is kind
    assert got[-1].error.message
    assert not any(isinstance(event, events.Ended) for event in got)


def test_tool_input_given_whole_at_the_start() -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}
    reply = kit.decode_stream(
        kit.sse(
            {"type": "message_start", "message": {"id": "msg_1", "model": "m"}},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        )
    )
    call = reply.choices[0].parts[0]
    assert isinstance(call, chat.ToolCall)
    assert json.loads(call.arguments) == {"a": 1}
    assert reply.choices[0].finish is events.Finish.TOOL_CALLS
    assert reply.usage is None


def test_an_index_that_comes_twice() -> None:
    def block(text: str) -> list[object]:
        return [
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": text}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "!"}},
        ]

    got = kit.decode([kit.sse(*block("a"), *block("b"), {"type": "message_stop"})])
    assert [p.text for p in fold(got).choices[0].parts if isinstance(p, chat.Text)] == ["a!", "b!"]
    assert [event.part for event in got if isinstance(event, events.PartClosed)] == [0, 1]


def test_usage_takes_the_last_value_of_each_field() -> None:
    start = {
        "input_tokens": 10,
        "output_tokens": 1,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 7,
    }
    got = kit.decode(
        [
            kit.sse(
                {"type": "message_start", "message": {"usage": start}},
                {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 4}},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn"},
                    "usage": {"output_tokens": 9},
                },
                {"type": "message_stop"},
            )
        ]
    )
    assert fold(got).usage == Usage(
        input_tokens=10, output_tokens=9, cache_read_tokens=5, cache_write_tokens=7
    )
    assert len([event for event in got if isinstance(event, events.UsageSeen)]) == 3


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_noise_never_raises_and_never_ends(chunks: list[bytes]) -> None:
    got = kit.decode(chunks)
    assert isinstance(got[-1], events.Failed)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "text", "tool_use", "a"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "index", "delta", "content_block", "text", "usage", "message", "partial_json", "name", "input",
             "stop_reason", "input_tokens", "output_tokens", "iterations", "signature", "citation", "error", "data"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip
_KINDS = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "ping",
]


@given(st.lists(st.tuples(st.sampled_from(_KINDS), st.dictionaries(st.sampled_from(
    ["index", "delta", "content_block", "usage", "message"]), _JSON, max_size=4)), max_size=8))  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_hostile_events_never_raise_and_obey_the_event_grammar(
    bodies: list[tuple[str, dict[str, Any]]],
) -> None:
    got = kit.decode([kit.sse(*({**body, "type": kind} for kind, body in bodies))])
    open_: set[int] = set()
    for number, event in enumerate(got):
        assert isinstance(event, events.Started) == (number == 0 and not isinstance(event, events.Failed))
        match event:
            case events.PartOpened():
                open_.add(event.part)
            case events.PartDelta():
                assert event.part in open_
            case events.PartClosed():
                open_.remove(event.part)
            case events.Failed():
                assert event is got[-1]
            case _:
                pass
    assert isinstance(got[-1], events.Failed | events.Ended)
    assert isinstance(got[-1], events.Failed) or not open_
