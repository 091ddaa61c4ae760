"""Providers that fail, lie and attack: what the client gets, what is charged, what is recorded.

Models: ``mX`` has one provider, ``fX`` a second one behind it; X names the provider's dialect.
A token costs $1 a million in and $2 out, so (10, 5) tokens come to 20 million picodollars.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import Answer, Gateway, Streamed
from scripted_upstream import (
    CHUNKED,
    DIALECTS,
    LETTERS,
    SECRETS,
    Peer,
    Script,
    ScriptedUpstream,
    answers,
    chunk,
    frames,
    head,
    http,
    sends_then_resets,
    sse,
    stalls,
    usage,
    whole,
)

both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=["openai", "anthropic", "gemini"])

FORWARDED = {
    "date", "content-type", "content-length", "transfer-encoding", "connection", "cache-control",
    "retry-after", "retry-after-ms", "x-should-retry", "x-accel-buffering", "x-request-id", "x-generation-id",
    "x-llm-router-model", "x-llm-router-provider", "x-llm-router-losses",
}  # fmt: skip
"""All headers that a reply may have here, whatever the provider sends."""


def good(dialect: str, streamed: bool, text: str = "Hello there") -> Script:
    """What a provider should do."""
    if streamed:
        return answers(head(200), *frames(dialect, text))
    return answers(http(200, whole(dialect, text)))


# Failures before any content.


@dataclass(frozen=True)
class Fault:
    """A failure before content. ``kind``: how the attempt is recorded; ``status``: what the client sees."""

    script: Script
    kind: str
    status: int
    upstream_status: int | None = None
    falls_back: bool = True


def _body_of(dialect: str, code: int, message: str, /, **more: Any) -> bytes:
    match dialect:
        case "openai_chat":
            body: Any = {"error": {"message": message, "type": "some_error", "code": None, **more}}
        case "anthropic_messages":
            body = {"type": "error", "error": {"type": "some_error", "message": message, **more}}
        case _:
            body = {"error": {"code": code, "message": message, "status": "SOME", **more}}
    return json.dumps(body).encode()


def _status(
    dialect: str, status: int, kind: str, *, falls_back: bool = True, headers: tuple[str, ...] = ()
) -> Fault:
    reply = http(status, _body_of(dialect, status, f"it failed with {status}"), *headers)
    return Fault(answers(reply), kind, status, status, falls_back)


HTML = b"<!DOCTYPE html><html><title>Just a moment...</title><body>Checking your browser</body></html>"
ELSEWHERE = "location: http://127.0.0.1:1/stolen"


def faults(dialect: str) -> dict[str, Fault]:
    """All failures before content, in the words of a dialect."""
    found = {
        "reset before the reply": Fault(sends_then_resets(), "provider_unavailable", 502),
        "closed before the reply": Fault(answers(), "provider_unavailable", 502),
        "closed in the head": Fault(answers(b"HTTP/1.1 200 OK\r\ncontent-ty"), "provider_unavailable", 502),
        "reset after the head": Fault(sends_then_resets(head(200, CHUNKED)), "truncated", 502, 200),
        "no HTTP": Fault(answers(b"SSH-2.0-OpenSSH_9.2\r\n"), "malformed", 502),
        "two lengths": Fault(
            answers(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabcde"), "malformed", 502
        ),
        "endless head": Fault(answers(b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 30_000), "malformed", 502),
        "status 700": Fault(answers(http(700, b"{}")), "malformed", 502),
        "html": Fault(answers(http(200, HTML, type_="text/html")), "malformed", 502, 200),
        "html as json": Fault(answers(http(200, HTML)), "malformed", 502, 200),
        "error in a 200": Fault(
            answers(http(200, _body_of(dialect, 500, "internal server error"))),
            "server", 500 if dialect == "gemini_generate" else 502, 200,
        ),
        "json that is no reply": Fault(answers(http(200, b'{"ok": true}')), "malformed", 502, 200),
        "json cut off": Fault(answers(http(200, whole(dialect)[:-20])), "malformed", 502, 200),
        "deep json": Fault(answers(http(200, b'{"a":' * 100_000)), "malformed", 502, 200),
        "gzip bomb": Fault(
            answers(http(200, BOMB, "content-encoding: gzip")), "malformed", 502, 200
        ),
        "unasked coding": Fault(answers(http(200, b"x", "content-encoding: zstd")), "malformed", 502, 200),
        "redirect 301": Fault(answers(http(301, b"", ELSEWHERE)), "malformed", 502, 301),
        "redirect 307": Fault(answers(http(307, b"", ELSEWHERE)), "malformed", 502, 307),
        "redirect 308": Fault(answers(http(308, b"", ELSEWHERE)), "malformed", 502, 308),
        "401": _status(dialect, 401, "authentication"),
        "402": _status(dialect, 402, "payment_required"),
        "403": _status(dialect, 403, "permission_denied"),
        "404": _status(dialect, 404, "not_found"),
        "408": _status(dialect, 408, "timeout"),
        "429": _status(dialect, 429, "rate_limit_exceeded", headers=("retry-after: 3",)),
        "500": _status(dialect, 500, "server"),
        "502": _status(dialect, 502, "provider_unavailable"),
        "503": _status(dialect, 503, "provider_overloaded"),
        "504": _status(dialect, 504, "timeout"),
        "529": _status(dialect, 529, "provider_overloaded"),
        "400": _status(dialect, 400, "invalid_request", falls_back=False),
        "413": _status(dialect, 413, "payload_too_large", falls_back=False),
        "422": _status(dialect, 422, "invalid_request", falls_back=False),
        "500 without a body": Fault(answers(http(500, b"")), "server", 500, 500),
        "503 in html": Fault(answers(http(503, HTML, type_="text/html")), "provider_overloaded", 503, 503),
        "500 cut off": Fault(
            answers(b"HTTP/1.1 500 X\r\ncontent-length: 99\r\n\r\n{"), "server", 500, 500
        ),
        "500 without end": Fault(
            answers(head(500, type_="text/plain"), *[b"x" * 65536] * 8), "server", 500, 500
        ),
    }  # fmt: skip
    return found


BOMB = gzip.compress(b" " * (80 * 1024 * 1024), 6)
"""80 MiB in 80 kB: more than a reply may have."""
FAULTS = [*faults("openai_chat"), "empty 200"]


def _empty(streamed: bool) -> Fault:
    """A 200 with nothing in it: a stream was cut, a whole reply is none."""
    return Fault(answers(http(200, b"")), "truncated" if streamed else "malformed", 502, 200)


def fault_named(name: str, dialect: str, streamed: bool) -> Fault:
    return _empty(streamed) if name == "empty 200" else faults(dialect)[name]


@every_dialect
@both_ways
@pytest.mark.parametrize("name", FAULTS)
def test_a_failure_before_content_is_an_http_error_and_free(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool, name: str
) -> None:
    letter = LETTERS[dialect]
    fault = fault_named(name, dialect, streamed)
    upstream.play(f"{letter}1", fault.script)
    before = hostile.credits()
    answer = hostile.ask(streamed, f"m{letter}")
    assert_refused(answer, fault.status)
    record = hostile.generation(answer.id)
    (attempt,) = record["attempts"]
    assert (attempt["outcome"], attempt.get("status")) == ("failed", fault.upstream_status)
    assert attempt["error_kind"] in (fault.kind, "truncated" if streamed else fault.kind)
    assert record["status"] == fault.status
    assert record["cost_pusd"] == 0
    assert hostile.credits() == before
    assert len(upstream.requests) == 1
    assert_no_secret(answer, record)


@every_dialect
@both_ways
@pytest.mark.parametrize("name", FAULTS)
def test_a_second_provider_answers_unseen(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool, name: str
) -> None:
    letter = LETTERS[dialect]
    fault = fault_named(name, dialect, streamed)
    upstream.play(f"{letter}1", fault.script)
    upstream.play(f"{letter}2", good(dialect, streamed))
    before = hostile.credits()
    answer = hostile.ask(streamed, f"f{letter}")
    record = hostile.generation(answer.id)
    if not fault.falls_back:
        assert_refused(answer, fault.status)
        assert upstream.at(f"{letter}2") == []
        assert hostile.credits() == before
        return
    assert_delivered(answer, streamed)
    assert answer.headers["x-llm-router-provider"] == f"{letter}2"
    assert [a["outcome"] for a in record["attempts"]] == ["failed", "delivered"]
    assert record["cost_pusd"] == 20_000_000
    assert before - hostile.credits() == Decimal("0.00002")
    assert_no_secret(answer, record)


@every_dialect
@both_ways
def test_a_refused_connection(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}2", good(dialect, streamed))
    answer = hostile.ask(streamed, f"d{letter}")
    assert_delivered(answer, streamed)
    first = hostile.generation(answer.id)["attempts"][0]
    assert (first["error_kind"], first.get("status")) == ("provider_unavailable", None)


@every_dialect
@both_ways
def test_when_all_fail_the_last_one_s_error_is_told(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}1", faults(dialect)["503"].script)
    upstream.play(f"{letter}2", faults(dialect)["429"].script)
    answer = hostile.ask(streamed, f"f{letter}")
    assert_refused(answer, 429)
    assert answer.headers["retry-after"] == "3"
    assert len(hostile.generation(answer.id)["attempts"]) == 2


def assert_refused(answer: Answer, status: int) -> None:
    """An error of ours, whole, with a request id."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    error = answer.error
    assert set(answer.json) == {"error"}
    assert {"message", "type", "param", "code", "request_id"} <= set(error)
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["code"], str)
    assert error["request_id"] == answer.headers["x-request-id"] == answer.id
    assert set(answer.headers) <= FORWARDED


def assert_delivered(answer: Any, streamed: bool, text: str = "Hello there") -> None:
    assert answer.status == 200, answer.body
    assert set(answer.headers) <= FORWARDED
    if streamed:
        assert answer.text == text
        assert answer.failure is None
        assert answer.done
    else:
        assert answer.json["choices"][0]["message"]["content"] == text


def assert_cut(answer: Streamed, text: str) -> None:
    """A stream that failed after content: it says so, and does not look whole."""
    assert answer.status == 200
    assert answer.text != ""
    assert text.startswith(answer.text)
    assert not answer.done
    assert not answer.broken
    failure = answer.failure
    assert failure is not None
    assert failure["request_id"] == answer.id
    assert {"message", "type", "param", "code"} <= set(failure)
    finishes = [c["finish_reason"] for chunk in answer.chunks for c in chunk["choices"]]
    assert set(finishes) == {None}
    assert answer.chunks[-1].get("error") == failure


def assert_no_secret(answer: Answer, record: Any) -> None:
    shown = answer.body.decode("latin-1") + repr(answer.headers) + repr(record)
    for secret in SECRETS.values():
        assert secret not in shown


# Streams that fail before or after content.


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
    error = json.loads(_body_of(dialect, 503, "the model is overloaded"))
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
def test_comments_for_ever_end_at_the_total_deadline(
    impatient: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}1", _drips(head(200)))
    answer = impatient.stream(f"m{letter}")
    assert_refused(answer, 504)


def _drips(*pieces: bytes) -> Script:
    """A byte of comment now and then, for ever."""
    import asyncio

    async def script(peer: Any) -> None:
        await peer.send(*pieces)
        while True:
            await peer.send(b": still thinking\n\n")
            await asyncio.sleep(0.05)

    return script


# Retry-After.


@every_dialect
@both_ways
@pytest.mark.parametrize(
    ("headers", "message", "expected"),
    [
        (("retry-after: 7",), "slow down", "7"),
        (("retry-after: 0.2",), "slow down", "1"),
        (("retry-after-ms: 1500", "retry-after: 9"), "slow down", "2"),
        (("retry-after: Sun, 06 Nov 2094 08:49:37 GMT", "date: Sun, 06 Nov 2094 08:49:07 GMT"), "slow down", "30"),
        (("retry-after: Sun, 06 Nov 2094 08:49:37 GMT", "date: Sun, 06 Nov 2093 08:49:07 GMT"), "slow down", "120"),
        (("retry-after: 86400",), "slow down", "120"),
        (("retry-after: -5",), "slow down", None),
        (("retry-after: NaN",), "slow down", None),
        (("retry-after: 1e400",), "slow down", None),
        (("retry-after: soon",), "slow down", None),
        ((), "Rate limit reached. Please try again in 6.5s.", "7"),
        ((), "slow down", None),
    ],
)  # fmt: skip
def test_every_form_of_retry_after(
    hostile: Gateway,
    upstream: ScriptedUpstream,
    dialect: str,
    streamed: bool,
    headers: tuple[str, ...],
    message: str,
    expected: str | None,
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}1", answers(http(429, _body_of(dialect, 429, message), *headers)))
    answer = hostile.ask(streamed, f"m{letter}")
    assert_refused(answer, 429)
    assert answer.error["code"] == "rate_limit_exceeded"
    assert answer.headers.get("retry-after") == expected


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


# Usage that is not to be believed.


ABSURD: dict[str, Any] = {
    "negative": (-10, -5),
    "huge": (10, 10**30),
    "huge float": (10, 1e30),
    "text": ("10", "5"),
    "fraction": (10, 5.5),
    "true": (True, True),
    "null": (None, None),
    "list": ([10], [5]),
}


@every_dialect
@both_ways
@pytest.mark.parametrize("name", [*ABSURD, "missing", "nan"])
def test_absurd_usage_is_never_a_credit(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool, name: str
) -> None:
    """It counts as not reported: the answer is delivered, and charged by our own count."""
    letter = LETTERS[dialect]
    counted: Any = False if name == "missing" else usage(dialect, *ABSURD.get(name, (10, 10**31)))
    bodies = (
        frames(dialect, "Hello there", counted=counted) if streamed else [whole(dialect, counted=counted)]
    )
    if name == "nan":
        bodies = [body.replace(b"1" + b"0" * 31, b"NaN") for body in bodies]
    upstream.play(f"{letter}1", answers(head(200), *bodies) if streamed else answers(http(200, bodies[0])))
    before = hostile.credits()
    answer = hostile.ask(streamed, f"m{letter}")
    if name == "nan":  # that is no JSON: refused, or only that event or member is
        cost = before - hostile.credits()
        assert cost == Decimal(hostile.generation(answer.id)["cost_pusd"]) / 10**12 >= 0
        assert answer.status in (200, 502)
        return
    assert_delivered(answer, streamed)
    record = hostile.generation(answer.id)
    assert record["usage"]["provenance"] == "estimated", record
    assert 0 < record["cost_pusd"] < 100_000_000
    assert before - hostile.credits() == Decimal(record["cost_pusd"]) / 10**12
    assert "usage_estimated" in record["flags"]


@every_dialect
@both_ways
def test_usage_of_nothing_is_charged_as_nothing(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    zero = usage(dialect, 0, 0)
    script = (
        answers(head(200), *frames(dialect, "Hello there", counted=zero))
        if streamed
        else answers(http(200, whole(dialect, counted=zero)))
    )
    upstream.play(f"{letter}1", script)
    answer = hostile.ask(streamed, f"m{letter}")
    assert_delivered(answer, streamed)
    record = hostile.generation(answer.id)
    assert record["cost_pusd"] == 0
    assert record["usage"]["provenance"] == "reported"


def test_usage_given_twice_is_charged_once(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    """The last one counts, wherever it stands."""
    events = frames("openai_chat")
    early = sse({**json.loads(events[1][6:]), "usage": usage("openai_chat", 10, 1)})
    upstream.play("o1", answers(head(200), events[0], early, *events[2:-1], events[-2], events[-1]))
    answer = hostile.stream("mo")
    assert answer.done
    assert [chunk["usage"] for chunk in answer.chunks if chunk.get("usage")] == [answer.usage]
    assert hostile.generation(answer.id)["cost_pusd"] == 20_000_000


@both_ways
def test_more_output_than_was_asked_for_never_overdraws(
    hostile: Gateway, upstream: ScriptedUpstream, streamed: bool
) -> None:
    """The hold covers max_tokens; what is above it and the balance is absorbed, not owed."""
    account = f"small-{streamed}"
    hostile.command("credits.add", amount="0.002", account=account)
    key = hostile.new_key(account, account=account)
    counted = usage("openai_chat", 10, 10_000)  # $0.02
    script = (
        answers(head(200), *frames("openai_chat", counted=counted))
        if streamed
        else answers(http(200, whole("openai_chat", counted=counted)))
    )
    upstream.play("o1", script)
    answer = hostile.ask(streamed, "mo", key=key, max_tokens=10)
    assert answer.status == 200
    told = answer.usage if streamed else answer.json["usage"]
    record = hostile.generation(answer.id, key=key)
    assert record["cost_pusd"] == 2 * 10**9
    assert record["absorbed_pusd"] == 20_010_000_000 - 2 * 10**9
    assert hostile.credits(account) == 0
    assert told["credits_remaining"] == 0
    assert told["cost"] == Decimal("0.002")


# What must not get through.


@every_dialect
@both_ways
def test_headers_of_the_provider_stay_behind(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    evil = (
        "set-cookie: session=evil", "server: evil/1.0", "content-security-policy: none", "x-request-id: theirs",
        "access-control-allow-origin: *", "strict-transport-security: max-age=1", "location: http://evil",
        "x-generation-id: theirs", "x-llm-router-model: theirs", "alt-svc: h3", "trailer: x", "via: 1.1 evil",
    )  # fmt: skip
    for status in (200, 500):
        if streamed and status == 200:
            script = answers(head(200, *evil), *frames(dialect))
        else:
            body = whole(dialect) if status == 200 else _body_of(dialect, 500, "no")
            script = answers(http(status, body, *evil))
        upstream.play(f"{letter}1", script)
        answer = hostile.ask(streamed, f"m{letter}")
        assert answer.status == status
        assert set(answer.headers) <= FORWARDED
        assert "theirs" not in answer.headers.values()


@every_dialect
@both_ways
@pytest.mark.parametrize(
    "where", ["error", "error code", "text", "header", "200 without a reply", "error in a 200"]
)
def test_an_echo_of_the_provider_s_key_is_taken_out(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool, where: str
) -> None:
    letter = LETTERS[dialect]
    secret = SECRETS[f"{letter}1"]
    echo = f"you sent: authorization: {secret} ?key={secret} in {secret}"
    scripts = {
        "error": answers(http(400, _body_of(dialect, 400, echo))),
        "error code": answers(
            http(400, _body_of(dialect, 400, "no", code=secret, type=secret, status=secret))
        ),
        "text": answers(http(500, echo.encode(), type_="text/plain")),
        "header": answers(
            http(400, _body_of(dialect, 400, "no"), f"x-echo: {secret}", f"retry-after: {secret}")
        ),
        "200 without a reply": answers(
            http(200, json.dumps({"headers": {"authorization": secret}}).encode())
        ),
        "error in a 200": answers(http(200, _body_of(dialect, 400, echo))),
    }
    upstream.play(f"{letter}1", scripts[where])
    answer = hostile.ask(streamed, f"m{letter}")
    assert answer.status >= 400
    assert_no_secret(answer, hostile.generation(answer.id))


@every_dialect
def test_an_echo_in_an_error_event_is_taken_out(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]
    error = json.loads(_body_of(dialect, 400, f"bad key {SECRETS[f'{letter}1']}"))
    events = frames(dialect, "one ", "two ", "three ")[:3]
    upstream.play(
        f"{letter}1",
        answers(head(200), *events, sse(error, "error" if dialect == "anthropic_messages" else None)),
    )
    answer = hostile.stream(f"m{letter}")
    assert answer.failure is not None or answer.status >= 400
    assert_no_secret(answer, hostile.generation(answer.id))


@every_dialect
@both_ways
def test_an_echo_in_a_good_reply_is_taken_out(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    """In the text and beside it, where a same-dialect reply would pass as it came."""
    letter = LETTERS[dialect]
    secret = SECRETS[f"{letter}1"]
    if streamed:
        events = [
            event.replace(b'"up"', b'"up", "debug": "%s"' % secret.encode(), 1)
            for event in frames(dialect, f"It is {secret}.")
        ]
        script = answers(head(200), *events)
    else:
        script = answers(http(200, whole(dialect, f"It is {secret}.", debug={"authorization": secret})))
    upstream.play(f"{letter}1", script)
    answer = hostile.ask(streamed, f"m{letter}")
    assert_delivered(answer, streamed, "It is [redacted].")
    assert_no_secret(answer, hostile.generation(answer.id))


def test_the_provider_gets_its_own_key_and_nothing_of_the_client_s(
    hostile: Gateway, upstream: ScriptedUpstream
) -> None:
    mine = {
        "cookie": "a=b",
        "x-forwarded-for": "1.2.3.4",
        "x-secret": "s",
        "openai-organization": "org",
        "user-agent": "me",
    }
    for dialect, letter in LETTERS.items():
        upstream.play(f"{letter}1", good(dialect, False))
        assert hostile.chat(f"m{letter}", headers=mine).status == 200
        seen = upstream.at(f"{letter}1")[0]
        assert SECRETS[f"{letter}1"] in seen.head.decode()
        assert hostile.key not in seen.head.decode() + seen.body.decode()
        assert not {"cookie", "x-forwarded-for", "x-secret", "openai-organization"} & set(seen.headers)
        assert seen.headers["user-agent"] != "me"
