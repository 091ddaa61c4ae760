"""Requests that are too large, malformed, absurd or ambiguous: refused with a reason, never a 500."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import WAIT_S, Gateway, body_of, status_of
from scripted_upstream import (
    CHUNKED,
    ScriptedUpstream,
    answers,
    chunk,
    http,
    whole,
)

GPT = "openai/gpt-4o-mini"


def chunked_body(size: int) -> Iterator[bytes]:
    for _ in range(0, size, 10_000):
        yield chunk(b" " * 10_000)
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("key", [None, "", "sk-lr-wrong"])
def test_a_declared_body_over_the_limit_is_refused_unread(small: Gateway, key: str | None) -> None:
    """Whoever asks: before the key is looked at, and without one byte of the body."""
    reply = small.raw(small.head(100_001, key=key))
    assert status_of(reply) == 413
    error = json.loads(reply.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == "payload_too_large"
    assert "100000 bytes" in error["message"]
    assert b"connection: close" in reply.lower()


def test_an_undeclared_body_over_the_limit_is_refused(small: Gateway) -> None:
    reply = small.raw(small.head(None, CHUNKED), *chunked_body(200_000))
    assert status_of(reply) == 413


@pytest.mark.parametrize("declared", [None, 40_000_000])
def test_whoever_sends_on_after_a_refusal_still_reads_it(small: Gateway, declared: int | None) -> None:
    """Far more than the buffers of both ends hold: closing at once would reset the connection."""
    blank = b" " * 1_000_000
    with socket.create_connection(("127.0.0.1", small.port), WAIT_S) as connection:
        head = small.head(declared) if declared else small.head(None, CHUNKED)
        connection.sendall(head)
        for _ in range(40):
            connection.sendall(blank if declared else chunk(blank))
        connection.sendall(b"" if declared else b"0\r\n\r\n")
        reply = b""
        while data := connection.recv(65536):
            reply += data
    assert status_of(reply) == 413
    assert reply.endswith(b"}")


def test_an_undeclared_body_without_a_key_is_not_read(small: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", small.port), WAIT_S) as connection:
        connection.sendall(small.head(None, CHUNKED, key="") + chunk(b"{"))
        assert status_of(connection.recv(65536)) == 401


def test_a_refused_body_is_not_taken_for_the_next_request(sandbox: Gateway) -> None:
    """The answer comes before the body does; then the connection goes on behind it."""
    inner = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 3000
    with socket.create_connection(("127.0.0.1", sandbox.port), WAIT_S) as connection:
        connection.sendall(sandbox.head(len(inner), key="sk-lr-wrong") + inner[:1000])
        assert status_of(connection.recv(65536)) == 401
        connection.sendall(inner[1000:] + b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        rest = b""
        while data := connection.recv(65536):
            rest += data
    assert rest.count(b"HTTP/1.1 ") == 1
    assert b'"status":"ready"' in rest


def test_a_client_that_waits_to_be_asked_for_its_body(sandbox: Gateway) -> None:
    body = body_of(GPT)
    with socket.create_connection(("127.0.0.1", sandbox.port), WAIT_S) as connection:
        connection.sendall(sandbox.head(len(body), "expect: 100-continue", "connection: close"))
        assert status_of(connection.recv(65536)) == 100
        connection.sendall(body)
        reply = b""
        while data := connection.recv(65536):
            reply += data
    assert status_of(reply) == 200


def test_a_body_at_the_limit_is_read(small: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    body = body_of("mo")
    padded = body[:-1] + b" " * (100_000 - len(body)) + b"}"
    assert small.send("POST", "/v1/chat/completions", padded).status == 200
    assert small.send("POST", "/v1/chat/completions", padded + b" ").status == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x"])
def test_compressed_bodies_are_refused(sandbox: Gateway, coding: str) -> None:
    body = gzip.compress(body_of(GPT))
    answer = sandbox.send("POST", "/v1/chat/completions", body, {"content-encoding": coding})
    assert answer.status == 415
    assert answer.error["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
def test_other_content_types_are_refused(sandbox: Gateway, kind: str) -> None:
    answer = sandbox.send("POST", "/v1/chat/completions", body_of(GPT), {"content-type": kind})
    assert answer.status == 415


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "application/vnd.x+json"]
)
def test_json_by_any_name_is_taken(sandbox: Gateway, kind: str) -> None:
    answer = sandbox.send("POST", "/v1/chat/completions", body_of(GPT), {"content-type": kind})
    assert answer.status == 200


GOOD = body_of(GPT).decode()
BAD_JSON: dict[str, bytes] = {
    "nothing": b"",
    "white space": b"  \n ",
    "null": b"null",
    "list": b"[]",
    "text": b'"hello"',
    "number": b"1",
    "half": GOOD[:-5].encode(),
    "trailing garbage": GOOD.encode() + b"x",
    "two objects": GOOD.encode() * 2,
    "nested lists": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "nested messages": b'{"model":"gpt-4o-mini","messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "nan": GOOD[:-1].encode() + b', "temperature": NaN}',
    "infinity": GOOD[:-1].encode() + b', "temperature": Infinity}',
    "1e999": GOOD[:-1].encode() + b', "temperature": 1e999}',
    "5000 digits": GOOD[:-1].encode() + b', "seed": ' + b"9" * 5000 + b"}",
    "invalid utf-8": GOOD.replace("hi", "h\xff").encode("latin-1"),
    "cut utf-8": GOOD.replace("hi", "h\xe2\x82").encode("latin-1"),
    "utf-8 of a surrogate": GOOD.encode().replace(b"hi", b"\xed\xa0\x80"),
    "utf-16": GOOD.encode("utf-16"),
    "utf-32": GOOD.encode("utf-32"),
    "a million elements": b'{"model":"gpt-4o-mini","messages":[' + b"1," * 999_999 + b"1]}",
    "control characters": GOOD.replace("hi", "h\x00i").encode(),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_400(sandbox: Gateway, name: str) -> None:
    answer = sandbox.send("POST", "/v1/chat/completions", BAD_JSON[name])
    assert answer.status == 400, answer.body[:300]
    assert answer.error["type"] == "invalid_request_error"
    assert len(answer.body) < 2000


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("hi", "\\ud800").encode(),
        GOOD.replace("hi", "\\ud83d\\ude00").encode(),
        GOOD[:-1].encode() + b', "metadata": {' + b",".join(b'"k%d": 1' % n for n in range(100_000)) + b"}}",
        GOOD[:-1].encode() + b', "model": "gpt-4o-mini"}',
        GOOD[:-1].encode() + b', "x": ' + b"[" * 900 + b"]" * 900 + b"}",
        GOOD[:-1].encode() + b', "x": "' + b"y" * 10_000_000 + b'"}',
    ],
    ids=["bom", "lone surrogate", "pair", "many keys", "model twice", "deep unknown member", "10 MB unknown text"],
)  # fmt: skip
@pytest.mark.parametrize("model", [GPT, "anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash"])
def test_odd_json_is_answered_or_400(sandbox: Gateway, body: bytes, model: str) -> None:
    body = body.replace(GPT.encode(), model.encode(), 1)
    answer = sandbox.send("POST", "/v1/chat/completions", body)
    assert answer.status in (200, 400), answer.body[:300]
    if answer.status == 400:
        assert answer.error["type"] == "invalid_request_error"


# Numbers and names.


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    "value",
    [
        "-1",
        "0",
        "1.5",
        "true",
        '"5"',
        "1e308",
        str(2**31),
        str(2**63),
        str(2**64),
        "1" + "0" * 400,
        "[]",
        "{}",
        "-0",
    ],
)
def test_token_limits_that_are_none(sandbox: Gateway, field: str, value: str) -> None:
    before = sandbox.credits()
    body = f'{GOOD[:-1]}, "{field}": {value}}}'.encode()
    answer = sandbox.send("POST", "/v1/chat/completions", body)
    assert answer.status == 400, answer.body[:300]
    assert sandbox.credits() == before


def test_contradictory_token_limits(sandbox: Gateway) -> None:
    answer = sandbox.chat(GPT, max_tokens=1, max_completion_tokens=100_000)
    assert answer.status == 400
    assert answer.error["param"] == "max_tokens"


def test_an_output_limit_is_reserved_for_every_choice(sandbox: Gateway) -> None:
    sandbox.command("credits.add", amount="0.01", account="choices")
    key = sandbox.new_key("choices", account="choices")
    assert sandbox.chat(GPT, key=key, max_tokens=1000).status == 200
    answer = sandbox.chat(GPT, key=key, max_tokens=1000, n=128)
    assert answer.status == 402
    assert Decimal(answer.error["needed"]) > Decimal("0.07")


@pytest.mark.parametrize(
    "model",
    [
        "", " ", "a b", "gpt-4o-mini\n", "gpt-4o-mini\u0000", "\uff47pt-4o", "gpt-4\u043e-mini", "gpt-4o\u200b-mini", "../../etc/passwd",
        "a" * 10_000, "'; DROP TABLE keys;--", "<script>alert(1)</script>", "%00", "{{7*7}}", "http://127.0.0.1/", "*", "-", "/", "gpt-4o-mini/",
    ],
)  # fmt: skip
def test_odd_model_names(sandbox: Gateway, model: str) -> None:
    mark = sandbox.log.mark()
    answer = sandbox.chat(model)
    assert answer.status in (400, 404), model
    assert answer.error["param"] == "model"
    assert len(answer.body) < 2000
    (line,) = sandbox.log.wait("gen-", mark)
    assert re.fullmatch(r"[!-~ ]*\n", line) or model.isprintable()
    assert len(line) < 400


@pytest.mark.parametrize("value", [None, 1, True, [], {}, ["gpt-4o-mini"]])
def test_a_model_that_is_no_text(sandbox: Gateway, value: Any) -> None:
    answer = sandbox.chat(value)
    assert answer.status == 400
    assert answer.error["param"] == "model"


# Paths and the HTTP layer.


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/", "/V1/chat/completions", "//v1/chat/completions", "/v1//chat/completions", "/v1/../v1/chat/completions",
        "/v1/chat/completions;x", "/v1/chat%2Fcompletions", "/v1/chat/completions%00", "/.env", "/../../etc/passwd", "/llm-router.db",
        "/%2e%2e/%2e%2e/etc/passwd", "/v1/completions/x", "/" + "a" * 20_000,
    ],
)  # fmt: skip
def test_other_paths_are_404_in_json(sandbox: Gateway, path: str) -> None:
    answer = sandbox.send("POST", path, body_of(GPT))
    assert answer.status == 404, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["code"] == "not_found"
    assert answer.error["request_id"] == answer.headers["x-request-id"]
    assert len(answer.body) < 1000


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_405(sandbox: Gateway, method: str) -> None:
    answer = sandbox.send(method, "/v1/chat/completions")
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert answer.error["code"] == "method_not_allowed"


def test_generations_of_odd_ids_are_not_found(sandbox: Gateway) -> None:
    for id_ in ("x", "%00", "%FF", "..%2f..", "a" * 299, "gen-'--", "%F0%9F%98%80"):
        assert sandbox.get(f"/v1/generations/{id_}").status == 404, id_


@pytest.mark.parametrize(
    "host", ["a/?", "a/#", "a@b", "", "a b", "[::1", "evil.example", "127.0.0.1:99999999", "x" * 5000]
)
def test_the_host_header_decides_nothing(sandbox: Gateway, host: str) -> None:
    """Authorised is the path of the request line."""
    lines = f"GET /v1/models HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    assert status_of(sandbox.raw(lines.encode())) in (400, 401)
    lines = f"GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    assert status_of(sandbox.raw(lines.encode())) in (200, 400)


@pytest.mark.parametrize(
    "target", ["http://x/healthz?/v1/models", "/healthz?/v1/models", "/healthz#/v1/models"]
)
def test_the_target_cannot_be_two_paths(sandbox: Gateway, target: str) -> None:
    reply = sandbox.raw(f"GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    assert status_of(reply) in (200, 400, 404)
    assert b"gpt-4o" not in reply


SMUGGLING = {
    "length and chunked": (b"content-length: 3\r\ntransfer-encoding: chunked", b"0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n"),
    "two lengths": (b"content-length: 3\r\ncontent-length: 40", b"{}\n"),
    "length with plus": (b"content-length: +3", b"{}\n"),
    "negative length": (b"content-length: -3", b"{}\n"),
    "length with letters": (b"content-length: 3a", b"{}\n"),
    "chunked twice": (b"transfer-encoding: chunked, chunked", b"0\r\n\r\n"),
    "unknown coding": (b"transfer-encoding: cow", b"{}"),
    "bad chunk size": (b"transfer-encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n"),
    "huge chunk size": (b"transfer-encoding: chunked", b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
    "bad chunk end": (b"transfer-encoding: chunked", b"2\r\n{}XX0\r\n\r\n"),
    "folded header": (b"x-a: b\r\n c: d\r\ncontent-length: 2", b"{}"),
    "NUL in a header": (b"x-a: b\x00c\r\ncontent-length: 2", b"{}"),
    "space before the colon": (b"content-length : 2", b"{}"),
}  # fmt: skip


@pytest.mark.parametrize("name", SMUGGLING)
def test_ambiguous_requests_are_refused_and_cut_off(sandbox: Gateway, name: str) -> None:
    headers, body = SMUGGLING[name]
    key = sandbox.key.encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + key + b"\r\n"
    reply = sandbox.raw(head + headers + b"\r\n\r\n" + body)
    assert status_of(reply) == 400
    assert reply.count(b"HTTP/1.1 ") == 1, "a second request was executed"
    assert b'"status":"ok"' not in reply


def test_a_request_inside_a_body_is_not_executed(sandbox: Gateway) -> None:
    inner = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    reply = sandbox.raw(sandbox.head(len(inner), "connection: close") + inner)
    assert status_of(reply) == 400
    assert reply.count(b"HTTP/1.1 ") == 1


def test_pipelined_requests_are_answered_in_order(sandbox: Gateway) -> None:
    body = body_of(GPT)
    first = sandbox.head(len(body)) + body
    reply = sandbox.raw(first + b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert reply.count(b"HTTP/1.1 200") == 2
    assert reply.index(b"chat.completion") < reply.index(b'"status":"ok"')
