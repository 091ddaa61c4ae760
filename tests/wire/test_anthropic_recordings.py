"""Every recorded exchange of the Messages API, read by this dialect and by a naive reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic_kit as kit
import pytest

from llm_router.domain.errors import InvalidRequest, UnsupportedContent, UpstreamError, UpstreamKind
from llm_router.domain.usage import Usage
from llm_router.wire import chat, events
from llm_router.wire.dialects.anthropic_messages import DIALECT
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import unfold

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
FOLDERS = ("dev/*/messages", "dev/bedrock/invoke", "reported/anthropic/messages")


def _cases() -> list[Any]:
    found = [
        json.loads(path.read_bytes())
        for folder in FOLDERS
        for path in sorted(RECORDINGS.glob(f"{folder}/*.json"))
    ]
    return [pytest.param(case, id=case["id"]) for case in found]


CASES = _cases()
pytestmark = pytest.mark.skipif(not CASES, reason="the folder ../shared/recordings is not there")


def _is_message(case: dict[str, Any]) -> bool:
    body = case["response"].get("body")
    return isinstance(body, dict) and body.get("type") == "message"


STREAMS = [
    p for p in CASES if p.values[0]["response"].get("sse") and p.values[0]["response"]["status"] == 200
]
WHOLE = [p for p in CASES if _is_message(p.values[0])]
ERRORS = [p for p in CASES if p.values[0]["response"]["status"] >= 400]
ASKED = [
    p for p in CASES
    if isinstance((p.values[0]["request"] or {}).get("body"), dict)
    and "max_tokens" in p.values[0]["request"]["body"]
    and "messages" in p.values[0]["request"]["body"]
    and p.values[0]["response"]["status"] < 400
]  # fmt: skip


# --- the naive reader: dictionaries, no states, written against the recordings alone -------------------


def _naive_stream(text: str) -> dict[str, Any]:
    message: dict[str, Any] = {"content": {}, "usage": {}, "stop_reason": None}
    for line in text.splitlines():
        if not line.startswith("data:"):
            continue
        try:
            body = json.loads(line[5:])
        except ValueError:
            continue
        kind, index = body.get("type"), body.get("index")
        if kind == "message_start":
            message["id"], message["model"] = body["message"]["id"], body["message"]["model"]
            message["usage"].update({k: v for k, v in body["message"]["usage"].items() if v is not None})
        elif kind == "content_block_start":
            message["content"][index] = {**body["content_block"], "json": ""}
        elif kind == "content_block_delta":
            block, delta = message["content"][index], body["delta"]
            for name, target in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json")):
                block[target] = (
                    block.get(target, "") + delta.get(name, "") if name in delta else block.get(target)
                )
            block["signature"] = delta.get("signature", block.get("signature"))
        elif kind == "message_delta":
            message["stop_reason"] = body["delta"]["stop_reason"]
            message["usage"].update({k: v for k, v in body["usage"].items() if v is not None})
        elif kind == "error":
            message["error"] = body["error"]
    message["content"] = [message["content"][i] for i in sorted(message["content"])]
    for block in message["content"]:
        if block.get("json"):
            block["input"] = json.loads(block["json"])
    return message


def _naive(message: dict[str, Any]) -> dict[str, Any]:
    blocks, usage = message["content"], message["usage"]
    calls = [(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]
    detail = usage.get("cache_creation") or {}
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0)
    finish = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls", "max_tokens": "length",
              "pause_turn": "length", "refusal": "content_filter"}[message["stop_reason"]]  # fmt: skip
    written, hour = usage.get("cache_creation_input_tokens", 0), detail.get("ephemeral_1h_input_tokens", 0)
    return {
        "text": "".join(b["text"] for b in blocks if b["type"] == "text"),
        "thinking": [(b["thinking"], b["signature"]) for b in blocks if b["type"] == "thinking"],
        "redacted": [b["data"] for b in blocks if b["type"] == "redacted_thinking"],
        "calls": calls,
        "others": [b["type"] for b in blocks if b["type"] not in
                   ("text", "thinking", "redacted_thinking", "tool_use")],
        "finish": finish,
        "input": usage["input_tokens"],
        "cached": usage.get("cache_read_input_tokens", 0),
        "written": (written - hour, hour),
        "output": (usage["output_tokens"] - thought, thought),
        "searches": (usage.get("server_tool_use") or {}).get("web_search_requests", 0),
        "advised": [
            (i["input_tokens"], i["output_tokens"]) for i in usage.get("iterations") or () if i["type"] != "message"
        ],
    }  # fmt: skip


def _told(reply: events.Reply) -> dict[str, Any]:
    (choice,) = reply.choices
    usage = reply.usage or Usage()
    thinking = [p for p in choice.parts if isinstance(p, chat.Thinking)]
    return {
        "text": "".join(p.text for p in choice.parts if isinstance(p, chat.Text)),
        "thinking": [(p.text, p.signature) for p in thinking if p.redacted is None],
        "redacted": [p.redacted for p in thinking if p.redacted is not None],
        "calls": [
            (p.id, p.name, json.loads(p.arguments)) for p in choice.parts if isinstance(p, chat.ToolCall)
        ],
        "others": [p.name for p in choice.parts if isinstance(p, chat.Opaque)],
        "finish": choice.finish.value,
        "input": usage.input_tokens,
        "cached": usage.cache_read_tokens,
        "written": (usage.cache_write_tokens, usage.cache_write_1h_tokens),
        "output": (usage.output_tokens, usage.reasoning_tokens),
        "searches": usage.web_searches,
        "advised": [(u.prompt_tokens, u.completion_tokens) for _, u in usage.others],
    }


def _cuts(data: bytes) -> list[list[bytes]]:
    """Whole, by bytes, in odd lengths, and right behind every CR, LF and first byte of a character."""
    odd = [data[i : i + 37] for i in range(0, len(data), 37)]
    if len(data) < 20_000:
        return [[data], odd, [data[i : i + 1] for i in range(len(data))]]
    return [[data], odd]


@pytest.mark.parametrize("case", STREAMS)
def test_streams(case: dict[str, Any]) -> None:
    text = case["response"]["sse"]
    naive = _naive_stream(text)
    for pieces in _cuts(text.encode()):
        got = kit.decode(pieces)
        if "error" in naive:
            assert isinstance(got[-1], events.Failed)
            assert got[-1].error.message == naive["error"]["message"]
            continue
        assert got[-1] == events.Ended()
        assert _told(kit.decode_stream(text.encode())) == _naive(naive)


@pytest.mark.parametrize("case", WHOLE)
def test_whole_replies(case: dict[str, Any]) -> None:
    body = case["response"]["body"]
    reply = DIALECT.decode_reply(json.dumps(body).encode())
    assert _told(reply) == _naive(body)
    assert (reply.id, reply.model) == (body["id"], body["model"])


@pytest.mark.parametrize("case", [p for p in STREAMS + WHOLE if "reported" not in p.id])
def test_what_passes_is_what_came(case: dict[str, Any]) -> None:
    text = case["response"].get("sse")
    if text is None:
        body = case["response"]["body"]
        out = json.loads(DIALECT.pass_reply(json.dumps(body).encode(), kit.CONTEXT).finish(kit.BILL))
        assert {**out, "usage": None} == {**body, "usage": None}
        assert {**body["usage"], **out["usage"]} == out["usage"]
        return
    for pieces in _cuts(text.encode())[:2]:
        relay = DIALECT.pass_relay(kit.CONTEXT)
        out = b"".join([relay.feed(piece) for piece in pieces]) + relay.close()
        assert relay.observed.ended
        whole = out + relay.finish(kit.BILL)
        before, after = kit.frames(text.replace("\r\n", "\n").encode()), kit.frames(whole)
        assert len(after) == len([body for event, body in before if body != "[DONE]"])
        for (event, body), (name, found) in zip(before, after, strict=True):
            if name == "message_delta":
                assert found["usage"].pop("cost") == 0.0000345
                assert found["usage"].pop("credits_remaining") == 9.000000000001
            assert (event, body) == (name, found)


@pytest.mark.parametrize("case", STREAMS + WHOLE)
def test_a_client_of_this_dialect_sees_the_same(case: dict[str, Any]) -> None:
    """Decoded and written again, as a stream and as a whole."""
    text = case["response"].get("sse")
    if text is not None and "event: error" in text:
        pytest.skip("this stream ends in an error")
    reply = (
        DIALECT.decode_reply(json.dumps(case["response"]["body"]).encode())
        if text is None
        else kit.decode_stream(text.encode())
    )
    bill = kit.Bill(usage=reply.usage, cost_pusd=1, credits_remaining_pusd=1)
    whole, losses = DIALECT.encode_reply(reply, kit.CONTEXT, bill)
    assert losses == ()
    again = DIALECT.decode_reply(whole)
    assert kit.plain(again)["choices"] == kit.plain(reply)["choices"]
    assert again.usage == reply.usage
    encoder = DIALECT.stream_encoder(kit.CONTEXT)
    streamed = b"".join([encoder.encode(event) for event in unfold(reply)]) + encoder.finish(bill)
    kit.grammar(streamed)
    assert kit.plain(kit.decode_stream(streamed)) == kit.plain(reply)


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: dict[str, Any]) -> None:
    response = case["response"]
    body = json.dumps(response["body"]).encode() if response.get("body") is not None else b""
    error = DIALECT.decode_error(response["status"], response["headers"], body)
    assert error.status == response["status"]
    said = response["body"].get("error", response["body"])["message"]
    assert error.message == said
    kinds = {401: UpstreamKind.AUTHENTICATION, 403: UpstreamKind.PERMISSION, 404: UpstreamKind.NOT_FOUND,
             400: UpstreamKind.INVALID_REQUEST, 413: UpstreamKind.PAYLOAD, 529: UpstreamKind.OVERLOADED}  # fmt: skip
    assert error.kind is kinds[response["status"]]
    with pytest.raises(UpstreamError):
        DIALECT.decode_reply(body)


# --- requests ------------------------------------------------------------------------------------------


def _blocks(content: Any) -> list[Any]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    out = []
    for block in blocks:
        block = {k: v for k, v in block.items() if v is not None and k != "caller"}
        if block.get("type") == "tool_result":
            block["content"] = _blocks(block.get("content") or [])
            block = {k: v for k, v in block.items() if v is not False}
        if block.get("type") == "text" and not block["text"].strip():
            continue
        if block.get("type") == "image" and block["source"].get("data", "").startswith("/9j/"):
            block["source"] = {
                **block["source"],
                "media_type": "image/jpeg",
            }  # what it is, whatever it was called
        out.append(block)
    return out


def _conversation(body: dict[str, Any]) -> list[Any]:
    """Turns by meaning: neighbours together, results first, no empty text."""
    turns: list[Any] = []
    for message in body["messages"]:
        blocks = _blocks(message["content"])
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(blocks)
        else:
            turns.append((message["role"], blocks))
    for role, blocks in turns:
        if role == "user":
            blocks.sort(key=lambda b: b.get("type") != "tool_result")
    return [turn for turn in turns if turn[1]]


_MEANT = ("max_tokens", "stop_sequences", "temperature", "top_p", "top_k", "thinking", "tools", "metadata", "cache_control",
          "context_management", "container", "mcp_servers", "anthropic_version")  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_requests_lose_nothing(case: dict[str, Any]) -> None:
    body = {"model": "in-the-path", **case["request"]["body"]}
    inspected = DIALECT.inspect(json.dumps(body).encode(), None, None)
    data, losses = DIALECT.encode_request(DIALECT.decode_request(inspected), kit.target(body["model"]))
    found = json.loads(data)
    assert losses == ()
    assert _conversation(found) == _conversation(body)
    assert _blocks(found.get("system") or []) == _blocks(body.get("system") or [])
    for name in _MEANT:
        if name == "tools":
            assert (found.get(name) or []) == [_tool(tool) for tool in body.get(name) or []]
        else:
            assert found.get(name) == body.get(name), name
    assert bool(found.get("stream")) == bool(body.get("stream"))
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    assert (found.get("output_config") or {}).get("format") == wanted
    choice = {k: v for k, v in (body.get("tool_choice") or {}).items() if v is not False}
    assert (found.get("tool_choice") or {}) == (choice if body.get("tools") else {})


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A function tool without its optional type."""
    return {k: v for k, v in tool.items() if (k, v) != ("type", "custom")}


# --- requests of other dialects ----------------------------------------------------------------------------


def _check_demands(body: dict[str, Any]) -> None:
    """What the API refuses: turns that do not alternate, results that do not follow their calls, empty text."""
    waiting: set[str] = set()
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
    for message in body["messages"]:
        blocks = message["content"]
        assert blocks
        assert all(block["text"].strip() for block in blocks if block["type"] == "text")
        results = [block.get("tool_use_id") for block in blocks if block["type"] == "tool_result"]
        assert set(results) == waiting
        assert [block["type"] for block in blocks[: len(results)]] == ["tool_result"] * len(results)
        waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
    assert all(tool["input_schema"]["type"] == "object" for tool in body.get("tools") or ())
    budget = (body.get("thinking") or {}).get("budget_tokens")
    assert budget is None or 1024 <= budget < body["max_tokens"]


@pytest.mark.parametrize(
    ("api", "dialect"), [("chat_completions", "openai_chat"), ("*generate_content", "gemini_generate")]
)
def test_recorded_requests_of_other_dialects_become_valid_ones(api: str, dialect: str) -> None:
    front = DIALECTS[dialect]
    seen = 0
    for path in sorted(RECORDINGS.glob(f"dev/*/{api}/*.json")):
        body = (json.loads(path.read_bytes())["request"] or {}).get("body")
        if not isinstance(body, dict):
            continue
        try:
            inspected = front.inspect(
                json.dumps(body).encode(), "m" if dialect == "gemini_generate" else None, None
            )
            data, _ = DIALECT.encode_request(
                front.decode_request(inspected), kit.target(output_tokens_max=64000)
            )
        except (InvalidRequest, UnsupportedContent):
            continue
        DIALECT.inspect(data, None, None)
        _check_demands(json.loads(data))
        seen += 1
    assert seen > 50
