"""Providers that fail before any content: what the client gets, what is charged, what is recorded.

Models: ``mX`` has one provider, ``fX`` a second one behind it; X names the provider's dialect.
A token costs $1 a million in and $2 out, so (10, 5) tokens come to 20 million picodollars.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from decimal import Decimal

import pytest
from gateway_kit import Gateway
from scripted_upstream import (
    CHUNKED,
    DIALECTS,
    LETTERS,
    Script,
    ScriptedUpstream,
    answers,
    error_body,
    good,
    head,
    http,
    sends_then_resets,
    whole,
)
from verdicts import assert_delivered, assert_no_secret, assert_refused

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=["openai", "anthropic", "gemini"])
both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


@dataclass(frozen=True)
class Fault:
    """A failure before content. ``kind``: how the attempt is recorded; ``status``: what the client sees."""

    script: Script
    kind: str
    status: int
    upstream_status: int | None = None
    falls_back: bool = True


def _status(
    dialect: str, status: int, kind: str, *, falls_back: bool = True, headers: tuple[str, ...] = ()
) -> Fault:
    reply = http(status, error_body(dialect, status, f"it failed with {status}"), *headers)
    return Fault(answers(reply), kind, status, status, falls_back)


HTML = b"<!DOCTYPE html><html><title>Just a moment...</title><body>Checking your browser</body></html>"
ELSEWHERE = "location: http://127.0.0.1:1/stolen"


def faults(dialect: str) -> dict[str, Fault]:
    """All failures before content, in the words of a dialect."""
    found = {
        "reset before the reply": Fault(sends_then_resets(), "provider_unavailable", 502),
        "closed before the reply": Fault(answers(), "provider_unavailable", 502),
        "closed in the head": Fault(answers(b"HTTP/1.1 200 OK\r\ncontent-ty"), "provider_unavailable", 502),
        "reset after the head": Fault(sends_then_resets(head(200, CHUNKED)), "truncated", 502, 200),
        "no HTTP": Fault(answers(b"SSH-2.0-OpenSSH_9.2\r\n"), "malformed", 502),
        "two lengths": Fault(
            answers(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabcde"), "malformed", 502
        ),
        "endless head": Fault(answers(b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 30_000), "malformed", 502),
        "status 700": Fault(answers(http(700, b"{}")), "malformed", 502),
        "html": Fault(answers(http(200, HTML, type_="text/html")), "malformed", 502, 200),
        "html as json": Fault(answers(http(200, HTML)), "malformed", 502, 200),
        "error in a 200": Fault(
            answers(http(200, error_body(dialect, 500, "internal server error"))),
            "server", 500 if dialect == "gemini_generate" else 502, 200,
        ),
        "json that is no reply": Fault(answers(http(200, b'{"ok": true}')), "malformed", 502, 200),
        "json cut off": Fault(answers(http(200, whole(dialect)[:-20])), "malformed", 502, 200),
        "deep json": Fault(answers(http(200, b'{"a":' * 100_000)), "malformed", 502, 200),
        "gzip bomb": Fault(
            answers(http(200, BOMB, "content-encoding: gzip")), "malformed", 502, 200
        ),
        "unasked coding": Fault(answers(http(200, b"x", "content-encoding: zstd")), "malformed", 502, 200),
        "redirect 301": Fault(answers(http(301, b"", ELSEWHERE)), "malformed", 502, 301),
        "redirect 307": Fault(answers(http(307, b"", ELSEWHERE)), "malformed", 502, 307),
        "redirect 308": Fault(answers(http(308, b"", ELSEWHERE)), "malformed", 502, 308),
        "401": _status(dialect, 401, "authentication"),
        "402": _status(dialect, 402, "payment_required"),
        "403": _status(dialect, 403, "permission_denied"),
        "404": _status(dialect, 404, "object_not_found"),
        "404 of the address": Fault(
            answers(http(404, error_body(dialect, 404, "Not Found"))), "not_found", 404, 404
        ),
        "405": Fault(
            answers(http(405, error_body(dialect, 405, "Method Not Allowed"))), "address_refused", 502, 405
        ),
        "408": _status(dialect, 408, "timeout"),
        "429": _status(dialect, 429, "rate_limit_exceeded", headers=("retry-after: 3",)),
        "500": _status(dialect, 500, "server"),
        "502": _status(dialect, 502, "provider_unavailable"),
        "503": _status(dialect, 503, "provider_overloaded"),
        "504": _status(dialect, 504, "timeout"),
        "529": _status(dialect, 529, "provider_overloaded"),
        "400": _status(dialect, 400, "invalid_request", falls_back=False),
        "413": _status(dialect, 413, "payload_too_large"),
        "422": _status(dialect, 422, "invalid_request", falls_back=False),
        "500 without a body": Fault(answers(http(500, b"")), "server", 500, 500),
        "503 in html": Fault(answers(http(503, HTML, type_="text/html")), "provider_overloaded", 503, 503),
        "500 cut off": Fault(
            answers(b"HTTP/1.1 500 X\r\ncontent-length: 99\r\n\r\n{"), "server", 500, 500
        ),
        "500 without end": Fault(
            answers(head(500, type_="text/plain"), *[b"x" * 65536] * 8), "server", 500, 500
        ),
    }  # fmt: skip
    return found


def test_an_address_that_takes_no_such_request_is_told_as_the_operators_to_mend(
    hostile: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.play("o1", answers(http(405, b'{"detail":"Method Not Allowed"}')))
    error = hostile.ask(False, "mo").error
    assert error["code"] == "upstream_address"
    assert "your own request is fine" in error["message"]
    assert "mend base_url or dialect of providers." in error["message"]


BOMB = gzip.compress(b" " * (80 * 1024 * 1024), 6)
"""80 MiB in 80 kB: more than a reply may have."""
FAULTS = [*faults("openai_chat"), "empty 200"]


def _empty(streamed: bool) -> Fault:
    """A 200 with nothing in it: a stream was cut, a whole reply is none."""
    return Fault(answers(http(200, b"")), "truncated" if streamed else "malformed", 502, 200)


def fault_named(name: str, dialect: str, streamed: bool) -> Fault:
    return _empty(streamed) if name == "empty 200" else faults(dialect)[name]


@every_dialect
@both_ways
@pytest.mark.parametrize("name", FAULTS)
def test_a_failure_before_content_is_an_http_error_and_free(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool, name: str
) -> None:
    letter = LETTERS[dialect]
    fault = fault_named(name, dialect, streamed)
    upstream.play(f"{letter}1", fault.script)
    before = hostile.credits()
    answer = hostile.ask(streamed, f"m{letter}")
    assert_refused(answer, fault.status)
    record = hostile.generation(answer.id)
    (attempt,) = record["attempts"]
    assert (attempt["outcome"], attempt.get("status")) == ("failed", fault.upstream_status)
    assert attempt["error_kind"] in (fault.kind, "truncated" if streamed else fault.kind)
    assert record["status"] == fault.status
    assert record["cost_pusd"] == 0
    assert hostile.credits() == before
    assert len(upstream.requests) == 1
    assert_no_secret(answer, record)


@every_dialect
@both_ways
@pytest.mark.parametrize("name", FAULTS)
def test_a_second_provider_answers_unseen(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool, name: str
) -> None:
    letter = LETTERS[dialect]
    fault = fault_named(name, dialect, streamed)
    upstream.play(f"{letter}1", fault.script)
    upstream.play(f"{letter}2", good(dialect, streamed))
    before = hostile.credits()
    answer = hostile.ask(streamed, f"f{letter}")
    record = hostile.generation(answer.id)
    if not fault.falls_back:
        assert_refused(answer, fault.status)
        assert upstream.at(f"{letter}2") == []
        assert hostile.credits() == before
        return
    assert_delivered(answer, streamed)
    assert answer.headers["x-llm-router-provider"] == f"{letter}2"
    assert [a["outcome"] for a in record["attempts"]] == ["failed", "delivered"]
    assert record["cost_pusd"] == 20_000_000
    assert before - hostile.credits() == Decimal("0.00002")
    assert_no_secret(answer, record)


@every_dialect
@both_ways
def test_a_refused_connection(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}2", good(dialect, streamed))
    answer = hostile.ask(streamed, f"d{letter}")
    assert_delivered(answer, streamed)
    first = hostile.generation(answer.id)["attempts"][0]
    assert (first["error_kind"], first.get("status")) == ("provider_unavailable", None)


@every_dialect
@both_ways
def test_when_all_fail_the_last_one_s_error_is_told(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}1", faults(dialect)["503"].script)
    upstream.play(f"{letter}2", faults(dialect)["429"].script)
    answer = hostile.ask(streamed, f"f{letter}")
    assert_refused(answer, 429)
    assert answer.headers["retry-after"] == "3"
    assert len(hostile.generation(answer.id)["attempts"]) == 2


# Retry-After.


@every_dialect
@both_ways
@pytest.mark.parametrize(
    ("headers", "message", "expected"),
    [
        (("retry-after: 7",), "slow down", "7"),
        (("retry-after: 0.2",), "slow down", "1"),
        (("retry-after-ms: 1500", "retry-after: 9"), "slow down", "2"),
        (("retry-after: Sun, 06 Nov 2094 08:49:37 GMT", "date: Sun, 06 Nov 2094 08:49:07 GMT"), "slow down", "30"),
        (("retry-after: Sun, 06 Nov 2094 08:49:37 GMT", "date: Sun, 06 Nov 2093 08:49:07 GMT"), "slow down", "120"),
        (("retry-after: 86400",), "slow down", "120"),
        (("retry-after: -5",), "slow down", None),
        (("retry-after: NaN",), "slow down", None),
        (("retry-after: 1e400",), "slow down", None),
        (("retry-after: soon",), "slow down", None),
        ((), "Rate limit reached. Please try again in 6.5s.", "7"),
        ((), "slow down", None),
    ],
)  # fmt: skip
def test_every_form_of_retry_after(
    hostile: Gateway,
    upstream: ScriptedUpstream,
    dialect: str,
    streamed: bool,
    headers: tuple[str, ...],
    message: str,
    expected: str | None,
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}1", answers(http(429, error_body(dialect, 429, message), *headers)))
    answer = hostile.ask(streamed, f"m{letter}")
    assert_refused(answer, 429)
    assert answer.error["code"] == "rate_limit_exceeded"
    assert answer.headers.get("retry-after") == expected
