"""Recorded exchanges of Azure, Vertex AI and Bedrock's InvokeModel through the running gateway.

The client sends what was recorded, in the dialect's usual form; the address and the body that arrive
must be those of the recording, and what the provider said must reach the client event by event.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import pytest
from gateway_kit import Gateway
from scripted_upstream import ScriptedUpstream, answers, head, http

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings" / "dev"
CLAUDE = ("bedrock/invoke", "bedrock/invoke_stream", "vertex/messages")
PIECE_BYTES = 37


def recordings() -> list[dict[str, Any]]:
    found = []
    for place in (*CLAUDE, "azure/chat_completions"):
        for path in sorted(RECORDINGS.glob(f"{place}/*.json")):
            record = json.loads(path.read_text())
            body = (record["request"] or {}).get("body")
            if not isinstance(body, dict) or record["response"]["status"] != 200:
                continue
            asked = record["request"]["path"]
            if ("anthropic_version" in body and "messages" in body) or "/openai/deployments/" in asked:
                found.append({**record, "place": place})
    return found


CASES = recordings()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CASES, reason="the recordings are not beside the project"),
]


def parts_of(record: dict[str, Any]) -> tuple[str, str]:
    """(what comes before the model in the path, the model)."""
    path = unquote(record["request"]["path"]).replace("//", "/")
    mark = {"bedrock": "/model/", "vertex": "/anthropic/models/", "azure": "/deployments/"}[
        record["provider"]
    ]
    before, _, rest = path.partition(mark)
    for end in ("/invoke", "/chat/completions", ":rawPredict", ":streamRawPredict"):
        rest = rest.partition(end)[0]
    return before + (mark.rstrip("/") if record["provider"] == "vertex" else ""), rest


@pytest.fixture(scope="module")
def gateway(scripted: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    lines = ["[credits]", "starting = 100000"]
    for number, record in enumerate(CASES):
        before, model = parts_of(record)
        claude = record["place"] in CLAUDE
        placement = {"bedrock": "bedrock_claude", "vertex": "vertex_claude", "azure": "azure_deployments"}
        lines += [f"[providers.r{number}]", 'auth = "none"', f'placement = "{placement[record["provider"]]}"']
        lines += [f'dialect = "{"anthropic_messages" if claude else "openai_chat"}"']
        lines += [f'base_url = "http://127.0.0.1:{scripted.port}/r{number}{before}"']
        if not claude:
            lines += [f'query = {{ api-version = "{record["request"]["query"]["api-version"]}" }}']
        lines += [f"[models.r{number}]", "price = { input_per_mtok = 1, output_per_mtok = 2 }"]
        lines += ["capabilities = { tools = true, input_modalities = ['text', 'image'] }"]
        lines += [
            f"[[models.r{number}.deployments]]",
            f'provider = "r{number}"',
            f'upstream_model = "{model}"',
        ]
    gateway = Gateway(tmp_path_factory.mktemp("recorded"), config="\n".join(lines))
    yield gateway
    assert gateway.stop() == 0


def chunked_events(data: bytes) -> list[dict[str, Any]]:
    """The events inside AWS messages, read naively."""
    found = []
    while data:
        total, size = struct.unpack(">II", data[:8])
        inner = json.loads(data[12 + size : total - 4])["bytes"]
        found.append(json.loads(base64.b64decode(inner)))
        data = data[total:]
    return found


def sse_events(text: str) -> list[dict[str, Any]]:
    lines = (line[5:].strip() for line in text.replace("\r\n", "\n").split("\n") if line.startswith("data:"))
    return [json.loads(line) for line in lines if line and line != "[DONE]"]


def played(record: dict[str, Any]) -> Any:
    response = record["response"]
    if response.get("eventstream_b64") is not None:
        data, type_ = base64.b64decode(response["eventstream_b64"]), "application/vnd.amazon.eventstream"
    elif response.get("sse") is not None:
        data, type_ = response["sse"].encode(), "text/event-stream"
    else:
        return answers(http(200, json.dumps(response["body"]).encode()))
    pieces = (data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))
    return answers(head(200, type_=type_), *pieces)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[record["id"] for record in CASES])
def test_a_recorded_exchange(gateway: Gateway, upstream: ScriptedUpstream, number: int) -> None:
    record = CASES[number]
    sent = record["request"]["body"]
    claude, stream = (
        record["place"] in CLAUDE,
        "body" not in record["response"] or not record["response"]["body"],
    )
    asked = {**sent, "model": f"r{number}"}
    asked.pop("anthropic_version", None)
    if stream:
        asked["stream"] = True
    upstream.play(f"r{number}", played(record))
    path = "/v1/messages" if claude else "/v1/chat/completions"
    answer = gateway.send("POST", path, json.dumps(asked).encode())
    assert answer.status == 200, answer.body
    assert "x-llm-router-losses" not in answer.headers
    (seen,) = upstream.at(f"r{number}")
    _check_request(record, unquote(seen.path), seen.json, f"/r{number}", stream)
    if claude:
        _check_messages(record, answer, stream)
    else:
        _check_chat(record, answer, stream)


def _check_request(record: dict[str, Any], path: str, body: Any, before: str, stream: bool) -> None:
    query = record["request"]["query"]
    recorded = unquote(record["request"]["path"]).replace("//", "/")
    assert path == before + recorded + (f"?{urlencode(query)}" if query else "")
    expected = dict(record["request"]["body"])
    if record["provider"] == "azure":
        expected["model"] = parts_of(record)[1]
        if stream:
            expected["stream_options"] = {**expected.get("stream_options", {}), "include_usage": True}
    assert body == expected


def _check_messages(record: dict[str, Any], answer: Any, stream: bool) -> None:
    response = record["response"]
    if not stream:
        for name in ("content", "stop_reason", "id", "model", "role"):
            assert json.loads(answer.body)[name] == response["body"][name]
        return
    given = sse_events(answer.body.decode())
    if response.get("sse") is not None:
        said = sse_events(response["sse"])
    else:
        said = chunked_events(base64.b64decode(response["eventstream_b64"]))
    assert [event["type"] for event in given] == [event["type"] for event in said]
    for got, had in zip(given, said, strict=True):
        if had["type"] == "message_delta":
            assert got["delta"] == had["delta"]
            assert got["usage"]["output_tokens"] == had["usage"]["output_tokens"]
            assert got["usage"]["cost"] > 0
        else:
            assert got == had


def _check_chat(record: dict[str, Any], answer: Any, stream: bool) -> None:
    if not stream:
        got, had = json.loads(answer.body)["choices"][0], record["response"]["body"]["choices"][0]
        for name in ("content", "tool_calls"):
            # Of a filtered answer Azure leaves out the message itself.
            assert got["message"].get(name) == had.get("message", {}).get(name)
        assert got["finish_reason"] == had["finish_reason"]
        return
    assert answer.body.endswith(b"data: [DONE]\n\n")
    given, said = sse_events(answer.body.decode()), sse_events(record["response"]["sse"])
    assert _text(given) == _text(said)
    assert len({event["id"] for event in given}) == 1
    assert given[-1]["usage"]["cost"] > 0


def _text(events: list[dict[str, Any]]) -> str:
    return "".join(
        (choice["delta"].get("content") or "") + json.dumps(choice["delta"].get("tool_calls"))
        for event in events
        for choice in event["choices"]
        if choice["delta"].get("content") or choice["delta"].get("tool_calls")
    )
