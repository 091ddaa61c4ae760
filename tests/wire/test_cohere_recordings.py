"""Every recorded exchange of Cohere's v2 chat, read by this dialect and by a naive reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import behind_kit as kit
import pytest

from llm_router.domain.errors import UpstreamError
from llm_router.wire import chat, events
from llm_router.wire.dialect import Dialect
from llm_router.wire.dialects.cohere_chat import DIALECT
from llm_router.wire.fold import fold

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings" / "dev" / "cohere"
CASES = [json.loads(path.read_bytes()) for path in sorted(RECORDINGS.glob("chat_v2/*.json"))]
FINISH = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "TOOL_CALL": "tool_calls", "MAX_TOKENS": "length"}
pytestmark = pytest.mark.skipif(not CASES, reason="the folder ../shared/recordings is not there")


def some(*, ok: bool, stream: bool | None = None) -> list[Any]:
    return [
        pytest.param(case, id=case["id"])
        for case in CASES
        if (case["response"]["status"] == 200) is ok and stream in (None, bool(case["response"].get("sse")))
    ]


def message_of(case: dict[str, Any]) -> dict[str, Any]:
    """The whole reply: recorded, or put together from the stream's events without a thought."""
    text = case["response"].get("sse")
    if not text:
        return dict(case["response"]["body"])
    message: dict[str, Any] = {"content": {}, "tool_plan": "", "tool_calls": {}, "citations": []}
    reply: dict[str, Any] = {"message": message}
    for line in text.splitlines():
        if not line.startswith("data: {"):
            continue
        body = json.loads(line[6:])
        said, index = body.get("delta", {}).get("message", {}), body.get("index")
        match body["type"]:
            case "message-start":
                reply["id"] = body["id"]
            case "content-start":
                message["content"][index] = dict(said["content"])
            case "content-delta":
                for name, piece in said["content"].items():
                    message["content"][index][name] += piece
            case "tool-plan-delta":
                message["tool_plan"] += said["tool_plan"]
            case "tool-call-start":
                message["tool_calls"][index] = said["tool_calls"]
            case "tool-call-delta":
                function = message["tool_calls"][index]["function"]
                function["arguments"] += said["tool_calls"]["function"]["arguments"]
            case "citation-start":
                message["citations"].append(said["citations"])
            case "message-end":
                reply |= body["delta"]
    message["content"] = [message["content"][n] for n in sorted(message["content"])]
    message["tool_calls"] = [message["tool_calls"][n] for n in sorted(message["tool_calls"])]
    return reply


def naive(reply: dict[str, Any]) -> dict[str, Any]:
    message = reply["message"]
    blocks = message.get("content") or []
    calls = message.get("tool_calls") or []
    thoughts = [message.get("tool_plan") or "", *(b["thinking"] for b in blocks if b["type"] == "thinking")]
    billed = reply["usage"]["billed_units"]
    return {
        "id": reply["id"],
        "text": "".join(b["text"] for b in blocks if b["type"] == "text"),
        "thoughts": "".join(thoughts),
        "calls": [
            (c["id"], c["function"]["name"], json.loads(c["function"]["arguments"] or "{}")) for c in calls
        ],
        "spans": [(c["start"], c["end"], c["text"]) for c in message.get("citations") or []],
        "finish": FINISH[reply["finish_reason"]],
        "billed": (billed["input_tokens"], billed["output_tokens"]),
    }


def told(reply: events.Reply) -> dict[str, Any]:
    (choice,) = reply.choices
    texts = [part for part in choice.parts if isinstance(part, chat.Text)]
    spans = []
    for text in texts:
        for cite in text.citations:
            span = (cite.start, cite.end, text.text[cite.start : cite.end])
            if span not in spans:
                spans.append(span)
    assert reply.usage is not None
    return {
        "id": reply.id,
        "text": "".join(text.text for text in texts),
        "thoughts": "".join(part.text for part in choice.parts if isinstance(part, chat.Thinking)),
        "calls": [
            (part.id, part.name, json.loads(part.arguments))
            for part in choice.parts
            if isinstance(part, chat.ToolCall)
        ],
        "spans": spans,
        "finish": choice.finish.value,
        "billed": (reply.usage.prompt_tokens, reply.usage.completion_tokens),
    }


def decoded(case: dict[str, Any]) -> events.Reply:
    text = case["response"].get("sse")
    if text:
        return fold(kit.decode(DIALECT, [text.encode()]))
    return DIALECT.decode_reply(json.dumps(case["response"]["body"]).encode())


@pytest.mark.parametrize("case", some(ok=True))
def test_it_says_what_a_naive_reader_reads(case: dict[str, Any]) -> None:
    reply = decoded(case)
    assert told(reply) == naive(message_of(case))
    assert reply.choices[0].native_finish == case["finish"][0]
    assert reply.opaque == ()


@pytest.mark.parametrize("case", some(ok=True, stream=True))
def test_awkward_cuts_and_line_ends_change_nothing(case: dict[str, Any]) -> None:
    text = case["response"]["sse"]
    whole = kit.decode(DIALECT, [text.encode()])
    kit.grammar(whole)
    for end in ("\n", "\r\n", "\r"):
        data = text.replace("\n", end).encode()
        for size in (1, 7, 1021):
            assert kit.decode(DIALECT, (data[at : at + size] for at in range(0, len(data), size))) == whole


@pytest.mark.parametrize("case", some(ok=True, stream=True))
def test_a_whole_reply_of_the_same_words_is_the_same(case: dict[str, Any]) -> None:
    assert DIALECT.decode_reply(json.dumps(message_of(case)).encode()) == decoded(case)


@pytest.mark.parametrize("front", kit.FRONTS, ids=[front.name for front in kit.FRONTS])
@pytest.mark.parametrize("case", some(ok=True))
def test_every_client_gets_it(case: dict[str, Any], front: Dialect) -> None:
    reply = decoded(case)
    body, _ = front.encode_reply(reply, kit.CONTEXT, kit.bill(reply.usage))
    assert kit.essence(front.decode_reply(body)) == kit.essence(reply)
    if case["response"].get("sse"):
        data = case["response"]["sse"].encode()
        out, relay = kit.through(front, DIALECT, (data[at : at + 13] for at in range(0, len(data), 13)))
        assert relay.observed.error is None
        assert kit.essence(kit.heard(front, out + relay.finish(kit.bill(reply.usage)))) == kit.essence(reply)


@pytest.mark.parametrize("case", some(ok=False))
def test_errors(case: dict[str, Any]) -> None:
    response = case["response"]
    error = DIALECT.decode_error(
        response["status"], response["headers"], json.dumps(response["body"]).encode()
    )
    kinds = {
        401: "authentication",
        400: "context_length_exceeded",
        404: "not_found",
        429: "rate_limit_exceeded",
    }
    assert (error.status, error.kind.value) == (response["status"], kinds[response["status"]])
    assert error.message
    with pytest.raises(UpstreamError):
        DIALECT.decode_reply(json.dumps(response["body"]).encode())
