"""What the official Anthropic client makes of the bytes that this dialect writes."""

from __future__ import annotations

import json
from typing import Any

import anthropic_kit as kit
import pytest

from llm_router.domain.errors import InsufficientCredits, Overloaded
from llm_router.wire.dialects.anthropic_messages import DIALECT
from llm_router.wire.fold import unfold

anthropic = pytest.importorskip("anthropic", reason="the anthropic client is not installed")
httpx2 = pytest.importorskip("httpx2", reason="the anthropic client brings httpx2")

NAMES = [name for name in kit.REPLIES if name not in ("compaction", "advisor", "paused", "unheard")]
"""The others hold blocks of beta endpoints or of none."""


def _client(status: int, content_type: str, body: bytes) -> Any:
    def answer(request: Any) -> Any:
        return httpx2.Response(status, headers={"content-type": content_type}, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="k", base_url="http://127.0.0.1:1", http_client=http, max_retries=0)


_ASK: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def _content(message: Any) -> list[dict[str, Any]]:
    return [_without_null(block.to_dict()) for block in message.content]


def _without_null(found: Any) -> Any:
    if isinstance(found, dict):
        return {k: _without_null(v) for k, v in found.items() if v is not None}
    return [_without_null(v) for v in found] if isinstance(found, list) else found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["passed", "bridged"])
def test_the_client_reads_streams(name: str, way: str) -> None:
    if way == "passed":
        relay = DIALECT.pass_relay(kit.CONTEXT)
        data = relay.feed(kit.stream_bytes(name)) + relay.close() + relay.finish(kit.BILL)
    else:
        encoder = DIALECT.stream_encoder(kit.CONTEXT)
        reply = DIALECT.decode_reply(kit.reply_bytes(name))
        data = b"".join([encoder.encode(event) for event in unfold(reply)]) + encoder.finish(kit.BILL)
    with _client(200, DIALECT.content_type_stream, data) as client, client.messages.stream(**_ASK) as stream:
        message = stream.get_final_message()
    told = json.loads(kit.reply_bytes(name))
    assert _content(message) == _without_null(told["content"])
    assert message.stop_reason == told["stop_reason"]
    assert message.id == told["id"]
    output = 12 if way == "bridged" else told["usage"]["output_tokens"]
    assert message.usage.output_tokens == output


@pytest.mark.parametrize("name", NAMES)
def test_the_client_reads_whole_replies(name: str) -> None:
    data, _ = DIALECT.encode_reply(DIALECT.decode_reply(kit.reply_bytes(name)), kit.CONTEXT, kit.BILL)
    with _client(200, "application/json", data) as client:
        message = client.messages.create(**_ASK)
    assert _content(message) == _without_null(json.loads(kit.reply_bytes(name))["content"])
    assert message.usage.cost == 0.0000345


def test_the_client_raises_on_errors() -> None:
    body = DIALECT.encode_error(InsufficientCredits("Add credits."), "req_1")
    with _client(402, "application/json", body) as client, pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**_ASK)
    assert caught.value.status_code == 402
    assert caught.value.body["error"]["type"] == "billing_error"


def test_the_client_raises_on_an_error_in_mid_stream() -> None:
    relay = DIALECT.pass_relay(kit.CONTEXT)
    head = relay.feed(b"\n\n".join(kit.stream_bytes("text").split(b"\n\n")[:5]) + b"\n\n")
    data = head + relay.fail(Overloaded("Overloaded."), "req_1")
    texts: list[str] = []
    client = _client(200, DIALECT.content_type_stream, data)
    with client, pytest.raises(anthropic.APIStatusError) as caught, client.messages.stream(**_ASK) as stream:
        texts.extend(stream.text_stream)
    assert texts == ["The tid", "e turns"]
    assert "overloaded_error" in str(caught.value.body)
