"""What recordings of the Responses API and of Converse say, read naively; and what all of them cite."""

from __future__ import annotations

import json
from typing import Any

from expected import FINISH, Answer, Expected, arguments, sse
from kit import Recording, aws_events


def expect_more(recording: Recording) -> Expected | None:
    """The reading of a recording of these two APIs; None if it is of another, or an error."""
    if recording.status >= 400:
        return None
    if recording.api == "responses":
        return _responses(recording)
    if recording.api == "converse":
        return _converse(recording.raw["response"]["body"])
    if recording.api == "converse_stream":
        return _converse_stream(recording)
    return None


# --- Responses --------------------------------------------------------------------------------------


def _responses(recording: Recording) -> Expected:
    if not recording.stream:
        return _response(recording.raw["response"]["body"])
    last: dict[str, Any] = {}
    items: dict[int, dict[str, Any]] = {}
    for event, data in sse(recording.raw["response"]["sse"]):
        if not data.startswith("{"):
            continue
        body = json.loads(data)
        kind = body.get("type", event)
        if kind == "response.output_item.done":
            items[body["output_index"]] = body["item"]
        if kind in ("response.completed", "response.incomplete", "response.failed", "response.done"):
            last = body["response"]
        if kind == "error":
            return Expected(broken=True)
    if not last.get("output"):
        last = {**last, "output": [items[index] for index in sorted(items)]}
    return _response(last)


def _response(response: dict[str, Any]) -> Expected:
    if response["status"] in ("failed", "queued", "in_progress", "cancelled"):
        return Expected(broken=True)
    answer, thoughts = Answer(), []
    if isinstance(response.get("reasoning"), str):
        thoughts.append(response["reasoning"])
    for item in response["output"]:
        match item["type"]:
            case "message":
                answer.text += "".join(part.get("text", "") for part in item["content"])
                answer.refusal += "".join(part.get("refusal", "") for part in item["content"])
            case "reasoning":
                parts = (*(item.get("summary") or []), *(item.get("content") or []))
                thoughts.append("\n\n".join(part["text"] for part in parts))
            case "function_call":
                answer.calls.append((item["name"], arguments(item["arguments"])))
            case "custom_tool_call":
                answer.calls.append((item["name"], item["input"]))
    answer.reasoning = "\n\n".join(filter(None, thoughts))
    reason = (response.get("incomplete_details") or {}).get("reason")
    answer.finish = "tool_calls" if answer.calls else "stop"
    if response["status"] == "incomplete":
        answer.finish = "content_filter" if reason == "content_filter" else "length"
    usage = response.get("usage") or {}
    return Expected(
        choices={0: answer},
        prompt_tokens=usage.get("input_tokens"),
        completion_tokens=usage.get("output_tokens"),
        cached_tokens=(usage.get("input_tokens_details") or {}).get("cached_tokens"),
    )


# --- Converse ---------------------------------------------------------------------------------------


def _converse(body: dict[str, Any]) -> Expected:
    answer = Answer()
    for block in body["output"]["message"]["content"]:
        if "text" in block:
            answer.text += block["text"]
        elif "citationsContent" in block:
            answer.text += "".join(said["text"] for said in block["citationsContent"]["content"])
        elif "reasoningContent" in block:
            answer.reasoning += (block["reasoningContent"].get("reasoningText") or {}).get("text", "")
        elif "toolUse" in block and block["toolUse"].get("type", "tool_use") == "tool_use":
            answer.calls.append((block["toolUse"]["name"], arguments(block["toolUse"]["input"])))
    word = body["stopReason"]
    answer.finish = (
        "content_filter" if word in ("guardrail_intervened", "content_filtered") else FINISH.get(word)
    )
    usage = body.get("usage") or {}
    cached, written = usage.get("cacheReadInputTokens") or 0, usage.get("cacheWriteInputTokens") or 0
    prompt = usage.get("inputTokens")
    return Expected(
        choices={0: answer},
        prompt_tokens=None if prompt is None else prompt + cached + written,
        completion_tokens=usage.get("outputTokens"),
        cached_tokens=cached,
    )


def _converse_stream(recording: Recording) -> Expected:
    """The stream as a whole reply."""
    events = recording.raw["response"].get("events") or aws_events(recording.data)
    blocks: dict[int, dict[str, Any]] = {}
    body: dict[str, Any] = {}
    for event in events:
        ((kind, said),) = event.items()
        if kind.endswith("Exception"):
            return Expected(broken=True)
        body.update(said if kind in ("messageStop", "metadata") else {})
        block = blocks.setdefault(said.get("contentBlockIndex", -1), {})
        delta = said.get("delta") or said.get("start") or {}
        if "text" in delta:
            block["text"] = block.get("text", "") + delta["text"]
        elif "reasoningContent" in delta:
            thought = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]
            thought["text"] += delta["reasoningContent"].get("text", "")
        elif "toolUse" in delta:
            call = block.setdefault("toolUse", {"input": ""})
            given = delta["toolUse"]
            call.update({name: value for name, value in given.items() if name != "input"})
            call["input"] += given.get("input", "")
    content = [blocks[index] for index in sorted(blocks) if blocks[index]]
    return _converse({**body, "output": {"message": {"content": content}}})
