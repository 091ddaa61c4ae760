"""Every recorded exchange of the API, read again by a naive reader of its own and compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gemini_kit import BILL, CONTEXT, RECORDINGS, TARGET, decode, folded

from llm_router.domain.errors import UpstreamError
from llm_router.wire import chat
from llm_router.wire.dialects.gemini_generate import DIALECT
from llm_router.wire.jsonschema import from_openapi

FILES = sorted(
    path
    for api in ("generate_content", "stream_generate_content")
    for path in RECORDINGS.glob(f"*/*/{api}/*.json")
)
pytestmark = pytest.mark.skipif(
    not FILES, reason=f"no recordings in {RECORDINGS.parent.name}/{RECORDINGS.name}"
)

FAILING = {
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "OTHER",
    "NO_IMAGE",
}
FINISHES = {"STOP": "stop", "1": "stop", "MAX_TOKENS": "length", "2": "length"}


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def stream_text(response: dict[str, Any]) -> str | None:
    return response.get("sse") or response.get("text")


def messages(response: dict[str, Any]) -> list[dict[str, Any]]:
    if response.get("sse"):
        frames = re.split(r"(?:\r\n|\n){2,}", response["sse"].strip())
        return [json.loads(frame.removeprefix("data:")) for frame in frames]
    body = response["body"]
    return body if isinstance(body, list) else [body]


class Naive:
    """What a recording says, read without any of our code."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self.text = self.thoughts = ""
        self.calls: list[tuple[str, Any, str | None]] = []
        self.signatures: list[str] = []
        self.others: list[str] = []
        self.finish: str | None = None
        self.blocked = False
        usage: dict[str, Any] = {}
        for message in found:
            if any(name.endswith("TokenCount") for name in message.get("usageMetadata", {})):
                usage = message["usageMetadata"]
            self.blocked = self.blocked or "blockReason" in message.get("promptFeedback", {})
            for candidate in message.get("candidates", []):
                self.finish = str(candidate["finishReason"]) if candidate.get("finishReason") else self.finish
                for part in candidate.get("content", {}).get("parts", []):
                    self.part(part)
        prompt, cached = usage.get("promptTokenCount", 0), usage.get("cachedContentTokenCount", 0)
        tool, visible = usage.get("toolUsePromptTokenCount", 0), usage.get("candidatesTokenCount", 0)
        self.prompt, self.cached = prompt + tool, cached
        self.completion = usage.get("totalTokenCount", prompt + tool + visible) - prompt - tool
        self.reasoning = self.completion - visible

    def part(self, part: dict[str, Any]) -> None:
        signature = part.get("thoughtSignature")
        if "functionCall" in part:
            self.calls.append((part["functionCall"]["name"], part["functionCall"].get("args", {}), signature))
        elif "text" in part:
            if part.get("thought"):
                self.thoughts += part["text"]
            else:
                self.text += part["text"]
            self.signatures += [signature] if signature else []
        else:
            self.others += [name for name in part if name not in ("thought", "thoughtSignature")]


def compare(reply: Any, naive: Naive) -> None:
    parts = reply.choices[0].parts
    assert "".join(p.text for p in parts if isinstance(p, chat.Text)) == naive.text
    assert "".join(p.text for p in parts if isinstance(p, chat.Thinking)) == naive.thoughts
    calls = [p for p in parts if isinstance(p, chat.ToolCall)]
    assert [(p.name, json.loads(p.arguments), p.signature) for p in calls] == naive.calls
    assert len({p.id for p in calls} - {""}) == len(calls)
    signed = [p.signature for p in parts if isinstance(p, chat.Text | chat.Thinking) and p.signature]
    assert signed == naive.signatures
    others = [
        p.name if isinstance(p, chat.Opaque) else "inlineData"
        for p in parts
        if isinstance(p, chat.Opaque | chat.Media)
    ]
    assert others == naive.others
    expected = FINISHES.get(naive.finish or "", "content_filter")
    assert reply.choices[0].finish == ("tool_calls" if calls and expected == "stop" else expected)
    usage = reply.usage
    assert (usage.prompt_tokens, usage.cache_read_tokens) == (naive.prompt, naive.cached)
    assert (usage.completion_tokens, usage.reasoning_tokens) == (naive.completion, naive.reasoning)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_reply(path: Path) -> None:
    response = load(path)["response"]
    if response["status"] != 200:
        raw = json.dumps(response["body"]).encode()
        error = DIALECT.decode_error(response["status"], response["headers"], raw)
        assert error.status == response["status"]
        assert error.message == response["body"]["error"]["message"]
        return
    naive = Naive(messages(response))
    text = stream_text(response)
    if text is None:
        body = json.dumps(response["body"]).encode()
        if naive.finish in FAILING:
            with pytest.raises(UpstreamError):
                DIALECT.decode_reply(body)
            return
        compare(DIALECT.decode_reply(body), naive)
        return
    raw = text.encode()
    for cuts in (
        (),
        range(0, len(raw), 3),
        range(1, len(raw), 61),
        [len(raw) - 1, len(raw) - 2, len(raw) - 3],
    ):
        folder = folded(decode(raw, cuts))
        if naive.finish in FAILING:
            assert folder.error is not None
            continue
        assert folder.ended
        compare(folder.reply(), naive)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_stream_passes_and_a_cut_one_is_seen(path: Path) -> None:
    response = load(path)["response"]
    text = stream_text(response)
    if response["status"] != 200 or text is None:
        return
    raw = text.encode()
    relay = DIALECT.pass_relay(CONTEXT)
    out = b"".join(relay.feed(raw[n : n + 13]) for n in range(0, len(raw), 13)) + relay.close()
    assert relay.observed.ended
    out += relay.finish(BILL)
    bill = re.compile(rb',"cost":[0-9.]+,"creditsRemaining":[0-9.]+')
    billed = bill.sub(b"", out)
    if response.get("sse"):
        assert [
            json.loads(f.removeprefix("data:")) for f in re.split(r"(?:\r\n|\n){2,}", billed.decode().strip())
        ] == messages(response)
        head = raw.rpartition(b"data:")[0]
        assert out.startswith(head) or raw.count(b"finishReason") > 1
    for cut in range(1, len(raw), max(1, len(raw) // 40)):
        folder = folded(decode(raw[:cut]))
        assert folder.ended or folder.error is not None
        if folder.ended:
            assert b"finishReason" in raw[:cut]


def camels(value: Any, free: bool = False) -> Any:
    """A request in camelCase, but for what belongs to the client (arguments, answers, schemas)."""

    def name(key: str) -> str:
        head, *rest = key.split("_")
        return head + "".join(word.title() for word in rest)

    if isinstance(value, list):
        return [camels(v, free) for v in value]
    if not isinstance(value, dict) or free:
        return value
    own = {"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"}
    raw = {"code_execution", "fileSearch", "file_search", "toolCall", "toolResponse"}
    return {name(k): camels(v, name(k) in own or k in raw) for k, v in value.items() if v is not None}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def facts(body: dict[str, Any]) -> dict[str, Any]:
    """What a request says, in one spelling, without ids, turn borders and thinking."""
    body = camels(body)
    said: list[Any] = []
    for content in listed(body["contents"]):
        for part in listed(content["parts"]):
            part = dict(part)
            for kind in ("functionCall", "functionResponse"):
                if kind in part:
                    answer = dict(part[kind])
                    answer.pop("id", None)
                    answer.setdefault("args" if kind == "functionCall" else "response", {})
                    output = answer.get("response")
                    if (
                        isinstance(output, dict)
                        and list(output) == ["output"]
                        and isinstance(output["output"], str)
                    ):
                        answer["response"] = {"result": output["output"]}
                    part[kind] = answer
            if "inlineData" in part:  # either alphabet of base64
                blob = part["inlineData"]
                part["inlineData"] = blob | {"data": blob["data"].replace("-", "+").replace("_", "/")}
            if part.get("thought") is False or part.get("thought") is None:
                part.pop("thought", None)
            if part.get("text") == "" and len(part) == 1:
                continue
            said.append(((content.get("role") or "user").replace("function", "user"), part))
    system = body.get("systemInstruction", {})
    system = listed(system.get("parts")) if isinstance(system, dict) else [{"text": system}]
    config = dict(body.get("generationConfig", {}))
    for name in ("thinkingConfig", "candidateCount"):
        config.pop(name, None)
    if "responseSchema" in config:
        config["responseJsonSchema"] = from_openapi(config.pop("responseSchema"))
    declared = []
    others = []
    for tool in listed(body.get("tools")):
        for kind, value in tool.items():
            if kind != "functionDeclarations":
                others.append({kind: value})
                continue
            for one in listed(value):
                schema = one.get("parametersJsonSchema") or from_openapi(one.get("parameters") or {})
                declared.append((one["name"], one.get("description"), schema))
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    rest = {
        k: v for k, v in body.get("toolConfig", {}).items() if k != "functionCallingConfig" and v is not None
    }
    return {
        "said": said, "system": [part["text"] for part in system if part.get("text")], "config": {k: v for k, v in config.items() if v is not None and v != []},
        "declared": declared, "others": others, "calling": {k: v for k, v in calling.items() if v}, "tool": rest,
        "extras": {k: v for k, v in body.items() if k in ("safetySettings", "cachedContent", "labels", "serviceTier") and v},
    }  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_request_passes_unchanged_and_bridges_without_silent_loss(path: Path) -> None:
    found = load(path)
    request = found["request"]
    if request is None or not request.get("body"):
        return
    body = request["body"]
    raw = json.dumps(body).encode()
    inspected = DIALECT.inspect(raw, found["model"], "stream" in request["path"])
    assert inspected.model == found["model"].removeprefix("models/")
    target = msgspec.structs.replace(TARGET, model=inspected.model)
    passed, losses = DIALECT.edit_request(inspected, target, {})
    assert losses == ()
    if "model" not in body:
        assert passed == raw
    decoded = DIALECT.decode_request(inspected)
    again, losses = DIALECT.encode_request(decoded, target)
    ours, theirs = facts(json.loads(again)), facts(body)
    declared = {loss.field for loss in losses}
    assert declared <= {"reasoning_effort", "thinking.budget_tokens"}
    for name in theirs:
        assert ours[name] == theirs[name], name
