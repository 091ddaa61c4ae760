"""Every recorded exchange of the Responses API against a naive reader of its own; and the bridges.

Replies recorded of the other dialects go through this one's encoder to a strict reader; what this
one reads goes through the chat encoder to the strict reader of chat.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import responses_kit as kit
from chat_reader import read_body as read_chat_body
from chat_reader import read_stream as read_chat_stream
from responses_reader import Read, read_response, read_stream

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire import chat, events
from llm_router.wire.dialect import Bill, ReplyContext
from llm_router.wire.dialects.openai_responses import DIALECT
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.relay import BridgeRelay
from llm_router.wire.routed import MEMBERS

ROWS = kit.RECORDINGS / "dev" / "index.json"
pytestmark = pytest.mark.skipif(not ROWS.exists(), reason="the folder ../shared/recordings is not here")

APIS = {
    "responses": "openai_responses",
    "chat_completions": "openai_chat",
    "messages": "anthropic_messages",
    "generate_content": "gemini_generate",
    "stream_generate_content": "gemini_generate",
}
CUTS = (1_000_000, 1, 3, 61, 4096)


def _rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ROWS.read_text()) if ROWS.exists() else []
    return [row for row in found if row["api"] in APIS]


def _select(*, own: bool, kind: str) -> list[Any]:
    """Recordings of this API or of the others; ``kind``: stream, body, error or request."""
    found = []
    for row in _rows():
        if (row["api"] == "responses") is not own:
            continue
        if kind == "request":
            wanted = row["has_request"]
        elif row["status"] != 200:
            wanted = kind == "error"
        else:
            wanted = kind == ("stream" if row["stream"] else "body")
        if wanted:
            found.append(pytest.param(kit.RECORDINGS / "dev" / row["file"], row["api"], id=row["id"]))
    return found


def _load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


# -- a naive reader --------------------------------------------------------------------------------


class Expected:
    """What a recording says, read without any of our code."""

    def __init__(self, response: dict[str, Any]) -> None:
        self.texts: list[str] = []
        self.refusals: list[str] = []
        self.thoughts: list[str] = []
        self.states: list[str | None] = []
        self.calls: list[tuple[str, str, str]] = []
        self.others: list[str] = []
        self.notes = 0
        for item in response["output"]:
            self.item(item)
        if isinstance(response.get("reasoning"), str) and response["reasoning"].strip():
            self.thoughts.insert(0, response["reasoning"])
        self.usage = response["usage"]
        cut = response["status"] == "incomplete"
        self.finish = "length" if cut else "tool_calls" if self.calls else "stop"

    def item(self, item: dict[str, Any]) -> None:
        match item["type"]:
            case "message":
                for part in item["content"]:
                    if part["type"] == "refusal":
                        self.refusals.append(part["refusal"])
                    else:
                        self.texts.append(part["text"])
                        self.notes += len(part.get("annotations", []))
            case "reasoning":
                texts = [part["text"] for part in (*item["summary"], *(item.get("content") or []))]
                self.thoughts.append("\n\n".join(texts))
                self.states.append(item.get("encrypted_content"))
            case "function_call":
                self.calls.append((item["call_id"], item["name"], item["arguments"] or "{}"))
            case "custom_tool_call":
                self.calls.append((item["call_id"], item["name"], item["input"]))
            case "image_generation_call" if item.get("result"):
                self.others.append("image")
            case kind:
                self.others.append(kind)

    def check(self, reply: events.Reply) -> None:
        choice = reply.choices[0]
        parts = choice.parts
        assert [p.text for p in parts if isinstance(p, chat.Text)] == self.texts
        assert [p.text for p in parts if isinstance(p, chat.Refusal)] == self.refusals
        assert [p.text for p in parts if isinstance(p, chat.Thinking)] == self.thoughts
        assert [(p.id, p.name, p.arguments) for p in parts if isinstance(p, chat.ToolCall)] == self.calls
        others = [p for p in parts if isinstance(p, chat.Opaque | chat.Media)]
        assert [p.name if isinstance(p, chat.Opaque) else "image" for p in others] == self.others
        assert sum(len(p.citations) for p in parts if isinstance(p, chat.Text)) == self.notes
        assert choice.finish == self.finish
        self.check_usage(reply)

    def check_usage(self, reply: events.Reply) -> None:
        usage, told = reply.usage, self.usage
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens) == (told["input_tokens"], told["output_tokens"])
        assert usage.cache_read_tokens == told.get("input_tokens_details", {}).get("cached_tokens", 0)
        assert usage.reasoning_tokens == told.get("output_tokens_details", {}).get("reasoning_tokens", 0)
        written = told.get("input_tokens_details", {}).get("cache_write_tokens", 0)
        assert usage.cache_write_tokens + usage.cache_write_1h_tokens == written


def _events(sse: str) -> list[dict[str, Any]]:
    lines = re.findall(r"^data:[ ]?(.*)$", sse, re.M)
    return [json.loads(line) for line in lines if line.startswith("{")]


def _pieces(data: bytes, cut: int) -> list[bytes]:
    return [data[start : start + cut] for start in range(0, len(data), cut)]


# -- this API --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "api"), _select(own=True, kind="stream"))
def test_every_stream(path: Path, api: str) -> None:
    sse = _load(path)["response"]["sse"]
    told = _events(sse)
    expected = Expected(told[-1]["response"])
    whole = {e["item"]["id"]: e["item"] for e in told if e["type"] == "response.output_item.done"}
    for newline in ("\n", "\r\n"):
        raw = sse.replace("\n", newline).encode()
        for cut in CUTS:
            folder = kit.folded(kit.decode(raw, range(cut, len(raw), cut)))
            assert folder.ended
            expected.check(folder.reply())
    for part in folder.reply().choices[0].parts:
        if isinstance(part, chat.Thinking) and not part.text:
            assert part.signature == (whole[part.id].get("encrypted_content") if part.id in whole else None)


@pytest.mark.parametrize(("path", "api"), _select(own=True, kind="body"))
def test_every_reply(path: Path, api: str) -> None:
    body = _load(path)["response"]["body"]
    data = json.dumps(body).encode()
    reply = DIALECT.decode_reply(data)
    Expected(body).check(reply)
    passed = DIALECT.pass_reply(data, kit.CONTEXT)
    read = read_response(passed.finish(msgspec.structs.replace(kit.BILL, usage=reply.usage)), passed=True)
    mended = {"id", "usage", "created_at", "output"}
    mended |= {"status"} if body["status"] == "complete" else set()
    mended |= {"reasoning"} if isinstance(body.get("reasoning"), str) else set()
    assert {n: read.response[n] for n in body if n not in mended} == {
        n: v for n, v in body.items() if n not in mended
    }
    assert read.usage["cost"] == 0.0015
    assert passed.observed.usage == reply.usage


@pytest.mark.parametrize(("path", "api"), _select(own=True, kind="stream"))
def test_every_stream_passes(path: Path, api: str) -> None:
    recording = _load(path)
    raw = recording["response"]["sse"].encode()
    told = _events(recording["response"]["sse"])
    for cut in CUTS:
        relay = DIALECT.pass_relay(kit.CONTEXT)
        out = b"".join(map(relay.feed, _pieces(raw, cut)))
        out += b"" if relay.observed.ended else relay.close()
        assert relay.observed.ended
        out += relay.finish(msgspec.structs.replace(kit.BILL, usage=relay.observed.usage))
        read = read_stream(out, passed=True)
    Expected(told[-1]["response"]).check(DIALECT.decode_reply(json.dumps(read.response).encode()))
    if recording["provider"] in ("openai", "azure"):
        frames = [frame for frame in raw.replace(b"\r\n", b"\n").split(b"\n\n") if frame.strip()]
        assert out.split(b"\n\n")[: len(frames) - 1] == frames[:-1]
    assert read.usage["credits_remaining"] == 2


@pytest.mark.parametrize(("path", "api"), _select(own=True, kind="stream"))
def test_every_cut_stream_is_seen(path: Path, api: str) -> None:
    raw = _load(path)["response"]["sse"].encode()
    last = max(raw.rfind(name) for name in (b'"response.completed"', b'"response.incomplete"'))
    for cut in [*range(0, last, max(1, last // 40)), last]:
        relay = DIALECT.pass_relay(kit.CONTEXT)
        out = relay.feed(raw[:cut]) + relay.close()
        assert relay.observed.error is not None
        assert relay.observed.error.kind is UpstreamKind.TRUNCATED
        failed = out + relay.fail(relay.observed.error, "gen-1")
        assert isinstance(kit.decode(failed)[-1], events.Failed)


@pytest.mark.parametrize(("path", "api"), _select(own=True, kind="error"))
def test_every_error(path: Path, api: str) -> None:
    response = _load(path)["response"]
    headers = {name.lower(): value for name, value in response["headers"].items()}
    error = DIALECT.decode_error(response["status"], headers, json.dumps(response["body"]).encode())
    told = response["body"]["error"]
    assert error.message.split()[:4] == (told if isinstance(told, str) else told["message"]).split()[:4]
    assert error.status == response["status"]
    wrong_key = "API key" in error.message
    assert error.kind is (UpstreamKind.AUTHENTICATION if wrong_key else UpstreamKind.INVALID_REQUEST)


# -- requests --------------------------------------------------------------------------------------


def _facts(body: dict[str, Any]) -> dict[str, Any]:
    """What a request says, in one spelling."""
    items: list[Any] = (
        [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    )
    given = body.get("input")
    items += [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    said: list[Any] = []
    for item in items:
        item = {
            name: value for name, value in item.items() if name not in ("id", "status") and value is not None
        }
        role = item.pop("role", None)
        if item.get("type", "message") == "message":
            content = item["content"] if isinstance(item["content"], list) else [{"text": item["content"]}]
            said += [(role, _part(part), item.get("phase")) for part in content]
            continue
        if isinstance(item.get("output"), list) and item["type"] == "function_call_output":
            item["output"] = [_part(part) for part in item["output"]]
        if item["type"] == "reasoning":
            item.pop("content", None) if not item.get("content") else None
        said.append(item)
    options = {
        name: value
        for name, value in body.items()
        if name not in ("input", "instructions", "store", "include", "tools", "model", "parallel_tool_calls")
        and value not in (None, {}, [], False, "disabled")
    }
    include = set(body.get("include") or []) - {"reasoning.encrypted_content"}
    tools = [{n: v for n, v in tool.items() if v is not None} for tool in body.get("tools") or []]
    return {"said": said, "options": options, "include": include, "tools": tools}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    left_out = ("type", "annotations", "logprobs") if "text" in part else ()
    return {name: v for name, v in part.items() if name not in left_out and (name, v) != ("detail", "auto")}


@pytest.mark.parametrize(("path", "api"), _select(own=True, kind="request"))
def test_every_request_passes_unchanged_and_decodes_without_silent_loss(path: Path, api: str) -> None:
    body = (_load(path)["request"] or {}).get("body")
    if not body or "model" not in body:
        pytest.skip("the recording has no request body, or its model stands in a stored prompt")
    raw = json.dumps(body).encode()
    inspected = DIALECT.inspect(raw, None, None)
    target = msgspec.structs.replace(kit.TARGET, model=body["model"])
    data, losses = DIALECT.edit_request(inspected, target, {})
    body = {name: value for name, value in body.items() if name not in MEMBERS}
    assert json.loads(data) == body
    assert losses == ()
    again, losses = DIALECT.encode_request(DIALECT.decode_request(inspected), target)
    ours, theirs = _facts(json.loads(again)), _facts(body)
    declared = {loss.field for loss in losses}
    assert declared <= {"messages[].reasoning"}
    if declared:
        ours["said"], theirs["said"] = (
            [item for item in said if not isinstance(item, dict) or item["type"] != "reasoning"]
            for said in (ours["said"], theirs["said"])
        )
    for name in theirs:
        assert ours[name] == theirs[name], name


# -- bridges ---------------------------------------------------------------------------------------


def _same(read: Read, reply: events.Reply) -> None:
    parts = reply.choices[0].parts
    assert read.text == "".join(p.text for p in parts if isinstance(p, chat.Text))
    assert "".join(read.thoughts) == "".join(p.text for p in parts if isinstance(p, chat.Thinking))
    calls = [p for p in parts if isinstance(p, chat.ToolCall)]
    assert [c["name"] for c in read.calls] == [p.name for p in calls]
    assert [c.get("arguments", c.get("input")) for c in read.calls] == [p.arguments for p in calls]
    finish = reply.choices[0].finish
    assert (read.status == "completed") is (finish in (events.Finish.STOP, events.Finish.TOOL_CALLS))
    if reply.usage is not None:
        assert read.usage["input_tokens"] == reply.usage.prompt_tokens
        assert read.usage["output_tokens"] == reply.usage.completion_tokens
        assert read.usage["input_tokens_details"]["cached_tokens"] == reply.usage.cache_read_tokens


@pytest.mark.parametrize(
    ("path", "api"), _select(own=False, kind="stream") + _select(own=True, kind="stream")
)
def test_streams_of_every_dialect_reach_a_strict_client(path: Path, api: str) -> None:
    response = _load(path)["response"]
    raw = (response.get("sse") or response["text"]).encode()
    behind = DIALECTS[APIS[api]]
    folder = kit.folded(kit.decode(raw, (), behind.stream_decoder()))
    for cut in (61, 1_000_000):
        relay = BridgeRelay(behind.stream_decoder(), DIALECT.stream_encoder(kit.CONTEXT))
        out = b"".join(map(relay.feed, _pieces(raw, cut)))
        out += b"" if relay.observed.ended or relay.observed.error else relay.close()
        if folder.error is not None:
            assert relay.observed.error is not None
            assert read_stream(out + relay.fail(relay.observed.error, "gen-1")).status == "failed"
            continue
        bill = msgspec.structs.replace(kit.BILL, usage=relay.observed.usage)
        read = read_stream(out + relay.finish(bill))
        if len(folder.reply().choices) == 1:
            _same(read, folder.reply())


@pytest.mark.parametrize(("path", "api"), _select(own=False, kind="body") + _select(own=True, kind="body"))
def test_replies_of_every_dialect_reach_a_strict_client(path: Path, api: str) -> None:
    data = json.dumps(_load(path)["response"]["body"]).encode()
    try:
        reply = DIALECTS[APIS[api]].decode_reply(data)
    except UpstreamError:
        pytest.skip("the provider reports a failure")
    bill = msgspec.structs.replace(kit.BILL, usage=reply.usage)
    read = read_response(DIALECT.encode_reply(reply, kit.CONTEXT, bill)[0])
    if len(reply.choices) == 1:
        _same(read, reply)


CHAT_CONTEXT = ReplyContext(reply_id="chatcmpl-own1", model="harbor-public", created_s=1_751_000_001)


@pytest.mark.parametrize(("path", "api"), _select(own=True, kind="stream"))
def test_streams_reach_a_strict_chat_client(path: Path, api: str) -> None:
    sse = _load(path)["response"]["sse"]
    expected = Expected(_events(sse)[-1]["response"])
    relay = BridgeRelay(DIALECT.stream_decoder(), DIALECTS["openai_chat"].stream_encoder(CHAT_CONTEXT))
    out = b"".join(map(relay.feed, _pieces(sse.encode(), 61)))
    out += b"" if relay.observed.ended else relay.close()
    bill = Bill(usage=relay.observed.usage, cost_pusd=1, credits_remaining_pusd=1)
    read = read_chat_stream(out + relay.finish(bill))
    assert read.done
    _check_chat(read, expected)


@pytest.mark.parametrize(("path", "api"), _select(own=True, kind="body"))
def test_replies_reach_a_strict_chat_client(path: Path, api: str) -> None:
    body = _load(path)["response"]["body"]
    reply = DIALECT.decode_reply(json.dumps(body).encode())
    bill = Bill(usage=reply.usage, cost_pusd=1, credits_remaining_pusd=1)
    data, _ = DIALECTS["openai_chat"].encode_reply(reply, CHAT_CONTEXT, bill)
    _check_chat(read_chat_body(data), Expected(body))


def _check_chat(read: Any, expected: Expected) -> None:
    assert read.text.get(0, "") == "".join(expected.texts)
    assert read.refusal.get(0, "") == "".join(expected.refusals)
    assert read.reasoning.get(0, "") == "\n\n".join(filter(None, expected.thoughts))
    shown = [(call["id"], call["name"], call["arguments"]) for call in read.calls.get(0, [])]
    assert shown == expected.calls
    assert read.finish[0] == expected.finish
    assert read.usage["prompt_tokens"] == expected.usage["input_tokens"]
    assert read.usage["completion_tokens"] == expected.usage["output_tokens"]
