"""A character that is cut in two over two deltas arrives whole, from every API to every client."""

from __future__ import annotations

import json

import pytest

from llm_router.wire import chat
from llm_router.wire.dialect import Bill, Dialect, ReplyContext
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import fold
from llm_router.wire.halves import HalfCharacters
from llm_router.wire.relay import BridgeRelay

FRONTS = {name: dialect for name, dialect in DIALECTS.items() if isinstance(dialect, Dialect)}
CONTEXT = ReplyContext(reply_id="chatcmpl-1", model="m", created_s=1)
BILL = Bill(usage=None, cost_pusd=0, credits_remaining_pusd=0)


def upstream(name: str) -> bytes:
    """A stream whose text is said in two deltas; H and L stand for the halves."""
    match name:
        case "openai_chat":
            told = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("so H", "L it")]
            told.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        case "anthropic_messages":
            deltas = [
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
                for text in ("so H", "L it")
            ]
            told = [
                {
                    "type": "message_start",
                    "message": {"id": "msg_1", "model": "m", "content": [], "usage": {}},
                },
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                *deltas,
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
                {"type": "message_stop"},
            ]
        case "gemini_generate":
            told = [{"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in ("so H", "L it")]
            told.append({"candidates": [{"finishReason": "STOP"}]})
        case "cohere_chat":
            told = [
                {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}
                for text in ("so H", "L it")
            ]
            told.append({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}})
        case _:
            told = [
                {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}
                for text in ("so H", "L it")
            ]
            told.append(
                {
                    "type": "response.completed",
                    "response": {"id": "resp_1", "status": "completed", "output": []},
                }
            )
    lines = b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in told)
    lines += b"data: [DONE]\n\n" if name == "openai_chat" else b""
    return lines.replace(b"H", b"\\ud83d").replace(b"L", b"\\ude00")


@pytest.mark.parametrize(
    "behind", ["openai_chat", "anthropic_messages", "gemini_generate", "cohere_chat", "openai_responses"]
)
@pytest.mark.parametrize("front", FRONTS)
def test_every_client_reads_the_character(front: str, behind: str) -> None:
    data, client = upstream(behind), FRONTS[front]
    relay = BridgeRelay(DIALECTS[behind].stream_decoder(), client.stream_encoder(CONTEXT))
    out = relay.feed(data) + relay.close()
    assert relay.observed.ended, relay.observed.error
    decoder = client.stream_decoder()
    reply = fold([*decoder.feed(out + relay.finish(BILL)), *decoder.close()])
    said = "".join(part.text for part in reply.choices[0].parts if isinstance(part, chat.Text))
    assert said == "so \U0001f600 it"


def test_a_chat_client_of_a_chat_provider_reads_it_too() -> None:
    relay = FRONTS["openai_chat"].pass_relay(CONTEXT)
    out = relay.feed(upstream("openai_chat")) + relay.finish(BILL)
    chunks = [json.loads(line[6:]) for line in out.decode().split("\n\n") if line.startswith("data: {")]
    said = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
    assert said == "so \U0001f600 it"


def test_what_only_looks_like_half_a_character_stays() -> None:
    halves = HalfCharacters()
    for data in (
        b'{"a": "\\\\ud83d"}',
        b'{"a": "\\ud83d\\ude00"}',
        b'{"a": "x\\"\\ude00"}',
        b'{"a": "\\u00e9"}',
    ):
        assert halves.join(data) == data
    assert halves.join(b'{"a": "\\\\\\ud83d"}') == b'{"a": "\\\\"}'
    assert halves.join(b'{"b": "\\u00e9"}') == b'{"b": "\\u00e9"}'
    assert halves.join(b'{"a": "\\ude00"}') == b'{"a": "\\ud83d\\ude00"}'
    assert halves.join(b'{"a": "\\ude00"}') == b'{"a": "\\ude00"}'
