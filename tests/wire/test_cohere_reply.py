"""Cohere's replies and streams: laws over all of them, and the corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import behind_kit as kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects.cohere_chat import DIALECT, upstream_headers, upstream_url
from llm_router.wire.events import Finish
from llm_router.wire.fold import fold

CORPUS = Path(__file__).parent.parent / "corpus" / "cohere_chat"
NAMES = sorted(path.stem for path in (CORPUS / "replies").glob("*.json"))
fronts = pytest.mark.parametrize("front", kit.FRONTS, ids=[front.name for front in kit.FRONTS])

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
names = st.from_regex(r"[a-z][a-z_]{0,10}", fullmatch=True)
counts = st.integers(0, 10**6)


@st.composite
def replies(draw: st.DrawFn) -> dict[str, Any]:
    """A whole reply as Cohere writes it."""
    message: dict[str, Any] = {"role": "assistant"}
    content: list[dict[str, Any]] = []
    if draw(st.booleans()):
        content.append({"type": "thinking", "thinking": draw(texts)})
    if draw(st.booleans()):
        content.append({"type": "text", "text": draw(texts)})
    calls = [
        {
            "id": f"{name}_{number}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": json.dumps(draw(st.dictionaries(names, texts, max_size=2))),
            },
        }
        for number, name in enumerate(draw(st.lists(names, max_size=3)))
    ]
    if calls:
        message["tool_calls"] = calls
        if draw(st.booleans()):
            message["tool_plan"] = draw(texts)
    if not content and not calls:
        content.append({"type": "text", "text": "."})
    if content:
        message["content"] = content
    if content and content[-1]["type"] == "text":
        message["citations"] = [
            {
                "start": 0, "end": 1, "text": "x", "type": "TEXT_CONTENT", "content_index": len(content) - 1,
                "sources": [{"type": "document", "id": name, "document": {"title": name}}],
            }
            for name in draw(st.lists(names, max_size=2))
        ]  # fmt: skip
    finish = "TOOL_CALL" if calls else draw(st.sampled_from(["COMPLETE", "MAX_TOKENS", "STOP_SEQUENCE"]))
    usage = {"billed_units": {"input_tokens": draw(counts), "output_tokens": draw(counts)},
             "tokens": {"input_tokens": draw(counts), "output_tokens": draw(counts)},
             "cached_tokens": draw(counts)}  # fmt: skip
    return {"id": "r-1", "message": message, "finish_reason": finish, "usage": usage}


def halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def bodies(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """The events by which Cohere streams the reply."""
    message = reply["message"]
    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    out: list[dict[str, Any]] = [{"type": "message-start", "id": reply["id"], "delta": {"message": empty}}]

    def add(kind: str, index: int | None, **members: Any) -> None:
        place = {} if index is None else {"index": index}
        out.append({"type": kind, **place, "delta": {"message": members}})

    for piece in halves(message.get("tool_plan", "")):
        add("tool-plan-delta", None, tool_plan=piece)
    for index, block in enumerate(message.get("content", [])):
        kind = block["type"]
        add("content-start", index, content={"type": kind, kind: ""})
        for piece in halves(block[kind]):
            add("content-delta", index, content={kind: piece})
        for cited in message.get("citations", []):
            if cited["content_index"] == index:
                add("citation-start", 0, citations=cited)
                out.append({"type": "citation-end", "index": 0})
        out.append({"type": "content-end", "index": index})
    for index, call in enumerate(message.get("tool_calls", [])):
        function = {**call["function"], "arguments": ""}
        add("tool-call-start", index, tool_calls={**call, "function": function})
        for piece in halves(call["function"]["arguments"]):
            add("tool-call-delta", index, tool_calls={"function": {"arguments": piece}})
        out.append({"type": "tool-call-end", "index": index})
    end = {"finish_reason": reply["finish_reason"], "usage": reply["usage"]}
    return [*out, {"type": "message-end", "delta": end}]


def frame(body: Any, end: str = "\n") -> bytes:
    kind = body.get("type") if isinstance(body, dict) else None
    named = f"event: {kind}{end}" if kind else ""
    return f"{named}data: {json.dumps(body, ensure_ascii=False)}{end}{end}".encode()


def streamed(reply: dict[str, Any], done: bytes = b"data: [DONE]\n\n") -> bytes:
    return b"".join(map(frame, bodies(reply))) + done


def stream_of(name: str) -> bytes:
    return (CORPUS / "streams" / f"{name}.sse").read_bytes()


def reply_of(name: str) -> bytes:
    return (CORPUS / "replies" / f"{name}.json").read_bytes()


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


# --- what single replies say ----------------------------------------------------------------------------


def decoded(name: str) -> events.Reply:
    return fold(kit.decode(DIALECT, [stream_of(name)]))


def test_a_tool_plan_is_reasoning_and_calls_are_whole() -> None:
    (choice,) = decoded("calls").choices
    assert choice.parts == (
        chat.Thinking(text="I will look at both.", id="tool_plan", origin="cohere_chat"),
        chat.ToolCall(id="tide_1", name="tide", arguments='{"port": "Brest"}'),
        chat.ToolCall(id="noon_2", name="noon", arguments="{}"),
    )
    assert (choice.finish, choice.native_finish) == (Finish.TOOL_CALLS, "TOOL_CALL")


def test_each_source_of_a_citation_is_one_of_the_text() -> None:
    reply = decoded("cited")
    thought, text = reply.choices[0].parts
    assert isinstance(thought, chat.Thinking)
    assert isinstance(text, chat.Text)
    assert text.text == "The high tide is early."
    assert [(c.start, c.end, c.url, c.title, c.cited_text) for c in text.citations] == [
        (4, 13, None, None, "High tide 06:12"),
        (4, 13, "https://almanac.example/brest", "Almanac", "Tides of Brest"),
    ]
    assert [c.raw is not None for c in text.citations] == [True, False]
    assert [o.name for o in reply.opaque] == ["citations"]  # that of the reasoning


def test_an_empty_answer_has_no_parts() -> None:
    reply = decoded("empty")
    assert reply.choices[0].parts == ()
    assert reply.choices[0].finish is Finish.STOP
    assert reply.choices[0].native_finish == "STOP_SEQUENCE"


def test_an_unknown_block_is_kept_verbatim() -> None:
    chart, text = decoded("strange").choices[0].parts
    assert isinstance(chart, chat.Opaque)
    assert (chart.dialect, chart.name) == ("cohere_chat", "chart")
    assert json.loads(bytes(chart.raw)) == {"type": "chart", "rows": [1, 2]}
    assert isinstance(text, chat.Text)


def test_a_late_citation_still_reaches_its_text() -> None:
    told = bodies({"id": "r", "message": {"content": [{"type": "text", "text": "So."}]},
                   "finish_reason": "COMPLETE", "usage": {}})  # fmt: skip
    late = {"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"start": 0, "end": 2}}}}
    reply = fold(kit.decode(DIALECT, [b"".join(map(frame, [*told[:-1], late, told[-1]]))]))
    (text,) = reply.choices[0].parts
    assert isinstance(text, chat.Text)
    assert [(c.start, c.end) for c in text.citations] == [(0, 2)]


@pytest.mark.parametrize(
    ("usage", "buckets"),
    [
        ({"billed_units": {"input_tokens": 12.0, "output_tokens": 3}, "tokens": {"input_tokens": 600, "output_tokens": 9},
          "cached_tokens": 480}, Usage(input_tokens=12, output_tokens=3)),
        ({"tokens": {"input_tokens": 600, "output_tokens": 9}, "cached_tokens": 480},
         Usage(input_tokens=120, cache_read_tokens=480, output_tokens=9)),
        ({"tokens": {"input_tokens": 5, "output_tokens": 9}, "cached_tokens": 480},
         Usage(cache_read_tokens=5, output_tokens=9)),
        ({"billed_units": {"input_tokens": 1, "output_tokens": 0, "search_units": 2}},
         Usage(input_tokens=1, web_searches=2)),
        ({"billed_units": {"output_tokens": 3}}, None),
        ({}, None),
        (None, None),
    ],
)  # fmt: skip
def test_what_is_billed_is_counted(usage: Any, buckets: Usage | None) -> None:
    body = {"id": "r", "message": {"content": []}, "finish_reason": "COMPLETE", "usage": usage}
    reply = DIALECT.decode_reply(json.dumps(body).encode())
    assert reply.usage == buckets
    assert reply.flags == ()


@pytest.mark.parametrize("count", [-1, "12", 10**12, 1.5, True])
def test_counts_that_cannot_be_true_are_none(count: Any) -> None:
    usage = {"billed_units": {"input_tokens": count, "output_tokens": 1}}
    body = {"id": "r", "message": {"content": []}, "finish_reason": "COMPLETE", "usage": usage}
    reply = DIALECT.decode_reply(json.dumps(body).encode())
    assert (reply.usage, reply.flags) == (None, ("usage_invalid",))


@pytest.mark.parametrize(
    ("native", "calls", "finish"),
    [
        ("COMPLETE", False, Finish.STOP),
        ("COMPLETE", True, Finish.TOOL_CALLS),
        ("TOOL_CALL", False, Finish.STOP),
        ("MAX_TOKENS", True, Finish.LENGTH),
        ("ERROR_LIMIT", False, Finish.LENGTH),
        ("ERROR_TOXIC", False, Finish.CONTENT_FILTER),
        ("complete", False, Finish.STOP),
        ("A_NEW_ONE", False, Finish.STOP),
        (None, True, Finish.TOOL_CALLS),
    ],
)
def test_finish_reasons(native: str | None, calls: bool, finish: Finish) -> None:
    message: dict[str, Any] = {"content": []}
    if calls:
        message["tool_calls"] = [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]
    reply = DIALECT.decode_reply(json.dumps({"message": message, "finish_reason": native}).encode())
    assert (reply.choices[0].finish, reply.choices[0].native_finish) == (finish, native)


@pytest.mark.parametrize(
    ("delta", "kind", "words"),
    [
        ({"finish_reason": "ERROR", "error": "the model fell over"}, UpstreamKind.SERVER, "fell over"),
        ({"finish_reason": "ERROR"}, UpstreamKind.SERVER, "ERROR"),
        ({"finish_reason": "TIMEOUT"}, UpstreamKind.TIMEOUT, "TIMEOUT"),
        ({"error": "overloaded, try again in 2s"}, UpstreamKind.OVERLOADED, "overloaded"),
    ],
)
def test_a_failed_end_is_an_error(delta: dict[str, Any], kind: UpstreamKind, words: str) -> None:
    told = bodies({"id": "r", "message": {"content": [{"type": "text", "text": "So"}]},
                   "finish_reason": "", "usage": {}})  # fmt: skip
    error = kit.failure(
        kit.decode(DIALECT, [b"".join(map(frame, [*told[:-1], {"type": "message-end", "delta": delta}]))])
    )
    assert error.kind is kind
    assert words in error.message
    with pytest.raises(UpstreamError) as raised:
        DIALECT.decode_reply(json.dumps({"message": {"content": []}, **delta}).encode())
    assert raised.value.kind is kind


@pytest.mark.parametrize(
    "body", [{"message": "internal server error", "id": "x"}, {"error": {"message": "internal server error"}}]
)
def test_an_error_inside_a_stream_or_in_place_of_a_reply(body: dict[str, Any]) -> None:
    for error in (kit.failure(kit.decode(DIALECT, [frame(body)])), _raised(json.dumps(body).encode())):
        assert error.kind is UpstreamKind.SERVER
        assert "internal server error" in error.message


def _raised(body: bytes) -> UpstreamError:
    with pytest.raises(UpstreamError) as raised:
        DIALECT.decode_reply(body)
    return raised.value


def test_log_probabilities_are_the_joint_ones_of_each_piece() -> None:
    body = {"message": {"content": [{"type": "text", "text": "Hé"}]}, "finish_reason": "COMPLETE",
            "logprobs": [{"text": "Hé", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}]}  # fmt: skip
    raw = DIALECT.decode_reply(json.dumps(body).encode()).choices[0].logprobs
    assert raw is not None
    assert json.loads(bytes(raw)) == [
        {"token": "Hé", "logprob": -0.75, "bytes": [72, 195, 169], "top_logprobs": []}
    ]


def test_a_call_without_an_id_gets_one() -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"id": "", "function": {"name": "f"}}]
    reply = DIALECT.decode_reply(json.dumps({"message": {"tool_calls": calls}}).encode())
    ids = [part.id for part in reply.choices[0].parts if isinstance(part, chat.ToolCall)]
    assert len({*ids}) == 2
    assert all(ids)


# --- errors and addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b'{"id":"1","message":"invalid api token"}', UpstreamKind.AUTHENTICATION),
        (400, b'{"message":"too many tokens: size limit exceeded","error_type":"TOO_MANY_TOKENS"}', UpstreamKind.CONTEXT_LENGTH),
        (404, b'{"message":"model \'x\' not found, make sure the correct model ID was used"}', UpstreamKind.NOT_FOUND),
        (402, b'{"message":"Please add or update your payment method"}', UpstreamKind.PAYMENT),
        (429, b'{"message":"trial token rate limit exceeded"}', UpstreamKind.RATE_LIMIT),
        (498, b'{"message":"blocked"}', UpstreamKind.CONTENT_POLICY),
        (499, b'{"message":"request cancelled"}', UpstreamKind.SERVER),
        (422, b'{"detail":[{"loc":["body","messages"],"msg":"field required"}]}', UpstreamKind.INVALID_REQUEST),
        (500, b"<html><body><h1>Oops</h1></body></html>", UpstreamKind.SERVER),
        (503, b"", UpstreamKind.OVERLOADED),
        (502, b"\xff\xfe\x00", UpstreamKind.UNAVAILABLE),
    ],
)  # fmt: skip
def test_errors_are_classified(status: int, body: bytes, kind: UpstreamKind) -> None:
    error = DIALECT.decode_error(status, {}, body)
    assert (error.kind, error.status) == (kind, status)
    assert error.message
    assert "<" not in error.message


def test_an_error_keeps_its_type_its_id_and_the_time_to_wait() -> None:
    body = b'{"id":"abc","message":"slow down","error_type":"RATE"}'
    error = DIALECT.decode_error(429, {"retry-after": "7"}, body)
    assert (error.native_type, error.details, error.retry_after_s) == (
        "RATE",
        {"upstream_request_id": "abc"},
        7.0,
    )
    assert DIALECT.decode_error(429, {"x-debug-trace-id": "t"}, b"no").details == {"upstream_request_id": "t"}


@given(status=st.integers(0, 999), body=st.binary(max_size=200))
def test_no_error_body_is_too_strange(status: int, body: bytes) -> None:
    assert DIALECT.decode_error(status, {}, body).message


@pytest.mark.parametrize(
    "base",
    ["https://api.cohere.com", "https://api.cohere.com/", "https://api.cohere.com/v2", "https://api.cohere.com/v1",
     "https://api.cohere.com/v2/chat", "https://api.cohere.com/compatibility/v1"],
)  # fmt: skip
def test_the_address_of_chat(base: str) -> None:
    assert upstream_url(base, "chat", "m", True) == "https://api.cohere.com/v2/chat"


def test_other_operations_are_refused() -> None:
    with pytest.raises(ValueError, match="count_tokens"):
        upstream_url("https://api.cohere.com", "count_tokens", "m", False)


def test_headers_say_what_is_awaited() -> None:
    assert upstream_headers(True) == (("accept", "text/event-stream"),)
    assert upstream_headers(False) == (("accept", "application/json"),)
