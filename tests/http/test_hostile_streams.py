"""Streams that break, lie, never end or never begin."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Gateway
from scripted_upstream import (
    CHUNKED,
    DIALECTS,
    LETTERS,
    Peer,
    Script,
    ScriptedUpstream,
    answers,
    chunk,
    error_body,
    frames,
    good,
    head,
    http,
    sse,
    stalls,
    whole,
)
from verdicts import assert_cut, assert_delivered, assert_refused

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=["openai", "anthropic", "gemini"])
both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


@every_dialect
def test_a_stream_cut_anywhere_never_looks_whole(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    """Cut with FIN at byte positions of all kinds: an HTTP error before content, else an error chunk."""
    letter = LETTERS[dialect]
    events = frames(dialect, "Grüße ", "aus dem ", "Süden, 你好", counted=None)
    data = b"".join(events)
    # From the end on only white space or an end marker that others leave out may be missing.
    ends = {len(data) - len(events[-1]) + at for at in (0, 1, 8, 15)} if dialect == "openai_chat" else set()
    positions = sorted({*range(0, len(data), 37), *(len(data) // 2 + n for n in range(12)), *ends})
    before, seen = hostile.credits(), set()
    for position in positions:
        upstream.play(f"{letter}1", answers(head(200), data[:position]))
        answer = hostile.stream(f"m{letter}")
        if answer.done:
            # Whole to the last event, without what follows it: then it is charged like any.
            assert len(data) - position <= len(events[-1]), position
            assert answer.text == "Grüße aus dem Süden, 你好"
            seen.add("whole")
            before = hostile.credits()
            continue
        if answer.status == 200:
            assert_cut(answer, "Grüße aus dem Süden, 你好")
        else:
            assert_refused(answer, 502)
        seen.add("cut" if answer.status == 200 else "refused")
        record = hostile.generation(answer.id)
        assert record["attempts"][0]["error_kind"] in ("truncated", "malformed")
        assert record["cost_pusd"] == 0
    assert hostile.credits() == before
    assert {"cut", "refused"} <= seen


@every_dialect
@pytest.mark.parametrize("way", ["chunked cut", "reset", "cut in a chunk"])
def test_a_connection_that_breaks_after_content(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, way: str
) -> None:
    letter = LETTERS[dialect]
    events = frames(dialect, "one ", "two ", "three ")
    first = b"".join(events[: len(events) // 2 + 1])
    scripts = {
        "chunked cut": answers(head(200, CHUNKED), chunk(first)),
        "reset": _reset_after_content(head(200, CHUNKED), chunk(first)),
        "cut in a chunk": answers(head(200, CHUNKED), chunk(first), b"400\r\ndata: {"),
    }
    before = hostile.credits()
    upstream.play(f"{letter}1", scripts[way])
    upstream.play(f"{letter}2", good(dialect, True))
    answer = hostile.stream(f"f{letter}")
    assert_cut(answer, "one two three ")
    assert upstream.at(f"{letter}2") == []
    record = hostile.generation(answer.id)
    assert record["attempts"][0]["error_kind"] == "truncated"
    assert record["error_code"] == "upstream_truncated"
    assert hostile.credits() == before


def _reset_after_content(*pieces: bytes) -> Script:
    """Reset only when the content has surely been read: bytes in flight are lost by RST."""
    import asyncio

    async def script(peer: Any) -> None:
        await peer.send(*pieces)
        await asyncio.sleep(0.2)
        peer.reset()

    return script


@every_dialect
@pytest.mark.parametrize("position", ["before", "after"])
def test_an_error_event_in_a_stream(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, position: str
) -> None:
    letter = LETTERS[dialect]
    error = json.loads(error_body(dialect, 503, "the model is overloaded"))
    event = sse(error, "error" if dialect == "anthropic_messages" else None)
    events = frames(dialect, "one ", "two ", "three ")
    until = {"before": 0, "after": len(events) // 2 + 1}[position]
    upstream.play(f"{letter}1", answers(head(200), *events[:until], event))
    answer = hostile.stream(f"m{letter}")
    if position == "before":
        assert_refused(answer, 503)
        error = answer.error
    else:
        assert_cut(answer, "one two three ")
        error = answer.failure
    assert "the model is overloaded" in error["message"]
    assert error["code"] == "upstream_overloaded"


@every_dialect
def test_garbage_between_events_is_no_end(hostile: Gateway, upstream: ScriptedUpstream, dialect: str) -> None:
    """Comments, unknown fields and unknown events are skipped, wherever they stand."""
    letter = LETTERS[dialect]
    noise = b': keep-alive\n\nid: 7\nretry: 10\n\nfoo: bar\n\nevent: ping\ndata: {"type": "ping"}\n\n'
    upstream.play(f"{letter}1", answers(head(200), noise, *[event + noise for event in frames(dialect)]))
    assert_delivered(hostile.stream(f"m{letter}"), True)


@every_dialect
def test_an_event_that_is_no_json_is_noted(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    """It ends the stream in an error, or it is skipped and the record says so."""
    letter = LETTERS[dialect]
    events = frames(dialect, "one ", "two ", "three ")
    middle = len(events) // 2 + 1
    bad = b"event: content_block_delta\n" if dialect == "anthropic_messages" else b""
    bad += b'data: {"choices": [{"delta"\n\n'
    upstream.play(f"{letter}1", answers(head(200), *events[:middle], bad, *events[middle:]))
    answer = hostile.stream(f"m{letter}")
    record = hostile.generation(answer.id)
    if answer.done:
        assert_delivered(answer, True, "one two three ")
        assert record["flags"], record
    else:
        assert_cut(answer, "one two three ")
        assert record["attempts"][0]["error_kind"] == "malformed"


@every_dialect
@pytest.mark.parametrize("after", [False, True], ids=["before content", "after content"])
def test_a_giant_line_is_refused(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, after: bool
) -> None:
    letter = LETTERS[dialect]
    events = frames(dialect, "one ", "two ", "three ")
    begin = events[: len(events) // 2 + 1] if after else []
    upstream.play(f"{letter}1", answers(head(200), *begin, b'data: {"a": "', *[b"x" * 2**20] * 40))
    answer = hostile.stream(f"m{letter}")
    if after:
        assert_cut(answer, "one two three ")
    else:
        assert_refused(answer, 502)
    assert hostile.generation(answer.id)["attempts"][0]["error_kind"] == "malformed"


@every_dialect
@pytest.mark.parametrize("begin", [b'{"a": "', b": ", b"\n", b"[", b"data: "], ids=repr)
def test_an_endless_reply_to_a_stream_is_left(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, begin: bytes
) -> None:
    """Whatever it is made of, only so much of it is read; then the connection is closed."""
    letter = LETTERS[dialect]
    taken = 0

    async def pour(peer: Peer) -> None:
        nonlocal taken
        await peer.send(head(200), begin)
        for _ in range(200):
            await peer.send((begin if begin in (b": ", b"\n") else b"x") * 2**20)
            taken += 1

    upstream.play(f"{letter}1", pour)
    answer = hostile.stream(f"m{letter}")
    assert_refused(answer, 502)
    assert hostile.generation(answer.id)["attempts"][0]["error_kind"] == "malformed"
    assert taken < 100


@every_dialect
def test_an_endless_whole_reply_is_refused(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]
    upstream.play(
        f"{letter}1", answers(head(200, type_="application/json"), b'{"a": "', *[b"x" * 2**20] * 70)
    )
    assert_refused(hostile.chat(f"m{letter}"), 502)
    upstream.play(f"{letter}1", answers(b"HTTP/1.1 200 X\r\ncontent-length: 99999999999\r\n\r\n{"))
    assert_refused(hostile.chat(f"m{letter}"), 502)


@every_dialect
def test_a_preamble_without_content_is_bounded(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]
    opening = frames(dialect, "x")[0]
    if dialect == "gemini_generate":
        opening = sse({"candidates": [{"index": 0, "content": {"role": "model", "parts": []}}]})
    upstream.play(f"{letter}1", answers(head(200), *[opening * 200] * 400))
    answer = hostile.stream(f"m{letter}")
    assert_refused(answer, 502)


# Deadlines.


@every_dialect
@both_ways
@pytest.mark.slow
def test_a_provider_that_never_answers(
    impatient: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}1", stalls())
    before = impatient.credits()
    answer = impatient.ask(streamed, f"m{letter}")
    assert_refused(answer, 504)
    assert answer.error["code"] == "upstream_timeout"
    assert upstream.requests[0].gone.wait(5), "the connection was not closed"
    record = impatient.generation(answer.id)
    assert record["attempts"][0]["error_kind"] == "timeout"
    assert impatient.credits() == before


@every_dialect
@pytest.mark.slow
def test_a_stream_that_stalls(impatient: Gateway, upstream: ScriptedUpstream, dialect: str) -> None:
    letter = LETTERS[dialect]
    events = frames(dialect, "one ", "two ", "three ")
    upstream.play(f"{letter}1", stalls(head(200)))
    upstream.play(f"{letter}2", stalls(head(200), *events[: len(events) // 2 + 1]))
    answer = impatient.stream(f"f{letter}")
    assert_cut(answer, "one two three ")
    record = impatient.generation(answer.id)
    assert [a["error_kind"] for a in record["attempts"]] == ["timeout", "timeout"]
    assert record["error_code"] == "upstream_timeout"
    assert record["cost_pusd"] == 0
    assert all(seen.gone.wait(5) for seen in upstream.requests)


@every_dialect
@pytest.mark.slow
@pytest.mark.parametrize("what", ["comments", "empty deltas"])
def test_what_brings_no_content_is_late_all_the_same(
    impatient: Gateway, upstream: ScriptedUpstream, dialect: str, what: str
) -> None:
    letter = LETTERS[dialect]
    piece = b": still thinking\n\n" if what == "comments" else _nothing(dialect)
    upstream.play(f"{letter}1", _drips(head(200), again=piece))
    answer = impatient.stream(f"m{letter}")
    assert_refused(answer, 504)
    assert "no content within 0.6 s" in answer.error["message"]


def _nothing(dialect: str) -> bytes:
    """An event in which the model says nothing."""
    said: dict[str, Any] = {
        "openai_chat": {"choices": [{"index": 0, "delta": {"content": ""}}]},
        "anthropic_messages": {"type": "ping"},
        "gemini_generate": {"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}}]},
    }[dialect]
    name = "event: ping\n" if dialect == "anthropic_messages" else ""
    return f"{name}data: {json.dumps(said)}\n\n".encode()


@pytest.mark.slow
@pytest.mark.parametrize(("streamed", "part"), [(False, "whole"), (True, "first-byte")])
def test_one_that_brings_nothing_leaves_time_for_the_next(
    hostile: Gateway, upstream: ScriptedUpstream, streamed: bool, part: str
) -> None:
    upstream.play("o1", _drips(head(200)) if streamed else stalls())
    upstream.play("o2", good("openai_chat", streamed))
    answer = hostile.ask(streamed, "fo", headers={"x-llm-router-timeouts": f"{part}=3"})
    assert_delivered(answer, streamed)
    record = hostile.generation(answer.id)
    assert [a.get("error_kind") for a in record["attempts"]] == ["timeout", None]


def _drips(*pieces: bytes, again: bytes = b": still thinking\n\n") -> Script:
    """A byte of comment now and then, for ever."""
    import asyncio

    async def script(peer: Any) -> None:
        await peer.send(*pieces)
        while True:
            await peer.send(again)
            await asyncio.sleep(0.05)

    return script


# Lies about the content type.


@every_dialect
@pytest.mark.parametrize("type_", ["application/json", "text/event-stream", "text/html", None])
def test_a_whole_reply_in_place_of_a_stream(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, type_: str | None
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}1", answers(http(200, b"\n " + whole(dialect), type_=type_)))
    before = hostile.credits()
    answer = hostile.stream(f"m{letter}")
    assert_delivered(answer, True)
    assert answer.usage["completion_tokens"] == 5
    assert before - hostile.credits() == Decimal("0.00002")


@every_dialect
@pytest.mark.parametrize("type_", ["application/json", "text/event-stream"])
def test_a_stream_in_place_of_a_whole_reply(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, type_: str
) -> None:
    letter = LETTERS[dialect]
    body = b": hello\n\n" + b"".join(frames(dialect))
    upstream.play(f"{letter}1", answers(http(200, body, type_=type_)))
    before = hostile.credits()
    answer = hostile.chat(f"m{letter}")
    assert_delivered(answer, False)
    assert before - hostile.credits() == Decimal("0.00002")
    upstream.play(f"{letter}1", answers(http(200, body[: len(body) // 2], type_=type_)))
    assert_refused(hostile.chat(f"m{letter}"), 502)
