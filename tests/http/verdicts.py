"""What a reply must be: an error of ours, a whole answer, or a stream that says that it failed."""

from __future__ import annotations

from typing import Any

from gateway_kit import Answer, Streamed
from scripted_upstream import SECRETS

FORWARDED = {
    "date", "content-type", "content-length", "transfer-encoding", "connection", "cache-control",
    "retry-after", "retry-after-ms", "x-should-retry", "x-accel-buffering", "x-request-id", "x-generation-id",
    "x-llm-router-model", "x-llm-router-provider", "x-llm-router-losses",
    "x-llm-router-native-finish-reason", "openai-version", "openai-processing-ms", "request-id",
}  # fmt: skip
"""All headers that a reply may have here, whatever the provider sends."""


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
