"""Errors of OpenAI-like providers, in every shape, and our own envelope."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import (
    InsufficientCredits,
    InvalidRequest,
    ModelNotFound,
    UpstreamError,
    UpstreamKind,
)
from llm_router.wire.dialects.openai_chat import DIALECT

K = UpstreamKind
SHAPES = [
    (400, {"error": {"message": "Bad 'stop'", "type": "invalid_request_error", "param": "stop", "code": "unsupported_parameter"}}, "Bad 'stop'", K.INVALID_REQUEST, "unsupported_parameter"),
    (401, {"detail": "Invalid API Key"}, "Invalid API Key", K.AUTHENTICATION, None),
    (422, {"detail": [{"loc": ["body", "messages", 0], "msg": "field required", "type": "missing"}]}, "body.messages.0: field required", K.INVALID_REQUEST, None),
    (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500", "raw_status_code": 400}, "Invalid model: x", K.NOT_FOUND, "1500"),
    (400, {"code": "invalid-argument", "error": "Incorrect API key provided."}, "Incorrect API key provided.", K.AUTHENTICATION, "invalid-argument"),
    (429, {"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": "rate-limited upstream", "provider_name": "G"}}, "user_id": "u"}, "Provider returned error: rate-limited upstream", K.RATE_LIMIT, "429"),
    (502, {"error": {"code": 502, "message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"prompt is too long"}}'}}}, "Provider returned error: prompt is too long", K.CONTEXT_LENGTH, "502"),
    (400, {"error": "model is required"}, "model is required", K.INVALID_REQUEST, None),
    (401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}}, "Access denied due to invalid subscription key.", K.AUTHENTICATION, "401"),
    (400, {"message": "no such field"}, "no such field", K.INVALID_REQUEST, None),
    (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}], "API key not valid. Please pass a valid API key.", K.AUTHENTICATION, "400"),
    (500, {"error": {"message": {"detail": "deep"}}}, "deep", K.SERVER, None),
    (400, {"errors": ["one", "two"]}, "one; two", K.INVALID_REQUEST, None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "message", "kind", "code"), SHAPES)
def test_shapes(status: int, body: object, message: str, kind: UpstreamKind, code: str | None) -> None:
    error = DIALECT.decode_error(status, {}, json.dumps(body).encode())
    assert (error.status, error.message, error.kind, error.native_code) == (status, message, kind, code)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            502,
            b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
            "502 Bad Gateway nginx",
        ),
        (503, b"upstream connect error", "upstream connect error"),
        (500, b"", "status 500"),
        (500, b"\x00\x01\xff\xfe" * 50, "status 500"),
        (400, b'"just text"', "just text"),
        (400, b"null", "null"),
        (400, b"{}", "status 400"),
        (400, b'{"error":{}}', "status 400"),
        (400, b'{"error": {"message": "cut', "cut"),
    ],
)
def test_bodies_that_are_no_envelope(status: int, body: bytes, said: str) -> None:
    error = DIALECT.decode_error(status, {}, body)
    assert said in error.message
    assert error.status == status


def test_waits_and_details() -> None:
    body = {
        "error": {
            "message": "Try again in 1.5s", "type": "tokens", "code": "rate_limit_exceeded", "failed_generation": "x"
        }
    }  # fmt: skip
    data = json.dumps(body).encode()
    assert DIALECT.decode_error(429, {}, data).retry_after_s == 1.5
    error = DIALECT.decode_error(429, {"retry-after": "7"}, data)
    assert error.retry_after_s == 7
    assert error.details == {"failed_generation": "x"}


def test_credentials_are_hidden_everywhere() -> None:
    body = {
        "error": {
            "message": "bad key sk-CANARY123456",
            "code": "sk-CANARY123456",
            "failed_generation": "sk-CANARY123456",
        }
    }
    error = DIALECT.decode_error(401, {}, json.dumps(body).encode())
    error.provider = "openai"
    assert b"CANARY" not in DIALECT.encode_error(error, "gen-1")


@given(st.integers(100, 999), st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_body_is_survived(status: int, body: bytes) -> None:
    error = DIALECT.decode_error(status, {"retry-after": "x"}, body)
    assert error.message
    assert 400 <= error.status <= 599


def test_deep_bodies_are_survived() -> None:
    for body in (
        b"[" * 50_000,
        b'{"error":' * 900 + b"1" + b"}" * 900,
        b'{"message":' + b"[" * 900 + b"]" * 900 + b"}",
    ):
        assert DIALECT.decode_error(500, {}, body).status == 500


def test_the_envelope() -> None:
    error = InvalidRequest("'n' must be positive.", param="n")
    assert json.loads(DIALECT.encode_error(error, "gen-7")) == {
        "error": {
            "message": "'n' must be positive.", "type": "invalid_request_error", "param": "n",
            "code": "invalid_request", "request_id": "gen-7",
        }
    }  # fmt: skip


def test_the_envelope_carries_details() -> None:
    error = InsufficientCredits("Too little.", details={"needed": 5, "available": 1, "message": "not this"})
    sent = json.loads(DIALECT.encode_error(error, "gen-7"))["error"]
    assert (sent["needed"], sent["available"], sent["message"]) == (5, 1, "Too little.")
    assert json.loads(DIALECT.encode_error(ModelNotFound("No."), "g"))["error"]["code"] == "model_not_found"


def test_the_envelope_of_an_upstream_error_says_who_said_what() -> None:
    error = UpstreamError(
        "Slow down", kind=K.RATE_LIMIT, status=429, native_code="1300", native_type="rate_limited"
    )
    error.provider = "mistral"
    sent = json.loads(DIALECT.encode_error(error, "gen-7"))["error"]
    assert sent["code"] == "rate_limit_exceeded"
    assert sent["metadata"] == {
        "provider": "mistral", "error_type": "rate_limit_exceeded", "provider_code": "1300", "provider_type": "rate_limited",
    }  # fmt: skip
