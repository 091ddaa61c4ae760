"""What single replies of Cohere say; its errors and addresses."""

from __future__ import annotations

import json
from typing import Any

import behind_kit as kit
import pytest
from cohere_kit import bodies, frame, stream_of
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialects.cohere_chat import DIALECT, upstream_headers, upstream_url
from llm_router.wire.events import Finish
from llm_router.wire.fold import fold

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


def test_deltas_of_an_unknown_block_are_no_text() -> None:
    told = [
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "chart"}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "<svg>"}}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
    ]
    parts = fold(kit.decode(DIALECT, [b"".join(map(frame, told))])).choices[0].parts
    assert [type(part) for part in parts] == [chat.Opaque]


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


def test_two_calls_never_share_an_id() -> None:
    calls = [{"id": "c", "function": {"name": "f", "arguments": "{}"}}] * 2
    reply = DIALECT.decode_reply(json.dumps({"message": {"tool_calls": calls}}).encode())
    ids = [part.id for part in reply.choices[0].parts if isinstance(part, chat.ToolCall)]
    assert ids[0] == "c"
    assert len({*ids}) == 2


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
