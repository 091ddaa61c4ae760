"""Google's errors, classified."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.dialects.gemini_generate import DIALECT, upstream_headers, upstream_url


def error(status: int, body: object, **headers: str) -> UpstreamError:
    return DIALECT.decode_error(status, headers, json.dumps(body).encode())


def test_a_wrong_key_is_status_400() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    found = error(
        400, {"error": {"code": 400, "message": "Bad.", "status": "INVALID_ARGUMENT", "details": details}}
    )
    assert found.kind == UpstreamKind.AUTHENTICATION
    assert found.native_code == "API_KEY_INVALID"
    assert found.status == 400


def test_the_time_to_wait_stands_in_the_body() -> None:
    details = [
        {"@type": "x/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerMinute-FreeTier"}]},
        {"@type": "x/google.rpc.RetryInfo", "retryDelay": "34.07s"},
    ]
    body = [{"error": {"code": 429, "message": "Quota.", "status": "RESOURCE_EXHAUSTED", "details": details}}]
    found = error(429, body)
    assert found.kind == UpstreamKind.RATE_LIMIT
    assert found.retry_after_s == 34.07
    assert found.details == {"quota": "PerMinute-FreeTier"}
    details[1]["retryDelay"] = {"seconds": 3, "nanos": 500_000_000}  # type: ignore[assignment]
    assert error(429, body).retry_after_s == 3.5
    assert error(429, {"error": {"message": "x"}}, **{"retry-after": "9"}).retry_after_s == 9


@pytest.mark.parametrize(
    ("status", "google", "message", "kind"),
    [
        (404, "NOT_FOUND", "models/x is not found for API version v1beta", UpstreamKind.NOT_FOUND),
        (403, "PERMISSION_DENIED", "Permission denied", UpstreamKind.PERMISSION),
        (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", UpstreamKind.OVERLOADED),
        (500, "INTERNAL", "An internal error has occurred.", UpstreamKind.SERVER),
        (400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (5).",
         UpstreamKind.CONTEXT_LENGTH),
        (400, "INVALID_ARGUMENT", "Please use a valid role: user, model.", UpstreamKind.INVALID_REQUEST),
        (504, "DEADLINE_EXCEEDED", "Deadline expired", UpstreamKind.TIMEOUT),
    ],
)  # fmt: skip
def test_kinds(status: int, google: str, message: str, kind: UpstreamKind) -> None:
    found = error(status, {"error": {"code": status, "message": message, "status": google}})
    assert found.kind == kind
    assert found.message == message
    assert found.native_type == google


@given(st.integers(0, 700), st.binary(max_size=40) | st.sampled_from([
    b"[]", b"[null]", b'{"error":null}', b'{"error":[1]}', b'{"error":{"details":{}}}', b'{"message":"m","code":5}',
    b'{"error":{"details":[{"retryDelay":"inf"},{"retryDelay":{"nanos":"x"}},{"violations":7}],"code":true}}',
    b"<html>502</html>",
]))  # fmt: skip
def test_nothing_is_raised(status: int, body: bytes) -> None:
    found = DIALECT.decode_error(status, {"retry-after": "x"}, body)
    assert found.message
    assert 400 <= found.status <= 599


def test_keys_are_not_repeated() -> None:
    found = error(400, {"error": {"message": "API key AIza" + "x" * 35 + " is bad", "code": 400}})
    assert "xxx" not in found.message


@pytest.mark.parametrize(
    ("base", "model", "stream", "url"),
    [
        ("https://h", "gemini-x", False, "https://h/v1beta/models/gemini-x:generateContent"),
        ("https://h/v1beta/", "models/gemini-x", True, "https://h/v1beta/models/gemini-x:streamGenerateContent?alt=sse"),
        ("https://h/v1", "gemini-x", False, "https://h/v1/models/gemini-x:generateContent"),
        ("https://h/v1beta/models", "gemini-x", False, "https://h/v1beta/models/gemini-x:generateContent"),
        ("https://h/v1/projects/p/locations/l/publishers/google", "gemini-x", False,
         "https://h/v1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent"),
        ("https://h/v1/projects/p/locations/l/publishers/google", "publishers/google/models/gemini-x", False,
         "https://h/v1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent"),
        ("https://h/v1beta1/projects/p/locations/l", "publishers/google/models/gemini-x", False,
         "https://h/v1beta1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent"),
        ("http://127.0.0.1:9/rec/v1x", "tunedModels/a b:c", False,
         "http://127.0.0.1:9/rec/v1x/v1beta/tunedModels/a%20b%3Ac:generateContent"),
    ],
)  # fmt: skip
def test_urls(base: str, model: str, stream: bool, url: str) -> None:
    assert upstream_url(base, "chat", model, stream) == url


def test_counting_has_its_own_method() -> None:
    assert upstream_url("https://h", "count_tokens", "m", False) == "https://h/v1beta/models/m:countTokens"
    with pytest.raises(ValueError, match="no method for embed"):
        upstream_url("https://h", "embed", "m", False)
    assert dict(upstream_headers(True))["accept"] == "text/event-stream"
