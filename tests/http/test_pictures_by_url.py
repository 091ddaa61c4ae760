"""Pictures by URL, to providers that take only bytes; and strict mode, which loses nothing."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from gateway_kit import Gateway
from scripted_upstream import (
    DIALECTS,
    LETTERS,
    ScriptedUpstream,
    answers,
    http,
    whole,
)

every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=["openai", "anthropic", "gemini"])
both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


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
