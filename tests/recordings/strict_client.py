"""A client of OpenAI's chat API that reads strictly: whatever is not as documented is a fault."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

FINISHES = {"stop", "length", "tool_calls", "content_filter", "function_call"}


@dataclass
class Read:
    """What a client understood, whatever its dialect, and what it had to object to.

    Attributes:
        choices: by index; text, reasoning, refusal, calls as (name, arguments, id), and finish in
            OpenAI's words.
        counts: input, output and cached tokens, each including what OpenAI includes.
        citations: the pages cited; tokens: those with log probabilities; images: base64.
    """

    status: int = 200
    choices: dict[int, dict[str, Any]] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    faults: list[str] = field(default_factory=list)
    counts: tuple[Any, Any, Any] | None = None
    citations: set[str] = field(default_factory=set)
    tokens: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


def read_error(status: int, body: bytes) -> Read:
    """Read an error reply."""
    read = Read(status=status)
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        read.faults.append(f"no error envelope: {body[:200]!r}")
        return read
    read.error = error
    for name in ("message", "type", "code", "request_id"):
        if not isinstance(error.get(name), str) or not error[name]:
            read.faults.append(f"error.{name} is {error.get(name)!r}")
    if "param" not in error:
        read.faults.append("error.param is missing")
    return read


def read_whole(body: bytes) -> Read:
    """Read a chat.completion."""
    read = Read()
    reply = json.loads(body)
    _envelope(read, reply, "chat.completion")
    for position, choice in enumerate(reply["choices"]):
        if choice.get("index") != position:
            read.faults.append(f"choice {position} has index {choice.get('index')!r}")
        message = choice["message"]
        if message.get("role") != "assistant":
            read.faults.append(f"role {message.get('role')!r}")
        if not (message.get("content") is None or isinstance(message["content"], str)):
            read.faults.append("content is no string")
        if "content" not in message:
            read.faults.append("content is missing")
        calls = []
        if "tool_calls" in message and not message["tool_calls"]:
            read.faults.append("empty tool_calls")
        for call in message.get("tool_calls") or []:
            _whole_call(read, call)
            kind = call.get("type")
            calls.append(
                (call[kind]["name"], call[kind]["arguments" if kind == "function" else "input"], call["id"])
            )
        if message.get("function_call"):
            calls.append((message["function_call"]["name"], message["function_call"]["arguments"], "legacy"))
        if choice.get("finish_reason") not in FINISHES:
            read.faults.append(f"finish {choice.get('finish_reason')!r}")
        if "logprobs" not in choice:
            read.faults.append("choice without logprobs")
        read.choices[position] = {
            "text": message.get("content") or "",
            "reasoning": message.get("reasoning_content") or "",
            "refusal": message.get("refusal"),
            "calls": calls,
            "finish": choice.get("finish_reason"),
        }
    read.usage = reply.get("usage")
    _usage(read)
    return read


def _whole_call(read: Read, call: dict[str, Any]) -> None:
    if not isinstance(call.get("id"), str) or not call["id"]:
        read.faults.append(f"call id {call.get('id')!r}")
    if call.get("type") not in ("function", "custom"):
        read.faults.append(f"call type {call.get('type')!r}")
    elif call["type"] == "function" and not isinstance(call["function"].get("arguments"), str):
        read.faults.append("arguments are no string")


def read_stream(body: bytes) -> Read:
    """Read a stream of chat.completion.chunk up to [DONE] or an error chunk."""
    read = Read()
    first: dict[str, Any] | None = None
    done = False
    for block in re.split(rb"\n\n", body):
        lines = [line for line in block.split(b"\n") if line and not line.startswith(b":")]
        if not lines:
            continue
        if len(lines) != 1 or not lines[0].startswith(b"data: "):
            read.faults.append(f"not one data line: {block[:100]!r}")
            continue
        if done:
            read.faults.append("bytes after [DONE]")
        data = lines[0][6:]
        if data == b"[DONE]":
            done = True
            continue
        chunk = json.loads(data)
        if chunk.get("error"):
            read.error = chunk["error"]
            for name in ("message", "type", "code"):
                if not isinstance(read.error.get(name), str):
                    read.faults.append(f"error.{name} is {read.error.get(name)!r}")
            continue
        if read.error is not None:
            read.faults.append("bytes after an error")
        _envelope(read, chunk, "chat.completion.chunk")
        if first is None:
            first = chunk
        for name in ("id", "created", "model"):
            if chunk.get(name) != first.get(name):
                read.faults.append(f"{name} changes from {first.get(name)!r} to {chunk.get(name)!r}")
        _chunk(read, chunk)
    _ending(read, done)
    return read


def _chunk(read: Read, chunk: dict[str, Any]) -> None:
    if not chunk["choices"]:
        if not chunk.get("usage"):
            read.faults.append("a chunk with neither choices nor usage")
    elif chunk.get("usage"):
        read.faults.append("usage beside choices")
    if read.usage is not None:
        read.faults.append("a chunk after usage")
    if chunk.get("usage"):
        read.usage = chunk["usage"]
        _usage(read)
    for choice in chunk["choices"]:
        _delta(read, choice)


def _delta(read: Read, choice: dict[str, Any]) -> None:
    seen = read.choices.get(choice["index"])
    delta = choice["delta"]
    if seen is None:
        seen = read.choices[choice["index"]] = {
            "text": "", "reasoning": "", "refusal": None, "calls": [], "finish": None, "parts": {},
        }  # fmt: skip
        if delta.get("role") != "assistant":
            read.faults.append("the first delta has no role")
    elif "role" in delta:
        read.faults.append("role given again")
    if seen["finish"] is not None:
        read.faults.append("a delta after the finish")
    for name, key in (("content", "text"), ("reasoning_content", "reasoning")):
        value = delta.get(name)
        if value is not None and not isinstance(value, str):
            read.faults.append(f"delta.{name} is no string")
        elif value:
            seen[key] += value
    if delta.get("refusal"):
        seen["refusal"] = (seen["refusal"] or "") + delta["refusal"]
    for call in delta.get("tool_calls") or []:
        _piece(read, seen["parts"], call)
    if "tool_calls" in delta and not delta["tool_calls"]:
        read.faults.append("empty tool_calls")
    if delta.get("function_call"):
        part = seen["parts"].setdefault("legacy", {"name": "", "arguments": "", "id": "legacy"})
        part["name"] += delta["function_call"].get("name") or ""
        part["arguments"] += delta["function_call"].get("arguments") or ""
    if choice.get("finish_reason") is not None:
        seen["finish"] = choice["finish_reason"]
        if choice["finish_reason"] not in FINISHES:
            read.faults.append(f"finish {choice['finish_reason']!r}")
    seen["calls"] = [(p["name"], p["arguments"], p["id"]) for p in seen["parts"].values()]


def _piece(read: Read, parts: dict[Any, dict[str, str]], call: dict[str, Any]) -> None:
    index = call.get("index")
    if index not in parts:
        if index != len(parts):
            read.faults.append(f"call index {index!r} where {len(parts)} was due")
        if not call.get("id") or call.get("type") not in ("function", "custom"):
            read.faults.append("the first piece of a call lacks id or type")
        kind = call.get("type") or "function"
        parts[index] = {
            "name": (call.get(kind) or {}).get("name") or "",
            "arguments": "",
            "id": call.get("id") or "",
        }
        if not parts[index]["name"]:
            read.faults.append("the first piece of a call lacks its name")
    elif call.get("id"):
        read.faults.append("call id given again")
    body = call.get("function") or call.get("custom") or {}
    parts[index]["arguments"] += body.get("arguments") or body.get("input") or ""


def _ending(read: Read, done: bool) -> None:
    if read.error is not None:
        if done:
            read.faults.append("[DONE] after an error")
        return
    if not done:
        read.faults.append("no [DONE]")
    if read.usage is None:
        read.faults.append("no usage chunk")
    for index, seen in read.choices.items():
        if seen["finish"] is None:
            read.faults.append(f"choice {index} has no finish")
    if not read.choices:
        read.faults.append("no choice at all")


def _envelope(read: Read, reply: dict[str, Any], kind: str) -> None:
    if reply.get("object") != kind:
        read.faults.append(f"object {reply.get('object')!r}")
    if not isinstance(reply.get("id"), str) or not reply["id"].startswith("chatcmpl-"):
        read.faults.append(f"id {reply.get('id')!r}")
    if not isinstance(reply.get("created"), int) or reply["created"] <= 0:
        read.faults.append(f"created {reply.get('created')!r}")
    if not isinstance(reply.get("model"), str) or not reply["model"]:
        read.faults.append(f"model {reply.get('model')!r}")


def _usage(read: Read) -> None:
    usage = read.usage
    if usage is None:
        read.faults.append("no usage")
        return
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        if not isinstance(usage.get(name), int):
            read.faults.append(f"usage.{name} is {usage.get(name)!r}")
            return
    if usage["total_tokens"] != usage["prompt_tokens"] + usage["completion_tokens"]:
        read.faults.append("total_tokens is not the sum")
    for name in ("cost", "credits_remaining"):
        if not isinstance(usage.get(name), int | float):
            read.faults.append(f"usage.{name} is {usage.get(name)!r}")
