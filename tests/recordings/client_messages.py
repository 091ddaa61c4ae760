"""A client of Anthropic's Messages API that reads strictly: whatever is not as documented is a fault."""

from __future__ import annotations

import json
from typing import Any

from strict_client import Read

STOPS = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "pause_turn": "length", "refusal": "content_filter", "model_context_window_exceeded": "length",
}  # fmt: skip
ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 408: "timeout_error", 409: "conflict_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error",
    504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
DELTAS = {
    "text_delta": ("text",), "thinking_delta": ("thinking",), "signature_delta": ("thinking",),
    "citations_delta": ("text",),
}  # fmt: skip


def read_error(status: int, body: bytes) -> Read:
    read = Read(status=status)
    try:
        _error(read, json.loads(body))
    except (ValueError, KeyError, TypeError) as error:
        read.faults.append(f"no error envelope: {error!r} {body[:200]!r}")
        return read
    wanted = ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    if read.error and read.error["type"] not in (wanted, "overloaded_error"):
        read.faults.append(f"error type {read.error['type']!r} for status {status}")
    return read


def _error(read: Read, body: dict[str, Any]) -> None:
    if body["type"] != "error":
        read.faults.append(f"an error of type {body['type']!r}")
    if not isinstance(body.get("request_id"), str):
        read.faults.append("no request_id")
    read.error = body["error"]
    for name in ("type", "message"):
        if not isinstance(read.error[name], str) or not read.error[name]:
            read.faults.append(f"error.{name} is {read.error[name]!r}")


def read_whole(body: bytes, *, native: bool = False) -> Read:
    read = Read()
    message = json.loads(body)
    _head(read, message)
    _take(read, message["content"], message["stop_reason"], message.get("stop_sequence"))
    _usage(read, message["usage"], last=True)
    return read


def _head(read: Read, message: dict[str, Any]) -> None:
    for name, wanted in (("type", "message"), ("role", "assistant")):
        if message.get(name) != wanted:
            read.faults.append(f"{name} {message.get(name)!r}")
    if not isinstance(message.get("id"), str) or not message["id"].startswith("msg_"):
        read.faults.append(f"id {message.get('id')!r}")
    if not isinstance(message.get("model"), str) or not message["model"]:
        read.faults.append(f"model {message.get('model')!r}")


def _usage(read: Read, usage: dict[str, Any], *, last: bool) -> None:
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    for name in names:
        value = usage.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            if name in names[:2] or value is not None:
                read.faults.append(f"usage.{name} is {value!r}")
            return
    if last:
        for name in ("cost", "credits_remaining"):
            if not isinstance(usage.get(name), int | float):
                read.faults.append(f"usage.{name} is {usage.get(name)!r}")
        cached = usage.get("cache_read_input_tokens") or 0
        written = usage.get("cache_creation_input_tokens") or 0
        read.usage = usage
        read.counts = (usage["input_tokens"] + cached + written, usage["output_tokens"], cached)


def _take(read: Read, content: list[dict[str, Any]], reason: Any, sequence: Any) -> None:
    """The blocks of a whole message."""
    seen: dict[str, Any] = {"text": "", "reasoning": "", "refusal": None, "calls": []}
    for block in content:
        match block["type"]:
            case "text":
                seen["text"] += block["text"]
                for cited in block.get("citations") or []:
                    _citation(read, cited)
            case "thinking":
                seen["reasoning"] += block["thinking"]
                if not isinstance(block["signature"], str):
                    read.faults.append("thinking without a signature")
            case "redacted_thinking":
                if not isinstance(block["data"], str) or not block["data"]:
                    read.faults.append("redacted_thinking without data")
            case "tool_use":
                if not isinstance(block["input"], dict):
                    read.faults.append(f"input {block['input']!r}")
                if not block["id"] or not isinstance(block["id"], str):
                    read.faults.append(f"call id {block['id']!r}")
                seen["calls"].append((block["name"], block["input"], block["id"]))
    if reason not in STOPS:
        read.faults.append(f"stop_reason {reason!r}")
    if (reason == "stop_sequence") != isinstance(sequence, str):
        read.faults.append(f"stop_reason {reason!r} beside stop_sequence {sequence!r}")
    if reason == "tool_use" and not seen["calls"]:
        read.faults.append("stop_reason tool_use without a call")
    seen["finish"] = STOPS.get(reason)
    read.choices[0] = seen


def _citation(read: Read, cited: dict[str, Any]) -> None:
    if cited["type"] == "web_search_result_location":
        if not all(isinstance(cited.get(name), str) for name in ("url", "cited_text", "encrypted_index")):
            read.faults.append(f"citation {cited!r}"[:200])
        read.citations.add(cited["url"])


class _Stream:
    """Puts a message together as the official client does, and checks the order of events."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.message: dict[str, Any] | None = None
        self.blocks: list[dict[str, Any]] = []
        self.open = False
        self.pieces = ""
        self.stop: dict[str, Any] | None = None
        self.usage: dict[str, Any] = {}
        self.ended = False

    def take(self, event: dict[str, Any]) -> None:
        kind, fault = event["type"], self.read.faults.append
        if self.ended or self.read.error is not None:
            fault(f"{kind} after the end")
        if kind not in ("ping", "message_start", "error") and self.message is None:
            fault(f"{kind} before message_start")
        match kind:
            case "ping":
                pass
            case "error":
                _error(self.read, event)
            case "message_start":
                self.start(event["message"])
            case "content_block_start":
                self.block_start(event)
            case "content_block_delta":
                self.block_delta(event)
            case "content_block_stop":
                self.block_stop(event)
            case "message_delta":
                self.delta(event)
            case "message_stop":
                if self.stop is None:
                    fault("message_stop before message_delta")
                self.ended = True
            case _:
                fault(f"event {kind!r}")

    def start(self, message: dict[str, Any]) -> None:
        if self.message is not None:
            self.read.faults.append("message_start twice")
        self.message = message
        _head(self.read, message)
        if message["content"] != [] or message["stop_reason"] is not None:
            self.read.faults.append("message_start holds an answer already")
        _usage(self.read, message["usage"], last=False)
        counts = [
            message["usage"].get(name) or 0 for name in message["usage"] if name.endswith("input_tokens")
        ]
        if not sum(counts):
            self.read.faults.append("message_start tells no input tokens")
        self.usage = dict(message["usage"])

    def block_start(self, event: dict[str, Any]) -> None:
        if self.open:
            self.read.faults.append("a block starts in another")
        if event["index"] != len(self.blocks):
            self.read.faults.append(f"block {event['index']} where {len(self.blocks)} was due")
        if self.stop is not None:
            self.read.faults.append("a block after message_delta")
        block = dict(event["content_block"])
        self.open, self.pieces = True, ""
        if block["type"] == "tool_use" and block["input"] != {}:
            self.read.faults.append("tool_use begins with input")
        self.blocks.append(block)

    def block_delta(self, event: dict[str, Any]) -> None:
        delta = event["delta"]
        if not self.open or event["index"] != len(self.blocks) - 1:
            self.read.faults.append(f"a delta for block {event['index']}, which is not open")
            return
        block, kind = self.blocks[-1], delta["type"]
        if block["type"] not in DELTAS.get(kind, (block["type"],)):
            self.read.faults.append(f"{kind} in a {block['type']} block")
        match kind:
            case "text_delta":
                block["text"] += delta["text"]
            case "thinking_delta":
                block["thinking"] += delta["thinking"]
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            case "input_json_delta":
                self.pieces += delta["partial_json"]
            case "compaction_delta":
                pass
            case _:
                self.read.faults.append(f"delta {kind!r}")

    def block_stop(self, event: dict[str, Any]) -> None:
        if not self.open or event["index"] != len(self.blocks) - 1:
            self.read.faults.append(f"content_block_stop for block {event['index']}, which is not open")
        self.open = False
        block = self.blocks[-1]
        if self.pieces:
            try:
                block["input"] = json.loads(self.pieces)
            except ValueError:
                block["input"] = {"_cut": self.pieces}

    def delta(self, event: dict[str, Any]) -> None:
        if self.open:
            self.read.faults.append("message_delta in a block")
        if self.stop is not None:
            self.read.faults.append("message_delta twice")
        self.stop = event["delta"]
        self.usage.update({name: value for name, value in event["usage"].items() if value is not None})

    def end(self) -> None:
        if self.read.error is not None:
            return
        if not self.ended or self.message is None or self.stop is None:
            self.read.faults.append("the stream has no end")
            return
        _take(self.read, self.blocks, self.stop["stop_reason"], self.stop.get("stop_sequence"))
        _usage(self.read, self.usage, last=True)


def read_stream(body: bytes, *, native: bool = False) -> Read:
    read = Read()
    stream = _Stream(read)
    if body and not body.endswith(b"\n\n"):
        read.faults.append("half an event at the end")
    for block in body.split(b"\n\n"):
        lines = [line for line in block.split(b"\n") if line and not line.startswith(b":")]
        if not lines:
            continue
        if len(lines) != 2 or not lines[0].startswith(b"event: ") or not lines[1].startswith(b"data: "):
            read.faults.append(f"not an event and a data line: {block[:100]!r}")
            continue
        event = json.loads(lines[1][6:])
        if event["type"] != lines[0][7:].decode():
            read.faults.append(f"event {lines[0]!r} holds {event['type']!r}")
        stream.take(event)
    stream.end()
    return read
