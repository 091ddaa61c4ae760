"""Errors of hosts of the Responses API, and the envelope that its clients get."""

from __future__ import annotations

import json

import pytest
import responses_kit as kit
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import InsufficientCredits, UpstreamError, UpstreamKind
from llm_router.wire.dialects.openai_responses import DIALECT, upstream_url

K = UpstreamKind


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, '{"error":{"message":"Bad schema.","type":"invalid_request_error","param":"tools[0]","code":null}}',
         K.INVALID_REQUEST, "Bad schema."),
        (400, '{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}', K.NOT_FOUND,
         "The model `x` does not exist"),
        (400, '{"code":"invalid-argument","error":"Incorrect API key provided."}', K.AUTHENTICATION,
         "Incorrect API key provided."),
        (401, '{"error":{"message":"No.","code":"invalid_api_key"}}', K.AUTHENTICATION, "No."),
        (400, '{"error":{"code":"context_length_exceeded","message":"Too long."}}', K.CONTEXT_LENGTH, "Too long."),
        (429, '{"error":{"message":"Rate limit reached. Please try again in 3s."}}', K.RATE_LIMIT,
         "Rate limit reached. Please try again in 3s."),
        (429, '{"error":{"code":"insufficient_quota","message":"Pay."}}', K.PAYMENT, "Pay."),
        (422, '{"detail":[{"loc":["body","input"],"msg":"field required"}]}', K.INVALID_REQUEST,
         "body.input: field required"),
        (500, '{"message":"oops"}', K.SERVER, "oops"),
        (502, "<html><head><title>Bad</title></head><body>Bad gateway</body></html>", K.UNAVAILABLE,
         "Bad Bad gateway"),
        (503, "", K.OVERLOADED, "The provider answered with status 503 and no explanation."),
        (404, '[{"error":{"message":"gone"}}]', K.OBJECT, "gone"),
    ],
)  # fmt: skip
def test_errors_are_understood(status: int, body: str, kind: UpstreamKind, message: str) -> None:
    error = DIALECT.decode_error(status, {}, body.encode())
    assert (error.status, error.kind, error.message) == (status, kind, message)


def test_what_an_error_names_is_kept() -> None:
    body = b'{"error":{"message":"Bad.","type":"t","param":"input","code":"c"}}'
    error = DIALECT.decode_error(400, {"retry-after": "7"}, body)
    assert (error.param, error.native_code, error.native_type, error.retry_after_s) == ("input", "c", "t", 7)
    waiting = DIALECT.decode_error(429, {}, b'{"error":{"message":"Please try again in 250ms."}}')
    assert waiting.retry_after_s == 0.25


def test_credentials_are_hidden() -> None:
    error = DIALECT.decode_error(401, {}, b'{"error":{"message":"Bad key sk-abcdefgh12345678"}}')
    assert "abcdefgh" not in error.message


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("server_error", K.SERVER),
        ("rate_limit_exceeded", K.RATE_LIMIT),
        ("vector_store_timeout", K.TIMEOUT),
        ("invalid_prompt", K.INVALID_REQUEST),
        ("bio_policy", K.CONTENT_POLICY),
        ("image_content_policy_violation", K.CONTENT_POLICY),
        ("invalid_base64_image", K.INVALID_REQUEST),
        ("unsupported_image_media_type", K.INVALID_REQUEST),
        ("image_too_large", K.INVALID_REQUEST),
        ("empty_image_file", K.INVALID_REQUEST),
        ("failed_to_download_image", K.INVALID_REQUEST),
        ("moonrise", K.SERVER),
    ],
)
def test_codes_of_failed_responses(code: str, kind: UpstreamKind) -> None:
    body = {
        "status": "failed",
        "output": [],
        "object": "response",
        "error": {"code": code, "message": "It broke."},
    }
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_reply(json.dumps(body).encode())
    assert (caught.value.kind, caught.value.native_code) == (kind, code)
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    told = json.loads(encoder.fail(caught.value, "r").rpartition(b"data: ")[2])["response"]["error"]
    policy = kind is K.CONTENT_POLICY
    assert told["code"] == ("invalid_prompt" if policy else "server_error" if code == "moonrise" else code)


@given(status=st.integers(100, 599), body=st.binary(max_size=200))
def test_no_error_body_breaks_the_reader(status: int, body: bytes) -> None:
    assert DIALECT.decode_error(status, {}, body).message


@given(status=st.integers(400, 599), body=st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from(["error", "message", "code", "detail", "type", "response"]), inner, max_size=3),
))  # fmt: skip
def test_no_error_shape_breaks_the_reader(status: int, body: object) -> None:
    assert DIALECT.decode_error(status, {}, json.dumps(body).encode()).status == status


def test_the_envelope() -> None:
    own = json.loads(
        DIALECT.encode_error(InsufficientCredits("Add credits.", details={"needed": 1}), "req_1")
    )
    assert own["error"] == {
        "message": "Add credits.", "type": "billing_error", "param": None, "code": "insufficient_credits",
        "request_id": "req_1", "needed": 1,
    }  # fmt: skip
    upstream = UpstreamError("Slow.", kind=K.RATE_LIMIT, native_code="c")
    upstream.provider = "xai"
    told = json.loads(DIALECT.encode_error(upstream, "req_1"))["error"]
    assert told["metadata"] == {"provider": "xai", "error_type": "rate_limit_exceeded", "provider_code": "c"}


def test_urls() -> None:
    for base, url in (
        ("https://api.openai.com/v1", "https://api.openai.com/v1/responses"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1/responses"),
        (
            "https://a.example/openai/v1/responses?api-version=1",
            "https://a.example/openai/v1/responses?api-version=1",
        ),
        ("https://a.example/v1?x=1", "https://a.example/v1/responses?x=1"),
    ):
        assert upstream_url(base, "chat", "m", False) == url
    assert DIALECT.upstream_headers(True) == (("accept", "text/event-stream"),)
