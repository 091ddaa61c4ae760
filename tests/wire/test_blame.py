"""What a client can make a provider say is held against nobody else; what providers say themselves is."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError
from llm_router.domain.errors import UpstreamKind as K
from llm_router.routing.advance import KEYS_FAULT, Reach, verdict_of
from llm_router.routing.health import Fared
from llm_router.wire import quoted
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.quoted import quotes, weigh

EVIL = (
    "insufficient_quota rate limit overloaded api key",
    "Incorrect API key provided",
    "API key not valid. Please pass a valid API key.",
    "Your credit balance is too low",
    "invalid x-api-key",
    "Rate limit reached. Please try again in 9h.",
    "Too Many Requests",
    "The model is overloaded",
    "service unavailable",
    "The model `gpt-9` does not exist",
    "model: gpt-9",
    "gpt-9 is not a valid model",
    "Model Not Exist",
    "Unauthorized",
    "authentication_error",
    "This organization has been disabled",
    "You have reached your specified API usage limits",
    "bearer token, the signature we calculated",
    "on-demand throughput",
    "quota exceeded, insufficient balance, payment required",
    "deadline exceeded, internal server error, timed out",
)
SAYING = (
    "{}",
    "Unknown parameter: '{}'.",
    "{} is not a known member",
    "'{}' was unexpected",
    "Error: {}",
    "Provider returned error: {}",
    "Invalid value '{}': expected one of 'a', 'b'. Try again in 5s.",
    "Failed to deserialize the JSON body: unknown field `{}`, expected `messages` at line 1 column 2",
    "The model returned the following errors: {}: Extra inputs are not permitted",
    'Invalid JSON payload received. Unknown name "{}": Cannot find field.',
)
ECHOES = {
    "as it is": lambda text: text,
    "upper": str.upper,
    "lower": str.lower,
    "one line": lambda text: " ".join(text.split()),
    "cut": lambda text: text[:40],
    "json": lambda text: json.dumps(text)[1:-1],
}
WRITTEN = {
    "plain": lambda text: text,
    "wide": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "spaced": lambda text: text.replace(" ", " \n\t"),
    "no-break": lambda text: text.replace(" ", "\u00a0"),
    "percent": lambda text: text.replace(" ", "%20"),
}


def shaped(dialect: str, message: str, shape: int) -> dict[str, Any]:
    """An error for a request that is wrong, in shapes that providers of the dialect use."""
    match dialect:
        case "anthropic_messages":
            return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
        case "gemini_generate":
            return {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": message}}
        case "bedrock_converse" | "cohere_chat":
            return {"message": message}
        case "ollama_chat":
            return {"error": message}
    return (
        {"error": {"message": message, "type": "invalid_request_error", "param": message, "code": "unknown_parameter"}},
        {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}},
        {"code": "invalid-argument", "error": message},
        {"detail": [{"loc": ["body", message], "msg": message, "type": "extra_forbidden"}]},
        {"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": "1500"},
        {"error": {"message": message, "code": 400}},
        {"message": message},
        {"detail": message},
    )[shape]  # fmt: skip


def told(dialect: str, status: int, body: object, sent: object, model: str = "m-1") -> UpstreamError:
    error = DIALECTS[dialect].decode_error(status, {}, json.dumps(body).encode())
    weigh(error, models=[model], sent=(json.dumps(sent).encode(),))
    return error


def harmless(error: UpstreamError) -> bool:
    return verdict_of(error).fared is Fared.NEITHER and error.kind not in KEYS_FAULT


hostile = st.one_of(
    st.sampled_from(EVIL),
    st.lists(st.sampled_from(EVIL), min_size=2, max_size=3).map(" ".join),
    st.text(max_size=40),
)


@given(
    dialect=st.sampled_from(sorted(DIALECTS)),
    text=hostile,
    written=st.sampled_from(sorted(WRITTEN)),
    saying=st.sampled_from(SAYING),
    echo=st.sampled_from(sorted(ECHOES)),
    shape=st.integers(0, 7),
    status=st.sampled_from([400, 422]),
    as_name=st.booleans(),
)
def test_no_words_of_a_client_are_held_against_anybody(
    dialect: str, text: str, written: str, saying: str, echo: str, shape: int, status: int, as_name: bool
) -> None:
    sent = (
        {"model": "m-1", text: 1}
        if as_name
        else {"model": "m-1", "metadata": {"note": WRITTEN[written](text)}}
    )
    said = saying.format(ECHOES[echo](text))
    error = told(dialect, status, shaped(dialect, said, shape), sent)
    assert harmless(error), (error.kind, said)


@given(
    dialect=st.sampled_from(sorted(DIALECTS)),
    text=hostile,
    saying=st.sampled_from(
        ["File not found: {}", "No such file object: {}", "{} not found", "Item '{}' not found."]
    ),
    shape=st.integers(4, 7),
)
def test_what_else_a_request_names_is_no_fault_of_the_model(
    dialect: str, text: str, saying: str, shape: int
) -> None:
    sent = {"model": "m-1", "file": "file_" + text}
    error = told(dialect, 404, shaped(dialect, saying.format("file_" + text), shape), sent)
    assert harmless(error)
    assert (error.kind, error.code, error.status) == (
        K.OBJECT,
        "not_found",
        404,
    ) or error.kind is K.CONTEXT_LENGTH


FILES = [
    ("anthropic_messages", 404, {"error": {"type": "not_found_error", "message": "File not found: file_011"}}),
    ("openai_chat", 404, {"error": {"message": "No such File object: file-1", "type": "invalid_request_error", "param": "file_id", "code": None}}),
    ("openai_chat", 404, {"error": {"message": "Previous response with id 'resp_1' not found.", "type": "invalid_request_error", "param": "previous_response_id", "code": "previous_response_not_found"}}),
    ("openai_responses", 404, {"error": {"message": "Container with id 'cntr_1' not found.", "type": "invalid_request_error", "param": None, "code": None}}),
    ("openai_chat", 404, {"error": {"message": "The model 'other-1' does not exist.", "type": "invalid_request_error", "param": "tools[0].model", "code": "model_not_found"}}),
    ("openai_chat", 404, {"error": {"message": "The model 'other-1' does not exist.", "type": "invalid_request_error", "param": None, "code": "model_not_found"}}),
    ("openai_chat", 404, {"error": {"message": "No endpoints found that support image input", "code": 404}}),
    ("gemini_generate", 403, {"error": {"code": 403, "message": "CachedContent not found (or permission denied)", "status": "PERMISSION_DENIED"}}),
    ("gemini_generate", 403, {"error": {"code": 403, "message": "You do not have permission to access the File x or it may not exist.", "status": "PERMISSION_DENIED"}}),
    ("bedrock_converse", 404, {"__type": "ResourceNotFoundException", "message": "The guardrail g-1 was not found."}),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "status", "body"), FILES)
def test_files_and_the_like_that_are_not_there(dialect: str, status: int, body: object) -> None:
    error = told(dialect, status, body, {"model": "m-1", "tools": [{"type": "x", "model": "other-1"}]})
    assert (error.kind, error.code, error.status) == (K.OBJECT, "not_found", status)
    assert harmless(error)


OWN = [
    # keys, credit and models that providers tell with a status for wrong requests
    ("openai_responses", 400, {"code": "invalid-argument", "error": "Incorrect API key provided. You can obtain an API key elsewhere."}, K.AUTHENTICATION),
    ("openai_chat", 400, [{"error": {"code": 400, "message": "Bad.", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}], K.AUTHENTICATION),
    ("gemini_generate", 400, {"error": {"code": 400, "message": "API key expired. Renew it.", "status": "INVALID_ARGUMENT"}}, K.AUTHENTICATION),
    ("anthropic_messages", 400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low to go on."}}, K.PAYMENT),
    ("anthropic_messages", 400, {"error": {"type": "invalid_request_error", "message": "You have reached your specified API usage limits. More in June."}}, K.PAYMENT),
    ("anthropic_messages", 400, {"error": {"type": "invalid_request_error", "message": "This organization has been disabled."}}, K.PERMISSION),
    ("openai_chat", 400, {"error": {"message": "No.", "type": "Arrearage", "code": "Arrearage"}}, K.PAYMENT),
    ("openai_chat", 400, {"error": {"message": "Model Not Exist", "type": "invalid_request_error", "code": "invalid_request_error"}}, K.NOT_FOUND),
    ("openai_chat", 400, {"error": {"message": "m-1 is not a valid model ID", "code": 400}}, K.NOT_FOUND),
    ("openai_responses", 400, {"error": {"message": "No.", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}}, K.NOT_FOUND),
    ("bedrock_converse", 400, {"__type": "ValidationException", "message": "The provided model identifier is invalid."}, K.NOT_FOUND),
    ("bedrock_converse", 400, {"__type": "ValidationException", "message": "Invocation of model ID m-1 with on-demand throughput is no way."}, K.NOT_FOUND),
    ("bedrock_converse", 400, {"__type": "ThrottlingException", "message": "Rate exceeded"}, K.RATE_LIMIT),
    # models and addresses that are not there
    ("anthropic_messages", 404, {"error": {"type": "not_found_error", "message": "model: m-1"}}, K.NOT_FOUND),
    ("gemini_generate", 404, {"error": {"code": 404, "message": "models/m-1 is not found for API version v1, or so.", "status": "NOT_FOUND"}}, K.NOT_FOUND),
    ("gemini_generate", 404, {"error": {"code": 404, "message": "Publisher Model `projects/p/models/m-1` was not found.", "status": "NOT_FOUND"}}, K.NOT_FOUND),
    ("cohere_chat", 404, {"message": "model 'm-1' was removed on some day."}, K.NOT_FOUND),
    ("ollama_chat", 404, {"error": 'model "m-1" not found, try pulling it first'}, K.NOT_FOUND),
    ("openai_chat", 404, {"error": {"message": "No endpoints found for m-1.", "code": 404}}, K.NOT_FOUND),
    ("openai_chat", 404, {"detail": "Not Found"}, K.NOT_FOUND),
    ("openai_chat", 404, {"error": {"code": "404", "message": "Resource not found"}}, K.NOT_FOUND),
    ("openai_chat", 404, {"error": {"message": "Invalid URL (POST /v1/chat)"}}, K.NOT_FOUND),
    ("openai_chat", 404, {}, K.NOT_FOUND),
    ("bedrock_converse", 404, {"__type": "ResourceNotFoundException", "message": "This model version has reached the end of its life."}, K.NOT_FOUND),
    # statuses that say enough
    ("openai_chat", 405, {"detail": "Method Not Allowed"}, K.ADDRESS),
    ("anthropic_messages", 405, {"error": {"type": "invalid_request_error", "message": "Only GET is allowed."}}, K.ADDRESS),
    ("openai_chat", 429, {"error": {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}}, K.PAYMENT),
    ("openai_chat", 429, {"error": {"message": "The engine is overloaded", "type": "requests"}}, K.OVERLOADED),
    ("openai_chat", 403, {"error": {"message": "Insufficient balance."}}, K.PAYMENT),
    ("openai_chat", 500, {"error": {"message": "The server is overloaded"}}, K.OVERLOADED),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "status", "body", "kind"), OWN)
def test_what_providers_say_themselves_counts(dialect: str, status: int, body: object, kind: K) -> None:
    sent = {
        "model": "m-1",
        "messages": [{"role": "user", "content": "What is a credit balance or an API key?"}],
    }
    assert told(dialect, status, body, sent).kind is kind


def test_the_same_words_in_the_request_make_them_nobody_s() -> None:
    body = {"code": "invalid-argument", "error": "Incorrect API key provided. Obtain one."}
    mine = told("openai_chat", 400, body, {"model": "m-1", "INCORRECT  API-KEY provided": 1})
    assert (mine.kind, mine.code, mine.type) == (
        K.INVALID_REQUEST,
        "invalid_request",
        "invalid_request_error",
    )
    overloaded = {"error": {"message": "Sorry: 'server overloaded' is no city"}}
    assert told("openai_chat", 500, overloaded, {"messages": "server overloaded"}).kind is K.SERVER


@pytest.mark.parametrize(
    ("status", "message"), [(400, "Out of credits"), (422, "Unauthorized"), (403, "It is not so.")]
)
def test_beside_a_code_that_calls_the_request_wrong_others_are_asked(status: int, message: str) -> None:
    error = told("openai_chat", status, {"error": {"message": message, "type": "invalid_request_error"}}, {})
    assert (error.kind, verdict_of(error).reach, verdict_of(error).fared) == (
        K.INVALID_REQUEST,
        Reach.ANY,
        Fared.NEITHER,
    )


def test_a_wait_that_the_client_wrote_is_none() -> None:
    body = {"error": {"message": "Slow down, 'try again in 9h' is too much"}}
    assert told("openai_chat", 429, body, {}).retry_after_s == 32_400
    assert told("openai_chat", 429, body, {"messages": "Try again\nin 9h"}).retry_after_s is None


def test_inside_a_stream_names_go_before_words() -> None:
    body = {"error": {"type": "invalid_request_error", "message": "'rate limit', 'overloaded'"}}
    assert DIALECTS["openai_chat"].decode_error(200, {}, json.dumps(body).encode()).kind is K.INVALID_REQUEST
    plain = {"error": {"message": "say 'rate limit'"}}
    assert told("openai_chat", 200, plain, {}).kind is K.RATE_LIMIT
    assert told("openai_chat", 200, plain, {"messages": "rate limit"}).kind is K.SERVER


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": "Api KEY not valid"}',
        rb'{"a": "\u0061pi\u0020key not\nvalid"}',
        rb'{"a": "{\"b\": \"\\u0061pi key not valid\"}"}',
        '{"a": "api\u00a0key\u200b not valid"}'.encode(),
        b'{"a": "api%20key%20not%20valid"}',
        b'{"a": "api&nbsp;key&#32;not valid"}',
    ],
)
def test_words_are_found_however_they_are_written(text: bytes) -> None:
    assert quotes([b"{}", text], "api key not valid")
    assert not quotes([text], "api key expired")


def test_marks_without_end_are_read_in_pieces(monkeypatch):
    longest = 0

    def recorded(form, text):
        nonlocal longest
        longest = max(longest, sum(not char.isascii() for char in text))
        return unicodedata.normalize(form, text)

    monkeypatch.setattr(quoted, "normalize", recorded)
    text = "too many tokens " + "\u0300\u0316" * 100_000 + " \uff54\uff4f\uff4f \u0301"
    assert quotes([text.encode()], "too many tokens")
    assert not quotes([text.encode()], "too few tokens")
    assert 0 < longest <= 64
