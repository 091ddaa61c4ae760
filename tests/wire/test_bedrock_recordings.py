"""Every recorded exchange of the Converse API, read by this dialect and by a naive reader."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import bedrock_kit as kit
import pytest

from llm_router.domain.errors import UpstreamKind
from llm_router.wire.dialect import Bill, Dialect, ReplyContext
from llm_router.wire.dialects.bedrock_converse import DIALECT
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import fold
from llm_router.wire.relay import BridgeRelay

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
FRONTS = [dialect for dialect in DIALECTS.values() if isinstance(dialect, Dialect)]


def _cases() -> list[dict[str, Any]]:
    return [
        json.loads(path.read_bytes())
        for folder in ("converse", "converse_stream")
        for path in sorted(RECORDINGS.glob(f"dev/bedrock/{folder}/*.json"))
    ]


CASES = _cases()
pytestmark = pytest.mark.skipif(not CASES, reason="the folder ../shared/recordings is not there")


def _of(*, stream: bool, good: bool) -> list[Any]:
    return [
        pytest.param(case, id=case["id"])
        for case in CASES
        if (case["response"]["status"] < 400) is good and (case["response"].get("body") is None) is stream
    ]


def _entries(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The stream's events, each an object of one member, read without the gateway's own reader."""
    response = case["response"]
    if response.get("events") is not None:
        found: list[dict[str, Any]] = response["events"]
        return found
    data, out = base64.b64decode(response["eventstream_b64"]), []
    while data:
        total, head = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
        names, payload = data[12 : 12 + head], data[12 + head : total - 4]
        at = names.index(b":event-type") + len(b":event-type") + 1
        size = int.from_bytes(names[at : at + 2], "big")
        out.append({names[at + 2 : at + 2 + size].decode(): json.loads(payload)})
        data = data[total:]
    return out


def _bytes(case: dict[str, Any]) -> bytes:
    encoded = case["response"].get("eventstream_b64")
    return base64.b64decode(encoded) if encoded else b"".join(kit.framed(case["response"]["events"]))


FINISH = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "guardrail_intervened": "content_filter",
}


def _naive(body: dict[str, Any]) -> dict[str, Any]:
    content, usage = body["output"]["message"]["content"], body["usage"]
    reasoning = [
        block["reasoningContent"]["reasoningText"] for block in content if "reasoningContent" in block
    ]
    cited = [
        block["citationsContent"]["content"][0]["text"] for block in content if "citationsContent" in block
    ]
    calls = [
        b["toolUse"] for b in content if "toolUse" in b and b["toolUse"].get("type") != "server_tool_use"
    ]
    server = [
        b for b in content if "toolResult" in b or b.get("toolUse", {}).get("type") == "server_tool_use"
    ]
    read, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    hour = sum(d["inputTokens"] for d in usage.get("cacheDetails", ()) if d["ttl"] == "1h")
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] + read + written
    return {
        "text": "".join([block["text"] for block in content if "text" in block] + cited),
        "thinking": [[block["text"], block.get("signature")] for block in reasoning],
        "redacted": [],
        "calls": [[call["toolUseId"], call["name"], call["input"]] for call in calls],
        "others": [next(iter(block)) for block in server],
        "finish": FINISH[body["stopReason"]],
        "usage": [usage["inputTokens"], read, written - hour, hour, usage["outputTokens"]],
    }


@pytest.mark.parametrize("case", _of(stream=False, good=True))
def test_whole_replies(case: dict[str, Any]) -> None:
    body = case["response"]["body"]
    assert kit.told(DIALECT.decode_reply(json.dumps(body).encode())) == _naive(body)


@pytest.mark.parametrize("case", _of(stream=True, good=True))
def test_streams(case: dict[str, Any]) -> None:
    data = _bytes(case)
    expected = _naive(kit.assembled(_entries(case)))
    whole = kit.decode([data])
    assert kit.told(fold(whole)) == expected
    for size in (1, 7, 64):
        assert kit.decode([data[i : i + size] for i in range(0, len(data), size)]) == whole


@pytest.mark.parametrize("front", FRONTS, ids=[front.name for front in FRONTS])
@pytest.mark.parametrize("case", _of(stream=True, good=True))
def test_streams_reach_every_client(case: dict[str, Any], front: Dialect) -> None:
    data, expected = _bytes(case), _naive(kit.assembled(_entries(case)))
    context = ReplyContext(reply_id="minted", model="m", created_s=1)
    relay = BridgeRelay(DIALECT.stream_decoder(), front.stream_encoder(context))
    out = b"".join(relay.feed(data[i : i + 11]) for i in range(0, len(data), 11))
    assert relay.observed.ended
    out += relay.finish(Bill(usage=relay.observed.usage, cost_pusd=1, credits_remaining_pusd=2))
    decoder = front.stream_decoder()
    seen = kit.told(fold([*decoder.feed(out), *decoder.close()]))
    assert (seen["text"], seen["finish"]) == (expected["text"], expected["finish"])
    assert [call[1:] for call in seen["calls"]] == [call[1:] for call in expected["calls"]]


KINDS = {
    "model identifier is invalid": UpstreamKind.NOT_FOUND,
    "security token": UpstreamKind.AUTHENTICATION,
    "Field required": UpstreamKind.INVALID_REQUEST,
    "s3Uri": UpstreamKind.INVALID_REQUEST,
}


@pytest.mark.parametrize("case", _of(stream=False, good=False))
def test_errors(case: dict[str, Any]) -> None:
    response = case["response"]
    message = response["body"]["message"]
    error = DIALECT.decode_error(
        response["status"], response["headers"], json.dumps(response["body"]).encode()
    )
    assert (error.status, error.message) == (response["status"], message)
    assert error.kind is next(kind for words, kind in KINDS.items() if words in message)
    header = response["headers"].get("x-amzn-errortype")
    assert error.native_type == (header.partition(":")[0] if header else None)


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES if case.get("request")])
def test_the_address_is_that_of_the_recorded_request(case: dict[str, Any]) -> None:
    path = case["request"]["path"]
    if "%3A" not in path or "REDACTED" in path:
        return
    stream = path.endswith("-stream")
    base = "https://bedrock-runtime.us-east-1.amazonaws.com"
    if case["model"] != "arn":
        assert DIALECT.upstream_url(base, "chat", case["model"], stream) == base + path
