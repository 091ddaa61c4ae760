"""A strict reader of OpenAI's chat form for tests. Shares no code with the product."""

from __future__ import annotations

import json
from typing import Any

FINISHES = {"stop", "length", "tool_calls", "content_filter", "function_call"}
DELTA_MEMBERS = {
    "role", "content", "refusal", "tool_calls", "function_call", "audio", "annotations", "images",
    "reasoning_content", "reasoning_details",
}  # fmt: skip


class Read:
    """What a client ends up with."""

    def __init__(self) -> None:
        self.text: dict[int, str] = {}
        self.reasoning: dict[int, str] = {}
        self.refusal: dict[int, str] = {}
        self.calls: dict[int, list[dict[str, Any]]] = {}
        self.function: dict[int, dict[str, str]] = {}
        self.finish: dict[int, str] = {}
        self.details: dict[int, list[Any]] = {}
        self.annotations: dict[int, list[Any]] = {}
        self.logprobs: dict[int, list[Any]] = {}
        self.images: dict[int, list[Any]] = {}
        self.usage: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.done = False
        self.id = self.model = ""
        self.members: dict[str, Any] = {}

    def shown_calls(self, choice: int = 0) -> list[tuple[str, Any]]:
        return [(c["name"], parsed(c["arguments"])) for c in self.calls.get(choice, [])]


def parsed(arguments: str) -> Any:
    """Arguments as JSON where they are JSON, else the text."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def frames(data: bytes) -> list[bytes]:
    """The frames of a stream, each of which must be one data line."""
    assert data.endswith(b"\n\n"), data[-80:]
    found = []
    for frame in data[:-2].split(b"\n\n"):
        assert frame.startswith(b"data: "), frame[:80]
        assert b"\n" not in frame
        found.append(frame[6:])
    return found


def read_stream(data: bytes, *, usage_chunk: bool = True) -> Read:
    """Read a stream and insist on the form in every chunk."""
    read = Read()
    head: tuple[Any, ...] | None = None
    for number, frame in enumerate(frames(data)):
        assert not read.done, "something follows [DONE]"
        assert read.error is None, "something follows an error"
        if frame == b"[DONE]":
            read.done = True
            continue
        chunk = json.loads(frame)
        this = (chunk["id"], chunk["object"], chunk["created"], chunk["model"])
        head = head or this
        assert this == head, f"the head changes in chunk {number}: {head} {this}"
        assert chunk["id"].startswith("chatcmpl-")
        assert chunk["object"] == "chat.completion.chunk"
        assert type(chunk["created"]) is int
        assert chunk["created"] > 0
        assert chunk["model"]
        assert read.usage is None, "the usage chunk is not the last"
        assert not {"obfuscation", "p", "padding"} & chunk.keys()
        if chunk.get("error"):
            assert chunk["choices"] == []
            read.error = chunk["error"]
            continue
        if not chunk["choices"]:
            assert isinstance(chunk["usage"], dict)
            assert {"prompt_tokens", "completion_tokens", "total_tokens", "cost", "credits_remaining"} <= set(
                chunk["usage"]
            )
            read.usage = chunk["usage"]
        else:
            assert chunk.get("usage") is None
        read.members.update(
            {
                k: v
                for k, v in chunk.items()
                if k not in ("id", "object", "created", "model", "choices", "usage")
            }
        )
        for choice in chunk["choices"]:
            _choice(read, choice)
    assert head is not None
    read.id, read.model = head[0], head[3]
    if read.done:
        assert set(read.finish) == set(read.text), "a choice without a finish"
        assert (read.usage is not None) == usage_chunk
    return read


def _choice(read: Read, choice: dict[str, Any]) -> None:
    index, delta = choice["index"], choice["delta"]
    assert type(index) is int
    assert index not in read.finish, "a choice goes on after its finish"
    assert "message" not in choice
    assert "reasoning" not in delta
    if index not in read.text:
        assert delta["role"] == "assistant", "the first delta has no role"
        read.text[index] = read.reasoning[index] = read.refusal[index] = ""
        for holder in (read.calls, read.details, read.annotations, read.logprobs, read.images):
            holder[index] = []
    else:
        assert "role" not in delta, "the role comes twice"
    for name, holder in (
        ("content", read.text),
        ("reasoning_content", read.reasoning),
        ("refusal", read.refusal),
    ):
        piece = delta.get(name)
        assert piece is None or isinstance(piece, str), (name, piece)
        holder[index] += piece or ""
    read.details[index] += delta.get("reasoning_details") or []
    read.annotations[index] += delta.get("annotations") or []
    read.images[index] += delta.get("images") or []
    if "tool_calls" in delta:
        assert delta["tool_calls"], "an empty list of calls"
        for call in delta["tool_calls"]:
            _call(read.calls[index], call)
    function = delta.get("function_call")
    if function is not None:
        held = read.function.setdefault(index, {"name": "", "arguments": ""})
        held["name"] += function.get("name", "")
        held["arguments"] += function["arguments"]
    logprobs = choice.get("logprobs")
    if logprobs is not None:
        read.logprobs[index] += logprobs.get("content") or []
    finish = choice["finish_reason"]
    if finish is not None:
        assert finish in FINISHES, finish
        read.finish[index] = finish
        _check_calls(read.calls[index], read.function.get(index), finish)


def _call(calls: list[dict[str, Any]], call: dict[str, Any]) -> None:
    index = call["index"]
    assert type(index) is int
    if index < len(calls):
        assert not {"id", "type"} & call.keys(), call
        body = call.get("function", call.get("custom", {}))
        assert "name" not in body
        calls[index]["arguments"] += body.get("arguments", body.get("input", ""))
        return
    assert index == len(calls), "calls are not numbered from 0 on"
    assert isinstance(call["id"], str)
    assert call["id"]
    assert call["type"] in ("function", "custom")
    body = call[call["type"]]
    assert body["name"]
    text = body["arguments" if call["type"] == "function" else "input"]
    assert isinstance(text, str)
    assert call["id"] not in {c["id"] for c in calls}
    calls.append({"id": call["id"], "type": call["type"], "name": body["name"], "arguments": text})


def _check_calls(calls: list[dict[str, Any]], function: dict[str, str] | None, finish: str) -> None:
    assert (finish == "tool_calls") <= bool(calls)
    assert (finish == "function_call") <= bool(function)
    if calls:
        assert finish != "stop"
    if finish == "length":
        return
    for call in calls:
        if call["type"] == "function":
            assert isinstance(json.loads(call["arguments"]), dict), call
    if function:
        assert isinstance(json.loads(function["arguments"]), dict)


def read_body(data: bytes) -> Read:
    """Read a whole reply and insist on the form."""
    body = json.loads(data)
    read = Read()
    assert body["id"].startswith("chatcmpl-")
    assert body["object"] == "chat.completion"
    assert type(body["created"]) is int
    assert body["created"] > 0
    assert body["model"]
    read.id, read.model, read.usage = body["id"], body["model"], body["usage"]
    read.members = body
    assert {"cost", "credits_remaining"} <= body["usage"].keys()
    assert body["choices"]
    for number, choice in enumerate(body["choices"]):
        assert choice["index"] == number
        assert "delta" not in choice
        message = choice["message"]
        assert message["role"] == "assistant"
        assert message["content"] is None or isinstance(message["content"], str)
        assert "reasoning" not in message
        read.text[number] = message["content"] or ""
        read.reasoning[number] = message.get("reasoning_content") or ""
        assert message.get("refusal") is None or message["refusal"]
        read.refusal[number] = message.get("refusal") or ""
        read.details[number] = message.get("reasoning_details") or []
        read.annotations[number] = message.get("annotations") or []
        read.images[number] = message.get("images") or []
        read.calls[number] = []
        assert message.get("tool_calls", True), "an empty list of calls"
        for call in message.get("tool_calls") or []:
            body_ = call[call["type"]]
            text = body_["arguments" if call["type"] == "function" else "input"]
            assert isinstance(text, str)
            assert call["id"]
            read.calls[number].append(
                {"id": call["id"], "type": call["type"], "name": body_["name"], "arguments": text}
            )
        function = message.get("function_call")
        if function is not None:
            read.function[number] = function
        assert choice["finish_reason"] in FINISHES
        read.finish[number] = choice["finish_reason"]
        read.logprobs[number] = (choice.get("logprobs") or {}).get("content") or []
        _check_calls(read.calls[number], function, choice["finish_reason"])
    read.done = True
    return read
