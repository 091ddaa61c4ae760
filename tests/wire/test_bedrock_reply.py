"""Whole replies of Bedrock, its errors, and its addresses."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import bedrock_kit as kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire import chat
from llm_router.wire.dialect import Bill, Dialect, ReplyContext
from llm_router.wire.dialects.bedrock_converse import DIALECT
from llm_router.wire.dialects.registry import DIALECTS

FRONTS = [dialect for dialect in DIALECTS.values() if isinstance(dialect, Dialect)]


def body(*content: dict[str, Any], **members: Any) -> bytes:
    return json.dumps(
        {
            "output": {"message": {"role": "assistant", "content": list(content)}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 12, "outputTokens": 7, "totalTokens": 19},
            "metrics": {"latencyMs": 5},
            **members,
        }
    ).encode()


def parts(*content: dict[str, Any]) -> tuple[chat.Part, ...]:
    return DIALECT.decode_reply(body(*content)).choices[0].parts


def test_arguments_keep_their_bytes() -> None:
    raw = body().replace(
        b'"content": []',
        b'"content": [{"toolUse": {"toolUseId":"t","name":"f","input":{"n": 7.0, "b":1e3}}}]',
    )
    (call,) = DIALECT.decode_reply(raw).choices[0].parts
    assert call == chat.ToolCall(id="t", name="f", arguments='{"n": 7.0, "b":1e3}')


@pytest.mark.parametrize(
    "block",
    [
        {"toolUse": {"toolUseId": "s", "name": "x", "input": {}, "type": "server_tool_use"}},
        {"toolResult": {"toolUseId": "s", "content": []}},
        {"hologram": {"bytes": "AA=="}},
        {"text": 7},
        {"toolUse": {"toolUseId": "t"}},
        {"reasoningContent": {"novelty": 1}},
        {"citationsContent": {"content": [{"picture": 1}]}},
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k"}}}},
        {},
    ],
)
def test_what_has_no_word_is_kept_verbatim(block: dict[str, Any]) -> None:
    (part,) = parts(block)
    assert isinstance(part, chat.Opaque)
    assert part.dialect == "bedrock_converse"
    assert json.loads(bytes(part.raw)) == block


def test_an_image_of_the_model() -> None:
    (part,) = parts({"image": {"format": "webp", "source": {"bytes": "UklG"}}})
    assert part == chat.Media(form="image", data="UklG", media_type="image/webp", origin="bedrock_converse")


@pytest.mark.parametrize(
    ("native", "calls", "finish"),
    [
        ("end_turn", False, "stop"), ("end_turn", True, "tool_calls"), ("tool_use", True, "tool_calls"),
        ("tool_use", False, "stop"), ("max_tokens", True, "length"), ("stop_sequence", True, "stop"),
        ("model_context_window_exceeded", False, "length"), ("guardrail_intervened", False, "content_filter"),
        ("content_filtered", False, "content_filter"), ("a_new_reason", False, "stop"), (None, False, "stop"),
    ],
)  # fmt: skip
def test_the_finish(native: str | None, calls: bool, finish: str) -> None:
    block = {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}} if calls else {"text": "x"}
    (choice,) = DIALECT.decode_reply(body(block, stopReason=native)).choices
    assert (choice.finish.value, choice.native_finish) == (finish, native)


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_an_end_that_is_a_failure(reason: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_reply(body({"text": "x"}, stopReason=reason))
    assert (caught.value.kind, caught.value.native_code) == (UpstreamKind.MALFORMED, reason)


def test_counts_that_cannot_be_true_are_flagged() -> None:
    reply = DIALECT.decode_reply(body({"text": "x"}, usage={"inputTokens": -3, "outputTokens": 2}))
    assert (reply.usage, reply.flags) == (None, ("usage_invalid",))
    silent = DIALECT.decode_reply(body({"text": "x"}, usage=None))
    assert (silent.usage, silent.flags) == (None, ())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{}", b"<html>", b'{"output":{}}', b"\xff", b'{"output":[1]}']
)
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_reply(data)
    assert caught.value.kind is UpstreamKind.MALFORMED


def test_an_error_in_place_of_a_reply() -> None:
    wrapped = {"Output": {"__type": "com.amazon.coral.service#UnknownOperationException"}, "Version": "1.0"}
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_reply(json.dumps(wrapped).encode())
    assert caught.value.kind is UpstreamKind.NOT_FOUND
    with pytest.raises(UpstreamError) as caught:
        DIALECT.decode_reply(b'{"message": "The security token included in the request is invalid."}')
    assert caught.value.kind is UpstreamKind.AUTHENTICATION


@settings(max_examples=100)
@given(data=st.binary(max_size=80), cut=st.integers(0, 400))
def test_garbage_is_an_error_of_the_provider(data: bytes, cut: int) -> None:
    for given_ in (data, body({"text": "x"})[:cut], body({"text": "x"})[:cut] + data):
        with suppress(UpstreamError):
            DIALECT.decode_reply(given_)


def _header(name: str) -> dict[str, str]:
    return {
        "x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/",
        "x-amzn-requestid": "r-1",
    }


@pytest.mark.parametrize(
    ("status", "name", "message", "kind"),
    [
        (400, "ValidationException", "The provided model identifier is invalid.", "NOT_FOUND"),
        (400, "ValidationException", "Input is too long for requested model.", "CONTEXT_LENGTH"),
        (400, "ValidationException", "Invocation of model ID a.b with on-demand throughput isn\u2019t supported.", "NOT_FOUND"),
        (400, "ValidationException", "messages.1.content: roles must alternate", "INVALID_REQUEST"),
        (400, "ServiceQuotaExceededException", "Too many requests of this model.", "RATE_LIMIT"),
        (403, "AccessDeniedException", "You don't have access to the model with the specified model ID.", "PERMISSION"),
        (403, "AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.", "AUTHENTICATION"),
        (403, "ExpiredTokenException", "The security token included in the request is expired", "AUTHENTICATION"),
        (403, "UnrecognizedClientException", "The security token is invalid.", "AUTHENTICATION"),
        (403, "InvalidSignatureException", "The request signature we calculated does not match.", "AUTHENTICATION"),
        (403, "MissingAuthenticationTokenException", "Missing Authentication Token", "AUTHENTICATION"),
        (404, "ResourceNotFoundException", "This model version has reached the end of its life.", "NOT_FOUND"),
        (408, "ModelTimeoutException", "Timed out.", "TIMEOUT"),
        (424, "ModelErrorException", "The model could not process it.", "SERVER"),
        (429, "ThrottlingException", "Too many tokens, please wait before trying again.", "RATE_LIMIT"),
        (429, "ModelNotReadyException", "The model is not ready.", "OVERLOADED"),
        (500, "InternalServerException", "Oops.", "SERVER"),
        (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", "OVERLOADED"),
        (413, "", "Too large", "PAYLOAD"),
    ],
)  # fmt: skip
def test_errors_by_their_kind(status: int, name: str, message: str, kind: str) -> None:
    error = DIALECT.decode_error(status, _header(name), json.dumps({"message": message}).encode())
    assert error.kind is UpstreamKind[kind]
    assert (error.status, error.native_type, error.message) == (status, name or None, message)
    assert error.details == {"upstream_request_id": "r-1"}


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b'{"__type":"com.amazon.coral.validate#ValidationException","Message":"No."}', "ValidationException", "No."),
        (b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"}}', "UnknownOperationException",
         "The provider reported UnknownOperationException."),
        (b"Service Unavailable", None, "Service Unavailable"),
        (b"<html><h1>502</h1></html>", None, "The provider answered with status 404 and no message."),
        (b"", None, "The provider answered with status 404 and no message."),
        (b"[]", None, "The provider answered with status 404 and no message."),
        (b'{"message": 7}', None, "The provider answered with status 404 and no message."),
    ],
)  # fmt: skip
def test_errors_in_other_shapes(data: bytes, name: str | None, message: str) -> None:
    error = DIALECT.decode_error(404, {}, data)
    assert (error.native_type, error.message) == (name, message)


def test_how_long_to_wait() -> None:
    error = DIALECT.decode_error(
        429, {"retry-after": "7", **_header("ThrottlingException")}, b'{"message":"x"}'
    )
    assert error.retry_after_s == 7
    told = b'{"message":"Too many requests, try again in 3 s."}'
    assert DIALECT.decode_error(429, _header("ThrottlingException"), told).retry_after_s == 3


def test_no_error_shows_a_credential() -> None:
    said = {"message": "The key AKIAEXAMPLE0EXAMPLE0 and ABSK-Qm9ndXNrZXk are unknown"}
    message = DIALECT.decode_error(403, {}, json.dumps(said).encode()).message
    assert "AKIA" not in message
    assert "Qm9n" not in message


@settings(max_examples=100)
@given(status=st.integers(100, 599), headers=st.dictionaries(
    st.sampled_from(["x-amzn-errortype", "retry-after", "x-amzn-requestid"]), st.text(max_size=20)), data=st.binary(max_size=60))  # fmt: skip
def test_an_error_is_read_whatever_it_is(status: int, headers: dict[str, str], data: bytes) -> None:
    assert DIALECT.decode_error(status, headers, data).message


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("amazon.nova-pro-v1:0", "/model/amazon.nova-pro-v1%3A0/converse"),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/ab1",
         "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fab1/converse"),
    ],
)  # fmt: skip
def test_the_address_of_a_model(model: str, path: str) -> None:
    base = "https://bedrock-runtime.us-east-1.amazonaws.com"
    assert DIALECT.upstream_url(base, "chat", model, False) == base + path
    assert DIALECT.upstream_url(base + "/", "chat", model, True) == base + path + "-stream"


def test_an_operation_that_it_does_not_have() -> None:
    with pytest.raises(ValueError, match="embed"):
        DIALECT.upstream_url("https://h", "embed", "m", False)


def test_the_stream_is_asked_for_in_its_framing() -> None:
    assert dict(DIALECT.upstream_headers(True)) == {"accept": "application/vnd.amazon.eventstream"}
    assert dict(DIALECT.upstream_headers(False)) == {"accept": "application/json"}


@pytest.mark.parametrize("front", FRONTS, ids=[front.name for front in FRONTS])
@pytest.mark.parametrize("name", list(kit.STREAMS))
def test_every_client_reads_a_whole_reply(front: Dialect, name: str) -> None:
    reply = DIALECT.decode_reply(json.dumps(kit.assembled(kit.STREAMS[name]["events"])).encode())
    bill = Bill(usage=reply.usage, cost_pusd=1, credits_remaining_pusd=2)
    data, _ = front.encode_reply(reply, ReplyContext(reply_id="r", model="m", created_s=1), bill)
    mine, theirs = kit.told(reply), kit.told(front.decode_reply(data))
    assert theirs["text"] == mine["text"]
    assert theirs["finish"] == mine["finish"]
    assert [call[1:] for call in theirs["calls"]] == [call[1:] for call in mine["calls"]]
