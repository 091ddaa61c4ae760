"""Kinds of upstream errors, waits and scrubbing, over wordings that providers use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamKind as K
from llm_router.wire.classify import header_retry_after_s, message_retry_after_s, scrub, without_tags
from llm_router.wire.judging import classify

CASES = [
    # context too long, in every wording
    (400, "This request exceeds the context window of the model.", None, None, K.CONTEXT_LENGTH),
    (400, "Too long for us", "context_length_exceeded", "invalid_request_error", K.CONTEXT_LENGTH),
    (400, "prompt is too long: 250000 tokens > 200000 maximum", None, "x", K.CONTEXT_LENGTH),
    (400, "The input token count (1200000) exceeds the maximum", None, "INVALID_ARGUMENT", K.CONTEXT_LENGTH),
    (
        400,
        "This model's maximum context length is 65536 tokens. You asked 70000",
        None,
        None,
        K.CONTEXT_LENGTH,
    ),
    (400, "too many tokens: limit exceeded by 12 tokens", "TOO_MANY_TOKENS", None, K.CONTEXT_LENGTH),
    (400, "The length of all messages is too long.", "400", "too_many_prompt_tokens", K.CONTEXT_LENGTH),
    (400, "prompt too long; exceeded max context length by 5 tokens", None, None, K.CONTEXT_LENGTH),
    (400, "Input Tokens Exceeded", None, None, K.CONTEXT_LENGTH),
    (
        400,
        "request (9000 tokens) exceeds the available context size",
        None,
        "exceed_context_size_error",
        K.CONTEXT_LENGTH,
    ),
    (500, "input (4000 tokens) is too large to process. raise the batch size", "500", None, K.CONTEXT_LENGTH),
    (429, "The input token count exceeds the maximum number of tokens allowed", None, None, K.CONTEXT_LENGTH),
    (429, "Too many tokens, please wait before trying again.", None, None, K.RATE_LIMIT),
    # keys
    (401, "whatever", None, None, K.AUTHENTICATION),
    (400, "API key not valid. Please pass a valid API key.", None, "INVALID_ARGUMENT", K.AUTHENTICATION),
    (400, "Incorrect API key provided.", "invalid-argument", None, K.AUTHENTICATION),
    (403, "Invalid API key", None, None, K.AUTHENTICATION),
    (
        403,
        "The security token included in the request is expired",
        "ExpiredTokenException",
        None,
        K.AUTHENTICATION,
    ),
    (403, "You don't have access to this", "AccessDeniedException", None, K.PERMISSION),
    (403, "something the client wrote", None, "invalid_request_error", K.INVALID_REQUEST),
    (403, "Your account has no access.", "permission_denied", "invalid_request_error", K.PERMISSION),
    (403, "Forbidden", None, None, K.PERMISSION),
    (401, "Authentication Fails", "invalid_request_error", "authentication_error", K.AUTHENTICATION),
    # money
    (402, "Needs more credits", "402", None, K.PAYMENT),
    (429, "You exceeded your current quota", "insufficient_quota", "insufficient_quota", K.PAYMENT),
    (400, "Your credit balance is too low to use this API", None, "invalid_request_error", K.PAYMENT),
    # rate and load
    (429, "You exceeded your current quota, see your plan.", "429", "RESOURCE_EXHAUSTED", K.RATE_LIMIT),
    (
        429,
        "Rate limit reached: Limit 6000, Used 3513, Requested 3166.",
        "rate_limit_exceeded",
        "tokens",
        K.RATE_LIMIT,
    ),
    (
        413,
        "on tokens per minute (TPM): Limit 6000, Requested 14368, reduce",
        "rate_limit_exceeded",
        "tokens",
        K.PAYLOAD,
    ),
    (
        429,
        "on tokens per minute (TPM): Limit 6000, Requested 14368, reduce",
        "rate_limit_exceeded",
        "tokens",
        K.PAYLOAD,
    ),
    (400, "Rate exceeded", "ThrottlingException", None, K.RATE_LIMIT),
    (529, "Overloaded", None, "overloaded_error", K.OVERLOADED),
    (503, "", None, None, K.OVERLOADED),
    (500, "Overloaded", None, "overloaded_error", K.OVERLOADED),
    (429, "The engine is currently overloaded", None, "engine_overloaded_error", K.OVERLOADED),
    # models
    (404, "no", "DeploymentNotFound", None, K.NOT_FOUND),
    (400, "Model Not Exist", "invalid_request_error", "invalid_request_error", K.NOT_FOUND),
    (400, "Invalid model: nope", "1500", "invalid_model", K.NOT_FOUND),
    (400, "The provided model identifier is invalid.", None, "ValidationException", K.NOT_FOUND),
    (400, "nope", "model_not_found", None, K.NOT_FOUND),
    # content
    (400, "The response was filtered", "content_filter", None, K.CONTENT_POLICY),
    (403, "input was flagged by moderation", "403", None, K.CONTENT_POLICY),
    # the rest
    (400, "'stop' is not supported with this model.", "unsupported_parameter", None, K.INVALID_REQUEST),
    (422, "field required", None, None, K.INVALID_REQUEST),
    (413, "Request exceeds the maximum size", None, "request_too_large", K.PAYLOAD),
    (500, "sorry", None, "server_error", K.SERVER),
    (504, "", None, None, K.TIMEOUT),
    (502, "<html>", None, None, K.UNAVAILABLE),
    # inside a 200 reply
    (200, "Overloaded", None, "overloaded_error", K.OVERLOADED),
    (200, "slow down", "429", None, K.RATE_LIMIT),
    (200, "Our servers are overloaded", "server_is_overloaded", "service_unavailable_error", K.OVERLOADED),
    (200, "An internal error occurred", None, "server_error", K.SERVER),
    (200, "Provider returned error", "502", None, K.UNAVAILABLE),
    (200, "strange", None, None, K.SERVER),
]


@pytest.mark.parametrize(("status", "message", "code", "type_", "kind"), CASES)
def test_kinds(status: int, message: str, code: str | None, type_: str | None, kind: K) -> None:
    assert classify(status, message, code, type_) is kind


@given(st.integers(-5, 999), st.text(), st.none() | st.text(), st.none() | st.text())
def test_any_input_has_a_kind(status: int, message: str, code: str | None, type_: str | None) -> None:
    assert isinstance(classify(status, message, code, type_), K)


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "1", "retry-after-ms": "0"}, 1.0),
        ({"retry-after": "9", "retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "0"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:30 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after": "Wed, 41 Oct 2026 07:28:30 GMT", "date": DATE}, None),
    ],
)
def test_waits(headers: dict[str, str], wait: float | None) -> None:
    assert header_retry_after_s(headers) == wait


def test_a_date_counts_from_the_time_given() -> None:
    assert header_retry_after_s({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0) == 60.0


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("Please try again in 6.5s. Visit", 6.5),
        ("Try again in 1m30s", 90.0),
        ("please try again in 20ms", 0.02),
        ("retry after 5s", 5.0),
        ("try again later", None),
        ("", None),
    ],
)
def test_waits_in_text(text: str, wait: float | None) -> None:
    assert message_retry_after_s(text) == wait


KEY32 = "0123456789abcdefABCDEF0123456789"


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: CANARY-xyz.",
        "Your api key: CANARY-key is invalid",
        "sk-proj-CANARY0123 is bad",
        "used AIzaSyCANARY_0123456",
        "header Authorization: Bearer CANARYabc.def",
        "Bearer CANARYabcdef",
        "GET https://h.example/v1?key=CANARY123&alt=sse",
        "https://user:CANARY@host/",
        '{"api_key": "CANARYxx"}',
        "x-api-key: CANARYyy",
        "gsk_CANARYabc123",
        "token=CANARYq",
        f"key was CANARY{KEY32}",
        "AKIACANARY0123456789",
        "eyJhbGciOiJI.CANARY.abc",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    assert "CANARY" not in scrub(text)
    assert "[redacted]" in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        "The model `gpt-4o` does not exist or you do not have access to it.",
        "Invalid 'messages': empty array. Expected an array with minimum length 1.",
        "errors: [missing key: location, token limit 4096]",
        "Item 'rs_68c42de022c881948db7ed1cc2529f2e0202c9ad459e0d23' of type 'reasoning' is alone",
        "a task-oriented, risk-free text with max_tokens: 100",
        "prompt too long (ref: 96164522-08b2-4cbf-886e-e5a38961a688)",
    ],
)
def test_other_text_is_kept(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("<html><script>if (a<b) {}</script><p>Bad <b>gateway</b></p>", "Bad gateway"),
        ("<style>a</style>x<script>no end", "x no end"),
        ("<<<a", "<<<a"),
        ("no page <b>", "no page"),
        ("<script <script <script>y</script>z", "<script <script z"),
    ],
)
def test_what_a_page_shows(page, shown):
    assert " ".join(without_tags(page).split()) == shown


def test_a_page_of_nothing_but_begun_tags_is_read():
    for begun in ("<", "<script ", "<style <script ", "<a "):
        assert without_tags(begun * 8000).startswith("<")


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "1.7e308"},
        {"retry-after-ms": "1.7e308"},
        {"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ],
)
def test_a_wait_without_end_is_one_to_reckon_with(headers):
    for wait_s in (header_retry_after_s(headers), message_retry_after_s("try again in 9999999999999999s")):
        assert wait_s is not None
        assert round(1000 * wait_s) == 366 * 86_400_000
