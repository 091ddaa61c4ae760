"""Errors of the Anthropic dialect, both ways; and the arithmetic of its usage."""

from __future__ import annotations

import json
from typing import Any

import anthropic_kit as kit
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import (
    InsufficientCredits,
    InvalidApiKey,
    InvalidRequest,
    LedgerUnavailable,
    ModelNotAllowed,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    RateLimitExceeded,
    RouterError,
    ServerError,
    UpstreamError,
    UpstreamKind,
)
from llm_router.domain.usage import Usage
from llm_router.wire.dialects.anthropic_messages import DIALECT

K = UpstreamKind


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
         K.AUTHENTICATION, "invalid x-api-key"),
        (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: nope"}}, K.NOT_FOUND,
         "model: nope"),
        (400, {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}},
         K.CONTEXT_LENGTH, "prompt is too long: 9 tokens > 8 maximum"),
        (400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}, K.PAYMENT,
         "Your credit balance is too low"),
        (413, {"error": {"type": "request_too_large", "message": "big"}}, K.PAYLOAD, "big"),
        (429, {"error": {"code": "rate_limit_error", "type": "invalid_request_error", "message": "slow"}},
         K.RATE_LIMIT, "slow"),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, K.OVERLOADED,
         "Overloaded"),
        (500, {"type": "error", "error": {"type": "api_error", "message": "boom"}}, K.SERVER, "boom"),
        (403, {"message": "You don't have access to the model."}, K.PERMISSION, "You don't have access to the model."),
        (400, [{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}], K.INVALID_REQUEST, "bad"),
        (401, {"detail": "Invalid API Key"}, K.AUTHENTICATION, "Invalid API Key"),
        (502, {"error": "upstream fell over"}, K.UNAVAILABLE, "upstream fell over"),
    ],
)  # fmt: skip
def test_shapes_of_upstream_errors(status: int, body: Any, kind: UpstreamKind, message: str) -> None:
    error = DIALECT.decode_error(status, {}, json.dumps(body).encode())
    assert (error.kind, error.status, error.message) == (kind, status, message)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Bad Gateway</html>", b"null", b"[]", b"{}", b'{"error": null}', b'{"error":{"message":7}}'],
)
def test_an_error_without_words_names_its_status(body: bytes) -> None:
    error = DIALECT.decode_error(502, {}, body)
    assert error.kind is K.UNAVAILABLE
    assert "502" in error.message


def test_text_waits_ids_and_secrets() -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"key sk-ant-api03-abcdefgh"},"request_id":"req_9"}'
    error = DIALECT.decode_error(429, {"retry-after": "7"}, body)
    assert error.retry_after_s == 7
    assert error.details == {"upstream_request_id": "req_9"}
    assert error.native_type == "rate_limit_error"
    assert "sk-ant" not in error.message
    plain = DIALECT.decode_error(503, {"request-id": "req_8"}, b"no healthy upstream")
    assert (plain.kind, plain.message) == (K.OVERLOADED, "no healthy upstream")
    assert plain.details == {"upstream_request_id": "req_8"}
    assert len(DIALECT.decode_error(500, {}, b"x" * 100_000).message) <= 4000


@given(st.integers(0, 999), st.binary(max_size=80))
def test_decoding_an_error_never_raises(status: int, body: bytes) -> None:
    assert DIALECT.decode_error(status, {}, body).message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("m"), "invalid_request_error"),
        (InvalidApiKey("m"), "authentication_error"),
        (InsufficientCredits("m"), "billing_error"),
        (ModelNotAllowed("m"), "permission_error"),
        (ModelNotFound("m"), "not_found_error"),
        (PayloadTooLarge("m"), "request_too_large"),
        (RateLimitExceeded("m"), "rate_limit_error"),
        (ServerError("m"), "api_error"),
        (LedgerUnavailable("m"), "api_error"),
        (Overloaded("m"), "overloaded_error"),
        (UpstreamError("m", kind=K.OVERLOADED, status=529), "overloaded_error"),
        (UpstreamError("m", kind=K.OVERLOADED), "overloaded_error"),
        (UpstreamError("m", kind=K.TIMEOUT), "timeout_error"),
        (UpstreamError("m", kind=K.UNAVAILABLE), "api_error"),
        (UpstreamError("m", kind=K.RATE_LIMIT, status=429), "rate_limit_error"),
        (UpstreamError("m", kind=K.CONTEXT_LENGTH, status=400), "invalid_request_error"),
    ],
)
def test_the_envelope_and_its_types(error: RouterError, kind: str) -> None:
    body = json.loads(DIALECT.encode_error(error, "req_1"))
    assert body == {
        "type": "error",
        "error": {"type": kind, "message": "m", "code": error.code},
        "request_id": "req_1",
    }


def test_param_and_details_stand_in_the_envelope() -> None:
    error = InsufficientCredits("m", param="model", details={"needed": "1.5", "available": "0", "type": "x"})
    found = json.loads(DIALECT.encode_error(error, "r"))["error"]
    assert found == {
        "type": "billing_error", "message": "m", "code": "insufficient_credits", "param": "model",
        "needed": "1.5", "available": "0",
    }  # fmt: skip


def _usage(**usage: Any) -> Usage | None:
    body = {"model": "claude-own", "content": [], "usage": {"input_tokens": 10, "output_tokens": 20, **usage}}
    return DIALECT.decode_reply(json.dumps(body).encode()).usage


def _entry(kind: str, tokens: int, model: str | None = None) -> dict[str, Any]:
    return {
        "type": kind,
        "input_tokens": tokens,
        "output_tokens": tokens,
        **({"model": model} if model else {}),
    }


@pytest.mark.parametrize(
    ("usage", "buckets"),
    [
        ({}, {"input_tokens": 10, "output_tokens": 20}),
        ({"output_tokens_details": {"thinking_tokens": 15}},
         {"input_tokens": 10, "output_tokens": 5, "reasoning_tokens": 15}),
        ({"output_tokens_details": {"thinking_tokens": 99}},
         {"input_tokens": 10, "output_tokens": 0, "reasoning_tokens": 20}),
        ({"cache_read_input_tokens": 3, "cache_creation_input_tokens": 7},
         {"input_tokens": 10, "output_tokens": 20, "cache_read_tokens": 3, "cache_write_tokens": 7}),
        ({"cache_creation_input_tokens": 7,
          "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 5}},
         {"input_tokens": 10, "output_tokens": 20, "cache_write_tokens": 2, "cache_write_1h_tokens": 5}),
        ({"cache_creation_input_tokens": 9,
          "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 5}},
         {"input_tokens": 10, "output_tokens": 20, "cache_write_1h_tokens": 9}),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 5}},
         {"input_tokens": 10, "output_tokens": 20, "cache_write_tokens": 2, "cache_write_1h_tokens": 5}),
        ({"cache_read_input_tokens": None, "cache_creation": None, "server_tool_use": None, "service_tier": None},
         {"input_tokens": 10, "output_tokens": 20}),
        ({"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}, "service_tier": "priority"},
         {"input_tokens": 10, "output_tokens": 20, "web_searches": 2, "service_tier": "priority"}),
        ({"output_tokens": 20.0}, {"input_tokens": 10, "output_tokens": 20}),
        ({"iterations": 7, "cache_creation": [], "output_tokens_details": "x"},
         {"input_tokens": 10, "output_tokens": 20}),
    ],
)  # fmt: skip
def test_buckets(usage: dict[str, Any], buckets: dict[str, Any]) -> None:
    assert _usage(**usage) == Usage(**buckets)


@pytest.mark.parametrize(
    ("iterations", "others"),
    [
        ([_entry("message", 15)], []),
        ([_entry("compaction", 90), _entry("message", 15)], [("claude-own", 90)]),
        (
            [_entry("message", 5), _entry("advisor_message", 8, "claude-big"), _entry("message", 10)],
            [("claude-big", 8)],
        ),
        # a hop that declined: in the totals or not, which the sum shows (10 + 20 in all)
        (
            [_entry("message", 15, "claude-asked"), _entry("fallback_message", 15, "claude-other")],
            [("claude-asked", 15)],
        ),
        ([_entry("message", 5, "claude-asked"), _entry("fallback_message", 10, "claude-other")], []),
        ([_entry("advisor_message", 0, "claude-big"), "x", {"type": "compaction", "input_tokens": -4}], []),
    ],
)
def test_other_models_tokens_are_counted_once(iterations: list[Any], others: list[tuple[str, int]]) -> None:
    usage = _usage(iterations=iterations)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (10, 20)
    assert usage.others == tuple((name, Usage(input_tokens=n, output_tokens=n)) for name, n in others)


def test_errors_in_replies_keep_their_words() -> None:
    body = b'{"type":"error","error":{"type":"api_error","message":"boom"},"request_id":"req_3"}'
    with pytest.raises(UpstreamError, match="boom") as caught:
        DIALECT.decode_reply(body)
    assert caught.value.details == {"upstream_request_id": "req_3"}
    assert caught.value.native_type == "api_error"


def test_the_context_of_the_tests_is_minted() -> None:
    body = json.loads(DIALECT.encode_reply(DIALECT.decode_reply(b'{"content":[]}'), kit.CONTEXT, kit.BILL)[0])
    assert (body["id"], body["model"]) == ("msg_minted", "claude-public")
