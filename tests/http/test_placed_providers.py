"""Dialects on the platforms of others: what arrives there is compared byte by byte, what comes back is read."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from gateway_kit import Gateway
from scripted_upstream import ScriptedUpstream, answers, head, http

pytestmark = pytest.mark.slow

CLAUDE = "us.anthropic.claude-x-v1:0"
TOKEN = "ABSKdGhlLWtleS1vZi10aGUtdGVzdA=="
CONFIG = """
[credits]
starting = 1000

[providers.br]
extends = "bedrock"
base_url = "http://127.0.0.1:PORT/br"
key = "env:BEDROCK_TOKEN"

[[providers.br.also]]
dialect = "anthropic_messages"
placement = "bedrock_claude"
serves = ["*anthropic.claude*"]

[providers.az]
extends = "azure"
base_url = "http://127.0.0.1:PORT/az/openai"
placement = "azure_deployments"
query = { api-version = "2024-10-21" }
key = "env:AZURE_KEY"

[providers.vx]
base_url = "http://127.0.0.1:PORT/vx/v1/projects/p/locations/l/publishers/google/models"
dialect = "gemini_generate"
serves = ["gemini*"]
key = "env:VERTEX_TOKEN"

[[providers.vx.also]]
dialect = "anthropic_messages"
base_url = "http://127.0.0.1:PORT/vx/v1/projects/p/locations/l/publishers/anthropic/models"
placement = "vertex_claude"
serves = ["claude*"]
"""
MODELS = {"mbr": ("br", CLAUDE), "maz": ("az", "my deployment"), "mvc": ("vx", "claude-x@20250219"), "mvg": ("vx", "gemini-x")}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 7, "output_tokens": 5},
}  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None, "usage": {"input_tokens": 7, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 5}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 7, "outputTokenCount": 5}},
]  # fmt: skip
BINARY = head(200, type_="application/vnd.amazon.eventstream")


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    lines = [CONFIG.replace("PORT", str(scripted.port))]
    for name, (place, upstream) in MODELS.items():
        lines += [f"[models.{name}]", "price = { input_per_mtok = 1, output_per_mtok = 2 }"]
        lines += [f"[[models.{name}.deployments]]", f'provider = "{place}"', f'upstream_model = "{upstream}"']
    environ = {
        "BEDROCK_TOKEN": TOKEN,
        "AZURE_KEY": "azure-key-0123456789",
        "VERTEX_TOKEN": "ya29.token-0123456789",
    }
    gateway = Gateway(tmp_path_factory.mktemp("placed"), config="\n".join(lines), environ=environ)
    yield gateway
    assert gateway.stop() == 0


def framed(kind: str, name: str, body: bytes) -> bytes:
    """A message of the event stream, written by its specification."""
    texts = ((f":{kind}-type", name), (":content-type", "application/json"), (":message-type", kind))
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
        for key, text in texts
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    data = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return data + struct.pack(">I", zlib.crc32(data))


def chunk(event: dict[str, Any]) -> bytes:
    inner = base64.b64encode(json.dumps(event).encode()).decode()
    return framed("event", "chunk", json.dumps({"bytes": inner, "p": "abcdef"}).encode())


def exception(name: str, text: str) -> bytes:
    return framed("exception", name, json.dumps({"message": text}).encode())


def messages(gateway: Gateway, body: str, **headers: str) -> Any:
    return gateway.send("POST", "/v1/messages", body.encode(), {"anthropic-version": "2023-06-01", **headers})


def test_claude_on_bedrock_keeps_the_clients_bytes(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("br", answers(http(200, json.dumps(MESSAGE).encode())))
    asked = '{"model":"mbr","max_tokens":50, "messages" : [{"role":"user","content":"h\\u00e9"}],"temperature":1.0}'
    answer = messages(
        gateway, asked, **{"anthropic-beta": "interleaved-thinking-2025-05-14,claude-code-20250219"}
    )
    assert answer.status == 200
    assert answer.json["content"] == MESSAGE["content"]
    assert answer.headers["x-llm-router-losses"] == "anthropic-beta: claude-code-20250219"
    (seen,) = upstream.at("br")
    assert seen.path == "/br/model/us.anthropic.claude-x-v1%3A0/invoke"
    assert seen.body == (
        b'{"max_tokens":50,"messages":[{"role":"user","content":"h\\u00e9"}],"temperature":1.0,'
        b'"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["interleaved-thinking-2025-05-14"]}'
    )
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert not {"anthropic-version", "anthropic-beta"} & set(seen.headers)


@pytest.mark.parametrize("size", [1, 33, 10**6])
def test_a_stream_of_bedrock_invoke(gateway: Gateway, upstream: ScriptedUpstream, size: int) -> None:
    data = b"".join(chunk(event) for event in EVENTS)
    upstream.play("br", answers(BINARY, *(data[i : i + size] for i in range(0, len(data), size))))
    asked = '{"model":"mbr","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
    answer = messages(gateway, asked)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == [event["type"] for event in EVENTS]
    assert events[2:4] == EVENTS[2:4]
    assert events[5]["usage"]["output_tokens"] == 5
    assert events[5]["usage"]["cost"] == 0.000017
    (seen,) = upstream.at("br")
    assert seen.path == "/br/model/us.anthropic.claude-x-v1%3A0/invoke-with-response-stream"
    assert seen.headers["accept"] == "application/vnd.amazon.eventstream"
    assert "stream" not in seen.json


def test_a_chat_client_reaches_claude_by_converse(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("br", answers(http(200, b'{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn"}')))  # fmt: skip
    assert gateway.chat("mbr").status == 200
    assert upstream.at("br")[0].path.endswith("/converse")


def test_an_exception_before_the_first_word_is_a_status(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.play("br", answers(BINARY, chunk(EVENTS[0]) + exception("throttlingException", "Too many.")))
    asked = '{"model":"mbr","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
    answer = messages(gateway, asked)
    assert (answer.status, answer.json["error"]["type"]) == (429, "rate_limit_error")


@pytest.mark.parametrize(
    "rest",
    [
        exception("modelStreamErrorException", "The model broke off."),
        chunk(EVENTS[3])[:-1] + b"?",
        chunk(EVENTS[3])[:30],
        framed("event", "chunk", b'{"bytes":"%%%"}'),
        framed("event", "chunk", b"{}"),
        b"",
    ],
    ids=["exception", "damaged", "cut", "no base64", "no bytes", "ended"],
)
def test_a_stream_that_breaks_never_looks_finished(
    gateway: Gateway, upstream: ScriptedUpstream, rest: bytes
) -> None:
    data = b"".join(chunk(event) for event in EVENTS[:3])
    upstream.play("br", answers(BINARY, data + rest))
    asked = '{"model":"mbr","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
    answer = messages(gateway, asked)
    assert answer.status == 200
    assert b'"text":"Hel"' in answer.body.replace(b": ", b":")
    assert b"event: error" in answer.body
    assert b"message_stop" not in answer.body


def test_errors_of_bedrock_invoke(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    said = json.dumps({"message": "max_tokens: 99 > 8"}).encode()
    upstream.play("br", answers(http(400, said, "x-amzn-errortype: ValidationException:http://x/")))
    answer = messages(gateway, '{"model":"mbr","max_tokens":99,"messages":[{"role":"user","content":"hi"}]}')
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")
    assert "max_tokens: 99 > 8" in answer.json["error"]["message"]


def test_azure_deployments(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    filtered = {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}], "choices": []}
    chunks = [
        {"id": "", "object": "", "created": 0, "model": "", **filtered},
        {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None, "content_filter_results": {}}]},
        {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
    ]  # fmt: skip
    data = b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks) + b"data: [DONE]\n\n"
    upstream.play("az", answers(head(200, type_="text/event-stream"), data))
    answer = gateway.stream("maz")
    assert (answer.text, answer.done, answer.usage["completion_tokens"]) == ("Hi", True, 2)
    assert {piece["id"] for piece in answer.chunks} == {"chatcmpl-a"}
    (seen,) = upstream.at("az")
    assert seen.path == "/az/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21"
    assert seen.headers["api-key"] == "azure-key-0123456789"
    assert "authorization" not in seen.headers
    assert seen.json["stream_options"] == {"include_usage": True}


def test_claude_on_vertex(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    data = b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in EVENTS)
    upstream.play("vx", answers(head(200, type_="text/event-stream"), data))
    asked = '{"model":"mvc","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"hi"}]}'
    betas = {"anthropic-beta": "context-1m-2025-08-07, oauth-2025-04-20"}
    answer = messages(gateway, asked, **betas)
    assert answer.body.count(b"message_stop") == 2  # its name and its type
    (seen,) = upstream.at("vx")
    assert (
        seen.path
        == "/vx/v1/projects/p/locations/l/publishers/anthropic/models/claude-x@20250219:streamRawPredict"
    )
    assert seen.body == (
        b'{"max_tokens":5,"stream":true,"messages":[{"role":"user","content":"hi"}],'
        b'"anthropic_version":"vertex-2023-10-16"}'
    )
    assert seen.headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert "anthropic-version" not in seen.headers


def test_tokens_are_counted_on_vertex_and_estimated_on_bedrock(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.play("vx", answers(http(200, b'{"input_tokens":42}')))
    asked = '{"model":"mvc","messages":[{"role":"user","content":"hi"}]}'
    answer = gateway.send("POST", "/v1/messages/count_tokens", asked.encode())
    assert answer.json["input_tokens"] == 42
    (seen,) = upstream.at("vx")
    assert seen.path == "/vx/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict"
    assert seen.json["model"] == "claude-x@20250219"
    assert seen.json["anthropic_version"] == "vertex-2023-10-16"
    answer = gateway.send("POST", "/v1/messages/count_tokens", asked.replace("mvc", "mbr").encode())
    assert answer.json["input_tokens"] > 0
    assert upstream.at("br") == []


def test_gemini_on_vertex(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    said = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}
    upstream.play("vx", answers(http(200, json.dumps(said).encode())))
    assert gateway.chat("mvg").json["choices"][0]["message"]["content"] == "Hi"
    assert (
        upstream.at("vx")[0].path
        == "/vx/v1/projects/p/locations/l/publishers/google/models/gemini-x:generateContent"
    )
