"""Every recorded chat_completions exchange through pass-through and through the canonical form.

What comes out is read by the strict reader of ``chat_reader``; what should come out is read from
the recording itself, naively. The recordings are no part of the project.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_reader import Read, parsed, read_body, read_stream

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.domain.model import Capabilities
from llm_router.wire.dialect import Bill, Relay, ReplyContext, Target
from llm_router.wire.dialects.openai_chat import DIALECT
from llm_router.wire.relay import BridgeRelay

RECORDINGS = Path(__file__).parents[2] / ".." / "shared" / "recordings"
FILES = sorted(RECORDINGS.glob("*/*/chat_completions/*.json"))

pytestmark = pytest.mark.skipif(not FILES, reason="the recordings are not beside the project")

CONTEXT = ReplyContext(reply_id="chatcmpl-ours0123456789", model="our-model", created_s=1_700_000_000)
TARGET = Target(
    provider="elsewhere",
    model="up-1",
    dialect="openai_chat",
    capabilities=Capabilities(tools=True, json_object=True, json_schema=True),
)
CUTS = (1, 7, 64, 1021, 10**9)


def _load(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def _select(kind: str) -> list[Any]:
    found = []
    for path in FILES:
        response = _load(path)["response"]
        this = "error" if response["status"] >= 400 else "stream" if response.get("sse") else "body"
        if this == kind:
            found.append(pytest.param(path, id=path.stem))
    return found


# -- what the recording says, read naively ---------------------------------------------------------


class Expected:
    def __init__(self) -> None:
        self.text: dict[int, str] = {}
        self.reasoning: dict[int, str] = {}
        self.calls: dict[int, list[dict[str, str]]] = {}
        self.functions: dict[int, dict[str, str]] = {}
        self.native: dict[int, Any] = {}
        self.usage: dict[str, Any] | None = None
        self.error = False

    def choice(self, index: int) -> None:
        if index not in self.text:
            self.text[index] = self.reasoning[index] = ""
            self.calls[index] = []

    def add(self, index: int, message: dict[str, Any]) -> None:
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                if part.get("type") == "thinking":
                    self.reasoning[index] += "".join(t["text"] for t in part["thinking"])
                elif part.get("type") == "text":
                    self.text[index] += part["text"]
        else:
            self.text[index] += content or ""
        self.reasoning[index] += message.get("reasoning_content") or message.get("reasoning") or ""
        function = message.get("function_call") or {}
        if function.get("name") or function.get("arguments"):
            held = self.functions.setdefault(index, {"name": "", "arguments": ""})
            held["name"] += function.get("name") or ""
            held["arguments"] += function.get("arguments") or ""
        for call in message.get("tool_calls") or []:
            self._call(index, call)

    def _call(self, index: int, call: dict[str, Any]) -> None:
        body = call.get("function") or call.get("custom") or {}
        text = body.get("arguments") or body.get("input") or ""
        calls = self.calls[index]
        if call.get("id") and call["id"] not in {c["id"] for c in calls}:
            calls.append({"id": call["id"], "name": body.get("name") or "", "arguments": text})
        else:
            at = call.get("index", -1)
            calls[at if at < len(calls) else -1]["arguments"] += text


def _expected_stream(text: str) -> Expected:
    out = Expected()
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data in ("", "[DONE]"):
            continue
        chunk = json.loads(data)
        out.error = out.error or bool(chunk.get("error"))
        out.usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or out.usage
        for choice in chunk.get("choices") or []:
            index = choice.get("index", 0)
            out.choice(index)
            out.add(index, choice.get("delta") or {})
            if choice.get("finish_reason"):
                out.native.setdefault(index, choice["finish_reason"])
    return out


def _expected_body(body: dict[str, Any]) -> Expected:
    out = Expected()
    out.usage = body.get("usage")
    for number, choice in enumerate(body["choices"]):
        out.choice(number)
        out.add(number, choice.get("message") or {})
        native = choice.get("finish_reason")
        out.native[number] = (
            native if native is not None else (choice.get("finish_details") or {}).get("type")
        )
    return out


KNOWN = {"stop", "length", "tool_calls", "content_filter", "function_call"}
OTHER = {"eos": "stop", "": "stop", None: "stop", "max_tokens": "length"}


def _finish(expected: Expected, index: int) -> str:
    native = expected.native.get(index)
    word = native if native in KNOWN else OTHER[native]
    if word == "stop" and expected.calls[index]:
        return "tool_calls"
    if word == "tool_calls" and not expected.calls[index]:
        return "stop"
    return word


def _counts(usage: dict[str, Any], shows: bool) -> tuple[int, int, int | None]:
    """Prompt, completion with its reasoning, and cached tokens, by the arithmetic of the numbers."""
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    details = usage.get("completion_tokens_details") or {}
    reasoning = details.get("reasoning_tokens") or 0
    excess = usage["total_tokens"] - prompt - completion
    if excess > 0:
        audio = (usage.get("prompt_tokens_details") or {}).get("audio_tokens")
        if audio == excess:
            prompt += excess
        else:
            completion += excess
    elif reasoning > completion and shows:
        completion += reasoning
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", usage.get("num_cached_tokens"))
    return prompt, completion, None if cached is None else min(cached, prompt)


def _compare(read: Read, expected: Expected, *, usage: bool) -> None:
    assert read.text == expected.text
    assert read.reasoning == expected.reasoning
    for index, calls in expected.calls.items():
        shown = [(c["id"], c["name"], c["arguments"]) for c in read.calls[index]]
        cut = read.finish[index] == "length"
        wanted = [(c["id"], c["name"], _arguments(c["arguments"], cut)) for c in calls]
        assert [s[:2] for s in shown] == [w[:2] for w in wanted]
        assert [parsed(s[2]) for s in shown] == [parsed(w[2]) for w in wanted]
        assert read.finish[index] == _finish(expected, index)
    assert {i: (f["name"], parsed(f["arguments"])) for i, f in read.function.items()} == {
        i: (f["name"], parsed(f["arguments"])) for i, f in expected.functions.items()
    }
    assert read.usage is not None
    if expected.usage is None:
        assert read.usage["prompt_tokens"] is None
    elif usage:
        shows = any(expected.text.values()) or any(expected.calls.values())
        prompt, completion, cached = _counts(expected.usage, shows)
        assert read.usage["prompt_tokens"] == prompt
        assert read.usage["completion_tokens"] == completion
        assert read.usage["total_tokens"] == prompt + completion
        if cached is not None:
            assert read.usage["prompt_tokens_details"]["cached_tokens"] == cached


def _arguments(text: str, cut: bool) -> str:
    return "{}" if not cut and text in ("", "null") else text


# -- the tests -------------------------------------------------------------------------------------


def _run(relay: Relay, data: bytes, cut: int) -> tuple[bytes, Relay]:
    out = b""
    for start in range(0, len(data), cut):
        out += relay.feed(data[start : start + cut])
        if relay.observed.ended or relay.observed.error:
            break
    else:
        out += relay.close()
    if relay.observed.error is not None:
        return out + relay.fail(relay.observed.error, "gen-1"), relay
    bill = Bill(usage=relay.observed.usage, cost_pusd=1_234_500, credits_remaining_pusd=10**13)
    return out + relay.finish(bill), relay


def _check_types(data: bytes) -> None:
    """Whether the official client's own types take every chunk, or the whole reply."""
    openai = pytest.importorskip("openai.types.chat", reason="the openai package is not installed")
    if not data.startswith(b"data: "):
        body = json.loads(_known_usage(data))
        for choice in body["choices"]:  # OpenRouter's own kinds of annotations pass
            notes = choice["message"].pop("annotations", None) or []
            choice["message"]["annotations"] = [note for note in notes if note["type"] == "url_citation"]
        openai.ChatCompletion.model_validate(body)
        return
    for frame in data[:-2].split(b"\n\n"):
        if frame != b"data: [DONE]":
            openai.ChatCompletionChunk.model_validate_json(_known_usage(frame[6:]))


def _known_usage(data: bytes) -> bytes:
    """Unknown counts are null, for which the client's types have no room."""
    return data.replace(b'_tokens":null', b'_tokens":0')


def _check_stream(data: bytes, relay: Relay, expected: Expected) -> None:
    if expected.error:
        assert relay.observed.error is not None
        assert not relay.observed.ended
        if data.count(b"\n\n") > 1:
            read = read_stream(data)
            assert read.error is not None
            assert not read.done
        return
    assert relay.observed.error is None
    assert relay.observed.ended
    read = read_stream(data)
    assert read.done
    _check_types(data)
    _compare(read, expected, usage=True)


@pytest.mark.parametrize("path", _select("stream"))
def test_streams_pass(path: Path) -> None:
    text = _load(path)["response"]["sse"]
    expected = _expected_stream(text)
    for cut in CUTS:
        data, relay = _run(DIALECT.pass_relay(CONTEXT), text.encode(), cut)
        _check_stream(data, relay, expected)


@pytest.mark.parametrize("path", _select("stream"))
def test_streams_bridge_to_themselves(path: Path) -> None:
    text = _load(path)["response"]["sse"]
    expected = _expected_stream(text)
    for cut in CUTS:
        relay = BridgeRelay(DIALECT.stream_decoder(), DIALECT.stream_encoder(CONTEXT))
        data, _ = _run(relay, text.encode(), cut)
        _check_stream(data, relay, _bridged(expected))


def _bridged(expected: Expected) -> Expected:
    """The canonical form knows tool calls only; a legacy call becomes one."""
    for index, function in expected.functions.items():
        expected.calls[index] = [{"id": "call_gw_reply_" + str(index * 1000), **function}]
        expected.native[index] = "tool_calls"
    expected.functions = {}
    return expected


@pytest.mark.parametrize("path", _select("body"))
def test_bodies_pass(path: Path) -> None:
    body = _load(path)["response"]["body"]
    passed = DIALECT.pass_reply(json.dumps(body).encode(), CONTEXT)
    bill = Bill(usage=passed.observed.usage, cost_pusd=0, credits_remaining_pusd=5 * 10**12)
    data = passed.finish(bill)
    _check_types(data)
    _compare(read_body(data), _expected_body(body), usage=True)


@pytest.mark.parametrize("path", _select("body"))
def test_bodies_bridge_to_themselves(path: Path) -> None:
    body = _load(path)["response"]["body"]
    reply = DIALECT.decode_reply(json.dumps(body).encode())
    bill = Bill(usage=reply.usage, cost_pusd=0, credits_remaining_pusd=5 * 10**12)
    data, _ = DIALECT.encode_reply(reply, CONTEXT, bill)
    _check_types(data)
    read, expected = read_body(data), _expected_body(body)
    for index in expected.functions:
        expected.functions[index]["id"] = read.calls[index][0]["id"]
        expected.calls[index] = [expected.functions[index]]
        expected.native[index] = "tool_calls"
    expected.functions = {}
    _compare(read, expected, usage=True)


@pytest.mark.parametrize("path", _select("error"))
def test_errors_are_understood(path: Path) -> None:
    response = _load(path)["response"]
    body = response.get("body")
    data = b"" if body is None else json.dumps(body).encode()
    headers = {name.lower(): value for name, value in (response.get("headers") or {}).items()}
    error = DIALECT.decode_error(response["status"], headers, data)
    assert isinstance(error, UpstreamError)
    assert error.status == response["status"]
    assert error.message
    if response["status"] == 401:
        assert error.kind is UpstreamKind.AUTHENTICATION
    sent = json.loads(DIALECT.encode_error(error, "gen-1"))["error"]
    assert {"message", "type", "param", "code", "request_id"} <= sent.keys()
    assert isinstance(sent["code"], str)


def _requests() -> list[Any]:
    return [
        pytest.param(path, id=path.stem)
        for path in FILES
        if isinstance(((_load(path)["request"] or {}).get("body")), dict)
        and _load(path)["response"]["status"] == 200
    ]


@pytest.mark.parametrize("path", _requests())
def test_requests_that_were_answered_are_taken(path: Path) -> None:
    """Through the edit and through the canonical form; what the second writes says the same again."""
    body = json.dumps({**_load(path)["request"]["body"], "model": "public-id"}).encode()
    inspected = DIALECT.inspect(body, None, None)
    edited, _ = DIALECT.edit_request(inspected, TARGET, {})
    assert json.loads(edited)["messages"]
    request = DIALECT.decode_request(inspected)
    written, _ = DIALECT.encode_request(request, TARGET)
    again = DIALECT.decode_request(DIALECT.inspect(written, None, None))
    assert [[type(p) for p in m.parts] for m in again.messages] == [
        [type(p) for p in m.parts] for m in request.messages
    ]
