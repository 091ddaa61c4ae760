"""Clients that leave, stall, overload and lie. Afterwards no credit is held and the next request works."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from gateway_kit import WAIT_S, Answer, Gateway, chat_body, until
from scripted_upstream import (
    CHUNKED,
    DIALECTS,
    LETTERS,
    Peer,
    ScriptedUpstream,
    answers,
    chunk,
    config_for,
    frames,
    head,
    http,
    stalls,
    whole,
)

GPT = "openai/gpt-4o-mini"
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=["openai", "anthropic", "gemini"])
both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])

MORE = """
[server]
heartbeat_s = 0.2
body_bytes_max = 100000
concurrency_max = 12
"""


@pytest.fixture(scope="module")
def small(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with low limits and a quick heartbeat, before the scripted upstreams."""
    timeouts = {"connect_s": 5, "first_byte_s": 20, "idle_s": 20, "total_s": 60}
    config = MORE + config_for(scripted, timeouts).replace("[server]\nheartbeat_s = 0\n", "")
    config += f'[fetch]\nallow_hosts = ["127.0.0.1:{scripted.port}"]\nbytes_max = 100000\ntimeout_s = 5\n'
    gateway = Gateway(tmp_path_factory.mktemp("small"), config=config)
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def unfetching(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that fetches nothing."""
    config = config_for(scripted, {"total_s": 60}) + "[fetch]\nenabled = false\n"
    gateway = Gateway(tmp_path_factory.mktemp("unfetching"), config=config)
    yield gateway
    assert gateway.stop() == 0


def body_of(model: str, **members: Any) -> bytes:
    return json.dumps(chat_body(model, **members)).encode()


def record_of_log(gateway: Gateway, line: str) -> Any:
    return gateway.generation(line.split()[0])


# Clients that leave.


def test_leaving_before_the_body_is_whole(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    before = hostile.credits()
    body = body_of("mo")
    for size in range(0, len(body), 7):
        with socket.create_connection(("127.0.0.1", hostile.port), WAIT_S) as connection:
            connection.sendall(hostile.head(len(body)) + body[:size])
    assert_alive(hostile, upstream)
    assert len(upstream.requests) == 1
    assert before - hostile.credits() == Decimal("0.00002")


def assert_alive(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """The next request works, at its price."""
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    assert gateway.chat("mo").status == 200


@every_dialect
@both_ways
def test_leaving_while_the_provider_thinks(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str, streamed: bool
) -> None:
    letter = LETTERS[dialect]
    upstream.play(f"{letter}1", stalls())
    before, mark = hostile.credits(), hostile.log.mark()
    with socket.create_connection(("127.0.0.1", hostile.port), WAIT_S) as connection:
        body = body_of(f"m{letter}", stream=streamed)
        connection.sendall(hostile.head(len(body)) + body)
        upstream.wait(1)
    assert upstream.requests[0].gone.wait(WAIT_S), "the call to the provider was not given up"
    (line,) = hostile.log.wait("client_gone", mark)
    record = record_of_log(hostile, line)
    assert record["status"] == 499
    assert record["client_gone"] is True
    assert record["cost_pusd"] == 0
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["aborted"]
    assert hostile.credits() == before


@every_dialect
def test_leaving_in_the_middle_of_a_stream(
    hostile: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    """The provider's work ends, and what was delivered is charged, marked as estimated."""
    letter = LETTERS[dialect]
    events = frames(dialect, "The quick brown fox ", "jumps over the lazy dog", "and so on")
    upstream.play(f"{letter}1", stalls(head(200), *events[: len(events) // 2 + 1]))
    before, mark = hostile.credits(), hostile.log.mark()
    hostile.hang_up(body_of(f"m{letter}", stream=True), b"quick brown")
    assert upstream.wait(1)[0].gone.wait(WAIT_S)
    (line,) = hostile.log.wait("client_gone", mark)
    record = record_of_log(hostile, line)
    assert record["usage"]["provenance"] == "estimated"
    assert record["usage"]["prompt_tokens"] > 0
    assert record["usage"]["completion_tokens"] >= 4
    assert 0 < record["cost_pusd"] < 100_000_000
    assert before - hostile.credits() == Decimal(record["cost_pusd"]) / 10**12
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["aborted"]


def test_two_hundred_clients_that_leave_at_once(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    """At all moments: in the request, in the wait, in the stream. Then the books add up to the last."""
    count = 200
    upstream.play("o1", _half_a_stream)
    before, mark = hostile.credits(), hostile.log.mark()

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", hostile.port)
        body = body_of("mo", stream=number % 5 != 0, text=f"request {number}")
        writer.write(hostile.head(len(body)) + body)
        await writer.drain()
        if number % 4 == 1:
            await reader.readuntil(b"\r\n\r\n")
        if number % 4 == 2:
            await reader.readuntil(b"one")
        if number % 4 == 3:
            await reader.readuntil(b"[DONE]")
        writer.close()

    async def main() -> None:
        results = await asyncio.gather(*(one(n) for n in range(count)), return_exceptions=True)
        assert [r for r in results if isinstance(r, Exception) and not isinstance(r, EOFError)] == []

    asyncio.run(main())
    lines = hostile.log.wait("gen-", mark, count)
    records = [record_of_log(hostile, line) for line in lines]
    assert len({record["id"] for record in records}) == count
    cost = sum(record["cost_pusd"] for record in records)
    assert before - hostile.credits() == Decimal(cost) / 10**12
    assert any(record.get("client_gone") for record in records)
    assert_alive(hostile, upstream)


async def _half_a_stream(peer: Peer) -> None:
    """One word, and the rest after a moment; whole replies likewise."""
    if peer.seen.json.get("stream"):
        events = frames("openai_chat", "one ", "two ", "three")
        await peer.send(head(200), *events[:2])
        await asyncio.sleep(0.05)
        await peer.send(*events[2:])
    else:
        await asyncio.sleep(0.05)
        await peer.send(http(200, whole("openai_chat", "one [DONE]")))


def test_a_slow_reader_slows_the_provider_and_loses_nothing(
    hostile: Gateway, upstream: ScriptedUpstream
) -> None:
    """The gateway does not store what the client does not read."""
    blocked = threading.Event()
    sent = 0
    piece = frames("openai_chat", "x" * 50_000)[1]
    count = 1200  # 60 MB

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.send(head(200), frames("openai_chat")[0])
        for _ in range(count):
            task = asyncio.ensure_future(peer.send(piece))
            done, _ = await asyncio.wait([task], timeout=1)
            if not done:
                blocked.set()
                await task
            sent += len(piece)
        await peer.send(*frames("openai_chat")[-3:])

    upstream.play("o1", script)
    with socket.create_connection(("127.0.0.1", hostile.port), WAIT_S) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        body = body_of("mo", stream=True)
        connection.sendall(hostile.head(len(body), "connection: close") + body)
        assert blocked.wait(WAIT_S), "the provider was never slowed down"
        assert sent < 20_000_000, f"{sent} bytes were taken from the provider and stored"
        received = 0
        tail = b""
        while data := connection.recv(1 << 20):
            received += len(data)
            tail = (tail + data)[-4096:]
    assert b"[DONE]" in tail
    assert received > count * 50_000


# Bodies.


def chunked_body(size: int) -> Iterator[bytes]:
    for _ in range(0, size, 10_000):
        yield chunk(b" " * 10_000)
    yield b"0\r\n\r\n"


def status_of(reply: bytes) -> int:
    assert reply.startswith(b"HTTP/1.1 "), reply[:200]
    return int(reply[9:12])


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


# Pictures by URL, to providers that take only bytes.


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000" + "1f15c489" + "0000000049454e44ae426082"
)


def picture(url: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": url}}]


@every_dialect
def test_a_picture_of_an_allowed_host_is_fetched_and_sent_as_bytes(
    small: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]
    upstream.play("img", answers(http(200, PNG, type_="image/png")))
    upstream.play(f"{letter}1", answers(http(503, b"{}")))
    upstream.play(f"{letter}2", answers(http(200, whole(dialect))))
    answer = small.chat(f"f{letter}", picture(f"http://127.0.0.1:{upstream.port}/img/cat.png"))
    assert answer.status == 200, answer.body
    assert len(upstream.at("img")) == 1, "fetched once for both attempts"
    assert "authorization" not in upstream.at("img")[0].headers
    sent = upstream.at(f"{letter}2")[0].body
    assert base64.b64encode(PNG) in sent
    assert b"cat.png" not in sent


FETCH_FAULTS: dict[str, bytes] = {
    "not there": http(404, b""),
    "a redirect": http(302, b"", "location: http://127.0.0.1:1/"),
    "too large": http(200, PNG + b"x" * 200_000, type_="image/png"),
    "no picture": http(200, b"<html>", type_="text/html"),
    "empty": http(200, b"", type_="image/png"),
    "broken off": b"HTTP/1.1 200 X\r\ncontent-type: image/png\r\ncontent-length: 99\r\n\r\n" + PNG,
}


@pytest.mark.parametrize("name", FETCH_FAULTS)
def test_a_picture_that_cannot_be_had_is_400(small: Gateway, upstream: ScriptedUpstream, name: str) -> None:
    upstream.play("img", answers(FETCH_FAULTS[name]))
    before = small.credits()
    answer = small.chat("ma", picture(f"http://127.0.0.1:{upstream.port}/img/cat.png"))
    assert answer.status == 400, answer.body
    assert upstream.at("a1") == []
    assert small.credits() == before


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/img/x", "http://[::1]/x", "http://2130706433/x", "https://localhost/x"]
)
def test_other_private_addresses_are_not_fetched(
    hostile: Gateway, upstream: ScriptedUpstream, url: str
) -> None:
    answer = hostile.chat("ma", picture(url.format(port=upstream.port)))
    assert answer.status == 400
    assert upstream.requests == []


@every_dialect
def test_without_fetching_a_url_is_refused(
    unfetching: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]
    upstream.play("img", answers(http(200, PNG, type_="image/png")))
    upstream.play(f"{letter}1", answers(http(200, whole(dialect))))
    answer = unfetching.chat(f"m{letter}", picture(f"http://127.0.0.1:{upstream.port}/img/cat.png"))
    assert answer.status == 400, answer.body
    assert upstream.requests == []


# Keys.


BAD_KEYS = {
    "short": "x",
    "a megabyte": "sk-lr-" + "a" * 1_000_000,
    "sql": "' OR 1=1--",
    "template": "{{7*7}}${7*7}",
    "latin": "sk-lr-\xe9\xff",
    "two words": "sk-lr-abc sk-lr-def",
    "well formed": "sk-lr-" + "A" * 43,
    "tab": "sk\tlr",
    "quotes": '"sk-lr-a"',
    "comma": "a, b",
}


def same_body(answer: Answer) -> str:
    return json.dumps({**answer.error, "request_id": None}, sort_keys=True)


def test_bad_keys_are_refused_all_alike(sandbox: Gateway) -> None:
    mark = sandbox.log.mark()
    bodies = set()
    body = body_of(GPT)
    for key in BAD_KEYS.values():
        headers = {"authorization": f"Bearer {key}".encode("latin-1").decode("latin-1")}
        answer = sandbox.send("POST", "/v1/chat/completions", body, headers, key="")
        assert answer.status == 401, key[:20]
        assert answer.error["code"] == "invalid_api_key"
        bodies.add(same_body(answer))
    for header in ("Basic c2s6", "bearer", "Bearer", "token abc"):
        answer = sandbox.send("POST", "/v1/chat/completions", body, {"authorization": header}, key="")
        assert answer.status == 401, header
        if answer.error["code"] == "invalid_api_key":
            bodies.add(same_body(answer))
    assert len(bodies) == 1
    shown = "".join(sandbox.log.lines[mark:])
    assert not any(key in shown for key in BAD_KEYS.values() if len(key) > 5)


def test_the_scheme_is_read_in_any_case(sandbox: Gateway) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        headers = {"authorization": f"{scheme} {sandbox.key}"}
        assert sandbox.send("GET", "/v1/models/gpt-4o-mini", None, headers, key="").status == 200
    for name in ("x-api-key", "x-goog-api-key", "api-key"):
        assert sandbox.send("GET", "/v1/models/gpt-4o-mini", None, {name: sandbox.key}, key="").status == 200


def test_a_second_authorization_header_is_no_second_chance(sandbox: Gateway) -> None:
    head = f"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer wrong\r\nauthorization: Bearer {sandbox.key}\r\n\r\n"
    assert status_of(sandbox.raw(head.encode())) == 401


def test_no_key_says_how_to_send_one(sandbox: Gateway) -> None:
    answer = sandbox.chat(GPT, key="")
    assert answer.status == 401
    assert answer.error["code"] == "missing_api_key"
    assert "Authorization: Bearer" in answer.error["message"]


def test_a_key_in_the_query_is_for_gemini_s_routes_alone_and_never_logged(sandbox: Gateway) -> None:
    key = sandbox.new_key("query")
    mark = sandbox.log.mark()
    body = json.dumps({"contents": [{"parts": [{"text": "hi"}]}]}).encode()
    good = sandbox.send("POST", f"/v1beta/models/gemini-2.5-flash:generateContent?key={key}", body, key="")
    assert good.status == 200
    wrong = sandbox.send("POST", f"/v1/chat/completions?key={key}", body_of(GPT), key="")
    assert wrong.status == 401
    sandbox.send("GET", f"/nowhere/{key}?key={key}", key="")
    answer = sandbox.send("POST", f"/v1beta/models/none:generateContent?key={key}", body, key="")
    assert key.encode() not in answer.body
    sandbox.log.wait("gen-", mark, 3)
    assert key not in sandbox.log.text


def test_a_revoked_key_is_refused_at_once(sandbox: Gateway) -> None:
    made = sandbox.command("keys.create", name="short-lived")
    assert sandbox.chat(GPT, key=made["key"]).status == 200
    sandbox.command("keys.revoke", id=made["id"])
    answer = sandbox.chat(GPT, key=made["key"])
    assert answer.status == 401
    assert answer.error["code"] == "invalid_api_key"


def test_an_expired_key_is_refused(sandbox: Gateway) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=2)
    made = sandbox.command("keys.create", name="expiring", expires=soon.isoformat(timespec="seconds"))
    assert sandbox.chat(GPT, key=made["key"]).status == 200
    until(lambda: sandbox.get("/v1/models/gpt-4o-mini", key=made["key"]).status == 401)
    assert sandbox.chat(GPT, key=made["key"]).error["code"] == "invalid_api_key"


def test_the_allow_list_holds_for_every_name_of_a_model(sandbox: Gateway) -> None:
    key = sandbox.new_key("only-mini", models=["gpt-4o-mini", "claude-haiku-*"])
    for name in ("gpt-4o-mini", "openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18", "claude-haiku-4-5"):
        assert sandbox.chat(name, key=key).status == 200, name
    for name in ("gpt-4o", "openai/gpt-4o", "gpt-4o-2024-08-06", "anthropic/claude-sonnet-4-5", "GPT-4O"):
        answer = sandbox.chat(name, key=key)
        assert answer.status == 403, name
        assert answer.error["code"] == "model_not_allowed"
        assert answer.error["param"] == "model"
    listed = {m["id"] for m in sandbox.get("/v1/models", key=key).json["data"]}
    assert "gpt-4o-mini" in listed
    assert "gpt-4o" not in listed
    assert sandbox.get("/v1/models/gpt-4o", key=key).status == 404


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


# Limits.


def held_open(
    gateway: Gateway, upstream: ScriptedUpstream, count: int, key: str | None = None
) -> list[socket.socket]:
    """So many requests that wait for their provider."""
    upstream.play("o1", stalls())
    body = body_of("mo")
    open_: list[socket.socket] = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", gateway.port), WAIT_S)
        connection.sendall(gateway.head(len(body), key=key) + body)
        open_.append(connection)
    upstream.wait(count)
    return open_


def test_too_many_requests_at_once_are_refused_at_once(small: Gateway, upstream: ScriptedUpstream) -> None:
    mark = small.log.mark()
    connections = held_open(small, upstream, 12)
    answer = small.chat("mo")
    assert answer.status == 503
    assert answer.error["code"] == "overloaded"
    assert answer.headers["retry-after"] == "1"
    assert small.get("/v1/models").status == 200, "only inference is limited"
    for connection in connections:
        connection.close()
    small.log.wait("client_gone", mark, 12)
    assert_alive(small, upstream)


def test_the_concurrency_of_a_key_is_limited(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    key = hostile.new_key("two", concurrency=2)
    mark = hostile.log.mark()
    connections = held_open(hostile, upstream, 2, key)
    answer = hostile.chat("mo", key=key)
    assert answer.status == 429
    assert answer.error["code"] == "rate_limit_exceeded"
    assert answer.headers["retry-after"] == "1"
    assert len(upstream.requests) == 2
    for connection in connections:
        connection.close()
    hostile.log.wait("client_gone", mark, 2)
    upstream.play("o1", answers(http(200, whole("openai_chat"))))
    assert [hostile.chat("mo", key=key).status for _ in range(5)] == [200] * 5


def test_requests_a_minute(sandbox: Gateway) -> None:
    key = sandbox.new_key("rpm", requests_per_minute=3)
    left = []
    for _ in range(3):
        answer = sandbox.chat(GPT, key=key)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        left.append(answer.headers["x-ratelimit-remaining-requests"])
    assert left == ["2", "1", "0"]
    refused = sandbox.chat(GPT, key=key)
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert "3 requests a minute" in refused.error["message"]
    assert sandbox.chat(GPT).status == 200, "another key has its own window"


def test_tokens_a_minute(sandbox: Gateway) -> None:
    key = sandbox.new_key("tpm", tokens_per_minute=500)
    assert sandbox.chat(GPT, key=key, max_tokens=400).status == 200
    answer = sandbox.chat(GPT, key=key, max_tokens=10_000)
    assert answer.status == 429
    assert answer.headers["x-ratelimit-limit-tokens"] == "500"
    # The first one gave back what it did not use.
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) > 300


def test_the_last_credit_is_taken_once(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    """Sixty requests at once, with credit for three: three pass."""
    release = asyncio.Event()

    async def script(peer: Peer) -> None:
        await release.wait()
        await peer.send(http(200, whole("openai_chat")))

    upstream.play("o1", script)
    account = "last"
    probe = hostile.new_key("empty", account="empty-one")
    needed = Decimal(hostile.chat("mo", key=probe, max_tokens=1000).error["needed"])
    hostile.command("credits.add", amount=str(needed * 3), account=account)
    key = hostile.new_key(account, account=account)
    body = body_of("mo", max_tokens=1000)
    statuses: list[int] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", hostile.port)
        writer.write(hostile.head(len(body), "connection: close", key=key) + body)
        reply = await reader.read()
        statuses.append(status_of(reply))
        if statuses.count(402) == 57:
            upstream._loop.call_soon_threadsafe(release.set)
        writer.close()

    async def main() -> None:
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*(one() for _ in range(60)))

    asyncio.run(main())
    assert sorted(statuses) == [200] * 3 + [402] * 57
    assert len(upstream.requests) == 3
    assert hostile.credits(account) == needed * 3 - 3 * Decimal("0.00002")


def test_402_says_what_would_fit(sandbox: Gateway) -> None:
    sandbox.command("credits.add", amount="0.001", account="thin")
    key = sandbox.new_key("thin", account="thin")
    answer = sandbox.chat(GPT, key=key, max_tokens=16_000)
    assert answer.status == 402
    error = answer.error
    assert Decimal(error["needed"]) > Decimal(error["available"]) == Decimal("0.001")
    affordable = error["affordable_max_tokens"]
    assert affordable > 0
    assert str(affordable) in error["message"]
    assert sandbox.chat(GPT, key=key, max_tokens=affordable + 1).status == 402
    assert sandbox.chat(GPT, key=key, max_tokens=affordable).status == 200


def test_a_request_without_a_limit_gets_the_one_it_can_afford(sandbox: Gateway) -> None:
    sandbox.command("credits.add", amount="0.001", account="clamped")
    key = sandbox.new_key("clamped", account="clamped")
    answer = sandbox.chat(GPT, "[[long 90000]] go on", key=key)
    assert answer.status == 200
    cap = int(answer.headers["x-llm-router-max-tokens"])
    assert answer.json["usage"]["completion_tokens"] == cap
    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert sandbox.credits("clamped") >= 0


# Strictness.


def test_strict_mode_refuses_what_would_be_lost(hostile: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("a1", answers(http(200, whole("anthropic_messages"))))
    strict = {"x-llm-router-strict": "true"}
    answer = hostile.chat("ma", headers=strict, logit_bias={"1": 2})
    assert answer.status == 400
    assert answer.error["code"] == "lossy_translation"
    assert "logit_bias" in answer.error["message"]
    assert answer.error["param"] == "logit_bias"
    assert upstream.requests == []
    assert hostile.chat("ma", headers=strict).status == 200
    key = hostile.new_key("strict", strict=True)
    assert hostile.chat("ma", key=key, logit_bias={"1": 2}).status == 400
    loose = {"x-llm-router-strict": "false"}
    relaxed = hostile.chat("ma", key=key, headers=loose, logit_bias={"1": 2})
    assert relaxed.status == 200
    assert relaxed.headers["x-llm-router-losses"] == "logit_bias"


def test_strict_mode_finds_a_provider_that_loses_nothing(sandbox: Gateway) -> None:
    strict = {"x-llm-router-strict": "true"}
    answer = sandbox.chat("claude-sonnet-4-5", headers=strict, logit_bias={"1": 2})
    assert answer.status == 200
    assert "x-llm-router-losses" not in answer.headers
    assert answer.headers["x-llm-router-provider"] != "anthropic"


# Heartbeats.


@every_dialect
def test_a_silent_stream_is_kept_alive_and_then_answered(
    small: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]

    async def script(peer: Peer) -> None:
        await asyncio.sleep(0.7)
        await peer.send(head(200), *frames(dialect))

    upstream.play(f"{letter}1", script)
    answer = small.stream(f"m{letter}")
    assert answer.status == 200
    assert answer.comments >= 2
    assert answer.text == "Hello there"
    assert answer.done


@every_dialect
def test_an_error_after_a_heartbeat_is_an_error_chunk(
    small: Gateway, upstream: ScriptedUpstream, dialect: str
) -> None:
    letter = LETTERS[dialect]

    async def script(peer: Peer) -> None:
        await asyncio.sleep(0.5)
        await peer.send(http(400, b'{"error": {"message": "it is not so"}}'))

    upstream.play(f"{letter}1", script)
    before = small.credits()
    answer = small.stream(f"m{letter}")
    assert answer.status == 200
    assert answer.comments >= 1
    assert "it is not so" in answer.failure["message"]
    assert answer.failure["request_id"] == answer.id
    assert not answer.done
    assert small.credits() == before


def test_a_whole_reply_has_no_heartbeat(small: Gateway, upstream: ScriptedUpstream) -> None:
    async def script(peer: Peer) -> None:
        await asyncio.sleep(0.5)
        await peer.send(http(200, whole("openai_chat")))

    upstream.play("o1", script)
    answer = small.chat("mo")
    assert answer.json["choices"][0]["message"]["content"] == "Hello there"
