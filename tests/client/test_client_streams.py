"""Streams: what is whole is whole, and what broke never looks so."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from client_kit import Script
from hypothesis import given
from hypothesis import strategies as st
from scripted_gateway import DONE, ScriptedGateway, choice, cut, drip, event, reply, send, silence, stream

import llm_router_client
from llm_router_client import LLMRouterClient, LLMRouterError

HI = [{"role": "user", "content": "hi"}]
USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "cost": 0.0001,
    "credits_remaining": 4.9,
}
LAST = event({"id": "chatcmpl-1", "model": "m", "choices": [], "usage": USAGE})
HELLO = (choice({"role": "assistant", "content": "Hel"}), choice({"content": "lo"}), choice({}, "stop"), LAST)
BAD = {
    "error": {
        "message": "it broke",
        "type": "upstream_error",
        "code": "upstream_error",
        "request_id": "gen-1",
    }
}


def client_of(server: ScriptedGateway, **options: Any) -> LLMRouterClient:
    return LLMRouterClient("sk-1", server.url, **options)


def failed(client: LLMRouterClient, **options: Any) -> tuple[str, LLMRouterError]:
    """The text that came before a stream broke, and the error."""
    came: list[str] = []
    with pytest.raises(LLMRouterError) as raised:
        came.extend(client.chat_stream("m", HI, **options))
    return "".join(came), raised.value


def test_text_in_pieces_and_then_the_facts(scripted: Script) -> None:
    server = scripted(stream(*HELLO, DONE))
    client = client_of(server)
    assert list(client.chat_stream("m", HI, temperature=0)) == ["Hel", "lo"]
    seen = client.last_stream
    assert seen is not None
    assert seen.complete
    assert (seen.id, seen.model, seen.text, seen.finish_reason) == ("chatcmpl-1", "m", "Hello", "stop")
    assert (seen.usage, seen.cost, seen.credits_remaining) == (USAGE, 0.0001, 4.9)
    assert (seen.tool_calls, seen.reasoning) == ([], "")
    body = server.requests[0][2]
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["temperature"] == 0


def test_a_stream_as_a_whole_reply(scripted: Script) -> None:
    server = scripted(stream(*HELLO, DONE))
    got = client_of(server).chat("m", HI, stream=True, stream_options={"include_usage": False})
    assert got == {
        "object": "chat.completion",
        "id": "chatcmpl-1",
        "created": 7,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        ],
        "usage": USAGE,
    }
    assert server.requests[0][2]["stream_options"] == {"include_usage": False}


def test_everything_else_is_put_together(scripted: Script) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    pieces = [
        choice({"role": "assistant", "reasoning_content": "Let me "}),
        choice({"reasoning_content": "see."}),
        choice({"reasoning_details": [{"index": 0, "type": "t", "text": "Let me see.", "format": "x"}]}),
        choice({"tool_calls": [call]}),
        choice({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
        choice(
            {"tool_calls": [{**call, "index": 1, "id": "c2"}, {"index": 0, "function": {"arguments": ":1}"}}]}
        ),
        choice(
            {
                "tool_calls": [
                    {"index": 1, "function": {"arguments": "{}"}, "extra_content": {"g": {"s": "x"}}}
                ]
            }
        ),
        choice({"annotations": [{"type": "url"}]}),
        choice({"annotations": [{"type": "url"}], "refusal": None}),
        choice({"content": "second"}, "length", index=1),
        event({"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [{"token": "a"}]}}]}),
        event({"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [{"token": "b"}]}}]}),
        choice({}, "tool_calls"),
    ]
    client = client_of(scripted(stream(*pieces, DONE)))
    assert list(client.chat_stream("m", HI)) == []
    seen = client.last_stream
    assert seen is not None
    assert seen.reasoning == "Let me see."
    assert seen.tool_calls == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"},
         "extra_content": {"g": {"s": "x"}}},
    ]  # fmt: skip
    assert (seen.finish_reason, seen.usage, seen.cost) == ("tool_calls", {}, None)
    first, second = seen.reply["choices"]
    assert first["message"]["annotations"] == [{"type": "url"}, {"type": "url"}]
    assert first["message"]["reasoning_details"][0]["text"] == "Let me see."
    assert first["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}
    assert (second["message"]["content"], second["finish_reason"]) == ("second", "length")


def test_a_legacy_function_call_is_put_together(scripted: Script) -> None:
    pieces = [
        choice({"role": "assistant", "function_call": {"name": "f", "arguments": "{"}}),
        choice({"function_call": {"name": "f", "arguments": "}"}}, "function_call"),
    ]
    got = client_of(scripted(stream(*pieces, DONE))).chat("m", HI, stream=True)
    assert got["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": "{}"}


TRUNCATED = [
    stream(*HELLO),  # an orderly end, but no end mark
    cut(stream(*HELLO[:2])),
    stream(*HELLO[:2], b"data: {\"choi"),
    stream(*HELLO[:2], b"data: [DO"),
    stream(*HELLO[:2], b"data: nonsense\n\n", DONE),
    stream(*HELLO[:2], b"data: [1]\n\n", DONE),
    [send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + HELLO[0] + HELLO[1])],
    [send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % (len(HELLO[0]) + 9) + HELLO[0])],
]  # fmt: skip


@pytest.mark.parametrize("script", TRUNCATED)
def test_a_truncated_stream_is_no_answer(scripted: Script, pauses: list[float], script: Any) -> None:
    server = scripted(script)
    client = client_of(server)
    text, error = failed(client)
    assert text in ("Hel", "Hello")
    assert (error.code, error.status, error.partial_text) == ("STREAM_ERROR", None, text)
    assert "not the whole answer" in str(error)
    assert client.last_stream is not None
    assert not client.last_stream.complete
    assert client.last_stream.text == text
    got = client.chat("m", HI, stream=True)
    assert got["error"]["code"] == "STREAM_ERROR"
    assert got["partial"]["choices"][0]["message"]["content"] == text
    assert (len(server.requests), pauses) == (2, [])  # never sent again once a stream began


@pytest.mark.parametrize(
    ("bad", "code", "message"),
    [
        (event({"choices": [], **BAD}), "upstream_error", "it broke"),
        (event(BAD), "upstream_error", "it broke"),
        (b"event: error\n" + event(BAD), "upstream_error", "it broke"),
        (b"event: error\n" + event({"message": "odd"}), "STREAM_ERROR", "without an explanation"),
        (b"event: error\ndata: just text\n\n", "STREAM_ERROR", "just text"),
        (event({"error": "odd"}), "STREAM_ERROR", "odd"),
        (event({"error": {"message": "m", "code": 502}}), "502", "m"),
    ],
)
def test_an_error_in_a_stream_is_an_error(scripted: Script, bad: bytes, code: str, message: str) -> None:
    server = scripted(stream(*HELLO[:2], bad, DONE))
    client = client_of(server)
    text, error = failed(client)
    assert (text, error.code, error.partial_text) == ("Hello", code, "Hello")
    assert message in str(error)
    got = client.chat("m", HI, stream=True)
    assert got["error"]["code"] == code
    assert "status" not in got["error"]
    assert got["partial"]["choices"][0]["finish_reason"] is None


def test_a_refused_stream_is_an_error(scripted: Script) -> None:
    body = {"error": {"message": "pay", "code": "insufficient_credits", "needed": 2}}
    client = client_of(scripted(reply(402, body)))
    text, error = failed(client)
    assert (text, error.code, error.status, error.partial) == ("", "insufficient_credits", 402, None)
    assert error.body["needed"] == 2
    got = client.chat("m", HI, stream=True)
    assert got == {"error": {**body["error"], "status": 402}}


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"choices": []}'])
def test_what_is_no_stream_is_an_error(scripted: Script, body: bytes) -> None:
    text, error = failed(client_of(scripted(reply(200, body))))
    assert (text, error.code) == ("", "STREAM_ERROR")


def test_a_stream_is_asked_for_again_before_it_begins(scripted: Script, pauses: list[float]) -> None:
    server = scripted(reply(429, BAD, retry_after="1"), stream(*HELLO, DONE))
    assert "".join(client_of(server).chat_stream("m", HI)) == "Hello"
    assert len(pauses) == 1


@pytest.mark.parametrize("script", [[silence], [*stream(*HELLO[:2])[:-1], silence]])
def test_a_silent_stream_ends(scripted: Script, script: Any) -> None:
    text, error = failed(client_of(scripted(script), idle_timeout=0.2, max_retries=0))
    assert error.code == ("STREAM_ERROR" if text else "NETWORK_ERROR")
    assert "silent" in str(error)


def test_signs_of_life_keep_a_stream_only_for_its_time(scripted: Script) -> None:
    head = stream()[0]
    text, error = failed(client_of(scripted([head, drip(b"3\r\n: \n\r\n")]), timeout=0.5, idle_timeout=0.4))
    assert (text, error.code) == ("", "STREAM_ERROR")
    assert "0.5 s is over" in str(error)


def test_an_endless_line_is_cut(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_router_client, "REPLY_BYTES_MAX", 100_000)
    _, error = failed(client_of(scripted([stream()[0], drip(b"2710\r\n%b\r\n" % (b"x" * 10_000))])))
    assert error.code == "STREAM_ERROR"


def test_a_stream_that_is_left_is_closed(scripted: Script) -> None:
    client = client_of(scripted([*stream(*HELLO[:2])[:-1], silence]))  # closing waits for the server's thread
    pieces = client.chat_stream("m", HI)
    assert next(pieces) == "Hel"
    pieces.close()
    assert client.last_stream is not None
    assert not client.last_stream.complete


WIRE = b"".join(
    [
        b"\xef\xbb\xbf: a comment\n\n",
        b"retry: 5\nid: 7\nnonsense\ndata:\n\n",
        HELLO[0].replace(b"\n", b"\r\n"),
        b": keep-alive\r\n\r\n",
        b'data:{"choices": [{"index": 0,\ndata: "delta": {"content": "l\xc3\xb6 \xe2\x80\x9c"}}]}\n\n',
        b'data: {"choices":\r\ndata: []}\r\n\r\n',
        HELLO[2].replace(b"\n", b"\r"),
        b"event: chunk\n" + LAST,
        b"data: [DONE]",
    ]
)


@given(st.lists(st.integers(0, len(WIRE)), max_size=8))
def test_no_cut_of_the_bytes_changes_the_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WIRE)]
    pieces = [WIRE[a:b] for a, b in pairwise(edges)]
    events = list(llm_router_client._events(llm_router_client._lines(pieces)))
    assert [name for name, _ in events] == ["", "", "", "", "chunk", ""]
    assert events[-1][1] == "[DONE]"
    assert json.loads(events[1][1])["choices"][0]["delta"]["content"] == "lö “"


def test_byte_by_byte(scripted: Script) -> None:
    client = client_of(scripted(stream(*(WIRE[i : i + 1] for i in range(len(WIRE))))))
    assert "".join(client.chat_stream("m", HI)) == "Hello “".replace("lo", "lö")
    assert client.last_stream is not None
    assert client.last_stream.usage == USAGE


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": None},
        {"choices": [None, 1, {}]},
        {"choices": [{"index": "x", "delta": []}]},
        {"choices": [{"delta": {"content": ["x"]}}]},
        {"choices": [{"delta": {"tool_calls": [None, {"index": None}, {"index": "a", "function": "f"}]}}]},
        {"choices": [{"delta": {"tool_calls": {"a": 1}}}]},
        {"usage": [1], "model": None},
        {},
    ],
)
def test_odd_chunks_do_no_harm(scripted: Script, odd: dict[str, Any]) -> None:
    got = client_of(scripted(stream(event(odd), *HELLO, DONE))).chat("m", HI, stream=True)
    assert "error" not in got
    assert got["usage"] == USAGE
