"""A client of OpenAI's Responses API that reads strictly: whatever is not as documented is a fault."""

from __future__ import annotations

import json
from typing import Any

from strict_client import Read
from strict_client import read_error as read_error

LAST = ("response.completed", "response.incomplete", "response.failed")
TEXTS = {
    "response.output_text": ("message", "text"), "response.refusal": ("message", "refusal"),
    "response.function_call_arguments": ("function_call", "arguments"),
    "response.custom_tool_call_input": ("custom_tool_call", "input"),
    "response.reasoning_summary_text": ("reasoning", "text"), "response.reasoning_text": ("reasoning", "text"),
}  # fmt: skip


def read_whole(body: bytes, *, native: bool = False) -> Read:
    read = Read()
    _response(read, json.loads(body), native)
    return read


def _head(read: Read, response: dict[str, Any], native: bool) -> None:
    if response.get("object") != "response":
        read.faults.append(f"object {response.get('object')!r}")
    if not isinstance(response.get("id"), str) or not response["id"].startswith("resp_"):
        read.faults.append(f"id {response.get('id')!r}")
    if not isinstance(response.get("created_at"), int | float) or response["created_at"] < (not native):
        read.faults.append(f"created_at {response.get('created_at')!r}")
    if not isinstance(response.get("model"), str) or not response["model"]:
        read.faults.append(f"model {response.get('model')!r}")
    for name in ("output", "tools"):
        if not isinstance(response.get(name), list):
            read.faults.append(f"{name} is {response.get(name)!r}")
    for name in ("error", "incomplete_details"):
        if name not in response:
            read.faults.append(f"{name} is missing")


def _response(read: Read, response: dict[str, Any], native: bool) -> None:
    """A whole response, or the one in the last event."""
    _head(read, response, native)
    seen: dict[str, Any] = {"text": "", "reasoning": "", "refusal": None, "calls": []}
    ids = [item["id"] for item in response["output"] if item.get("id")]
    if not native and len(set(ids)) != len(ids):
        read.faults.append(f"two items with one id: {ids}")
    thoughts: list[str] = []
    for item in response["output"]:
        _item(read, seen, thoughts, item, native)
    seen["reasoning"] = "\n\n".join(filter(None, thoughts))
    status, reason = response.get("status"), (response.get("incomplete_details") or {}).get("reason")
    if status == "completed":
        seen["finish"] = "tool_calls" if seen["calls"] else "stop"
    elif status == "incomplete":
        seen["finish"] = {"max_output_tokens": "length", "content_filter": "content_filter"}.get(reason)
        if seen["finish"] is None:
            read.faults.append(f"incomplete because of {reason!r}")
    elif status == "failed":
        read.error = response.get("error")
        for name in ("code", "message"):
            if not isinstance((read.error or {}).get(name), str):
                read.faults.append(f"error.{name} is {read.error!r}")
        return
    else:
        read.faults.append(f"status {status!r}")
    read.choices[0] = seen
    _usage(read, response.get("usage"))


def _item(read: Read, seen: dict[str, Any], thoughts: list[str], item: dict[str, Any], native: bool) -> None:
    kind = item["type"]
    if not native and not (isinstance(item.get("id"), str) and item["id"]):
        read.faults.append(f"a {kind} without an id")
    if not native and item.get("status") == "in_progress":
        read.faults.append(f"a {kind} that is still in progress")
    match kind:
        case "message":
            if item["role"] != "assistant" or not isinstance(item.get("status"), str):
                read.faults.append("a message without role or status")
            for part in item["content"]:
                _part(read, seen, part, native)
        case "reasoning":
            if not isinstance(item["summary"], list):
                read.faults.append("reasoning without a summary")
            parts = [*item["summary"], *(item.get("content") or [])]
            thoughts.append("\n\n".join(part["text"] for part in parts))
        case "function_call":
            for name in ("call_id", "name", "arguments"):
                if not isinstance(item.get(name), str) or (name != "arguments" and not item[name]):
                    read.faults.append(f"function_call.{name} is {item.get(name)!r}")
            seen["calls"].append((item["name"], item["arguments"], item["call_id"]))
        case "custom_tool_call":
            seen["calls"].append((item["name"], item["input"], item["call_id"]))
        case "image_generation_call":
            read.images.append(item["result"])


def _part(read: Read, seen: dict[str, Any], part: dict[str, Any], native: bool) -> None:
    if part["type"] == "refusal":
        seen["refusal"] = (seen["refusal"] or "") + part["refusal"]
        return
    if part["type"] != "output_text" or not isinstance(part["text"], str):
        read.faults.append(f"content part {part['type']!r}")
        return
    seen["text"] += part["text"]
    if not native and not isinstance(part.get("annotations"), list):
        read.faults.append("output_text without annotations")
    for note in part.get("annotations") or []:
        if note["type"] == "url_citation":
            if not all(isinstance(note.get(name), int) for name in ("start_index", "end_index")):
                read.faults.append(f"url_citation {note!r}"[:200])
            read.citations.add(note["url"])
    read.tokens += [entry["token"] for entry in part.get("logprobs") or []]


def _usage(read: Read, usage: dict[str, Any] | None) -> None:
    if usage is None:
        read.faults.append("no usage")
        return
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        if isinstance(usage.get(name), bool) or not isinstance(usage.get(name), int):
            read.faults.append(f"usage.{name} is {usage.get(name)!r}")
            return
    for name, inner in (
        ("input_tokens_details", "cached_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
    ):
        if not isinstance((usage.get(name) or {}).get(inner), int):
            read.faults.append(f"usage.{name}.{inner} is missing")
    for name in ("cost", "credits_remaining"):
        if not isinstance(usage.get(name), int | float):
            read.faults.append(f"usage.{name} is {usage.get(name)!r}")
    read.usage = usage
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens")
    read.counts = (usage["input_tokens"], usage["output_tokens"], cached)


class _Stream:
    """Checks the order of events and that each done repeats what the deltas said."""

    def __init__(self, read: Read, native: bool) -> None:
        self.read, self.native = read, native
        self.first: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None
        self.items: dict[int, dict[str, Any]] = {}
        self.open: set[int] = set()
        self.parts: dict[tuple[int, str, int], str] = {}  # (item, kind of text, part) -> said so far
        self.number = 0

    def take(self, body: dict[str, Any]) -> None:
        kind, fault = body["type"], self.read.faults.append
        if self.last is not None or self.read.error is not None:
            fault(f"{kind} after the end")
        if body.get("sequence_number") != self.number:
            fault(f"sequence_number {body.get('sequence_number')!r} where {self.number} was due")
        self.number += 1
        if kind == "error":
            self.read.error = body
            for name in ("code", "message"):
                if not isinstance(body.get(name), str):
                    fault(f"error.{name} is {body.get(name)!r}")
        elif kind in ("response.created", "response.in_progress", "response.queued"):
            self.begin(kind, body["response"])
        elif kind in LAST:
            self.end(kind, body["response"])
        elif kind.startswith("response.output_item."):
            self.item(kind, body)
        else:
            self.piece(kind, body)

    def begin(self, kind: str, response: dict[str, Any]) -> None:
        _head(self.read, response, self.native)
        if (kind == "response.created") != (self.first is None):
            self.read.faults.append(f"{kind} out of order")
        self.first = self.first or response
        if self.items or response["output"]:
            self.read.faults.append(f"{kind} behind content")
        if response["status"] not in ("in_progress", "queued"):
            self.read.faults.append(f"{kind} has status {response['status']!r}")

    def item(self, kind: str, body: dict[str, Any]) -> None:
        index, item = body["output_index"], body["item"]
        if kind.endswith(".added"):
            if index != len(self.items):
                self.read.faults.append(f"item {index} where {len(self.items)} was due")
            if not self.native and item.get("content"):
                self.read.faults.append("an item is added with content")
            self.items[index] = item
            self.open.add(index)
            return
        if index not in self.open:
            self.read.faults.append(f"item {index} is done that is not open")
            return
        self.open.remove(index)
        if (item["type"], item.get("id")) != (self.items[index]["type"], self.items[index].get("id")):
            self.read.faults.append(f"item {index} changes its type or id")
        self.items[index] = item
        self.check_text(index, item)

    def check_text(self, index: int, item: dict[str, Any]) -> None:
        """An item that is done says what its deltas said."""
        told = [text for (at, _, _), text in sorted(self.parts.items()) if at == index]
        match item["type"]:
            case "message":
                whole = [part.get("text", part.get("refusal")) for part in item["content"]]
            case "reasoning":
                whole = [part["text"] for part in (*(item.get("content") or []), *item["summary"])]
            case "function_call":
                whole = [item["arguments"]]
            case "custom_tool_call":
                whole = [item["input"]]
            case _:
                return
        if not (self.native and not told) and list(filter(None, told)) != list(filter(None, whole)):
            self.read.faults.append(f"a {item['type']} says {whole!r:.150} after deltas of {told!r:.150}")

    def piece(self, kind: str, body: dict[str, Any]) -> None:
        index = body.get("output_index")
        if index is None and self.native:
            return
        if index not in self.open:
            self.read.faults.append(f"{kind} for item {index}, which is not open")
            return
        item = self.items[index]
        if item.get("id") is not None and body.get("item_id") != item["id"]:
            self.read.faults.append(f"{kind} with item_id {body.get('item_id')!r} for {item['id']!r}")
        name, _, what = kind.rpartition(".")
        if name not in TEXTS or what not in ("delta", "done"):
            return
        form, member = TEXTS[name]
        if item["type"] != form:
            self.read.faults.append(f"{kind} in a {item['type']}")
        key = (index, name, body.get("content_index", body.get("summary_index", 0)))
        if what == "delta":
            self.parts[key] = self.parts.get(key, "") + body["delta"]
        elif not (self.native and key not in self.parts) and body[member] != self.parts.get(key, ""):
            self.read.faults.append(f"{kind} is not what its deltas said")

    def end(self, kind: str, response: dict[str, Any]) -> None:
        self.last = response
        if response["status"] != kind.removeprefix("response."):
            self.read.faults.append(f"{kind} has status {response['status']!r}")
        if self.first is None:
            self.read.faults.append(f"{kind} without response.created")
        elif any(response.get(name) != self.first.get(name) for name in ("id", "model", "created_at")):
            self.read.faults.append("the response changes its id, model or time")
        if kind != "response.failed":
            if self.open:
                self.read.faults.append(f"{kind} with open items")
            if [(i["type"], i.get("id")) for i in response["output"]] != [
                (i["type"], i.get("id")) for _, i in sorted(self.items.items())
            ]:
                self.read.faults.append(f"{kind} has other items than the stream")
        _response(self.read, response, self.native)


def read_stream(body: bytes, *, native: bool = False) -> Read:
    read = Read()
    stream = _Stream(read, native)
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
    if stream.last is None and read.error is None:
        read.faults.append("the stream has no end")
    return read
