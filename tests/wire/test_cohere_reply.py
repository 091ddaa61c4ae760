"""Cohere's replies and streams: laws over all of them."""

from __future__ import annotations

import json
from typing import Any

import behind_kit as kit
import pytest
from cohere_kit import NAMES, bodies, frame, replies, reply_of, stream_of, streamed
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire import events
from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects.cohere_chat import DIALECT
from llm_router.wire.fold import fold

fronts = pytest.mark.parametrize("front", kit.FRONTS, ids=[front.name for front in kit.FRONTS])


# --- laws ---------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    reply=replies(),
    marks=st.lists(st.integers(0, 9999), max_size=12),
    done=st.sampled_from([b"", b"data: [DONE]\n\n"]),
)
def test_no_cut_changes_an_event(reply: dict[str, Any], marks: list[int], done: bytes) -> None:
    data = streamed(reply, done)
    whole = kit.decode(DIALECT, [data])
    kit.grammar(whole)
    assert kit.decode(DIALECT, kit.cuts(data, marks)) == whole


@settings(max_examples=60)
@given(reply=replies())
def test_a_stream_says_what_the_whole_reply_says(reply: dict[str, Any]) -> None:
    whole = DIALECT.decode_reply(json.dumps(reply).encode())
    assert fold(kit.decode(DIALECT, [streamed(reply)])) == whole


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_is_the_same_streamed_and_whole(name: str) -> None:
    assert fold(kit.decode(DIALECT, [stream_of(name)])) == DIALECT.decode_reply(reply_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_stream_never_looks_finished(name: str) -> None:
    data = stream_of(name)
    whole = fold(kit.decode(DIALECT, [data]))
    for cut in range(len(data)):
        told = kit.decode(DIALECT, [data[:cut]])
        if isinstance(told[-1], events.Ended):  # nothing but the end marker may be missing
            assert b"message-end" in data[:cut]
            assert fold(told) == whole
        else:
            assert kit.failure(told).kind is UpstreamKind.TRUNCATED


STRANGE: list[Any] = [
    {"type": "plan-of-tomorrow", "index": 0, "delta": {"message": {"content": {"text": "never"}}}},
    {"type": "debug", "prompt": "<|turn|>"},
    {"type": "content-delta", "index": 99, "delta": {"message": {"content": {"audio": "x"}}}},
    {
        "type": "tool-call-delta",
        "index": 99,
        "delta": {"message": {"tool_calls": {"function": {"arguments": "x"}}}},
    },
    {"type": "tool-call-start", "index": 99, "delta": None},
    {"type": "content-delta"},
    {"type": "citation-start", "index": 7},
    {},
    [1, 2],
    None,
    7,
]


@settings(max_examples=80)
@given(reply=replies(), strange=st.sampled_from(STRANGE), place=st.integers(0, 99))
def test_unknown_events_are_not_fatal(reply: dict[str, Any], strange: Any, place: int) -> None:
    told = bodies(reply)
    place %= len(told)
    data = b"".join(map(frame, [*told[:place], strange, *told[place:]]))
    assert kit.merged(kit.decode(DIALECT, [data])) == kit.merged(kit.decode(DIALECT, [streamed(reply)]))


@given(
    data=st.binary(max_size=400)
    | st.lists(st.sampled_from([*map(frame, STRANGE), b"data: {\n\n", b"\xff\n"])).map(b"".join)
)
def test_garbage_ends_in_a_failure(data: bytes) -> None:
    kit.failure(kit.decode(DIALECT, [data]))
    with pytest.raises(UpstreamError):
        DIALECT.decode_reply(data)


def test_one_broken_event_is_passed_over_and_flagged() -> None:
    data = stream_of("text").replace(b"event: content-end", b"data: {broken\n\nevent: content-end")
    told = kit.decode(DIALECT, [data])
    assert told[-1] == events.Ended(flags=("malformed_chunk",))
    assert kit.failure(kit.decode(DIALECT, [b"data: {\n\n" * 2])).kind is UpstreamKind.MALFORMED


def test_a_cut_behind_a_broken_event_is_a_cut() -> None:
    data = b"data: {\n\n" + stream_of("text")
    assert (
        kit.failure(kit.decode(DIALECT, [data[: data.index(b"message-end") + 30]])).kind
        is UpstreamKind.TRUNCATED
    )


def test_a_part_is_closed_before_the_next_one_opens() -> None:
    for name in NAMES:
        open_parts = 0
        for event in kit.decode(DIALECT, [stream_of(name)]):
            open_parts += isinstance(event, events.PartOpened) - isinstance(event, events.PartClosed)
            assert open_parts in (0, 1)


@fronts
@settings(max_examples=25)
@given(reply=replies(), marks=st.lists(st.integers(0, 9999), max_size=8))
def test_every_client_gets_what_was_said(front: Dialect, reply: dict[str, Any], marks: list[int]) -> None:
    data = streamed(reply)
    said = fold(kit.decode(DIALECT, [data]))
    out, relay = kit.through(front, DIALECT, kit.cuts(data, marks))
    assert relay.observed.error is None
    got = kit.heard(front, out + relay.finish(kit.bill(said.usage)))
    assert kit.essence(got) == kit.essence(said)
    assert got.usage is not None
    assert said.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (
        said.usage.prompt_tokens,
        said.usage.completion_tokens,
    )
    body, _ = front.encode_reply(said, kit.CONTEXT, kit.bill(said.usage))
    assert kit.essence(front.decode_reply(body)) == kit.essence(said)
